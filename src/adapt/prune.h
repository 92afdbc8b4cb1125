/* Pruning that goes on: what went before is remembered. */
#ifndef RBE_ADAPT_PRUNE_H
#define RBE_ADAPT_PRUNE_H

#include "rbe/adapt.h"

/* How many coefficients a layer had when its pruning began. */
typedef struct rbe_layer_count {
    const rbe_layer *layer;
    size_t coefficients;
} rbe_layer_count;

/* rbe_prune, but for a relative threshold the mean of c^2 of these layers is taken over as many coefficients as they
 * had: those that are gone count as zeros. */
rbe_status rbe_prune_further(rbe_model *model, const rbe_prune_options *options, const rbe_layer_count *before,
                             size_t count, rbe_prune_report *report);

#endif
