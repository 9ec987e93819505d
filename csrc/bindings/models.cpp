#include <torch/extension.h>

#include <pybind11/stl.h>

#include "bindings/bind_model.h"
#include "bindings/bindings.h"
#include "bindings/options.h"
#include "bindings/py_model.h"
#include "polyscene/models/follower.h"
#include "polyscene/models/int8_tables.h"
#include "polyscene/models/registry.h"
#include "polyscene/nn/int8_rows.h"

namespace polyscene::bindings {

using data::Batch;
using data::History;
using data::Schema;
using data::Table;
using models::Model;
using models::Phase;
using torch::wrap_pybind_function;
using torch::wrap_pybind_function_no_gil;

namespace {

void bind_phase(py::module_& m) {
  const Phase defaults;
  py::class_<Phase>(m, "Phase", "One stage of training.")
      .def(py::init([](std::string name, std::vector<std::string> scenes, std::vector<std::string> frozen,
                       double lr_scale, int64_t epochs, int64_t patience, int64_t batch_size,
                       const std::map<std::string, double>& lr_scales) {
             Phase out{std::move(name), std::move(scenes), std::move(frozen), lr_scale, epochs, patience, batch_size};
             out.lr_scales.assign(lr_scales.begin(), lr_scales.end());
             return out;
           }),
           py::arg("name") = defaults.name, py::kw_only(), py::arg("scenes") = defaults.scenes,
           py::arg("frozen") = defaults.frozen, py::arg("lr_scale") = defaults.lr_scale,
           py::arg("epochs") = defaults.epochs, py::arg("patience") = defaults.patience,
           py::arg("batch_size") = defaults.batch_size, py::arg("lr_scales") = std::map<std::string, double>())
      .def_readonly("name", &Phase::name)
      .def_readonly("scenes", &Phase::scenes, "Scenes whose rows train; empty: all.")
      .def_readonly("frozen", &Phase::frozen, "Prefixes of parameter names that do not move.")
      .def_readonly("lr_scale", &Phase::lr_scale, "Times the trainer's learning rate.")
      .def_property_readonly(
          "lr_scales",
          [](const Phase& self) { return std::map<std::string, double>(self.lr_scales.begin(), self.lr_scales.end()); },
          "Further factors, by prefixes of parameter names.")
      .def_readonly("epochs", &Phase::epochs, "0: the trainer's.")
      .def_readonly("patience", &Phase::patience, "-1: the trainer's.")
      .def_readonly("batch_size", &Phase::batch_size, "0: the trainer's.")
      .def_readonly("of_known", &Phase::of_known,
                    "Whether it is judged by validation rows of users whom training knew in the row's scene alone; "
                    "where there are none it trains 30 epochs at most.")
      .def_readonly("newest", &Phase::newest, "Whether of epochs that are worth the same the newest is kept.");
}

void bind_sampling(py::module_& m) {
  const data::Sampling defaults;
  py::class_<data::Sampling>(m, "Sampling",
                             "Which items a model wants to see beside that of each training row, `batch.negative`.")
      .def(py::init([](int64_t negatives, const std::string& source, double exponent) {
             return data::Sampling{negatives, source, exponent};
           }),
           py::arg("negatives") = defaults.negatives, py::kw_only(), py::arg("source") = defaults.from,
           py::arg("exponent") = defaults.exponent)
      .def_readonly("negatives", &data::Sampling::negatives, "Items for each row, N; 0: none.")
      .def_readonly("source", &data::Sampling::from, "'uniform', 'popularity' or 'in_batch'.")
      .def_readonly("exponent", &data::Sampling::exponent, "Of an item's count, for 'popularity'.");
}

void bind_model(py::module_& m) {
  py::class_<Model, std::shared_ptr<Model>> cls(m, "Model", "A model of the registry.");
  bind_module_protocol(cls);
  cls.def("forward", wrap_pybind_function_no_gil(&Model::forward), py::arg("batch"),
          "Logits or ratings of each row, [B].")
      .def("loss", wrap_pybind_function_no_gil(&Model::loss), py::arg("batch"), "Mean loss, auxiliary terms included.")
      .def("represent", wrap_pybind_function_no_gil(&Model::represent), py::arg("batch"),
           "What the head reads of each row, [B, H].")
      .def("explain", wrap_pybind_function_no_gil(&Model::explain), py::arg("batch"),
           "Everything else a forward computes, as (name, tensor).")
      .def("prepare", wrap_pybind_function_no_gil(&Model::prepare), py::arg("train"), "Graphs, counts, behaviour.")
      .def("fit_closed_form", wrap_pybind_function_no_gil(&Model::fit_closed_form), py::arg("train"))
      .def("phases", wrap_pybind_function(&Model::phases), "The stages of training.")
      .def("begin_phase", wrap_pybind_function_no_gil(&Model::begin_phase), py::arg("phase"))
      .def("begin_epoch", wrap_pybind_function_no_gil(&Model::begin_epoch), py::arg("epoch"))
      .def("sampling", wrap_pybind_function(&Model::sampling), "What negatives each training row must carry.")
      .def("encode", wrap_pybind_function_no_gil(&Model::encode), "Computes what all users share, once.")
      .def("score_items", wrap_pybind_function_no_gil(&Model::score_items), py::arg("users"), py::arg("scene"),
           py::arg("items"), "Scores of items for users in a scene, [U, C].")
      .def("transition_matrix", wrap_pybind_function_no_gil(&Model::transition_matrix), py::arg("source"),
           py::arg("target"), "Mean predicted p(y' | y = i) over the training events between two scenes, [K, K].")
      .def("table_parameters", wrap_pybind_function(&Model::table_parameters), "Names of the lookup tables.")
      .def("sparse_gradients", wrap_pybind_function(&Model::sparse_gradients), py::arg("on"))
      .def_property_readonly("history_length", wrap_pybind_function(&Model::history_length))
      .def_property_readonly("name", wrap_pybind_function(&Model::name))
      .def_property_readonly("options", [](const Model& self) { return to_python(self.options_map()); })
      .def_property_readonly("schema",
                             [](const Model& self) { return std::const_pointer_cast<Schema>(self.schema_ptr()); })
      .def_property(
          "history", [](const Model& self) { return std::const_pointer_cast<History>(self.history()); },
          [](Model& self, std::shared_ptr<History> history) { self.set_history(std::move(history)); });
}

// The defaults of the base model, not virtual calls: these would come back to the Python class that asks for them.
void bind_python_model(py::module_& m) {
  const auto make = [](std::shared_ptr<Schema> schema, const std::string& name, const py::object& owner) {
    return std::make_shared<PyModel>(std::move(schema), name, owner);
  };
  const auto loss = [](PyModel& self, const Batch& batch) { return self.Model::loss(batch); };
  const auto prepare = [](PyModel& self, const Table& train) { self.Model::prepare(train); };
  const auto represent = [](PyModel& self, const Batch&) -> torch::Tensor {
    TORCH_CHECK_VALUE(false, self.name(), ": a model written in Python must define represent(batch), [B, H], itself");
  };
  const auto score_items = [](PyModel& self, const torch::Tensor& users, int64_t scene, const torch::Tensor& items) {
    return self.Model::score_items(users, scene, items);
  };
  py::class_<PyModel, Model, std::shared_ptr<PyModel>>(m, "PyModel", "A model written in Python, as C++ sees it.")
      .def(py::init(make), py::arg("schema"), py::arg("name"), py::arg("owner"))
      .def("adopt", wrap_pybind_function(&PyModel::adopt), py::arg("tensors"), "Registers (name, tensor, is buffer).")
      .def("loss", wrap_pybind_function_no_gil(loss), py::arg("batch"))
      .def("prepare", wrap_pybind_function_no_gil(prepare), py::arg("train"))
      .def("represent", wrap_pybind_function(represent), py::arg("batch"))
      .def(
          "explain", [](PyModel&, const Batch&) { return models::Explanation(); }, py::arg("batch"))
      .def(
          "fit_closed_form", [](PyModel&, const Table&) { return false; }, py::arg("train"))
      .def("phases", [](PyModel& self) { return self.Model::phases(); })
      .def(
          "begin_phase", [](PyModel&, const Phase&) {}, py::arg("phase"))
      .def(
          "begin_epoch", [](PyModel&, int64_t) {}, py::arg("epoch"))
      .def("sampling", [](PyModel& self) { return self.Model::sampling(); })
      .def("encode", [](PyModel&) {})
      .def("score_items", wrap_pybind_function_no_gil(score_items), py::arg("users"), py::arg("scene"),
           py::arg("items"))
      .def_property_readonly("history_length", [](PyModel&) { return 0; });
}

void bind_follower(py::module_& m) {
  using models::Follower;
  py::class_<Follower>(m, "Follower", "Follows one person, event by event.")
      .def(py::init<std::shared_ptr<Model>>(), py::arg("model"))
      .def("add", wrap_pybind_function_no_gil(py::overload_cast<int64_t, int64_t, int64_t, double>(&Follower::add)),
           py::arg("item"), py::arg("scene"), py::arg("time") = 0, py::arg("label") = 1, "One more event.")
      .def("add_all", wrap_pybind_function_no_gil(py::overload_cast<const data::Events&>(&Follower::add)),
           py::arg("events"), "The events of one list, oldest first.")
      .def("state", wrap_pybind_function_no_gil(&Follower::state), py::arg("scene"), "After all events, [1, D].")
      .def("scores", wrap_pybind_function_no_gil(&Follower::scores), py::arg("scene"),
           "Scores of the scene's items, [C].")
      .def("items", wrap_pybind_function(&Follower::items), "Rows of all items so far, int64 [n].")
      .def_property_readonly("events", wrap_pybind_function(&Follower::events));
  m.def("scene_items", wrap_pybind_function(&models::scene_items), py::arg("model"), py::arg("scene"),
        "Items of a scene with training rows, int64 [C], ascending.");
}

void bind_int8(py::module_& m) {
  m.def("int8_tables", wrap_pybind_function(&models::int8_tables), py::arg("model"),
        "Names of the lookup tables that may hold 8-bit rows.");
  m.def("expect_int8", wrap_pybind_function(&models::expect_int8), py::arg("model"), py::arg("state"),
        "Prepares the tables that `state` holds packed.");
  m.def("pack_int8", wrap_pybind_function_no_gil(&nn::pack_int8), py::arg("rows"),
        "Rows [V, D] as int8 [V, D + 4]: whole numbers, then the bytes of the scale.");
  m.def("unpack_int8", wrap_pybind_function_no_gil(&nn::unpack_int8), py::arg("packed"), "float32 [..., D].");
}

void bind_registry(py::module_& m) {
  const auto create = [](const std::string& name, std::shared_ptr<Schema> schema, const py::dict& options) {
    const auto values = to_options(name, options);
    const py::gil_scoped_release no_gil;
    return models::create(name, std::move(schema), values);
  };
  m.def("create", wrap_pybind_function(create), py::arg("name"), py::arg("schema"), py::arg("options") = py::dict(),
        "Makes a registered model.");
  m.def("list", wrap_pybind_function([](const std::string& task) { return models::list(task); }), py::arg("task") = "",
        "Registered names, all or those of one task.");
  m.def("options",
        wrap_pybind_function([](const std::string& name) { return to_python(models::find(name).options()); }),
        py::arg("name"), "Options as (name, type, default, doc).");
  m.def("tasks", wrap_pybind_function([](const std::string& name) { return models::find(name).tasks; }),
        py::arg("name"), "The tasks that a registered model does.");
  m.def("register", wrap_pybind_function(&register_python_model), py::arg("name"), py::arg("tasks"), py::arg("cls"),
        py::arg("defaults"), "Adds a Python class to the registry.");
}

}  // namespace

void bind_models(py::module_& parent) {
  auto m = parent.def_submodule("models", "The base model and the registry.");
  bind_phase(m);
  bind_sampling(m);
  bind_model(m);
  bind_python_model(m);
  bind_follower(m);
  bind_registry(m);
  bind_int8(m);
}

}  // namespace polyscene::bindings
