/* The common source of all instruction sets: include it after defining LANES, METHODS, BACKWARD and METHODS_NAME. */
#include "kernels/gradient.h"
#include "kernels/product.h"
#include "kernels/row_panel.h"
#include "kernels/small_product.h"
#include "kernels/small_transform.h"

const rbe_methods METHODS = {
    .name = METHODS_NAME,
    .width = PANEL_WIDTH,
    .analyze = analyze,
    .synthesize = synthesize,
    .product = product,
    .analyze_small = analyze_small,
    .synthesize_small = synthesize_small,
    .product_small = small_group,
};

const rbe_backward_methods BACKWARD = {
    .product_transposed = product_transposed,
    .gradient_values = gradient_values,
    .gradient_alpha = gradient_alpha,
};
