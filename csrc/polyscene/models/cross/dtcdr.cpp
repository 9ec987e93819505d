#include "polyscene/models/cross/dtcdr.h"

#include <limits>

#include "polyscene/nn/dropout.h"

namespace polyscene::models {
namespace {

using torch::Tensor;

// Elementwise maximum over the scenes where ids [n] are, [n, D]; 0 for those that are nowhere.
Tensor fused(torch::nn::Embedding& tables, const Tensor& id, const Tensor& in, int64_t rows,
             std::vector<Tensor>* looked_up) {
  const auto there = presence_of(in, id);  // [n, S]
  const auto scene = torch::arange(in.size(0), torch::kInt64).unsqueeze(0);
  // Rows of scenes without the id are read as that of unknown ids, so that sparse gradients hold no others.
  const auto place = rows_in(scene, id.unsqueeze(1) * there, rows);
  const auto found = tables->forward(place);  // [n, S, D]
  const auto none = there.logical_not().unsqueeze(2);
  if (looked_up) looked_up->push_back(found.masked_fill(none, 0));
  const auto out = found.masked_fill(none, -std::numeric_limits<double>::infinity()).amax(1);
  return out.masked_fill(there.any(1, /*keepdim=*/true).logical_not(), 0);
}

}  // namespace

DTCDRImpl::DTCDRImpl(std::shared_ptr<const data::Schema> schema, DTCDROptions options_)
    : PairModel(std::move(schema), options_.common, "DTCDR"), options(std::move(options_)) {
  user = register_module("user", scene_tables(scenes(), users(), common.dim()));
  item = register_module("item", scene_tables(scenes(), items(), common.dim()));
  tower =
      register_module("tower", pair_tower("DTCDR", 2 * common.dim(), options.hidden(), options.dropout(), scenes()));
}

void DTCDRImpl::look_around() {
  const auto known = history() ? history()->interactions() : nullptr;
  if (known && known == known_) return;
  known_ = known;
  users_in_ = known ? present_users(*known) : torch::zeros({scenes(), users()}, torch::kBool);
  items_in_ = known ? present_items(*known) : torch::zeros({scenes(), items()}, torch::kBool);
}

PairModel::Parts DTCDRImpl::user_parts(const Tensor& rows, const Tensor&, const nn::SceneGroups& groups,
                                       Parts* looked_up) {
  look_around();
  const auto u = fused(user, rows, users_in_, users(), looked_up);
  return {leading_half(tower, nn::drop(u, options.dropout(), is_training()), groups)};
}

PairModel::Parts DTCDRImpl::item_parts(const Tensor& rows, const Tensor&, const nn::SceneGroups& groups,
                                       Parts* looked_up) {
  look_around();
  const auto i = fused(item, rows, items_in_, items(), looked_up);
  return {trailing_half(tower, nn::drop(i, options.dropout(), is_training()), groups)};
}

Tensor DTCDRImpl::combine(const Parts& user, const Parts& item, const nn::SceneGroups& groups) {
  return tower_scores(tower, user[0], item[0], groups);
}

}  // namespace polyscene::models
