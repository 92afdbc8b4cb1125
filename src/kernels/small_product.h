/* The products of a few rows with the lists: vectors hold the block rows of a group, not samples.
 *
 *     y_n[.. group ..] = sum_k values[k][.. group ..] xh_n[column k]
 *
 * Every value is loaded once for several rows. Compiled for vectors of each length that suits a group: small_batch.c.
 */
#ifndef RBE_KERNELS_SMALL_PRODUCT_H
#define RBE_KERNELS_SMALL_PRODUCT_H

#include "kernels/plan.h"
#include "kernels/vector.h"

/* The block rows of a group that are worked on at once: 1 or 2 whole vectors, or the first lanes of one. */
typedef struct small_lanes {
    size_t vectors;
    bool whole;
    lane_mask mask; /* where not whole */
} small_lanes;

ALWAYS_INLINE vec small_load(small_lanes l, const float *from, size_t v) {
    return l.whole ? load(from + v * LANES) : load_first(from, l.mask);
}

ALWAYS_INLINE void small_store(small_lanes l, float *to, size_t v, vec value) {
    if (l.whole)
        store(to + v * LANES, value);
    else
        store_first(to, value, l.mask);
}

/* What the lists of a group have in common. Passed by value: the compiler must not fear that a stored result changes
 * it. */
typedef struct small_part {
    const float *values; /* of the first entry */
    size_t value_step;   /* to the next entry */
    size_t x_step;       /* to the next row of the batch */
    float *y;            /* where the first row of the batch has its first result */
    size_t y_step;       /* to the next row of the batch */
    size_t y_stride;     /* to the result of the next list */
} small_part;

/* `count` entries of a list, at most `most`, one for each accumulator. */
ALWAYS_INLINE void small_entries(small_part p, small_lanes l, const uint16_t *columns16, const uint32_t *columns32,
                                 size_t count, const float *x, size_t rows, size_t most, vec sum[8][4]) {
    UNROLL for (size_t u = 0; u < most; u++, p.values += p.value_step) {
        if (u == count) break;
        const float *entry = x + (columns16 ? *columns16++ : *columns32++);
        UNROLL for (size_t v = 0; v < l.vectors; v++) {
            vec value = small_load(l, p.values, v);
            UNROLL for (size_t n = 0; n < rows; n++) sum[n * l.vectors + v][u] =
                multiply_add(value, splat(entry[n * p.x_step]), sum[n * l.vectors + v][u]);
        }
    }
}

/* One list by `rows` rows of the batch; rows * vectors <= 8. `sums` accumulators for each result hide the latency of
 * an addition. */
ALWAYS_INLINE void small_list(small_part p, small_lanes l, const uint16_t *columns16, const uint32_t *columns32,
                              size_t length, const float *x, size_t rows, size_t sums) {
    vec sum[8][4] = {{{0}}};
    for (; length >= sums; length -= sums) {
        small_entries(p, l, columns16, columns32, sums, x, rows, sums, sum);
        p.values += sums * p.value_step;
        if (columns16)
            columns16 += sums;
        else
            columns32 += sums;
    }
    small_entries(p, l, columns16, columns32, length, x, rows, sums - 1, sum);
    UNROLL for (size_t n = 0; n < rows; n++) UNROLL for (size_t v = 0; v < l.vectors; v++) {
        vec total = sum[n * l.vectors + v][0];
        UNROLL for (size_t u = 1; u < sums; u++) total += sum[n * l.vectors + v][u];
        small_store(l, p.y + n * p.y_step, v, total);
    }
}

/* All frequencies of a group in one walk over its entries: list i ends before entry end[i]. */
ALWAYS_INLINE void small_frequencies(small_part p, small_lanes l, const uint16_t *columns16, const uint32_t *columns32,
                                     const uint32_t *end, size_t lists, const float *x, size_t rows, size_t sums) {
    for (size_t i = 0, from = end[-1]; i < lists; i++) {
        size_t length = end[i] - from;
        small_list(p, l, columns16, columns32, length, x, rows, sums);
        p.values += length * p.value_step;
        p.y += p.y_stride;
        from += length;
        if (columns16)
            columns16 += length;
        else
            columns32 += length;
    }
}

/* The alpha part of one row of the batch: Psi_0 .. Psi_6. Function f of block q has its alphas at f * function_step +
 * q * value_step, moment c of block q stands at x[c * x_stride + q]. */
ALWAYS_INLINE void small_separable(small_part p, small_lanes l, size_t function_step, size_t blocks, const float *x,
                                   size_t x_stride) {
    vec sum[RBE_EVEN_COUNT][2] = {{{0}}};
    for (size_t q = 0; q < blocks; q++, p.values += p.value_step)
        UNROLL for (size_t n = 0; n < RBE_SEPARABLE_PAIRS; n++) {
            const rbe_alpha_pair pair = rbe_separable_pairs[n];
            vec moment = splat(x[pair.column * x_stride + q]);
            UNROLL for (size_t v = 0; v < l.vectors; v++) sum[pair.row][v] =
                multiply_add(small_load(l, p.values + pair.function * function_step, v), moment, sum[pair.row][v]);
        }
    UNROLL for (size_t m = 0; m < RBE_EVEN_COUNT; m++) UNROLL for (size_t v = 0; v < l.vectors; v++)
        small_store(l, p.y + m * p.y_stride, v, sum[m][v]);
}

