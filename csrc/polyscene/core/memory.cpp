#include "polyscene/core/memory.h"

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#if defined(__GLIBC__)
#include <malloc.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace polyscene {
namespace {

constexpr size_t kLargePage = size_t{2} << 20;
constexpr int kCollapse = 25;  // MADV_COLLAPSE, Linux 6.1: makes large pages of small ones that are in use

void advise_large(uintptr_t first, uintptr_t last, bool now) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const auto begin = (first + kLargePage - 1) / kLargePage * kLargePage, end = last / kLargePage * kLargePage;
  if (begin >= end) return;
  auto* const data = reinterpret_cast<void*>(begin);
  if (::madvise(data, end - begin, MADV_HUGEPAGE) == 0 && now) (void)::madvise(data, end - begin, kCollapse);
#else
  (void)first, (void)last, (void)now;
#endif
}

}  // namespace

void keep_freed_memory() {
#if defined(__GLIBC__)
  static const bool done =
      mallopt(M_MMAP_THRESHOLD, 32 << 20) && mallopt(M_TRIM_THRESHOLD, 1 << 30) && mallopt(M_TOP_PAD, 32 << 20);
  (void)done;
#endif
}

void use_large_pages(const void* data, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(data);
  advise_large(begin, begin + bytes, /*now=*/true);
}

void use_large_pages_on_heap(bool now) {
#if defined(__linux__)
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (!line.ends_with("[heap]")) continue;
    const auto dash = line.find('-');
    advise_large(std::stoull(line.substr(0, dash), nullptr, 16), std::stoull(line.substr(dash + 1), nullptr, 16), now);
  }
#endif
}

}  // namespace polyscene
