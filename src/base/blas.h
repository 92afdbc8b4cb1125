/* The conditions under which the library calls OpenBLAS. */
#ifndef RBE_BASE_BLAS_H
#define RBE_BASE_BLAS_H

#include "rbe/base.h"

/* Before `callers` threads call OpenBLAS at once; rbe_blas_leave after they have. In between OpenBLAS works on one
 * thread per call and finds the memory that it needs. INSUFFICIENT_MEMORY if that cannot be had: OpenBLAS itself
 * would try for ever. Pairs may nest, and several threads may be inside at once. For 0
 * callers both do nothing. */
rbe_status rbe_blas_enter(size_t callers);
void rbe_blas_leave(size_t callers);

/* How many of `wanted` threads may call OpenBLAS at once: it is built for a largest number. */
size_t rbe_blas_callers(size_t wanted);

/* Tells the warning handler, once in the life of the program, if OpenBLAS's kernels are below the processor. */
void rbe_blas_check_kernels(void);

/* What a processor's vectors are like, as far as OpenBLAS's kernels differ by it. */
typedef enum rbe_vector_level { RBE_VECTOR_OLD, RBE_VECTOR_AVX2, RBE_VECTOR_AVX512 } rbe_vector_level;

/* The kernels that a processor of this level needs in place of the chosen ones; NULL if those will do. */
const char *rbe_blas_kernels_above(const char *chosen, rbe_vector_level processor);

#endif
