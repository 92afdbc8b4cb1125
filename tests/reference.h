/* An independent reference for everything that works on compressed matrices: the formulas of rbe/codec.h in double
 * precision on dense matrices, read through the public views only. Slow and plain on purpose. */
#ifndef RBE_TESTS_REFERENCE_H
#define RBE_TESTS_REFERENCE_H

#include <check.h>

#include "rbe/nn.h"

/* A call that must return RBE_OK. */
#define ck_assert_ok(call)                                                                                             \
    do {                                                                                                               \
        const rbe_status status_of_call = (call);                                                                      \
        ck_assert_msg(status_of_call == RBE_OK, "%s: %s", #call, rbe_last_error());                                    \
    } while (0)

/* The eight functions and both transforms of one geometry, sampled. */
typedef struct reference {
    rbe_blocks_info info;
    double *left, *right;           /* L along the outputs, R along the inputs: B x B */
    double *basis[RBE_BASIS_COUNT]; /* Phi_k: B x B, raw */
    double *scratch;                /* B x B */
} reference;

reference *reference_new(const rbe_blocks_info *info);
void reference_free(reference *r);

/* W, out x in, from the views of all blocks: sum_k alpha_k Phi_k + L^T S R. */
void reference_dense(reference *r, const rbe_blocks *blocks, double *w);

/* Cuts block (p, q) out of an out x in matrix, padded with zeros: B x B. */
void reference_cut(const reference *r, const double *w, size_t p, size_t q, double *cut);

/* L M R^T: what every coefficient of S sees of M (both B x B). For orthonormal transforms this is S itself for
 * M = L^T S R, and the gradient dS for M = dW_pq. */
void reference_analyse(reference *r, const double *m, double *s);

/* <Phi_k, M>: the gradient of the raw alphas for M = dW_pq. */
void reference_moments(const reference *r, const double *m, double moments[RBE_BASIS_COUNT]);

/* All views in a row, blocks in the order of their index: raw alphas, coefficients. Freed with free. */
typedef struct reference_views {
    size_t blocks, total;
    double *alpha;                 /* 8 per block */
    rbe_coefficient *coefficients; /* total */
    size_t *start;                 /* blocks + 1 */
} reference_views;

void reference_read(reference_views *views, const rbe_blocks *blocks);
void reference_views_free(reference_views *views);

/* Products of dense matrices: Y = X W^T + b (b may be NULL), and for given dY: dX = dY W, dW = dY^T X, db. */
void reference_forward(const double *w, const double *bias, const double *x, size_t rows, size_t out, size_t in,
                       double *y);
void reference_backward(const double *w, const double *x, const double *dy, size_t rows, size_t out, size_t in,
                        double *dx, double *dw, double *dbias);

/* A random compressed matrix: `per_block` coefficients N(0,1) in each block at positions that the block rows of a
 * group share, raw alphas N(0,1) if options->alpha is RBE_ALPHA_ON. The test fails if it cannot be built. */
rbe_blocks *random_blocks(size_t out, size_t in, size_t per_block, const rbe_compress_options *options, uint64_t seed);

/* ---- layers -------------------------------------------------------------------------------------------------- */

/* The parameter of this name within the layer, or NULL. */
rbe_param *layer_part(const rbe_layer *layer, const char *part);

/* A compressed layer, which it owns, and the dense matrix it stands for. */
typedef struct layer_reference {
    size_t in, out;
    rbe_layer *layer;
    reference *r;
    reference_views views;
    double *w, *bias; /* bias: NULL without one */
} layer_reference;

layer_reference layer_reference_of(rbe_layer *layer);
void layer_reference_free(layer_reference *f);

/* Y for X in inference; or, with a weight G of each output, Y in training, dX and the parameters' gradients of
 * sum(G Y): dY is G. */
void run_layer(const rbe_layer *layer, rbe_tensor x, const float *g, float *y, float *dx);

/* As an optimiser's step does, without moving anything. */
void consume_gradients(const rbe_layer *layer);

/* Relative errors of a product with random X and dY and of all its gradients, each kind as one array. */
typedef struct product_errors {
    double y, dx, coefficients, alpha, bias;
} product_errors;

product_errors product_errors_of(layer_reference *f, size_t rows, uint64_t seed);

/* ---- memory of the test's own -------------------------------------------------------------------------------- */

/* N(0,1); freed with free. */
float *normals(size_t count, uint64_t seed);

/* A copy in double precision; freed with free. */
double *widened(const float *values, size_t count);

/* Memory of the test's own, zeroed; the test fails if there is none. */
void *test_memory(size_t count, size_t size);

#endif
