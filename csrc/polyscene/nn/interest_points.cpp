#include "polyscene/nn/interest_points.h"

#include <utility>

#include "polyscene/nn/checks.h"
#include "polyscene/nn/masks.h"

namespace polyscene::nn {

InterestPointsImpl::InterestPointsImpl(int64_t input_size_, InterestPointsOptions options_)
    : input_size(input_size_), options(std::move(options_)) {
  check_positive("InterestPoints", "input_size", input_size);
  check_positive("InterestPoints", "points", options.points());
  TORCH_CHECK_VALUE(options.kernel() > 0 && options.kernel() % 2 == 1,
                    "InterestPoints: kernel must be odd and positive, got ", options.kernel());
  reset();
}

void InterestPointsImpl::reset() {
  convolution = register_module(
      "convolution",
      torch::nn::Conv1d(
          torch::nn::Conv1dOptions(input_size, options.points(), options.kernel()).padding(options.kernel() / 2)));
}

torch::Tensor InterestPointsImpl::forward(const torch::Tensor& context, const std::optional<torch::Tensor>& valid) {
  return extract(context, valid).values;
}

Points InterestPointsImpl::extract(const torch::Tensor& context, const std::optional<torch::Tensor>& valid) {
  check_sequence("InterestPoints", "context", context, input_size);
  if (valid) {
    check_valid("InterestPoints", *valid, context.size(0), context.size(1));
  }
  if (context.size(1) == 0) {
    const auto none = context.new_zeros({context.size(0), options.points()});
    return {none, none.to(torch::kLong)};
  }
  const auto events = valid ? zero_padding(context, *valid) : context;
  auto answers = convolution->forward(events.transpose(1, 2)).relu();  // [B, P, T]
  if (valid) {
    // Answers are not negative, so 0 never wins over a valid one.
    answers = answers.masked_fill(~valid->unsqueeze(1), 0);
  }
  auto [values, steps] = answers.max(2);  // [B, P]
  return {values, steps};
}

}  // namespace polyscene::nn
