#include "polyscene/models/single/ease.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "polyscene/nn/sparse_matrix.h"

namespace polyscene::models {
namespace {

constexpr int64_t kMost = 40'000;  // of the side that is inverted: 19 GB

torch::Tensor places(int64_t rows, const torch::Tensor& present) {
  return torch::full({rows}, -1, torch::kInt64).index_put_({present}, torch::arange(present.numel()));
}

// Of pairs (a, b): how many b each two a share, [n, n], for the a that are present.
torch::Tensor shared(const torch::Tensor& a_offsets, const torch::Tensor& a_codes, const torch::Tensor& b_offsets,
                     const torch::Tensor& b_codes, const torch::Tensor& present, const torch::Tensor& place) {
  const auto n = present.numel();
  auto out = torch::zeros({n, n});
  const auto *a = a_offsets.const_data_ptr<int64_t>(), *b = b_offsets.const_data_ptr<int64_t>(),
             *row = present.const_data_ptr<int64_t>(), *at = place.const_data_ptr<int64_t>();
  const auto *b_of = a_codes.const_data_ptr<int32_t>(), *a_of = b_codes.const_data_ptr<int32_t>();
  at::parallel_for(0, n, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* to = out.data_ptr<float>() + i * n;
      for (auto j = a[row[i]]; j < a[row[i] + 1]; ++j) {
        for (auto k = b[b_of[j]]; k < b[b_of[j] + 1]; ++k) to[at[a_of[k]]] += 1;
      }
    }
  });
  return out;
}

}  // namespace

EASEImpl::EASEImpl(std::shared_ptr<const data::Schema> schema, EASEOptions options_)
    : Model(std::move(schema)), options(std::move(options_)) {
  TORCH_CHECK_VALUE(this->schema().user >= 0 && this->schema().item >= 0,
                    "EASE: the data must have a user and an item column; name them when the table is read");
  TORCH_CHECK_VALUE(options.l2() > 0, "EASE: l2 must be positive, got ", options.l2());
  TORCH_CHECK_VALUE(options.scope() == "scene" || options.scope() == "overall",
                    "EASE: scope must be 'scene' or 'overall', got '", options.scope(), "'");
}

bool EASEImpl::fit_closed_form(const data::Table&) {
  encode();
  for (int64_t s = 0; s < made_of_->scenes(); ++s) solved(s);
  return true;
}

void EASEImpl::encode() {
  TORCH_CHECK_VALUE(history(), "EASE: was not prepared; fit it, or call prepare(data.train)");
  const auto known = history()->interactions();
  if (made_of_ == known) return;
  solved_.clear();
  made_of_ = known;
}

const EASEImpl::Solved& EASEImpl::solved(int64_t scene) {
  const auto key = options.scope() == "overall" ? -1 : scene;
  const auto found = solved_.find(key);
  if (found != solved_.end()) return found->second;
  const torch::NoGradGuard no_grad;
  Solved out;
  out.pairs = key < 0 ? made_of_->pooled() : made_of_->scene(scene);
  const auto& pairs = out.pairs;
  out.by_users = pairs.visitors.numel() < pairs.candidates.numel();
  const auto& present = out.by_users ? pairs.visitors : pairs.candidates;
  const auto n = present.numel();
  TORCH_CHECK_VALUE(n <= kMost, "EASE: inverts a matrix of the users or items, whichever are fewer: ", n,
                    " here, at most ", kMost, " fit; light_gcn and bpr_mf have no such limit");
  out.place = places(out.by_users ? made_of_->users() : made_of_->items(), present);
  auto gram = out.by_users
                  ? shared(pairs.user_offsets, pairs.items, pairs.item_offsets, pairs.users, present, out.place)
                  : shared(pairs.item_offsets, pairs.users, pairs.user_offsets, pairs.items, present, out.place);
  gram.diagonal().add_(options.l2());
  if (n > 0) out.inverse = torch::cholesky_inverse(at::linalg_cholesky(gram));
  gram.reset();
  out.diagonal = torch::ones({made_of_->items()});
  auto* diagonal = out.diagonal.data_ptr<float>();
  const auto* candidate = pairs.candidates.const_data_ptr<int64_t>();
  const auto* place = out.place.const_data_ptr<int64_t>();
  const float* inverse = n > 0 ? out.inverse.const_data_ptr<float>() : nullptr;
  const auto* offset = pairs.item_offsets.const_data_ptr<int64_t>();
  const auto* users = pairs.users.const_data_ptr<int32_t>();
  at::parallel_for(0, pairs.candidates.numel(), 16, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const auto i = candidate[c];
      double sum = 0;
      if (out.by_users) {
        for (auto a = offset[i]; a < offset[i + 1]; ++a) {
          for (auto b = offset[i]; b < offset[i + 1]; ++b) sum += inverse[place[users[a]] * n + place[users[b]]];
        }
        diagonal[i] = static_cast<float>((1 - sum) / options.l2());
      } else {
        diagonal[i] = inverse[c * n + c];
      }
    }
  });
  return solved_[key] = std::move(out);
}

torch::Tensor EASEImpl::scores(const torch::Tensor& users, int64_t scene) {
  const auto& mine = solved(scene);
  const auto& pairs = mine.pairs;
  const auto items = made_of_->items(), count = users.numel();
  auto out = torch::zeros({count, items});
  const auto n = mine.inverse.defined() ? mine.inverse.size(0) : 0;
  if (n == 0) return out;
  const auto* user = users.const_data_ptr<int64_t>();
  const auto* place = mine.place.const_data_ptr<int64_t>();
  const float* inverse = mine.inverse.const_data_ptr<float>();
  const float* diagonal = mine.diagonal.const_data_ptr<float>();
  const auto* candidate = pairs.candidates.const_data_ptr<int64_t>();
  const auto candidates = pairs.candidates.numel();
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> row(n);
    for (int64_t u = begin; u < end; ++u) {
      float* to = out.data_ptr<float>() + u * items;
      if (pairs.degree(user[u]) == 0) continue;
      if (mine.by_users) {  // the user's row of K X
        const float* k = inverse + place[user[u]] * n;
        const auto* visitor = pairs.visitors.const_data_ptr<int64_t>();
        for (int64_t v = 0; v < n; ++v) {
          for (const auto* i = pairs.begin(visitor[v]); i != pairs.end(visitor[v]); ++i) to[*i] += k[v];
        }
        for (int64_t c = 0; c < candidates; ++c) to[candidate[c]] /= -diagonal[candidate[c]];
      } else {
        std::fill(row.begin(), row.end(), 0.f);
        for (const auto* i = pairs.begin(user[u]); i != pairs.end(user[u]); ++i) {
          const float* p = inverse + place[*i] * n;
          for (int64_t c = 0; c < n; ++c) row[c] += p[c];
        }
        for (int64_t c = 0; c < n; ++c) to[candidate[c]] = -row[c] / diagonal[candidate[c]];
      }
      for (const auto* i = pairs.begin(user[u]); i != pairs.end(user[u]); ++i) to[*i] += 1;
    }
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
  encode();
  for (int64_t s = 0; s < schema().num_scenes(); ++s) {
    const auto rows = batch.scene.eq(s).nonzero().squeeze(1);
    if (rows.numel() == 0) continue;
    const auto [users, place] = at::_unique(batch.user.index_select(0, rows), /*sorted=*/true, /*return_inverse=*/true);
    out.index_copy_(0, rows, scores(users, s).index({place, batch.item.index_select(0, rows)}));
  }
  return out;
}

}  // namespace polyscene::models
