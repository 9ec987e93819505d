#include "polyscene/nn/encoder.h"

#include "catch.h"
#include "polyscene/nn/masks.h"

using namespace polyscene::nn;

namespace {

SequenceEncoder make_encoder(const std::string& kind, int64_t scenes = 0) {
  SequenceEncoder encoder(3, SequenceEncoderOptions().kind(kind).hidden(4).layers(2).scenes(scenes).max_length(8));
  encoder->to(torch::kFloat64);
  return encoder;
}

}  // namespace

TEST_CASE("SequenceEncoder: padding is not read, changes no valid state and stays 0") {
  const std::string kind = GENERATE("gru", "lstm", "cnn", "transformer");
  auto encoder = make_encoder(kind, 2);
  const auto valid = padding_mask(torch::tensor({5, 0, 2}), 5);
  const auto x = random_doubles({3, 5, 3});
  const auto scene = torch::randint(0, 2, {3, 5}, torch::kLong);
  const auto states = encoder->forward(x, valid, scene);
  CHECK(states.sizes() == torch::IntArrayRef({3, 5, 4}));
  CHECK(states.masked_select(~valid.unsqueeze(-1)).abs().max().item<double>() == 0);
  CHECK(states.select(0, 2).abs().amax(1).slice(0, 0, 2).max().item<double>() > 0);
  // Rubbish at padding changes nothing, neither forward nor backward.
  const auto dirty = x.masked_fill(~valid.unsqueeze(-1), NAN).requires_grad_();
  const auto same = encoder->forward(dirty, valid, scene.masked_fill(~valid, -7));
  CHECK(same.equal(states));
  same.square().sum().backward();
  CHECK(torch::isfinite(dirty.grad()).all().item<bool>());
  CHECK(dirty.grad().masked_select(~valid.unsqueeze(-1)).abs().max().item<double>() == 0);
  for (const auto& item : encoder->named_parameters()) {
    INFO(item.key());
    CHECK(torch::isfinite(item.value().grad()).all().item<bool>());
    // A bias of the keys cancels in the softmax.
    CHECK((EndsWith("key_projection.bias").match(item.key()) || item.value().grad().abs().max().item<double>() > 0));
  }
  // A row alone, without the padding, has the same states.
  const auto alone = encoder->forward(x.slice(0, 2).slice(1, 0, 2), valid.slice(0, 2).slice(1, 0, 2),
                                      scene.slice(0, 2).slice(1, 0, 2));
  CHECK_THAT(alone[0], IsNear(states[2].slice(0, 0, 2), 1e-12));
}

TEST_CASE("SequenceEncoder: a state depends on its event and on those before, not on later ones") {
  const std::string kind = GENERATE("gru", "lstm", "cnn", "transformer");
  torch::manual_seed(3);
  auto encoder = make_encoder(kind);
  const auto valid = torch::ones({8, 5}, torch::kBool);  // several rows: one alone may meet only dead ReLUs
  const auto x = random_doubles({8, 5, 3});
  const auto states = encoder->forward(x, valid);
  for (int64_t step = 0; step < 5; ++step) {
    auto changed = x.clone();
    changed.select(1, step).add_(1);
    const auto moved = (encoder->forward(changed, valid) - states).abs().amax({0, 2});
    CHECK((step == 0 || moved.slice(0, 0, step).max().item<double>() < 1e-14));
    CHECK(moved[step].item<double>() > 1e-6);
  }
}

TEST_CASE("SequenceEncoder: the scene embedding is added to the input") {
  auto encoder = make_encoder("gru", 3);
  const auto valid = torch::ones({2, 4}, torch::kBool);
  const auto x = random_doubles({2, 4, 3});
  const auto scene = torch::randint(0, 3, {2, 4}, torch::kLong);
  const auto states = encoder->forward(x, valid, scene);
  const auto by_hand = std::get<0>(encoder->gru->forward(x + encoder->scene_embedding->weight.index({scene})));
  CHECK_THAT(states, IsNear(by_hand, 1e-12));
}

