#include "polyscene/models/scene/pp_net.h"

#include <algorithm>

namespace polyscene::models {
namespace {

// Those columns of x side by side; one run is a view.
template <typename Runs>
torch::Tensor columns(const torch::Tensor& x, const Runs& runs) {
  std::vector<torch::Tensor> parts;
  for (const auto& run : runs) parts.push_back(x.narrow(1, run.begin, run.length));
  if (parts.empty()) return x.narrow(1, 0, 0);
  return parts.size() == 1 ? parts[0] : torch::cat(parts, 1);
}

}  // namespace

PPNetImpl::PPNetImpl(std::shared_ptr<const data::Schema> schema, PPNetOptions options_)
    : SceneModel(std::move(schema), options_.common, "PPNet"), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.gate() >= 0, "PPNet: gate must be 0 or more, got ", options.gate());
  TORCH_CHECK_VALUE(!options.tower().empty(), "PPNet: tower must have a hidden layer, got []");
  const auto& fields = this->schema();
  std::vector<bool> known(input_size());
  const auto mark = [&](int64_t field) {
    if (field >= 0) std::fill_n(known.begin() + field * common.dim(), common.dim(), true);
  };
  for (const auto& name : options.prior()) mark(fields.field(name));
  if (options.prior().empty()) {
    TORCH_CHECK_VALUE(fields.user >= 0 || fields.item >= 0,
                      "PPNet: the data has neither a user nor an item column; name the fields of the prior");
    mark(fields.user);
    mark(fields.item);
  }
  int64_t prior = 0;
  for (int64_t column = 0; column < input_size(); ++column) {
    auto& runs = known[column] ? prior_ : rest_;
    if (column == 0 || known[column] != known[column - 1]) runs.push_back({column, 0});
    ++runs.back().length;
    prior += known[column];
  }
  const auto layers = nn::MLPOptions().hidden(options.tower()).output(1).norm(options.norm());
  towers = register_module("towers",
                           nn::SceneMLP(input_size(), nn::MLPOptions(layers).dropout(options.dropout()), scenes()));
  gates = register_module("gates", nn::GateNU(prior, input_size() - prior, options.tower(), options.gate(), scenes()));
}

SceneModel::Answer PPNetImpl::body(const Rows& rows, bool explaining) {
  const auto logits = gates->forward(columns(rows.x, prior_), columns(rows.x.detach(), rest_), rows.groups);
  auto h = rows.x;
  for (int64_t layer = 0; layer < towers->layers(); ++layer) {
    h = nn::gated(logits[layer], towers->hidden(layer, h, rows.groups).flatten(1)).unsqueeze(1);  // [B, 1, H]
  }
  Answer out{towers->finish(h, rows.groups).flatten(), {}};
  if (explaining) out.parts = {{"gates", 2 * torch::cat(logits, 1).sigmoid()}};
  return out;
}

}  // namespace polyscene::models
