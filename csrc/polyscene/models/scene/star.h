#pragma once

#include "polyscene/models/scene/scene_model.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `STAR`.
struct STAROptions {
  SceneOptions common;
  /// Hidden widths of the star network.
  TORCH_ARG(std::vector<int64_t>, hidden) = {128, 64, 32};
  /// Hidden widths of the auxiliary network.
  TORCH_ARG(std::vector<int64_t>, auxiliary) = {32};
  /// Normalisation before each activation of both networks: none or batch.
  TORCH_ARG(std::string, norm) = "none";
  /// Dropout after each activation.
  TORCH_ARG(double, dropout) = 0;
  /// The public reference's form.
  TORCH_ARG(bool, reference) = false;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SceneOptions::fields(self.common, visit);
    visit("hidden", self.hidden(), "hidden widths of the star network");
    visit("auxiliary", self.auxiliary(), "hidden widths of the auxiliary network");
    visit("norm", self.norm(), "normalisation before each activation of both networks: none or batch");
    visit("dropout", self.dropout(), "dropout after each activation");
    visit("reference", self.reference(),
          "the public reference's form: one statistic of all scenes, batch norm and relu on every layer and on the "
          "output, an auxiliary network without the scene");
  }
};

/// Star topology adaptive recommender (Sheng et al., CIKM 2021): weights are the product of shared and scene ones.
///
///   x' = (g * g_s) * (x - mean_s) / sqrt(var_s + eps) + (h + h_s)       partitioned norm, statistics of scene s
///   x' <- act((W * W_s) x' + b + b_s)   for each hidden width, then (W * W_s) x' + b + b_s
///   logit = that + MLP([x; e_s])                                        the auxiliary network sees the scene
///
/// Training moves the statistics of the scenes that a batch holds, evaluation reads them, so that a prediction depends
/// on its row alone. Products are formed once a batch and a scene, and a scene's layer is one GEMM. W_s and g_s are
/// kept as their difference from 1, which starts at 0: all scenes begin as one network, and weight decay draws them
/// back to it rather than to 0. `norm` puts batch norm of each scene in front of the activations and takes the place of
/// b and b_s there. `reference`: statistics of the whole batch, batch norm and relu also on the output, so that only
/// the auxiliary network can say less than 1/2, W_s at random, no e_s. Shapes: x [B, E], S scenes.
class STARImpl : public SceneModel {
 public:
  /// Throws ValueError for options out of range.
  explicit STARImpl(std::shared_ptr<const data::Schema> schema, STAROptions options = {});
  std::string name() const override { return "star"; }
  OptionMap options_map() const override { return to_map(options); }

  /// One layer of the star network.
  struct Layer {
    torch::Tensor weight, scene_weight;                     ///< W [1, 1, O, I] and W_s - 1 [S, 1, O, I]
    torch::Tensor bias, scene_bias;                         ///< b [1, O] and b_s [S, O]; undefined under a norm
    torch::Tensor scale, shift, running_mean, running_var;  ///< [S, O]; undefined without
  };

  STAROptions options;
  torch::Tensor scale, shift;               ///< g and h, [1, E]
  torch::Tensor scene_scale, scene_shift;   ///< g_s - 1 and h_s, [S, E]
  torch::Tensor running_mean, running_var;  ///< [S, E], [1, E] with `reference`
  std::vector<Layer> layers;                ///< the output's last
  torch::Tensor auxiliary_scene;            ///< e, [S, D]; undefined with `reference`
  nn::SceneMLP auxiliary = nullptr;

 protected:
  /// Tells "star" and "auxiliary", [B] each.
  Answer body(const Rows& rows, bool explaining) override;

 private:
  void add_layer(const std::string& name, int64_t input, int64_t output, bool normed);
  torch::Tensor partitioned(const Rows& rows);                                                 // [B, E]
  torch::Tensor beside(const Rows& rows);                                                      // [B, 1, 1]
  torch::Tensor through(size_t index, const torch::Tensor& h, const nn::SceneGroups& groups);  // [B, O]
};
TORCH_MODULE(STAR);

}  // namespace polyscene::models
