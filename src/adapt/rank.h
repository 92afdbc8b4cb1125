/* The n largest of many scores, the same on every machine. */
#ifndef RBE_ADAPT_RANK_H
#define RBE_ADAPT_RANK_H

#include <string.h>

#include "rbe/base.h"

/* A score (>= 0) and where it stands, as one number: a larger score gives a larger key, of equal scores the earlier
 * place does. So keys are distinct, and ties are decided. */
static inline uint64_t rbe_rank_key(float score, uint32_t place) {
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return (uint64_t)bits << 32 | (uint32_t)~place;
}

/* The same with the smallest scores first. */
static inline uint64_t rbe_rank_key_smallest(float score, uint32_t place) {
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return (uint64_t)(uint32_t)~bits << 32 | (uint32_t)~place;
}

static inline uint32_t rbe_rank_place(uint64_t key) { return ~(uint32_t)key; }

/* The n-th largest of `count` distinct keys, 1 <= n <= count: exactly n keys are at least as large. */
uint64_t rbe_rank_nth(const uint64_t *keys, size_t count, size_t n);

#endif
