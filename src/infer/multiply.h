/* The small library's dense product, compiled for each instruction set. */
#ifndef RBE_INFER_MULTIPLY_H
#define RBE_INFER_MULTIPLY_H

#include "base/multiply.h"

/* The arguments of rbe_multiply. */
typedef struct rbe_one_product {
    bool transpose_a, transpose_b;
    size_t m, n, k;
    float factor;
    const float *a;
    size_t lda;
    const float *b;
    size_t ldb;
    float keep;
    float *c;
    size_t ldc;
} rbe_one_product;

typedef void rbe_multiply_function(const rbe_one_product *p);

extern rbe_multiply_function rbe_multiply_portable, rbe_multiply_avx2, rbe_multiply_avx512;

#endif
