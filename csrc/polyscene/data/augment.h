#pragma once

#include <memory>
#include <vector>

#include "polyscene/core/random.h"
#include "polyscene/data/batch.h"
#include "polyscene/data/history.h"

namespace polyscene::data {

/// How often the windows that sequences train on are changed: probabilities, 0 for never.
struct Augmentation {
  double crop = 0;     ///< of a window: its oldest events are left out, up to half of them
  double mask = 0;     ///< of an event: a mask stands for it (row `kMissing` of the items)
  double reorder = 0;  ///< of a window: a run of up to half its events is shuffled, and but its last step is untrained
  double substitute = 0;  ///< of an event: another item of the same interest and scene stands for it

  bool any() const { return crop > 0 || mask > 0 || reorder > 0 || substitute > 0; }
};

/// Changes what windows show (crop, mask and reorder: Xie et al., ICDE 2022; substitute: after Liu et al., 2021) and
/// nothing of what followed. Within a shuffled run the next event may stand before a step, which would see what it is
/// to say: the steps of a run before its last learn nothing (`next_item` kUnknown). In the paper changed windows are
/// contrasted and no step is to say what followed. A number is a function of (seed, epoch, row of the table, place):
/// neither threads nor the other rows matter.
class Augmenter {
 public:
  /// Throws ValueError for what is no probability, and for `substitute` where the data have no interests.
  Augmenter(Augmentation how, std::shared_ptr<const History> history);
  /// `batch` carries windows with what followed.
  Batch apply(Batch batch, const RandomStream& stream) const;

 private:
  Augmentation how_;
  std::shared_ptr<const History> history_;
  std::vector<std::vector<int32_t>> alike_;  // items of scene s and interest k at s K + k
};

}  // namespace polyscene::data
