#include "polyscene/models/registry.h"

#include <algorithm>
#include <deque>
#include <mutex>

#include "polyscene/models/cross/bi_tgcf.h"
#include "polyscene/models/cross/cdrib.h"
#include "polyscene/models/cross/clfm.h"
#include "polyscene/models/cross/cmf.h"
#include "polyscene/models/cross/co_net.h"
#include "polyscene/models/cross/cross_ease.h"
#include "polyscene/models/cross/dcdcsr.h"
#include "polyscene/models/cross/deep_apf.h"
#include "polyscene/models/cross/disen_cdr.h"
#include "polyscene/models/cross/dtcdr.h"
#include "polyscene/models/cross/emcdr.h"
#include "polyscene/models/cross/natr.h"
#include "polyscene/models/cross/ptupcdr.h"
#include "polyscene/models/cross/sscdr.h"
#include "polyscene/models/cross/uni_cdr.h"
#include "polyscene/models/image/image_classifier.h"
#include "polyscene/models/interest/attention_transfer.h"
#include "polyscene/models/interest/interest_migration.h"
#include "polyscene/models/interest/scene_branch.h"
#include "polyscene/models/multi/adapted.h"
#include "polyscene/models/multi/side_tuned.h"
#include "polyscene/models/multi/specialist.h"
#include "polyscene/models/multi_modal/multi_modal.h"
#include "polyscene/models/scene/ada_sparse.h"
#include "polyscene/models/scene/adapt_dhm.h"
#include "polyscene/models/scene/ep_net.h"
#include "polyscene/models/scene/hamur.h"
#include "polyscene/models/scene/m2m.h"
#include "polyscene/models/scene/m3oe.h"
#include "polyscene/models/scene/mmoe.h"
#include "polyscene/models/scene/ple.h"
#include "polyscene/models/scene/pp_net.h"
#include "polyscene/models/scene/sar_net.h"
#include "polyscene/models/scene/shared_bottom.h"
#include "polyscene/models/scene/star.h"
#include "polyscene/models/sequence/bert4rec.h"
#include "polyscene/models/sequence/bst.h"
#include "polyscene/models/sequence/c2dsr.h"
#include "polyscene/models/sequence/dasl.h"
#include "polyscene/models/sequence/dien.h"
#include "polyscene/models/sequence/din.h"
#include "polyscene/models/sequence/gru4rec.h"
#include "polyscene/models/sequence/interest_sequence.h"
#include "polyscene/models/sequence/sasrec.h"
#include "polyscene/models/sequence/tri_cdr.h"
#include "polyscene/models/single/autoint.h"
#include "polyscene/models/single/bpr_mf.h"
#include "polyscene/models/single/dcn_v2.h"
#include "polyscene/models/single/deep_fm.h"
#include "polyscene/models/single/ease.h"
#include "polyscene/models/single/factorization_machine.h"
#include "polyscene/models/single/gat.h"
#include "polyscene/models/single/gcn.h"
#include "polyscene/models/single/item_knn.h"
#include "polyscene/models/single/light_gcn.h"
#include "polyscene/models/single/logistic.h"
#include "polyscene/models/single/mf.h"
#include "polyscene/models/single/neu_mf.h"
#include "polyscene/models/single/ngcf.h"
#include "polyscene/models/single/nmf.h"
#include "polyscene/models/single/popularity.h"
#include "polyscene/models/single/wide_deep.h"
#include "polyscene/models/single/xdeepfm.h"
#include "polyscene/models/text/text_classifier.h"

