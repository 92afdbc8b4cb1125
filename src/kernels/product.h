/* The sparse products of a panel with the lists, forward and transposed.
 *
 *     product              y[m] = sum_k values[k][m] x[k]        m: block rows of the group, k: entries of the list
 *     product_transposed   x[k] += sum_m values[k][m] y[m]
 *
 * Both are made of register tiles, so that a loaded vector is used several times: forward, a tile is `rows` block rows
 * by `vectors` vectors of samples, summed over the whole list; transposed, `entries` entries by `vectors` vectors,
 * summed over the block rows. The entries of a list are distinct, so tiles of one list never meet.
 */
#ifndef RBE_KERNELS_PRODUCT_H
#define RBE_KERNELS_PRODUCT_H

#include "kernels/lists.h"
#include "kernels/vector.h"

/* Tiles with 16 accumulators need the 32 registers of AVX-512; with 12 they fill 16 registers. A single block row takes
 * more vectors, to have enough independent sums. */
enum {
    VECTORS = LANES == 16  ? 4
              : LANES == 8 ? 3
                           : 2,
    TRANSPOSED_VECTORS = LANES == 16 ? 4 : 2, /* divides a panel's width: what is left costs more here */
    SINGLE_ROW_VECTORS = LANES == 16 ? 4 : 8
};

/* Of a panel that is as wide as it may be, tiles leave no vectors over. */
enum { PANEL_WIDTH = LANES == 8 ? 48 : 64 };
_Static_assert(PANEL_WIDTH % (VECTORS * LANES) == 0 && PANEL_WIDTH % (TRANSPOSED_VECTORS * LANES) == 0,
               "a panel is whole tiles");

/* ---- forward ------------------------------------------------------------------------------------------------- */

typedef void product_function(const places *p, const float *values, size_t value_step, const float *x, float *y,
                              size_t y_step, bool add);

ALWAYS_INLINE void product_tile(const places *p, const float *values, size_t value_step, const float *x, float *y,
                                size_t y_step, bool add, size_t rows, size_t vectors) {
    vec sum[8][8];
    UNROLL for (size_t m = 0; m < rows; m++) UNROLL for (size_t n = 0; n < vectors; n++) sum[m][n] =
        add ? load(y + m * y_step + n * LANES) : (vec){0};
    size_t count = p->count;
    for (size_t k = 0; k < count; k++, values += value_step) {
        /* It pays where a panel does not fit the first-level cache. */
        const float *ahead = x + p->at[k + LIST_AHEAD], *now = x + p->at[k];
        UNROLL for (size_t n = 0; n < vectors; n += 16 / LANES) __builtin_prefetch(ahead + n * LANES);
        vec row[8];
        UNROLL for (size_t n = 0; n < vectors; n++) row[n] = load(now + n * LANES);
        UNROLL for (size_t m = 0; m < rows; m++) {
            vec value = splat(values[m]);
            UNROLL for (size_t n = 0; n < vectors; n++) sum[m][n] = multiply_add(value, row[n], sum[m][n]);
        }
    }
    UNROLL for (size_t m = 0; m < rows; m++) UNROLL for (size_t n = 0; n < vectors; n++)
        store(y + m * y_step + n * LANES, sum[m][n]);
}

#define PRODUCT_TILE(ROWS, VECTORS)                                                                                    \
    static void product_##ROWS##x##VECTORS(const places *p, const float *values, size_t value_step, const float *x,    \
                                           float *y, size_t y_step, bool add) {                                        \
        product_tile(p, values, value_step, x, y, y_step, add, ROWS, VECTORS);                                         \
    }
PRODUCT_TILE(1, 1)
PRODUCT_TILE(2, 1)
PRODUCT_TILE(3, 1)
PRODUCT_TILE(4, 1)
PRODUCT_TILE(8, 1)
PRODUCT_TILE(1, 2)
PRODUCT_TILE(2, 2)
PRODUCT_TILE(3, 2)
PRODUCT_TILE(4, 2)
PRODUCT_TILE(1, 3)
PRODUCT_TILE(2, 3)
PRODUCT_TILE(3, 3)
PRODUCT_TILE(4, 3)
PRODUCT_TILE(1, 4)
PRODUCT_TILE(1, 8)
PRODUCT_TILE(2, 4)
PRODUCT_TILE(3, 4)
PRODUCT_TILE(4, 4)

