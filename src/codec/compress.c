/* The public face of compression: options, the choice of transforms, the search for a budget, the report. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failure.h"
#include "codec/compressor.h"

/* What one choice of transforms came to. */
typedef struct outcome {
    rbe_blocks *blocks;
    rbe_distance distance;
    float *bias_change; /* NULL: not wanted */
} outcome;

static void outcome_free(outcome *o) {
    rbe_blocks_free(o->blocks);
    rbe_free(o->bias_change);
    *o = (outcome){0};
}

/* One matrix to be compressed. */
typedef struct task {
    const rbe_row_source *source;
    rbe_compress_options options;
    rbe_inputs inputs;
    bool measured; /* for the report, the target, a choice or the bias */
    bool corrects_bias;
} task;

static rbe_status check_options(const rbe_compress_options *o) {
    if (o->target_error != 0.0 && !(o->target_error > 0.0 && o->target_error < 1.0))
        return rbe_fail(RBE_INVALID_ARGUMENT, "target_error: expected 0 < error < 1, found %g", o->target_error);
    if (o->target_error != 0.0 && (o->coeffs > 0 || o->ratio != 0.0))
        return rbe_fail(RBE_INVALID_ARGUMENT, "expected a budget or target_error, found both");
    if (!(o->min_compression >= 0.0 && isfinite(o->min_compression)))
        return rbe_fail(RBE_INVALID_ARGUMENT, "min_compression: expected at least 0, found %g", o->min_compression);
    return RBE_OK;
}

/* ---- one choice of transforms -------------------------------------------------------------------------------- */

static rbe_status run(const task *t, rbe_compressor *c, outcome *o) {
    RBE_TRY(rbe_compressor_run(c, &o->blocks));
    if (!t->measured) return RBE_OK;
    if (t->corrects_bias) {
        o->bias_change = rbe_alloc(t->source->out, sizeof *o->bias_change);
        if (!o->bias_change) return rbe_last_status();
    }
    return rbe_compressor_measure(t->source, &t->inputs, o->blocks, &o->distance, o->bias_change);
}

static double error_that_counts(const task *t, const outcome *o) {
    return t->inputs.count > 0 ? o->distance.outputs : o->distance.weights;
}

/* The least number of coefficients, to 1/500, that reaches the target: doubled until it does, then by bisection. */
static rbe_status search(const task *t, rbe_compressor *c, outcome *best) {
    size_t all = c->shape->grid_rows * c->shape->grid_cols * c->shape->block * c->shape->block;
    size_t low = 0, high = all, next = all / 64 + 1;
    c->geometry.coeffs = 0;
    while (!best->blocks || high - low > high / 500 + 1) {
        outcome o = {0};
        c->geometry.value_limit = next < high ? next : high;
        rbe_status status = run(t, c, &o);
        double error = error_that_counts(t, &o);
        if (status == RBE_OK && error <= t->options.target_error) {
            high = c->geometry.value_limit;
            outcome_free(best);
            *best = o;
        } else {
            low = c->geometry.value_limit;
            outcome_free(&o);
        }
        RBE_TRY(status);
        if (low == all)
            return rbe_fail(RBE_INSUFFICIENT_COMPRESSION,
                            "target_error: %g is out of reach: all %zu coefficients leave an error of %g",
                            t->options.target_error, all, error);
        next = best->blocks ? low + (high - low) / 2 : 2 * low;
    }
    return RBE_OK;
}

static rbe_status attempt(const task *t, const rbe_compress_options *options, outcome *o) {
    rbe_compressor c;
    *o = (outcome){0};
    RBE_TRY(rbe_compressor_new(&c, t->source, &t->inputs, options));
    rbe_status status = options->target_error > 0.0 ? search(t, &c, o) : run(t, &c, o);
    rbe_compressor_free(&c);
    if (status != RBE_OK) outcome_free(o);
    return status;
}

/* ---- all choices --------------------------------------------------------------------------------------------- */

static size_t value_count(const rbe_blocks *blocks) {
    rbe_blocks_info info = rbe_blocks_describe(blocks);
    return info.coefficients + info.alphas;
}

static bool is_better(const task *t, const outcome *o, const outcome *best) {
    if (!best->blocks) return true;
    if (t->options.target_error > 0.0) return value_count(o->blocks) < value_count(best->blocks);
    return error_that_counts(t, o) < error_that_counts(t, best);
}

static rbe_status try_pair(const task *t, const rbe_compress_options *options, outcome *best) {
    outcome one;
    rbe_status status = attempt(t, options, &one);
    if (status == RBE_OK && is_better(t, &one, best)) {
        outcome_free(best);
        *best = one;
    } else {
        outcome_free(&one);
    }
    /* A target that one choice cannot reach may be reached by another. */
    return status == RBE_INSUFFICIENT_COMPRESSION ? RBE_OK : status;
}

/* All pairs of the axes that are open: which transform is best on one axis depends on that of the other. */
static rbe_status best_of_all(const task *t, outcome *best) {
    static const char *const names[] = {"dct", "haar", "db4", "wht", "identity"};
    const size_t count = sizeof names / sizeof *names;
    rbe_compress_options o = t->options;
    bool rows = o.adaptive && !o.row_transform;
    bool columns = o.adaptive && !o.column_transform && o.image_height == 0;
    rbe_status status = RBE_OK;
    for (size_t r = 0; r < (rows ? count : 1); r++)
        for (size_t c = 0; c < (columns ? count : 1) && status == RBE_OK; c++) {
            if (rows) o.row_transform = rbe_transform_named(names[r]);
            if (columns) o.column_transform = rbe_transform_named(names[c]);
            status = try_pair(t, &o, best);
        }
    if (status == RBE_OK && !best->blocks) status = rbe_last_status(); /* nothing reaches the target */
    if (status != RBE_OK) outcome_free(best);
    return status;
}

