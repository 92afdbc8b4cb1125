/* How long layers take, measured side by side. */
#ifndef RBE_ADAPT_TIMING_H
#define RBE_ADAPT_TIMING_H

#include "nn/layer.h"

/* seconds[n] = median over `rounds` rounds of the forward product of x (rows x in) by layer n; in each round all
 * layers take their turn, so that whatever disturbs the machine disturbs all of them. */
rbe_status rbe_time_layers(rbe_layer *const *layers, size_t count, const float *x, size_t rows, size_t rounds,
                           double *seconds);

#endif
