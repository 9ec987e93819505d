#include "polyscene/nn/lookup.h"

#include <ATen/Parallel.h>
#include <ATen/TensorSubclassLikeUtils.h>
#include <torch/csrc/jit/frontend/tracer.h>

#include <atomic>
#include <bit>
#include <cstring>
#include <limits>

#include "polyscene/core/interleave.h"
#include "polyscene/nn/int8_rows.h"
#include "polyscene/nn/plain.h"
#include "polyscene/nn/simd.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

constexpr int64_t kGrain = 4096;  // floats per task below which threads cost more than they save
constexpr int64_t kAhead = 4;     // batch rows whose table rows are on their way while one is copied

// Calls body(width) where width is a compile-time constant for the usual table widths: copies and sums then unroll.
template <typename Body>
void with_width(int64_t width, Body&& body) {
  switch (width) {
    case 1:
      return body(std::integral_constant<int64_t, 1>());
    case 8:
      return body(std::integral_constant<int64_t, 8>());
    case 16:
      return body(std::integral_constant<int64_t, 16>());
    case 32:
      return body(std::integral_constant<int64_t, 32>());
    case 64:
      return body(std::integral_constant<int64_t, 64>());
    default:
      return body(width);
  }
}

template <typename Body>
void with_index(const Tensor& index, Body&& body) {
  if (index.scalar_type() == torch::kInt32) return body(index.const_data_ptr<int32_t>());
  return body(index.const_data_ptr<int64_t>());
}

[[noreturn]] void refuse_index(int64_t value, int64_t row, int64_t field, const FieldRows& fields) {
  TORCH_CHECK_INDEX(false, "lookup: field '", fields.names[field], "' has rows 0..", fields.rows(field) - 1, ", got ",
                    value, " in batch row ", row, "; was the batch encoded with another schema?");
}

// `stride`: from one batch row of out to the next.
template <typename scalar_t, typename index_t>
void gather_rows(const scalar_t* weight, const index_t* index, const FieldRows& fields, int64_t batch, int64_t width,
                 scalar_t* out, int64_t stride) {
  const int64_t count = fields.size();
  const int64_t* offsets = fields.offsets.data();
  std::atomic<int64_t> bad{std::numeric_limits<int64_t>::max()};
  with_width(width, [&](auto columns) {
    const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, count * columns));
    at::parallel_for(0, batch, grain, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        for (int64_t f = 0; f < count && b + kAhead < end; ++f) {
          __builtin_prefetch(weight + (offsets[f] + index[(b + kAhead) * count + f]) * columns);
        }
        for (int64_t f = 0; f < count; ++f) {
          const int64_t at = b * count + f;
          const int64_t row = offsets[f] + index[at];
          if (index[at] < 0 || row >= offsets[f + 1]) {
            // The first bad one whatever the threads do: errors are reproducible too.
            int64_t seen = bad.load();
            while (at < seen && !bad.compare_exchange_weak(seen, at)) {
            }
            return;
          }
          std::memcpy(out + b * stride + f * columns, weight + row * columns, columns * sizeof(scalar_t));
        }
      }
    });
  });
  if (const int64_t at = bad.load(); at != std::numeric_limits<int64_t>::max()) {
    refuse_index(index[at], at / count, at % count, fields);
  }
}

constexpr int64_t kSlots = 64;  // batch rows that a thread adds for all of its fields before it goes on

// Rows of one field that a batch looked up: a bit each, and in front of each word of bits how many there are. By
// counting bits a row's place among them is found without a sort or a hash table.
struct FieldBits {
  uint64_t* bits;
  int32_t* before;
};

template <typename index_t>
POLYSCENE_INLINE void set_bits(const index_t* index, int64_t batch, int64_t count, uint64_t* bits) {
  for (int64_t b = 0; b < batch; ++b) bits[index[b * count] >> 6] |= uint64_t{1} << (index[b * count] & 63);
}

// Fills `before`; the number of all.
POLYSCENE_INLINE int64_t count_bits(const uint64_t* bits, int64_t words, int32_t* before) {
  int64_t sum = 0;
  for (int64_t word = 0; word < words; ++word) {
    before[word] = static_cast<int32_t>(sum);
    sum += std::popcount(bits[word]);
  }
  return sum;
}

