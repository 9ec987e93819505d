#include "polyscene/models/follower.h"

namespace polyscene::models {
namespace {

SequenceModel& sequence_model(Model* model) {
  auto* out = dynamic_cast<SequenceModel*>(model);
  TORCH_CHECK_VALUE(out, "session: ", model ? model->name() : "no model",
                    " has no state after each event; recommend(events=...) takes all events of a person at once");
  return *out;
}

}  // namespace

Follower::Follower(std::shared_ptr<Model> model)
    : model_(std::move(model)),
      follows_(sequence_model(model_.get())),
      lists_(follows_.common.scope() == "scene" ? model_->schema().num_scenes() : 1) {}

size_t Follower::list_of(int64_t scene) const { return lists_.size() > 1 ? static_cast<size_t>(scene) : 0; }

void Follower::add(int64_t item, int64_t scene, int64_t time, double label) {
  const auto& schema = model_->schema();
  const auto rows = schema.categorical[schema.item].rows();
  TORCH_CHECK_INDEX(item >= 0 && item < rows, "Follower: item must be a row in [0, ", rows, "), got ", item);
  TORCH_CHECK_INDEX(scene >= 0 && scene < schema.num_scenes(), "Follower: scene must be in [0, ", schema.num_scenes(),
                    "), got ", scene);
  item_.push_back(item);
  scene_.push_back(scene);
  time_.push_back(time);
  label_.push_back(static_cast<float>(label));
  if (item == data::kUnknown) return;
  auto& list = lists_[list_of(scene)];
  list.state = torch::Tensor();
  if (++list.events > follows_.common.max_length() || !follows_.remembers()) return;
  const EvaluationMode evaluating(*model_);
  list.state = follows_.next_state(item, list.memory);
}

void Follower::add(const data::Events& events) {
  TORCH_CHECK_VALUE(events.defined() && events.offsets.numel() == 2, "Follower: events must be one list, got ",
                    events.defined() ? events.offsets.numel() - 1 : 0);
  for (int64_t j = 0; j < events.item.numel(); ++j) {
    add(events.item[j].item<int64_t>(), events.scene[j].item<int64_t>(), events.time[j].item<int64_t>(),
        events.label[j].item<double>());
  }
}

data::Events Follower::all() const {
  data::Events out;
  out.offsets = torch::tensor({int64_t{0}, events()});
  out.item = torch::tensor(item_, torch::kInt64).to(torch::kInt32);
  out.scene = torch::tensor(scene_, torch::kInt64);
  out.time = torch::tensor(time_, torch::kInt64);
  out.label = torch::tensor(label_, torch::kFloat32);
  return out;
}

torch::Tensor Follower::items() const { return torch::tensor(item_, torch::kInt64); }

torch::Tensor Follower::state(int64_t scene) {
  TORCH_CHECK_INDEX(scene >= 0 && scene < model_->schema().num_scenes(), "Follower: scene must be in [0, ",
                    model_->schema().num_scenes(), "), got ", scene);
  auto& list = lists_[list_of(scene)];
  if (list.state.defined()) return list.state;
  const torch::NoGradGuard no_grad;
  const EvaluationMode evaluating(*model_);
  const auto state = follows_.states_before(all(), scene);
  // What models compute again may depend on the scene of the row.
  if (follows_.remembers()) list.state = state;
  return state;
}

torch::Tensor Follower::scores(int64_t scene) {
  const torch::NoGradGuard no_grad;
  return follows_.scored(state(scene), scene_items(*model_, scene)).squeeze(0);
}

}  // namespace polyscene::models
