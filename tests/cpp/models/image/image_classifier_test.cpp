#include "polyscene/models/image/image_classifier.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::ImageClassifier;
using models::ImageClassifierOptions;

namespace {

// Images of 2 x 2 pixels: all 0, all 255, and none, of classes 0 1 2, the last in a scene of its own.
std::shared_ptr<const data::Columns> image_table_columns() {
  auto columns = std::make_shared<data::Columns>();
  columns->rows = 3;
  columns->codes = torch::empty({3, 0}, torch::kInt32);
  columns->numbers = torch::empty({3, 0});
  columns->lists = {"image"};
  const auto pixels = torch::cat({torch::zeros({4}, torch::kUInt8), torch::full({4}, 255, torch::kUInt8)});
  columns->list_codes = {{pixels, torch::tensor({0, 4, 8, 8}, torch::kInt64)}};
  columns->list_ids = {data::Strings(std::vector<std::string>{})};
  columns->scene = torch::tensor({0, 0, 1}, torch::kInt32);
  columns->scene_names = {"phone", "tablet"};
  columns->label = torch::tensor({0.F, 1.F, 2.F});
  return columns;
}

std::shared_ptr<const data::Schema> image_table_schema() {
  data::FitOptions options;
  options.task = "image";
  data::ListField image;
  image.name = "image";
  image.kind = "image";
  options.lists = {image};
  options.reader =
      R"({"classes": ["a", "b", "c"], "images": [{"name": "image", "channels": 1, "height": 2, "width": 2}]})";
  return data::fit_schema(*image_table_columns(), torch::arange(3), options);
}

data::Table image_table(std::shared_ptr<const data::Schema> schema) {
  return data::Table(image_table_columns(), std::move(schema), {}, "train");
}

}  // namespace

TEST_CASE("ImageClassifier: normalised pixels through a filter and an output layer, by hand") {
  const auto schema = image_table_schema();
  ImageClassifier model(schema, ImageClassifierOptions().widths({1}).kernel(1).norm("none").pool("mean").hidden({}));
  model->prepare(image_table(schema));
  CHECK_THAT(model->pixel_mean, IsNear(torch::tensor({0.5F})));  // a missing image does not count
  CHECK_THAT(model->pixel_std, IsNear(torch::tensor({0.5F})));
  CHECK(model->pixel_rows[0].item<int64_t>() == 2);
  model->eval();
  torch::NoGradGuard no_grad;
  model->encoder->convolutions[0]->as<torch::nn::Conv2d>()->weight.fill_(3);
  model->head.output->weight.copy_(torch::tensor({1.F, 10.F, 100.F}).unsqueeze(1));
  model->head.output->bias.zero_();
  const auto r = torch::tensor({0.F, 3.F, 0.F}).unsqueeze(1);  // relu(-3), relu(3), black
  const auto batch = image_table(schema).batch(torch::arange(3), false, 0);
  CHECK_THAT(model->forward(batch), IsNear(r * torch::tensor({1.F, 10.F, 100.F})));
}

TEST_CASE("ImageClassifier: a scene with heads answers by its own") {
  const auto schema = image_table_schema();
  ImageClassifier model(schema, ImageClassifierOptions().scene("heads").widths({4}));
  model->eval();
  const auto batch = image_table(schema).batch(torch::arange(3), false, 0);
  torch::NoGradGuard no_grad;
  const auto before = model->forward(batch);
  model->head.output->bias.slice(0, 3).add_(1);  // those of scene 1
  CHECK_THAT(model->forward(batch) - before, IsNear(torch::tensor({0.F, 0.F, 1.F}).unsqueeze(1).expand({3, 3})));
}

TEST_CASE("ImageClassifier: exact words for data and options that do not fit") {
  CHECK_THROWS_WITH(ImageClassifier(tiny_schema()), StartsWith("ImageClassifier: the task must be 'image', got 'ctr'"));
  CHECK_THROWS_WITH(ImageClassifier(image_table_schema(), ImageClassifierOptions().dropout(1)),
                    StartsWith("ImageClassifier: dropout must be in [0, 1), got 1"));
}
