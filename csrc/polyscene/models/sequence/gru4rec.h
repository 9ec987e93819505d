#pragma once

#include "polyscene/models/sequence_model.h"

namespace polyscene::models {

/// Options for `GRU4Rec`.
struct GRU4RecOptions {
  SequenceOptions common = SequenceOptions().dropout(0.3);
  /// Width of the recurrent states (H).
  TORCH_ARG(int64_t, hidden) = 128;
  /// Recurrent layers.
  TORCH_ARG(int64_t, layers) = 1;
  /// Whether the recurrence has biases.
  TORCH_ARG(bool, recurrent_bias) = false;
  /// "identity", "tanh" or "elu".
  TORCH_ARG(std::string, final_activation) = "identity";
  /// Weight of the squared scores of the drawn items, for "bpr_max".
  TORCH_ARG(double, bpr_max_reg) = 1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SequenceOptions::fields(self.common, visit);
    visit("hidden", self.hidden(), "width of the recurrent states");
    visit("layers", self.layers(), "recurrent layers");
    visit("recurrent_bias", self.recurrent_bias(), "whether the recurrence has biases");
    visit("final_activation", self.final_activation(),
          "of scores in losses that compare: 'identity', 'tanh' or 'elu'; ranks stay as they are");
    visit("bpr_max_reg", self.bpr_max_reg(), "weight of the squared scores of the drawn items, for 'bpr_max'");
  }
};

/// GRU4Rec (Hidasi et al., ICLR 2016; losses: Hidasi and Karatzoglou, CIKM 2018):
///
///   e_t = drop(q_{i_t}),  h_t = GRU(e_t, h_{t-1}),  r_i = f((W h_t + b) . q_i)
///
/// with torch's gates: n = tanh(W_n e + r (U_n h)), h <- (1 - z) n + z h. With loss "ce" this is what RecBole calls
/// GRU4Rec: a GRU with cross-entropy over all items. Losses "bpr", "top1" and "bpr_max" compare with drawn items, as
/// the authors' program does; it differs in that its mini-batches run sessions side by side and take the items of the
/// other sessions and a share of drawn ones as negatives of all (`sampler` "in_batch" or "popularity" and many
/// `negatives` come near), in its Adagrad, and in that its item vectors are not shared by input and output unless
/// asked. Hidasi and Czapp (RecSys 2023) show how far re-implementations fall behind it: do not read these figures as
/// its. Shapes: L events, D dim, H hidden.
class GRU4RecImpl : public SequenceModel {
 public:
  /// Throws ValueError when the data names no user or no item, or for options out of range.
  explicit GRU4RecImpl(std::shared_ptr<const data::Schema> schema, GRU4RecOptions options = {});
  std::string name() const override { return "gru4rec"; }
  OptionMap options_map() const override { return to_map(options); }
  bool remembers() const override { return true; }

  GRU4RecOptions options;
  torch::nn::GRU gru = nullptr;
  torch::nn::Linear projection = nullptr;  ///< W, b

 protected:
  torch::Tensor states(const torch::Tensor& items, const data::Events& events) override;
  /// Keeps the recurrent state.
  torch::Tensor step(const torch::Tensor& item, Memory& memory) override;
  torch::Tensor final_scores(const torch::Tensor& scores) const override;
  double regularisation() const override { return options.bpr_max_reg(); }
};
TORCH_MODULE(GRU4Rec);

}  // namespace polyscene::models
