#pragma once

#include <torch/torch.h>

#include <string>
#include <utility>
#include <vector>

namespace polyscene {

/// A parameter or buffer of a module under its dotted name.
struct NamedTensor {
  std::string name;
  torch::Tensor tensor;
  bool is_buffer = false;
};

/// Parameters and buffers in the order of a Python `state_dict`: of each module its parameters, its buffers, then its
/// children. A tensor that several names share is listed once, under the first; `torch::nn::Module::parameters()` lists
/// it twice.
std::vector<NamedTensor> named_tensors(const torch::nn::Module& module);

/// The other names of shared tensors: (alias, name in `named_tensors`).
std::vector<std::pair<std::string, std::string>> tied_tensors(const torch::nn::Module& module);

/// A module inside another one.
struct NamedChild {
  std::string path;  ///< dotted
  std::string type;  ///< class without namespace and "Impl"
  bool training = true;
};

/// All modules below `module`, parents first.
std::vector<NamedChild> named_children(const torch::nn::Module& module);

/// Sets the mode of the module at `path` ("" for `module` itself) and leaves that of the modules below it as it is.
/// Throws ValueError when there is none.
void set_training(torch::nn::Module& module, const std::string& path, bool on);

}  // namespace polyscene
