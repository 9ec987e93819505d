// Loads a model that Python trained and recommends: recommend MODEL K SCENE USER...   (SCENE "" ranks over all scenes).
// One line an item: user, item, scene and score, with tabs between.
#include <iostream>

#include "polyscene/eval/recommend.h"
#include "polyscene/train/checkpoint.h"

using namespace polyscene;

namespace {

int run(const std::string& path, int64_t k, const std::string& scene, const std::vector<std::string>& users) {
  const auto model = train::load_model(path);
  const auto& schema = model->schema();
  eval::RecommendRequest request;
  request.user = eval::rows_of(schema.categorical.at(schema.user), users);
  request.scene = scene.empty() ? -1 : schema.scene(scene);
  request.k = k;
  const auto found = eval::recommend(*model, request);
  const auto& items = schema.categorical.at(schema.item).ids;
  for (int64_t u = 0; u < found.item.size(0); ++u) {
    for (int64_t r = 0; r < k; ++r) {
      const auto item = found.item[u][r].item<int64_t>();
      if (item < 0) break;  // there are no more
      std::cout << users[u] << '\t' << items.at(item - data::kFirstId) << '\t'
                << schema.scenes.at(found.scene[u][r].item<int64_t>()) << '\t' << found.score[u][r].item<float>()
                << '\n';
    }
  }
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 5) {
    std::cerr << "recommend MODEL K SCENE USER..." << std::endl;
    return 2;
  }
  try {
    return run(arguments[1], std::stoll(arguments[2]), arguments[3], {arguments + 4, arguments + count});
  } catch (const c10::Error& error) {
    std::cerr << error.what_without_backtrace() << std::endl;
    return 1;
  }
}
