/* The transforms of a few rows: a block a lane, whichever row it belongs to. Lane n * blocks + q is block q of row n.
 *
 * Coefficients of the inputs are put back in the order of the columns, so that a column is an index; moments, and all of
 * the outputs, stay as they are, one row of lanes for each.
 */
#ifndef RBE_KERNELS_SMALL_TRANSFORM_H
#define RBE_KERNELS_SMALL_TRANSFORM_H

#include "kernels/lanes.h"
#include "kernels/moments.h"

/* Goes through the blocks of all rows, one after the other: where the next one starts and how long it is. */
typedef struct block_walk {
    size_t block, length, start; /* of the block within its row */
    size_t offset;               /* of the block within all rows */
} block_walk;

ALWAYS_INLINE size_t walk_valid(const block_walk *at) { return smaller(at->block, at->length - at->start); }

ALWAYS_INLINE void walk_on(block_walk *at) {
    at->offset += walk_valid(at);
    at->start += at->block;
    if (at->start >= at->length) at->start = 0;
}

/* coefficients: rows x (blocks * B); moments: as rows of lanes. */
static void analyze_small(const rbe_axis *axis, const float *x, size_t rows, size_t length, size_t blocks,
                          float *coefficients, float *moments) {
    size_t lanes = blocks * rows, stride = rbe_small_stride(lanes), block = axis->block;
    float copies[LANES][RBE_MAX_BLOCK];
    _Alignas(64) float turned[RBE_MAX_BLOCK * LANES];
    block_walk at = {.block = block, .length = length};
    for (size_t first = 0; first < lanes; first += LANES) {
        const float *lane[LANES];
        for (size_t s = 0; s < LANES; s++) {
            lane[s] = zero_block;
            if (first + s >= lanes) continue;
            lane[s] = padded(x + at.offset, walk_valid(&at), block, copies[s]);
            walk_on(&at);
        }
        analyze_lanes(axis, lane, turned, LANES);
        if (axis->moments) project_moments(axis, turned, LANES, moments + first, stride, 1);
        /* Where a vector is longer than a block, each store is mended by the next one. */
        for (size_t c = 0; c < block; c += LANES) {
            vec r[LANES];
            UNROLL for (size_t s = 0; s < LANES; s++) r[s] = load(turned + (c + s) * LANES);
            transpose(r);
            UNROLL for (size_t s = 0; s < LANES; s++) store(coefficients + (first + s) * block + c, r[s]);
        }
    }
}

static void synthesize_small(const rbe_axis *axis, float *yh, const float *bias, size_t rows, size_t length,
                             size_t blocks, float *y) {
    size_t lanes = blocks * rows, stride = rbe_small_stride(lanes), block = axis->block;
    float copies[LANES][RBE_MAX_BLOCK];
    block_walk at = {.block = block, .length = length};
    for (size_t first = 0; first < lanes; first += LANES) {
        const block_walk before = at;
        const float *addend[LANES];
        float *lane[LANES];
        for (size_t s = 0; s < LANES; s++) {
            lane[s] = copies[s];
            addend[s] = zero_block;
            if (first + s >= lanes) continue;
            size_t valid = walk_valid(&at);
            if (is_whole(valid, block)) lane[s] = y + at.offset;
            if (bias) addend[s] = padded(bias + at.start, valid, block, copies[s]);
            walk_on(&at);
        }
        if (axis->moments) expand_moments(axis, yh + block * stride + first, stride, yh + first, stride, 1);
        synthesize_lanes(axis, yh + first, stride, addend, lane);
        at = before;
        for (size_t s = 0; s < LANES && first + s < lanes; s++, walk_on(&at)) {
            size_t valid = walk_valid(&at);
            if (!is_whole(valid, block)) memcpy(y + at.offset, lane[s], valid * sizeof(float));
        }
    }
}

#endif
