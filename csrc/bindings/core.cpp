#include <torch/extension.h>

#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <deque>
#include <mutex>
#include <thread>

#include "bindings/bindings.h"
#include "polyscene/core/errors.h"
#include "polyscene/core/log.h"
#include "polyscene/core/random.h"
#include "polyscene/core/version.h"

namespace polyscene::bindings {

namespace {

// Messages of threads that Python does not know. Such a thread must not wait for the GIL: its owner may be waiting for
// it.
struct Waiting {
  std::mutex mutex;
  std::deque<std::pair<int, std::string>> messages;
};

// Never destroyed: threads may log while the program ends.
Waiting& waiting() {
  static auto* const out = new Waiting;
  return *out;
}

// Logging never ends what is being computed. The GIL is held.
void to_logging(int level, const std::string& message) {
  const py::error_scope kept;
  try {
    py::module_::import("logging").attr("getLogger")("polyscene").attr("log")(level, "%s", message);
  } catch (py::error_already_set& error) {
    if (error.matches(PyExc_KeyboardInterrupt)) {
      PyErr_SetInterrupt();
    } else {
      error.discard_as_unraisable("logging of polyscene");
    }
  }
}

// The GIL is held.
int write_waiting(void*) {
  while (true) {
    std::pair<int, std::string> next;
    {
      const std::lock_guard lock(waiting().mutex);
      if (waiting().messages.empty()) return 0;
      next = std::move(waiting().messages.front());
      waiting().messages.pop_front();
    }
    to_logging(next.first, next.second);
  }
}

void sink(int level, const std::string& message) {
  if (PyGILState_GetThisThreadState()) {
    const py::gil_scoped_acquire gil;
    write_waiting(nullptr);
    to_logging(level, message);
    return;
  }
  bool first = false;
  {
    const std::lock_guard lock(waiting().mutex);
    first = waiting().messages.empty();
    waiting().messages.emplace_back(level, message);
  }
  if (first) Py_AddPendingCall(&write_waiting, nullptr);
}

void log_from(int level, const std::string& message, int64_t threads) {
  TORCH_CHECK_VALUE(threads >= 0, "log: threads must not be negative, got ", threads);
  if (threads == 0) log(level, message);
  std::vector<std::thread> started;
  for (int64_t i = 0; i < threads; ++i) started.emplace_back([&] { log(level, message); });
  for (auto& thread : started) thread.join();
}

void bind_log(py::module_& m) {
  set_log_sink(sink);
  py::module_::import("atexit").attr("register")(py::cpp_function([] {
    write_waiting(nullptr);
    set_log_sink({});
  }));
  m.def("log", torch::wrap_pybind_function(log_from), py::arg("level"), py::arg("message"), py::arg("threads") = 0,
        "Logs as C++ code does; with `threads`, from that many threads that Python does not know.");
}

// Functions that are bound without torch's wrapper raise as the others do: the right class, no C++ stack in the text.
void translate(std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (const c10::Error&) {
    torch::translate_exception_to_python(error);
  }
}

}  // namespace

void bind_core(py::module_& parent) {
  py::register_local_exception_translator(&translate);
  parent.def("version", &core::version, "Version of polyscene.");
  parent.def("torch_version", &core::torch_version, "Version of torch that this build was made against.");
  auto m = parent.def_submodule("core", "Errors, options and random streams.");
  m.def(
      "permutation",
      [](int64_t n, uint64_t seed, const std::string& name, uint64_t index) {
        TORCH_CHECK_VALUE(n >= 0, "permutation: n must not be negative, got ", n);
        return torch::tensor(permutation(n, RandomStream(seed, name, index)), torch::kInt64);
      },
      py::arg("n"), py::arg("seed"), py::arg("name"), py::arg("index") = 0,
      "A uniform permutation of 0..n-1, int64 [n]: number `index` of the stream (seed, name).");
  m.def(
      "uniform",
      [](int64_t n, uint64_t seed, const std::string& name, uint64_t index) {
        const RandomStream stream(seed, name, index);
        auto out = torch::empty({n}, torch::kFloat64);
        auto* values = out.data_ptr<double>();
        for (int64_t i = 0; i < n; ++i) values[i] = stream.uniform(i);
        return out;
      },
      py::arg("n"), py::arg("seed"), py::arg("name"), py::arg("index") = 0,
      "Uniform numbers in [0, 1), float64 [n]: number `index` of the stream (seed, name).");
  bind_log(m);
  m.def("nearest", &nearest, py::arg("name"), py::arg("known"),
        "The known name nearest to `name`, '' when none is near.");
  m.def("suggestion", &suggestion, py::arg("name"), py::arg("known"),
        "'; did you mean ...?' for a near name, else ''.");
}

}  // namespace polyscene::bindings
