#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

namespace polyscene::train {

/// `dataset.split`.
struct SplitOptions {
  TORCH_ARG(std::string, by) = "random";
  TORCH_ARG(std::vector<double>, ratios) = {8, 1, 1};
  TORCH_ARG(int64_t, seed) = 2022;
  TORCH_ARG(std::string, within) = "";
  TORCH_ARG(std::string, column) = "";

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("by", self.by(),
          "random, torch_random, user, scene, time, leave_one_out, cold_user, cold_scene, group or files");
    visit("ratios", self.ratios(), "shares of training, validation and test rows");
    visit("seed", self.seed(), "seed of the split");
    visit("within", self.within(),
          "'user' or 'scene': random, time and leave_one_out apply to each, group to each scene; empty: to all rows");
    visit("column", self.column(), "group: rows with the same id in this column stay together");
  }
};

/// `dataset.scenes` as an object.
struct ScenesOptions {
  TORCH_ARG(std::string, by) = "";
  TORCH_ARG(std::vector<double>, edges) = {};
  TORCH_ARG(std::string, tz) = "UTC";

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("by", self.by(), "a column, several columns, 'time_of_day' or 'day_of_week'");
    visit("edges", self.edges(), "edges of a numeric column, or hours of the day; left-closed");
    visit("tz", self.tz(), "time zone of time_of_day and day_of_week");
  }
};

/// `transfer`.
struct TransferOptions {
  TORCH_ARG(std::string, mechanism) = "";
  TORCH_ARG(std::vector<std::string>, sources) = {};
  TORCH_ARG(std::string, target) = "";
  TORCH_ARG(std::string, fusion) = "rows";
  TORCH_ARG(double, strength) = 1e-2;
  TORCH_ARG(double, lr_scale) = 0.2;
  TORCH_ARG(std::vector<std::string>, frozen) = {};
  TORCH_ARG(int64_t, source_epochs) = 0;
  TORCH_ARG(double, guard) = 2;
  TORCH_ARG(double, labels) = 1;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("mechanism", self.mechanism(),
          "'migrate' for migration and fusion, or another of polyscene.transfer.mechanisms(); empty: no transfer");
    visit("sources", self.sources(), "scenes to learn from; empty: all but the target");
    visit("target", self.target(), "scene to migrate to; empty: the smallest");
    visit("fusion", self.fusion(),
          "how source models are fused: rows (by their training rows), uniform, fisher, greedy, arithmetic or learned");
    visit("strength", self.strength(), "weight of the migration loss that ties the target to what was migrated");
    visit("lr_scale", self.lr_scale(), "times train.lr for what is migrated, on the target's rows");
    visit("frozen", self.frozen(), "prefixes of parameter names that stay as they were migrated");
    visit("source_epochs", self.source_epochs(), "epochs of each source model; 0: as in train");
    visit("guard", self.guard(), "standard errors by which a migrated model must beat the target's own to be kept");
    visit("labels", self.labels(),
          "share of the target's training and validation rows whose labels are known, drawn by the seed of the split; "
          "mechanisms that want rows without labels are shown all its training rows");
  }
};

/// `report`.
struct ReportOptions {
  TORCH_ARG(bool, html) = true;
  TORCH_ARG(bool, tensorboard) = false;

 public:
  template <typename Self, typename Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("html", self.html(), "write report.html");
    visit("tensorboard", self.tensorboard(), "write TensorBoard event files beside it");
  }
};

}  // namespace polyscene::train
