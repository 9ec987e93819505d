#pragma once

#include <torch/torch.h>

#include <optional>

#include "polyscene/core/options.h"

namespace polyscene::nn {

/// Options for `InterestPoints`.
struct InterestPointsOptions {
  /// Interest points per row (P).
  TORCH_ARG(int64_t, points) = 32;
  /// Steps that a filter spans, centred; odd.
  TORCH_ARG(int64_t, kernel) = 3;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("points", self.points(), "interest points per row");
    visit("kernel", self.kernel(), "steps that a filter spans, centred; odd");
  }
};

/// Interest points of a row, and the event at which each was strongest.
struct Points {
  torch::Tensor values;  ///< [B, P], not negative
  torch::Tensor steps;   ///< int64 [B, P]; 0 for a row without events
};

/// Interest points of a behaviour sequence: P filters over time, their strongest answer (max over time: Kim, EMNLP
/// 2014):
///
///   z_p = max_{t valid} relu(b_p + sum_j W_pj c_{t+j}),   j from -(kernel - 1) / 2 to (kernel - 1) / 2
///
/// over the attended context c, which counts as 0 outside the row's events. A row without events has points 0.
/// Shapes: B batch, T time, D context, P points.
class InterestPointsImpl : public torch::nn::Cloneable<InterestPointsImpl> {
 public:
  explicit InterestPointsImpl(int64_t input_size, InterestPointsOptions options = {});
  void reset() override;
  /// Points [B, P]; arguments as for `extract`.
  torch::Tensor forward(const torch::Tensor& context, const std::optional<torch::Tensor>& valid = {});
  /// context: [B, T, D], valid: bool [B, T], valid events first.
  Points extract(const torch::Tensor& context, const std::optional<torch::Tensor>& valid = {});
  /// Width of what `forward` returns (P).
  int64_t output_size() const { return options.points(); }

  int64_t input_size;
  InterestPointsOptions options;
  torch::nn::Conv1d convolution = nullptr;
};
TORCH_MODULE(InterestPoints);

}  // namespace polyscene::nn
