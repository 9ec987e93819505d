#pragma once

namespace polyscene {

/// Makes the C library keep freed memory for the next request, instead of giving every large tensor's back to the
/// operating system and taking fresh zeroed pages for the one that follows. Training and scoring call it once for the
/// whole process; it keeps at most 1 GiB. Without effect where the C library is not glibc.
void keep_freed_memory();

}  // namespace polyscene
