/* The optimiser: one loop over a flat list of parameters; checks, clipping, state.
 *
 * Before anything is changed, the gradients' joint norm |g| = sqrt(sum g^2) is taken in double, where the squares
 * of floats cannot overflow: it is finite exactly if every gradient is, so one pass serves the check and the
 * clipping g *= limit / |g|.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/failure.h"
#include "base/norm.h"
#include "base/parallel.h"
#include "nn/param.h"
#include "optim/optim_internal.h"

/* ---- methods by name ----------------------------------------------------------------------------------------- */

const rbe_optim_method *rbe_optim_method_named(const char *name) {
    const rbe_optim_method *const methods[] = {rbe_sgd, rbe_adam, rbe_adamw};
    char names[128] = "";
    size_t length = 0;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (name && strcmp(name, methods[i]->name) == 0) return methods[i];
        length += (size_t)snprintf(names + length, sizeof names - length, "%s%s", i > 0 ? ", " : "", methods[i]->name);
    }
    rbe_fail(RBE_INVALID_ARGUMENT, "optimiser: expected one of %s, found \"%s\"", names, name ? name : "(NULL)");
    return NULL;
}

/* ---- options ------------------------------------------------------------------------------------------------- */

static rbe_optim_options with_defaults(const rbe_optim_options *options) {
    rbe_optim_options o = options ? *options : (rbe_optim_options){0};
    if (o.lr == 0) o.lr = 1e-3f;
    if (o.beta1 == 0) o.beta1 = 0.9f;
    if (o.beta2 == 0) o.beta2 = 0.999f;
    if (o.epsilon == 0) o.epsilon = 1e-8f;
    return o;
}

/* Written so that NaN is refused: every comparison with it is false. */
static rbe_status require(bool holds, const char *option, const char *expected, float found) {
    if (holds) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "%s: expected %s, found %g", option, expected, (double)found);
}

static bool share(float x) { return x >= 0 && x < 1; }
static bool not_negative(float x) { return x >= 0 && isfinite(x); }
static bool positive(float x) { return x > 0 && isfinite(x); }

static rbe_status check_options(const rbe_optim_options *o) {
    RBE_TRY(require(positive(o->lr), "lr", "a finite value > 0", o->lr));
    RBE_TRY(require(share(o->momentum), "momentum", "0 <= momentum < 1", o->momentum));
    RBE_TRY(require(!o->nesterov || o->momentum > 0, "nesterov", "a momentum > 0 with it", o->momentum));
    RBE_TRY(require(not_negative(o->weight_decay), "weight_decay", "a finite value >= 0", o->weight_decay));
    RBE_TRY(require(share(o->beta1), "beta1", "0 <= beta1 < 1", o->beta1));
    RBE_TRY(require(share(o->beta2), "beta2", "0 <= beta2 < 1", o->beta2));
    RBE_TRY(require(positive(o->epsilon), "epsilon", "a finite value > 0", o->epsilon));
    return require(not_negative(o->clip_norm), "clip_norm", "a finite value >= 0", o->clip_norm);
}

/* Tables are users' too. */
static rbe_status check_method(const rbe_optim_method *method, const rbe_optim_options *options) {
    if (!method) return rbe_fail(RBE_INVALID_ARGUMENT, "optimiser: expected a method, found NULL");
    if (!method->name || !method->state_arrays || !method->update)
        return rbe_fail(RBE_INVALID_ARGUMENT, "optimiser: expected a method with a name, state_arrays and update");
    size_t names = 0, arrays = method->state_arrays(options);
    while (names < RBE_OPTIM_MAX_STATE && method->state[names]) names++;
    if (arrays <= names) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "optimiser: %s: expected names of %zu state arrays, found %zu", method->name,
                    arrays, names);
}

/* A parameter that came twice would be clipped and trained twice. */
static rbe_status check_list(const char *who, rbe_param *const *params, size_t count) {
    if (!params && count > 0) return rbe_fail(RBE_INVALID_ARGUMENT, "%s: the list of parameters is NULL", who);
    for (size_t i = 0; i < count; i++) {
        if (!params[i]) return rbe_fail(RBE_INVALID_ARGUMENT, "%s: parameter %zu of %zu is NULL", who, i, count);
        for (size_t k = 0; k < i; k++)
            if (params[k] == params[i])
                return rbe_fail(RBE_INVALID_ARGUMENT, "%s: parameter %zu (%s) is the same as parameter %zu", who, i,
                                params[i]->name, k);
    }
    return RBE_OK;
}

/* ---- making and freeing -------------------------------------------------------------------------------------- */

