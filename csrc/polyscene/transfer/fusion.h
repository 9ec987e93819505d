#pragma once

#include <torch/torch.h>

#include <map>
#include <string>
#include <vector>

namespace polyscene::transfer {

/// Parameters and buffers by dotted name.
using State = std::map<std::string, torch::Tensor>;

/// A trained model, as fusion sees it.
struct Migrated {
  State state;
  double weight = 1;      ///< its share, such as its training rows
  State importance = {};  ///< diagonal Fisher information by name (`fisher`); empty: all entries count the same
  State rows = {};        ///< for lookup tables: how much each row counts, [V], such as the rows that looked it up
};

/// Fuses models that were trained from the same initialisation:
///
///   theta_p = sum_i w_i r_ip F_ip theta_ip / sum_i w_i r_ip F_ip
///
/// w_i is the weight of model i. r_ip is 1 but for the rows of lookup tables: there it is the row's number in
/// `Migrated::rows`, or, for a table that is not listed there, 1 if the row moved away from the initial one and 0 if
/// training never looked it up. A row that counts in no model keeps its initial value. F_ip is the importance divided
/// by its L2 norm over the whole model (Matena and Raffel, NeurIPS 2022), 1 without importance; an entry whose F is 0
/// in all models takes the mean without F. Uniform weights without importance are the uniform soup (Wortsman et al.,
/// ICML 2022). Tensors that are not floating point are copied from the first model. Equal models fuse to themselves,
/// exactly.
///
/// `tables` names the tensors [V, ...] whose rows may go unseen. Throws ValueError for no models, for names, shapes or
/// types that differ, and for weights, rows or importance that are negative, not finite or misshapen.
State fuse(const State& initial, const std::vector<Migrated>& models, const std::vector<std::string>& tables = {});

/// Task arithmetic (Ilharco et al., ICLR 2023): theta_0 + sum_i weights_i (theta_i - theta_0), of the floating tensors;
/// the others are copied from the first model. Throws ValueError as `fuse` does, and for another number of weights.
State add_tasks(const State& initial, const std::vector<State>& models, const std::vector<double>& weights);

}  // namespace polyscene::transfer
