#pragma once

#include <torch/torch.h>

#include <string>
#include <utility>
#include <vector>

#include "polyscene/data/batch.h"
#include "polyscene/data/schema.h"
#include "polyscene/nn/lookup.h"

namespace polyscene::nn {

/// Options for `FeatureEmbedding`.
struct FeatureEmbeddingOptions {
  int64_t dim = 16;        ///< width of every row (D); 1 makes a table of biases
  double init_std = 1e-2;  ///< standard deviation of the initial rows; 0 starts all at zero
  bool sparse = false;     ///< sparse gradients from the start, see `set_sparse`

  /// Names every field once; bindings and repr walk this list.
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("dim", self.dim, "width of every row");
    visit("init_std", self.init_std, "standard deviation of the initial rows; 0 starts all at zero");
    visit("sparse", self.sparse, "sparse gradients: of the rows that a batch looks up alone");
  }
};

/// Every categorical field in one fused table, so that a batch is one gather:
///
///   slot f           = weight[offset(f) + categorical[b, f]]               F categorical fields
///   slot F + l       = mean of the rows of list l, zero for an empty list  L multi-hot columns
///   flat             = [slot 0, ..., slot F + L - 1, numeric]
///
/// Rows 0 (unknown) and 1 (missing) of each field start at zero, the others at N(0, init_std^2). A multi-hot column
/// that shares the vocabulary of a field uses that field's rows; others have rows of their own after the fields.
///
/// Shapes: categorical [B, F], numeric [B, M], weight [V, D]; all gradients of one backward are dense or all sparse.
class FeatureEmbeddingImpl : public torch::nn::Cloneable<FeatureEmbeddingImpl> {
 public:
  /// Throws ValueError for a non-positive `dim`, a negative `init_std` or a list that shares an unknown field.
  explicit FeatureEmbeddingImpl(const data::Schema& schema, FeatureEmbeddingOptions options = {});
  void reset() override;
  void reset_parameters();

  /// All slots, [B, F + L, D]. Throws IndexError for a row outside its field, ValueError for a batch without a list
  /// column.
  torch::Tensor forward(const data::Batch& batch);
  /// All slots side by side and the numeric columns in the table's type, [B, output_size()].
  torch::Tensor flat(const data::Batch& batch);
  /// Rows `index` (integers of any shape) of one field, [..., D]: histories, candidates.
  torch::Tensor embed(const std::string& field, const torch::Tensor& index);
  /// Mean over each list of its rows of one field, [lists, D]; zero for an empty list.
  torch::Tensor pool(const std::string& field, const data::Ragged& lists);

  /// View of the rows of one field or list, [rows, D].
  torch::Tensor field_rows(const std::string& name) const;
  /// First row of a field or list in `weight`. Throws ValueError that lists the known fields.
  int64_t offset(const std::string& name) const;
  int64_t slots() const { return num_fields + static_cast<int64_t>(lists.size()); }  ///< F + L
  int64_t output_size() const { return slots() * options.dim + numeric_width; }      ///< columns of `flat`
  /// Whether gradients of `weight` are sparse from now on.
  void set_sparse(bool on) { options.sparse = on; }

  FeatureEmbeddingOptions options;
  int64_t num_fields = 0;     ///< F
  int64_t numeric_width = 0;  ///< M
  FieldRows rows;             ///< the F fields, then the lists with rows of their own
  /// Name of each pooled list and of the field whose rows it uses (itself when it has its own).
  std::vector<std::pair<std::string, std::string>> lists;
  torch::Tensor weight;  ///< [V, D]

 private:
  int64_t index_of(const std::string& name) const;

  FieldRows fields_;  // the F categorical fields
};
TORCH_MODULE(FeatureEmbedding);

}  // namespace polyscene::nn