static rbe_status fill_slot(rbe_optim *optim, rbe_param *param) {
    if (!param->value && param->count > 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "optimiser: %s: expected %zu values, found NULL", param->name,
                        param->count);
    rbe_optim_slot *slot = &optim->slots[optim->count++];
    slot->param = param;
    RBE_TRY(rbe_param_require_grad(param));
    for (; slot->arrays < optim->arrays; slot->arrays++)
        RBE_TRY(rbe_param_add_companion(param, optim->method->state[slot->arrays], NULL));
    return RBE_OK;
}

/* Params come from the list, or from the model if the list is NULL. */
static rbe_optim *new_optim(const rbe_optim_method *method, rbe_param *const *params, const rbe_model *model,
                            size_t count, const rbe_optim_options *options) {
    rbe_optim_options o = with_defaults(options);
    if (check_options(&o) != RBE_OK || check_method(method, &o) != RBE_OK) return NULL;
    if (count == 0) {
        rbe_fail(RBE_INVALID_ARGUMENT, "optimiser: expected parameters, found none");
        return NULL;
    }
    rbe_optim *optim = rbe_alloc_zeroed(1, sizeof *optim);
    if (!optim) return NULL;
    optim->method = method;
    optim->options = o;
    optim->arrays = method->state_arrays(&o);
    optim->slots = rbe_alloc_zeroed(count, sizeof *optim->slots);
    bool filled = optim->slots != NULL;
    for (size_t i = 0; i < count && filled; i++)
        filled = fill_slot(optim, params ? params[i] : rbe_model_param(model, i)) == RBE_OK;
    if (!filled) {
        rbe_optim_free(optim);
        return NULL;
    }
    return optim;
}

rbe_optim *rbe_optim_new(const rbe_optim_method *method, rbe_model *model, const rbe_optim_options *options) {
    if (rbe_model_status(model) != RBE_OK || !rbe_model_gradients(model, NULL)) return NULL;
    size_t count = 0;
    while (rbe_model_param(model, count)) count++;
    return new_optim(method, NULL, model, count, options);
}

rbe_optim *rbe_optim_new_for(const rbe_optim_method *method, rbe_param *const *params, size_t count,
                             const rbe_optim_options *options) {
    if (check_list("optimiser", params, count) != RBE_OK) return NULL;
    return new_optim(method, params, NULL, count, options);
}

void rbe_optim_free(rbe_optim *optim) {
    if (!optim) return;
    for (size_t i = 0; i < optim->count; i++) {
        rbe_optim_slot *slot = &optim->slots[i];
        slot->param->rate = 0.0f;
        for (size_t k = 0; k < slot->arrays; k++) rbe_param_remove_companion(slot->param, optim->method->state[k]);
    }
    rbe_free(optim->slots);
    rbe_free(optim);
}

/* ---- the step ------------------------------------------------------------------------------------------------ */

/* A sum of squares is that of at most PARTS pieces, each of which a task adds up. */
enum { PARTS = 64 };

typedef struct square_sums {
    const float *values;
    size_t piece;
    double part[PARTS];
} square_sums;

static void sum_piece(void *context, size_t first, size_t count) {
    square_sums *s = context;
    s->part[first / s->piece] = rbe_sum_of_squares(s->values + first, count);
}

static double sum_of_squares(const float *values, size_t count) {
    square_sums s = {.values = values, .piece = count / PARTS + 1};
    if (s.piece < RBE_PIECE) s.piece = RBE_PIECE;
    rbe_parallel_ranges(count, s.piece, sum_piece, &s);
    double sum = 0.0;
    for (size_t n = 0; n < PARTS; n++) sum += s.part[n];
    return sum;
}

/* What is frozen is neither changed nor counted in the norm. */
static bool has_gradient(const rbe_param *p) { return p->grad && p->grad_set && !p->frozen; }

/* Adds the squares of one parameter's gradient, or says where it is not finite. */
static rbe_status add_squares(const rbe_param *p, double *sum) {
    if (!has_gradient(p)) return RBE_OK;
    double squares = sum_of_squares(p->grad, p->count);
    *sum += squares;
    if (isfinite(squares)) return RBE_OK;
    size_t at = rbe_first_nonfinite(p->grad, p->count);
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "%s: gradient %zu of %zu is %g", p->name, at, p->count,
                    (double)p->grad[at]);
}

/* Has a square, and a mean of squares divided by 1 - b2^t, that is a float. */
#define LARGEST_SQUARED 1e19

/* For methods that keep squares as floats: says which gradient, times `factor`, has none. */
static rbe_status check_squares(const rbe_param *p, double factor) {
    for (size_t i = 0; has_gradient(p) && i < p->count; i++)
        if (fabs(factor * (double)p->grad[i]) > LARGEST_SQUARED)
            return rbe_fail(RBE_NUMERICAL_INSTABILITY, "%s: gradient %zu of %zu is %g: its square is not finite",
                            p->name, i, p->count, factor * (double)p->grad[i]);
    return RBE_OK;
}

