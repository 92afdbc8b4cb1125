/* Products of a compressed matrix with a batch of rows, forward and backward, in the transform domain.
 *
 *     forward    Y = X W^T + b            X: rows x in,  Y: rows x out, all row-major and contiguous
 *     backward   dX = dY W                dS[k, m] = sum_n dYh[n, i] Xh[n, column(k)] at the stored positions
 *                dalpha (orthonormal coordinates) = <Psi_l, dY_p^T X_q>
 *
 * A panel of T rows is transformed block by block (Xh_q = X_q R^T, with the moments of the alpha part as further
 * rows), multiplied sparsely, and transformed back, while everything stays in the second-level cache; W and dW are
 * never built.
 *
 * A plan holds what can be prepared for a geometry - block size, transforms, grid - and does not depend on the
 * lists or values. One plan may be used by many threads at once. Scratch memory is the caller's, aligned to 64
 * bytes.
 */
#ifndef RBE_KERNELS_KERNELS_H
#define RBE_KERNELS_KERNELS_H

#include "codec/blocks.h"

typedef struct rbe_plan rbe_plan;

/* NULL when memory is short. Freed by rbe_plan_free (NULL is allowed). */
rbe_plan *rbe_plan_new(const rbe_blocks *w);
void rbe_plan_free(rbe_plan *plan);

/* Fewer rows than this take the small-batch path of the forward product: 0 never. Default by measurement. */
size_t rbe_plan_batch_threshold(const rbe_plan *plan);
void rbe_plan_set_batch_threshold(rbe_plan *plan, size_t rows);

/* How a batch of rows is cut, and how many threads share it: decided once for a product, so that the scratch memory and
 * the work agree whatever rbe_set_threads does meanwhile. Panels and runs depend on the shapes alone; only how many runs
 * are worked on together depends on the threads. */
typedef struct rbe_layout {
    size_t rows;
    size_t width, panels;               /* a panel is `width` rows */
    size_t input_floats, output_floats; /* of one panel */
    size_t run, runs;                   /* panels whose gradients are summed without a break, and how many such runs */
    size_t runs_together;
    size_t threads;
} rbe_layout;

rbe_layout rbe_plan_layout(const rbe_plan *plan, size_t rows);

/* Has all runs worked on together, as rbe_gradients.written needs it, unless they take more than 16 MB. */
bool rbe_layout_join_runs(rbe_layout *layout);

/* Scratch bytes of a product. */
size_t rbe_plan_forward_bytes(const rbe_plan *plan, const rbe_layout *layout);
size_t rbe_plan_backward_bytes(const rbe_layout *layout);

/* Bytes of the transformed input that a forward product can leave for its backward (64-byte aligned). */
size_t rbe_plan_cache_bytes(const rbe_plan *plan, size_t rows);

/* bias (out values) and cache may be NULL. The result is bitwise the same for any number of threads. */
void rbe_plan_forward(const rbe_plan *plan, const rbe_blocks *w, const rbe_layout *layout, const float *bias,
                      const float *x, float *y, float *cache, void *scratch);

/* What a backward product writes; a NULL pointer: not wanted. `add_dx` adds to dx instead of overwriting it,
 * `add_parameters` does so for the two others. */
typedef struct rbe_gradients {
    float *dx;     /* rows x in */
    float *values; /* layout of rbe_blocks.values */
    float *alpha;  /* layout of rbe_blocks.alpha */
    bool add_dx, add_parameters;
    /* Somebody waits for the gradients of values: they come before dX, in a few parts from the last ones on; after each
     * the values from `first` on are written. The bits are the same. Needs rbe_layout_join_runs. NULL: nobody waits. */
    void (*written)(void *user, size_t first);
    void *user;
} rbe_gradients;

/* x may be NULL if cache holds what the forward product of the same x left there. Sums run in an order that depends on
 * the shapes alone: bitwise the same for any number of threads. */
void rbe_plan_backward(const rbe_plan *plan, const rbe_blocks *w, const rbe_layout *layout, const float *x,
                       const float *cache, const float *dy, const rbe_gradients *gradients, void *scratch);

/* The instruction set in use: "avx512", "avx2" or "portable"; the environment variable RBE_ISA may name a lower one
 * than the machine has (read once, at the first call). */
const char *rbe_isa_name(void);

#endif