// sums[place of index[b]] += grad[b] for at most kSlots rows of one field; without bits a row's place is the row
// itself.
template <typename scalar_t, typename index_t, typename Width>
POLYSCENE_INLINE void add_field(const scalar_t* grad, int64_t stride, const index_t* index, int64_t rows, int64_t count,
                                FieldBits field, scalar_t* sums, Width width) {
  int64_t places[kSlots];
  for (int64_t b = 0; b < rows; ++b) {
    const int64_t row = index[b * count];
    const uint64_t below = (uint64_t{1} << (row & 63)) - 1;
    places[b] = field.bits ? field.before[row >> 6] + std::popcount(field.bits[row >> 6] & below) : row;
  }
  for (int64_t b = 0; b < rows; ++b) {
    const scalar_t* from = grad + b * stride;
    scalar_t* sum = sums + places[b] * width;
    for (int64_t d = 0; d < width; ++d) sum[d] += from[d];
  }
}

// The usual width and any other, for each generation of processors.
#define POLYSCENE_FIELD_KERNELS(T, I)                                                                         \
  POLYSCENE_SIMD int64_t mark(const I* index, int64_t batch, int64_t count, FieldBits field, int64_t words) { \
    set_bits(index, batch, count, field.bits);                                                                \
    return count_bits(field.bits, words, field.before);                                                       \
  }                                                                                                           \
  POLYSCENE_FIELD_SUMS(float, I)                                                                              \
  POLYSCENE_FIELD_SUMS(double, I)
#define POLYSCENE_FIELD_SUMS(T, I)                                                                        \
  POLYSCENE_SIMD void add_16(const T* grad, int64_t stride, const I* index, int64_t rows, int64_t count,  \
                             FieldBits field, T* sums) {                                                  \
    add_field(grad, stride, index, rows, count, field, sums, std::integral_constant<int64_t, 16>());      \
  }                                                                                                       \
  POLYSCENE_SIMD void add_any(const T* grad, int64_t stride, const I* index, int64_t rows, int64_t count, \
                              FieldBits field, T* sums, int64_t width) {                                  \
    add_field(grad, stride, index, rows, count, field, sums, width);                                      \
  }

POLYSCENE_FIELD_KERNELS(float, int32_t)
POLYSCENE_FIELD_KERNELS(double, int64_t)
#undef POLYSCENE_FIELD_KERNELS
#undef POLYSCENE_FIELD_SUMS

// body(first, step): fields first, first + step, ... for each thread. Dealt in turn, because large ones, that miss the
// cache, often stand side by side; fields own disjoint rows of the table, so threads never meet.
template <typename Body>
void for_fields(int64_t count, int64_t floats, Body&& body) {
  const int64_t threads = std::min({threads_here(), count, std::max<int64_t>(1, floats / kGrain)});
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t thread = begin; thread < end; ++thread) body(thread, threads);
  });
}

// sums_of(f)[place of index[b, f]] += grad[b, f] in batch order, for fields first, first + step, ...
template <typename scalar_t, typename index_t, typename Bits, typename Sums>
void add_rows(const scalar_t* grad, int64_t stride, const index_t* index, int64_t batch, int64_t count, int64_t width,
              int64_t first, int64_t step, const Bits& bits_of, const Sums& sums_of) {
  for (int64_t begin = 0; begin < batch; begin += kSlots) {
    const int64_t rows = std::min(kSlots, batch - begin);
    for (int64_t f = first; f < count; f += step) {
      const scalar_t* from = grad + begin * stride + f * width;
      const index_t* at = index + begin * count + f;
      if (width == 16) {
        add_16(from, stride, at, rows, count, bits_of(f), sums_of(f));
      } else {
        add_any(from, stride, at, rows, count, bits_of(f), sums_of(f), width);
      }
    }
  }
}

Tensor dense_gradient(const Tensor& grad, const Tensor& index, const std::vector<int64_t>& offsets, int64_t total,
                      int64_t width) {
  const int64_t batch = index.size(0), count = index.size(1);
  auto out = torch::zeros({total, width}, grad.options());
  AT_DISPATCH_FLOATING_TYPES(grad.scalar_type(), "lookup_backward", [&] {
    const auto* from = grad.const_data_ptr<scalar_t>();
    auto* to = out.data_ptr<scalar_t>();
    with_index(index, [&](const auto* rows) {
      for_fields(count, batch * count * width, [&](int64_t first, int64_t step) {
        add_rows(
            from, grad.stride(0), rows, batch, count, width, first, step, [](int64_t) { return FieldBits{}; },
            [&](int64_t f) { return to + offsets[f] * width; });
      });
    });
  });
  return out;
}

