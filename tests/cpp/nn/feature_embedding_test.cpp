#include "polyscene/nn/feature_embedding.h"

#include "catch.h"

using namespace polyscene;
using nn::FeatureEmbedding;
using nn::FeatureEmbeddingOptions;
using torch::Tensor;

namespace {

// user (4 rows), item (5 rows), multi-hot tags of their own (3 rows), multi-hot "liked" over items, a sequence column.
data::Schema small_schema() {
  data::Schema schema;
  schema.categorical.resize(2);
  schema.categorical[0].name = "user";
  schema.categorical[0].ids = data::Strings({"u0", "u1"});
  schema.categorical[1].name = "item";
  schema.categorical[1].ids = data::Strings({"i0", "i1", "i2"});
  schema.lists.resize(3);
  schema.lists[0].name = "tags";
  schema.lists[0].ids = data::Strings({"t0"});
  schema.lists[1].name = "liked";
  schema.lists[1].shares = "item";
  schema.lists[2].name = "clicked";
  schema.lists[2].kind = "sequence";
  schema.lists[2].shares = "item";
  schema.numeric.resize(1);
  schema.numeric[0].name = "price";
  schema.scenes = {"all"};
  return schema;
}

data::Ragged ragged(std::vector<int32_t> values, std::vector<int64_t> offsets) {
  return {torch::tensor(values, torch::kInt32), torch::tensor(offsets, torch::kInt64)};
}

data::Batch small_batch() {
  data::Batch batch;
  batch.categorical = torch::tensor({{2, 4}, {0, 1}, {3, 2}}, torch::kInt32);
  batch.numeric = torch::tensor({{0.5f}, {-1.f}, {2.f}});
  batch.sequence["tags"] = ragged({2, 0, 1, 2}, {0, 3, 3, 4});
  batch.sequence["liked"] = ragged({4, 2, 3}, {0, 0, 2, 3});
  batch.scene = torch::zeros({3}, torch::kInt64);
  return batch;
}

}  // namespace

TEST_CASE("FeatureEmbedding: slots are the fields, then the pooled lists") {
  FeatureEmbedding embedding(small_schema(), FeatureEmbeddingOptions{.dim = 3});
  const auto w = embedding->weight.detach();
  CHECK(w.sizes() == torch::IntArrayRef({12, 3}));
  CHECK(embedding->slots() == 4);
  CHECK(embedding->output_size() == 13);
  CHECK(embedding->offset("item") == 4);
  CHECK(embedding->offset("tags") == 9);
  const auto zero = torch::zeros({3});
  const auto wanted =
      torch::stack({torch::stack({w[2], w[8], (w[11] + w[9] + w[10]) / 3, zero}),
                    torch::stack({w[0], w[5], zero, (w[8] + w[6]) / 2}), torch::stack({w[3], w[6], w[11], w[7]})});
  const auto batch = small_batch();
  CHECK_THAT(embedding->forward(batch), IsNear(wanted.unsqueeze(0).requires_grad_(false)[0], 1e-7));
  CHECK_THAT(embedding->flat(batch), IsNear(torch::cat({wanted.flatten(1), batch.numeric}, 1), 1e-7));
}

TEST_CASE("FeatureEmbedding: unknown and missing rows start at zero, the others do not") {
  torch::manual_seed(3);
  FeatureEmbedding embedding(small_schema(), FeatureEmbeddingOptions{.dim = 50, .init_std = 0.5});
  for (const auto* name : {"user", "item", "tags"}) {
    const auto rows = embedding->field_rows(name);
    CHECK(rows.slice(0, 0, 2).abs().max().item<float>() == 0);
    CHECK_THAT(rows.slice(0, 2).std().item<double>(), WithinAbs(0.5, 0.12));
  }
}

TEST_CASE("FeatureEmbedding: list gradients agree with finite differences, dense and sparse") {
  FeatureEmbedding embedding(small_schema(), FeatureEmbeddingOptions{.dim = 2});
  embedding->to(torch::kFloat64);
  const auto batch = small_batch();
  const auto scale = torch::randn({3, embedding->output_size()}, torch::kFloat64);
  const auto loss = [&] { return (embedding->flat(batch) * scale).sin().sum(); };
  auto numeric = torch::zeros_like(embedding->weight);
  {
    torch::NoGradGuard no_grad;
    auto w = embedding->weight.view({-1});
    for (int64_t i = 0; i < w.numel(); ++i) {
      w[i] += 1e-6;
      const auto up = loss();
      w[i] -= 2e-6;
      numeric.view({-1})[i] = (up - loss()) / 2e-6;
      w[i] += 1e-6;
    }
  }
  for (const bool sparse : {false, true}) {
    embedding->set_sparse(sparse);
    embedding->zero_grad();
    loss().backward();
    const auto grad = embedding->weight.grad();
    REQUIRE(grad.is_sparse() == sparse);
    CHECK_THAT(sparse ? grad.to_dense() : grad, IsNear(numeric, 1e-7));
  }
}

TEST_CASE("FeatureEmbedding: embed keeps the shape of the index") {
  FeatureEmbedding embedding(small_schema(), FeatureEmbeddingOptions{.dim = 3});
  const auto index = torch::tensor({{{2, 4}}, {{0, 3}}}, torch::kInt64);
  CHECK_THAT(embedding->embed("item", index),
             IsNear(embedding->field_rows("item").index_select(0, index.flatten()).view({2, 1, 2, 3}), 0));
}

TEST_CASE("FeatureEmbedding: without fields only the numbers are left") {
  data::Schema schema;
  schema.numeric.resize(1);
  FeatureEmbedding embedding(schema);
  data::Batch batch = small_batch();
  batch.categorical = torch::zeros({3, 0}, torch::kInt32);
  CHECK_THAT(embedding->flat(batch), IsNear(batch.numeric, 0));
}

TEST_CASE("FeatureEmbedding: a clone has its own rows") {
  FeatureEmbedding embedding(small_schema());
  const auto copy = std::dynamic_pointer_cast<nn::FeatureEmbeddingImpl>(embedding->clone());
  CHECK(torch::equal(copy->weight, embedding->weight));
  torch::NoGradGuard no_grad;
  embedding->weight.add_(1);
  CHECK(!torch::equal(copy->weight, embedding->weight));
}

TEST_CASE("FeatureEmbedding: bad options, names and batches are refused") {
  CHECK_THROWS_WITH(FeatureEmbedding(small_schema(), FeatureEmbeddingOptions{.dim = 0}),
                    StartsWith("FeatureEmbedding: dim must be positive, got 0"));
  CHECK_THROWS_WITH(FeatureEmbedding(small_schema(), FeatureEmbeddingOptions{.init_std = -1}),
                    StartsWith("FeatureEmbedding: init_std must be >= 0, got -1"));
  FeatureEmbedding embedding(small_schema());
  CHECK_THROWS_WITH(
      embedding->offset("itm"),
      StartsWith("FeatureEmbedding: unknown field 'itm'; known fields: user, item, tags; did you mean 'item'?"));
  auto batch = small_batch();
  batch.sequence.erase("tags");
  CHECK_THROWS_WITH(embedding->forward(batch), StartsWith("FeatureEmbedding: the batch has no list column 'tags'"));
  batch = small_batch();
  batch.numeric = torch::zeros({3, 2});
  CHECK_THROWS_WITH(embedding->flat(batch), StartsWith("FeatureEmbedding: the batch must carry 1 numeric columns"));
}
