#pragma once

#include <optional>
#include <vector>

#include "polyscene/data/batch.h"
#include "polyscene/data/schema.h"

namespace polyscene::data {

/// Walks users alone in batches, in an order drawn by (seed, epoch): what mappings train on. `row` holds positions in
/// `users`; item, scene and the other fields of a row are 0. The schema must outlive it.
class UserBatches {
 public:
  /// `users` int64 [U], rows of the vocabulary; batches of `size` users, the last one of what is left.
  UserBatches(const Schema& schema, torch::Tensor users, int64_t size, uint64_t seed, int64_t epoch);
  std::optional<Batch> next();

 private:
  const Schema& schema_;
  torch::Tensor users_;
  int64_t size_, position_ = 0;
  std::vector<int64_t> order_;
};

}  // namespace polyscene::data
