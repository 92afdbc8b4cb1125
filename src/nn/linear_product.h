/* The products of a compressed layer with rows of its true widths. */
#ifndef RBE_NN_LINEAR_PRODUCT_H
#define RBE_NN_LINEAR_PRODUCT_H

#include "nn/linear.h"

/* Bytes that a product takes from the arena and gives back. */
size_t rbe_linear_forward_bytes(const rbe_linear_layer *layer, size_t rows);
size_t rbe_linear_backward_bytes(const rbe_linear_layer *layer, size_t rows);

/* Y = X W^T + b. cache (or NULL): rbe_plan_cache_bytes for the backward product. */
rbe_status rbe_linear_forward_product(const rbe_linear_layer *layer, rbe_arena *arena, const float *x, size_t rows,
                                      float *y, float *cache);

/* What rbe_plan_backward gives, dx in the layer's width; the gradient of the bias (NULL: not wanted); and the probe's
 * view. x is read also with a cache, if there is a probe. A call that fails has written nothing. `self`: whose backward it
 * is; x and dY are its own. */
rbe_status rbe_linear_backward_product(const rbe_linear_layer *layer, rbe_var *self, const float *cache,
                                       const rbe_gradients *g, float *bias);

#endif
