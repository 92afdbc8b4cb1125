/* Dense matrix to blocks and back.
 *
 * For each block W_pq (padded with zeros): alpha_l = <Psi_l, W_pq>, which is the least-squares fit because the Psi
 * are orthonormal (they come from QR); then S = L (W_pq - sum_l alpha_l Psi_l) R^T, of which the largest
 * coefficients are kept. Back: W_pq = sum_l alpha_l Psi_l + L^T S R.
 *
 * With groups, a position is kept for all block rows of its group, and its score is the energy sum_m S_m[i][j]^2.
 */
#include <cblas.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "codec/blocks.h"

/* B x B buffers and tables for one matrix; one piece of memory. */
typedef struct workspace {
    double *row_matrix, *column_matrix; /* L, R */
    double *psi;                        /* Psi_l, l = 0..7, when there is alpha */
    double *dense, *half;               /* a block, and the product of two of the three factors */
} workspace;

static rbe_status workspace_new(workspace *w, const rbe_blocks *b) {
    size_t block = b->block, square = block * block;
    double *memory = rbe_alloc((b->alpha ? 12 : 4) * square, sizeof *memory);
    if (!memory) return rbe_last_status();
    *w = (workspace){memory, memory + square, memory + 4 * square, memory + 2 * square, memory + 3 * square};
    rbe_transform_matrix(b->row_transform, block, w->row_matrix);
    rbe_transform_matrix(b->column_transform, block, w->column_matrix);
    for (int l = 0; b->alpha && l < RBE_BASIS_COUNT; l++)
        for (size_t r = 0; r < block; r++)
            for (size_t c = 0; c < block; c++)
                w->psi[(size_t)l * square + r * block + c] = rbe_moments_psi(b->moments, l, r, c);
    return RBE_OK;
}

static void workspace_free(workspace *w) { rbe_free(w->row_matrix); }

/* C = op(A) op(B) for B x B matrices. */
static void multiply(size_t block, CBLAS_TRANSPOSE ta, const double *a, CBLAS_TRANSPOSE tb, const double *b,
                     double *c) {
    int n = (int)block;
    cblas_dgemm(CblasRowMajor, ta, tb, n, n, n, 1.0, a, n, b, n, 0.0, c, n);
}

/* ---- analysis
 * ----------------------------------------------------------------------------------------------------- */

/* Transforms block (p, q) of `weights`: alphas into b, all coefficients of S into `spectrum` (B x B). */
static void analyse_block(rbe_blocks *b, workspace *w, const float *weights, size_t p, size_t q, float *spectrum) {
    size_t block = b->block, square = block * block;
    memset(w->dense, 0, square * sizeof(double));
    for (size_t r = 0; r < block && p * block + r < b->out; r++)
        for (size_t c = 0; c < block && q * block + c < b->in; c++)
            w->dense[r * block + c] = weights[(p * block + r) * b->in + q * block + c];
    for (size_t l = 0; b->alpha && l < RBE_BASIS_COUNT; l++) {
        const double *psi = w->psi + l * square;
        /* Rounded first, so that the residual is that of the stored alpha. */
        float alpha = (float)cblas_ddot((int)square, psi, 1, w->dense, 1);
        *rbe_block_alpha(b, p, q, l) = alpha;
        cblas_daxpy((int)square, -(double)alpha, psi, 1, w->dense, 1);
    }
    multiply(block, CblasNoTrans, w->row_matrix, CblasNoTrans, w->dense, w->half);
    multiply(block, CblasNoTrans, w->half, CblasTrans, w->column_matrix, w->dense);
    for (size_t n = 0; n < square; n++) spectrum[n] = (float)w->dense[n];
}

/* ---- choice of positions
 * -------------------------------------------------------------------------------------------- */

/* Order of non-negative floats is that of their bits. */
static uint32_t float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Scores of `runs` runs of `length` positions; keeping one of run r costs cost[r] values. */
typedef struct candidates {
    const float *score;
    size_t length, runs;
    const size_t *cost;
} candidates;

