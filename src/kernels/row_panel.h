/* Row-major rows to panels of transformed blocks and back.
 *
 * A panel holds, for every block of a row, block_rows rows of `width` floats: float n of row k of block q is
 * coefficient (or moment) k of block q of row n. LANES rows are transposed at a time, block after block, so that
 * each of them is one stream to the hardware prefetcher. Blocks at the end of a row and vectors at the end of the
 * batch go through zero-padded copies: nothing outside of the caller's rows is touched.
 */
#ifndef RBE_KERNELS_ROW_PANEL_H
#define RBE_KERNELS_ROW_PANEL_H

#include "kernels/block_transform.h"

/* `from` itself if it is a whole block, else a zero-padded copy. */
ALWAYS_INLINE const float *padded(const float *from, size_t valid, size_t block, float *copy) {
    if (valid == block) return from;
    memcpy(copy, from, valid * sizeof *copy);
    memset(copy + valid, 0, (block - valid) * sizeof *copy);
    return copy;
}

/* Transforms LANES blocks of B values each. */
static void analyze_lanes(const rbe_axis *axis, const float *const lane[LANES], float *rows, size_t stride) {
    vec x[RBE_MAX_BLOCK];
    for (size_t c = 0; c < axis->block; c += 4) {
        UNROLL for (int s = 0; s < 4; s++) x[c + s] = load_quads(lane + s, c);
        transpose_quads(x + c);
    }
    if (axis->moments) project_moments(axis, x, rows + axis->block * stride, stride);
    block_analysis(axis, x, rows, stride);
}

/* The reverse: target[s][c] = addend[s][c] + sample c of the block in lane s. */
static void synthesize_lanes(const rbe_axis *axis, const float *rows, size_t stride,
                             const float *const addend[LANES], float *const target[LANES]) {
    vec x[RBE_MAX_BLOCK];
    block_synthesis(axis, rows, stride, x);
    if (axis->moments) expand_moments(axis, rows + axis->block * stride, stride, x);
    for (size_t c = 0; c < axis->block; c += 4) {
        transpose_quads(x + c);
        UNROLL for (int s = 0; s < 4; s++) UNROLL for (int n = 0; n < LANES / 4; n++)
            store_quad(target[4 * n + s] + c, load_quad(addend[4 * n + s] + c) + quad_of(x[c + s], n));
    }
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static void analyze(const rbe_axis *axis, const float *source, size_t rows, size_t length, float *panel,
                    size_t width) {
    size_t block = axis->block, block_step = axis->block_rows * width;
    float copies[LANES][RBE_MAX_BLOCK];
    for (size_t n = 0; n < rows; n += LANES)
        for (size_t start = 0; start < length; start += block) {
            size_t valid = smaller(block, length - start);
            const float *lane[LANES];
            for (size_t s = 0; s < LANES; s++)
                lane[s] = n + s < rows ? padded(source + (n + s) * length + start, valid, block, copies[s])
                                       : padded(source, 0, block, copies[s]);
            analyze_lanes(axis, lane, panel + start / block * block_step + n, width);
        }
}

static const float no_addend[RBE_MAX_BLOCK];

static void synthesize(const rbe_axis *axis, const float *panel, size_t width, const float *bias, bool add,
                       float *target, size_t rows, size_t length) {
    size_t block = axis->block, block_step = axis->block_rows * width;
    float copies[LANES][RBE_MAX_BLOCK];
    for (size_t n = 0; n < rows; n += LANES)
        for (size_t start = 0; start < length; start += block) {
            size_t valid = smaller(block, length - start);
            const float *addend[LANES];
            float *lane[LANES];
            for (size_t s = 0; s < LANES; s++) {
                float *row = n + s < rows ? target + (n + s) * length + start : NULL;
                lane[s] = valid == block && row ? row : copies[s];
                addend[s] = no_addend;
                if (row && add) addend[s] = padded(row, valid, block, copies[s]);
                if (row && bias) addend[s] = padded(bias + start, valid, block, copies[s]);
            }
            synthesize_lanes(axis, panel + start / block * block_step + n, width, addend, lane);
            if (valid < block)
                for (size_t s = 0; s < LANES && n + s < rows; s++)
                    memcpy(target + (n + s) * length + start, lane[s], valid * sizeof(float));
        }
}

#endif
