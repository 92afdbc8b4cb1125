/* Dense products through OpenBLAS: C = op(A) op(B), in tiles of C.
 *
 * OpenBLAS with two threads rounds differently from OpenBLAS with one. So each of its calls runs on one thread, and
 * the tiles, whose size depends on the shape only, are the tasks of a parallel loop. Tiles of 256 rows cost 2 % against
 * one call, those of 128 rows 4 %: shorter products take the latter, and are cut into columns too, to have something
 * to share. OpenBLAS counts in int: longer sums are added up piece by piece.
 */
#include "base/gemm.h"

#include <cblas.h>
#include <limits.h>

#include "base/blas.h"
#include "base/parallel.h"
#include "base/sizes.h"

#define LONGEST_SUM ((size_t)1 << 30)
/* With an extent of at most this, smaller tiles cost no more than 4 %, either. */
#define THIN 64

typedef struct product {
    bool transpose_a, transpose_b, add;
    size_t m, n, k;
    const float *a, *b;
    float *c;
    size_t tile_rows, tile_columns, tiles_across;
} product;

static void cut_into_tiles(product *p) {
    bool thin = p->m <= THIN || p->n <= THIN || p->k <= THIN;
    p->tile_rows = thin ? 64 : p->m < 512 ? 128 : 256;
    size_t strips = rbe_pieces(p->m, p->tile_rows);
    p->tile_columns = p->m <= THIN ? 128 : thin ? 256 : strips < 4 ? 512 : p->n;
    p->tiles_across = rbe_pieces(p->n, p->tile_columns);
}

static void multiply_tile(void *context, size_t task, size_t worker) {
    (void)worker;
    const product *p = context;
    size_t row = task / p->tiles_across * p->tile_rows, column = task % p->tiles_across * p->tile_columns;
    size_t lda = p->transpose_a ? p->m : p->k, ldb = p->transpose_b ? p->k : p->n;
    for (size_t from = 0; from < p->k || from == 0; from += LONGEST_SUM) {
        const float *a = p->a + (p->transpose_a ? from * lda + row : row * lda + from);
        const float *b = p->b + (p->transpose_b ? column * ldb + from : from * ldb + column);
        cblas_sgemm(CblasRowMajor, p->transpose_a ? CblasTrans : CblasNoTrans,
                    p->transpose_b ? CblasTrans : CblasNoTrans, (int)rbe_at_most(p->m - row, p->tile_rows),
                    (int)rbe_at_most(p->n - column, p->tile_columns), (int)rbe_at_most(p->k - from, LONGEST_SUM), 1.0f,
                    a, (int)lda, b, (int)ldb, p->add || from > 0 ? 1.0f : 0.0f, p->c + row * p->n + column, (int)p->n);
    }
}

rbe_status rbe_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, const float *b,
                    bool add, float *c) {
    if (m == 0 || n == 0) return RBE_OK;
    product p = {.transpose_a = transpose_a,
                 .transpose_b = transpose_b,
                 .add = add,
                 .m = m,
                 .n = n,
                 .k = k,
                 .a = a,
                 .b = b,
                 .c = c};
    size_t longest = n;
    if (transpose_a ? m > longest : k > longest) longest = transpose_a ? m : k;
    if (transpose_b && k > longest) longest = k;
    if (longest > INT_MAX)
        return rbe_fail(RBE_INVALID_ARGUMENT, "dense product: expected rows of at most %d values, found %zu", INT_MAX,
                        longest);
    cut_into_tiles(&p);
    size_t tiles = rbe_pieces(m, p.tile_rows) * p.tiles_across;
    size_t threads = rbe_blas_enter(rbe_at_most((size_t)rbe_threads(), tiles));
    if (threads == 0) return rbe_last_status();
    rbe_parallel(threads, tiles, multiply_tile, &p);
    rbe_blas_leave(threads);
    return RBE_OK;
}
