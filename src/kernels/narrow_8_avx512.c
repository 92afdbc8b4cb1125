/* The products of a few rows with vectors of 8 floats and the registers of AVX-512: for groups of 5 to 8 block rows. */
#include "kernels/plan.h"

#if defined(__x86_64__)
#define LANES 8
#include "kernels/small_product.h"

void rbe_small_product_8_avx512(const rbe_plan *plan, const rbe_blocks *w, size_t g, const rbe_small_batch *b,
                                size_t rows) {
    small_group(plan, w, g, b, rows);
}
#endif
