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

/* Entries ahead of which the input row is fetched: it pays where a panel does not fit the first-level
 * cache. Columns behind the end of a list exist (RBE_COLUMN_PADDING). */
enum { PREFETCH_DISTANCE = 8 };

/* Tiles with 16 accumulators need the 32 registers of AVX-512. */
enum { VECTORS = LANES == 16 ? 4 : 2 };

/* ---- forward ----------------------------------------------------------------------------------------------------- */

typedef void product_function(const list *l, const float *values, const float *x, size_t row_step, size_t block_step,
                              float *y, bool add);

ALWAYS_INLINE void product_tile(const list *shared, const float *values, const float *x, size_t row_step,
                                size_t block_step, float *y, bool add, size_t rows, size_t vectors) {
    const list l = *shared;
    vec sum[8][4];
    UNROLL for (size_t m = 0; m < rows; m++)
        UNROLL for (size_t n = 0; n < vectors; n++)
            sum[m][n] = add ? load(y + m * block_step + n * LANES) : (vec){0};
    for (size_t k = 0; k < l.length; k++, values += l.rows) {
        const float *next = x + entry_at(&l, k + PREFETCH_DISTANCE, row_step, block_step);
        const float *now = x + entry_at(&l, k, row_step, block_step);
        UNROLL for (size_t n = 0; n < vectors; n++) __builtin_prefetch(next + n * LANES);
        vec row[4];
        UNROLL for (size_t n = 0; n < vectors; n++) row[n] = load(now + n * LANES);
        UNROLL for (size_t m = 0; m < rows; m++) {
            vec value = splat(values[m]);
            UNROLL for (size_t n = 0; n < vectors; n++) sum[m][n] = multiply_add(value, row[n], sum[m][n]);
        }
    }
    UNROLL for (size_t m = 0; m < rows; m++)
        UNROLL for (size_t n = 0; n < vectors; n++) store(y + m * block_step + n * LANES, sum[m][n]);
}

#define PRODUCT_TILE(ROWS, VECTORS)                                                                                 \
    static void product_##ROWS##x##VECTORS(const list *l, const float *values, const float *x, size_t row_step,      \
                                           size_t block_step, float *y, bool add) {                                  \
        product_tile(l, values, x, row_step, block_step, y, add, ROWS, VECTORS);                                     \
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
    values += l->offset;
    for (size_t n = 0; n < vectors; n += VECTORS) {
        size_t tile_vectors = vectors - n < VECTORS ? vectors - n : VECTORS;
        for (size_t m = 0; m < l->rows;) {
            size_t rest = l->rows - m, tile_rows = tile_vectors == 1 && rest >= 8 ? 8 : rest < 4 ? rest : 4;
            product_function *tile = tile_rows == 8 ? product_8x1 : product_tiles[tile_rows][tile_vectors];
            tile(l, values + m, x + n * LANES, row_step, block_step, y + m * block_step + n * LANES, add);
            m += tile_rows;
        }
    }
}

static void product(const rbe_plan *plan, const rbe_blocks *w, const float *x, float *y, size_t width, size_t rows) {
    size_t block_step = plan->block_rows * width, vectors = (rows + LANES - 1) / LANES;
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

/* ---- transposed -------------------------------------------------------------------------------------------------- */

ALWAYS_INLINE void transposed_tile(const list *l, size_t k, const float *values, const float *y, size_t row_step,
                                   size_t block_step, float *x, size_t rows, size_t entries, size_t vectors) {
    float *at[8];
    vec sum[8][4];
    UNROLL for (size_t u = 0; u < entries; u++) {
        at[u] = x + entry_at(l, k + u, row_step, block_step);
        UNROLL for (size_t n = 0; n < vectors; n++) sum[u][n] = load(at[u] + n * LANES);
    }
    for (size_t m = 0; m < rows; m++) {
        vec row[4];
        UNROLL for (size_t n = 0; n < vectors; n++) row[n] = load(y + m * block_step + n * LANES);
        UNROLL for (size_t u = 0; u < entries; u++) {
            vec value = splat(values[(k + u) * rows + m]);
            UNROLL for (size_t n = 0; n < vectors; n++) sum[u][n] = multiply_add(value, row[n], sum[u][n]);
        }
    }
    UNROLL for (size_t u = 0; u < entries; u++)
        UNROLL for (size_t n = 0; n < vectors; n++) store(at[u] + n * LANES, sum[u][n]);
}

/* A whole list for `vectors` vectors. `rows` is a constant for the usual group sizes. */
ALWAYS_INLINE void transposed_entries(const list *shared, const float *values, const float *y, size_t row_step,
                                      size_t block_step, float *x, size_t rows, size_t vectors) {
    const list l = *shared;
    size_t entries = vectors == 1 ? 8 : 4, k = 0;
    for (; k + entries <= l.length; k += entries)
        transposed_tile(&l, k, values, y, row_step, block_step, x, rows, entries, vectors);
    for (; k < l.length; k++) transposed_tile(&l, k, values, y, row_step, block_step, x, rows, 1, vectors);
}

ALWAYS_INLINE void transposed_vectors(const list *l, const float *values, const float *y, size_t row_step,
                                      size_t block_step, float *x, size_t rows, size_t vectors) {
    size_t n = 0;
    for (; n + VECTORS <= vectors; n += VECTORS)
        transposed_entries(l, values, y + n * LANES, row_step, block_step, x + n * LANES, rows, VECTORS);
    for (; n < vectors; n++)
        transposed_entries(l, values, y + n * LANES, row_step, block_step, x + n * LANES, rows, 1);
}

static void transposed_list(const list *l, const float *values, const float *y, float *x, size_t row_step,
                            size_t block_step, size_t vectors) {
    values += l->offset;
    switch (l->rows) {
    case 16: transposed_vectors(l, values, y, row_step, block_step, x, 16, vectors); break;
    case 8: transposed_vectors(l, values, y, row_step, block_step, x, 8, vectors); break;
    case 4: transposed_vectors(l, values, y, row_step, block_step, x, 4, vectors); break;
    default: transposed_vectors(l, values, y, row_step, block_step, x, l->rows, vectors);
    }
}

static void product_transposed(const rbe_plan *plan, const rbe_blocks *w, const float *y, float *x, size_t width,
                               size_t rows) {
    size_t block_step = plan->block_rows * width, vectors = (rows + LANES - 1) / LANES;
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
