#include "polyscene/transfer/anchored.h"

#include "../models/tiny.h"
#include "catch.h"
#include "polyscene/models/single/mf.h"
#include "polyscene/nn/losses.h"
#include "polyscene/train/trainer.h"

using namespace polyscene;
using transfer::Anchored;
using transfer::AnchoredOptions;
using transfer::State;

namespace {

// A vector and a part with a mode of its own; its loss is 0.
class Vector : public models::Model {
 public:
  explicit Vector(const std::vector<double>& values) : Model(tiny_schema()) {
    theta = register_parameter("theta", numbers(values));
    part = register_module("part", torch::nn::Linear(torch::nn::LinearOptions(2, 2).bias(false)));
    register_buffer("seen", torch::tensor(3));
  }
  torch::Tensor forward(const data::Batch& batch) override { return torch::zeros({batch.size()}) + 0 * theta.sum(); }
  torch::Tensor loss(const data::Batch&) override { return 0 * theta.sum() + 0 * part->weight.sum(); }
  std::string name() const override { return "vector"; }
  OptionMap options_map() const override { return {}; }

  torch::Tensor theta;
  torch::nn::Linear part = nullptr;
};

State state_of(const torch::nn::Module& model) {
  State out;
  for (const auto& entry : model.named_parameters()) out[entry.key()] = entry.value().detach().clone();
  return out;
}

AnchoredOptions with_strength(double strength) { return AnchoredOptions().strength(strength); }

}  // namespace

TEST_CASE("Anchored: the golden migration loss and its gradient") {
  const auto model = std::make_shared<Vector>(std::vector<double>{1, 1});
  Anchored tied(model, {{{"theta", numbers({0, 0})}}, {{"theta", numbers({2, 0})}}}, with_strength(1));
  // ||theta - mean||^2 (1.0) and the spread of the anchors (1.0).
  CHECK(tied.migration_loss().item<double>() == Approx(2.0).epsilon(1e-14));
  tied.loss(tiny_batch()).backward();
  CHECK_THAT(model->theta.grad(), IsNear(numbers({0, 2}), 1e-14));
}

TEST_CASE("Anchored: equals the migration loss of nn, by entry too, and is scaled by the strength") {
  torch::manual_seed(5);
  const auto model = std::make_shared<Vector>(std::vector<double>{0.5, -2});
  const State a = {{"theta", torch::randn({2}, torch::kFloat64)}, {"part.weight", torch::randn({2, 2})}};
  const State b = {{"theta", torch::randn({2}, torch::kFloat64)}};
  const nn::NamedTensors mine = {{"theta", model->theta}, {"part.weight", model->part->weight}};
  const std::vector<nn::NamedTensors> anchors = {{a.begin(), a.end()}, {b.begin(), b.end()}};
  for (const bool per_entry : {false, true}) {
    Anchored tied(model, {a, b}, AnchoredOptions().strength(0.25).per_entry(per_entry));
    const auto expected = nn::migration_loss(mine, anchors, per_entry).item<double>();
    CHECK(tied.migration_loss().item<double>() == Approx(expected).epsilon(1e-6));
    CHECK(tied.loss(tiny_batch()).item<double>() == Approx(0.25 * expected).epsilon(1e-6));
  }
}

TEST_CASE("Anchored: names are matched, and what has no partner is told") {
  const auto model = std::make_shared<Vector>(std::vector<double>{1, 1});
  const Anchored tied(model, {{{"theta", numbers({0, 0})}, {"seen", torch::tensor(1)}, {"other", numbers({1})}}});
  CHECK(tied.unmatched() == std::vector<std::string>{"part.weight"});
  CHECK(tied.unused() == std::vector<std::string>{"other"});
  CHECK(tied.name() == "vector");
  CHECK(tied.named_parameters().keys() == model->named_parameters().keys());
  CHECK(tied.named_parameters()["part.weight"].is_same(model->part->weight));
}

