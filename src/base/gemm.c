/* Dense products through OpenBLAS: C = op(A) op(B), in tiles of C.
 *
 * OpenBLAS with two threads rounds differently from OpenBLAS with one. So each of its calls runs on one thread, and
 * the tiles, whose size depends on the shape only, are the tasks of a parallel loop. Tiles of 256 rows cost 2 % against
 * one call, those of 128 rows 4 %: shorter products take the latter, and are cut into columns too, to have something
 * to share. OpenBLAS counts in int: longer sums are added up piece by piece.
 */
#include "base/gemm.h"

#include <limits.h>

#include "base/blas.h"
#include "base/multiply.h"
#include "base/parallel.h"
#include "base/sizes.h"

#define LONGEST_SUM ((size_t)1 << 30)
/* With an extent of at most this, smaller tiles cost no more than 4 %, either. */
#define THIN 64

typedef struct tiling {
    const rbe_products *products;
    size_t rows, columns; /* of a tile */
    size_t across, tiles; /* tiles beside each other, and of one C */
} tiling;

static tiling cut_into_tiles(const rbe_products *p) {
    tiling t = {.products = p};
    bool thin = p->m <= THIN || p->n <= THIN || p->k <= THIN;
    t.rows = thin ? 64 : p->m < 512 ? 128 : 256;
    size_t strips = rbe_pieces(p->m, t.rows);
    t.columns = p->m <= THIN ? 128 : thin ? 256 : strips < 4 ? 512 : p->n;
    t.across = rbe_pieces(p->n, t.columns);
    t.tiles = strips * t.across;
    return t;
}

/* Adds a term to the tile at (row, column) of C, or sets it. */
static void multiply_tile(const tiling *t, size_t row, size_t column, const float *a, const float *b, bool add,
                          float *c) {
    const rbe_products *p = t->products;
    size_t lda = p->transpose_a ? p->m : p->k, ldb = p->transpose_b ? p->k : p->n;
    for (size_t from = 0; from < p->k || from == 0; from += LONGEST_SUM)
        rbe_multiply(p->transpose_a, p->transpose_b, rbe_at_most(p->m - row, t->rows),
                     rbe_at_most(p->n - column, t->columns), rbe_at_most(p->k - from, LONGEST_SUM), 1.0f,
                     a + (p->transpose_a ? from * lda + row : row * lda + from), lda,
                     b + (p->transpose_b ? column * ldb + from : from * ldb + column), ldb,
                     add || from > 0 ? 1.0f : 0.0f, c + row * p->n + column, p->n);
}

static void run_tile(void *context, size_t task, size_t worker) {
    (void)worker;
    const tiling *t = context;
    const rbe_products *p = t->products;
    size_t n = task / t->tiles, tile = task % t->tiles;
    size_t row = tile / t->across * t->rows, column = tile % t->across * t->columns;
    for (size_t term = 0; term < p->terms; term++)
        multiply_tile(t, row, column, p->a[n * p->terms + term], p->b[n * p->terms + term], p->add || term > 0,
                      p->c[n]);
}

rbe_status rbe_gemm_many(const rbe_products *p) {
    if (p->m == 0 || p->n == 0 || p->count == 0) return RBE_OK;
    size_t longest = p->n;
    if (p->transpose_a ? p->m > longest : p->k > longest) longest = p->transpose_a ? p->m : p->k;
    if (p->transpose_b && p->k > longest) longest = p->k;
    if (longest > INT_MAX)
        return rbe_fail(RBE_INVALID_ARGUMENT, "dense product: expected rows of at most %d values, found %zu", INT_MAX,
                        longest);
    tiling t = cut_into_tiles(p);
    size_t tasks = p->count * t.tiles;
    size_t threads = rbe_blas_enter(rbe_at_most((size_t)rbe_threads(), tasks));
    if (threads == 0) return rbe_last_status();
    rbe_parallel(threads, tasks, run_tile, &t);
    rbe_blas_leave(threads);
    return RBE_OK;
}

rbe_status rbe_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, const float *b,
                    bool add, float *c) {
    return rbe_gemm_many(&(rbe_products){.transpose_a = transpose_a,
                                         .transpose_b = transpose_b,
                                         .add = add,
                                         .m = m,
                                         .n = n,
                                         .k = k,
                                         .count = 1,
                                         .terms = 1,
                                         .a = &a,
                                         .b = &b,
                                         .c = &c});
}
