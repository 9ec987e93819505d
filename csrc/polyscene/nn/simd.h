#pragma once

// POLYSCENE_SIMD in front of a function compiles it for several generations of processors; the newest that the machine
// has is chosen when the library is loaded. What it calls must be POLYSCENE_INLINE to be compiled with it.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define POLYSCENE_SIMD __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define POLYSCENE_SIMD
#endif
#define POLYSCENE_INLINE __attribute__((always_inline)) inline
