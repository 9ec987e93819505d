#pragma once

#include <cstddef>

namespace polyscene {

/// Whether the memory at `address` shows a file, so that its pages can be read again. False where the system does not
/// tell (everywhere but Linux).
bool is_file_mapped(const void* address);

/// Tells the system that these bytes of a file are read soon, so that it fetches them meanwhile. Only advice.
void will_need(const void* begin, size_t bytes);

/// Tells the system that these bytes of a file are not read for long: whole pages leave the memory. What they hold
/// stays as it is, also what was written to a private view. Only advice.
void release(const void* begin, size_t bytes);

}  // namespace polyscene
