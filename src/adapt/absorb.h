/* Coefficients that go, and alphas that make up for them. */
#ifndef RBE_ADAPT_ABSORB_H
#define RBE_ADAPT_ABSORB_H

#include "codec/blocks.h"

/* Squared Frobenius norms, summed over the blocks: of what is removed, and by how much less W changes because of
 * the new alphas. */
typedef struct rbe_absorption {
    double removed, absorbed;
} rbe_absorption;

/* For values whose `keep` (layout of b->values) is 0: how the alphas must change (`change`, layout of b->alpha, or
 * NULL for not at all) so that W is as near as can be to what it was. */
rbe_status rbe_absorb(const rbe_blocks *b, const uint8_t *keep, float *change, rbe_absorption *absorption);

#endif
