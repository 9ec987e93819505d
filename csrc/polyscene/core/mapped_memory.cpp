#include "polyscene/core/mapped_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>

namespace polyscene {
namespace {

#if defined(__linux__) && !defined(MADV_PAGEOUT)
constexpr int kPageOut = 21;  // since Linux 5.4; older headers lack the name, older kernels answer with an error
#elif defined(__linux__)
constexpr int kPageOut = MADV_PAGEOUT;
#endif

#if defined(__linux__)
uintptr_t page_size() {
  static const auto size = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  return size;
}
#endif

}  // namespace

bool is_file_mapped(const void* address) {
#if defined(__linux__)
  const auto wanted = reinterpret_cast<uintptr_t>(address);
  FILE* maps = std::fopen("/proc/self/maps", "r");
  if (!maps) return false;
  bool found = false;
  char line[512];
  while (std::fgets(line, sizeof line, maps)) {
    uintptr_t begin = 0, end = 0;
    uint64_t inode = 0;
    // begin-end permissions offset device inode path
    if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %" SCNu64, &begin, &end, &inode) != 3) continue;
    if (wanted < begin || wanted >= end) continue;
    found = inode != 0;
    break;
  }
  std::fclose(maps);
  return found;
#else
  (void)address;
  return false;
#endif
}

void will_need(const void* begin, size_t bytes) {
#if defined(__linux__)
  const auto page = page_size(), first = reinterpret_cast<uintptr_t>(begin) / page * page;
  const auto last = reinterpret_cast<uintptr_t>(begin) + bytes;
  if (bytes > 0) (void)::madvise(reinterpret_cast<void*>(first), last - first, MADV_WILLNEED);
#else
  (void)begin, (void)bytes;
#endif
}

void release(const void* begin, size_t bytes) {
#if defined(__linux__)
  // MADV_DONTNEED would undo what was written to a private view.
  const auto page = page_size(), first = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
  const auto last = (reinterpret_cast<uintptr_t>(begin) + bytes) / page * page;
  if (last > first) (void)::madvise(reinterpret_cast<void*>(first), last - first, kPageOut);
#else
  (void)begin, (void)bytes;
#endif
}

}  // namespace polyscene
