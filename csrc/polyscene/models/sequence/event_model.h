#pragma once

#include "polyscene/models/single/field_model.h"

namespace polyscene::models {

/// Options that the click models which follow events share.
struct EventOptions {
  FieldOptions common;
  /// How many past events of the user count, the newest (T).
  TORCH_ARG(int64_t, max_length) = 50;
  /// Which of them: "positive" (label above 1/2, the clicks of the papers) or "all" (the label is embedded, too).
  TORCH_ARG(std::string, events) = "positive";

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    FieldOptions::fields(self.common, visit);
    visit("max_length", self.max_length(), "how many past events of the user count, the newest");
    visit(
        "events", self.events(),
        "which of them: 'positive' (label above 1/2, the clicks of the papers) or 'all' (the label is embedded, too)");
  }
};

/// What click models that meet a candidate item with a user's past are made of: the past of all scenes together, the
/// scene of the candidate as a field.
///
///   k_j = [e of the item; e of each of its item-side fields] (+ e of its label)   of event j, on the fields' own table
///   v   = the same of the candidate
///
/// The candidate's row is never among its own events (`History::before`). Shapes: B batch, L events of all rows, T
/// events of a row at most, H width of k.
class EventModel : public FieldModel {
 public:
  /// Throws ValueError without a user or item column, for options out of range.
  EventModel(std::shared_ptr<const data::Schema> schema, const EventOptions& options, const char* owner);
  int64_t history_length() const override { return max_length_; }

  torch::Tensor event_label;  ///< [2, H], with events "all"

 protected:
  struct Behaviour {
    torch::Tensor keys;     ///< k, [L, H]
    torch::Tensor item;     ///< int64 [L]
    torch::Tensor scene;    ///< int64 [L]
    torch::Tensor time;     ///< int64 [L]
    torch::Tensor offsets;  ///< int64 [B + 1]
    torch::Tensor row;      ///< int64 [L], whose event it is

    bool empty() const { return row.numel() == 0; }
    /// Sum of `values` [L, n] over each row's events, [B, n].
    torch::Tensor sum(const torch::Tensor& values) const;
    /// Softmax of `scores` [L] over each row's events, [L].
    torch::Tensor softmax(const torch::Tensor& scores) const;
    /// `values` [L] or [L, n] side by side, [B, longest row, ...], 0 beyond.
    torch::Tensor padded(const torch::Tensor& values) const;
  };
  Behaviour behaviour(const Rows& rows);
  /// v, [B, H].
  torch::Tensor target(const Rows& rows) const;
  /// k of items without labels, [n, H] from int64 [n].
  torch::Tensor keys_of(const torch::Tensor& item);
  int64_t width() const { return static_cast<int64_t>(fields_of_item_.size()) * common.dim(); }  ///< H
  /// "attention" [B, T] and "events" (their number), int64 [B].
  static Explanation attended(const Behaviour& events, const torch::Tensor& weight);

 private:
  int64_t max_length_;
  std::vector<int64_t> fields_of_item_;  // the item itself, then its other fields
};

}  // namespace polyscene::models
