#pragma once

#include <cstddef>

namespace polyscene {

/// Makes the C library keep freed memory for the next request, instead of giving every large tensor's back to the
/// operating system and taking fresh zeroed pages for the one that follows. Training and scoring call it once for the
/// whole process; it keeps at most 1 GiB. Without effect where the C library is not glibc.
void keep_freed_memory();

/// Asks for large pages (2 MiB) for memory that will be read at random, such as a table's rows: with small ones every
/// access waits for its address first. What lies there stays as it is. Without effect where the system has no such
/// pages or gives none; less than 2 MiB are left alone.
void use_large_pages(const void* data, size_t bytes);

/// The same for what the C library has on its heap, where the tensors of a step lie: `now` makes large pages of those
/// in use as well, which takes some tenths of a second for each 100 MiB; otherwise what is used next gets them.
void use_large_pages_on_heap(bool now);

}  // namespace polyscene
