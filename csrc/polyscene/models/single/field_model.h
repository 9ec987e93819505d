#pragma once

#include "polyscene/models/scene/scene_model.h"

namespace polyscene::models {

/// Options that the single-scene click models share.
struct FieldOptions {
  /// Width of the embeddings (D).
  TORCH_ARG(int64_t, dim) = 16;
  /// Standard deviation of the initial embeddings.
  TORCH_ARG(double, init_std) = 0.01;
  /// L2 on the embeddings that a batch looks up, for each row of the batch; half of it on first-order weights.
  TORCH_ARG(double, embedding_l2) = 0;
  /// Whether the scene is one more field; if not, the model does not know of scenes.
  TORCH_ARG(bool, scene_field) = true;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("dim", self.dim(), "width of the embeddings");
    visit("init_std", self.init_std(), "standard deviation of the initial embeddings");
    visit("embedding_l2", self.embedding_l2(),
          "L2 on the embeddings that a batch looks up, per batch row; half of it on first-order weights");
    visit("scene_field", self.scene_field(), "whether the scene is one more field; if not, scenes are not known");
  }
};

/// Which parts a single-scene model has besides those of its own.
struct FieldParts {
  bool linear = false;   ///< the first-order part
  bool numbers = false;  ///< numeric columns as fields
};

/// What single-scene click models are made of: one network for the rows of all scenes, for which the scene is a field
/// like any other.
///
///   x      = [e_1; ...; e_F; numeric]                                               what deep parts read, [B, E]
///   fields = e_1, ..., e_F, z_1 v_1, ..., z_M v_M                 numeric column z_m times a vector, [B, F + M, D]
///   linear = b + sum_f w_f + u . z                                                                        [B]
///
/// Shapes: B batch, F slots (categorical fields, multi-hot columns, the scene), M numeric columns, D width.
class FieldModel : public SceneModel {
 public:
  /// Throws ValueError for options out of range.
  FieldModel(std::shared_ptr<const data::Schema> schema, const FieldOptions& options, const char* owner,
             FieldParts parts);

  torch::Tensor numeric_embedding;  ///< v, [M, D], with `numbers`; w, t and b of the linear part are the base's
  torch::Tensor numeric_weight;     ///< u, [M], with `linear`

 protected:
  /// The linear part and, with embedding_l2, what its weights add to the loss.
  struct Linear {
    torch::Tensor logits;   ///< [B]
    torch::Tensor penalty;  ///< []; undefined: none
  };
  Linear linear(const Rows& rows);
  torch::Tensor fields(const Rows& rows) const;                              ///< [B, F + M, D]
  int64_t num_fields() const { return slots() + schema().numeric_width(); }  ///< F + M
};

}  // namespace polyscene::models
