/* The product of a few rows with vectors of 4 floats and AVX2: for groups of up to 4 block rows, which would leave
 * half of a longer vector empty. */
#include "kernels/plan.h"

#if defined(__x86_64__)
#define LANES 4
#include "kernels/small_batch.h"

void rbe_forward_small_4_avx2(const rbe_plan *plan, const rbe_blocks *w, const float *bias, const float *x, size_t rows,
                              float *y, float *scratch) {
    forward_small(plan, w, bias, x, rows, y, scratch);
}
#endif
