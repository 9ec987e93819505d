#include "polyscene/models/scene/sar_net.h"

#include <cmath>

#include "polyscene/nn/attention.h"
#include "polyscene/nn/checks.h"
#include "polyscene/nn/masks.h"
#include "polyscene/nn/mixture.h"
#include "polyscene/nn/norm_activation.h"
#include "polyscene/nn/scene_affine.h"

namespace polyscene::models {
namespace {

constexpr double kSmoothing = 10;  // rows

// Zero mean and unit variance of each column; scale and shift are left to the linear layer behind.
torch::Tensor whitened(const torch::Tensor& t, const torch::Tensor& mean, const torch::Tensor& var, bool training,
                       const nn::SceneGroups& groups) {
  return nn::norm_activation(t, {}, {torch::ones_like(mean), torch::zeros_like(mean), mean, var}, "identity", training,
                             groups);
}

}  // namespace

SARNetImpl::SARNetImpl(std::shared_ptr<const data::Schema> schema, SARNetOptions options_)
    : SceneModel(std::move(schema), options_.common, "SARNet"), options(std::move(options_)) {
  nn::check_positive("SARNet", "shared", options.shared());
  nn::check_positive("SARNet", "specific", options.specific());
  nn::check_positive("SARNet", "expert", options.expert());
  nn::check_positive("SARNet", "max_length", options.max_length());
  TORCH_CHECK_VALUE(options.fairness() >= 0, "SARNet: fairness must be 0 or more, got ", options.fairness());
  const auto s = scenes(), d = common.dim(), width = input_size() + (follows_events() ? 2 * d : 0);
  scene_scale = register_parameter("scene_scale", torch::ones({s, width}));
  scene_shift = register_parameter("scene_shift", torch::zeros({s, width}));
  if (options.reference()) {
    const torch::NoGradGuard no_grad;
    const auto bound = std::sqrt(6.0 / static_cast<double>(width + 1));
    scene_scale.uniform_(-bound, bound);
    scene_shift.uniform_(0, 1);
  }
  shared_running_mean = register_buffer("shared_running_mean", torch::zeros({1, width}));
  shared_running_var = register_buffer("shared_running_var", torch::ones({1, width}));
  specific_running_mean = register_buffer("specific_running_mean", torch::zeros({s, width}));
  specific_running_var = register_buffer("specific_running_var", torch::ones({s, width}));
  const auto expert = nn::MLPOptions().hidden({}).output(options.expert());
  shared = register_module("shared", nn::SceneMLP(width, expert, 1, options.shared()));
  specific = register_module("specific", nn::SceneMLP(width, expert, s, options.specific()));
  gate = register_module("gate", nn::SceneGate(width, options.shared() + options.specific()));
  const auto layers = nn::MLPOptions().hidden(options.head()).output(1).norm(options.norm()).dropout(options.dropout());
  head = register_module("head", nn::SceneMLP(options.expert(), layers));
  if (follows_events()) {
    const auto bound = 1 / std::sqrt(static_cast<double>(d));
    scene_query = register_parameter("scene_query", torch::empty({s, d}).uniform_(-bound, bound));
    item_query = register_parameter("item_query", torch::empty({d, d}).uniform_(-bound, bound));
    event_scene = register_parameter("event_scene", torch::randn({s, d}) * common.init_std());
    event_label = register_parameter("event_label", torch::randn({2, d}) * common.init_std());
  }
  if (options.fairness() == 0) return;
  TORCH_CHECK_VALUE(this->schema().user >= 0 && this->schema().item >= 0,
                    "SARNet: fairness needs a user and an item column; name them when the table is read");
  coefficient =
      register_buffer("coefficient", torch::ones({s, this->schema().categorical[this->schema().item].rows()}));
}

void SARNetImpl::prepare(const data::Table& train) {
  SceneModel::prepare(train);
  if (!coefficient.defined()) return;
  const auto count = history()->item_count.to(torch::kFloat64);  // [S, I]
  const auto share = count.sum(0) / count.sum().clamp_min(1);    // [I]
  const auto mine = (count + kSmoothing * share) / (count.sum(1, /*keepdim=*/true) + kSmoothing);
  const auto fair = torch::where(mine > share, share / mine, torch::ones_like(mine)).pow(options.fairness());
  const torch::NoGradGuard no_grad;
  coefficient.copy_(fair);
}

torch::Tensor SARNetImpl::interest(const Rows& rows, Explanation& told) {
  const auto b = rows.slots.size(0), d = common.dim();
  const auto events = rows.batch.history.newest(options.max_length());
  if (!events.defined() || events.item.numel() == 0) {
    told = {{"attention", rows.slots.new_zeros({b, 2, 0})}, {"events", torch::zeros({b}, torch::kInt64)}};
    return rows.slots.new_zeros({b, 2 * d});
  }
  const auto item = schema().item;
  const auto value = embedding->embed(schema().categorical[item].name, events.item) +
                     event_label.index_select(0, events.label.gt(0.5).to(torch::kInt64));  // [L, D]
  const auto key = value + event_scene.index_select(0, events.scene);
  const auto values = nn::pad_ragged(value, events.offsets);  // [B, T, D]
  const auto keys = nn::pad_ragged(key, events.offsets).values;
  const auto query = torch::stack(
      {scene_query.index_select(0, rows.batch.scene), rows.slots.select(1, item).matmul(item_query.t())}, 1);
  const auto weights = nn::masked_softmax(nn::scaled_dot_scores(query, keys), values.valid.unsqueeze(1));  // [B, 2, T]
  told = {{"attention", weights}, {"events", values.valid.sum(1)}};
  return weights.matmul(values.values).flatten(1);
}

SceneModel::Answer SARNetImpl::body(const Rows& rows, bool explaining) {
  Explanation attended;
  const auto x = follows_events() ? torch::cat({rows.x, interest(rows, attended)}, 1) : rows.x;
  const auto t = nn::scene_affine(x, scene_scale, scene_shift, rows.groups);  // [B, E]
  const auto weight = gate->forward(t, rows.all);                             // [B, K]
  const auto parts = weight.split_with_sizes({options.shared(), options.specific()}, 1);
  const auto all = whitened(t, shared_running_mean, shared_running_var, is_training(), rows.all);
  const auto own = whitened(t, specific_running_mean, specific_running_var, is_training(), rows.groups);
  auto z = nn::mixture(parts[0], shared->forward(all, rows.all)) +
           nn::mixture(parts[1], specific->forward(own, rows.groups));  // [B, H]
  if (coefficient.defined()) {
    const auto place = rows.batch.scene * coefficient.size(1) + rows.batch.item;
    z = z * coefficient.view({-1, 1}).index_select(0, place);
  }
  Answer out{head->forward(z, rows.all).flatten(), {}};
  if (explaining) out.parts = {{"gates", weight}};
  if (explaining) out.parts.insert(out.parts.end(), attended.begin(), attended.end());
  return out;
}

}  // namespace polyscene::models
