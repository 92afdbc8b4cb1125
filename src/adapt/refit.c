/* Refit on activations: of all coefficients at the kept positions, and alphas, those whose outputs are nearest to
 * what they were, for the inputs that the layer really sees (codec/activations.h says how). The bias takes up the
 * rest:
 *
 *     b' = b + (W - W') mean(x)
 */
#include "adapt/refit.h"

#include <string.h>

#include "base/alloc.h"
#include "codec/activations.h"
#include "codec/entries.h"

/* Tables and scratch for the groups of a layer; `change` is a strip of W - W'. */
typedef struct workspace {
    const rbe_blocks *b;
    rbe_inputs inputs;
    rbe_strips strips;
    rbe_activations activations;
    double *spectra, *alpha, *change;
    uint8_t *keep; /* of a group: B x width */
    float *mean;   /* of the inputs, as the blocks see them */
} workspace;

static void workspace_free(workspace *w) {
    rbe_inputs_free(&w->inputs);
    rbe_strips_free(&w->strips);
    rbe_activations_free(&w->activations);
    rbe_free(w->spectra);
    rbe_free(w->alpha);
    rbe_free(w->change);
    rbe_free(w->keep);
    rbe_free(w->mean);
}

static rbe_status map_mean(workspace *w) {
    const rbe_side *side = &w->b->input_side;
    w->mean = rbe_alloc_zeroed(w->strips.width + side->length + rbe_side_scratch(side, 1, 1), sizeof(float));
    if (!w->mean) return rbe_last_status();
    float *plain = w->mean + w->strips.width;
    for (size_t c = 0; c < side->length; c++) plain[c] = (float)w->inputs.mean[c];
    rbe_side_apply(side, plain, 1, 1, w->mean, plain + side->length);
    return RBE_OK;
}

static rbe_status workspace_new(workspace *w, const rbe_blocks *b, const float *samples, size_t count) {
    *w = (workspace){.b = b};
    const rbe_compress_options options = {.samples = samples, .sample_count = count};
    RBE_TRY(rbe_inputs_new(&w->inputs, b->input_side.length, &options));
    RBE_TRY(rbe_strips_new(&w->strips, b));
    RBE_TRY(rbe_activations_new(&w->activations, &w->inputs, &w->strips));
    size_t strip = b->block * w->strips.width;
    w->spectra = rbe_alloc(b->group * strip, sizeof *w->spectra);
    w->alpha = rbe_alloc_zeroed(b->group * RBE_BASIS_COUNT * b->grid_cols, sizeof *w->alpha);
    w->change = rbe_alloc(strip, sizeof *w->change);
    w->keep = rbe_alloc(strip, sizeof *w->keep);
    if (!w->spectra || !w->alpha || !w->change || !w->keep) return RBE_INSUFFICIENT_MEMORY;
    return map_mean(w);
}

/* Where an entry stands in a strip. */
static size_t place(const workspace *w, const rbe_walk *at) {
    return at->list.frequency * w->strips.width + at->column;
}

/* The group as it is, dense. */
static void read_group(workspace *w, size_t g, const uint8_t *keep) {
    const rbe_blocks *b = w->b;
    size_t strip = b->block * w->strips.width, rows = rbe_group_rows(b, g);
    memset(w->spectra, 0, rows * strip * sizeof *w->spectra);
    memset(w->keep, 0, strip);
    for (rbe_walk at = rbe_walk_group(b, g); rbe_walk_next(&at);)
        for (size_t m = 0; m < rows; m++) {
            w->spectra[m * strip + place(w, &at)] = (double)b->values[at.value + m];
            if (keep[at.value + m]) w->keep[place(w, &at)] = 1;
        }
    for (size_t m = 0; b->alpha && m < rows; m++)
        for (size_t q = 0; q < b->grid_cols; q++)
            for (size_t l = 0; l < RBE_BASIS_COUNT; l++)
                w->alpha[(m * b->grid_cols + q) * RBE_BASIS_COUNT + l] =
                    (double)*rbe_block_alpha(b, g * b->group + m, q, l);
}

