#include "polyscene/transfer/low_rank.h"

#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <algorithm>
#include <cmath>

#include "polyscene/core/errors.h"
#include "polyscene/core/named_tensors.h"
#include "polyscene/nn/checks.h"

namespace polyscene::transfer {
namespace {

// From the gradient of W' to those of U and D.
struct LowRankBackward : public torch::autograd::Node {
  torch::autograd::variable_list apply(torch::autograd::variable_list&& given) override {
    if (!given[0].defined()) return {torch::Tensor(), torch::Tensor()};
    const auto u = up.unpack(), full = down.unpack();
    const auto d = kept.defined() ? full * kept : full;
    const auto gradient = given[0];
    if (!gradient.is_sparse()) {
      const auto of_down = scale * u.transpose(-2, -1).matmul(gradient);
      return {scale * gradient.matmul(d.transpose(-2, -1)), kept.defined() ? of_down * kept : of_down};
    }
    const auto rows = gradient._indices();        // [1, n]
    const auto values = gradient._values();       // [n, columns]
    const auto of_up = scale * values.mm(d.t());  // [n, r]
    return {torch::sparse_coo_tensor(rows, of_up, u.sizes(), of_up.options().layout(torch::kSparse)),
            scale * u.index_select(0, rows[0]).t().mm(values)};
  }
  void release_variables() override {
    up.reset_data();
    down.reset_data();
    kept.reset();
  }
  std::string name() const override { return "LowRankBackward"; }

  torch::autograd::SavedVariable up, down;
  torch::Tensor kept;
  double scale = 1;
};

std::shared_ptr<torch::nn::Module> nested(std::shared_ptr<torch::nn::Module> at, const std::string& path) {
  for (size_t begin = 0; begin < path.size();) {
    const auto end = std::min(path.find('.', begin), path.size());
    const auto key = path.substr(begin, end - begin);
    const auto children = at->named_children();
    const auto* child = children.find(key);
    at = child ? *child : at->register_module(key, std::make_shared<torch::nn::Module>(key));
    begin = end + 1;
  }
  return at;
}

}  // namespace

torch::Tensor LowRank::Site::product(double scale) const { return base + scale * up.matmul(dropped()); }

LowRank::LowRank(std::shared_ptr<models::Model> inner, LowRankOptions options_)
    : Wrapped(std::move(inner)), options(std::move(options_)) {
  const auto rank = options.rank();
  TORCH_CHECK_VALUE(rank > 0, "LowRank: rank must be positive, got ", rank);
  TORCH_CHECK_VALUE(std::isfinite(options.alpha()) && options.alpha() >= 0,
                    "LowRank: alpha must be finite and not negative, got ", options.alpha());
  nn::check_dropout("LowRank", options.dropout());
  TORCH_CHECK_VALUE(std::isfinite(options.lr_scale()) && options.lr_scale() > 0,
                    "LowRank: lr_scale must be positive, got ", options.lr_scale());
  const auto names = parameter_names(), tables = inner_->table_parameters();
  models::check_prefixes("LowRank", "parameters", options.parameters(), names);
  models::check_prefixes("LowRank", "trained", options.trained(), names);
  const auto under = [](const std::string& name, const std::vector<std::string>& prefixes) {
    return std::any_of(prefixes.begin(), prefixes.end(), [&](const auto& x) { return models::is_below(name, x); });
  };
  const torch::NoGradGuard no_grad;
  const auto root = register_module("low_rank", std::make_shared<torch::nn::Module>("LowRankFactors"));
  std::vector<std::string> frozen;
  for (const auto& item : named_tensors(*inner_)) {
    if (item.is_buffer) continue;
    const auto& weight = item.tensor;
    const bool full = under(item.name, options.trained());
    if (!full) frozen.push_back(item.name);
    if (!full) item.tensor.set_requires_grad(false);
    const bool chosen = under(item.name, options.parameters());
    const bool matrix = weight.dim() >= 2 && weight.is_floating_point();
    const auto& given = options.parameters();
    const bool named = std::find(given.begin(), given.end(), item.name) != given.end();
    TORCH_CHECK_VALUE(matrix || !named, "LowRank: parameters must be matrices of numbers, '", item.name, "' is ",
                      weight.sizes());
    if (!matrix || full || (!chosen && !given.empty())) continue;
    const auto m = weight.size(-2), n = weight.size(-1);
    if (!named && rank * (m + n) >= m * n) continue;
    Site site;
    site.name = item.name;
    site.weight = weight;
    site.base = weight.detach().clone();
    site.table = std::find(tables.begin(), tables.end(), item.name) != tables.end();
    auto of_up = weight.sizes().vec(), of_down = of_up;
    of_up.back() = rank;
    of_down[of_down.size() - 2] = rank;
    const auto bound = 1 / std::sqrt(static_cast<double>(n));
    auto down = torch::empty(of_down, weight.options().requires_grad(false));
    site.table ? down.normal_() : down.uniform_(-bound, bound);
    const auto holder = nested(root, item.name);
    site.up = holder->register_parameter("up", torch::zeros(of_up, down.options()));
    site.down = holder->register_parameter("down", down);
    sites_.push_back(std::move(site));
  }
  TORCH_CHECK_VALUE(!sites_.empty(), "LowRank: ", inner_->name(), " has no matrix for which rank ", rank,
                    " is a saving; parameters: ", join(names));
  freeze("LowRank", frozen);
  LowRank::train(inner_->is_training());
}

LowRank::~LowRank() { release(); }

void LowRank::rebuild(bool anew, bool drops) {
  const torch::NoGradGuard no_grad;
  for (auto& site : sites_) {
    const int64_t up = site.up._version(), down = site.down._version();
    const bool moved = site.base.scalar_type() != site.weight.scalar_type(), dropped = site.kept.defined();
    site.kept.reset();
    // Versions say whether factors moved, unless somebody wrote past them.
    if (up == site.up_version && down == site.down_version && !moved && !anew && !dropped) continue;
    if (moved) site.base = site.base.to(site.weight.options());
    if (drops && !site.table) {
      auto sizes = site.down.sizes().vec();
      sizes[sizes.size() - 2] = 1;
      const auto left = 1 - options.dropout();
      site.kept = torch::empty(sizes, site.down.options().requires_grad(false)).bernoulli_(left).div_(left);
    }
    const auto product = site.product(scale());
    // What an earlier pass, whose backward is to come, has read must not be written again.
    if (!product.equal(site.weight.detach())) site.weight.copy_(product);
    site.up_version = up;
    site.down_version = down;
  }
}

void LowRank::attach() {
  const bool on = torch::GradMode::is_enabled(), drops = is_training() && options.dropout() > 0;
  rebuild(/*anew=*/on || drops, drops);
  if (!on) return;
  for (auto& site : sites_) {
    auto node = c10::make_intrusive<LowRankBackward>();
    node->set_next_edges(torch::autograd::collect_next_edges(site.up, site.down));
    node->up = torch::autograd::SavedVariable(site.up, /*is_output=*/false);
    node->down = torch::autograd::SavedVariable(site.down, /*is_output=*/false);
    node->kept = site.kept;
    node->scale = scale();
    torch::autograd::set_history(site.weight, node);
  }
}

void LowRank::release() {
  for (auto& site : sites_) {
    if (site.weight.grad_fn()) site.weight.detach_();
  }
}

torch::Tensor LowRank::forward(const data::Batch& batch) {
  attach();
  return inner_->forward(batch);
}

torch::Tensor LowRank::score(const data::Batch& candidates, const data::Events& events, const torch::Tensor& owner) {
  attach();
  return inner_->score(candidates, events, owner);
}

torch::Tensor LowRank::loss(const data::Batch& batch) {
  attach();
  return inner_->loss(batch);
}

torch::Tensor LowRank::represent(const data::Batch& batch) {
  attach();
  return inner_->represent(batch);
}

models::Explanation LowRank::explain(const data::Batch& batch) {
  attach();
  return inner_->explain(batch);
}

void LowRank::encode() {
  rebuild();
  inner_->encode();
}

torch::Tensor LowRank::score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) {
  rebuild();
  return inner_->score_items(users, scene, items);
}

