#pragma once

#include <string>
#include <vector>

#include "polyscene/models/base.h"
#include "polyscene/nn/mlp.h"

namespace polyscene::models {

/// What a classifier is special in to a scene: none, embedding or heads. Throws ValueError for another word, and for
/// a share of smoothing outside [0, 1).
void check_class_head(const char* owner, const std::string& scene, double label_smoothing);

/// Sizes of a `ClassHead`.
struct ClassHeadSizes {
  int64_t width = 0;            ///< of what it reads
  std::vector<int64_t> hidden;  ///< widths of the hidden layers
  std::string scene = "none";   ///< none, embedding or heads
  double dropout = 0;           ///< of the hidden layers
};

/// The end of a classifier: from a vector of each row to one logit for each class, with what is special to scenes.
///
///   h = hidden(r (+ e_s with scene "embedding")),   logits = W h + b, of the row's scene with scene "heads"
///
/// Its parameters are registered with the model itself: `scene_vectors`, `hidden` and `output`, which with scene
/// "heads" is `scene_output`, since what is of scenes is carried to none but the same scenes.
///
/// Shapes: B batch, H last hidden layer, C classes, S scenes.
class ClassHead {
 public:
  /// Registers the parameters with `model`, in the order above.
  void build(Model& model, const ClassHeadSizes& sizes);
  /// r: [B, width], scene: int64 [B]. Returns [B, C].
  torch::Tensor forward(const Model& model, torch::Tensor r, const torch::Tensor& scene) const;

  torch::Tensor scene_vectors;         ///< e, [S, width], starts at 0; undefined unless scene is "embedding"
  nn::MLP hidden = nullptr;            ///< empty without hidden layers
  torch::nn::Linear output = nullptr;  ///< W, b; with scene "heads" of all S scenes one after another

 private:
  int64_t classes_ = 0;
  bool heads_ = false;
};

/// Cross-entropy of `logits` [B, C] against the label with a share epsilon spread over all C classes (Szegedy et al.,
/// CVPR 2016): (1 - epsilon) at the label and epsilon / C each. Weighted where the batch holds weights.
torch::Tensor smoothed_loss(const Model& model, const torch::Tensor& logits, const data::Batch& batch, double epsilon);

}  // namespace polyscene::models
