#include "polyscene/models/scene/adapt_dhm.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::AdaptDHM;
using models::AdaptDHMOptions;

TEST_CASE("order_by: rows of each code together, in their order, and back") {
  const auto code = torch::tensor({2, 0, 2, 0, 3}, torch::kInt64);
  const auto order = nn::order_by(code, 4);
  CHECK(order.groups.offsets == std::vector<int64_t>{0, 2, 2, 4, 5});
  CHECK(order.order.equal(torch::tensor({1, 3, 0, 2, 4}, torch::kInt64)));
  const auto rows = torch::arange(10, torch::kFloat64).view({5, 2}).requires_grad_();
  CHECK(order.unsort(order.sort(rows)).equal(rows));
  const auto weight = torch::arange(10, torch::kFloat64).view({5, 2}) * 10;
  (order.sort(rows) * weight).sum().backward();
  CHECK(rows.grad().equal(weight.index_select(0, order.back)));
  CHECK(nn::order_by(code.narrow(0, 0, 0), 2).groups.offsets == std::vector<int64_t>{0, 0, 0});
  CHECK_THROWS_WITH(nn::order_by(code, 3), ContainsSubstring("order_by: codes are 0..2, got 3 in row 4"));
}

TEST_CASE("AdaptDHM: a row goes through the network of its nearest centre") {
  AdaptDHM model(tiny_schema(), AdaptDHMOptions().clusters(2).hidden({}));
  {
    torch::NoGradGuard no_grad;
    model->embedding->weight.fill_(1);
    model->centres.zero_();
    model->centres[0][-1] = 1;  // rows whose price is above the mean
    model->centres[1][-1] = -1;
    model->shared_weight[0].fill_(0);
    model->shared_bias[0].fill_(0.5);
    model->bias[0].copy_(torch::tensor({{1.f}, {2.f}}));
  }
  model->eval();
  CHECK_THAT(model->forward(tiny_batch()), IsNear(torch::tensor({2.5f, 2.5f, 2.5f, 2.5f, 1.5f, 1.5f, 1.5f, 1.5f})));
  const auto before = model->centres.clone();
  model->forward(tiny_batch());
  CHECK(model->centres.equal(before));
  model->train();
  model->forward(tiny_batch());
  CHECK_FALSE(model->centres.equal(before));
  CHECK_THAT(model->centres.norm(2, 1), IsNear(torch::ones({2})));
}
