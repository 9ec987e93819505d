#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

namespace polyscene::nn {

/// Which rows of a fused table belong to which field: row i of field f is row offsets[f] + i of the table.
struct FieldRows {
  std::vector<std::string> names;      ///< [F], for error messages
  std::vector<int64_t> offsets = {0};  ///< [F + 1], ascending

  int64_t size() const { return static_cast<int64_t>(names.size()); }
  int64_t rows(int64_t field) const { return offsets[field + 1] - offsets[field]; }
  int64_t total() const { return offsets.back(); }
  /// Appends a field with `rows` rows.
  void add(std::string name, int64_t rows);
};

/// One gather from a table that all fields share:
///
///   out[b, f] = weight[offsets[f] + index[b, f]]
///
/// Shapes: weight [V, D] with V >= fields.total() (a part of a table's fields will do), index int32 or int64 [B, F],
/// result [B, F, D].
///
/// Gradients are dense, or with `sparse` a coalesced COO tensor with the looked-up rows only. Both add up each row's
/// gradients in batch order, so their bits depend neither on the number of threads nor on `sparse`. A dense gradient
/// can be differentiated again, a sparse one cannot (NotImplementedError).
///
/// Runs raw loops on plain float32 and float64 CPU tensors, and ATen operators everywhere else (while tracing or
/// exporting, under function transforms, on other devices and types).
///
/// Throws IndexError that names field and batch row for an index outside [0, rows of the field), ValueError for shapes
/// that do not fit, TypeError for an index that is not an integer.
torch::Tensor lookup(const torch::Tensor& weight, const torch::Tensor& index, const FieldRows& fields,
                     bool sparse = false);

/// The same rows side by side and, where given, the columns of `beside` [B, M] after them, in one pass: what most
/// models read; [B, F D + M].
torch::Tensor lookup_flat(const torch::Tensor& weight, const torch::Tensor& index, const FieldRows& fields,
                          const torch::Tensor& beside, bool sparse = false);

}  // namespace polyscene::nn
