#include "polyscene/models/single/nmf.h"

#include <ATen/Parallel.h>

#include <vector>

#include "polyscene/nn/hidden.h"

namespace polyscene::models {
namespace {

constexpr double kTiny = 1e-12;  // keeps 0 / 0 away

// Ratings of each row of one side: those of row n lie in [offsets[n], offsets[n + 1]).
struct Ratings {
  std::vector<int64_t> offsets, other;
  std::vector<double> rating;

  int64_t count(int64_t row) const { return offsets[row + 1] - offsets[row]; }
};

Ratings by_row(const torch::Tensor& mine, const torch::Tensor& theirs, const torch::Tensor& label, int64_t rows) {
  const auto *row = mine.const_data_ptr<int64_t>(), *other = theirs.const_data_ptr<int64_t>();
  const auto* rating = label.const_data_ptr<float>();
  Ratings out{std::vector<int64_t>(rows + 1), std::vector<int64_t>(mine.numel()), std::vector<double>(mine.numel())};
  for (int64_t n = 0; n < mine.numel(); ++n) ++out.offsets[row[n] + 1];
  for (int64_t r = 0; r < rows; ++r) out.offsets[r + 1] += out.offsets[r];
  auto next = out.offsets;
  for (int64_t n = 0; n < mine.numel(); ++n) {
    const auto to = next[row[n]]++;
    out.other[to] = other[n];
    out.rating[to] = rating[n];
  }
  return out;
}

// One update of all rows of `mine`, [rows, D], while `theirs` stays.
void update(const Ratings& ratings, std::vector<double>& mine, const std::vector<double>& theirs, int64_t dim,
            double l2) {
  const auto rows = static_cast<int64_t>(ratings.offsets.size()) - 1;
  at::parallel_for(0, rows, 64, [&](int64_t begin, int64_t end) {
    std::vector<double> wanted(dim), found(dim);
    for (int64_t r = begin; r < end; ++r) {
      if (ratings.count(r) == 0) continue;
      double* p = mine.data() + r * dim;
      for (int64_t f = 0; f < dim; ++f) {
        wanted[f] = 0;
        found[f] = l2 * static_cast<double>(ratings.count(r)) * p[f];
      }
      for (int64_t n = ratings.offsets[r]; n < ratings.offsets[r + 1]; ++n) {
        const double* q = theirs.data() + ratings.other[n] * dim;
        double out = 0;
        for (int64_t f = 0; f < dim; ++f) out += p[f] * q[f];
        for (int64_t f = 0; f < dim; ++f) {
          wanted[f] += q[f] * ratings.rating[n];
          found[f] += q[f] * out;
        }
      }
      for (int64_t f = 0; f < dim; ++f) p[f] *= wanted[f] / (found[f] + kTiny);
    }
  });
}

// Rows without ratings become the mean of those with some.
void fill(const Ratings& ratings, std::vector<double>& mine, int64_t dim) {
  const auto rows = static_cast<int64_t>(ratings.offsets.size()) - 1;
  std::vector<double> mean(dim);
  int64_t rated = 0;
  for (int64_t r = 0; r < rows; ++r) {
    if (ratings.count(r) == 0) continue;
    ++rated;
    for (int64_t f = 0; f < dim; ++f) mean[f] += mine[r * dim + f];
  }
  for (int64_t r = 0; r < rows && rated > 0; ++r) {
    if (ratings.count(r) > 0) continue;
    for (int64_t f = 0; f < dim; ++f) mine[r * dim + f] = mean[f] / static_cast<double>(rated);
  }
}

std::vector<double> copied(const torch::Tensor& tensor) {
  const auto values = tensor.to(torch::kCPU, torch::kFloat64).contiguous();
  return {values.const_data_ptr<double>(), values.const_data_ptr<double>() + values.numel()};
}

}  // namespace

NMFImpl::NMFImpl(std::shared_ptr<const data::Schema> schema, NMFOptions options_)
    : Model(std::move(schema)), options(std::move(options_)) {
  const auto& known = this->schema();
  TORCH_CHECK_VALUE(known.user >= 0 && known.item >= 0, "NMF: the data must have a user and an item column, it has no ",
                    known.user < 0 ? "user" : "item", "; name it when the table is read");
  TORCH_CHECK_VALUE(known.task == "rating", "NMF: the task must be 'rating', got '", known.task, "'");
  TORCH_CHECK_VALUE(options.dim() > 0, "NMF: dim must be positive, got ", options.dim());
  TORCH_CHECK_VALUE(options.l2() >= 0, "NMF: l2 must be 0 or more, got ", options.l2());
  TORCH_CHECK_VALUE(options.passes() > 0, "NMF: passes must be positive, got ", options.passes());
  user = register_buffer("user", torch::rand({known.categorical[known.user].rows(), options.dim()}));
  item = register_buffer("item", torch::rand({known.categorical[known.item].rows(), options.dim()}));
}

torch::Tensor NMFImpl::parts(const data::Batch& batch) const {
  check(batch);
  const auto p = user.index_select(0, batch.user), q = item.index_select(0, batch.item);
  if (nn::heard()) nn::tell_output(*this, torch::cat({p, q}, 1));
  return p * q;
}

torch::Tensor NMFImpl::forward(const data::Batch& batch) {
  return parts(batch).sum(1).clamp(schema().label_low, schema().label_high);
}

Explanation NMFImpl::explain(const data::Batch& batch) { return {{"parts", parts(batch)}}; }

bool NMFImpl::fit_closed_form(const data::Table& train) {
  const torch::NoGradGuard no_grad;
  const auto users = train.users().contiguous(), items = train.items().contiguous();
  const auto labels = train.labels().contiguous();
  const auto wrong = labels.lt(0).nonzero();
  TORCH_CHECK_VALUE(wrong.numel() == 0, "NMF: ratings must be 0 or more, row ", wrong[0].item<int64_t>(), " has ",
                    labels[wrong[0].item<int64_t>()].item<float>());
  const auto of_user = by_row(users, items, labels, user.size(0)), of_item = by_row(items, users, labels, item.size(0));
  const auto dim = options.dim();
  auto p = copied(user), q = copied(item);
  for (int64_t pass = 0; pass < options.passes(); ++pass) {
    update(of_user, p, q, dim, options.l2());
    update(of_item, q, p, dim, options.l2());
  }
  fill(of_user, p, dim);
  fill(of_item, q, dim);
  user.copy_(torch::from_blob(p.data(), user.sizes(), torch::kFloat64));
  item.copy_(torch::from_blob(q.data(), item.sizes(), torch::kFloat64));
  return true;
}

}  // namespace polyscene::models
