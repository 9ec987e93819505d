#include "polyscene/core/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "polyscene/core/errors.h"
#include "polyscene/core/files.h"
#include "polyscene/core/safetensors_header.h"

namespace polyscene {
namespace {

struct DtypeName {
  const char* name;
  torch::ScalarType type;
};

constexpr DtypeName kDtypes[] = {{"F64", torch::kFloat64},   {"F32", torch::kFloat32}, {"F16", torch::kFloat16},
                                 {"BF16", torch::kBFloat16}, {"I64", torch::kInt64},   {"I32", torch::kInt32},
                                 {"I16", torch::kInt16},     {"I8", torch::kInt8},     {"U8", torch::kUInt8},
                                 {"BOOL", torch::kBool}};

torch::ScalarType scalar_type_of(const std::string& dtype) {
  return std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const auto& d) { return dtype == d.name; })->type;
}

// A private mapping of a whole file: pages come from the page cache, a write would go to a copy of the page.
class Mapping {
 public:
  explicit Mapping(const std::string& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    TORCH_CHECK_VALUE(descriptor >= 0, "cannot read '", path, "': ", std::generic_category().message(errno));
    struct stat status {};
    const bool known = ::fstat(descriptor, &status) == 0;
    const bool regular = known && S_ISREG(status.st_mode);
    int error = known ? 0 : errno;
    if (regular && status.st_size > 0) {
      size_ = static_cast<size_t>(status.st_size);
      bytes_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
      if (bytes_ == MAP_FAILED) error = errno;
    }
    ::close(descriptor);
    TORCH_CHECK_VALUE(error == 0, "cannot read '", path, "': ", std::generic_category().message(error));
    TORCH_CHECK_VALUE(regular, "cannot read '", path, "': it is not a regular file");
  }
  ~Mapping() {
    if (size_ > 0 && bytes_ != MAP_FAILED) ::munmap(bytes_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  uint8_t* bytes() const { return static_cast<uint8_t*>(bytes_); }
  size_t size() const { return size_; }

 private:
  void* bytes_ = nullptr;
  size_t size_ = 0;
};

torch::Tensor view_of(const std::shared_ptr<Mapping>& mapping, uint8_t* bytes, const SafetensorsEntry& entry) {
  const auto options = torch::TensorOptions().dtype(scalar_type_of(entry.dtype));
  if (entry.begin == entry.end) return torch::empty(entry.shape, options);
  const bool aligned = reinterpret_cast<uintptr_t>(bytes) % safetensors_item_size(entry.dtype) == 0;
  if (aligned)
    return torch::from_blob(
        bytes, entry.shape, [mapping](void*) {}, options);
  const auto copy = torch::empty(entry.shape, options);  // files of other writers may start their data anywhere
  std::memcpy(copy.mutable_data_ptr(), bytes, copy.nbytes());
  return copy;
}

SafetensorsHeader header_of(const std::map<std::string, torch::Tensor>& tensors, const std::string& path) {
  SafetensorsHeader header;
  for (const auto& [name, tensor] : tensors) {
    TORCH_CHECK_VALUE(tensor.defined(), path, ": tensor '", name, "' is undefined");
    TORCH_CHECK_VALUE(tensor.layout() == torch::kStrided, path, ": tensor '", name, "' must be dense, got ",
                      tensor.layout());
    const auto type = tensor.scalar_type();
    const auto* known =
        std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const auto& d) { return d.type == type; });
    TORCH_CHECK_VALUE(known != std::end(kDtypes), path, ": tensor '", name, "' has type ", type,
                      ", which safetensors files do not hold");
    header.tensors[name] = {known->name, tensor.sizes().vec(), 0, 0};
  }
  return header;
}

}  // namespace

SafetensorsFile read_safetensors(const std::string& path) {
  const auto mapping = std::make_shared<Mapping>(path);
  SafetensorsHeader header;
  try {
    header = parse_safetensors_header(mapping->bytes(), mapping->size(), path);
  } catch (const std::invalid_argument& error) {
    TORCH_CHECK_VALUE(false, error.what());
  }
  SafetensorsFile out;
  out.metadata = std::move(header.metadata);
  for (const auto& [name, entry] : header.tensors) {
    out.tensors.emplace(name, view_of(mapping, mapping->bytes() + header.data_start + entry.begin, entry));
  }
  return out;
}

void write_safetensors(const std::string& path, const std::map<std::string, torch::Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  auto header = header_of(tensors, path);
  header.metadata = metadata;
  // Wide types first: every tensor then starts at a multiple of its item size.
  std::vector<std::string> order;
  for (const auto& [name, entry] : header.tensors) order.push_back(name);
  std::stable_sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    return tensors.at(a).element_size() > tensors.at(b).element_size();
  });
  uint64_t position = 0;
  for (const auto& name : order) {
    auto& entry = header.tensors[name];
    entry.begin = position;
    position += static_cast<uint64_t>(tensors.at(name).nbytes());
    entry.end = position;
  }
  std::string head;
  try {
    head = format_safetensors_header(header, path);
  } catch (const std::invalid_argument& error) {
    TORCH_CHECK_VALUE(false, error.what());
  }
  AtomicFile file(path);
  file.write(head);
  for (const auto& name : order) {
    const auto dense = tensors.at(name).detach().cpu().contiguous();
    if (dense.numel() > 0) file.write(dense.const_data_ptr(), dense.nbytes());
  }
  file.commit();
}

}  // namespace polyscene
