#include "polyscene/transfer/low_rank.h"

#include "../models/tiny.h"
#include "catch.h"
#include "polyscene/models/single/mf.h"
#include "polyscene/train/trainer.h"

using namespace polyscene;
using transfer::LowRank;
using transfer::LowRankOptions;

namespace {

std::shared_ptr<models::MFImpl> factors() {
  torch::manual_seed(1);
  return std::make_shared<models::MFImpl>(tiny_schema(), models::MFOptions().dim(4).init_std(1));
}

LowRankOptions of_rank(int64_t rank) {
  return LowRankOptions().rank(rank).alpha(2.0 * rank).parameters({"user.weight", "item.weight"});
}

torch::Tensor named(const torch::nn::Module& model, const std::string& name) { return model.named_parameters()[name]; }

}  // namespace

TEST_CASE("LowRank: starts as the model, and adds the product scaled by alpha over rank") {
  const auto model = factors();
  const auto before = model->user->weight.detach().clone();
  const auto wanted = model->forward(tiny_batch()).detach();
  LowRank low(model, of_rank(1));
  CHECK(low.matrices() == std::vector<std::string>{"user.weight", "item.weight"});
  CHECK(torch::equal(low.forward(tiny_batch()), wanted));
  const torch::NoGradGuard no_grad;
  const auto up = named(low, "low_rank.user.weight.up"), down = named(low, "low_rank.user.weight.down");
  CHECK(up.sizes() == torch::IntArrayRef({4, 1}));
  CHECK(down.sizes() == torch::IntArrayRef({1, 4}));
  up.fill_(0.5);
  low.forward(tiny_batch());
  CHECK_THAT(model->user->weight, IsNear(before + 2 * up.mm(down), 1e-6));
  CHECK(torch::equal(low.base().at("user.weight"), before));
  CHECK_THAT(low.merged().at("user.weight"), IsNear(before + 2 * up.mm(down), 1e-6));
}

TEST_CASE("LowRank: the gradient reaches the factors alone, dense and sparse alike") {
  std::vector<torch::Tensor> found;
  for (const bool sparse : {false, true}) {
    const auto model = factors();
    torch::manual_seed(2);
    LowRank low(model, of_rank(2));
    {
      const torch::NoGradGuard no_grad;
      named(low, "low_rank.user.weight.up").fill_(0.1);
    }
    low.sparse_gradients(sparse);
    low.loss(tiny_batch()).backward();
    const auto up = named(low, "low_rank.user.weight.up").grad();
    CHECK(up.is_sparse() == sparse);
    found.push_back(sparse ? up.to_dense() : up);
    found.push_back(named(low, "low_rank.user.weight.down").grad());
    CHECK_FALSE(model->mean.grad().defined());
  }
  CHECK_THAT(found[2], IsNear(found[0], 1e-6));
  CHECK_THAT(found[3], IsNear(found[1], 1e-6));
  CHECK(found[1].abs().sum().item<double>() > 0);
}

TEST_CASE("LowRank: in evaluation the matrices are plain tensors") {
  const auto model = factors();
  LowRank low(model, of_rank(1));
  low.loss(tiny_batch()).backward();
  low.eval();
  CHECK(model->user->weight.is_leaf());
  CHECK_FALSE(model->user->weight.requires_grad());
}

TEST_CASE("LowRank: training moves the factors and leaves the base") {
  const auto model = factors();
  const auto before = model->user->weight.detach().clone();
  LowRank low(model, of_rank(1));
  train::TrainOptions options;
  options.optimizer.lr = 0.05;
  options.epochs(5).batch_size(4);
  train::Trainer(options).fit(low, tiny_table(model->schema_ptr()), nullptr);
  CHECK(torch::equal(low.base().at("user.weight"), before));
  CHECK_FALSE(torch::allclose(model->user->weight, before));
}

TEST_CASE("LowRank: what does not fit is told") {
  CHECK_THROWS_WITH(LowRank(factors(), LowRankOptions().rank(0)), StartsWith("LowRank: rank must be positive, got 0"));
  CHECK_THROWS_WITH(LowRank(factors(), LowRankOptions().alpha(-1)),
                    StartsWith("LowRank: alpha must be finite and not negative, got -1"));
  CHECK_THROWS_WITH(LowRank(factors(), LowRankOptions().rank(50)),
                    StartsWith("LowRank: mf has no matrix for which rank 50 is a saving"));
}
