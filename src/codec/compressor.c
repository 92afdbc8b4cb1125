/* Block rows to coefficients, group by group. The spectrum of one block row is held at a time; with activations that
 * of a group, whose rows are fitted together.
 *
 * For each block: alpha_l = <Psi_l, W_pq>, which is the least-squares fit because the Psi are orthonormal (they
 * come from QR); then S = La (W_pq - sum_l alpha_l Psi_l) Ra^T, of which the coefficients of largest score are
 * kept. With groups, a position is kept for all block rows of its group, and its score is the root of the energy sum_m
 * S_m[i][j]^2, with activations times the variance of transformed input j.
 *
 * A budget of the whole matrix takes three passes over the matrix, two for the threshold and one to store; a budget
 * for each block takes one. Storing groups of several block rows takes another. Groups are spread over threads; the
 * result does not depend on their number.
 */
#include "codec/compressor.h"

#include <cblas.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/blas.h"
#include "base/failure.h"
#include "base/norm.h"
#include "base/parallel.h"
#include "codec/entries.h"
#include "codec/solve.h"

/* ---- making -------------------------------------------------------------------------------------------------- */

static rbe_status worker_new(rbe_group_worker *w, const rbe_blocks *b, size_t capacity) {
    RBE_TRY(rbe_strips_new(&w->strips, b));
    size_t strip = b->block * w->strips.width;
    w->capacity = capacity;
    w->held = SIZE_MAX;
    w->spectra = rbe_alloc(capacity * strip, sizeof *w->spectra);
    w->alpha = rbe_alloc(capacity * RBE_BASIS_COUNT * b->grid_cols, sizeof *w->alpha);
    w->score = rbe_alloc(strip, sizeof *w->score);
    w->keep = rbe_alloc(strip, sizeof *w->keep);
    w->histogram = rbe_alloc((size_t)1 << RBE_COARSE_DIGIT, sizeof *w->histogram);
    return w->spectra && w->alpha && w->score && w->keep && w->histogram ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
}

static void worker_free(rbe_group_worker *w) {
    rbe_strips_free(&w->strips);
    rbe_free(w->spectra);
    rbe_free(w->alpha);
    rbe_free(w->score);
    rbe_free(w->keep);
    rbe_free(w->histogram);
}

static rbe_status make_workers(rbe_compressor *c) {
    size_t count = c->source->concurrent && c->inputs->count == 0 ? (size_t)rbe_threads() : 1;
    if (count > c->shape->groups) count = c->shape->groups;
    c->workers = rbe_alloc_zeroed(count, sizeof *c->workers);
    if (!c->workers) return rbe_last_status();
    size_t capacity = c->inputs->count > 0 ? c->shape->group : 1;
    rbe_status status = RBE_OK;
    for (; c->worker_count < count && status == RBE_OK; c->worker_count += status == RBE_OK) {
        rbe_group_worker *w = &c->workers[c->worker_count];
        status = worker_new(w, c->shape, capacity);
        if (status != RBE_OK) worker_free(w);
    }
    return c->worker_count > 0 ? RBE_OK : status; /* where memory is short, fewer do the work */
}

rbe_status rbe_compressor_new(rbe_compressor *c, const rbe_row_source *source, const rbe_inputs *inputs,
                              const rbe_compress_options *options) {
    *c = (rbe_compressor){.source = source, .inputs = inputs};
    RBE_TRY(rbe_geometry_make(&c->geometry, source->out, source->in, options, 1));
    c->shape = rbe_blocks_new(&c->geometry);
    rbe_status status = c->shape ? make_workers(c) : RBE_INSUFFICIENT_MEMORY;
    if (status == RBE_OK && inputs->count > 0)
        status = rbe_activations_new(&c->activations, inputs, &c->workers[0].strips);
    if (status != RBE_OK) rbe_compressor_free(c);
    return status;
}

void rbe_compressor_free(rbe_compressor *c) {
    rbe_activations_free(&c->activations);
    for (size_t n = 0; n < c->worker_count; n++) worker_free(&c->workers[n]);
    rbe_free(c->workers);
    rbe_blocks_free(c->shape);
    *c = (rbe_compressor){0};
}

