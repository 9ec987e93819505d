#pragma once

#include <memory>
#include <string>
#include <vector>

#include "polyscene/models/base.h"

namespace polyscene::models {

/// A model around another one, whose parameters and buffers it shares under the same names: everything is that model's
/// but what a subclass overrides. What a subclass registers of its own goes by the names that it gives.
class Wrapped : public Model {
 public:
  torch::Tensor forward(const data::Batch& batch) override { return inner_->forward(batch); }
  torch::Tensor score(const data::Batch& candidates, const data::Events& events, const torch::Tensor& owner) override {
    return inner_->score(candidates, events, owner);
  }
  torch::Tensor loss(const data::Batch& batch) override { return inner_->loss(batch); }
  torch::Tensor represent(const data::Batch& batch) override { return inner_->represent(batch); }
  Explanation explain(const data::Batch& batch) override { return inner_->explain(batch); }
  void prepare(const data::Table& train) override;
  bool fit_closed_form(const data::Table& train) override { return inner_->fit_closed_form(train); }
  std::vector<Phase> phases() const override;
  void begin_phase(const Phase& phase) override { inner_->begin_phase(phase); }
  void begin_epoch(int64_t epoch) override { inner_->begin_epoch(epoch); }
  data::Sampling sampling() const override { return inner_->sampling(); }
  void encode() override { inner_->encode(); }
  torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) override {
    return inner_->score_items(users, scene, items);
  }
  int64_t history_length() const override { return inner_->history_length(); }
  std::vector<std::string> table_parameters() const override { return inner_->table_parameters(); }
  void sparse_gradients(bool on) override { inner_->sparse_gradients(on); }
  torch::Tensor transition_matrix(int64_t from, int64_t to) override { return inner_->transition_matrix(from, to); }
  /// Frozen parts stay in evaluation mode.
  void train(bool on = true) override;
  std::string name() const override { return inner_->name(); }
  OptionMap options_map() const override { return inner_->options_map(); }

  Model& inner() const { return *inner_; }

 protected:
  explicit Wrapped(std::shared_ptr<Model> inner);

  /// Names of the inner model's parameters, shared tensors once.
  std::vector<std::string> parameter_names() const;
  /// Names or dotted prefixes of parameters that do not move, in all phases. Throws ValueError that opens with `owner`
  /// for one that no parameter has.
  void freeze(const char* owner, const std::vector<std::string>& prefixes);

  std::shared_ptr<Model> inner_;

 private:
  std::vector<std::string> frozen_;
};

/// Whether `name` is `prefix` or lies under it.
bool is_below(const std::string& name, const std::string& prefix);
/// Throws ValueError "owner: option must be names or prefixes of parameters, got ..." unless each prefix has one.
void check_prefixes(const char* owner, const char* option, const std::vector<std::string>& prefixes,
                    const std::vector<std::string>& names);

}  // namespace polyscene::models
