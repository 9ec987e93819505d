#include "polyscene/models/single/neu_mf.h"

#include <cmath>

#include "polyscene/nn/dropout.h"

namespace polyscene::models {

NeuMFImpl::NeuMFImpl(std::shared_ptr<const data::Schema> schema, NeuMFOptions options_)
    : PairModel(std::move(schema), options_.common, "NeuMF"), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.tower_dim() >= 0, "NeuMF: tower_dim must be 0 or more, got ", options.tower_dim());
  TORCH_CHECK_VALUE(options.init_std() >= 0, "NeuMF: init_std must be 0 or more, got ", options.init_std());
  const auto dim = common.dim(), width = options.tower_dim() > 0 ? options.tower_dim() : dim;
  const auto table = [&](const char* name, int64_t rows, int64_t columns) {
    return register_module(
        name, options.init_std() > 0 ? normal_table(rows, columns, options.init_std()) : xavier_table(rows, columns));
  };
  user = table("user", users(), dim);
  item = table("item", items(), dim);
  tower_user = table("tower_user", users(), width);
  tower_item = table("tower_item", items(), width);
  tower = register_module("tower", pair_tower("NeuMF", 2 * width, options.hidden(), options.dropout()));
  const auto bound = 1 / std::sqrt(static_cast<double>(dim));
  weight = register_parameter("weight", torch::empty({dim}).uniform_(-bound, bound));
}

PairModel::Parts NeuMFImpl::user_parts(const torch::Tensor& rows, const torch::Tensor&, const nn::SceneGroups&,
                                       Parts* looked_up) {
  const auto p = user->forward(rows), x = tower_user->forward(rows);
  if (looked_up) looked_up->insert(looked_up->end(), {p, x});
  const auto dropped = nn::drop(x, options.dropout(), is_training());
  return {p * weight, leading_half(tower, dropped, nn::SceneGroups::all(rows.numel()))};
}

PairModel::Parts NeuMFImpl::item_parts(const torch::Tensor& rows, const torch::Tensor&, const nn::SceneGroups&,
                                       Parts* looked_up) {
  const auto q = item->forward(rows), y = tower_item->forward(rows);
  if (looked_up) looked_up->insert(looked_up->end(), {q, y});
  const auto dropped = nn::drop(y, options.dropout(), is_training());
  return {q, trailing_half(tower, dropped, nn::SceneGroups::all(rows.numel()))};
}

torch::Tensor NeuMFImpl::combine(const Parts& user, const Parts& item, const nn::SceneGroups& groups) {
  return dots(user[0], item[0]) + tower_scores(tower, user[1], item[1], nn::SceneGroups::all(groups.rows()));
}

}  // namespace polyscene::models
