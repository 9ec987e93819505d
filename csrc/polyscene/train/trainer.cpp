#include "polyscene/train/trainer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <unistd.h>

#include <algorithm>

#include "polyscene/core/errors.h"
#include "polyscene/core/log.h"
#include "polyscene/core/memory.h"
#include "polyscene/core/named_tensors.h"
#include "polyscene/data/augment.h"
#include "polyscene/data/batches.h"
#include "polyscene/data/classes.h"
#include "polyscene/data/table_pages.h"
#include "polyscene/eval/evaluate.h"
#include "polyscene/eval/ranking.h"
#include "polyscene/models/int8_tables.h"
#include "polyscene/train/loop.h"
#include "polyscene/train/resume.h"
#include "polyscene/train/selection.h"

namespace polyscene::train {
namespace {

constexpr int64_t kMostThreads = 1024;
constexpr int64_t kUnjudged = 30;  // epochs of a phase that no validation row can judge

// The process that loaded the library: after a fork the thread pools of torch are gone.
const pid_t kProcess = getpid();

// Number of threads and state of the default generator, as the caller had them.
class ProcessState {
 public:
  explicit ProcessState(int64_t threads) : threads_(at::get_num_threads()) {
    auto generator = at::detail::getDefaultCPUGenerator();
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator_ = generator.get_state();
    if (threads > 0) at::set_num_threads(static_cast<int>(threads));
  }
  ~ProcessState() {
    at::set_num_threads(threads_);
    auto generator = at::detail::getDefaultCPUGenerator();
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(generator_);
  }
  ProcessState(const ProcessState&) = delete;
  ProcessState& operator=(const ProcessState&) = delete;

 private:
  int threads_;
  at::Tensor generator_;
};

// Training mode and sparse gradients while it lives.
class TrainingMode {
 public:
  TrainingMode(models::Model& model, bool sparse) : model_(model), training_(model.is_training()) {
    model_.train();
    model_.sparse_gradients(sparse);
  }
  // A model written in Python may raise, at the latest when Ctrl-C is pressed again.
  ~TrainingMode() {
    try {
      model_.zero_grad();
      model_.sparse_gradients(false);
      model_.train(training_);
    } catch (const std::exception& error) {
      log(kError, "Trainer: the model could not be put back into its mode: " + std::string(error.what()));
    }
  }
  TrainingMode(const TrainingMode&) = delete;
  TrainingMode& operator=(const TrainingMode&) = delete;

 private:
  models::Model& model_;
  bool training_;
};

void check_choice(const char* option, const std::string& given, const std::vector<std::string>& known) {
  TORCH_CHECK_VALUE(std::find(known.begin(), known.end(), given) != known.end(), "Trainer: ", option,
                    " must be one of ", join(known), ", got '", given, "'", suggestion(given, known));
}

bool has_prefix(const std::string& name, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const auto& prefix) { return name == prefix || name.starts_with(prefix + "."); });
}

// Whether the score has been the same since the phase began: what it trains serves nobody among the validation rows.
bool unmoved(const std::vector<Epoch>& history, const std::string& phase, const std::string& watched) {
  const auto value = [&](const Epoch& line) { return line.valid.at(watched); };
  const auto mine = [&](const Epoch& line) { return line.phase == phase && line.valid.contains(watched); };
  const auto first = std::find_if(history.begin(), history.end(), mine);
  return first != history.end() && std::all_of(first, history.end(), [&](const Epoch& line) {
           return !mine(line) || value(line) == value(*first);
         });
}

}  // namespace

Trainer::Trainer(TrainOptions options) : options_(std::move(options)) {
  options_.optimizer.check();
  TORCH_CHECK_VALUE(options_.batch_size() > 0, "Trainer: batch_size must be positive, got ", options_.batch_size());
  TORCH_CHECK_VALUE(options_.shuffle_window() == 0 || options_.shuffle_window() >= options_.batch_size(),
                    "Trainer: shuffle_window must be 0 or at least batch_size (", options_.batch_size(), "), got ",
                    options_.shuffle_window());
  TORCH_CHECK_VALUE(options_.epochs() > 0, "Trainer: epochs must be positive, got ", options_.epochs());
  TORCH_CHECK_VALUE(options_.patience() >= 0, "Trainer: patience must not be negative, got ", options_.patience());
  TORCH_CHECK_VALUE(options_.threads() >= 0 && options_.threads() <= kMostThreads, "Trainer: threads must lie in [0, ",
                    kMostThreads, "], got ", options_.threads());
  TORCH_CHECK_VALUE(options_.seed() >= 0, "Trainer: seed must not be negative, got ", options_.seed());
  for (const auto value : {options_.crop(), options_.mask(), options_.reorder(), options_.substitute()}) {
    TORCH_CHECK_VALUE(value >= 0 && value < 1,
                      "Trainer: crop, mask, reorder and substitute must be probabilities in [0, 1), got ", value);
  }
  check_choice("class_weight", options_.class_weight(), {"none", "balanced"});
  check_choice("scene_weight", options_.scene_weight(), {"none", "balanced"});
  check_choice("precision", options_.precision(), {"float32", "bf16"});
}

