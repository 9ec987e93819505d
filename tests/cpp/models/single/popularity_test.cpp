#include "polyscene/models/single/popularity.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::Popularity;
using models::PopularityOptions;

TEST_CASE("Popularity: rates by hand") {
  Popularity model(tiny_schema(), PopularityOptions().smoothing(2));
  CHECK(model->fit_closed_form(tiny_table()));
  // Item i0 (row 2) has labels 1, 1 on the phone and 0 on the tablet; the mean label is 1/2.
  const double overall = (2 + 2 * 0.5) / (3 + 2);
  CHECK(model->rate[0][2].item<double>() == Approx((2 + 2 * overall) / (2 + 2)));
  CHECK(model->rate[1][2].item<double>() == Approx((0 + 2 * overall) / (1 + 2)));
  CHECK(model->rows[0][2].item<double>() == 2);
  const auto out = model->forward(tiny_batch());
  CHECK_THAT(out.sigmoid()[0], IsNear(model->rate[0][2]));
  CHECK_THAT(out.sigmoid()[6], IsNear(model->rate[1][2]));
}

TEST_CASE("Popularity: scope overall does not look at the scene") {
  Popularity model(tiny_schema(), PopularityOptions().scope("overall").smoothing(2));
  model->fit_closed_form(tiny_table());
  const auto out = model->forward(tiny_batch());
  CHECK(out[0].item<float>() == out[6].item<float>());
  CHECK(model->rate.size(0) == 1);
}

TEST_CASE("Popularity: a rating is the smoothed mean itself") {
  const auto schema = tiny_schema("rating");
  Popularity model(schema, PopularityOptions().smoothing(2));
  model->fit_closed_form(tiny_table(schema));
  CHECK_THAT(model->forward(tiny_batch(schema))[0], IsNear(model->rate[0][2]));
}

TEST_CASE("Popularity: nothing is left to optimise") {
  Popularity model(tiny_schema());
  CHECK(model->parameters().empty());
  CHECK(model->buffers().size() == 2);
}

TEST_CASE("Popularity: an unknown scope is refused") {
  CHECK_THROWS_WITH(Popularity(tiny_schema(), PopularityOptions().scope("user")),
                    StartsWith("Popularity: scope must be 'scene' or 'overall', got 'user'"));
}
