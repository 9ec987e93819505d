#include "polyscene/models/follower.h"

#include "catch.h"
#include "polyscene/models/sequence/gru4rec.h"
#include "polyscene/models/sequence/sasrec.h"
#include "polyscene/models/single/popularity.h"
#include "sequence/tiny_sequences.h"

using namespace polyscene;

namespace {

template <typename Holder, typename Options>
std::shared_ptr<models::SequenceModel> followed_model(const data::Table& table, Options options) {
  torch::manual_seed(1);
  options.common.dim(4).max_length(3);
  Holder out(table.schema_ptr(), options);
  out->prepare(table);
  return out.ptr();
}

}  // namespace

TEST_CASE("Follower: an event at a time gives what all events give, beyond max_length too") {
  const auto table = sequence_table();
  const std::vector<std::shared_ptr<models::SequenceModel>> known = {
      followed_model<models::GRU4Rec>(table, models::GRU4RecOptions().hidden(5)),
      followed_model<models::SASRec>(table, models::SASRecOptions().positions("oldest")),
      followed_model<models::SASRec>(table, models::SASRecOptions())};
  const auto items = models::scene_items(*known[0], 1);
  for (const auto& model : known) {
    models::Follower follower(model);
    CHECK(follower.state(1).count_nonzero().item<int64_t>() == 0);
    std::vector<int64_t> rows;
    for (int64_t n = 1; n <= 7; ++n) {
      const int64_t item = 2 + n % 3, scene = n % 2;
      rows.push_back(item);
      follower.add(item, scene);
      data::Events all;
      all.offsets = torch::tensor({int64_t{0}, n});
      all.item = torch::tensor(rows, torch::kInt64).to(torch::kInt32);
      all.scene = torch::arange(1, n + 1).remainder(2);
      all.label = torch::ones({n});
      all.time = torch::zeros({n}, torch::kInt64);
      const torch::NoGradGuard no_grad;
      const models::EvaluationMode evaluating(*model);
      CHECK_THAT(follower.scores(1), IsNear(model->score_events(all, 1, items).squeeze(0), 1e-6));
    }
    CHECK(follower.events() == 7);
    CHECK(torch::equal(follower.items(), torch::tensor(rows, torch::kInt64)));
  }
}

TEST_CASE("Follower: rows outside the vocabulary, and models without states, are refused") {
  const auto table = sequence_table();
  models::Follower follower(followed_model<models::GRU4Rec>(table, models::GRU4RecOptions()));
  CHECK_THROWS_WITH(follower.add(1000, 0), StartsWith("Follower: item must be a row in [0, "));
  CHECK_THROWS_WITH(follower.add(2, 9), StartsWith("Follower: scene must be in [0, "));
  CHECK_THROWS_WITH(models::Follower(std::make_shared<models::PopularityImpl>(table.schema_ptr())),
                    StartsWith("session: popularity has no state after each event"));
}

TEST_CASE("SequenceModel: a model that does not remember says so") {
  const auto table = sequence_table();
  const auto model = followed_model<models::SASRec>(table, models::SASRecOptions());
  models::Memory memory;
  CHECK_FALSE(model->remembers());
  CHECK_THROWS_WITH(model->next_state(2, memory), StartsWith("sasrec does not remember"));
}
