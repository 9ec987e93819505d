#include "polyscene/core/safetensors.h"

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>

#include "catch.h"
#include "polyscene/core/files.h"
#include "polyscene/core/safetensors_header.h"

using namespace polyscene;

namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path;
  Folder() : path(fs::temp_directory_path() / ("polyscene-safetensors-" + std::to_string(::getpid()))) {
    fs::create_directories(path);
  }
  ~Folder() { fs::remove_all(path); }
  std::string file(const std::string& name) const { return (path / name).string(); }
  size_t count() const { return std::distance(fs::directory_iterator(path), {}); }
};

std::string with_header(const std::string& json, const std::string& data = "") {
  std::string out(8, '\0');
  for (int i = 0; i < 8; ++i) out[i] = static_cast<char>(json.size() >> (8 * i));
  return out + json + data;
}

SafetensorsHeader parse_header(const std::string& bytes) {
  return parse_safetensors_header(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), "f");
}

std::map<std::string, torch::Tensor> every_type() {
  const auto values = torch::arange(6).view({2, 3}) - 2;
  std::map<std::string, torch::Tensor> out;
  for (const auto type : {torch::kFloat64, torch::kFloat32, torch::kFloat16, torch::kBFloat16, torch::kInt64,
                          torch::kInt32, torch::kInt16, torch::kInt8, torch::kUInt8, torch::kBool}) {
    out[std::string("t.") + torch::toString(type)] = values.to(type);
  }
  out["empty"] = torch::empty({0, 4});
  out["scalar"] = torch::tensor(2.5);
  out["turned"] = torch::arange(12, torch::kFloat32).view({3, 4}).t();
  out["odd"] = torch::arange(3, torch::kUInt8);
  return out;
}

}  // namespace

TEST_CASE("safetensors: what was written comes back") {
  const Folder folder;
  const auto path = folder.file("a.safetensors");
  const auto tensors = every_type();
  write_safetensors(path, tensors, {{"format", "pt"}, {"words", "Grüße \"x\"\n"}});
  const auto read = read_safetensors(path);
  CHECK(read.metadata == std::map<std::string, std::string>{{"format", "pt"}, {"words", "Grüße \"x\"\n"}});
  REQUIRE(read.tensors.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    INFO(name);
    const auto& got = read.tensors.at(name);
    CHECK(got.scalar_type() == tensor.scalar_type());
    CHECK(got.sizes() == tensor.sizes());
    CHECK(torch::equal(got, tensor.contiguous()));
    CHECK((got.numel() == 0 || reinterpret_cast<uintptr_t>(got.const_data_ptr()) % got.element_size() == 0));
  }
  CHECK(folder.count() == 1);
}

TEST_CASE("safetensors: data starts at a multiple of 64 bytes, wide types first") {
  const Folder folder;
  const auto path = folder.file("a.safetensors");
  write_safetensors(path, {{"a", torch::zeros({3}, torch::kUInt8)}, {"b", torch::zeros({2}, torch::kInt64)}});
  const auto header = parse_header(read_file(path));
  CHECK(header.data_start % 64 == 0);
  CHECK(header.tensors.at("b").begin == 0);
  CHECK(header.tensors.at("a").begin == 16);
}

TEST_CASE("safetensors: tensors outlive the file and its removal; writing to them leaves it alone") {
  const Folder folder;
  const auto path = folder.file("a.safetensors");
  write_safetensors(path, {{"w", torch::arange(1000)}});
  auto first = read_safetensors(path).tensors.at("w");
  first.add_(1);
  CHECK(torch::equal(read_safetensors(path).tensors.at("w"), torch::arange(1000)));
  write_safetensors(path, {{"w", torch::zeros({1000}, torch::kInt64)}});
  fs::remove(path);
  CHECK(torch::equal(first, torch::arange(1, 1001)));
}

TEST_CASE("safetensors: a file of another writer may start its data anywhere") {
  const Folder folder;
  const auto path = folder.file("a.safetensors");
  const float values[] = {1.5f, -2.0f};
  const std::string data(reinterpret_cast<const char*>(values), 8);
  std::string json = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  while (json.size() % 4 != 1) json += ' ';
  write_file_atomic(path, with_header(json, data));
  const auto tensor = read_safetensors(path).tensors.at("w");
  CHECK(reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 4 == 0);
  CHECK(torch::equal(tensor, torch::tensor({1.5f, -2.0f})));
}

