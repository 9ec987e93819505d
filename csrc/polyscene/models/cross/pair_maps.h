#pragma once

#include <torch/torch.h>

#include <vector>

namespace polyscene::models {

/// A mapping of vectors for every ordered pair of different scenes, P = S (S - 1) of them:
///
///   linear: y = x W,   with a hidden layer: y = tanh(x W_1 + b_1) W_2 + b_2, bounded: tanh of that
///
/// Weights start at Glorot's normal, biases at 0. Shapes: x [n, D], y [n, D], H hidden units.
class PairMapsImpl : public torch::nn::Module {
 public:
  /// `hidden` 0: linear. Nothing to train with fewer than two scenes.
  PairMapsImpl(int64_t scenes, int64_t dim, int64_t hidden, bool bounded);

  /// The maps one by one: gradients of a pass gather once, however many pairs it maps.
  class Opened {
   public:
    /// Of x [n, D] from scene `from` to another.
    torch::Tensor operator()(int64_t from, int64_t to, const torch::Tensor& x) const;

   private:
    friend class PairMapsImpl;
    std::vector<torch::Tensor> first_, first_bias_, second_, second_bias_;
    int64_t scenes_ = 0;
    bool bounded_ = false;
  };
  Opened open() const;
  /// 0 that depends on the maps, so that a batch without a pair has a gradient.
  torch::Tensor zero() const;

  torch::Tensor first;        ///< [P, D, H], linear: [P, D, D]; map from s to t is number s (S - 1) + t - [t > s]
  torch::Tensor first_bias;   ///< [P, H]
  torch::Tensor second;       ///< [P, H, D]
  torch::Tensor second_bias;  ///< [P, D]

 private:
  int64_t scenes_;
  bool bounded_;
};
TORCH_MODULE(PairMaps);

}  // namespace polyscene::models
