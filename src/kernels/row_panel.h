/* Row-major rows to panels of transformed blocks and back.
 *
 * A panel holds, for every block of a row, block_rows rows of `width` floats: float n of row k of block q is
 * coefficient (or moment) k of block q of row n. LANES rows are transformed at a time, block after block, so that each
 * of them is one stream to the hardware prefetcher.
 */
#ifndef RBE_KERNELS_ROW_PANEL_H
#define RBE_KERNELS_ROW_PANEL_H

#include "kernels/lanes.h"
#include "kernels/moments.h"

/* Asks for a block of rows n .. n + LANES - 1, which will be read or written after the next transform. */
ALWAYS_INLINE void fetch(const float *matrix, size_t n, size_t rows, size_t length, size_t start, size_t block) {
    for (size_t s = n; s < smaller(n + LANES, rows); s++)
        for (size_t c = start; c < smaller(start + block, length); c += 16) __builtin_prefetch(matrix + s * length + c);
}

static void analyze(const rbe_axis *axis, const float *source, size_t rows, size_t length, float *panel, size_t width) {
    size_t block = axis->block, block_step = axis->block_rows * width;
    float copies[LANES][RBE_MAX_BLOCK];
    for (size_t n = 0; n < rows; n += LANES)
        for (size_t start = 0; start < length; start += block) {
            size_t valid = smaller(block, length - start), next = start + block;
            if (next < length)
                fetch(source, n, rows, length, next, block);
            else
                fetch(source, n + LANES, rows, length, 0, block);
            const float *lane[LANES];
            for (size_t s = 0; s < LANES; s++)
                lane[s] =
                    n + s < rows ? padded(source + (n + s) * length + start, valid, block, copies[s]) : zero_block;
            analyze_lanes(axis, lane, panel + start / block * block_step + n, width);
        }
    for (size_t start = 0; axis->moments && start < length; start += block, panel += block_step)
        project_moments(axis, panel, width, panel + block * width, width, vectors_of(rows));
}

static void synthesize(const rbe_axis *axis, float *panel, size_t width, const float *bias, bool add, float *target,
                       size_t rows, size_t length) {
    size_t block = axis->block, block_step = axis->block_rows * width;
    float copies[LANES][RBE_MAX_BLOCK], *at = panel;
    for (size_t start = 0; axis->moments && start < length; start += block, at += block_step)
        expand_moments(axis, at + block * width, width, at, width, vectors_of(rows));
    for (size_t n = 0; n < rows; n += LANES)
        for (size_t start = 0; start < length; start += block) {
            size_t valid = smaller(block, length - start);
            fetch(target, n, rows, length, start, block);
            const float *addend[LANES];
            float *lane[LANES];
            for (size_t s = 0; s < LANES; s++) {
                float *row = n + s < rows ? target + (n + s) * length + start : NULL;
                lane[s] = row && is_whole(valid, block) ? row : copies[s];
                addend[s] = zero_block;
                if (row && add) addend[s] = padded(row, valid, block, copies[s]);
                if (row && bias) addend[s] = padded(bias + start, valid, block, copies[s]);
            }
            synthesize_lanes(axis, panel + start / block * block_step + n, width, addend, lane);
            if (!is_whole(valid, block))
                for (size_t s = 0; s < LANES && n + s < rows; s++)
                    memcpy(target + (n + s) * length + start, lane[s], valid * sizeof(float));
        }
}

#endif
