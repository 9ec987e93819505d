#include "polyscene/models/single/dcn_v2.h"

#include "fields.h"

using namespace polyscene;
using models::DCNv2;
using models::DCNv2Options;

TEST_CASE("DCNv2: any rows, all gradients") {
  const std::string structure = GENERATE("stacked", "parallel");
  const int64_t rank = GENERATE(0, 3);
  check_field_model(
      DCNv2(tiny_schema(),
            DCNv2Options().hidden({8}).norm("layer").dropout(0).structure(structure).rank(rank).cross_layers(2)));
}

TEST_CASE("DCNv2: experts have gates in every layer") {
  DCNv2 model(tiny_schema(), DCNv2Options().hidden({8}).norm("layer").dropout(0).rank(2).experts(3));
  check_field_model(model);
  const auto parts = model->explain(tiny_batch());
  CHECK(parts.back().first == "gates");
  CHECK(parts.back().second.sizes() == torch::IntArrayRef({8, 3, 3}));
  CHECK_THAT(parts.back().second.sum(2).detach(), IsNear(torch::ones({8, 3}, torch::kFloat64), 1e-12));
}

TEST_CASE("DCNv2: a layer of zeros passes x on, one of bias 1 doubles it") {
  DCNv2 model(tiny_schema(), DCNv2Options().cross_layers(2));
  const torch::NoGradGuard no_grad;
  for (auto* list : {&model->cross_weight, &model->cross_bias}) {
    for (auto& parameter : *list) parameter.zero_();
  }
  model->eval();
  const auto before = model->explain(tiny_batch())[1].second;
  model->cross_bias[1].fill_(1);
  CHECK_THAT(model->explain(tiny_batch())[1].second, IsNear(2 * before, 1e-6));
}

TEST_CASE("DCNv2: exact words for wrong options") {
  CHECK_THROWS_WITH(DCNv2(tiny_schema(), DCNv2Options().experts(2)),
                    StartsWith("DCNv2: experts are of low rank; give a rank for 2 experts"));
  CHECK_THROWS_WITH(DCNv2(tiny_schema(), DCNv2Options().structure("stack")),
                    StartsWith("DCNv2: structure must be stacked or parallel, got 'stack'"));
}
