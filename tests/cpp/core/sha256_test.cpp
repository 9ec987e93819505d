#include "polyscene/core/sha256.h"

#include <cstring>
#include <vector>

#include "catch.h"

using polyscene::Sha256;
using polyscene::sha256;

// Expected digests: FIPS 180-4 examples and Python's hashlib.
TEST_CASE("sha256: known digests") {
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256(std::string(1'000'000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("sha256: lengths around the end of a block") {
  CHECK(sha256(std::string(55, 'x')) == "d5e285683cd4efc02d021a5c62014694958901005d6f71e89e0989fac77e4072");
  CHECK(sha256(std::string(56, 'x')) == "04c26261370ee7541549d16dee320c723e3fd14671e66a099afe0a377c16888e");
  CHECK(sha256(std::string(63, 'x')) == "75220b47218278e656f2013bb8f0c455a25eaf01e86c64924e9d48d89776d6f2");
  CHECK(sha256(std::string(64, 'x')) == "7ce100971f64e7001e8fe5a51973ecdfe1ced42befe7ee8d5fd6219506b5393c");
  CHECK(sha256(std::string(65, 'x')) == "9537c5fdf120482f7d58d25e9ed583f52c02b4e304ea814db1633ad565aed7e9");
  CHECK(sha256(std::string(119, 'x')) == "000b48d4edf0fa7bee3c6236ecd2785baa5db4eeb8bb54341b029e0d9fa5fb0c");
  CHECK(sha256(std::string(120, 'x')) == "13f05a0b594787f5ecd315edc96141bd3243203d1b7d4f0836f37308b276ba98");
}

TEST_CASE("sha256: pieces of any length give the digest of the whole") {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += static_cast<char>(i * 37 + i / 7);
  const auto whole = sha256(text);
  for (const size_t piece : {1, 3, 55, 56, 63, 64, 65, 128, 999}) {
    Sha256 hash;
    for (size_t at = 0; at < text.size(); at += piece) hash.update(std::string_view(text).substr(at, piece));
    CHECK(hash.digest() == whole);
    CHECK(hash.digest() == whole);  // reading the digest leaves the state alone
  }
}

TEST_CASE("sha256: plain C++ and SHA instructions agree") {
  std::vector<uint8_t> bytes(64 * 33);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * i + 11 * i);
  uint32_t portable[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  uint32_t native[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  polyscene::detail::sha256_portable(portable, bytes.data(), 33);
  if (polyscene::detail::sha256_native(native, bytes.data(), 33)) CHECK(std::memcmp(portable, native, 32) == 0);
  // One block of the empty text from the start state is its digest.
  uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint8_t block[64] = {0x80};
  polyscene::detail::sha256_portable(state, block, 1);
  CHECK(state[0] == 0xe3b0c442);
  CHECK(state[7] == 0x7852b855);
}

TEST_CASE("sha256: lengths keep parts apart") {
  const auto digest = [](std::string_view a, std::string_view b) {
    Sha256 hash;
    for (const auto part : {a, b}) {
      hash.update_number(part.size());
      hash.update(part);
    }
    return hash.digest();
  };
  CHECK(digest("ab", "c") != digest("a", "bc"));
}
