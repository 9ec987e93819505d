#pragma once

#include "polyscene/models/scene/scene_model.h"
#include "polyscene/nn/scene_gate.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `SARNet`.
struct SARNetOptions {
  SceneOptions common;
  /// Experts that all scenes share (M).
  TORCH_ARG(int64_t, shared) = 8;
  /// Experts of each scene (N).
  TORCH_ARG(int64_t, specific) = 2;
  /// Width of an expert (H).
  TORCH_ARG(int64_t, expert) = 16;
  /// Hidden widths of the head.
  TORCH_ARG(std::vector<int64_t>, head) = {32, 32};
  /// Normalisation before each activation of the head: none, batch or layer.
  TORCH_ARG(std::string, norm) = "batch";
  /// Dropout after each activation of the head.
  TORCH_ARG(double, dropout) = 0;
  /// Whether scene and item attend to the user's events in all scenes.
  TORCH_ARG(bool, attention) = false;
  /// How many past events attention follows, the newest (T).
  TORCH_ARG(int64_t, max_length) = 20;
  /// Exponent of the fairness coefficient; 0: none.
  TORCH_ARG(double, fairness) = 0;
  /// Scales and shifts of the scenes start at random, as in the public reference.
  TORCH_ARG(bool, reference) = false;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SceneOptions::fields(self.common, visit);
    visit("shared", self.shared(), "experts that all scenes share");
    visit("specific", self.specific(), "experts of each scene");
    visit("expert", self.expert(), "width of an expert");
    visit("head", self.head(), "hidden widths of the head");
    visit("norm", self.norm(), "normalisation before each activation of the head: none, batch or layer");
    visit("dropout", self.dropout(), "dropout after each activation of the head");
    visit("attention", self.attention(), "whether scene and item attend to the user's events in all scenes");
    visit("max_length", self.max_length(), "how many past events attention follows, the newest");
    visit("fairness", self.fairness(), "exponent of the fairness coefficient of pushed items; 0: none");
    visit("reference", self.reference(), "scales and shifts start at random, as in the public reference");
  }
};

/// Scenario-aware ranking network (Shen et al., CIKM 2021): a linear map of each scene, then debias experts.
///
///   t = w_s * x + b_s,   O = [V_j norm(t) + c_j of M shared experts; V_sj norm_s(t) + c_sj of N experts of scene s]
///   logit = MLP(f sum_j softmax(G t)_j O_j)
///
/// w starts at 1 and b at 0; the reference draws w by Xavier and b from U(0, 1), which shifts every embedding by a
/// constant much larger than itself (`reference`). Norms have statistics of all rows for shared experts, of the scene's
/// for its own; their affine part is left to V. With `attention`, x also holds what the scene and the candidate item
/// read from the user's events v_t = e(item_t) + label_t in all scenes, two vectors of width D:
///
///   u = sum_t softmax(q . (v_t + scene_t) / sqrt(D))_t v_t              q_s of the scene, then W_q e(item)
///
/// `fairness` p > 0 weighs experts down where an item was pushed: f = min(1, share of the item in all training rows /
/// its share in those of scene s, which 10 rows of the former smooth)^p. The paper's own coefficient measures manual
/// exposure that public logs do not record. Shapes: x [B, E], K = M + N experts of width H, T events.
class SARNetImpl : public SceneModel {
 public:
  /// Throws ValueError for options out of range, and for fairness without a user and an item column.
  explicit SARNetImpl(std::shared_ptr<const data::Schema> schema, SARNetOptions options = {});
  /// Takes the shares of items for `fairness`.
  void prepare(const data::Table& train) override;
  int64_t history_length() const override {
    return std::max(SceneModel::history_length(), follows_events() ? options.max_length() : 0);
  }
  std::string name() const override { return "sar_net"; }
  OptionMap options_map() const override { return to_map(options); }

  SARNetOptions options;
  torch::Tensor scene_scale, scene_shift;                     ///< w and b, [S, E]
  torch::Tensor shared_running_mean, shared_running_var;      ///< [1, E]
  torch::Tensor specific_running_mean, specific_running_var;  ///< [S, E]
  nn::SceneMLP shared = nullptr;                              ///< V_j, c_j
  nn::SceneMLP specific = nullptr;                            ///< V_sj, c_sj
  nn::SceneGate gate = nullptr;                               ///< G, [K, E]
  nn::SceneMLP head = nullptr;
  torch::Tensor scene_query;  ///< q, [S, D]; this and the next three are undefined unless events are followed
  torch::Tensor item_query;   ///< W_q, [D, D]
  torch::Tensor event_scene;  ///< [S, D]
  torch::Tensor event_label;  ///< [2, D]
  torch::Tensor coefficient;  ///< f, [S, items], a buffer; undefined without `fairness`

 protected:
  /// Tells "gates", [B, K], those of shared experts first, and with attention "attention", [B, 2, T], and
  /// "events", [B], how many of the T count.
  Answer body(const Rows& rows, bool explaining) override;

 private:
  bool follows_events() const { return options.attention() && schema().user >= 0 && schema().item >= 0; }
  torch::Tensor interest(const Rows& rows, Explanation& told);  // [B, 2 D]
};
TORCH_MODULE(SARNet);

}  // namespace polyscene::models
