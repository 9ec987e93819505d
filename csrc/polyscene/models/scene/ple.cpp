#include "polyscene/models/scene/ple.h"

#include "polyscene/nn/checks.h"
#include "polyscene/nn/mixture.h"

namespace polyscene::models {
namespace {

// sum_j weight_j [first; second]_j, without laying the two side by side.
torch::Tensor mix(const torch::Tensor& weight, const torch::Tensor& first, const torch::Tensor& second) {
  const auto parts = weight.split_with_sizes({first.size(1), second.size(1)}, 1);
  return nn::mixture(parts[0], first) + nn::mixture(parts[1], second);
}

}  // namespace

PLEImpl::PLEImpl(std::shared_ptr<const data::Schema> schema, PLEOptions options_)
    : SceneModel(std::move(schema), options_.common, "PLE"), options(std::move(options_)) {
  nn::check_positive("PLE", "levels", options.levels());
  nn::check_positive("PLE", "specific", options.specific());
  nn::check_positive("PLE", "shared", options.shared());
  TORCH_CHECK_VALUE(!options.expert().empty(), "PLE: expert must have a hidden layer, got []");
  const auto layers = nn::MLPOptions().norm(options.norm()).dropout(options.dropout());
  const auto expert = nn::MLPOptions(layers).hidden(options.expert());
  const auto n = options.specific(), m = options.shared(), s = scenes();
  auto width = input_size();
  for (int64_t level = 0; level < options.levels(); ++level) {
    const bool last = level + 1 == options.levels();
    const auto name = "level" + std::to_string(level);
    specific.push_back(
        register_module(name + "_specific", nn::SceneMLP(width, expert, last ? s : 1, last ? n : s * n)));
    shared.push_back(register_module(name + "_shared", nn::SceneMLP(width, expert, 1, m)));
    gates.push_back(register_module(name + "_gates", nn::SceneGate(width, n + m, s, options.reference())));
    if (!last) {
      shared_gates.push_back(
          register_module(name + "_shared_gate", nn::SceneGate(width, s * n + m, 1, options.reference())));
    }
    width = expert.hidden().back();
  }
  towers = register_module("towers",
                           nn::SceneMLP(width, nn::MLPOptions(layers).hidden(options.tower()).output(1), scenes()));
}

PLEImpl::Level PLEImpl::extract(int64_t level, const Level& in, const Rows& rows) {
  const auto n = options.specific(), m = options.shared(), s = scenes(), b = rows.x.size(0);
  const auto own = specific[level]->forward(in.all.defined() ? in.all.repeat_interleave(n, 1) : in.shared, rows.all);
  const auto common = shared[level]->forward(in.shared, rows.all);  // [B, M, H]
  const auto both = torch::cat({own, common}, 1);                   // [B, S N + M, H]
  Level out;
  out.shared = nn::mixture(shared_gates[level]->forward(in.shared, rows.all), both);  // [B, H]
  const auto& scene = rows.batch.scene;
  if (level + 2 == options.levels()) {
    // The last level reads a row's own scene alone: its gate, laid out over all experts.
    const auto weight = gates[level]->forward(in.own, rows.groups);  // [B, N + M]
    const auto column = torch::cat({scene.unsqueeze(1) * n + torch::arange(n, scene.options()),
                                    (s * n + torch::arange(m, scene.options())).expand({b, m})},
                                   1);
    out.own = nn::mixture(torch::zeros({b, s * n + m}, weight.options()).scatter(1, column, weight), both);
    return out;
  }
  // Every scene's gate on every row: as if scene s had all B rows, S times.
  nn::SceneGroups every;
  for (int64_t d = 1; d <= s; ++d) every.offsets.push_back(d * b);
  const auto x = in.all.defined() ? in.all.transpose(0, 1).flatten(0, 1) : in.shared.repeat({s, 1});  // [S B, I]
  const auto weight = gates[level]->forward(x, every).view({s, b, n + m}).unbind(0);
  const auto pieces = own.split(n, 1);
  std::vector<torch::Tensor> z;
  for (int64_t d = 0; d < s; ++d) z.push_back(mix(weight[d], pieces[d], common));
  out.all = torch::stack(z, 1);  // [B, S, H]
  out.own = out.all.gather(1, scene.view({-1, 1, 1}).expand({-1, 1, out.all.size(2)})).squeeze(1);
  return out;
}

SceneModel::Answer PLEImpl::body(const Rows& rows, bool explaining) {
  Level in{rows.x, rows.x, {}};
  const auto last = options.levels() - 1;
  for (int64_t level = 0; level < last; ++level) in = extract(level, in, rows);
  const auto weight = gates[last]->forward(in.own, rows.groups);  // [B, N + M]
  const auto z =
      mix(weight, specific[last]->forward(in.own, rows.groups), shared[last]->forward(in.shared, rows.all));  // [B, H]
  Answer out{towers->forward(z, rows.groups).flatten(), {}};
  if (explaining) out.parts = {{"gates", weight}};
  return out;
}

}  // namespace polyscene::models
