/* Vectors of LANES floats, and the few operations on them that differ between instruction sets.
 *
 * A file that includes this one defines LANES first: 16 (AVX-512), 8 (AVX2) or 4 (anything a compiler with vector
 * extensions knows). Sums and differences are written with the operators; products that are added go through
 * multiply_add, so that they are fused wherever the machine can, whatever the compiler's rules of contraction.
 */
#ifndef RBE_KERNELS_VECTOR_H
#define RBE_KERNELS_VECTOR_H

#include <stddef.h>
#include <string.h>

#if LANES > 4
#include <immintrin.h>
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* For loops of constant length over arrays of vectors that shall live in registers. */
#define UNROLL _Pragma("GCC unroll 16")

typedef float vec __attribute__((vector_size(4 * LANES), may_alias));

/* As it may stand in memory: aligned as a float only. */
typedef float vec_in_memory __attribute__((vector_size(4 * LANES), may_alias, aligned(4)));
typedef float quad __attribute__((vector_size(16), may_alias));
typedef float quad_in_memory __attribute__((vector_size(16), may_alias, aligned(4)));

ALWAYS_INLINE vec load(const float *from) { return *(const vec_in_memory *)(const void *)from; }
ALWAYS_INLINE void store(float *to, vec v) { *(vec_in_memory *)(void *)to = v; }
ALWAYS_INLINE quad load_quad(const float *from) { return *(const quad_in_memory *)(const void *)from; }
ALWAYS_INLINE void store_quad(float *to, quad v) { *(quad_in_memory *)(void *)to = v; }

/* Four columns of the rows lane[s], lane[4 + s], lane[8 + s] .., and the reverse; the sum of the quads of a vector.
 * pairs_low: a0 b0 a1 b1 in every quad, pairs_high: a2 b2 a3 b3; halves_low: a0 a1 b0 b1, halves_high: a2 a3 b2 b3.
 */
#if LANES == 16

ALWAYS_INLINE vec splat(float s) { return _mm512_set1_ps(s); }
ALWAYS_INLINE vec multiply_add(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }

ALWAYS_INLINE vec load_quads(const float *const *lane, size_t column) {
    __m512 v = _mm512_castps128_ps512(load_quad(lane[0] + column));
    v = _mm512_insertf32x4(v, load_quad(lane[4] + column), 1);
    v = _mm512_insertf32x4(v, load_quad(lane[8] + column), 2);
    return _mm512_insertf32x4(v, load_quad(lane[12] + column), 3);
}
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

#elif LANES == 8

ALWAYS_INLINE vec splat(float s) { return _mm256_set1_ps(s); }
ALWAYS_INLINE vec multiply_add(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }

ALWAYS_INLINE vec load_quads(const float *const *lane, size_t column) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(load_quad(lane[0] + column)), load_quad(lane[4] + column),
                                1);
}
ALWAYS_INLINE quad quad_of(vec v, int n) {
    return n == 0 ? _mm256_castps256_ps128(v) : _mm256_extractf128_ps(v, 1);
}
ALWAYS_INLINE vec pairs_low(vec a, vec b) { return _mm256_unpacklo_ps(a, b); }
ALWAYS_INLINE vec pairs_high(vec a, vec b) { return _mm256_unpackhi_ps(a, b); }
ALWAYS_INLINE vec halves_low(vec a, vec b) { return _mm256_shuffle_ps(a, b, 0x44); }
ALWAYS_INLINE vec halves_high(vec a, vec b) { return _mm256_shuffle_ps(a, b, 0xee); }

#else

ALWAYS_INLINE vec splat(float s) { return (vec){s, s, s, s}; }
ALWAYS_INLINE vec multiply_add(vec a, vec b, vec c) { return a * b + c; }

ALWAYS_INLINE vec load_quads(const float *const *lane, size_t column) { return load_quad(lane[0] + column); }
ALWAYS_INLINE quad quad_of(vec v, int n) {
    (void)n;
    return v;
}
ALWAYS_INLINE vec pairs_low(vec a, vec b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
ALWAYS_INLINE vec pairs_high(vec a, vec b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
ALWAYS_INLINE vec halves_low(vec a, vec b) { return __builtin_shufflevector(a, b, 0, 1, 4, 5); }
ALWAYS_INLINE vec halves_high(vec a, vec b) { return __builtin_shufflevector(a, b, 2, 3, 6, 7); }

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

/* (sum of r[0], sum of r[1], sum of r[2], sum of r[3]), always in the same order. */
ALWAYS_INLINE quad sum_each(vec r[4]) {
    transpose_quads(r);
    vec sums = (r[0] + r[1]) + (r[2] + r[3]);
    quad total = quad_of(sums, 0);
    UNROLL for (int n = 1; n < LANES / 4; n++) total += quad_of(sums, n);
    return total;
}

#endif
