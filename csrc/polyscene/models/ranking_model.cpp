#include "polyscene/models/ranking_model.h"

#include <algorithm>
#include <cmath>

#include "polyscene/core/errors.h"
#include "polyscene/models/embedding_l2.h"
#include "polyscene/nn/gemm.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/nn/losses.h"
#include "polyscene/nn/row_products.h"

namespace polyscene::models {

RankingModel::RankingModel(std::shared_ptr<const data::Schema> schema, RankingOptions common_, const char* owner)
    : Model(std::move(schema)), common(std::move(common_)) {
  const auto& known = this->schema();
  TORCH_CHECK_VALUE(known.user >= 0 && known.item >= 0, owner,
                    ": the data must have a user and an item column, it has no ", known.user < 0 ? "user" : "item",
                    "; name it when the table is read");
  TORCH_CHECK_VALUE(common.dim() > 0, owner, ": dim must be positive, got ", common.dim());
  TORCH_CHECK_VALUE(common.negatives() > 0, owner, ": negatives must be positive, got ", common.negatives());
  TORCH_CHECK_VALUE(common.embedding_l2() >= 0, owner, ": embedding_l2 must be 0 or more, got ", common.embedding_l2());
  const std::vector<std::string> losses = {"bpr", "bce", "mse"}, samplers = {"uniform", "popularity", "in_batch"};
  TORCH_CHECK_VALUE(std::find(losses.begin(), losses.end(), common.loss()) != losses.end(), owner,
                    ": loss must be one of ", join(losses), ", got '", common.loss(), "'",
                    suggestion(common.loss(), losses));
  TORCH_CHECK_VALUE(std::find(samplers.begin(), samplers.end(), common.sampler()) != samplers.end(), owner,
                    ": sampler must be one of ", join(samplers), ", got '", common.sampler(), "'",
                    suggestion(common.sampler(), samplers));
}

data::Sampling RankingModel::sampling() const { return {common.negatives(), common.sampler()}; }

const data::Interactions& RankingModel::known() const {
  TORCH_CHECK_VALUE(history(), name(), ": was not prepared; fit it, or call prepare(data.train)");
  return *history()->interactions();
}

torch::Tensor RankingModel::known_there(const torch::Tensor& user, const torch::Tensor& scene) const {
  auto out = torch::ones({user.numel()}, torch::kBool);
  if (!history() || !history()->keeps_events()) return out;
  const auto pairs = history()->interactions();
  const auto id = user.contiguous(), where = scene.contiguous();
  for (int64_t n = 0; n < out.numel(); ++n) {
    const auto at = id.const_data_ptr<int64_t>()[n];
    out.data_ptr<bool>()[n] = pairs->scene(where.const_data_ptr<int64_t>()[n]).degree(at) > 0;
  }
  return out;
}

RankingModel::Origin RankingModel::origin() const {
  Origin out{history(), 1, is_training()};
  const auto add = [&](const torch::Tensor& each) {
    const void* place = each.unsafeGetTensorImpl();
    if (each.has_storage()) place = each.storage().unsafeGetStorageImpl();  // another after a change of type
    for (const auto part :
         {each.is_inference() ? 0 : static_cast<size_t>(each._version()), reinterpret_cast<size_t>(place)}) {
      out.tensors = out.tensors * 1'000'003 + part;
    }
  };
  for (const auto& each : parameters()) add(each);
  for (const auto& each : buffers()) add(each);
  return out;
}

torch::Tensor RankingModel::forward(const data::Batch& batch) {
  check(batch);
  return pair_scores(batch.user, batch.item, batch.scene);
}

RankingModel::Scored RankingModel::score_batch(const data::Batch& batch) {
  const auto rows = batch.size(), drawn = batch.negative.size(1);
  const auto item = torch::cat({batch.item.unsqueeze(1), batch.negative}, 1);  // [B, 1 + N]
  const auto scores =
      pair_scores(batch.user.repeat_interleave(1 + drawn), item.flatten(), batch.scene.repeat_interleave(1 + drawn))
          .view({rows, 1 + drawn});
  return {scores.select(1, 0), scores.slice(1, 1), {}};
}

torch::Tensor RankingModel::loss_of(const Scored& scored, const torch::Tensor& weight) const {
  torch::Tensor each;  // [B]
  if (common.loss() == "bpr") {
    each = nn::bpr(scored.own.unsqueeze(1), scored.drawn).mean(1);
  } else {
    const auto all = torch::cat({scored.own.unsqueeze(1), scored.drawn}, 1);  // [B, 1 + N]
    auto label = torch::zeros_like(all);
    label.select(1, 0).fill_(1);
    each = (common.loss() == "bce" ? nn::bce_with_logits(all, label) : nn::squared_error(all, label)).mean(1);
  }
  const auto out = weighted_mean(each, weight);
  return scored.penalty.defined() ? out + scored.penalty : out;
}

torch::Tensor RankingModel::loss(const data::Batch& batch) {
  check(batch);
  TORCH_CHECK_VALUE(batch.negative.defined(), name(),
                    ": the batch has no negatives; the trainer draws them, table.batch(rows, negatives=",
                    common.negatives(), ") does so by hand");
  return loss_of(score_batch(batch), row_weight(batch));
}

void FactorModel::pass() {
  begin_pass();
  passed_ = origin();
}

void FactorModel::encode() {
  const torch::NoGradGuard no_grad;
  pass();
}

void FactorModel::keep_up() {
  if (!(passed_ == origin())) encode();
}

torch::Tensor FactorModel::item_offsets(const torch::Tensor&, const torch::Tensor&) { return {}; }

torch::Tensor FactorModel::pair_scores(const torch::Tensor& user, const torch::Tensor& item,
                                       const torch::Tensor& scene) {
  pass();
  const auto of_user = user_vectors(user, scene, nullptr), of_item = item_vectors(item, scene, nullptr);  // [n, D']
  if (nn::heard()) nn::tell_output(*this, torch::cat({of_user, of_item}, 1));
  const auto out = (of_user * of_item).sum(1);
  const auto offset = item_offsets(item, scene);
  return offset.defined() ? out + offset : out;
}

RankingModel::Scored FactorModel::score_batch(const data::Batch& batch) {
  pass();
  const auto rows = batch.size(), drawn = batch.negative.size(1);
  std::vector<torch::Tensor> looked_up;
  auto* kept = common.embedding_l2() > 0 ? &looked_up : nullptr;
  const auto user = user_vectors(batch.user, batch.scene, kept);  // [B, D]
  const auto item = torch::cat({batch.item.unsqueeze(1), batch.negative}, 1).flatten();
  const auto scene = batch.scene.repeat_interleave(1 + drawn);
  auto scores = nn::row_products(user, item_vectors(item, scene, kept), 1 + drawn);  // [B, 1 + N]
  const auto offset = item_offsets(item, scene);
  if (offset.defined()) scores = scores + offset.view({rows, 1 + drawn});
  return {scores.select(1, 0), scores.slice(1, 1), embedding_penalty(looked_up, common.embedding_l2(), rows)};
}

torch::Tensor FactorModel::vectors_of_users(int64_t scene, const torch::Tensor& ids) {
  keep_up();
  return user_vectors(ids, torch::full_like(ids, scene), nullptr);
}

torch::Tensor FactorModel::vectors_of_items(int64_t scene, const torch::Tensor& ids) {
  keep_up();
  return item_vectors(ids, torch::full_like(ids, scene), nullptr);
}

torch::Tensor FactorModel::offsets_of_items(int64_t scene, const torch::Tensor& ids) {
  return item_offsets(ids, torch::full_like(ids, scene));
}

torch::Tensor FactorModel::score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) {
  const torch::NoGradGuard no_grad;
  keep_up();
  const auto of = [&](int64_t n) { return torch::full({n}, scene, torch::kInt64); };
  const auto user = user_vectors(users, of(users.numel()), nullptr);
  const auto item = item_vectors(items, of(items.numel()), nullptr);
  auto out = torch::empty({users.numel(), items.numel()}, user.options());
  nn::product(out, user, item.t(), /*add=*/false);  // [U, C]
  const auto offset = item_offsets(items, of(items.numel()));
  return offset.defined() ? out.add_(offset.unsqueeze(0)) : out;
}

