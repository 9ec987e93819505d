#pragma once

#include <functional>

#include "polyscene/models/sequence_model.h"

namespace polyscene::models {

/// Options for `SASRec`.
struct SASRecOptions {
  SequenceOptions common = SequenceOptions().dim(50).dropout(0.5).loss("bce");
  /// Blocks.
  TORCH_ARG(int64_t, layers) = 2;
  /// Heads of each attention; must divide `dim`.
  TORCH_ARG(int64_t, heads) = 1;
  /// "pre" (the paper) or "post".
  TORCH_ARG(std::string, norm) = "pre";
  /// Width of the inner layers; 0: `dim` ("pre"), four times `dim` ("post").
  TORCH_ARG(int64_t, feedforward) = 0;
  /// "newest" (the paper) or "oldest".
  TORCH_ARG(std::string, positions) = "newest";

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    SequenceOptions::fields(self.common, visit);
    visit("layers", self.layers(), "blocks");
    visit("heads", self.heads(), "heads of each attention; must divide dim");
    visit("norm", self.norm(),
          "'pre': only queries are normalised, as in the paper; 'post': after each part of a block");
    visit("feedforward", self.feedforward(), "width of the inner layers; 0: dim ('pre'), four times dim ('post')");
    visit("positions", self.positions(), "where positions are counted from: the 'newest' event, or the 'oldest'");
  }
};

/// Self-attentive sequential recommendation (Kang and McAuley, ICDM 2018).
///
///   x = drop(sqrt(D) q_i + p)
///   norm "pre":   u = LN(x),  y = LN(u + Attention(u; x, x)),  x = y + drop(W_2 drop(relu(W_1 y + b_1)) + b_2)
///                 h = LN(x)                                                  the paper and its code
///   norm "post":  x = drop(LN(q_i + p)),  y = LN(x + drop(W_o Attention(x; x, x))),
///                 x = LN(y + drop(W_2 gelu(W_1 y + b_1) + b_2)),  h = x       RecBole's form
///
/// Attention is causal, its weights are dropped in training, and it has W_o in the second form alone. The residual of
/// the first form comes from the normalised query. Positions count from the newest event, as sequences that are padded
/// on the left have it, or from the oldest. Sequences lie one after another: neither padding nor masks. Shapes: L
/// events, D dim, T max_length.
class SASRecImpl : public SequenceModel {
 public:
  /// Throws ValueError when the data names no user or no item, or for options out of range.
  explicit SASRecImpl(std::shared_ptr<const data::Schema> schema, SASRecOptions options = {});
  std::string name() const override { return "sasrec"; }
  OptionMap options_map() const override { return to_map(options); }
  /// Where positions count from the oldest event: others move with each new one.
  bool remembers() const override { return options.positions() == "oldest"; }

  SASRecOptions options;
  torch::Tensor positions;  ///< p, [T, D]; starts as N(0, 1 / D), or with norm "post" as N(0, 0.02^2)
  /// The parts of each block.
  torch::nn::ModuleList query = nullptr, key_value = nullptr, output = nullptr, inner = nullptr, outer = nullptr;
  torch::nn::ModuleList attention_norm = nullptr, feedforward_norm = nullptr;
  torch::nn::LayerNorm norm = nullptr;  ///< the last ("pre") or the first ("post")

 protected:
  torch::Tensor states(const torch::Tensor& items, const data::Events& events) override;
  torch::Tensor newest_weights(const data::Events& events) override;
  /// Keeps keys and values of each block.
  torch::Tensor step(const torch::Tensor& item, Memory& memory) override;

 private:
  // What block n attends to, [L, D], from its queries [L, D] and its keys and values [L, 2 D].
  using Attention = std::function<torch::Tensor(int64_t n, const torch::Tensor& q, const torch::Tensor& kv)>;
  torch::Tensor through(const torch::Tensor& items, const torch::Tensor& position, const Attention& attention);
  // States after each event; `weights`, where given, becomes those of the last block.
  torch::Tensor encoded(const torch::Tensor& items, const data::Events& events, torch::Tensor* weights);
  // The same for one event, on rows of numbers: x [D] is its item's vector and becomes its state.
  template <typename T>
  void through_row(T* x, Memory& memory) const;
  bool pre() const { return options.norm() == "pre"; }
  torch::Tensor drop(const torch::Tensor& x);
};
TORCH_MODULE(SASRec);

}  // namespace polyscene::models
