/* Masks of dropout, which are not stored. Every mask of a tape has a key of its own, mixed from the tape's seed and the
 * number of masks drawn before, and value i is dropped if the i-th number of the splitmix64 stream of that key, seen as a
 * fraction of 2^53, is below p. A backward computes the same numbers again. Where several ranks share a batch, values are
 * counted from the beginning of the whole one.
 */
#ifndef RBE_TENSOR_MASK_H
#define RBE_TENSOR_MASK_H

#include "base/splitmix.h"
#include "tensor/node.h"

typedef struct rbe_mask {
    uint64_t key;
    uint64_t threshold; /* p 2^53 */
    float factor[2];    /* of dropped values, 0, and of kept ones, 1 / (1 - p) */
} rbe_mask;

/* Whether dropout of this probability does something on the tape. */
static inline bool rbe_tape_drops(const rbe_tape *tape, float probability) {
    return !tape->inference && !tape->drops_nothing && probability > 0.0f;
}

/* The tape's next mask, for something of `rows` rows with `each` values. */
static inline rbe_mask rbe_mask_draw(rbe_tape *tape, float probability, size_t rows, size_t each) {
    const uint64_t draw = tape->draws++;
    const uint64_t first = each * rbe_share_first_row(&tape->share, rows);
    return (rbe_mask){.key = rbe_splitmix64(tape->seed ^ rbe_splitmix64(draw)) + first * RBE_SPLITMIX_STEP,
                      .threshold = (uint64_t)((double)probability * 0x1p53),
                      .factor = {0.0f, 1.0f / (1.0f - probability)}};
}

/* The factor of value i. Looked up, because a branch would be mispredicted every other time. */
static inline float rbe_mask_factor(const rbe_mask *m, size_t i) {
    return m->factor[rbe_splitmix64(m->key + i * RBE_SPLITMIX_STEP) >> 11 >= m->threshold];
}

#endif
