#pragma once

#include "polyscene/models/scene/scene_model.h"
#include "polyscene/nn/field_attention.h"
#include "polyscene/nn/meta_linear.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `M2M`.
struct M2MOptions {
  SceneOptions common;
  /// Transformer blocks over the fields of a row.
  TORCH_ARG(int64_t, blocks) = 1;
  /// Heads of each block; must divide dim.
  TORCH_ARG(int64_t, heads) = 4;
  /// Width of the inner layer of each block.
  TORCH_ARG(int64_t, feedforward) = 32;
  /// Experts that all scenes share (K).
  TORCH_ARG(int64_t, experts) = 4;
  /// Width of experts, scene and task vectors (H).
  TORCH_ARG(int64_t, width) = 16;
  /// Layers of the attention's meta unit.
  TORCH_ARG(int64_t, attention_layers) = 1;
  /// Layers of the meta tower.
  TORCH_ARG(int64_t, tower_layers) = 1;
  /// Hidden widths of the head.
  TORCH_ARG(std::vector<int64_t>, head) = {64, 32};
  /// Normalisation in experts and head: none, batch or layer.
  TORCH_ARG(std::string, norm) = "batch";
  /// Dropout of blocks and head.
  TORCH_ARG(double, dropout) = 0;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SceneOptions::fields(self.common, visit);
    visit("blocks", self.blocks(), "Transformer blocks over the fields of a row; 0: none");
    visit("heads", self.heads(), "heads of each block; must divide dim");
    visit("feedforward", self.feedforward(), "width of the inner layer of each block");
    visit("experts", self.experts(), "experts that all scenes share");
    visit("width", self.width(), "width of experts, scene and task vectors");
    visit("attention_layers", self.attention_layers(), "layers of the attention's meta unit");
    visit("tower_layers", self.tower_layers(), "layers of the meta tower");
    visit("head", self.head(), "hidden widths of the head");
    visit("norm", self.norm(), "normalisation in experts and head: none, batch or layer");
    visit("dropout", self.dropout(), "dropout of blocks and head");
  }
};

/// M2M (Zhang et al., WSDM 2022, arXiv:2201.06814) with one task: the scene's vector makes the weights of an attention
/// over experts and of a tower.
///
///   e <- Transformer over the F fields of the row,   x = [e_1; ...; e_F; numeric]
///   E_k = MLP_k(x),   u_s = MLP(t_s),   T a learned vector of the task
///   meta(h; s): h <- leaky_relu(W(u_s) h + c(u_s)) for each layer                    nn::MetaLinear
///   a = softmax_k(v . meta([E_k; T]; s)),   L = sum_k a_k E_k
///   L <- leaky_relu(meta(L; s) + L) for each layer of the tower,   logit = MLP(L)
///
/// Weights are made once for each scene, not for each row. A row attends to its own fields alone; the public reference
/// gives its Transformer the rows of the batch as one sequence, so that predictions depend on their neighbours. Shapes:
/// e [B, F, D], x [B, E], E_k [B, H], u [S, H].
class M2MImpl : public SceneModel {
 public:
  /// Throws ValueError for options out of range.
  explicit M2MImpl(std::shared_ptr<const data::Schema> schema, M2MOptions options = {});
  std::string name() const override { return "m2m"; }
  OptionMap options_map() const override { return to_map(options); }

  M2MOptions options;
  torch::nn::ModuleList blocks = nullptr;  ///< `FieldAttention`
  nn::SceneMLP experts = nullptr;
  torch::Tensor scene_vectors;  ///< t, [S, H]
  nn::SceneMLP scene_layers = nullptr;
  torch::Tensor task_vector;                  ///< T, [H]
  torch::nn::ModuleList attention = nullptr;  ///< `MetaLinear`, 2 H wide
  torch::Tensor attention_vector;             ///< v, [2 H]
  torch::nn::ModuleList tower = nullptr;      ///< `MetaLinear`, H wide
  nn::SceneMLP head = nullptr;

 protected:
  /// Tells "attention", [B, K].
  Answer body(const Rows& rows, bool explaining) override;

 private:
  torch::Tensor attend(const torch::Tensor& experts, const torch::Tensor& scenes, const nn::SceneGroups& groups);
};
TORCH_MODULE(M2M);

}  // namespace polyscene::models
