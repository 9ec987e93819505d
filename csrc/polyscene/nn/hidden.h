#pragma once

#include <torch/torch.h>

namespace polyscene::nn {

/// Listens to the networks (`MLP`, `SceneMLP`) that run on this thread while it lives: what their output layer reads,
/// and their hidden layers, which it may replace. Listeners nest; the one made last is told first.
class HiddenListener {
 public:
  HiddenListener();
  virtual ~HiddenListener();
  HiddenListener(const HiddenListener&) = delete;
  HiddenListener& operator=(const HiddenListener&) = delete;

  /// A hidden layer after its activation, rows first: [B, H] or [B, ..., H]. What is returned takes its place.
  virtual torch::Tensor hidden(const torch::nn::Module& network, int64_t layer, const torch::Tensor& h);
  /// What an output layer is about to read, rows first.
  virtual void output(const torch::nn::Module& network, const torch::Tensor& h);

 private:
  friend torch::Tensor tell_hidden(const torch::nn::Module&, int64_t, const torch::Tensor&);
  friend void tell_output(const torch::nn::Module&, const torch::Tensor&);
  HiddenListener* outer_;
};

/// What networks call: passes a hidden layer by all listeners.
torch::Tensor tell_hidden(const torch::nn::Module& network, int64_t layer, const torch::Tensor& h);
/// What networks call before their output layer.
void tell_output(const torch::nn::Module& network, const torch::Tensor& h);
/// Whether anybody listens, for what is made for listeners alone.
bool heard();

/// Keeps what the last output layer with `rows` rows read: of a model that ends in a network, its last hidden layer.
class HeadInput : public HiddenListener {
 public:
  explicit HeadInput(int64_t rows) : rows_(rows) {}
  void output(const torch::nn::Module& network, const torch::Tensor& h) override;
  /// [rows, H]; undefined when no output layer read that many rows.
  const torch::Tensor& value() const { return value_; }

 private:
  int64_t rows_;
  torch::Tensor value_;
};

}  // namespace polyscene::nn
