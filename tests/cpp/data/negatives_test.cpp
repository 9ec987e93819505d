#include "polyscene/data/negatives.h"

#include "../models/cross/tiny_ranking.h"
#include "catch.h"

using namespace polyscene;

namespace {

struct Tiny {
  std::shared_ptr<const data::Schema> schema = tiny_ranking_schema();
  data::Batch batch = tiny_batch(schema);
  std::shared_ptr<const data::Interactions> known = data::Interactions::of(tiny_table(schema));
  RandomStream stream{1, "negatives"};
};

}  // namespace

TEST_CASE("negatives: columns of another layout are drawn for alike") {
  for (const char* from : {"uniform", "popularity", "in_batch"}) {
    Tiny tiny;
    const data::Negatives source(tiny.known, {5, from});
    const auto expected = source.draw(tiny.batch, tiny.stream);
    const auto spread = [](const torch::Tensor& column) {
      return torch::stack({column, torch::zeros_like(column)}, 1).select(1, 0);
    };
    for (auto* column : {&tiny.batch.user, &tiny.batch.item, &tiny.batch.scene, &tiny.batch.row}) {
      *column = spread(*column);
    }
    CHECK(source.draw(tiny.batch, tiny.stream).equal(expected));
  }
}

TEST_CASE("negatives: users, items and scenes that are none are refused") {
  const auto refused = [](torch::Tensor data::Batch::*column, int64_t value, const std::string& message) {
    Tiny tiny;
    tiny.batch.*column = (tiny.batch.*column).clone();
    (tiny.batch.*column)[3] = value;
    const data::Negatives source(tiny.known, {2, "in_batch"});
    CHECK_THROWS_WITH(source.draw(tiny.batch, tiny.stream), ContainsSubstring(message));
  };
  refused(&data::Batch::user, 4, "negatives: users of the batch must be in [0, 4), got 2 to 4");
  refused(&data::Batch::user, -1, "negatives: users of the batch must be in [0, 4), got -1 to 3");
  refused(&data::Batch::item, 5, "negatives: items of the batch must be in [0, 5), got 2 to 5");
  refused(&data::Batch::scene, 2, "negatives: scenes of the batch must be in [0, 2), got 0 to 2");
  Tiny tiny;
  tiny.batch.user = tiny.batch.user.slice(0, 0, 5);
  CHECK_THROWS_WITH(data::Negatives(tiny.known, {1}).draw(tiny.batch, tiny.stream),
                    ContainsSubstring("negatives: users of the batch must be 8, got 5"));
}

TEST_CASE("negatives: nobody gets what they met while there is anything else") {
  Tiny tiny;
  const auto drawn = data::Negatives(tiny.known, {50}).draw(tiny.batch, tiny.stream);
  for (int64_t b = 0; b < 8; ++b) {
    const auto s = tiny.batch.scene[b].item<int64_t>(), u = tiny.batch.user[b].item<int64_t>();
    const auto& scene = tiny.known->scene(s);
    if (scene.degree(u) == scene.candidates.numel()) continue;
    for (int64_t j = 0; j < 50; ++j) CHECK_FALSE(scene.contains(u, drawn[b][j].item<int64_t>()));
  }
}
