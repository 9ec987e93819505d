#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "polyscene/nn/simd.h"

namespace polyscene::nn {

/// e^x in a form that loops over floats vectorise: 2^n e^r with r in [-ln 2 / 2, ln 2 / 2] and a polynomial of degree 6
/// for e^r (Cephes), within 2 units in the last place; x is clamped to [-87, 88]. NaN stays NaN.
POLYSCENE_INLINE float vector_exp(float x) {
  constexpr float kMagic = 12582912.f;  // 1.5 2^23: what is added to it is rounded to an integer, found in its low bits
  x = x < -87.f ? -87.f : x;
  x = x > 88.f ? 88.f : x;
  const float shifted = x * 1.44269504f + kMagic;
  const float n = shifted - kMagic;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const auto power = (std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kMagic) + 127u) << 23;
  return (p * r * r + r + 1.f) * std::bit_cast<float>(power);
}

POLYSCENE_INLINE double vector_exp(double x) { return std::exp(x); }

/// 1 / (1 + e^-x).
template <typename T>
POLYSCENE_INLINE T vector_sigmoid(T x) {
  return T(1) / (T(1) + vector_exp(-x));
}

}  // namespace polyscene::nn
