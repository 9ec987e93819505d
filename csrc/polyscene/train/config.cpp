#include "polyscene/train/config.h"

#include <torch/torch.h>

#include <algorithm>

#include "polyscene/core/json.h"
#include "polyscene/data/classes.h"
#include "polyscene/data/simulator.h"
#include "polyscene/eval/ranking.h"
#include "polyscene/eval/scene_metrics.h"
#include "polyscene/models/registry.h"
#include "polyscene/train/config_sections.h"
#include "polyscene/train/trainer.h"
#include "polyscene/transfer/mechanisms.h"

namespace polyscene::train {
namespace {

// Where a value stands, for messages.
struct Place {
  std::string source;
  std::string path;

  Place at(const std::string& name) const { return {source, json_path(path, name)}; }
  std::string text() const { return source + ": " + path; }
};

void check_key(const std::string& key, const std::vector<std::string>& known, const Place& place) {
  TORCH_CHECK_VALUE(std::find(known.begin(), known.end(), key) != known.end(), place.source, ": unknown key '",
                    json_path(place.path, key), "'; known keys: ", join(known), suggestion(key, known));
}

void check_object(const Json& value, const Place& place) {
  TORCH_CHECK_VALUE(value.is_object(), place.text(), " must be an object, got ", json_kind(value));
}

// `given` checked against the fields, defaults filled in; null keeps a default. Keys in `free` are left as they are.
Json resolve_fields(const std::vector<OptionField>& fields, const Json& given, const Place& place,
                    const std::vector<std::string>& free = {}) {
  check_object(given, place);
  std::vector<std::string> known = free;
  for (const auto& field : fields) known.push_back(field.name);
  for (const auto& [key, value] : given.items()) check_key(key, known, place);
  Json out = Json::object();
  for (const auto& name : free) {
    if (given.contains(name)) out[name] = given[name];
  }
  for (const auto& field : fields) {
    OptionValue slot = field.value;
    if (given.contains(field.name) && !given[field.name].is_null()) {
      const auto here = place.at(field.name);
      assign_option(slot, option_value(given[field.name], here.text()), here.text());
    }
    out[field.name] = to_json(slot);
  }
  return out;
}

void check_choice(const Json& value, const Place& place, const std::vector<std::string>& known) {
  const auto given = value.get<std::string>();
  TORCH_CHECK_VALUE(std::find(known.begin(), known.end(), given) != known.end(), place.text(), " must be one of ",
                    join(known), ", got '", given, "'", suggestion(given, known));
}

const std::vector<std::string>& roles() {
  static const std::vector<std::string> kRoles = {
      "data",         "train",   "valid",     "test",           "context",  "task",   "delimiter",
      "clean",        "scene",   "user",      "item",           "time",     "weight", "interest",
      "categorical",  "numeric", "multi_hot", "sequence",       "text",     "image",  "min_count",
      "unseen_scene", "core",    "columns",   "separate_items", "tokenizer"};
  return kRoles;
}

Json resolve_label(const Json& label, const Place& place) {
  if (label.is_string() || label.is_null()) return label;
  check_object(label, place);
  for (const auto& [key, value] : label.items()) check_key(key, {"column", "at_least", "mapping"}, place);
  TORCH_CHECK_VALUE(label.contains("column"), place.text(),
                    " must name its column: {\"column\": \"rating\", \"at_least\": 4}");
  TORCH_CHECK_VALUE(label["column"].is_string(), place.at("column").text(), " must be str, got ",
                    label["column"].dump(), " (", json_kind(label["column"]), ")");
  if (label.contains("at_least")) {
    TORCH_CHECK_VALUE(label["at_least"].is_number(), place.at("at_least").text(), " must be float, got ",
                      label["at_least"].dump(), " (", json_kind(label["at_least"]), ")");
  }
  return label;
}

Json resolve_scenes(const Json& scenes, const Place& place) {
  if (scenes.is_string() || scenes.is_null()) return scenes;
  if (scenes.is_array()) {
    option_value(scenes, place.text());
    return scenes;
  }
  check_object(scenes, place);
  if (scenes.contains("files")) return scenes;
  if (scenes.contains("by") && scenes["by"].is_array()) {
    Json single = scenes;
    single["by"] = "several";
    auto out = resolve_fields(section_fields("scenes"), single, place);
    out["by"] = scenes["by"];
    return out;
  }
  return resolve_fields(section_fields("scenes"), scenes, place);
}

Json resolve_split(Json given, const Place& place) {
  if (given.is_null()) given = Json::object();
  if (given.is_string()) given = Json{{"by", given}};
  auto out = resolve_fields(section_fields("split"), given, place);
  check_choice(out["by"], place.at("by"),
               {"random", "torch_random", "user", "scene", "time", "leave_one_out", "cold_user", "cold_scene", "group",
                "files"});
  check_choice(out["within"], place.at("within"), {"", "user", "scene"});
  for (const auto* key : {"within", "column"}) {
    if (out[key] == "") out.erase(key);
  }
  return out;
}

Json resolve_dataset(Json given, const Place& place) {
  check_object(given, place);
  if (!given.contains("name")) given["name"] = "simulator";
  TORCH_CHECK_VALUE(given["name"].is_string(), place.at("name").text(), " must be str, got ", given["name"].dump(),
                    " (", json_kind(given["name"]), ")");
  const auto name = given["name"].get<std::string>();
  std::vector<std::string> free = {"name", "split"};
  std::vector<OptionField> fields;
  if (name == "simulator") {
    fields = section_fields("simulator");
    free.insert(free.end(), {"min_count", "unseen_scene"});
  } else {
    free.insert(free.end(), {"root", "scenes", "label"});
    free.insert(free.end(), roles().begin(), roles().end());
  }
  auto out = resolve_fields(fields, given, place, free);
  const bool simulated = name == "simulator";  // where scenes are a number, and labels are made
  if (!simulated && out.contains("label")) out["label"] = resolve_label(out["label"], place.at("label"));
  if (!simulated && out.contains("scenes")) out["scenes"] = resolve_scenes(out["scenes"], place.at("scenes"));
  // Files that are divided already have no split.
  const bool parts = out.contains("train") && !out["train"].is_null();
  if (!parts || (out.contains("split") && !out["split"].is_null())) {
    out["split"] = resolve_split(out.value("split", Json()), place.at("split"));
  } else {
    out.erase("split");
  }
  return out;
}

Json resolve_model(const Json& given, const Place& place) {
  check_object(given, place);
  const std::string name =
      given.contains("name") && given["name"].is_string() ? given["name"] : Json("interest_migration");
  TORCH_CHECK_VALUE(!given.contains("name") || given["name"].is_string(), place.at("name").text(), " must be str, got ",
                    json_kind(given.value("name", Json())));
  const auto known = models::list();
  TORCH_CHECK_VALUE(std::find(known.begin(), known.end(), name) != known.end(), place.at("name").text(),
                    ": unknown model '", name, "'; known models: ", join(known), suggestion(name, known));
  Json named = {{"name", name}};
  named.update(given);
  return resolve_fields(models::find(name).options(), named, place, {"name"});
}

const std::vector<std::string> kSettings = {"settings"};

// The options of the mechanism, in `transfer.settings`.
void resolve_mechanism(Json& out, const Json& given, const Place& place) {
  std::vector<std::string> names = {""};
  for (const auto& mechanism : transfer::mechanisms()) names.push_back(mechanism.name);
  check_choice(out["mechanism"], place.at("mechanism"), names);
  const auto name = out["mechanism"].get<std::string>();
  const auto fields = name.empty() ? std::vector<OptionField>() : transfer::find_mechanism(name).options();
  const bool told = given.contains("settings") && !given["settings"].is_null();
  auto settings = resolve_fields(fields, told ? given["settings"] : Json::object(), place.at("settings"));
  out.erase("settings");
  if (!fields.empty()) out["settings"] = std::move(settings);
}

// "a.b=value": value is JSON where it parses, else text.
void apply_override(Json& config, const std::string& override, const std::string& source) {
  const auto equals = override.find('=');
  TORCH_CHECK_VALUE(equals != std::string::npos && equals > 0, "--set wants path=value, got '", override, "'");
  const auto text = override.substr(equals + 1);
  auto value = Json::parse(text, nullptr, false);
  if (value.is_discarded()) value = text;
  Json* at = &config;
  std::string path = override.substr(0, equals), done;
  while (true) {
    const auto dot = path.find('.');
    const auto name = path.substr(0, dot);
    TORCH_CHECK_VALUE(!name.empty(), "--set wants path=value, got '", override, "'");
    TORCH_CHECK_VALUE(at->is_object(), source, ": ", done, " is no object, --set ", override, " cannot reach into it");
    done = json_path(done, name);
    if (dot == std::string::npos) {
      (*at)[name] = value;
      return;
    }
    if (!at->contains(name)) (*at)[name] = Json::object();
    at = &(*at)[name];
    path = path.substr(dot + 1);
  }
}

// Names that are wrong are told before hours of training, not after.
void check_metrics(const Json& config, const std::string& source) {
  const auto task = config["dataset"].value("task", Json("ctr"));
  const std::string monitor = config["train"]["monitor"];
  if (task == "ranking" || task == "sequence") {
    const auto place = [&](const char* path, const std::string& text) { return source + ": " + path + ": " + text; };
    try {
      eval::RankingOptions options;
      options.metrics = config["evaluate"]["metrics"].get<std::vector<std::string>>();
      options.k = config["evaluate"]["k"].get<std::vector<int64_t>>();
      eval::check_ranking(options);
    } catch (const c10::ValueError& error) {
      TORCH_CHECK_VALUE(false, place("evaluate", error.what_without_backtrace()));
    }
    const auto candidates = config["evaluate"]["candidates"].get<std::string>();
    const bool number = !candidates.empty() && candidates.size() < 10 && candidates != "0" &&
                        candidates.find_first_not_of("0123456789") == std::string::npos;
    TORCH_CHECK_VALUE(candidates == "all" || number, source,
                      ": evaluate.candidates must be 'all' or a positive number, got '", candidates, "'");
    try {
      if (!monitor.empty()) eval::check_ranking({{monitor}, {10}});
    } catch (const c10::ValueError& error) {
      TORCH_CHECK_VALUE(false, place("train.monitor", error.what_without_backtrace()));
    }
    return;
  }
  if (task != "ctr" && task != "rating" && !data::has_classes(task)) return;
  const auto check = [&](const std::string& path, const std::vector<std::string>& names) {
    try {
      eval::check_metrics(task, names);
    } catch (const c10::ValueError& error) {
      TORCH_CHECK_VALUE(false, source, ": ", path, ": ", error.what_without_backtrace());
    }
  };
  check("evaluate.metrics", config["evaluate"]["metrics"]);
  const auto known = eval::default_metrics(task, /*users=*/true, /*items=*/false);  // those of an epoch
  TORCH_CHECK_VALUE(monitor.empty() || std::find(known.begin(), known.end(), monitor) != known.end(), source,
                    ": train.monitor must be a metric of task ", task.get<std::string>(), ", got '", monitor,
                    "'; known metrics: ", join(known), suggestion(monitor, known));
}

void check_train(const Json& train, const std::string& source) {
  try {
    Trainer(options_from<TrainOptions>("train", option_map(train, "train")));
  } catch (const c10::ValueError& error) {
    const std::string text = error.what_without_backtrace();
    const auto owner = text.find(": ");  // "Optimizer: lr must be ...", "Optimizer: unknown optimizer ..."
    const auto rest = owner == std::string::npos ? text : text.substr(owner + 2);
    const bool named = train.contains(rest.substr(0, rest.find(' ')));
    TORCH_CHECK_VALUE(false, source, named ? ": train." : ": train: ", rest);
  }
}

}  // namespace

std::vector<OptionField> section_fields(const std::string& section) {
  if (section == "train") return option_fields<TrainOptions>();
  if (section == "evaluate") return option_fields<EvaluateOptions>();
  if (section == "split") return option_fields<SplitOptions>();
  if (section == "scenes") return option_fields<ScenesOptions>();
  if (section == "transfer") return option_fields<TransferOptions>();
  if (section == "report") return option_fields<ReportOptions>();
  if (section == "simulator") return option_fields<data::SimulatorOptions>();
  const std::vector<std::string> known = {"train", "evaluate", "split", "scenes", "transfer", "report", "simulator"};
  TORCH_CHECK_VALUE(false, "unknown section '", section, "'; known sections: ", join(known),
                    suggestion(section, known));
}

std::string resolve_config(const std::string& text, const std::string& source,
                           const std::vector<std::string>& overrides) {
  auto config = parse_json(text, source);
  TORCH_CHECK_VALUE(config.is_object(), source, ": a config must be an object, got ", json_kind(config));
  for (const auto& override : overrides) apply_override(config, override, source);
  const std::vector<std::string> sections = {"dataset", "model", "transfer", "train", "evaluate", "report"};
  auto known = sections;
  known.push_back("tune");  // how the rest is searched: checked by the search, no matter to a run
  const Place top{source, ""};
  for (const auto& [key, value] : config.items()) check_key(key, known, top);
  for (const auto& section : sections) {
    if (!config.contains(section)) config[section] = Json::object();
  }
  Json out;
  out["dataset"] = resolve_dataset(config["dataset"], top.at("dataset"));
  out["model"] = resolve_model(config["model"], top.at("model"));
  for (const auto* section : {"transfer", "train", "evaluate", "report"}) {
    const std::vector<std::string> free = std::string(section) == "transfer" ? kSettings : std::vector<std::string>();
    out[section] = resolve_fields(section_fields(section), config[section], top.at(section), free);
  }
  resolve_mechanism(out["transfer"], config["transfer"], top.at("transfer"));
  check_choice(out["transfer"]["fusion"], top.at("transfer").at("fusion"),
               {"rows", "uniform", "fisher", "greedy", "arithmetic", "learned"});
  const double labels = out["transfer"]["labels"];
  TORCH_CHECK_VALUE(labels > 0 && labels <= 1, source, ": transfer.labels must be in (0, 1], got ", labels);
  const double threshold = out["evaluate"]["threshold"];
  TORCH_CHECK_VALUE(threshold > 0 && threshold < 1, source, ": evaluate.threshold must be in (0, 1), got ", threshold);
  check_metrics(out, source);
  check_train(out["train"], source);
  if (config.contains("tune") && !config["tune"].is_null()) {
    check_object(config["tune"], top.at("tune"));
    out["tune"] = config["tune"];
  }
  return out.dump(2);
}

}  // namespace polyscene::train