namespace polyscene::models {
namespace {

// A deque: entries handed out by `find` stay where they are when a plug-in adds another.
std::deque<Entry>& table() {
  static std::deque<Entry> entries = {
      entry<InterestMigrationImpl, InterestMigrationOptions>("interest_migration", "InterestMigration", {"ctr"}),
      entry<AttentionTransferImpl, AttentionTransferOptions>("attention_transfer", "AttentionTransfer", {"ctr"}),
      entry<SceneBranchImpl, SceneBranchOptions>("scene_branch", "SceneBranch", {"ctr"}),
      entry<SharedBottomImpl, SharedBottomOptions>("shared_bottom", "SharedBottom", {"ctr"}),
      entry<MMoEImpl, MMoEOptions>("mmoe", "MMoE", {"ctr"}),
      entry<PLEImpl, PLEOptions>("ple", "PLE", {"ctr"}),
      entry<SARNetImpl, SARNetOptions>("sar_net", "SARNet", {"ctr"}),
      entry<STARImpl, STAROptions>("star", "STAR", {"ctr"}),
      entry<M2MImpl, M2MOptions>("m2m", "M2M", {"ctr"}),
      entry<AdaSparseImpl, AdaSparseOptions>("ada_sparse", "AdaSparse", {"ctr"}),
      entry<AdaptDHMImpl, AdaptDHMOptions>("adapt_dhm", "AdaptDHM", {"ctr"}),
      entry<EPNetImpl, EPNetOptions>("ep_net", "EPNet", {"ctr"}),
      entry<PPNetImpl, PPNetOptions>("pp_net", "PPNet", {"ctr"}),
      entry<HAMURImpl, HAMUROptions>("hamur", "HAMUR", {"ctr"}),
      entry<M3oEImpl, M3oEOptions>("m3oe", "M3oE", {"ctr"}),
      entry<LogisticImpl, LogisticOptions>("logistic", "Logistic", {"ctr"}),
      entry<PopularityImpl, PopularityOptions>("popularity", "Popularity", {"ctr", "rating", "ranking", "sequence"}),
      entry<MFImpl, MFOptions>("mf", "MF", {"ctr", "rating"}),
      entry<NMFImpl, NMFOptions>("nmf", "NMF", {"rating"}),
      entry<FactorizationMachineImpl, FactorizationMachineOptions>("factorization_machine", "FactorizationMachine",
                                                                   {"ctr"}),
      entry<WideDeepImpl, WideDeepOptions>("wide_deep", "WideDeep", {"ctr"}),
      entry<DeepFMImpl, DeepFMOptions>("deep_fm", "DeepFM", {"ctr"}),
      entry<DCNv2Impl, DCNv2Options>("dcn_v2", "DCNv2", {"ctr"}),
      entry<XDeepFMImpl, XDeepFMOptions>("xdeepfm", "XDeepFM", {"ctr"}),
      entry<AutoIntImpl, AutoIntOptions>("autoint", "AutoInt", {"ctr"}),
      entry<DINImpl, DINOptions>("din", "DIN", {"ctr"}),
      entry<DASLImpl, DASLOptions>("dasl", "DASL", {"ctr"}),
      entry<DIENImpl, DIENOptions>("dien", "DIEN", {"ctr"}),
      entry<BSTImpl, BSTOptions>("bst", "BST", {"ctr"}),
      entry<ItemKNNImpl, ItemKNNOptions>("item_knn", "ItemKNN", {"ranking", "sequence"}),
      entry<EASEImpl, EASEOptions>("ease", "EASE", {"ranking"}),
      entry<BPRMFImpl, BPRMFOptions>("bpr_mf", "BPRMF", {"ranking"}),
      entry<NeuMFImpl, NeuMFOptions>("neu_mf", "NeuMF", {"ranking"}),
      entry<LightGCNImpl, LightGCNOptions>("light_gcn", "LightGCN", {"ranking"}),
      entry<NGCFImpl, NGCFOptions>("ngcf", "NGCF", {"ranking"}),
      entry<GCNImpl, GCNOptions>("gcn", "GCN", {"ranking"}),
      entry<GATImpl, GATOptions>("gat", "GAT", {"ranking"}),
      entry<CMFImpl, CMFOptions>("cmf", "CMF", {"ranking"}),
      entry<CLFMImpl, CLFMOptions>("clfm", "CLFM", {"ranking"}),
      entry<DTCDRImpl, DTCDROptions>("dtcdr", "DTCDR", {"ranking"}),
      entry<DeepAPFImpl, DeepAPFOptions>("deep_apf", "DeepAPF", {"ranking"}),
      entry<NATRImpl, NATROptions>("natr", "NATR", {"ranking"}),
      entry<CoNetImpl, CoNetOptions>("co_net", "CoNet", {"ranking"}),
      entry<EMCDRImpl, EMCDROptions>("emcdr", "EMCDR", {"ranking"}),
      entry<SSCDRImpl, SSCDROptions>("sscdr", "SSCDR", {"ranking"}),
      entry<DCDCSRImpl, DCDCSROptions>("dcdcsr", "DCDCSR", {"ranking"}),
      entry<BiTGCFImpl, BiTGCFOptions>("bi_tgcf", "BiTGCF", {"ranking"}),
      entry<PTUPCDRImpl, PTUPCDROptions>("ptupcdr", "PTUPCDR", {"ranking"}),
      entry<CDRIBImpl, CDRIBOptions>("cdrib", "CDRIB", {"ranking"}),
      entry<DisenCDRImpl, DisenCDROptions>("disen_cdr", "DisenCDR", {"ranking"}),
      entry<UniCDRImpl, UniCDROptions>("uni_cdr", "UniCDR", {"ranking"}),
      entry<CrossEASEImpl, CrossEASEOptions>("cross_ease", "CrossEASE", {"ranking"}),
      entry<SASRecImpl, SASRecOptions>("sasrec", "SASRec", {"sequence"}),
      entry<GRU4RecImpl, GRU4RecOptions>("gru4rec", "GRU4Rec", {"sequence"}),
      entry<BERT4RecImpl, BERT4RecOptions>("bert4rec", "BERT4Rec", {"sequence"}),
      entry<C2DSRImpl, C2DSROptions>("c2dsr", "C2DSR", {"sequence"}),
      entry<TriCDRImpl, TriCDROptions>("tri_cdr", "TriCDR", {"sequence"}),
      entry<InterestSequenceImpl, InterestSequenceOptions>("interest_sequence", "InterestSequence", {"sequence"}),
      entry<TextClassifierImpl, TextClassifierOptions>("text_classifier", "TextClassifier", {"text"}),
      entry<ImageClassifierImpl, ImageClassifierOptions>("image_classifier", "ImageClassifier", {"image"}),
      entry<MultiModalImpl, MultiModalOptions>("multi_modal", "MultiModal", {"text", "image"}),
      entry<AdaptedImpl, AdaptedOptions>("adapted", "Adapted", {"ctr", "text", "image"}),
      entry<SideTunedImpl, SideTunedOptions>("side_tuned", "SideTuned", {"ctr", "rating", "text", "image"}),
      entry<SpecialistImpl, SpecialistOptions>("specialist", "Specialist",
                                               {"ctr", "rating", "text", "image", "ranking", "sequence"}),
  };
  return entries;
}

std::mutex& guard() {
  static std::mutex mutex;
  return mutex;
}

bool does(const Entry& entry, const std::string& task) {
  return std::find(entry.tasks.begin(), entry.tasks.end(), task) != entry.tasks.end();
}

}  // namespace

std::vector<std::string> list(const std::string& task) {
  const std::lock_guard lock(guard());
  std::vector<std::string> names;
  for (const auto& entry : table()) {
    if (task.empty() || does(entry, task)) names.push_back(entry.name);
  }
  return names;
}

std::vector<std::string> list(bool Entry::*can) {
  const std::lock_guard lock(guard());
  std::vector<std::string> names;
  for (const auto& entry : table()) {
    if (entry.*can) names.push_back(entry.name);
  }
  return names;
}

const Entry& find(const std::string& name) {
  {
    const std::lock_guard lock(guard());
    for (const auto& entry : table()) {
      if (entry.name == name) return entry;
    }
  }
  const auto known = list();
  TORCH_CHECK_VALUE(false, "models: unknown model '", name, "'; known models: ", join(known), suggestion(name, known));
}

std::shared_ptr<Model> create(const std::string& name, std::shared_ptr<const data::Schema> schema,
                              const OptionMap& options) {
  const auto& entry = find(name);
  TORCH_CHECK_VALUE(schema, name, ": a schema is needed, got none");
  TORCH_CHECK_VALUE(does(entry, schema->task), name, ": made for task ", join(entry.tasks, " or "),
                    ", the data's task is '", schema->task, "'; models for it: ", join(list(schema->task)));
  return entry.create(std::move(schema), options);
}

void register_model(Entry entry) {
  TORCH_CHECK_VALUE(!entry.name.empty() && entry.create && entry.options && !entry.tasks.empty(),
                    "register_model: name, tasks, create and options are needed, got an entry without one ('",
                    entry.name, "')");
  const std::lock_guard lock(guard());
  for (const auto& known : table()) {
    TORCH_CHECK_VALUE(known.name != entry.name, "register_model: the name '", entry.name, "' is taken");
  }
  table().push_back(std::move(entry));
}

}  // namespace polyscene::models
