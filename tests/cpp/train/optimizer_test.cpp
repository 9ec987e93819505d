#include "polyscene/train/optimizer.h"

#include "catch.h"

using polyscene::train::NamedTensors;
using polyscene::train::Optimizer;
using polyscene::train::OptimizerOptions;
using torch::Tensor;

namespace {

OptimizerOptions optimizer_with(const std::string& name) {
  OptimizerOptions options;
  options.optimizer = name;
  options.lr = 0.1;
  return options;
}

Tensor table(int64_t rows, int64_t width) { return torch::randn({rows, width}, torch::kFloat64).requires_grad_(); }

Tensor sparse_gradient(std::vector<int64_t> rows, const Tensor& values, int64_t total) {
  const auto index = torch::tensor(rows, torch::kInt64).unsqueeze(0);
  return torch::sparse_coo_tensor(index, values, {total, values.size(1)});
}

// Textbook Adam on the rows that `looked_up` names, one number at a time.
struct SlowAdam {
  Tensor w, m, v;
  std::vector<int64_t> steps;
  double lr = 0.1, b1 = 0.9, b2 = 0.999, eps = 1e-8, decay = 0;

  explicit SlowAdam(const Tensor& weight)
      : w(weight.detach().clone()), m(torch::zeros_like(w)), v(torch::zeros_like(w)), steps(weight.size(0), 0) {}

  void step(const Tensor& dense, const std::vector<int64_t>& looked_up, int64_t global = 0) {
    for (const auto r : looked_up) {
      const double t = static_cast<double>(global > 0 ? global : ++steps[r]);
      for (int64_t d = 0; d < w.size(1); ++d) {
        const double g = dense[r][d].item<double>() + decay * w[r][d].item<double>();
        m[r][d] = b1 * m[r][d] + (1 - b1) * g;
        v[r][d] = b2 * v[r][d] + (1 - b2) * g * g;
        const double mean = m[r][d].item<double>() / (1 - std::pow(b1, t));
        w[r][d] -= lr * mean / (std::sqrt(v[r][d].item<double>() / (1 - std::pow(b2, t))) + eps);
      }
    }
  }
};

const std::vector<std::vector<int64_t>> kRows = {{0, 3}, {3}, {1, 3, 4}, {0, 1}};

}  // namespace

TEST_CASE("lazy_adam: looked-up rows follow Adam by their own or the global steps, others stand still") {
  for (const bool global : {false, true}) {
    for (const double decay : {0.0, 0.3}) {
      auto weight = table(6, 3);
      const auto before = weight.detach().clone();
      auto options = optimizer_with("lazy_adam");
      options.lazy_steps = global ? "global" : "row";
      options.weight_decay = decay;
      Optimizer optimizer(options, {}, {{"w", weight}});
      SlowAdam slow(weight);
      slow.decay = decay;
      for (size_t i = 0; i < kRows.size(); ++i) {
        const auto values = torch::randn({static_cast<int64_t>(kRows[i].size()), 3}, torch::kFloat64);
        weight.mutable_grad() = sparse_gradient(kRows[i], values, 6);
        slow.step(weight.grad().to_dense(), kRows[i], global ? static_cast<int64_t>(i) + 1 : 0);
        optimizer.step();
      }
      CHECK_THAT(weight.detach(), IsNear(slow.w, 1e-12));
      CHECK(torch::equal(weight.detach()[2], before[2]));
      CHECK(torch::equal(weight.detach()[5], before[5]));
    }
  }
}

TEST_CASE("lazy_adam: equals dense adam when every row is looked up every time") {
  auto lazy = table(4, 2);
  auto dense = lazy.detach().clone().requires_grad_();
  Optimizer first(optimizer_with("lazy_adam"), {}, {{"w", lazy}});
  Optimizer second(optimizer_with("adam"), {}, {{"w", dense}});
  for (int i = 0; i < 5; ++i) {
    const auto gradient = torch::randn({4, 2}, torch::kFloat64);
    lazy.mutable_grad() = gradient.to_sparse(1);
    dense.mutable_grad() = gradient.clone();
    first.step();
    second.step();
  }
  CHECK_THAT(lazy.detach(), IsNear(dense.detach(), 1e-12));
}