Tensor sparse_gradient(const Tensor& grad, const Tensor& index, const std::vector<int64_t>& offsets, int64_t total,
                       int64_t width) {
  const int64_t batch = index.size(0), count = index.size(1), floats = batch * count * width;
  std::vector<int64_t> word(count + 1, 0), first(count + 1, 0);  // of each field's bits, and of its distinct rows
  for (int64_t f = 0; f < count; ++f) word[f + 1] = word[f] + (offsets[f + 1] - offsets[f] + 63) / 64;
  std::vector<uint64_t> bits(word[count], 0);
  std::vector<int32_t> before(word[count]);
  const auto bits_of = [&](int64_t f) { return FieldBits{bits.data() + word[f], before.data() + word[f]}; };
  Tensor rows_out, values;
  with_index(index, [&](const auto* rows) {
    for_fields(count, floats, [&](int64_t thread, int64_t threads) {
      for (int64_t f = thread; f < count; f += threads) {
        first[f + 1] = mark(rows + f, batch, count, bits_of(f), word[f + 1] - word[f]);
      }
    });
    for (int64_t f = 0; f < count; ++f) first[f + 1] += first[f];
    rows_out = torch::empty({1, first[count]}, torch::kInt64);
    values = torch::empty({first[count], width}, grad.options());
    AT_DISPATCH_FLOATING_TYPES(grad.scalar_type(), "lookup_backward", [&] {
      const auto* from = grad.const_data_ptr<scalar_t>();
      auto* to = values.data_ptr<scalar_t>();
      for_fields(count, floats, [&](int64_t thread, int64_t threads) {
        for (int64_t f = thread; f < count; f += threads) {
          auto* row_out = rows_out.data_ptr<int64_t>() + first[f];
          for (int64_t w = word[f]; w < word[f + 1]; ++w) {
            for (uint64_t left = bits[w]; left != 0; left &= left - 1) {
              *row_out++ = offsets[f] + (w - word[f]) * 64 + std::countr_zero(left);
            }
          }
          std::fill(to + first[f] * width, to + first[f + 1] * width, scalar_t(0));
        }
        add_rows(from, grad.stride(0), rows, batch, count, width, thread, threads, bits_of,
                 [&](int64_t f) { return to + first[f] * width; });
      });
    });
  });
  return at::_sparse_coo_tensor_unsafe(rows_out, values, {total, width}, grad.options().layout(torch::kSparse),
                                       /*is_coalesced=*/true);
}

// Rows of the fused table, [B, F].
Tensor fused_rows(const Tensor& index, const std::vector<int64_t>& offsets) {
  const std::vector<int64_t> first(offsets.begin(), offsets.end() - 1);
  return index.to(torch::kInt64) + torch::tensor(first, torch::kInt64).to(index.device());
}

// Table rows side by side and, where given, more columns after them: [B, F D + M].
class Lookup : public torch::autograd::Function<Lookup> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& weight, const Tensor& index,
                        const std::optional<Tensor>& beside, const FieldRows* fields, bool sparse) {
    const int64_t batch = index.size(0), width = weight.size(1), count = fields->size();
    const int64_t more = beside ? beside->size(1) : 0, stride = count * width + more;
    auto out = torch::empty({batch, stride}, weight.options());
    AT_DISPATCH_FLOATING_TYPES(weight.scalar_type(), "lookup", [&] {
      auto* to = out.data_ptr<scalar_t>();
      with_index(index, [&](const auto* rows) {
        gather_rows(weight.const_data_ptr<scalar_t>(), rows, *fields, batch, width, to, stride);
      });
      if (more == 0) return;
      const auto* from = beside->const_data_ptr<scalar_t>();
      for (int64_t b = 0; b < batch; ++b) std::copy_n(from + b * more, more, to + b * stride + count * width);
    });
    ctx->save_for_backward({index});
    ctx->saved_data["offsets"] = fields->offsets;
    ctx->saved_data["rows"] = weight.size(0);
    ctx->saved_data["width"] = width;
    ctx->saved_data["sparse"] = sparse;
    ctx->saved_data["beside"] = beside.has_value();
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    const auto index = ctx->get_saved_variables()[0];
    const auto offsets = ctx->saved_data["offsets"].toIntVector();
    const auto total = ctx->saved_data["rows"].toInt(), width = ctx->saved_data["width"].toInt();
    const bool sparse = ctx->saved_data["sparse"].toBool();
    const auto used = index.size(1) * width;
    Tensor out, more;
    if (ctx->saved_data["beside"].toBool() && ctx->needs_input_grad(2)) {
      more = grads[0].narrow(1, used, grads[0].size(1) - used);
    }
    if (at::GradMode::is_enabled() || at::isTensorSubclassLike(grads[0])) {
      TORCH_CHECK_NOT_IMPLEMENTED(!sparse,
                                  "lookup: sparse gradients have no second derivative; turn them off "
                                  "(sparse_gradients(False)) or call backward without create_graph");
      const auto slots = grads[0].narrow(1, 0, used).unflatten(1, {index.size(1), width});
      out = at::embedding_dense_backward(slots, fused_rows(index, offsets), total, -1, false);
    } else {
      const auto grad = grads[0].contiguous();
      out = sparse ? sparse_gradient(grad, index, offsets, total, width)
                   : dense_gradient(grad, index, offsets, total, width);
    }
    return {out, Tensor(), more, Tensor(), Tensor()};
  }
};

