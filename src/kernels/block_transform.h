/* The transforms of blocks, one block a lane: x[c] holds sample c of LANES blocks.
 *
 *     analysis    row k of the result = sum_c C[k][c] x[c]          rows are `stride` floats apart
 *     synthesis   x[c] = sum_k C[k][c] row k                        (C is orthonormal)
 */
#ifndef RBE_KERNELS_BLOCK_TRANSFORM_H
#define RBE_KERNELS_BLOCK_TRANSFORM_H

#include <math.h>

#include "kernels/dct.h"
#include "kernels/plan.h"
#include "kernels/vector.h"

/* ---- wavelets ------------------------------------------------------------------------------------------------ */

/* One level of the pyramid: n samples to n/2 averages (into `averages`) and n/2 details, row n/2 + i. */
ALWAYS_INLINE void wavelet_step(const rbe_axis *axis, size_t taps, size_t n, const vec *x, vec *averages,
                                float *details, size_t stride) {
    for (size_t i = 0; i < n / 2; i++) {
        vec sample = x[(2 * i) & (n - 1)];
        vec average = scale(sample, axis->low[0]), detail = scale(sample, axis->high[0]);
        for (size_t k = 1; k < taps; k++) {
            sample = x[(2 * i + k) & (n - 1)];
            average = scale_add(sample, axis->low[k], average);
            detail = scale_add(sample, axis->high[k], detail);
        }
        averages[i] = average;
        store(details + i * stride, detail);
    }
}

/* `taps` is a constant for the short filters. Averages move back and forth between x and `other`. */
ALWAYS_INLINE void wavelet_pyramid(const rbe_axis *axis, size_t taps, vec *x, float *rows, size_t stride) {
    vec other[RBE_MAX_BLOCK / 2];
    vec *from = x, *to = other;
    for (size_t n = axis->block; n >= 2; n /= 2) {
        wavelet_step(axis, taps, n, from, to, rows + n / 2 * stride, stride);
        vec *swap = from;
        from = to;
        to = swap;
    }
    store(rows, from[0]);
}

static void wavelet_analysis(const rbe_axis *axis, vec *x, float *rows, size_t stride) {
    switch (axis->taps) {
    case 2: wavelet_pyramid(axis, 2, x, rows, stride); break;
    case 4: wavelet_pyramid(axis, 4, x, rows, stride); break;
    default: wavelet_pyramid(axis, axis->taps, x, rows, stride);
    }
}

/* The transpose of wavelet_step: x[m] = sum over k of the parity of m: low[k] a[(m-k)/2] + high[k] d[(m-k)/2]. */
ALWAYS_INLINE void wavelet_step_back(const rbe_axis *axis, size_t taps, size_t n, const vec *averages,
                                     const float *details, size_t stride, vec *x) {
    size_t mask = n / 2 - 1;
    for (size_t i = 0; i < n / 2; i++) {
        vec even = {0}, odd = {0};
        for (size_t t = 0; t < taps / 2; t++) {
            size_t at = (i - t) & mask;
            vec average = averages[at], detail = load(details + at * stride);
            even = scale_add(average, axis->low[2 * t], scale_add(detail, axis->high[2 * t], even));
            odd = scale_add(average, axis->low[2 * t + 1], scale_add(detail, axis->high[2 * t + 1], odd));
        }
        x[2 * i] = even;
        x[2 * i + 1] = odd;
    }
}

ALWAYS_INLINE void wavelet_pyramid_back(const rbe_axis *axis, size_t taps, const float *rows, size_t stride, vec *x) {
    vec other[RBE_MAX_BLOCK];
    /* The last of the log2 B steps has to end in x. */
    vec *from = __builtin_ctzll(axis->block) % 2 ? other : x, *to = from == x ? other : x;
    from[0] = load(rows);
    for (size_t n = 2; n <= axis->block; n *= 2) {
        wavelet_step_back(axis, taps, n, from, rows + n / 2 * stride, stride, to);
        vec *swap = from;
        from = to;
        to = swap;
    }
}

static void wavelet_synthesis(const rbe_axis *axis, const float *rows, size_t stride, vec *x) {
    switch (axis->taps) {
    case 2: wavelet_pyramid_back(axis, 2, rows, stride, x); break;
    case 4: wavelet_pyramid_back(axis, 4, rows, stride, x); break;
    default: wavelet_pyramid_back(axis, axis->taps, rows, stride, x);
    }
}

