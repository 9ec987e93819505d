#include "polyscene/nn/int8_rows.h"

#include "catch.h"

using namespace polyscene;

TEST_CASE("int8 rows: whole numbers and the scale, by hand") {
  const auto rows = torch::tensor({{127.0f, -1.0f, 0.4f, 0.6f}, {0.0f, 0.0f, 0.0f, 0.0f}});
  const auto packed = nn::pack_int8(rows);
  REQUIRE(packed.sizes() == torch::IntArrayRef({2, 8}));
  CHECK(packed.slice(1, 0, 4).equal(torch::tensor({{127, -1, 0, 1}, {0, 0, 0, 0}}, torch::kInt8)));
  CHECK(nn::unpack_int8(packed).equal(torch::tensor({{127.0f, -1.0f, 0.0f, 1.0f}, {0.0f, 0.0f, 0.0f, 0.0f}})));
  CHECK(nn::unpacked(packed).equal(nn::unpack_int8(packed)));
  CHECK(nn::unpacked(rows).equal(rows));
}

TEST_CASE("int8 rows: a lookup gives the unpacked rows of its fields") {
  nn::FieldRows fields;
  fields.add("a", 3);
  fields.add("b", 4);
  const auto packed = nn::pack_int8(torch::randn({7, 16}));
  const auto index = torch::tensor({{0, 3}, {2, 0}, {1, 1}}, torch::kInt32);
  const auto wanted = nn::unpack_int8(packed).index_select(0, torch::tensor({0, 6, 2, 3, 1, 4})).view({3, 2, 16});
  CHECK(nn::lookup(packed, index, fields).equal(wanted));
  CHECK(nn::lookup(packed, index.to(torch::kInt64), fields).equal(wanted));
  CHECK_THROWS_WITH(nn::lookup(packed, torch::tensor({{0, 4}}, torch::kInt32), fields),
                    ContainsSubstring("field 'b' has rows 0..3, got 4 in batch row 0"));
}
