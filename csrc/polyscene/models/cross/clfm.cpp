#include "polyscene/models/cross/clfm.h"

#include <cmath>

#include "polyscene/models/cross/scene_weights.h"

namespace polyscene::models {

CLFMImpl::CLFMImpl(std::shared_ptr<const data::Schema> schema, CLFMOptions options_)
    : FactorModel(std::move(schema), options_.common, "CLFM"), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.item_dim() >= 0, "CLFM: item_dim must be 0 or more, got ", options.item_dim());
  const auto dim = common.dim(), width = options.item_dim() > 0 ? options.item_dim() : dim;
  TORCH_CHECK_VALUE(options.shared_dim() >= -1 && options.shared_dim() <= width,
                    "CLFM: shared_dim must lie between 0 and the items' width, ", width,
                    ", or be -1 for half of it, got ", options.shared_dim());
  const auto shared = options.shared_dim() < 0 ? width / 2 : options.shared_dim();
  weights_ = scene_weights("CLFM", this->schema(), options.scene_weights());
  user = register_module("user", scene_tables(scenes(), users(), dim));
  item = register_module("item", scene_tables(scenes(), items(), width));
  const auto start = [&](int64_t columns) { return std::sqrt(2.0 / static_cast<double>(dim + columns)); };
  if (shared > 0) shared_code = register_parameter("shared_code", torch::randn({dim, shared}) * start(shared));
  if (const auto own = width - shared; own > 0)
    scene_code = register_parameter("scene_code", torch::randn({scenes(), dim, own}) * start(own));
}

torch::Tensor CLFMImpl::user_vectors(const torch::Tensor& rows, const torch::Tensor& scene,
                                     std::vector<torch::Tensor>* looked_up) {
  auto own = user->forward(scene * users() + rows);  // [n, D]
  auto common = own;                                 // what the shared code reads
  if (const auto here = known_there(rows, scene); !here.all().item<bool>()) {
    own = own * here.unsqueeze(1).to(own.scalar_type());
    const auto absent = here.logical_not().nonzero().squeeze(1);
    common = own.index_copy(0, absent, elsewhere(rows.index_select(0, absent)));
  }
  if (looked_up) looked_up->push_back(own);
  std::vector<torch::Tensor> parts;
  if (shared_code.defined()) parts.push_back(torch::mm(common, shared_code));
  if (scene_code.defined()) {
    const auto codes = scene_code.unbind(0);
    auto part = torch::zeros({rows.numel(), scene_code.size(2)}, own.options().requires_grad(false));
    for (int64_t s = 0; s < scenes(); ++s) {
      const auto mine = scene.eq(s).nonzero().squeeze(1);
      if (mine.numel() > 0)
        part = part.index_copy(0, mine, torch::mm(own.index_select(0, mine), codes[static_cast<size_t>(s)]));
    }
    parts.push_back(part);
  }
  return torch::cat(parts, 1);
}

torch::Tensor CLFMImpl::elsewhere(const torch::Tensor& rows) const {
  const auto type = user->weight.scalar_type();
  auto sum = torch::zeros({rows.numel(), user->weight.size(1)}, user->weight.options().requires_grad(false));
  auto count = torch::zeros({rows.numel(), 1}, sum.options());
  for (int64_t t = 0; t < scenes(); ++t) {
    const auto there = known_there(rows, torch::full_like(rows, t)).unsqueeze(1).to(type);
    sum += user->weight.detach().index_select(0, rows + t * users()) * there;
    count += there;
  }
  return sum / count.clamp_min(1);
}

torch::Tensor CLFMImpl::item_vectors(const torch::Tensor& rows, const torch::Tensor& scene,
                                     std::vector<torch::Tensor>* looked_up) {
  const auto out = item->forward(scene * items() + rows);
  if (looked_up) looked_up->push_back(out);
  return out;
}

torch::Tensor CLFMImpl::row_weight(const data::Batch& batch) const { return row_weights(weights_, batch); }

// What the scenes share of the codebook means the same in all of them.
torch::Tensor CLFMImpl::moved(int64_t, int64_t, const torch::Tensor& vector, const torch::Tensor&) {
  auto out = torch::zeros_like(vector);
  const auto shared = shared_code.defined() ? shared_code.size(1) : 0;
  out.narrow(1, 0, shared).copy_(vector.narrow(1, 0, shared));
  return out;
}

}  // namespace polyscene::models
