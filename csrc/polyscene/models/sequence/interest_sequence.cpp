#include "polyscene/models/sequence/interest_sequence.h"

#include <algorithm>
#include <cmath>

#include "polyscene/core/errors.h"
#include "polyscene/models/interest/interest_moves.h"
#include "polyscene/models/sequence/scene_encoders.h"
#include "polyscene/nn/dense.h"
#include "polyscene/nn/dropout.h"
#include "polyscene/nn/masks.h"
#include "polyscene/nn/ragged_attention.h"

namespace polyscene::models {
namespace {

using torch::Tensor;

constexpr int64_t kGaps = 32;  // steps of time: 0, then powers of two seconds

// The step of a time in seconds, int64: 0 for none (and for what is not later), n for [2^(n - 1), 2^n).
Tensor gap_steps(const Tensor& seconds) {
  // Whole numbers up to 2^53 are exact as doubles, and log2 of a power of two is: no step is missed by rounding.
  const auto later = seconds.clamp_min(0).to(torch::kFloat64);
  return torch::where(later.ge(1), later.clamp_min(1).log2().floor() + 1, torch::zeros_like(later))
      .clamp_max(kGaps - 1)
      .to(torch::kInt64);
}

}  // namespace

InterestSequenceImpl::InterestSequenceImpl(std::shared_ptr<const data::Schema> schema_,
                                           InterestSequenceOptions options_)
    : SequenceModel(std::move(schema_), options_.common, "InterestSequence", {"ce", "bce", "bpr"}),
      options(std::move(options_)) {
  const auto at_least_0 = [](const char* option, double value) {
    TORCH_CHECK_VALUE(value >= 0, "InterestSequence: ", option, " must be 0 or more, got ", value);
  };
  TORCH_CHECK_VALUE(common.scope() == "overall",
                    "InterestSequence: scope must be 'overall', interests move between scenes, got '", common.scope(),
                    "'");
  TORCH_CHECK_VALUE(options.heads() > 0 && common.dim() % options.heads() == 0,
                    "InterestSequence: heads must divide dim (", common.dim(), "), got ", options.heads());
  TORCH_CHECK_VALUE(options.interests() > 0, "InterestSequence: interests must be positive, got ", options.interests());
  const std::vector<std::string> transitions = {"softmax", "bernoulli"};
  TORCH_CHECK_VALUE(std::find(transitions.begin(), transitions.end(), options.transition()) != transitions.end(),
                    "InterestSequence: transition must be one of ", join(transitions), ", got '", options.transition(),
                    "'", suggestion(options.transition(), transitions));
  at_least_0("interest_weight", options.interest_weight());
  at_least_0("transition_weight", options.transition_weight());
  at_least_0("scene_weight", options.scene_weight());
  interests_ = named() ? schema().num_interests() : options.interests();
  const auto d = common.dim(), k = interests_, scenes = schema().num_scenes();
  encoder = register_module("encoder", nn::SequenceEncoder(d, nn::SequenceEncoderOptions()
                                                                  .kind(options.encoder())
                                                                  .hidden(d)
                                                                  .layers(options.layers())
                                                                  .heads(options.heads())
                                                                  .max_length(common.max_length())
                                                                  .scenes(scenes)
                                                                  .dropout(common.dropout())));
  query = register_module("query", torch::nn::Linear(d, d));
  key_value = register_module("key_value", torch::nn::Linear(d, 2 * d));
  interest_head = register_module("interest_head", torch::nn::Linear(2 * d, k));
  transition_head = register_module("transition_head", torch::nn::Linear(d + k, k));
  scene_head = register_module("scene_head", torch::nn::Linear(d + k, scenes));
  extraction = register_module("extraction", torch::nn::Linear(d, d));
  state_projection = register_module("state_projection", torch::nn::Linear(3 * d, d));
  interest_projection =
      register_module("interest_projection", torch::nn::Linear(torch::nn::LinearOptions(k, d).bias(false)));
  if (named()) event_interest = register_parameter("event_interest", torch::randn({k, d}) * 0.1);
  interest_query = register_parameter("interest_query", torch::randn({k, d}) * 0.1);
  interest_step_bias = register_parameter("interest_step_bias", torch::zeros({common.max_length(), k}));
  if (options.gaps()) interest_gap_bias = register_parameter("interest_gap_bias", torch::zeros({kGaps, k}));
  scene_pair_bias = register_parameter("scene_pair_bias", torch::zeros({scenes * scenes, k}));
  scene_transition = register_parameter("scene_transition", torch::zeros({scenes * scenes, k, k}));
  torch::nn::init::zeros_(scene_head->weight);
  torch::nn::init::zeros_(scene_head->bias);
  scene_followed =
      register_buffer("scene_followed", torch::full({scenes, scenes}, -std::log(static_cast<double>(scenes))));
  asked_scene = register_parameter("asked_scene", torch::zeros({scenes, d}));
}

void InterestSequenceImpl::prepare(const data::Table& train) {
  Model::prepare(train);
  const auto scenes = schema().num_scenes();
  auto count = torch::ones({scenes * scenes}, torch::kInt64);
  if (history() && history()->keeps_events()) {
    const auto begin = history()->offsets[data::kFirstId].item<int64_t>();  // before are events of nobody in particular
    const auto scene = history()->scene.slice(0, begin);
    auto first = torch::zeros({scene.numel() + 1}, torch::kBool);  // events that follow none of their user
    first.index_fill_(0, history()->offsets.slice(0, data::kFirstId) - begin, true);
    const auto pair = scene.slice(0, 0, -1) * scenes + scene.slice(0, 1);
    count += torch::bincount(pair.masked_select(~first.slice(0, 1, -1)), {}, scenes * scenes);
  }
  const torch::NoGradGuard no_grad;
  const auto shares = count.view({scenes, scenes}).to(torch::kFloat64);
  scene_followed.copy_((shares / shares.sum(1, true)).log());
}

Tensor InterestSequenceImpl::drop(const Tensor& x) { return nn::drop(x, common.dropout(), is_training()); }

Tensor InterestSequenceImpl::probabilities(const Tensor& logits) const {
  return move_probabilities(logits, options.transition());
}

InterestSequenceImpl::Encoded InterestSequenceImpl::encode_events(const data::Events& events) {
  auto x = vectors(events.item.to(torch::kInt64));  // [L, D]
  if (named() && events.interest.defined()) {
    x = x + multi_hot(events.interest, interests_, x.options()).mm(event_interest);
  }
  const auto padded = nn::pad_ragged(drop(x), events.offsets);
  const auto scene = nn::pad_ragged(events.scene, events.offsets).values;
  const auto h = encoder->forward(padded.values, padded.valid, scene);  // [B, T, D]
  Encoded out;
  out.events = events;
  out.states = drop(nn::unpad_ragged(h, padded.valid).values);
  out.contexts = nn::ragged_attention(nn::dense(out.states, *query), nn::dense(out.states, *key_value), events.offsets,
                                      options.heads(), /*causal=*/true, is_training() ? common.dropout() : 0);
  out.interests = nn::dense(torch::cat({out.contexts, out.states}, 1), *interest_head);
  return out;
}

Tensor InterestSequenceImpl::transition(const Tensor& context, const Tensor& interest, const Tensor& from,
                                        const Tensor& to) {
  const auto pair = from * schema().num_scenes() + to;  // [n]
  const auto special = torch::bmm(interest.unsqueeze(1), scene_transition.index_select(0, pair)).squeeze(1);
  return nn::dense(torch::cat({context, interest}, 1), *transition_head) + special;  // [n, K]
}

InterestSequenceImpl::Answer InterestSequenceImpl::answer(const Encoded& encoded, const Tensor& at, const Tensor& asked,
                                                          bool newest) {
  const auto& events = encoded.events;
  const auto k = interests_, d = common.dim(), scenes = schema().num_scenes();
  const auto pick = [&](const Tensor& x) { return newest ? x.index_select(0, at) : x; };
  const auto states = pick(encoded.states), contexts = pick(encoded.contexts);
  const auto now = pick(encoded.interests).sigmoid();
  Answer out;
  out.transitions = transition(contexts, now, pick(events.scene), asked);
  out.next_scene =
      nn::dense(torch::cat({contexts, now}, 1), *scene_head) + scene_followed.index_select(0, pick(events.scene));
  // Queries of a list side by side, [B, Q]: its newest event or all of them.
  const auto lengths = events.offsets.diff();
  const auto some = lengths.gt(0).nonzero().squeeze(1);
  const auto lists = some.numel();
  const auto told = [&](const Tensor& x) { return nn::pad_ragged(x, events.offsets).values.index_select(0, some); };
  const auto h = told(encoded.states);  // [B, T, D]
  const auto time = h.size(1);
  const auto length = lengths.index_select(0, some);
  const auto beside = [&](const Tensor& x) { return newest ? x.unsqueeze(1) : told(x); };
  const auto place = newest ? (length - 1).unsqueeze(1) : torch::arange(time).unsqueeze(0).expand({lists, time});
  const auto distance = place.unsqueeze(2) - torch::arange(time).view({1, 1, time});  // [B, Q, T]
  const auto mask = distance.ge(0) & place.lt(length.unsqueeze(1)).unsqueeze(2);
  const auto shape = std::vector<int64_t>{lists, place.size(1), time, k};
  const auto biased = [&](const Tensor& bias, const Tensor& rows) {
    return rows_from(bias, rows.flatten()).view(shape);
  };
  auto scores = nn::dense(nn::dense(h.flatten(0, 1), *extraction).tanh(), interest_query).view({lists, 1, time, k}) +
                biased(interest_step_bias, distance.clamp_min(0)) +
                biased(scene_pair_bias, beside(asked).unsqueeze(2) * scenes + told(events.scene).unsqueeze(1));
  if (options.gaps()) {
    const auto clock = told(events.time);
    scores = scores + biased(interest_gap_bias, gap_steps(beside(pick(events.time)).unsqueeze(2) - clock.unsqueeze(1)));
  }
  out.attention = nn::masked_softmax(scores, mask.unsqueeze(3), 2);  // [B, Q, T, K]
  const auto queries = shape[1];
  const auto read = torch::bmm(out.attention.transpose(2, 3).reshape({lists, queries * k, time}), h);
  const auto each = read.view({lists, queries, k, d});  // v
  const auto next = probabilities(out.transitions);
  const auto mixed = (beside(next).unsqueeze(3) * each).sum(2);  // [B, Q, D]
  const auto mine = newest ? mixed.squeeze(1) : mixed.index({mask.any(2)});
  out.state = nn::dense(torch::cat({contexts, states, mine}, 1), *state_projection) +
              nn::dense(next, interest_projection->weight) + asked_scene.index_select(0, asked);
  return out;
}

InterestSequenceImpl::Answer InterestSequenceImpl::answer_newest(const Encoded& encoded, const Tensor& asked) {
  const auto some = encoded.events.offsets.diff().gt(0).nonzero().squeeze(1);
  const auto last = encoded.events.offsets.slice(0, 1).index_select(0, some) - 1;
  return answer(encoded, last, asked.index_select(0, some), true);
}

Tensor InterestSequenceImpl::next_interests(const data::Batch& batch) const {
  const auto& events = batch.history;
  const auto count = events.item.numel();
  const auto like = item->weight.options().requires_grad(false);
  const auto about = torch::cat(
      {multi_hot(events.interest, interests_, like), multi_hot(batch.interest, interests_, like)});  // [L + B, K]
  const auto lengths = events.offsets.diff();
  const auto some = lengths.gt(0).nonzero().squeeze(1);
  const auto last = events.offsets.slice(0, 1).index_select(0, some) - 1;
  const auto next = (torch::arange(count) + 1).index_copy(0, last, count + some);
  const auto shown = torch::cat({events.item.to(torch::kInt64), batch.item}).index_select(0, next);
  return about.index_select(0, next) * shown.eq(batch.next_item).unsqueeze(1).to(about.dtype());
}

Tensor InterestSequenceImpl::loss(const data::Batch& batch) {
  check(batch);
  const auto [events, target] = steps_of(batch);
  check_negatives(batch.next_negative);
  const auto steps = target.ge(0).nonzero().squeeze(1);
  if (steps.numel() == 0) return item->weight.sum() * 0;
  const auto place = target.index_select(0, steps);
  const auto next = batch.next_item.index_select(0, place), scene = batch.next_scene.index_select(0, place);
  const auto asked = events.scene.index_copy(0, steps, scene);  // an event that teaches nothing asks for its own scene
  const auto encoded = encode_events(events);
  const auto answered = answer(encoded, {}, asked, false);
  const auto x = answered.state.index_select(0, steps);
  Tensor sum;
  if (common.loss() == "ce") {
    auto classes = classes_of(scene);
    look_up(classes);
    sum = cross_entropy(x, next, scene, classes);
  } else {
    const auto among = torch::cat({next.unsqueeze(1), batch.next_negative.index_select(0, place)}, 1).flatten();
    sum = compared(x, vectors(among), {});
  }
  if (named() && options.interest_weight() > 0 && events.interest.defined()) {
    const auto about = multi_hot(events.interest, interests_, x.options());
    sum = sum + options.interest_weight() * move_loss(encoded.interests, about, "bernoulli");
  }
  if (named() && options.transition_weight() > 0 && batch.history.interest.defined() && batch.interest.defined()) {
    sum = sum + options.transition_weight() * move_loss(answered.transitions.index_select(0, steps),
                                                        next_interests(batch).index_select(0, place),
                                                        options.transition());
  }
  if (options.scene_weight() > 0 && schema().num_scenes() > 1) {
    sum = sum +
          options.scene_weight() * torch::nll_loss(answered.next_scene.index_select(0, steps).log_softmax(1), scene);
  }
  return sum;
}

Tensor InterestSequenceImpl::states_before(const data::Events& events, int64_t scene) {
  const auto mine = kept(events, nullptr);
  const auto lists = mine.offsets.numel() - 1;
  const auto out = torch::zeros({lists, common.dim()}, item->weight.options());
  if (mine.item.numel() == 0) return out;
  const auto answered = answer_newest(encode_events(mine), torch::full({lists}, scene, torch::kInt64));
  return out.index_copy(0, mine.offsets.diff().gt(0).nonzero().squeeze(1), answered.state);
}

Explanation InterestSequenceImpl::explain(const data::Batch& batch) {
  check(batch);
  TORCH_CHECK_VALUE(batch.history.defined(), name(),
                    ": the batch carries no history; table.batch(rows, history=", common.max_length(), ") does");
  const auto count = batch.history.item.numel(), rows = batch.size(), k = interests_;
  auto place = torch::arange(count);  // where each event that counts lies in the batch
  const auto events = kept(batch.history, &place);
  const auto some = events.offsets.diff().gt(0).nonzero().squeeze(1);
  const auto all = batch.history.offsets.diff();
  const auto longest = rows > 0 ? all.max().item<int64_t>() : 0;
  const auto zeros = [&](std::vector<int64_t> shape) { return torch::zeros(shape, item->weight.options()); };
  Explanation out = {{"state", zeros({rows, common.dim()})},
                     {"attention", zeros({rows, k, longest})},
                     {"events", all},
                     {"interests", zeros({rows, k})},
                     {"transitions", zeros({rows, k})},
                     {"next_scene", zeros({rows, schema().num_scenes()})}};
  if (some.numel() == 0) return out;
  const auto encoded = encode_events(events);
  const auto answered = answer_newest(encoded, batch.scene);
  const auto last = events.offsets.slice(0, 1).index_select(0, some) - 1;
  const auto weights = nn::unpad_ragged(answered.attention.squeeze(1),
                                        nn::padding_mask(events.offsets.diff().index_select(0, some),
                                                         answered.attention.size(2)));  // [L, K] of those that count
  out[1].second = nn::pad_ragged(zeros({count, k}).index_copy(0, place, weights.values), batch.history.offsets)
                      .values.transpose(1, 2);
  const std::vector<Tensor> found = {answered.state,
                                     {},
                                     {},
                                     encoded.interests.index_select(0, last).sigmoid(),
                                     probabilities(answered.transitions),
                                     answered.next_scene.softmax(1)};
  for (size_t n = 0; n < found.size(); ++n) {
    if (found[n].defined()) out[n].second = out[n].second.index_copy(0, some, found[n]);
  }
  return out;
}

Tensor InterestSequenceImpl::transition_matrix(int64_t from, int64_t to) {
  TORCH_CHECK_VALUE(history() && history()->keeps_events(),
                    "InterestSequence: transition_matrix needs a trained model");
  const auto scenes = schema().num_scenes(), k = interests_;
  TORCH_CHECK_INDEX(from >= 0 && from < scenes && to >= 0 && to < scenes, "transition_matrix: scenes must be in [0, ",
                    scenes, "), got ", from, " and ", to);
  const torch::NoGradGuard no_grad;
  const EvaluationMode evaluating(*this);
  const auto like = item->weight.options();
  const auto scene_of = [](int64_t scene, int64_t n) { return torch::full({n}, scene, torch::kInt64); };
  MeanMoves moves;
  const auto add = [&](const data::Events& events) {
    auto last = torch::zeros({events.item.numel()}, torch::kBool);
    last.index_fill_(0, events.offsets.slice(0, 1) - 1, true);
    const auto at = (events.scene.slice(0, 0, -1).eq(from) & events.scene.slice(0, 1).eq(to) & ~last.slice(0, 0, -1))
                        .nonzero()
                        .squeeze(1);  // events after which somebody goes from `from` to `to`
    if (at.numel() == 0) return;
    const auto encoded = encode_events(events);
    const auto interest = encoded.interests.index_select(0, at).sigmoid();
    const auto next = transition(encoded.contexts.index_select(0, at), interest, scene_of(from, at.numel()),
                                 scene_of(to, at.numel()));
    const auto now = named() && events.interest.defined() ? multi_hot(events.interest.take(at), k, like) : interest;
    moves.add(now, probabilities(next));
  };
  if (common.max_length() > 1) each_window(*history(), common.max_length(), add);
  const auto alone =
      transition(torch::zeros({k, common.dim()}, like), torch::eye(k, like), scene_of(from, k), scene_of(to, k));
  return moves.mean(probabilities(alone));
}

}  // namespace polyscene::models
