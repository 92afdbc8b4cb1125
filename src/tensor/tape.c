/* The tape: variables in the order of their making, walked backwards for the gradients.
 *
 * For a loss L and a variable y = f(x): dL/dx += (df/dx)^T dL/dy. Every variable is visited after all that were
 * made from it, because those stand later on the tape.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "tensor/node.h"

rbe_tape *rbe_tape_new(const rbe_tape_options *options) {
    rbe_tape *tape = rbe_alloc_zeroed(1, sizeof *tape);
    if (!tape) return NULL;
    if (options) {
        tape->inference = options->inference;
        tape->seed = options->seed;
    }
    tape->scope = "";
    tape->inert = (rbe_var){.tape = tape, .operation = "failed", .scope = ""};
    return tape;
}

void rbe_tape_free(rbe_tape *tape) {
    if (!tape) return;
    rbe_arena_free(&tape->arena);
    rbe_free(tape);
}

void rbe_tape_reset(rbe_tape *tape) {
    if (!tape) return;
    rbe_arena_reset(&tape->arena);
    tape->newest = NULL;
    tape->status = RBE_OK;
    tape->error[0] = '\0';
    tape->scope = "";
}

rbe_status rbe_tape_reserve(rbe_tape *tape, size_t bytes) {
    if (!tape) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_tape_reserve: the tape is NULL");
    return rbe_arena_reserve(&tape->arena, bytes);
}

rbe_status rbe_tape_status(const rbe_tape *tape) {
    return tape ? tape->status : rbe_fail(RBE_INVALID_ARGUMENT, "rbe_tape_status: the tape is NULL");
}

const char *rbe_tape_error(const rbe_tape *tape) { return tape ? tape->error : "the tape is NULL"; }

rbe_status rbe_tape_report(const rbe_tape *tape) {
    return tape->status == RBE_OK ? RBE_OK : rbe_fail(tape->status, "%s", tape->error);
}

void rbe_tape_set_inference(rbe_tape *tape, bool inference) {
    if (tape) tape->inference = inference;
}

/* ---- failures ------------------------------------------------------------------------------------------------ */

rbe_var *rbe_tape_fail_last(rbe_var *var) {
    if (!var) return NULL;
    rbe_tape *tape = var->tape;
    if (tape->status == RBE_OK) {
        tape->status = rbe_last_status();
        if (tape->scope[0])
            snprintf(tape->error, sizeof tape->error, "%s: %s", tape->scope, rbe_last_error());
        else
            snprintf(tape->error, sizeof tape->error, "%s", rbe_last_error());
    }
    return &tape->inert;
}

rbe_var *rbe_tape_fail(rbe_var *var, rbe_status status, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    rbe_fail(status, "%s", text);
    return rbe_tape_fail_last(var);
}

/* ---- variables ----------------------------------------------------------------------------------------------- */

static rbe_var *push(rbe_tape *tape, const char *operation, rbe_tensor value) {
    rbe_var *var = rbe_arena_take(&tape->arena, 1, sizeof *var);
    if (!var) return rbe_tape_fail_last(&tape->inert);
    *var =
        (rbe_var){.tape = tape, .previous = tape->newest, .operation = operation, .scope = tape->scope, .value = value};
    tape->newest = var;
    return var;
}

static rbe_var *leaf(rbe_tape *tape, const char *operation, rbe_tensor x, bool needs_grad) {
    if (!tape) return NULL;
    if (tape->status != RBE_OK) return &tape->inert;
    if (rbe_tensor_check_shape(x.dims, x.shape) != RBE_OK) return rbe_tape_fail_last(&tape->inert);
    if (!x.data) return rbe_tape_fail(&tape->inert, RBE_INVALID_ARGUMENT, "%s: the tensor has no data", operation);
    rbe_var *var = push(tape, operation, x);
    if (rbe_ok(var)) var->needs_grad = needs_grad && !tape->inference;
    return var;
}

rbe_var *rbe_input(rbe_tape *tape, rbe_tensor x) { return leaf(tape, "input", x, false); }

rbe_var *rbe_variable(rbe_tape *tape, rbe_tensor x) { return leaf(tape, "variable", x, true); }

bool rbe_operands_ok(const char *operation, rbe_var *const *operands, int count, rbe_var **failed) {
    *failed = NULL;
    for (int i = 0; i < count; i++)
        if (!operands[i]) return false;
    rbe_tape *tape = operands[0]->tape;
    *failed = &tape->inert;
    for (int i = 0; i < count; i++) {
        if (operands[i]->tape != tape) {
            rbe_tape_fail(&tape->inert, RBE_INVALID_ARGUMENT, "%s: the operands stand on different tapes", operation);
            return false;
        }
        if (!rbe_ok(operands[i])) return false;
    }
    return tape->status == RBE_OK;
}

/* Checks the parents and makes a node without data. */
static rbe_var *bare_node(const char *operation, rbe_var *const *parents, int parent_count, int dims,
                          const size_t *shape, rbe_backward_function backward) {
    rbe_var *failed;
    if (!rbe_operands_ok(operation, parents, parent_count, &failed)) return failed;
    rbe_tape *tape = parents[0]->tape;
    if (rbe_tensor_check_shape(dims, shape) != RBE_OK) return rbe_tape_fail_last(&tape->inert);
    rbe_var *var = push(tape, operation, rbe_tensor_shaped(NULL, dims, shape));
    if (var == &tape->inert) return var;
    var->backward = backward;
    var->parent_count = parent_count;
    for (int i = 0; i < parent_count; i++) {
        var->parents[i] = parents[i];
        var->needs_grad |= parents[i]->needs_grad;
    }
    var->needs_grad &= !tape->inference;
    return var;
}

