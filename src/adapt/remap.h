/* Changes of a layer's positions: whatever belongs to a position goes with it. */
#ifndef RBE_ADAPT_REMAP_H
#define RBE_ADAPT_REMAP_H

#include "nn/linear.h"
#include "optim/optim_internal.h"

#define RBE_REMAP_ARRAYS (2 + RBE_OPTIM_MAX_STATE)

/* A matrix of the geometry of `like`, without alpha, with empty lists. NULL when memory is short. */
rbe_blocks *rbe_lists_new(const rbe_blocks *like);

/* A change of lists in two steps: the first may fail, the second, which changes things, may not. */
typedef struct rbe_remap {
    rbe_linear_layer *layer;
    rbe_optim *optim; /* or NULL */
    rbe_blocks *next;
    float *resized[RBE_REMAP_ARRAYS]; /* all NULL if every count stays */
} rbe_remap;

/* Gets ready to give the layer the lists of `next` (from rbe_lists_new, allocated and filled). If the number of
 * entries stays, this allocates nothing. */
rbe_status rbe_remap_prepare(rbe_remap *remap, rbe_linear_layer *layer, rbe_optim *optim, rbe_blocks *next);

/* Values, gradient and the optimiser's state follow their positions; new positions start at 0 in all of them. If
 * the number of entries stays, no array moves; otherwise they are replaced by ones of the new size. Afterwards the
 * contents of `next`, still the caller's, mean nothing. */
void rbe_remap_commit(rbe_remap *remap);

/* Instead of the commit; zeros are allowed. */
void rbe_remap_discard(rbe_remap *remap);

/* Both steps. */
rbe_status rbe_linear_set_positions(rbe_linear_layer *layer, rbe_optim *optim, rbe_blocks *next);

/* The arrays that belong to a layer's coefficients - value, gradient, the optimiser's state - with NULL for those
 * that are not there. */
void rbe_coefficient_arrays(const rbe_linear_layer *layer, rbe_optim *optim, float *arrays[RBE_REMAP_ARRAYS]);

#endif
