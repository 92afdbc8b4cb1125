/* Loops over values that take long enough to be compiled for each instruction set: loops_portable.c, loops_avx2.c and
 * loops_avx512.c have the same text, loops_text.h. No compiler may fuse products with sums (-ffp-contract=off), so all
 * of them give the same bits.
 */
#ifndef RBE_TENSOR_LOOPS_H
#define RBE_TENSOR_LOOPS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct rbe_loops {
    /* y = gelu_tanh(x); gx = (add ? gx : 0) + g gelu_tanh'(x). */
    void (*gelu)(const float *x, float *y, size_t count);
    void (*gelu_chain)(const float *g, const float *x, float *gx, bool add, size_t count);

    /* x = exp(x - shift) in place; returns the sum, of eight parts in a fixed order. */
    float (*exponentials)(float *x, float shift, size_t count);

    /* sum of a b, of sixteen parts in a fixed order; y += factor x. */
    float (*dot)(const float *a, const float *b, size_t count);
    void (*add_scaled)(float *y, float factor, const float *x, size_t count);
} rbe_loops;

extern const rbe_loops rbe_loops_portable, rbe_loops_avx2, rbe_loops_avx512;

/* Those of this processor. */
const rbe_loops *rbe_loops_here(void);

#endif
