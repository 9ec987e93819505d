#include "polyscene/data/images.h"

#include "catch.h"
#include "polyscene/data/classes.h"
#include "polyscene/data/table.h"

using namespace polyscene;

namespace {

// Images of 1 x 2 pixels: (0, 51), none, (255, 102), of classes 1, 0, 1.
std::shared_ptr<data::Columns> two_pixel_columns() {
  auto columns = std::make_shared<data::Columns>();
  columns->rows = 3;
  columns->codes = torch::empty({3, 0}, torch::kInt32);
  columns->numbers = torch::empty({3, 0});
  columns->lists = {"image"};
  columns->list_codes = {{torch::tensor({0, 51, 255, 102}, torch::kUInt8), torch::tensor({0, 2, 2, 4}, torch::kInt64)}};
  columns->list_ids = {data::Strings(std::vector<std::string>{})};
  columns->scene = torch::zeros({3}, torch::kInt32);
  columns->scene_names = {"phone"};
  columns->label = torch::tensor({1.F, 0.F, 1.F});
  return columns;
}

std::shared_ptr<const data::Schema> two_pixel_schema(const std::string& reader, const std::string& kind = "image") {
  data::FitOptions options;
  options.task = "image";
  data::ListField image;
  image.name = "image";
  image.kind = kind;
  options.lists = {image};
  options.reader = reader;
  return data::fit_schema(*two_pixel_columns(), torch::arange(3), options);
}

const std::string kTwoPixels = R"({"images": [{"name": "image", "channels": 1, "height": 1, "width": 2}]})";

}  // namespace

TEST_CASE("images: pixels in [0, 1] in the order of the rows, 0 where an image is missing") {
  const auto schema = two_pixel_schema(kTwoPixels);
  const auto sizes = data::image_columns(*schema);
  REQUIRE(sizes.size() == 1);
  CHECK(sizes[0].column == "image");
  CHECK(sizes[0].pixels() == 2);
  const data::Table table(two_pixel_columns(), schema, {}, "train");
  const auto batch = table.batch(torch::tensor({2, 1, 0}, torch::kInt64), false, 0);
  CHECK(batch.sequence.at("image").values.scalar_type() == torch::kInt32);
  const auto found = data::images(batch, sizes[0]);
  CHECK(found.sizes() == torch::IntArrayRef({3, 1, 1, 2}));
  CHECK_THAT(found.view({3, 2}), IsNear(torch::tensor({{1.F, 0.4F}, {0.F, 0.F}, {0.F, 0.2F}})));
  CHECK_THAT(data::images(batch.take(torch::tensor({1}, torch::kInt64)), sizes[0]).flatten(),
             IsNear(torch::zeros({2})));
}

TEST_CASE("images: a schema without images has no columns of them, and its tasks have classes or not") {
  CHECK(data::image_columns(data::Schema()).empty());
  CHECK(data::has_classes("image"));
  CHECK(data::has_classes("text"));
  CHECK_FALSE(data::has_classes("ctr"));
  CHECK(data::num_classes(*two_pixel_schema(kTwoPixels)) == 2);
}

TEST_CASE("images: a copy of the schema and of the compiled columns is the same") {
  const auto schema = two_pixel_schema(kTwoPixels);
  const auto again = data::Schema::from(schema->json(), schema->tensors());
  CHECK(again->digest() == schema->digest());
  CHECK(data::image_columns(*again)[0].width == 2);
}

TEST_CASE("images: exact words for sizes, kinds and batches that do not fit") {
  CHECK_THROWS_WITH(data::image_columns(*two_pixel_schema("{}")),
                    StartsWith("image column 'image': the schema does not tell the size of its images"));
  CHECK_THROWS_WITH(two_pixel_schema(kTwoPixels, "multi_hot"),
                    StartsWith("list column 'image': kind multi_hot wants codes of ids (int32), got Byte"));
  CHECK_THROWS_WITH(two_pixel_schema(kTwoPixels, "picture"),
                    StartsWith("list column 'image': kind must be multi_hot, sequence, text or image, got 'picture'"));
  const auto schema = two_pixel_schema(kTwoPixels);
  const auto batch = data::Table(two_pixel_columns(), schema, {}, "train").batch(torch::arange(3), false, 0);
  CHECK_THROWS_WITH(data::images(batch, {"image", 1, 1, 3}),
                    StartsWith("images: an image of column 'image' must have 3 pixels (1 x 1 x 3), got 2"));
  CHECK_THROWS_WITH(data::images(batch, {"picture", 1, 1, 2}),
                    StartsWith("images: the batch has no image column 'picture'"));
  auto wrong = two_pixel_columns();
  wrong->list_codes[0].values = wrong->list_codes[0].values.to(torch::kInt32);
  CHECK_THROWS_WITH(wrong->check(), StartsWith("Columns: list column 'image', row 0: code must be in [0, 0), got 0"));
}
