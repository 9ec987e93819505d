#include "polyscene/transfer/mechanisms.h"

#include "../models/tiny.h"
#include "catch.h"
#include "polyscene/models/scene/shared_bottom.h"
#include "polyscene/models/single/mf.h"
#include "polyscene/nn/alignment.h"
#include "polyscene/nn/hidden.h"
#include "polyscene/train/trainer.h"
#include "polyscene/transfer/aligned.h"
#include "polyscene/transfer/balanced.h"
#include "polyscene/transfer/consolidated.h"
#include "polyscene/transfer/drawn.h"
#include "polyscene/transfer/fine_tuned.h"
#include "polyscene/transfer/given_gradient.h"
#include "polyscene/transfer/self_taught.h"
#include "polyscene/transfer/warm_start.h"

using namespace polyscene;

namespace {

std::shared_ptr<models::SharedBottomImpl> tower() {
  torch::manual_seed(1);
  return std::make_shared<models::SharedBottomImpl>(tiny_schema(),
                                                    models::SharedBottomOptions().bottom({4}).tower({3}));
}

std::shared_ptr<models::MFImpl> pairs() {
  torch::manual_seed(1);
  return std::make_shared<models::MFImpl>(tiny_schema(), models::MFOptions().dim(2).init_std(1));
}

transfer::State parameters_of(const torch::nn::Module& model) {
  transfer::State out;
  for (const auto& entry : model.named_parameters()) out[entry.key()] = entry.value().detach().clone();
  return out;
}

}  // namespace

TEST_CASE("mechanisms: every name is found once and its options have defaults") {
  for (const auto& each : transfer::mechanisms()) {
    CHECK(transfer::find_mechanism(each.name).doc == each.doc);
    for (const auto& field : each.options()) CHECK_FALSE(field.doc.empty());
  }
  CHECK_THROWS_WITH(transfer::find_mechanism("laro"), StartsWith("transfer: mechanism must be one of migrate, "));
}

TEST_CASE("alignment: golden values") {
  CHECK(nn::reversal_strength(0.5) == Approx(0.9866142982).epsilon(1e-9));
  const auto x = numbers({0, 0, 2, 2}).view({2, 2}), y = numbers({0, 0, 2, -2}).view({2, 2});
  CHECK(nn::coral(x, y).item<double>() == Approx(2.0).epsilon(1e-14));
  const auto a = numbers({0, 1}).view({2, 1}), b = numbers({1, 2}).view({2, 1});
  CHECK(nn::mmd(a, b, {1.0}, 1.0).item<double>() == Approx(0.0388630180).epsilon(1e-8));
  CHECK_THROWS_WITH(nn::mmd(a.narrow(0, 0, 1), b), StartsWith("mmd: samples must be [n, H] and [m, H]"));
}

TEST_CASE("project_conflicts: golden values, and a zero gradient harms nobody") {
  const auto found = transfer::project_conflicts({numbers({1, 0}), numbers({-1, 1})}, {{1}, {0}});
  CHECK_THAT(found[0], IsNear(numbers({0.5, 0.5}), 1e-14));
  CHECK_THAT(found[1], IsNear(numbers({0, 1}), 1e-14));
  const auto still = transfer::project_conflicts({numbers({1, 0}), numbers({0, 0})}, {{1}, {0}});
  CHECK(torch::equal(still[0], numbers({1, 0})));
}

TEST_CASE("with_gradient: hands out what it was given") {
  const auto x = numbers({1, 2}).requires_grad_(), y = numbers({3}).requires_grad_();
  const auto out = transfer::with_gradient(numbers({7})[0], {x, y}, {numbers({5, 6}), torch::Tensor()});
  CHECK(out.item<double>() == 7);
  (2 * out).backward();
  CHECK(torch::equal(x.grad(), numbers({10, 12})));
  CHECK_FALSE(y.grad().defined());
}

TEST_CASE("HeadInput: keeps what the last output layer of that many rows read") {
  const auto model = tower();
  const auto batch = tiny_batch();
  const auto h = model->represent(batch);
  CHECK(h.sizes() == torch::IntArrayRef({8, 3}));
  CHECK_FALSE(nn::heard());
  nn::HeadInput outer(8);
  {
    const nn::HeadInput inner(9);
    CHECK(nn::heard());
    model->forward(batch);
    CHECK_FALSE(inner.value().defined());
  }
  CHECK(outer.value().defined());
}

