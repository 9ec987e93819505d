#pragma once

#include "polyscene/models/sequence/scene_encoders.h"
#include "polyscene/models/sequence_model.h"
#include "polyscene/nn/sparse_matrix.h"

namespace polyscene::models {

/// Options for `C2DSR`.
struct C2DSROptions {
  SequenceOptions common = SequenceOptions();
  /// Blocks of each encoder.
  TORCH_ARG(int64_t, layers) = 2;
  /// Heads of each attention; must divide `dim`.
  TORCH_ARG(int64_t, heads) = 1;
  /// Times that the graph of what followed what is walked.
  TORCH_ARG(int64_t, graph_layers) = 1;
  /// Share of the contrast in the loss (c).
  TORCH_ARG(double, contrast) = 0.3;
  /// "newest" or "own".
  TORCH_ARG(std::string, joined_at) = "newest";
  /// "oldest" or "newest".
  TORCH_ARG(std::string, positions) = "oldest";

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SequenceOptions::fields(self.common, visit);
    visit("layers", self.layers(), "blocks of each encoder");
    visit("heads", self.heads(), "heads of each attention; must divide dim");
    visit("graph_layers", self.graph_layers(), "how often the graph of what followed what is walked");
    visit("contrast", self.contrast(), "share of the contrast between scenes in the loss, in [0, 1); 0 for none");
    visit("joined_at", self.joined_at(),
          "which state of all scenes joins that of the scene in training: after the 'newest' event, as in serving, or "
          "after the scene's 'own' newest one, as in the authors' code");
    visit("positions", self.positions(), "where positions are counted from: the 'oldest' event, or the 'newest'");
  }
};

/// C2DSR (Cao et al., CIKM 2022) over any number of scenes: what follows, from the events of all scenes and from those
/// of the scene by themselves, and a contrast that makes the views of a person know of each other.
///
///   z = Q + mean_l X_l,  X_0 = Q,  X_{l+1} = A drop(X_l) + b_l       for the items of all scenes, and of each scene
///   H = Enc(z of the events of all scenes),  H^s = Enc_s(z^s of those of scene s)
///   r_i = (H_t + H^s_t) . q_i + c_i,  i of s                          H^s_t after the newest event of s; 0 before any
///   loss = (1 - c) (mean CE(H_t) + mean CE(H_t + H^s_t))
///        + c sum_s mean_w [BCE(D_s(h_s, g), 1) + BCE(D_s(h_s, g~), 0)],  D_s(h, g) = g' M_s h + m_s
///
/// A has the shares of what came next in training, row by row. h_s is the mean of H^s over the events of s in window w,
/// g that of H over its other events, and g~ the same after the items of s were replaced by drawn ones of s; windows
/// without either do not count. With two scenes this is the paper's loss, up to what the authors' program does beside
/// it: there a class for padding joins each softmax, means count padding and the newest ten steps alone, one item is
/// lost, and attention sees padding. Encoders are SASRec's (`SceneEncoders`). Shapes: L events, D dim, S scenes, I
/// items, P nodes; a step costs O(edges D + P D) beside its events.
class C2DSRImpl : public SequenceModel {
 public:
  /// Throws ValueError when the data names no user or no item, or for options out of range.
  explicit C2DSRImpl(std::shared_ptr<const data::Schema> schema, C2DSROptions options = {});
  torch::Tensor loss(const data::Batch& batch) override;
  std::vector<std::string> table_parameters() const override;
  std::string name() const override { return "c2dsr"; }
  OptionMap options_map() const override { return to_map(options); }

  C2DSROptions options;
  torch::nn::Embedding input = nullptr;  ///< Q, [(1 + S) I, D]: of all scenes, then of each
  torch::Tensor graph_bias;              ///< b, [graph_layers, 1 + S, D]
  SceneEncoders encoders = nullptr;      ///< Enc, then Enc_s
  torch::Tensor critic, critic_bias;     ///< M, [S, 1, D, D], and m, [S]; undefined without contrast

 protected:
  torch::Tensor states_before(const data::Events& events, int64_t scene) override;

 private:
  /// Windows whose items of one scene were replaced, one for each scene that shares a window with another.
  struct Changed {
    torch::Tensor list, scene;      // int64 [K], by scene
    torch::Tensor item;             // int64 [m], of all their events
    torch::Tensor offsets;          // int64 [K + 1]
    torch::Tensor other, original;  // int64, which of them are events of other scenes, and their places in the batch
    torch::Tensor other_offsets;    // int64 [K + 1]
  };

  void make_graph();
  torch::Tensor nodes();  // z, [P, D]
  torch::Tensor inputs();
  torch::Tensor nodes_of(const data::Events& events) const;  // int64 [L], in each event's scene; -1 for none
  Changed changed(const data::Events& events, const SceneViews& views) const;
  torch::Tensor contrasted(const Changed& changed, const SceneViews& views, const torch::Tensor& all,
                           const torch::Tensor& instead, const torch::Tensor& own) const;

  bool made_ = false;
  std::shared_ptr<const data::History> made_of_;
  torch::Tensor rows_;  // int64 [P], rows of `input` that are nodes
  torch::Tensor node_;  // int64 [(1 + S) I], -1 for none
  std::shared_ptr<const nn::SparseMatrix> graph_;
  torch::Tensor kept_;  // z without gradients, of parameters that have not moved since
  size_t kept_of_ = 0;
};
TORCH_MODULE(C2DSR);

}  // namespace polyscene::models
