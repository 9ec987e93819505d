#include "polyscene/models/single/xdeepfm.h"

#include "fields.h"

using namespace polyscene;
using models::XDeepFM;
using models::XDeepFMOptions;

TEST_CASE("XDeepFM: any rows, all gradients") {
  check_field_model(XDeepFM(tiny_schema(), XDeepFMOptions().cin({4, 3}).hidden({8}).dropout(0)));
}

TEST_CASE("XDeepFM: one feature map of ones adds up all products of fields") {
  XDeepFM model(tiny_schema(), XDeepFMOptions().cin({1}));
  model->to(torch::kFloat64);
  const torch::NoGradGuard no_grad;
  model->cin_weight[0].fill_(1);
  model->cin_head.fill_(1);
  model->numeric_embedding.zero_();
  model->scene_embedding.zero_();
  model->embedding->weight.fill_(0.5);
  const auto parts = model->explain(tiny_batch());
  CHECK(parts[2].first == "cin");
  // 16 components, each (0.5 + 0.5)^2
  CHECK_THAT(parts[2].second, IsNear(torch::full({8}, 16.0, torch::kFloat64), 1e-10));
}
