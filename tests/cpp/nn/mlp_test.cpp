#include "polyscene/nn/mlp.h"

#include <cmath>

#include "catch.h"

using namespace polyscene::nn;

TEST_CASE("MLP: one hidden layer by hand") {
  MLP mlp(2, MLPOptions().hidden({2}).output(1));
  torch::NoGradGuard no_grad;
  auto* hidden = mlp->linears[0]->as<torch::nn::Linear>();
  hidden->weight.copy_(torch::tensor({{1.0, 1.0}, {1.0, -1.0}}));
  hidden->bias.copy_(torch::tensor({0.5, 0.0}));
  mlp->output->weight.copy_(torch::tensor({{2.0, 3.0}}));
  mlp->output->bias.fill_(-1);
  // relu(1 + 2 + .5) * 2 + relu(1 - 2) * 3 - 1
  CHECK(mlp->forward(torch::tensor({1.0F, 2.0F})).item<float>() == Approx(6));
  CHECK(mlp->output_size() == 1);
  CHECK(MLP(2, MLPOptions().hidden({4, 3}))->output_size() == 3);
}

TEST_CASE("MLP: any number of rows and leading dimensions") {
  const std::string norm = GENERATE("none", "batch", "layer");
  MLP mlp(3, MLPOptions().hidden({4, 5}).norm(norm).output(2).dropout(0.1));
  for (const bool training : {true, false}) {
    mlp->train(training);
    for (const int64_t rows : {0, 1, 2, 7}) {
      CHECK(mlp->forward(torch::randn({rows, 3})).sizes() == torch::IntArrayRef({rows, 2}));
      CHECK(mlp->forward(torch::randn({rows, 2, 3})).sizes() == torch::IntArrayRef({rows, 2, 2}));
      CHECK(torch::isfinite(mlp->forward(torch::randn({rows, 3}))).all().item<bool>());
    }
  }
  CHECK(mlp->forward(torch::randn({3})).sizes() == torch::IntArrayRef({2}));
}

TEST_CASE("MLP: batch norm normalises over all rows, and a single row uses and leaves the running statistics") {
  MLP mlp(3, MLPOptions().hidden({4}).norm("batch").activation("identity"));
  mlp->to(torch::kFloat64);
  const auto h = mlp->forward(torch::randn({5, 4, 3}, torch::kFloat64)).view({20, 4});
  CHECK_THAT(h.mean(0), IsNear(torch::zeros({4}, torch::kFloat64), 1e-9));
  CHECK_THAT(h.var(0, /*unbiased=*/false), IsNear(torch::ones({4}, torch::kFloat64), 1e-3));
  auto* norm = mlp->norms[0]->as<torch::nn::BatchNorm1d>();
  const auto mean = norm->running_mean.clone();
  CHECK(mean.abs().max().item<double>() > 0);
  const auto x = torch::randn({1, 3}, torch::kFloat64);
  const auto trained = mlp->forward(x);
  CHECK(norm->running_mean.equal(mean));
  CHECK(norm->num_batches_tracked.item<int64_t>() == 1);
  trained.sum().backward();
  CHECK(norm->weight.grad().abs().max().item<double>() > 0);
  mlp->eval();
  CHECK_THAT(trained.detach(), IsNear(mlp->forward(x).detach(), 1e-12));
}

TEST_CASE("MLP: a clone has buffers and parameters of its own") {
  MLP mlp(3, MLPOptions().hidden({4}).norm("batch"));
  mlp->forward(torch::randn({8, 3}));
  const auto copy = std::dynamic_pointer_cast<MLPImpl>(mlp->clone());
  const auto buffers = copy->named_buffers();
  for (const auto& item : mlp->named_buffers()) {
    CHECK(buffers[item.key()].equal(item.value()));
    CHECK_FALSE(buffers[item.key()].is_same(item.value()));
  }
  mlp->eval();
  copy->eval();
  const auto x = torch::randn({2, 3});
  CHECK(copy->forward(x).equal(mlp->forward(x)));
}

TEST_CASE("activate: values of each") {
  const auto x = torch::tensor({-1.0, 2.0}, torch::kFloat64);
  const auto check = [&](const char* name, double low, double high) {
    CHECK_THAT(activate(name, x), IsNear(torch::tensor({low, high}, torch::kFloat64), 1e-12));
  };
  const auto sigmoid = [](double z) { return 1 / (1 + std::exp(-z)); };
  const auto normal = [](double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); };
  check("relu", 0, 2);
  check("gelu", -normal(-1), 2 * normal(2));
  check("silu", -sigmoid(-1), 2 * sigmoid(2));
  check("tanh", std::tanh(-1), std::tanh(2));
  check("sigmoid", sigmoid(-1), sigmoid(2));
  check("leaky_relu", -0.01, 2);
  check("identity", -1, 2);
}

TEST_CASE("MLP: exact words for wrong options and inputs") {
  CHECK_THROWS_WITH(MLP(0), StartsWith("MLP: input_size must be positive, got 0"));
  CHECK_THROWS_WITH(MLP(2, MLPOptions().hidden({3, 0})), StartsWith("MLP: hidden widths must be positive, got [3, 0]"));
  CHECK_THROWS_WITH(MLP(2, MLPOptions().hidden(std::vector<int64_t>{})),
                    StartsWith("MLP: there must be a hidden layer or an output layer, got hidden [] and output 0"));
  CHECK_THROWS_WITH(MLP(2, MLPOptions().norm("bach")),
                    StartsWith("MLP: norm must be one of none, batch, layer, got 'bach'"));
  CHECK_THROWS_WITH(MLP(2, MLPOptions().activation("rel")),
                    StartsWith("MLP: activation must be one of relu, gelu, silu, tanh, sigmoid, leaky_relu, identity, "
                               "got 'rel'; did you mean 'relu'?"));
  CHECK_THROWS_WITH(MLP(2, MLPOptions().dropout(-0.5)), StartsWith("MLP: dropout must be in [0, 1), got -0.5"));
  CHECK_THROWS_WITH(MLP(2)->forward(torch::ones({4, 3})), StartsWith("MLP: x must be [..., 2], got [4, 3]"));
}
