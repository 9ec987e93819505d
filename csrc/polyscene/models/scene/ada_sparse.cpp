#include "polyscene/models/scene/ada_sparse.h"

#include <algorithm>
#include <cmath>

#include "polyscene/core/errors.h"
#include "polyscene/nn/prune.h"
#include "polyscene/nn/scene_linear.h"

namespace polyscene::models {
namespace {

const std::vector<std::string> kForms = {"binary", "scaling", "fusion"};

void check_options(const AdaSparseOptions& given) {
  TORCH_CHECK_VALUE(std::find(kForms.begin(), kForms.end(), given.form()) != kForms.end(),
                    "AdaSparse: form must be one of ", join(kForms), ", got '", given.form(), "'",
                    suggestion(given.form(), kForms));
  TORCH_CHECK_VALUE(given.beta() > 0, "AdaSparse: beta must be positive, got ", given.beta());
  const double bound = given.form() == "binary" ? 1 : given.beta();
  TORCH_CHECK_VALUE(given.epsilon() >= 0 && given.epsilon() < bound, "AdaSparse: epsilon must lie in [0, ", bound,
                    ") with form '", given.form(), "', got ", given.epsilon());
  TORCH_CHECK_VALUE(given.alpha() > 0, "AdaSparse: alpha must be positive, got ", given.alpha());
  TORCH_CHECK_VALUE(given.growth() >= 0, "AdaSparse: growth must be 0 or more, got ", given.growth());
  TORCH_CHECK_VALUE(given.sparsity() >= 0, "AdaSparse: sparsity must be 0 or more, got ", given.sparsity());
  TORCH_CHECK_VALUE(0 <= given.least() && given.least() <= given.most() && given.most() <= 1,
                    "AdaSparse: 0 <= least <= most <= 1 must hold, got least ", given.least(), " and most ",
                    given.most());
}

}  // namespace

AdaSparseImpl::AdaSparseImpl(std::shared_ptr<const data::Schema> schema, AdaSparseOptions options_)
    : SceneModel(std::move(schema), options_.common, "AdaSparse"), options(std::move(options_)) {
  check_options(options);
  const auto dim = common.dim();
  scene_vectors = register_parameter("scene_vectors", torch::randn({scenes(), dim}) * common.init_std());
  backbone = register_module(
      "backbone",
      nn::SceneMLP(
          dim + input_size(),
          nn::MLPOptions().hidden(options.hidden()).output(1).norm(options.norm()).dropout(options.dropout())));
  for (int64_t layer = 0; layer <= backbone->layers(); ++layer) {
    const auto width = layer > 0 ? options.hidden()[layer - 1] : input_size();
    const auto bound = 1 / std::sqrt(static_cast<double>(dim + width));
    const auto name = "pruner" + std::to_string(layer);
    pruner_scene.push_back(register_parameter(name + "_scene", torch::empty({width, dim}).uniform_(-bound, bound)));
    pruner_state.push_back(register_parameter(name + "_state", torch::empty({width, width}).uniform_(-bound, bound)));
  }
  alpha = register_buffer("alpha", torch::scalar_tensor(options.alpha(), torch::kFloat32));
}

torch::Tensor AdaSparseImpl::penalty(const torch::Tensor& kept, const nn::SceneGroups& groups) const {
  const auto offsets = torch::tensor(groups.offsets, torch::kInt64);
  const auto share = offsets.diff().unsqueeze(1).to(kept) / static_cast<double>(std::max<int64_t>(groups.rows(), 1));
  const auto rate = 1 - at::segment_reduce(kept, "mean", /*lengths=*/{}, /*indices=*/{}, offsets.to(kept.device()),
                                           /*axis=*/0, /*unsafe=*/true, /*initial=*/0);  // [S, layers]
  const auto outside = rate.lt(options.least()).logical_or(rate.gt(options.most()));
  const auto distance = rate - (options.least() + options.most()) / 2;
  return options.sparsity() * (distance.square() * outside * share).sum();
}

SceneModel::Answer AdaSparseImpl::body(const Rows& rows, bool explaining) {
  const bool binary = options.form() == "binary";
  const double steep = options.form() == "scaling" ? 1 : alpha.item<double>();
  std::vector<torch::Tensor> kept;
  auto h = rows.x;
  for (int64_t layer = 0; layer <= backbone->layers(); ++layer) {
    // P [t_s; h] = P_t t_s + P_h h: the first is one vector for each scene.
    const auto added = (steep * scene_vectors).mm(pruner_scene[layer].t());  // [S, N]
    const auto pruned = nn::prune(h, nn::dense(h, steep * pruner_state[layer]), added, rows.groups,
                                  binary ? 1 : options.beta(), options.epsilon(), binary);
    kept.push_back(pruned.kept);
    const bool last = layer == backbone->layers();
    if (layer == 0) {  // the backbone reads [t_s; h]
      h = backbone->first_with_scene(pruned.out, scene_vectors, /*behind=*/false, rows.groups);
      if (!last) h = backbone->finish_hidden(0, h.unsqueeze(1), rows.all).flatten(1);
    } else {
      h = last ? backbone->finish(pruned.out, rows.all) : backbone->hidden(layer, pruned.out, rows.all).flatten(1);
    }
  }
  Answer out{h.flatten(), {}};
  const auto all = torch::stack(kept, 1);  // [B, layers]
  if (options.sparsity() > 0) out.penalty = penalty(all, rows.groups);
  if (explaining) out.parts = {{"pruned", 1 - all}};
  if (is_training()) {
    torch::NoGradGuard no_grad;
    alpha.add_(options.growth());
  }
  return out;
}

}  // namespace polyscene::models
