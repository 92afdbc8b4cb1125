/* Making the orthonormal basis of basis.h, by GSL: QR for the even functions, an SVD for the last one. */
#include <gsl/gsl_linalg.h>
#include <math.h>

#include "base/alloc.h"
#include "codec/basis.h"

/* f_0..f_3 by QR of the four functions on half of the grid: an even function's full norm is sqrt 2 times that of
 * its half. */
static void fill_even(rbe_basis *m) {
    size_t half = m->block / 2;
    double samples[128 * RBE_EVEN_COUNT], tau[RBE_EVEN_COUNT];
    for (size_t c = 0; c < half; c++) {
        double x = rbe_basis_coordinate(c, m->block);
        double *row = samples + c * RBE_EVEN_COUNT;
        row[0] = 1.0;
        row[1] = cos(M_PI * x);
        row[2] = cos(2.0 * M_PI * x);
        row[3] = x * x;
    }
    gsl_matrix_view a = gsl_matrix_view_array(samples, half, RBE_EVEN_COUNT);
    gsl_vector_view t = gsl_vector_view_array(tau, RBE_EVEN_COUNT);
    gsl_linalg_QR_decomp(&a.matrix, &t.vector);
    for (size_t f = 0; f < RBE_EVEN_COUNT; f++) {
        gsl_vector_view column = gsl_vector_view_array(m->even[f], half);
        gsl_vector_set_basis(&column.vector, f);
        gsl_linalg_QR_Qvec(&a.matrix, &t.vector, &column.vector);
        double sign = gsl_matrix_get(&a.matrix, f, f) < 0.0 ? -M_SQRT1_2 : M_SQRT1_2;
        gsl_vector_scale(&column.vector, sign);
    }
}

/* <Phi_k, Psi_l> over the block, for l < 7. */
static double inner(const rbe_basis *m, int k, int l) {
    double sum = 0.0;
    for (size_t r = 0; r < m->block / 2; r++)
        for (size_t c = 0; c < m->block / 2; c++) sum += rbe_basis_value(k, r, c, m->block) * rbe_basis_psi(m, l, r, c);
    return 4.0 * sum;
}

/* Eigenpairs of the normalised remainder of d, a symmetric matrix E that is even in both directions. On the half
 * grid it is `half` x `half`, and a half vector of norm 1/sqrt 2 is a full one of norm 1: E_full v = lambda v  <=>
 * 2 E_half v = lambda v. One-sided Jacobi gives singular values s and vectors; the sign of lambda is that of u . v.
 */
static void fill_remainder(rbe_basis *m, double *remainder, double *vectors, double *values) {
    size_t half = m->block / 2;
    double norm = 0.0;
    for (size_t r = 0; r < half; r++)
        for (size_t c = 0; c < half; c++) {
            double d = rbe_basis_value(1, r, c, m->block);
            for (int l = 0; l < 7; l++) d -= m->to_orthonormal[1][l] * rbe_basis_psi(m, l, r, c);
            remainder[r * half + c] = d;
            norm += 4.0 * d * d;
        }
    norm = sqrt(norm);
    m->to_orthonormal[1][7] = norm;
    for (size_t i = 0; i < half * half; i++) remainder[i] *= 2.0 / norm;

    gsl_matrix_view u = gsl_matrix_view_array(remainder, half, half);
    gsl_matrix_view v = gsl_matrix_view_array(vectors, half, half);
    gsl_vector_view s = gsl_vector_view_array(values, half);
    gsl_linalg_SV_decomp_jacobi(&u.matrix, &v.matrix, &s.vector);
    while (m->rank < RBE_MAX_RANK && m->rank < half && values[m->rank] > RBE_RANK_TOLERANCE * values[0]) {
        size_t i = m->rank++;
        double sign = 0.0;
        for (size_t c = 0; c < half; c++) {
            sign += gsl_matrix_get(&u.matrix, c, i) * gsl_matrix_get(&v.matrix, c, i);
            m->vector[i][c] = M_SQRT1_2 * gsl_matrix_get(&v.matrix, c, i);
        }
        m->lambda[i] = sign < 0.0 ? -values[i] : values[i];
    }
}

rbe_basis *rbe_basis_new(size_t block) {
    const size_t half = block / 2;
    rbe_basis *m = rbe_basis_bare(block);
    double *scratch = rbe_alloc(2 * half * half + half, sizeof(double));
    if (!m || !scratch) {
        rbe_free(m);
        rbe_free(scratch);
        return NULL;
    }
    fill_even(m);
    /* Below the diagonal of the triangle the products vanish; they are left at an exact zero. */
    const int *order = rbe_basis_order;
    for (int k = 0; k < RBE_BASIS_COUNT; k++)
        for (int l = 0; l <= k && l < 7; l++) m->to_orthonormal[order[k]][l] = inner(m, order[k], l);
    fill_remainder(m, scratch, scratch + half * half, scratch + 2 * half * half);
    rbe_free(scratch);
    return m;
}
