#pragma once

#include "polyscene/nn/dice_mlp.h"

namespace polyscene::models {

/// How much an event matters for a candidate (the activation unit of DIN, Zhou et al., KDD 2018):
///
///   a = MLP([v; k; v - k; v * k])
///
/// Shapes: v and k [L, H], result [L].
inline torch::Tensor activation_unit(nn::DiceMLP& unit, const torch::Tensor& v, const torch::Tensor& k) {
  return unit->forward(torch::cat({v, k, v - k, v * k}, 1));
}

}  // namespace polyscene::models
