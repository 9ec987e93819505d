#pragma once

#include <cstdint>
#include <vector>

#include "polyscene/data/simulator.h"

namespace polyscene::data::detail {

/// Tastes and effects that hold in one or more scenes of a simulation; see `simulate` for their place in the formula.
struct SimulatedTaste {
  std::vector<int64_t> topic;     ///< [K], topic that each interest looks for
  std::vector<int64_t> interest;  ///< [K], its inverse
  std::vector<double> quality;    ///< [I]
  std::vector<double> bias;       ///< [U]
  std::vector<double> segment;    ///< [segments, K]
  std::vector<double> brand;      ///< [brands]
  std::vector<double> device;     ///< [devices]
  uint64_t number = 0;            ///< 0 for all scenes, 1 for an unrelated target
};

/// Everything about a simulation that is drawn before the first event.
class SimulatedWorld {
 public:
  static constexpr int64_t kBrands = 30;
  static constexpr int64_t kDevices = 3;
  static constexpr int64_t kSegments = 8;

  explicit SimulatedWorld(const SimulatorOptions& options);

  /// The taste that holds in a scene.
  const SimulatedTaste& taste(int64_t scene) const { return tastes_[scene == stranger_ ? 1 : 0]; }
  /// Logit of a click, less the part of the match.
  double base_logit(int64_t scene, int64_t user, int64_t item) const;
  /// What a match adds to the logit.
  double match_logit() const { return 2 * options_.strength(); }
  /// q(. | i, a, b) at `moment` in [0, 1], K numbers into `out`; a = -1 for a user's first event.
  void next_interest(int64_t from, int64_t to, int64_t interest, double moment, double* out) const;
  /// An item of a topic, by popularity, from a uniform number.
  int64_t draw_item(int64_t topic, double uniform) const;
  /// Probability that an item of `shown` is shown to a user who looks for `wanted`.
  double show_topic(int64_t wanted, int64_t shown) const;
  /// Scenes a user is active in, ascending.
  std::vector<int64_t> scenes_of(int64_t user) const;

  torch::Tensor transition, transition_end, initial;  ///< noise mixed in
  std::vector<int64_t> item_topic;                    ///< [I]
  std::vector<int64_t> brand, device, segment;        ///< [I], [U], [U]
  std::vector<double> age, price;                     ///< [U] years, [I]
  std::vector<double> age_score, price_score;         ///< standardised

 private:
  void draw_transitions();
  void draw_items();
  void draw_users();
  SimulatedTaste draw_taste(uint64_t number) const;

  SimulatorOptions options_;
  int64_t stranger_ = -1;  ///< the unrelated target scene
  std::vector<SimulatedTaste> tastes_;
  std::vector<double> scene_bias_;              ///< [S]
  std::vector<double> appeal_;                  ///< [S, K]
  std::vector<std::vector<int64_t>> of_topic_;  ///< items of each topic, most popular first
  std::vector<std::vector<double>> share_;      ///< their cumulated popularity, ending in 1
};

}  // namespace polyscene::data::detail