TEST_CASE("Anchored: a strong tie holds the parameters, a weak one lets them go") {
  const auto schema = tiny_schema();
  const auto table = tiny_table(schema);
  train::TrainOptions options;
  options.optimizer.lr = 0.05;
  options.epochs(20).batch_size(4);
  const auto moved = [&](double strength) {
    torch::manual_seed(1);
    const auto model = std::make_shared<models::MFImpl>(schema, models::MFOptions().dim(2));
    const auto start = state_of(*model);
    Anchored tied(model, {start}, with_strength(strength));
    train::Trainer(options).fit(tied, table, nullptr);
    CHECK(model->is_training());
    return (model->user->weight - start.at("user.weight")).norm().item<double>();
  };
  const auto free = moved(0), weak = moved(0.01), held = moved(10);
  CHECK(free > 0.05);
  CHECK(weak < free);
  CHECK(held < 0.2 * weak);
}

TEST_CASE("Anchored: frozen parts do not move and stay in evaluation mode") {
  const auto schema = tiny_schema();
  torch::manual_seed(1);
  const auto model = std::make_shared<models::MFImpl>(schema, models::MFOptions().dim(2));
  const auto start = state_of(*model);
  Anchored tied(model, {start}, AnchoredOptions().frozen({"user", "item.weight"}));
  tied.train();
  CHECK_FALSE(model->user->is_training());
  CHECK(model->user_bias->is_training());
  train::TrainOptions options;
  options.epochs(2);
  train::Trainer(options).fit(tied, tiny_table(schema), nullptr);
  CHECK(torch::equal(model->user->weight, start.at("user.weight")));
  CHECK(torch::equal(model->item->weight, start.at("item.weight")));
  CHECK_FALSE(torch::equal(model->user_bias->weight, start.at("user_bias.weight")));
}

TEST_CASE("Anchored: an untouched row of a table stays where it is to the last bit") {
  const auto schema = tiny_schema();
  torch::manual_seed(1);
  const auto model = std::make_shared<models::MFImpl>(schema, models::MFOptions().dim(2).init_std(1));
  const auto start = state_of(*model);
  Anchored tied(model, {start, start, start}, with_strength(1));
  train::TrainOptions options;
  options.optimizer.optimizer = "lazy_adam";
  options.epochs(3);
  const auto rows = tiny_table(schema).take(torch::tensor({0, 1, 4}));  // user u0 alone
  train::Trainer(options).fit(tied, rows, nullptr);
  const auto still = model->user->weight.eq(start.at("user.weight")).all(1);
  CHECK(still.sum().item<int64_t>() == 3);
}

TEST_CASE("Anchored: what does not fit is told") {
  const auto model = std::make_shared<Vector>(std::vector<double>{1, 1});
  const State good = {{"theta", numbers({0, 0})}};
  CHECK_THROWS_WITH(Anchored(model, {}), StartsWith("Anchored: there must be an anchor, got none"));
  CHECK_THROWS_WITH(Anchored(model, {good}, with_strength(-1)),
                    StartsWith("Anchored: strength must be finite and not negative, got -1"));
  CHECK_THROWS_WITH(Anchored(model, {good}, AnchoredOptions().lr_scale(0)),
                    StartsWith("Anchored: lr_scale must be positive, got 0"));
  CHECK_THROWS_WITH(Anchored(model, {{{"theta", numbers({0})}}}),
                    StartsWith("Anchored: parameter 'theta' is [2], but an anchor has [1]"));
  CHECK_THROWS_WITH(Anchored(model, {{{"x", numbers({0})}}}),
                    StartsWith("Anchored: the anchors share no parameter with vector, which has: theta, part.weight"));
  CHECK_THROWS_WITH(Anchored(model, {good}, AnchoredOptions().frozen({"thet"})),
                    StartsWith("Anchored: frozen must be names or prefixes of parameters, got 'thet'"));
}
