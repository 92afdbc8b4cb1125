/* Block rows to coefficients, group by group: the whole spectrum of a matrix is never held.
 *
 * For each block: alpha_l = <Psi_l, W_pq>, which is the least-squares fit because the Psi are orthonormal (they
 * come from QR); then S = La (W_pq - sum_l alpha_l Psi_l) Ra^T, of which the coefficients of largest score are
 * kept. With groups, a position is kept for all block rows of its group, and its score is the energy sum_m
 * S_m[i][j]^2, with activations times the variance of transformed input j.
 *
 * A budget of the whole matrix takes three passes over the matrix, two for the threshold and one to store; a budget
 * for each block takes one.
 */
#include "codec/compressor.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "codec/solve.h"

/* ---- making ----------------------------------------------------------------------------------------------------
 */

static rbe_status make_buffers(rbe_compressor *c) {
    const rbe_blocks *b = c->shape;
    size_t strip = b->block * c->strips.width;
    c->spectra = rbe_alloc(b->group * strip, sizeof *c->spectra);
    c->alpha = rbe_alloc(b->group * RBE_BASIS_COUNT * b->grid_cols, sizeof *c->alpha);
    c->score = rbe_alloc(strip, sizeof *c->score);
    c->keep = rbe_alloc(strip, sizeof *c->keep);
    c->histogram = rbe_alloc((size_t)1 << RBE_COARSE_DIGIT, sizeof *c->histogram);
    return c->spectra && c->alpha && c->score && c->keep && c->histogram ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
}

rbe_status rbe_compressor_new(rbe_compressor *c, const rbe_row_source *source, const rbe_inputs *inputs,
                              const rbe_compress_options *options) {
    *c = (rbe_compressor){.source = source, .inputs = inputs};
    RBE_TRY(rbe_block_plan_make(&c->plan, source->out, source->in, options, 1));
    c->shape = rbe_blocks_new(&c->plan);
    rbe_status status = c->shape ? rbe_strips_new(&c->strips, c->shape) : RBE_INSUFFICIENT_MEMORY;
    if (status == RBE_OK) status = make_buffers(c);
    if (status == RBE_OK && inputs->count > 0) status = rbe_activations_new(&c->activations, inputs, &c->strips);
    if (status != RBE_OK) rbe_compressor_free(c);
    return status;
}

void rbe_compressor_free(rbe_compressor *c) {
    rbe_activations_free(&c->activations);
    rbe_strips_free(&c->strips);
    rbe_blocks_free(c->shape);
    rbe_free(c->spectra);
    rbe_free(c->alpha);
    rbe_free(c->score);
    rbe_free(c->keep);
    rbe_free(c->histogram);
    *c = (rbe_compressor){0};
}

/* ---- one group -------------------------------------------------------------------------------------------------
 */

/* Alphas and residual spectra of group g. */
static void analyse_group(rbe_compressor *c, size_t g) {
    const rbe_blocks *b = c->shape;
    size_t strip_size = b->block * c->strips.width, alphas = RBE_BASIS_COUNT * b->grid_cols;
    for (size_t m = 0; m < rbe_group_rows(b, g); m++) {
        double *strip = c->spectra + m * strip_size, *alpha = c->alpha + m * alphas;
        rbe_strip_cut(&c->strips, c->source, g * b->group + m, strip);
        if (b->alpha) {
            rbe_strip_project(&c->strips, c->strips.psi, strip, alpha);
            /* Rounded first, so that the residual is that of the stored alpha. */
            for (size_t n = 0; n < alphas; n++) alpha[n] = (double)(float)alpha[n];
            rbe_strip_add(&c->strips, c->strips.psi, -1.0, alpha, strip);
        }
        rbe_strip_analyse(&c->strips, strip);
    }
}

/* A value of a smaller last group counts as much as any other. */
static rbe_scores score_group(rbe_compressor *c, size_t g) {
    const rbe_blocks *b = c->shape;
    size_t rows = rbe_group_rows(b, g), width = c->strips.width, strip = b->block * width;
    memset(c->score, 0, strip * sizeof *c->score);
    for (size_t m = 0; m < rows; m++) {
        const double *spectrum = c->spectra + m * strip;
        for (size_t n = 0; n < strip; n++) c->score[n] += (float)(spectrum[n] * spectrum[n]);
    }
    for (size_t n = 0; n < strip; n++) c->score[n] /= (float)rows;
    for (size_t i = 0; c->inputs->count > 0 && i < b->block; i++)
        for (size_t j = 0; j < width; j++)
            c->score[i * width + j] *= (float)c->activations.covariance[j * width + j];
    return (rbe_scores){c->score, b->block, width, width, rows};
}

/* The K largest of each block. */
static void keep_of_blocks(rbe_compressor *c) {
    const rbe_blocks *b = c->shape;
    for (size_t q = 0; q < b->grid_cols; q++) {
        rbe_scores block = {c->score + q * b->block, b->block, b->block, c->strips.width, 1};
        rbe_selection selection;
        rbe_selection_start(&selection, c->plan.coeffs, RBE_FINE_DIGIT, c->histogram);
        do rbe_selection_count(&selection, &block);
        while (rbe_selection_next(&selection));
        rbe_selection_mark(&selection, &block, c->keep + q * b->block);
    }
}

