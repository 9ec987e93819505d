#include "polyscene/models/single/xdeepfm.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "polyscene/nn/mixture.h"
#include "polyscene/nn/scene_linear.h"

namespace polyscene::models {

XDeepFMImpl::XDeepFMImpl(std::shared_ptr<const data::Schema> schema, XDeepFMOptions options_)
    : FieldModel(std::move(schema), options_.common, "XDeepFM", {.linear = true, .numbers = true}),
      options(std::move(options_)) {
  const auto& maps = options.cin();
  TORCH_CHECK_VALUE(!maps.empty() && *std::min_element(maps.begin(), maps.end()) > 0,
                    "XDeepFM: cin must name positive widths, got ", to_text(maps));
  nn::check_activation("XDeepFM", options.activation());
  auto width = num_fields();
  for (size_t layer = 0; layer < maps.size(); ++layer) {
    const auto bound = std::sqrt(6.0 / static_cast<double>(width * num_fields() + maps[layer]));
    cin_weight.push_back(register_parameter("cin" + std::to_string(layer) + "_weight",
                                            torch::empty({num_fields(), maps[layer], width}).uniform_(-bound, bound)));
    width = maps[layer];
  }
  const auto total = std::accumulate(maps.begin(), maps.end(), int64_t{0});
  const auto bound = 1 / std::sqrt(static_cast<double>(total));
  cin_head = register_parameter("cin_head", torch::empty({total}).uniform_(-bound, bound));
  const auto layers = nn::MLPOptions().hidden(options.hidden()).norm(options.norm()).dropout(options.dropout());
  deep = register_module("deep", nn::SceneMLP(input_size(), nn::MLPOptions(layers).output(1)));
}

torch::Tensor XDeepFMImpl::interactions(const torch::Tensor& fields) const {
  // Each of the D components on its own: one GEMM maps X^{k-1} for every field, which X^0 then weighs and adds up.
  const auto rows = fields.size(0), count = fields.size(1), width = fields.size(2);
  const auto first = fields.transpose(1, 2).reshape({rows * width, count});  // [B D, F]
  auto x = first;
  std::vector<torch::Tensor> out;
  for (const auto& weight : cin_weight) {
    const auto mapped = nn::dense(x, weight.flatten(0, 1)).view({rows * width, count, weight.size(1)});  // [B D, F, H]
    x = nn::activate(options.activation(), nn::mixture(first, mapped));                                  // [B D, H]
    out.push_back(x.view({rows, width, weight.size(1)}).sum(1));
  }
  return torch::cat(out, 1);
}

SceneModel::Answer XDeepFMImpl::body(const Rows& rows, bool explaining) {
  const auto first = linear(rows);
  const auto cin = interactions(fields(rows)).mv(cin_head);     // [B]
  const auto high = deep->forward(rows.x, rows.all).flatten();  // [B]
  Answer out{first.logits + cin + high, first.penalty};
  if (explaining) out.parts = {{"linear", first.logits}, {"cin", cin}, {"deep", high}};
  return out;
}

}  // namespace polyscene::models
