/* optimize_block_size: the same matrix in several forms, each judged by memory, speed and accuracy.
 *
 *     score = (w_m least bytes / bytes + w_s least seconds / seconds + w_a q / best q) / (w_m + w_s + w_a)
 *     q = max(0, 1 - error^2): the share of the outputs' energy that is right
 *
 * Each term is a ratio to the best candidate: 1 for it, without a unit, and no term can outweigh its weight. (A sum
 * of bytes, seconds and errors, each in its unit, would be ruled by whichever number is large.)
 */
#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "adapt/timing.h"
#include "base/alloc.h"
#include "base/blas.h"
#include "base/failure.h"
#include "nn/linear.h"
#include "rbe/adapt.h"

static const size_t default_blocks[] = {32, 64, 128, 256};

typedef struct tuning {
    rbe_linear_layer *layer;
    const float *samples;
    size_t count;
    rbe_tune_options options;        /* defaults filled in */
    float *expected, *outputs;       /* count x out, without bias */
    rbe_layer *layers[RBE_TUNE_MAX]; /* the first one is the caller's */
    double seconds[RBE_TUNE_MAX];
    rbe_tune_report report;
} tuning;

/* ---- candidates ---------------------------------------------------------------------------------------------- */

static void describe(rbe_tune_candidate *c, const rbe_layer *layer) {
    rbe_blocks_info info = rbe_blocks_describe(rbe_linear_blocks(layer));
    *c = (rbe_tune_candidate){.block = info.block,
                              .group = info.group,
                              .row_transform = info.row_transform,
                              .column_transform = info.column_transform,
                              .bytes = rbe_layer_describe_cost(layer).bytes};
}

/* The form of the layer with these, and as many values; transform NULL: the layer's own. */
static rbe_status add_candidate(tuning *t, size_t block, size_t group, const rbe_transform *transform) {
    const rbe_linear_layer *layer = t->layer;
    const rbe_blocks_info info = rbe_blocks_describe(layer->blocks);
    bool same = block == info.block && group == info.group &&
                (!transform || (transform == info.row_transform && transform == info.column_transform));
    if (same && !t->options.weights) return RBE_OK; /* it would be the layer itself */
    size_t values = info.coefficients + info.alphas;
    const rbe_compress_options options = {.block = block,
                                          .group = group,
                                          .ratio =
                                              (double)info.out * (double)info.in / (double)(values > 0 ? values : 1),
                                          .row_transform = transform ? transform : info.row_transform,
                                          .column_transform = transform ? transform : info.column_transform,
                                          .alpha = info.has_alpha ? RBE_ALPHA_AUTO : RBE_ALPHA_OFF,
                                          .overlap = info.overlap < block / 2 ? info.overlap : block / 2,
                                          .image_height = info.image_height,
                                          .image_width = info.image_width};
    rbe_blocks *blocks;
    rbe_status status = t->options.weights ? rbe_compress(&blocks, t->options.weights, info.out, info.in, &options)
                                           : rbe_recompress(&blocks, NULL, NULL, layer->blocks, &options);
    if (status == RBE_INVALID_ARGUMENT && rbe_block_size_valid(block)) return RBE_OK; /* too small a budget */
    if (status != RBE_OK) return status;
    const float *bias = layer->bias ? layer->bias->value : NULL;
    rbe_layer *candidate = rbe_linear_from_blocks(blocks, bias, bias ? info.out : 0,
                                                  &(rbe_linear_options){.name = layer->base.name,
                                                                        .batch_threshold = layer->batch_threshold,
                                                                        .use_cache = layer->use_cache});
    if (!candidate) return rbe_last_status();
    t->layers[t->report.count] = candidate;
    describe(&t->report.candidates[t->report.count++], candidate);
    return RBE_OK;
}

static rbe_status add_candidates(tuning *t) {
    const rbe_tune_options *o = &t->options;
    t->layers[0] = &t->layer->base;
    describe(&t->report.candidates[0], t->layers[0]);
    t->report.count = 1;
    size_t groups = o->group_count ? o->group_count : 1, transforms = o->transform_count ? o->transform_count : 1;
    for (size_t b = 0; b < o->block_count; b++)
        for (size_t g = 0; g < groups; g++)
            for (size_t k = 0; k < transforms; k++)
                RBE_TRY(add_candidate(t, o->blocks[b], o->group_count ? o->groups[g] : t->layer->blocks->group,
                                      o->transform_count ? o->transforms[k] : NULL));
    return RBE_OK;
}

/* ---- judging ------------------------------------------------------------------------------------------------- */

