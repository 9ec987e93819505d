#include "polyscene/models/class_head.h"

#include <algorithm>
#include <utility>

#include "polyscene/core/errors.h"
#include "polyscene/data/classes.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/hidden.h"

namespace polyscene::models {

void check_class_head(const char* owner, const std::string& scene, double label_smoothing) {
  static const std::vector<std::string> kSceneUses = {"none", "embedding", "heads"};
  TORCH_CHECK_VALUE(std::find(kSceneUses.begin(), kSceneUses.end(), scene) != kSceneUses.end(), owner,
                    ": scene must be one of ", join(kSceneUses), ", got '", scene, "'", suggestion(scene, kSceneUses));
  TORCH_CHECK_VALUE(label_smoothing >= 0 && label_smoothing < 1, owner, ": label_smoothing must be in [0, 1), got ",
                    label_smoothing);
}

void ClassHead::build(Model& model, const ClassHeadSizes& sizes) {
  classes_ = data::num_classes(model.schema());
  heads_ = sizes.scene == "heads";
  const auto scenes = model.schema().num_scenes();
  auto width = sizes.width;
  if (sizes.scene == "embedding") {
    scene_vectors = model.register_parameter("scene_vectors", torch::zeros({scenes, width}));
  }
  if (!sizes.hidden.empty()) {
    hidden =
        model.register_module("hidden", nn::MLP(width, nn::MLPOptions().hidden(sizes.hidden).dropout(sizes.dropout)));
    width = hidden->output_size();
  }
  output = model.register_module(heads_ ? "scene_output" : "output",
                                 torch::nn::Linear(width, heads_ ? scenes * classes_ : classes_));
}

torch::Tensor ClassHead::forward(const Model& model, torch::Tensor r, const torch::Tensor& scene) const {
  if (scene_vectors.defined()) r = r + scene_vectors.index_select(0, scene);
  auto layers = hidden;
  const auto h = layers.is_empty() ? r : layers->forward(r);  // [B, H]
  nn::tell_output(model, h);
  const auto all = nn::dense(h, *output);  // [B, C] or [B, S C]
  if (!heads_) return all;
  const auto own = scene.view({-1, 1, 1}).expand({-1, 1, classes_});
  return all.view({all.size(0), model.schema().num_scenes(), classes_}).gather(1, own).squeeze(1);
}

torch::Tensor smoothed_loss(const Model& model, const torch::Tensor& logits, const data::Batch& batch, double epsilon) {
  const auto exact = model.task_loss(logits, batch);
  if (epsilon == 0) return exact;
  const auto spread = weighted_mean(-logits.log_softmax(1).mean(1), batch.weight);
  return (1 - epsilon) * exact + epsilon * spread;
}

}  // namespace polyscene::models
