#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>
#include <vector>

#include "polyscene/data/interactions.h"
#include "polyscene/nn/sparse_matrix.h"

namespace polyscene::models {

/// Independent normal variables, [n, D] each.
struct Gaussian {
  torch::Tensor mean, deviation;
};

/// sum over D of KL(q || N(0, prior^2)), [n].
torch::Tensor divergence(const Gaussian& q, double prior = 1);
/// sum over D of KL(q || p), [n].
torch::Tensor divergence(const Gaussian& q, const Gaussian& p);

/// Mean over neighbours between those who have training rows in a scene.
struct MeanGraph {
  torch::Tensor users, items;                        ///< int64, their ids, ascending
  std::shared_ptr<const nn::SparseMatrix> to_items;  ///< [items, users]
  std::shared_ptr<const nn::SparseMatrix> to_users;  ///< [users, items]
};
/// One for each scene.
std::vector<MeanGraph> mean_graphs(const data::Interactions& known);
/// Where each of `count` ids stands in `ids` (int64, distinct), from `first` on; `none` for the others.
torch::Tensor places_of(const torch::Tensor& ids, int64_t count, int64_t first, int64_t none);

/// One side's nodes over a graph there and back: X' = relu(L [G; X]), G = lrelu(A W_2 lrelu(B W_1 X + b_1) + b_2).
/// The last layer has two heads of G and L without relu, a mean and a spread (Cao et al., ICDE and SIGIR 2022).
class VariationalGraphLayerImpl : public torch::nn::Module {
 public:
  VariationalGraphLayerImpl(int64_t dim, bool last, double spread);
  /// there [other, n], back [n, other], x [n, D]: one [n, D], or of the last layer two.
  std::vector<torch::Tensor> forward(const std::shared_ptr<const nn::SparseMatrix>& there,
                                     const std::shared_ptr<const nn::SparseMatrix>& back, const torch::Tensor& x);

 private:
  torch::nn::Linear there_ = nullptr;
  std::vector<torch::nn::Linear> back_, join_;
  bool last_;
};
TORCH_MODULE(VariationalGraphLayer);

/// An initial bias of the spread: with 0, a deviation near 0.7, the noise of z hides what the means are to learn.
constexpr double kSmallSpread = -3;

/// `layers` of them for each of `encoders`, encoder after encoder; `spread` is the initial bias of the spread's head.
torch::nn::ModuleList variational_layers(int64_t encoders, int64_t layers, int64_t dim, double spread = 0);

/// How an encoder of `variational_layers` reads and what it makes of its spread.
struct VariationalReading {
  int64_t layers = 1;
  double dropout = 0;  ///< of what each layer reads; 0 in evaluation
  /// deviation: false: softplus(spread); true: exp(0.1 + 0.9 softplus(spread)), above 1.1
  bool wide = false;
  double spread_limit = 0;  ///< above 0: the spread is cut there
};
torch::Tensor deviation_of(const torch::Tensor& spread, bool wide);
/// Encoder number `encoder` of x [n, D]; what the layers before the last give joins `hidden` when it is given.
Gaussian read_graph(torch::nn::ModuleListImpl& layers, int64_t encoder, const VariationalReading& how,
                    const std::shared_ptr<const nn::SparseMatrix>& there,
                    const std::shared_ptr<const nn::SparseMatrix>& back, torch::Tensor x,
                    std::vector<torch::Tensor>* hidden = nullptr);

}  // namespace polyscene::models
