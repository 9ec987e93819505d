#include "polyscene/models/single/gcn.h"

#include "polyscene/nn/dense.h"
#include "polyscene/nn/dropout.h"

namespace polyscene::models {

GCNImpl::GCNImpl(std::shared_ptr<const data::Schema> schema, GCNOptions options_)
    : GraphModel(std::move(schema), options_.common, "GCN", EdgeWeight::kSymmetric, /*loops=*/true),
      options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.layers() > 0, "GCN: layers must be positive, got ", options.layers());
  TORCH_CHECK_VALUE(options.dropout() >= 0 && options.dropout() < 1, "GCN: dropout must lie in [0, 1), got ",
                    options.dropout());
  TORCH_CHECK_VALUE(options.combine() == "last" || options.combine() == "concat",
                    "GCN: combine must be 'last' or 'concat', got '", options.combine(), "'");
  linears = register_module("linears", torch::nn::ModuleList());
  for (int64_t k = 0; k < options.layers(); ++k) linears->push_back(glorot_linear(common.dim(), common.dim()));
}

torch::Tensor GCNImpl::walk(const torch::Tensor& factors) {
  std::vector<torch::Tensor> out = {factors};
  for (int64_t k = 0; k < options.layers(); ++k) {
    const auto x = nn::drop(out.back(), options.dropout(), is_training());
    const auto y = nn::dense(nn::sparse_product(graph(), x), *linears->ptr<torch::nn::LinearImpl>(k));
    out.push_back(k + 1 < options.layers() ? torch::leaky_relu(y, 0.2) : y);
  }
  return options.combine() == "last" ? out.back() : torch::cat(out, 1);
}

}  // namespace polyscene::models