/* The threshold of the whole matrix. */
static void find_threshold(rbe_compressor *c, rbe_selection *selection) {
    rbe_selection_start(selection, c->plan.value_limit, RBE_COARSE_DIGIT, c->histogram);
    do
        for (size_t g = 0; g < c->shape->groups; g++) {
            analyse_group(c, g);
            rbe_scores scores = score_group(c, g);
            rbe_selection_count(selection, &scores);
        }
    while (rbe_selection_next(selection));
}

/* ---- alpha and kept coefficients together, without activations
 * --------------------------------------------------- */

/* With the kept coefficients free, only what is not kept counts: for a change a of the alphas it is
 * ||(S - sum_l a_l Ph_l)_not kept||^2, so A a = g with A = 1 - Ph_kept Ph_kept^T (the Ph_l are orthonormal) and
 * g_l = <Ph_l, S>_not kept. A direction that the kept coefficients span by themselves has A = 0 and g = 0. */
typedef struct alpha_system {
    double matrix[RBE_BASIS_COUNT * RBE_BASIS_COUNT], right[RBE_BASIS_COUNT], diagonal[RBE_BASIS_COUNT];
} alpha_system;

static void fill_alpha_system(const rbe_compressor *c, size_t q, const double *spectrum, alpha_system *a) {
    size_t block = c->shape->block, width = c->strips.width;
    memset(a, 0, sizeof *a);
    for (size_t l = 0; l < RBE_BASIS_COUNT; l++) a->matrix[l * RBE_BASIS_COUNT + l] = 1.0;
    for (size_t i = 0; i < block; i++) {
        const double *psi = c->strips.psi_hat + i * RBE_BASIS_COUNT * block;
        for (size_t j = 0; j < block; j++) {
            size_t at = i * width + q * block + j;
            for (size_t l = 0; l < RBE_BASIS_COUNT; l++) {
                double value = psi[l * block + j];
                if (!c->keep[at]) a->right[l] += value * spectrum[at];
                for (size_t k = 0; c->keep[at] && k < RBE_BASIS_COUNT; k++)
                    a->matrix[l * RBE_BASIS_COUNT + k] -= value * psi[k * block + j];
            }
        }
    }
}

static rbe_status refit_alpha(rbe_compressor *c, size_t rows) {
    const rbe_blocks *b = c->shape;
    size_t strip = b->block * c->strips.width, alphas = RBE_BASIS_COUNT * b->grid_cols;
    double change[RBE_BASIS_COUNT];
    for (size_t m = 0; m < rows; m++)
        for (size_t q = 0; q < b->grid_cols; q++) {
            alpha_system a;
            double *spectrum = c->spectra + m * strip, *alpha = c->alpha + m * alphas + q * RBE_BASIS_COUNT;
            fill_alpha_system(c, q, spectrum, &a);
            RBE_TRY(rbe_cholesky(RBE_BASIS_COUNT, a.matrix, 1e-9, a.diagonal));
            rbe_cholesky_solve(RBE_BASIS_COUNT, a.matrix, 1, a.right);
            for (size_t l = 0; l < RBE_BASIS_COUNT; l++) {
                float moved = (float)(alpha[l] + a.right[l]);
                change[l] = (double)moved - alpha[l];
                alpha[l] = (double)moved;
            }
            for (size_t i = 0; i < b->block; i++)
                for (size_t l = 0; l < RBE_BASIS_COUNT; l++)
                    cblas_daxpy((int)b->block, -change[l], c->strips.psi_hat + (i * RBE_BASIS_COUNT + l) * b->block,
                                1, spectrum + i * c->strips.width + q * b->block, 1);
        }
    return RBE_OK;
}

/* ---- storing ---------------------------------------------------------------------------------------------------
 */

/* Columns and values of the groups so far, in the order of the lists. */
typedef struct stage {
    uint32_t *columns;
    float *values;
    size_t entries, value_count;
} stage;

static rbe_status stage_new(stage *s, const rbe_blocks *b, size_t value_limit) {
    size_t fewest = rbe_group_rows(b, b->groups - 1);
    *s = (stage){rbe_alloc(value_limit / fewest, sizeof *s->columns), rbe_alloc(value_limit, sizeof *s->values), 0,
                 0};
    return s->columns && s->values ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
}

static void stage_free(stage *s) {
    rbe_free(s->columns);
    rbe_free(s->values);
}

