#include "polyscene/models/multi/specialist.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::SpecialistImpl;
using models::SpecialistOptions;

namespace {

SpecialistOptions small_specialist() { return SpecialistOptions().settings("{\"dim\": 2, \"init_std\": 1}"); }

}  // namespace

TEST_CASE("Specialist: each row is answered by the model of its scene") {
  torch::manual_seed(2);
  const auto schema = tiny_schema();
  SpecialistImpl model(schema, small_specialist().scenes({"tablet"}));
  const auto batch = tiny_batch(schema);  // five rows of the phone, three of the tablet
  const auto out = model.forward(batch), general = model.general->forward(batch),
             special = model.special->forward(batch);
  CHECK_THAT(out.slice(0, 0, 5), IsNear(general.slice(0, 0, 5)));
  CHECK_THAT(out.slice(0, 5), IsNear(special.slice(0, 5)));
  CHECK((general - special).abs().min().item<float>() > 1e-4);
  const auto mixed = torch::tensor({6, 0, 7, 2});
  CHECK_THAT(model.forward(batch.take(mixed)), IsNear(out.index_select(0, mixed)));
}

TEST_CASE("Specialist: the loss is the mean over the rows of both, by their weights") {
  torch::manual_seed(2);
  const auto schema = tiny_schema();
  SpecialistImpl model(schema, small_specialist().settings("{\"embedding_l2\": 0}").scenes({"tablet"}));
  auto batch = tiny_batch(schema);
  CHECK(model.loss(batch).item<double>() == Approx(model.task_loss(model.forward(batch), batch).item<double>()));
  batch.weight = torch::tensor({1.f, 2.f, 0.f, 1.f, 1.f, 5.f, 1.f, 0.5f});
  CHECK(model.loss(batch).item<double>() == Approx(model.task_loss(model.forward(batch), batch).item<double>()));
}

TEST_CASE("Specialist: without scenes the smallest is special; only its model learns from its rows") {
  const auto schema = tiny_schema();
  SpecialistImpl model(schema, small_specialist());
  const auto tablet = tiny_batch(schema).take(torch::tensor({5, 6, 7}));
  model.loss(tablet).backward();
  for (const auto& entry : model.named_parameters()) {
    CHECK(entry.value().grad().defined() == entry.key().starts_with("special."));
  }
}

TEST_CASE("Specialist: what does not fit is told") {
  const auto schema = tiny_schema();
  CHECK_THROWS_WITH(SpecialistImpl(schema, small_specialist().scenes({"watch"})), ContainsSubstring("watch"));
  CHECK_THROWS_WITH(SpecialistImpl(schema, SpecialistOptions().model("specialist")),
                    StartsWith("Specialist: model must be a plain model"));
  CHECK_THROWS_WITH(SpecialistImpl(schema, SpecialistOptions().settings("{\"dims\": 2}")),
                    ContainsSubstring("unknown option 'dims'"));
  CHECK_THROWS_WITH(SpecialistImpl(schema, SpecialistOptions().settings("{")), StartsWith("Specialist: settings"));
}
