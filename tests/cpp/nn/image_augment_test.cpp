#include "polyscene/nn/image_augment.h"

#include "catch.h"

using namespace polyscene::nn;

TEST_CASE("ImageAugment: nothing asked for changes no bit, and neither does evaluation") {
  const auto x = torch::rand({2, 1, 5, 5});
  CHECK(torch::equal(ImageAugment()->forward(x), x));
  ImageAugment augment(ImageAugmentOptions().shift(2).rotate(20).flip(1));
  augment->eval();
  CHECK(torch::equal(augment->forward(x), x));
}

TEST_CASE("ImageAugment: a mirror image that is certain is the image from right to left") {
  const auto x = torch::rand({2, 3, 4, 5});
  CHECK(torch::equal(ImageAugment(ImageAugmentOptions().flip(1))->forward(x), x.flip({3})));
}

TEST_CASE("ImageAugment: a shift moves one bright pixel to one place within its reach") {
  torch::manual_seed(0);
  auto x = torch::zeros({50, 1, 9, 9});
  x.select(2, 4).select(2, 4).fill_(1);
  const auto out = ImageAugment(ImageAugmentOptions().shift(3))->forward(x);
  CHECK_THAT(out.sum({1, 2, 3}), IsNear(torch::ones({50}), 1e-4));
  CHECK_THAT(out.amax({1, 2, 3}), IsNear(torch::ones({50}), 1e-4));
  CHECK(out.slice(2, 1, 8).slice(3, 1, 8).sum().item<float>() == Approx(50).margin(1e-2));
}

TEST_CASE("ImageAugment: the same seed gives the same bits") {
  ImageAugment augment(ImageAugmentOptions().shift(2).rotate(10).scale(0.2).crop(0.2).flip(0.5).brightness(0.1));
  const auto x = torch::rand({4, 1, 8, 8});
  torch::manual_seed(7);
  const auto first = augment->forward(x);
  torch::manual_seed(7);
  CHECK(torch::equal(augment->forward(x), first));
}

TEST_CASE("ImageAugment: exact words for amounts out of range") {
  CHECK_THROWS_WITH(ImageAugment(ImageAugmentOptions().crop(1)),
                    StartsWith("ImageAugment: crop must be in [0, 1), got 1"));
  CHECK_THROWS_WITH(ImageAugment(ImageAugmentOptions().shift(-1)),
                    StartsWith("ImageAugment: shift must be 0 or more, got -1"));
}
