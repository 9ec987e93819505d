#include "polyscene/nn/sparse_matrix.h"

#include <algorithm>

#include "polyscene/core/interleave.h"
#include "polyscene/nn/simd.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

constexpr int64_t kPiece = 64;  // rows that a thread takes at a time: degrees differ
constexpr int64_t kAheadEntries = 8;

// kWidth columns of one row, summed in registers; `ahead` entries after its own are of rows to come.
template <int64_t kWidth, typename T>
POLYSCENE_INLINE void gather_block(const int32_t* columns, const float* values, int64_t entries, int64_t ahead,
                                   const T* x, T* out, int64_t width, bool add) {
  T sum[kWidth];
  for (int64_t d = 0; d < kWidth; ++d) sum[d] = add ? out[d] : T(0);
  for (int64_t j = 0; j < entries; ++j) {
    const T* next = x + columns[std::min(j + kAheadEntries, entries + ahead - 1)] * width;
    for (int64_t d = 0; d < kWidth; d += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(next + d);
    const T* from = x + columns[j] * width;
    const T w = values[j];
    for (int64_t d = 0; d < kWidth; ++d) sum[d] += w * from[d];
  }
  for (int64_t d = 0; d < kWidth; ++d) out[d] = sum[d];
}

template <typename T>
POLYSCENE_INLINE void gather_rows(const int64_t* offsets, const int32_t* columns, const float* values, const T* x,
                                  T* out, int64_t begin, int64_t end, int64_t width, bool add) {
  constexpr int64_t kWide = 256 / static_cast<int64_t>(sizeof(T)), kNarrow = 32 / static_cast<int64_t>(sizeof(T));
  for (int64_t r = begin; r < end; ++r) {
    const auto* column = columns + offsets[r];
    const auto* value = values + offsets[r];
    const auto entries = offsets[r + 1] - offsets[r], ahead = offsets[end] - offsets[r + 1];
    T* to = out + r * width;
    int64_t d = 0;
    for (; d + kWide <= width; d += kWide)
      gather_block<kWide>(column, value, entries, ahead, x + d, to + d, width, add);
    for (; d + kNarrow <= width; d += kNarrow)
      gather_block<kNarrow>(column, value, entries, ahead, x + d, to + d, width, add);
    for (; d < width; ++d) gather_block<1>(column, value, entries, ahead, x + d, to + d, width, add);
  }
}

#define POLYSCENE_SPARSE_KERNELS(T)                                                                                    \
  POLYSCENE_SIMD void rows_of(const int64_t* offsets, const int32_t* columns, const float* values, const T* x, T* out, \
                              int64_t begin, int64_t end, int64_t width, bool add) {                                   \
    gather_rows(offsets, columns, values, x, out, begin, end, width, add);                                             \
  }
POLYSCENE_SPARSE_KERNELS(float)
POLYSCENE_SPARSE_KERNELS(double)

void product_into(const Tensor& offsets, const Tensor& columns, const Tensor& values, const Tensor& given, Tensor& out,
                  bool add) {
  const auto x = given.contiguous();
  const auto rows = offsets.numel() - 1, width = x.size(1);
  if (out.numel() == 0) return;
  if (columns.numel() == 0) {
    if (!add) out.zero_();
    return;
  }
  const auto* at = offsets.const_data_ptr<int64_t>();
  const auto* column = columns.const_data_ptr<int32_t>();
  const auto* value = values.const_data_ptr<float>();
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "sparse_product", [&] {
    const auto* from = x.const_data_ptr<scalar_t>();
    auto* to = out.data_ptr<scalar_t>();
    interleaved_for(rows, kPiece,
                    [&](int64_t begin, int64_t end) { rows_of(at, column, value, from, to, begin, end, width, add); });
  });
}

Tensor product_of(const Tensor& offsets, const Tensor& columns, const Tensor& values, const Tensor& x) {
  auto out = torch::empty({offsets.numel() - 1, x.size(1)}, x.options());
  product_into(offsets, columns, values, x, out, /*add=*/false);
  return out;
}

// The matrix is no tensor: a node of the graph keeps it alive in a capsule. The gradient is a product again, so that it
// has a gradient itself.
class Product : public torch::autograd::Function<Product> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x,
                        const std::shared_ptr<const SparseMatrix>& matrix, bool transposed) {
    context->saved_data["matrix"] = torch::IValue::make_capsule(c10::make_intrusive<Held>(matrix));
    context->saved_data["transposed"] = transposed;
    return transposed ? matrix->transposed_times(x) : matrix->times(x);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradient) {
    const auto held = c10::static_intrusive_pointer_cast<Held>(context->saved_data["matrix"].toCapsule());
    return {apply(gradient[0], held->matrix, !context->saved_data["transposed"].toBool()), {}, {}};
  }

 private:
  struct Held : torch::CustomClassHolder {
    explicit Held(std::shared_ptr<const SparseMatrix> given) : matrix(std::move(given)) {}
    std::shared_ptr<const SparseMatrix> matrix;
  };
};

}  // namespace

