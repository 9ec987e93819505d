#pragma once

#include <torch/torch.h>

#include "polyscene/core/options.h"
#include "polyscene/data/batch.h"
#include "polyscene/nn/scene_groups.h"

namespace polyscene::models {

/// Lists of events for several encoders: those of the first encoder, then those of the second, ...
struct EncodedLists {
  torch::Tensor offsets;   ///< int64 [lists + 1]
  nn::SceneGroups groups;  ///< rows of each encoder
};

/// Options for `SceneEncoders`.
struct SceneEncodersOptions {
  /// Longest list (T).
  TORCH_ARG(int64_t, max_length) = 50;
  /// Blocks.
  TORCH_ARG(int64_t, layers) = 2;
  /// Heads of each attention; must divide the width.
  TORCH_ARG(int64_t, heads) = 1;
  /// Whether positions count from the newest event, or from the oldest.
  TORCH_ARG(bool, newest) = true;
  /// Dropout in training.
  TORCH_ARG(double, dropout) = 0;
};

/// Several causal encoders of SASRec's form (Kang and McAuley, ICDM 2018), each with weights of its own, in one pass:
///
///   x = drop(sqrt(D) v + p),  u = LN(x),  y = LN(u + Attention(u; x, x)),
///   x = y + drop(W_2 drop(relu(W_1 y + b_1)) + b_2),  h = LN(x)
///
/// All lists go through each layer together, so that it costs one product an encoder, whatever the number of lists.
/// Shapes: n events of all lists, D width, E encoders, N layers, T max_length.
class SceneEncodersImpl : public torch::nn::Cloneable<SceneEncodersImpl> {
 public:
  SceneEncodersImpl(int64_t encoders, int64_t dim, SceneEncodersOptions options);
  void reset() override;
  /// States after each event, [n, D], from what the events are, v [n, D].
  torch::Tensor forward(const torch::Tensor& v, const EncodedLists& lists);

  int64_t encoders, dim;
  SceneEncodersOptions options;
  torch::Tensor positions;                             ///< p, [E T, D]; starts as N(0, 1 / D)
  torch::Tensor query, query_bias;                     ///< [N, E, 1, D, D] and [N, E, 1, D]
  torch::Tensor key_value, key_value_bias;             ///< [N, E, 1, 2 D, D] and [N, E, 1, 2 D]
  torch::Tensor inner, inner_bias, outer, outer_bias;  ///< W_1, b_1, W_2, b_2
  torch::Tensor attention_scale, attention_shift;      ///< [N, E, 1, D], of u
  torch::Tensor feedforward_scale, feedforward_shift;  ///< likewise, of y
  torch::Tensor norm_scale, norm_shift;                ///< [1, E, 1, D], of h
};
TORCH_MODULE(SceneEncoders);

/// Events of each scene by themselves.
struct SceneViews {
  torch::Tensor event;     ///< int64 [n], places of the events, by scene and list
  torch::Tensor place;     ///< int64 [L], where each event lies among them; -1 for none
  torch::Tensor offsets;   ///< int64 [S B + 1]; list b of scene s is number s B + b
  nn::SceneGroups groups;  ///< rows of each scene
};

/// The views of B lists of events whose `known` (bool [L]) is true.
SceneViews scene_views(const data::Events& events, const torch::Tensor& known, int64_t scenes);

/// The newest event of scene[j] up to each event j among those that have views, -1 for none; scene int64 [L], -1 where
/// nobody asks. int64 [L].
torch::Tensor newest_of(const data::Events& events, const SceneViews& views, const torch::Tensor& scene);

/// Rows of a table, [n, D]; its gradient adds them up in one pass.
torch::Tensor rows_from(const torch::Tensor& table, const torch::Tensor& rows);

/// Sums over lists of rows, [lists, D]; offsets int64 [lists + 1].
torch::Tensor sums_of_lists(const torch::Tensor& x, const torch::Tensor& offsets);

}  // namespace polyscene::models
