#pragma once

#include <torch/torch.h>

#include <memory>

namespace polyscene::nn {

/// A sparse matrix [R, C] by rows and, for gradients, by columns. It never requires a gradient itself.
class SparseMatrix {
 public:
  /// offsets int64 [R + 1], columns int32 [n] in [0, C), values float32 [n]. Throws ValueError for shapes that do not
  /// fit, IndexError for a column outside.
  SparseMatrix(torch::Tensor offsets, torch::Tensor columns, torch::Tensor values, int64_t width);

  int64_t rows() const { return offsets_.numel() - 1; }
  int64_t columns() const { return back_offsets_.numel() - 1; }
  int64_t entries() const { return columns_.numel(); }
  const torch::Tensor& offsets() const { return offsets_; }
  const torch::Tensor& indices() const { return columns_; }
  const torch::Tensor& values() const { return values_; }
  torch::Tensor to_dense() const;  ///< [R, C]

  /// A x, [R, D], and A' x, [C, D]; x float32 or float64. Rows are dealt to threads, each is summed in order, so the
  /// bits do not depend on their number.
  torch::Tensor times(const torch::Tensor& x) const;
  torch::Tensor transposed_times(const torch::Tensor& x) const;
  /// out += A' x; out contiguous [C, D] of the same type.
  void add_transposed_times(const torch::Tensor& x, torch::Tensor& out) const;

 private:
  torch::Tensor offsets_, columns_, values_;
  torch::Tensor back_offsets_, back_rows_, back_values_;  // by columns
};

/// A x with its gradient for x, A' g. Memory is that of the result, whatever the entries.
torch::Tensor sparse_product(const std::shared_ptr<const SparseMatrix>& matrix, const torch::Tensor& x);

}  // namespace polyscene::nn
