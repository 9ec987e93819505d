#include "polyscene/models/scene/star.h"

#include "../interest/events.h"
#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::STAR;
using models::STAROptions;

namespace {

STAROptions with(int64_t dim, double init_std) {
  STAROptions options;
  options.common.dim(dim).init_std(init_std);
  return options;
}

// Without embeddings, hidden layers, auxiliary network and biases: what is left is set by hand.
STAR blank() {
  STAR model(tiny_schema(), with(1, 0).hidden({}));
  const torch::NoGradGuard no_grad;
  for (auto& parameter : model->parameters()) parameter.zero_();
  return model;
}

}  // namespace

TEST_CASE("STAR: weights are products of shared and scene ones") {
  auto model = blank();
  model->eval();
  {
    const torch::NoGradGuard no_grad;
    model->scale.fill_(1);
    model->layers[0].weight[0][0][0][2] = 3;         // of the numeric column
    model->layers[0].scene_weight[1][0][0][2] = -3;  // scene 1 reads it with 3 (1 - 3)
    model->layers[0].bias.fill_(0.5);
    model->layers[0].scene_bias[0][0] = 1;
  }
  auto batch = tiny_batch();
  batch.numeric = torch::ones({8, 1});
  const double unit = 1 / std::sqrt(1 + 1e-5);
  const auto first = 3 * unit + 1.5, second = -6 * unit + 0.5;
  const auto wanted = torch::tensor({first, first, first, first, first, second, second, second});
  CHECK_THAT(model->forward(batch).to(torch::kFloat64), IsNear(wanted.to(torch::kFloat64), 1e-5));
}

TEST_CASE("STAR: training normalises a scene by its own rows and keeps a tenth of their mean") {
  auto model = blank();
  {
    const torch::NoGradGuard no_grad;
    model->scale.fill_(1);
    model->layers[0].weight[0][0][0][2] = 1;
  }
  auto batch = tiny_batch();
  batch.numeric = torch::tensor({0.f, 0.f, 1.f, 2.f, 2.f, 10.f, 20.f, 30.f}).unsqueeze(1);
  const auto out = model->forward(batch);
  CHECK(out.slice(0, 0, 5).mean().item<double>() == Approx(0).margin(1e-6));
  CHECK_THAT(out.slice(0, 5), IsNear(torch::tensor({-1.f, 0.f, 1.f}) * std::sqrt(1.5), 1e-5));
  CHECK_THAT(model->running_mean.select(1, 2), IsNear(torch::tensor({0.1f, 2.f}), 1e-6));
  CHECK_THAT(model->running_var.select(1, 2), IsNear(torch::tensor({1.f, 10.9f}), 1e-5));
}

TEST_CASE("STAR: scenes begin as one network") {
  STAR model(tiny_schema(), with(16, 0.5));
  model->eval();
  auto batch = tiny_batch();
  const auto before = model->explain(batch)[1].second;
  batch.scene = 1 - batch.scene;
  CHECK_THAT(model->explain(batch)[1].second, IsNear(before, 1e-6));
}

TEST_CASE("STAR: the reference's star cannot be negative") {
  STAR model(tiny_schema(), STAROptions().reference(true));
  scramble(*model);
  const auto found = model->explain(tiny_batch());
  CHECK(found[1].first == "star");
  CHECK(found[1].second.min().item<double>() >= 0);
  CHECK(model->running_mean.size(0) == 1);
  CHECK_FALSE(model->auxiliary_scene.defined());
}
