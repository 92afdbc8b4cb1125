/* Parameters: the arrays that belong to one - value, gradient, companions - and the one buffer of a model's gradients. */
#include "nn/param.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parallel.h"
#include "nn/model.h"

/* ---- the gradient -------------------------------------------------------------------------------------------- */

rbe_status rbe_param_require_grad(rbe_param *param) {
    if (!param) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_param_require_grad: the parameter is NULL");
    if (param->grad) return RBE_OK;
    param->grad = rbe_alloc(param->count, sizeof(float));
    param->grad_set = false;
    param->grad_shared = false;
    return param->grad ? RBE_OK : rbe_last_status();
}

static void forget_grad(rbe_param *param) {
    if (!param->grad_shared) rbe_free(param->grad);
    param->grad = NULL;
    param->grad_set = false;
    param->grad_shared = false;
}

bool rbe_param_mark_gradient(rbe_param *param) {
    bool before = param->grad_set;
    param->grad_set = true;
    return before;
}

typedef struct scaling {
    float *values, factor;
} scaling;

static void scale_piece(void *context, size_t first, size_t count) {
    const scaling *s = context;
    for (size_t i = first; i < first + count; i++) s->values[i] *= s->factor;
}

void rbe_gradient_scale(float *values, size_t count, float factor) {
    rbe_parallel_ranges(count, RBE_PIECE, scale_piece, &(scaling){values, factor});
}

bool rbe_param_is_trained(const rbe_param *param) {
    return !param->frozen && param->lr_scale != 0.0f && param->rate != 0.0f;
}

/* ---- companions ---------------------------------------------------------------------------------------------- */

static rbe_companion **find_companion(rbe_param *param, const char *name) {
    rbe_companion **at = &param->companions;
    while (*at && strcmp((*at)->name, name) != 0) at = &(*at)->next;
    return at;
}

float *rbe_param_companion(const rbe_param *param, const char *name) {
    if (!param || !name) return NULL;
    for (const rbe_companion *c = param->companions; c; c = c->next)
        if (strcmp(c->name, name) == 0) return c->values;
    return NULL;
}

rbe_status rbe_param_add_companion(rbe_param *param, const char *name, float **values) {
    if (!param || !name || strlen(name) >= RBE_NAME_SIZE)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "rbe_param_add_companion: expected a parameter and a name of fewer than %d "
                        "bytes, found %s",
                        RBE_NAME_SIZE,
                        !param  ? "no parameter"
                        : !name ? "no name"
                                : "a longer one");
    rbe_companion **at = find_companion(param, name);
    if (*at) return rbe_fail(RBE_INVALID_ARGUMENT, "%s already has a companion called %s", param->name, name);
    rbe_companion *made = rbe_alloc_zeroed(1, sizeof *made);
    float *zeros = rbe_alloc_zeroed(param->count, sizeof *zeros);
    if (!made || !zeros) {
        rbe_free(made);
        rbe_free(zeros);
        return rbe_last_status();
    }
    snprintf(made->name, sizeof made->name, "%s", name);
    made->values = zeros;
    *at = made;
    if (values) *values = zeros;
    return RBE_OK;
}

void rbe_param_remove_companion(rbe_param *param, const char *name) {
    if (!param || !name) return;
    rbe_companion **at = find_companion(param, name), *gone = *at;
    if (!gone) return;
    *at = gone->next;
    rbe_free(gone->values);
    rbe_free(gone);
}

void rbe_param_set_companion(rbe_param *param, const char *name, float *values) {
    rbe_companion *companion = *find_companion(param, name);
    rbe_free(companion->values);
    companion->values = values;
}

void rbe_param_clear(rbe_param *param) {
    if (!param) return;
    forget_grad(param);
    while (param->companions) rbe_param_remove_companion(param, param->companions->name);
}

/* ---- all arrays ---------------------------------------------------------------------------------------------- */

float **rbe_param_array(rbe_param *param, size_t n) {
    if (n == 0) return &param->value;
    if (n == 1) return &param->grad;
    rbe_companion *c = param->companions;
    for (n -= 2; c && n > 0; n--) c = c->next;
    return c ? &c->values : NULL;
}

void rbe_param_replace_array(rbe_param *param, size_t n, float *array) {
    float **at = rbe_param_array(param, n);
    if (n != 1 || !param->grad_shared) rbe_free(*at);
    if (n == 1) param->grad_shared = false;
    *at = array;
}

/* ---- the gradients of a model -------------------------------------------------------------------------------- */

static bool drop_gradients(void *user, rbe_layer *layer) {
    (void)user;
    for (size_t n = 0; n < layer->param_count; n++) layer->params[n].grad_set = false;
    return true;
}

void rbe_zero_grad(const rbe_model *model) {
    if (model) rbe_layer_walk(model->root, drop_gradients, NULL);
}

size_t rbe_gradient_floats(const rbe_param *param, size_t count) {
    return param->frozen ? 0 : rbe_aligned(count * sizeof(float)) / sizeof(float);
}

/* Whether every gradient is where it belongs in the buffer. */
static bool is_arranged(const rbe_model *model, size_t total) {
    if (!model->gradients || rbe_alloc_bytes(model->gradients) != total * sizeof(float)) return false;
    const rbe_param *param;
    const float *at = model->gradients;
    for (size_t n = 0; (param = rbe_model_param(model, n)); at += rbe_gradient_floats(param, param->count), n++)
        if (!param->frozen && param->grad != at) return false;
    return true;
}

void rbe_model_arrange_gradients(rbe_model *model, float *buffer) {
    rbe_param *param;
    float *at = buffer;
    for (size_t n = 0; (param = rbe_model_param(model, n)); at += rbe_gradient_floats(param, param->count), n++) {
        const bool set = param->grad_set && !param->frozen;
        if (param->grad && !param->frozen) memcpy(at, param->grad, param->count * sizeof(float));
        forget_grad(param);
        if (param->frozen) continue;
        param->grad = at;
        param->grad_set = set;
        param->grad_shared = true;
    }
    rbe_free(model->gradients);
    model->gradients = buffer;
}

uintptr_t rbe_param_gradient_end(const rbe_param *param) {
    return param->grad_shared ? (uintptr_t)(param->grad + param->count) : 0;
}

rbe_status rbe_model_require_gradients(rbe_model *model, size_t *count) {
    RBE_TRY(rbe_model_status(model));
    const rbe_param *param;
    size_t total = 0;
    for (size_t n = 0; (param = rbe_model_param(model, n)); n++) total += rbe_gradient_floats(param, param->count);
    if (!is_arranged(model, total)) {
        float *buffer = rbe_alloc_zeroed(total, sizeof *buffer);
        if (!buffer) return rbe_last_status();
        rbe_model_arrange_gradients(model, buffer);
    }
    *count = total;
    return RBE_OK;
}

void rbe_param_clear_unset(const rbe_param *param) {
    if (!param->frozen && !param->grad_set) memset(param->grad, 0, param->count * sizeof(float));
}

float *rbe_model_gradients(rbe_model *model, size_t *count) {
    const rbe_param *param;
    size_t total;
    if (rbe_model_require_gradients(model, &total) != RBE_OK) return NULL;
    for (size_t n = 0; (param = rbe_model_param(model, n)); n++) rbe_param_clear_unset(param);
    if (count) *count = total;
    return model->gradients;
}
