#include "polyscene/nn/center_head.h"

#include "catch.h"

using namespace polyscene::nn;

namespace {

// One box of 8 x 4 pixels in the second of two images, centre (9, 7), of class 1.
Boxes one_center_box() {
  return {torch::tensor({{5.F, 5.F, 13.F, 9.F}}),
          torch::tensor({1}, torch::kInt64),
          torch::tensor({0, 0, 1}, torch::kInt64),
          {}};
}

}  // namespace

TEST_CASE("gaussian_radius: both corners inside by 1 leave 8 x 8 of 10 x 10") {
  CHECK(gaussian_radius(10, 10, 0.64) == Approx(1));
  CHECK(gaussian_radius(6, 4, 8.0 / 24) == Approx(1));
}

TEST_CASE("CenterHead: the targets of one box by hand") {
  CenterHead head(3, 2, CenterHeadOptions().stride(4));
  const auto found = head->targets(one_center_box(), 3, 4);
  CHECK_THAT(found.cells, IsNear(torch::tensor({{1, 1, 2}}, torch::kInt64), 0));
  CHECK_THAT(found.sizes, IsNear(torch::tensor({{8.F, 4.F}})));
  CHECK_THAT(found.shifts, IsNear(torch::tensor({{0.25F, 0.75F}})));
  CHECK(found.heat[0].abs().max().item<float>() == 0);
  CHECK(found.heat[1][0].abs().max().item<float>() == 0);
  CHECK(found.heat[1][1][1][2].item<float>() == 1);
  const double sigma = (2 * gaussian_radius(2, 1, 0.7) + 1) / 6;
  CHECK(found.heat[1][1][2][1].item<float>() == Approx(std::exp(-1 / (sigma * sigma))));
}

TEST_CASE("CenterHead: peaks become boxes, the likeliest first") {
  CenterHead head(3, 2, CenterHeadOptions().stride(4));
  auto maps = torch::full({1, 6, 3, 4}, -5.F);
  maps[0][0][0][0] = 1;
  maps[0][1][2][3] = 2;
  maps[0][1][2][2] = 1.5;  // beside a larger one: no peak
  maps[0].slice(0, 2).zero_();
  maps[0][2][2][3] = 6;    // width
  maps[0][3][2][3] = 2;    // height
  maps[0][4][2][3] = 0.5;  // offset of x
  const auto found = head->decode(maps, 10, 0.5);
  CHECK_THAT(found.offsets, IsNear(torch::tensor({0, 2}, torch::kInt64), 0));
  CHECK_THAT(found.labels, IsNear(torch::tensor({1, 0}, torch::kInt64), 0));
  CHECK_THAT(found.boxes, IsNear(torch::tensor({{11.F, 7.F, 17.F, 9.F}, {0.F, 0.F, 0.F, 0.F}})));
  CHECK_THAT(found.scores, IsNear(torch::tensor({2.F, 1.F}).sigmoid()));
  CHECK(head->decode(maps, 1, 0.5).boxes.size(0) == 1);
}

TEST_CASE("CenterHead: a right answer costs nothing") {
  CenterHead head(3, 2, CenterHeadOptions().stride(4));
  auto maps = torch::full({2, 6, 3, 4}, -60.F);
  maps[1][1][1][2] = 60;
  maps.slice(1, 2).zero_();
  maps[1].slice(0, 2).select(1, 1).select(1, 2).copy_(torch::tensor({8.F, 4.F, 0.25F, 0.75F}));
  CHECK_THAT(head->loss(maps, one_center_box()), IsNear(torch::tensor(0.F)));
  maps[1][2][1][2] = 10;  // 2 pixels too wide
  CHECK_THAT(head->loss(maps, one_center_box()), IsNear(torch::tensor(0.2F)));
}

TEST_CASE("CenterHead: exact words for wrong options and boxes") {
  CHECK_THROWS_WITH(CenterHead(3, 2, CenterHeadOptions().min_overlap(1)),
                    StartsWith("CenterHead: min_overlap must be in (0, 1), got 1"));
  CenterHead head(3, 2);
  CHECK_THROWS_WITH(head->targets(one_center_box(), 1, 4),
                    StartsWith("CenterHead: the centre of box 0 lies outside of the image of 4 x 16 pixels"));
}
