/* What the inputs of a layer look like, and coefficients fitted to it.
 *
 * With Xh the transformed inputs (as the product kernels see them, in_padded columns, centred) and H = Xh^T Xh / n,
 * the mean square of what a change D of the coefficients does to the outputs is tr(D H D^T). Its minimum over the
 * kept positions J of a row of S, with w the row of all coefficients, is the solution of
 *
 *     (H_JJ + r 1) s_J = (H w)_J,        r = 1e-4 of the mean diagonal of H.
 *
 * The alphas of a block row p minimise the same with all S fixed: M a_p = g_p, with
 *
 *     M[(q,l),(q',l')] = tr(Ph_l H_qq' Ph_l'^T)        g_p[(q,l)] = <Ph_l, ((Wh_p - S_p) H)_q>,
 *
 * Ph_l = La Psi_l Ra^T. M is the same for all block rows. S and alpha take turns.
 */
#ifndef RBE_CODEC_ACTIVATIONS_H
#define RBE_CODEC_ACTIVATIONS_H

#include "codec/strip.h"

/* The inputs themselves: `count` centred rows whose sum of x_i x_j is the covariance, and their mean. From a Gram
 * matrix, the rows are those of a Cholesky factor. */
typedef struct rbe_inputs {
    size_t count, in;
    float *rows;
    double *mean;
} rbe_inputs;

/* Leaves *inputs empty (count 0) if the options have neither samples nor a Gram matrix. INVALID_ARGUMENT, and
 * NUMERICAL_INSTABILITY with the place of the first value that is not finite. */
rbe_status rbe_inputs_new(rbe_inputs *inputs, size_t in, const rbe_compress_options *options);
void rbe_inputs_free(rbe_inputs *inputs); /* zeros are allowed */

/* H for one geometry, the factor of M, and scratch of the fit. */
typedef struct rbe_activations {
    size_t width;       /* of H: grid_cols * B */
    double *covariance; /* H */
    double ridge;
    double *alpha_factor; /* NULL without alpha */
    double *full, *product, *matrix, *right, *diagonal;
    size_t *list;
} rbe_activations;

rbe_status rbe_activations_new(rbe_activations *a, const rbe_inputs *inputs, rbe_strips *strips);
void rbe_activations_free(rbe_activations *a); /* zeros are allowed */

/* Fits the coefficients of a group at the kept positions, and its alphas. Strips follow each other in `spectra`:
 * the residual that `alpha` leaves on entry, the fitted coefficients (0 elsewhere) on return. keep: B x width. */
rbe_status rbe_activations_fit(rbe_activations *a, const rbe_strips *strips, size_t block_rows, const uint8_t *keep,
                               double *spectra, double *alpha);

#endif