TEST_CASE("SequenceEncoder: no rows and no steps give empty states") {
  const std::string kind = GENERATE("gru", "lstm", "cnn", "transformer");
  auto encoder = make_encoder(kind);
  CHECK(encoder->forward(random_doubles({0, 4, 3}), torch::ones({0, 4}, torch::kBool)).sizes() ==
        torch::IntArrayRef({0, 4, 4}));
  CHECK(encoder->forward(random_doubles({2, 0, 3}), torch::ones({2, 0}, torch::kBool)).sizes() ==
        torch::IntArrayRef({2, 0, 4}));
}

TEST_CASE("SequenceEncoder: a clone computes the same with tensors of its own") {
  const std::string kind = GENERATE("gru", "lstm", "cnn", "transformer");
  auto encoder = make_encoder(kind, 2);
  const auto valid = torch::ones({2, 4}, torch::kBool);
  const auto x = random_doubles({2, 4, 3});
  const auto scene = torch::zeros({2, 4}, torch::kLong);
  const auto states = encoder->forward(x, valid, scene);
  const auto copy = std::dynamic_pointer_cast<SequenceEncoderImpl>(encoder->clone());
  CHECK(copy->forward(x, valid, scene).equal(states));
  torch::NoGradGuard no_grad;
  for (auto& parameter : encoder->parameters()) {
    parameter.zero_();
  }
  CHECK(copy->forward(x, valid, scene).equal(states));
}

TEST_CASE("SequenceEncoder: exact words for wrong options and inputs") {
  using O = SequenceEncoderOptions;
  CHECK_THROWS_WITH(
      SequenceEncoder(3, O().kind("gruu")),
      StartsWith("SequenceEncoder: kind must be one of gru, lstm, cnn, transformer, got 'gruu'; did you mean 'gru'?"));
  CHECK_THROWS_WITH(SequenceEncoder(3, O().hidden(0)), StartsWith("SequenceEncoder: hidden must be positive, got 0"));
  CHECK_THROWS_WITH(SequenceEncoder(3, O().scenes(-1)),
                    StartsWith("SequenceEncoder: scenes must not be negative, got -1"));
  const auto x = random_doubles({2, 4, 3});
  const auto valid = torch::ones({2, 4}, torch::kBool);
  CHECK_THROWS_WITH(make_encoder("gru")->forward(random_doubles({2, 4, 2}), valid),
                    StartsWith("SequenceEncoder: x must be [B, T, 3], got [2, 4, 2]"));
  CHECK_THROWS_WITH(make_encoder("gru")->forward(x, padding_mask(torch::tensor({1, 2}), 4).flip(1)),
                    StartsWith("SequenceEncoder: the valid events of a row must come before its padding"));
  CHECK_THROWS_WITH(
      make_encoder("gru")->forward(x, valid, torch::zeros({2, 4}, torch::kLong)),
      StartsWith("SequenceEncoder: scene was given, but the options name no scenes; set scenes to their number"));
  CHECK_THROWS_WITH(make_encoder("gru", 2)->forward(x, valid),
                    StartsWith("SequenceEncoder: scene [B, T] is needed, since scenes is 2"));
  CHECK_THROWS_WITH(make_encoder("gru", 2)->forward(x, valid, torch::full({2, 4}, 2, torch::kLong)),
                    StartsWith("SequenceEncoder: scene must be in [0, 2), got 2 to 2"));
  CHECK_THROWS_AS(make_encoder("gru", 2)->forward(x, valid, torch::full({2, 4}, 2, torch::kLong)), c10::IndexError);
  CHECK_THROWS_WITH(
      make_encoder("transformer")->forward(random_doubles({1, 9, 3}), torch::ones({1, 9}, torch::kBool)),
      StartsWith("TransformerEncoder: sequences may have 8 steps, got 9; raise max_length or keep fewer events"));
}

TEST_CASE("last_state: the last valid state, 0 without events") {
  const auto states = torch::arange(12, torch::kFloat64).view({3, 4, 1}) + 1;
  const auto last = last_state(states, padding_mask(torch::tensor({4, 0, 2}), 4));
  CHECK_THAT(last.flatten(), IsNear(torch::tensor({4.0, 0.0, 10.0}, torch::kFloat64)));
  CHECK(last_state(torch::ones({2, 0, 3}), torch::ones({2, 0}, torch::kBool)).equal(torch::zeros({2, 3})));
}
