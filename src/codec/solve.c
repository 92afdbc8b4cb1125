/* Cholesky through the LAPACK in OpenBLAS: GSL's would call its error handler for an indefinite matrix. */
#include "codec/solve.h"

#include <openblas_config.h>

#include <f77blas.h>
#include <math.h>

/* LAPACK counts columns first: its upper triangle is the lower one of our rows. */
static char triangle[] = "U";

rbe_status rbe_cholesky(size_t size, double *a, double ridge, double *diagonal) {
    double largest = 0.0;
    for (size_t i = 0; i < size; i++) {
        diagonal[i] = a[i * size + i];
        largest = fmax(largest, diagonal[i]);
    }
    ridge = fmax(ridge, 1e-14 * largest + 1e-300);
    for (; ridge <= largest + 1.0; ridge *= 10.0) {
        for (size_t i = 0; i < size; i++) {
            a[i * size + i] = diagonal[i] + ridge;
            for (size_t j = 0; j < i; j++) a[i * size + j] = a[j * size + i]; /* a failed attempt's remains */
        }
        blasint n = (blasint)size, info;
        dpotrf_(triangle, &n, a, &n, &info);
        if (info == 0) return RBE_OK;
    }
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "least squares: the normal equations are not finite");
}

void rbe_cholesky_solve(size_t size, const double *factor, size_t count, double *x) {
    blasint n = (blasint)size, right = (blasint)count, info;
    dpotrs_(triangle, &n, &right, (double *)(uintptr_t)factor, &n, x, &n, &info);
}
