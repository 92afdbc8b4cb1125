/* Plans: the tables that the transforms of a geometry need. */
#include "kernels/plan.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "codec/filters.h"

/* Without moments the rows of a block would be a power of two, and rows of different blocks would compete for the
 * same few lines of the first-level cache. */
#define SPARE_ROWS 2

#define PI 3.14159265358979323846

/* ---- transforms ---------------------------------------------------------------------------------------------- */

/* A wavelet's pyramid takes about 2 taps B multiplications, the matrix B^2. The fast code knows one pair of filters:
 * biorthogonal wavelets go by the matrix. */
static rbe_axis_method method_of(const rbe_transform *transform, size_t block) {
    bool short_filter = transform->member <= RBE_MAX_TAPS && 2 * transform->member <= block;
    switch (transform->kind) {
    case RBE_TRANSFORM_DCT: return RBE_AXIS_DCT;
    case RBE_TRANSFORM_HAAR: return RBE_AXIS_WAVELET;
    case RBE_TRANSFORM_WALSH: return RBE_AXIS_WALSH;
    case RBE_TRANSFORM_IDENTITY: return RBE_AXIS_IDENTITY;
    case RBE_TRANSFORM_DAUBECHIES: return short_filter ? RBE_AXIS_WAVELET : RBE_AXIS_MATRIX;
    default: return RBE_AXIS_MATRIX;
    }
}

static void set_filters(rbe_axis *axis, const rbe_transform *transform) {
    rbe_filters filters, synthesis;
    rbe_transform_filters(transform, &filters, &synthesis);
    axis->taps = filters.taps;
    for (size_t k = 0; k < axis->taps; k++) {
        axis->low[k] = (float)filters.low[k];
        axis->high[k] = (float)filters.high[k];
    }
}

/* Entry (k, c) of the Hadamard matrix is negative if k & c has an odd number of bits: the signs at c = 1, 2, 4 ..
 * are the bits of k. */
static void set_hadamard_rows(rbe_axis *axis, const double *matrix) {
    for (size_t k = 0; k < axis->block; k++) {
        axis->natural[k] = 0;
        for (size_t bit = 1; bit < axis->block; bit *= 2)
            if (matrix[k * axis->block + bit] < 0.0) axis->natural[k] |= (uint16_t)bit;
    }
}

/* The factors of dct.h with the scale, then without. */
static void set_dct_factors(size_t block, float *factors) {
    for (int plain = 0; plain < 2; plain++, factors += block) {
        double scale = plain ? 1.0 : sqrt(2.0 / (double)block);
        factors[0] = (float)(plain ? 1.0 : scale / sqrt(2.0));
        factors[1] = (float)(scale * cos(PI / 4.0));
        for (size_t m = 2; m < block; m *= 2)
            for (size_t i = 0; i < m / 2; i++) {
                double angle = (double)(2 * i + 1) * PI / (double)(4 * m);
                factors[m + i] = (float)(scale * cos(angle));
                factors[m + m / 2 + i] = (float)(scale * sin(angle));
            }
    }
}

/* `work` holds B x B doubles, `matrix` as many floats. */
static void set_transform(rbe_axis *axis, const rbe_transform *transform, double *work, float *matrix) {
    axis->method = method_of(transform, axis->block);
    if (axis->method == RBE_AXIS_WAVELET) set_filters(axis, transform);
    if (axis->method == RBE_AXIS_DCT) {
        set_dct_factors(axis->block, matrix);
        axis->matrix = matrix;
    }
    if (axis->method != RBE_AXIS_WALSH && axis->method != RBE_AXIS_MATRIX) return;
    transform->fill(transform, axis->block, work);
    if (axis->method == RBE_AXIS_WALSH) {
        set_hadamard_rows(axis, work);
    } else {
        for (size_t i = 0; i < axis->block * axis->block; i++) matrix[i] = (float)work[i];
        axis->matrix = matrix;
    }
}

/* ---- alpha part ---------------------------------------------------------------------------------------------- */

/* Value of moment m's function at c < B/2. Psi_6 = (f0 f3 + f3 f0) / sqrt 2: f3 carries the factor on both sides.
 * Psi_7 = sum_m lambda_m v_m v_m: v_m carries lambda_m on the side of the inputs. */
static double moment_at(const rbe_basis *basis, bool input, size_t m, size_t c) {
    if (m < RBE_EVEN_COUNT) return basis->even[m][c] * (m == 3 ? sqrt(0.5) : 1.0);
    m -= RBE_EVEN_COUNT;
    return basis->vector[m][c] * (input ? basis->lambda[m] : 1.0);
}

