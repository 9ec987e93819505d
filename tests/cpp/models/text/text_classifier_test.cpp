#include "polyscene/models/text/text_classifier.h"

#include "../tiny.h"
#include "catch.h"
#include "polyscene/data/classes.h"

using namespace polyscene;
using models::TextClassifier;
using models::TextClassifierOptions;

namespace {

// Texts "good film", "bad", "" and "film bad" of classes 1 0 2 0, the last in a scene of its own.
std::shared_ptr<const data::Columns> text_columns() {
  auto columns = std::make_shared<data::Columns>();
  columns->rows = 4;
  columns->codes = torch::empty({4, 0}, torch::kInt32);
  columns->numbers = torch::empty({4, 0});
  columns->lists = {"text"};
  columns->list_codes = {
      {torch::tensor({0, 1, 2, 1, 2}, torch::kInt32), torch::tensor({0, 2, 3, 3, 5}, torch::kInt64)}};
  columns->list_ids = {data::Strings({"good", "film", "bad"})};
  columns->scene = torch::tensor({0, 0, 0, 1}, torch::kInt32);
  columns->scene_names = {"phone", "tablet"};
  columns->label = torch::tensor({1.f, 0.f, 2.f, 0.f});
  return columns;
}

std::shared_ptr<const data::Schema> text_schema() {
  data::FitOptions options;
  options.task = "text";
  options.min_count = 1;
  data::ListField text;
  text.name = "text";
  text.kind = "text";
  options.lists = {text};
  options.reader = R"({"classes": ["a", "b", "c"]})";
  return data::fit_schema(*text_columns(), torch::arange(4), options);
}

data::Batch text_batch(std::shared_ptr<const data::Schema> schema) {
  return data::Table(text_columns(), std::move(schema), {}, "train").batch(torch::arange(4), false, 0);
}

}  // namespace

TEST_CASE("TextClassifier: the mean of the words through an output layer, by hand") {
  const auto schema = text_schema();
  CHECK(data::num_classes(*schema) == 3);
  CHECK(data::class_names(*schema) == std::vector<std::string>{"a", "b", "c"});
  TextClassifier model(schema, TextClassifierOptions().encoder("mean").dim(1).hidden({}));
  model->eval();
  torch::NoGradGuard no_grad;
  // rows of the vocabulary: unknown, missing, bad, film (twice each, by name), good
  model->words->weight.copy_(torch::tensor({0.F, 0.F, 2.F, 4.F, 6.F}).unsqueeze(1));
  model->head.output->weight.copy_(torch::tensor({1.F, 10.F, 100.F}).unsqueeze(1));
  model->head.output->bias.zero_();
  const auto mean = torch::tensor({5.F, 2.F, 0.F, 3.F}).unsqueeze(1);
  CHECK_THAT(model->forward(text_batch(schema)), IsNear(mean * torch::tensor({1.F, 10.F, 100.F})));
}

TEST_CASE("TextClassifier: a scene with heads answers by its own") {
  const auto schema = text_schema();
  TextClassifier model(schema, TextClassifierOptions().scene("heads"));
  model->eval();
  const auto batch = text_batch(schema);
  torch::NoGradGuard no_grad;
  const auto before = model->forward(batch);
  model->head.output->bias.slice(0, 3).add_(1);  // those of scene 1
  const auto moved = model->forward(batch) - before;
  CHECK_THAT(moved, IsNear(torch::tensor({0.F, 0.F, 0.F, 1.F}).unsqueeze(1).expand({4, 3})));
}

TEST_CASE("TextClassifier: exact words for data and options that do not fit") {
  CHECK_THROWS_WITH(TextClassifier(tiny_schema()), StartsWith("TextClassifier: the task must be 'text', got 'ctr'"));
  CHECK_THROWS_WITH(TextClassifier(text_schema(), TextClassifierOptions().dropout(1)),
                    StartsWith("TextClassifier: dropout must be in [0, 1), got 1"));
}
