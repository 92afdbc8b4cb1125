/* The forward product of a few rows: vectors hold the block rows of a group, not samples.
 *
 *     y_n[.. group ..] = sum_k values[k][.. group ..] xh_n[column k]
 *
 * Every value is loaded once for several rows. The transforms work on a block a lane, whichever row it belongs to: lane
 * n * blocks + q is block q of row n. Coefficients of the inputs are put back in the order of the columns, so that a
 * column is an index; moments, and all of the outputs, stay as they are, one row of lanes for each.
 */
#ifndef RBE_KERNELS_SMALL_BATCH_H
#define RBE_KERNELS_SMALL_BATCH_H

#include "kernels/lanes.h"
#include "kernels/lists.h"

/* Floats between the rows of lanes. */
static size_t small_stride(size_t lanes) { return (lanes + 15) / 16 * 16; }

/* coefficients: rows x (blocks * B); moments: as rows of lanes. */
static void analyze_small(const rbe_axis *axis, const float *x, size_t rows, size_t length, size_t blocks,
                          float *coefficients, float *moments) {
    size_t lanes = blocks * rows, stride = small_stride(lanes), block = axis->block;
    float copies[LANES][RBE_MAX_BLOCK];
    _Alignas(64) float turned[RBE_MAX_BLOCK * LANES];
    for (size_t first = 0; first < lanes; first += LANES) {
        const float *lane[LANES];
        for (size_t s = 0; s < LANES; s++) {
            size_t q = (first + s) % blocks, n = (first + s) / blocks;
            lane[s] = zero_block;
            if (first + s < lanes)
                lane[s] = padded(x + n * length + q * block, smaller(block, length - q * block), block, copies[s]);
        }
        analyze_lanes(axis, lane, turned, LANES, moments + first, stride);
        /* Where a vector is longer than a block, each store is mended by the next one. */
        for (size_t c = 0; c < block; c += LANES) {
            vec r[LANES];
            UNROLL for (size_t s = 0; s < LANES; s++) r[s] = load(turned + (c + s) * LANES);
            transpose(r);
            UNROLL for (size_t s = 0; s < LANES; s++) store(coefficients + (first + s) * block + c, r[s]);
        }
    }
}

static void synthesize_small(const rbe_axis *axis, const float *yh, const float *bias, size_t rows, size_t length,
                             size_t blocks, float *y) {
    size_t lanes = blocks * rows, stride = small_stride(lanes), block = axis->block;
    float copies[LANES][RBE_MAX_BLOCK];
    for (size_t first = 0; first < lanes; first += LANES) {
        const float *addend[LANES];
        float *lane[LANES];
        for (size_t s = 0; s < LANES; s++) {
            lane[s] = copies[s];
            addend[s] = zero_block;
            if (first + s >= lanes) continue;
            size_t n = (first + s) / blocks, p = (first + s) % blocks;
            size_t valid = smaller(block, length - p * block);
            if (is_whole(valid, block)) lane[s] = y + n * length + p * block;
            if (bias) addend[s] = padded(bias + p * block, valid, block, copies[s]);
        }
        synthesize_lanes(axis, yh + first, stride, addend, lane);
        for (size_t s = 0; s < LANES && first + s < lanes; s++) {
            size_t n = (first + s) / blocks, p = (first + s) % blocks;
            size_t valid = smaller(block, length - p * block);
            if (!is_whole(valid, block)) memcpy(y + n * length + p * block, lane[s], valid * sizeof(float));
        }
    }
}

/* `rows` rows of the batch by up to LANES block rows. `sums` accumulators per row hide the latency of an addition. The
 * last entries, up to `sums` of them, are loaded under a mask instead of by a loop: lists are short, and a loop whose
 * end cannot be predicted costs more than it does. Columns behind the end of a list exist (RBE_COLUMN_PADDING). */
