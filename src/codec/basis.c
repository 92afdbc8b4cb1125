/* The eight basis functions: raw values, and the orthonormal form of basis.h with its change of coordinates.
 *
 * Phi_k = sum_l <Phi_k, Psi_l> Psi_l, so orthonormal_l = sum_k raw_k <Phi_k, Psi_l>; in the order in which the Psi
 * were made the matrix is triangular, and raw coordinates follow by substitution from the last function to the
 * first.
 */
#include "codec/basis.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "codec/transform.h"

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
    return phi(k, rbe_basis_coordinate(column, block), rbe_basis_coordinate(row, block));
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

/* One piece of memory: the basis, then its arrays. */
rbe_basis *rbe_basis_bare(size_t block) {
    const size_t half = block / 2, arrays = (RBE_EVEN_COUNT + RBE_MAX_RANK) * half;
    rbe_basis *m = rbe_alloc_zeroed(1, rbe_aligned(sizeof *m) + arrays * sizeof(double));
    if (!m) return NULL;
    double *next = (double *)(void *)((char *)m + rbe_aligned(sizeof *m));
    for (int f = 0; f < RBE_EVEN_COUNT; f++, next += half) m->even[f] = next;
    for (int v = 0; v < RBE_MAX_RANK; v++, next += half) m->vector[v] = next;
    m->block = block;
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
            rest -= raw[rbe_basis_order[later]] * m->to_orthonormal[rbe_basis_order[later]][l];
        raw[rbe_basis_order[l]] = rest / m->to_orthonormal[rbe_basis_order[l]][l];
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
