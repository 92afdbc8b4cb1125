/* The forward product of a few rows: transforms, products, transforms back.
 *
 * The transforms take vectors of the instruction set's own length; the products those that the group fills.
 */
#include "kernels/plan.h"

size_t rbe_small_floats(const rbe_plan *plan, size_t rows) {
    size_t x_stride = rbe_small_stride(plan->grid_cols * rows), y_stride = rbe_small_stride(plan->grid_rows * rows);
    return plan->block_rows * (x_stride + y_stride) + 16;
}

void rbe_forward_small(const rbe_plan *plan, const rbe_blocks *w, const float *bias, const float *x, size_t rows,
                       float *y, float *scratch) {
    const rbe_methods *isa = rbe_isa();
    rbe_small_product *product = rbe_isa_small_product(w->group);
    size_t x_stride = rbe_small_stride(plan->grid_cols * rows), y_stride = rbe_small_stride(plan->grid_rows * rows);
    float *yh = scratch, *moments = yh + plan->block_rows * y_stride;
    float *coefficients = moments + plan->input.moments * x_stride;
    rbe_small_batch b = {.coefficients = coefficients,
                         .moments = moments,
                         .columns = plan->grid_cols * plan->block,
                         .moment_stride = x_stride,
                         .y = yh,
                         .y_stride = y_stride};
    isa->analyze_small(&plan->input, x, rows, w->in, plan->grid_cols, coefficients, moments);
    for (size_t g = 0; g < w->groups; g++, b.y += w->group) product(plan, w, g, &b, rows);
    isa->synthesize_small(&plan->output, yh, bias, rows, w->out, plan->grid_rows, y);
}
