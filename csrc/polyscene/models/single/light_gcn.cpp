#include "polyscene/models/single/light_gcn.h"

#include "polyscene/models/graphs.h"

namespace polyscene::models {

LightGCNImpl::LightGCNImpl(std::shared_ptr<const data::Schema> schema, LightGCNOptions options_)
    : FactorModel(std::move(schema), options_.common, "LightGCN"), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.layers() >= 0, "LightGCN: layers must be 0 or more, got ", options.layers());
  TORCH_CHECK_VALUE(options.init_std() >= 0, "LightGCN: init_std must be 0 or more, got ", options.init_std());
  const auto table = [&](int64_t rows) {
    return options.init_std() > 0 ? normal_table(rows, common.dim(), options.init_std())
                                  : xavier_table(rows, common.dim());
  };
  user = register_module("user", table(users()));
  item = register_module("item", table(items()));
}

void LightGCNImpl::prepare(const data::Table& train) {
  FactorModel::prepare(train);
  graph_ = nullptr;
}

void LightGCNImpl::begin_pass() {
  auto layer = torch::cat({user->weight, item->weight});
  nodes_ = layer;
  sent_ = torch::Tensor();
  if (history()) {
    // A loaded model makes its graph again from the training pairs that it keeps.
    const auto known = history()->interactions();
    if (!graph_ || graph_of_ != known) {
      graph_ = bipartite(known->pooled(), EdgeWeight::kSymmetric);
      graph_of_ = known;
    }
    for (int64_t k = 0; k < options.layers(); ++k) {
      layer = nn::sparse_product(graph_, layer);
      nodes_ = nodes_ + layer;
    }
  }
  nodes_ = nodes_ / static_cast<double>(options.layers() + 1);
}

torch::Tensor LightGCNImpl::user_vectors(const torch::Tensor& rows, const torch::Tensor&,
                                         std::vector<torch::Tensor>* looked_up) {
  if (looked_up) looked_up->push_back(user->weight.index_select(0, rows));
  return nodes_.index_select(0, rows);
}

torch::Tensor LightGCNImpl::item_vectors(const torch::Tensor& rows, const torch::Tensor&,
                                         std::vector<torch::Tensor>* looked_up) {
  if (looked_up) looked_up->push_back(item->weight.index_select(0, rows));
  return nodes_.index_select(0, rows + users());
}

torch::Tensor LightGCNImpl::reasons(int64_t rows, const Met& met, int64_t scene, const torch::Tensor& ids) {
  if (rows < data::kFirstId) return FactorModel::reasons(rows, met, scene, ids);
  const torch::NoGradGuard no_grad;
  if (!nodes_.defined() || !graph_) begin_pass();
  if (!sent_.defined()) {
    auto layer = torch::cat({user->weight, item->weight});
    sent_ = torch::zeros_like(layer);
    for (int64_t k = 0; k < options.layers(); ++k) {
      sent_ = sent_ + layer;
      if (k + 1 < options.layers()) layer = nn::sparse_product(graph_, layer);
    }
  }
  const auto pairs = graph_of_->pooled();
  const auto degree = pairs.item_offsets.diff().index_select(0, met.item) * pairs.degree(rows);
  // An edge that several scenes hold is shared by them.
  const auto times = met.item.unsqueeze(0).eq(met.item.unsqueeze(1)).sum(1);  // [L]
  const auto edge = 1 / (degree.to(torch::kFloat32).sqrt() * times.to(torch::kFloat32));
  const auto mine = sent_.index_select(0, met.item + users()) * edge.unsqueeze(1);  // [L, D]
  return torch::mm(nodes_.index_select(0, ids + users()), mine.t()) / static_cast<double>(options.layers() + 1);
}

}  // namespace polyscene::models
