#include "polyscene/models/sequence/dasl.h"

#include "polyscene/models/ranking_model.h"
#include "polyscene/nn/checks.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/masks.h"

namespace polyscene::models {
namespace {

using torch::Tensor;

}  // namespace

DASLImpl::DASLImpl(std::shared_ptr<const data::Schema> schema_, DASLOptions options_)
    : EventModel(std::move(schema_), options_.common, "DASL"), options(std::move(options_)) {
  nn::check_dice_activation("DASL", options.activation());
  nn::check_positive("DASL", "user_dim", options.user_dim());
  nn::check_positive("DASL", "states", options.states());
  TORCH_CHECK_VALUE(options.alignment() >= 0, "DASL: alignment must be 0 or more, got ", options.alignment());
  TORCH_CHECK_VALUE(options.orthogonality() >= 0, "DASL: orthogonality must be 0 or more, got ",
                    options.orthogonality());
  const auto u = options.user_dim(), people = schema().categorical[schema().user].rows();
  users = register_module("users", normal_table(scenes() * people, u, common.init_std()));
  user_bias = register_module("user_bias", normal_table(scenes() * people, 1, 0));
  item_bias = register_module("item_bias", normal_table(schema().categorical[schema().item].rows(), 1, 0));
  scene_intercept = register_parameter("scene_intercept", torch::zeros({scenes()}));
  std::vector<int64_t> first, second;
  for (int64_t s = 0; s < scenes(); ++s) {
    for (int64_t t = s + 1; t < scenes(); ++t) {
      first.push_back(s);
      second.push_back(t);
    }
  }
  first_ = torch::tensor(first, torch::kInt64);
  second_ = torch::tensor(second, torch::kInt64);
  if (!first.empty()) {
    auto start = torch::empty({first_.numel(), u, u});
    for (int64_t p = 0; p < first_.numel(); ++p) torch::nn::init::orthogonal_(start[p]);
    maps = register_parameter("maps", std::move(start));
  }
  encoders = register_module("encoders", torch::nn::ModuleList());
  for (int64_t s = 0; s < scenes(); ++s) {
    encoders->push_back(torch::nn::GRU(torch::nn::GRUOptions(width() + u, options.states()).batch_first(true)));
  }
  question = register_module("question", torch::nn::Linear(options.states(), u));
  network = register_module("network", nn::DiceMLP(input_size() + options.states() + u, options.hidden(),
                                                   options.activation(), options.dropout()));
}

Tensor DASLImpl::states(const Behaviour& events, const Tensor& u) {
  const auto rows = events.offsets.numel() - 1;
  const auto read = torch::cat({events.keys, u.index_select(0, events.row)}, 1);
  auto out = torch::zeros({events.row.numel(), options.states()}, read.options());
  for (int64_t s = 0; s < scenes(); ++s) {
    const auto mine = events.scene.eq(s).nonzero().squeeze(1);
    if (mine.numel() == 0) continue;
    const auto counts = torch::bincount(events.row.index_select(0, mine), {}, rows);
    const auto lists = counts.gt(0).nonzero().squeeze(1);  // rows without such events have no list
    const auto offsets = torch::constant_pad_nd(counts.index_select(0, lists).cumsum(0), {1, 0});
    const auto side = nn::pad_ragged(read.index_select(0, mine), offsets);
    const auto h = std::get<0>(encoders->ptr<torch::nn::GRUImpl>(s)->forward(side.values));  // pads come last
    out = out.index_copy(0, mine, nn::unpad_ragged(h, side.valid).values);
  }
  return out;
}

const Tensor& DASLImpl::known() {
  const auto now = history() && history()->keeps_events() ? history() : nullptr;
  if (known_.defined() && known_of_ == now) return known_;
  known_ = now ? present_users(*now->interactions()).t().contiguous()
               : torch::zeros({schema().categorical[schema().user].rows(), scenes()}, torch::kBool);
  known_of_ = now;
  return known_;
}

Tensor DASLImpl::aligned(const Tensor& user) {
  const auto u = options.user_dim(), pairs = maps.size(0);
  const auto all = std::get<0>(at::_unique(user, /*sorted=*/true));
  const auto there = known().index_select(0, all);                                         // [n, S]
  const auto both = (there.index_select(1, first_) & there.index_select(1, second_)).t();  // [P, n]
  const auto people = schema().categorical[schema().user].rows();
  const auto vectors = [&](const Tensor& scene) {  // [P, n, U]
    return users->forward(scene.unsqueeze(1) * people + all.unsqueeze(0));
  };
  auto out = maps.sum() * 0;
  if (options.alignment() > 0 && both.any().item<bool>()) {
    const auto from = vectors(first_), to = vectors(second_);
    const auto gap = (torch::bmm(from, maps) - to).square().sum(2) +
                     (torch::bmm(to, maps.transpose(1, 2)) - from).square().sum(2);  // [P, n]
    const auto weight = both.to(gap.scalar_type());
    out = out + options.alignment() * (gap * weight).sum() / (2.0 * static_cast<double>(u) * weight.sum());
  }
  if (options.orthogonality() > 0) {
    const auto product = torch::bmm(maps, maps.transpose(1, 2)) - torch::eye(u, maps.options());
    out = out + options.orthogonality() * product.square().sum() / static_cast<double>(u * pairs);
  }
  return out;
}

SceneModel::Answer DASLImpl::body(const Rows& rows, bool explaining) {
  const auto& batch = rows.batch;
  const auto people = schema().categorical[schema().user].rows();
  const auto place = batch.scene * people + batch.user;
  const auto u = users->forward(place);  // [B, U]
  const auto events = behaviour(rows);
  auto weight = events.keys.new_zeros({0});
  auto p = u.new_zeros({batch.size(), options.states()});
  if (!events.empty()) {
    const auto h = states(events, u);
    weight = events.softmax((u.index_select(0, events.row) * nn::dense(h, *question).tanh()).sum(1));
    p = events.sum(weight.unsqueeze(1) * h);
  }
  Answer out;
  out.logits = scene_intercept.index_select(0, batch.scene) + item_bias->forward(batch.item).squeeze(1) +
               user_bias->forward(place).squeeze(1) + network->forward(torch::cat({rows.x, p, u}, 1));
  if (is_training() && maps.defined() && options.alignment() + options.orthogonality() > 0) {
    out.penalty = aligned(batch.user);
  }
  if (explaining) out.parts = attended(events, weight);
  return out;
}

}  // namespace polyscene::models
