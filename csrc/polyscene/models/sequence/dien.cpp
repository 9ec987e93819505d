#include "polyscene/models/sequence/dien.h"

#include "polyscene/models/sequence/target_attention.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/masks.h"

namespace polyscene::models {

DIENImpl::DIENImpl(std::shared_ptr<const data::Schema> schema, DIENOptions options_)
    : EventModel(std::move(schema), options_.common, "DIEN"), options(std::move(options_)) {
  nn::check_dice_activation("DIEN", options.activation());
  TORCH_CHECK_VALUE(options.auxiliary() >= 0, "DIEN: auxiliary must be 0 or more, got ", options.auxiliary());
  const auto h = width();
  extraction = register_module("extraction", torch::nn::GRU(torch::nn::GRUOptions(h, h).batch_first(true)));
  attention = register_module("attention", nn::DiceMLP(4 * h, options.attention(), options.activation()));
  input_gates = register_module("input_gates", torch::nn::Linear(h, 3 * h));
  state_gates = register_module("state_gates", torch::nn::Linear(h, 3 * h));
  if (options.auxiliary() > 0) {
    auxiliary = register_module("auxiliary", nn::DiceMLP(2 * h, options.auxiliary_hidden(), "sigmoid"));
  }
  network = register_module(
      "network", nn::DiceMLP(input_size() + 3 * h, options.hidden(), options.activation(), options.dropout()));
}

torch::Tensor DIENImpl::evolve(const torch::Tensor& h, const torch::Tensor& weight) {
  const auto steps = h.size(1);
  auto g = h.new_zeros({h.size(0), h.size(2)});
  const auto inputs = nn::dense(h, *input_gates);  // [B, T, 3 H]
  for (int64_t t = 0; t < steps; ++t) {
    const auto x = inputs.select(1, t).chunk(3, 1), s = nn::dense(g, *state_gates).chunk(3, 1);
    const auto r = torch::sigmoid(x[0] + s[0]), z = torch::sigmoid(x[1] + s[1]);
    const auto n = torch::tanh(x[2] + r * s[2]);
    g = g + weight.select(1, t).unsqueeze(1) * z * (n - g);
  }
  return g;
}

torch::Tensor DIENImpl::auxiliary_loss(const Behaviour& events, const torch::Tensor& states) {
  const auto items = schema().categorical[schema().item].rows();
  if (!is_training() || options.auxiliary() == 0 || items - data::kFirstId < 2) return {};
  // Every event but the first of its row follows the one before it.
  const auto first = events.offsets.slice(0, 0, -1).index_select(0, events.row);
  const auto next = torch::arange(events.row.numel()).ne(first).nonzero().squeeze(1);
  if (next.numel() == 0) return {};
  const auto before = states.index_select(0, next - 1);
  const auto wanted = events.item.index_select(0, next);
  auto drawn = torch::randint(data::kFirstId, items - 1, {next.numel()}, torch::kInt64);
  drawn = drawn + drawn.ge(wanted).logical_and(wanted.ge(data::kFirstId)).to(torch::kInt64);
  const auto score = [&](const torch::Tensor& keys) { return auxiliary->forward(torch::cat({before, keys}, 1)); };
  // -log sigma(x) = softplus(-x), -log(1 - sigma(x)) = softplus(x)
  return (torch::softplus(-score(events.keys.index_select(0, next))) + torch::softplus(score(keys_of(drawn)))).mean();
}

SceneModel::Answer DIENImpl::body(const Rows& rows, bool explaining) {
  const auto events = behaviour(rows);
  const auto v = target(rows);
  auto weight = events.keys.new_zeros({0});
  auto g = torch::zeros_like(v), total = torch::zeros_like(v);
  Answer out;
  if (!events.empty()) {
    const auto side = nn::pad_ragged(events.keys, events.offsets);  // [B, T, H]
    const auto h = std::get<0>(extraction->forward(side.values));   // pads come last: no state sees them
    const auto states = nn::unpad_ragged(h, side.valid).values;     // [L, H]
    weight = events.softmax(activation_unit(attention, v.index_select(0, events.row), states));
    g = evolve(h, events.padded(weight));
    total = events.sum(events.keys);
    out.penalty = auxiliary_loss(events, states);
    if (out.penalty.defined()) out.penalty = options.auxiliary() * out.penalty;
  }
  out.logits = network->forward(torch::cat({rows.x, g, total, total * v}, 1));
  if (explaining) out.parts = attended(events, weight);
  return out;
}

}  // namespace polyscene::models
