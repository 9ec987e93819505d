#include "polyscene/models/registry.h"

#include <algorithm>
#include <thread>

#include "catch.h"
#include "polyscene/core/named_tensors.h"
#include "polyscene/models/single/mf.h"
#include "tiny.h"

using namespace polyscene;

namespace {

// Two of its three tensors are one; its parts have modes of their own.
class Tied : public models::Model {
 public:
  explicit Tied(std::shared_ptr<const data::Schema> schema) : Model(std::move(schema)) {
    a = register_module("a", torch::nn::Linear(2, 2));
    b = register_module("b", torch::nn::Linear(torch::nn::LinearOptions(2, 2).bias(false)));
    b->weight = b->register_parameter("other", a->weight);
    c = register_module("c", torch::nn::Sequential(torch::nn::Dropout(), torch::nn::BatchNorm1d(2)));
  }
  torch::Tensor forward(const data::Batch& batch) override { return torch::zeros({batch.size()}); }
  std::string name() const override { return "tied"; }
  OptionMap options_map() const override { return {}; }

  torch::nn::Linear a = nullptr;
  torch::nn::Linear b = nullptr;
  torch::nn::Sequential c = nullptr;
};

}  // namespace

TEST_CASE("registry: a known model is made by its name") {
  const auto model = models::create("mf", tiny_schema(), {{"dim", int64_t{3}}});
  CHECK(model->name() == "mf");
  CHECK(std::get<int64_t>(model->options_map()[0].second) == 3);
  CHECK_THROWS_WITH(models::create("mff", tiny_schema()), ContainsSubstring("unknown model 'mff'; known models: "));
  CHECK_THROWS_WITH(models::create("mff", tiny_schema()), ContainsSubstring("did you mean 'mf'?"));
  CHECK_THROWS_WITH(models::create("mf", nullptr), ContainsSubstring("mf: a schema is needed"));
  CHECK_THROWS_WITH(models::create("logistic", tiny_schema("rating")),
                    ContainsSubstring("the data's task is 'rating'"));
}

TEST_CASE("registry: models of one task") {
  const auto rating = models::list("rating");
  CHECK(std::find(rating.begin(), rating.end(), "mf") != rating.end());
  CHECK(std::find(rating.begin(), rating.end(), "logistic") == rating.end());
}

TEST_CASE("registry: plug-ins are added from several threads while others look") {
  const auto& before = models::find("mf");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 50; ++i) {
        auto plug_in = models::find("mf");
        plug_in.name = "plug_in_" + std::to_string(t) + "_" + std::to_string(i);
        plug_in.tasks = {"test"};
        models::register_model(plug_in);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(models::list("test").size() == 200);
  CHECK(&models::find("mf") == &before);
  CHECK(models::create("mf", tiny_schema())->name() == "mf");
  CHECK_THROWS_WITH(models::register_model(models::find("mf")), ContainsSubstring("the name 'mf' is taken"));
}

TEST_CASE("named tensors: a shared tensor is listed once") {
  Tied model(tiny_schema());
  std::vector<std::string> names;
  for (const auto& item : named_tensors(model)) names.push_back(item.name);
  CHECK(names == std::vector<std::string>{"a.weight", "a.bias", "b.weight", "c.1.weight", "c.1.bias",
                                          "c.1.running_mean", "c.1.running_var", "c.1.num_batches_tracked"});
  CHECK(tied_tensors(model) == std::vector<std::pair<std::string, std::string>>{{"b.other", "a.weight"}});
}

TEST_CASE("named tensors: the mode of one part leaves the parts inside it alone") {
  Tied model(tiny_schema());
  set_training(model, "c", false);
  CHECK_FALSE(model.c->is_training());
  CHECK(model.c[0]->is_training());
  set_training(model, "", false);
  CHECK_FALSE(model.is_training());
  CHECK(model.a->is_training());
  CHECK_FALSE(model.c->is_training());
  CHECK_THROWS_WITH(set_training(model, "c.2", true), ContainsSubstring("there is no module 'c.2'"));
}

TEST_CASE("base model: the mean loss of nothing is zero") {
  CHECK(models::weighted_mean(torch::empty({0}), {}).item<double>() == 0);
  CHECK(models::weighted_mean(torch::tensor({1.f, 3.f}), {}).item<double>() == 2);
  CHECK(models::weighted_mean(torch::tensor({1.f, 3.f}), torch::tensor({3.f, 1.f})).item<double>() == Approx(1.5));
}

TEST_CASE("base model: a batch without labels has no loss") {
  models::MF model(tiny_schema());
  auto batch = tiny_batch();
  batch.label = torch::Tensor();
  CHECK_THROWS_WITH(model->loss(batch), ContainsSubstring("mf: the batch has no label"));
}
