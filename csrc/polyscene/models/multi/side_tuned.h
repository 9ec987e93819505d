#pragma once

#include "polyscene/models/base.h"

namespace polyscene::models {

/// Options for `SideTuned`.
struct SideTunedOptions {
  TORCH_ARG(std::string, model) = "mf";
  TORCH_ARG(std::string, settings) = "{}";

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("model", self.model(), "registered model that both are");
    visit("settings", self.settings(), "options of both, a JSON object");
  }
};

/// A frozen model and one of its kind that trains beside it (side-tuning: Zhang et al., ECCV 2020):
///
///   out(x) = g base(x) + (1 - g) side(x),    g = sigma(gate), gate [] = 0 at the start
///
/// The outputs are blended, logits or ratings, so that it works for every model. Where both start as one, it starts as
/// that one. The loss is the task loss of the blend. The base stays in evaluation mode.
class SideTunedImpl : public Model {
 public:
  /// Throws ValueError for an unknown model or option, and for a model that is made of models.
  explicit SideTunedImpl(std::shared_ptr<const data::Schema> schema, SideTunedOptions options = {});

  torch::Tensor forward(const data::Batch& batch) override;
  torch::Tensor score(const data::Batch& candidates, const data::Events& events, const torch::Tensor& owner) override;
  /// That of the base and of the side, side by side.
  torch::Tensor represent(const data::Batch& batch) override;
  /// "base" [B], "side" [B] and "gate" [B].
  Explanation explain(const data::Batch& batch) override;
  void prepare(const data::Table& train) override;
  std::vector<Phase> phases() const override;
  void begin_epoch(int64_t epoch) override { side->begin_epoch(epoch); }
  int64_t history_length() const override { return base->history_length(); }
  std::vector<std::string> table_parameters() const override;
  void sparse_gradients(bool on) override;
  torch::Tensor transition_matrix(int64_t from, int64_t to) override { return side->transition_matrix(from, to); }
  void train(bool on = true) override;
  std::string name() const override { return "side_tuned"; }
  OptionMap options_map() const override { return to_map(options); }

  SideTunedOptions options;
  std::shared_ptr<Model> base;
  std::shared_ptr<Model> side;
  torch::Tensor gate;  ///< []

 private:
  torch::Tensor blend(const torch::Tensor& of_base, const torch::Tensor& of_side) const;
};

}  // namespace polyscene::models
