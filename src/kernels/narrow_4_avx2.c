/* The products of a few rows with vectors of 4 floats and AVX2: for groups of up to 4 block rows, which would leave
 * half of a longer vector empty. */
#include "kernels/plan.h"

#if defined(__x86_64__)
#define LANES 4
#include "kernels/small_product.h"

void rbe_small_product_4_avx2(const rbe_plan *plan, const rbe_blocks *w, size_t g, const rbe_small_batch *b,
                              size_t rows) {
    small_group(plan, w, g, b, rows);
}
#endif
