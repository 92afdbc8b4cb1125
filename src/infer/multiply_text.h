/* C = factor op(A) op(B) + keep C: include it after defining LANES and MULTIPLY.
 *
 * Where B stands as it is, a tile of C is a few rows and whole vectors of columns: a row of B, times a value of A, is added.
 * Where B is transposed, its rows and those of A are multiplied: a tile is a few rows and four columns, each a vector of
 * parts of its sum. Heads, images and tiles of attention need no more; large products are for OpenBLAS.
 */
#include "infer/multiply.h"
#include "kernels/vector.h"

enum { TILE_ROWS = 4, DOT_ROWS = 2, DOT_COLUMNS = 4 };

static inline size_t row_step(const rbe_one_product *p) { return p->transpose_a ? 1 : p->lda; }

static inline size_t term_step(const rbe_one_product *p) { return p->transpose_a ? p->lda : 1; }

static inline void put(const rbe_one_product *p, size_t i, size_t j, float sum) {
    float *c = p->c + i * p->ldc + j;
    *c = p->factor * sum + (p->keep != 0.0f ? p->keep * *c : 0.0f);
}

/* ---- B as it is ---------------------------------------------------------------------------------------------- */

ALWAYS_INLINE void put_vector(const rbe_one_product *p, float *c, vec sum, lane_mask mask) {
    sum = scale(sum, p->factor);
    if (p->keep != 0.0f) sum = scale_add(load_first(c, mask), p->keep, sum);
    store_first(c, sum, mask);
}

/* `rows` rows from i on, `vectors` vectors of columns from j on, the last of which may be partly filled. */
ALWAYS_INLINE void column_tile(const rbe_one_product *p, size_t i, size_t j, size_t rows, size_t vectors,
                               lane_mask last) {
    vec sum[TILE_ROWS][4];
    const lane_mask all = first_lanes(LANES);
    const float *a = p->a + i * row_step(p), *b = p->b + j;
    UNROLL for (size_t r = 0; r < rows; r++) UNROLL for (size_t v = 0; v < vectors; v++) sum[r][v] = (vec){0};
    for (size_t t = 0; t < p->k; t++, a += term_step(p), b += p->ldb) {
        vec row[4];
        UNROLL for (size_t v = 0; v + 1 < vectors; v++) row[v] = load(b + v * LANES);
        row[vectors - 1] = load_first(b + (vectors - 1) * LANES, last);
        UNROLL for (size_t r = 0; r < rows; r++) {
            const vec value = splat(a[r * row_step(p)]);
            UNROLL for (size_t v = 0; v < vectors; v++) sum[r][v] = multiply_add(value, row[v], sum[r][v]);
        }
    }
    UNROLL for (size_t r = 0; r < rows; r++) UNROLL for (size_t v = 0; v < vectors; v++)
        put_vector(p, p->c + (i + r) * p->ldc + j + v * LANES, sum[r][v], v + 1 < vectors ? all : last);
}

ALWAYS_INLINE void column_tiles(const rbe_one_product *p, size_t i, size_t rows, size_t vectors) {
    const lane_mask all = first_lanes(LANES);
    size_t j = 0;
    for (; j + vectors * LANES <= p->n; j += vectors * LANES) column_tile(p, i, j, rows, vectors, all);
    for (; j + LANES <= p->n; j += LANES) column_tile(p, i, j, rows, 1, all);
    if (j < p->n) column_tile(p, i, j, rows, 1, first_lanes(p->n - j));
}

static void by_columns(const rbe_one_product *p) {
    size_t i = 0;
    for (; i + TILE_ROWS <= p->m; i += TILE_ROWS) column_tiles(p, i, TILE_ROWS, 2);
    for (; i < p->m; i++) column_tiles(p, i, 1, 4);
}

/* ---- B transposed -------------------------------------------------------------------------------------------- */

/* The terms from t on, a vector of them. */
ALWAYS_INLINE void add_products(const rbe_one_product *p, const float *a, const float *const b[DOT_COLUMNS], size_t t,
                                size_t rows, lane_mask lanes, vec sum[DOT_ROWS][DOT_COLUMNS]) {
    vec column[DOT_COLUMNS];
    UNROLL for (int c = 0; c < DOT_COLUMNS; c++) column[c] = load_first(b[c] + t, lanes);
    UNROLL for (size_t r = 0; r < rows; r++) {
        const vec x = load_first(a + r * p->lda + t, lanes);
        UNROLL for (int c = 0; c < DOT_COLUMNS; c++) sum[r][c] = multiply_add(x, column[c], sum[r][c]);
    }
}

/* Parts of the sums of `rows` rows of A with those rows of B that `b` points to. */
ALWAYS_INLINE void dot_tile(const rbe_one_product *p, size_t i, const float *const b[DOT_COLUMNS], size_t rows,
                            quad found[DOT_ROWS]) {
    vec sum[DOT_ROWS][DOT_COLUMNS];
    const float *a = p->a + i * p->lda;
    const lane_mask all = first_lanes(LANES);
    UNROLL for (size_t r = 0; r < rows; r++) UNROLL for (int c = 0; c < DOT_COLUMNS; c++) sum[r][c] = (vec){0};
    size_t t = 0;
    for (; t + LANES <= p->k; t += LANES) add_products(p, a, b, t, rows, all, sum);
    if (t < p->k) add_products(p, a, b, t, rows, first_lanes(p->k - t), sum);
    UNROLL for (size_t r = 0; r < rows; r++) found[r] = sum_each(sum[r]);
}

ALWAYS_INLINE void dot_tiles(const rbe_one_product *p, size_t i, size_t rows) {
    for (size_t j = 0; j < p->n; j += DOT_COLUMNS) {
        const float *b[DOT_COLUMNS];
        quad found[DOT_ROWS];
        for (size_t c = 0; c < DOT_COLUMNS; c++) b[c] = p->b + (j + c < p->n ? j + c : p->n - 1) * p->ldb;
        dot_tile(p, i, b, rows, found);
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < DOT_COLUMNS && j + c < p->n; c++) put(p, i + r, j + c, found[r][c]);
    }
}

static void by_dots(const rbe_one_product *p) {
    size_t i = 0;
    for (; i + DOT_ROWS <= p->m; i += DOT_ROWS) dot_tiles(p, i, DOT_ROWS);
    for (; i < p->m; i++) dot_tiles(p, i, 1);
}

/* ---- both transposed ----------------------------------------------------------------------------------------- */

/* No layer multiplies so. */
static void one_by_one(const rbe_one_product *p) {
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->n; j++) {
            float sum = 0.0f;
            for (size_t t = 0; t < p->k; t++) sum += p->a[t * p->lda + i] * p->b[j * p->ldb + t];
            put(p, i, j, sum);
        }
}

void MULTIPLY(const rbe_one_product *p) {
    if (!p->transpose_b)
        by_columns(p);
    else if (!p->transpose_a)
        by_dots(p);
    else
        one_by_one(p);
}
