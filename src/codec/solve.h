/* Least squares by normal equations: (A + ridge 1) x = b with A symmetric and positive semidefinite. */
#ifndef RBE_CODEC_SOLVE_H
#define RBE_CODEC_SOLVE_H

#include "rbe/base.h"

/* Cholesky factor of A + ridge 1 in the lower triangle of `a` (size x size, both triangles given), by LAPACK. Where
 * rounding makes that indefinite the ridge is raised tenfold until it is not; `diagonal` is scratch of `size`.
 * NUMERICAL_INSTABILITY if A has values that are not finite. Callers of both have entered OpenBLAS (base/blas.h). */
rbe_status rbe_cholesky(size_t size, double *a, double ridge, double *diagonal);

/* Solves for `count` right-hand sides, rows of x (count x size), in place. */
void rbe_cholesky_solve(size_t size, const double *factor, size_t count, double *x);

#endif
