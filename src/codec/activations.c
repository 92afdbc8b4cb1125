/* Covariance of the transformed inputs, and least squares on it. */
#include "codec/activations.h"

#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/blas.h"
#include "base/failure.h"
#include "codec/solve.h"

#define RELATIVE_RIDGE 1e-4
enum { CHUNK = 256, ALPHA_ROUNDS = 3 };

/* ---- the inputs ---------------------------------------------------------------------------------------------- */

static rbe_status from_samples(rbe_inputs *inputs, const float *samples) {
    size_t in = inputs->in, count = inputs->count;
    size_t bad = rbe_first_nonfinite(samples, count * in);
    if (bad < count * in)
        return rbe_fail(RBE_NUMERICAL_INSTABILITY, "sample %zu, input %zu is %g", bad / in, bad % in,
                        (double)samples[bad]);
    for (size_t n = 0; n < count * in; n++) inputs->mean[n % in] += (double)samples[n] / (double)count;
    double scale = 1.0 / sqrt((double)count);
    for (size_t n = 0; n < count * in; n++)
        inputs->rows[n] = (float)(scale * ((double)samples[n] - inputs->mean[n % in]));
    return RBE_OK;
}

static rbe_status from_gram(rbe_inputs *inputs, const double *gram, const float *mean) {
    size_t in = inputs->in;
    for (size_t c = 0; mean && c < in; c++) {
        inputs->mean[c] = (double)mean[c];
        if (!isfinite(mean[c])) return rbe_fail(RBE_NUMERICAL_INSTABILITY, "mean %zu is %g", c, (double)mean[c]);
    }
    double *factor = rbe_alloc(in * in + in, sizeof *factor), trace = 0.0;
    if (!factor) return rbe_last_status();
    rbe_status status = RBE_OK;
    for (size_t n = 0; n < in * in && status == RBE_OK; n++) {
        factor[n] = gram[n] - inputs->mean[n / in] * inputs->mean[n % in];
        if (n / in == n % in) trace += factor[n];
        if (!isfinite(gram[n]))
            status = rbe_fail(RBE_NUMERICAL_INSTABILITY, "gram (%zu, %zu) is %g", n / in, n % in, gram[n]);
    }
    /* A ridge of the size of float rounding: covariances are often singular. */
    if (status == RBE_OK && rbe_blas_enter(1) == 0) status = rbe_last_status();
    if (status == RBE_OK) {
        status = rbe_cholesky(in, factor, 1e-7 * fmax(trace, 0.0) / (double)in, factor + in * in);
        rbe_blas_leave(1);
    }
    for (size_t r = 0; r < in && status == RBE_OK; r++)
        for (size_t c = 0; c < in; c++) inputs->rows[r * in + c] = c < r ? 0.0f : (float)factor[c * in + r];
    rbe_free(factor);
    return status;
}

rbe_status rbe_inputs_new(rbe_inputs *inputs, size_t in, const rbe_compress_options *o) {
    *inputs = (rbe_inputs){0};
    if (!o->samples && o->sample_count == 0 && !o->gram) return RBE_OK;
    if (o->samples && o->gram)
        return rbe_fail(RBE_INVALID_ARGUMENT, "expected samples or a Gram matrix of the inputs, found both");
    if (!o->gram && (!o->samples || o->sample_count < 2))
        return rbe_fail(RBE_INVALID_ARGUMENT, "samples: expected at least 2, found %zu%s", o->sample_count,
                        o->samples ? "" : " without data");
    if (!o->gram && o->sample_count > INT_MAX)
        return rbe_fail(RBE_INVALID_ARGUMENT, "samples: expected at most %d, found %zu", INT_MAX, o->sample_count);
    *inputs = (rbe_inputs){.count = o->gram ? in : o->sample_count, .in = in};
    inputs->rows = rbe_alloc(inputs->count * in, sizeof *inputs->rows);
    inputs->mean = rbe_alloc_zeroed(in, sizeof *inputs->mean);
    rbe_status status = RBE_INSUFFICIENT_MEMORY;
    if (inputs->rows && inputs->mean)
        status = o->gram ? from_gram(inputs, o->gram, o->mean) : from_samples(inputs, o->samples);
    if (status != RBE_OK) rbe_inputs_free(inputs);
    return status;
}

void rbe_inputs_free(rbe_inputs *inputs) {
    rbe_free(inputs->rows);
    rbe_free(inputs->mean);
    *inputs = (rbe_inputs){0};
}

/* ---- covariances --------------------------------------------------------------------------------------------- */

