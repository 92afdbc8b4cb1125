/* rbe/op.h - operations of your own.
 *
 * An operation is two functions. The public one makes a variable of the result's shape and fills in its value. The
 * other one, its backward, reads the gradient of the result and adds to the gradients of the operands:
 *
 *     // swish: y = x s with s = 1 / (1 + exp(-x));  dy/dx = s (1 + x (1 - s))
 *     static rbe_status swish_backward(rbe_var *self) {
 *         rbe_var *x = self->parents[0];
 *         float *gx = rbe_grad_zeroed(x);
 *         if (!gx) return rbe_last_status();
 *         for (size_t i = 0; i < rbe_tensor_count(&x->value); i++) {
 *             float v = x->value.data[i], s = 1.0f / (1.0f + expf(-v));
 *             gx[i] += self->grad[i] * s * (1.0f + v * (1.0f - s));
 *         }
 *         return RBE_OK;
 *     }
 *
 *     rbe_var *swish(rbe_var *x) {
 *         rbe_var *y = rbe_node_like("swish", x, swish_backward, 0);
 *         if (!rbe_ok(y)) return y;
 *         for (size_t i = 0; i < rbe_tensor_count(&x->value); i++)
 *             y->value.data[i] = x->value.data[i] / (1.0f + expf(-x->value.data[i]));
 *         return y;
 *     }
 *
 * A backward runs only where a gradient is wanted: never in inference, and only if some operand needs one. With several
 * operands, check each: parents[k]->needs_grad. rbe_check_gradients (rbe/nn.h) compares it with finite differences.
 *
 * Errors. An operation has no status to return: it records what is wrong on the tape (rbe_tape_fail) and returns the
 * inert variable that this gives. A backward returns a status. Both may be called by several threads at once, each with
 * a tape of its own: keep what they need in the context of the variable, not in static variables.
 */
#ifndef RBE_OP_H
#define RBE_OP_H

#include "rbe/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- variables ----------------------------------------------------------------------------------------------- */

/* Computes the gradients of the parents from self->grad. It runs once in each rbe_backward that reaches the variable,
 * after self->grad is complete. Returns RBE_OK, or the status of a failure that it has recorded (rbe_fail). */
typedef rbe_status (*rbe_backward_function)(rbe_var *self);

/* A variable on a tape. Only the library makes one, and fields may be added at its end. Operations may read all of it.
 * Of a variable that they have just made, they write three things: the values at value.data, what `context` points to,
 * and context_pointer. All else is the tape's. */
struct rbe_var {
    rbe_tape *tape;
    const char *operation; /* "relu" */
    rbe_tensor value;      /* data NULL: inert, the tape has failed */
    float *grad;           /* dL/dvalue, in the shape of value; NULL until rbe_backward reaches it */
    bool needs_grad;
    int parent_count;
    rbe_var **parents;           /* the operands */
    void *context;               /* of the operation, in the tape's memory; NULL: it has none */
    const void *context_pointer; /* for the operation's use: something that outlives the step, such as labels */
};

/* Whether a variable has a value. */
static inline bool rbe_ok(const rbe_var *var) { return var && var->value.data; }

/* ---- making one ---------------------------------------------------------------------------------------------- */

/* A new variable of the given shape, with values not yet set, on the tape of its parents (at least one). It is inert
 * (or NULL) if a parent is inert (or NULL), the parents are on different tapes, the shape is bad or memory is short:
 * test it with rbe_ok, and if that is false return it as it is.
 *
 * operation       a name for error texts; it outlives the step
 * backward        NULL: no gradient passes
 * context_bytes   > 0: var->context points to that many zeroed bytes, which live until the reset
 *
 * It needs a gradient if a parent does, but never in inference. */
RBE_API rbe_var *rbe_node(const char *operation, rbe_var *const *parents, int parent_count, int dims,
                          const size_t *shape, rbe_backward_function backward, size_t context_bytes);

/* The same, with one parent and in its shape. NULL gives NULL. */
RBE_API rbe_var *rbe_node_like(const char *operation, rbe_var *x, rbe_backward_function backward, size_t context_bytes);

/* A variable of the given shape that shares the data of its parent, as reshape does. The counts are equal. */
RBE_API rbe_var *rbe_node_view(const char *operation, rbe_var *parent, int dims, const size_t *shape,
                               rbe_backward_function backward);

