/* Batches of which each rank takes its share. */
#ifndef RBE_DATA_BATCHES_H
#define RBE_DATA_BATCHES_H

#include "rbe/data.h"
#include "tensor/share.h"

/* rbe_batches_new, of which rbe_batches_next gives the samples that rank `rank` of `ranks` computes with: all ranks
 * together have those of the batch, in its order. A rank for which none is left gets the first one, of weight 0. */
rbe_batches *rbe_batches_new_shared(const rbe_dataset *data, size_t batch, bool shuffle, uint64_t seed, size_t rank,
                                    size_t ranks);

/* What the last rbe_batches_next has given; zeros for one rank. */
rbe_share rbe_batches_share(const rbe_batches *batches);

#endif