torch::Tensor LowRank::transition_matrix(int64_t from, int64_t to) {
  rebuild();
  return inner_->transition_matrix(from, to);
}

std::vector<models::Phase> LowRank::phases() const {
  auto out = Wrapped::phases();
  for (auto& phase : out) phase.lr_scale *= options.lr_scale();
  return out;
}

std::vector<std::string> LowRank::table_parameters() const {
  std::vector<std::string> out = inner_->table_parameters();
  for (const auto& site : sites_) {
    if (site.table) out.push_back("low_rank." + site.name + ".up");
  }
  return out;
}

void LowRank::train(bool on) {
  // Between passes the matrices are plain tensors, as optimisers and copies expect them.
  release();
  // Nor do they keep what a pass dropped.
  if (std::any_of(sites_.begin(), sites_.end(), [](const Site& site) { return site.kept.defined(); })) rebuild();
  Wrapped::train(on);
}

State LowRank::merged() {
  release();
  rebuild();
  State out;
  for (const auto& item : named_tensors(*inner_)) out[item.name] = item.tensor.detach().clone();
  return out;
}

State LowRank::base() const {
  State out;
  for (const auto& item : named_tensors(*inner_)) out[item.name] = item.tensor.detach().clone();
  for (const auto& site : sites_) out[site.name] = site.base.clone();
  return out;
}

std::vector<std::string> LowRank::matrices() const {
  std::vector<std::string> out;
  for (const auto& site : sites_) out.push_back(site.name);
  return out;
}

}  // namespace polyscene::transfer
