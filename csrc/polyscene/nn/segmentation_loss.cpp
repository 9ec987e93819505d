#include "polyscene/nn/segmentation_loss.h"

namespace polyscene::nn {

torch::Tensor segmentation_loss(const torch::Tensor& logits, const torch::Tensor& label, double dice, int64_t ignore) {
  TORCH_CHECK_VALUE(logits.dim() == 4 && logits.size(1) > 0, "segmentation_loss: logits must be [B, K, H, W], got ",
                    logits.sizes());
  const auto classes = logits.size(1);
  TORCH_CHECK_VALUE(label.scalar_type() == torch::kLong && label.dim() == 3 && label.size(0) == logits.size(0) &&
                        label.size(1) == logits.size(2) && label.size(2) == logits.size(3),
                    "segmentation_loss: label must be int64 [", logits.size(0), ", ", logits.size(2), ", ",
                    logits.size(3), "], got ", label.scalar_type(), " ", label.sizes());
  TORCH_CHECK_VALUE(dice >= 0, "segmentation_loss: dice must be 0 or more, got ", dice);
  const auto flat = label.flatten();  // [N]
  const auto counted = flat != ignore;
  const auto y = flat.masked_select(counted);  // [n]
  const auto pixels = logits.permute({0, 2, 3, 1}).reshape({-1, classes});
  if (y.numel() == 0) return pixels.slice(0, 0, 0).sum();
  const auto wrong = y.masked_select((y < 0) | (y >= classes));
  TORCH_CHECK_VALUE(wrong.numel() == 0, "segmentation_loss: labels must be 0 to ", classes - 1, " or ", ignore,
                    " (ignored), got ", wrong[0].item<int64_t>());
  const auto log_p = pixels.index({counted}).log_softmax(1);  // [n, K]
  const auto entropy = -log_p.gather(1, y.unsqueeze(1)).mean();
  if (dice == 0) return entropy;
  const auto p = log_p.exp();
  const auto hit = torch::zeros({classes}, p.options()).index_add(0, y, p.gather(1, y.unsqueeze(1)).squeeze(1));
  const auto rows = torch::bincount(y, /*weights=*/{}, classes).to(p.scalar_type());  // [K]
  const auto seen = rows > 0;
  const auto share = (2 * hit / (p.sum(0) + rows)).masked_select(seen);
  return entropy + dice * (1 - share.mean());
}

}  // namespace polyscene::nn
