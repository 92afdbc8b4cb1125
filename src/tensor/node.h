/* What an operation is made of: variables on a tape, and the helpers that every operation's file uses.
 *
 * An operation is two functions that stand side by side: the public one checks shapes, calls rbe_node and fills in
 * the value; its backward reads self->grad and adds to the gradients of self->parents. A pattern:
 *
 *     static rbe_status relu_backward(rbe_var *self) {
 *         rbe_var *x = self->parents[0];
 *         if (!x->needs_grad) return RBE_OK;
 *         bool add;
 *         float *gx = rbe_grad_target(x, &add);
 *         if (!gx) return rbe_last_status();
 *         ...
 *         return RBE_OK;
 *     }
 *     rbe_var *rbe_relu(rbe_var *x) {
 *         rbe_var *y = rbe_node_like("relu", x, relu_backward, 0);
 *         if (!rbe_ok(y)) return y;
 *         ...
 *         return y;
 *     }
 */
#ifndef RBE_TENSOR_NODE_H
#define RBE_TENSOR_NODE_H

#include "base/arena.h"
#include "rbe/tensor.h"

#define RBE_MAX_PARENTS 3

typedef rbe_status (*rbe_backward_function)(rbe_var *self);

struct rbe_var {
    rbe_tape *tape;
    rbe_var *previous;     /* made before this one */
    const char *operation; /* "relu" */
    const char *scope;     /* name of the layer that made it, or "" */
    rbe_tensor value;      /* data NULL: inert, the tape has failed */
    float *grad;           /* NULL until backward reaches it */
    bool needs_grad;
    rbe_backward_function backward; /* NULL for leaves */
    rbe_var *parents[RBE_MAX_PARENTS];
    int parent_count;
    void *context;               /* of the operation, in the tape's arena */
    const void *context_pointer; /* something that outlives the step: a layer, labels */
};

struct rbe_tape {
    rbe_arena arena;
    rbe_var *newest;
    rbe_status status;
    char error[256];
    bool inference;
    bool drops_nothing; /* dropout does nothing, as in inference, but gradients are recorded */
    uint64_t seed;
    uint64_t draws;    /* random masks drawn since the tape was made: each has a stream of its own */
    const char *scope; /* of the layer now being applied */
    rbe_var inert;     /* what a failed operation returns */
};

/* Whether a variable has a value. */
static inline bool rbe_ok(const rbe_var *var) { return var && var->value.data; }

/* Whether all operands have values, on one tape that has not failed. If not, *failed is what the operation returns:
 * the inert variable, or NULL if an operand is NULL. For operations that look at shapes before they make a node. */
bool rbe_operands_ok(const char *operation, rbe_var *const *operands, int count, rbe_var **failed);

/* A new variable of the given shape with uninitialised values, on the tape of its parents; the inert variable (or
 * NULL) if a parent is inert, the parents stand on different tapes, or memory is short. `context_bytes` > 0:
 * var->context points to that many zeroed bytes. It needs a gradient if a parent does, but never in inference. */
rbe_var *rbe_node(const char *operation, rbe_var *const *parents, int parent_count, int dims, const size_t *shape,
                  rbe_backward_function backward, size_t context_bytes);

/* The same, with one parent and in its shape. NULL gives NULL. */
static inline rbe_var *rbe_node_like(const char *operation, rbe_var *x, rbe_backward_function backward,
                                     size_t context_bytes) {
    if (!x) return NULL;
    return rbe_node(operation, &x, 1, x->value.dims, x->value.shape, backward, context_bytes);
}

/* A variable of the given shape that shares the data of its parent (reshape). The counts are equal. */
rbe_var *rbe_node_view(const char *operation, rbe_var *parent, int dims, const size_t *shape,
                       rbe_backward_function backward);

/* Makes a variable take part in backward although no parent needs a gradient: for layers, which have parameters of
 * their own. Not in inference. */
void rbe_node_has_parameters(rbe_var *var);

/* Records the failure on the tape of `var` (a variable of the failed operation) and returns the inert variable. The
 * text should start with the operation's name. NULL var gives NULL. */
rbe_var *rbe_tape_fail(rbe_var *var, rbe_status status, const char *format, ...) RBE_PRINTF(3, 4);

/* RBE_OK, or fails with the tape's own error, so that what rbe_last_error says is the first one. */
rbe_status rbe_tape_report(const rbe_tape *tape);

/* Records that what failed in this thread just now (rbe_last_status, rbe_last_error) failed on this tape. */
rbe_var *rbe_tape_fail_last(rbe_var *var);

/* The gradient of `var`, which needs one, to write to: `*add` says whether there is something to add to; otherwise
 * the values are uninitialised and must all be set. NULL, with the error recorded for the thread, when memory is
 * short. */
float *rbe_grad_target(rbe_var *var, bool *add);

/* The same, zeroed if it is new: for operations that only ever add. */
float *rbe_grad_zeroed(rbe_var *var);

/* Scratch and other temporaries of the step. */
static inline rbe_arena *rbe_tape_arena(rbe_var *var) { return &var->tape->arena; }

/* INVALID_ARGUMENT unless there are 1 .. 4 extents, each at least 1, of an addressable product. */
rbe_status rbe_tensor_check_shape(int dims, const size_t *shape);

/* A view of `data` in a checked shape. */
rbe_tensor rbe_tensor_shaped(float *data, int dims, const size_t *shape);

/* "(8, 784)" in a buffer of the caller. */
#define RBE_SHAPE_TEXT 96
const char *rbe_shape_text(const rbe_tensor *tensor, char buffer[RBE_SHAPE_TEXT]);

/* Whether two tensors have equal dims and shape. */
bool rbe_same_shape(const rbe_tensor *a, const rbe_tensor *b);

/* Bytes that a node of `count` values takes from the arena in a forward pass, and with its gradient. */
size_t rbe_node_bytes(size_t count, bool with_grad);

#endif
