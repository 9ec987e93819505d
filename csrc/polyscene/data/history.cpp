#include "polyscene/data/history.h"

#include <algorithm>
#include <mutex>
#include <numeric>

#include "polyscene/data/catalogue.h"
#include "polyscene/data/interactions.h"
#include "polyscene/data/table.h"

namespace polyscene::data {
namespace {

constexpr int64_t kCatalogueRows = int64_t{1} << 15;

// Positions of events grouped by user (stable), and the offsets [users + 1].
std::pair<std::vector<int64_t>, torch::Tensor> group_by_user(const torch::Tensor& user, int64_t users) {
  auto offsets = torch::zeros({users + 1}, torch::kInt64);
  auto* start = offsets.data_ptr<int64_t>();
  const auto* u = user.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < user.numel(); ++i) ++start[u[i] + 1];
  for (int64_t i = 0; i < users; ++i) start[i + 1] += start[i];
  std::vector<int64_t> next(start, start + users), order(user.numel());
  for (int64_t i = 0; i < user.numel(); ++i) order[next[u[i]]++] = i;
  return {order, offsets};
}

}  // namespace

std::shared_ptr<const History> History::fit(const Table& train, bool events) {
  auto out = std::make_shared<History>();
  out->schema = train.schema_ptr();
  out->source = train.columns();
  const auto& schema = *out->schema;
  const auto users = schema.user < 0 ? int64_t{0} : schema.categorical[schema.user].rows();
  const auto items = schema.item < 0 ? int64_t{0} : schema.categorical[schema.item].rows();
  out->offsets = torch::zeros({users + 1}, torch::kInt64);
  if (users == 0 || items == 0) return out;

  Catalogue catalogue(schema);
  if (!events) {
    for (int64_t begin = 0; begin < train.size(); begin += kCatalogueRows) {
      const auto end = std::min(begin + kCatalogueRows, train.size());
      catalogue.add(train.batch(torch::arange(begin, end), false, 0));
    }
    catalogue.write(*out);
    return out;
  }
  const auto all = train.batch(torch::arange(train.size()), false, 0);
  catalogue.add(all);
  catalogue.write(*out);
  auto [order, offsets] = group_by_user(all.user, users);
  if (all.time.defined()) {
    const auto* time = all.time.const_data_ptr<int64_t>();
    const auto* start = offsets.const_data_ptr<int64_t>();
    for (int64_t u = 0; u < users; ++u) {
      std::stable_sort(order.begin() + start[u], order.begin() + start[u + 1],
                       [&](int64_t a, int64_t b) { return time[a] < time[b]; });
    }
  }
  const auto index = torch::tensor(order, torch::kInt64);
  out->offsets = offsets;
  out->item = all.item.index_select(0, index).to(torch::kInt32);
  out->scene = all.scene.index_select(0, index);
  out->label = all.label.defined() ? all.label.index_select(0, index) : torch::ones({index.numel()});
  out->time = all.time.defined() ? all.time.index_select(0, index) : torch::zeros({index.numel()}, torch::kInt64);
  out->row = train.rows().defined() ? train.rows().index_select(0, index) : index;
  out->interest = all.interest.take(index);
  return out;
}

Events History::before(const torch::Tensor& user, const torch::Tensor& time, const torch::Tensor& row,
                       int64_t length) const {
  const auto n = user.numel();
  const auto users = offsets.numel() - 1;
  const auto* start = offsets.const_data_ptr<int64_t>();
  const auto* u = user.const_data_ptr<int64_t>();
  const bool timed = schema->has_time && time.defined();
  const auto* at = timed ? time.const_data_ptr<int64_t>() : nullptr;
  const auto* when = timed ? this->time.const_data_ptr<int64_t>() : nullptr;
  const auto* self = row.defined() ? row.const_data_ptr<int64_t>() : nullptr;
  const auto* source_rows = this->row.defined() ? this->row.const_data_ptr<int64_t>() : nullptr;
  Events out;
  out.offsets = torch::zeros({n + 1}, torch::kInt64);
  auto* end = out.offsets.data_ptr<int64_t>();
  std::vector<int64_t> chosen, mine;
  for (int64_t b = 0; b < n; ++b) {
    // Row 0 pools unknown and rare users: it is nobody's behaviour.
    if (u[b] >= kFirstId && u[b] < users) {
      const auto first = start[u[b]];
      auto last = start[u[b] + 1];
      if (timed) last = std::lower_bound(when + first, when + last, at[b]) - when;
      mine.clear();
      for (auto j = last - 1; j >= first && static_cast<int64_t>(mine.size()) < length; --j) {
        if (!self || source_rows[j] != self[b]) mine.push_back(j);
      }
      chosen.insert(chosen.end(), mine.rbegin(), mine.rend());
    }
    end[b + 1] = static_cast<int64_t>(chosen.size());
  }
  const auto index = torch::tensor(chosen, torch::kInt64);
  if (!item.defined()) {
    out.item = torch::empty({0}, torch::kInt32);
    out.scene = torch::empty({0}, torch::kInt64);
    out.label = torch::empty({0});
    out.time = torch::empty({0}, torch::kInt64);
    return out;
  }
  out.item = item.index_select(0, index);
  out.scene = scene.index_select(0, index);
  out.label = label.index_select(0, index);
  out.time = this->time.index_select(0, index);
  out.interest = interest.take(index);
  return out;
}

