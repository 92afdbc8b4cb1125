/* The eight basis functions as products of one-dimensional ones: what the product kernels work with.
 *
 * On the grid of a block all Phi_k are even in x and y. With f_0 .. f_3 the orthonormal even functions that QR makes
 * of 1, cos pi x, cos 2 pi x, x^2 (in this order), and (lambda_m, v_m) the eigenpairs of what remains of d, the
 * orthonormal basis (row r is y, column c is x) is
 *
 *     Psi_0 = f0(y) f0(x)    Psi_1 = f0(y) f1(x)    Psi_2 = f1(y) f0(x)    Psi_3 = f0(y) f2(x)
 *     Psi_4 = f2(y) f0(x)    Psi_5 = f1(y) f1(x)    Psi_6 = (f0(y) f3(x) + f3(y) f0(x)) / sqrt 2
 *     Psi_7 = (d - its projection on Psi_0 .. Psi_6) / norm = sum_m lambda_m v_m(y) v_m(x)
 *
 * Eigenvalues below RBE_RANK_TOLERANCE of the largest are left out: rank 9 to 12 for B = 32 .. 256.
 */
#ifndef RBE_CODEC_BASIS_H
#define RBE_CODEC_BASIS_H

#include "codec/grouped.h"
#include "rbe/codec.h"

#define RBE_RANK_TOLERANCE 1e-5

_Static_assert(RBE_ALPHA_FUNCTIONS == RBE_BASIS_COUNT, "the kernels' count of basis functions");

/* Every function is even: only its values at c < B/2 are kept, value[c] = value[B-1-c]. */
typedef struct rbe_basis {
    size_t block;
    size_t rank;                  /* of Psi_7 */
    double *even[RBE_EVEN_COUNT]; /* f_a, B/2 values each */
    double *vector[RBE_MAX_RANK]; /* v_m, B/2 values each; the full vectors have unit norm */
    double lambda[RBE_MAX_RANK];
    /* row k: Psi coordinates of Phi_k, i.e. to_orthonormal[k][l] = <Phi_k, Psi_l> */
    double to_orthonormal[RBE_BASIS_COUNT][RBE_BASIS_COUNT];
} rbe_basis;

/* Psi_l is made from Phi_{order[l]} and those before it. */
static const int rbe_basis_order[RBE_BASIS_COUNT] = {0, 3, 4, 5, 6, 7, 2, 1};

/* Where the functions are sampled: in [-1, 1]. */
static inline double rbe_basis_coordinate(size_t index, size_t block) {
    return 2.0 * (double)index / (double)(block - 1) - 1.0;
}

/* One piece of memory of the library's allocator; freed by rbe_free. NULL when memory is short. `bare`: all zeros but for the
 * block size and where the arrays are. */
rbe_basis *rbe_basis_new(size_t block);
rbe_basis *rbe_basis_bare(size_t block);

void rbe_basis_to_orthonormal(const rbe_basis *basis, const double *raw, double *orthonormal);
void rbe_basis_to_raw(const rbe_basis *basis, const double *orthonormal, double *raw);

/* Gradients transform with the transpose: d loss / d raw_k = sum_l <Phi_k, Psi_l> d loss / d orthonormal_l. */
void rbe_basis_gradient_to_raw(const rbe_basis *basis, const double *orthonormal, double *raw);

/* The value of Psi_l at (row, column), without truncation of the rank for l < 7. */
double rbe_basis_psi(const rbe_basis *basis, int l, size_t row, size_t column);

#endif