/* y (count x rows, of a matrix of `out` columns) = X W^T for some rows of W */
static void multiply(const tuning *t, const float *w, size_t rows, float *y) {
    size_t in = t->layer->base.in, out = t->layer->base.out;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)t->count, (int)rows, (int)in, 1.0f, t->samples, (int)in,
                w, (int)in, 0.0f, y, (int)out);
}

/* Outputs of a compressed matrix, a few rows of it at a time; those of the matrix to be compressed if NULL. */
static rbe_status compute_outputs(const tuning *t, const rbe_blocks *blocks, float *y) {
    enum { ROWS_AT_A_TIME = 256 };
    size_t in = t->layer->base.in, out = t->layer->base.out;
    if (!blocks && t->options.weights) {
        multiply(t, t->options.weights, out, y);
        return RBE_OK;
    }
    float *w = rbe_alloc(ROWS_AT_A_TIME * in, sizeof *w);
    if (!w) return rbe_last_status();
    rbe_status status = RBE_OK;
    for (size_t first = 0; first < out && status == RBE_OK; first += ROWS_AT_A_TIME) {
        size_t rows = out - first < ROWS_AT_A_TIME ? out - first : ROWS_AT_A_TIME;
        status = rbe_decompress_rows(blocks ? blocks : t->layer->blocks, first, rows, w);
        if (status == RBE_OK) multiply(t, w, rows, y + first);
    }
    rbe_free(w);
    return status;
}

static rbe_status measure_error(tuning *t, size_t n) {
    RBE_TRY(compute_outputs(t, rbe_linear_blocks(t->layers[n]), t->outputs));
    double difference = 0.0, norm = 0.0;
    for (size_t k = 0; k < t->count * t->layer->base.out; k++) {
        double d = (double)t->outputs[k] - (double)t->expected[k];
        difference += d * d;
        norm += (double)t->expected[k] * (double)t->expected[k];
    }
    t->report.candidates[n].error = norm > 0.0 ? sqrt(difference / norm) : 0.0;
    return RBE_OK;
}

static double quality(const rbe_tune_candidate *c) { return fmax(0.0, 1.0 - c->error * c->error); }

static void score(tuning *t) {
    const rbe_tune_options *o = &t->options;
    rbe_tune_report *r = &t->report;
    double bytes = INFINITY, seconds = INFINITY, best = 0.0;
    for (size_t n = 0; n < r->count; n++) {
        bytes = fmin(bytes, (double)r->candidates[n].bytes);
        seconds = fmin(seconds, r->candidates[n].seconds);
        best = fmax(best, quality(&r->candidates[n]));
    }
    for (size_t n = 0; n < r->count; n++) {
        rbe_tune_candidate *c = &r->candidates[n];
        c->memory_score = bytes / (double)c->bytes;
        c->speed_score = c->seconds > 0.0 ? seconds / c->seconds : 1.0;
        c->accuracy_score = best > 0.0 ? quality(c) / best : 1.0;
        c->score = (o->memory * c->memory_score + o->speed * c->speed_score + o->accuracy * c->accuracy_score) /
                   (o->memory + o->speed + o->accuracy);
        if (c->score > r->candidates[r->chosen].score) r->chosen = n;
    }
}

static rbe_status judge(tuning *t) {
    size_t floats = t->count * t->layer->base.out;
    t->expected = rbe_alloc(floats, sizeof *t->expected);
    t->outputs = rbe_alloc(floats, sizeof *t->outputs);
    if (!t->expected || !t->outputs) return rbe_last_status();
    RBE_TRY(add_candidates(t));
    RBE_TRY(compute_outputs(t, NULL, t->expected));
    for (size_t n = 0; n < t->report.count; n++) RBE_TRY(measure_error(t, n));
    RBE_TRY(rbe_time_layers(t->layers, t->report.count, t->samples, t->count, t->options.rounds, t->seconds));
    for (size_t n = 0; n < t->report.count; n++) t->report.candidates[n].seconds = t->seconds[n];
    score(t);
    return RBE_OK;
}

/* ---- the exchange -------------------------------------------------------------------------------------------- */

/* Pointers into the struct itself, after its contents came from `from`. */
static void own_parameters(rbe_linear_layer *layer, const rbe_linear_layer *from) {
    layer->base.params = layer->params;
    layer->alpha = layer->alpha ? layer->params + (layer->alpha - from->params) : NULL;
    layer->bias = layer->bias ? layer->params + (layer->bias - from->params) : NULL;
}

