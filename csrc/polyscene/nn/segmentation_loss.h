#pragma once

#include <torch/torch.h>

namespace polyscene::nn {

/// Cross-entropy and soft Dice loss of pixels:
///
///   L = mean over pixels of -log p_label + dice (1 - mean over classes of 2 sum p_c y_c / (sum p_c + sum y_c))
///
/// with p the softmax of the logits, y_c 1 at the pixels of class c, and sums over all pixels of the batch. The mean is
/// over the classes that a label of the batch has (Milletari et al., 3DV 2016, have one class and squares below).
/// Pixels whose label is `ignore` are nowhere in it; without any others the loss is 0.
///
/// logits: [B, K, H, W], label: int64 [B, H, W], 0 to K - 1 or `ignore`. Throws ValueError for shapes that do not fit
/// and for other labels.
torch::Tensor segmentation_loss(const torch::Tensor& logits, const torch::Tensor& label, double dice = 1,
                                int64_t ignore = -1);

}  // namespace polyscene::nn
