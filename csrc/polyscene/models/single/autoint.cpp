#include "polyscene/models/single/autoint.h"

#include <cmath>

#include "polyscene/nn/scene_linear.h"

namespace polyscene::models {

AutoIntImpl::AutoIntImpl(std::shared_ptr<const data::Schema> schema, AutoIntOptions options_)
    : FieldModel(std::move(schema), options_.common, "AutoInt", {.numbers = true}), options(std::move(options_)) {
  const auto width = options.width();
  TORCH_CHECK_VALUE(options.layers() > 0, "AutoInt: layers must be positive, got ", options.layers());
  TORCH_CHECK_VALUE(options.heads() > 0, "AutoInt: heads must be positive, got ", options.heads());
  TORCH_CHECK_VALUE(width > 0 && width % options.heads() == 0, "AutoInt: heads must divide width, got ",
                    options.heads(), " heads and width ", width);
  auto size = common.dim();
  for (int64_t layer = 0; layer < options.layers(); ++layer) {
    const auto bound = std::sqrt(6.0 / static_cast<double>(size + width));
    projection.push_back(register_parameter("layer" + std::to_string(layer) + "_projection",
                                            torch::empty({4 * width, size}).uniform_(-bound, bound)));
    size = width;
  }
  const auto total = num_fields() * width;
  const auto bound = 1 / std::sqrt(static_cast<double>(total));
  attention_head = register_parameter("attention_head", torch::empty({total}).uniform_(-bound, bound));
  base = register_parameter("base", torch::scalar_tensor(base_score(this->schema()), torch::kFloat32));
  if (options.hidden().empty()) return;
  const auto layers = nn::MLPOptions().hidden(options.hidden()).norm(options.norm()).dropout(options.dropout());
  deep = register_module("deep", nn::SceneMLP(input_size(), nn::MLPOptions(layers).output(1)));
}

SceneModel::Answer AutoIntImpl::body(const Rows& rows, bool explaining) {
  Answer out;
  auto e = fields(rows);  // [B, F, D]
  const auto batch = e.size(0), count = e.size(1), heads = options.heads(), width = options.width() / heads;
  for (size_t layer = 0; layer < projection.size(); ++layer) {
    const auto all = nn::dense(e.flatten(0, 1), projection[layer]);          // [B F, 4 H]
    const auto parts = all.view({batch, count, 4, heads, width}).unbind(2);  // Q, K, V, R: [B, F, heads, H / heads]
    const auto query = parts[0].transpose(1, 2), key = parts[1].transpose(1, 2), value = parts[2].transpose(1, 2);
    const auto met = at::scaled_dot_product_attention(query, key, value, /*attn_mask=*/{}, /*dropout_p=*/0,
                                                      /*is_causal=*/false, /*scale=*/1.0);  // [B, heads, F, H / heads]
    if (explaining) {
      const auto weight = query.matmul(key.transpose(2, 3)).softmax(3);
      out.parts.emplace_back("attention" + std::to_string(layer), weight);
    }
    e = (met.transpose(1, 2) + parts[3]).flatten(2).relu();  // [B, F, H]
  }
  out.logits = e.flatten(1).mv(attention_head) + base;
  if (deep) out.logits = out.logits + deep->forward(rows.x, rows.all).flatten();
  return out;
}

}  // namespace polyscene::models
