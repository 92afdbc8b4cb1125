/* The common source of all instruction sets: include it after defining LANES, METHODS and METHODS_NAME. */
#include "base/full.h"
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
    .product_transposed = RBE_FULL(product_transposed),
    .gradient_values = RBE_FULL(gradient_values),
    .gradient_alpha = RBE_FULL(gradient_alpha),
    .analyze_small = analyze_small,
    .synthesize_small = synthesize_small,
    .product_small = small_group,
};
