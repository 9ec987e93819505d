#include "polyscene/nn/conv_encoder.h"

#include "catch.h"

using namespace polyscene::nn;

TEST_CASE("ConvEncoder: one filter that adds a step to the one before, by hand") {
  ConvEncoder encoder(1, ConvEncoderOptions().hidden(1).layers(2).kernel(2));
  torch::NoGradGuard no_grad;
  for (auto& item : encoder->named_parameters()) {
    item.value().fill_(item.key().find("bias") == std::string::npos ? 1 : 0);
  }
  const auto x = torch::tensor({1.F, 2.F, -5.F, 4.F}).view({1, 4, 1});
  // layer 1: relu(x_t + x_{t-1}) = 1 3 0 0; layer 2 adds relu(h_t + h_{t-2}) = 1 3 1 3
  CHECK_THAT(encoder->forward(x).flatten(), IsNear(torch::tensor({2.F, 6.F, 1.F, 3.F})));
}

TEST_CASE("ConvEncoder: layers reach back 1 + (kernel - 1)(2^layers - 1) steps") {
  ConvEncoder encoder(1, ConvEncoderOptions().hidden(2).layers(3).kernel(3));
  encoder->to(torch::kFloat64);
  torch::NoGradGuard no_grad;
  for (auto& item : encoder->named_parameters()) {
    item.value().fill_(0.5);
  }
  const auto x = torch::zeros({1, 20, 1}, torch::kFloat64);
  auto changed = x.clone();
  changed[0][0] = 1;
  const auto moved = (encoder->forward(changed) - encoder->forward(x)).abs().amax({0, 2}) > 0;
  CHECK(moved.sum().item<int64_t>() == 15);
  CHECK(moved.slice(0, 0, 15).all().item<bool>());
}

TEST_CASE("ConvEncoder: exact words for wrong options") {
  CHECK_THROWS_WITH(ConvEncoder(2, ConvEncoderOptions().kernel(0)),
                    StartsWith("ConvEncoder: kernel must be positive, got 0"));
  CHECK_THROWS_WITH(ConvEncoder(2, ConvEncoderOptions().layers(21)),
                    StartsWith("ConvEncoder: layers must be 20 at most, got 21; the reach doubles with each"));
  CHECK_THROWS_WITH(ConvEncoder(2)->forward(torch::ones({1, 2, 3})),
                    StartsWith("ConvEncoder: x must be [B, T, 2], got [1, 2, 3]"));
}
