#include "polyscene/train/resume.h"

#include <cmath>

#include "polyscene/core/json.h"
#include "polyscene/core/log.h"
#include "polyscene/data/batches.h"
#include "polyscene/train/checkpoint.h"

namespace polyscene::train {
namespace {

bool smaller_is_better(const std::string& metric) {
  return metric == "log_loss" || metric == "rmse" || metric == "mae";
}

// JSON has no NaN.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
double number(const Json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

Json to_json(const Epoch& line) {
  Json valid = Json::object();
  for (const auto& [name, value] : line.valid) valid[name] = number(value);
  return {{"epoch", line.epoch}, {"phase", line.phase},     {"train_loss", number(line.train_loss)},
          {"valid", valid},      {"seconds", line.seconds}, {"rows_per_s", line.rows_per_s},
          {"best", line.best}};
}

Epoch epoch_from(const Json& json) {
  Epoch line{json.at("epoch"), json.at("phase"), number(json.at("train_loss"))};
  for (const auto& [name, value] : json.at("valid").items()) line.valid[name] = number(value);
  line.seconds = json.at("seconds");
  line.rows_per_s = json.at("rows_per_s");
  line.best = json.at("best");
  return line;
}

// "train.lr was 0.001, is 0.01" for each value that is not the same.
void compare(const Json& before, const Json& now, const std::string& path, std::vector<std::string>& differ) {
  if (before == now) return;
  if (before.is_object() && now.is_object()) {
    for (const auto& [key, value] : now.items())
      compare(before.value(key, Json()), value, json_path(path, key), differ);
    for (const auto& [key, value] : before.items()) {
      if (!now.contains(key)) compare(value, Json(), json_path(path, key), differ);
    }
  } else {
    differ.push_back(path + " was " + before.dump() + ", is " + now.dump());
  }
}

std::vector<std::string> differences(const Json& before, const Json& now) {
  std::vector<std::string> out;
  for (const auto* part : {"train", "valid"}) {
    if (before.value(part, Json()) != now.value(part, Json()))
      out.push_back(std::string(part) == "train" ? "other training rows" : "other validation rows");
  }
  if (before.value("model", Json()) != now.value("model", Json())) {
    out.push_back("model.name was " + before.value("model", Json()).dump() + ", is " + now["model"].dump());
  } else {
    compare(before.value("options", Json()), now.value("options", Json()), "model", out);
  }
  compare(before.value("train_options", Json()), now.value("train_options", Json()), "train", out);
  return out;
}

void read_progress(const Json& position, Progress& progress) {
  progress.phase = position.at("phase");
  progress.epoch = position.at("epoch");
  progress.total = position.at("total");
  progress.waited = position.at("waited");
  progress.best_value = number(position.at("best_value"));
  progress.result.best_epoch = position.at("best_epoch");
  for (const auto& line : position.at("history")) progress.result.history.push_back(epoch_from(line));
}

}  // namespace

Standing Progress::judge(const Epoch& line, const std::string& monitor) {
  if (monitor.empty()) return Standing::kBetter;
  const double value = line.valid.at(monitor);
  if (std::isnan(value)) {
    // As long as no epoch has a value, the newest is what remains: never the weights that nothing has trained.
    if (!std::isnan(best_value)) return Standing::kWorse;
    log(kWarning, c10::str("Trainer: ", monitor, " of the validation rows has no value in epoch ", line.epoch,
                           "; the newest epoch is kept until it has one"));
    return Standing::kBetter;
  }
  if (value == best_value) return Standing::kEqual;
  const bool better = std::isnan(best_value) || (!smaller_is_better(monitor) ? value > best_value : value < best_value);
  if (better) best_value = value;
  return better ? Standing::kBetter : Standing::kWorse;
}

void Progress::start_phase() {
  epoch = 0;
  waited = 0;
  best_value = std::numeric_limits<double>::quiet_NaN();
}

std::map<std::string, torch::Tensor> clone_state(const torch::nn::Module& module) {
  auto out = state_of(module);
  for (auto& [name, tensor] : out) tensor = tensor.clone();
  return out;
}

void restore_state(torch::nn::Module& module, const std::map<std::string, torch::Tensor>& state) {
  const torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : state_of(module)) {
    if (const auto found = state.find(name); found != state.end()) torch::Tensor(tensor).copy_(found->second);
  }
}

std::string identity_of(const models::Model& model, const data::Table& train, const data::Table* valid,
                        const TrainOptions& options) {
  Json out = {{"model", model.name()},
              {"options", polyscene::to_json(model.options_map())},
              {"train", train.digest()},
              {"valid", valid ? valid->digest() : ""}};
  // More epochs, more patience or more threads of the same run are no other run, unless the learning rate runs over all
  // epochs.
  const bool fixed = options.optimizer.schedule.needs_total();
  for (const auto& [name, value] : to_map(options)) {
    if ((name == "epochs" && !fixed) || name == "patience" || name == "threads" || name == "shuffle_window") continue;
    // Left at 0 they are those of a run from before they were there.
    const bool augments = name == "crop" || name == "mask" || name == "reorder" || name == "substitute";
    if (augments && std::get<double>(value) == 0) continue;
    out["train_options"][name] = polyscene::to_json(value);
  }
  // What it comes to: the same rows read into memory are shuffled all at once.
  if (const auto window = data::shuffle_window(train, options.shuffle_window()); window > 0)
    out["train_options"]["shuffle_window"] = window;
  return out.dump();
}

void save_progress(const std::string& path, const std::string& identity, const models::Model& model,
                   const std::map<std::string, torch::Tensor>& optimizer, const Progress& progress) {
  Checkpoint out{model.name(), model.options_map(), model.schema_ptr(), model.history(), state_of(model), {}, {}};
  for (const auto& [name, tensor] : optimizer) out.training["optimizer." + name] = tensor;
  for (const auto& [name, tensor] : progress.best) out.training["best." + name] = tensor;
  Json history = Json::array();
  for (const auto& line : progress.result.history) history.push_back(to_json(line));
  out.metadata["identity"] = identity;
  out.metadata["progress"] = Json{
      {"phase", progress.phase},
      {"epoch", progress.epoch},
      {"total", progress.total},
      {"waited", progress.waited},
      {"best_value", number(progress.best_value)},
      {"best_epoch", progress.result.best_epoch},
      {"history", history}}.dump();
  write_checkpoint(path, out);
}

std::map<std::string, torch::Tensor> load_progress(const std::string& path, const std::string& identity,
                                                   models::Model& model, Progress& progress) {
  const auto checkpoint = read_checkpoint(path);
  const auto written = checkpoint.metadata.find("identity");
  const auto position = checkpoint.metadata.find("progress");
  TORCH_CHECK_VALUE(written != checkpoint.metadata.end() && position != checkpoint.metadata.end(), path,
                    ": holds a model but no run to resume");
  try {
    const auto differ = differences(parse_json(written->second, path), parse_json(identity, path));
    TORCH_CHECK_VALUE(differ.empty(), path, ": cannot resume, it was written by another run: ", join(differ, "; "));
    read_progress(parse_json(position->second, path), progress);
  } catch (const Json::exception& error) {
    TORCH_CHECK_VALUE(false, path, ": cannot resume, its record of the run is damaged (", json_reason(error), ")");
  }
  load_state(model, checkpoint.state, model.name());
  std::map<std::string, torch::Tensor> optimizer;
  for (const auto& [name, tensor] : checkpoint.training) {
    if (name.starts_with("best.")) progress.best[name.substr(5)] = tensor.clone();
    if (name.starts_with("optimizer.")) optimizer[name.substr(10)] = tensor.clone();
  }
  return optimizer;
}

}  // namespace polyscene::train
