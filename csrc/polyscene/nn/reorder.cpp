#include "polyscene/nn/reorder.h"

#include "polyscene/nn/plain.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

class Permute : public torch::autograd::Function<Permute> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& rows, const Tensor& order,
                        const Tensor& back) {
    ctx->save_for_backward({back});
    return rows.index_select(0, order);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "order_by: derivatives of higher order need a forward under PlainGuard");
    return {grads[0].index_select(0, ctx->get_saved_variables()[0]), Tensor(), Tensor()};
  }
};

Tensor permute(const Tensor& rows, const Tensor& order, const Tensor& back) {
  return plain({rows}) ? Permute::apply(rows, order, back) : rows.index_select(0, order);
}

}  // namespace

Tensor RowOrder::sort(const Tensor& rows) const { return permute(rows, order, back); }
Tensor RowOrder::unsort(const Tensor& rows) const { return permute(rows, back, order); }

RowOrder order_by(const Tensor& code, int64_t codes, const char* what, const char* where) {
  TORCH_CHECK_VALUE(code.dim() == 1 && code.scalar_type() == torch::kInt64, "order_by: code must be int64 [B], got ",
                    code.scalar_type(), " ", code.sizes());
  const auto here = code.cpu().contiguous();
  const auto rows = here.numel();
  const auto* of = here.const_data_ptr<int64_t>();
  RowOrder out{{std::vector<int64_t>(codes + 1, 0)}, torch::empty({rows}, torch::kInt64), {}};
  auto& offsets = out.groups.offsets;
  for (int64_t b = 0; b < rows; ++b) {
    TORCH_CHECK_INDEX(of[b] >= 0 && of[b] < codes, what, " are 0..", codes - 1, ", got ", of[b], " in ", where, " ", b);
    ++offsets[of[b] + 1];
  }
  for (int64_t k = 0; k < codes; ++k) offsets[k + 1] += offsets[k];
  out.back = torch::empty({rows}, torch::kInt64);
  auto *order = out.order.data_ptr<int64_t>(), *back = out.back.data_ptr<int64_t>();
  auto next = offsets;
  for (int64_t b = 0; b < rows; ++b) {
    back[b] = next[of[b]]++;
    order[back[b]] = b;
  }
  out.order = out.order.to(code.device());
  out.back = out.back.to(code.device());
  return out;
}

}  // namespace polyscene::nn
