#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace polyscene::data {

class Schema;
class Table;

/// Who met which items in each scene, every pair once: what rankings mask, negatives avoid and graphs are made of.
/// U user rows, I item rows, S scenes. Unknown and missing users and items (rows 0 and 1) are left out.
class Interactions {
 public:
  /// The n pairs of one scene in both directions.
  struct Scene {
    torch::Tensor user_offsets;  ///< int64 [U + 1], items of user u lie in [user_offsets[u], user_offsets[u + 1])
    torch::Tensor items;         ///< int32 [n], ascending within a user
    torch::Tensor item_offsets;  ///< int64 [I + 1]
    torch::Tensor users;         ///< int32 [n], ascending within an item
    torch::Tensor candidates;    ///< int64 [C], items with a row here, ascending
    torch::Tensor visitors;      ///< int64, users with a row here, ascending

    int64_t pairs() const { return items.numel(); }
    /// Items of a user, ascending.
    const int32_t* begin(int64_t user) const;
    const int32_t* end(int64_t user) const;
    int64_t degree(int64_t user) const { return end(user) - begin(user); }
    bool contains(int64_t user, int64_t item) const;
  };

  /// Of rows given as int64 [n] each, in any order. Throws ValueError for tensors of other lengths, IndexError for rows
  /// outside the vocabularies.
  Interactions(const Schema& schema, const torch::Tensor& user, const torch::Tensor& item, const torch::Tensor& scene);
  /// Of the rows of a table. Throws ValueError without user and item columns.
  static std::shared_ptr<const Interactions> of(const Table& table);

  int64_t users() const { return users_; }  ///< U
  int64_t items() const { return items_; }  ///< I
  int64_t scenes() const { return static_cast<int64_t>(by_scene_.size()); }
  const Scene& scene(int64_t s) const { return by_scene_.at(s); }
  int64_t pairs() const;  ///< of all scenes
  /// Pairs of all scenes together, every pair once.
  Scene pooled() const;

 private:
  int64_t users_, items_;
  std::vector<Scene> by_scene_;
};

}  // namespace polyscene::data
