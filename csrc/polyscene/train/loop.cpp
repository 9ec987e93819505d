#include "polyscene/train/loop.h"

#include <algorithm>
#include <cmath>

#include "polyscene/core/memory.h"
#include "polyscene/core/random.h"
#include "polyscene/data/batches.h"
#include "polyscene/data/user_batches.h"
#include "polyscene/eval/evaluate.h"
#include "polyscene/models/sequence_model.h"
#include "polyscene/nn/gemm.h"
#include "polyscene/train/selection.h"

namespace polyscene::train {
namespace {

constexpr double kReportSeconds = 0.2;
constexpr int64_t kWarm = 8;     // steps after which the heap has about the size that it keeps
constexpr int64_t kLong = 4096;  // steps after which training is long enough for large pages to be worth making

// What a ranking task is watched by: "recall@20" asks for k = 20.
eval::RankingOptions ranking_of(const std::string& watched) {
  eval::RankingOptions out;
  const auto at = watched.find('@');
  if (at != std::string::npos) out.k = {std::stoll(watched.substr(at + 1))};
  for (const auto* name : {"recall", "hit", "ndcg", "mrr"}) out.metrics.push_back(name);
  const auto base = watched.substr(0, at);
  if (std::find(out.metrics.begin(), out.metrics.end(), base) == out.metrics.end()) out.metrics.push_back(base);
  return out;
}

}  // namespace

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Loop::Loop(models::Model& model, const models::Phase& phase, const data::Table& train, const data::Table* valid,
           const TrainOptions& options, const Callbacks& callbacks)
    : model_(model),
      phase_(phase),
      batch_size_(phase.batch_size > 0 ? phase.batch_size : options.batch_size()),
      train_(train),
      valid_(valid),
      options_(options),
      callbacks_(callbacks),
      weight_(balance(train, options.class_weight() == "balanced", options.scene_weight() == "balanced")),
      ranked_(ranking_of(options.monitor().empty() ? "ndcg@10" : options.monitor())) {
  if (model.schema().task == "sequence" && model.history_length() > 0 && !phase.users.defined()) {
    windows_.emplace(data::windows_of(train, model.history_length(), models::within_scene(model)));
    const data::Augmentation how{options.crop(), options.mask(), options.reorder(), options.substitute()};
    if (how.any()) augmenter_.emplace(how, train.history() ? train.history() : model.history());
  }
  const auto sampling = model.sampling();
  if (sampling.negatives == 0 || phase.users.defined()) return;
  const auto history = train.history() ? train.history() : model.history();
  TORCH_CHECK_VALUE(history, "Trainer: ", model.name(), " draws negatives, which takes a user and an item column");
  negatives_.emplace(history->interactions(), sampling);
}

std::optional<double> Loop::epoch(Optimizer& optimizer, int64_t number) {
  torch::manual_seed(static_cast<uint64_t>(RandomStream(options_.seed(), "dropout", number).bits(0) >> 1));
  model_.begin_epoch(number);
  std::optional<data::Batches> of_rows;
  std::optional<data::UserBatches> of_users;
  std::optional<data::WindowBatches> of_windows;
  const auto next = [&] { return of_users ? of_users->next() : of_windows ? of_windows->next() : of_rows->next(); };
  if (phase_.users.defined()) {
    of_users.emplace(model_.schema(), phase_.users, batch_size_, options_.seed(), number);
  } else if (windows_) {
    of_windows.emplace(train_, *windows_, model_.history_length(), batch_size_, options_.seed(), number,
                       models::within_scene(model_));
  } else {
    of_rows.emplace(train_, batch_size_, /*shuffle=*/true, options_.seed(), number, model_.history_length(),
                    data::shuffle_window(train_, options_.shuffle_window()));
  }
  const RandomStream drawn(options_.seed(), "negatives", number), changed(options_.seed(), "augment", number);
  double sum = 0;
  int64_t rows = 0, step = 0;
  while (auto batch = next()) {
    if (weight_.defined() && of_rows) {
      const auto mine = weight_.index_select(0, batch->row);
      batch->weight = batch->weight.defined() ? batch->weight * mine : mine;
    }
    if (negatives_ && of_windows) batch->next_negative = negatives_->draw_next(*batch, drawn);
    if (augmenter_ && of_windows) batch = augmenter_->apply(std::move(*batch), changed);
    if (negatives_ && !of_windows) batch->negative = negatives_->draw(*batch, drawn);
    optimizer.zero_grad();
    const nn::Bfloat16Guard precision(options_.precision() == "bf16");
    const auto loss = model_.loss(*batch);
    const double value = loss.item<double>();
    ++step;
    TORCH_CHECK(std::isfinite(value), "Trainer: the loss of ", model_.name(), " became ",
                std::isnan(value) ? "nan" : "infinite", " in epoch ", number, ", step ", step, "; a smaller lr than ",
                options_.optimizer.lr, " or clip_norm may help");
    loss.backward();
    optimizer.step();
    if (++steps_ == kWarm || steps_ == kLong) use_large_pages_on_heap(/*now=*/steps_ == kLong);
    sum += value * static_cast<double>(batch->size());
    rows += batch->size();
    if (seconds_since(reported_) < kReportSeconds) continue;
    reported_ = Clock::now();
    if (callbacks_.progress) callbacks_.progress(number, rows, size(), sum / static_cast<double>(rows));
    if (callbacks_.interrupted && callbacks_.interrupted()) return std::nullopt;
  }
  return sum / static_cast<double>(rows);
}

int64_t Loop::size() const {
  if (windows_) return windows_->position.numel();
  return phase_.users.defined() ? phase_.users.numel() : train_.size();
}

std::map<std::string, double> Loop::validate() {
  if (!valid_) return {};
  if (ranks(model_.schema().task)) return eval::evaluate_ranking(model_, *valid_, ranked_).summary.overall;
  return eval::evaluate(model_, *valid_).first.overall;
}

}  // namespace polyscene::train
