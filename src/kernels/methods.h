/* The common source of all instruction sets: include it after defining LANES, METHODS and METHODS_NAME. */
#include "kernels/gradient.h"
#include "kernels/product.h"
#include "kernels/row_panel.h"
#include "kernels/small_batch.h"

const rbe_methods METHODS = {
    .name = METHODS_NAME,
    .analyze = analyze,
    .synthesize = synthesize,
    .product = product,
    .product_transposed = product_transposed,
    .gradient_values = gradient_values,
    .gradient_alpha = gradient_alpha,
    .forward_small = forward_small,
};