TEST_CASE("adam: dense Adam moves rows that were not looked up, by their moments, but never decays them") {
  auto weight = table(3, 2);
  auto options = optimizer_with("adam");
  options.weight_decay = 0.5;
  Optimizer optimizer(options, {}, {{"w", weight}});
  SlowAdam slow(weight);
  slow.decay = 0;
  const auto start = weight.detach().clone();
  const auto values = torch::ones({1, 2}, torch::kFloat64);
  weight.mutable_grad() = sparse_gradient({1}, values, 3);
  slow.step((sparse_gradient({1}, values + 0.5 * start.slice(0, 1, 2), 3)).to_dense(), {0, 1, 2});
  optimizer.step();
  CHECK_THAT(weight.detach(), IsNear(slow.w, 1e-12));
  CHECK(torch::equal(weight.detach()[0], start[0]));
  weight.mutable_grad() = sparse_gradient({0}, values, 3);
  slow.step((sparse_gradient({0}, values + 0.5 * slow.w.slice(0, 0, 1), 3)).to_dense(), {0, 1, 2});
  const auto before = weight.detach().clone();
  optimizer.step();
  CHECK_THAT(weight.detach(), IsNear(slow.w, 1e-12));
  CHECK(!torch::equal(weight.detach()[1], before[1]));
}

TEST_CASE("adamw: decay is decoupled; tables lose only looked-up rows") {
  auto weight = table(3, 2), head = table(2, 2);
  auto options = optimizer_with("adamw");
  options.weight_decay = 0.5;
  const auto rows = weight.detach().clone(), dense = head.detach().clone();
  Optimizer optimizer(options, {{"head", head}}, {{"w", weight}});
  weight.mutable_grad() = sparse_gradient({2}, torch::ones({1, 2}, torch::kFloat64), 3);
  head.mutable_grad() = torch::zeros({2, 2}, torch::kFloat64);
  optimizer.step();
  CHECK_THAT(head.detach(), IsNear(dense * 0.95, 1e-12));
  CHECK_THAT(weight.detach()[2], IsNear(rows[2] * 0.95 - 0.1, 1e-8));
  CHECK(torch::equal(weight.detach().slice(0, 0, 2), rows.slice(0, 0, 2)));
}

TEST_CASE("sgd: rows move by momentum only when looked up") {
  auto weight = table(2, 1);
  auto options = optimizer_with("sgd");
  options.momentum = 0.5;
  options.weight_decay = 0.2;
  double w = weight[0][0].item<double>(), b = 0;
  const double other = weight[1][0].item<double>();
  Optimizer optimizer(options, {}, {{"w", weight}});
  for (const double g : {1.0, -2.0, 0.5}) {
    weight.mutable_grad() = sparse_gradient({0}, torch::full({1, 1}, g, torch::kFloat64), 2);
    optimizer.step();
    b = 0.5 * b + g + 0.2 * w;
    w -= 0.1 * b;
  }
  CHECK_THAT(weight[0][0].item<double>(), WithinAbs(w, 1e-12));
  CHECK(weight[1][0].item<double>() == other);
}

TEST_CASE("rowwise_adagrad: one accumulator a row") {
  auto weight = torch::zeros({2, 2}, torch::kFloat64).requires_grad_();
  Optimizer optimizer(optimizer_with("rowwise_adagrad"), {}, {{"w", weight}});
  for (int i = 0; i < 2; ++i) {
    weight.mutable_grad() = sparse_gradient({1}, torch::tensor({{3., 4.}}, torch::kFloat64), 2);
    optimizer.step();
  }
  // mean g^2 = 12.5: steps of 0.1 g / sqrt(12.5) and 0.1 g / 5
  const double moved = 0.1 / std::sqrt(12.5) + 0.1 / 5;
  CHECK_THAT(weight.detach(), IsNear(torch::tensor({{0., 0.}, {-3 * moved, -4 * moved}}, torch::kFloat64), 1e-8));
  CHECK_THAT(optimizer.state().at("w.sum"), IsNear(torch::tensor({0., 25.}, torch::kFloat64), 1e-12));
}

TEST_CASE("Optimizer: lazy Adam of a wide row equals Adam by hand") {
  torch::manual_seed(0);
  auto weight = torch::randn({1, 100}).requires_grad_();
  auto exact = weight.detach().to(torch::kFloat64);
  Optimizer optimizer(optimizer_with("lazy_adam"), {}, {{"w", weight}});
  auto mean = torch::zeros({1, 100}, torch::kFloat64), square = torch::zeros_like(mean);
  for (int t = 1; t <= 30; ++t) {
    auto g = torch::randn({1, 100}) * std::pow(10.0, t % 7 - 5);
    g.select(1, 3).zero_();  // never moves
    weight.mutable_grad() = at::_sparse_coo_tensor_unsafe(torch::zeros({1, 1}, torch::kInt64), g, {1, 100});
    optimizer.step();
    const auto slope = g.to(torch::kFloat64);
    mean = 0.9 * mean + 0.1 * slope;
    square = 0.999 * square + 0.001 * slope.square();
    exact = exact - 0.1 * (mean / (1 - std::pow(0.9, t))) / ((square / (1 - std::pow(0.999, t))).sqrt() + 1e-8);
  }
  CHECK(torch::allclose(weight.detach().to(torch::kFloat64), exact, 1e-5, 1e-5));
}

