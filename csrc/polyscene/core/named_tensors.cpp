#include "polyscene/core/named_tensors.h"

#include <unordered_map>

#include "polyscene/core/errors.h"

namespace polyscene {
namespace {

std::string dotted(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

// Visits (name, tensor, is_buffer), shared tensors as often as they are named.
template <typename Visitor>
void visit_tensors(const torch::nn::Module& module, const std::string& prefix, Visitor& visit) {
  for (const auto& item : module.named_parameters(/*recurse=*/false)) {
    visit(dotted(prefix, item.key()), item.value(), false);
  }
  for (const auto& item : module.named_buffers(/*recurse=*/false)) {
    visit(dotted(prefix, item.key()), item.value(), true);
  }
  for (const auto& child : module.named_children()) visit_tensors(*child.value(), dotted(prefix, child.key()), visit);
}

void visit_children(const torch::nn::Module& module, const std::string& prefix, std::vector<NamedChild>& out) {
  for (const auto& child : module.named_children()) {
    const auto path = dotted(prefix, child.key());
    auto type = child.value()->name();
    type = type.substr(type.rfind(':') + 1);
    if (type.ends_with("Impl")) type.resize(type.size() - 4);
    out.push_back({path, type, child.value()->is_training()});
    visit_children(*child.value(), path, out);
  }
}

// Parents before children, so that restoring in this order ends with every module's own mode.
void collect_modes(const torch::nn::Module& module,
                   std::vector<std::pair<std::shared_ptr<torch::nn::Module>, bool>>& out) {
  for (const auto& child : module.children()) {
    out.emplace_back(child, child->is_training());
    collect_modes(*child, out);
  }
}

}  // namespace

std::vector<NamedTensor> named_tensors(const torch::nn::Module& module) {
  std::vector<NamedTensor> out;
  std::unordered_map<const c10::TensorImpl*, std::string> seen;
  auto add = [&](const std::string& name, const torch::Tensor& tensor, bool is_buffer) {
    if (!tensor.defined()) return;
    if (seen.emplace(tensor.unsafeGetTensorImpl(), name).second) out.push_back({name, tensor, is_buffer});
  };
  visit_tensors(module, "", add);
  return out;
}

std::vector<std::pair<std::string, std::string>> tied_tensors(const torch::nn::Module& module) {
  std::vector<std::pair<std::string, std::string>> out;
  std::unordered_map<const c10::TensorImpl*, std::string> seen;
  auto add = [&](const std::string& name, const torch::Tensor& tensor, bool) {
    if (!tensor.defined()) return;
    const auto [first, is_new] = seen.emplace(tensor.unsafeGetTensorImpl(), name);
    if (!is_new) out.emplace_back(name, first->second);
  };
  visit_tensors(module, "", add);
  return out;
}

std::vector<NamedChild> named_children(const torch::nn::Module& module) {
  std::vector<NamedChild> out;
  visit_children(module, "", out);
  return out;
}

void set_training(torch::nn::Module& module, const std::string& path, bool on) {
  torch::nn::Module* found = &module;
  std::shared_ptr<torch::nn::Module> holder;
  for (size_t begin = 0; begin < path.size();) {
    const auto end = std::min(path.find('.', begin), path.size());
    const auto children = found->named_children();
    const auto* child = children.find(path.substr(begin, end - begin));
    TORCH_CHECK_VALUE(child, "set_training: there is no module '", path, "'");
    holder = *child;
    found = holder.get();
    begin = end + 1;
  }
  std::vector<std::pair<std::shared_ptr<torch::nn::Module>, bool>> modes;
  collect_modes(*found, modes);
  found->train(on);
  for (const auto& [child, mode] : modes) child->train(mode);
}

}  // namespace polyscene
