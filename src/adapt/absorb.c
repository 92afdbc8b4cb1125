/* What pruning removes from a block, D = L^T S_removed R, is projected on the smooth basis:
 *
 *     change of alpha = argmin_a || D - sum_l a_l Psi_l ||_F  over the rows and columns that exist
 *
 * The Psi_l are orthonormal on a whole block: a_l = <Psi_l, D>. On a block at the edge, part of which is padding,
 * they are not: there the 8 x 8 normal equations are solved, with a ridge that rounding needs. The decrease of the
 * squared error is sum_l a_l <Psi_l, D>, which is never negative. With overlapping blocks the errors of different
 * blocks mix, and nothing is absorbed.
 */
#include "adapt/absorb.h"

#include <string.h>

#include "base/alloc.h"
#include "codec/entries.h"
#include "codec/solve.h"
#include "codec/strip.h"

enum { N = RBE_BASIS_COUNT };

#define RIDGE 1e-10

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Block row p of what is removed, as coefficients; says whether there is anything. */
static bool spread_removed(const rbe_blocks *b, const uint8_t *keep, size_t p, double *strip, size_t width) {
    size_t m = p % b->group;
    bool any = false;
    memset(strip, 0, b->block * width * sizeof *strip);
    for (rbe_walk at = rbe_walk_group(b, p / b->group); rbe_walk_next(&at);) {
        if (keep[at.value + m]) continue;
        strip[at.list.frequency * width + at.column] = b->values[at.value + m];
        any = true;
    }
    return any;
}

/* Clears the rows and columns of padding. */
static void crop(const rbe_blocks *b, size_t p, double *strip, size_t width) {
    size_t rows = least(b->out - p * b->block, b->block);
    memset(strip + rows * width, 0, (b->block - rows) * width * sizeof *strip);
    for (size_t r = 0; r < rows && b->in < width; r++)
        memset(strip + r * width + b->in, 0, (width - b->in) * sizeof *strip);
}

static double sum_of_squares(const double *values, size_t count) {
    double sum = 0.0;
    for (size_t n = 0; n < count; n++) sum += values[n] * values[n];
    return sum;
}

/* Turns the projections of a block, of which rows x columns exist, into the solution. */
static rbe_status solve_block(const rbe_strips *s, size_t rows, size_t columns, double *x) {
    size_t block = s->b->block;
    if (rows == block && columns == block) return RBE_OK;
    double gram[N * N] = {0}, diagonal[N];
    for (size_t r = 0; r < rows; r++)
        for (size_t l = 0; l < N; l++)
            for (size_t m = 0; m < N; m++) {
                const double *a = s->psi + (r * N + l) * block, *c = s->psi + (r * N + m) * block;
                for (size_t n = 0; n < columns; n++) gram[l * N + m] += a[n] * c[n];
            }
    RBE_TRY(rbe_cholesky(N, gram, RIDGE, diagonal));
    rbe_cholesky_solve(N, gram, 1, x);
    return RBE_OK;
}

/* Of block row p, from the strip of D; projection: 8 per block. */
static rbe_status absorb_strip(const rbe_strips *s, size_t p, const double *strip, double *projection, float *change,
                               double *absorbed) {
    const rbe_blocks *b = s->b;
    rbe_strip_project(s, s->psi, strip, projection);
    for (size_t q = 0; q < b->grid_cols; q++) {
        double x[N];
        memcpy(x, projection + q * N, sizeof x);
        RBE_TRY(solve_block(s, least(b->out - p * b->block, b->block), least(b->in - q * b->block, b->block), x));
        for (size_t l = 0; l < N; l++) {
            change[rbe_block_alpha(b, p, q, l) - b->alpha] = (float)x[l];
            *absorbed += x[l] * projection[q * N + l];
        }
    }
    return RBE_OK;
}

static rbe_status absorb(rbe_strips *s, const uint8_t *keep, float *change, rbe_absorption *absorption, double *strip,
                         double *projection) {
    const rbe_blocks *b = s->b;
    for (size_t p = 0; p < b->grid_rows; p++) {
        if (!spread_removed(b, keep, p, strip, s->width)) continue;
        rbe_strip_synthesise(s, strip);
        crop(b, p, strip, s->width);
        absorption->removed += sum_of_squares(strip, b->block * s->width);
        if (change) RBE_TRY(absorb_strip(s, p, strip, projection, change, &absorption->absorbed));
    }
    return RBE_OK;
}

rbe_status rbe_absorb(const rbe_blocks *b, const uint8_t *keep, float *change, rbe_absorption *absorption) {
    *absorption = (rbe_absorption){0};
    size_t alphas = N * b->grid_rows * b->grid_cols;
    if (change) memset(change, 0, alphas * sizeof *change);
    if (b->output_side.kind == RBE_SIDE_OVERLAP) change = NULL;
    rbe_strips s;
    RBE_TRY(rbe_strips_new(&s, b));
    double *strip = rbe_alloc(b->block * s.width, sizeof *strip);
    double *projection = rbe_alloc(N * b->grid_cols, sizeof *projection);
    rbe_status status = strip && projection ? absorb(&s, keep, b->alpha ? change : NULL, absorption, strip, projection)
                                            : RBE_INSUFFICIENT_MEMORY;
    rbe_free(strip);
    rbe_free(projection);
    rbe_strips_free(&s);
    return status;
}