/* ---- one group ----------------------------------------------------------------------------------------------- */

/* Alphas and residual spectra of `count` block rows, at most w->capacity. */
static void analyse(const rbe_compressor *c, rbe_group_worker *w, size_t first, size_t count) {
    const rbe_blocks *b = c->shape;
    size_t strip_size = b->block * w->strips.width, alphas = RBE_BASIS_COUNT * b->grid_cols;
    if (w->held == first) return;
    w->held = first;
    for (size_t m = 0; m < count; m++) {
        double *strip = w->spectra + m * strip_size, *alpha = w->alpha + m * alphas;
        rbe_strip_cut(&w->strips, c->source, first + m, strip);
        if (b->alpha) {
            rbe_strip_project(&w->strips, w->strips.psi, strip, alpha);
            /* Rounded first, so that the residual is that of the stored alpha. */
            for (size_t n = 0; n < alphas; n++) alpha[n] = (double)(float)alpha[n];
            rbe_strip_add(&w->strips, w->strips.psi, -1.0, alpha, strip);
        }
        rbe_strip_analyse(&w->strips, strip);
    }
}

/* Of the block rows of a group from its m-th on, so many are worked on at a time. */
static size_t rows_at_once(const rbe_group_worker *w, size_t rows, size_t m) {
    return rows - m < w->capacity ? rows - m : w->capacity;
}

/* The root mean square of each position over the group's rows; a square itself may be too large or too small for a
 * float, so roots are what is kept between two rows. A value of a smaller last group counts as much as any other. */
static void root_mean_squares(const rbe_compressor *c, rbe_group_worker *w, size_t g, size_t strip) {
    size_t first = g * c->shape->group, rows = rbe_group_rows(c->shape, g);
    for (size_t m = 0; m < rows; m += w->capacity) {
        size_t count = rows_at_once(w, rows, m);
        analyse(c, w, first + m, count);
        const double *spectrum = w->spectra;
        for (size_t n = 0; m == 0 && n < strip; n++) w->score[n] = (float)fabs(spectrum[n]);
        for (size_t row = m == 0; row < count; row++) {
            spectrum = w->spectra + row * strip;
            for (size_t n = 0; n < strip; n++)
                w->score[n] = (float)sqrt((double)w->score[n] * w->score[n] + spectrum[n] * spectrum[n]);
        }
    }
    for (size_t n = 0; rows > 1 && n < strip; n++) w->score[n] /= sqrtf((float)rows);
}

static rbe_scores score_group(const rbe_compressor *c, rbe_group_worker *w, size_t g) {
    const rbe_blocks *b = c->shape;
    size_t rows = rbe_group_rows(b, g), width = w->strips.width;
    root_mean_squares(c, w, g, b->block * width);
    for (size_t j = 0; c->inputs->count > 0 && j < width; j++) {
        float deviation = (float)sqrt(c->activations.covariance[j * width + j]);
        for (size_t i = 0; i < b->block; i++) w->score[i * width + j] *= deviation;
    }
    return (rbe_scores){w->score, b->block, width, width, rows};
}

/* The K largest of each block. */
static void keep_of_blocks(const rbe_compressor *c, rbe_group_worker *w) {
    size_t block = c->shape->block;
    for (size_t q = 0; q < c->shape->grid_cols; q++) {
        rbe_scores scores = {w->score + q * block, block, block, w->strips.width, 1};
        rbe_selection selection;
        rbe_selection_start(&selection, c->geometry.coeffs, RBE_FINE_DIGIT, w->histogram);
        do rbe_selection_count(&selection, &scores);
        while (rbe_selection_next(&selection));
        rbe_selection_mark(&selection, &scores, w->keep + q * block);
    }
}

typedef struct counting {
    const rbe_compressor *compressor;
    const rbe_selection *selection;
} counting;

static void count_group(void *context, size_t g, size_t worker) {
    const counting *shared = context;
    rbe_group_worker *w = &shared->compressor->workers[worker];
    rbe_selection own = *shared->selection;
    own.histogram = w->histogram;
    rbe_scores scores = score_group(shared->compressor, w, g);
    rbe_selection_count(&own, &scores);
}

