#pragma once

#include <vector>

#include "polyscene/data/history.h"

namespace polyscene::data {

/// Gathers what a history knows of each item and user from batches of the training rows, in table order. It takes
/// memory for vocabularies, not for rows.
class Catalogue {
 public:
  explicit Catalogue(const Schema& schema);
  void add(const Batch& batch);
  /// Fills in `item_*` and `user_*` of `out`.
  void write(History& out) const;

 private:
  /// Sums of the numbers of each id, its number of rows, and the fields and lists of its first row.
  struct Side {
    Side(const Schema& schema, int64_t field, const char* name);
    void add(const Batch& batch, const torch::Tensor& id);
    torch::Tensor means() const;  ///< float32 [ids, M]

    const Schema& schema;
    std::string name;
    torch::Tensor fields;    ///< int32 [ids, F]
    torch::Tensor sums;      ///< float64 [ids, M]
    torch::Tensor rows;      ///< int64 [ids]
    torch::Tensor is_first;  ///< int64, positions in the last batch of rows whose id was new
    torch::Tensor fresh;     ///< int64, those ids
  };
  struct FirstLists {
    std::vector<Ragged> parts;
    std::vector<torch::Tensor> ids;
    void add(const Ragged& lists, const Side& side);
    Ragged of_ids(int64_t ids) const;
  };

  const Schema& schema_;
  Side item_, user_;
  FirstLists interest_;
  std::map<std::string, FirstLists> lists_;
  torch::Tensor count_;  ///< int64 [S, I]
};

}  // namespace polyscene::data
