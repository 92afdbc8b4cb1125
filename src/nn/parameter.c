/* A parameter as a variable: p = the values, and dL/dp is added to the parameter's gradient. */
#include "base/parallel.h"
#include "nn/layer.h"
#include "nn/param.h"
#include "tensor/node.h"

/* sum = g, or added to it. */
typedef struct addition {
    const float *g;
    float *sum;
    bool add;
} addition;

static void add_range(void *context, size_t first, size_t count) {
    const addition *a = context;
    const float *restrict g = a->g + first;
    float *restrict sum = a->sum + first;
    const bool add = a->add;
    for (size_t i = 0; i < count; i++) sum[i] = (add ? sum[i] : 0.0f) + g[i];
}

static rbe_status parameter_backward(rbe_var *self) {
    rbe_param *param = (rbe_param *)self->context_pointer;
    const size_t count = rbe_tensor_count(&self->value);
    if (param->count != count || param->value != self->value.data)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "parameter %s: its values have been replaced since the forward pass, expected a new one",
                        param->name);
    RBE_TRY(rbe_param_require_grad(param));
    addition a = {self->grad, param->grad, rbe_param_mark_gradient(param)};
    rbe_parallel_ranges(count, RBE_PIECE, add_range, &a);
    return RBE_OK;
}

rbe_var *rbe_parameter(rbe_tape *tape, rbe_param *param, int dims, const size_t *shape) {
    if (!tape) return NULL;
    rbe_var *inert = &tape->inert;
    if (tape->status != RBE_OK) return inert;
    if (!param || !param->value)
        return rbe_tape_fail(inert, RBE_INVALID_ARGUMENT, "parameter: %s", param ? "it has no values" : "it is NULL");
    if (rbe_tensor_check_shape(dims, shape) != RBE_OK)
        return rbe_tape_fail(inert, rbe_last_status(), "parameter %s: %s", param->name, rbe_last_error());
    const rbe_tensor values = rbe_tensor_shaped(param->value, dims, shape);
    if (rbe_tensor_count(&values) != param->count) {
        char text[RBE_SHAPE_TEXT];
        return rbe_tape_fail(inert, RBE_INPUT_DIMENSION_MISMATCH,
                             "parameter %s: expected a shape of %zu values, found %s", param->name, param->count,
                             rbe_shape_text(&values, text));
    }
    rbe_var *var = rbe_node_leaf_before(tape, "parameter", values, param->frozen ? NULL : RBE_FULL(parameter_backward),
                                        rbe_param_gradient_end(param));
    if (rbe_ok(var)) var->context_pointer = param;
    return var;
}
