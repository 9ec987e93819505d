#include "polyscene/models/single/gat.h"

#include <cmath>

#include "polyscene/nn/dense.h"

namespace polyscene::models {

GATImpl::GATImpl(std::shared_ptr<const data::Schema> schema, GATOptions options_)
    : GraphModel(std::move(schema), options_.common, "GAT", EdgeWeight::kMean, /*loops=*/true),
      options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.layers() > 0, "GAT: layers must be positive, got ", options.layers());
  TORCH_CHECK_VALUE(options.heads() > 0 && common.dim() % options.heads() == 0, "GAT: heads must divide dim, ",
                    common.dim(), ", got ", options.heads());
  TORCH_CHECK_VALUE(options.dropout() >= 0 && options.dropout() < 1, "GAT: dropout must lie in [0, 1), got ",
                    options.dropout());
  TORCH_CHECK_VALUE(options.combine() == "last" || options.combine() == "concat",
                    "GAT: combine must be 'last' or 'concat', got '", options.combine(), "'");
  linears = register_module("linears", torch::nn::ModuleList());
  for (int64_t k = 0; k < options.layers(); ++k) {
    const auto heads = k + 1 < options.layers() ? options.heads() : 1, width = common.dim() / heads;
    linears->push_back(glorot_linear(common.dim(), common.dim(), /*bias=*/false));
    const double bound = std::sqrt(6.0 / static_cast<double>(1 + width));
    gathering.push_back(
        register_parameter(c10::str("gathering_", k), torch::empty({heads, width}).uniform_(-bound, bound)));
    gathered.push_back(
        register_parameter(c10::str("gathered_", k), torch::empty({heads, width}).uniform_(-bound, bound)));
    bias.push_back(register_parameter(c10::str("bias_", k), torch::zeros({common.dim()})));
  }
}

void GATImpl::graph_changed() { edges_ = std::make_shared<nn::Edges>(*graph()); }

torch::Tensor GATImpl::walk(const torch::Tensor& factors) {
  std::vector<torch::Tensor> out = {factors};
  for (int64_t k = 0; k < options.layers(); ++k) {
    const auto heads = gathering[k].size(0), nodes = factors.size(0);
    const auto h = nn::dense(out.back(), *linears->ptr<torch::nn::LinearImpl>(k)).view({nodes, heads, -1});
    auto y = nn::graph_attention(edges_, h, (h * gathering[k]).sum(2), (h * gathered[k]).sum(2), 0.2, options.dropout(),
                                 is_training())
                 .flatten(1) +
             bias[k];
    out.push_back(k + 1 < options.layers() ? torch::elu(y) : y);
  }
  return options.combine() == "last" ? out.back() : torch::cat(out, 1);
}

}  // namespace polyscene::models
