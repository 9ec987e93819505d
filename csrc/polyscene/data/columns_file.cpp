#include "polyscene/core/errors.h"
#include "polyscene/core/json.h"
#include "polyscene/core/safetensors.h"
#include "polyscene/data/columns.h"

namespace polyscene::data {
namespace {

constexpr int64_t kFormatVersion = 1;
constexpr const char* kKind = "columns";

std::string numbered(const char* part, size_t i) { return std::string(part) + "." + std::to_string(i); }

// The tensors of a compiled file by name.
class Parts {
 public:
  explicit Parts(std::map<std::string, torch::Tensor> tensors) : tensors_(std::move(tensors)) {}

  bool has(const std::string& name) const { return tensors_.contains(name); }
  torch::Tensor take(const std::string& name) const {
    TORCH_CHECK_VALUE(has(name), "tensor '", name, "' is missing; write the compiled file again");
    return tensors_.at(name);
  }
  torch::Tensor find(const std::string& name) const { return has(name) ? take(name) : torch::Tensor(); }
  Strings strings(const std::string& name) const { return {take(name + ".bytes"), take(name + ".offsets")}; }
  Ragged ragged(const std::string& name) const { return {take(name + ".values"), take(name + ".offsets")}; }

 private:
  std::map<std::string, torch::Tensor> tensors_;
};

void check_format_version(const std::map<std::string, std::string>& metadata, const std::string& path) {
  const auto kind = metadata.find("polyscene");
  const auto version = metadata.find("format_version");
  TORCH_CHECK_VALUE(kind != metadata.end() && kind->second == kKind && version != metadata.end(), path,
                    ": not compiled data of polyscene");
  const auto& text = version->second;
  const bool number = !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string::npos;
  TORCH_CHECK_VALUE(number, path, ": format_version must be a number, got '", text, "'");
  const auto value = std::stoll(text);
  TORCH_CHECK_VALUE(value <= kFormatVersion, path, ": format version ", value, " is newer than ", kFormatVersion,
                    ", the latest that this version of polyscene reads; install a newer one");
}

void read_names(const std::string& text, Columns& out) {
  try {
    const auto names = parse_json(text, "names");
    out.rows = names.at("rows").get<int64_t>();
    out.categorical = names.at("categorical").get<std::vector<std::string>>();
    out.numeric = names.at("numeric").get<std::vector<std::string>>();
    out.lists = names.at("lists").get<std::vector<std::string>>();
  } catch (const Json::exception&) {
    TORCH_CHECK_VALUE(false, "the names of its columns cannot be read; write the compiled file again");
  }
}

void read_parts(const Parts& parts, Columns& out) {
  out.codes = parts.take("codes");
  out.numbers = parts.take("numbers");
  out.scene = parts.take("scene");
  for (size_t i = 0; i < out.categorical.size(); ++i) out.ids.push_back(parts.strings(numbered("ids", i)));
  for (size_t i = 0; i < out.lists.size(); ++i) {
    out.list_codes.push_back(parts.ragged(numbered("lists", i)));
    out.list_ids.push_back(parts.strings(numbered("list_ids", i)));
  }
  out.scene_names = parts.strings("scene_names").list();
  out.label = parts.find("label");
  out.weight = parts.find("weight");
  out.time = parts.find("time");
  if (parts.has("interest.offsets")) out.interest = parts.ragged("interest");
  out.interest_ids = parts.strings("interest_ids");
}

}  // namespace

void Columns::save(const std::string& path) const {
  check();
  std::map<std::string, torch::Tensor> parts = {{"codes", codes}, {"numbers", numbers}, {"scene", scene}};
  const auto add_strings = [&](const std::string& name, const Strings& strings) {
    parts[name + ".bytes"] = strings.bytes;
    parts[name + ".offsets"] = strings.offsets;
  };
  const auto add_ragged = [&](const std::string& name, const Ragged& values) {
    parts[name + ".values"] = values.values;
    parts[name + ".offsets"] = values.offsets;
  };
  for (size_t i = 0; i < ids.size(); ++i) add_strings(numbered("ids", i), ids[i]);
  for (size_t i = 0; i < lists.size(); ++i) {
    add_ragged(numbered("lists", i), list_codes[i]);
    add_strings(numbered("list_ids", i), list_ids[i]);
  }
  add_strings("scene_names", Strings(scene_names));
  if (label.defined()) parts["label"] = label;
  if (weight.defined()) parts["weight"] = weight;
  if (time.defined()) parts["time"] = time;
  if (interest.defined()) add_ragged("interest", interest);
  add_strings("interest_ids", interest_ids);
  const Json names = {{"rows", rows}, {"categorical", categorical}, {"numeric", numeric}, {"lists", lists}};
  write_safetensors(path, parts,
                    {{"polyscene", kKind},
                     {"format_version", std::to_string(kFormatVersion)},
                     {"names", names.dump()},
                     {"digest", digest()}});
}

std::shared_ptr<const Columns> Columns::open(const std::string& path) {
  auto file = read_safetensors(path);
  check_format_version(file.metadata, path);
  auto out = std::make_shared<Columns>();
  try {
    read_names(file.metadata["names"], *out);
    read_parts(Parts(std::move(file.tensors)), *out);
    out->check();
  } catch (const c10::ValueError& error) {
    TORCH_CHECK_VALUE(false, path, ": ", error.what_without_backtrace());
  }
  return out;
}

}  // namespace polyscene::data
