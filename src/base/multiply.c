/* The product of one thread, by OpenBLAS. */
#include "base/multiply.h"

#include <cblas.h>

void rbe_multiply(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, float factor, const float *a,
                  size_t lda, const float *b, size_t ldb, float keep, float *c, size_t ldc) {
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, (int)m,
                (int)n, (int)k, factor, a, (int)lda, b, (int)ldb, keep, c, (int)ldc);
}
