#include <torch/extension.h>

#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "polyscene/data/batches.h"
#include "polyscene/data/negatives.h"
#include "polyscene/data/window_batches.h"

namespace polyscene::bindings {

using namespace polyscene::data;

void bind_table(py::module_& m) {
  const auto optional = [](torch::Tensor (Table::*method)() const) {
    return [method](const Table& self) {
      const auto out = (self.*method)();
      return out.defined() ? std::optional(out) : std::nullopt;
    };
  };
  // Declared before what takes it, so that signatures name it.
  py::class_<Table, std::shared_ptr<Table>> table(m, "Table", "Rows of a source, seen through a schema.");
  py::class_<Interactions::Scene>(m, "ScenePairs", "Pairs of one scene, by user and by item.")
      .def_readonly("user_offsets", &Interactions::Scene::user_offsets, "int64 [U + 1].")
      .def_readonly("items", &Interactions::Scene::items, "int32 [n], ascending within a user.")
      .def_readonly("item_offsets", &Interactions::Scene::item_offsets, "int64 [I + 1].")
      .def_readonly("users", &Interactions::Scene::users, "int32 [n], ascending within an item.")
      .def_readonly("candidates", &Interactions::Scene::candidates, "int64, items with a pair, ascending.")
      .def_readonly("visitors", &Interactions::Scene::visitors, "int64, users with a pair, ascending.")
      .def("__len__", &Interactions::Scene::pairs);
  py::class_<Interactions, std::shared_ptr<Interactions>>(m, "Interactions",
                                                          "Who met which items in each scene, every pair once.")
      .def_static("of", torch::wrap_pybind_function_no_gil([](const Table& rows) {
                    return std::const_pointer_cast<Interactions>(Interactions::of(rows));
                  }),
                  py::arg("table"))
      .def("scene", torch::wrap_pybind_function([](const Interactions& self, int64_t scene) {
             TORCH_CHECK_INDEX(scene >= 0 && scene < self.scenes(), "Interactions: scene must be in [0, ",
                               self.scenes(), "), got ", scene);
             return self.scene(scene);
           }),
           py::arg("scene"))
      .def("pooled", torch::wrap_pybind_function_no_gil(&Interactions::pooled), "All scenes together.")
      .def("__len__", &Interactions::pairs);
  py::class_<History, std::shared_ptr<History>>(m, "History",
                                                "Behaviour of users in the training rows, and the catalogue of items.")
      .def_static(
          "fit",
          [](const Table& train, bool events) { return std::const_pointer_cast<History>(History::fit(train, events)); },
          py::arg("train"), py::arg("events") = true, py::call_guard<py::gil_scoped_release>())
      .def(
          "before",
          [](const History& self, const torch::Tensor& user, std::optional<torch::Tensor> time,
             std::optional<torch::Tensor> row, int64_t length) {
            return self.before(user, time.value_or(torch::Tensor()), row.value_or(torch::Tensor()), length);
          },
          py::arg("user"), py::arg("time") = py::none(), py::arg("row") = py::none(),
          py::arg("length") = kDefaultHistory)
      .def(
          "append",
          [](const History& self, const torch::Tensor& user, const Events& events) {
            return std::const_pointer_cast<History>(self.append(user, events));
          },
          py::arg("user"), py::arg("events"))
      .def("interactions", torch::wrap_pybind_function_no_gil([](const History& self) {
             return std::const_pointer_cast<Interactions>(self.interactions());
           }),
           "The training rows as pairs, every pair once.")
      .def_readonly("offsets", &History::offsets)
      .def_readonly("item_count", &History::item_count)
      .def_property_readonly("keeps_events", &History::keeps_events)
      .def("tensors", &History::tensors)
      .def_static(
          "from_tensors",
          [](std::shared_ptr<Schema> schema, const std::map<std::string, torch::Tensor>& tensors) {
            return std::const_pointer_cast<History>(History::from(schema, tensors));
          },
          py::arg("schema"), py::arg("tensors"));
  const auto sequences = [](std::shared_ptr<Columns> columns, const std::string& user,
                            const std::map<std::string, torch::Tensor>& rows) {
    std::array<torch::Tensor, 4> parts;
    const std::array<std::string, 4> names = {"train", "valid", "test", "context"};
    for (size_t p = 0; p < parts.size(); ++p) {
      if (const auto found = rows.find(names[p]); found != rows.end()) parts[p] = found->second;
    }
    const auto column = columns->categorical_index(user);
    return std::make_shared<Sequences>(std::move(columns), column, parts);
  };
  py::class_<Sequences, std::shared_ptr<Sequences>>(m, "Sequences", "What every user of a source did, in order.")
      .def(py::init(torch::wrap_pybind_function_no_gil(sequences)), py::arg("columns"), py::arg("user"),
           py::arg("rows"))
      .def(
          "windows",
          [](const Sequences& self, const torch::Tensor& rows, int64_t length) {
            const auto out = self.windows(rows, length);
            return std::make_pair(out.position, out.length);
          },
          py::arg("rows"), py::arg("length"), py::call_guard<py::gil_scoped_release>(),
          "Windows of training rows: (positions in `rows` of the newest of each, events before it).")
      .def("__len__", &Sequences::size);
  py::class_<Windows>(m, "Windows", "Windows of users' training events.")
      .def(py::init([](const Table& table, int64_t length, bool within_scene) {
             return windows_of(table, length, within_scene);
           }),
           py::arg("table"), py::arg("length"), py::arg("within_scene") = false,
           py::call_guard<py::gil_scoped_release>())
      .def_readonly("position", &Windows::position, "int64 [W], position in the table of each window's newest row.")
      .def_readonly("length", &Windows::length, "int32 [W], events before it.")
      .def("__len__", [](const Windows& self) { return self.position.numel(); });
  py::class_<WindowBatches>(m, "WindowBatches", "Walks the windows of a table in batches of about equal length.")
      .def(py::init<const Table&, const Windows&, int64_t, int64_t, uint64_t, int64_t, bool>(), py::arg("table"),
           py::arg("windows"), py::arg("length"), py::arg("batch_size") = 128, py::arg("seed") = 0,
           py::arg("epoch") = 0, py::arg("within_scene") = false, py::keep_alive<1, 2>(), py::keep_alive<1, 3>())
      .def("__len__", &WindowBatches::count)
      .def("__iter__", [](py::object self) { return self; })
      .def("__next__", [](WindowBatches& self) {
        std::optional<Batch> batch;
        {
          py::gil_scoped_release release;
          batch = self.next();
        }
        if (!batch) throw py::stop_iteration();
        return *batch;
      });
  table
      .def(py::init([](std::shared_ptr<Columns> columns, std::shared_ptr<Schema> schema,
                       std::optional<torch::Tensor> rows, const std::string& role) {
             return std::make_shared<Table>(columns, schema, rows.value_or(torch::Tensor()), role);
           }),
           py::arg("columns"), py::arg("schema"), py::arg("rows") = py::none(), py::arg("role") = "",
           py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("size", &Table::size)
      .def_property_readonly("role", &Table::role)
      .def_property_readonly("streams", &Table::streams,
                             "Whether the columns look into a file and have more rows than are held in memory.")
      .def_property_readonly(
          "rows", [](const Table& self) { return self.rows().defined() ? self.rows() : torch::arange(self.size()); })
      .def_property_readonly("schema",
                             [](const Table& self) { return std::const_pointer_cast<Schema>(self.schema_ptr()); })
      .def_property_readonly("columns",
                             [](const Table& self) { return std::const_pointer_cast<Columns>(self.columns()); })
      .def_property(
          "history", [](const Table& self) { return std::const_pointer_cast<History>(self.history()); },
          [](Table& self, std::shared_ptr<History> history) { self.set_history(history); })
      .def_property(
          "also_seen", [](const Table& self) { return std::const_pointer_cast<Interactions>(self.also_seen()); },
          [](Table& self, std::shared_ptr<Interactions> also_seen) { self.set_also_seen(also_seen); },
          "What rankings leave out besides the training rows.")
      .def_property(
          "sequences", [](const Table& self) { return std::const_pointer_cast<Sequences>(self.sequences()); },
          [](Table& self, std::shared_ptr<Sequences> sequences) { self.set_sequences(sequences); },
          "What users did in order, for task sequence.")
      .def("scenes", &Table::scenes)
      .def("labels", optional(&Table::labels))
      .def("users", optional(&Table::users))
      .def("items", optional(&Table::items))
      .def("times", optional(&Table::times))
      .def(
          "take",
          [](const Table& self, const torch::Tensor& positions) {
            return std::make_shared<Table>(self.take(positions));
          },
          py::arg("positions"))
      .def(
          "batch",
          [](const Table& self, const torch::Tensor& positions, bool grouped, int64_t history, int64_t negatives,
             const std::string& sampler, uint64_t seed) {
            auto out = self.batch(positions, grouped, history);
            if (negatives == 0) return out;
            TORCH_CHECK_VALUE(self.history(),
                              "table.batch: negatives need the training rows, which this table does not know");
            const Negatives source(self.history()->interactions(), {negatives, sampler});
            const RandomStream stream(seed, "negatives");
            (out.next_item.defined() ? out.next_negative : out.negative) =
                out.next_item.defined() ? source.draw_next(out, stream) : source.draw(out, stream);
            return out;
          },
          py::arg("positions"), py::arg("grouped") = false, py::arg("history") = kDefaultHistory,
          py::arg("negatives") = 0, py::arg("sampler") = "uniform", py::arg("seed") = 0,
          py::call_guard<py::gil_scoped_release>())
      .def("digest", torch::wrap_pybind_function_no_gil(&Table::digest))
      .def("__len__", &Table::size);
  py::class_<Batches>(m, "Batches", "Walks a table in batches grouped by scene.")
      .def(py::init<const Table&, int64_t, bool, uint64_t, int64_t, int64_t, int64_t>(), py::arg("table"),
           py::arg("batch_size") = 4096, py::arg("shuffle") = false, py::arg("seed") = 0, py::arg("epoch") = 0,
           py::arg("history") = 0, py::arg("window") = 0, py::keep_alive<1, 2>())
      .def("__len__", &Batches::count)
      .def("__iter__", [](py::object self) { return self; })
      .def("__next__", [](Batches& self) {
        std::optional<Batch> batch;
        {
          py::gil_scoped_release release;
          batch = self.next();
        }
        if (!batch) throw py::stop_iteration();
        return *batch;
      });
}

}  // namespace polyscene::bindings
