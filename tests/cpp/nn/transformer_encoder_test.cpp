#include "polyscene/nn/transformer_encoder.h"

#include "catch.h"
#include "polyscene/nn/masks.h"

using namespace polyscene::nn;

TEST_CASE("TransformerBlock: with zero output weights it is the identity") {
  TransformerBlock block(TransformerEncoderOptions().hidden(4).feedforward(6));
  CHECK(block->inner->weight.sizes() == torch::IntArrayRef({6, 4}));
  torch::NoGradGuard no_grad;
  for (auto* linear : {&block->attention->output_projection, &block->outer}) {
    (*linear)->weight.zero_();
    (*linear)->bias.zero_();
  }
  const auto h = torch::randn({2, 3, 4});
  CHECK_THAT(block->forward(h, torch::ones({2, 3}, torch::kBool)), IsNear(h));
}

TEST_CASE("TransformerEncoder: states are normalised and know their position") {
  TransformerEncoder encoder(3, TransformerEncoderOptions().hidden(8).max_length(5));
  const auto x = torch::ones({1, 5, 3});
  const auto valid = torch::ones({1, 5}, torch::kBool);
  const auto h = encoder->forward(x, valid);
  CHECK_THAT(h.mean(-1), IsNear(torch::zeros({1, 5}), 1e-5));
  CHECK_THAT(h.var(-1, /*unbiased=*/false), IsNear(torch::ones({1, 5}), 1e-2));
  CHECK((h[0][0] - h[0][1]).abs().max().item<double>() > 1e-3);
  torch::NoGradGuard no_grad;
  encoder->positions.zero_();
  const auto same = encoder->forward(x, valid);
  CHECK_THAT(same[0][1], IsNear(same[0][0], 1e-5));
}

TEST_CASE("TransformerEncoder: dropout acts in training only") {
  TransformerEncoder encoder(3, TransformerEncoderOptions().hidden(8).dropout(0.5));
  const auto x = torch::randn({2, 4, 3});
  const auto valid = torch::ones({2, 4}, torch::kBool);
  CHECK_THAT(encoder->forward(x, valid), !IsNear(encoder->forward(x, valid), 1e-4));
  encoder->eval();
  CHECK(encoder->forward(x, valid).equal(encoder->forward(x, valid)));
}

TEST_CASE("TransformerEncoder: exact words for wrong options") {
  using O = TransformerEncoderOptions;
  CHECK_THROWS_WITH(TransformerEncoder(3, O().layers(0)),
                    StartsWith("TransformerEncoder: layers must be positive, got 0"));
  CHECK_THROWS_WITH(TransformerEncoder(3, O().hidden(5)),
                    StartsWith("MultiHeadAttention: heads must divide the hidden width, got 2 heads and width 5"));
  CHECK_THROWS_WITH(TransformerBlock(O().feedforward(-1)),
                    StartsWith("TransformerBlock: feedforward must not be negative, got -1"));
}
