#include "polyscene/models/interest/attention_transfer.h"

#include "catch.h"
#include "events.h"

using namespace polyscene;
using models::AttentionTransfer;
using models::AttentionTransferOptions;

namespace {

AttentionTransferOptions small_transfer() { return AttentionTransferOptions().dim(4).hidden(6).points(5); }

bool has_prefix(const std::string& name, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const auto& prefix) { return name == prefix || name.starts_with(prefix + "."); });
}

}  // namespace

TEST_CASE("AttentionTransfer: the smallest scene is the target, the others are the sources") {
  AttentionTransfer model(tiny_schema(), small_transfer());
  CHECK(model->target() == 1);
  const auto phases = model->phases();
  REQUIRE(phases.size() == 2);
  CHECK(phases[0].name == "source");
  CHECK(phases[0].scenes == std::vector<std::string>{"phone"});
  CHECK(phases[1].name == "target");
  CHECK(phases[1].scenes == std::vector<std::string>{"tablet"});
  AttentionTransfer other(tiny_schema(), small_transfer().target("phone").target_lr(0.5));
  CHECK(other->phases()[0].scenes == std::vector<std::string>{"tablet"});
  CHECK(other->phases()[1].scenes == std::vector<std::string>{"phone"});
  CHECK(other->phases()[1].lr_scale == 0.5);
}

TEST_CASE("AttentionTransfer: every parameter moves in exactly one phase") {
  AttentionTransfer model(tiny_schema(), small_transfer());
  const auto phases = model->phases();
  for (const auto& entry : model->named_parameters()) {
    CHECK(has_prefix(entry.key(), phases[0].frozen) != has_prefix(entry.key(), phases[1].frozen));
  }
}

TEST_CASE("AttentionTransfer: other ways of training have one phase and no deltas") {
  CHECK(AttentionTransfer(tiny_schema(), small_transfer().training("joint"))->phases()[0].scenes.empty());
  AttentionTransfer alone(tiny_schema(), small_transfer().training("target"));
  CHECK(alone->phases().size() == 1);
  CHECK(alone->phases()[0].scenes == std::vector<std::string>{"tablet"});
  CHECK(alone->target_embedding.is_empty());
  AttentionTransfer single(one_scene_schema(), small_transfer());
  CHECK(single->phases().size() == 1);
  CHECK(single->phases()[0].scenes.empty());
  CHECK(single->target_output.is_empty());
}

TEST_CASE("AttentionTransfer: the target starts with the answers of the sources") {
  AttentionTransfer model(tiny_schema(), small_transfer().dropout(0));
  {
    const torch::NoGradGuard no_grad;
    torch::manual_seed(2);
    for (const auto& entry : model->named_parameters()) {
      if (!entry.key().starts_with("target_")) entry.value().add_(torch::randn_like(entry.value()) * 0.3);
    }
  }
  auto moved = tiny_followed();
  const auto before = model->forward(moved);
  moved.scene = torch::zeros_like(moved.scene);  // as rows of the source
  const auto bias = model->scene_bias.index_select(0, tiny_batch().scene) - model->scene_bias[0];
  CHECK_THAT(before - bias, IsNear(model->forward(moved), 1e-6));
}

TEST_CASE("AttentionTransfer: deltas move rows of the target and no other") {
  AttentionTransfer model(tiny_schema(), small_transfer());
  model->eval();
  scramble(*model);
  const auto batch = tiny_followed();
  const auto before = model->forward(batch).clone();
  {
    const torch::NoGradGuard no_grad;
    for (const auto& entry : model->named_parameters()) {
      if (entry.key().starts_with("target_")) entry.value().add_(1);
    }
  }
  const auto moved = (model->forward(batch) - before).abs() > 1e-4;
  CHECK(moved.equal(batch.scene.eq(1)));
}

TEST_CASE("AttentionTransfer: without attention it is the same network without its attentions") {
  AttentionTransfer with(tiny_schema(), small_transfer()), without(tiny_schema(), small_transfer().attention(false));
  std::vector<std::string> missing;
  for (const auto& entry : with->named_parameters()) {
    if (without->named_parameters().find(entry.key()) == nullptr) missing.push_back(entry.key());
  }
  CHECK(missing == std::vector<std::string>{"attention.query_projection.weight", "attention.query_projection.bias",
                                            "attention.key_projection.weight", "attention.key_projection.bias",
                                            "attention.value_projection.weight", "attention.value_projection.bias",
                                            "attention.output_projection.weight", "attention.output_projection.bias",
                                            "head.attention.gate.weight", "target_gate.weight"});
  CHECK(without->named_parameters().size() + missing.size() == with->named_parameters().size());
}

TEST_CASE("AttentionTransfer: L2 falls on looked-up rows of the source and on deltas of the target") {
  AttentionTransfer plain(tiny_schema(), small_transfer().dropout(0).embedding_l2(0));
  AttentionTransfer penalised(tiny_schema(), small_transfer().dropout(0).embedding_l2(0.2));
  for (auto* model : {&plain, &penalised}) {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : (*model)->parameters()) parameter.fill_(0.1);
    (*model)->embedding->weight.fill_(2);
    (*model)->target_embedding->weight.fill_(3);
  }
  const auto batch = tiny_followed().take(torch::tensor({0, 1, 5}));  // two rows of the source, one of the target
  const auto extra = penalised->loss(batch).item<double>() - plain->loss(batch).item<double>();
  CHECK(extra == Approx(0.5 * 0.2 / 3 * (2 * 2 * 4 * 4 + 2 * 4 * 9)).epsilon(1e-4));
}

TEST_CASE("AttentionTransfer: data without users and items is attended over its fields") {
  const auto schema = anonymous_schema();
  AttentionTransfer model(schema, small_transfer());
  CHECK(model->history_length() == 0);
  CHECK(model->forward(tiny_batch(schema)).isfinite().all().item<bool>());
  const auto found = model->explain(tiny_batch(schema));
  CHECK(found.size() == 3);
  CHECK(found[0].second.gt(0).any().item<bool>());
}

TEST_CASE("AttentionTransfer: scores of candidates are those of rows with the events of their users") {
  AttentionTransfer model(tiny_schema(), small_transfer());
  model->eval();
  scramble(*model);
  check_scores(*model);
}

TEST_CASE("AttentionTransfer: wrong options are refused") {
  CHECK_THROWS_WITH(
      AttentionTransfer(tiny_schema(), small_transfer().training("tranfer")),
      ContainsSubstring("AttentionTransfer: training must be one of transfer, joint, target, got 'tranfer'"));
  CHECK_THROWS_WITH(AttentionTransfer(tiny_schema(), small_transfer().target("tv")), ContainsSubstring("tv"));
  CHECK_THROWS_WITH(AttentionTransfer(tiny_schema(), small_transfer().sources({"tablet"})),
                    StartsWith("AttentionTransfer: the target scene 'tablet' cannot be a source as well"));
  CHECK_THROWS_WITH(AttentionTransfer(tiny_schema(), small_transfer().heads(3)),
                    StartsWith("AttentionTransfer: heads must divide dim, got 3 heads and dim 4"));
  CHECK_THROWS_WITH(AttentionTransfer(tiny_schema(), small_transfer().dropout(1)),
                    StartsWith("AttentionTransfer: dropout must be in [0, 1), got 1"));
  CHECK_THROWS_WITH(AttentionTransfer(tiny_schema(), small_transfer().target_lr(0)),
                    StartsWith("AttentionTransfer: target_lr must be positive, got 0"));
}
