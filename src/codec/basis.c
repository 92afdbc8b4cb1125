/* The eight basis functions: raw values, and the orthonormal form of basis.h with its change of coordinates.
 *
 * Phi_k = sum_l <Phi_k, Psi_l> Psi_l, so orthonormal_l = sum_k raw_k <Phi_k, Psi_l>; in the order in which the Psi
 * were made the matrix is triangular, and raw coordinates follow by substitution from the last function to the
 * first.
 */
#include "codec/basis.h"

#include <gsl/gsl_linalg.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "codec/transform.h"

/* Psi_l is made from Phi_{order[l]} and those before it. */
static const int order[RBE_BASIS_COUNT] = {0, 3, 4, 5, 6, 7, 2, 1};

static double coordinate(size_t index, size_t block) { return 2.0 * (double)index / (double)(block - 1) - 1.0; }

static double phi(int k, double x, double y) {
    switch (k) {
    case 0: return 1.0;
    case 1: return sqrt(x * x + y * y);
    case 2: return x * x + y * y;
    case 3: return cos(M_PI * x);
    case 4: return cos(M_PI * y);
    case 5: return cos(2.0 * M_PI * x);
    case 6: return cos(2.0 * M_PI * y);
    case 7: return cos(M_PI * x) * cos(M_PI * y);
    }
    return NAN;
}

double rbe_basis_value(int k, size_t row, size_t column, size_t block) {
    if (!rbe_block_size_valid(block) || row >= block || column >= block) return NAN;
    return phi(k, coordinate(column, block), coordinate(row, block));
}

static size_t folded(size_t index, size_t block) { return index < block / 2 ? index : block - 1 - index; }

/* Psi_l without Psi_7. */
static double separable(const rbe_basis *m, int l, size_t row, size_t column) {
    size_t r = folded(row, m->block), c = folded(column, m->block);
    double *const *f = m->even;
    switch (l) {
    case 0: return f[0][r] * f[0][c];
    case 1: return f[0][r] * f[1][c];
    case 2: return f[1][r] * f[0][c];
    case 3: return f[0][r] * f[2][c];
    case 4: return f[2][r] * f[0][c];
    case 5: return f[1][r] * f[1][c];
    case 6: return (f[0][r] * f[3][c] + f[3][r] * f[0][c]) * M_SQRT1_2;
    }
    return NAN;
}

double rbe_basis_psi(const rbe_basis *m, int l, size_t row, size_t column) {
    if (l < 7) return separable(m, l, row, column);
    size_t r = folded(row, m->block), c = folded(column, m->block);
    double sum = 0.0;
    for (size_t i = 0; i < m->rank; i++) sum += m->lambda[i] * m->vector[i][r] * m->vector[i][c];
    return sum;
}

/* f_0..f_3 by QR of the four functions on half of the grid: an even function's full norm is sqrt 2 times that of
 * its half. */
static void fill_even(rbe_basis *m) {
    size_t half = m->block / 2;
    double samples[128 * RBE_EVEN_COUNT], tau[RBE_EVEN_COUNT];
    for (size_t c = 0; c < half; c++) {
        double x = coordinate(c, m->block);
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
        for (size_t c = 0; c < m->block / 2; c++)
            sum += phi(k, coordinate(c, m->block), coordinate(r, m->block)) * separable(m, l, r, c);
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
            double d = phi(1, coordinate(c, m->block), coordinate(r, m->block));
            for (int l = 0; l < 7; l++) d -= m->to_orthonormal[1][l] * separable(m, l, r, c);
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
    size_t half = block / 2;
    size_t arrays = (RBE_EVEN_COUNT + RBE_MAX_RANK) * half;
    rbe_basis *m = rbe_alloc_zeroed(1, rbe_aligned(sizeof *m) + arrays * sizeof(double));
    double *scratch = rbe_alloc(2 * half * half + half, sizeof(double));
    if (!m || !scratch) {
        rbe_free(m);
        rbe_free(scratch);
        return NULL;
    }
    double *next = (double *)(void *)((char *)m + rbe_aligned(sizeof *m));
    for (int f = 0; f < RBE_EVEN_COUNT; f++, next += half) m->even[f] = next;
    for (int v = 0; v < RBE_MAX_RANK; v++, next += half) m->vector[v] = next;
    m->block = block;

    fill_even(m);
    /* Below the diagonal of the triangle the products vanish; they are left at an exact zero. */
    for (int k = 0; k < RBE_BASIS_COUNT; k++)
        for (int l = 0; l <= k && l < 7; l++) m->to_orthonormal[order[k]][l] = inner(m, order[k], l);
    fill_remainder(m, scratch, scratch + half * half, scratch + 2 * half * half);
    rbe_free(scratch);
    return m;
}

void rbe_basis_to_orthonormal(const rbe_basis *m, const double *raw, double *orthonormal) {
    for (int l = 0; l < RBE_BASIS_COUNT; l++) {
        orthonormal[l] = 0.0;
        for (int k = 0; k < RBE_BASIS_COUNT; k++) orthonormal[l] += raw[k] * m->to_orthonormal[k][l];
    }
}

void rbe_basis_to_raw(const rbe_basis *m, const double *orthonormal, double *raw) {
    for (int l = RBE_BASIS_COUNT - 1; l >= 0; l--) {
        double rest = orthonormal[l];
        for (int later = l + 1; later < RBE_BASIS_COUNT; later++)
            rest -= raw[order[later]] * m->to_orthonormal[order[later]][l];
        raw[order[l]] = rest / m->to_orthonormal[order[l]][l];
    }
}

void rbe_basis_gradient_to_raw(const rbe_basis *m, const double *orthonormal, double *raw) {
    for (int k = 0; k < RBE_BASIS_COUNT; k++) {
        raw[k] = 0.0;
        for (int l = 0; l < RBE_BASIS_COUNT; l++) raw[k] += m->to_orthonormal[k][l] * orthonormal[l];
    }
}

typedef void (*conversion)(const rbe_basis *, const double *, double *);

static rbe_status convert(size_t block, const double *from, double *to, conversion function) {
    if (!from || !to) return rbe_fail(RBE_INVALID_ARGUMENT, "alpha: a pointer is NULL");
    if (!rbe_block_size_valid(block))
        return rbe_fail(RBE_INVALID_ARGUMENT, "block size: expected a power of two, 8 .. 256, found %zu", block);
    rbe_basis *m = rbe_basis_new(block);
    if (!m) return rbe_last_status();
    double source[RBE_BASIS_COUNT]; /* `from` and `to` may be the same array */
    memcpy(source, from, sizeof source);
    function(m, source, to);
    rbe_free(m);
    return RBE_OK;
}

rbe_status rbe_alpha_to_orthonormal(size_t block, const double raw[RBE_BASIS_COUNT],
                                    double orthonormal[RBE_BASIS_COUNT]) {
    return convert(block, raw, orthonormal, rbe_basis_to_orthonormal);
}

rbe_status rbe_alpha_to_raw(size_t block, const double orthonormal[RBE_BASIS_COUNT], double raw[RBE_BASIS_COUNT]) {
    return convert(block, orthonormal, raw, rbe_basis_to_raw);
}
