#include "polyscene/models/single/logistic.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::Logistic;
using models::LogisticOptions;

TEST_CASE("Logistic: starts at the log-odds of the training labels") {
  Logistic model(tiny_schema());
  CHECK_THAT(model->forward(tiny_batch()), IsNear(torch::zeros({8})));  // half of the labels are 1
  CHECK(model->table_parameters() == std::vector<std::string>{"fields.weight"});
}

TEST_CASE("Logistic: the logit is the sum of the weights") {
  Logistic model(tiny_schema());
  const auto batch = tiny_batch();
  {
    torch::NoGradGuard no_grad;
    model->fields->weight.copy_(torch::arange(9, torch::kFloat32).unsqueeze(1));  // users 0-3, items 4-8
    model->scene.copy_(torch::tensor({100.f, 200.f}));
    model->numeric.fill_(1000.f);
    model->bias.fill_(0.5f);
  }
  // Row 5: user u1 is row 3 of its field, item i1, the rarest, row 4 of the second, which starts at 4; on the tablet.
  const auto price = batch.numeric[5][0].item<float>();
  CHECK(model->forward(batch)[5].item<float>() == Approx(3 + 8 + 200 + 1000 * price + 0.5f));
}

TEST_CASE("Logistic: the penalty counts looked-up rows only") {
  const double l2 = 0.3;
  Logistic plain(tiny_schema());
  Logistic penalised(tiny_schema(), LogisticOptions().embedding_l2(l2));
  for (auto* model : {&plain, &penalised}) {
    torch::NoGradGuard no_grad;
    (*model)->fields->weight.fill_(2);
    (*model)->scene.fill_(1);
  }
  const auto batch = tiny_batch().take(torch::tensor({0, 3}));
  const auto extra = penalised->loss(batch).item<double>() - plain->loss(batch).item<double>();
  CHECK(extra == Approx(0.5 * l2 * (2 * 4 + 1)).epsilon(1e-5));
}

TEST_CASE("Logistic: a batch of another schema is refused") {
  Logistic model(tiny_schema());
  const auto other = tiny_batch(tiny_schema("rating"));
  CHECK_THROWS_WITH(model->forward(other), ContainsSubstring("logistic: the batch was encoded with schema"));
}

TEST_CASE("Logistic: a negative penalty is refused") {
  CHECK_THROWS_WITH(Logistic(tiny_schema(), LogisticOptions().embedding_l2(-1)),
                    StartsWith("Logistic: embedding_l2 must be 0 or more, got -1"));
}
