#include "polyscene/models/scene/m3oe.h"

#include <cmath>

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::M3oE;
using models::M3oEOptions;

namespace {

double balance(M3oE& model, const data::Batch& batch, int64_t row, int64_t expert) {
  return model->explain(batch).back().second[row][expert].item<double>();
}

}  // namespace

TEST_CASE("M3oE: experts of scenes share what is left over") {
  M3oE model(tiny_schema(), M3oEOptions().experts(2));
  {
    torch::NoGradGuard no_grad;
    model->scene_own.fill_(std::log(4.0));    // 0.8
    model->scene_share.fill_(0);              // 0.5
    model->task_own.fill_(std::log(3.0));     // 0.75
    model->task_share.fill_(-std::log(4.0));  // 0.2
  }
  const auto batch = tiny_batch();  // rows 5 to 7 are of the second scene
  CHECK(model->forward(batch).sizes() == at::IntArrayRef{8});
  CHECK(balance(model, batch, 0, 0) == Approx(0.4));
  CHECK(balance(model, batch, 0, 1) == Approx(0.1));
  CHECK(balance(model, batch, 5, 0) == Approx(0.1));
  CHECK(balance(model, batch, 5, 1) == Approx(0.4));
  CHECK(balance(model, batch, 5, 2) == Approx(0.15));
}

TEST_CASE("M3oE: one scene has no others to add") {
  auto schema = std::make_shared<data::Schema>(*tiny_schema());
  schema->scenes = {"phone"};
  auto batch = tiny_batch();
  batch.scene = torch::zeros_like(batch.scene);
  M3oE model(schema);
  batch.schema_digest = schema->digest();
  CHECK(balance(model, batch, 0, 0) == Approx(0.7310586 * 0.7310586));
  model->loss(batch).backward();
  for (const auto& parameter : model->parameters()) CHECK(parameter.grad().isfinite().all().item<bool>());
  CHECK(model->scene_own.grad().item<double>() != 0);
}
