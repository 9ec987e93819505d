#include "polyscene/models/interest/interest_moves.h"

#include <algorithm>
#include <vector>

namespace polyscene::models {

void each_window(const data::History& history, int64_t length, const std::function<void(const data::Events&)>& use) {
  constexpr int64_t kLists = 512;
  const auto* start = history.offsets.const_data_ptr<int64_t>();
  const auto users = history.offsets.numel() - 1;
  std::vector<int64_t> index, ends = {0};
  const auto flush = [&] {
    if (ends.size() == 1) return;
    const auto chosen = torch::tensor(index, torch::kInt64);
    use({torch::tensor(ends, torch::kInt64), history.item.index_select(0, chosen),
         history.scene.index_select(0, chosen), history.label.index_select(0, chosen),
         history.time.index_select(0, chosen),
         history.interest.defined() ? history.interest.take(chosen) : data::Ragged()});
    index.clear();
    ends.assign(1, 0);
  };
  for (int64_t u = data::kFirstId; u < users; ++u) {
    for (auto begin = start[u]; begin + 1 < start[u + 1]; begin += length - 1) {
      const auto end = std::min(begin + length, start[u + 1]);
      for (auto j = begin; j < end; ++j) index.push_back(j);
      ends.push_back(static_cast<int64_t>(index.size()));
    }
    if (static_cast<int64_t>(ends.size()) > kLists) flush();
  }
  flush();
}

torch::Tensor multi_hot(const data::Ragged& lists, int64_t interests, const torch::TensorOptions& like) {
  auto out = torch::zeros({lists.size(), interests}, like);
  const auto row = torch::arange(lists.size(), lists.offsets.options()).repeat_interleave(lists.offsets.diff());
  return out.index_put_({row.to(like.device()), lists.values.to(torch::kInt64)}, torch::ones({}, like));
}

torch::Tensor move_probabilities(const torch::Tensor& logits, const std::string& transition) {
  return transition == "softmax" ? logits.softmax(-1) : logits.sigmoid();
}

torch::Tensor move_loss(const torch::Tensor& logits, const torch::Tensor& target, const std::string& transition) {
  const auto known = target.sum(1).gt(0).to(target.dtype());
  torch::Tensor each;
  if (transition == "softmax") {
    each = -(target / target.sum(1, true).clamp_min(1) * logits.log_softmax(-1)).sum(1);
  } else {
    each = torch::binary_cross_entropy_with_logits(logits, target, {}, {}, at::Reduction::None).mean(1);
  }
  return (each * known).sum() / known.sum().clamp_min(1);
}

void MeanMoves::add(const torch::Tensor& now, const torch::Tensor& next) {
  const auto moved = now.t().mm(next), mine = now.sum(0).unsqueeze(1);
  sum = sum.defined() ? sum + moved : moved;
  weight = weight.defined() ? weight + mine : mine;
}

torch::Tensor MeanMoves::mean(const torch::Tensor& otherwise) const {
  return sum.defined() ? torch::where(weight > 0, sum / weight.clamp_min(1e-12), otherwise) : otherwise;
}

}  // namespace polyscene::models