static size_t cost_above(const candidates *c, uint32_t threshold) {
    size_t sum = 0;
    for (size_t r = 0; r < c->runs; r++) {
        const float *score = c->score + r * c->length;
        size_t count = 0;
        for (size_t n = 0; n < c->length; n++) count += float_bits(score[n]) > threshold;
        sum += count * c->cost[r];
    }
    return sum;
}

/* Marks the positions of largest score whose joint cost is at most `limit`: by bisection for the threshold over the
 * bits of the scores; of equal scores the first are taken. */
static void choose(const candidates *c, size_t limit, uint8_t *keep) {
    uint32_t low = 0,
             high = float_bits(INFINITY); /* the least threshold that keeps at most `limit` is in low .. high */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (cost_above(c, middle) <= limit)
            high = middle;
        else
            low = middle + 1;
    }
    size_t rest = limit - cost_above(c, high);
    for (size_t r = 0; r < c->runs; r++)
        for (size_t n = r * c->length; n < (r + 1) * c->length; n++) {
            uint32_t bits = float_bits(c->score[n]);
            keep[n] = bits > high;
            if (bits == high && bits > 0 && rest >= c->cost[r]) {
                keep[n] = 1;
                rest -= c->cost[r];
            }
        }
}

/* ---- compress
 * -------------------------------------------------------------------------------------------------------- */

/* Spectra of all blocks, [p][q][i][j], and per group and block column the scores and marks, [g][q][i][j]. */
typedef struct analysis {
    float *spectrum;
    float *score;
    uint8_t *keep;
} analysis;

static void score_positions(const rbe_blocks *b, analysis *a) {
    size_t run = b->grid_cols * b->block * b->block; /* all positions of one group */
    memset(a->score, 0, b->groups * run * sizeof(float));
    for (size_t p = 0; p < b->grid_rows; p++) {
        float *score = a->score + p / b->group * run;
        const float *spectrum = a->spectrum + p * run;
        for (size_t n = 0; n < run; n++) score[n] += spectrum[n] * spectrum[n];
    }
    /* A value of a smaller last group counts as much as any other. */
    for (size_t g = 0; g < b->groups; g++)
        for (size_t n = 0; n < run; n++) a->score[g * run + n] /= (float)rbe_group_rows(b, g);
}

static void choose_positions(const rbe_blocks *b, const rbe_block_plan *plan, analysis *a, size_t *cost) {
    size_t square = b->block * b->block, run = b->grid_cols * square;
    for (size_t g = 0; g < b->groups; g++) cost[g] = rbe_group_rows(b, g);
    if (plan->coeffs == 0) {
        choose(&(candidates){a->score, run, b->groups, cost}, plan->value_limit, a->keep);
        return;
    }
    static const size_t one = 1;
    for (size_t n = 0; n < b->groups * b->grid_cols; n++)
        choose(&(candidates){a->score + n * square, square, 1, &one}, plan->coeffs, a->keep + n * square);
}

static rbe_status store_positions(rbe_blocks *b, const analysis *a) {
    size_t block = b->block, square = block * block, run = b->grid_cols * square;
    for (size_t g = 0; g < b->groups; g++)
        for (size_t i = 0; i < block; i++)
            for (size_t q = 0; q < b->grid_cols; q++)
                for (size_t j = 0; j < block; j++)
                    b->list_start[g * block + i + 1] += a->keep[g * run + q * square + i * block + j];
    RBE_TRY(rbe_blocks_allocate(b));
    size_t k = 0;
    for (size_t g = 0; g < b->groups; g++)
        for (size_t i = 0; i < block; i++)
            for (size_t q = 0; q < b->grid_cols; q++)
                for (size_t j = 0; j < block; j++) {
                    size_t at = q * square + i * block + j;
                    if (!a->keep[g * run + at]) continue;
                    rbe_set_column(b, k, q * block + j);
                    for (size_t m = 0; m < rbe_group_rows(b, g); m++)
                        *rbe_entry_value(b, g, k, m) = a->spectrum[(g * b->group + m) * run + at];
                    k++;
                }
    return RBE_OK;
}

