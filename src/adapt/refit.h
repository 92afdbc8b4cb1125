/* Coefficients that stay, fitted to what the layer's inputs look like. */
#ifndef RBE_ADAPT_REFIT_H
#define RBE_ADAPT_REFIT_H

#include "nn/linear.h"

/* What is to be put in the place of a layer's values, alphas and bias. Zeros are allowed in rbe_refit_free. */
typedef struct rbe_refit {
    float *values; /* layout of blocks->values; 0 where nothing is kept */
    float *alpha;  /* NULL without */
    float *bias;   /* NULL without */
} rbe_refit;

/* Least squares for the outputs of the samples (count x in, the layer's inputs) when only the entries remain of
 * which `keep` (layout of blocks->values) holds a 1. Nothing is changed yet. INVALID_ARGUMENT for overlapping
 * blocks. */
rbe_status rbe_refit_make(rbe_refit *refit, const rbe_linear_layer *layer, const uint8_t *keep, const float *samples,
                          size_t count);
void rbe_refit_free(rbe_refit *refit);

#endif
