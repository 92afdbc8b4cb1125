/* What the loss says about the stored coefficients: mean gradient and diagonal Fisher information.
 *
 *     F = 1/N sum_n (d loss_n / d c)^2      d loss_n / dS_p [i, j] = dYh_p[n, i] Xh[n, j]
 *
 * The gradient of one sample's loss with respect to a coefficient is a product of two numbers, so that F at all
 * positions of a block row is one product of squared matrices, (dYh_p^2)^T (Xh^2). The backward pass of a mean loss
 * brings dY / N: hence the factors N.
 */
#include "adapt/sensitivity.h"

#include <string.h>

#include "adapt/spectrum.h"
#include "base/alloc.h"
#include "codec/entries.h"
#include "nn/layer.h"
#include "tensor/node.h"

/* ---- a batch ------------------------------------------------------------------------------------------------- */

static rbe_status see_backward(void *user, const rbe_linear_layer *layer, const float *x, const float *dy, size_t rows,
                               rbe_tape *tape) {
    rbe_layer_sensitivity *l = user;
    const rbe_blocks *b = layer->blocks;
    rbe_spectrum spectrum;
    RBE_TRY(rbe_spectrum_open(&spectrum, b, x, dy, rows, true, &tape->arena));
    float scale = (float)(l->scale * l->scale);
    for (size_t p = 0; p < b->grid_rows; p++) {
        const float *sums = rbe_spectrum_block_row(&spectrum, p);
        if (!sums) return rbe_last_status();
        for (rbe_walk at = rbe_walk_group(b, p / b->group); rbe_walk_next(&at);)
            l->batch_squares[at.value + p % b->group] += scale * sums[at.list.frequency * spectrum.columns + at.column];
    }
    return RBE_OK;
}

/* The sums of a batch whose backward pass has come to its end. */
static void add_batch(rbe_layer_sensitivity *l) {
    const rbe_param *coefficients = &l->layer->params[0];
    if (!coefficients->grad_set) return; /* the loss does not depend on the layer */
    for (size_t k = 0; k < l->value_count; k++) {
        l->squares[k] += l->batch_squares[k];
        l->gradient[k] += (float)l->scale * coefficients->grad[k];
    }
}

/* Nothing is dropped: this is an evaluation, but one that needs gradients. */
static rbe_status run(rbe_sensitivity *s, rbe_tape *tape, rbe_tensor x, const int32_t *labels) {
    tape->drops_nothing = true;
    rbe_var *logits = rbe_model_forward(s->model, rbe_input(tape, x));
    RBE_TRY(rbe_tape_report(tape));
    size_t samples = rbe_tensor_rows(&x), rows = rbe_tensor_rows(rbe_value(logits));
    if (rows != samples)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "sensitivity: the model gave %zu rows of outputs for %zu samples",
                        rows, samples);
    for (size_t n = 0; n < s->count; n++) {
        rbe_layer_sensitivity *l = &s->layers[n];
        l->scale = (double)samples;
        memset(l->batch_squares, 0, l->value_count * sizeof *l->batch_squares);
        l->layer->probe = (rbe_linear_probe){see_backward, l};
    }
    rbe_status status = rbe_backward(rbe_cross_entropy(logits, labels));
    for (size_t n = 0; n < s->count; n++) s->layers[n].layer->probe = (rbe_linear_probe){0};
    if (status != RBE_OK) return status;
    for (size_t n = 0; n < s->count; n++) add_batch(&s->layers[n]);
    s->samples += samples;
    return RBE_OK;
}