TEST_CASE("Drawn: every scene has as many rows, the same for the same number") {
  const auto model = tower();
  const transfer::Drawn drawn("test", *model, tiny_table(model->schema_ptr()), 6, 1);
  const auto first = drawn.batch(0), again = drawn.batch(0), other = drawn.batch(1);
  CHECK(torch::equal(first.scene, torch::tensor({0, 0, 0, 1, 1, 1})));
  CHECK(torch::equal(first.row, again.row));
  CHECK_FALSE(torch::equal(first.row, other.row));
  CHECK_THROWS_WITH(transfer::Drawn("test", *model, tiny_table(), 0, 1), StartsWith("test: rows must be positive"));
}

TEST_CASE("FineTuned: blocks from tables to the head, and only the open ones move") {
  const auto model = tower();
  const auto start = parameters_of(*model);
  transfer::FineTuned tuned(model, transfer::FineTunedOptions().top(1));
  CHECK(tuned.blocks().front() == model->table_parameters());
  train::TrainOptions options;
  options.epochs(2);
  train::Trainer(options).fit(tuned, tiny_table(model->schema_ptr()), nullptr);
  for (const auto& [name, value] : start) {
    const auto& top = tuned.blocks().back();
    const bool open = std::find(top.begin(), top.end(), name) != top.end();
    CHECK((open || torch::equal(model->named_parameters()[name], value)));
  }
  CHECK_FALSE(torch::equal(model->towers->weight.back(), start.at("towers.output_weight")));
}

TEST_CASE("Consolidated: at the anchor the penalty is 0, away from it half the weighted square") {
  const auto model = pairs();
  const auto start = parameters_of(*model);
  auto away = start, ones = start;
  for (auto& [name, value] : away) value = value + 2;
  for (auto& [name, value] : ones) value = torch::full_like(value, 3);
  CHECK(transfer::Consolidated(model, start, ones).penalty().item<double>() == 0);
  const auto entries = 4 * 2 + 5 * 2 + 4 + 5 + 1;
  CHECK(transfer::Consolidated(model, away, ones).penalty().item<double>() == Approx(0.5 * 4 * entries));
  const auto plain = transfer::ConsolidatedOptions().normalize(false);
  CHECK(transfer::Consolidated(model, away, ones, plain).penalty().item<double>() == Approx(1.5 * 4 * entries));
}

TEST_CASE("Aligned and Balanced: without strength or variance they are the model") {
  const auto model = tower();
  model->eval();
  const auto batch = tiny_batch(model->schema_ptr());
  const auto wanted = model->loss(batch).item<double>();
  for (const auto* kind : {"dann", "mmd", "coral"}) {
    transfer::Aligned none(model, tiny_table(model->schema_ptr()),
                           transfer::AlignedOptions().kind(kind).strength(0).rows(8));
    CHECK(none.loss(batch).item<double>() == wanted);
  }
  transfer::Balanced balanced(model);
  CHECK(balanced.loss(batch).item<double>() == Approx(wanted).epsilon(1e-5));
  transfer::Balanced projected(model, transfer::BalancedOptions().kind("pcgrad"));
  CHECK(projected.loss(batch).item<double>() == Approx(wanted).epsilon(1e-5));
}

TEST_CASE("MeanTeacher: follows once for each step, and answers in evaluation") {
  const auto model = pairs(), mean = pairs();
  transfer::MeanTeacher taught(model, mean, tiny_table(model->schema_ptr()),
                               transfer::MeanTeacherOptions().momentum(0.9).rows(4));
  taught.train();
  taught.loss(tiny_batch(model->schema_ptr())).backward();
  {
    const torch::NoGradGuard no_grad;
    model->user->weight.add_(1);
  }
  const auto before = mean->user->weight.clone();
  taught.follow();
  taught.follow();
  CHECK_THAT(mean->user->weight, IsNear(before + 0.5, 1e-6));  // 1 - m_1 = 1 / 2, once
  taught.eval();
  CHECK(torch::equal(taught.forward(tiny_batch(model->schema_ptr())), mean->forward(tiny_batch(model->schema_ptr()))));
}

TEST_CASE("warm_start: leaves buffers and mode, and tells what does not fit") {
  const auto model = pairs();
  model->eval();
  const auto table = tiny_table(model->schema_ptr());
  const auto history = transfer::warm_start(*model, {table}, transfer::WarmStartOptions().rounds(3));
  CHECK(history.size() == 3);
  CHECK_FALSE(model->is_training());
  CHECK_THROWS_WITH(transfer::warm_start(*model, {}), StartsWith("warm_start: there must be a task, got none"));
}
