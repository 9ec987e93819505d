#include "polyscene/train/checkpoint.h"

#include <set>

#include "polyscene/core/json.h"
#include "polyscene/core/safetensors.h"
#include "polyscene/core/version.h"
#include "polyscene/models/int8_tables.h"
#include "polyscene/models/registry.h"

namespace polyscene::train {
namespace {

constexpr const char* kFormat = "1";

std::map<std::string, torch::Tensor> with_prefix(const std::map<std::string, torch::Tensor>& tensors,
                                                 const std::string& prefix) {
  std::map<std::string, torch::Tensor> out;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(prefix)) out[name.substr(prefix.size())] = tensor;
  }
  return out;
}

std::string text_of(const std::map<std::string, std::string>& metadata, const std::string& key,
                    const std::string& path) {
  const auto found = metadata.find(key);
  TORCH_CHECK_VALUE(found != metadata.end(), path, ": not a polyscene model, its metadata has no '", key, "'");
  return found->second;
}

Checkpoint parse_checkpoint(const SafetensorsFile& file, const std::string& path) {
  const auto format = text_of(file.metadata, "polyscene_format", path);
  TORCH_CHECK_VALUE(format == kFormat, path, ": model format must be ", kFormat, ", got ", format,
                    "; a newer polyscene wrote it");
  Checkpoint out;
  out.model = text_of(file.metadata, "model", path);
  out.options = option_map(parse_json(text_of(file.metadata, "options", path), path), "options");
  out.schema = data::Schema::from(text_of(file.metadata, "schema", path), with_prefix(file.tensors, "schema."));
  if (const auto history = with_prefix(file.tensors, "history."); !history.empty()) {
    out.history = data::History::from(out.schema, history);
  }
  out.state = with_prefix(file.tensors, "model.");
  out.training = with_prefix(file.tensors, "training.");
  const auto aliases = parse_json(text_of(file.metadata, "aliases", path), path);
  for (const auto& [alias, name] : aliases.items()) {
    const auto found = out.state.find(name.get<std::string>());
    TORCH_CHECK_VALUE(found != out.state.end(), path, ": alias '", alias, "' of a tensor that is not there");
    out.state[alias] = found->second;
  }
  static const std::set<std::string> kOwn = {"format", "polyscene_format", "model", "options", "schema", "aliases"};
  for (const auto& [name, text] : file.metadata) {
    if (!kOwn.contains(name)) out.metadata[name] = text;
  }
  return out;
}

}  // namespace

void write_checkpoint(const std::string& path, const Checkpoint& checkpoint) {
  std::map<std::string, torch::Tensor> tensors;
  std::map<std::pair<const void*, int64_t>, std::string> written;
  Json aliases = Json::object();
  for (const auto& [name, tensor] : checkpoint.state) {
    const auto key = std::make_pair(static_cast<const void*>(tensor.const_data_ptr()), tensor.numel());
    const auto [found, fresh] = written.emplace(key, name);
    if (fresh || tensor.numel() == 0) {
      tensors["model." + name] = tensor.detach();
    } else {
      aliases[name] = found->second;
    }
  }
  for (const auto& [name, tensor] : checkpoint.training) tensors["training." + name] = tensor.detach();
  for (const auto& [name, tensor] : checkpoint.schema->tensors()) tensors["schema." + name] = tensor;
  if (checkpoint.history) {
    for (const auto& [name, tensor] : checkpoint.history->tensors()) tensors["history." + name] = tensor;
  }
  auto metadata = checkpoint.metadata;
  metadata["format"] = "pt";  // what readers of safetensors files look for
  metadata["polyscene_format"] = kFormat;
  metadata["polyscene_version"] = core::version();
  metadata["model"] = checkpoint.model;
  metadata["options"] = to_json(checkpoint.options).dump();
  metadata["schema"] = checkpoint.schema->json();
  metadata["aliases"] = aliases.dump();
  write_safetensors(path, tensors, metadata);
}

Checkpoint read_checkpoint(const std::string& path) {
  const auto file = read_safetensors(path);
  try {
    return parse_checkpoint(file, path);
  } catch (const c10::Error& error) {
    const std::string why = error.what_without_backtrace();
    TORCH_CHECK_VALUE(false, why.starts_with(path) ? "" : path + ": not a readable model: ", why);
  } catch (const Json::exception& error) {
    TORCH_CHECK_VALUE(false, path, ": not a readable model: ", json_reason(error));
  }
}

std::map<std::string, torch::Tensor> state_of(const torch::nn::Module& module) {
  std::map<std::string, torch::Tensor> out;
  for (const auto& entry : module.named_parameters()) out[entry.key()] = entry.value().detach();
  for (const auto& entry : module.named_buffers()) out[entry.key()] = entry.value().detach();
  return out;
}

void load_state(torch::nn::Module& module, const std::map<std::string, torch::Tensor>& state,
                const std::string& owner) {
  const auto own = state_of(module);
  std::vector<std::string> wrong;
  for (const auto& [name, tensor] : own) {
    const auto found = state.find(name);
    if (found == state.end()) {
      wrong.push_back("'" + name + "' is missing");
    } else if (found->second.sizes() != tensor.sizes()) {
      wrong.push_back("'" + name + "' has shape " + c10::str(found->second.sizes()) + ", wanted " +
                      c10::str(tensor.sizes()));
    }
  }
  for (const auto& [name, tensor] : state) {
    if (!own.contains(name)) wrong.push_back("'" + name + "' is unexpected");
  }
  TORCH_CHECK_VALUE(wrong.empty(), owner, ": the saved tensors do not fit: ", join(wrong, "; "));
  const torch::NoGradGuard no_grad;
  const auto copy = [&](const std::string& name, torch::Tensor tensor) {
    const auto& given = state.at(name);
    // A model saved in float64 stays one.
    if (given.scalar_type() != tensor.scalar_type()) tensor.set_data(tensor.to(given.scalar_type()));
    tensor.copy_(given);
  };
  for (const auto& entry : module.named_parameters()) copy(entry.key(), entry.value());
  for (const auto& entry : module.named_buffers()) copy(entry.key(), entry.value());
}

void save_model(const models::Model& model, const std::string& path) {
  write_checkpoint(path, {model.name(), model.options_map(), model.schema_ptr(), model.history(), state_of(model), {}});
}

std::shared_ptr<models::Model> load_model(const std::string& path) {
  const auto checkpoint = read_checkpoint(path);
  auto model = models::create(checkpoint.model, checkpoint.schema, checkpoint.options);
  models::expect_int8(*model, checkpoint.state);
  load_state(*model, checkpoint.state, checkpoint.model);
  if (checkpoint.history) model->set_history(checkpoint.history);
  model->eval();
  return model;
}

}  // namespace polyscene::train
