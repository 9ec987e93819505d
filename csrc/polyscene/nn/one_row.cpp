#include "polyscene/nn/one_row.h"

#include <cmath>

#include "polyscene/nn/dot.h"
#include "polyscene/nn/simd.h"

namespace polyscene::nn {
namespace {

template <typename T>
POLYSCENE_INLINE void linear_one(const T* w, const T* b, const T* x, int64_t rows, int64_t width, T* out) {
  for (int64_t o = 0; o < rows; ++o) out[o] = dot(w + o * width, x, width) + (b ? b[o] : T(0));
}

POLYSCENE_SIMD void linear_of_floats(const float* w, const float* b, const float* x, int64_t rows, int64_t width,
                                     float* out) {
  linear_one(w, b, x, rows, width, out);
}

POLYSCENE_SIMD void linear_of_doubles(const double* w, const double* b, const double* x, int64_t rows, int64_t width,
                                      double* out) {
  linear_one(w, b, x, rows, width, out);
}

template <typename T>
void norm_one(const torch::nn::LayerNormImpl& layer, const T* y, T* x) {
  const auto width = layer.weight.numel();
  const auto *w = layer.weight.const_data_ptr<T>(), *b = layer.bias.const_data_ptr<T>();
  T mean = 0, square = 0;
  for (int64_t d = 0; d < width; ++d) {
    if (y) x[d] += y[d];
    mean += x[d];
  }
  mean /= static_cast<T>(width);
  for (int64_t d = 0; d < width; ++d) square += (x[d] - mean) * (x[d] - mean);
  const T scale = 1 / std::sqrt(square / static_cast<T>(width) + static_cast<T>(layer.options.eps()));
  for (int64_t d = 0; d < width; ++d) x[d] = (x[d] - mean) * scale * w[d] + b[d];
}

}  // namespace

void linear_row(const torch::nn::LinearImpl& layer, const float* x, float* out) {
  linear_of_floats(layer.weight.const_data_ptr<float>(),
                   layer.bias.defined() ? layer.bias.const_data_ptr<float>() : nullptr, x, layer.weight.size(0),
                   layer.weight.size(1), out);
}

void linear_row(const torch::nn::LinearImpl& layer, const double* x, double* out) {
  linear_of_doubles(layer.weight.const_data_ptr<double>(),
                    layer.bias.defined() ? layer.bias.const_data_ptr<double>() : nullptr, x, layer.weight.size(0),
                    layer.weight.size(1), out);
}

void norm_row(const torch::nn::LayerNormImpl& layer, const float* y, float* x) { norm_one(layer, y, x); }

void norm_row(const torch::nn::LayerNormImpl& layer, const double* y, double* x) { norm_one(layer, y, x); }

}  // namespace polyscene::nn
