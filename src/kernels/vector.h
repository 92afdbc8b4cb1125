/* Vectors of LANES floats, and the few operations on them that differ between instruction sets.
 *
 * A file that includes this one defines LANES first: 16 (AVX-512), 8 (AVX2) or 4 (anything a compiler with vector
 * extensions knows). Sums and differences are written with the operators; products that are added go through
 * multiply_add, so that they are fused wherever the machine can, whatever the compiler's rules of contraction.
 */
#ifndef RBE_KERNELS_VECTOR_H
#define RBE_KERNELS_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if LANES > 4 || defined(__FMA__)
#include <immintrin.h>
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))

/* For loops of constant length over arrays of vectors that shall live in registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

typedef float vec __attribute__((vector_size(4 * LANES), may_alias));

/* As it may stand in memory: aligned as a float only. */
typedef float vec_in_memory __attribute__((vector_size(4 * LANES), may_alias, aligned(4)));
typedef float quad __attribute__((vector_size(16), may_alias));
typedef float quad_in_memory __attribute__((vector_size(16), may_alias, aligned(4)));

/* That so many samples take. */
ALWAYS_INLINE size_t vectors_of(size_t samples) { return (samples + LANES - 1) / LANES; }

ALWAYS_INLINE vec load(const float *from) { return *(const vec_in_memory *)(const void *)from; }
ALWAYS_INLINE void store(float *to, vec v) { *(vec_in_memory *)(void *)to = v; }
ALWAYS_INLINE quad load_quad(const float *from) { return *(const quad_in_memory *)(const void *)from; }
ALWAYS_INLINE void store_quad(float *to, quad v) { *(quad_in_memory *)(void *)to = v; }

/* Quads are the four-float parts of a vector. Within every quad, pairs_low: a0 b0 a1 b1, pairs_high: a2 b2 a3 b3,
 * halves_low: a0 a1 b0 b1, halves_high: a2 a3 b2 b3. transpose_across: quad n of r[j] becomes quad j of r[n]. */
#if LANES == 16

ALWAYS_INLINE vec splat(float s) { return _mm512_set1_ps(s); }
ALWAYS_INLINE vec multiply_add(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
ALWAYS_INLINE vec multiply_subtract(vec a, vec b, vec c) { return _mm512_fmsub_ps(a, b, c); }
ALWAYS_INLINE vec subtract_product(vec c, vec a, vec b) { return _mm512_fnmadd_ps(a, b, c); }

ALWAYS_INLINE quad quad_of(vec v, int n) {
    switch (n) {
    case 0: return _mm512_castps512_ps128(v);
    case 1: return _mm512_extractf32x4_ps(v, 1);
    case 2: return _mm512_extractf32x4_ps(v, 2);
    default: return _mm512_extractf32x4_ps(v, 3);
    }
}
ALWAYS_INLINE vec pairs_low(vec a, vec b) { return _mm512_unpacklo_ps(a, b); }
ALWAYS_INLINE vec pairs_high(vec a, vec b) { return _mm512_unpackhi_ps(a, b); }
ALWAYS_INLINE vec halves_low(vec a, vec b) { return _mm512_shuffle_ps(a, b, 0x44); }
ALWAYS_INLINE vec halves_high(vec a, vec b) { return _mm512_shuffle_ps(a, b, 0xee); }
ALWAYS_INLINE void transpose_across(vec r[4]) {
    vec low_01 = _mm512_shuffle_f32x4(r[0], r[1], 0x44), high_01 = _mm512_shuffle_f32x4(r[0], r[1], 0xee);
    vec low_23 = _mm512_shuffle_f32x4(r[2], r[3], 0x44), high_23 = _mm512_shuffle_f32x4(r[2], r[3], 0xee);
    r[0] = _mm512_shuffle_f32x4(low_01, low_23, 0x88);
    r[1] = _mm512_shuffle_f32x4(low_01, low_23, 0xdd);
    r[2] = _mm512_shuffle_f32x4(high_01, high_23, 0x88);
    r[3] = _mm512_shuffle_f32x4(high_01, high_23, 0xdd);
}

/* The first `count` lanes, and what is loaded and stored of them; the other lanes are zero and not touched. */
typedef __mmask16 lane_mask;
ALWAYS_INLINE lane_mask first_lanes(size_t count) { return (lane_mask)((1u << count) - 1); }
ALWAYS_INLINE vec load_first(const float *from, lane_mask mask) { return _mm512_maskz_loadu_ps(mask, from); }
ALWAYS_INLINE void store_first(float *to, vec v, lane_mask mask) { _mm512_mask_storeu_ps(to, mask, v); }

#elif LANES == 8

ALWAYS_INLINE vec splat(float s) { return _mm256_set1_ps(s); }
ALWAYS_INLINE vec multiply_add(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
ALWAYS_INLINE vec multiply_subtract(vec a, vec b, vec c) { return _mm256_fmsub_ps(a, b, c); }
ALWAYS_INLINE vec subtract_product(vec c, vec a, vec b) { return _mm256_fnmadd_ps(a, b, c); }

ALWAYS_INLINE quad quad_of(vec v, int n) { return n == 0 ? _mm256_castps256_ps128(v) : _mm256_extractf128_ps(v, 1); }
ALWAYS_INLINE vec pairs_low(vec a, vec b) { return _mm256_unpacklo_ps(a, b); }
ALWAYS_INLINE vec pairs_high(vec a, vec b) { return _mm256_unpackhi_ps(a, b); }
ALWAYS_INLINE vec halves_low(vec a, vec b) { return _mm256_shuffle_ps(a, b, 0x44); }
ALWAYS_INLINE vec halves_high(vec a, vec b) { return _mm256_shuffle_ps(a, b, 0xee); }
ALWAYS_INLINE void transpose_across(vec r[2]) {
    vec low = _mm256_permute2f128_ps(r[0], r[1], 0x20), high = _mm256_permute2f128_ps(r[0], r[1], 0x31);
    r[0] = low;
    r[1] = high;
}

typedef __m256i lane_mask;
ALWAYS_INLINE lane_mask first_lanes(size_t count) {
    static const int32_t ones_then_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i_u *)(const void *)(ones_then_zeros + LANES - count));
}
ALWAYS_INLINE vec load_first(const float *from, lane_mask mask) { return _mm256_maskload_ps(from, mask); }
ALWAYS_INLINE void store_first(float *to, vec v, lane_mask mask) { _mm256_maskstore_ps(to, mask, v); }

