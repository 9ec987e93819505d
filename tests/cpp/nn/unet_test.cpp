#include "polyscene/nn/unet.h"

#include "catch.h"
#include "polyscene/nn/image_encoder.h"
#include "polyscene/nn/segmentation_loss.h"

using namespace polyscene::nn;

TEST_CASE("UNet: maps have the size of the image, whatever it is") {
  UNet net(3, 4, UNetOptions().channels(2).depth(3));
  for (const auto& size : {std::pair{1, 1}, std::pair{7, 20}, std::pair{16, 8}}) {
    const auto out = net->forward(torch::randn({2, 3, size.first, size.second}));
    CHECK(out.sizes() == torch::IntArrayRef({2, 4, size.first, size.second}));
  }
}

TEST_CASE("UNet: the coarser levels have gates, the finest none") {
  UNet net(1, 2, UNetOptions().channels(2).depth(3));
  const auto gates = net->gates(torch::randn({1, 1, 16, 12}));
  REQUIRE(gates.size() == 2);
  CHECK(gates[0].sizes() == torch::IntArrayRef({1, 8, 6}));
  CHECK(gates[1].sizes() == torch::IntArrayRef({1, 4, 3}));
  CHECK(gates[0].gt(0).logical_and(gates[0].lt(1)).all().item<bool>());
  CHECK(UNet(1, 2, UNetOptions().channels(2).attention(false))->gates(torch::ones({1, 1, 8, 8})).empty());
}

TEST_CASE("UNet: a closed gate leaves the way up alone") {
  UNet net(1, 2, UNetOptions().channels(2).depth(2).norm("none"));
  torch::NoGradGuard no_grad;
  auto& score = *net->gate_scores[0]->as<torch::nn::Conv2d>();
  score.weight.zero_();
  score.bias.fill_(-100);  // the gate is 0
  const auto x = torch::randn({1, 1, 8, 8});
  const auto before = net->forward(x);
  net->up->at<torch::nn::ModuleListImpl>(1).at<torch::nn::Conv2dImpl>(0).weight.slice(1, 0, 4).add_(1);  // of the skip
  CHECK_THAT(net->forward(x), IsNear(before));
}

TEST_CASE("UNet: a clone computes the same") {
  for (const auto* norm : {"none", "batch", "group"}) {
    UNet net(1, 2, UNetOptions().channels(4).norm(norm));
    net->eval();
    const auto x = torch::randn({1, 1, 9, 9});
    CHECK_THAT(std::dynamic_pointer_cast<UNetImpl>(net->clone())->forward(x), IsNear(net->forward(x), 0));
  }
}

TEST_CASE("UNet: groups of a norm are those of the encoder of images") {
  for (const auto& [width, groups] : {std::pair{1, 1}, {3, 1}, {8, 1}, {12, 4}, {16, 8}, {20, 4}, {64, 8}}) {
    UNet net(1, 2, UNetOptions().channels(width).depth(1).norm("group"));
    ImageEncoder encoder(1, ImageEncoderOptions().widths({width}));
    const auto& block = net->down->at<torch::nn::ModuleListImpl>(0);
    CHECK(block.at<torch::nn::GroupNormImpl>(1).options.num_groups() == groups);
    CHECK(encoder->norms->at<torch::nn::GroupNormImpl>(0).options.num_groups() == groups);
  }
}

TEST_CASE("segmentation_loss: two pixels by hand") {
  const auto logits = torch::tensor({0.0, std::log(3.0), 0.0, 0.0}, torch::kFloat64).view({1, 2, 1, 2});
  // pixel 0: 1/2, 1/2 of class 0; pixel 1: 3/4, 1/4 of class 1
  const auto label = torch::tensor({0, 1}, torch::kInt64).view({1, 1, 2});
  const double entropy = (std::log(2.0) + std::log(4.0)) / 2;
  const double shares = (2 * 0.5 / (1.25 + 1) + 2 * 0.25 / (0.75 + 1)) / 2;
  CHECK(segmentation_loss(logits, label).item<double>() == Approx(entropy + 1 - shares));
  CHECK(segmentation_loss(logits, label, 0).item<double>() == Approx(entropy));
  CHECK(segmentation_loss(logits, label, 0, 1).item<double>() == Approx(std::log(2.0)));
}

TEST_CASE("UNet: exact words for wrong options") {
  CHECK_THROWS_WITH(UNet(1, 2, UNetOptions().norm("layer")),
                    StartsWith("UNet: norm must be one of none, batch, group, got 'layer'"));
  CHECK_THROWS_WITH(UNet(1, 2)->forward(torch::ones({1, 2, 8, 8})),
                    StartsWith("UNet: x must be [B, 1, H, W], got [1, 2, 8, 8]"));
}
