#pragma once

#include <torch/torch.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace polyscene::nn {

/// -y log sigma(z) - (1 - y) log(1 - sigma(z)) of each entry, without overflow. logits and label: the same shape; label
/// in [0, 1] of any type.
torch::Tensor bce_with_logits(const torch::Tensor& logits, const torch::Tensor& label);

/// -log sigma(s_pos - s_neg) = softplus(s_neg - s_pos) of each pair (Rendle et al., UAI 2009). Shapes broadcast: [B] or
/// [B, 1] against [B, N].
torch::Tensor bpr(const torch::Tensor& positive, const torch::Tensor& negative);

/// (prediction - label)^2 of each entry. The same shape.
torch::Tensor squared_error(const torch::Tensor& prediction, const torch::Tensor& label);

/// TOP1 (Hidasi et al., ICLR 2016): mean_j sigma(s_neg - s_pos) + sigma(s_neg^2) of each row. positive [B], negative
/// [B, N], none of which is the positive; the paper's form, which scores the positive among the others, then takes the
/// share of that out again. Result [B].
torch::Tensor top1(const torch::Tensor& positive, const torch::Tensor& negative);

/// BPR-max (Hidasi and Karatzoglou, CIKM 2018):
///
///   -log sum_j w_j sigma(s_pos - s_j) + reg sum_j w_j s_j^2,   w = softmax over the negatives
///
/// positive [B], negative [B, N]. Result [B].
torch::Tensor bpr_max(const torch::Tensor& positive, const torch::Tensor& negative, double reg);

/// L2 penalty on looked-up embedding rows, each block [B, ...] what one table gave for the batch:
///
///   squared: sum_t ||E_t||_F^2 / (2 B),   else: sum_t ||E_t||_F / B
///
/// The two differ by orders of magnitude: a weight means something only together with its form.
torch::Tensor embedding_l2(const std::vector<torch::Tensor>& blocks, bool squared = true);

/// Tensors by name.
using NamedTensors = std::vector<std::pair<std::string, torch::Tensor>>;

/// Distance of a model's parameters to those of k migrated models (L2-SP: Li, Grandvalet, Davoine, ICML 2018, over k
/// anchors):
///
///   L = sum_l w_l / n_l * 1/k_l sum_{i has l} ||theta_l - theta*_il||^2
///
/// which is 1/k sum_i sum_l w_l ||theta_l - theta*_il||^2 / n_l when all k models have all parameters; a parameter that
/// only some have (k_l of them) is averaged over those, one that none has costs nothing. n_l is the number of entries
/// of theta_l, or 1 without `per_entry`; w_l is 1 unless `weights` names l. Its gradient pulls towards the mean of the
/// anchors, which take none. Throws ValueError for different shapes, for no parameter in common, and for a weight of an
/// unknown parameter.
torch::Tensor migration_loss(const NamedTensors& parameters, const std::vector<NamedTensors>& anchors,
                             bool per_entry = true, const std::map<std::string, double>& weights = {});

}  // namespace polyscene::nn
