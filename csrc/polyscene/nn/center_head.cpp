#include "polyscene/nn/center_head.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>
#include <vector>

#include "polyscene/nn/checks.h"

namespace polyscene::nn {
namespace {

constexpr const char* kCenterHead = "CenterHead";
constexpr double kFirstHeat = 0.1;

// The smaller root of a r^2 - b r + c = 0 for a, b, c > 0.
double smaller_root(double a, double b, double c) { return 2 * c / (b + std::sqrt(b * b - 4 * a * c)); }

void check_boxes(const Boxes& truth, int64_t classes) {
  const auto& [boxes, labels, offsets, scores] = truth;
  TORCH_CHECK_VALUE(boxes.dim() == 2 && boxes.size(1) == 4 && boxes.is_floating_point(), kCenterHead,
                    ": boxes must be floating [L, 4], got ", boxes.scalar_type(), " ", boxes.sizes());
  TORCH_CHECK_VALUE(labels.scalar_type() == torch::kLong && labels.dim() == 1 && labels.size(0) == boxes.size(0),
                    kCenterHead, ": labels must be int64 [", boxes.size(0), "], got ", labels.scalar_type(), " ",
                    labels.sizes());
  TORCH_CHECK_VALUE(offsets.scalar_type() == torch::kLong && offsets.dim() == 1 && offsets.numel() >= 1, kCenterHead,
                    ": offsets must be int64 [B + 1], got ", offsets.scalar_type(), " ", offsets.sizes());
  TORCH_CHECK_VALUE(offsets[0].item<int64_t>() == 0 && offsets[-1].item<int64_t>() == boxes.size(0) &&
                        (offsets.diff() >= 0).all().item<bool>(),
                    kCenterHead, ": offsets must run from 0 up to the ", boxes.size(0), " boxes, got ",
                    offsets[0].item<int64_t>(), " to ", offsets[-1].item<int64_t>());
  const auto wrong = labels.masked_select((labels < 0) | (labels >= classes));
  TORCH_CHECK_VALUE(wrong.numel() == 0, kCenterHead, ": labels must be 0 to ", classes - 1, ", got ",
                    wrong[0].item<int64_t>());
}

}  // namespace

double gaussian_radius(double width, double height, double min_overlap) {
  TORCH_CHECK_VALUE(width > 0 && height > 0, "gaussian_radius: width and height must be positive, got ", width, " and ",
                    height);
  TORCH_CHECK_VALUE(min_overlap > 0 && min_overlap < 1, "gaussian_radius: min_overlap must be in (0, 1), got ",
                    min_overlap);
  const double sum = width + height, area = width * height, t = min_overlap;
  const double one_each = smaller_root(1, sum, area * (1 - t) / (1 + t));
  const double inside = smaller_root(4, 2 * sum, area * (1 - t));
  const double half = t * sum;  // outside: 4 t r^2 + 2 half r - (1 - t) area = 0
  const double outside = (std::sqrt(half * half + 4 * t * (1 - t) * area) - half) / (4 * t);
  return std::min({one_each, inside, outside});
}

CenterHeadImpl::CenterHeadImpl(int64_t input_size_, int64_t classes_, CenterHeadOptions options_)
    : input_size(input_size_), classes(classes_), options(std::move(options_)) {
  check_positive(kCenterHead, "input_size", input_size);
  check_positive(kCenterHead, "classes", classes);
  check_positive(kCenterHead, "hidden", options.hidden());
  check_positive(kCenterHead, "stride", options.stride());
  TORCH_CHECK_VALUE(options.min_overlap() > 0 && options.min_overlap() < 1, kCenterHead,
                    ": min_overlap must be in (0, 1), got ", options.min_overlap());
  TORCH_CHECK_VALUE(options.size_weight() >= 0, kCenterHead, ": size_weight must be 0 or more, got ",
                    options.size_weight());
  TORCH_CHECK_VALUE(options.offset_weight() >= 0, kCenterHead, ": offset_weight must be 0 or more, got ",
                    options.offset_weight());
  reset();
}

void CenterHeadImpl::reset() {
  const auto branch = [&](const std::string& name, int64_t outputs) {
    const auto width = options.hidden();
    return std::pair{
        register_module(name + "_hidden", torch::nn::Conv2d(torch::nn::Conv2dOptions(input_size, width, 3).padding(1))),
        register_module(name + "_output", torch::nn::Conv2d(torch::nn::Conv2dOptions(width, outputs, 1)))};
  };
  std::tie(heat_hidden, heat_output) = branch("heat", classes);
  std::tie(size_hidden, size_output) = branch("size", 2);
  std::tie(offset_hidden, offset_output) = branch("offset", 2);
  torch::nn::init::constant_(heat_output->bias, std::log(kFirstHeat / (1 - kFirstHeat)));
}

torch::Tensor CenterHeadImpl::forward(const torch::Tensor& x) {
  TORCH_CHECK_VALUE(x.dim() == 4 && x.size(1) == input_size, kCenterHead, ": x must be [B, ", input_size,
                    ", h, w], got ", x.sizes());
  return torch::cat(
      {heat_output->forward(heat_hidden->forward(x).relu()), size_output->forward(size_hidden->forward(x).relu()),
       offset_output->forward(offset_hidden->forward(x).relu())},
      1);  // [B, K + 4, h, w]
}

void CenterHeadImpl::check_maps(const torch::Tensor& maps) const {
  TORCH_CHECK_VALUE(maps.dim() == 4 && maps.size(1) == classes + 4, kCenterHead, ": maps must be [B, ", classes + 4,
                    ", h, w], got ", maps.sizes());
}

CenterTargets CenterHeadImpl::targets(const Boxes& truth, int64_t height, int64_t width) const {
  const torch::NoGradGuard no_grad;
  check_boxes(truth, classes);
  const auto boxes = truth.boxes.to(torch::kFloat64);
  const auto sizes = boxes.slice(1, 2) - boxes.slice(1, 0, 2);                             // [L, 2]
  const auto centres = (boxes.slice(1, 2) + boxes.slice(1, 0, 2)) / 2 / options.stride();  // [L, 2], in cells
  const auto total = boxes.size(0), images = truth.offsets.numel() - 1;
  const auto held = centres.floor();
  CenterTargets out;
  out.cells = torch::stack({torch::repeat_interleave(torch::arange(images), truth.offsets.diff()),
                            held.select(1, 1).to(torch::kLong), held.select(1, 0).to(torch::kLong)},
                           1);
  out.heat = torch::zeros({images, classes, height, width}, torch::kFloat64);
  const auto y = torch::arange(height, torch::kFloat64).unsqueeze(1), x = torch::arange(width, torch::kFloat64);
  const auto cells = out.cells.accessor<int64_t, 2>();
  const auto labels = truth.labels.accessor<int64_t, 1>();
  const auto extent = sizes.accessor<double, 2>();
  for (int64_t i = 0; i < total; ++i) {
    const double box_width = extent[i][0], box_height = extent[i][1];
    TORCH_CHECK_VALUE(box_width > 0 && box_height > 0, kCenterHead, ": box ", i,
                      " must have its right edge right of the left one and its bottom below its top, got width ",
                      box_width, " and height ", box_height);
    const auto row = cells[i][1], column = cells[i][2];
    TORCH_CHECK_VALUE(row >= 0 && row < height && column >= 0 && column < width, kCenterHead, ": the centre of box ", i,
                      " lies outside of the image of ", height * options.stride(), " x ", width * options.stride(),
                      " pixels");
    const double stride = static_cast<double>(options.stride());
    const double sigma = (2 * gaussian_radius(box_width / stride, box_height / stride, options.min_overlap()) + 1) / 6;
    const auto bell = (-((x - column).square() + (y - row).square()) / (2 * sigma * sigma)).exp();  // [h, w]
    auto map = out.heat[cells[i][0]][labels[i]];
    map.copy_(torch::maximum(map, bell));
  }
  out.heat = out.heat.to(truth.boxes.scalar_type());
  out.sizes = sizes.to(truth.boxes.scalar_type());
  out.shifts = (centres - held).to(truth.boxes.scalar_type());
  return out;
}

torch::Tensor CenterHeadImpl::loss(const torch::Tensor& maps, const Boxes& truth) const {
  check_maps(maps);
  TORCH_CHECK_VALUE(truth.offsets.numel() == maps.size(0) + 1, kCenterHead, ": offsets must be int64 [",
                    maps.size(0) + 1, "] for ", maps.size(0), " images, got ", truth.offsets.sizes());
  const auto target = targets(truth, maps.size(2), maps.size(3));
  const auto logits = maps.slice(1, 0, classes);
  const auto heat = target.heat.to(maps.options());
  const auto p = logits.sigmoid();
  const auto at_centre = (1 - p).square() * torch::log_sigmoid(logits);
  const auto elsewhere = (1 - heat).pow(4) * p.square() * torch::log_sigmoid(-logits);
  const auto focal = -torch::where(heat == 1, at_centre, elsewhere).sum();
  const auto at = [&](int64_t dim) { return target.cells.select(1, dim).to(maps.device()); };
  const auto own = maps.slice(1, classes).permute({0, 2, 3, 1}).index({at(0), at(1), at(2)});  // [L, 4]
  const auto size_loss = (own.slice(1, 0, 2) - target.sizes.to(maps.options())).abs().sum();
  const auto offset_loss = (own.slice(1, 2) - target.shifts.to(maps.options())).abs().sum();
  const auto boxes = static_cast<double>(std::max<int64_t>(1, target.cells.size(0)));
  return (focal + options.size_weight() * size_loss + options.offset_weight() * offset_loss) / boxes;
}

Boxes CenterHeadImpl::decode(const torch::Tensor& given, int64_t top, double threshold) const {
  const torch::NoGradGuard no_grad;
  check_maps(given);
  check_positive(kCenterHead, "top", top);
  TORCH_CHECK_VALUE(threshold >= 0 && threshold < 1, kCenterHead, ": threshold must be in [0, 1), got ", threshold);
  const auto maps = given.to(torch::kCPU);
  const auto cells = maps.size(2) * maps.size(3);
  const auto logits = maps.slice(1, 0, classes);
  const auto peaks = logits == torch::max_pool2d(logits, 3, /*stride=*/1, /*padding=*/1);
  const auto p = logits.sigmoid();
  const auto kept = (peaks & (p >= threshold)).flatten(1);  // [B, K h w]
  std::vector<torch::Tensor> boxes, labels, scores;
  std::vector<int64_t> offsets = {0};
  for (int64_t b = 0; b < maps.size(0); ++b) {
    const auto places = kept[b].nonzero().squeeze(1);
    const auto found = p[b].flatten().index_select(0, places);
    const auto order = std::get<1>(found.sort(/*stable=*/true, /*dim=*/0, /*descending=*/true)).slice(0, 0, top);
    const auto place = places.index_select(0, order);  // [n]
    const auto cell = place.remainder(cells);
    const auto values = maps[b].slice(0, classes).flatten(1).index_select(1, cell);  // [4, n]
    const auto column = cell.remainder(maps.size(3)), row = cell.div(maps.size(3), "floor");
    const auto centre = (torch::stack({column, row}) + values.slice(0, 2)) * options.stride();  // [2, n]
    const auto half = values.slice(0, 0, 2).clamp_min(0) / 2;
    boxes.push_back(torch::cat({centre - half, centre + half}).t());
    labels.push_back(place.div(cells, "floor"));
    scores.push_back(found.index_select(0, order));
    offsets.push_back(offsets.back() + place.numel());
  }
  if (maps.size(0) == 0)
    return {maps.new_zeros({0, 4}), torch::empty({0}, torch::kLong), torch::zeros({1}, torch::kLong),
            maps.new_zeros({0})};
  return {torch::cat(boxes).contiguous(), torch::cat(labels), torch::tensor(offsets, torch::kLong), torch::cat(scores)};
}

}  // namespace polyscene::nn
