/* The check of a compressed product against dense ones in double precision. W is taken a row of blocks at a time, so
 * that large layers need little more memory than they do in single precision. */
#include <cblas.h>
#include <math.h>
#include <string.h>

#include "../../examples/common.h"
#include "base/alloc.h"
#include "subject.h"

/* Of a result: its largest difference from what was expected, and the largest value expected. */
typedef struct deviation {
    double difference, largest;
} deviation;

/* A difference that is not a number stays. */
static void compare(deviation *d, double found, double expected) {
    double difference = fabs(found - expected);
    if (!(difference <= d->difference) && !isnan(d->difference)) d->difference = difference;
    if (fabs(expected) > d->largest) d->largest = fabs(expected);
}

static double relative(deviation d) { return d.difference / (d.largest + 1e-30); }

static double *doubles(size_t count) { return example_need(rbe_alloc_zeroed(count, sizeof(double))); }

static double *widened(const float *from, size_t count) {
    double *wide = doubles(count);
    for (size_t i = 0; i < count; i++) wide[i] = from[i];
    return wide;
}

/* What gradients of values and alphas are taken with: the transforms and the basis functions, B x B each. */
typedef struct atoms {
    double *left, *right, *psi, *padded, *half;
} atoms;

static atoms new_atoms(const rbe_blocks *w) {
    size_t area = w->block * w->block;
    atoms a = {doubles(area), doubles(area), doubles(RBE_BASIS_COUNT * area), doubles(area), doubles(area)};
    example_require(rbe_transform_matrix(w->row_transform, w->block, a.left));
    example_require(rbe_transform_matrix(w->column_transform, w->block, a.right));
    for (size_t i = 0; w->alpha && i < RBE_BASIS_COUNT * area; i++)
        a.psi[i] = rbe_basis_psi(w->basis, (int)(i / area), i % area / w->block, i % w->block);
    return a;
}

static void free_atoms(atoms *a) {
    double *all[] = {a->left, a->right, a->psi, a->padded, a->half};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) rbe_free(all[i]);
}

/* Gradients of values and alphas from the dense one of block row p: S_pq = L G_pq R^T at the stored positions,
 * alpha_l = <Psi_l, G_pq>. */
static void compare_parameters(const bench_subject *b, const atoms *a, size_t p, const double *gradient,
                               deviation *values, deviation *alphas) {
    const rbe_blocks *w = b->w;
    size_t block = w->block, area = block * block, g = p / w->group;
    int size = (int)block;
    for (size_t q = 0; q < w->grid_cols; q++) {
        memset(a->padded, 0, area * sizeof *a->padded);
        for (size_t r = 0; r < block && p * block + r < w->out; r++)
            for (size_t c = 0; c < block && q * block + c < w->in; c++)
                a->padded[r * block + c] = gradient[r * w->in + q * block + c];
        for (size_t l = 0; w->alpha && l < RBE_BASIS_COUNT; l++)
            compare(alphas, b->alpha[rbe_block_alpha(w, p, q, l) - w->alpha],
                    cblas_ddot(size * size, a->padded, 1, a->psi + l * area, 1));
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, size, size, size, 1.0, a->left, size, a->padded, size,
                    0.0, a->half, size);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, size, size, size, 1.0, a->half, size, a->right, size, 0.0,
                    a->padded, size);
        for (size_t i = 0; i < block; i++)
            for (size_t k = w->list_start[g * block + i]; k < w->list_start[g * block + i + 1]; k++) {
                size_t column = rbe_column_at(w, k);
                if (column / block == q)
                    compare(values, b->values[rbe_entry_value(w, g, k, p % w->group) - w->values],
                            a->padded[i * block + column % block]);
            }
    }
}

double bench_error(bench_subject *b) {
    bench_product product = b->product;
    bool forward = product == BENCH_FORWARD || product == BENCH_MATVEC;
    bool input = product == BENCH_INPUT_GRADIENT || product == BENCH_BACKWARD;
    bool weights = product == BENCH_WEIGHT_GRADIENT || product == BENCH_BACKWARD;
    size_t block = b->w->block, n = b->n, in = b->in, out = b->out;
    int rows = (int)n, columns = (int)in;
    double *x = widened(b->x, n * in), *dy = widened(b->dy, n * out);
    double *dx = doubles(n * in), *y = doubles(n * block), *gradient = doubles(block * in);
    deviation worst[4] = {{0}}; /* y, dx, values, alphas */
    atoms a = new_atoms(b->w);
    bench_run_compressed(b);
    for (size_t p = 0; p < b->w->grid_rows; p++) {
        int height = (int)(out - p * block < block ? out - p * block : block);
        double *strip = widened(b->dense + p * block * in, (size_t)height * in);
        if (forward)
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, height, columns, 1.0, x, columns, strip, columns,
                        0.0, y, height);
        for (size_t i = 0; forward && i < n * (size_t)height; i++)
            compare(&worst[0], b->y[i / (size_t)height * out + p * block + i % (size_t)height], y[i]);
        if (input)
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, columns, height, 1.0, dy + p * block, (int)out,
                        strip, columns, 1.0, dx, columns);
        if (weights) {
            cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, height, columns, rows, 1.0, dy + p * block, (int)out,
                        x, columns, 0.0, gradient, columns);
            compare_parameters(b, &a, p, gradient, &worst[2], &worst[3]);
        }
        rbe_free(strip);
    }
    for (size_t i = 0; input && i < n * in; i++) compare(&worst[1], b->dx[i], dx[i]);
    double error = 0.0;
    for (int i = 0; i < 4; i++)
        if (!(relative(worst[i]) <= error)) error = relative(worst[i]);
    double *all[] = {x, dy, dx, y, gradient};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) rbe_free(all[i]);
    free_atoms(&a);
    return error;
}