static void scale_gradient(rbe_param *p, float factor) {
    if (has_gradient(p)) rbe_gradient_scale(p->grad, p->count, factor);
}

rbe_status rbe_clip_global_norm(rbe_param *const *params, size_t count, float limit, float *norm) {
    RBE_TRY(require(positive(limit), "clipping limit", "a finite value > 0", limit));
    RBE_TRY(check_list("clipping", params, count));
    double sum = 0;
    for (size_t i = 0; i < count; i++) RBE_TRY(add_squares(params[i], &sum));
    double before = sqrt(sum);
    if (norm) *norm = (float)before;
    if (before > limit)
        for (size_t i = 0; i < count; i++) scale_gradient(params[i], (float)(limit / before));
    return RBE_OK;
}

/* Finds the state of a parameter, which moves when the parameter's positions change. */
static rbe_status find_state(const rbe_optim *optim, size_t i) {
    rbe_optim_slot *slot = &optim->slots[i];
    const rbe_param *p = slot->param;
    if (!isfinite(p->lr_scale))
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s: expected a finite lr_scale, found %g", p->name, (double)p->lr_scale);
    for (size_t k = 0; k < optim->arrays; k++) {
        slot->state[k] = rbe_param_companion(p, optim->method->state[k]);
        if (!slot->state[k] || rbe_alloc_bytes(slot->state[k]) != p->count * sizeof(float))
            return rbe_fail(RBE_INVALID_ARGUMENT,
                            "parameter %zu (%s) has %zu values that the optimiser was not made for: make a new one", i,
                            p->name, p->count);
    }
    return RBE_OK;
}

rbe_status rbe_optim_step(rbe_optim *optim) {
    if (!optim) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_optim_step: the optimiser is NULL");
    double sum = 0;
    for (size_t i = 0; i < optim->count; i++) RBE_TRY(find_state(optim, i));
    for (size_t i = 0; i < optim->count; i++) RBE_TRY(add_squares(optim->slots[i].param, &sum));
    double norm = sqrt(sum), limit = optim->options.clip_norm;
    double factor = limit > 0 && norm > limit ? limit / norm : 1.0;
    for (size_t i = 0; optim->method->keeps_squares && factor * norm > LARGEST_SQUARED && i < optim->count; i++)
        RBE_TRY(check_squares(optim->slots[i].param, factor));
    optim->grad_norm = (float)norm;
    optim->steps++;
    for (size_t i = 0; i < optim->count; i++) {
        rbe_param *p = optim->slots[i].param;
        if (!has_gradient(p)) continue;
        if (factor < 1.0) scale_gradient(p, (float)factor);
        /* A rate of its own of 0 keeps it from the decay beside the gradient too. */
        if (p->lr_scale != 0) optim->method->update(&optim->options, optim->steps, p, optim->slots[i].state);
        p->rate = optim->options.lr * p->lr_scale;
        p->grad_set = false;
    }
    return RBE_OK;
}

rbe_status rbe_optim_set_lr(rbe_optim *optim, float lr) {
    if (!optim) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_optim_set_lr: the optimiser is NULL");
    RBE_TRY(require(not_negative(lr), "lr", "a finite value >= 0", lr));
    optim->options.lr = lr;
    optim->lr_is_own = true;
    return RBE_OK;
}

rbe_status rbe_optim_schedule_lr(rbe_optim *optim, float lr) {
    RBE_TRY(rbe_optim_set_lr(optim, lr));
    optim->lr_is_own = false;
    return RBE_OK;
}

float rbe_optim_lr(const rbe_optim *optim) { return optim ? optim->options.lr : 0.0f; }

float rbe_optim_grad_norm(const rbe_optim *optim) { return optim ? optim->grad_norm : 0.0f; }

/* ---- state --------------------------------------------------------------------------------------------------- */

size_t rbe_optim_state_bytes(const rbe_optim_method *method, const rbe_optim_options *options, size_t values) {
    if (!method) return 0;
    rbe_optim_options o = with_defaults(options);
    size_t each = method->state_arrays(&o) * sizeof(float);
    return each > 0 && values > SIZE_MAX / each ? SIZE_MAX : each * values;
}

bool rbe_optim_has(const rbe_optim *optim, const rbe_param *param) {
    for (size_t i = 0; optim && param && i < optim->count; i++)
        if (optim->slots[i].param == param) return true;
    return false;
}

rbe_param *rbe_optim_next_beside(const rbe_optim *optim, size_t *n) {
    while (*n < optim->count) {
        rbe_param *param = optim->slots[(*n)++].param;
        if (!param->grad_shared && param->grad_set && !param->frozen) return param;
    }
    return NULL;
}
