#include "polyscene/models/cross/variational_graph.h"

#include <cmath>

#include "polyscene/nn/dense.h"
#include "polyscene/nn/dropout.h"

namespace polyscene::models {

using torch::Tensor;

namespace {

std::shared_ptr<const nn::SparseMatrix> means(const Tensor& offsets, const Tensor& codes, const Tensor& mine,
                                              const Tensor& place, int64_t width) {
  const auto degree = offsets.diff().index_select(0, mine);
  auto at = torch::zeros({mine.numel() + 1}, torch::kInt64);
  at.slice(0, 1).copy_(degree.cumsum(0));
  // Ids without rows have no entries: the codes of the others follow each other as they are.
  return std::make_shared<nn::SparseMatrix>(at, place.index_select(0, codes.to(torch::kInt64)).to(torch::kInt32),
                                            (1 / degree.to(torch::kFloat32)).repeat_interleave(degree), width);
}

// A x through each layer, its product with A where the fewer rows are: of x, or of what the layers make of x.
std::vector<Tensor> through(const std::shared_ptr<const nn::SparseMatrix>& graph,
                            const std::vector<torch::nn::Linear>& layers, const Tensor& x) {
  std::vector<Tensor> out;
  if (graph->rows() <= graph->columns()) {
    const auto gathered = nn::sparse_product(graph, x);
    for (const auto& layer : layers) out.push_back(nn::dense(gathered, *layer));
  } else {
    for (const auto& layer : layers) out.push_back(nn::dense(x, layer->weight));
    const auto gathered = nn::sparse_product(graph, torch::cat(out, 1));
    out = gathered.chunk(static_cast<int64_t>(layers.size()), 1);
    for (size_t k = 0; k < layers.size(); ++k) out[k] = out[k] + layers[k]->bias;
  }
  return out;
}

}  // namespace

Tensor divergence(const Gaussian& q, double prior) {
  return (std::log(prior) - q.deviation.log() + (q.deviation.square() + q.mean.square()) / (2 * prior * prior) - 0.5)
      .sum(1);
}

Tensor divergence(const Gaussian& q, const Gaussian& p) {
  return (p.deviation.log() - q.deviation.log() +
          (q.deviation.square() + (q.mean - p.mean).square()) / (2 * p.deviation.square()) - 0.5)
      .sum(1);
}

Tensor places_of(const Tensor& ids, int64_t count, int64_t first, int64_t none) {
  return torch::full({count}, none, torch::kInt64).index_copy_(0, ids, torch::arange(first, first + ids.numel()));
}

std::vector<MeanGraph> mean_graphs(const data::Interactions& known) {
  std::vector<MeanGraph> out;
  for (int64_t s = 0; s < known.scenes(); ++s) {
    const auto& pairs = known.scene(s);
    const auto &users = pairs.visitors, &items = pairs.candidates;
    out.push_back(
        {users, items,
         means(pairs.item_offsets, pairs.users, items, places_of(users, known.users(), 0, -1), users.numel()),
         means(pairs.user_offsets, pairs.items, users, places_of(items, known.items(), 0, -1), items.numel())});
  }
  return out;
}

VariationalGraphLayerImpl::VariationalGraphLayerImpl(int64_t dim, bool last, double spread) : last_(last) {
  there_ = register_module("there", torch::nn::Linear(dim, dim));
  for (const auto* head : last ? std::vector<const char*>{"mean", "spread"} : std::vector<const char*>{"hidden"}) {
    back_.push_back(register_module(c10::str("back_", head), torch::nn::Linear(dim, dim)));
    join_.push_back(register_module(c10::str("join_", head), torch::nn::Linear(2 * dim, dim)));
  }
  const torch::NoGradGuard no_grad;
  if (last && spread != 0) join_.back()->bias.fill_(spread);
}

std::vector<Tensor> VariationalGraphLayerImpl::forward(const std::shared_ptr<const nn::SparseMatrix>& there,
                                                       const std::shared_ptr<const nn::SparseMatrix>& back,
                                                       const Tensor& x) {
  const auto other = torch::leaky_relu(through(there, {there_}, x)[0], 0.1);  // [other, D]
  const auto gathered = through(back, back_, other);
  const auto dim = x.size(1);
  std::vector<Tensor> out;
  for (size_t head = 0; head < back_.size(); ++head) {
    const auto g = torch::leaky_relu(gathered[head], 0.1);  // [n, D]
    const auto& joins = *join_[head];
    const auto y =
        nn::dense(g, joins.weight.narrow(1, 0, dim)) + nn::dense(x, joins.weight.narrow(1, dim, dim), joins.bias);
    out.push_back(last_ ? y : torch::relu(y));
  }
  return out;
}

torch::nn::ModuleList variational_layers(int64_t encoders, int64_t layers, int64_t dim, double spread) {
  torch::nn::ModuleList out;
  for (int64_t k = 0; k < encoders * layers; ++k) {
    out->push_back(VariationalGraphLayer(dim, k % layers + 1 == layers, spread));
  }
  return out;
}

Tensor deviation_of(const Tensor& spread, bool wide) {
  const auto soft = torch::softplus(spread);
  return wide ? torch::exp(0.1 + 0.9 * soft) : soft + 1e-6;
}

Gaussian read_graph(torch::nn::ModuleListImpl& layers, int64_t encoder, const VariationalReading& how,
                    const std::shared_ptr<const nn::SparseMatrix>& there,
                    const std::shared_ptr<const nn::SparseMatrix>& back, Tensor x, std::vector<Tensor>* hidden) {
  std::vector<Tensor> out;
  for (int64_t k = 0; k < how.layers; ++k) {
    auto& layer = *layers.ptr<VariationalGraphLayerImpl>(encoder * how.layers + k);
    out = layer.forward(there, back, nn::drop(x, how.dropout, true));
    x = out[0];
    if (hidden && k + 1 < how.layers) hidden->push_back(x);
  }
  return {out[0], deviation_of(how.spread_limit > 0 ? out[1].clamp_max(how.spread_limit) : out[1], how.wide)};
}

}  // namespace polyscene::models