rbe_var *rbe_node(const char *operation, rbe_var *const *parents, int parent_count, int dims, const size_t *shape,
                  rbe_backward_function backward, size_t context_bytes) {
    rbe_var *var = bare_node(operation, parents, parent_count, dims, shape, backward);
    if (!var || var == &var->tape->inert) return var;
    rbe_arena *arena = &var->tape->arena;
    if (context_bytes > 0) {
        var->context = rbe_arena_take(arena, 1, context_bytes);
        if (!var->context) return rbe_tape_fail_last(var);
        memset(var->context, 0, context_bytes);
    }
    var->value.data = rbe_arena_take(arena, rbe_tensor_count(&var->value), sizeof(float));
    if (!var->value.data) return rbe_tape_fail_last(var);
    return var;
}

rbe_var *rbe_node_view(const char *operation, rbe_var *parent, int dims, const size_t *shape,
                       rbe_backward_function backward) {
    rbe_var *var = bare_node(operation, &parent, 1, dims, shape, backward);
    if (!var || var == &var->tape->inert) return var;
    var->value.data = parent->value.data;
    return var;
}

void rbe_node_has_parameters(rbe_var *var) { var->needs_grad = !var->tape->inference; }

size_t rbe_node_bytes(size_t count, bool with_grad) {
    return rbe_aligned(sizeof(rbe_var)) + (with_grad ? 2 : 1) * rbe_aligned(count * sizeof(float));
}

const rbe_tensor *rbe_value(const rbe_var *var) {
    static const rbe_tensor nothing = {0};
    return var ? &var->value : &nothing;
}

float rbe_item(const rbe_var *var) {
    return rbe_ok(var) && rbe_tensor_count(&var->value) == 1 ? var->value.data[0] : NAN;
}

const float *rbe_grad(const rbe_var *var) { return var ? var->grad : NULL; }

/* ---- gradients ----------------------------------------------------------------------------------------------- */

float *rbe_grad_target(rbe_var *var, bool *add) {
    *add = var->grad != NULL;
    if (!var->grad) var->grad = rbe_arena_take(&var->tape->arena, rbe_tensor_count(&var->value), sizeof(float));
    return var->grad;
}

float *rbe_grad_zeroed(rbe_var *var) {
    bool add;
    float *grad = rbe_grad_target(var, &add);
    if (grad && !add) memset(grad, 0, rbe_tensor_count(&var->value) * sizeof(float));
    return grad;
}

rbe_status rbe_backward(rbe_var *loss) {
    if (!loss) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_backward: the loss is NULL (was the tape made?)");
    rbe_tape *tape = loss->tape;
    if (tape->status != RBE_OK) return rbe_tape_report(tape);
    if (rbe_tensor_count(&loss->value) != 1) {
        char shape[RBE_SHAPE_TEXT];
        rbe_tape_fail(loss, RBE_INVALID_ARGUMENT, "rbe_backward: expected a loss of one value, found shape %s",
                      rbe_shape_text(&loss->value, shape));
        return rbe_tape_report(tape);
    }
    if (!loss->needs_grad) {
        rbe_tape_fail(loss, RBE_INVALID_ARGUMENT, "rbe_backward: the loss depends on nothing that needs a gradient");
        return rbe_tape_report(tape);
    }
    for (rbe_var *var = tape->newest; var; var = var->previous) var->grad = NULL;
    float *seed = rbe_grad_zeroed(loss);
    if (!seed) {
        rbe_tape_fail_last(loss);
        return rbe_tape_report(tape);
    }
    seed[0] = 1.0f;
    for (rbe_var *var = loss; var; var = var->previous) {
        if (!var->grad || !var->backward) continue;
        tape->scope = var->scope;
        rbe_status status = var->backward(var);
        if (status != RBE_OK) {
            rbe_tape_fail_last(var);
            return rbe_tape_report(tape);
        }
    }
    tape->scope = "";
    return RBE_OK;
}

/* ---- where did the NaN come from? ---------------------------------------------------------------------------- */

static rbe_status nonfinite(const rbe_var *var, const char *what, const float *values, size_t index) {
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "%s%s%s: %s %zu is %g", var->scope, var->scope[0] ? ": " : "",
                    var->operation, what, index, (double)values[index]);
}

rbe_status rbe_tape_check_finite(const rbe_tape *tape) {
    if (!tape) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_tape_check_finite: the tape is NULL");
    /* Values are computed from the oldest to the newest, gradients the other way round. */
    const rbe_var *first = NULL;
    for (const rbe_var *var = tape->newest; var; var = var->previous) {
        size_t count = rbe_tensor_count(&var->value);
        if (var->value.data && rbe_first_nonfinite(var->value.data, count) < count) first = var;
    }
    if (first) {
        size_t at = rbe_first_nonfinite(first->value.data, rbe_tensor_count(&first->value));
        return nonfinite(first, "value", first->value.data, at);
    }
    for (const rbe_var *var = tape->newest; var; var = var->previous) {
        size_t count = rbe_tensor_count(&var->value);
        size_t at = var->grad ? rbe_first_nonfinite(var->grad, count) : count;
        if (at < count) return nonfinite(var, "gradient", var->grad, at);
    }
    return RBE_OK;
}
