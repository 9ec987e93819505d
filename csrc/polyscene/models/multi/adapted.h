#pragma once

#include <vector>

#include "polyscene/models/base.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/nn/scene_groups.h"

namespace polyscene::models {

/// Options for `Adapted`.
struct AdaptedOptions {
  TORCH_ARG(std::string, model) = "shared_bottom";
  TORCH_ARG(std::string, settings) = "{}";
  TORCH_ARG(int64_t, bottleneck) = 8;
  TORCH_ARG(std::string, activation) = "relu";
  TORCH_ARG(bool, by_scene) = true;
  TORCH_ARG(bool, norms) = true;
  TORCH_ARG(std::vector<std::string>, trained) = {};

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("model", self.model(), "registered model that is adapted");
    visit("settings", self.settings(), "options of that model, a JSON object");
    visit("bottleneck", self.bottleneck(), "width between the two layers of an adapter (r)");
    visit("activation", self.activation(), "relu, gelu, silu, tanh, sigmoid, leaky_relu or identity");
    visit("by_scene", self.by_scene(), "an adapter for each scene; if not, all scenes share one");
    visit("norms", self.norms(), "whether scale and shift of the model's norms train, too");
    visit("trained", self.trained(), "names or prefixes of parameters of the model that train, too, such as its head");
  }
};

/// A frozen model with an adapter behind each hidden layer (Houlsby et al., ICML 2019), one for each scene:
///
///   h <- h + W_up act(W_down h + b) + b',    W_up = 0 and b' = 0 at the start
///
/// so that it starts as the model that it holds. Hidden layers are those of `nn::MLP` and `nn::SceneMLP` inside it;
/// experts have adapters of their own. The model stays in evaluation mode: its statistics and its dropout do not move.
/// Shapes: h [B, E, H], W_down [S, E, r, H], W_up [S, E, H, r]; S is 1 without `by_scene`.
class AdaptedImpl : public Model {
 public:
  /// Throws ValueError for an unknown model or option, a model without hidden layers, and one that is made of models.
  explicit AdaptedImpl(std::shared_ptr<const data::Schema> schema, AdaptedOptions options = {});

  torch::Tensor forward(const data::Batch& batch) override;
  torch::Tensor score(const data::Batch& candidates, const data::Events& events, const torch::Tensor& owner) override;
  torch::Tensor loss(const data::Batch& batch) override;
  torch::Tensor represent(const data::Batch& batch) override;
  Explanation explain(const data::Batch& batch) override;
  void prepare(const data::Table& train) override;
  std::vector<Phase> phases() const override;
  void begin_epoch(int64_t epoch) override { base->begin_epoch(epoch); }
  int64_t history_length() const override { return base->history_length(); }
  std::vector<std::string> table_parameters() const override;
  void sparse_gradients(bool on) override { base->sparse_gradients(on); }
  torch::Tensor transition_matrix(int64_t from, int64_t to) override { return base->transition_matrix(from, to); }
  void train(bool on = true) override;
  std::string name() const override { return "adapted"; }
  OptionMap options_map() const override { return to_map(options); }
  /// Names of the parameters that do not train.
  std::vector<std::string> frozen() const;

  AdaptedOptions options;
  std::shared_ptr<Model> base;

 private:
  struct Adapter {
    const torch::nn::Module* network;
    int64_t layer;
    torch::Tensor down, down_bias, up, up_bias;  // [S, E, r, H], [S, E, r], [S, E, H, r], [S, E, H]
  };
  /// Adapts the hidden layers of one pass.
  class Pass : public nn::HiddenListener {
   public:
    Pass(const AdaptedImpl& model, const nn::SceneGroups& groups) : model_(model), groups_(groups) {}
    torch::Tensor hidden(const torch::nn::Module& network, int64_t layer, const torch::Tensor& h) override;

   private:
    const AdaptedImpl& model_;
    const nn::SceneGroups& groups_;
  };
  void add(const std::string& path, const torch::nn::Module& network, const std::vector<int64_t>& widths,
           int64_t experts);

  std::vector<Adapter> adapters_;
};

}  // namespace polyscene::models
