/* Dense products, the same bits for any number of threads. */
#ifndef RBE_BASE_GEMM_H
#define RBE_BASE_GEMM_H

#include <stdbool.h>

#include "rbe/base.h"

/* C = op(A) op(B) + (add ? C : 0), all row-major and contiguous; op(A) is m x k, op(B) k x n, C m x n. INVALID_ARGUMENT
 * if a row is longer than INT_MAX, INSUFFICIENT_MEMORY as rbe_blas_enter: then C is as it was. */
rbe_status rbe_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, const float *b,
                    bool add, float *c);

#endif
