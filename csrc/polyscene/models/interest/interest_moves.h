#pragma once

#include <functional>
#include <string>

#include "polyscene/data/history.h"

namespace polyscene::models {

/// Calls `use` with the training events of users with two or more, some hundred lists at a time: windows of at most
/// `length` events (2 or more) that overlap by one, so that every step but a user's last has its next event.
void each_window(const data::History& history, int64_t length, const std::function<void(const data::Events&)>& use);

/// Lists of interests as rows of 0 and 1, [n, interests].
torch::Tensor multi_hot(const data::Ragged& lists, int64_t interests, const torch::TensorOptions& like);

/// Probabilities of the next interest: "softmax" for one of them, "bernoulli" for each on its own.
torch::Tensor move_probabilities(const torch::Tensor& logits, const std::string& transition);
/// Mean loss of logits [n, K] of the next interest against multi-hot `target` [n, K]: cross-entropy with equal shares
/// of the interests ("softmax"), or binary cross-entropy ("bernoulli"). Rows without interests do not count.
torch::Tensor move_loss(const torch::Tensor& logits, const torch::Tensor& target, const std::string& transition);

/// Mean of the rows of `next` [n, K] by each interest of `now` [n, K], added up piece by piece.
struct MeanMoves {
  torch::Tensor sum, weight;  ///< [K, K] and [K, 1]; undefined before the first piece
  void add(const torch::Tensor& now, const torch::Tensor& next);
  /// The means, [K, K]; rows of interests that never were are those of `otherwise` [K, K].
  torch::Tensor mean(const torch::Tensor& otherwise) const;
};

}  // namespace polyscene::models
