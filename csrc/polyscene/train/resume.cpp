#include "polyscene/train/resume.h"

#include <cmath>

#include "polyscene/core/json.h"
#include "polyscene/train/checkpoint.h"

namespace polyscene::train {
namespace {

bool smaller_is_better(const std::string& metric) { return metric == "log_loss" || metric == "rmse" || metric == "mae"; }

// JSON has no NaN.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
double number(const Json& value) { return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>(); }

Json to_json(const Epoch& line) {
  Json valid = Json::object();
  for (const auto& [name, value] : line.valid) valid[name] = number(value);
  return {{"epoch", line.epoch},     {"phase", line.phase},           {"train_loss", number(line.train_loss)}, {"valid", valid},
          {"seconds", line.seconds}, {"rows_per_s", line.rows_per_s}, {"best", line.best}};
}

Epoch epoch_from(const Json& json) {
  Epoch line{json["epoch"], json["phase"], number(json["train_loss"])};
  for (const auto& [name, value] : json["valid"].items()) line.valid[name] = number(value);
  line.seconds = json["seconds"];
  line.rows_per_s = json["rows_per_s"];
  line.best = json["best"];
  return line;
}

}  // namespace

bool Progress::improves(const Epoch& line, const std::string& monitor) {
  if (monitor.empty()) return true;
  const double value = line.valid.at(monitor);
  if (std::isnan(value)) return false;
  const bool better = std::isnan(best_value) || (!smaller_is_better(monitor) ? value > best_value : value < best_value);
  if (better) best_value = value;
  return better;
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
  // More epochs, more patience or more threads of the same run are no other run.
  for (const auto& [name, value] : to_map(options)) {
    if (name != "epochs" && name != "patience" && name != "threads") out["train_options"][name] = polyscene::to_json(value);
  }
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
  out.metadata["progress"] = Json{{"phase", progress.phase},
                                  {"epoch", progress.epoch},
                                  {"total", progress.total},
                                  {"waited", progress.waited},
                                  {"best_value", number(progress.best_value)},
                                  {"best_epoch", progress.result.best_epoch},
                                  {"history", history}}
                                 .dump();
  write_checkpoint(path, out);
}

std::map<std::string, torch::Tensor> load_progress(const std::string& path, const std::string& identity, models::Model& model,
                                                   Progress& progress) {
  const auto checkpoint = read_checkpoint(path);
  const auto written = checkpoint.metadata.find("identity");
  TORCH_CHECK_VALUE(written != checkpoint.metadata.end(), path, ": holds a model but no run to resume");
  if (written->second != identity) {
    const auto before = parse_json(written->second, path), now = parse_json(identity, path);
    std::vector<std::string> differ;
    for (const auto& [key, value] : now.items()) {
      if (!before.contains(key) || before[key] != value) differ.push_back(key);
    }
    TORCH_CHECK_VALUE(false, path, ": cannot resume, the run that wrote it differs in: ", join(differ));
  }
  load_state(model, checkpoint.state, model.name());
  const auto position = parse_json(checkpoint.metadata.at("progress"), path);
  progress.phase = position["phase"];
  progress.epoch = position["epoch"];
  progress.total = position["total"];
  progress.waited = position["waited"];
  progress.best_value = number(position["best_value"]);
  progress.result.best_epoch = position["best_epoch"];
  for (const auto& line : position["history"]) progress.result.history.push_back(epoch_from(line));
  std::map<std::string, torch::Tensor> optimizer;
  for (const auto& [name, tensor] : checkpoint.training) {
    if (name.starts_with("best.")) progress.best[name.substr(5)] = tensor.clone();
    if (name.starts_with("optimizer.")) optimizer[name.substr(10)] = tensor.clone();
  }
  return optimizer;
}

}  // namespace polyscene::train