Optimizer Trainer::make_optimizer(const models::Model& model, const models::Phase& phase) const {
  const auto names = model.table_parameters();
  NamedTensors dense, tables;
  // Shared tensors once, or they would step twice.
  for (const auto& entry : named_tensors(model)) {
    if (entry.is_buffer || !entry.tensor.requires_grad() || has_prefix(entry.name, phase.frozen)) continue;
    const bool table = std::find(names.begin(), names.end(), entry.name) != names.end();
    (table ? tables : dense).emplace_back(entry.name, entry.tensor);
  }
  Optimizer out(options_.optimizer, dense, tables);
  out.set_phase({}, phase.lr_scale);
  for (const auto& [prefix, scale] : phase.lr_scales) out.set_lr_scale(prefix, scale);
  return out;
}

std::string Trainer::monitor(const std::string& task) const {
  if (!options_.monitor().empty()) return options_.monitor();
  return task == "rating" ? "rmse" : data::has_classes(task) ? "f1" : ranks(task) ? "ndcg@10" : "auc";
}

void Trainer::check_monitor(const models::Model& model) const {
  const auto& schema = model.schema();
  if (ranks(schema.task)) {
    const auto watched = monitor(schema.task);
    const auto at = watched.find('@');
    const auto bases = eval::ranking_metrics();
    const auto base = watched.substr(0, at);
    const auto k = at == std::string::npos ? "" : watched.substr(at + 1);
    const bool whole = !k.empty() && k.size() < 10 && k.find_first_not_of("0123456789") == std::string::npos;
    TORCH_CHECK_VALUE(std::find(bases.begin(), bases.end(), base) != bases.end() && whole && std::stoll(k) > 0,
                      "Trainer: monitor must be a metric of task ranking with its cut-off, such as 'ndcg@10', got '",
                      watched, "'; known metrics: ", join(bases), suggestion(base, bases));
    return;
  }
  const auto known = eval::default_metrics(schema.task, schema.user >= 0, /*items=*/false);
  const auto watched = monitor(schema.task);
  TORCH_CHECK_VALUE(std::find(known.begin(), known.end(), watched) != known.end(),
                    "Trainer: monitor must be a metric of task ", schema.task, ", got '", watched,
                    "'; known metrics: ", join(known), suggestion(watched, known));
}

