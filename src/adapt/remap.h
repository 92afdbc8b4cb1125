/* Changes of a layer's positions: whatever belongs to a position goes with it. */
#ifndef RBE_ADAPT_REMAP_H
#define RBE_ADAPT_REMAP_H

#include "nn/linear.h"
#include "rbe/optim.h"

/* A matrix of the geometry of `like`, without alpha, with empty lists. NULL when memory is short. */
rbe_blocks *rbe_lists_new(const rbe_blocks *like);

/* Gives the layer the lists of `next` (from rbe_lists_new, allocated and filled). Values, gradient and the
 * optimiser's state (`optim` may be NULL) follow their positions; new positions start at 0 in all of them. If every
 * count stays, this allocates nothing and no array moves; otherwise the arrays are replaced by ones of the new
 * size. On failure nothing has changed. Afterwards the contents of `next`, still the caller's, mean nothing. */
rbe_status rbe_linear_set_positions(rbe_linear_layer *layer, rbe_optim *optim, rbe_blocks *next);

#endif
