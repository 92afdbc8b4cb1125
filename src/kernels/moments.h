/* Moments of the alpha part: of a block's coefficients, and back.
 *
 *     project    moment m = sum_k E[k][m] coefficient k
 *     expand     coefficient k += sum_m E[k][m] moment m
 *
 * E holds the even functions of basis.h in the transform domain. It is a list like those of the residuals, its entries
 * the coefficients that the functions have a part in (of a DCT every other one) and its rows the moments.
 */
#ifndef RBE_KERNELS_MOMENTS_H
#define RBE_KERNELS_MOMENTS_H

#include "kernels/product.h"

static inline list moments_of(const rbe_axis *axis) {
    return (list){.columns32 = axis->moment_columns,
                  .length = axis->moment_entries,
                  .rows = axis->moments,
                  .shift = RBE_MAX_LOG2_BLOCK};
}

/* Of `vectors` vectors of samples; coefficients are x_step floats apart, moments moment_step. */
static void project_moments(const rbe_axis *axis, const float *x, size_t x_step, float *moments, size_t moment_step,
                            size_t vectors) {
    const list l = moments_of(axis);
    product_list(&l, axis->moment_values, x, moments, x_step, moment_step, vectors, false);
}

static void expand_moments(const rbe_axis *axis, const float *moments, size_t moment_step, float *x, size_t x_step,
                           size_t vectors) {
    const list l = moments_of(axis);
    transposed_list(&l, axis->moment_values, moments, x, x_step, moment_step, vectors);
}

#endif
