#pragma once

#include "polyscene/models/base.h"

namespace polyscene::models {

/// Options for `Specialist`.
struct SpecialistOptions {
  TORCH_ARG(std::string, model) = "";
  TORCH_ARG(std::string, settings) = "{}";
  TORCH_ARG(std::vector<std::string>, scenes) = {};

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("model", self.model(),
          "registered model that both are; empty: mf, or the plainest of the task where that is not for it");
    visit("settings", self.settings(), "options of both, a JSON object");
    visit("scenes", self.scenes(), "scenes of the special one; empty: the scene with the fewest training rows");
  }
};

/// Two models of one kind in one: a general one, and a special one that answers for some scenes. What a transfer
/// leaves: the special one is the target's, and nothing that was done for the target can harm the other scenes.
///
///   out(x) = special(x) if scene(x) in scenes, else general(x)
///
/// The loss is the mean of the losses of the two, each by the weight of its rows (of a sequence: by the scene of the
/// row that a window ends in). Transitions into a special scene are those of the special model.
class SpecialistImpl : public Model {
 public:
  /// Throws ValueError for an unknown model, options or scene, and for a model that is a specialist itself.
  explicit SpecialistImpl(std::shared_ptr<const data::Schema> schema, SpecialistOptions options = {});

  torch::Tensor forward(const data::Batch& batch) override;
  torch::Tensor score(const data::Batch& candidates, const data::Events& events, const torch::Tensor& owner) override;
  torch::Tensor loss(const data::Batch& batch) override;
  torch::Tensor represent(const data::Batch& batch) override;
  /// What both explain of each row; shorter dimensions are filled with 0.
  Explanation explain(const data::Batch& batch) override;
  void prepare(const data::Table& train) override;
  bool fit_closed_form(const data::Table& train) override;
  void begin_epoch(int64_t epoch) override;
  void encode() override;
  torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) override;
  data::Sampling sampling() const override { return general->sampling(); }
  int64_t history_length() const override;
  std::vector<std::string> table_parameters() const override;
  void sparse_gradients(bool on) override;
  torch::Tensor transition_matrix(int64_t from, int64_t to) override;
  std::string name() const override { return "specialist"; }
  OptionMap options_map() const override { return to_map(options); }

  SpecialistOptions options;
  std::shared_ptr<Model> general;
  std::shared_ptr<Model> special;

  /// The one of the two that answers for a scene.
  Model& model_of(int64_t scene) const;

 private:
  /// Rows of each of the two in a batch.
  struct Rows {
    torch::Tensor general, special;  // int64 [A], [B - A]
  };
  Rows divide(const torch::Tensor& scene) const;
  void share_history();

  torch::Tensor special_scenes_;  // int64
};

/// The model that answers for a scene: a part of a specialist, after `encode`, else the model itself.
Model& answering(Model& model, int64_t scene);

}  // namespace polyscene::models
