#include "polyscene/models/cross/pair_maps.h"

#include <cmath>

namespace polyscene::models {

PairMapsImpl::PairMapsImpl(int64_t scenes, int64_t dim, int64_t hidden, bool bounded)
    : scenes_(scenes), bounded_(bounded) {
  const auto pairs = scenes * (scenes - 1);
  if (pairs == 0) return;
  const auto weight = [&](int64_t in, int64_t out) {
    return torch::randn({pairs, in, out}) * std::sqrt(2.0 / static_cast<double>(in + out));
  };
  first = register_parameter("first", weight(dim, hidden > 0 ? hidden : dim));
  if (hidden == 0) return;
  first_bias = register_parameter("first_bias", torch::zeros({pairs, hidden}));
  second = register_parameter("second", weight(hidden, dim));
  second_bias = register_parameter("second_bias", torch::zeros({pairs, dim}));
}

PairMapsImpl::Opened PairMapsImpl::open() const {
  Opened out;
  out.scenes_ = scenes_;
  out.bounded_ = bounded_;
  if (first.defined()) out.first_ = first.unbind(0);
  if (second.defined()) {
    out.first_bias_ = first_bias.unbind(0);
    out.second_ = second.unbind(0);
    out.second_bias_ = second_bias.unbind(0);
  }
  return out;
}

torch::Tensor PairMapsImpl::zero() const {
  return first.defined() ? first.narrow(0, 0, 1).sum() * 0 : torch::zeros({});
}

torch::Tensor PairMapsImpl::Opened::operator()(int64_t from, int64_t to, const torch::Tensor& x) const {
  const auto p = static_cast<size_t>(from * (scenes_ - 1) + to - (to > from ? 1 : 0));
  auto out = torch::mm(x, first_[p]);
  if (!second_.empty()) out = torch::addmm(second_bias_[p], (out + first_bias_[p]).tanh(), second_[p]);
  return bounded_ ? out.tanh() : out;
}

}  // namespace polyscene::models