#else

ALWAYS_INLINE vec splat(float s) { return (vec){s, s, s, s}; }
#if defined(__FMA__)
ALWAYS_INLINE vec multiply_add(vec a, vec b, vec c) { return _mm_fmadd_ps(a, b, c); }
ALWAYS_INLINE vec multiply_subtract(vec a, vec b, vec c) { return _mm_fmsub_ps(a, b, c); }
ALWAYS_INLINE vec subtract_product(vec c, vec a, vec b) { return _mm_fnmadd_ps(a, b, c); }
#else
ALWAYS_INLINE vec multiply_add(vec a, vec b, vec c) { return a * b + c; }
ALWAYS_INLINE vec multiply_subtract(vec a, vec b, vec c) { return a * b - c; }
ALWAYS_INLINE vec subtract_product(vec c, vec a, vec b) { return c - a * b; }
#endif

ALWAYS_INLINE quad quad_of(vec v, int n) {
    (void)n;
    return v;
}
ALWAYS_INLINE vec pairs_low(vec a, vec b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
ALWAYS_INLINE vec pairs_high(vec a, vec b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
ALWAYS_INLINE vec halves_low(vec a, vec b) { return __builtin_shufflevector(a, b, 0, 1, 4, 5); }
ALWAYS_INLINE vec halves_high(vec a, vec b) { return __builtin_shufflevector(a, b, 2, 3, 6, 7); }
ALWAYS_INLINE void transpose_across(vec r[1]) { (void)r; }

#if defined(__AVX512VL__)
typedef __mmask8 lane_mask;
ALWAYS_INLINE lane_mask first_lanes(size_t count) { return (lane_mask)((1u << count) - 1); }
ALWAYS_INLINE vec load_first(const float *from, lane_mask mask) { return _mm_maskz_loadu_ps(mask, from); }
ALWAYS_INLINE void store_first(float *to, vec v, lane_mask mask) { _mm_mask_storeu_ps(to, mask, v); }
#elif defined(__AVX2__)
typedef __m128i lane_mask;
ALWAYS_INLINE lane_mask first_lanes(size_t count) {
    static const int32_t ones_then_zeros[8] = {-1, -1, -1, -1};
    return _mm_loadu_si128((const __m128i_u *)(const void *)(ones_then_zeros + LANES - count));
}
ALWAYS_INLINE vec load_first(const float *from, lane_mask mask) { return _mm_maskload_ps(from, mask); }
ALWAYS_INLINE void store_first(float *to, vec v, lane_mask mask) { _mm_maskstore_ps(to, mask, v); }
#else
typedef size_t lane_mask;
ALWAYS_INLINE lane_mask first_lanes(size_t count) { return count; }
ALWAYS_INLINE vec load_first(const float *from, lane_mask count) {
    vec v = {0};
    for (size_t s = 0; s < count; s++) v[s] = from[s];
    return v;
}
ALWAYS_INLINE void store_first(float *to, vec v, lane_mask count) {
    for (size_t s = 0; s < count; s++) to[s] = v[s];
}
#endif

#endif

ALWAYS_INLINE vec scale(vec v, float factor) { return v * splat(factor); }
ALWAYS_INLINE vec scale_add(vec v, float factor, vec addend) { return multiply_add(v, splat(factor), addend); }

/* Transposes every 4 x 4 square that the quads of r[0..3] form. */
ALWAYS_INLINE void transpose_quads(vec r[4]) {
    vec low_01 = pairs_low(r[0], r[1]), low_23 = pairs_low(r[2], r[3]);
    vec high_01 = pairs_high(r[0], r[1]), high_23 = pairs_high(r[2], r[3]);
    r[0] = halves_low(low_01, low_23);
    r[1] = halves_high(low_01, low_23);
    r[2] = halves_low(high_01, high_23);
    r[3] = halves_high(high_01, high_23);
}

/* Transposes the square of r[0 .. LANES - 1]. */
ALWAYS_INLINE void transpose(vec r[LANES]) {
    UNROLL for (int j = 0; j < LANES; j += 4) transpose_quads(r + j);
    UNROLL for (int i = 0; i < 4; i++) {
        vec across[LANES / 4];
        UNROLL for (int j = 0; j < LANES / 4; j++) across[j] = r[4 * j + i];
        transpose_across(across);
        UNROLL for (int j = 0; j < LANES / 4; j++) r[4 * j + i] = across[j];
    }
}

/* (sum of r[0], sum of r[1], sum of r[2], sum of r[3]), always in the same order. */
ALWAYS_INLINE quad sum_each(const vec r[4]) {
    vec pairs_01 = pairs_low(r[0], r[1]) + pairs_high(r[0], r[1]);
    vec pairs_23 = pairs_low(r[2], r[3]) + pairs_high(r[2], r[3]);
    vec sums = halves_low(pairs_01, pairs_23) + halves_high(pairs_01, pairs_23);
    quad total = quad_of(sums, 0);
    UNROLL for (int n = 1; n < LANES / 4; n++) total += quad_of(sums, n);
    return total;
}

#endif