static double byte_ratio(const rbe_blocks *blocks) {
    rbe_blocks_info info = rbe_blocks_describe(blocks);
    return (double)info.out * (double)info.in * sizeof(float) /
           (double)(info.value_bytes + info.position_bytes + info.alpha_bytes);
}

static rbe_status check_compression(const rbe_compress_options *o, const rbe_blocks *blocks) {
    double least = o->min_compression > 0.0 ? o->min_compression : o->target_error > 0.0 ? 1.0 : 0.0;
    double found = byte_ratio(blocks);
    if (found >= least) return RBE_OK;
    return rbe_fail(RBE_INSUFFICIENT_COMPRESSION, "compression ratio %.3f of all bytes, expected at least %.3f", found,
                    least);
}

static rbe_compress_report report_of(const outcome *o, double start) {
    rbe_blocks_info info = rbe_blocks_describe(o->blocks);
    return (rbe_compress_report){.relative_error = o->distance.weights,
                                 .snr = -20.0 * log10(o->distance.weights),
                                 .output_error = o->distance.outputs,
                                 .value_ratio =
                                     (double)info.out * (double)info.in / (double)(info.coefficients + info.alphas),
                                 .byte_ratio = byte_ratio(o->blocks),
                                 .seconds = rbe_seconds() - start,
                                 .row_transform = info.row_transform,
                                 .column_transform = info.column_transform};
}

/* Makes the change of the bias the bias itself. */
static rbe_status add_bias(outcome *o, const float *bias, size_t out) {
    for (size_t r = 0; r < out; r++) {
        o->bias_change[r] += bias[r];
        if (!isfinite(o->bias_change[r]))
            return rbe_fail(RBE_NUMERICAL_INSTABILITY, "bias %zu, %g, would be corrected to %g", r, (double)bias[r],
                            (double)o->bias_change[r]);
    }
    return RBE_OK;
}

static rbe_status compress(rbe_blocks **blocks, float *bias, rbe_compress_report *report, const rbe_row_source *source,
                           const rbe_compress_options *options) {
    double start = rbe_seconds();
    task t = {.source = source};
    if (options) t.options = *options;
    RBE_TRY(check_options(&t.options));
    rbe_geometry geometry; /* bad options are found before anything is computed */
    RBE_TRY(rbe_geometry_make(&geometry, source->out, source->in, &t.options, 1));
    RBE_TRY(rbe_inputs_new(&t.inputs, source->in, &t.options));
    t.corrects_bias = bias && t.inputs.count > 0;
    t.measured = report || t.corrects_bias || t.options.adaptive || t.options.target_error > 0.0;

    outcome best = {0};
    rbe_status status = best_of_all(&t, &best);
    if (status == RBE_OK) status = check_compression(&t.options, best.blocks);
    if (status == RBE_OK && t.corrects_bias) status = add_bias(&best, bias, source->out);
    if (status == RBE_OK) {
        if (t.corrects_bias) memcpy(bias, best.bias_change, source->out * sizeof *bias);
        if (report) *report = report_of(&best, start);
        *blocks = best.blocks;
        best.blocks = NULL;
    }
    outcome_free(&best);
    rbe_inputs_free(&t.inputs);
    return status;
}

/* ---- from dense weights, and from blocks --------------------------------------------------------------------- */

typedef struct dense_source {
    const float *weights;
    size_t in;
} dense_source;

static void read_dense(void *self, size_t first, size_t count, float *rows) {
    const dense_source *dense = self;
    memcpy(rows, dense->weights + first * dense->in, count * dense->in * sizeof *rows);
}

rbe_status rbe_compress_weights(rbe_blocks **blocks, float *bias, rbe_compress_report *report, const float *weights,
                                size_t out, size_t in, const rbe_compress_options *options) {
    if (!blocks) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_compress: the result pointer is NULL");
    *blocks = NULL;
    if (!weights) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_compress: the weights are NULL");
    rbe_geometry geometry;
    RBE_TRY(rbe_geometry_make(&geometry, out, in, options, 1));
    size_t bad = rbe_first_nonfinite(weights, out * in);
    if (bad < out * in)
        return rbe_fail(RBE_NUMERICAL_INSTABILITY, "weight (%zu, %zu) is %g", bad / in, bad % in, (double)weights[bad]);
    dense_source dense = {weights, in};
    return compress(blocks, bias, report, &(rbe_row_source){out, in, read_dense, &dense, true}, options);
}

rbe_status rbe_compress(rbe_blocks **blocks, const float *weights, size_t out, size_t in,
                        const rbe_compress_options *options) {
    return rbe_compress_weights(blocks, NULL, NULL, weights, out, in, options);
}

rbe_status rbe_recompress(rbe_blocks **blocks, float *bias, rbe_compress_report *report, const rbe_blocks *source,
                          const rbe_compress_options *options) {
    if (!blocks) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_recompress: the result pointer is NULL");
    *blocks = NULL;
    RBE_TRY(rbe_blocks_check(source));
    rbe_block_reader reader;
    RBE_TRY(rbe_block_reader_new(&reader, source));
    rbe_row_source rows = {source->output_side.length, source->input_side.length, rbe_block_reader_read, &reader,
                           false};
    rbe_status status = compress(blocks, bias, report, &rows, options);
    rbe_block_reader_free(&reader);
    return status;
}
