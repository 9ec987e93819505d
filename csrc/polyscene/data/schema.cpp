#include "polyscene/data/schema.h"

#include "polyscene/core/errors.h"
#include "polyscene/core/json.h"
#include "polyscene/core/sha256.h"

namespace polyscene::data {
namespace {

constexpr int64_t kFormat = 1;

template <typename Fields>
std::vector<std::string> names_of(const Fields& fields) {
  std::vector<std::string> out;
  for (const auto& field : fields) out.push_back(field.name);
  return out;
}

void put(std::map<std::string, torch::Tensor>& out, const std::string& name, const Strings& strings) {
  out[name + ".bytes"] = strings.bytes;
  out[name + ".offsets"] = strings.offsets;
}

torch::Tensor get(const std::map<std::string, torch::Tensor>& tensors, const std::string& name) {
  const auto found = tensors.find(name);
  TORCH_CHECK_VALUE(found != tensors.end(), "Schema: the file holds no tensor '", name, "'");
  return found->second;
}

Strings get_strings(const std::map<std::string, torch::Tensor>& tensors, const std::string& name) {
  return {get(tensors, name + ".bytes"), get(tensors, name + ".offsets")};
}

// JSON has no infinities: an open fence is null.
Json fence(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

}  // namespace

int64_t Schema::num_scenes() const { return static_cast<int64_t>(scenes.size()) + (unseen_scene == "shared" ? 1 : 0); }

int64_t Schema::numeric_width() const {
  int64_t width = 0;
  for (const auto& field : numeric) width += field.width();
  return width;
}

int64_t Schema::field(const std::string& name) const {
  for (size_t f = 0; f < categorical.size(); ++f) {
    if (categorical[f].name == name) return static_cast<int64_t>(f);
  }
  const auto known = names_of(categorical);
  TORCH_CHECK_VALUE(false, "Schema: unknown categorical field '", name, "'; known fields: ", join(known),
                    suggestion(name, known));
}

int64_t Schema::scene(const std::string& name) const {
  for (size_t s = 0; s < scenes.size(); ++s) {
    if (scenes[s] == name) return static_cast<int64_t>(s);
  }
  TORCH_CHECK_VALUE(false, "Schema: unknown scene '", name, "'; known scenes: ", join(scenes),
                    suggestion(name, scenes));
}

int64_t Schema::list_rows(const ListField& list) const {
  return list.shares.empty() ? list.rows() : categorical[field(list.shares)].rows();
}

std::map<std::string, torch::Tensor> Schema::tensors() const {
  std::map<std::string, torch::Tensor> out;
  for (size_t f = 0; f < categorical.size(); ++f) put(out, "categorical." + std::to_string(f), categorical[f].ids);
  for (size_t l = 0; l < lists.size(); ++l) put(out, "lists." + std::to_string(l), lists[l].ids);
  put(out, "interests", interests);
  put(out, "scenes", Strings(scenes));
  out["scene_rows"] = scene_rows;
  out["scene_label"] = scene_label;
  out["scene_profile"] = scene_profile;
  return out;
}

std::string Schema::json() const {
  Json out = {{"format", kFormat},      {"task", task},
              {"label", label},         {"unseen_scene", unseen_scene},
              {"user", user},           {"item", item},
              {"has_time", has_time},   {"label_mean", label_mean},
              {"label_low", label_low}, {"label_high", label_high},
              {"reader", reader}};
  out["categorical"] = Json::array();
  for (const auto& field : categorical) {
    out["categorical"].push_back({{"name", field.name}, {"min_count", field.min_count}, {"side", field.side}});
  }
  out["numeric"] = Json::array();
  for (const auto& field : numeric) {
    out["numeric"].push_back({{"name", field.name},
                              {"scaling", field.scaling},
                              {"missing", field.missing},
                              {"outliers", field.outliers},
                              {"fill", field.fill},
                              {"low", fence(field.low)},
                              {"high", fence(field.high)},
                              {"shift", field.shift},
                              {"scale", field.scale},
                              {"side", field.side}});
  }
  out["lists"] = Json::array();
  for (const auto& list : lists) {
    out["lists"].push_back(
        {{"name", list.name}, {"kind", list.kind}, {"shares", list.shares}, {"max_length", list.max_length}});
  }
  return out.dump();
}

std::shared_ptr<const Schema> Schema::from(const std::string& text,
                                           const std::map<std::string, torch::Tensor>& tensors) {
  const auto in = Json::parse(text, nullptr, false);
  TORCH_CHECK_VALUE(in.is_object() && in.contains("format"), "Schema: the file holds no schema");
  TORCH_CHECK_VALUE(in["format"] == kFormat, "Schema: format must be ", kFormat, ", got ", in["format"].dump(),
                    "; a newer polyscene wrote it");
  auto out = std::make_shared<Schema>();
  try {
    out->task = in["task"];
    out->label = in["label"];
    out->unseen_scene = in["unseen_scene"];
    out->user = in["user"];
    out->item = in["item"];
    out->has_time = in["has_time"];
    out->label_mean = in["label_mean"];
    out->label_low = in["label_low"];
    out->label_high = in["label_high"];
    out->reader = in.value("reader", "");
    for (const auto& entry : in["categorical"]) {
      const auto ids = get_strings(tensors, "categorical." + std::to_string(out->categorical.size()));
      out->categorical.push_back({entry["name"], ids, entry["min_count"], entry["side"]});
    }
    for (const auto& entry : in["numeric"]) {
      NumericField field{entry["name"], entry["scaling"], entry["missing"], entry["outliers"], entry["fill"]};
      if (!entry["low"].is_null()) field.low = entry["low"];
      if (!entry["high"].is_null()) field.high = entry["high"];
      field.shift = entry["shift"];
      field.scale = entry["scale"];
      field.side = entry["side"];
      out->numeric.push_back(field);
    }
    for (const auto& entry : in["lists"]) {
      const auto ids = get_strings(tensors, "lists." + std::to_string(out->lists.size()));
      out->lists.push_back({entry["name"], entry["kind"], entry["shares"], entry["max_length"], ids});
    }
  } catch (const Json::exception& error) {
    TORCH_CHECK_VALUE(false, "Schema: the file's schema is damaged: ", std::string(error.what()));
  }
  out->interests = get_strings(tensors, "interests");
  out->scenes = get_strings(tensors, "scenes").list();
  out->scene_rows = get(tensors, "scene_rows").clone();
  out->scene_label = get(tensors, "scene_label").clone();
  out->scene_profile = get(tensors, "scene_profile").clone();
  return out;
}

const std::string& Schema::digest() const {
  if (digest_.empty()) {
    Sha256 hash;
    hash.update(json());
    for (const auto& [name, tensor] : tensors()) {
      const auto held = tensor.contiguous();
      hash.update(name);
      hash.update(held.const_data_ptr(), held.nbytes());
    }
    digest_ = hash.digest();
  }
  return digest_;
}

}  // namespace polyscene::data
