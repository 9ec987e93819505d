#include "polyscene/models/single/ngcf.h"

#include <algorithm>

#include "polyscene/core/errors.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/unit_rows.h"

namespace polyscene::models {

NGCFImpl::NGCFImpl(std::shared_ptr<const data::Schema> schema, NGCFOptions options_)
    : GraphModel(std::move(schema), options_.common, "NGCF",
                 options_.form() == "authors" ? EdgeWeight::kMean : EdgeWeight::kSymmetric,
                 options_.form() == "authors"),
      options(std::move(options_)) {
  const std::vector<std::string> forms = {"paper", "authors", "recbole"};
  TORCH_CHECK_VALUE(std::find(forms.begin(), forms.end(), options.form()) != forms.end(), "NGCF: form must be one of ",
                    join(forms), ", got '", options.form(), "'", suggestion(options.form(), forms));
  TORCH_CHECK_VALUE(options.layers() >= 0, "NGCF: layers must be 0 or more, got ", options.layers());
  TORCH_CHECK_VALUE(options.dropout() >= 0 && options.dropout() < 1, "NGCF: dropout must lie in [0, 1), got ",
                    options.dropout());
  sums = register_module("sums", torch::nn::ModuleList());
  products = register_module("products", torch::nn::ModuleList());
  for (int64_t k = 0; k < options.layers(); ++k) {
    sums->push_back(glorot_linear(common.dim(), common.dim()));
    products->push_back(glorot_linear(common.dim(), common.dim()));
  }
}

torch::Tensor NGCFImpl::walk(const torch::Tensor& factors) {
  std::vector<torch::Tensor> out = {factors};
  auto x = factors;  // [U + I, D]
  for (int64_t k = 0; k < options.layers(); ++k) {
    const auto gathered = nn::sparse_product(graph(), x);
    auto& of_sum = *sums->ptr<torch::nn::LinearImpl>(k);
    auto& of_product = *products->ptr<torch::nn::LinearImpl>(k);
    const auto product = nn::dense(x * gathered, of_product);
    x = options.form() == "authors"
            ? torch::leaky_relu(nn::dense(gathered, of_sum), 0.2) + torch::leaky_relu(product, 0.2)
            : torch::leaky_relu(nn::dense(x + gathered, of_sum) + product, 0.2);
    x = nn::drop(x, options.dropout(), is_training());
    out.push_back(nn::unit_rows(x));
    if (options.form() == "recbole") x = out.back();
  }
  return torch::cat(out, 1);  // [U + I, (K + 1) D]
}

}  // namespace polyscene::models
