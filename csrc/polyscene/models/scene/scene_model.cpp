#include "polyscene/models/scene/scene_model.h"

#include <algorithm>
#include <cmath>

#include "polyscene/core/errors.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/nn/mixture.h"
#include "polyscene/nn/scene_linear.h"

namespace polyscene::models {
namespace {

const std::vector<std::string> kInteractions = {"none", "fm", "cross"};

}  // namespace

SceneModel::SceneModel(std::shared_ptr<const data::Schema> schema, SceneOptions common_, const char* owner)
    : Model(std::move(schema)), common(std::move(common_)) {
  const auto& known = this->schema();
  TORCH_CHECK_VALUE(common.dim() > 0, owner, ": dim must be positive, got ", common.dim());
  TORCH_CHECK_VALUE(common.init_std() >= 0, owner, ": init_std must be 0 or more, got ", common.init_std());
  TORCH_CHECK_VALUE(common.embedding_l2() >= 0, owner, ": embedding_l2 must be 0 or more, got ", common.embedding_l2());
  TORCH_CHECK_VALUE(common.cross_layers() > 0, owner, ": cross_layers must be positive, got ", common.cross_layers());
  TORCH_CHECK_VALUE(common.history() >= 0, owner, ": history must be 0 or more events, got ", common.history());
  TORCH_CHECK_VALUE(common.history() == 0 || (known.user >= 0 && known.item >= 0), owner,
                    ": history needs a user and an item column; name them when the table is read");
  const auto& kind = common.interaction();
  TORCH_CHECK_VALUE(std::find(kInteractions.begin(), kInteractions.end(), kind) != kInteractions.end(), owner,
                    ": interaction must be one of ", join(kInteractions), ", got '", kind, "'",
                    suggestion(kind, kInteractions));
  embedding = register_module(
      "embedding", nn::FeatureEmbedding(known, nn::FeatureEmbeddingOptions{common.dim(), common.init_std()}));
  if (common.scene_field()) {
    scene_embedding = register_parameter("scene_embedding", torch::randn({scenes(), common.dim()}) * common.init_std());
  }
  if (common.history() > 0) {
    past =
        register_module("past", nn::EventPool(known.categorical[known.item].rows(),
                                              nn::EventPoolOptions{common.dim(), common.history(), common.init_std()}));
  }
  TORCH_CHECK_VALUE(input_size() > 0, owner, ": the data has neither categorical nor numeric columns");
  if (kind == "fm") {
    first_order = register_module("first_order", nn::FeatureEmbedding(known, nn::FeatureEmbeddingOptions{1, 0}));
    scene_bias = register_parameter("scene_bias", torch::zeros({scenes()}));
    base = register_parameter("base", torch::scalar_tensor(base_score(known), torch::kFloat32));
  } else if (kind == "cross") {
    const auto bound = 1 / std::sqrt(static_cast<double>(input_size()));
    for (int64_t layer = 0; layer < common.cross_layers(); ++layer) {
      const auto name = "cross" + std::to_string(layer);
      cross_weight.push_back(
          register_parameter(name + "_weight", torch::empty({input_size(), input_size()}).uniform_(-bound, bound)));
      cross_bias.push_back(register_parameter(name + "_bias", torch::zeros({input_size()})));
    }
    cross_head = register_parameter("cross_head", torch::empty({input_size()}).uniform_(-bound, bound));
  }
}

torch::Tensor SceneModel::interaction(const Rows& rows, torch::Tensor& squares) {
  if (common.interaction() == "fm") {
    const auto linear = first_order->forward(rows.batch).squeeze(2);  // [B, F]
    if (squares.defined()) squares = squares + 0.5 * linear.square().sum();
    return base + scene_bias.index_select(0, rows.batch.scene) + linear.sum(1) + nn::pair_products(rows.slots);
  }
  if (common.interaction() == "cross") {
    auto x = rows.x;
    for (size_t layer = 0; layer < cross_weight.size(); ++layer) {
      x = torch::addcmul(x, rows.x, nn::dense(x, cross_weight[layer], cross_bias[layer]));
    }
    return x.mv(cross_head);
  }
  return {};
}

SceneModel::Found SceneModel::run(const data::Batch& batch, bool explaining) {
  check(batch);
  Found out{nn::group(batch, scenes()), {}, {}, {}, {}};
  const auto& mine = out.grouped.batch;
  torch::Tensor x, slots;
  if (scene_embedding.defined() || past) {
    std::vector<torch::Tensor> all = {embedding->forward(mine)};
    if (scene_embedding.defined()) all.push_back(scene_embedding.index_select(0, mine.scene).unsqueeze(1));
    if (past) all.push_back(past->forward(mine.history, mine.size()).unsqueeze(1));
    slots = torch::cat(all, 1);
    x = slots.flatten(1);
    if (schema().numeric_width() > 0) x = torch::cat({x, mine.numeric.to(x.scalar_type())}, 1);
  } else {
    x = embedding->flat(mine);                                                              // [B, E]
    slots = x.narrow(1, 0, this->slots() * common.dim()).unflatten(1, {-1, common.dim()});  // [B, F, D]
  }
  if (common.embedding_l2() > 0) out.squares = slots.square().sum();
  const Rows rows{x, slots, mine, out.grouped.groups, nn::SceneGroups::all(mine.size())};
  out.answer = body(rows, explaining);
  out.interaction = interaction(rows, out.squares);
  out.x = x;
  return out;
}

torch::Tensor SceneModel::forward(const data::Batch& batch) {
  const auto found = run(batch, false);
  const auto& logits = found.answer.logits;
  return found.grouped.ungroup(found.interaction.defined() ? logits + found.interaction : logits);
}

torch::Tensor SceneModel::loss(const data::Batch& batch) {
  const auto found = run(batch, false);
  const auto& logits = found.answer.logits;
  auto out = task_loss(found.interaction.defined() ? logits + found.interaction : logits, found.grouped.batch);
  if (found.answer.penalty.defined()) out = out + found.answer.penalty;
  if (!found.squares.defined()) return out;
  return out + found.squares * (0.5 * common.embedding_l2() / std::max<int64_t>(batch.size(), 1));
}

torch::Tensor SceneModel::represent(const data::Batch& batch) {
  const nn::HeadInput head(batch.size());
  const auto found = run(batch, false);
  return found.grouped.ungroup(head.value().defined() ? head.value() : found.x);
}

Explanation SceneModel::explain(const data::Batch& batch) {
  auto found = run(batch, true);
  Explanation out = {{"body", found.grouped.ungroup(found.answer.logits)}};
  if (found.interaction.defined()) out.emplace_back("interaction", found.grouped.ungroup(found.interaction));
  for (auto& [name, value] : found.answer.parts) out.emplace_back(name, found.grouped.ungroup(value));
  return out;
}

}  // namespace polyscene::models
