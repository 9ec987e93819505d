#pragma once

#include "polyscene/data/table.h"
#include "polyscene/models/base.h"

namespace polyscene::eval {

/// For whom to recommend, and from what. U users.
struct RecommendRequest {
  torch::Tensor user;         ///< int64 [U], rows of the user vocabulary; 0 for one never seen
  torch::Tensor user_fields;  ///< int32 [U, F], user-side fields; undefined: those of the training rows
  data::Events events;        ///< events since training, one list a user; undefined for none
  int64_t scene = -1;         ///< scene of the recommendation; -1 ranks over all scenes
  int64_t k = 10;
  bool exclude_seen = true;  ///< leave out items of the user's training rows and events
};

/// Rows of the vocabulary that ids have, int64; 0 for one never seen.
torch::Tensor rows_of(const data::CategoricalField& field, const std::vector<std::string>& ids);

/// Short rows are padded with item -1, scene -1 and score -inf.
struct Recommendation {
  torch::Tensor item;   ///< int64 [U, k], rows of the item vocabulary, best first
  torch::Tensor scene;  ///< int64 [U, k]
  torch::Tensor score;  ///< float32 [U, k], probability (ctr), rating, or the model's own score (ranking)
  torch::Tensor known;  ///< bool [U], false for users of whom nothing was known, or nothing that the model can use:
                        ///< served by popularity
};

/// The best items for each user: candidates are the items with training rows in the scene (or in any), each user's
/// behaviour is encoded once, training behaviour and `events` together. A ranking model that serves newcomers scores
/// whoever has events from all that they met, in place of its row for them. Equal scores come in the order of scenes
/// and items. Throws ValueError before training, for a newcomer with events whom the model cannot serve, or without
/// user and item columns, for k below 1 or misshapen tensors; for a score that is NaN; IndexError for a scene that is
/// none.
Recommendation recommend(models::Model& model, const RecommendRequest& request);

}  // namespace polyscene::eval