TEST_CASE("safetensors: a mapped file is not anonymous memory") {
  const Folder folder;
  const auto path = folder.file("big.safetensors");
  write_safetensors(path, {{"w", torch::ones({16 << 20})}});  // 64 MiB
  const auto anonymous = [] {
    std::ifstream status("/proc/self/status");
    std::string word;
    while (status >> word) {
      if (word == "RssAnon:") break;
    }
    int64_t kilobytes = 0;
    status >> kilobytes;
    return kilobytes;
  };
  const auto before = anonymous();
  const auto tensor = read_safetensors(path).tensors.at("w");
  CHECK(tensor.sum().item<float>() == 16 << 20);
  CHECK(anonymous() - before < 8 << 10);
}

TEST_CASE("safetensors: bad headers are refused with a reason") {
  const auto refused = [](const std::string& bytes, const std::string& reason) {
    INFO(bytes.substr(0, 200));
    CHECK_THROWS_WITH(parse_header(bytes), ContainsSubstring(reason));
    CHECK_THROWS_AS(parse_header(bytes), std::invalid_argument);
  };
  const auto entry = [](const std::string& shape, const std::string& offsets, const std::string& dtype = "F32") {
    return R"({"w":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  CHECK(parse_header(with_header(entry("[1]", "[0,4]"), "1234")).tensors.size() == 1);
  CHECK(parse_header(with_header("{}")).tensors.empty());
  refused("", "it has 0 bytes");
  refused("1234567", "it has 7 bytes");
  refused(std::string(8, '\xff'), "the limit is 100 MB");
  refused(std::string("\x20\0\0\0\0\0\0\0{}", 10), "cut off");
  refused(with_header("[1]"), "not a JSON object");
  refused(with_header("{\"w\":"), "not valid JSON");
  refused(with_header("{\"\xff\":1}"), "not valid JSON");
  refused(with_header(std::string(1 << 20, '[')), "nested too deeply");
  refused(with_header(R"({"w":3})"), "tensor 'w': wants dtype");
  refused(with_header(entry("[1]", "[0]"), "1234"), "tensor 'w': wants dtype");
  refused(with_header(entry("[1]", "[0,4]", "C64"), "1234"), "dtype 'C64' is not one of");
  refused(with_header(entry("[-1]", "[0,4]"), "1234"), "sides of the shape must be whole numbers");
  refused(with_header(entry("[1.5]", "[0,4]"), "1234"), "whole numbers");
  refused(with_header(entry("[1]", "[0,1e300]"), "1234"), "data_offsets must be whole numbers");
  refused(with_header(entry("[4611686018427387904,4]", "[0,0]")), "more bytes than can be counted");
  refused(with_header(entry("[4611686018427387904,4611686018427387904,0]", "[0,0]")), "more bytes than can be counted");
  refused(with_header(entry("[2]", "[0,4]"), "1234"), "its shape takes 8 bytes, data_offsets say 0 to 4");
  refused(with_header(entry("[1]", "[4,0]"), "1234"), "its shape takes 4 bytes");
  refused(with_header(entry("[2]", "[0,8]"), "1234"), "ends at byte 8 of the data, the file has 4: it was cut off");
  refused(with_header(entry("[1]", "[0,4]"), "12345"), "has 5 bytes of data, its header describes 4");
  refused(with_header(entry("[1]", "[4,8]"), "12345678"), "starts at byte 4 of the data, expected 0");
  refused(with_header(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],)"
                      R"("data_offsets":[2,6]}})",
                      "123456"),
          "tensor 'b' starts at byte 2 of the data, expected 4");
  refused(with_header(R"({"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"w":{"dtype":"U8","shape":[0],)"
                      R"("data_offsets":[0,0]}})"),
          "tensor 'w' is in the header twice");
  refused(with_header(R"({"__metadata__":{"a":1}})"), "__metadata__ 'a' must be text");
  refused(with_header(R"({"__metadata__":"a"})"), "__metadata__ must be an object");
}

