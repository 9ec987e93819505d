#pragma once

// Vectors of float32 as two generations of processors have them, for kernels that are written once and compiled for
// both. A kernel must lie between the same pragmas as the struct that it uses, and what asks for the processor outside.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define POLYSCENE_LANES 1

#include <immintrin.h>

#include <cstdint>
#include <limits>

namespace polyscene {

inline bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}

inline bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 doubts its own intrinsics

#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")

struct Avx512 {
  using Vector = __m512;
  using Mask = __mmask16;
  static constexpr int64_t kLanes = 16;
  static constexpr bool kFreeMasks = true;  // a masked load costs as much as a whole one

  static inline __attribute__((always_inline)) Mask first(int64_t count) {  // 0 .. 16 lanes
    return static_cast<Mask>((1u << count) - 1);
  }
  static inline __attribute__((always_inline)) Vector zero() { return _mm512_setzero_ps(); }
  static inline __attribute__((always_inline)) Vector all(float x) { return _mm512_set1_ps(x); }
  static inline __attribute__((always_inline)) Vector load(const float* x) { return _mm512_loadu_ps(x); }
  static inline __attribute__((always_inline)) Vector load(Mask mask, const float* x) {
    return _mm512_maskz_loadu_ps(mask, x);
  }
  static inline __attribute__((always_inline)) void store(Mask mask, float* to, Vector x) {
    _mm512_mask_storeu_ps(to, mask, x);
  }
  static inline __attribute__((always_inline)) Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static inline __attribute__((always_inline)) Vector sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  static inline __attribute__((always_inline)) Vector mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static inline __attribute__((always_inline)) Vector fmadd(Vector a, Vector b, Vector c) {
    return _mm512_fmadd_ps(a, b, c);
  }
  static inline __attribute__((always_inline)) float sum(Vector x) { return _mm512_reduce_add_ps(x); }
  // a / b where `size`, which is not negative, is finite, else 0. b from the processor's estimate and one step of
  // Newton's, to 2^-23: where lines are in the cache, exact quotients are what Adam waits for.
  static inline __attribute__((always_inline)) Vector quotient(Vector a, Vector b, Vector size) {
    const auto guess = _mm512_rcp14_ps(b);
    const auto inverse = _mm512_fmadd_ps(_mm512_fnmadd_ps(b, guess, _mm512_set1_ps(1)), guess, guess);
    const auto finite = _mm512_cmp_ps_mask(size, _mm512_set1_ps(std::numeric_limits<float>::max()), _CMP_LE_OQ);
    return _mm512_maskz_mul_ps(finite, a, inverse);
  }
  // sqrt(x) in the same way. 0 has the root of the least normal number.
  static inline __attribute__((always_inline)) Vector root(Vector x) {
    const auto kept = _mm512_max_ps(x, _mm512_set1_ps(std::numeric_limits<float>::min()));
    const auto guess = _mm512_rsqrt14_ps(kept), root = _mm512_mul_ps(kept, guess);
    const auto rest = _mm512_fnmadd_ps(root, root, kept);
    return _mm512_fmadd_ps(_mm512_mul_ps(guess, _mm512_set1_ps(0.5f)), rest, root);
  }
};

#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma")

struct Avx2 {
  using Vector = __m256;
  using Mask = __m256i;
  static constexpr int64_t kLanes = 8;
  static constexpr bool kFreeMasks = false;

  static inline __attribute__((always_inline)) Mask first(int64_t count) {  // 0 .. 8 lanes
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static inline __attribute__((always_inline)) Vector zero() { return _mm256_setzero_ps(); }
  static inline __attribute__((always_inline)) Vector all(float x) { return _mm256_set1_ps(x); }
  static inline __attribute__((always_inline)) Vector load(const float* x) { return _mm256_loadu_ps(x); }
  static inline __attribute__((always_inline)) Vector load(Mask mask, const float* x) {
    return _mm256_maskload_ps(x, mask);
  }
  static inline __attribute__((always_inline)) void store(Mask mask, float* to, Vector x) {
    // A masked store takes many cycles on some processors: whole ones go by themselves.
    if (_mm256_movemask_ps(_mm256_castsi256_ps(mask)) == 0xff) {
      _mm256_storeu_ps(to, x);
    } else {
      _mm256_maskstore_ps(to, mask, x);
    }
  }
  static inline __attribute__((always_inline)) Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static inline __attribute__((always_inline)) Vector sub(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
  static inline __attribute__((always_inline)) Vector mul(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  static inline __attribute__((always_inline)) Vector fmadd(Vector a, Vector b, Vector c) {
    return _mm256_fmadd_ps(a, b, c);
  }
  static inline __attribute__((always_inline)) float sum(Vector x) {
    const auto four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const auto two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  // The processor's estimates are of 12 bits here, too few for one step: exact ones.
  static inline __attribute__((always_inline)) Vector quotient(Vector a, Vector b, Vector) {
    return _mm256_div_ps(a, b);
  }
  static inline __attribute__((always_inline)) Vector root(Vector x) { return _mm256_sqrt_ps(x); }
};

#pragma GCC pop_options
#pragma GCC diagnostic pop

}  // namespace polyscene

#endif