/* Fills the upper triangle of a symmetric matrix from the lower one. */
static void mirror(size_t size, double *a) {
    for (size_t i = 0; i < size; i++)
        for (size_t j = i + 1; j < size; j++) a[i * size + j] = a[j * size + i];
}

/* H += (X E^T R^T)^T (X E^T R^T) for `count` rows of X. x and xh: CHUNK x width; mapped: CHUNK x b->in floats. */
static void add_covariance(double *covariance, const rbe_strips *s, const float *rows, size_t count, float *mapped,
                           double *x, double *xh) {
    const rbe_blocks *b = s->b;
    rbe_side_apply(&b->input_side, rows, count, 1, mapped, mapped + CHUNK * b->in);
    memset(x, 0, count * s->width * sizeof *x);
    for (size_t n = 0; n < count; n++)
        for (size_t c = 0; c < b->in; c++) x[n * s->width + c] = (double)mapped[n * b->in + c];
    int block = (int)b->block, width = (int)s->width;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)(count * b->grid_cols), block, block, 1.0, x, block,
                s->column_synthesis, block, 0.0, xh, block);
    cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, width, (int)count, 1.0, xh, width, 1.0, covariance, width);
}

static rbe_status fill_covariance(rbe_activations *a, const rbe_inputs *inputs, const rbe_strips *s) {
    const rbe_side *side = &s->b->input_side;
    float *mapped = rbe_alloc(CHUNK * s->b->in + rbe_side_scratch(side, CHUNK, 1), sizeof *mapped);
    double *x = rbe_alloc(2 * CHUNK * s->width, sizeof *x);
    rbe_status status = mapped && x ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
    memset(a->covariance, 0, a->width * a->width * sizeof(double));
    for (size_t n = 0; n < inputs->count && status == RBE_OK; n += CHUNK) {
        size_t rest = inputs->count - n;
        add_covariance(a->covariance, s, inputs->rows + n * inputs->in, rest < CHUNK ? rest : CHUNK, mapped, x,
                       x + CHUNK * s->width);
    }
    mirror(a->width, a->covariance);
    double trace = 0.0;
    for (size_t i = 0; i < a->width; i++) trace += a->covariance[i * a->width + i];
    a->ridge = RELATIVE_RIDGE * trace / (double)a->width;
    rbe_free(mapped);
    rbe_free(x);
    return status;
}

/* M, output frequency by output frequency: with P = the eight rows i of the Ph_l (8 x B), first U = H P^T for every
 * block column, then M += P U for every block row of H. */
static rbe_status factor_alpha(rbe_activations *a, const rbe_strips *s) {
    size_t block = s->b->block, columns = s->b->grid_cols, size = RBE_BASIS_COUNT * columns;
    double *u = rbe_alloc(a->width * size + size, sizeof *u);
    if (!u) return rbe_last_status();
    memset(a->alpha_factor, 0, size * size * sizeof(double));
    for (size_t i = 0; i < block; i++) {
        const double *p = s->psi_hat + i * RBE_BASIS_COUNT * block;
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)(a->width * columns), RBE_BASIS_COUNT, (int)block,
                    1.0, a->covariance, (int)block, p, (int)block, 0.0, u, RBE_BASIS_COUNT);
        for (size_t q = 0; q < columns; q++)
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, RBE_BASIS_COUNT, (int)size, (int)block, 1.0, p,
                        (int)block, u + q * block * size, (int)size, 1.0, a->alpha_factor + q * RBE_BASIS_COUNT * size,
                        (int)size);
    }
    mirror(size, a->alpha_factor);
    rbe_status status = rbe_cholesky(size, a->alpha_factor, a->ridge, u + a->width * size);
    rbe_free(u);
    return status;
}

rbe_status rbe_activations_new(rbe_activations *a, const rbe_inputs *inputs, rbe_strips *s) {
    size_t width = s->width, square = width * width, strips = s->b->group * s->b->block * width;
    size_t unknowns = s->b->alpha ? RBE_BASIS_COUNT * s->b->grid_cols : 0;
    *a = (rbe_activations){.width = width};
    a->covariance = rbe_alloc(2 * square, sizeof(double));
    a->full = rbe_alloc(strips * (unknowns ? 2 : 1), sizeof(double));
    a->right = rbe_alloc((s->b->group + 1) * width, sizeof(double));
    a->list = rbe_alloc(width, sizeof *a->list);
    if (unknowns) a->alpha_factor = rbe_alloc(unknowns * unknowns, sizeof(double));
    rbe_status status = RBE_INSUFFICIENT_MEMORY;
    if (a->covariance && a->full && a->right && a->list && (!unknowns || a->alpha_factor)) {
        a->matrix = a->covariance + square;
        a->product = a->full + (unknowns ? strips : 0);
        a->diagonal = a->right + s->b->group * width;
        status = fill_covariance(a, inputs, s);
        if (status == RBE_OK && unknowns) status = factor_alpha(a, s);
    }
    if (status != RBE_OK) rbe_activations_free(a);
    return status;
}

