#pragma once

#include "polyscene/models/sequence/event_model.h"
#include "polyscene/nn/multi_head_attention.h"
#include "polyscene/nn/scene_mlp.h"

namespace polyscene::models {

/// Options for `BST`.
struct BSTOptions {
  EventOptions common = EventOptions().max_length(20);
  /// Width of the embedding of positions; 0: the width of the embeddings.
  TORCH_ARG(int64_t, position_dim) = 0;
  /// What a position is: "time" (how long before the candidate's row, the power of two of it) or "order" (how many
  /// events before).
  TORCH_ARG(std::string, position) = "time";
  /// Heads of the attention; must divide the width of an event with its position.
  TORCH_ARG(int64_t, heads) = 8;
  /// Blocks.
  TORCH_ARG(int64_t, layers) = 1;
  /// What the network reads of the outputs: "concat", "mean", "sum" or "target".
  TORCH_ARG(std::string, pool) = "concat";
  /// Hidden widths of the network.
  TORCH_ARG(std::vector<int64_t>, hidden) = {256, 128, 64};
  /// Dropout in the blocks and after each activation of the network.
  TORCH_ARG(double, dropout) = 0.2;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    EventOptions::fields(self.common, visit);
    visit("position_dim", self.position_dim(), "width of the embedding of positions; 0: the width of the embeddings");
    visit(
        "position", self.position(),
        "what a position is: 'time' (how long before the candidate's row, the power of two of it) or 'order' (how many "
        "events before)");
    visit("heads", self.heads(), "heads of the attention; must divide the width of an event with its position");
    visit("layers", self.layers(), "blocks");
    visit("pool", self.pool(), "what the network reads of the outputs: concat, mean, sum or target");
    visit("hidden", self.hidden(), "hidden widths of the network");
    visit("dropout", self.dropout(), "dropout in the blocks and after each activation of the network");
  }
};

/// Behaviour Sequence Transformer (Chen et al., DLP-KDD 2019): the candidate is one more event.
///
///   z_0 = [v; p_0], z_j = [k_j; p_{pos(j)}]                                      the candidate, then events, newest
///   first s = LN(z + drop(MHA(z))),   o = LN(s + drop(W_2 drop(lrelu(W_1 s + b_1)) + b_2))             each block,
///   post-norm logit = MLP([x; pool(o)])                                                                       leaky
///   ReLU
///
/// pos is the paper's time between event and candidate, by powers of two in the units of the data; data without times
/// count events. `pool` "concat" lays all T + 1 outputs side by side, 0 where a row has fewer. Shapes: z, s and o
/// [B, 1 + T, M], M = H + position_dim.
class BSTImpl : public EventModel {
 public:
  explicit BSTImpl(std::shared_ptr<const data::Schema> schema, BSTOptions options = {});
  std::string name() const override { return "bst"; }
  OptionMap options_map() const override { return to_map(options); }

  BSTOptions options;
  torch::Tensor positions;                                 ///< p, [64 or 1 + T, position_dim]
  torch::nn::ModuleList attention = nullptr;               ///< of each block
  torch::nn::ModuleList norm1 = nullptr, norm2 = nullptr;  ///< LN
  torch::nn::ModuleList inner = nullptr, outer = nullptr;  ///< W_1 and W_2, [M, M]
  nn::SceneMLP network = nullptr;

 protected:
  /// Tells "attention" (of the candidate over the events, newest first, mean over the heads of the last block) [B, T]
  /// and "events" [B].
  Answer body(const Rows& rows, bool explaining) override;

 private:
  torch::Tensor places(const Rows& rows, const Behaviour& events, const torch::Tensor& back) const;  // int64 [L]
  torch::Tensor pooled(const torch::Tensor& o, const torch::Tensor& valid) const;
  int64_t model_dim() const { return width() + positions.size(1); }  // M
};
TORCH_MODULE(BST);

}  // namespace polyscene::models
