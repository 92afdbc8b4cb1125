/* Sums of squares in double, where those of floats neither overflow nor vanish. */
#ifndef RBE_BASE_NORM_H
#define RBE_BASE_NORM_H

#include <stddef.h>

/* sum x_n^2; finite exactly if every value is. */
static inline double rbe_sum_of_squares(const float *x, size_t count) {
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (size_t n = 0; n < count; n++) sum += (double)x[n] * x[n];
    return sum;
}

#endif
