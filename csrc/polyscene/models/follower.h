#pragma once

#include <memory>
#include <vector>

#include "polyscene/models/sequence_model.h"

namespace polyscene::models {

/// Follows one person: takes events one by one and knows the scores after each. Where the model remembers
/// (`SequenceModel::remembers`) an event costs one step, however long the past is; past `max_length` events, and with
/// other models, the newest are computed again when scores are asked for. Either way scores are those of
/// `SequenceModel::score_events` on all events, the newest `max_length` known ones of the scope. Parameters must not
/// change while it is used. Not for several threads.
class Follower {
 public:
  /// Throws ValueError for a model that is not of task sequence.
  explicit Follower(std::shared_ptr<Model> model);
  /// One more event: rows of the vocabulary of items and of the scenes. Unknown items are passed over, as everywhere.
  /// Throws IndexError for a row outside the vocabulary or an unknown scene.
  void add(int64_t item, int64_t scene, int64_t time = 0, double label = 1);
  /// The events of one list, oldest first. Throws ValueError for several lists.
  void add(const data::Events& events);
  /// The state before a row of this scene, [1, D]; 0 without events. Throws IndexError for an unknown scene.
  torch::Tensor state(int64_t scene);
  /// Scores of `scene_items` of a scene, [C]. Throws IndexError for an unknown scene.
  torch::Tensor scores(int64_t scene);
  /// Rows of all items so far, int64 [n], in order.
  torch::Tensor items() const;
  int64_t events() const { return static_cast<int64_t>(item_.size()); }

 private:
  struct List {
    Memory memory;
    torch::Tensor state;  // after the newest event; undefined when it is not known
    int64_t events = 0;
  };
  size_t list_of(int64_t scene) const;
  data::Events all() const;

  std::shared_ptr<Model> model_;
  SequenceModel& follows_;
  std::vector<List> lists_;  // one, or with scope "scene" one a scene
  std::vector<int64_t> item_, scene_, time_;
  std::vector<float> label_;
};

}  // namespace polyscene::models