/* Psi_7: `count` of its moments, which all have the same alphas. */
ALWAYS_INLINE void small_remainder(small_part p, small_lanes l, size_t blocks, const float *x, size_t x_stride,
                                   size_t count) {
    vec sum[8][2] = {{{0}}};
    for (size_t q = 0; q < blocks; q++, p.values += p.value_step) UNROLL for (size_t v = 0; v < l.vectors; v++) {
            vec value = small_load(l, p.values, v);
            UNROLL for (size_t m = 0; m < count; m++) sum[m][v] =
                multiply_add(value, splat(x[m * x_stride + q]), sum[m][v]);
        }
    UNROLL for (size_t m = 0; m < count; m++) UNROLL for (size_t v = 0; v < l.vectors; v++)
        small_store(l, p.y + m * p.y_stride, v, sum[m][v]);
}

ALWAYS_INLINE void small_moments(small_part p, small_lanes l, const rbe_plan *plan, const float *x, size_t x_stride) {
    const size_t blocks = plan->grid_cols, function_step = blocks * p.value_step;
    small_separable(p, l, function_step, blocks, x, x_stride);
    p.values += 7 * function_step;
    p.y += RBE_EVEN_COUNT * p.y_stride;
    const size_t most = 8 / l.vectors;
    for (size_t m = RBE_EVEN_COUNT, rest = plan->input.moments - m, count; rest > 0; m += count, rest -= count) {
        const float *moments = x + m * x_stride;
        count = rest >= most ? most : rest >= 2 ? 2 : 1;
        if (count == most)
            small_remainder(p, l, blocks, moments, x_stride, most);
        else if (count == 2)
            small_remainder(p, l, blocks, moments, x_stride, 2);
        else
            small_remainder(p, l, blocks, moments, x_stride, 1);
        p.y += count * p.y_stride;
    }
}

/* `rows` rows by the block rows of group g from m on. */
ALWAYS_INLINE void small_tile(const rbe_plan *plan, const rbe_blocks *w, size_t g, size_t m, small_lanes l,
                              rbe_small_batch b, size_t rows, size_t sums) {
    const uint32_t *start = w->list_start + g * plan->block;
    small_part p = {.values = w->values + rbe_group_values(w, g) + m,
                    .value_step = rbe_group_rows(w, g),
                    .x_step = b.columns,
                    .y = b.y + m,
                    .y_step = plan->grid_rows,
                    .y_stride = b.y_stride};
    if (w->columns16)
        small_frequencies(p, l, w->columns16 + *start, NULL, start + 1, plan->block, b.coefficients, rows, sums);
    else
        small_frequencies(p, l, NULL, w->columns32 + *start, start + 1, plan->block, b.coefficients, rows, sums);
    if (!w->alpha) return;
    p.values = w->alpha + rbe_group_alpha(w, g) + m;
    p.y += plan->block * b.y_stride;
    for (size_t n = 0; n < rows; n++, p.y += plan->grid_rows)
        small_moments(p, l, plan, b.moments + n * plan->grid_cols, b.moment_stride);
}

/* Values are streamed once for up to 8 / vectors rows. */
ALWAYS_INLINE void small_rows(const rbe_plan *plan, const rbe_blocks *w, size_t g, size_t m, small_lanes l,
                              rbe_small_batch b, size_t rows) {
    while (rows > 0) {
        size_t most = 8 / l.vectors, done = rows >= most ? most : rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
        switch (done) {
        case 8: small_tile(plan, w, g, m, l, b, 8, 1); break;
        case 4: small_tile(plan, w, g, m, l, b, 4, 2 / l.vectors); break;
        case 2: small_tile(plan, w, g, m, l, b, 2, 4 / l.vectors); break;
        default: small_tile(plan, w, g, m, l, b, 1, 4);
        }
        rows -= done;
        b.coefficients += done * b.columns;
        b.moments += done * plan->grid_cols;
        b.y += done * plan->grid_rows;
    }
}

/* Two vectors at once where one is shorter than a cache line: or else every line of values would be fetched twice. */
static void small_group(const rbe_plan *plan, const rbe_blocks *w, size_t g, const rbe_small_batch *b, size_t rows) {
    size_t m = 0, count = rbe_group_rows(w, g);
    for (; LANES == 8 && m + 2 * LANES <= count; m += 2 * LANES)
        small_rows(plan, w, g, m, (small_lanes){.vectors = 2, .whole = true}, *b, rows);
    for (; m + LANES <= count; m += LANES)
        small_rows(plan, w, g, m, (small_lanes){.vectors = 1, .whole = true}, *b, rows);
    if (m < count) small_rows(plan, w, g, m, (small_lanes){.vectors = 1, .mask = first_lanes(count - m)}, *b, rows);
}

#endif