TEST_CASE("Optimizer: uncoalesced gradients count as their sum, for the norm too") {
  auto weight = torch::zeros({2, 1}, torch::kFloat64).requires_grad_();
  auto options = optimizer_with("sgd");
  options.clip_norm = 2.5;
  Optimizer optimizer(options, {}, {{"w", weight}});
  weight.mutable_grad() = sparse_gradient({0, 0, 1}, torch::tensor({{1.}, {2.}, {4.}}, torch::kFloat64), 2);
  optimizer.step();
  CHECK_THAT(optimizer.gradient_norm(), WithinAbs(5, 1e-12));
  CHECK_THAT(weight.detach(), IsNear(torch::tensor({{-0.15}, {-0.2}}, torch::kFloat64), 1e-6));
}

TEST_CASE("Optimizer: a dense gradient on a lazy table moves the rows that are not all zero") {
  auto weight = table(3, 2);
  const auto before = weight.detach().clone();
  Optimizer optimizer(optimizer_with("lazy_adam"), {}, {{"w", weight}});
  weight.mutable_grad() = torch::tensor({{0., 0.}, {0., 1.}, {0., 0.}}, torch::kFloat64);
  optimizer.step();
  CHECK_THAT(optimizer.state().at("w.row_steps"), IsNear(torch::tensor({0, 1, 0}, torch::kInt32), 0));
  CHECK_THAT((weight.detach() - before)[1], IsNear(torch::tensor({0., -0.1}, torch::kFloat64), 1e-8));
}

TEST_CASE("Optimizer: phases freeze parts and scale the learning rate") {
  auto a = torch::zeros({1}).requires_grad_(), b = torch::zeros({1}).requires_grad_(),
       c = torch::zeros({1}).requires_grad_();
  Optimizer optimizer(optimizer_with("sgd"), {{"tower.w", a}, {"tower2.w", b}, {"head", c}});
  const auto step = [&] {
    for (auto* p : {&a, &b, &c}) p->mutable_grad() = torch::ones({1});
    optimizer.step();
  };
  optimizer.set_phase({"tower"}, 0.5);
  optimizer.set_lr_scale("head", 10);
  step();
  CHECK(a.item<float>() == 0);
  CHECK_THAT(b.item<double>(), WithinAbs(-0.05, 1e-7));
  CHECK_THAT(c.item<double>(), WithinAbs(-0.5, 1e-7));
  CHECK_THAT(optimizer.gradient_norm(), WithinAbs(std::sqrt(2), 1e-12));
  optimizer.set_phase({});
  step();
  CHECK_THAT(a.item<double>(), WithinAbs(-0.1, 1e-7));
  CHECK_THROWS_WITH(optimizer.set_phase({"towr2.w"}),
                    StartsWith("Optimizer: no parameter is named 'towr2.w' or lies under it; parameters: tower.w, "
                               "tower2.w, head; did you mean 'tower2.w'?"));
}

TEST_CASE("Optimizer: a loaded state continues bit for bit") {
  for (const auto* name : {"adam", "adamw", "sgd", "lazy_adam", "rowwise_adagrad"}) {
    auto options = optimizer_with(name);
    options.schedule.warmup_steps = 3;
    if (options.optimizer == "sgd") options.momentum = 0.9;
    auto w = torch::randn({5, 2}).requires_grad_(), h = torch::randn({3}).requires_grad_();
    Optimizer whole(options, {{"h", h}}, {{"w", w}});
    std::vector<std::pair<Tensor, Tensor>> gradients;
    for (int i = 0; i < 6; ++i) gradients.emplace_back(torch::randn({2, 2}), torch::randn({3}));
    const auto run = [&](Optimizer& optimizer, Tensor& table, Tensor& dense, int from, int to) {
      for (int i = from; i < to; ++i) {
        table.mutable_grad() = sparse_gradient({i % 2, 3}, gradients[i].first.clone(), 5);
        dense.mutable_grad() = gradients[i].second.clone();
        optimizer.step();
      }
    };
    run(whole, w, h, 0, 3);
    auto w2 = w.detach().clone().requires_grad_(), h2 = h.detach().clone().requires_grad_();
    std::map<std::string, Tensor> saved;
    for (const auto& [key, value] : whole.state()) saved[key] = value.clone();
    Optimizer resumed(options, {{"h", h2}}, {{"w", w2}});
    resumed.load(saved);
    run(whole, w, h, 3, 6);
    run(resumed, w2, h2, 3, 6);
    CHECK(torch::equal(w, w2));
    CHECK(torch::equal(h, h2));
    saved.erase("w.step");
    CHECK_THROWS_WITH(resumed.load(saved), StartsWith("Optimizer: the state has no 'w.step'"));
  }
}

