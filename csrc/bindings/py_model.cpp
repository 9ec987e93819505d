#include "bindings/py_model.h"

#include <pybind11/stl.h>

#include "bindings/options.h"
#include "polyscene/models/registry.h"

namespace polyscene::bindings {

PyModel::PyModel(std::shared_ptr<const data::Schema> schema, std::string name, const py::object& owner)
    : Model(std::move(schema)), name_(std::move(name)), owner_(py::weakref(owner)) {}

PyModel::~PyModel() {
  if (!Py_IsInitialized()) {
    owner_.release();
    return;
  }
  const py::gil_scoped_acquire gil;
  owner_ = py::object();
}

py::object PyModel::owner() const {
  auto out = owner_();
  TORCH_CHECK_VALUE(!out.is_none(), name_, ": the Python object of this model is gone; keep a reference to it");
  return out;
}

void PyModel::adopt(const std::vector<std::tuple<std::string, torch::Tensor, bool>>& tensors) {
  for (const auto& [name, tensor, is_buffer] : tensors) {
    torch::nn::Module* parent = this;
    std::shared_ptr<torch::nn::Module> holder;
    size_t begin = 0;
    for (size_t end = name.find('.'); end != std::string::npos; begin = end + 1, end = name.find('.', begin)) {
      const auto key = name.substr(begin, end - begin);
      const auto children = parent->named_children();
      const auto* child = children.find(key);
      holder = child ? *child : parent->register_module(key, std::make_shared<torch::nn::Module>(key));
      parent = holder.get();
    }
    const auto leaf = name.substr(begin);
    if (is_buffer) {
      parent->register_buffer(leaf, tensor);
    } else {
      parent->register_parameter(leaf, tensor, tensor.requires_grad());
    }
  }
}

torch::Tensor PyModel::forward(const data::Batch& batch) {
  const py::gil_scoped_acquire gil;
  return owner()(batch).cast<torch::Tensor>();
}

torch::Tensor PyModel::loss(const data::Batch& batch) {
  const py::gil_scoped_acquire gil;
  return owner().attr("loss")(batch).cast<torch::Tensor>();
}

torch::Tensor PyModel::represent(const data::Batch& batch) {
  const py::gil_scoped_acquire gil;
  auto out = owner().attr("represent")(batch).cast<torch::Tensor>();
  TORCH_CHECK_VALUE(out.dim() == 2 && out.size(0) == batch.size(), name_, ": represent must return [", batch.size(),
                    ", H], got ", out.sizes());
  return out;
}

models::Explanation PyModel::explain(const data::Batch& batch) {
  const py::gil_scoped_acquire gil;
  models::Explanation out;
  for (const auto& [name, tensor] : owner().attr("explain")(batch).cast<py::dict>()) {
    out.emplace_back(name.cast<std::string>(), tensor.cast<torch::Tensor>());
  }
  return out;
}

void PyModel::prepare(const data::Table& train) {
  const py::gil_scoped_acquire gil;
  owner().attr("prepare")(train);
}

bool PyModel::fit_closed_form(const data::Table& train) {
  const py::gil_scoped_acquire gil;
  return owner().attr("fit_closed_form")(train).cast<bool>();
}

std::vector<models::Phase> PyModel::phases() const {
  const py::gil_scoped_acquire gil;
  return owner().attr("phases")().cast<std::vector<models::Phase>>();
}

void PyModel::begin_phase(const models::Phase& phase) {
  const py::gil_scoped_acquire gil;
  owner().attr("begin_phase")(phase);
}

void PyModel::begin_epoch(int64_t epoch) {
  const py::gil_scoped_acquire gil;
  owner().attr("begin_epoch")(epoch);
}

data::Sampling PyModel::sampling() const {
  const py::gil_scoped_acquire gil;
  const py::object out = owner().attr("sampling")();
  TORCH_CHECK_TYPE(py::isinstance<data::Sampling>(out), name_, ": sampling() must return a polyscene.models.Sampling, ",
                   "got ", py::str(py::type::of(out).attr("__name__")).cast<std::string>());
  return out.cast<data::Sampling>();
}

void PyModel::encode() {
  const py::gil_scoped_acquire gil;
  owner().attr("encode")();
}

torch::Tensor PyModel::score_items(const torch::Tensor& users, int64_t scene, const torch::Tensor& items) {
  const py::gil_scoped_acquire gil;
  auto out = owner().attr("score_items")(users, scene, items).cast<torch::Tensor>();
  TORCH_CHECK_VALUE(out.dim() == 2 && out.size(0) == users.numel() && out.size(1) == items.numel(), name_,
                    ": score_items must return [", users.numel(), ", ", items.numel(), "], got ", out.sizes());
  return out;
}

int64_t PyModel::history_length() const {
  const py::gil_scoped_acquire gil;
  return owner().attr("history_length").cast<int64_t>();
}

std::vector<std::string> PyModel::table_parameters() const {
  const py::gil_scoped_acquire gil;
  return owner().attr("table_parameters")().cast<std::vector<std::string>>();
}

void PyModel::sparse_gradients(bool on) {
  const py::gil_scoped_acquire gil;
  owner().attr("sparse_gradients")(on);
}

void PyModel::train(bool on) {
  Model::train(on);
  const py::gil_scoped_acquire gil;
  owner().attr("train")(on);
}

OptionMap PyModel::options_map() const {
  const py::gil_scoped_acquire gil;
  return to_options(name_, owner().attr("options").cast<py::dict>());
}

void register_python_model(const std::string& name, const std::vector<std::string>& tasks, const py::object& cls,
                           const py::dict& defaults) {
  std::vector<OptionField> fields;
  for (const auto& [option, value] : to_options(name, defaults))
    fields.push_back({option, type_name(value), value, ""});
  // The registry outlives the interpreter: it holds the class without ever giving it back.
  const py::handle held = py::object(cls).release();
  const auto create = [name, held](std::shared_ptr<const data::Schema> schema, const OptionMap& options) {
    const py::gil_scoped_acquire gil;
    const auto made = held(std::const_pointer_cast<data::Schema>(schema), **to_python(options));
    const auto impl = made.attr("_native")().cast<std::shared_ptr<models::Model>>();
    auto* keep = new py::object(made);
    return std::shared_ptr<models::Model>(impl.get(), [impl, keep](models::Model*) {
      const py::gil_scoped_acquire gil;
      delete keep;
    });
  };
  models::register_model({name, tasks, create, [fields] { return fields; }});
}

}  // namespace polyscene::bindings