ALWAYS_INLINE void small_tile(const list *l, bool wide, const float *values, const float *x, size_t x_step, float *y,
                              size_t y_step, bool whole, size_t count, bool add, size_t rows, size_t sums) {
    const lane_mask mask = first_lanes(count);
    const uint16_t *columns16 = l->columns16;
    const uint32_t *columns32 = l->columns32;
    const size_t value_step = l->rows;
    size_t left = l->length;
    vec sum[8][4] = {{{0}}};
    while (left > sums) {
        UNROLL for (size_t u = 0; u < sums; u++, values += value_step) {
            const float *entry = x + (wide ? *columns32++ : *columns16++);
            vec value = whole ? load(values) : load_first(values, mask);
            UNROLL for (size_t n = 0; n < rows; n++) sum[n][u] =
                multiply_add(value, splat(entry[n * x_step]), sum[n][u]);
        }
        left -= sums;
    }
    UNROLL for (size_t u = 0; u < sums; u++, values += value_step) {
        const float *entry = x + (wide ? *columns32++ : *columns16++);
        vec value = load_first(values, first_lanes(u < left ? count : 0));
        UNROLL for (size_t n = 0; n < rows; n++) sum[n][u] = multiply_add(value, splat(entry[n * x_step]), sum[n][u]);
    }
    UNROLL for (size_t n = 0; n < rows; n++) {
        vec total = sum[n][0];
        UNROLL for (size_t u = 1; u < sums; u++) total += sum[n][u];
        float *to = y + n * y_step;
        if (add) total += load_first(to, mask);
        if (whole)
            store(to, total);
        else
            store_first(to, total, mask);
    }
}

/* All rows of the batch; row n of x starts at x + n * x_step. */
ALWAYS_INLINE void small_rows(const list *l, bool wide, const float *values, const float *x, size_t x_step, float *y,
                              size_t y_step, size_t rows, bool whole, size_t count, bool add) {
    for (; rows >= 8; rows -= 8, x += 8 * x_step, y += 8 * y_step)
        small_tile(l, wide, values, x, x_step, y, y_step, whole, count, add, 8, 1);
    for (; rows >= 4; rows -= 4, x += 4 * x_step, y += 4 * y_step)
        small_tile(l, wide, values, x, x_step, y, y_step, whole, count, add, 4, 2);
    for (; rows >= 2; rows -= 2, x += 2 * x_step, y += 2 * y_step)
        small_tile(l, wide, values, x, x_step, y, y_step, whole, count, add, 2, 4);
    if (rows) small_tile(l, wide, values, x, x_step, y, y_step, whole, count, add, 1, 4);
}

ALWAYS_INLINE void small_list(const list *l, bool wide, const float *values, const float *x, size_t x_step, float *y,
                              size_t y_step, size_t rows, bool add) {
    size_t m = 0;
    values += l->offset;
    for (; m + LANES <= l->rows; m += LANES)
        small_rows(l, wide, values + m, x, x_step, y + m, y_step, rows, true, LANES, add);
    if (m < l->rows) small_rows(l, wide, values + m, x, x_step, y + m, y_step, rows, false, l->rows - m, add);
}

/* All lists of a group. `rows` is a constant for the most frequent case, a single row; `wide` says whether columns
 * have 32 bits. */
ALWAYS_INLINE void small_group(const rbe_plan *plan, const rbe_blocks *w, bool wide, size_t g,
                               const float *coefficients, const float *moments, size_t rows, float *y,
                               size_t y_stride) {
    size_t columns = plan->grid_cols * plan->block, x_stride = small_stride(plan->grid_cols * rows);
    for (size_t i = 0; i < plan->block; i++) {
        list l = frequency_list(plan, w, g, i);
        small_list(&l, wide, w->values, coefficients, columns, y + i * y_stride, plan->grid_rows, rows, false);
    }
    for (size_t p = 0; p < plan->pair_count; p++) {
        rbe_alpha_pair pair = plan->pair[p];
        list l = moment_list(plan, w, g, pair);
        bool add = p > 0 && plan->pair[p - 1].row == pair.row;
        small_list(&l, true, w->alpha, moments + pair.column * x_stride, plan->grid_cols,
                   y + (plan->block + pair.row) * y_stride, plan->grid_rows, rows, add);
    }
}

static void forward_small(const rbe_plan *plan, const rbe_blocks *w, const float *bias, const float *x, size_t rows,
                          float *y, float *scratch) {
    size_t x_stride = small_stride(plan->grid_cols * rows), y_stride = small_stride(plan->grid_rows * rows);
    float *yh = scratch, *moments = yh + plan->block_rows * y_stride;
    float *coefficients = moments + plan->input.moments * x_stride;
    analyze_small(&plan->input, x, rows, w->in, plan->grid_cols, coefficients, moments);
    for (size_t g = 0; g < w->groups; g++) {
        float *group = yh + g * w->group;
        if (w->columns32)
            small_group(plan, w, true, g, coefficients, moments, rows, group, y_stride);
        else if (rows > 1)
            small_group(plan, w, false, g, coefficients, moments, rows, group, y_stride);
        else
            small_group(plan, w, false, g, coefficients, moments, 1, group, y_stride);
    }
    synthesize_small(&plan->output, yh, bias, rows, w->out, plan->grid_rows, y);
}

#endif