/* Coefficient k of the functions, one of which is v: sum_c A[k][c] v[c] with the matrix of analysis, A. With
 * coefficients x^ = R x and A = R^-T it is v^T x = (A v)^T x^; and R^T (A v) = v. Coefficients that are zero but for
 * rounding in all functions are left out. `work` holds B x B doubles. */
static void set_moments(rbe_axis *axis, const rbe_transform *transform, const rbe_basis *basis, bool input,
                        double *work, float *values, uint32_t *columns) {
    const double nothing = 1e-13;
    const size_t block = axis->block;
    (transform->fill_analysis ? transform->fill_analysis : transform->fill)(transform, block, work);
    axis->moments = RBE_EVEN_COUNT + basis->rank;
    axis->moment_values = values;
    axis->moment_columns = columns;
    for (size_t k = 0; k < block; k++) {
        bool part = false;
        for (size_t m = 0; m < axis->moments; m++) {
            double sum = 0.0;
            for (size_t c = 0; c < block / 2; c++)
                sum += (work[k * block + c] + work[k * block + block - 1 - c]) * moment_at(basis, input, m, c);
            values[m] = (float)sum;
            part = part || fabs(sum) > nothing;
        }
        if (!part) continue;
        columns[axis->moment_entries++] = (uint32_t)k;
        values += axis->moments;
    }
}

static void set_pairs(rbe_plan *plan, size_t rank) {
    size_t count = RBE_SEPARABLE_PAIRS;
    memcpy(plan->pair, rbe_separable_pairs, sizeof rbe_separable_pairs);
    for (size_t m = 0; m < rank; m++) {
        uint8_t row = (uint8_t)(RBE_EVEN_COUNT + m);
        plan->pair[count++] = (rbe_alpha_pair){7, row, row};
    }
    plan->pair_count = count;
}

/* ---- plans --------------------------------------------------------------------------------------------------- */

/* From how many rows on panels are faster (256 and 1024 inputs and outputs, B = 32 and 64, 1/16). Without masked loads
 * a vector with few lanes in use is not worth it. */
static size_t default_batch_threshold(const rbe_blocks *w) {
    if (w->group % 4 != 0 && rbe_isa() == &rbe_methods_portable) return 0;
    return w->group >= 16 ? 14 : w->group >= 8 ? 9 : w->group >= 4 ? 7 : 5;
}

/* One piece of memory: the plan, then its tables. */
rbe_plan *rbe_plan_new(const rbe_blocks *w) {
    size_t block = w->block, moments = w->alpha ? RBE_EVEN_COUNT + w->basis->rank : 0;
    size_t matrix = rbe_aligned(block * block * sizeof(float)), values = rbe_aligned(moments * block * sizeof(float)),
           columns = rbe_aligned((moments ? block + RBE_COLUMN_PADDING : 0) * sizeof(uint32_t));
    size_t index = rbe_aligned((w->grid_cols + RBE_COLUMN_PADDING) * sizeof(uint32_t));
    rbe_plan *plan = rbe_alloc_zeroed(1, rbe_aligned(sizeof *plan) + 2 * (matrix + values + columns) + index);
    double *work = rbe_alloc(block * block, sizeof *work);
    if (!plan || !work) {
        rbe_free(plan);
        rbe_free(work);
        return NULL;
    }
    char *next = (char *)plan + rbe_aligned(sizeof *plan);
    plan->block = block;
    plan->log2_block = w->log2_block;
    plan->grid_rows = w->grid_rows;
    plan->grid_cols = w->grid_cols;
    plan->block_rows = block + (moments ? moments : SPARE_ROWS);
    plan->batch_threshold = default_batch_threshold(w);

    plan->input.block = plan->output.block = block;
    plan->input.block_rows = plan->output.block_rows = plan->block_rows;
    rbe_axis *const axes[] = {&plan->input, &plan->output};
    for (int n = 0; n < 2; n++, next += matrix + values + columns) {
        const rbe_transform *transform = n == 0 ? w->column_transform : w->row_transform;
        set_transform(axes[n], transform, work, (float *)(void *)next);
        if (w->alpha)
            set_moments(axes[n], transform, w->basis, n == 0, work, (float *)(void *)(next + matrix),
                        (uint32_t *)(void *)(next + matrix + values));
    }
    if (w->alpha) set_pairs(plan, w->basis->rank);
    uint32_t *block_index = (uint32_t *)(void *)next;
    for (size_t q = 0; q < w->grid_cols; q++) block_index[q] = (uint32_t)q;
    plan->block_index = block_index;
    rbe_free(work);
    return plan;
}

void rbe_plan_free(rbe_plan *plan) { rbe_free(plan); }

size_t rbe_plan_batch_threshold(const rbe_plan *plan) { return plan->batch_threshold; }

void rbe_plan_set_batch_threshold(rbe_plan *plan, size_t rows) { plan->batch_threshold = rows; }
