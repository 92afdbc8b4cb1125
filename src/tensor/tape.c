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
    tape->inert = (rbe_var){.tape = tape, .operation = "failed"};
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
    tape->lasting = 0;
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

uint64_t rbe_tape_draws(const rbe_tape *tape) { return tape ? tape->draws : 0; }

void rbe_tape_set_draws(rbe_tape *tape, uint64_t draws) {
    if (tape) tape->draws = draws;
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

void *rbe_tape_take(rbe_var *var, size_t count, size_t size) {
    if (var) return rbe_arena_take(&var->tape->arena, count, size);
    rbe_fail(RBE_INVALID_ARGUMENT, "rbe_tape_take: the variable is NULL");
    return NULL;
}

rbe_tape_mark rbe_tape_here(const rbe_var *var) {
    if (!var) return (rbe_tape_mark){0};
    const rbe_arena_mark mark = rbe_arena_here(&var->tape->arena);
    return (rbe_tape_mark){mark.chunk, mark.chunk_used, mark.used};
}

void rbe_tape_return(rbe_var *var, rbe_tape_mark mark) {
    if (!var || mark.used < var->tape->lasting) return;
    rbe_arena_return(&var->tape->arena, (rbe_arena_mark){mark.place, mark.place_used, mark.used});
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

/* A variable is the beginning of its record. */
static rbe_record *record_of(rbe_var *var) { return (rbe_record *)var; }

static rbe_var *push(rbe_tape *tape, const char *operation, rbe_tensor value, rbe_var *const *parents,
                     int parent_count) {
    const size_t pointers = (size_t)parent_count * sizeof *parents;
    rbe_record *record = rbe_arena_take(&tape->arena, 1, sizeof *record + pointers);
    if (!record) return rbe_tape_fail_last(&tape->inert);
    *record = (rbe_record){
        .var = {.tape = tape, .operation = operation, .value = value, .parent_count = parent_count},
        .previous = tape->newest,
        .scope = tape->scope,
        .reach = tape->newest ? tape->newest->reach : 0,
    };
    record->var.parents = record->parents;
    if (parent_count > 0) memcpy(record->parents, parents, pointers);
    tape->newest = record;
    tape->lasting = tape->arena.used;
    return &record->var;
}

/* Those that have been made since then run before it. */
static void extend_reach(rbe_var *var, uintptr_t end) {
    const rbe_record *last = record_of(var)->previous;
    for (rbe_record *record = var->tape->newest; record != last; record = record->previous)
        if (record->reach < end) record->reach = end;
}

rbe_var *rbe_node_leaf_before(rbe_tape *tape, const char *operation, rbe_tensor x, rbe_backward_function backward,
                              uintptr_t end) {
    if (!tape) return NULL;
    if (tape->status != RBE_OK) return &tape->inert;
    if (rbe_tensor_check_shape(x.dims, x.shape) != RBE_OK) return rbe_tape_fail_last(&tape->inert);
    if (!x.data) return rbe_tape_fail(&tape->inert, RBE_INVALID_ARGUMENT, "%s: the tensor has no data", operation);
    rbe_var *var = push(tape, operation, x, NULL, 0);
    if (!rbe_ok(var)) return var;
    record_of(var)->backward = backward;
    var->needs_grad = backward && !tape->inference;
    if (backward) extend_reach(var, end);
    return var;
}

rbe_var *rbe_node_leaf(rbe_tape *tape, const char *operation, rbe_tensor x, rbe_backward_function backward) {
    return rbe_node_leaf_before(tape, operation, x, backward, UINTPTR_MAX);
}

rbe_var *rbe_input(rbe_tape *tape, rbe_tensor x) { return rbe_node_leaf(tape, "input", x, NULL); }

rbe_var *rbe_input_ids(rbe_tape *tape, const int32_t *ids, size_t rows, size_t columns) {
    if (!tape) return NULL;
    float *floats = rbe_arena_take(&tape->arena, rows * columns, sizeof *floats);
    if (!floats) return rbe_tape_fail_last(&tape->inert);
    for (size_t n = 0; n < rows * columns; n++) floats[n] = (float)ids[n];
    return rbe_input(tape, rbe_tensor_2d(floats, rows, columns));
}

/* Its gradient stays where it is. */
static rbe_status variable_backward(rbe_var *self) {
    (void)self;
    return RBE_OK;
}

rbe_var *rbe_variable(rbe_tape *tape, rbe_tensor x) {
    return rbe_node_leaf_before(tape, "variable", x, variable_backward, 0);
}

bool rbe_operands_ok(const char *operation, rbe_var *const *operands, int count, rbe_var **failed) {
    *failed = NULL;
    for (int i = 0; i < count; i++)
        if (!operands[i]) return false;
    rbe_tape *tape = operands[0]->tape;
    *failed = &tape->inert;
    for (int i = 0; i < count; i++) {
        if (operands[i]->tape != tape) {
            rbe_tape_fail(&tape->inert, RBE_INVALID_ARGUMENT, "%s: the operands are on different tapes", operation);
            return false;
        }
        if (!rbe_ok(operands[i])) return false;
    }
    return tape->status == RBE_OK;
}

/* Checks the parents and makes a node without data. */
static rbe_var *bare_node(const char *operation, rbe_var *const *parents, int parent_count, int dims,
                          const size_t *shape, rbe_backward_function backward) {
    if (parent_count < 1) {
        rbe_fail(RBE_INVALID_ARGUMENT, "%s: expected at least one operand, found %d", operation, parent_count);
        return NULL;
    }
    rbe_var *failed;
    if (!rbe_operands_ok(operation, parents, parent_count, &failed)) return failed;
    rbe_tape *tape = parents[0]->tape;
    if (rbe_tensor_check_shape(dims, shape) != RBE_OK) return rbe_tape_fail_last(&tape->inert);
    rbe_var *var = push(tape, operation, rbe_tensor_shaped(NULL, dims, shape), parents, parent_count);
    if (var == &tape->inert) return var;
    record_of(var)->backward = backward;
    for (int i = 0; i < parent_count; i++) var->needs_grad |= parents[i]->needs_grad;
    var->needs_grad &= backward && !tape->inference;
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
    var->tape->lasting = arena->used;
    return var;
}

rbe_var *rbe_node_like(const char *operation, rbe_var *x, rbe_backward_function backward, size_t context_bytes) {
    if (!x) return NULL;
    return rbe_node(operation, &x, 1, x->value.dims, x->value.shape, backward, context_bytes);
}

rbe_var *rbe_node_view(const char *operation, rbe_var *parent, int dims, const size_t *shape,
                       rbe_backward_function backward) {
    rbe_var *var = bare_node(operation, &parent, 1, dims, shape, backward);
    if (!var || var == &var->tape->inert) return var;
    var->value.data = parent->value.data;
    return var;
}

void rbe_node_writes_before(rbe_var *var, uintptr_t end) {
    if (!rbe_ok(var)) return;
    var->needs_grad = !var->tape->inference;
    extend_reach(var, end);
}

void rbe_node_has_parameters(rbe_var *var) { rbe_node_writes_before(var, UINTPTR_MAX); }

size_t rbe_node_bytes(size_t count, bool with_grad) {
    return rbe_aligned(sizeof(rbe_record) + 3 * sizeof(rbe_var *)) +
           (with_grad ? 2 : 1) * rbe_aligned(count * sizeof(float));
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

/* Gradients of a frugal backward that nobody needs any more, in their own memory. */
typedef struct free_grad {
    struct free_grad *next;
    size_t count;
} free_grad;

_Static_assert(sizeof(free_grad) <= RBE_ALIGNMENT, "any gradient has room for it");

static void recycle(rbe_var *var) {
    free_grad *freed = (free_grad *)var->grad;
    *freed = (free_grad){.next = var->tape->free_grads, .count = rbe_tensor_count(&var->value)};
    var->tape->free_grads = freed;
    var->grad = NULL;
}

/* One of the same count; NULL if there is none. */
static float *reuse(rbe_tape *tape, size_t count) {
    free_grad *before = NULL, *found = tape->free_grads;
    for (; found && found->count != count; found = found->next) before = found;
    if (!found) return NULL;
    if (before)
        before->next = found->next;
    else
        tape->free_grads = found->next;
    return (float *)found;
}

float *rbe_grad_target(rbe_var *var, bool *add) {
    *add = var->grad != NULL;
    if (*add) return var->grad;
    const size_t count = rbe_tensor_count(&var->value);
    rbe_arena *arena = &var->tape->arena;
    var->grad = reuse(var->tape, count);
    if (var->grad) return var->grad;
    var->grad = rbe_arena_take(arena, count, sizeof(float));
    var->tape->lasting = arena->used;
    return var->grad;
}

float *rbe_grad_zeroed(rbe_var *var) {
    bool add;
    float *grad = rbe_grad_target(var, &add);
    if (grad && !add) memset(grad, 0, rbe_tensor_count(&var->value) * sizeof(float));
    return grad;
}

static void tell_watch(rbe_tape *tape, uintptr_t reach) {
    if (!tape->watch.begin || reach >= tape->told) return;
    tape->told = reach;
    tape->watch.see(tape->watch.user, reach);
}

void rbe_node_has_written(rbe_var *var, uintptr_t from) {
    const rbe_record *next = record_of(var)->previous;
    tell_watch(var->tape, next && next->reach > from ? next->reach : from);
}

/* A backward of somebody else's may forget to record its failure. */
static rbe_status run_backward(rbe_record *record) {
    const size_t failures = rbe_failure_count();
    const rbe_status status = record->backward(&record->var);
    if (status == RBE_OK || rbe_failure_count() != failures) return status;
    return rbe_fail(status, "%s: its backward failed without a text", record->var.operation);
}

rbe_status rbe_backward(rbe_var *loss) {
    if (!loss) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_backward: the loss is NULL (did rbe_tape_new fail?)");
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
    for (rbe_record *record = tape->newest; record; record = record->previous) record->var.grad = NULL;
    tape->free_grads = NULL;
    tape->loss = loss;
    float *seed = rbe_grad_zeroed(loss);
    if (!seed) {
        rbe_tape_fail_last(loss);
        return rbe_tape_report(tape);
    }
    seed[0] = 1.0f;
    tape->told = UINTPTR_MAX;
    if (tape->watch.begin) RBE_TRY(tape->watch.begin(tape->watch.user));
    for (rbe_record *record = record_of(loss); record; record = record->previous) {
        tell_watch(tape, record->reach);
        if (!record->var.grad || !record->var.needs_grad || !record->backward) continue;
        tape->scope = record->scope;
        if (run_backward(record) != RBE_OK) {
            rbe_tape_fail_last(&record->var);
            return rbe_tape_report(tape);
        }
        if (tape->recycles && record->backward != variable_backward) recycle(&record->var);
    }
    tape->scope = "";
    return RBE_OK;
}

rbe_status rbe_backward_frugal(rbe_var *loss) {
    if (!loss) return rbe_backward(loss);
    loss->tape->recycles = true;
    rbe_status status = rbe_backward(loss);
    loss->tape->recycles = false;
    return status;
}

/* ---- where did the NaN come from? ---------------------------------------------------------------------------- */

static rbe_status nonfinite(const rbe_record *record, const char *what, const float *values, size_t index) {
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "%s%s%s: %s %zu is %g", record->scope, record->scope[0] ? ": " : "",
                    record->var.operation, what, index, (double)values[index]);
}

rbe_status rbe_tape_check_finite(const rbe_tape *tape) {
    if (!tape) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_tape_check_finite: the tape is NULL");
    /* Values are computed from the oldest to the newest, gradients the other way round. */
    const rbe_record *first = NULL;
    for (const rbe_record *record = tape->newest; record; record = record->previous) {
        const rbe_tensor *value = &record->var.value;
        size_t count = rbe_tensor_count(value);
        if (value->data && rbe_first_nonfinite(value->data, count) < count) first = record;
    }
    if (first) {
        const rbe_tensor *value = &first->var.value;
        return nonfinite(first, "value", value->data, rbe_first_nonfinite(value->data, rbe_tensor_count(value)));
    }
    for (const rbe_record *record = tape->newest; record; record = record->previous) {
        const float *grad = record->var.grad;
        size_t count = rbe_tensor_count(&record->var.value);
        size_t at = grad ? rbe_first_nonfinite(grad, count) : count;
        if (at < count) return nonfinite(record, "gradient", grad, at);
    }
    return RBE_OK;
}
