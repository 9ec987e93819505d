#include "polyscene/models/multi/specialist.h"

#include <algorithm>
#include <limits>

#include "polyscene/core/json.h"
#include "polyscene/models/registry.h"

namespace polyscene::models {
namespace {

std::string plainest(const std::string& task) {
  if (task == "ranking") return "bpr_mf";
  if (task == "sequence") return "sasrec";
  if (task == "text") return "text_classifier";
  return task == "image" ? "image_classifier" : "mf";
}

double weight_of(const data::Batch& batch) {
  return batch.weight.defined() ? batch.weight.sum().item<double>() : static_cast<double>(batch.size());
}

// Writes the rows `part` into `out` where `rows` says.
torch::Tensor place(const torch::Tensor& out, const torch::Tensor& part, const torch::Tensor& rows) {
  std::vector<int64_t> pad;
  for (auto d = out.dim() - 1; d >= 1; --d) {
    pad.push_back(0);
    pad.push_back(out.size(d) - part.size(d));
  }
  return out.index_copy(0, rows, torch::constant_pad_nd(part, pad));
}

}  // namespace

SpecialistImpl::SpecialistImpl(std::shared_ptr<const data::Schema> schema, SpecialistOptions options_)
    : Model(std::move(schema)), options(std::move(options_)) {
  TORCH_CHECK_VALUE(options.model() != "specialist", "Specialist: model must be a plain model, got 'specialist'");
  const auto& known = this->schema();
  if (options.model().empty()) options.model(plainest(known.task));
  std::vector<int64_t> scenes;
  for (const auto& scene : options.scenes()) scenes.push_back(known.scene(scene));
  if (scenes.empty() && known.scene_rows.defined() && known.scene_rows.numel() > 0)
    scenes.push_back(known.scene_rows.argmin().item<int64_t>());
  special_scenes_ = torch::tensor(scenes, torch::kInt64);
  const auto settings = option_map(parse_json(options.settings(), "Specialist: settings"), "settings");
  general = register_module("general", create(options.model(), schema_, settings));
  special = register_module("special", create(options.model(), schema_, settings));
}

SpecialistImpl::Rows SpecialistImpl::divide(const torch::Tensor& scene) const {
  const auto mine = torch::isin(scene, special_scenes_.to(scene.device()));
  return {mine.logical_not().nonzero().squeeze(1), mine.nonzero().squeeze(1)};
}

Model& SpecialistImpl::model_of(int64_t scene) const {
  return special_scenes_.eq(scene).any().item<bool>() ? *special : *general;
}

void SpecialistImpl::share_history() {
  for (auto* part : {general.get(), special.get()}) {
    if (!part->history()) part->set_history(history_);  // a model that was loaded holds it once
  }
}

torch::Tensor SpecialistImpl::forward(const data::Batch& batch) {
  check(batch);
  share_history();
  const auto rows = divide(batch.scene);
  if (rows.special.numel() == 0) return general->forward(batch);
  if (rows.general.numel() == 0) return special->forward(batch);
  auto first = general->forward(batch.take(rows.general)), second = special->forward(batch.take(rows.special));
  if (schema().task == "sequence") {  // a scene with fewer items ends in -inf
    const auto wide = std::max(first.size(1), second.size(1));
    for (auto* each : {&first, &second}) {
      *each = torch::constant_pad_nd(*each, {0, wide - each->size(1)}, -std::numeric_limits<double>::infinity());
    }
  }
  return torch::cat({first, second}).index_select(0, torch::cat({rows.general, rows.special}).argsort());
}

torch::Tensor SpecialistImpl::score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) {
  share_history();
  return model_of(scene).score_items(users, scene, items);
}

void SpecialistImpl::encode() {
  share_history();
  general->encode();
  special->encode();
}

