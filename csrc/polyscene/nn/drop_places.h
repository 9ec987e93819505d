#pragma once

#include <cstdint>

#include "polyscene/nn/simd.h"

namespace polyscene::nn {

// A number of [0, 2^32) for a place: multiplications and shifts that mix all bits, as hash functions end with them.
POLYSCENE_INLINE uint32_t mixed(uint32_t place, uint32_t one, uint32_t other) {
  uint32_t h = (place ^ one) * 0x9e3779b1u;
  h = ((h ^ (h >> 15)) + other) * 0x85ebca77u;
  h = (h ^ (h >> 13)) * 0xc2b2ae3du;
  return h ^ (h >> 16);
}

// What is dropped of a tensor: place i of the piece that starts at `first` when mixed(from + i, one, other) < below.
struct DropPiece {
  DropPiece(uint64_t seed, int64_t first, double p)
      : one(static_cast<uint32_t>(seed)),
        other(static_cast<uint32_t>((seed >> 32) + (first >> 32))),  // places past 2^32 take another seed
        from(static_cast<uint32_t>(first)),
        below(static_cast<uint32_t>(p * 4294967296.0)) {}
  uint32_t one, other, from, below;
};

// A number of torch's generator that says what is dropped.
int64_t draw_drop_seed();

}  // namespace polyscene::nn
