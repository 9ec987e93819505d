#include "polyscene/models/cross/ptupcdr.h"

#include <c10/util/ScopeExit.h>

#include <cmath>

#include "polyscene/models/pair_model.h"
#include "polyscene/nn/reorder.h"

namespace polyscene::models {

using torch::Tensor;

PTUPCDRImpl::PTUPCDRImpl(std::shared_ptr<const data::Schema> schema, PTUPCDROptions options_)
    : FactorModel(std::move(schema), options_.common, "PTUPCDR"), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.meta_hidden() > 0, "PTUPCDR: meta_hidden must be positive, got ", options.meta_hidden());
  TORCH_CHECK_VALUE(options.length() > 0, "PTUPCDR: length must be positive, got ", options.length());
  TORCH_CHECK_VALUE(options.bridged() == "cold" || options.bridged() == "all",
                    "PTUPCDR: bridged must be 'cold' or 'all', got '", options.bridged(), "'");
  TORCH_CHECK_VALUE(options.bridge_epochs() >= 0, "PTUPCDR: bridge_epochs must be 0 or more, got ",
                    options.bridge_epochs());
  const auto dim = common.dim(), pairs = scenes() * (scenes() - 1);
  user = register_module("user", scene_tables(scenes(), users(), dim));
  item = register_module("item", scene_tables(scenes(), items(), dim));
  bridges = register_buffer("bridges", torch::zeros({}, torch::kInt64));
  if (pairs == 0) return;
  encoder = register_module("encoder", nn::SceneMLP(dim, nn::MLPOptions().hidden({dim}), pairs));
  const auto bound = 1 / std::sqrt(static_cast<double>(dim));
  encoder_weight = register_parameter("encoder_weight", torch::empty({pairs, dim}).uniform_(-bound, bound));
  meta = register_module("meta",
                         nn::SceneMLP(dim, nn::MLPOptions().hidden({options.meta_hidden()}).output(dim * dim), pairs));
}

const SceneLists& PTUPCDRImpl::lists() {
  const auto known = history() ? history()->interactions() : nullptr;
  if (known != lists_of_ || !known) lists_ = known ? SceneLists(*known) : SceneLists(scenes(), users());
  lists_of_ = known;
  return lists_;
}

std::vector<Phase> PTUPCDRImpl::phases() const {
  Phase factors, mapping;
  factors.name = "factors";
  factors.frozen = {"encoder", "encoder_weight", "meta"};
  factors.of_known = true;
  mapping.name = "bridges";
  mapping.frozen = {"user", "item"};
  mapping.epochs = options.bridge_epochs();
  mapping.newest = true;  // it serves users without rows in a scene, who may be nobody among the validation rows
  if (scenes() == 1 || !history()) return {factors};
  const auto overlapping = present_users(*history()->interactions()).sum(0).gt(1).any().item<bool>();
  return overlapping ? std::vector<Phase>{factors, mapping} : std::vector<Phase>{factors};
}

void PTUPCDRImpl::begin_phase(const Phase& phase) {
  const torch::NoGradGuard no_grad;
  bridges.fill_(phase.name == "bridges" ? 1 : 0);
}

Tensor PTUPCDRImpl::loss(const data::Batch& batch) {
  check(batch);
  if (!bridging()) return FactorModel::loss(batch);
  const auto present = lists().counts(batch.user).gt(0);  // [B, S]
  const auto both = present.sum(1).gt(1).logical_and(present.gather(1, batch.scene.unsqueeze(1)).squeeze(1));
  training_bridges_ = true;
  const auto done = c10::make_scope_exit([&] { training_bridges_ = false; });
  return FactorModel::loss(batch.take(both.nonzero().squeeze(1)));
}