torch::Tensor SpecialistImpl::score(const data::Batch& candidates, const data::Events& events,
                                    const torch::Tensor& owner) {
  share_history();
  const auto rows = divide(candidates.scene);
  if (rows.special.numel() == 0) return general->score(candidates, events, owner);
  if (rows.general.numel() == 0) return special->score(candidates, events, owner);
  const auto of = [&](Model& model, const torch::Tensor& index) {
    return model.score(candidates.take(index), events, owner.index_select(0, index));
  };
  const auto out = torch::cat({of(*general, rows.general), of(*special, rows.special)});
  return out.index_select(0, torch::cat({rows.general, rows.special}).argsort());
}

torch::Tensor SpecialistImpl::loss(const data::Batch& batch) {
  check(batch);
  share_history();
  const auto rows = divide(batch.scene);
  if (rows.special.numel() == 0) return general->loss(batch);
  if (rows.general.numel() == 0) return special->loss(batch);
  const auto first = batch.take(rows.general), second = batch.take(rows.special);
  const auto a = weight_of(first), b = weight_of(second), sum = std::max(a + b, 1e-12);
  return general->loss(first) * (a / sum) + special->loss(second) * (b / sum);
}

torch::Tensor SpecialistImpl::represent(const data::Batch& batch) {
  check(batch);
  share_history();
  const auto rows = divide(batch.scene);
  if (rows.special.numel() == 0) return general->represent(batch);
  if (rows.general.numel() == 0) return special->represent(batch);
  const auto out =
      torch::cat({general->represent(batch.take(rows.general)), special->represent(batch.take(rows.special))});
  return out.index_select(0, torch::cat({rows.general, rows.special}).argsort());
}

Explanation SpecialistImpl::explain(const data::Batch& batch) {
  check(batch);
  share_history();
  const auto rows = divide(batch.scene);
  if (rows.special.numel() == 0) return general->explain(batch);
  if (rows.general.numel() == 0) return special->explain(batch);
  const auto first = general->explain(batch.take(rows.general));
  const auto second = special->explain(batch.take(rows.special));
  Explanation out;
  for (const auto& [name, part] : first) {
    const auto found = std::find_if(second.begin(), second.end(), [&](const auto& x) { return x.first == name; });
    const bool by_row = part.dim() > 0 && part.size(0) == rows.general.numel();
    if (found == second.end() || !by_row || found->second.dim() != part.dim()) continue;
    auto shape = part.sizes().vec();
    shape[0] = batch.size();
    for (int64_t d = 1; d < part.dim(); ++d) shape[d] = std::max(part.size(d), found->second.size(d));
    const auto all = place(torch::zeros(shape, part.options()), part, rows.general);
    out.emplace_back(name, place(all, found->second, rows.special));
  }
  return out;
}

void SpecialistImpl::prepare(const data::Table& train) {
  Model::prepare(train);
  general->prepare(train);
  special->prepare(train);
}

bool SpecialistImpl::fit_closed_form(const data::Table& train) {
  const bool closed = general->fit_closed_form(train);
  return special->fit_closed_form(train) && closed;
}

void SpecialistImpl::begin_epoch(int64_t epoch) {
  general->begin_epoch(epoch);
  special->begin_epoch(epoch);
}

int64_t SpecialistImpl::history_length() const {
  return std::max(general->history_length(), special->history_length());
}

std::vector<std::string> SpecialistImpl::table_parameters() const {
  std::vector<std::string> out;
  for (const auto& name : general->table_parameters()) out.push_back("general." + name);
  for (const auto& name : special->table_parameters()) out.push_back("special." + name);
  return out;
}

void SpecialistImpl::sparse_gradients(bool on) {
  general->sparse_gradients(on);
  special->sparse_gradients(on);
}

torch::Tensor SpecialistImpl::transition_matrix(int64_t from, int64_t to) {
  share_history();
  return model_of(to).transition_matrix(from, to);
}

Model& answering(Model& model, int64_t scene) {
  auto* two = dynamic_cast<SpecialistImpl*>(&model);
  return two ? two->model_of(scene) : model;
}

}  // namespace polyscene::models
