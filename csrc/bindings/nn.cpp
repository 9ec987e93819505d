#include "bindings/bind_block.h"
#include "bindings/bindings.h"
#include "polyscene/nn/alignment.h"
#include "polyscene/nn/center_head.h"
#include "polyscene/nn/dense_attention_head.h"
#include "polyscene/nn/encoder.h"
#include "polyscene/nn/fusion.h"
#include "polyscene/nn/gating.h"
#include "polyscene/nn/gemm.h"
#include "polyscene/nn/image_augment.h"
#include "polyscene/nn/image_encoder.h"
#include "polyscene/nn/interest_points.h"
#include "polyscene/nn/losses.h"
#include "polyscene/nn/masks.h"
#include "polyscene/nn/mlp.h"
#include "polyscene/nn/multi_head_attention.h"
#include "polyscene/nn/pair_attention.h"
#include "polyscene/nn/ragged_attention.h"
#include "polyscene/nn/segmentation_loss.h"
#include "polyscene/nn/softmax_loss.h"
#include "polyscene/nn/temporal_attention.h"
#include "polyscene/nn/text_encoder.h"
#include "polyscene/nn/unet.h"

namespace polyscene::bindings {

using py::arg;
using torch::wrap_pybind_function_no_gil;

namespace {

void bind_masks(py::module_& m) {
  const auto causal = [](int64_t steps, const torch::Device& device) { return nn::causal_mask(steps, device); };
  const auto pad = [](const torch::Tensor& values, const torch::Tensor& offsets, int64_t max_steps) {
    const auto out = nn::pad_ragged(values, offsets, max_steps);
    return std::make_pair(out.values, out.valid);
  };
  const auto unpad = [](const torch::Tensor& padded, const torch::Tensor& valid) {
    const auto out = nn::unpad_ragged(padded, valid);
    return std::make_pair(out.values, out.offsets);
  };
  m.def("padding_mask", wrap_pybind_function_no_gil(&nn::padding_mask), arg("lengths"), arg("steps"));
  m.def("causal_mask", wrap_pybind_function_no_gil(causal), arg("steps"), arg("device"));
  m.def("attention_mask", wrap_pybind_function_no_gil(&nn::attention_mask), arg("valid"), arg("causal"));
  m.def("masked_softmax", wrap_pybind_function_no_gil(&nn::masked_softmax), arg("scores"), arg("mask"),
        arg("dim") = -1);
  m.def("pad_ragged", wrap_pybind_function_no_gil(pad), arg("values"), arg("offsets"), arg("max_steps") = 0,
        "(values [B, T, ...], valid [B, T])");
  m.def("unpad_ragged", wrap_pybind_function_no_gil(unpad), arg("padded"), arg("valid"),
        "(values [L, ...], offsets [B + 1])");
  m.def("last_state", wrap_pybind_function_no_gil(&nn::last_state), arg("states"), arg("valid"));
}

void bind_scores(py::module_& m) {
  m.def("dot_scores", wrap_pybind_function_no_gil(&nn::dot_scores), arg("query"), arg("key"));
  m.def("scaled_dot_scores", wrap_pybind_function_no_gil(&nn::scaled_dot_scores), arg("query"), arg("key"));
  m.def("cosine_scores", wrap_pybind_function_no_gil(&nn::cosine_scores), arg("query"), arg("key"));
  m.def("additive_scores", wrap_pybind_function_no_gil(&nn::additive_scores), arg("query"), arg("key"),
        arg("query_weight"), arg("key_weight"), arg("bias"), arg("vector"));
  m.def("bilinear_scores", wrap_pybind_function_no_gil(&nn::bilinear_scores), arg("query"), arg("key"), arg("weight"));
}

void bind_product(py::module_& m) {
  const auto product = [](const torch::Tensor& a, const torch::Tensor& b) {
    const torch::NoGradGuard no_grad;
    auto out = torch::empty({a.size(0), b.size(1)}, a.options());
    nn::product(out, a, b);
    return out;
  };
  m.def("product", wrap_pybind_function_no_gil(product), arg("a"), arg("b"),
        "a [M, K] times b [K, N] as the dense layers multiply, without gradients.");
}

void bind_losses(py::module_& m) {
  m.def("bce_with_logits", wrap_pybind_function_no_gil(&nn::bce_with_logits), arg("logits"), arg("label"));
  m.def("bpr", wrap_pybind_function_no_gil(&nn::bpr), arg("positive"), arg("negative"));
  m.def("top1", wrap_pybind_function_no_gil(&nn::top1), arg("positive"), arg("negative"));
  m.def("bpr_max", wrap_pybind_function_no_gil(&nn::bpr_max), arg("positive"), arg("negative"), arg("reg"));
  m.def("softmax_loss", wrap_pybind_function_no_gil(&nn::softmax_loss), arg("x"), arg("w"), arg("target"));
  m.def("ragged_attention", wrap_pybind_function_no_gil(&nn::ragged_attention), arg("q"), arg("kv"), arg("offsets"),
        arg("heads"), arg("causal"), arg("dropout") = 0);
  m.def("squared_error", wrap_pybind_function_no_gil(&nn::squared_error), arg("prediction"), arg("label"));
  m.def("segmentation_loss", wrap_pybind_function_no_gil(&nn::segmentation_loss), arg("logits"), arg("label"),
        arg("dice") = 1, arg("ignore") = -1);
  m.def("embedding_l2", wrap_pybind_function_no_gil(&nn::embedding_l2), arg("blocks"), arg("squared") = true);
  m.def("migration_loss", wrap_pybind_function_no_gil(&nn::migration_loss), arg("parameters"), arg("anchors"),
        arg("per_entry") = true, arg("weights") = py::dict());
}

void bind_alignment(py::module_& m) {
  m.def("reverse_gradient", wrap_pybind_function_no_gil(&nn::reverse_gradient), arg("x"), arg("strength"));
  m.def("reversal_strength", wrap_pybind_function_no_gil(&nn::reversal_strength), arg("progress"), arg("gamma") = 10.0);
  m.def("mmd", wrap_pybind_function_no_gil(&nn::mmd), arg("x"), arg("y"),
        arg("scales") = std::vector<double>{0.5, 1, 2}, arg("bandwidth") = 0.0);
  m.def("coral", wrap_pybind_function_no_gil(&nn::coral), arg("x"), arg("y"));
  m.def("distillation", wrap_pybind_function_no_gil(&nn::distillation), arg("student"), arg("teacher"),
        arg("temperature"));
}

template <typename Impl, typename... Names>
void bind_forward(py::class_<Impl, std::shared_ptr<Impl>> cls, const Names&... names) {
  cls.def("forward", wrap_pybind_function_no_gil(&Impl::forward), names...);
}

/// A forward and an `attend` that take the same arguments.
template <typename Impl, typename... Names>
void bind_attention(py::class_<Impl, std::shared_ptr<Impl>> cls, const Names&... names) {
  bind_forward(cls, names...);
  cls.def("attend", as_pair(&Impl::attend), names..., "(output, weights)");
}

void bind_attentions(py::module_& m) {
  const auto valid = arg("valid") = py::none();
  const auto mask = arg("mask") = py::none();
  auto score = bind_block<nn::AttentionScoreImpl>(m, "AttentionScore", "Scores of queries against keys.",
                                                  arg("query_size"), arg("key_size"));
  bind_forward(score, arg("query"), arg("key"));
  bind_attention(bind_block<nn::AttentionImpl>(m, "Attention", "One attention.", arg("query_size"), arg("key_size")),
                 arg("query"), arg("key"), arg("value"), mask);
  bind_attention(bind_block<nn::MultiHeadAttentionImpl>(m, "MultiHeadAttention", "Multi-head attention.", arg("size")),
                 arg("query"), arg("key"), arg("value"), valid, mask);
  bind_attention(bind_block<nn::TemporalAttentionImpl>(m, "TemporalAttention", "Attention over time.",
                                                       arg("input_size"), arg("state_size")),
                 arg("x"), arg("states"), valid);
  bind_attention(
      bind_block<nn::PairAttentionImpl>(m, "PairAttention", "Attention over adjacent pairs.", arg("state_size")),
      arg("states"), valid);
  bind_attention(
      bind_block<nn::GatingImpl>(m, "Gating", "Attention over features.", arg("input_size"), arg("context_size")),
      arg("x"), arg("context"));
  bind_attention(bind_block<nn::DenseAttentionHeadImpl>(m, "DenseAttentionHead", "Dense layer, attention, logits.",
                                                        arg("input_size")),
                 arg("x"));
}

void bind_fusion(py::module_& m) {
  auto fusion = bind_block<nn::FusionImpl, std::vector<int64_t>>(m, "Fusion", "Vectors of several modalities to one.",
                                                                 arg("sizes"));
  bind_attention(fusion, arg("x"), arg("present") = py::none());
  fusion.def_property_readonly("output_size", &nn::FusionImpl::output_size);
}

void bind_unet(py::module_& m) {
  auto unet =
      bind_block<nn::UNetImpl>(m, "UNet", "A class for every pixel of an image.", arg("input_size"), arg("classes"));
  bind_forward(unet, arg("x"));
  unet.def("gates", wrap_pybind_function_no_gil(&nn::UNetImpl::gates), arg("x"), "The gates of each level.");
}

void bind_center_head(py::module_& m) {
  using nn::CenterHeadImpl;
  using torch::Tensor;
  const auto targets = [](const CenterHeadImpl& self, const Tensor& boxes, const Tensor& labels, const Tensor& offsets,
                          int64_t height, int64_t width) {
    const auto out = self.targets({boxes, labels, offsets, {}}, height, width);
    return std::make_tuple(out.heat, out.cells, out.sizes, out.shifts);
  };
  const auto loss = [](const CenterHeadImpl& self, const Tensor& maps, const Tensor& boxes, const Tensor& labels,
                       const Tensor& offsets) {
    return self.loss(maps, {boxes, labels, offsets, {}});
  };
  const auto decode = [](const CenterHeadImpl& self, const Tensor& maps, int64_t top, double threshold) {
    const auto out = self.decode(maps, top, threshold);
    return std::make_tuple(out.boxes, out.labels, out.offsets, out.scores);
  };
  auto head = bind_block<CenterHeadImpl>(m, "CenterHead", "Boxes of objects as the peaks of a heat map.",
                                         arg("input_size"), arg("classes"));
  bind_forward(head, arg("x"));
  head.def("targets", wrap_pybind_function_no_gil(targets), arg("boxes"), arg("labels"), arg("offsets"), arg("height"),
           arg("width"), "(heat, cells, sizes, shifts)")
      .def("loss", wrap_pybind_function_no_gil(loss), arg("maps"), arg("boxes"), arg("labels"), arg("offsets"))
      .def("decode", wrap_pybind_function_no_gil(decode), arg("maps"), arg("top"), arg("threshold"),
           "(boxes, labels, offsets, scores)");
  m.def("gaussian_radius", wrap_pybind_function_no_gil(&nn::gaussian_radius), arg("width"), arg("height"),
        arg("min_overlap"));
}

void bind_encoders(py::module_& m) {
  const auto none = py::none();
  auto conv = bind_block<nn::ConvEncoderImpl>(m, "ConvEncoder", "Causal convolutions over time.", arg("input_size"));
  bind_forward(conv, arg("x"));
  auto transformer =
      bind_block<nn::TransformerEncoderImpl>(m, "TransformerEncoder", "Causal Transformer.", arg("input_size"));
  bind_forward(transformer, arg("x"), arg("valid"));
  auto encoder = bind_block<nn::SequenceEncoderImpl>(
      m, "SequenceEncoder", "A behaviour sequence to one hidden state per event.", arg("input_size"));
  bind_forward(encoder, arg("x"), arg("valid"), arg("scene") = none);
  encoder.def_property_readonly("output_size", &nn::SequenceEncoderImpl::output_size);
  auto text =
      bind_block<nn::TextEncoderImpl>(m, "TextEncoder", "Words of texts to one vector a text.", arg("input_size"));
  bind_attention(text, arg("x"), arg("offsets"));
  text.def_property_readonly("output_size", &nn::TextEncoderImpl::output_size);
  auto image = bind_block<nn::ImageEncoderImpl>(m, "ImageEncoder", "Images to one vector an image.", arg("channels"));
  bind_attention(image, arg("x"));
  image.def("map", wrap_pybind_function_no_gil(&nn::ImageEncoderImpl::map), arg("x"), "The last map, [B, H, h', w'].");
  image.def_property_readonly("output_size", &nn::ImageEncoderImpl::output_size);
  bind_forward(bind_block<nn::ImageAugmentImpl>(m, "ImageAugment", "Images as they might have been."), arg("x"));
}

void bind_layers(py::module_& m) {
  const auto extract = [](nn::InterestPointsImpl& self, const torch::Tensor& context,
                          const std::optional<torch::Tensor>& valid) {
    const auto out = self.extract(context, valid);
    return std::make_pair(out.values, out.steps);
  };
  auto points = bind_block<nn::InterestPointsImpl>(m, "InterestPoints", "Filters over time, their strongest answers.",
                                                   arg("input_size"));
  bind_forward(points, arg("context"), arg("valid") = py::none());
  points.def("extract", wrap_pybind_function_no_gil(extract), arg("context"), arg("valid") = py::none(),
             "(values, steps)");
  auto mlp = bind_block<nn::MLPImpl>(m, "MLP", "Multi-layer perceptron.", arg("input_size"));
  bind_forward(mlp, arg("x"));
  mlp.def_property_readonly("output_size", &nn::MLPImpl::output_size);
}

}  // namespace

void bind_nn(py::module_& parent) {
  auto m = parent.def_submodule("nn", "Neural blocks.");
  bind_masks(m);
  bind_scores(m);
  bind_product(m);
  bind_losses(m);
  bind_alignment(m);
  bind_attentions(m);
  bind_fusion(m);
  bind_unet(m);
  bind_center_head(m);
  bind_encoders(m);
  bind_layers(m);
  bind_feature_embedding(m);
}

}  // namespace polyscene::bindings