// The index must be as plain as the weight; `plain` wants one floating type of all it is given.
bool takes_raw_loops(const Tensor& weight, const Tensor& index) {
  return plain({weight}) && weight.is_contiguous() && index.device().is_cpu() && !at::isTensorSubclassLike(index);
}

void check_shapes(const Tensor& weight, const Tensor& index, const FieldRows& fields) {
  TORCH_CHECK_VALUE(weight.dim() == 2 && weight.size(0) >= fields.total(),
                    "lookup: weight must be [V, D] with V >= ", fields.total(), ", got ", weight.sizes());
  TORCH_CHECK_VALUE(index.dim() == 2 && index.size(1) == fields.size(), "lookup: index must be [B, ", fields.size(),
                    "], one column per field, got ", index.sizes());
  TORCH_CHECK_TYPE(index.scalar_type() == torch::kInt32 || index.scalar_type() == torch::kInt64,
                   "lookup: index must be int32 or int64, got ", index.scalar_type());
}

void check_index(const Tensor& index, const FieldRows& fields) {
  for (int64_t f = 0; f < fields.size(); ++f) {
    const auto column = index.select(1, f);
    const auto bad = ((column < 0) | (column >= fields.rows(f))).nonzero();
    if (bad.numel() == 0) continue;
    const auto row = bad[0][0].item<int64_t>();
    refuse_index(column[row].item<int64_t>(), row, f, fields);
  }
}

}  // namespace

void FieldRows::add(std::string name, int64_t rows) {
  TORCH_CHECK_VALUE(rows > 0, "FieldRows: field '", name, "' needs at least one row, got ", rows);
  names.push_back(std::move(name));
  offsets.push_back(offsets.back() + rows);
}

Tensor lookup_flat(const Tensor& weight, const Tensor& index, const FieldRows& fields, const Tensor& beside,
                   bool sparse) {
  check_shapes(weight, index, fields);
  TORCH_CHECK_VALUE(!beside.defined() || (beside.dim() == 2 && beside.size(0) == index.size(0)),
                    "lookup: beside must be [", index.size(0), ", M], got ",
                    beside.defined() ? beside.sizes() : at::IntArrayRef());
  if (takes_raw_loops(weight, index) && plain({weight, beside})) {
    return Lookup::apply(weight, index.contiguous(), given(beside.defined() ? beside.contiguous() : beside), &fields,
                         sparse);
  }
  if (!torch::jit::tracer::isTracing() && !at::isTensorSubclassLike(index) && !index.is_meta()) {
    check_index(index, fields);
  }
  const auto slots = at::embedding(weight, fused_rows(index, fields.offsets), -1, false, sparse).flatten(1);
  return beside.defined() ? torch::cat({slots, beside}, 1) : slots;
}

Tensor lookup(const Tensor& weight, const Tensor& index, const FieldRows& fields, bool sparse) {
  if (weight.scalar_type() != torch::kInt8) {
    const auto flat = lookup_flat(weight, index, fields, {}, sparse);
    return flat.view({flat.size(0), fields.size(), weight.size(1)});
  }
  check_shapes(weight, index, fields);
  const auto out = lookup_int8(weight, index.contiguous(), fields);
  if (!out.defined()) check_index(index, fields);
  return out;
}

}  // namespace polyscene::nn
