#pragma once

#include <torch/torch.h>

#include <map>
#include <string>

namespace polyscene {

/// Tensors and texts of one safetensors file (https://github.com/huggingface/safetensors): data without code, read by
/// Python's `safetensors` as well.
struct SafetensorsFile {
  std::map<std::string, torch::Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// Opens a file. The tensors look into a private, memory-mapped view that lives as long as any of them: pages are read
/// when touched and never count as anonymous memory; writing to a tensor changes neither the file nor other readers.
/// Throws ValueError that names the file and the tensor when the file cannot be read or is not a whole safetensors
/// file.
SafetensorsFile read_safetensors(const std::string& path);

/// Writes a file, whole or not at all: it appears under `path` only when all of it is on disk, an earlier file stays
/// otherwise. Throws ValueError for tensors that cannot be stored, RuntimeError ("cannot write 'PATH': No space left on
/// device") else.
void write_safetensors(const std::string& path, const std::map<std::string, torch::Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace polyscene