FitResult Trainer::fit(models::Model& model, const data::Table& train, const data::Table* valid,
                       const Callbacks& callbacks, const std::string& checkpoint, bool resume) const {
  TORCH_CHECK_VALUE(torch::GradMode::is_enabled() && !c10::InferenceMode::is_enabled(),
                    "Trainer: fit needs gradients; call it outside torch.no_grad() and torch.inference_mode()");
  TORCH_CHECK_VALUE(getpid() == kProcess,
                    "Trainer: this process was forked after polyscene was loaded, where torch's threads "
                    "do not work; start it with the 'spawn' method");
  TORCH_CHECK_VALUE(!models::is_quantized(model), "Trainer: the tables of ", model.name(),
                    " hold 8-bit rows for inference; train the model that was quantised, and quantise it again");
  TORCH_CHECK_VALUE(train.size() > 0, "Trainer: the training table has no rows");
  TORCH_CHECK_VALUE(train.schema().digest() == model.schema().digest(),
                    "Trainer: the training table belongs to another schema "
                    "than the model");
  TORCH_CHECK_VALUE(!valid || valid->schema().digest() == model.schema().digest(),
                    "Trainer: the validation table belongs to "
                    "another schema than the model");
  TORCH_CHECK_VALUE(model.history_length() == 0 || !train.history() || train.has_events(), "Trainer: ", model.name(),
                    " follows the behaviour of users, and the data set was opened without it, as those of more than ",
                    data::kStreamedRows,
                    " training rows are; open_data(path, history=True) keeps it, which takes "
                    "about 32 bytes of memory a training row");
  TORCH_CHECK_VALUE(
      model.schema().task != "sequence" || (options_.class_weight() == "none" && options_.scene_weight() == "none"),
      "Trainer: class_weight and scene_weight weigh rows; sequences train whole windows of them, so that "
      "both must be 'none'");
  const bool augments =
      data::Augmentation{options_.crop(), options_.mask(), options_.reorder(), options_.substitute()}.any();
  TORCH_CHECK_VALUE(!augments || model.schema().task == "sequence",
                    "Trainer: crop, mask, reorder and substitute change windows of events, which task 'sequence' alone "
                    "trains on, got task '",
                    model.schema().task, "'");
  if (valid && valid->size() == 0) valid = nullptr;
  if (valid) check_monitor(model);
  keep_freed_memory();
  const ProcessState process(options_.threads());
  torch::manual_seed(static_cast<uint64_t>(options_.seed()));

  Progress state;
  const auto watched = monitor(model.schema().task);
  model.prepare(train);
  if (model.fit_closed_form(train)) {
    const auto start = Clock::now();
    Epoch line{1, "closed_form", 0, Loop(model, models::Phase{}, train, valid, options_, callbacks).validate()};
    line.seconds = seconds_since(start);
    line.best = true;
    state.result.history.push_back(line);
    state.result.best_epoch = 1;
    if (callbacks.epoch) callbacks.epoch(line);
    return state.result;
  }

  const auto identity = checkpoint.empty() ? "" : identity_of(model, train, valid, options_);
  const auto phases = model.phases();
  std::map<std::string, torch::Tensor> optimizer_state;
  if (resume) {
    optimizer_state = load_progress(checkpoint, identity, model, state);
    log(kInfo, c10::str("Trainer: going on after epoch ", state.total, " of ", checkpoint));
  }
  if (!resume) state.best = clone_state(model);

  data::use_large_pages(train);
  const TrainingMode training(model, make_optimizer(model, {}).lazy());
  try {
    for (; state.phase < static_cast<int64_t>(phases.size()) && !state.result.interrupted; ++state.phase) {
      const auto& phase = phases[state.phase];
      const auto rows = rows_of(train, phase.scenes);
      const bool idle = rows.size() == 0 || (phase.users.defined() && phase.users.numel() == 0);
      if (idle) {  // as phases of other scenes are where a transfer trains some scenes alone
        const auto present = std::get<0>(at::_unique(train.scenes())).numel();
        TORCH_CHECK_VALUE(present < model.schema().num_scenes(), "Trainer: phase '", phase.name,
                          "' has no users to train on");
        log(kInfo, c10::str("Trainer: phase '", phase.name, "' of ", model.name(), " has nothing to train on"));
        state.start_phase();
        continue;
      }
      model.begin_phase(phase);
      // The best epoch of a phase is the best one for its scenes.
      auto judged = valid ? std::make_optional(rows_of(*valid, phase.scenes)) : std::nullopt;
      const auto* judge = judged && judged->size() > 0 ? &*judged : valid;
      if (judge && phase.of_known) {
        judged = of_known(*judge, train, model);
        judge = judged->size() > 0 ? &*judged : nullptr;
      }
      Loop loop(model, phase, rows, judge, options_, callbacks);
      TORCH_CHECK_VALUE(loop.size() > 0, "Trainer: no user has two training rows, so that nothing follows anything");
      const bool unjudged = valid && !judge;
      const auto most = unjudged ? std::min(options_.epochs(), kUnjudged) : options_.epochs();
      const auto epochs = phase.epochs > 0 ? phase.epochs : most;
      const auto patience = phase.patience >= 0 ? phase.patience : options_.patience();
      auto optimizer = make_optimizer(model, phase);
      optimizer.set_total_steps(epochs * loop.batches());
      if (!optimizer_state.empty()) optimizer.load(std::exchange(optimizer_state, {}));
      const auto wait = [&] {
        const bool silent = phase.newest && unmoved(state.result.history, phase.name, watched);
        return silent ? std::max(patience, kUnjudged - 1) : patience;
      };
      while (state.epoch < epochs && !(patience > 0 && state.waited >= wait())) {
        const auto start = Clock::now();
        const auto loss = loop.epoch(optimizer, state.total + 1);
        if (!loss) {
          state.result.interrupted = true;
          break;
        }
        const double train_seconds = seconds_since(start);
        Epoch line{++state.total, phase.name, *loss, loop.validate()};
        line.seconds = seconds_since(start);
        line.rows_per_s = static_cast<double>(loop.rows()) / train_seconds;
        const auto found = state.judge(line, judge ? watched : "");
        line.best = found == Standing::kBetter || (found == Standing::kEqual && phase.newest);
        if (line.best) {
          state.best = clone_state(model);
          state.result.best_epoch = line.epoch;
        }
        state.waited = found == Standing::kBetter ? 0 : state.waited + 1;
        ++state.epoch;
        state.result.history.push_back(line);
        if (!checkpoint.empty()) save_progress(checkpoint, identity, model, optimizer.state(), state);
        if (callbacks.epoch) callbacks.epoch(line);
        if (callbacks.interrupted && callbacks.interrupted()) {
          state.result.interrupted = true;
          break;
        }
      }
      if (state.result.interrupted) break;
      restore_state(model, state.best);
      state.start_phase();
    }
  } catch (...) {
    restore_state(model, state.best);
    throw;
  }
  restore_state(model, state.best);
  TORCH_CHECK_VALUE(state.total > 0 || state.result.interrupted, "Trainer: no phase of ", model.name(),
                    " has training rows");
  return state.result;
}

}  // namespace polyscene::train