torch::nn::Embedding normal_table(int64_t rows, int64_t dim, double std) {
  auto weight = torch::empty({rows, dim}).normal_(0, std);
  weight.narrow(0, 0, std::min(rows, data::kFirstId)).zero_();
  return torch::nn::Embedding(torch::nn::EmbeddingOptions(rows, dim)._weight(weight));
}

torch::nn::Embedding xavier_table(int64_t rows, int64_t dim) {
  return normal_table(rows, dim, std::sqrt(2.0 / static_cast<double>(rows + dim)));
}

torch::nn::Embedding scene_tables(int64_t scenes, int64_t rows, int64_t dim, double std) {
  auto weight = torch::empty({scenes, rows, dim});
  for (int64_t s = 0; s < scenes; ++s) {
    weight[s].copy_((std > 0 ? normal_table(rows, dim, std) : xavier_table(rows, dim))->weight.detach());
  }
  return torch::nn::Embedding(
      torch::nn::EmbeddingOptions(scenes * rows, dim)._weight(weight.view({scenes * rows, dim})));
}

torch::Tensor present_users(const data::Interactions& known) {
  auto out = torch::zeros({known.scenes(), known.users()}, torch::kBool);
  for (int64_t s = 0; s < known.scenes(); ++s) out[s].index_fill_(0, known.scene(s).visitors, true);
  return out;
}

torch::Tensor present_items(const data::Interactions& known) {
  auto out = torch::zeros({known.scenes(), known.items()}, torch::kBool);
  for (int64_t s = 0; s < known.scenes(); ++s) out[s].index_fill_(0, known.scene(s).candidates, true);
  return out;
}

}  // namespace polyscene::models
