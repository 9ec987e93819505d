#pragma once

#include <string>
#include <utility>
#include <vector>

#include "polyscene/models/base.h"
#include "polyscene/models/serving.h"
#include "polyscene/nn/lookup.h"

namespace polyscene::models {

/// Options that models of sequences share.
struct SequenceOptions {
  /// Width of the items' vectors (D).
  TORCH_ARG(int64_t, dim) = 64;
  /// Events that are followed, the newest (T).
  TORCH_ARG(int64_t, max_length) = 50;
  /// "overall" or "scene".
  TORCH_ARG(std::string, scope) = "overall";
  /// Dropout in training.
  TORCH_ARG(double, dropout) = 0.2;
  /// What is minimised.
  TORCH_ARG(std::string, loss) = "ce";
  /// Items drawn beside each that followed (N), for losses that compare.
  TORCH_ARG(int64_t, negatives) = 1;
  /// How they are drawn: "uniform", "popularity" or "in_batch".
  TORCH_ARG(std::string, sampler) = "uniform";

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("dim", self.dim(), "width of the items' vectors");
    visit("max_length", self.max_length(), "events that are followed, the newest; longer pasts are cut into windows");
    visit("scope", self.scope(),
          "'overall': events of all scenes in one sequence; 'scene': those of each scene by themselves");
    visit("dropout", self.dropout(), "dropout in training");
    visit("loss", self.loss(),
          "'ce': softmax over the items of the scene; 'bce', 'bpr', 'top1', 'bpr_max': the item that followed against "
          "drawn ones");
    visit("negatives", self.negatives(), "items drawn beside each that followed, none of which the user met there");
    visit("sampler", self.sampler(),
          "where they come from: 'uniform' and 'popularity' draw from the scene's items, 'in_batch' from other events");
  }
};

/// What a model keeps of a list of events, so that one more costs one step (`SequenceModel::next_state`).
struct Memory {
  std::vector<torch::Tensor> parts;  ///< the model's own
  int64_t events = 0;                ///< that have passed
};

/// A model that predicts which item follows, from a state after each event (task sequence):
///
///   r(i | events) = h . q_i,  i of the scene of the item that followed
///
///   ce:      -log softmax over the items of the scene with training rows
///   bce:     -log sigma(r_+) - mean_j log(1 - sigma(r_j))
///   bpr:     mean_j -log sigma(r_+ - r_j)
///   top1, bpr_max: `nn::top1`, `nn::bpr_max`
///
/// The loss is the mean over all events that follow another one in a window (with scope "scene": another one of their
/// scene). Sequences lie one after another, so that nothing is padded. Items that training did not know say nothing and
/// are left out. A person without events has state 0. Shapes: B rows, L events, T max_length, D dim, N negatives.
class SequenceModel : public Model, public FollowsEvents {
 public:
  /// `losses` are those that the model knows. Throws ValueError without a user or item column, for options out of
  /// range.
  SequenceModel(std::shared_ptr<const data::Schema> schema, SequenceOptions common, const char* owner,
                const std::vector<std::string>& losses);

  /// Scores [B, C] of the items of each row's scene, ascending (before `prepare`: of all items); C is the most items of
  /// any scene among the rows, those of smaller scenes end in -inf.
  torch::Tensor forward(const data::Batch& batch) override;
  /// Throws ValueError for a batch without what followed, or without negatives where the loss needs some.
  torch::Tensor loss(const data::Batch& batch) override;
  torch::Tensor score_events(const data::Events& events, int64_t scene, const torch::Tensor& items) override;
  /// "state": after the newest event, [B, D]. Of a model that attends also "attention" [B, heads, T], how the newest
  /// state weighs the events of each row in the last block, oldest first, 0 on those that are not followed and after
  /// the last; and "events" [B], how many there are.
  Explanation explain(const data::Batch& batch) override;
  /// The same state.
  torch::Tensor represent(const data::Batch& batch) override { return explain(batch)[0].second; }
  data::Sampling sampling() const override;
  int64_t history_length() const override { return common.max_length(); }
  std::vector<std::string> table_parameters() const override;
  void sparse_gradients(bool on) override { sparse_ = on; }

  /// Whether the state after one more event follows from what is kept of those before: recurrences, and causal
  /// attention whose positions do not move.
  virtual bool remembers() const { return false; }
  /// The state after one more event of item `row`, [1, D], not past the T-th; `memory` moves on, no gradients.
  /// Throws ValueError for a model that does not remember.
  torch::Tensor next_state(int64_t row, Memory& memory);
  /// What scores in a scene are made of after these events, [P, D]; 0 without events.
  virtual torch::Tensor states_before(const data::Events& events, int64_t scene);
  /// Scores of items (int64 [C]) by states, [n, C].
  torch::Tensor scored(const torch::Tensor& states, const torch::Tensor& items) const;

