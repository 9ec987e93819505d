#include "item_bias.h"

#include "polyscene/models/registry.h"

namespace example {

using namespace polyscene;

ItemBiasImpl::ItemBiasImpl(std::shared_ptr<const data::Schema> schema_, ItemBiasOptions options_)
    : Model(std::move(schema_)), options(std::move(options_)) {
  TORCH_CHECK_VALUE(schema().item >= 0, "ItemBias: the data must name an item column, got none");
  TORCH_CHECK_VALUE(options.init_std() >= 0, "ItemBias: init_std must be 0 or more, got ", options.init_std());
  item = register_module("item", torch::nn::Embedding(schema().categorical[schema().item].rows(), 1));
  torch::nn::init::normal_(item->weight, 0, options.init_std());
  scene = register_parameter("scene", torch::zeros({schema().num_scenes()}));
}

torch::Tensor ItemBiasImpl::forward(const data::Batch& batch) {
  check(batch);
  return item->forward(batch.item).squeeze(1) + scene.index_select(0, batch.scene);  // [B]
}

}  // namespace example

/// Adds "item_bias" to the models that the process knows; called once.
extern "C" void register_item_bias() {
  using namespace polyscene::models;
  register_model(entry<example::ItemBiasImpl, example::ItemBiasOptions>("item_bias", "ItemBias", {"ctr"}));
}
