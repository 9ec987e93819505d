#pragma once

#include "polyscene/data/history.h"
#include "polyscene/models/serving.h"

namespace polyscene::eval {

/// What users did in training and, with `events` (one list a user), since: the newest `length` of each, oldest first.
/// `user` int64 [U], rows of the user vocabulary.
data::Events behaviour(const data::History& history, const torch::Tensor& user, const data::Events& events,
                       int64_t length);
/// The same as pairs, every pair once, by scene and item; unknown items are left out.
models::Met met_of(const data::Events& events);

}  // namespace polyscene::eval
