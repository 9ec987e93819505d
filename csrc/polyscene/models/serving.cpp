#include "polyscene/models/serving.h"

#include <limits>

namespace polyscene::models {
namespace {

using torch::Tensor;

constexpr double kOther = 0.1;  // weight of an item beside one that was met

Tensor one(int64_t id) { return torch::tensor({id}, torch::kInt64); }

Tensor normal_matrix(const Tensor& met, const Tensor& square) {
  const auto mean = square.trace() / square.size(0) + 1e-12;
  return met.t().mm(met) + kOther / 2 * (square + mean * torch::eye(square.size(0), square.options()));
}

}  // namespace

Tensor Met::positions(int64_t person, int64_t of) const {
  const auto* at = offsets.const_data_ptr<int64_t>() + person;
  const auto all = torch::arange(at[0], at[1]);
  return of < 0 ? all : all.index_select(0, scene.slice(0, at[0], at[1]).eq(of).nonzero().squeeze(1));
}

Tensor Met::items(int64_t person, int64_t of) const {
  return std::get<0>(at::_unique(item.index_select(0, positions(person, of)), /*sorted=*/true));
}

Tensor ServesByVectors::folded(const Tensor& met, const Tensor& square) const {
  const auto q = met.to(torch::kFloat64);
  return at::linalg_solve(normal_matrix(q, square), q.sum(0).unsqueeze(1)).t();
}

Tensor ServesByVectors::moved(int64_t, int64_t, const Tensor& vector, const Tensor&) { return vector; }

ServesByVectors::Space ServesByVectors::space(int64_t scene) {
  const auto& known = trained_on();
  Space out;
  double length = 0;
  int64_t users = 0;
  for (int64_t s = 0; s < known.scenes(); ++s) {
    if (scene >= 0 && s != scene) continue;
    const auto& here = known.scene(s);
    if (here.pairs() == 0) continue;
    const auto q = vectors_of_items(s, here.candidates).to(torch::kFloat64);
    const auto sum = q.t().mm(q);
    out.square = out.square.defined() ? out.square + sum : sum;
    length += vectors_of_users(s, here.visitors).norm(2, 1).sum().item<double>();
    users += here.visitors.numel();
  }
  if (users == 0) return out;
  out.length = length / static_cast<double>(users);
  return out;
}

std::vector<ServesByVectors::Space> ServesByVectors::spaces() {
  if (one_space()) return {space(-1)};
  std::vector<Space> out;
  for (int64_t s = 0; s < trained_on().scenes(); ++s) out.push_back(space(s));
  return out;
}

Tensor ServesByVectors::vector_of(const Met& met, int64_t person, int64_t scene, const std::vector<Space>& spaces) {
  const auto fold = [&](const Tensor& vectors, const Space& space) {
    const auto p = folded(vectors, space.square);
    return (p * (space.length / p.norm().clamp_min(1e-12))).to(vectors.scalar_type());
  };
  if (one_space()) {
    std::vector<Tensor> vectors;
    for (int64_t s = 0; s < trained_on().scenes(); ++s) {
      const auto items = met.items(person, s);
      if (items.numel() > 0) vectors.push_back(vectors_of_items(s, items));
    }
    return vectors.empty() || !spaces[0].square.defined() ? Tensor() : fold(torch::cat(vectors), spaces[0]);
  }
  const auto in = [&](int64_t s) -> Tensor {
    const auto items = met.items(person, s);
    return items.numel() == 0 || !spaces[s].square.defined() ? Tensor() : fold(vectors_of_items(s, items), spaces[s]);
  };
  if (const auto own = in(scene); own.defined()) return own;
  std::vector<Tensor> from;
  for (int64_t s = 0; s < trained_on().scenes(); ++s) {
    if (const auto there = in(s); there.defined()) from.push_back(moved(s, scene, there, met.items(person, s)));
  }
  return from.empty() ? Tensor() : torch::stack(from).mean(0);
}

Tensor ServesByVectors::score_newcomers(const Met& met, int64_t scene, const Tensor& items) {
  const torch::NoGradGuard no_grad;
  const auto all = spaces();
  const auto q = vectors_of_items(scene, items);  // [C, D']
  auto p = torch::zeros({met.people(), q.size(1)}, q.options());
  for (int64_t n = 0; n < met.people(); ++n) {
    if (const auto mine = vector_of(met, n, scene, all); mine.defined()) p[n].copy_(mine[0]);
  }
  auto out = torch::mm(p, q.t());
  const auto offset = offsets_of_items(scene, items);
  return offset.defined() ? out.add_(offset.unsqueeze(0)) : out;
}

Tensor ServesByVectors::similarity(int64_t item, int64_t from, int64_t to, const Tensor& items) {
  const torch::NoGradGuard no_grad;
  if (from != to && !one_space()) return torch::full({items.numel()}, -std::numeric_limits<float>::infinity());
  return torch::cosine_similarity(vectors_of_items(to, items), vectors_of_items(from, one(item)), 1, 1e-12);
}

Tensor ServesByVectors::reasons(int64_t, const Met& met, int64_t scene, const Tensor& items) {
  const torch::NoGradGuard no_grad;
  const auto count = met.item.numel();
  if (count == 0) return torch::zeros({items.numel(), 0});
  if (!one_space()) {  // person n is this one without pair n, the last one without none
    auto kept = torch::ones({count + 1, count}, torch::kBool);
    kept.slice(0, 0, count).fill_diagonal_(false);
    const auto index = kept.nonzero().select(1, 1);
    const auto zero = torch::zeros({1}, torch::kInt64);
    const Met without{torch::cat({zero, kept.sum(1).cumsum(0)}), met.item.index_select(0, index),
                      met.scene.index_select(0, index)};
    const auto scores = score_newcomers(without, scene, items);  // [L + 1, C]
    return (scores[count].unsqueeze(0) - scores.slice(0, 0, count)).t().contiguous();
  }
  const auto all = space(-1);
  if (!all.square.defined()) return torch::zeros({items.numel(), count});
  const auto width = all.square.size(0);
  auto q = torch::zeros({count, width}, torch::kFloat64);
  for (int64_t s = 0; s < trained_on().scenes(); ++s) {
    const auto at = met.positions(0, s);
    if (at.numel() > 0) q.index_copy_(0, at, vectors_of_items(s, met.item.index_select(0, at)).to(torch::kFloat64));
  }
  const auto each = at::linalg_solve(normal_matrix(q, all.square), q.t());  // [D', L]
  const auto gain = all.length / each.sum(1).norm().clamp_min(1e-12);
  return (gain * vectors_of_items(scene, items).to(torch::kFloat64).mm(each)).to(torch::kFloat32);
}

}  // namespace polyscene::models
