/* rbe/tensor.h - float32 tensors and a define-by-run tape (reverse-mode automatic differentiation).
 *
 *     rbe_tape *t = rbe_tape_new(NULL);
 *     rbe_var *y = rbe_relu(rbe_matmul(rbe_input(t, x), false, rbe_variable(t, w), true));
 *     rbe_var *loss = rbe_mean(y);
 *     RBE_TRY(rbe_backward(loss));            // the first error of any operation above is reported here
 *     ... rbe_grad(...) ...
 *     rbe_tape_reset(t);                      // frees all values and gradients of the step at once
 *
 * Errors stick: an operation that fails, or is given a failed variable, returns an inert variable, and the tape keeps
 * the first error. If the tape itself could not be made, all operations return NULL. So expressions nest without
 * checks. Operations of your own: rbe/op.h.
 *
 * Memory: a tape owns the temporaries of a step in an arena that is reused after rbe_tape_reset; from the third
 * step of equal shapes on (the first, after rbe_tape_reserve) nothing is allocated. A tape belongs to one thread at
 * a time.
 */
#ifndef RBE_TENSOR_H
#define RBE_TENSOR_H

#include <stdbool.h>

#include "rbe/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- tensors ------------------------------------------------------------------------------------------------- */

/* The most dimensions of a tensor. */
#define RBE_MAX_DIMS 4

/* A view of contiguous, row-major float32 values: shape[0] varies slowest. 1 to 4 dimensions, every extent at least
 * 1. A tensor does not own its data unless rbe_tensor_new made it. */
typedef struct rbe_tensor {
    float *data;
    int dims;
    size_t shape[RBE_MAX_DIMS]; /* unused entries are 1 */
} rbe_tensor;

/* Views of `data`, which must hold as many floats as the shape says. */
RBE_API rbe_tensor rbe_tensor_1d(float *data, size_t n);
RBE_API rbe_tensor rbe_tensor_2d(float *data, size_t rows, size_t columns);
RBE_API rbe_tensor rbe_tensor_3d(float *data, size_t n0, size_t n1, size_t n2);

/* Number of values. This and the two numbers below are 0 for the value of a failed variable, which has no
 * dimensions. */
RBE_API size_t rbe_tensor_count(const rbe_tensor *tensor);

/* Extent of the last dimension, and the product of all others: a tensor seen as a matrix. */
RBE_API size_t rbe_tensor_columns(const rbe_tensor *tensor);
RBE_API size_t rbe_tensor_rows(const rbe_tensor *tensor);

/* A tensor of zeros in memory of its own, to be freed by rbe_tensor_free. INVALID_ARGUMENT for a bad shape,
 * INSUFFICIENT_MEMORY: *tensor then has no data. */
RBE_API rbe_status rbe_tensor_new(rbe_tensor *tensor, int dims, const size_t *shape);

/* Frees what rbe_tensor_new made (never a view) and clears the struct. NULL is allowed. */
RBE_API void rbe_tensor_free(rbe_tensor *tensor);

/* ---- the tape ------------------------------------------------------------------------------------------------ */

/* A tape records the operations of a step; a variable is the result of one, and lives until rbe_tape_reset or
 * rbe_tape_free. */
typedef struct rbe_tape rbe_tape;
typedef struct rbe_var rbe_var;

typedef struct rbe_tape_options {
    bool inference; /* no gradients are recorded, dropout does nothing */
    uint64_t seed;  /* of dropout masks */
} rbe_tape_options;

/* NULL options: training, seed 0. NULL when memory is short. */
RBE_API rbe_tape *rbe_tape_new(const rbe_tape_options *options);
RBE_API void rbe_tape_free(rbe_tape *tape); /* NULL is allowed */

/* Forgets all variables and the error, and keeps the memory for the next step. */
RBE_API void rbe_tape_reset(rbe_tape *tape);

/* The number of dropout masks that the tape has drawn since it was made; each has random numbers of its own. If a new
 * tape of the same seed is set to that number, it goes on as the old one would have. */
RBE_API uint64_t rbe_tape_draws(const rbe_tape *tape); /* 0 for NULL */
RBE_API void rbe_tape_set_draws(rbe_tape *tape, uint64_t draws);

/* Allocates `bytes` for temporaries in one piece, so that the tape needs no more memory than that (rbe_model_tape_bytes
 * says how much). INSUFFICIENT_MEMORY; INVALID_ARGUMENT if the tape has variables: call it on a new tape or after a
 * reset. */
RBE_API rbe_status rbe_tape_reserve(rbe_tape *tape, size_t bytes);

/* The first error since the last reset (INVALID_ARGUMENT for NULL), and its text, which lives until the next reset (""
 * without an error, "the tape is NULL" for NULL). */
RBE_API rbe_status rbe_tape_status(const rbe_tape *tape);
RBE_API const char *rbe_tape_error(const rbe_tape *tape);