  SequenceOptions common;
  torch::nn::Embedding item = nullptr;  ///< q, [I, D]; row 1 stands for a masked item

 protected:
  /// States after each event, [L, D], from the vectors of its items, [L, D]: of an event and those before it alone.
  /// A model whose states depend on the scene that is asked for defines `states_before` and `loss` instead.
  virtual torch::Tensor states(const torch::Tensor& items, const data::Events& events);
  /// The same for one more event of a list, [1, D] from [1, D].
  virtual torch::Tensor step(const torch::Tensor& item, Memory& memory);
  /// Those after the newest event of each list, [B, D]; 0 without events. Events are known, and not too many.
  virtual torch::Tensor last_states(const data::Events& events);
  /// How that state weighs the events in the last block, [L, heads]; undefined for a model that does not attend.
  virtual torch::Tensor newest_weights(const data::Events& events);

  /// The mean loss of the states at places `at` of the events (int64 [n]) after which `next` (int64 [n], items of
  /// `scene` int64 [n]) followed; `negative` int64 [n, N] where the loss compares. Items of the events are looked up in
  /// one pass with the others.
  torch::Tensor learn(const data::Events& events, const torch::Tensor& at, const torch::Tensor& next,
                      const torch::Tensor& scene, const torch::Tensor& negative);
  /// Rows of `item`, [n, D].
  torch::Tensor vectors(const torch::Tensor& rows) const;
  /// What states are multiplied with for scores, [n, D], where that is something else; of no use to `learn`.
  virtual torch::Tensor output_vectors(const torch::Tensor& rows) const { return vectors(rows); }
  /// Lists of the scope: as they are, or each list's events of each scene by themselves, [B S] lists.
  data::Events lists_of(const data::Events& events, torch::Tensor* beside = nullptr) const;
  /// Without unknown items, the newest T of each list; what lies beside each event (int64 [L]) goes with it.
  data::Events kept(const data::Events& events, torch::Tensor* beside) const;
  /// Of the scope, without unknown items, the newest T.
  data::Events followed(const data::Events& events, int64_t scene) const;
  /// What becomes of scores in losses that compare.
  virtual torch::Tensor final_scores(const torch::Tensor& scores) const { return scores; }
  /// Of BPR-max.
  virtual double regularisation() const { return 0; }

  /// What the states of events are learnt to say: places of what followed among the batch's `next_*`, -1 for nothing.
  struct Steps {
    data::Events events;
    torch::Tensor target;
  };
  /// Throws ValueError for a batch without what followed.
  Steps steps_of(const data::Batch& batch) const;

  /// Scenes that something followed in, and the rows of their items: what softmaxes are over.
  struct Classes {
    std::vector<int64_t> scenes;
    std::vector<torch::Tensor> rows;     // int64 [C] each
    std::vector<torch::Tensor> vectors;  // [C, D] each, with the bias as a last column where there is one
  };
  Classes classes_of(const torch::Tensor& scene) const;
  void look_up(Classes& classes) const;
  /// Mean cross-entropy of states x [n, D] after which `next` followed; items that training did not know do not count.
  torch::Tensor cross_entropy(const torch::Tensor& x, const torch::Tensor& next, const torch::Tensor& scene,
                              const Classes& classes) const;
  /// Mean loss of states x [n, D] whose products with the item that followed and N drawn ones, [n (1 + N), D], are
  /// compared; `offset` [n (1 + N), 1] is what the items' scores have besides, or undefined.
  torch::Tensor compared(const torch::Tensor& x, const torch::Tensor& items, const torch::Tensor& offset) const;
  /// Throws ValueError where the loss compares and there is nothing to compare with.
  void check_negatives(const torch::Tensor& negative) const;
  bool sparse() const { return sparse_; }

  torch::nn::Embedding bias = nullptr;  ///< [I, 1], what an item's score has besides; of models that register it

 private:
  torch::Tensor loss_of(const torch::Tensor& positive, const torch::Tensor& negative) const;  // [n]
  const torch::Tensor& places(int64_t scene) const;  // int64 [I], of items among the candidates; -1 for none

  nn::FieldRows fields_;
  bool sparse_ = false;
  mutable std::shared_ptr<const data::Interactions> placed_;  // what the places were made of
  mutable std::vector<torch::Tensor> places_;
};

/// Whether the model follows the events of the row's scene alone.
bool within_scene(const Model& model);

/// How many past events a batch should carry for `model.forward`: the model's `history_length`, or all for one that
/// picks those of a scene among them.
int64_t events_read(const Model& model);

}  // namespace polyscene::models
