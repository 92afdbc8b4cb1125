/* The product of a few rows with vectors of 8 floats and the registers of AVX-512: for groups of 5 to 8 block rows. */
#include "kernels/plan.h"

#if defined(__x86_64__)
#define LANES 8
#include "kernels/small_batch.h"

void rbe_forward_small_8_avx512(const rbe_plan *plan, const rbe_blocks *w, const float *bias, const float *x,
                                size_t rows, float *y, float *scratch) {
    forward_small(plan, w, bias, x, rows, y, scratch);
}
#endif
