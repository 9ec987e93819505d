#include "bindings/options.h"

#include <pybind11/stl.h>

namespace polyscene::bindings {
namespace {

constexpr const char* kWanted = " must be a bool, int, float, str or a list of int, float or str, got ";

// NumPy scalars count as the Python numbers they stand for; bool is an int in Python and is asked for first.
bool is_integer(const py::handle& value) { return PyIndex_Check(value.ptr()) && !PyBool_Check(value.ptr()); }

bool is_real(const py::handle& value) {
  return PyFloat_Check(value.ptr()) ||
         (PyNumber_Check(value.ptr()) && !PyIndex_Check(value.ptr()) && !PyComplex_Check(value.ptr()));
}

int64_t integer(const std::string& what, const py::handle& value) {
  const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!number) throw py::error_already_set();
  int overflow = 0;
  const int64_t out = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  TORCH_CHECK_VALUE(overflow == 0, what, " must fit into 64 bits, got ", py::repr(value).cast<std::string>());
  return out;
}

double real(const py::handle& value) {
  const double out = PyFloat_AsDouble(value.ptr());
  if (PyErr_Occurred()) throw py::error_already_set();
  return out;
}

std::string type_of(const py::handle& value) { return py::type::handle_of(value).attr("__name__").cast<std::string>(); }

OptionValue to_list(const std::string& what, const py::sequence& items) {
  size_t integers = 0;
  size_t reals = 0;
  size_t texts = 0;
  for (const auto& item : items) {
    integers += is_integer(item);
    reals += is_real(item);
    texts += py::isinstance<py::str>(item);
  }
  if (texts == items.size() && texts > 0) return items.cast<std::vector<std::string>>();
  TORCH_CHECK_TYPE(integers + reals == items.size(), what, kWanted, py::repr(items).cast<std::string>());
  if (reals == 0) {
    std::vector<int64_t> out;
    for (const auto& item : items) out.push_back(integer(what, item));
    return out;
  }
  std::vector<double> out;
  for (const auto& item : items) out.push_back(real(item));
  return out;
}

}  // namespace

OptionValue to_option(const std::string& what, const py::handle& value) {
  TORCH_CHECK_TYPE(!value.is_none(), what, kWanted, "None; leave it out for its default");
  if (PyBool_Check(value.ptr())) return value.cast<bool>();
  if (is_integer(value)) return integer(what, value);
  if (py::isinstance<py::str>(value)) return value.cast<std::string>();
  if (py::isinstance<py::list>(value) || py::isinstance<py::tuple>(value)) {
    return to_list(what, py::reinterpret_borrow<py::sequence>(value));
  }
  TORCH_CHECK_TYPE(is_real(value), what, kWanted, py::repr(value).cast<std::string>(), " (", type_of(value), ")");
  return real(value);
}

OptionMap to_options(const std::string& owner, const py::dict& values) {
  OptionMap out;
  for (const auto& [key, value] : values) {
    TORCH_CHECK_TYPE(py::isinstance<py::str>(key), owner, ": option names must be str, got ",
                     py::repr(key).cast<std::string>());
    const auto name = key.cast<std::string>();
    out.emplace_back(name, to_option(owner + ": option '" + name + "'", value));
  }
  return out;
}

py::object to_python(const OptionValue& value) {
  return std::visit([](const auto& held) -> py::object { return py::cast(held); }, value);
}

py::dict to_python(const OptionMap& options) {
  py::dict out;
  for (const auto& [name, value] : options) out[py::str(name)] = to_python(value);
  return out;
}

py::list to_python(const std::vector<OptionField>& fields) {
  py::list out;
  for (const auto& field : fields)
    out.append(py::make_tuple(field.name, field.type, to_python(field.value), field.doc));
  return out;
}

}  // namespace polyscene::bindings
