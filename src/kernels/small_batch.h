/* The forward product of a few rows: vectors hold the block rows of a group, not samples.
 *
 * Transforms work on a block a lane, whichever row it belongs to: lane q * rows + n of the input side is block q of
 * row n, lane n * grid_rows + p of the output side block p of row n. Every value is loaded once for several rows:
 *
 *     y_n[.. group ..] = sum_k values[k][.. group ..] x_n[k]
 */
#ifndef RBE_KERNELS_SMALL_BATCH_H
#define RBE_KERNELS_SMALL_BATCH_H

#include "kernels/lists.h"
#include "kernels/row_panel.h"

/* Floats between the rows of the transform domain. */
static size_t small_stride(size_t lanes) { return (lanes + 15) / 16 * 16; }

static void analyze_small(const rbe_axis *axis, const float *x, size_t rows, size_t length, size_t blocks, float *xh) {
    size_t lanes = blocks * rows, stride = small_stride(lanes), block = axis->block;
    float copies[LANES][RBE_MAX_BLOCK];
    for (size_t first = 0; first < lanes; first += LANES) {
        const float *lane[LANES];
        for (size_t s = 0; s < LANES; s++) {
            size_t q = (first + s) / rows, n = (first + s) % rows;
            lane[s] = first + s < lanes
                          ? padded(x + n * length + q * block, smaller(block, length - q * block), block, copies[s])
                          : padded(x, 0, block, copies[s]);
        }
        analyze_lanes(axis, lane, xh + first, stride);
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
            addend[s] = no_addend;
            if (first + s >= lanes) continue;
            size_t n = (first + s) / blocks, p = (first + s) % blocks;
            size_t valid = smaller(block, length - p * block);
            if (valid == block) lane[s] = y + n * length + p * block;
            if (bias) addend[s] = padded(bias + p * block, valid, block, copies[s]);
        }
        synthesize_lanes(axis, yh + first, stride, addend, lane);
        for (size_t s = 0; s < LANES && first + s < lanes; s++) {
            size_t n = (first + s) / blocks, p = (first + s) % blocks;
            size_t valid = smaller(block, length - p * block);
            if (valid < block) memcpy(y + n * length + p * block, lane[s], valid * sizeof(float));
        }
    }
}

/* The first `count` floats only. */
ALWAYS_INLINE vec load_first(const float *from, size_t count) {
    float copy[LANES] = {0};
    memcpy(copy, from, count * sizeof *copy);
    return load(copy);
}

ALWAYS_INLINE void store_first(float *to, vec v, size_t count) {
    float copy[LANES];
    store(copy, v);
    memcpy(to, copy, count * sizeof *copy);
}

/* `rows` rows of the batch by `count` block rows; entries from `whole` on may not be loaded as whole vectors. `sums`
 * accumulators per row hide the latency of an addition. */
ALWAYS_INLINE void small_tile(const list *shared, size_t whole, const float *values, const float *x, size_t row_step,
                              size_t block_step, float *y, size_t y_step, size_t count, bool add, size_t rows,
                              size_t sums) {
    const list l = *shared;
    vec sum[8][4] = {{{0}}};
    size_t k = 0;
    for (; k + sums <= whole; k += sums)
        UNROLL for (size_t u = 0; u < sums; u++) {
            const float *entry = x + entry_at(&l, k + u, row_step, block_step);
            vec value = load(values + (k + u) * l.rows);
            UNROLL for (size_t n = 0; n < rows; n++) sum[n][u] = multiply_add(value, splat(entry[n]), sum[n][u]);
        }
    for (; k < l.length; k++) {
        const float *entry = x + entry_at(&l, k, row_step, block_step);
        vec value = load_first(values + k * l.rows, count);
        UNROLL for (size_t n = 0; n < rows; n++) sum[n][0] = multiply_add(value, splat(entry[n]), sum[n][0]);
    }
    UNROLL for (size_t n = 0; n < rows; n++) {
        vec total = sum[n][0];
        UNROLL for (size_t u = 1; u < sums; u++) total += sum[n][u];
        float *to = y + n * y_step;
        if (add) total += load_first(to, count);
        if (count == LANES)
            store(to, total);
        else
            store_first(to, total, count);
    }
}

/* `value_count`: floats in the whole array of values. */
static void small_list(const list *l, const float *values, size_t value_count, const float *x, size_t row_step,
                       size_t block_step, float *y, size_t y_step, size_t rows, bool add) {
    for (size_t m = 0; m < l->rows; m += LANES) {
        size_t count = smaller(LANES, l->rows - m);
        const float *from = values + l->offset + m;
        size_t available = value_count - l->offset - m; /* entry k is whole if k * rows + LANES <= available */
        size_t whole = available < LANES ? 0 : smaller(l->length, (available - LANES) / l->rows + 1);
        size_t n = 0;
        for (; n + 8 <= rows; n += 8)
            small_tile(l, whole, from, x + n, row_step, block_step, y + n * y_step + m, y_step, count, add, 8, 1);
        for (; n + 4 <= rows; n += 4)
            small_tile(l, whole, from, x + n, row_step, block_step, y + n * y_step + m, y_step, count, add, 4, 1);
        for (; n + 2 <= rows; n += 2)
            small_tile(l, whole, from, x + n, row_step, block_step, y + n * y_step + m, y_step, count, add, 2, 2);
        for (; n < rows; n++)
            small_tile(l, whole, from, x + n, row_step, block_step, y + n * y_step + m, y_step, count, add, 1, 4);
    }
}

static void forward_small(const rbe_plan *plan, const rbe_blocks *w, const float *bias, const float *x, size_t rows,
                          float *y, float *scratch) {
    size_t x_stride = small_stride(plan->grid_cols * rows), y_stride = small_stride(plan->grid_rows * rows);
    size_t alpha_count = RBE_BASIS_COUNT * plan->grid_rows * plan->grid_cols;
    float *xh = scratch, *yh = scratch + plan->block_rows * x_stride;
    analyze_small(&plan->input, x, rows, w->in, plan->grid_cols, xh);
    for (size_t g = 0; g < w->groups; g++) {
        float *group = yh + g * w->group;
        for (size_t i = 0; i < plan->block; i++) {
            list l = frequency_list(plan, w, g, i);
            small_list(&l, w->values, w->value_count, xh, x_stride, rows, group + i * y_stride, plan->grid_rows, rows,
                       false);
        }
        for (size_t p = 0; p < plan->pair_count; p++) {
            rbe_alpha_pair pair = plan->pair[p];
            list l = moment_list(plan, w, g, pair);
            bool add = p > 0 && plan->pair[p - 1].row == pair.row;
            small_list(&l, w->alpha, alpha_count, xh, x_stride, rows, group + (plan->block + pair.row) * y_stride,
                       plan->grid_rows, rows, add);
        }
    }
    synthesize_small(&plan->output, yh, bias, rows, w->out, plan->grid_rows, y);
}

#endif
