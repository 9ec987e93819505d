#include "bindings/bind_model.h"
#include "bindings/bindings.h"
#include "bindings/options.h"
#include "polyscene/nn/feature_embedding.h"

namespace polyscene::bindings {

using nn::FeatureEmbeddingImpl;
using nn::FeatureEmbeddingOptions;
using py::arg;
using torch::wrap_pybind_function;
using torch::wrap_pybind_function_no_gil;

void bind_feature_embedding(py::module_& m) {
  const auto make = [](const std::shared_ptr<data::Schema>& schema, const py::dict& options) {
    const auto values = to_options("FeatureEmbedding", options);
    return std::make_shared<FeatureEmbeddingImpl>(*schema,
                                                  options_from<FeatureEmbeddingOptions>("FeatureEmbedding", values));
  };
  py::class_<FeatureEmbeddingImpl, std::shared_ptr<FeatureEmbeddingImpl>> cls(m, "FeatureEmbedding",
                                                                              "Every categorical field in one table.");
  cls.def(py::init(wrap_pybind_function(make)), arg("schema"), arg("options") = py::dict())
      .def_property_readonly("options",
                             [](const FeatureEmbeddingImpl& self) { return to_python(to_map(self.options)); })
      .def_static(
          "option_fields", [] { return to_python(option_fields<FeatureEmbeddingOptions>()); },
          "(name, type, default, doc) of each.")
      .def("forward", wrap_pybind_function_no_gil(&FeatureEmbeddingImpl::forward), arg("batch"))
      .def("flat", wrap_pybind_function_no_gil(&FeatureEmbeddingImpl::flat), arg("batch"))
      .def("embed", wrap_pybind_function_no_gil(&FeatureEmbeddingImpl::embed), arg("field"), arg("index"))
      .def("offset", wrap_pybind_function(&FeatureEmbeddingImpl::offset), arg("field"))
      .def("field_rows", wrap_pybind_function(&FeatureEmbeddingImpl::field_rows), arg("field"))
      .def("set_sparse", &FeatureEmbeddingImpl::set_sparse, arg("on"))
      .def_property_readonly("slots", &FeatureEmbeddingImpl::slots)
      .def_property_readonly("output_size", &FeatureEmbeddingImpl::output_size);
  bind_module_protocol(cls);
}

}  // namespace polyscene::bindings