/* Writes values and alphas of the group's m-th block row, and leaves what it changes of S and alpha. */
static void store_row(workspace *w, rbe_refit *refit, size_t g, size_t m) {
    const rbe_blocks *b = w->b;
    const double *fitted = w->spectra + m * b->block * w->strips.width;
    memset(w->change, 0, b->block * w->strips.width * sizeof *w->change);
    for (rbe_walk at = rbe_walk_group(b, g); rbe_walk_next(&at);) {
        float *next = &refit->values[at.value + m];
        *next = w->keep[place(w, &at)] ? (float)fitted[place(w, &at)] : 0.0f;
        w->change[place(w, &at)] = (double)b->values[at.value + m] - (double)*next;
    }
    rbe_strip_synthesise(&w->strips, w->change);
    if (!b->alpha) return;
    double *alpha = w->alpha + m * b->grid_cols * RBE_BASIS_COUNT;
    for (size_t q = 0; q < b->grid_cols; q++)
        for (size_t l = 0; l < RBE_BASIS_COUNT; l++) {
            const float *old = rbe_block_alpha(b, g * b->group + m, q, l);
            float *next = &refit->alpha[old - b->alpha];
            *next = (float)alpha[q * RBE_BASIS_COUNT + l];
            alpha[q * RBE_BASIS_COUNT + l] = (double)*old - (double)*next;
        }
    rbe_strip_add(&w->strips, w->strips.psi, 1.0, alpha, w->change);
}

static void correct_bias(const workspace *w, rbe_refit *refit, const float *bias, size_t p) {
    const rbe_blocks *b = w->b;
    for (size_t r = 0; r < b->block && p * b->block + r < b->out; r++) {
        double sum = (double)bias[p * b->block + r];
        for (size_t c = 0; c < w->strips.width; c++) sum += w->change[r * w->strips.width + c] * (double)w->mean[c];
        refit->bias[p * b->block + r] = (float)sum;
    }
}

static rbe_status fit(workspace *w, rbe_refit *refit, const rbe_linear_layer *layer, const uint8_t *keep) {
    const rbe_blocks *b = w->b;
    for (size_t g = 0; g < b->groups; g++) {
        read_group(w, g, keep);
        RBE_TRY(rbe_activations_fit(&w->activations, &w->strips, rbe_group_rows(b, g), w->keep, w->spectra, w->alpha));
        for (size_t m = 0; m < rbe_group_rows(b, g); m++) {
            store_row(w, refit, g, m);
            if (refit->bias) correct_bias(w, refit, layer->bias->value, g * b->group + m);
        }
    }
    return RBE_OK;
}

rbe_status rbe_refit_make(rbe_refit *refit, const rbe_linear_layer *layer, const uint8_t *keep, const float *samples,
                          size_t count) {
    const rbe_blocks *b = layer->blocks;
    *refit = (rbe_refit){0};
    if (b->output_side.kind == RBE_SIDE_OVERLAP)
        return rbe_fail(RBE_INVALID_ARGUMENT, "refit of %s: expected blocks that do not overlap", layer->base.name);
    workspace w;
    rbe_status status = workspace_new(&w, b, samples, count);
    if (status == RBE_OK) {
        refit->values = rbe_alloc(b->value_count, sizeof(float));
        if (layer->alpha) refit->alpha = rbe_alloc(layer->alpha->count, sizeof(float));
        if (layer->bias) refit->bias = rbe_alloc(layer->bias->count, sizeof(float));
        bool whole = refit->values && (refit->alpha || !layer->alpha) && (refit->bias || !layer->bias);
        status = whole ? fit(&w, refit, layer, keep) : RBE_INSUFFICIENT_MEMORY;
    }
    workspace_free(&w);
    if (status != RBE_OK) rbe_refit_free(refit);
    return status;
}

void rbe_refit_free(rbe_refit *refit) {
    rbe_free(refit->values);
    rbe_free(refit->alpha);
    rbe_free(refit->bias);
    *refit = (rbe_refit){0};
}