static rbe_status compress(rbe_blocks *b, const rbe_block_plan *plan, const float *weights) {
    size_t square = b->block * b->block;
    workspace w;
    RBE_TRY(workspace_new(&w, b));
    analysis a = {rbe_alloc(b->grid_rows * b->grid_cols * square, sizeof(float)),
                  rbe_alloc(b->groups * b->grid_cols * square, sizeof(float)),
                  rbe_alloc(b->groups * b->grid_cols, square)};
    size_t *cost = rbe_alloc(b->groups, sizeof *cost);
    rbe_status status = RBE_INSUFFICIENT_MEMORY;
    if (a.spectrum && a.score && a.keep && cost) {
        for (size_t p = 0; p < b->grid_rows; p++)
            for (size_t q = 0; q < b->grid_cols; q++)
                analyse_block(b, &w, weights, p, q, a.spectrum + (p * b->grid_cols + q) * square);
        score_positions(b, &a);
        choose_positions(b, plan, &a, cost);
        status = store_positions(b, &a);
    }
    rbe_free(a.spectrum);
    rbe_free(a.score);
    rbe_free(a.keep);
    rbe_free(cost);
    workspace_free(&w);
    return status;
}

rbe_status rbe_compress(rbe_blocks **blocks, const float *weights, size_t out, size_t in,
                        const rbe_compress_options *options) {
    if (!blocks || !weights) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_compress: a pointer is NULL");
    *blocks = NULL;
    rbe_block_plan plan;
    RBE_TRY(rbe_block_plan_make(&plan, out, in, options, 1));
    for (size_t n = 0; n < out * in; n++)
        if (!isfinite(weights[n]))
            return rbe_fail(RBE_NUMERICAL_INSTABILITY, "weight (%zu, %zu) is %g", n / in, n % in,
                            (double)weights[n]);
    rbe_blocks *b = rbe_blocks_new(&plan);
    if (!b) return rbe_last_status();
    rbe_status status = compress(b, &plan, weights);
    if (status == RBE_OK)
        *blocks = b;
    else
        rbe_blocks_free(b);
    return status;
}

/* ---- decompress
 * ------------------------------------------------------------------------------------------------------ */

/* Block (p, q) as a dense B x B matrix in w->dense. */
static void synthesise_block(const rbe_blocks *b, workspace *w, size_t p, size_t q) {
    size_t block = b->block, square = block * block, g = p / b->group;
    memset(w->dense, 0, square * sizeof(double));
    for (size_t i = 0; i < block; i++)
        for (size_t k = b->list_start[g * block + i]; k < b->list_start[g * block + i + 1]; k++) {
            size_t column = rbe_column_at(b, k);
            if (column >> b->log2_block == q)
                w->dense[i * block + (column & (block - 1))] = *rbe_entry_value(b, g, k, p % b->group);
        }
    multiply(block, CblasTrans, w->row_matrix, CblasNoTrans, w->dense, w->half);
    multiply(block, CblasNoTrans, w->half, CblasNoTrans, w->column_matrix, w->dense);
    for (size_t l = 0; b->alpha && l < RBE_BASIS_COUNT; l++)
        cblas_daxpy((int)square, *rbe_block_alpha(b, p, q, l), w->psi + l * square, 1, w->dense, 1);
}

rbe_status rbe_decompress(const rbe_blocks *b, float *weights) {
    if (!b || !weights) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_decompress: a pointer is NULL");
    workspace w;
    RBE_TRY(workspace_new(&w, b));
    size_t block = b->block;
    for (size_t p = 0; p < b->grid_rows; p++)
        for (size_t q = 0; q < b->grid_cols; q++) {
            synthesise_block(b, &w, p, q);
            for (size_t r = 0; r < block && p * block + r < b->out; r++)
                for (size_t c = 0; c < block && q * block + c < b->in; c++)
                    weights[(p * block + r) * b->in + q * block + c] = (float)w.dense[r * block + c];
        }
    workspace_free(&w);
    return RBE_OK;
}