/* true: from now on no gradients are recorded and dropout does nothing. false: back to training. */
RBE_API void rbe_tape_set_inference(rbe_tape *tape, bool inference);

/* Looks for the first value, then for the first gradient, that is not finite, in the order of computation:
 * NUMERICAL_INSTABILITY with the layer, the operation and the index, or RBE_OK. */
RBE_API rbe_status rbe_tape_check_finite(const rbe_tape *tape);

/* ---- variables ----------------------------------------------------------------------------------------------- */

/* A constant. Data are borrowed until the reset and never written. */
RBE_API rbe_var *rbe_input(rbe_tape *tape, rbe_tensor x);

/* A leaf whose gradient is wanted: rbe_grad after rbe_backward. Data are borrowed until the reset and never written. */
RBE_API rbe_var *rbe_variable(rbe_tape *tape, rbe_tensor x);

/* Value of a variable, which lives until the reset. For a failed variable, or NULL: a tensor with data NULL and no
 * dimensions. */
RBE_API const rbe_tensor *rbe_value(const rbe_var *var);

/* The value of a variable that has exactly one; NaN if the variable has failed or has more. */
RBE_API float rbe_item(const rbe_var *var);

/* Gradient of the last rbe_backward with respect to this variable, in its shape; NULL if none was computed. It lives
 * until the next rbe_backward or the reset. */
RBE_API const float *rbe_grad(const rbe_var *var);

/* Computes the gradients of `loss`, a variable of one value, with respect to every variable it depends on. If the tape
 * has an error, it reports the first one instead. INVALID_ARGUMENT if the loss has more than one value, or depends on
 * nothing that needs a gradient. Gradients of layer parameters are added to those that the parameter already holds,
 * until the optimiser's step consumes them. A pass that fails halfway leaves some of its gradients there: clear the
 * parameters' grad_set before the next one (rbe_zero_grad, rbe/nn.h), as rbe_fit does. */
RBE_API rbe_status rbe_backward(rbe_var *loss);

/* ---- operations: each with its formula; every one has a backward --------------------------------------------- */

/* Here and below, shapes that do not fit are INPUT_DIMENSION_MISMATCH and other bad arguments INVALID_ARGUMENT, and
 * the tape's text says what was found.
 *
 * c = a + b, a - b, a * b, a / b element by element. Shapes are aligned at the last dimension; an extent of 1, or a
 * missing leading dimension, is repeated (as in NumPy). */
RBE_API rbe_var *rbe_add(rbe_var *a, rbe_var *b);
RBE_API rbe_var *rbe_sub(rbe_var *a, rbe_var *b);
RBE_API rbe_var *rbe_mul(rbe_var *a, rbe_var *b);
RBE_API rbe_var *rbe_div(rbe_var *a, rbe_var *b);

/* c = factor * x */
RBE_API rbe_var *rbe_scale(rbe_var *x, float factor);

/* C = op(A) op(B), where op exchanges the last two dimensions if it is told to transpose. A and B have at least
 * two dimensions. Those before the last two number the matrices of a batch, and are broadcast as above:
 * (8, 4, 5, 6) x (6, 7) and (8, 4, 5, 6) x (4, 6, 7) are (8, 4, 5, 7). */
RBE_API rbe_var *rbe_matmul(rbe_var *a, bool transpose_a, rbe_var *b, bool transpose_b);

/* The same values in another shape of equal count, without a copy. */
RBE_API rbe_var *rbe_reshape(rbe_var *x, int dims, const size_t *shape);

/* The same values with dimensions exchanged: dimension d of the result is dimension order[d] of x. `order` holds each
 * dimension of x once; {1, 0} transposes a matrix. */
RBE_API rbe_var *rbe_permute(rbe_var *x, const int *order);

/* Joins `count` parts, at least 1, along dimension `dim`. Their other extents are equal. Here and below a negative dim
 * counts from the end: -1 is the last dimension. INVALID_ARGUMENT if there is no such dimension. */
RBE_API rbe_var *rbe_concatenate(rbe_var *const *parts, int count, int dim);

/* The places first .. first + count - 1 of dimension `dim`. */
RBE_API rbe_var *rbe_slice(rbe_var *x, int dim, size_t first, size_t count);

/* Rows of a table, such as an embedding: row i of the result is row ids[i] of the table; count >= 1. A row is what one
 * index of the first dimension selects: a table of shape (100, 8) gives (count, 8). `ids` are borrowed until the reset.
 * INVALID_ARGUMENT names the first id that is out of range. */
RBE_API rbe_var *rbe_gather_rows(rbe_var *table, const int32_t *ids, size_t count);

/* Sum and mean of all values: shape (1). Accumulated in double. */
RBE_API rbe_var *rbe_sum(rbe_var *x);
RBE_API rbe_var *rbe_mean(rbe_var *x);

/* Sum, mean (both accumulated in double) and largest value along one dimension. The dimension stays, with extent 1, so
 * the result broadcasts against x; rbe_reshape drops it. The gradient of max goes to the first of equal largest
 * values. */
