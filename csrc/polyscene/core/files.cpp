#include "polyscene/core/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "polyscene/core/errors.h"

namespace polyscene {
namespace {

std::string error_text(int error) { return std::generic_category().message(error); }

std::string folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

// Some file systems refuse to sync a folder; the data itself is on disk by then.
void sync_folder(const std::string& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  static std::atomic<uint64_t> count{0};
  const auto name = std::filesystem::path(path_).filename().string();
  TORCH_CHECK_VALUE(!name.empty(), "cannot write '", path_, "': the path names no file");
  do {
    temporary_ = folder_of(path_) + "/." + name + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(count++);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && (errno == EEXIST || errno == EINTR));
  if (descriptor_ < 0) {
    const int error = errno;
    temporary_.clear();
    fail(error);
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::fail(int error) { TORCH_CHECK(false, "cannot write '", path_, "': ", error_text(error)); }

void AtomicFile::write(const void* data, size_t size) {
  constexpr size_t kLargest = size_t{1} << 30;  // Linux writes at most 2 GiB at once
  const auto* bytes = static_cast<const char*>(data);
  while (size > 0) {
    const auto written = ::write(descriptor_, bytes, std::min(size, kLargest));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail(written < 0 ? errno : ENOSPC);
    bytes += written;
    size -= static_cast<size_t>(written);
  }
}

void AtomicFile::commit() {
  while (::fsync(descriptor_) != 0) {
    if (errno != EINTR) fail(errno);
  }
  const int closed = ::close(descriptor_);
  const int error = errno;
  descriptor_ = -1;
  if (closed != 0 && error != EINTR) fail(error);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(errno);
  temporary_.clear();
  sync_folder(folder_of(path_));
}

void write_file_atomic(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

std::string read_file(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  TORCH_CHECK_VALUE(descriptor >= 0, "cannot read '", path, "': ", error_text(errno));
  std::string out;
  char part[1 << 16];
  ssize_t got = 0;
  while ((got = ::read(descriptor, part, sizeof(part))) != 0) {
    if (got > 0) {
      out.append(part, static_cast<size_t>(got));
    } else if (errno != EINTR) {
      break;
    }
  }
  const int error = errno;
  ::close(descriptor);
  TORCH_CHECK_VALUE(got == 0, "cannot read '", path, "': ", error_text(error));
  return out;
}

void make_directories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  // A path that ends in "/" is reported as not created although it exists.
  TORCH_CHECK(!error, "cannot make the folder '", path, "': ", error.message());
  TORCH_CHECK(std::filesystem::is_directory(path, error), "cannot make the folder '", path, "': Not a directory");
}

}  // namespace polyscene
