#pragma once

#include "polyscene/models/base.h"

namespace example {

/// Options for `ItemBias`.
struct ItemBiasOptions {
  TORCH_ARG(double, init_std) = 0.01;

 public:
  /// Names every field once; Python keywords, JSON, repr and checkpoints walk this list.
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("init_std", self.init_std(), "standard deviation of the initial biases");
  }
};

/// The appeal of each item, and of each scene.
///
///   logit = b_item + t[scene]
///
/// Shapes: B batch, I item rows, S scenes.
class ItemBiasImpl : public polyscene::models::Model {
 public:
  /// Throws ValueError when the data names no item or `init_std` is negative.
  explicit ItemBiasImpl(std::shared_ptr<const polyscene::data::Schema> schema, ItemBiasOptions options = {});
  /// Returns one logit per row, [B].
  torch::Tensor forward(const polyscene::data::Batch& batch) override;
  std::string name() const override { return "item_bias"; }
  polyscene::OptionMap options_map() const override { return polyscene::to_map(options); }

  ItemBiasOptions options;
  torch::nn::Embedding item = nullptr;  ///< b, [I, 1]
  torch::Tensor scene;                  ///< t, [S]
};
TORCH_MODULE(ItemBias);

}  // namespace example
