/* Dense products, the same bits for any number of threads. */
#ifndef RBE_BASE_GEMM_H
#define RBE_BASE_GEMM_H

#include <stdbool.h>
#include <stddef.h>

/* C = op(A) op(B) + (add ? C : 0), all row-major and contiguous; op(A) is m x k, op(B) k x n, C m x n. */
void rbe_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, const float *b,
              bool add, float *c);

/* Keeps OpenBLAS to one thread per call from now on. rbe_gemm, rbe_cholesky and the making of a compressed matrix do
 * so themselves; for whatever calls OpenBLAS without any of them before. */
void rbe_pin_blas(void);

#endif
