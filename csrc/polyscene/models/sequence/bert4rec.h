#pragma once

#include "polyscene/models/sequence_model.h"

namespace polyscene::models {

/// Options for `BERT4Rec`.
struct BERT4RecOptions {
  SequenceOptions common = SequenceOptions();
  /// Blocks.
  TORCH_ARG(int64_t, layers) = 2;
  /// Heads of each attention; must divide `dim`.
  TORCH_ARG(int64_t, heads) = 2;
  /// Width of the inner layers; 0: four times `dim`.
  TORCH_ARG(int64_t, feedforward) = 0;
  /// Probability that an event is masked.
  TORCH_ARG(double, mask_ratio) = 0.2;
  /// Share of the windows that mask the newest event alone.
  TORCH_ARG(double, last_ratio) = 0.5;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SequenceOptions::fields(self.common, visit);
    visit("layers", self.layers(), "blocks");
    visit("heads", self.heads(), "heads of each attention; must divide dim");
    visit("feedforward", self.feedforward(), "width of the inner layers; 0: four times dim");
    visit("mask_ratio", self.mask_ratio(), "probability that an event is masked, in (0, 1)");
    visit("last_ratio", self.last_ratio(), "share of the windows that mask the newest event alone, as serving does");
  }
};

/// Bidirectional Transformer trained on masked events (Sun et al., CIKM 2019).
///
///   x = drop(LN(q_i + p)),  y = LN(x + drop(W_o Attention(x; x, x) + b_o)),
///   x = LN(y + drop(W_2 gelu(W_1 y + b_1) + b_2))                                 over all events, before and after
///   r_i = LN(gelu(W x + b)) . q_i + c_i
///
/// In training events are replaced by a mask (always; no share stays or becomes another item), at least one a window,
/// and the loss is the mean cross-entropy over all that are masked, against the items of their scene. The first event
/// of a window is none of them: it is the newest of the window before. In serving a mask stands after the newest T - 1
/// events. Positions count from the newest. The published programs differ: that of the authors trains 400,000 steps on
/// ten copies of each sequence; RecBole's loses a mask in the first place and, in serving, the first event. Needs many
/// more epochs than SASRec. Shapes: L events, D dim, T max_length.
class BERT4RecImpl : public SequenceModel {
 public:
  /// Throws ValueError when the data names no user or no item, or for options out of range.
  explicit BERT4RecImpl(std::shared_ptr<const data::Schema> schema, BERT4RecOptions options = {});
  torch::Tensor loss(const data::Batch& batch) override;
  std::string name() const override { return "bert4rec"; }
  OptionMap options_map() const override { return to_map(options); }

  BERT4RecOptions options;
  torch::Tensor positions;  ///< p, [T, D]; starts as N(0, 0.02^2)
  torch::nn::ModuleList query = nullptr, key_value = nullptr, output = nullptr, inner = nullptr, outer = nullptr;
  torch::nn::ModuleList attention_norm = nullptr, feedforward_norm = nullptr;
  torch::nn::LayerNorm norm = nullptr, head_norm = nullptr;
  torch::nn::Linear head = nullptr;  ///< W, b

 protected:
  torch::Tensor states(const torch::Tensor& items, const data::Events& events) override;
  torch::Tensor last_states(const data::Events& events) override;
  /// From the mask, whose own weight is left out.
  torch::Tensor newest_weights(const data::Events& events) override;

 private:
  // States of all events; `weights`, where given, becomes those of the newest ones in the last block.
  torch::Tensor encoded(const torch::Tensor& items, const data::Events& events, torch::Tensor* weights);
  torch::Tensor drop(const torch::Tensor& x);
};
TORCH_MODULE(BERT4Rec);

}  // namespace polyscene::models