RBE_API rbe_var *rbe_sum_along(rbe_var *x, int dim);
RBE_API rbe_var *rbe_mean_along(rbe_var *x, int dim);
RBE_API rbe_var *rbe_max_along(rbe_var *x, int dim);

/* Functions of each value. Where a function is not defined, the result is infinite or NaN; rbe_tape_check_finite finds
 * it. */
RBE_API rbe_var *rbe_exp(rbe_var *x);
RBE_API rbe_var *rbe_log(rbe_var *x);
RBE_API rbe_var *rbe_sqrt(rbe_var *x);                         /* derivative infinite at 0 */
RBE_API rbe_var *rbe_abs(rbe_var *x);                          /* derivative 0 at 0 */
RBE_API rbe_var *rbe_clamp(rbe_var *x, float low, float high); /* low <= high; derivative 1 at both, 0 beyond */
RBE_API rbe_var *rbe_power(rbe_var *x, float exponent);        /* a finite exponent */

RBE_API rbe_var *rbe_relu(rbe_var *x); /* max(x, 0); derivative 0 at 0 */
RBE_API rbe_var *rbe_gelu(rbe_var *x); /* x Phi(x) = x/2 (1 + erf(x / sqrt 2)) */

/* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel 2016): within 5e-4 of rbe_gelu, and faster */
RBE_API rbe_var *rbe_gelu_tanh(rbe_var *x);
RBE_API rbe_var *rbe_tanh(rbe_var *x);
RBE_API rbe_var *rbe_sigmoid(rbe_var *x); /* 1 / (1 + exp(-x)) */

/* Over the last dimension: exp(x_i) / sum_j exp(x_j), and its logarithm; the largest x is subtracted first. */
RBE_API rbe_var *rbe_softmax(rbe_var *x);
RBE_API rbe_var *rbe_log_softmax(rbe_var *x);

/* Mean over the rows of -log softmax(logits)[label]: shape (1). `labels` holds one class per row, 0 .. columns-1,
 * and is borrowed until the reset. INVALID_ARGUMENT names the first label out of range. A single column is
 * refused, since its softmax is always 1: take another loss, or two outputs. */
RBE_API rbe_var *rbe_cross_entropy(rbe_var *logits, const int32_t *labels);

/* mean((prediction - target)^2): shape (1). Shapes are equal. */
RBE_API rbe_var *rbe_mean_squared_error(rbe_var *prediction, rbe_var *target);

/* Mean of -t log s - (1 - t) log(1 - s), s = sigmoid(logit), for targets t in 0 .. 1: shape (1). Shapes are equal.
 * INVALID_ARGUMENT names the first target out of range. */
RBE_API rbe_var *rbe_binary_cross_entropy(rbe_var *logits, rbe_var *target);

/* Mean of d^2 / 2 for |d| <= delta, else of delta (|d| - delta / 2), d = prediction - target: shape (1). Shapes are
 * equal; delta > 0. */
RBE_API rbe_var *rbe_huber(rbe_var *prediction, rbe_var *target, float delta);

/* Of each row (the last dimension), layer_norm: (x - mean) / sqrt(variance + epsilon) (Ba, Kiros and Hinton 2016);
 * rms_norm: x / sqrt(mean square + epsilon) (Zhang and Sennrich 2019). Then times `scale` and plus `shift`, variables
 * of shape (columns); NULL: none. epsilon >= 0, usually 1e-5. */
RBE_API rbe_var *rbe_layer_norm(rbe_var *x, rbe_var *scale, rbe_var *shift, float epsilon);
RBE_API rbe_var *rbe_rms_norm(rbe_var *x, rbe_var *scale, float epsilon);

/* Causal self-attention (Vaswani et al. 2017). The last dimension of qkv holds a query, a key and a value of `width`
 * numbers each. The one before it holds the places of a sequence; leading ones number sequences. `heads` heads share
 * the width. Each computes softmax(Q K^T / sqrt(width / heads)) V, where a place sees itself and those before it. The
 * result is (.., places, width). The matrix of all scores is never stored: only 64 rows of one head exist at a time,
 * and the backward pass computes them again. Scores are dropped with probability `dropout` (0 <= p < 1) after the
 * softmax, except in inference. */
RBE_API rbe_var *rbe_attention(rbe_var *qkv, size_t heads, float dropout);

/* Rotary positions (Su et al. 2021), for qkv as above: queries and keys are rotated by their places, which count from
 * `first`; values stay. base > 1, usually 10000; width / heads is even. */
RBE_API rbe_var *rbe_rotary(rbe_var *qkv, size_t heads, double base, size_t first);

/* Each value is dropped with `probability` (0 <= p < 1); the others are divided by 1 - p. In inference: x itself. */
RBE_API rbe_var *rbe_dropout(rbe_var *x, float probability);

#ifdef __cplusplus
}
#endif
#endif
