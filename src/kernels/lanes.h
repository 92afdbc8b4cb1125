/* LANES blocks of samples, one a lane, to their transforms and back.
 *
 * The samples of a block are consecutive in memory; a square of LANES of them from LANES blocks is transposed in
 * registers, so that whole lines are read and written. Blocks at the edge of the matrix go through zero-padded
 * copies: nothing outside of the caller's rows is touched.
 */
#ifndef RBE_KERNELS_LANES_H
#define RBE_KERNELS_LANES_H

#include "kernels/block_transform.h"

ALWAYS_INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Vectors are loaded from blocks and stored to them directly if they fit. */
ALWAYS_INLINE bool is_whole(size_t valid, size_t block) { return valid == block && block >= LANES; }

/* `from` itself if it is a whole block, else a zero-padded copy. */
ALWAYS_INLINE const float *padded(const float *from, size_t valid, size_t block, float *copy) {
    if (is_whole(valid, block)) return from;
    size_t length = block > LANES ? block : LANES;
    memcpy(copy, from, valid * sizeof *copy);
    memset(copy + valid, 0, (length - valid) * sizeof *copy);
    return copy;
}

/* What an unused lane reads. */
static const float zero_block[RBE_MAX_BLOCK];

/* Samples that are coefficients already go straight to the rows and back. */
ALWAYS_INLINE bool is_direct(const rbe_axis *axis) { return axis->method == RBE_AXIS_IDENTITY && axis->block >= LANES; }

/* Transforms LANES blocks of B values each to rows `stride` apart. */
static void analyze_lanes(const rbe_axis *axis, const float *const lane[LANES], float *rows, size_t stride) {
    vec x[RBE_MAX_BLOCK + DCT_WORK(RBE_MAX_BLOCK)];
    const bool direct = is_direct(axis);
    float *to = direct ? rows : (float *)x;
    const size_t step = direct ? stride : LANES;
    for (size_t c = 0; c < axis->block; c += LANES) {
        vec r[LANES];
        UNROLL for (size_t s = 0; s < LANES; s++) r[s] = load(lane[s] + c);
        transpose(r);
        UNROLL for (size_t s = 0; s < LANES; s++) store(to + (c + s) * step, r[s]);
    }
    if (!direct) block_analysis(axis, x, rows, stride);
}

/* The reverse: target[s][c] = addend[s][c] + sample c of the block in lane s. */
static void synthesize_lanes(const rbe_axis *axis, const float *rows, size_t stride, const float *const addend[LANES],
                             float *const target[LANES]) {
    vec x[RBE_MAX_BLOCK + DCT_WORK(RBE_MAX_BLOCK)];
    const bool direct = is_direct(axis);
    const float *from = direct ? rows : (const float *)x;
    const size_t step = direct ? stride : LANES;
    if (!direct) block_synthesis(axis, rows, stride, x);
    for (size_t c = 0; c < axis->block; c += LANES) {
        vec r[LANES];
        UNROLL for (size_t s = 0; s < LANES; s++) r[s] = load(from + (c + s) * step);
        transpose(r);
        UNROLL for (size_t s = 0; s < LANES; s++) store(target[s] + c, load(addend[s] + c) + r[s]);
    }
}

#endif
