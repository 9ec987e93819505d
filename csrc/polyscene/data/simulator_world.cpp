#include "polyscene/data/simulator_world.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "polyscene/core/errors.h"
#include "polyscene/core/random.h"

namespace polyscene::data::detail {
namespace {

// log of a Gamma(shape, 1) number: Marsaglia and Tsang (2000) for shape + 1, then log U / shape, which cannot
// underflow.
double log_gamma_draw(double shape, const RandomStream& stream, uint64_t& count) {
  const auto d = shape + 1 - 1.0 / 3;
  const auto c = 1 / std::sqrt(9 * d);
  while (true) {
    const auto x = stream.normal(count++);
    const auto u = stream.uniform((uint64_t{1} << 40) + count++);
    const auto v = std::pow(1 + c * x, 3);
    if (v <= 0 || std::log(1 - u) >= 0.5 * x * x + d - d * v + d * std::log(v)) continue;
    return std::log(d * v) + std::log(1 - stream.uniform((uint64_t{1} << 41) + count++)) / shape;
  }
}

void draw_dirichlet(double concentration, const RandomStream& stream, int64_t n, double* out) {
  uint64_t count = 0;
  for (int64_t k = 0; k < n; ++k) out[k] = log_gamma_draw(concentration, stream, count);
  const auto top = *std::max_element(out, out + n);
  double total = 0;
  for (int64_t k = 0; k < n; ++k) total += out[k] = std::exp(out[k] - top);
  for (int64_t k = 0; k < n; ++k) out[k] /= total;
}

std::vector<double> draw_normals(int64_t n, const RandomStream& stream) {
  std::vector<double> out(n);
  for (int64_t i = 0; i < n; ++i) out[i] = stream.normal(i);
  return out;
}

std::vector<int64_t> draw_below(int64_t n, int64_t below, const RandomStream& stream) {
  std::vector<int64_t> out(n);
  for (int64_t i = 0; i < n; ++i) out[i] = stream.below(below, i);
  return out;
}

// A random permutation that leaves nothing in its place (Sattolo's algorithm: a single cycle).
std::vector<int64_t> draw_cycle(int64_t n, const RandomStream& stream) {
  std::vector<int64_t> out(n);
  std::iota(out.begin(), out.end(), int64_t{0});
  for (int64_t i = n - 1; i > 0; --i) std::swap(out[i], out[stream.below(i, i)]);
  return out;
}

}  // namespace

SimulatedWorld::SimulatedWorld(const SimulatorOptions& options) : options_(options) {
  const uint64_t seed = options_.seed();
  if (!options_.related()) stranger_ = options_.target() < 0 ? options_.scenes() - 1 : options_.target();
  draw_transitions();
  draw_items();
  draw_users();
  tastes_ = {draw_taste(0), draw_taste(1)};
  scene_bias_ = draw_normals(options_.scenes(), {seed, "scene bias"});
  appeal_ = draw_normals(options_.scenes() * options_.interests(), {seed, "appeal"});
}

void SimulatedWorld::draw_transitions() {
  const auto S = options_.scenes(), K = options_.interests();
  const uint64_t seed = options_.seed();
  const auto row_cycle = draw_cycle(K, {seed, "row permutation"});
  const auto column_cycle = draw_cycle(K, {seed, "column permutation"});
  std::vector<double> row(K);
  const auto draw = [&](const std::string& name) {
    auto out = torch::empty({S, S, K, K}, torch::kFloat64);
    auto* to = out.data_ptr<double>();
    for (int64_t pair = 0; pair < S * S; ++pair) {
      const bool strange = pair / S == stranger_ || pair % S == stranger_;
      for (int64_t i = 0; i < K; ++i, to += K) {
        const auto place = strange ? row_cycle[i] : i;
        const bool common = RandomStream(seed, "common row", place).uniform(pair) < options_.likeness();
        const auto index = static_cast<uint64_t>(common ? place : K + pair * K + place);
        draw_dirichlet(options_.concentration(), {seed, name, index}, K, row.data());
        for (int64_t j = 0; j < K; ++j) {
          const auto share = row[strange ? column_cycle[j] : j];
          to[j] = (1 - options_.noise()) * share + options_.noise() / static_cast<double>(K);
        }
      }
    }
    return out;
  };
  transition = draw("transition");
  transition_end = transition;
  if (options_.drift() > 0) {
    transition_end = (1 - options_.drift()) * transition + options_.drift() * draw("transition at the end");
  }
  initial = torch::empty({S, K}, torch::kFloat64);
  auto* first = initial.data_ptr<double>();
  for (int64_t s = 0; s < S; ++s) {
    draw_dirichlet(1.0, {seed, "initial", static_cast<uint64_t>(s)}, K, first + s * K);
  }
  initial.mul_(1 - options_.noise()).add_(options_.noise() / static_cast<double>(K));
}

void SimulatedWorld::draw_items() {
  const auto I = options_.items(), K = options_.interests();
  const uint64_t seed = options_.seed();
  item_topic.resize(I);
  of_topic_.resize(K);
  share_.resize(K);
  const auto order = permutation(I, {seed, "item topic"});
  for (int64_t rank = 0; rank < I; ++rank) {
    const auto topic = rank % K;
    item_topic[order[rank]] = topic;
    of_topic_[topic].push_back(order[rank]);
    const auto before = share_[topic].empty() ? 0.0 : share_[topic].back();
    share_[topic].push_back(before + 1 / static_cast<double>(of_topic_[topic].size()));
  }
  for (auto& share : share_) {
    const auto total = share.back();
    for (auto& part : share) part /= total;
  }
  brand = draw_below(I, kBrands, {seed, "brand"});
  price_score = draw_normals(I, {seed, "price"});
  price.resize(I);
  std::transform(price_score.begin(), price_score.end(), price.begin(),
                 [](double x) { return 20 * std::exp(0.6 * x); });
}

void SimulatedWorld::draw_users() {
  const auto U = options_.users();
  const uint64_t seed = options_.seed();
  device = draw_below(U, kDevices, {seed, "device"});
  segment = draw_below(U, kSegments, {seed, "segment"});
  age.resize(U);
  age_score.resize(U);
  const RandomStream ages(seed, "age");
  for (int64_t u = 0; u < U; ++u) {
    age[u] = std::clamp(std::round(38 + 13 * ages.normal(u)), 16.0, 90.0);
    age_score[u] = (age[u] - 38) / 13;
  }
}

SimulatedTaste SimulatedWorld::draw_taste(uint64_t number) const {
  const auto K = options_.interests();
  const uint64_t seed = options_.seed();
  SimulatedTaste out;
  out.number = number;
  out.topic.resize(K);
  std::iota(out.topic.begin(), out.topic.end(), int64_t{0});
  if (number > 0) out.topic = draw_cycle(K, {seed, "topic permutation"});
  out.interest.resize(K);
  for (int64_t k = 0; k < K; ++k) out.interest[out.topic[k]] = k;
  out.quality = draw_normals(options_.items(), {seed, "quality", number});
  out.bias = draw_normals(options_.users(), {seed, "user bias", number});
  out.segment = draw_normals(kSegments * K, {seed, "segment taste", number});
  out.brand = draw_normals(kBrands, {seed, "brand effect", number});
  out.device = draw_normals(kDevices, {seed, "device effect", number});
  return out;
}

double SimulatedWorld::base_logit(int64_t scene, int64_t user, int64_t item) const {
  const auto& held = taste(scene);
  const auto K = options_.interests();
  const auto topic = item_topic[item];
  const RandomStream own(options_.seed(), held.number == 0 ? "own taste" : "own taste in the target", user);
  const auto liking = 0.6 * held.segment[segment[user] * K + topic] + 0.8 * own.normal(topic);
  const auto sign = held.number == 0 ? 1.0 : -1.0;
  return options_.strength() *
         (0.3 * scene_bias_[scene] + 0.6 * held.quality[item] + 0.5 * held.bias[user] + 0.7 * liking +
          0.3 * appeal_[scene * K + topic] + 0.3 * held.brand[brand[item]] + 0.3 * held.device[device[user]] +
          sign * 0.25 * age_score[user] * price_score[item] - 1.3);
}

void SimulatedWorld::next_interest(int64_t from, int64_t to, int64_t interest, double moment, double* out) const {
  const auto K = options_.interests();
  if (from < 0) {
    std::copy_n(initial.const_data_ptr<double>() + to * K, K, out);
    return;
  }
  const auto place = ((from * options_.scenes() + to) * K + interest) * K;
  const auto* start = transition.const_data_ptr<double>() + place;
  const auto* end = transition_end.const_data_ptr<double>() + place;
  for (int64_t j = 0; j < K; ++j) out[j] = start[j] + moment * (end[j] - start[j]);
}

int64_t SimulatedWorld::draw_item(int64_t topic, double uniform) const {
  const auto& share = share_[topic];
  const auto rank = std::upper_bound(share.begin(), share.end() - 1, uniform) - share.begin();
  return of_topic_[topic][rank];
}

double SimulatedWorld::show_topic(int64_t wanted, int64_t shown) const {
  const auto any = (1 - options_.relevance()) / static_cast<double>(options_.interests());
  return wanted == shown ? options_.relevance() + any : any;
}

std::vector<int64_t> SimulatedWorld::scenes_of(int64_t user) const {
  const RandomStream stream(options_.seed(), "scenes of a user", user);
  const bool visits = options_.sparse_scene() < 0 || stream.uniform(0) < options_.sparsity();
  std::vector<int64_t> out;
  for (int64_t s = 0; s < options_.scenes(); ++s) {
    if (visits || s != options_.sparse_scene()) out.push_back(s);
  }
  const auto known = static_cast<int64_t>(out.size());
  const bool several = known > 1 && stream.uniform(1) < options_.overlap();
  const auto kept = several ? 2 + stream.below(known - 1, 2) : 1;
  for (int64_t i = 0; i < kept; ++i) std::swap(out[i], out[i + stream.below(known - i, 3 + i)]);
  out.resize(kept);
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace polyscene::data::detail