static void stage_group(const rbe_compressor *c, rbe_blocks *b, size_t g, stage *s) {
    size_t rows = rbe_group_rows(b, g), width = c->strips.width, strip = b->block * width;
    for (size_t i = 0; i < b->block; i++)
        for (size_t n = i * width; n < (i + 1) * width; n++) {
            if (!c->keep[n]) continue;
            b->list_start[g * b->block + i + 1]++;
            s->columns[s->entries++] = (uint32_t)(n - i * width);
            for (size_t m = 0; m < rows; m++) s->values[s->value_count++] = (float)c->spectra[m * strip + n];
        }
    for (size_t m = 0; b->alpha && m < rows; m++)
        for (size_t q = 0; q < b->grid_cols; q++)
            for (size_t l = 0; l < RBE_BASIS_COUNT; l++)
                *rbe_block_alpha(b, g * b->group + m, q, l) =
                    (float)c->alpha[(m * b->grid_cols + q) * RBE_BASIS_COUNT + l];
}

static rbe_status unstage(rbe_blocks *b, const stage *s) {
    RBE_TRY(rbe_blocks_allocate(b));
    for (size_t k = 0; k < s->entries; k++) rbe_set_column(b, k, s->columns[k]);
    memcpy(b->values, s->values, s->value_count * sizeof *s->values);
    return RBE_OK;
}

static rbe_status fit_group(rbe_compressor *c, size_t g) {
    const rbe_blocks *b = c->shape;
    size_t rows = rbe_group_rows(b, g);
    if (c->inputs->count > 0)
        return rbe_activations_fit(&c->activations, &c->strips, rows, c->keep, c->spectra, c->alpha);
    bool orthonormal =
        rbe_transform_is_orthonormal(b->row_transform) && rbe_transform_is_orthonormal(b->column_transform);
    return b->alpha && orthonormal ? refit_alpha(c, rows) : RBE_OK;
}

static rbe_status run(rbe_compressor *c, rbe_blocks *b, stage *s) {
    rbe_selection selection;
    if (c->plan.coeffs == 0) find_threshold(c, &selection);
    for (size_t g = 0; g < b->groups; g++) {
        analyse_group(c, g);
        rbe_scores scores = score_group(c, g);
        if (c->plan.coeffs == 0)
            rbe_selection_mark(&selection, &scores, c->keep);
        else
            keep_of_blocks(c);
        RBE_TRY(fit_group(c, g));
        stage_group(c, b, g, s);
    }
    return unstage(b, s);
}

rbe_status rbe_compressor_run(rbe_compressor *c, rbe_blocks **blocks) {
    *blocks = NULL;
    rbe_blocks *b = rbe_blocks_new(&c->plan);
    if (!b) return rbe_last_status();
    stage s;
    rbe_status status = stage_new(&s, b, c->plan.value_limit);
    if (status == RBE_OK) status = run(c, b, &s);
    stage_free(&s);
    if (status == RBE_OK)
        *blocks = b;
    else
        rbe_blocks_free(b);
    return status;
}

/* ---- measuring -------------------------------------------------------------------------------------------------
 */

/* ||inputs rows^T||^2; `outputs` is count x inputs->count scratch. */
static double output_energy(const rbe_inputs *inputs, const float *rows, size_t count, float *outputs) {
    if (inputs->count == 0) return 0.0;
    int in = (int)inputs->in, samples = (int)inputs->count;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)count, samples, in, 1.0f, rows, in, inputs->rows, in,
                0.0f, outputs, samples);
    return cblas_dsdot((int)(count * inputs->count), outputs, 1, outputs, 1);
}

static double ratio_of_norms(double part, double whole) { return part > 0.0 ? sqrt(part / whole) : 0.0; }

rbe_status rbe_compressor_measure(const rbe_row_source *source, const rbe_inputs *inputs, const rbe_blocks *b,
                                  rbe_distance *distance, float *bias_change) {
    size_t step = b->block, in = source->in;
    double weights[2] = {0}, outputs[2] = {0}; /* of the matrix, of the difference */
    rbe_block_reader reader;
    RBE_TRY(rbe_block_reader_new(&reader, b));
    float *rows = rbe_alloc(2 * step * in + step * inputs->count, sizeof *rows);
    for (size_t first = 0; rows && first < source->out; first += step) {
        size_t count = source->out - first < step ? source->out - first : step;
        float *found = rows + step * in, *scratch = found + step * in;
        source->read(source->self, first, count, rows);
        rbe_block_reader_read(&reader, first, count, found);
        weights[0] += cblas_dsdot((int)(count * in), rows, 1, rows, 1);
        outputs[0] += output_energy(inputs, rows, count, scratch);
        cblas_saxpby((int)(count * in), 1.0f, rows, 1, -1.0f, found, 1);
        weights[1] += cblas_dsdot((int)(count * in), found, 1, found, 1);
        outputs[1] += output_energy(inputs, found, count, scratch);
        for (size_t r = 0; bias_change && r < count; r++) {
            double sum = 0.0;
            for (size_t n = 0; inputs->count > 0 && n < in; n++) sum += (double)found[r * in + n] * inputs->mean[n];
            bias_change[first + r] = (float)sum;
        }
    }
    rbe_block_reader_free(&reader);
    rbe_free(rows);
    if (!rows) return RBE_INSUFFICIENT_MEMORY;
    *distance = (rbe_distance){ratio_of_norms(weights[1], weights[0]), ratio_of_norms(outputs[1], outputs[0])};
    return RBE_OK;
}
