/* Dense products, the same bits for any number of threads. */
#ifndef RBE_BASE_GEMM_H
#define RBE_BASE_GEMM_H

#include <stdbool.h>

#include "rbe/base.h"

/* C = op(A) op(B) + (add ? C : 0), all row-major and contiguous; op(A) is m x k, op(B) k x n, C m x n. INVALID_ARGUMENT
 * if a row is longer than INT_MAX, INSUFFICIENT_MEMORY as rbe_blas_enter: then C is as it was. */
rbe_status rbe_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, const float *b,
                    bool add, float *c);

/* Several such products at once: C_n = (add ? C_n : 0) + sum over t of op(A_nt) op(B_nt), n below `count`, t below
 * `terms`, where A_nt is a[n * terms + t], and so is B. The terms are added in ascending order, and the C_n differ. */
typedef struct rbe_products {
    bool transpose_a, transpose_b, add;
    size_t m, n, k;
    size_t count, terms;
    const float *const *a, *const *b;
    float *const *c;
} rbe_products;

rbe_status rbe_gemm_many(const rbe_products *products);

#endif