std::shared_ptr<const Interactions> History::interactions() const {
  static std::mutex guard;
  const std::lock_guard lock(guard);
  if (interactions_) return interactions_;
  TORCH_CHECK_VALUE(keeps_events(),
                    "history: the data was opened without the behaviour of users; open_data(path, history=True) keeps "
                    "it");
  const auto user = torch::arange(offsets.numel() - 1).repeat_interleave(offsets.diff());
  interactions_ = std::make_shared<Interactions>(*schema, user, item, scene);
  return interactions_;
}

std::shared_ptr<const History> History::append(const torch::Tensor& user, const Events& events) const {
  const auto n = user.numel();
  TORCH_CHECK_VALUE(
      events.item.numel() == n && events.scene.numel() == n && events.label.numel() == n && events.time.numel() == n,
      "history.append: user, item, scene, label and time must have one entry an event, got ", n, " users and ",
      events.item.numel(), " items");
  const auto users = offsets.numel() - 1;
  if (n > 0) {
    TORCH_CHECK_INDEX(user.min().item<int64_t>() >= 0 && user.max().item<int64_t>() < users,
                      "history.append: users must be rows of the user vocabulary, in [0, ", users, ")");
  }
  auto out = std::make_shared<History>(*this);
  out->interactions_.reset();
  if (!keeps_events()) {
    out->item = torch::empty({0}, torch::kInt32);
    out->scene = out->time = out->row = torch::empty({0}, torch::kInt64);
    out->label = torch::empty({0});
  }
  const auto old_user = torch::arange(users).repeat_interleave(offsets.diff());
  const auto all_user = torch::cat({old_user, user.to(torch::kInt64)});
  auto [order, grouped] = group_by_user(all_user, users);
  const auto index = torch::tensor(order, torch::kInt64);
  out->offsets = grouped;
  out->item = torch::cat({out->item, events.item.to(torch::kInt32)}).index_select(0, index);
  out->scene = torch::cat({out->scene, events.scene.to(torch::kInt64)}).index_select(0, index);
  out->label = torch::cat({out->label, events.label.to(torch::kFloat32)}).index_select(0, index);
  out->time = torch::cat({out->time, events.time.to(torch::kInt64)}).index_select(0, index);
  out->row = torch::cat({out->row, torch::full({n}, -1, torch::kInt64)}).index_select(0, index);
  if (interest.defined()) {
    const auto added = events.interest.defined()
                           ? events.interest
                           : Ragged{torch::empty({0}, torch::kInt32), torch::zeros({n + 1}, torch::kInt64)};
    const auto old_total = interest.offsets[-1].item<int64_t>();
    const Ragged both{torch::cat({interest.values, added.values}),
                      torch::cat({interest.offsets, added.offsets.slice(0, 1) + old_total})};
    out->interest = both.take(index);
  }
  return out;
}

std::map<std::string, torch::Tensor> History::tensors() const {
  std::map<std::string, torch::Tensor> out;
  const auto put = [&](const char* name, const torch::Tensor& tensor) {
    if (tensor.defined()) out[name] = tensor;
  };
  put("offsets", offsets);
  put("item", item);
  put("scene", scene);
  put("label", label);
  put("time", time);
  put("row", row);
  put("interest.values", interest.values);
  put("interest.offsets", interest.offsets);
  put("item_fields", item_fields);
  put("item_numeric", item_numeric);
  put("item_interest.values", item_interest.values);
  put("item_interest.offsets", item_interest.offsets);
  for (const auto& [name, list] : item_lists) {
    out["item_lists." + name + ".values"] = list.values;
    out["item_lists." + name + ".offsets"] = list.offsets;
  }
  put("item_count", item_count);
  put("user_fields", user_fields);
  put("user_numeric", user_numeric);
  return out;
}

std::shared_ptr<const History> History::from(std::shared_ptr<const Schema> schema,
                                             const std::map<std::string, torch::Tensor>& tensors) {
  const auto get = [&](const char* name) {
    const auto found = tensors.find(name);
    return found == tensors.end() ? torch::Tensor() : found->second.clone();
  };
  auto out = std::make_shared<History>();
  out->schema = std::move(schema);
  out->offsets = get("offsets");
  TORCH_CHECK_VALUE(out->offsets.defined(), "history: the file holds no tensor 'offsets'");
  out->item = get("item");
  out->scene = get("scene");
  out->label = get("label");
  out->time = get("time");
  out->row = get("row");
  out->interest = {get("interest.values"), get("interest.offsets")};
  out->item_fields = get("item_fields");
  out->item_numeric = get("item_numeric");
  out->item_interest = {get("item_interest.values"), get("item_interest.offsets")};
  for (const auto& field : out->schema->lists) {
    const auto name = "item_lists." + field.name;
    if (tensors.contains(name + ".offsets"))
      out->item_lists[field.name] = {get((name + ".values").c_str()), get((name + ".offsets").c_str())};
  }
  out->item_count = get("item_count");
  out->user_fields = get("user_fields");
  out->user_numeric = get("user_numeric");
  return out;
}

}  // namespace polyscene::data
