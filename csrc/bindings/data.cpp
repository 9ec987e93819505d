#include <torch/extension.h>

#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "polyscene/data/classes.h"
#include "polyscene/data/images.h"
#include "polyscene/data/table.h"

namespace polyscene::bindings {

using namespace polyscene::data;

namespace {

template <typename T>
void set_text(const py::dict& given, const char* key, T& field) {
  if (given.contains(key)) field = given[key].cast<T>();
}

NumericField numeric_field(const py::dict& given) {
  NumericField field;
  set_text(given, "name", field.name);
  set_text(given, "scaling", field.scaling);
  set_text(given, "missing", field.missing);
  set_text(given, "outliers", field.outliers);
  return field;
}

ListField list_field(const py::dict& given) {
  ListField field;
  set_text(given, "name", field.name);
  set_text(given, "kind", field.kind);
  set_text(given, "shares", field.shares);
  set_text(given, "max_length", field.max_length);
  return field;
}

template <typename T>
std::vector<T> map_list(const std::vector<py::dict>& given, T (*make)(const py::dict&)) {
  std::vector<T> out;
  for (const auto& entry : given) out.push_back(make(entry));
  return out;
}

void bind_columns(py::module_& m) {
  py::class_<Strings>(m, "Strings", "Many short strings in two tensors: UTF-8 bytes, and offsets [n + 1].")
      .def(py::init<torch::Tensor, torch::Tensor>(), py::arg("bytes"), py::arg("offsets"))
      .def(py::init<const std::vector<std::string>&>(), py::arg("values"))
      .def_readonly("bytes", &Strings::bytes)
      .def_readonly("offsets", &Strings::offsets)
      .def("list", &Strings::list)
      .def("__len__", &Strings::size);
  py::class_<Ragged>(m, "Ragged", "Lists of different length: list i is values[offsets[i]:offsets[i + 1]].")
      .def(py::init([](torch::Tensor values, torch::Tensor offsets) {
             return Ragged{values, offsets};
           }),
           py::arg("values"), py::arg("offsets"))
      .def_readonly("values", &Ragged::values)
      .def_readonly("offsets", &Ragged::offsets)
      .def("take", &Ragged::take, py::arg("rows"))
      .def("__len__", &Ragged::size);
  const auto make = [](std::vector<std::string> categorical, torch::Tensor codes, std::vector<Strings> ids,
                       std::vector<std::string> numeric, torch::Tensor numbers, std::vector<std::string> lists,
                       std::vector<Ragged> list_codes, std::vector<Strings> list_ids, torch::Tensor scene,
                       std::vector<std::string> scene_names, std::optional<torch::Tensor> label,
                       std::optional<torch::Tensor> weight, std::optional<torch::Tensor> time,
                       std::optional<Ragged> interest, std::optional<Strings> interest_ids) {
    auto out = std::make_shared<Columns>();
    out->rows = scene.numel();
    out->categorical = std::move(categorical);
    out->codes = std::move(codes);
    out->ids = std::move(ids);
    out->numeric = std::move(numeric);
    out->numbers = std::move(numbers);
    out->lists = std::move(lists);
    out->list_codes = std::move(list_codes);
    out->list_ids = std::move(list_ids);
    out->scene = std::move(scene);
    out->scene_names = std::move(scene_names);
    out->label = label.value_or(torch::Tensor());
    out->weight = weight.value_or(torch::Tensor());
    out->time = time.value_or(torch::Tensor());
    out->interest = interest.value_or(Ragged());
    out->interest_ids = interest_ids.value_or(Strings());
    out->check();
    return out;
  };
  py::class_<Columns, std::shared_ptr<Columns>>(
      m, "Columns", "One source in columns, as stored: codes of all its ids and raw numbers.")
      .def(py::init(make), py::kw_only(), py::arg("categorical"), py::arg("codes"), py::arg("ids"), py::arg("numeric"),
           py::arg("numbers"), py::arg("lists"), py::arg("list_codes"), py::arg("list_ids"), py::arg("scene"),
           py::arg("scene_names"), py::arg("label") = py::none(), py::arg("weight") = py::none(),
           py::arg("time") = py::none(), py::arg("interest") = py::none(), py::arg("interest_ids") = py::none())
      .def_readonly("rows", &Columns::rows)
      .def_readonly("categorical", &Columns::categorical)
      .def_readonly("codes", &Columns::codes)
      .def_readonly("ids", &Columns::ids)
      .def_readonly("numeric", &Columns::numeric)
      .def_readonly("numbers", &Columns::numbers)
      .def_readonly("lists", &Columns::lists)
      .def_readonly("list_codes", &Columns::list_codes)
      .def_readonly("list_ids", &Columns::list_ids)
      .def_readonly("scene", &Columns::scene)
      .def_readonly("scene_names", &Columns::scene_names)
      .def_readonly("label", &Columns::label)
      .def_readonly("weight", &Columns::weight)
      .def_readonly("time", &Columns::time)
      .def_readonly("interest", &Columns::interest)
      .def_readonly("interest_ids", &Columns::interest_ids)
      .def("digest", torch::wrap_pybind_function_no_gil(&Columns::digest))
      .def("save", torch::wrap_pybind_function_no_gil(&Columns::save), py::arg("path"))
      .def_static(
          "open", [](const std::string& path) { return std::const_pointer_cast<Columns>(Columns::open(path)); },
          py::arg("path"))
      .def("__len__", [](const Columns& self) { return self.rows; });
}

std::vector<std::tuple<std::string, int64_t, int64_t, int64_t>> image_sizes(const Schema& schema) {
  std::vector<std::tuple<std::string, int64_t, int64_t, int64_t>> out;
  for (const auto& each : image_columns(schema)) out.emplace_back(each.column, each.channels, each.height, each.width);
  return out;
}

torch::Tensor first_images(const Batch& batch, const Schema& schema) {
  const auto columns = image_columns(schema);
  TORCH_CHECK_VALUE(!columns.empty(), "images: the data have no image column; name it when the table is read");
  return images(batch, columns.front());
}

void bind_schema(py::module_& m) {
  py::class_<CategoricalField>(m, "CategoricalField",
                               "A categorical field: row 0 unknown, row 1 missing, row r >= 2 is ids[r - 2].")
      .def_readonly("name", &CategoricalField::name)
      .def_readonly("min_count", &CategoricalField::min_count)
      .def_readonly("side", &CategoricalField::side)
      .def_property_readonly("ids", [](const CategoricalField& self) { return self.ids.list(); })
      .def_property_readonly("rows", &CategoricalField::rows);
  py::class_<NumericField>(m, "NumericField",
                           "A numeric field: x -> (clip(fill(x)) - shift) / scale, fitted on training rows.")
      .def_readonly("name", &NumericField::name)
      .def_readonly("scaling", &NumericField::scaling)
      .def_readonly("missing", &NumericField::missing)
      .def_readonly("outliers", &NumericField::outliers)
      .def_readonly("fill", &NumericField::fill)
      .def_readonly("low", &NumericField::low)
      .def_readonly("high", &NumericField::high)
      .def_readonly("shift", &NumericField::shift)
      .def_readonly("scale", &NumericField::scale)
      .def_readonly("side", &NumericField::side);
  py::class_<ListField>(m, "ListField", "A multi-hot or sequence column.")
      .def_readonly("name", &ListField::name)
      .def_readonly("kind", &ListField::kind)
      .def_readonly("shares", &ListField::shares)
      .def_readonly("max_length", &ListField::max_length)
      .def_property_readonly("ids", [](const ListField& self) { return self.ids.list(); })
      .def_property_readonly("rows", &ListField::rows);
  py::class_<Schema, std::shared_ptr<Schema>>(m, "Schema",
                                              "What a model knows of the data; fitted on training rows only.")
      .def_readonly("task", &Schema::task)
      .def_readonly("label", &Schema::label)
      .def_readonly("categorical", &Schema::categorical)
      .def_readonly("numeric", &Schema::numeric)
      .def_readonly("lists", &Schema::lists)
      .def_readonly("scenes", &Schema::scenes)
      .def_readonly("unseen_scene", &Schema::unseen_scene)
      .def_readonly("has_time", &Schema::has_time)
      .def_readonly("scene_rows", &Schema::scene_rows)
      .def_readonly("scene_label", &Schema::scene_label)
      .def_readonly("label_mean", &Schema::label_mean)
      .def_readonly("label_low", &Schema::label_low)
      .def_readonly("label_high", &Schema::label_high)
      .def_readonly("reader", &Schema::reader,
                    "JSON text: which column of a file is what, as the training data were read.")
      .def_property_readonly("classes", &class_names,
                             "Names of the classes of tasks text and image; [] for other tasks.")
      .def_property_readonly("images", &image_sizes, "(column, channels, height, width) of each image column.")
      .def_property_readonly("interests", [](const Schema& self) { return self.interests.list(); })
      .def_property_readonly("user",
                             [](const Schema& self) -> std::optional<std::string> {
                               return self.user < 0 ? std::nullopt : std::optional(self.categorical[self.user].name);
                             })
      .def_property_readonly("item",
                             [](const Schema& self) -> std::optional<std::string> {
                               return self.item < 0 ? std::nullopt : std::optional(self.categorical[self.item].name);
                             })
      .def_property_readonly("num_scenes", &Schema::num_scenes)
      .def_property_readonly("num_fields", &Schema::num_fields)
      .def_property_readonly("numeric_width", &Schema::numeric_width)
      .def_property_readonly("digest", &Schema::digest)
      .def("field", torch::wrap_pybind_function(&Schema::field), py::arg("name"), "Index of a categorical field.")
      .def("scene", torch::wrap_pybind_function(&Schema::scene), py::arg("name"), "Index of a scene.")
      .def("json", &Schema::json)
      .def("tensors", &Schema::tensors)
      .def_static(
          "from_json",
          [](const std::string& json, const std::map<std::string, torch::Tensor>& tensors) {
            return std::const_pointer_cast<Schema>(Schema::from(json, tensors));
          },
          py::arg("json"), py::arg("tensors"))
      .def("__eq__", [](const Schema& self, const Schema& other) { return self.digest() == other.digest(); })
      .def("__hash__", [](const Schema& self) { return py::hash(py::str(self.digest())); })
      .def(py::pickle([](const Schema& self) { return py::make_tuple(self.json(), self.tensors()); },
                      [](const py::tuple& state) {
                        return std::const_pointer_cast<Schema>(Schema::from(
                            state[0].cast<std::string>(), state[1].cast<std::map<std::string, torch::Tensor>>()));
                      }));
  m.def(
      "fit_schema",
      [](const Columns& columns, const torch::Tensor& train_rows, const std::string& task, const std::string& label,
         const std::string& user, const std::string& item, int64_t min_count, const std::string& unseen_scene,
         const std::vector<py::dict>& numeric, const std::vector<py::dict>& lists, const std::string& reader) {
        const FitOptions options{task,
                                 label,
                                 user,
                                 item,
                                 min_count,
                                 unseen_scene,
                                 map_list(numeric, numeric_field),
                                 map_list(lists, list_field),
                                 reader};
        py::gil_scoped_release release;
        return std::const_pointer_cast<Schema>(fit_schema(columns, train_rows, options));
      },
      py::arg("columns"), py::arg("train_rows"), py::kw_only(), py::arg("task") = "ctr", py::arg("label") = "label",
      py::arg("user") = "", py::arg("item") = "", py::arg("min_count") = 2, py::arg("unseen_scene") = "error",
      py::arg("numeric") = std::vector<py::dict>(), py::arg("lists") = std::vector<py::dict>(), py::arg("reader") = "");
}

void bind_batch(py::module_& m) {
  py::class_<Events>(m, "Events", "What users did before each row of a batch, oldest first.")
      .def(py::init([](torch::Tensor offsets, torch::Tensor item, torch::Tensor scene, torch::Tensor label,
                       torch::Tensor time, std::optional<Ragged> interest) {
             return Events{offsets, item, scene, label, time, interest.value_or(Ragged())};
           }),
           py::arg("offsets"), py::arg("item"), py::arg("scene"), py::arg("label"), py::arg("time"),
           py::arg("interest") = py::none())
      .def_readonly("offsets", &Events::offsets)
      .def_readonly("item", &Events::item)
      .def_readonly("scene", &Events::scene)
      .def_readonly("label", &Events::label)
      .def_readonly("time", &Events::time)
      .def_property_readonly(
          "interest",
          [](const Events& self) { return self.interest.defined() ? std::optional(self.interest) : std::nullopt; })
      .def("take", torch::wrap_pybind_function_no_gil(&Events::take), py::arg("rows"),
           "The lists `rows` in that order.")
      .def("newest", torch::wrap_pybind_function_no_gil(&Events::newest), py::arg("length"),
           "The newest `length` events of each list.")
      .def("of_scene", torch::wrap_pybind_function_no_gil(&Events::of_scene), py::arg("scene"),
           "The view of one scene: its events alone.")
      .def("gaps", torch::wrap_pybind_function_no_gil(&Events::gaps),
           "Time since the event before, int64 [L]; 0 for the first of a list.");
  const auto optional = [](torch::Tensor Batch::*member) {
    return
        [member](const Batch& self) { return (self.*member).defined() ? std::optional(self.*member) : std::nullopt; };
  };
  py::class_<Batch>(m, "Batch", "Rows of a table as tensors.")
      .def(py::init<>())
      .def_readwrite("categorical", &Batch::categorical,
                     "int32 [B, F], rows of each field's vocabulary (0 unknown, 1 missing).")
      .def_readwrite("numeric", &Batch::numeric, "float32 [B, M], preprocessed.")
      .def_readwrite("sequence", &Batch::sequence, "Multi-hot and sequence columns by name.")
      .def_readwrite("scene", &Batch::scene, "int64 [B].")
      .def_property(
          "scene_offsets", optional(&Batch::scene_offsets),
          [](Batch& self, torch::Tensor value) { self.scene_offsets = value; },
          "int64 [S + 1] on the CPU when rows are grouped by scene, else None.")
      .def_property(
          "label", optional(&Batch::label), [](Batch& self, torch::Tensor value) { self.label = value; },
          "float32 [B] or None.")
      .def_property(
          "weight", optional(&Batch::weight), [](Batch& self, torch::Tensor value) { self.weight = value; },
          "float32 [B] or None.")
      .def_property(
          "user", optional(&Batch::user), [](Batch& self, torch::Tensor value) { self.user = value; },
          "int64 [B], rows of the user vocabulary, or None.")
      .def_property(
          "item", optional(&Batch::item), [](Batch& self, torch::Tensor value) { self.item = value; },
          "int64 [B], rows of the item vocabulary, or None.")
      .def_property_readonly("time", optional(&Batch::time), "int64 [B] or None.")
      .def_property(
          "negative", optional(&Batch::negative), [](Batch& self, torch::Tensor value) { self.negative = value; },
          "int64 [B, N], items that the user did not meet in the scene, or None.")
      .def_property_readonly("next_item", optional(&Batch::next_item),
                             "int64 [L] or None: in task sequence the item that followed each event of `history`.")
      .def_property_readonly("next_scene", optional(&Batch::next_scene), "int64 [L] or None: its scene.")
      .def_property(
          "next_negative", optional(&Batch::next_negative),
          [](Batch& self, torch::Tensor value) { self.next_negative = value; },
          "int64 [L, N] or None: items of that scene that the user did not meet.")
      .def_readonly("row", &Batch::row, "int64 [B], positions in the table.")
      .def_property_readonly(
          "interest",
          [](const Batch& self) { return self.interest.defined() ? std::optional(self.interest) : std::nullopt; })
      .def_property(
          "history",
          [](const Batch& self) { return self.history.defined() ? std::optional(self.history) : std::nullopt; },
          [](Batch& self, const Events& events) { self.history = events; })
      .def_readonly("schema_digest", &Batch::schema_digest)
      .def("take", torch::wrap_pybind_function_no_gil(&Batch::take), py::arg("index"), "Rows `index` in that order.")
      .def(
          "take",
          [](const Batch& self, const std::vector<int64_t>& index) {
            return self.take(torch::tensor(index, torch::kInt64));
          },
          py::arg("index"))
      .def(
          "to",
          [](const Batch& self, const py::object& device) {  // a torch.device, or what makes one: "cpu"
            return self.to(py::module_::import("torch").attr("device")(device).cast<torch::Device>());
          },
          py::arg("device"))
      .def("__len__", &Batch::size);
  m.def("images", torch::wrap_pybind_function_no_gil(&first_images), py::arg("batch"), py::arg("schema"),
        "The images of a batch, float32 [B, channels, height, width] in [0, 1].");
}

}  // namespace

void bind_data(py::module_& parent) {
  auto m = parent.def_submodule("data", "Columns, schemas, tables and batches.");
  bind_columns(m);
  bind_schema(m);
  bind_batch(m);
  bind_table(m);
}

}  // namespace polyscene::bindings
