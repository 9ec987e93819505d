#include "polyscene/models/single/light_gcn.h"

namespace polyscene::models {

LightGCNImpl::LightGCNImpl(std::shared_ptr<const data::Schema> schema, LightGCNOptions options_)
    : GraphModel(std::move(schema), options_.common, "LightGCN", EdgeWeight::kSymmetric, /*loops=*/false,
                 options_.init_std()),
      options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.layers() >= 0, "LightGCN: layers must be 0 or more, got ", options.layers());
  TORCH_CHECK_VALUE(options.init_std() >= 0, "LightGCN: init_std must be 0 or more, got ", options.init_std());
}

torch::Tensor LightGCNImpl::walk(const torch::Tensor& factors) {
  auto layer = factors, sum = factors;
  sent_ = torch::Tensor();
  for (int64_t k = 0; k < options.layers(); ++k) {
    layer = nn::sparse_product(graph(), layer);
    sum = sum + layer;
  }
  return sum / static_cast<double>(options.layers() + 1);
}

torch::Tensor LightGCNImpl::reasons(int64_t rows, const Met& met, int64_t scene, const torch::Tensor& ids) {
  if (rows < data::kFirstId) return FactorModel::reasons(rows, met, scene, ids);
  const torch::NoGradGuard no_grad;
  keep_up();
  if (!sent_.defined()) {
    auto layer = torch::cat({user->weight, item->weight});
    sent_ = torch::zeros_like(layer);
    for (int64_t k = 0; k < options.layers(); ++k) {
      sent_ = sent_ + layer;
      if (k + 1 < options.layers()) layer = nn::sparse_product(graph(), layer);
    }
  }
  const auto pairs = history()->interactions()->pooled();
  const auto degree = pairs.item_offsets.diff().index_select(0, met.item) * pairs.degree(rows);
  // An edge that several scenes hold is shared by them.
  const auto times = met.item.unsqueeze(0).eq(met.item.unsqueeze(1)).sum(1);  // [L]
  const auto edge = 1 / (degree.to(torch::kFloat32).sqrt() * times.to(torch::kFloat32));
  const auto mine = sent_.index_select(0, met.item + users()) * edge.unsqueeze(1);  // [L, D]
  return torch::mm(vectors_of_items(scene, ids), mine.t()) / static_cast<double>(options.layers() + 1);
}

}  // namespace polyscene::models
