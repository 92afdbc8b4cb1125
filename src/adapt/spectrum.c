/* The dense gradient in the transform domain, block row by block row.
 *
 *     Xh_q = X_q R^T      dYh_p = dY_p L^T      dS_p = dYh_p^T Xh                          (B x grid_cols B)
 *
 * Memory: the transformed input, and of the gradient one block row. Blocks at the edge are padded with zeros, that is
 * to say their missing columns are left out of the sums.
 */
#include "adapt/spectrum.h"

#include <cblas.h>
#include <limits.h>

#include "base/blas.h"

/* target (rows x B, leading dimension `step`) = source (rows x `width`, leading dimension `length`) matrix^T */
static void transform_rows(const float *source, size_t rows, size_t width, size_t length, const float *matrix,
                           size_t block, float *target, size_t step) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)block, (int)width, 1.0f, source, (int)length,
                matrix, (int)block, 0.0f, target, (int)step);
}

static void square(float *values, size_t count) {
    for (size_t n = 0; n < count; n++) values[n] *= values[n];
}

static size_t width_of_block(size_t length, size_t block, size_t index) {
    size_t rest = length - index * block;
    return rest < block ? rest : block;
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
    *s = (rbe_spectrum){.blocks = b, .dy = dy, .rows = rows, .columns = b->grid_cols * b->block, .squares = squares};
    s->left = take_matrix(b->row_transform, b->block, scratch);
    s->xh = rbe_arena_take(scratch, rows * s->columns, sizeof(float));
    s->dyh = rbe_arena_take(scratch, rows * b->block, sizeof(float));
    s->sums = rbe_arena_take(scratch, b->block * s->columns, sizeof(float));
    float *right = take_matrix(b->column_transform, b->block, scratch);
    if (!s->left || !s->xh || !s->dyh || !s->sums || !right) return rbe_last_status();
    if (rbe_blas_enter(1) == 0) return rbe_last_status();
    for (size_t q = 0; q < b->grid_cols; q++)
        transform_rows(x + q * b->block, rows, width_of_block(b->in, b->block, q), b->in, right, b->block,
                       s->xh + q * b->block, s->columns);
    rbe_blas_leave(1);
    if (squares) square(s->xh, rows * s->columns);
    return RBE_OK;
}

const float *rbe_spectrum_block_row(rbe_spectrum *s, size_t p) {
    const rbe_blocks *b = s->blocks;
    if (rbe_blas_enter(1) == 0) return NULL;
    transform_rows(s->dy + p * b->block, s->rows, width_of_block(b->out, b->block, p), b->out, s->left, b->block,
                   s->dyh, b->block);
    if (s->squares) square(s->dyh, s->rows * b->block);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)b->block, (int)s->columns, (int)s->rows, 1.0f, s->dyh,
                (int)b->block, s->xh, (int)s->columns, 0.0f, s->sums, (int)s->columns);
    rbe_blas_leave(1);
    return s->sums;
}