/* The threshold of the whole matrix. Each worker counts for itself; the first one's histogram, which the selection
 * clears, gets all. */
static void find_threshold(const rbe_compressor *c, rbe_selection *selection) {
    rbe_selection_start(selection, c->geometry.value_limit, RBE_COARSE_DIGIT, c->workers[0].histogram);
    do {
        for (size_t n = 1; n < c->worker_count; n++) rbe_selection_clear(selection, c->workers[n].histogram);
        counting shared = {c, selection};
        rbe_parallel(c->worker_count, c->shape->groups, count_group, &shared);
        for (size_t n = 1; n < c->worker_count; n++) rbe_selection_merge(selection, c->workers[n].histogram);
    } while (rbe_selection_next(selection));
}

/* ---- alpha and kept coefficients together, without activations ----------------------------------------------- */

/* With the kept coefficients free, only what is not kept counts: for a change a of the alphas it is
 * ||(S - sum_l a_l Ph_l)_not kept||^2, so A a = g with A = 1 - Ph_kept Ph_kept^T (the Ph_l are orthonormal) and
 * g_l = <Ph_l, S>_not kept. A direction that the kept coefficients span by themselves has A = 0 and g = 0. */
typedef struct alpha_system {
    double matrix[RBE_BASIS_COUNT * RBE_BASIS_COUNT], right[RBE_BASIS_COUNT], diagonal[RBE_BASIS_COUNT];
} alpha_system;

static void fill_alpha_system(const rbe_group_worker *w, size_t q, const double *spectrum, alpha_system *a) {
    size_t block = w->strips.b->block, width = w->strips.width;
    memset(a, 0, sizeof *a);
    for (size_t l = 0; l < RBE_BASIS_COUNT; l++) a->matrix[l * RBE_BASIS_COUNT + l] = 1.0;
    for (size_t i = 0; i < block; i++) {
        const double *psi = w->strips.psi_hat + i * RBE_BASIS_COUNT * block;
        for (size_t j = 0; j < block; j++) {
            size_t at = i * width + q * block + j;
            for (size_t l = 0; l < RBE_BASIS_COUNT; l++) {
                double value = psi[l * block + j];
                if (!w->keep[at]) a->right[l] += value * spectrum[at];
                for (size_t k = 0; w->keep[at] && k < RBE_BASIS_COUNT; k++)
                    a->matrix[l * RBE_BASIS_COUNT + k] -= value * psi[k * block + j];
            }
        }
    }
}

static rbe_status refit_alpha(rbe_group_worker *w, size_t rows) {
    const rbe_blocks *b = w->strips.b;
    size_t strip = b->block * w->strips.width, alphas = RBE_BASIS_COUNT * b->grid_cols;
    double change[RBE_BASIS_COUNT];
    for (size_t m = 0; m < rows; m++)
        for (size_t q = 0; q < b->grid_cols; q++) {
            alpha_system a;
            double *spectrum = w->spectra + m * strip, *alpha = w->alpha + m * alphas + q * RBE_BASIS_COUNT;
            fill_alpha_system(w, q, spectrum, &a);
            RBE_TRY(rbe_cholesky(RBE_BASIS_COUNT, a.matrix, 1e-9, a.diagonal));
            rbe_cholesky_solve(RBE_BASIS_COUNT, a.matrix, 1, a.right);
            for (size_t l = 0; l < RBE_BASIS_COUNT; l++) {
                float moved = (float)(alpha[l] + a.right[l]);
                change[l] = (double)moved - alpha[l];
                alpha[l] = (double)moved;
            }
            for (size_t i = 0; i < b->block; i++)
                for (size_t l = 0; l < RBE_BASIS_COUNT; l++)
                    cblas_daxpy((int)b->block, -change[l], w->strips.psi_hat + (i * RBE_BASIS_COUNT + l) * b->block, 1,
                                spectrum + i * w->strips.width + q * b->block, 1);
        }
    return RBE_OK;
}

/* ---- storing ------------------------------------------------------------------------------------------------- */

