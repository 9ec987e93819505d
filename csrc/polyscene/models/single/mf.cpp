#include "polyscene/models/single/mf.h"

#include <algorithm>

#include "polyscene/nn/hidden.h"
#include "polyscene/nn/int8_rows.h"

namespace polyscene::models {
namespace {

torch::nn::Embedding factors(int64_t rows, int64_t dim, double std) {
  auto weight = torch::empty({rows, dim}).normal_(0, std);
  weight.narrow(0, 0, std::min(rows, data::kFirstId)).zero_();
  return torch::nn::Embedding(torch::nn::EmbeddingOptions(rows, dim)._weight(weight));
}

torch::nn::Embedding biases(int64_t rows) {
  return torch::nn::Embedding(torch::nn::EmbeddingOptions(rows, 1)._weight(torch::zeros({rows, 1})));
}

}  // namespace

MFImpl::MFImpl(std::shared_ptr<const data::Schema> schema, MFOptions options_)
    : Model(std::move(schema)), options(std::move(options_)) {
  const auto& known = this->schema();
  TORCH_CHECK_VALUE(known.user >= 0 && known.item >= 0, "MF: the data must have a user and an item column, it has no ",
                    known.user < 0 ? "user" : "item", "; name it when the table is read");
  TORCH_CHECK_VALUE(options.dim() > 0, "MF: dim must be positive, got ", options.dim());
  TORCH_CHECK_VALUE(options.init_std() >= 0, "MF: init_std must be 0 or more, got ", options.init_std());
  TORCH_CHECK_VALUE(options.embedding_l2() >= 0, "MF: embedding_l2 must be 0 or more, got ", options.embedding_l2());
  TORCH_CHECK_VALUE(options.history() >= 0, "MF: history must be 0 or more events, got ", options.history());
  const auto users = known.categorical[known.user].rows();
  const auto items = known.categorical[known.item].rows();
  user = register_module("user", factors(users, options.dim(), options.init_std()));
  item = register_module("item", factors(items, options.dim(), options.init_std()));
  user_bias = register_module("user_bias", biases(users));
  item_bias = register_module("item_bias", biases(items));
  if (options.history() > 0) {
    past = register_module(
        "past", nn::EventPool(items, nn::EventPoolOptions{options.dim(), options.history(), options.init_std()}));
  }
  mean = register_parameter("mean", torch::scalar_tensor(base_score(known), torch::kFloat32));
}

MFImpl::Rows MFImpl::look_up(const data::Batch& batch) {
  check(batch);
  return {nn::unpacked(user->forward(batch.user)), nn::unpacked(item->forward(batch.item)),
          past ? past->forward(batch.history, batch.size()) : torch::Tensor(),
          user_bias->forward(batch.user).squeeze(1), item_bias->forward(batch.item).squeeze(1)};
}

torch::Tensor MFImpl::product(const Rows& rows) const {
  return ((rows.past.defined() ? rows.user + rows.past : rows.user) * rows.item).sum(1);
}

torch::Tensor MFImpl::score(const Rows& rows) const {
  if (nn::heard()) {
    nn::tell_output(*this, torch::cat({rows.past.defined() ? rows.user + rows.past : rows.user, rows.item}, 1));
  }
  return mean + rows.user_bias + rows.item_bias + product(rows);
}

torch::Tensor MFImpl::forward(const data::Batch& batch) {
  const auto out = score(look_up(batch));
  // Not while training: a clipped prediction has no gradient.
  return schema().task == "rating" && !is_training() ? out.clamp(schema().label_low, schema().label_high) : out;
}

torch::Tensor MFImpl::loss(const data::Batch& batch) {
  const auto rows = look_up(batch);
  const auto fit = task_loss(score(rows), batch);
  if (options.embedding_l2() == 0) return fit;
  auto factors = rows.user.square().sum() + rows.item.square().sum();
  if (rows.past.defined()) factors = factors + rows.past.square().sum();
  const auto biases = rows.user_bias.square().sum() + rows.item_bias.square().sum();
  return fit + (factors + 0.5 * biases) * (0.5 * options.embedding_l2() / std::max<int64_t>(batch.size(), 1));
}

Explanation MFImpl::explain(const data::Batch& batch) {
  const auto rows = look_up(batch);
  return {{"user_bias", rows.user_bias}, {"item_bias", rows.item_bias}, {"interaction", product(rows)}};
}

}  // namespace polyscene::models
