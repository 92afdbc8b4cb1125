/* The dense gradient in the transform domain, block row by block row.
 *
 *     Xh_q = X_q R^T      dYh_p = dY_p L^T      dS_p = dYh_p^T Xh                          (B x grid_cols B)
 *
 * Memory: the transformed input and gradient of the output, and of the dense gradient one block row. Blocks at the edge
 * are padded with zeros, that is to say their missing columns are left out of the sums.
 */
#include "adapt/spectrum.h"

#include <cblas.h>
#include <limits.h>

#include "base/blas.h"
#include "base/gemm.h"
#include "base/parallel.h"
#include "base/sizes.h"

/* The blocks of a matrix, each transformed by one task: target (rows x B, leading dimension `step`) = source (rows x the
 * block's width, leading dimension `length`) matrix^T, squared if `squares`. */
typedef struct transforms {
    const float *source, *matrix;
    float *target;
    size_t rows, length, block;
    size_t step, next; /* floats from a row of a target to the next, and from a target to the next */
    bool squares;
} transforms;

static void transform_block(void *context, size_t q, size_t worker) {
    (void)worker;
    const transforms *t = context;
    const size_t first = q * t->block, width = rbe_at_most(t->length - first, t->block);
    float *target = t->target + q * t->next;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)t->rows, (int)t->block, (int)width, 1.0f,
                t->source + first, (int)t->length, t->matrix, (int)t->block, 0.0f, target, (int)t->step);
    for (size_t n = 0; n < t->rows && t->squares; n++)
        for (size_t k = 0; k < t->block; k++) target[n * t->step + k] *= target[n * t->step + k];
}

static rbe_status transform_blocks(transforms *t) {
    const size_t blocks = rbe_pieces(t->length, t->block);
    const size_t threads = rbe_blas_enter(rbe_at_most((size_t)rbe_threads(), blocks));
    if (threads == 0) return rbe_last_status();
    rbe_parallel(threads, blocks, transform_block, t);
    rbe_blas_leave(threads);
    return RBE_OK;
}

/* The matrix of a transform in single precision. */
static float *take_matrix(const rbe_transform *transform, size_t block, rbe_arena *scratch) {
    float *matrix = rbe_arena_take(scratch, block * block, sizeof *matrix);
    if (!matrix) return NULL;
    rbe_arena_mark mark = rbe_arena_here(scratch);
    double *exact = rbe_arena_take(scratch, block * block, sizeof *exact);
    if (!exact) return NULL;
    transform->fill(transform, block, exact);
    for (size_t n = 0; n < block * block; n++) matrix[n] = (float)exact[n];
    rbe_arena_return(scratch, mark);
    return matrix;
}

rbe_status rbe_spectrum_open(rbe_spectrum *s, const rbe_blocks *b, const float *x, const float *dy, size_t rows,
                             bool squares, rbe_arena *scratch) {
    if (rows > INT_MAX)
        return rbe_fail(RBE_INVALID_ARGUMENT, "spectrum: expected at most %d rows, found %zu", INT_MAX, rows);
    *s = (rbe_spectrum){.blocks = b, .rows = rows, .columns = b->grid_cols * b->block};
    s->xh = rbe_arena_take(scratch, rows * s->columns, sizeof(float));
    s->dyh = rbe_arena_take(scratch, rows * b->grid_rows * b->block, sizeof(float));
    s->sums = rbe_arena_take(scratch, b->block * s->columns, sizeof(float));
    const float *left = take_matrix(b->row_transform, b->block, scratch);
    const float *right = take_matrix(b->column_transform, b->block, scratch);
    if (!s->xh || !s->dyh || !s->sums || !left || !right) return rbe_last_status();
    transforms of_x = {x, right, s->xh, rows, b->in, b->block, s->columns, b->block, squares};
    transforms of_dy = {dy, left, s->dyh, rows, b->out, b->block, b->block, rows * b->block, squares};
    RBE_TRY(transform_blocks(&of_x));
    return transform_blocks(&of_dy);
}

const float *rbe_spectrum_block_row(rbe_spectrum *s, size_t p) {
    const size_t block = s->blocks->block;
    const float *dyh = s->dyh + p * s->rows * block;
    if (rbe_gemm(true, false, block, s->columns, s->rows, dyh, s->xh, false, s->sums) != RBE_OK) return NULL;
    return s->sums;
}