/* Columns and values of one group, in the order of its lists. */
typedef struct stored_group {
    uint32_t *columns;
    float *values;
    size_t entries;
} stored_group;

static rbe_status store_positions(const rbe_group_worker *w, rbe_blocks *b, size_t g, stored_group *s) {
    size_t width = w->strips.width;
    for (size_t n = 0; n < b->block * width; n++) s->entries += w->keep[n];
    s->columns = rbe_alloc(s->entries, sizeof *s->columns);
    s->values = rbe_alloc(s->entries * rbe_group_rows(b, g), sizeof *s->values);
    if (!s->columns || !s->values) return RBE_INSUFFICIENT_MEMORY;
    for (size_t i = 0, k = 0; i < b->block; i++) {
        size_t first = k;
        for (size_t column = 0; column < width; column++)
            if (w->keep[i * width + column]) s->columns[k++] = (uint32_t)column;
        rbe_set_list_length(b, g * b->block + i, k - first);
    }
    return RBE_OK;
}

/* Of the group's m-th block row, and `count` in all. */
static void store_values(const rbe_group_worker *w, rbe_blocks *b, size_t g, size_t m, size_t count, stored_group *s) {
    size_t rows = rbe_group_rows(b, g), strip = b->block * w->strips.width;
    for (size_t n = 0, k = 0; n < strip; n++) {
        if (!w->keep[n]) continue;
        for (size_t r = 0; r < count; r++) s->values[k * rows + m + r] = (float)w->spectra[r * strip + n];
        k++;
    }
    for (size_t r = 0; b->alpha && r < count; r++)
        for (size_t q = 0; q < b->grid_cols; q++)
            for (size_t l = 0; l < RBE_BASIS_COUNT; l++)
                *rbe_block_alpha(b, g * b->group + m + r, q, l) =
                    (float)w->alpha[(r * b->grid_cols + q) * RBE_BASIS_COUNT + l];
}

static rbe_status join_groups(rbe_blocks *b, const stored_group *stored) {
    RBE_TRY(rbe_blocks_allocate(b));
    for (size_t g = 0; g < b->groups; g++) {
        const rbe_list list = rbe_list_at(b, g * b->block); /* the group's first */
        for (size_t k = 0; k < stored[g].entries; k++) rbe_set_column(b, list.first + k, stored[g].columns[k]);
        memcpy(b->values + list.value, stored[g].values, stored[g].entries * list.rows * sizeof(float));
    }
    return RBE_OK;
}

/* Changes the spectra that are held. */
static rbe_status fit(rbe_compressor *c, rbe_group_worker *w, size_t rows) {
    const rbe_blocks *b = c->shape;
    w->held = SIZE_MAX;
    if (c->inputs->count > 0)
        return rbe_activations_fit(&c->activations, &w->strips, rows, w->keep, w->spectra, w->alpha);
    bool orthonormal =
        rbe_transform_is_orthonormal(b->row_transform) && rbe_transform_is_orthonormal(b->column_transform);
    return b->alpha && orthonormal ? refit_alpha(w, rows) : RBE_OK;
}

/* The last block rows come first: they are those that the scores have left behind. */
static rbe_status store_group(rbe_compressor *c, rbe_group_worker *w, rbe_blocks *b, size_t g, stored_group *s) {
    size_t rows = rbe_group_rows(b, g), step = w->capacity;
    RBE_TRY(store_positions(w, b, g, s));
    for (size_t m = (rows - 1) / step * step + step; m > 0; m -= step) {
        size_t count = rows_at_once(w, rows, m - step);
        analyse(c, w, g * b->group + m - step, count);
        RBE_TRY(fit(c, w, count));
        store_values(w, b, g, m - step, count, s);
    }
    return RBE_OK;
}

/* What the tasks of storing share: groups mark their positions in turn, since those at the threshold are given to the
 * first groups. */
typedef struct storing {
    rbe_compressor *compressor;
    rbe_blocks *blocks;
    stored_group *stored;
    rbe_selection selection;
    pthread_mutex_t lock;
    pthread_cond_t next_turn;
    size_t turn;
    rbe_status status;
} storing;

