/* The same as narrow_4_avx2.c with the masks and the 32 registers of AVX-512: a tenth faster. */
#include "kernels/plan.h"

#if defined(__x86_64__)
#define LANES 4
#include "kernels/small_product.h"

void rbe_small_product_4_avx512(const rbe_plan *plan, const rbe_blocks *w, size_t g, const rbe_small_batch *b,
                                size_t rows) {
    small_group(plan, w, g, b, rows);
}
#endif
