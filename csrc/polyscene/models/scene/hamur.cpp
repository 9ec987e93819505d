#include "polyscene/models/scene/hamur.h"

#include "polyscene/nn/checks.h"

namespace polyscene::models {

HAMURImpl::HAMURImpl(std::shared_ptr<const data::Schema> schema, HAMUROptions options_)
    : SceneModel(std::move(schema), options_.common, "HAMUR"), options(std::move(options_)) {
  const auto layers = static_cast<int64_t>(options.backbone().size());
  TORCH_CHECK_VALUE(layers > 0, "HAMUR: backbone must have a hidden layer, got []");
  TORCH_CHECK_VALUE(options.adapters() > 0 && options.adapters() <= layers, "HAMUR: adapters must be between 1 and ",
                    layers, ", the hidden layers of the backbone, got ", options.adapters());
  nn::check_positive("HAMUR", "adapter", options.adapter());
  nn::check_positive("HAMUR", "rank", options.rank());
  const auto common_layers = nn::MLPOptions().norm(options.norm()).dropout(options.dropout());
  backbone = register_module(
      "backbone",
      nn::SceneMLP(input_size(), nn::MLPOptions(common_layers).hidden(options.backbone()).output(1), scenes()));
  hyper = register_module(
      "hyper",
      nn::SceneMLP(input_size(),
                   nn::MLPOptions(common_layers).hidden(options.hyper()).output(options.rank() * options.rank())));
  for (int64_t layer = layers - options.adapters(); layer < layers; ++layer) {
    adapters.push_back(
        register_module("adapter" + std::to_string(layer),
                        nn::HyperAdapter(options.backbone()[layer], options.adapter(), options.rank(), scenes())));
  }
}

SceneModel::Answer HAMURImpl::body(const Rows& rows, bool explaining) {
  const auto rank = options.rank(), first = backbone->layers() - options.adapters();
  const auto core = hyper->forward(rows.x, rows.all).view({-1, rank, rank});  // [B, R, R]
  auto h = rows.x;
  for (int64_t layer = 0; layer < backbone->layers(); ++layer) {
    h = backbone->hidden(layer, h, rows.groups);  // [B, 1, M]
    if (layer >= first) h = adapters[layer - first]->forward(h.flatten(1), core, rows.groups).unsqueeze(1);
  }
  Answer out{backbone->finish(h, rows.groups).flatten(), {}};
  if (explaining) out.parts = {{"core", core}};
  return out;
}

}  // namespace polyscene::models
