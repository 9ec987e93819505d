#include "polyscene/core/log.h"

#include <iostream>
#include <memory>
#include <mutex>

namespace polyscene {
namespace {

using LogSink = std::function<void(int, const std::string&)>;

struct LogState {
  std::mutex mutex;
  std::shared_ptr<const LogSink> sink;
};

// Never destroyed: threads may log while the program ends.
LogState& log_state() {
  static auto* const state = new LogState;
  return *state;
}

}  // namespace

void set_log_sink(LogSink sink) {
  auto held = sink ? std::make_shared<const LogSink>(std::move(sink)) : nullptr;
  auto& state = log_state();
  const std::lock_guard lock(state.mutex);
  state.sink.swap(held);  // the earlier sink dies after the lock is gone
}

void log(int level, const std::string& message) {
  auto& state = log_state();
  std::shared_ptr<const LogSink> sink;
  {
    const std::lock_guard lock(state.mutex);
    sink = state.sink;
  }
  // Called without the lock: a sink that waits for Python must not keep a thread that holds it from logging.
  if (sink) {
    (*sink)(level, message);
  } else if (level >= kWarning) {
    std::cerr << "polyscene: " + message + "\n";
  }
}

}  // namespace polyscene