/* A variable without parents, whose data are borrowed until the reset and never written. If it has a backward, it needs
 * a gradient, but not in inference. NULL tape gives NULL. */
RBE_API rbe_var *rbe_node_leaf(rbe_tape *tape, const char *operation, rbe_tensor x, rbe_backward_function backward);

/* Makes a variable take part in backward although no parent needs a gradient. Every operation with parameters of its
 * own must call it: with several ranks (rbe/comm.h) the gradients of a parameter are sent to the others during the
 * backward pass, as soon as nothing on the tape will add to them any more. In inference it does nothing. */
RBE_API void rbe_node_has_parameters(rbe_var *var);

/* Bytes that a variable of `count` values and at most 3 parents takes from the tape, without or with its gradient. The
 * context comes on top. */
RBE_API size_t rbe_node_bytes(size_t count, bool with_grad);

/* ---- checks -------------------------------------------------------------------------------------------------- */

/* Whether all operands have values, on one tape that has not failed. If not, *failed is what the operation returns:
 * the inert variable, or NULL if an operand is NULL. For operations that look at shapes before they make a variable. */
RBE_API bool rbe_operands_ok(const char *operation, rbe_var *const *operands, int count, rbe_var **failed);

/* Records a failure on the tape of `var`, any variable of that tape, and returns the inert variable. The text should
 * start with the operation's name and say what was expected and what was found; it is cut at 255 bytes. The tape keeps
 * its first failure. NULL var gives NULL. */
RBE_API rbe_var *rbe_tape_fail(rbe_var *var, rbe_status status, const char *format, ...) RBE_PRINTF(3, 4);

/* The same with the status and the text of this thread's last failure (rbe_last_status, rbe_last_error). */
RBE_API rbe_var *rbe_tape_fail_last(rbe_var *var);

/* INVALID_ARGUMENT unless there are 1 .. RBE_MAX_DIMS extents, each at least 1, and as many floats can be addressed. */
RBE_API rbe_status rbe_tensor_check_shape(int dims, const size_t *shape);

/* A view of `data` in a checked shape. */
RBE_API rbe_tensor rbe_tensor_shaped(float *data, int dims, const size_t *shape);

/* Whether two tensors have equal dims and shape. */
RBE_API bool rbe_same_shape(const rbe_tensor *a, const rbe_tensor *b);

/* Writes "(8, 784)" into the caller's buffer, and returns the buffer. */
#define RBE_SHAPE_TEXT 96
RBE_API const char *rbe_shape_text(const rbe_tensor *tensor, char buffer[RBE_SHAPE_TEXT]);

/* ---- gradients ----------------------------------------------------------------------------------------------- */

/* The gradient of `var`, a parent that needs one, to write to. *add true: add to the values that it has. *add false: it
 * has none yet, so set all of them. NULL when memory is short: return rbe_last_status(). */
RBE_API float *rbe_grad_target(rbe_var *var, bool *add);

/* The same, zeroed if it is new: for operations that always add. */
RBE_API float *rbe_grad_zeroed(rbe_var *var);

/* ---- memory of the step -------------------------------------------------------------------------------------- */

/* `count` items of `size` bytes, not initialised, aligned to 64 bytes, on the tape of `var`: until the reset, or until
 * rbe_tape_return. NULL when memory is short: an operation then returns rbe_tape_fail_last(var), a backward
 * rbe_last_status(). From the third step of equal shapes on nothing is allocated. */
RBE_API void *rbe_tape_take(rbe_var *var, size_t count, size_t size);

/* Scratch: rbe_tape_return gives back what rbe_tape_take has given since the mark. If a variable or a gradient has been
 * made since, it does nothing, and the memory stays in use until the reset. */
typedef struct rbe_tape_mark {
    void *place;
    size_t place_used, used;
} rbe_tape_mark;

/* Sets the mark, and returns to it. NULL var: nothing is done. */
RBE_API rbe_tape_mark rbe_tape_here(const rbe_var *var);
RBE_API void rbe_tape_return(rbe_var *var, rbe_tape_mark mark);

#ifdef __cplusplus
}
#endif
#endif
