/* The conditions under which the library calls OpenBLAS. */
#ifndef RBE_BASE_BLAS_H
#define RBE_BASE_BLAS_H

#include "rbe/base.h"

/* Before up to `wanted` threads (at least 1) call OpenBLAS at once: says how many of them may, which is fewer where
 * OpenBLAS is not built for so many, others are inside, or memory is short. Until rbe_blas_leave with that number,
 * OpenBLAS works on one thread per call and finds the memory that it needs. 0, with INSUFFICIENT_MEMORY recorded, if
 * there is none for a single one: OpenBLAS itself would try for ever. Pairs may nest, and several threads may be inside
 * at once. */
size_t rbe_blas_enter(size_t wanted);
void rbe_blas_leave(size_t callers); /* 0 is allowed */

/* Tells the warning handler, once in the life of the program, if OpenBLAS's kernels are below the processor. */
void rbe_blas_check_kernels(void);

/* What a processor's vectors are like, as far as OpenBLAS's kernels differ by it. */
typedef enum rbe_vector_level { RBE_VECTOR_OLD, RBE_VECTOR_AVX2, RBE_VECTOR_AVX512 } rbe_vector_level;

/* The kernels that a processor of this level needs in place of the chosen ones; NULL if those will do. */
const char *rbe_blas_kernels_above(const char *chosen, rbe_vector_level processor);

#endif
