#pragma once

#include <functional>
#include <string>

namespace polyscene {

/// Levels are those of Python's `logging`.
inline constexpr int kDebug = 10;
inline constexpr int kInfo = 20;
inline constexpr int kWarning = 30;
inline constexpr int kError = 40;

/// Takes every message from now on; an empty function restores the default: warnings and errors go to the standard
/// error stream, the rest nowhere. The sink may be called from several threads at once.
void set_log_sink(std::function<void(int level, const std::string& message)> sink);

/// Reports `message`; may be called from any thread.
void log(int level, const std::string& message);

}  // namespace polyscene
