#pragma once

#include "polyscene/models/sequence/scene_encoders.h"
#include "polyscene/models/sequence/view_attention.h"
#include "polyscene/models/sequence_model.h"

namespace polyscene::models {

/// Options for `TriCDR`.
struct TriCDROptions {
  SequenceOptions common = SequenceOptions().loss("bce");
  /// Blocks of each encoder.
  TORCH_ARG(int64_t, layers) = 2;
  /// Heads of each attention; must divide `dim`.
  TORCH_ARG(int64_t, heads) = 1;
  /// Hidden widths of the attention over views.
  TORCH_ARG(std::vector<int64_t>, attention_hidden) = {80, 40};
  /// What cosines are multiplied with (tau).
  TORCH_ARG(double, scale) = 5;
  /// Weight of the contrast between views.
  TORCH_ARG(double, contrast) = 0.1;
  /// Shares of its pairs.
  TORCH_ARG(std::vector<double>, contrast_shares) = {1, 1, 1};
  /// Temperature of the contrast.
  TORCH_ARG(double, temperature) = 0.1;
  /// Weight of the order of the views.
  TORCH_ARG(double, triplet) = 10;
  /// Its margin.
  TORCH_ARG(double, margin) = 4;
  /// Epochs of the encoders alone.
  TORCH_ARG(int64_t, warm_up) = 5;
  /// "oldest" or "newest".
  TORCH_ARG(std::string, positions) = "oldest";

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SequenceOptions::fields(self.common, visit);
    visit("layers", self.layers(), "blocks of each encoder");
    visit("heads", self.heads(), "heads of each attention; must divide dim");
    visit("attention_hidden", self.attention_hidden(), "hidden widths of the attention over views");
    visit("scale", self.scale(), "what cosines are multiplied with");
    visit("contrast", self.contrast(), "weight of the contrast between the views of a window; 0 for none");
    visit("contrast_shares", self.contrast_shares(),
          "shares of its pairs: all and other scenes, all and own, other scenes and own");
    visit("temperature", self.temperature(), "temperature of the contrast");
    visit("triplet", self.triplet(),
          "weight of the order of the views, which wants other scenes nearer to all than to own; 0 for none");
    visit("margin", self.margin(), "by how much nearer");
    visit("warm_up", self.warm_up(), "epochs of the encoders alone before the attention joins them");
    visit("positions", self.positions(), "where positions are counted from: the 'oldest' event, or the 'newest'");
  }
};

/// Tri-CDR (Ma et al., TOIS 2024) over any number of scenes: three views of a past, of all scenes, of the others and of
/// the own one, which the newest state of the own one asks.
///
///   H = Enc(events of all scenes),  O = Enc_s(those of scene s, of each event in its scene)
///   u = O at the newest event of s (0 before any);   m, d, g = `ViewAttention` of u over H, O of others, O of s
///   f = W_2 lrelu(W_1 [m; d; g] + b_1) + b_2,   r_i = tau cos(f, q_i),  i of s
///   loss = L(r) + c (w_1 NT(m, d) + w_2 NT(m, g) + w_3 NT(d, g)) / (w_1 + w_2 + w_3)
///        + t mean [|d - m| - |d - g| + margin]_+              after projections of each, at the newest step of windows
///   NT(a, b) = mean -log exp(a_i b_i / T) / sum_{j != i} exp(a_i . j / T)   over both sides of all windows, unit rows
///
/// A step sees the events before what followed, in the order of time, and no later one; with positions from the newest
/// it knows in training how many more of each view the window holds. With two scenes it is the
/// paper's model in both directions at once; q of the own encoder are those of scores. Where the paper starts from
/// encoders that were trained alone, `warm_up` epochs train them here: H and O predict what followed by cosines, and a
/// model that stops there scores by the sum of the two.
/// Windows without events of other scenes, or of the own one, are not contrasted. Encoders are SASRec's. A step costs
/// O(sum of squared lengths) beside its events. Shapes: L events, D dim, S scenes, n steps.
class TriCDRImpl : public SequenceModel {
 public:
  /// Throws ValueError when the data names no user or no item, or for options out of range.
  explicit TriCDRImpl(std::shared_ptr<const data::Schema> schema, TriCDROptions options = {});
  torch::Tensor loss(const data::Batch& batch) override;
  std::vector<Phase> phases() const override;
  void begin_phase(const Phase& phase) override;
  std::vector<std::string> table_parameters() const override { return {"item.weight", "mixed.weight"}; }
  std::string name() const override { return "tri_cdr"; }
  OptionMap options_map() const override { return to_map(options); }

  TriCDROptions options;
  torch::nn::Embedding mixed = nullptr;  ///< what Enc reads, [I, D]; Enc_s read q
  SceneEncoders encoders = nullptr;      ///< Enc, then Enc_s
  ViewAttention attention = nullptr;
  torch::nn::Linear combine = nullptr, output = nullptr;              ///< W_1, b_1 and W_2, b_2
  torch::nn::ModuleList project_in = nullptr, project_out = nullptr;  ///< of m, d and g for the contrast
  torch::Tensor joined;                                               ///< int64 [], 1 after the warm-up

 protected:
  torch::Tensor states_before(const data::Events& events, int64_t scene) override;
  torch::Tensor output_vectors(const torch::Tensor& rows) const override;

 private:
  /// States of events in both views; `own` has a last row of zeros.
  struct Encoded {
    torch::Tensor all, own;  // [L, D] and [v + 1, D]
    SceneViews views;
    torch::Tensor newest;  // int64 [L], rows of `own` for what each event asks
  };
  /// What each event asks of views: `scene` int64 [L], -1 for nothing.
  Encoded encode_events(const data::Events& events, const torch::Tensor& scene);
  /// m, d, g of the events `at`, [n, 3, D], and how many events each view has, int64 [n, 3].
  std::pair<torch::Tensor, torch::Tensor> views_at(const data::Events& events, const torch::Tensor& scene,
                                                   const Encoded& encoded, const torch::Tensor& at);
  torch::Tensor combined(const torch::Tensor& views);    // tau f / |f|, [n, D]
  torch::Tensor scaled(const torch::Tensor& x) const;    // tau x / |x|
  torch::Tensor contrasted(const torch::Tensor& views);  // [], of [n, 3, D]
  torch::Tensor known();                                 // bool [S I]
  bool joint() const { return joined.item<int64_t>() == 1; }

  std::shared_ptr<const data::History> known_of_;
  torch::Tensor known_;
};
TORCH_MODULE(TriCDR);

}  // namespace polyscene::models
