#include "polyscene/models/multi_modal/multi_modal.h"

#include "../tiny.h"
#include "catch.h"

using namespace polyscene;
using models::MultiModal;
using models::MultiModalOptions;

namespace {

// Three rows of one field and a text: both, a text without an id, an id without words.
std::shared_ptr<const data::Columns> two_modalities() {
  auto columns = std::make_shared<data::Columns>();
  columns->rows = 3;
  columns->categorical = {"maker"};
  columns->codes = torch::tensor({{0}, {-1}, {0}}, torch::kInt32);
  columns->ids = {data::Strings(std::vector<std::string>{"one"})};
  columns->numbers = torch::empty({3, 0});
  columns->lists = {"text"};
  columns->list_codes = {{torch::tensor({0, 1, 1}, torch::kInt32), torch::tensor({0, 2, 3, 3}, torch::kInt64)}};
  columns->list_ids = {data::Strings(std::vector<std::string>{"good", "bad"})};
  columns->scene = torch::tensor({0, 0, 1}, torch::kInt32);
  columns->scene_names = {"phone", "tablet"};
  columns->label = torch::tensor({0.F, 1.F, 1.F});
  return columns;
}

std::shared_ptr<const data::Schema> two_modalities_schema() {
  data::FitOptions options;
  options.task = "text";
  options.min_count = 1;
  data::ListField text;
  text.name = "text";
  text.kind = "text";
  options.lists = {text};
  return data::fit_schema(*two_modalities(), torch::arange(3), options);
}

}  // namespace

TEST_CASE("MultiModal: modalities are those of the data, and rows tell which they have") {
  const auto schema = two_modalities_schema();
  MultiModal model(schema, MultiModalOptions().fused(4).dim(3).width(4));
  model->eval();
  CHECK(model->modalities() == std::vector<std::string>{"ids", "text"});
  const data::Table table(two_modalities(), schema, {}, "train");
  const auto batch = table.batch(torch::arange(3), false, 0);
  CHECK(model->forward(batch).sizes() == torch::IntArrayRef({3, 2}));
  for (const auto& [name, value] : model->explain(batch)) {
    if (name == "present") CHECK_THAT(value, IsNear(torch::tensor({{1, 1}, {0, 1}, {1, 0}}, torch::kBool), 0));
    if (name == "weights") CHECK_THAT(value.slice(0, 1), IsNear(torch::tensor({{0.F, 1.F}, {1.F, 0.F}})));
  }
}

TEST_CASE("MultiModal: the mean of two words and an id through gates of zero, by hand") {
  const auto schema = two_modalities_schema();
  MultiModal model(schema, MultiModalOptions().text("mean").dim(1).fused(1).hidden({}));
  model->eval();
  torch::NoGradGuard no_grad;
  for (auto& parameter : model->parameters()) parameter.fill_(1);
  model->fusion->gate->weight.zero_();
  model->words->weight.select(0, 2).fill_(0.5);  // the more frequent word comes first: bad
  model->head.output->weight.copy_(torch::tensor({{1.F}, {2.F}}));
  model->head.output->bias.zero_();
  const data::Table table(two_modalities(), schema, {}, "train");
  const auto r = torch::tensor({(std::tanh(1.F) + std::tanh(0.75F)) / 2, std::tanh(0.5F), std::tanh(1.F)});
  CHECK_THAT(model->forward(table.batch(torch::arange(3), false, 0)), IsNear(torch::stack({r, 2 * r}, 1)));
}

TEST_CASE("MultiModal: exact words for other data and options") {
  CHECK_THROWS_WITH(MultiModal(tiny_schema()), StartsWith("MultiModal: the task must be 'text' or 'image', got 'ctr'"));
  CHECK_THROWS_WITH(MultiModal(two_modalities_schema(), MultiModalOptions().init_std(-1)),
                    StartsWith("MultiModal: init_std must be 0 or more, got -1"));
}