/* Rates that a user may have set, and what is frozen, stay with the layer. */
static void keep_rates(rbe_linear_layer *layer, const rbe_linear_layer *kept) {
    layer->params[0].lr_scale = kept->params[0].lr_scale;
    layer->params[0].frozen = kept->params[0].frozen;
    if (layer->alpha) {
        layer->alpha->lr_scale = kept->alpha ? kept->params[1].lr_scale : kept->usual_rate;
        layer->alpha->frozen = kept->alpha ? kept->params[1].frozen : kept->params[0].frozen;
    }
    if (layer->bias) {
        layer->bias->lr_scale = kept->params[kept->base.param_count - 1].lr_scale;
        layer->bias->frozen = kept->params[kept->base.param_count - 1].frozen;
    }
}

/* What makes the two layers' matrices changes places; name, rates, probe and counters stay. */
static void exchange(rbe_linear_layer *a, rbe_linear_layer *b) {
    rbe_linear_layer kept = *a;
    memcpy(a->params, b->params, sizeof a->params);
    a->alpha = b->alpha;
    a->bias = b->bias;
    a->blocks = b->blocks;
    a->plan = b->plan;
    a->base.param_count = b->base.param_count;
    own_parameters(a, b);
    keep_rates(a, &kept);
    memcpy(b->params, kept.params, sizeof b->params);
    b->alpha = kept.alpha;
    b->bias = kept.bias;
    b->blocks = kept.blocks;
    b->plan = kept.plan;
    b->base.param_count = kept.base.param_count;
    own_parameters(b, a);
}

/* ---- the call ------------------------------------------------------------------------------------------------ */

static rbe_status check(const tuning *t) {
    const rbe_tune_options *o = &t->options;
    if (!t->layer) return rbe_fail(RBE_INVALID_ARGUMENT, "block size: expected a compressed layer");
    if (!t->samples || t->count == 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "block size: expected samples of the layer's inputs, found none");
    if (t->count > INT_MAX)
        return rbe_fail(RBE_INVALID_ARGUMENT, "block size: expected at most %d samples, found %zu", INT_MAX, t->count);
    const double weights[] = {o->memory, o->speed, o->accuracy};
    for (int n = 0; n < 3; n++)
        if (!(weights[n] >= 0.0 && isfinite(weights[n])))
            return rbe_fail(RBE_INVALID_ARGUMENT, "block size: expected weights >= 0, found %g", weights[n]);
    const size_t most = RBE_TUNE_MAX - 1;
    if (o->block_count > most || o->group_count > most || o->transform_count > most ||
        o->block_count * (o->group_count ? o->group_count : 1) * (o->transform_count ? o->transform_count : 1) > most)
        return rbe_fail(RBE_INVALID_ARGUMENT, "block size: expected at most %zu candidates, found %zu x %zu x %zu",
                        most, o->block_count, o->group_count, o->transform_count);
    for (size_t n = 0; n < o->block_count; n++)
        if (!rbe_block_size_valid(o->blocks[n]))
            return rbe_fail(RBE_INVALID_ARGUMENT, "block size: expected powers of two, 8 .. 256, found %zu",
                            o->blocks[n]);
    size_t in = t->layer->base.in;
    size_t n = rbe_first_nonfinite(t->samples, t->count * in);
    if (n == t->count * in) return RBE_OK;
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "block size: sample %zu, input %zu is %g", n / in, n % in,
                    (double)t->samples[n]);
}

rbe_status rbe_optimize_block_size(rbe_layer *layer, const float *samples, size_t count,
                                   const rbe_tune_options *options, rbe_tune_report *report) {
    tuning t = {.layer = rbe_layer_as_linear(layer), .samples = samples, .count = count};
    if (options) t.options = *options;
    rbe_tune_options *o = &t.options;
    if (o->memory == 0.0 && o->speed == 0.0 && o->accuracy == 0.0) {
        o->memory = 0.3;
        o->speed = 0.4;
        o->accuracy = 0.3;
    }
    if (o->rounds == 0) o->rounds = 15;
    if (!o->blocks || o->block_count == 0) {
        o->blocks = default_blocks;
        o->block_count = sizeof default_blocks / sizeof *default_blocks;
    }
    RBE_TRY(check(&t));
    if (rbe_blas_enter(1) == 0) return rbe_last_status();
    rbe_status status = judge(&t);
    rbe_blas_leave(1);
    if (status == RBE_OK) {
        if (t.report.chosen > 0) {
            exchange(t.layer, rbe_layer_as_linear(t.layers[t.report.chosen]));
            rbe_linear_blocks_changed(t.layer);
        }
        if (report) *report = t.report;
    }
    for (size_t n = 1; n < t.report.count; n++) rbe_layer_free(t.layers[n]);
    rbe_free(t.expected);
    rbe_free(t.outputs);
    return status;
}
