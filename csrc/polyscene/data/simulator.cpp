#include "polyscene/data/simulator.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>

#include "polyscene/core/errors.h"
#include "polyscene/core/random.h"
#include "polyscene/data/simulator_world.h"

namespace polyscene::data {
namespace {

constexpr int64_t kFirstSecond = 1'704'067'200;  // 2024-01-01 UTC
constexpr int64_t kColumns = 6;
constexpr int64_t kDrawsPerEvent = 8;

void check_options(const SimulatorOptions& o) {
  const auto at_least = [](const char* name, int64_t value, int64_t least) {
    TORCH_CHECK_VALUE(value >= least && value < (int64_t{1} << 31), "simulator: ", name, " must be from ", least,
                      " to 2^31 - 1, got ", value);
  };
  const auto share = [](const char* name, double value) {
    TORCH_CHECK_VALUE(value >= 0 && value <= 1, "simulator: ", name, " must be in [0, 1], got ", value);
  };
  at_least("scenes", o.scenes(), 1);
  at_least("interests", o.interests(), 2);
  at_least("users", o.users(), 1);
  at_least("events", o.events(), 1);
  at_least("items", o.items(), 1);
  at_least("days", o.days(), 1);
  TORCH_CHECK_VALUE(o.items() >= o.interests(), "simulator: items must be at least as many as interests, got ",
                    o.items(), " items and ", o.interests(), " interests");
  TORCH_CHECK_VALUE(o.scenes() <= 5'000 && o.interests() <= 5'000 && o.scenes() * o.interests() <= 5'000,
                    "simulator: scenes times interests must be at most 5,000, got ", o.scenes(), " times ",
                    o.interests());
  TORCH_CHECK_VALUE(o.days() * 86'400 / 4 >= o.events(), "simulator: ", o.days(), " days are too short for ",
                    o.events(), " events of a user");
  share("overlap", o.overlap());
  share("stay", o.stay());
  share("likeness", o.likeness());
  share("noise", o.noise());
  share("drift", o.drift());
  share("relevance", o.relevance());
  share("missing", o.missing());
  share("sparsity", o.sparsity());
  TORCH_CHECK_VALUE(std::isfinite(o.concentration()) && o.concentration() > 0,
                    "simulator: concentration must be above 0, got ", o.concentration());
  TORCH_CHECK_VALUE(std::isfinite(o.strength()), "simulator: strength must be finite, got ", o.strength());
  for (const auto& [name, scene] : {std::pair("sparse_scene", o.sparse_scene()), std::pair("target", o.target())}) {
    TORCH_CHECK_VALUE(scene >= -1 && scene < o.scenes(), "simulator: ", name, " must be in [0, ", o.scenes(),
                      ") or -1, got ", scene);
  }
  TORCH_CHECK_VALUE(o.sparse_scene() < 0 || o.scenes() > 1 || o.sparsity() == 1,
                    "simulator: the only scene cannot be sparse; make scenes at least 2");
  TORCH_CHECK_VALUE(o.related() || o.scenes() > 1, "simulator: related=false wants at least 2 scenes, got 1");
}

// Where the rows of each user start, [U + 1].
std::vector<int64_t> count_events(const SimulatorOptions& options) {
  const RandomStream stream(options.seed(), "number of events");
  const auto low = std::max<int64_t>(1, options.events() / 2);
  std::vector<int64_t> out(options.users() + 1);
  for (int64_t u = 0; u < options.users(); ++u)
    out[u + 1] = out[u] + low + stream.below(2 * (options.events() - low) + 1, u);
  return out;
}

// n seconds in order, each later than the one before, spread evenly over the time line: gaps are exponential.
std::vector<int64_t> draw_times(int64_t n, int64_t length, const RandomStream& stream) {
  std::vector<double> reached(n + 1);
  double total = 0;
  for (int64_t t = 0; t <= n; ++t) reached[t] = total -= std::log(1 - stream.uniform(t));
  std::vector<int64_t> out(n);
  const auto width = static_cast<double>(length - n);
  for (int64_t t = 0; t < n; ++t) out[t] = kFirstSecond + t + static_cast<int64_t>(width * reached[t] / total);
  return out;
}

int64_t draw_from(const double* shares, int64_t n, double uniform) {
  for (int64_t k = 0; k + 1 < n; ++k) {
    uniform -= shares[k];
    if (uniform < 0) return k;
  }
  return n - 1;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Sums of max_j q over transitions; whole numbers, so that the order of threads cannot change the last digit.
struct BestGuess {
  std::vector<int64_t> parts;  ///< [S], in 2^-30
  std::vector<int64_t> count;  ///< [S]
};

class EventWriter {
 public:
  EventWriter(const SimulatorOptions& options, const detail::SimulatedWorld& world, Columns& columns, Simulation& out)
      : options_(options),
        world_(world),
        codes_(columns.codes.data_ptr<int32_t>()),
        numbers_(columns.numbers.data_ptr<float>()),
        scene_(columns.scene.data_ptr<int32_t>()),
        label_(columns.label.data_ptr<float>()),
        time_(columns.time.data_ptr<int64_t>()),
        interest_(columns.interest.values.data_ptr<int32_t>()),
        probability_(out.probability.data_ptr<float>()),
        expected_(out.expected.data_ptr<float>()),
        user_scenes_(out.user_scenes.data_ptr<bool>()),
        ages_(options.seed(), "missing age"),
        prices_(options.seed(), "missing price") {}

  void write_user(int64_t user, int64_t first, int64_t last, BestGuess& guess) const {
    const RandomStream stream(options_.seed(), "event", user);
    const auto length = options_.days() * 86'400;
    const auto times =
        draw_times(last - first, length, {static_cast<uint64_t>(options_.seed()), "time", static_cast<uint64_t>(user)});
    const auto scenes = world_.scenes_of(user);
    for (const auto s : scenes) user_scenes_[user * options_.scenes() + s] = true;
    std::vector<double> shares(options_.interests());
    int64_t scene = -1, interest = -1;
    for (auto row = first; row < last; ++row) {
      const auto draw = [&, base = static_cast<uint64_t>(row - first) * kDrawsPerEvent](uint64_t k) {
        return stream.uniform(base + k);
      };
      const auto next = next_scene(scenes, scene, draw(0), draw(1));
      const auto moment = static_cast<double>(times[row - first] - kFirstSecond) / static_cast<double>(length);
      world_.next_interest(scene, next, interest, moment, shares.data());
      if (scene >= 0) {
        guess.parts[next] += std::llround(std::ldexp(*std::max_element(shares.begin(), shares.end()), 30));
        ++guess.count[next];
      }
      scene = next;
      interest = draw_from(shares.data(), options_.interests(), draw(2));
      const auto wanted = world_.taste(scene).topic[interest];
      const bool relevant = draw(3) < options_.relevance();
      const auto shown = relevant ? wanted : static_cast<int64_t>(draw(4) * static_cast<double>(options_.interests()));
      const auto item = world_.draw_item(shown, draw(5));
      scene_[row] = static_cast<int32_t>(scene);
      interest_[row] = static_cast<int32_t>(interest);
      time_[row] = times[row - first];
      write_features(row, user, item);
      write_label(row, user, item, shares, wanted == shown, draw(6));
    }
  }

 private:
  int64_t next_scene(const std::vector<int64_t>& scenes, int64_t scene, double moves, double where) const {
    const auto n = static_cast<int64_t>(scenes.size());
    if (scene < 0) return scenes[static_cast<size_t>(where * static_cast<double>(n))];
    if (n == 1 || moves < options_.stay()) return scene;
    const auto position = std::lower_bound(scenes.begin(), scenes.end(), scene) - scenes.begin();
    const auto other = static_cast<int64_t>(where * static_cast<double>(n - 1));
    return scenes[other < position ? other : other + 1];
  }

  void write_features(int64_t row, int64_t user, int64_t item) const {
    const int64_t codes[kColumns] = {
        user, item, world_.item_topic[item], world_.brand[item], world_.device[user], world_.segment[user]};
    std::copy_n(codes, kColumns, codes_ + row * kColumns);
    constexpr auto kEmpty = std::numeric_limits<float>::quiet_NaN();
    const bool no_age = ages_.uniform(user) < options_.missing();
    const bool no_price = prices_.uniform(item) < options_.missing();
    numbers_[2 * row] = no_age ? kEmpty : static_cast<float>(world_.age[user]);
    numbers_[2 * row + 1] = no_price ? kEmpty : static_cast<float>(world_.price[item]);
  }

  void write_label(int64_t row, int64_t user, int64_t item, const std::vector<double>& shares, bool match,
                   double draw) const {
    const auto scene = scene_[row];
    const auto base = world_.base_logit(scene, user, item);
    const auto matched = sigmoid(base + world_.match_logit()), unmatched = sigmoid(base);
    // Bayes: how likely a match is, knowing the topic shown and the interest before, but not the interest now.
    const auto topic = world_.item_topic[item];
    const auto wanting = shares[world_.taste(scene).interest[topic]];
    const auto with = wanting * world_.show_topic(topic, topic);
    const auto without = (1 - wanting) * world_.show_topic(topic, topic + 1);
    probability_[row] = static_cast<float>(match ? matched : unmatched);
    expected_[row] = static_cast<float>((with * matched + without * unmatched) / (with + without));
    label_[row] = draw < probability_[row] ? 1.0f : 0.0f;
  }

  const SimulatorOptions& options_;
  const detail::SimulatedWorld& world_;
  int32_t* codes_;
  float* numbers_;
  int32_t* scene_;
  float* label_;
  int64_t* time_;
  int32_t* interest_;
  float* probability_;
  float* expected_;
  bool* user_scenes_;
  RandomStream ages_, prices_;
};

Strings numbered_names(const std::string& prefix, int64_t n) {
  std::vector<std::string> out(n);
  for (int64_t i = 0; i < n; ++i) out[i] = prefix + std::to_string(i);
  return Strings(out);
}

std::shared_ptr<Columns> empty_columns(const SimulatorOptions& options, int64_t rows) {
  using World = detail::SimulatedWorld;
  auto out = std::make_shared<Columns>();
  out->rows = rows;
  out->categorical = {"user_id", "item_id", "topic", "brand", "device", "segment"};
  out->ids = {numbered_names("u", options.users()),     numbered_names("i", options.items()),
              numbered_names("t", options.interests()), numbered_names("b", World::kBrands),
              numbered_names("d", World::kDevices),     numbered_names("s", World::kSegments)};
  out->codes = torch::empty({rows, kColumns}, torch::kInt32);
  out->numeric = {"age", "price"};
  out->numbers = torch::empty({rows, 2});
  out->scene = torch::empty({rows}, torch::kInt32);
  out->scene_names = numbered_names("scene_", options.scenes()).list();
  out->label = torch::empty({rows});
  out->time = torch::empty({rows}, torch::kInt64);
  out->interest = {torch::empty({rows}, torch::kInt32), torch::arange(rows + 1)};
  out->interest_ids = numbered_names("interest_", options.interests());
  return out;
}

}  // namespace

Simulation simulate(const SimulatorOptions& options) {
  check_options(options);
  const detail::SimulatedWorld world(options);
  const auto start = count_events(options);
  const auto S = options.scenes(), K = options.interests();
  const auto columns = empty_columns(options, start.back());
  Simulation out;
  out.columns = columns;
  out.transition = world.transition;
  out.transition_end = world.transition_end;
  out.initial = world.initial;
  out.item_topic = torch::tensor(world.item_topic);
  out.scene_topic = torch::empty({S, K}, torch::kInt64);
  for (int64_t s = 0; s < S; ++s) out.scene_topic[s] = torch::tensor(world.taste(s).topic);
  out.user_scenes = torch::zeros({options.users(), S}, torch::kBool);
  out.probability = torch::empty({start.back()});
  out.expected = torch::empty({start.back()});

  const EventWriter writer(options, world, *columns, out);
  BestGuess all{std::vector<int64_t>(S), std::vector<int64_t>(S)};
  std::mutex mutex;
  at::parallel_for(0, options.users(), 256, [&](int64_t begin, int64_t end) {
    BestGuess mine{std::vector<int64_t>(S), std::vector<int64_t>(S)};
    for (auto user = begin; user < end; ++user) writer.write_user(user, start[user], start[user + 1], mine);
    const std::lock_guard lock(mutex);
    for (int64_t s = 0; s < S; ++s) {
      all.parts[s] += mine.parts[s];
      all.count[s] += mine.count[s];
    }
  });
  const auto mean = [](int64_t parts, int64_t count) {
    return count > 0 ? std::ldexp(static_cast<double>(parts), -30) / static_cast<double>(count)
                     : std::numeric_limits<double>::quiet_NaN();
  };
  out.next_bayes_scene = torch::empty({S}, torch::kFloat64);
  for (int64_t s = 0; s < S; ++s) out.next_bayes_scene[s] = mean(all.parts[s], all.count[s]);
  out.next_bayes = mean(std::accumulate(all.parts.begin(), all.parts.end(), int64_t{0}),
                        std::accumulate(all.count.begin(), all.count.end(), int64_t{0}));
  return out;
}

}  // namespace polyscene::data
