#include "polyscene/nn/image_encoder.h"

#include "catch.h"

using namespace polyscene::nn;

TEST_CASE("ImageEncoder: a filter of ones adds a pixel's neighbours, by hand") {
  ImageEncoder encoder(1, ImageEncoderOptions().widths({1}).norm("none").pool("mean"));
  torch::NoGradGuard no_grad;
  encoder->convolutions[0]->as<torch::nn::Conv2d>()->weight.fill_(1);
  const auto x = torch::tensor({{1.F, 2.F, 3.F}, {4.F, 5.F, 6.F}}).view({1, 1, 2, 3});
  const auto out = encoder->attend(x);
  CHECK_THAT(encoder->map(x).view({2, 3}), IsNear(torch::tensor({{12.F, 21.F, 16.F}, {12.F, 21.F, 16.F}})));
  CHECK_THAT(out.output.flatten(), IsNear(torch::tensor({98.F / 6})));
  CHECK_THAT(out.weights, IsNear(torch::full({1, 2, 3}, 1.F / 6)));
}

TEST_CASE("ImageEncoder: between stages the largest of four positions stays") {
  ImageEncoder encoder(1, ImageEncoderOptions().widths({1, 1}).kernel(1).norm("none").pool("mean"));
  torch::NoGradGuard no_grad;
  for (size_t i = 0; i < 2; ++i) encoder->convolutions[i]->as<torch::nn::Conv2d>()->weight.fill_(1);
  const auto x = torch::tensor({{1.F, 2.F, -3.F}, {4.F, -5.F, 9.F}}).view({1, 1, 2, 3});
  CHECK_THAT(encoder->map(x).flatten(), IsNear(torch::tensor({4.F})));  // the third column has no fourth
}

TEST_CASE("ImageEncoder: a residual block without filters leaves a map as it is") {
  ImageEncoder encoder(2, ImageEncoderOptions().kind("resnet").widths({2}).kernel(1).norm("none"));
  torch::NoGradGuard no_grad;
  CHECK(encoder->convolutions->size() == 3);
  encoder->convolutions[0]->as<torch::nn::Conv2d>()->weight.copy_(torch::eye(2).view({2, 2, 1, 1}));
  encoder->convolutions[2]->as<torch::nn::Conv2d>()->weight.zero_();
  const auto x = torch::rand({3, 2, 4, 4});
  CHECK_THAT(encoder->map(x), IsNear(x));
}

TEST_CASE("ImageEncoder: weights of an image add up to 1 whatever the kind and norm") {
  for (const auto* kind : {"cnn", "resnet"}) {
    for (const auto* norm : {"group", "batch", "none"}) {
      torch::manual_seed(1);
      ImageEncoder encoder(3, ImageEncoderOptions().kind(kind).norm(norm).widths({4, 8}).layers(2));
      const auto out = encoder->attend(torch::rand({2, 3, 6, 5}));
      CHECK(out.output.sizes() == torch::IntArrayRef({2, 8}));
      CHECK_THAT(out.weights.sum({1, 2}), IsNear(torch::ones({2})));
      CHECK(encoder->attend(torch::rand({0, 3, 6, 5})).weights.sizes().slice(1) == out.weights.sizes().slice(1));
    }
  }
}

TEST_CASE("ImageEncoder: exact words for wrong options") {
  CHECK_THROWS_WITH(ImageEncoder(2, ImageEncoderOptions().kernel(4)),
                    StartsWith("ImageEncoder: kernel must be odd, got 4"));
  CHECK_THROWS_WITH(ImageEncoder(2)->forward(torch::ones({3, 1, 4, 4})),
                    StartsWith("ImageEncoder: x must be [B, 2, h, w], got [3, 1, 4, 4]"));
}