Tensor PTUPCDRImpl::transferred(const Tensor& rows, const Tensor& scene, const Tensor& from) {
  const auto slots = scenes(), dim = common.dim(), length = options.length();
  const auto pair = from.nonzero();  // [m, 2]: row, source scene
  const auto row = pair.select(1, 0), source = pair.select(1, 1);
  const auto who = rows.index_select(0, row), to = scene.index_select(0, row);
  // Pairs of scenes in order: those from t take S - 1 places.
  const auto code = source * (slots - 1) + to - to.gt(source).to(torch::kInt64);
  const auto order = nn::order_by(code, slots * (slots - 1), "pairs of scenes", "user");
  const auto sorted_who = who.index_select(0, order.order), sorted_source = source.index_select(0, order.order);
  const auto [met, there] = lists().padded(sorted_who, sorted_source, length);  // [m, L]
  const auto of_items = rows_in(sorted_source.unsqueeze(1), met, items()).flatten();
  const auto q = item->weight.detach().index_select(0, of_items);  // [m L, D]
  auto each = order.groups;
  for (auto& offset : each.offsets) offset *= length;
  const auto hidden = encoder->forward(q, each).view({-1, length, dim});
  const auto w = encoder_weight.index_select(0, code.index_select(0, order.order)).unsqueeze(2);  // [m, D, 1]
  const auto logits = torch::matmul(hidden, w).squeeze(2).masked_fill(there.logical_not(), -1e30);
  const auto taste = torch::matmul(torch::softmax(logits, 1).unsqueeze(1), q.view({-1, length, dim})).squeeze(1);
  const auto bridge = meta->forward(taste, order.groups).view({-1, dim, dim});
  const auto p = user->weight.detach().index_select(0, rows_in(sorted_source, sorted_who, users()));
  const auto moved = torch::matmul(p.unsqueeze(1), bridge).squeeze(1);  // [m, D]
  const auto sum =
      torch::zeros({rows.numel(), dim}, moved.options().requires_grad(false)).index_add(0, row, order.unsort(moved));
  return sum / from.sum(1, /*keepdim=*/true).clamp_min(1).to(sum.scalar_type());
}

Tensor PTUPCDRImpl::user_vectors(const Tensor& rows, const Tensor& scene, std::vector<Tensor>* looked_up) {
  const auto present = lists().counts(rows).gt(0);          // [n, S]
  const auto here = present.gather(1, scene.unsqueeze(1));  // [n, 1]
  const auto own = torch::arange(scenes(), torch::kInt64).unsqueeze(0).eq(scene.unsqueeze(1));
  auto from = present.logical_and(own.logical_not());
  if (!bridging() || (!training_bridges_ && options.bridged() == "cold")) {
    // Who is bridged has no rows in the scene; before the bridges are there, nobody.
    from = bridging() ? from.logical_and(here.logical_not()) : torch::zeros_like(from);
  }
  const auto moved = from.any(1, /*keepdim=*/true);
  // A row without training stays at its start: it says nothing. Before `prepare` all rows are taken at their word.
  const auto read = (history() ? here : torch::ones_like(here)).logical_and(moved.logical_not());
  const auto p = user->forward(rows_in(scene, rows * read.squeeze(1), users()));
  auto out = p * read.to(p.scalar_type());
  if (looked_up) looked_up->push_back(out);
  if (bridging() && from.numel() > 0) {
    // A bridge a user and scene, however many rows they have.
    const auto [key, place] = at::_unique(scene * users() + rows, /*sorted=*/true, /*return_inverse=*/true);
    const auto first =
        torch::empty({key.numel()}, torch::kInt64).index_put_({place}, torch::arange(rows.numel(), torch::kInt64));
    const auto each =
        transferred(rows.index_select(0, first), scene.index_select(0, first), from.index_select(0, first));
    out = out + each.index_select(0, place);
  }
  return out;
}

Tensor PTUPCDRImpl::item_vectors(const Tensor& rows, const Tensor& scene, std::vector<Tensor>* looked_up) {
  const auto place = rows_in(scene, rows, items());
  const auto q = training_bridges_ ? item->weight.detach().index_select(0, place) : item->forward(place);
  if (looked_up) looked_up->push_back(q);
  return q;
}

Tensor PTUPCDRImpl::moved(int64_t from, int64_t to, const Tensor& vector, const Tensor& items_) {
  if (!bridging()) return vector;
  const auto most = std::min<int64_t>(items_.numel(), options.length()), dim = common.dim();
  const auto met = items_.index_select(0, (torch::arange(most) * items_.numel()).floor_divide(most));  // evenly spread
  const auto code = from * (scenes() - 1) + to - (to > from);
  const auto groups = [&](int64_t rows) {
    nn::SceneGroups out;
    for (int64_t pair = 0; pair < scenes() * (scenes() - 1); ++pair) out.offsets.push_back(pair < code ? 0 : rows);
    return out;
  };
  const auto q = item->weight.detach().index_select(0, met + from * items());                                // [L, D]
  const auto logits = torch::mv(encoder->forward(q, groups(most)).view({most, dim}), encoder_weight[code]);  // [L]
  const auto taste = torch::mv(q.t(), torch::softmax(logits, 0)).unsqueeze(0);                               // [1, D]
  return torch::mm(vector, meta->forward(taste, groups(1)).view({dim, dim}));
}

}  // namespace polyscene::models
