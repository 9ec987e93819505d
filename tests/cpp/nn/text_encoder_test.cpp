#include "polyscene/nn/text_encoder.h"

#include "catch.h"

using namespace polyscene::nn;

TEST_CASE("TextEncoder: the mean of each text, 0 of an empty one") {
  TextEncoder encoder(2, TextEncoderOptions().kind("mean"));
  const auto x = torch::tensor({{1.F, 2.F}, {3.F, 4.F}, {5.F, 6.F}});
  const auto out = encoder->attend(x, torch::tensor({0, 2, 2, 3}, torch::kInt64));
  CHECK_THAT(out.output, IsNear(torch::tensor({{2.F, 3.F}, {0.F, 0.F}, {5.F, 6.F}})));
  CHECK_THAT(out.weights, IsNear(torch::tensor({0.5F, 0.5F, 1.F})));
}

TEST_CASE("TextEncoder: a filter of ones adds a word's neighbours in its own text, by hand") {
  TextEncoder encoder(1, TextEncoderOptions().kind("cnn").hidden(1));
  torch::NoGradGuard no_grad;
  encoder->convolutions[0]->as<torch::nn::Conv1d>()->weight.fill_(1);
  encoder->convolutions[0]->as<torch::nn::Conv1d>()->bias.zero_();
  encoder->context.zero_();  // so that all words weigh the same
  const auto x = torch::tensor({1.F, 2.F, 3.F, 10.F, 20.F}).unsqueeze(1);
  // texts 1 2 3 and 10 20: sums 3 6 5 and 30 30
  const auto out = encoder->forward(x, torch::tensor({0, 3, 5}, torch::kInt64));
  CHECK_THAT(out.flatten(), IsNear(torch::tensor({14.F / 3, 30.F})));
}

TEST_CASE("TextEncoder: weights of a text add up to 1 whatever the kind") {
  for (const auto* kind : {"mean", "bilstm", "cnn", "transformer"}) {
    torch::manual_seed(1);
    TextEncoder encoder(4, TextEncoderOptions().kind(kind).hidden(6).layers(2));
    const auto out = encoder->attend(torch::randn({5, 4}), torch::tensor({0, 4, 5}, torch::kInt64));
    CHECK_THAT(out.weights.slice(0, 0, 4).sum(), IsNear(torch::tensor(1.F)));
    CHECK_THAT(out.weights.slice(0, 4).sum(), IsNear(torch::tensor(1.F)));
  }
}

TEST_CASE("TextEncoder: exact words for wrong options") {
  CHECK_THROWS_WITH(TextEncoder(2, TextEncoderOptions().kernel(4)),
                    StartsWith("TextEncoder: kernel must be odd, got 4"));
  CHECK_THROWS_WITH(TextEncoder(2)->forward(torch::ones({3, 2}), torch::tensor({0, 2}, torch::kInt64)),
                    StartsWith("TextEncoder: offsets must run from 0 to the 3 words, got 0 to 2"));
}
