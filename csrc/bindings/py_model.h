#pragma once

#include <torch/extension.h>

#include <string>
#include <vector>

#include "polyscene/models/base.h"

namespace polyscene::bindings {

namespace py = pybind11;

/// A model written in Python, as the C++ trainer and evaluator see it: every virtual function takes the GIL and calls
/// the method of the same name. The bound methods of this class are the defaults of the base model, so that a Python
/// class may call `super()`. Holds the Python object weakly, for that object holds this one.
class PyModel : public models::Model {
 public:
  PyModel(std::shared_ptr<const data::Schema> schema, std::string name, const py::object& owner);
  ~PyModel() override;

  /// Registers the tensors of the Python module, themselves and not copies, under their dotted names.
  void adopt(const std::vector<std::tuple<std::string, torch::Tensor, bool>>& tensors);

  torch::Tensor forward(const data::Batch& batch) override;
  torch::Tensor loss(const data::Batch& batch) override;
  torch::Tensor represent(const data::Batch& batch) override;
  models::Explanation explain(const data::Batch& batch) override;
  void prepare(const data::Table& train) override;
  bool fit_closed_form(const data::Table& train) override;
  std::vector<models::Phase> phases() const override;
  void begin_phase(const models::Phase& phase) override;
  void begin_epoch(int64_t epoch) override;
  data::Sampling sampling() const override;
  void encode() override;
  torch::Tensor score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) override;
  int64_t history_length() const override;
  std::vector<std::string> table_parameters() const override;
  void sparse_gradients(bool on) override;
  void train(bool on) override;
  std::string name() const override { return name_; }
  OptionMap options_map() const override;

 private:
  py::object owner() const;  // the GIL must be held

  std::string name_;
  py::object owner_;  // weak reference
};

/// Registers a Python class: `create` makes the object and keeps it as long as C++ holds the model.
void register_python_model(const std::string& name, const std::vector<std::string>& tasks, const py::object& cls,
                           const py::dict& defaults);

}  // namespace polyscene::bindings
