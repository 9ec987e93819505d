#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace polyscene {

/// A file that appears whole or not at all: bytes go to a temporary file in the same folder, `commit` makes them
/// durable and renames it over `path`. Without `commit` the temporary file goes away and what was at `path` stays as it
/// was. Every failure throws one line: "cannot write 'runs/a.json': No space left on device".
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* bytes, size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  [[noreturn]] void fail(int error);

  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
};

/// Writes `text` to `path`, whole or not at all.
void write_file_atomic(const std::string& path, std::string_view text);

/// The whole of a file. Throws ValueError when it cannot be read.
std::string read_file(const std::string& path);

/// Makes `path` and the folders above it; one that exists is fine.
void make_directories(const std::string& path);

}  // namespace polyscene
