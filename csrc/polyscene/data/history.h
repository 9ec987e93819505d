#pragma once

#include <map>
#include <memory>
#include <string>

#include "polyscene/data/batch.h"
#include "polyscene/data/schema.h"

namespace polyscene::data {

class Interactions;
class Table;

/// The behaviour of users in the training rows, and the catalogue of items: what models that follow a user need, and
/// what `recommend` needs. U rows of the user vocabulary, I rows of the item vocabulary, L events.
class History {
 public:
  std::shared_ptr<const Schema> schema;
  torch::Tensor offsets;  ///< int64 [U + 1], events of user row u lie in [offsets[u], offsets[u + 1]), oldest first
  torch::Tensor item;     ///< int32 [L]
  torch::Tensor scene;    ///< int64 [L]
  torch::Tensor label;    ///< float32 [L]
  torch::Tensor time;     ///< int64 [L]; 0 when the data has no time
  torch::Tensor row;      ///< int64 [L], row of the source that the event came from; -1 for events appended later
  Ragged interest;        ///< int32 interests per event; undefined when the data has none

  torch::Tensor item_fields;                 ///< int32 [I, F], item-side fields of each item (0 elsewhere)
  torch::Tensor item_numeric;                ///< float32 [I, M], mean preprocessed numbers of each item's training rows
  Ragged item_interest;                      ///< int32 interests of each item; undefined when the data has none
  std::map<std::string, Ragged> item_lists;  ///< int32 rows of each multi-hot column of each item, from its first row
  torch::Tensor item_count;                  ///< int64 [S, I], training rows of each item in each scene
  torch::Tensor user_fields;                 ///< int32 [U, F], user-side fields of each user (0 elsewhere)
  torch::Tensor user_numeric;                ///< float32 [U, M], mean preprocessed numbers of each user's training rows

  std::weak_ptr<const Columns> source;  ///< where `row` points into; expired after loading

  /// From the training table; empty when the schema names no user or no item. Without `events` it holds what is known
  /// of each user and item, and no behaviour: its memory does not grow with the rows.
  static std::shared_ptr<const History> fit(const Table& train, bool events = true);
  bool keeps_events() const { return item.defined(); }
  /// The events as pairs of user and item, every pair once; counted when first asked for, from any thread.
  /// Throws ValueError when no events are kept.
  std::shared_ptr<const Interactions> interactions() const;

  /// The events of each user strictly before `time` (all of them when the data has no time), the newest `length` at
  /// most, never the source row `row` itself. user int64 [B], time int64 [B] or undefined, row int64 [B] (rows of the
  /// training source) or undefined.
  Events before(const torch::Tensor& user, const torch::Tensor& time, const torch::Tensor& row, int64_t length) const;

  /// A copy with more events of known users (user rows and event tensors of equal length, in time order).
  std::shared_ptr<const History> append(const torch::Tensor& user, const Events& events) const;

  std::map<std::string, torch::Tensor> tensors() const;
  static std::shared_ptr<const History> from(std::shared_ptr<const Schema> schema,
                                             const std::map<std::string, torch::Tensor>& tensors);

 private:
  mutable std::shared_ptr<const Interactions> interactions_;
};

}  // namespace polyscene::data