static product_function *const product_tiles[5][5] = {
    {NULL, NULL, NULL, NULL, NULL},
    {NULL, product_1x1, product_1x2, product_1x3, product_1x4},
    {NULL, product_2x1, product_2x2, product_2x3, product_2x4},
    {NULL, product_3x1, product_3x2, product_3x3, product_3x4},
    {NULL, product_4x1, product_4x2, product_4x3, product_4x4},
};

/* One list: y is the row of the group's first block row, the other block rows follow block_step apart. */
static void product_list(const list *l, const float *values, const float *x, float *y, size_t row_step,
                         size_t block_step, size_t vectors, bool add) {
    places p;
    values += l->offset;
    size_t first = 0;
    do {
        locate(l, first, row_step, block_step, &p);
        size_t n = 0;
        for (; l->rows == 1 && n + SINGLE_ROW_VECTORS <= vectors; n += SINGLE_ROW_VECTORS)
            (SINGLE_ROW_VECTORS == 4 ? product_1x4 : product_1x8)(&p, values, 1, x + n * LANES, y + n * LANES,
                                                                  block_step, add);
        for (; n < vectors; n += VECTORS) {
            size_t tile_vectors = vectors - n < VECTORS ? vectors - n : VECTORS;
            for (size_t m = 0; m < l->rows;) {
                size_t rest = l->rows - m, tile_rows = tile_vectors == 1 && rest >= 8 ? 8 : rest < 4 ? rest : 4;
                product_function *tile = tile_rows == 8 ? product_8x1 : product_tiles[tile_rows][tile_vectors];
                tile(&p, values + m, l->rows, x + n * LANES, y + m * block_step + n * LANES, block_step, add);
                m += tile_rows;
            }
        }
        first += p.count;
        values += p.count * l->rows;
        add = true;
    } while (first < l->length);
}

static void product(const rbe_plan *plan, const rbe_blocks *w, const float *x, float *y, size_t width, size_t rows) {
    size_t block_step = plan->block_rows * width, vectors = vectors_of(rows);
    for (size_t g = 0; g < w->groups; g++) {
        float *group = y + g * w->group * block_step;
        for (size_t i = 0; i < plan->block; i++) {
            list l = frequency_list(plan, w, g, i);
            product_list(&l, w->values, x, group + i * width, width, block_step, vectors, false);
        }
        for (size_t p = 0; p < plan->pair_count; p++) {
            rbe_alpha_pair pair = plan->pair[p];
            list l = moment_list(plan, w, g, pair);
            bool add = p > 0 && plan->pair[p - 1].row == pair.row;
            product_list(&l, w->alpha, x, group + (plan->block + pair.row) * width, width, block_step, vectors, add);
        }
    }
}

/* ---- transposed ---------------------------------------------------------------------------------------------- */

ALWAYS_INLINE void transposed_tile(const uint32_t *at, const float *values, const float *y, size_t y_step, float *x,
                                   size_t rows, size_t entries, size_t vectors) {
    vec sum[8][4];
    float *to[8];
    UNROLL for (size_t u = 0; u < entries; u++) {
        to[u] = x + at[u];
        UNROLL for (size_t n = 0; n < vectors; n++) sum[u][n] = load(to[u] + n * LANES);
    }
    for (size_t m = 0; m < rows; m++) {
        vec row[4];
        UNROLL for (size_t n = 0; n < vectors; n++) row[n] = load(y + m * y_step + n * LANES);
        UNROLL for (size_t u = 0; u < entries; u++) {
            vec value = splat(values[u * rows + m]);
            UNROLL for (size_t n = 0; n < vectors; n++) sum[u][n] = multiply_add(value, row[n], sum[u][n]);
        }
    }
    UNROLL for (size_t u = 0; u < entries; u++) UNROLL for (size_t n = 0; n < vectors; n++)
        store(to[u] + n * LANES, sum[u][n]);
}

