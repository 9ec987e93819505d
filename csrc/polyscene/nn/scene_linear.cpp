#include "polyscene/nn/scene_linear.h"

#include <algorithm>

#include "polyscene/nn/gemm.h"
#include "polyscene/nn/plain.h"

namespace polyscene::nn {
namespace {

using torch::Tensor;

constexpr int64_t kBiasRows = 16384;  // rows that are summed at once

// Calls body(scene, expert, first row, end) for each product that has rows.
template <typename Body>
void for_products(const std::vector<int64_t>& offsets, int64_t experts, Body&& body) {
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    if (offsets[s] == offsets[s + 1]) continue;
    for (int64_t e = 0; e < experts; ++e) body(static_cast<int64_t>(s), e, offsets[s], offsets[s + 1]);
  }
}

// Rows begin .. end of one expert, [n, width], of a contiguous x [B, E, width].
Part rows_of(const Tensor& x, int64_t expert, int64_t begin, int64_t end) {
  const auto experts = x.size(1), width = x.size(2);
  return {&x, (begin * experts + expert) * width, end - begin, width, experts * width, 1};
}

// The matrix of a scene and expert, [O, I] of weight [S, E, O, I] with any strides.
Part matrix_of(const Tensor& weight, int64_t scene, int64_t expert) {
  return {&weight,          scene * weight.stride(0) + expert * weight.stride(1),
          weight.size(2),   weight.size(3),
          weight.stride(2), weight.stride(3)};
}

// Its bias, [1, O] of [S, E, O].
Part bias_of(const Tensor& bias, int64_t scene, int64_t expert) {
  return {&bias, scene * bias.stride(0) + expert * bias.stride(1), 1, bias.size(2), 0, bias.stride(2)};
}

// out[b, e] = W x[b, e] + bias, [B, E, O].
Tensor forward_product(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
                       const std::vector<int64_t>& offsets) {
  auto out = torch::empty({x.size(0), weight.size(1), weight.size(2)}, x.options());
  for_products(offsets, weight.size(1), [&](int64_t s, int64_t e, int64_t begin, int64_t end) {
    product(rows_of(out, e, begin, end), rows_of(x, e, begin, end), matrix_of(weight, s, e).t(), /*add=*/false,
            bias ? bias_of(*bias, s, e) : Part{});
  });
  return out;
}

// Gradients of weight and bias where they are wanted; that of x goes into dx where it is defined, on top of what it
// holds with `add`.
std::pair<Tensor, Tensor> backward_products(const Tensor& grad, const Tensor& x, const Tensor& weight, bool want_weight,
                                            bool want_bias, const std::vector<int64_t>& offsets, const Tensor& dx,
                                            bool add) {
  Tensor dw, db;
  if (want_weight) dw = torch::zeros(weight.sizes(), weight.options());
  if (want_bias) db = torch::zeros({weight.size(0), weight.size(1), weight.size(2)}, weight.options());
  for_products(offsets, weight.size(1), [&](int64_t s, int64_t e, int64_t begin, int64_t end) {
    const auto g = rows_of(grad, e, begin, end);
    if (dx.defined()) product(rows_of(dx, e, begin, end), g, matrix_of(weight, s, e), add);
    if (want_weight) product_over_rows(matrix_of(dw, s, e), g.t(), rows_of(x, e, begin, end));
    if (want_bias) {
      // By pieces of a fixed size, added in order: for one column ATen's own order depends on the threads.
      auto to = db[s][e];
      const auto rows = g.view();
      for (int64_t row = 0; row < g.rows; row += kBiasRows) {
        to.add_(rows.narrow(0, row, std::min(kBiasRows, g.rows - row)).sum(0));
      }
    }
  });
  return {dw, db};
}

void refuse_second_derivatives() {
  TORCH_CHECK_NOT_IMPLEMENTED(!at::GradMode::is_enabled(),
                              "scene_linear: derivatives of higher order need a forward under PlainGuard");
}

class SceneLinear : public torch::autograd::Function<SceneLinear> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& bias, const std::vector<int64_t>& offsets) {
    ctx->save_for_backward({x, weight});
    ctx->saved_data["offsets"] = offsets;
    ctx->saved_data["bias"] = bias.has_value();
    return forward_product(x, weight, bias, offsets);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    refuse_second_derivatives();
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1];
    Tensor dx;
    if (ctx->needs_input_grad(0)) dx = torch::empty(x.sizes(), x.options());
    const auto [dw, db] = backward_products(grads[0].contiguous(), x, weight, ctx->needs_input_grad(1),
                                            ctx->saved_data["bias"].toBool() && ctx->needs_input_grad(2),
                                            ctx->saved_data["offsets"].toIntVector(), dx, /*add=*/false);
    return {dx, dw, db, Tensor()};
  }
};

