#pragma once

#include <torch/torch.h>

namespace polyscene::nn {

/// out = a b, out += a b or out = a b + bias, without autograd: products of many rows with a small matrix, as layers of
/// this library make them, forward and backward.
///
/// Shapes: a [M, K] with any strides, so that a transposed view costs nothing; b [K, N]; out [M, N] with contiguous
/// rows, that may lie in a wider tensor; bias [N]. float32 on a processor with AVX2 or AVX-512 runs in own kernels,
/// anything else in ATen's: the BLAS that torch ships takes a slower path on processors of some makers. Every element
/// is summed in an order of K that depends neither on the number of threads nor on M.
void product(const torch::Tensor& out, const torch::Tensor& a, const torch::Tensor& b, bool add = false,
             const torch::Tensor& bias = {});

/// A matrix that lies in a tensor, which must live as long: what a view of it would be, without the cost of making one.
struct Part {
  const torch::Tensor* whole;
  int64_t offset;  ///< from the first element of `whole`
  int64_t rows, columns;
  int64_t row, column;  ///< from an element to the one below it, and to the one beside it

  Part t() const { return {whole, offset, columns, rows, column, row}; }
  torch::Tensor view() const {
    return whole->as_strided({rows, columns}, {row, column}, whole->storage_offset() + offset);
  }
};

/// The same on parts, for many small products; the shapes must fit. `bias` [1, N] lies in a row; its `whole` is null
/// where there is none.
void product(const Part& out, const Part& a, const Part& b, bool add = false, const Part& bias = {});
/// The same where K is the long side, as for gradients of weights; rows of b must be contiguous. Elements are summed by
/// pieces of K.
void product_over_rows(const Part& out, const Part& a, const Part& b);

/// While it lives, `product` on this thread rounds float32 operands to bfloat16 and multiplies those with ATen's
/// kernels: about three decimal digits of each factor remain, sums are kept in float32 until the result is rounded
/// likewise.
class Bfloat16Guard {
 public:
  explicit Bfloat16Guard(bool on);
  ~Bfloat16Guard();
  Bfloat16Guard(const Bfloat16Guard&) = delete;
  Bfloat16Guard& operator=(const Bfloat16Guard&) = delete;

 private:
  bool before_;
};

}  // namespace polyscene::nn
