#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace polyscene {

/// SHA-256 of bytes that come in pieces (FIPS 180-4); uses the processor's SHA instructions where it has them.
class Sha256 {
 public:
  Sha256();

  /// Appends `size` bytes.
  void update(const void* bytes, size_t size);
  void update(std::string_view text) { update(text.data(), text.size()); }
  /// Appends the 8 bytes of `value`, lowest first: lengths between parts keep ("ab", "c") apart from ("a", "bc").
  void update_number(uint64_t value);
  /// 64 hexadecimal digits of everything appended so far; appending may go on.
  std::string digest() const;

 private:
  std::array<uint32_t, 8> state_;
  std::array<uint8_t, 64> block_{};
  uint64_t size_ = 0;
};

/// Digest of one text, 64 hexadecimal digits.
std::string sha256(std::string_view text);

namespace detail {

/// Folds `blocks` blocks of 64 bytes into `state`, in plain C++ whatever the processor has.
void sha256_portable(uint32_t* state, const uint8_t* bytes, size_t blocks);
/// The same with SHA instructions; returns false and does nothing where there are none.
bool sha256_native(uint32_t* state, const uint8_t* bytes, size_t blocks);

}  // namespace detail
}  // namespace polyscene