SparseMatrix::SparseMatrix(Tensor offsets, Tensor columns, Tensor values, int64_t width)
    : offsets_(std::move(offsets)), columns_(std::move(columns)), values_(std::move(values)) {
  TORCH_CHECK_VALUE(offsets_.dim() == 1 && offsets_.numel() > 0 && columns_.dim() == 1 && values_.dim() == 1,
                    "SparseMatrix: offsets must be [R + 1], columns and values [n], got ", offsets_.sizes(), ", ",
                    columns_.sizes(), " and ", values_.sizes());
  offsets_ = offsets_.contiguous(), columns_ = columns_.contiguous(), values_ = values_.contiguous();
  const auto n = columns_.numel();
  const auto* at = offsets_.const_data_ptr<int64_t>();
  const auto* column = columns_.const_data_ptr<int32_t>();
  const auto* value = values_.const_data_ptr<float>();
  TORCH_CHECK_VALUE(at[0] == 0 && std::is_sorted(at, at + rows() + 1) && at[rows()] == n && values_.numel() == n,
                    "SparseMatrix: offsets must ascend from 0 to the number of entries, ", n,
                    ", and values be as many, got ", at[0], " to ", at[rows()], " and ", values_.numel());
  back_offsets_ = torch::zeros({width + 1}, torch::kInt64);
  back_rows_ = torch::empty({n}, torch::kInt32);
  back_values_ = torch::empty({n});
  auto* start = back_offsets_.data_ptr<int64_t>();
  for (int64_t j = 0; j < n; ++j) {
    TORCH_CHECK_INDEX(column[j] >= 0 && column[j] < width, "SparseMatrix: columns must be in [0, ", width, "), got ",
                      column[j]);
    ++start[column[j] + 1];
  }
  for (int64_t c = 0; c < width; ++c) start[c + 1] += start[c];
  std::vector<int64_t> next(start, start + width);
  for (int64_t r = 0; r < rows(); ++r) {
    for (auto j = at[r]; j < at[r + 1]; ++j) {
      const auto to = next[column[j]]++;
      back_rows_.data_ptr<int32_t>()[to] = static_cast<int32_t>(r);
      back_values_.data_ptr<float>()[to] = value[j];
    }
  }
}

Tensor SparseMatrix::to_dense() const {
  const auto row = torch::arange(rows()).repeat_interleave(offsets_.diff());
  return torch::zeros({rows(), columns()}).index_put_({row, columns_.to(torch::kInt64)}, values_, /*accumulate=*/true);
}

Tensor SparseMatrix::times(const Tensor& x) const {
  TORCH_CHECK_VALUE(x.dim() == 2 && x.size(0) == columns(), "SparseMatrix: x must be [", columns(), ", D], got ",
                    x.sizes());
  return product_of(offsets_, columns_, values_, x);
}

Tensor SparseMatrix::transposed_times(const Tensor& x) const {
  TORCH_CHECK_VALUE(x.dim() == 2 && x.size(0) == rows(), "SparseMatrix: x must be [", rows(), ", D], got ", x.sizes());
  return product_of(back_offsets_, back_rows_, back_values_, x);
}

void SparseMatrix::add_transposed_times(const Tensor& x, Tensor& out) const {
  TORCH_CHECK_VALUE(x.dim() == 2 && x.size(0) == rows(), "SparseMatrix: x must be [", rows(), ", D], got ", x.sizes());
  TORCH_CHECK_VALUE(out.dim() == 2 && out.size(0) == columns() && out.size(1) == x.size(1) && out.is_contiguous() &&
                        out.scalar_type() == x.scalar_type(),
                    "SparseMatrix: out must be contiguous [", columns(), ", ", x.size(1), "] of the type of x, got ",
                    out.sizes(), " of ", out.scalar_type());
  product_into(back_offsets_, back_rows_, back_values_, x, out, /*add=*/true);
}

Tensor sparse_product(const std::shared_ptr<const SparseMatrix>& matrix, const Tensor& x) {
  return Product::apply(x, matrix, false);
}

}  // namespace polyscene::nn
