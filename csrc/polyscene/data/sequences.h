#pragma once

#include <torch/torch.h>

#include <array>
#include <memory>
#include <vector>

#include "polyscene/data/columns.h"

namespace polyscene::data {

/// Windows of users' training events: what models of task sequence train on. W windows.
struct Windows {
  torch::Tensor position;  ///< int64 [W], position in the table of each window's newest row
  torch::Tensor length;    ///< int32 [W], events before it, the oldest first in the window
};

/// What every user of a source did, in the order of (time, row of the source): five bytes an event, nothing else of it
/// is copied. N rows of the source, L events, U users of the source, whether a vocabulary holds them or not.
///
/// An event is of a part: train, valid, test or context. A row sees the events of its user before it that were known by
/// then: those of its own and of earlier parts, and, unless it is a training row, those of context, which are known
/// before serving and never trained.
class Sequences {
 public:
  /// Rows (int64) of train, valid, test and context, in this order; undefined ones are empty. `user` is a column of
  /// `columns`. Rows whose user cell is empty have no past. Throws ValueError when a row is in two parts.
  Sequences(std::shared_ptr<const Columns> columns, int64_t user, const std::array<torch::Tensor, 4>& parts);

  /// Rows of the source before each of `rows` that it sees, the newest `length`, oldest first: int64 values and
  /// offsets. A row that is of no part sees nothing.
  Ragged before(const std::vector<int64_t>& rows, int64_t length) const;
  /// Cuts the training events of each user into windows of at most `length` + 1 events, the newest first, so that each
  /// of `rows` (int64, ascending; training rows) but a user's first event follows the others in exactly one of them.
  /// Where `rows` are all training rows, neighbours share one event.
  Windows windows(const torch::Tensor& rows, int64_t length) const;

  int64_t size() const { return order_.numel(); }  ///< L
  int64_t trained() const { return trained_; }     ///< events of training rows

 private:
  int64_t user_of(int64_t row) const;
  int64_t place_of(int64_t row, int64_t user) const;  // in `order_`; -1 for a row of no part

  std::shared_ptr<const Columns> columns_;
  int64_t user_;
  torch::Tensor order_;    // int32 [L], rows of the source
  torch::Tensor part_;     // int8 [L]
  torch::Tensor offsets_;  // int64 [U + 1]
  int64_t trained_ = 0;
};

}  // namespace polyscene::data
