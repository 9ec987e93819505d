#include "polyscene/models/interest/interest_migration.h"

#include "polyscene/core/errors.h"
#include "polyscene/models/interest/interest_moves.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/masks.h"

namespace polyscene::models {
namespace {

void check_choice(const char* option, const std::string& given, const std::vector<std::string>& known) {
  TORCH_CHECK_VALUE(std::find(known.begin(), known.end(), given) != known.end(), "InterestMigration: ", option,
                    " must be one of ", join(known), ", got '", given, "'", suggestion(given, known));
}

// Second-order factorisation machine: half of (square of sum - sum of squares) over the slots of [B, F, k].
torch::Tensor interactions(const torch::Tensor& slots) {
  return 0.5 * (slots.sum(1).square() - slots.square().sum(1)).sum(1);  // [B]
}

}  // namespace

InterestMigrationImpl::InterestMigrationImpl(std::shared_ptr<const data::Schema> schema,
                                             InterestMigrationOptions options_)
    : Model(std::move(schema)), options(std::move(options_)) {
  const auto& s = this->schema();
  TORCH_CHECK_VALUE(s.user >= 0 && s.item >= 0, "InterestMigration: the data must name a user and an item column");
  TORCH_CHECK_VALUE(options.dim() > 0 && options.hidden() > 0 && options.max_length() > 0 && options.interests() > 0 &&
                        options.factors() > 0,
                    "InterestMigration: dim, hidden, max_length, interests and factors must be positive");
  TORCH_CHECK_VALUE(options.profile_history() >= 0, "InterestMigration: profile_history must be 0 or more events, got ",
                    options.profile_history());
  TORCH_CHECK_VALUE(options.profile() || options.profile_history() == 0,
                    "InterestMigration: profile_history needs profile");
  check_choice("attention", options.attention(), {"multi_head", "pair"});
  check_choice("transition", options.transition(), {"softmax", "bernoulli"});
  interests_ = s.num_interests() > 0 ? s.num_interests() : options.interests();
  const auto d = options.dim(), h = options.hidden(), k = interests_, scenes = s.num_scenes();

  embedding = register_module("embedding", nn::FeatureEmbedding(s, nn::FeatureEmbeddingOptions{d}));
  for (int64_t f = 0; f < s.num_fields(); ++f) {
    if (s.categorical[f].side == "item") item_slots_.push_back(f);
    if (s.categorical[f].side != "user") candidate_slots_.push_back(f);
  }
  for (auto slot = s.num_fields(); slot < embedding->slots(); ++slot) {
    item_slots_.push_back(slot);
    candidate_slots_.push_back(slot);
  }
  encoder = register_module("encoder", nn::SequenceEncoder(d, nn::SequenceEncoderOptions()
                                                                  .kind(options.encoder())
                                                                  .hidden(h)
                                                                  .layers(options.layers())
                                                                  .heads(options.heads())
                                                                  .scenes(scenes)
                                                                  .max_length(options.max_length())));
  if (options.attention() == "pair") {
    pair_attention = register_module("pair_attention", nn::PairAttention(h));
  } else {
    attention =
        register_module("attention", nn::MultiHeadAttention(h, nn::MultiHeadAttentionOptions().heads(options.heads())));
  }
  const auto context = options.attention() == "pair" ? 2 * h : h;
  interest_head = register_module("interest_head", torch::nn::Linear(context + h, k));
  transition_head = register_module("transition_head", torch::nn::Linear(context + k, k));
  state_projection = register_module("state_projection", torch::nn::Linear(context + h, d));
  interest_projection =
      register_module("interest_projection", torch::nn::Linear(torch::nn::LinearOptions(k, d).bias(false)));
  // The model starts as its profile: what behaviour adds is learned.
  for (auto* projection : {&state_projection, &interest_projection}) torch::nn::init::zeros_((*projection)->weight);
  torch::nn::init::zeros_(state_projection->bias);
  const auto candidate = static_cast<int64_t>(candidate_slots_.size()) * d;
  predictor = register_module("predictor",
                              nn::MLP(d + candidate + s.numeric_width(),
                                      nn::MLPOptions().hidden(options.mlp()).output(1).dropout(options.dropout())));
  if (options.profile()) {
    bias = register_module("bias", nn::FeatureEmbedding(s, nn::FeatureEmbeddingOptions{1, 0}));
    factors = register_module("factors", nn::FeatureEmbedding(s, nn::FeatureEmbeddingOptions{options.factors(), 1e-2}));
    if (options.profile_history() > 0) {
      past = register_module("past", nn::EventPool(s.categorical[s.item].rows(),
                                                   nn::EventPoolOptions{options.factors(), options.profile_history()}));
    }
  }
  event_interest = register_parameter("event_interest", torch::randn({k, d}) * 0.1);
  event_label = register_parameter("event_label", torch::randn({2, d}) * 0.1);
  scene_transition = register_parameter("scene_transition", torch::zeros({scenes * scenes, k, k}));
  scene_bias = register_parameter("scene_bias", torch::zeros({scenes}));
  base = register_buffer("base", torch::tensor(base_score(s), torch::kFloat32));
}

std::vector<std::string> InterestMigrationImpl::table_parameters() const {
  std::vector<std::string> out = {"embedding.weight"};
  if (options.profile()) out.insert(out.end(), {"bias.weight", "factors.weight"});
  if (past) out.push_back("past.item.weight");
  return out;
}

void InterestMigrationImpl::sparse_gradients(bool on) {
  embedding->set_sparse(on);
  if (!options.profile()) return;
  bias->set_sparse(on);
  factors->set_sparse(on);
  if (past) past->item->options.sparse(on);
}

InterestMigrationImpl::Steps InterestMigrationImpl::follow(const data::Events& all_events,
                                                           const torch::Tensor& row_scene, bool all_steps) {
  const auto events = all_events.newest(options.max_length());
  const auto like = event_label.options();
  const auto n = row_scene.size(0);
  const auto width = options.attention() == "pair" ? 2 * options.hidden() : options.hidden();
  Steps out;
  out.scene = row_scene;
  if (past) out.past = past->forward(all_events, n);
  if (!events.defined() || events.item.numel() == 0) {
    out.valid = torch::zeros({n, 0}, torch::kBool);
    out.last = torch::zeros({n, options.hidden()}, like);
    out.context = torch::zeros({n, width}, like);
    return out;
  }
  const auto item = schema().categorical[schema().item].name;
  auto x = embedding->embed(item, events.item) + event_label.index_select(0, events.label.gt(0.5).to(torch::kInt64));
  if (events.interest.defined()) x = x + multi_hot(events.interest, interests_, like).mm(event_interest);  // [L, D]
  const auto padded = nn::pad_ragged(x, events.offsets);                                                   // [B, T, D]
  const auto scene = nn::pad_ragged(events.scene, events.offsets).values;
  out.valid = padded.valid;
  out.states =
      torch::dropout(encoder->forward(padded.values, out.valid, scene), options.dropout(), is_training());  // [B, T, H]
  out.last = nn::last_state(out.states, out.valid);
  const auto length = out.valid.sum(1);  // [B]
  const auto newest = scene.gather(1, (length - 1).clamp_min(0).unsqueeze(1)).squeeze(1);
  out.scene = torch::where(length > 0, newest, row_scene);
  if (options.attention() == "pair") {
    const auto attended = pair_attention->attend(out.states, out.valid);  // [B, T, 2H]
    out.contexts = attended.output;
    out.weights = attended.weights.unsqueeze(1);
    out.context = nn::last_state(out.contexts, out.valid);
  } else if (all_steps) {
    const auto causal = nn::causal_mask(out.states.size(1), out.states.device());
    const auto attended = attention->attend(out.states, out.states, out.states, out.valid, causal);
    out.contexts = attended.output;
    out.weights = attended.weights;
    out.context = nn::last_state(out.contexts, out.valid);
  } else {
    // The last state attends to all valid ones: the last row of the causal attention, without the others.
    const auto context = attention->forward(out.last.unsqueeze(1), out.states, out.states, out.valid).squeeze(1);
    out.context = context * (length > 0).unsqueeze(1).to(context.dtype());
  }
  return out;
}

torch::Tensor InterestMigrationImpl::transition(const torch::Tensor& context, const torch::Tensor& interest,
                                                const torch::Tensor& from, const torch::Tensor& to) {
  const auto pair = from * schema().num_scenes() + to;  // [B]
  const auto special = torch::bmm(interest.unsqueeze(1), scene_transition.index_select(0, pair)).squeeze(1);
  return nn::dense(torch::cat({context, interest}, 1), *transition_head) + special;  // [B, K]
}

torch::Tensor InterestMigrationImpl::probabilities(const torch::Tensor& logits) const {
  return move_probabilities(logits, options.transition());
}

InterestMigrationImpl::Output InterestMigrationImpl::run(const data::Batch& batch, Steps given) {
  check(batch);
  Output out;
  out.steps = std::move(given);
  const auto& steps = out.steps;
  const auto both = torch::cat({steps.context, steps.last}, 1);
  out.interest_logits = nn::dense(both, *interest_head);                                                       // [B, K]
  out.transition_logits = transition(steps.context, out.interest_logits.sigmoid(), steps.scene, batch.scene);  // [B, K]
  const auto z =
      nn::dense(both, *state_projection) + nn::dense(probabilities(out.transition_logits), *interest_projection);
  const auto slots = embedding->forward(batch);  // [B, F, D]
  const auto index = torch::tensor(item_slots_, torch::kInt64).to(slots.device());
  const auto match = (z * slots.index_select(1, index).sum(1)).sum(1);
  const auto numeric = batch.numeric.to(slots.dtype());
  const auto own = torch::tensor(candidate_slots_, torch::kInt64).to(slots.device());
  const auto flat = torch::cat({z, slots.index_select(1, own).flatten(1), numeric}, 1);
  out.logits = base + scene_bias.index_select(0, batch.scene) + match + predictor->forward(flat).squeeze(1);
  // The state plays the part of a user's factors, and is held as short as they are.
  out.penalty = slots.square().sum() + z.square().sum();
  if (options.profile()) {
    const auto biases = bias->forward(batch);
    auto factor = factors->forward(batch);  // [B, F, factors]
    if (steps.past.defined()) factor = torch::cat({factor, steps.past.unsqueeze(1)}, 1);
    out.logits = out.logits + biases.sum({1, 2}) + interactions(factor);
    out.penalty = out.penalty + factor.square().sum() + 0.5 * biases.square().sum();
  }
  return out;
}

torch::Tensor InterestMigrationImpl::forward(const data::Batch& batch) {
  return run(batch, follow(batch.history, batch.scene, false)).logits;
}

torch::Tensor InterestMigrationImpl::score(const data::Batch& candidates, const data::Events& events,
                                           const torch::Tensor& owner) {
  const auto users = events.offsets.numel() - 1;
  auto steps = follow(events, torch::full({users}, -1, torch::kInt64), false);
  steps.last = steps.last.index_select(0, owner);
  steps.context = steps.context.index_select(0, owner);
  if (steps.past.defined()) steps.past = steps.past.index_select(0, owner);
  const auto from = steps.scene.index_select(0, owner);
  steps.scene =
      torch::where(from < 0, candidates.scene, from);  // a user without events starts in the candidate's scene
  return run(candidates, std::move(steps)).logits;
}

torch::Tensor InterestMigrationImpl::loss(const data::Batch& batch) {
  const auto out = run(batch, follow(batch.history, batch.scene, false));
  const auto rows = std::max<int64_t>(batch.size(), 1);
  auto loss = task_loss(out.logits, batch) + options.embedding_l2() * 0.5 * out.penalty / rows;
  if (schema().num_interests() == 0) return loss;
  const auto followed =
      out.steps.valid.size(1) > 0 ? out.steps.valid.any(1) : torch::zeros({batch.size()}, torch::kBool);
  if (options.interest_weight() > 0 && batch.history.defined() && batch.history.interest.defined() &&
      followed.any().item<bool>()) {
    // Interests of the last event of each row that has one.
    const auto rows_with = followed.nonzero().squeeze(1);
    const auto last = batch.history.offsets.slice(0, 1).index_select(0, rows_with) - 1;
    const auto target = multi_hot(batch.history.interest.take(last), interests_, out.interest_logits.options());
    loss = loss + options.interest_weight() *
                      torch::binary_cross_entropy_with_logits(out.interest_logits.index_select(0, rows_with), target);
  }
  if (options.transition_weight() > 0 && batch.interest.defined()) {
    const auto target = multi_hot(batch.interest, interests_, out.transition_logits.options());  // [B, K]
    loss = loss + options.transition_weight() * move_loss(out.transition_logits, target, options.transition());
  }
  return loss;
}

Explanation InterestMigrationImpl::explain(const data::Batch& batch) {
  const auto out = run(batch, follow(batch.history, batch.scene, true));
  const auto& steps = out.steps;
  const auto length = steps.valid.sum(1);  // [B]
  torch::Tensor weights = torch::zeros({batch.size(), 1, 0});
  if (steps.weights.defined()) {
    const auto heads = steps.weights.size(1), t = steps.weights.size(3);
    const auto last = (length - 1).clamp_min(0).view({-1, 1, 1, 1}).expand({-1, heads, 1, t});
    weights = steps.weights.gather(2, last).squeeze(2);  // [B, heads, T]
  }
  return {{"attention", weights},
          {"events", length},
          {"interests", out.interest_logits.sigmoid()},
          {"transitions", probabilities(out.transition_logits)}};
}

torch::Tensor InterestMigrationImpl::transition_matrix(int64_t from, int64_t to) {
  TORCH_CHECK_VALUE(history_ && history_->item.defined(), "InterestMigration: transition_matrix needs a trained model");
  const auto scenes = schema().num_scenes();
  TORCH_CHECK_INDEX(from >= 0 && from < scenes && to >= 0 && to < scenes, "transition_matrix: scenes must be in [0, ",
                    scenes, "), got ", from, " and ", to);
  const torch::NoGradGuard no_grad;
  const bool training = is_training();
  eval();
  const auto k = interests_;
  const auto like = event_label.options();
  MeanMoves moves;
  const auto add = [&](const data::Events& events) {
    const auto n = events.offsets.numel() - 1;
    const auto steps = follow(events, torch::zeros({n}, torch::kInt64), true);
    const auto scene = nn::pad_ragged(events.scene, events.offsets).values;  // [B, T]
    const auto t = scene.size(1);
    const auto moving = steps.valid.slice(1, 1) & scene.slice(1, 0, t - 1).eq(from) & scene.slice(1, 1).eq(to);
    const auto at = moving.flatten().nonzero().squeeze(1);  // steps that go from `from` to `to`
    if (at.numel() == 0) return;
    const auto pick = [&](const torch::Tensor& x) { return x.slice(1, 0, t - 1).flatten(0, 1).index_select(0, at); };
    const auto context = pick(steps.contexts), state = pick(steps.states);
    const auto interest = nn::dense(torch::cat({context, state}, 1), *interest_head).sigmoid();
    const auto scene_from = torch::full({at.numel()}, from, torch::kInt64), scene_to = torch::full_like(scene_from, to);
    const auto next = probabilities(transition(context, interest, scene_from, scene_to));
    auto now = interest;
    if (events.interest.defined()) {
      now = pick(nn::pad_ragged(multi_hot(events.interest, k, like), events.offsets).values);
    }
    moves.add(now, next);
  };
  if (options.max_length() > 1) each_window(*history_, options.max_length(), add);
  const auto zero = torch::zeros({k, transition_head->options.in_features() - k}, like);
  const auto scene_from = torch::full({k}, from, torch::kInt64), scene_to = torch::full({k}, to, torch::kInt64);
  const auto alone = probabilities(transition(zero, torch::eye(k, like), scene_from, scene_to));
  train(training);
  return moves.mean(alone);
}

}  // namespace polyscene::models
