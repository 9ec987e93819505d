#pragma once

#include "../tiny.h"
#include "catch.h"

/// What every single-scene model keeps: shapes for any number of rows, rows on their own in evaluation, a finite loss
/// whose gradients reach all parameters.
template <typename Holder>
void check_field_model(Holder model) {
  model->to(torch::kFloat64);
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.add_(0.2 * torch::randn_like(parameter));
  }
  const auto batch = tiny_batch(model->schema_ptr());
  model->loss(batch).backward();
  for (const auto& parameter : model->named_parameters()) {
    INFO(parameter.key());
    CHECK(parameter.value().grad().abs().max().template item<double>() > 0);
  }
  for (const int64_t rows : {0, 1}) {
    const auto few = batch.take(torch::arange(rows));
    CHECK(model->forward(few).sizes() == torch::IntArrayRef({rows}));
    CHECK(std::isfinite(model->loss(few).template item<double>()));
  }
  model->eval();
  const auto whole = model->forward(batch);
  const auto turned = torch::arange(8).flip(0);
  CHECK_THAT(model->forward(batch.take(turned)), IsNear(whole.index_select(0, turned), 1e-12));
  CHECK_THAT(model->forward(batch.take(torch::tensor({6}))), IsNear(whole.narrow(0, 6, 1), 1e-12));
}