/* Whether nothing stands in the way of a backward pass of our own. */
static rbe_status check_layers(const rbe_sensitivity *s) {
    const rbe_param *param;
    for (size_t n = 0; (param = rbe_model_param(s->model, n)); n++)
        if (param->grad_set)
            return rbe_fail(RBE_INVALID_ARGUMENT, "sensitivity: %s has a gradient that no optimiser's step has used",
                            param->name);
    for (size_t n = 0; n < s->count; n++) {
        const rbe_linear_layer *layer = s->layers[n].layer;
        if (layer->generation != s->layers[n].generation)
            return rbe_fail(RBE_INVALID_ARGUMENT, "sensitivity: the positions of %s have changed since it was made",
                            layer->base.name);
        if (layer->probe.see)
            return rbe_fail(RBE_INVALID_ARGUMENT,
                            "sensitivity: %s already has a backward hook (another growth or sensitivity is active)",
                            layer->base.name);
    }
    return RBE_OK;
}

rbe_status rbe_sensitivity_add(rbe_sensitivity *s, rbe_tensor x, const int32_t *labels) {
    if (!s)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "rbe_sensitivity_add: the sensitivity is NULL; did rbe_sensitivity_new fail?");
    RBE_TRY(check_layers(s));
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_status status = tape ? run(s, tape, x, labels) : rbe_last_status();
    rbe_tape_free(tape);
    rbe_param *param;
    for (size_t n = 0; (param = rbe_model_param(s->model, n)); n++) param->grad_set = false;
    return status;
}

size_t rbe_sensitivity_samples(const rbe_sensitivity *s) { return s ? s->samples : 0; }

/* ---- making, freeing, finding -------------------------------------------------------------------------------- */

static rbe_status fill(rbe_sensitivity *s) {
    size_t layers = 0;
    while (rbe_model_layer(s->model, layers)) layers++;
    s->layers = rbe_alloc_zeroed(layers, sizeof *s->layers);
    if (!s->layers) return rbe_last_status();
    for (size_t n = 0; n < layers; n++) {
        rbe_linear_layer *linear = rbe_layer_as_linear(rbe_model_layer(s->model, n));
        if (!linear) continue;
        rbe_layer_sensitivity *l = &s->layers[s->count++];
        l->layer = linear;
        l->value_count = linear->blocks->value_count;
        l->generation = linear->generation;
        l->batch_squares = rbe_alloc(l->value_count, sizeof *l->batch_squares);
        l->squares = rbe_alloc_zeroed(l->value_count, sizeof *l->squares);
        l->gradient = rbe_alloc_zeroed(l->value_count, sizeof *l->gradient);
        if (!l->batch_squares || !l->squares || !l->gradient) return RBE_INSUFFICIENT_MEMORY;
    }
    if (s->count == 0) return rbe_fail(RBE_INVALID_ARGUMENT, "sensitivity: the model has no compressed layer");
    return RBE_OK;
}

rbe_sensitivity *rbe_sensitivity_new(const rbe_model *model) {
    if (rbe_model_status(model) != RBE_OK) return NULL;
    rbe_sensitivity *s = rbe_alloc_zeroed(1, sizeof *s);
    if (!s) return NULL;
    s->model = model;
    if (fill(s) == RBE_OK) return s;
    rbe_sensitivity_free(s);
    return NULL;
}

void rbe_sensitivity_free(rbe_sensitivity *s) {
    if (!s) return;
    for (size_t n = 0; n < s->count; n++) {
        rbe_free(s->layers[n].batch_squares);
        rbe_free(s->layers[n].squares);
        rbe_free(s->layers[n].gradient);
    }
    rbe_free(s->layers);
    rbe_free(s);
}

const rbe_layer_sensitivity *rbe_sensitivity_of(const rbe_sensitivity *s, const rbe_linear_layer *layer) {
    const char *name = layer->base.name;
    for (size_t n = 0; s && n < s->count; n++) {
        const rbe_layer_sensitivity *l = &s->layers[n];
        if (l->layer != layer) continue;
        if (s->samples > 0 && l->generation == layer->generation) return l;
        rbe_fail(RBE_INVALID_ARGUMENT, "sensitivity of %s: %s", name,
                 s->samples == 0 ? "no samples were added" : "its positions have changed since");
        return NULL;
    }
    rbe_fail(RBE_INVALID_ARGUMENT, "pruning %s by this score needs a sensitivity of its model", name);
    return NULL;
}
