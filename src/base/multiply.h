/* One dense product on the calling thread: OpenBLAS's. */
#ifndef RBE_BASE_MULTIPLY_H
#define RBE_BASE_MULTIPLY_H

#include <stdbool.h>
#include <stddef.h>

/* C = factor op(A) op(B) + keep C, row-major, where op transposes or not: op(A) is m x k, op(B) k x n. Rows are lda, ldb
 * and ldc values apart. All extents are at most INT_MAX; with keep 0 C is not read. The caller has entered OpenBLAS
 * (base/blas.h). */
void rbe_multiply(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, float factor, const float *a,
                  size_t lda, const float *b, size_t ldb, float keep, float *c, size_t ldc);

#endif