// One layer for all rows; it can be differentiated again.
class Dense : public torch::autograd::Function<Dense> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& bias) {
    ctx->save_for_backward({x, weight});
    ctx->saved_data["bias"] = bias.has_value();
    return forward_product(x.unsqueeze(1), weight.unsqueeze(0).unsqueeze(0),
                           bias ? given(bias->view({1, 1, -1})) : std::nullopt, {0, x.size(0)})
        .squeeze(1);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &g = grads[0];
    const bool bias = ctx->saved_data["bias"].toBool();
    if (torch::GradMode::is_enabled()) return {g.mm(weight), g.t().mm(x), bias ? g.sum(0) : Tensor()};
    Tensor dx;
    if (ctx->needs_input_grad(0)) dx = torch::empty(x.sizes(), x.options()).unsqueeze(1);
    auto [dw, db] = backward_products(g.contiguous().unsqueeze(1), x.unsqueeze(1), weight.unsqueeze(0).unsqueeze(0),
                                      ctx->needs_input_grad(1), bias && ctx->needs_input_grad(2), {0, x.size(0)}, dx,
                                      /*add=*/false);
    return {dx.defined() ? dx.squeeze(1) : dx, dw.defined() ? dw.view(weight.sizes()) : dw,
            db.defined() ? db.flatten() : db};
  }
};

// Two layers over one x.
class SceneLinearPair : public torch::autograd::Function<SceneLinearPair> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* ctx, const Tensor& x,
                                                const Tensor& weight1, const std::optional<Tensor>& bias1,
                                                const Tensor& weight2, const std::optional<Tensor>& bias2,
                                                const std::vector<int64_t>& offsets1,
                                                const std::vector<int64_t>& offsets2) {
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({x, weight1, weight2});
    ctx->saved_data["offsets1"] = offsets1;
    ctx->saved_data["offsets2"] = offsets2;
    ctx->saved_data["bias1"] = bias1.has_value();
    ctx->saved_data["bias2"] = bias2.has_value();
    return {forward_product(x, weight1, bias1, offsets1), forward_product(x, weight2, bias2, offsets2)};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    refuse_second_derivatives();
    const auto saved = ctx->get_saved_variables();
    const auto& x = saved[0];
    // Biases that are not given are not counted among the inputs.
    const bool bias1 = ctx->saved_data["bias1"].toBool(), bias2 = ctx->saved_data["bias2"].toBool();
    const size_t weight2 = bias1 ? 3 : 2;
    // A layer that the loss does not depend on has no gradient.
    Tensor dx;
    if (ctx->needs_input_grad(0)) dx = torch::empty_like(x);
    std::pair<Tensor, Tensor> first, second;
    if (grads[0].defined()) {
      first = backward_products(grads[0].contiguous(), x, saved[1], ctx->needs_input_grad(1),
                                bias1 && ctx->needs_input_grad(2), ctx->saved_data["offsets1"].toIntVector(), dx,
                                /*add=*/false);
    }
    if (grads[1].defined()) {
      second = backward_products(grads[1].contiguous(), x, saved[2], ctx->needs_input_grad(weight2),
                                 bias2 && ctx->needs_input_grad(weight2 + 1), ctx->saved_data["offsets2"].toIntVector(),
                                 dx, /*add=*/grads[0].defined());
    }
    return {dx, first.first, first.second, second.first, second.second, Tensor(), Tensor()};
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

void check_layer(const Tensor& x, const Tensor& weight, const Tensor& bias, const SceneGroups& groups) {
  TORCH_CHECK_VALUE(weight.dim() == 4 && weight.size(0) == groups.scenes(), "scene_linear: weight must be [",
                    groups.scenes(), ", E, O, I], one for each scene, got ", weight.sizes());
  TORCH_CHECK_VALUE(
      x.dim() == 3 && x.size(0) == groups.rows() && x.size(1) == weight.size(1) && x.size(2) == weight.size(3),
      "scene_linear: x must be [", groups.rows(), ", ", weight.size(1), ", ", weight.size(3), "], got ", x.sizes());
  TORCH_CHECK_VALUE(!bias.defined() || bias.sizes() == weight.sizes().slice(0, 3),
                    "scene_linear: bias must be [S, E, O] as weight has it, got ",
                    bias.defined() ? bias.sizes() : at::IntArrayRef());
}

}  // namespace

Tensor scene_linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const SceneGroups& groups) {
  check_layer(x, weight, bias, groups);
  if (plain({x, weight, bias})) return SceneLinear::apply(x.contiguous(), weight, given(bias), groups.offsets);
  return by_operators(x, weight, bias, groups);
}

std::pair<Tensor, Tensor> scene_linear(const Tensor& x, const SceneLayer& first, const SceneLayer& second) {
  TORCH_CHECK_VALUE(x.dim() == 2, "scene_linear: an x that two layers share must be [B, I], got ", x.sizes());
  const auto rows = x.unsqueeze(1);
  for (const auto* layer : {&first, &second}) check_layer(rows, layer->weight, layer->bias, *layer->groups);
  if (!plain({x, first.weight, first.bias, second.weight, second.bias})) {
    return {by_operators(rows, first.weight, first.bias, *first.groups).squeeze(1),
            by_operators(rows, second.weight, second.bias, *second.groups).squeeze(1)};
  }
  const auto out = SceneLinearPair::apply(rows.contiguous(), first.weight, given(first.bias), second.weight,
                                          given(second.bias), first.groups->offsets, second.groups->offsets);
  return {out[0].squeeze(1), out[1].squeeze(1)};
}

Tensor dense(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  TORCH_CHECK_VALUE(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1),
                    "dense: x must be [B, I] and weight [O, I], got ", x.sizes(), " and ", weight.sizes());
  if (!plain({x, weight, bias})) return bias.defined() ? torch::addmm(bias, x, weight.t()) : x.mm(weight.t());
  return Dense::apply(x.contiguous(), weight, given(bias));
}

}  // namespace polyscene::nn
