#include "polyscene/models/single/ease.h"

#include <ATen/Parallel.h>

#include <limits>

namespace polyscene::models {
EASEImpl::EASEImpl(std::shared_ptr<const data::Schema> schema, EASEOptions options_)
    : Model(std::move(schema)), options(std::move(options_)) {
  TORCH_CHECK_VALUE(this->schema().user >= 0 && this->schema().item >= 0,
                    "EASE: the data must have a user and an item column; name them when the table is read");
  TORCH_CHECK_VALUE(options.l2() > 0, "EASE: l2 must be positive, got ", options.l2());
  TORCH_CHECK_VALUE(options.scope() == "scene" || options.scope() == "overall",
                    "EASE: scope must be 'scene' or 'overall', got '", options.scope(), "'");
}

bool EASEImpl::fit_closed_form(const data::Table&) {
  for (int64_t s = 0; s < schema().num_scenes(); ++s) weights(s);
  return true;
}

void EASEImpl::encode() {
  TORCH_CHECK_VALUE(history(), "EASE: was not prepared; fit it, or call prepare(data.train)");
  const auto known = history()->interactions();
  if (made_of_ == known) return;
  weights_.clear();
  made_of_ = known;
}

const EaseWeights& EASEImpl::weights(int64_t scene) {
  encode();
  const auto key = options.scope() == "overall" ? -1 : scene;
  const auto found = weights_.find(key);
  if (found != weights_.end()) return found->second;
  return weights_.emplace(key, EaseWeights(key < 0 ? made_of_->pooled() : made_of_->scene(scene), options.l2()))
      .first->second;
}

torch::Tensor EASEImpl::scores(const torch::Tensor& users, int64_t scene) {
  const auto& mine = weights(scene);
  const auto items = made_of_->items(), count = users.numel();
  auto out = torch::zeros({count, items});
  const auto* user = users.const_data_ptr<int64_t>();
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scratch;
    for (int64_t u = begin; u < end; ++u) mine.add(user[u], out.data_ptr<float>() + u * items, scratch);
  });
  return out;
}

torch::Tensor EASEImpl::score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) {
  return scores(users, scene).index_select(1, items);
}

torch::Tensor EASEImpl::forward(const data::Batch& batch) {
  check(batch);
  auto out = torch::zeros({batch.size()});
  if (!history()) return out;
  for (int64_t s = 0; s < schema().num_scenes(); ++s) {
    const auto rows = batch.scene.eq(s).nonzero().squeeze(1);
    if (rows.numel() == 0) continue;
    const auto [users, place] = at::_unique(batch.user.index_select(0, rows), /*sorted=*/true, /*return_inverse=*/true);
    out.index_copy_(0, rows, scores(users, s).index({place, batch.item.index_select(0, rows)}));
  }
  return out;
}

torch::Tensor EASEImpl::of_items(const torch::Tensor& met, int64_t scene) {
  const auto& mine = weights(scene);
  auto out = torch::zeros({made_of_->items()});
  std::vector<float> scratch;
  mine.add(met, out.data_ptr<float>(), scratch);
  return out;
}

torch::Tensor EASEImpl::score_newcomers(const Met& met, int64_t scene, const torch::Tensor& items) {
  const auto from = options.scope() == "overall" ? -1 : scene;
  auto out = torch::empty({met.people(), items.numel()});
  for (int64_t n = 0; n < met.people(); ++n) out[n].copy_(of_items(met.items(n, from), scene).index_select(0, items));
  return out;
}

torch::Tensor EASEImpl::similarity(int64_t item, int64_t from, int64_t to, const torch::Tensor& items) {
  if (from != to && options.scope() != "overall")
    return torch::full({items.numel()}, -std::numeric_limits<float>::infinity());
  return of_items(torch::tensor({item}, torch::kInt64), to).index_select(0, items);
}

torch::Tensor EASEImpl::reasons(int64_t, const Met& met, int64_t scene, const torch::Tensor& items) {
  auto out = torch::zeros({items.numel(), met.item.numel()});
  const bool overall = options.scope() == "overall";
  for (int64_t j = 0; j < met.item.numel(); ++j) {
    if (!overall && met.scene[j].item<int64_t>() != scene) continue;
    const auto one = met.item.narrow(0, j, 1);
    // An item that several scenes hold is one pair here.
    const auto times = overall ? met.item.eq(one).sum().item<int64_t>() : 1;
    out.select(1, j).copy_(of_items(one, scene).index_select(0, items) / static_cast<double>(times));
  }
  return out;
}

}  // namespace polyscene::models
