#pragma once

#include "polyscene/models/base.h"
#include "polyscene/models/serving.h"

namespace polyscene::models {

/// Options for `ItemKNN`.
struct ItemKNNOptions {
  /// Neighbours that an item keeps; 0: all.
  TORCH_ARG(int64_t, neighbours) = 0;
  /// Added to the denominator of a similarity.
  TORCH_ARG(double, shrink) = 0;
  /// "scene" or "overall".
  TORCH_ARG(std::string, scope) = "scene";
  /// Weight of an event for each one that came after it.
  TORCH_ARG(double, recency) = 1;
  /// Weight of a pair of events for each one between them.
  TORCH_ARG(double, nearness) = 1;
  /// Weight of events of other scenes.
  TORCH_ARG(double, elsewhere) = 1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("neighbours", self.neighbours(), "neighbours that an item keeps, the most alike; 0: all");
    visit("shrink", self.shrink(), "added to the denominator of a similarity: rare pairs count less");
    visit("scope", self.scope(),
          "'scene': items of the row's scene alone; 'overall': what users met in all scenes together");
    visit("recency", self.recency(),
          "of sequences: an event counts this much of the one after it, in (0, 1]; 1: all events alike");
    visit("nearness", self.nearness(),
          "of sequences: two events of a user count this much less together for each one between them, in (0, 1]");
    visit("elsewhere", self.elsewhere(),
          "of sequences with scope overall: an event of another scene counts this much, in [0, 1]");
  }
};

/// Item neighbourhoods by cosine (Sarwar et al., WWW 2001; shrinkage: Bell and Koren, ICDM 2007), in closed form.
///
///   sim(i, j) = n_ij / (sqrt(n_i n_j) + shrink),   s(u, i) = sum_{j in N_u, j != i} sim(j, i)
///
/// In task sequence N are the events before the row, in the order they came, and that b events back counts
/// recency^b: s = sum_b c_b recency^b sim(j_b, i),
///
/// where c is 1 for an event of the row's scene and `elsewhere` for another, which scope "overall" alone sees. n_ij
/// counts the users with both, each as nearness^g, g events between the two where they came nearest to one another:
/// what follows closely says more (as the decays of Garg et al., SIGIR 2019). Only events of the scope are counted,
/// back and between.
///
/// n counts training users. Similarities are a function of the training pairs, which a saved model holds: they are made
/// when they are first needed, and take memory for the pairs of items that share a user.
class ItemKNNImpl : public Model,
                    public ServesNewcomers,
                    public FindsSimilar,
                    public GivesReasons,
                    public FollowsEvents {
 public:
  /// Throws ValueError when the data names no user or no item, or for options out of range.
  explicit ItemKNNImpl(std::shared_ptr<const data::Schema> schema, ItemKNNOptions options = {});
  torch::Tensor forward(const data::Batch& batch) override;
  bool fit_closed_form(const data::Table& train) override;
  void encode() override;
  torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) override;
  torch::Tensor score_newcomers(const Met& met, int64_t scene, const torch::Tensor& items) override;
  torch::Tensor score_events(const data::Events& events, int64_t scene, const torch::Tensor& items) override;
  /// sim of the item; -inf without a common user; -inf between scenes when each has its own.
  torch::Tensor similarity(int64_t item, int64_t from, int64_t to, const torch::Tensor& items) override;
  /// Exact for rankings: the score is their sum. Of sequences `recency` is left out, the order of events is not known.
  torch::Tensor reasons(int64_t user, const Met& met, int64_t scene, const torch::Tensor& items) override;
  std::string name() const override { return "item_knn"; }
  OptionMap options_map() const override { return to_map(options); }

  ItemKNNOptions options;

 private:
  torch::Tensor of_items(const torch::Tensor& met, int64_t scene);  // what these items say, [I]
  struct Similar {
    data::Interactions::Scene pairs;
    torch::Tensor offsets, items, values;  // neighbours of each item, as rows of a sparse matrix
  };
  const Similar& similar(int64_t scene);
  struct Walks;
  Walks walks(int64_t scene) const;  // the training events of each user in their order; scene -1: of all
  torch::Tensor scores(const torch::Tensor& users, int64_t scene);  // [U', I]

  std::shared_ptr<const data::Interactions> made_of_;
  std::map<int64_t, Similar> similar_;
};
TORCH_MODULE(ItemKNN);

}  // namespace polyscene::models
