/* Training with values that are whole numbers of steps (codec/quantise.h): what a step of the optimiser makes of a value is
 * rounded, and what the rounding takes is kept in a companion and comes back with the next.
 *
 *     exact = value + error,    value = exact rounded,    error = exact - value
 *
 * The optimiser adds its change to the value, so that the exact value gets it whole: a straight-through gradient (Bengio et
 * al. 2013), which is taken where the network is and moves what is behind it. Forward passes, files, growth and
 * pruning see values, and need not know.
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/failure.h"
#include "nn/bits.h"
#include "nn/param.h"
#include "rbe/adapt.h"

#define ERROR "rounding" /* the companion */

struct rbe_quantiser {
    rbe_model *model;
    size_t from;
};

/* ---- the step ------------------------------------------------------------------------------------------------ */

/* value + error -> value, error. The exact values are in `error` meanwhile. */
static rbe_status round_values(rbe_param *param, const rbe_rows *rows, float *steps, float *error) {
    float *value = param->value;
    for (size_t n = 0; n < param->count; n++) error[n] += value[n];
    const size_t sound = rbe_quantise_steps(rows, param->bits, error, steps);
    if (sound < param->count) {
        const float found = error[sound];
        for (size_t n = 0; n < param->count; n++) error[n] -= value[n];
        return rbe_fail(RBE_NUMERICAL_INSTABILITY, "%s: value %zu of %zu is %g: it cannot be rounded to %u bits",
                        param->name, sound, param->count, (double)found, param->bits);
    }
    rbe_quantise(rows, error, steps, value);
    rbe_dequantise(rows, steps, value);
    for (size_t n = 0; n < param->count; n++) error[n] -= value[n];
    return RBE_OK;
}

static rbe_status round_param(const rbe_layer *layer, rbe_param *param) {
    float *error = rbe_param_companion(param, ERROR);
    if (!error) RBE_TRY(rbe_param_add_companion(param, ERROR, &error));
    const rbe_rows rows = rbe_param_rows(layer, param);
    float *steps = rbe_alloc(rows.count, sizeof *steps);
    rbe_status status = steps ? round_values(param, &rows, steps, error) : rbe_last_status();
    rbe_free(steps);
    return status;
}

typedef rbe_status param_visitor(const rbe_layer *layer, rbe_param *param);

/* All parameters that have bits. */
static rbe_status each_param(rbe_model *model, param_visitor *see) {
    rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++)
        for (size_t k = 0; k < layer->param_count; k++)
            if (layer->params[k].bits > 0) RBE_TRY(see(layer, &layer->params[k]));
    return RBE_OK;
}

rbe_status rbe_quantiser_step(rbe_quantiser *quantiser, size_t step) {
    if (!quantiser)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_quantiser_step: the quantiser is NULL; did rbe_quantiser_new fail?");
    return step < quantiser->from ? RBE_OK : each_param(quantiser->model, round_param);
}

/* ---- as a routine -------------------------------------------------------------------------------------------- */

static rbe_status step_routine(void *user, size_t step) { return rbe_quantiser_step(user, step); }

static rbe_status same_options(const rbe_quantiser *quantiser, rbe_sameness s) {
    if (!quantiser) return rbe_fail(RBE_INVALID_ARGUMENT, "the quantiser is NULL; did rbe_quantiser_new fail?");
    return rbe_same_number(s, "from", (double)quantiser->from);
}

static rbe_status write_state(void *user, rbe_writer *writer) {
    return same_options(user, (rbe_sameness){.writer = writer});
}

static rbe_status read_state(void *user, rbe_reader *reader) {
    return same_options(user, (rbe_sameness){.reader = reader});
}

rbe_routine rbe_quantiser_routine(rbe_quantiser *quantiser) {
    return (rbe_routine){
        .name = "quantisation", .step = step_routine, .write = write_state, .read = read_state, .user = quantiser};
}

/* ---- making and freeing -------------------------------------------------------------------------------------- */

static rbe_status add_error(const rbe_layer *layer, rbe_param *param) {
    (void)layer;
    return rbe_param_companion(param, ERROR) ? RBE_OK : rbe_param_add_companion(param, ERROR, NULL);
}

static rbe_status remove_error(const rbe_layer *layer, rbe_param *param) {
    (void)layer;
    rbe_param_remove_companion(param, ERROR);
    return RBE_OK;
}

static bool has_bits(const rbe_model *model) {
    const rbe_param *param;
    for (size_t n = 0; (param = rbe_model_param(model, n)); n++)
        if (param->bits > 0) return true;
    return false;
}

rbe_quantiser *rbe_quantiser_new(rbe_model *model, size_t from) {
    if (rbe_model_status(model) != RBE_OK) return NULL;
    if (!has_bits(model)) {
        rbe_fail(RBE_INVALID_ARGUMENT, "quantisation: no layer of the model has bits (rbe_layer_set_bits)");
        return NULL;
    }
    rbe_quantiser *quantiser = rbe_alloc(1, sizeof *quantiser);
    if (!quantiser) return NULL;
    *quantiser = (rbe_quantiser){.model = model, .from = from};
    if (each_param(model, add_error) == RBE_OK) return quantiser;
    rbe_quantiser_free(quantiser);
    return NULL;
}

void rbe_quantiser_free(rbe_quantiser *quantiser) {
    if (!quantiser) return;
    each_param(quantiser->model, remove_error);
    rbe_free(quantiser);
}