TEST_CASE("safetensors: cut and changed files never crash the parser") {
  const Folder folder;
  const auto path = folder.file("a.safetensors");
  write_safetensors(path, every_type(), {{"k", "v"}});
  const auto whole = read_file(path);
  for (size_t size = 0; size < whole.size(); size += size < 2000 ? 7 : 31) {
    CHECK_THROWS_AS(parse_header(whole.substr(0, size)), std::invalid_argument);
  }
  std::mt19937 random(1);
  const auto head = parse_header(whole).data_start;
  int refused = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    auto bytes = whole;
    for (int change = 0; change < 1 + trial % 4; ++change) bytes[random() % head] = static_cast<char>(random());
    try {
      const auto header = parse_header(bytes);
      for (const auto& [name, entry] : header.tensors) REQUIRE(header.data_start + entry.end <= bytes.size());
    } catch (const std::invalid_argument&) {
      ++refused;
    }
  }
  CHECK(refused > 2000);
}

TEST_CASE("safetensors: unreadable files and tensors that cannot be stored") {
  const Folder folder;
  const auto path = folder.file("a.safetensors");
  CHECK_THROWS_WITH(read_safetensors(path), ContainsSubstring("cannot read '" + path + "': No such file or directory"));
  CHECK_THROWS_AS(read_safetensors(path), c10::ValueError);
  CHECK_THROWS_WITH(read_safetensors(folder.path.string()), ContainsSubstring("it is not a regular file"));
  write_file_atomic(path, "");
  CHECK_THROWS_WITH(read_safetensors(path), ContainsSubstring(path + ": not a safetensors file: it has 0 bytes"));
  CHECK_THROWS_WITH(write_safetensors(path, {{"w", torch::zeros({1}, torch::kComplexFloat)}}),
                    ContainsSubstring("tensor 'w' has type"));
  CHECK_THROWS_WITH(write_safetensors(path, {{"w", torch::Tensor()}}), ContainsSubstring("tensor 'w' is undefined"));
  CHECK_THROWS_WITH(write_safetensors(path, {{"w", torch::eye(2).to_sparse()}}), ContainsSubstring("must be dense"));
  CHECK_THROWS_WITH(write_safetensors(path, {{"__metadata__", torch::eye(2)}}), ContainsSubstring("cannot be named"));
  CHECK_THROWS_WITH(write_safetensors(path, {{"\xff", torch::eye(2)}}), ContainsSubstring("UTF-8"));
  CHECK(read_file(path).empty());
  CHECK(folder.count() == 1);
}

TEST_CASE("safetensors: a full disk leaves the earlier file and no other") {
  const Folder folder;
  const auto path = folder.file("a.safetensors");
  write_safetensors(path, {{"w", torch::ones({3})}});
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1 << 16, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  CHECK_THROWS_WITH(write_safetensors(path, {{"w", torch::ones({1 << 20})}}),
                    ContainsSubstring("cannot write '" + path + "': File too large"));
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(torch::equal(read_safetensors(path).tensors.at("w"), torch::ones({3})));
  CHECK(folder.count() == 1);
  CHECK_THROWS_WITH(write_safetensors("/dev/full/x", {}),
                    ContainsSubstring("cannot write '/dev/full/x': Not a directory"));
}

TEST_CASE("files: folders and text files") {
  const Folder folder;
  make_directories(folder.file("a/b/c"));
  make_directories(folder.file("a/b/c/"));
  CHECK(fs::is_directory(folder.file("a/b/c")));
  write_file_atomic(folder.file("a/t.json"), "one");
  write_file_atomic(folder.file("a/t.json"), "two");
  CHECK(read_file(folder.file("a/t.json")) == "two");
  CHECK_THROWS_WITH(make_directories(folder.file("a/t.json/d")),
                    ContainsSubstring("cannot make the folder '" + folder.file("a/t.json/d") + "': Not a directory"));
  CHECK_THROWS_WITH(make_directories(folder.file("a/t.json")), ContainsSubstring("Not a directory"));
  CHECK_THROWS_WITH(write_file_atomic(folder.file("none/t.json"), ""), ContainsSubstring("No such file or directory"));
  CHECK_THROWS_WITH(write_file_atomic(folder.file("a"), "x"), ContainsSubstring("cannot write"));
  CHECK_THROWS_WITH(write_file_atomic(folder.file("a/"), "x"), ContainsSubstring("names no file"));
}
