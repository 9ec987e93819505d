#include "polyscene/nn/event_pool.h"

#include "polyscene/data/schema.h"
#include "polyscene/nn/checks.h"

namespace polyscene::nn {

EventPoolImpl::EventPoolImpl(int64_t items, EventPoolOptions options_) : options(options_) {
  check_positive("EventPool", "dim", options.dim);
  check_positive("EventPool", "length", options.length);
  TORCH_CHECK_VALUE(options.init_std >= 0, "EventPool: init_std must be 0 or more, got ", options.init_std);
  rows_.add("item", items);
  reset();
}

void EventPoolImpl::reset() {
  item = register_module("item", torch::nn::Embedding(rows_.total(), options.dim));
  const torch::NoGradGuard no_grad;
  item->weight.normal_(0, options.init_std);
  item->weight.narrow(0, 0, std::min(data::kFirstId, rows_.total())).zero_();
}

torch::Tensor EventPoolImpl::forward(const data::Events& events, int64_t rows) {
  const auto& y = item->weight;
  if (!events.defined() || events.item.numel() == 0) {  // a table of int8 rows gives float32 too
    return torch::zeros({rows, options.dim}, y.is_floating_point() ? y.options() : y.options().dtype(torch::kFloat32));
  }
  const auto newest = events.newest(options.length);
  const auto found = lookup(y, newest.item.unsqueeze(1), rows_, item->options.sparse()).squeeze(1);  // [L, D]
  const auto sum = at::segment_reduce(found, "sum", /*lengths=*/{}, /*indices=*/{}, newest.offsets, /*axis=*/0,
                                      /*unsafe=*/true, /*initial=*/0);
  const auto length = newest.offsets.diff().clamp_min(1).to(sum.scalar_type());  // [B]
  return sum * length.rsqrt().unsqueeze(1);
}

}  // namespace polyscene::nn