/* ---- Walsh-Hadamard ------------------------------------------------------------------------------------------ */

/* The unscaled Hadamard transform in place: its matrix is symmetric, so the same for analysis and synthesis. */
static void hadamard(size_t block, vec *x) {
    for (size_t half = 1; half < block; half *= 2)
        for (size_t start = 0; start < block; start += 2 * half)
            for (size_t i = start; i < start + half; i++) {
                vec a = x[i], b = x[i + half];
                x[i] = a + b;
                x[i + half] = a - b;
            }
}

static void walsh_analysis(const rbe_axis *axis, vec *x, float *rows, size_t stride) {
    float factor = 1.0f / sqrtf((float)axis->block);
    hadamard(axis->block, x);
    for (size_t k = 0; k < axis->block; k++) store(rows + k * stride, scale(x[axis->natural[k]], factor));
}

static void walsh_synthesis(const rbe_axis *axis, const float *rows, size_t stride, vec *x) {
    float factor = 1.0f / sqrtf((float)axis->block);
    for (size_t k = 0; k < axis->block; k++) x[axis->natural[k]] = scale(load(rows + k * stride), factor);
    hadamard(axis->block, x);
}

/* ---- any matrix ---------------------------------------------------------------------------------------------- */

enum { MATRIX_TILE = 8 };

static void matrix_analysis(const rbe_axis *axis, const vec *x, float *rows, size_t stride) {
    size_t block = axis->block;
    for (size_t first = 0; first < block; first += MATRIX_TILE) {
        vec sum[MATRIX_TILE] = {{0}};
        for (size_t c = 0; c < block; c++)
            UNROLL for (size_t k = 0; k < MATRIX_TILE; k++) sum[k] =
                scale_add(x[c], axis->matrix[(first + k) * block + c], sum[k]);
        UNROLL for (size_t k = 0; k < MATRIX_TILE; k++) store(rows + (first + k) * stride, sum[k]);
    }
}

static void matrix_synthesis(const rbe_axis *axis, const float *rows, size_t stride, vec *x) {
    size_t block = axis->block;
    for (size_t first = 0; first < block; first += MATRIX_TILE) {
        vec sum[MATRIX_TILE] = {{0}};
        for (size_t k = 0; k < block; k++) {
            vec row = load(rows + k * stride);
            UNROLL for (size_t c = 0; c < MATRIX_TILE; c++) sum[c] =
                scale_add(row, axis->matrix[k * block + first + c], sum[c]);
        }
        UNROLL for (size_t c = 0; c < MATRIX_TILE; c++) x[first + c] = sum[c];
    }
}

/* ---- all of them --------------------------------------------------------------------------------------------- */

/* x is a block with DCT_WORK vectors of scratch behind it, and may be overwritten. The scratch follows at once: where
 * loads and stores of a loop were a multiple of 4 KiB apart, they would wait for each other. */
static void block_analysis(const rbe_axis *axis, vec *x, float *rows, size_t stride) {
    switch (axis->method) {
    case RBE_AXIS_DCT:
        dct2(axis->matrix, axis->matrix + axis->block, axis->block, x, rows, stride, x + axis->block);
        break;
    case RBE_AXIS_WAVELET: wavelet_analysis(axis, x, rows, stride); break;
    case RBE_AXIS_WALSH: walsh_analysis(axis, x, rows, stride); break;
    case RBE_AXIS_IDENTITY:
        for (size_t c = 0; c < axis->block; c++) store(rows + c * stride, x[c]);
        break;
    case RBE_AXIS_MATRIX: matrix_analysis(axis, x, rows, stride); break;
    }
}

static void block_synthesis(const rbe_axis *axis, const float *rows, size_t stride, vec *x) {
    switch (axis->method) {
    case RBE_AXIS_DCT:
        dct2_back(axis->matrix, axis->matrix + axis->block, axis->block, rows, stride, x, x + axis->block);
        break;
    case RBE_AXIS_WAVELET: wavelet_synthesis(axis, rows, stride, x); break;
    case RBE_AXIS_WALSH: walsh_synthesis(axis, rows, stride, x); break;
    case RBE_AXIS_IDENTITY:
        for (size_t c = 0; c < axis->block; c++) x[c] = load(rows + c * stride);
        break;
    case RBE_AXIS_MATRIX: matrix_synthesis(axis, rows, stride, x); break;
    }
}

#endif