/* Tasks begin in ascending order: those before this one are being run. */
static void mark_in_turn(storing *s, size_t g, const rbe_scores *scores, uint8_t *keep) {
    pthread_mutex_lock(&s->lock);
    while (s->turn != g) pthread_cond_wait(&s->next_turn, &s->lock);
    rbe_selection_mark(&s->selection, scores, keep);
    s->turn++;
    pthread_cond_broadcast(&s->next_turn);
    pthread_mutex_unlock(&s->lock);
}

static void store_one(void *context, size_t g, size_t worker) {
    storing *s = context;
    rbe_compressor *c = s->compressor;
    rbe_group_worker *w = &c->workers[worker];
    rbe_scores scores = score_group(c, w, g);
    if (c->geometry.coeffs > 0)
        keep_of_blocks(c, w);
    else
        mark_in_turn(s, g, &scores, w->keep);
    rbe_status status = store_group(c, w, s->blocks, g, &s->stored[g]);
    if (status == RBE_OK) return;
    pthread_mutex_lock(&s->lock);
    s->status = status;
    pthread_mutex_unlock(&s->lock);
}

static rbe_status store_groups(rbe_compressor *c, rbe_blocks *b, stored_group *stored) {
    storing s = {.compressor = c,
                 .blocks = b,
                 .stored = stored,
                 .lock = PTHREAD_MUTEX_INITIALIZER,
                 .next_turn = PTHREAD_COND_INITIALIZER,
                 .status = RBE_OK};
    if (c->geometry.coeffs == 0) find_threshold(c, &s.selection);
    rbe_parallel_in_order(c->worker_count, b->groups, store_one, &s);
    pthread_cond_destroy(&s.next_turn);
    pthread_mutex_destroy(&s.lock);
    /* The text of a failure in another thread is lost. */
    if (s.status != RBE_OK && c->worker_count > 1) rbe_fail(s.status, "compress: %s", rbe_status_message(s.status));
    return s.status;
}

/* A coefficient gathers a whole block: it may be no float where every weight is one. */
static rbe_status check_finite(const rbe_blocks *b) {
    size_t alphas = b->alpha ? RBE_BASIS_COUNT * b->grid_rows * b->grid_cols : 0;
    if (rbe_first_nonfinite(b->values, b->value_count) == b->value_count &&
        rbe_first_nonfinite(b->alpha, alphas) == alphas)
        return RBE_OK;
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "compress: a coefficient is too large for a float");
}

rbe_status rbe_compressor_run(rbe_compressor *c, rbe_blocks **blocks) {
    *blocks = NULL;
    rbe_blocks *b = rbe_blocks_new(&c->geometry);
    stored_group *stored = b ? rbe_alloc_zeroed(b->groups, sizeof *stored) : NULL;
    rbe_status status = stored ? store_groups(c, b, stored) : RBE_INSUFFICIENT_MEMORY;
    if (status == RBE_OK) status = join_groups(b, stored);
    if (status == RBE_OK) status = check_finite(b);
    for (size_t g = 0; stored && g < b->groups; g++) {
        rbe_free(stored[g].columns);
        rbe_free(stored[g].values);
    }
    rbe_free(stored);
    if (status == RBE_OK)
        *blocks = b;
    else
        rbe_blocks_free(b);
    return status;
}

/* ---- measuring ----------------------------------------------------------------------------------------------- */

/* ||inputs rows^T||^2; `outputs` is count x inputs->count scratch. */
static double output_energy(const rbe_inputs *inputs, const float *rows, size_t count, float *outputs) {
    if (inputs->count == 0) return 0.0;
    int in = (int)inputs->in, samples = (int)inputs->count;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)count, samples, in, 1.0f, rows, in, inputs->rows, in,
                0.0f, outputs, samples);
    return rbe_sum_of_squares(outputs, count * inputs->count);
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
        weights[0] += rbe_sum_of_squares(rows, count * in);
        outputs[0] += output_energy(inputs, rows, count, scratch);
        for (size_t n = 0; n < count * in; n++) found[n] = rows[n] - found[n];
        weights[1] += rbe_sum_of_squares(found, count * in);
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
