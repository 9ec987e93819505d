#include "polyscene/nn/scene_linear.h"

#include "polyscene/nn/gemm.h"
#include "polyscene/nn/plain.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

// Calls body(scene, expert, first row, end) for each product that has rows.
template <typename Body>
void for_products(const std::vector<int64_t>& offsets, int64_t experts, Body&& body) {
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    if (offsets[s] == offsets[s + 1]) continue;
    for (int64_t e = 0; e < experts; ++e) body(static_cast<int64_t>(s), e, offsets[s], offsets[s + 1]);
  }
}

// Rows begin .. end of one expert, [n, width]: a view with the stride of the whole.
Tensor piece(const Tensor& x, int64_t expert, int64_t begin, int64_t end) {
  return x.select(1, expert).narrow(0, begin, end - begin);
}

class SceneLinear : public torch::autograd::Function<SceneLinear> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& bias, const std::vector<int64_t>& offsets) {
    auto out = torch::empty({x.size(0), weight.size(1), weight.size(2)}, x.options());
    for_products(offsets, weight.size(1), [&](int64_t s, int64_t e, int64_t begin, int64_t end) {
      product(piece(out, e, begin, end), piece(x, e, begin, end), weight[s][e].t(), /*add=*/false,
              bias ? (*bias)[s][e] : Tensor());
    });
    ctx->save_for_backward({x, weight});
    ctx->saved_data["offsets"] = offsets;
    ctx->saved_data["bias"] = bias.has_value();
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                                "scene_linear: derivatives of higher order need a forward under PlainGuard");
    const auto saved = ctx->get_saved_variables();
    const auto& x = saved[0];
    const auto& weight = saved[1];
    const auto offsets = ctx->saved_data["offsets"].toIntVector();
    const auto grad = grads[0].contiguous();
    Tensor dx, dw, db;
    if (ctx->needs_input_grad(0)) dx = torch::empty(x.sizes(), x.options());
    if (ctx->needs_input_grad(1)) dw = torch::zeros(weight.sizes(), weight.options());
    if (ctx->saved_data["bias"].toBool() && ctx->needs_input_grad(2)) {
      db = torch::zeros({weight.size(0), weight.size(1), weight.size(2)}, weight.options());
    }
    for_products(offsets, weight.size(1), [&](int64_t s, int64_t e, int64_t begin, int64_t end) {
      const auto g = piece(grad, e, begin, end);
      if (dx.defined()) {
        product(piece(dx, e, begin, end), g, weight[s][e]);
      }
      if (dw.defined()) {
        product(dw[s][e], g.t(), piece(x, e, begin, end));
      }
      if (db.defined()) {
        auto to = db[s][e];
        at::sum_out(to, g, 0);
      }
    });
    return {dx, dw, db, Tensor()};
  }
};

// The same by operators that autograd knows.
Tensor by_operators(const Tensor& x, const Tensor& weight, const Tensor& bias, const SceneGroups& groups) {
  std::vector<Tensor> out;
  for (int64_t s = 0; s < groups.scenes(); ++s) {
    const auto rows = x.narrow(0, groups.offsets[s], groups.rows(s));  // [n, E, I]
    auto mine = torch::einsum("nei,eoi->neo", {rows, weight[s]});      // [n, E, O]
    out.push_back(bias.defined() ? mine + bias[s] : mine);
  }
  return torch::cat(out, 0);
}

}  // namespace

Tensor scene_linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const SceneGroups& groups) {
  TORCH_CHECK_VALUE(weight.dim() == 4 && weight.size(0) == groups.scenes(), "scene_linear: weight must be [",
                    groups.scenes(), ", E, O, I], one for each scene, got ", weight.sizes());
  TORCH_CHECK_VALUE(
      x.dim() == 3 && x.size(0) == groups.rows() && x.size(1) == weight.size(1) && x.size(2) == weight.size(3),
      "scene_linear: x must be [", groups.rows(), ", ", weight.size(1), ", ", weight.size(3), "], got ", x.sizes());
  TORCH_CHECK_VALUE(!bias.defined() || bias.sizes() == weight.sizes().slice(0, 3),
                    "scene_linear: bias must be [S, E, O] as weight has it, got ",
                    bias.defined() ? bias.sizes() : at::IntArrayRef());
  if (plain({x, weight, bias})) return SceneLinear::apply(x.contiguous(), weight, given(bias), groups.offsets);
  return by_operators(x, weight, bias, groups);
}

Tensor dense(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  TORCH_CHECK_VALUE(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1),
                    "dense: x must be [B, I] and weight [O, I], got ", x.sizes(), " and ", weight.sizes());
  if (!plain({x, weight, bias})) return bias.defined() ? torch::addmm(bias, x, weight.t()) : x.mm(weight.t());
  return SceneLinear::apply(x.contiguous().unsqueeze(1), weight.unsqueeze(0).unsqueeze(0),
                            bias.defined() ? given(bias.view({1, 1, -1})) : std::nullopt,
                            SceneGroups::all(x.size(0)).offsets)
      .squeeze(1);
}

}  // namespace polyscene::nn
