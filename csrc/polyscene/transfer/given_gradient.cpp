#include "polyscene/transfer/given_gradient.h"

#include <torch/csrc/autograd/functions/utils.h>

#include "polyscene/core/errors.h"

namespace polyscene::transfer {
namespace {

struct GivenGradientBackward : public torch::autograd::Node {
  torch::autograd::variable_list apply(torch::autograd::variable_list&& given) override {
    torch::autograd::variable_list out;
    const double scale = given[0].defined() ? given[0].item<double>() : 0;
    for (const auto& gradient : gradients) {
      out.push_back(gradient.defined() ? gradient * scale : torch::Tensor());
    }
    return out;
  }
  void release_variables() override { gradients.clear(); }
  std::string name() const override { return "GivenGradientBackward"; }

  std::vector<torch::Tensor> gradients;
};

}  // namespace

torch::Tensor with_gradient(const torch::Tensor& value, const std::vector<torch::Tensor>& parameters,
                            const std::vector<torch::Tensor>& gradients) {
  TORCH_CHECK_VALUE(parameters.size() == gradients.size(), "with_gradient: there must be a gradient for each of ",
                    parameters.size(), " parameters, got ", gradients.size());
  auto out = value.detach().clone();
  auto node = c10::make_intrusive<GivenGradientBackward>();
  torch::autograd::edge_list edges;
  for (const auto& parameter : parameters) edges.push_back(torch::autograd::impl::gradient_edge(parameter));
  node->set_next_edges(std::move(edges));
  node->gradients = gradients;
  torch::autograd::set_history(out, node);
  return out;
}

std::vector<torch::Tensor> project_conflicts(const std::vector<torch::Tensor>& gradients,
                                             const std::vector<std::vector<int64_t>>& orders) {
  TORCH_CHECK_VALUE(gradients.size() == orders.size(), "project_conflicts: there must be an order for each of ",
                    gradients.size(), " tasks, got ", orders.size());
  std::vector<torch::Tensor> out;
  for (size_t i = 0; i < gradients.size(); ++i) {
    auto mine = gradients[i].clone();
    for (const auto j : orders[i]) {
      const auto& other = gradients.at(static_cast<size_t>(j));
      const double along = mine.dot(other).item<double>(), square = other.dot(other).item<double>();
      if (along < 0 && square > 0) mine.sub_(other, along / square);
    }
    out.push_back(mine);
  }
  return out;
}

}  // namespace polyscene::transfer