void rbe_activations_free(rbe_activations *a) {
    rbe_free(a->covariance);
    rbe_free(a->full);
    rbe_free(a->right);
    rbe_free(a->list);
    rbe_free(a->alpha_factor);
    *a = (rbe_activations){0};
}

/* ---- the fit ------------------------------------------------------------------------------------------------- */

/* product = strips H */
static void times_covariance(const rbe_activations *a, size_t rows, const double *strips) {
    int width = (int)a->width;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, width, width, 1.0, strips, width, a->covariance,
                width, 0.0, a->product, width);
}

/* The coefficients of output frequency i of all block rows at once: they share positions, and so the matrix. */
static rbe_status fit_list(rbe_activations *a, size_t block, size_t block_rows, size_t i, const uint8_t *keep,
                           double *spectra) {
    size_t count = 0;
    for (size_t c = 0; c < a->width; c++)
        if (keep[i * a->width + c]) a->list[count++] = c;
    for (size_t m = 0; m < block_rows; m++) {
        size_t row = (m * block + i) * a->width;
        memset(spectra + row, 0, a->width * sizeof *spectra);
        for (size_t n = 0; n < count; n++) a->right[m * count + n] = a->product[row + a->list[n]];
    }
    if (count == 0) return RBE_OK;
    for (size_t n = 0; n < count; n++)
        for (size_t k = 0; k < count; k++) a->matrix[n * count + k] = a->covariance[a->list[n] * a->width + a->list[k]];
    RBE_TRY(rbe_cholesky(count, a->matrix, a->ridge, a->diagonal));
    rbe_cholesky_solve(count, a->matrix, block_rows, a->right);
    for (size_t m = 0; m < block_rows; m++)
        for (size_t n = 0; n < count; n++) spectra[(m * block + i) * a->width + a->list[n]] = a->right[m * count + n];
    return RBE_OK;
}

/* spectra: residual on entry, fitted coefficients on return. */
static rbe_status fit_coefficients(rbe_activations *a, size_t block, size_t block_rows, const uint8_t *keep,
                                   double *spectra) {
    times_covariance(a, block_rows * block, spectra);
    for (size_t i = 0; i < block; i++) RBE_TRY(fit_list(a, block, block_rows, i, keep, spectra));
    return RBE_OK;
}

rbe_status rbe_activations_fit(rbe_activations *a, const rbe_strips *s, size_t block_rows, const uint8_t *keep,
                               double *spectra, double *alpha) {
    size_t block = s->b->block, strip = block * a->width, unknowns = RBE_BASIS_COUNT * s->b->grid_cols;
    if (!a->alpha_factor) return fit_coefficients(a, block, block_rows, keep, spectra);
    memcpy(a->full, spectra, block_rows * strip * sizeof *spectra);
    for (size_t m = 0; m < block_rows; m++)
        rbe_strip_add(s, s->psi_hat, 1.0, alpha + m * unknowns, a->full + m * strip);
    for (int round = 0; round < ALPHA_ROUNDS; round++) {
        RBE_TRY(fit_coefficients(a, block, block_rows, keep, spectra));
        for (size_t n = 0; n < block_rows * strip; n++) spectra[n] = a->full[n] - spectra[n];
        times_covariance(a, block_rows * block, spectra);
        memcpy(spectra, a->full, block_rows * strip * sizeof *spectra);
        for (size_t m = 0; m < block_rows; m++) {
            rbe_strip_project(s, s->psi_hat, a->product + m * strip, alpha + m * unknowns);
            rbe_cholesky_solve(unknowns, a->alpha_factor, 1, alpha + m * unknowns);
            for (size_t n = 0; n < unknowns; n++) alpha[m * unknowns + n] = (double)(float)alpha[m * unknowns + n];
            rbe_strip_add(s, s->psi_hat, -1.0, alpha + m * unknowns, spectra + m * strip);
        }
    }
    return fit_coefficients(a, block, block_rows, keep, spectra);
}