TEST_CASE("Optimizer: threads do not change a bit") {
  const auto run = [](int threads) {
    const int before = torch::get_num_threads();
    torch::set_num_threads(threads);
    torch::manual_seed(5);
    auto w = torch::randn({5000, 16}).requires_grad_(), h = torch::randn({70000}).requires_grad_();
    auto options = optimizer_with("lazy_adam");
    options.clip_norm = 1;
    Optimizer optimizer(options, {{"h", h}}, {{"w", w}});
    for (int i = 0; i < 3; ++i) {
      w.mutable_grad() = torch::randn({5000, 16}).to_sparse(1);
      h.mutable_grad() = torch::randn({70000});
      optimizer.step();
    }
    torch::set_num_threads(before);
    return torch::cat({w.detach().flatten(), h.detach()});
  };
  CHECK(torch::equal(run(1), run(2)));
}

TEST_CASE("Optimizer: a gradient that is not finite moves nothing and names the parameter") {
  auto a = torch::ones({2}).requires_grad_(), w = torch::ones({9, 2}).requires_grad_();
  Optimizer optimizer(optimizer_with("lazy_adam"), {{"a", a}}, {{"w", w}});
  a.mutable_grad() = torch::ones({2});
  w.mutable_grad() = sparse_gradient({3, 7}, torch::tensor({{1.f, 1.f}, {1.f, NAN}}), 9);
  CHECK_THROWS_WITH(optimizer.step(), StartsWith("Optimizer: the gradient of 'w' is not finite, first in row 7"));
  CHECK(a.sum().item<float>() == 2);
  CHECK(optimizer.steps() == 0);
  a.mutable_grad() = torch::tensor({1.f, INFINITY});
  CHECK_THROWS_WITH(optimizer.step(), StartsWith("Optimizer: the gradient of 'a' is not finite, first in row 1"));
}

TEST_CASE("Optimizer: bad options are refused") {
  const auto refused = [](auto&& change, const std::string& message) {
    OptimizerOptions options;
    change(options);
    CHECK_THROWS_WITH(Optimizer(options, {}), StartsWith("Optimizer: " + message));
  };
  refused([](auto& o) { o.optimizer = "lazyadam"; },
          "unknown optimizer 'lazyadam'; known optimizers: adam, adamw, sgd, lazy_adam, rowwise_adagrad; did you mean "
          "'lazy_adam'?");
  refused([](auto& o) { o.lr = 0; }, "lr must be positive and finite, got 0");
  refused([](auto& o) { o.betas = {0.9, 1}; }, "betas must lie in [0, 1), got 1");
  refused([](auto& o) { o.betas = {0.9}; }, "betas must be two numbers, got 1");
  refused([](auto& o) { o.eps = -1; }, "eps must be >= 0, got -1");
  refused([](auto& o) { o.momentum = 0.9; }, "momentum belongs to sgd, got 0.9 with adam");
  refused([](auto& o) { o.weight_decay = -1; }, "weight_decay must be >= 0, got -1");
  refused([](auto& o) { o.clip_norm = -1; }, "clip_norm must be >= 0 (0 does not clip), got -1");
  refused([](auto& o) { o.lazy_steps = "rows"; }, "lazy_steps must be row or global, got 'rows'");
  auto w = torch::ones({2}).requires_grad_();
  CHECK_THROWS_WITH(Optimizer(OptimizerOptions(), {{"w", w}}, {{"w", w}}),
                    StartsWith("Optimizer: parameter 'w' is named twice"));
  OptimizerOptions cosine;
  cosine.schedule.name = "cosine";
  Optimizer optimizer(cosine, {{"w", w}});
  CHECK_THROWS_WITH(optimizer.step(), StartsWith("Optimizer: schedule 'cosine' needs the number of steps"));
}
