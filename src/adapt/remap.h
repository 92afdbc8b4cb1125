/* Changes of a layer's positions: whatever belongs to a position goes with it. */
#ifndef RBE_ADAPT_REMAP_H
#define RBE_ADAPT_REMAP_H

#include "nn/linear.h"

/* A matrix of the geometry of `like`, without alpha, with empty lists. NULL when memory is short. */
rbe_blocks *rbe_lists_new(const rbe_blocks *like);

/* A change of lists in two steps: the first may fail, the second, which changes things, may not. */
typedef struct rbe_remap {
    rbe_linear_layer *layer;
    rbe_blocks *next;
    float **resized; /* the parameter's arrays but for the value; NULL if the number of entries stays */
    size_t count;    /* arrays, the value included */
} rbe_remap;

/* Gets ready to give the layer the lists of `next` (from rbe_lists_new, allocated and filled). If the number of
 * entries stays, this allocates nothing. */
rbe_status rbe_remap_prepare(rbe_remap *remap, rbe_linear_layer *layer, rbe_blocks *next);

/* Values, gradient and companions follow their positions; new positions start at 0 in all of them. If
 * the number of entries stays, no array moves; otherwise they are replaced by ones of the new size. Afterwards the
 * contents of `next`, still the caller's, mean nothing. */
void rbe_remap_commit(rbe_remap *remap);

/* Instead of the commit; zeros are allowed. */
void rbe_remap_discard(rbe_remap *remap);

/* Both steps. */
rbe_status rbe_linear_set_positions(rbe_linear_layer *layer, rbe_blocks *next);

#endif
