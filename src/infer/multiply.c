/* The product of one thread, by kernels of the library's own. */
#include "infer/multiply.h"

#include "base/processor.h"

static rbe_multiply_function *multiply_here(void) {
#if defined(__x86_64__)
    if (rbe_processor_has_avx512()) return rbe_multiply_avx512;
    if (rbe_processor_has_avx2()) return rbe_multiply_avx2;
#endif
    return rbe_multiply_portable;
}

void rbe_multiply(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, float factor, const float *a,
                  size_t lda, const float *b, size_t ldb, float keep, float *c, size_t ldc) {
    multiply_here()(&(rbe_one_product){transpose_a, transpose_b, m, n, k, factor, a, lda, b, ldb, keep, c, ldc});
}
