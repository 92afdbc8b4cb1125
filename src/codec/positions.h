/* Random positions: the pattern of a layer that is trained from scratch. */
#ifndef RBE_CODEC_POSITIONS_H
#define RBE_CODEC_POSITIONS_H

#include "codec/blocks.h"

/* Gives a matrix with empty lists (rbe_blocks_new) random positions worth at most `value_limit` values and at least
 * all but group - 1 of them: to one the same number in each list, columns drawn without replacement with
 * probability ~ 1 / (1 + input frequency); with the identity along the inputs, which has none, each input with the
 * same. Values are 0. The same seed gives the same positions on every machine.
 */
rbe_status rbe_blocks_draw_positions(rbe_blocks *blocks, size_t value_limit, uint64_t seed);

/* The same by the rule of a file that stores the positions as their seed. blocks->drawn_rule is BY_PLACE afterwards
 * where the rules do not differ. */
rbe_status rbe_blocks_draw_pattern(rbe_blocks *blocks, size_t value_limit, uint64_t seed, rbe_pattern_rule rule);

#endif