/* All entries for `vectors` vectors. `rows` is a constant for the usual group sizes. */
ALWAYS_INLINE void transposed_entries(const places *p, const float *values, const float *y, size_t y_step, float *x,
                                      size_t rows, size_t vectors) {
    size_t entries = vectors == 1 ? 8 : 4, k = 0;
    for (; k + entries <= p->count; k += entries)
        transposed_tile(p->at + k, values + k * rows, y, y_step, x, rows, entries, vectors);
    for (; k < p->count; k++) transposed_tile(p->at + k, values + k * rows, y, y_step, x, rows, 1, vectors);
}

typedef void transposed_function(const places *p, const float *values, const float *y, size_t y_step, float *x,
                                 size_t rows);

#define TRANSPOSED_TILE(NAME, ROWS, VECTORS)                                                                           \
    static __attribute__((noinline)) void transposed_##NAME(const places *p, const float *values, const float *y,      \
                                                            size_t y_step, float *x, size_t rows) {                    \
        (void)rows;                                                                                                    \
        transposed_entries(p, values, y, y_step, x, ROWS, VECTORS);                                                    \
    }
TRANSPOSED_TILE(16_one, 16, 1)
TRANSPOSED_TILE(16_many, 16, TRANSPOSED_VECTORS)
TRANSPOSED_TILE(8_one, 8, 1)
TRANSPOSED_TILE(8_many, 8, TRANSPOSED_VECTORS)
TRANSPOSED_TILE(4_one, 4, 1)
TRANSPOSED_TILE(4_many, 4, TRANSPOSED_VECTORS)
TRANSPOSED_TILE(1_one, 1, 1)
TRANSPOSED_TILE(1_many, 1, TRANSPOSED_VECTORS)
TRANSPOSED_TILE(any_one, rows, 1)
TRANSPOSED_TILE(any_many, rows, TRANSPOSED_VECTORS)

static void transposed_list(const list *l, const float *values, const float *y, float *x, size_t row_step,
                            size_t block_step, size_t vectors) {
    transposed_function *one = transposed_any_one, *many = transposed_any_many;
    switch (l->rows) {
    case 16: one = transposed_16_one, many = transposed_16_many; break;
    case 8: one = transposed_8_one, many = transposed_8_many; break;
    case 4: one = transposed_4_one, many = transposed_4_many; break;
    case 1: one = transposed_1_one, many = transposed_1_many; break;
    }
    places p;
    values += l->offset;
    for (size_t first = 0; first < l->length; first += p.count, values += p.count * l->rows) {
        locate(l, first, row_step, block_step, &p);
        size_t n = 0;
        for (; n + TRANSPOSED_VECTORS <= vectors; n += TRANSPOSED_VECTORS)
            many(&p, values, y + n * LANES, block_step, x + n * LANES, l->rows);
        for (; n < vectors; n++) one(&p, values, y + n * LANES, block_step, x + n * LANES, l->rows);
    }
}

static void product_transposed(const rbe_plan *plan, const rbe_blocks *w, const float *y, float *x, size_t width,
                               size_t rows) {
    size_t block_step = plan->block_rows * width, vectors = vectors_of(rows);
    for (size_t g = 0; g < w->groups; g++) {
        const float *group = y + g * w->group * block_step;
        for (size_t i = 0; i < plan->block; i++) {
            list l = frequency_list(plan, w, g, i);
            transposed_list(&l, w->values, group + i * width, x, width, block_step, vectors);
        }
        for (size_t p = 0; p < plan->pair_count; p++) {
            list l = moment_list(plan, w, g, plan->pair[p]);
            transposed_list(&l, w->alpha, group + (plan->block + plan->pair[p].row) * width, x, width, block_step,
                            vectors);
        }
    }
}

#endif
