#include "polyscene/eval/asked.h"

#include <algorithm>

#include "polyscene/core/errors.h"

namespace polyscene::eval {

std::vector<Asked> asked_of(const RankingOptions& options) {
  TORCH_CHECK_VALUE(!options.k.empty(), "evaluate: k must name a cut-off, such as 10");
  for (const auto k : options.k) TORCH_CHECK_VALUE(k > 0, "evaluate: k must be positive, got ", k);
  const auto known = ranking_metrics();
  auto wanted = options.metrics.empty() ? known : options.metrics;
  std::vector<Asked> out;
  for (const auto& name : wanted) {
    const auto at = name.find('@');
    const auto base = name.substr(0, at);
    const auto found = std::find(known.begin(), known.end(), base);
    TORCH_CHECK_VALUE(found != known.end(), "evaluate: unknown metric '", name,
                      "' of task ranking; known metrics: ", join(known), ", each with @k", suggestion(base, known));
    std::vector<int64_t> ks = options.k;
    if (at != std::string::npos) {
      const auto text = name.substr(at + 1);
      const bool whole = !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string::npos;
      TORCH_CHECK_VALUE(whole && std::stoll(text) > 0, "evaluate: metric '", name,
                        "' must end in @ and a positive whole number, such as '", base, "@10'");
      ks = {std::stoll(text)};
    }
    for (const auto k : ks) {
      const auto full = base + "@" + std::to_string(k);
      const bool twice = std::any_of(out.begin(), out.end(), [&](const auto& each) { return each.name == full; });
      if (!twice) out.push_back({full, static_cast<Kind>(found - known.begin()), k});
    }
  }
  return out;
}

std::vector<std::string> ranking_metrics() {
  auto out = query_metrics();
  out.insert(out.end(), list_metrics().begin(), list_metrics().end());
  return out;
}

void check_ranking(const RankingOptions& options) { asked_of(options); }

}  // namespace polyscene::eval
