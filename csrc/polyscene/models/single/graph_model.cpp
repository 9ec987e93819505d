#include "polyscene/models/single/graph_model.h"

namespace polyscene::models {

GraphModel::GraphModel(std::shared_ptr<const data::Schema> schema, RankingOptions common_, const char* owner,
                       EdgeWeight weight, bool loops, double init_std)
    : FactorModel(std::move(schema), std::move(common_), owner), weight_(weight), loops_(loops) {
  const auto table = [&](int64_t rows) {
    return init_std > 0 ? normal_table(rows, common.dim(), init_std) : xavier_table(rows, common.dim());
  };
  user = register_module("user", table(users()));
  item = register_module("item", table(items()));
}

void GraphModel::begin_pass() {
  // A loaded model makes its graph again from the training pairs that it keeps.
  const auto known = history() ? history()->interactions() : nullptr;
  if (!graph_ || graph_of_ != known) {
    const auto nodes = users() + items();
    graph_ = known ? bipartite(known->pooled(), weight_, loops_)
                   : std::make_shared<nn::SparseMatrix>(torch::zeros({nodes + 1}, torch::kInt64),
                                                        torch::empty({0}, torch::kInt32), torch::empty({0}), nodes);
    graph_of_ = known;
    graph_changed();
  }
  nodes_ = walk(torch::cat({user->weight, item->weight}));
}

torch::Tensor GraphModel::user_vectors(const torch::Tensor& rows, const torch::Tensor&,
                                       std::vector<torch::Tensor>* looked_up) {
  if (looked_up) looked_up->push_back(user->weight.index_select(0, rows));
  return nodes_.index_select(0, rows);
}

torch::Tensor GraphModel::item_vectors(const torch::Tensor& rows, const torch::Tensor&,
                                       std::vector<torch::Tensor>* looked_up) {
  if (looked_up) looked_up->push_back(item->weight.index_select(0, rows));
  return nodes_.index_select(0, rows + users());
}

torch::nn::Linear glorot_linear(int64_t in, int64_t out, bool bias) {
  torch::nn::Linear linear(torch::nn::LinearOptions(in, out).bias(bias));
  torch::nn::init::xavier_uniform_(linear->weight);
  if (bias) torch::nn::init::zeros_(linear->bias);
  return linear;
}

}  // namespace polyscene::models
