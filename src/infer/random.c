/* Seeded generators: MT19937 (Matsumoto and Nishimura 1998), seeded and read as base/random.c does it with GSL's, so that
 * positions drawn from a seed, and texts, are the same. Normal numbers are for initial values, which training needs. */
#include "base/alloc.h"
#include "base/splitmix.h"

enum { WORDS = 624, SHIFT = 397 };

struct rbe_rng {
    uint32_t word[WORDS];
    size_t next;
};

rbe_rng *rbe_rng_new(uint64_t seed, uint64_t stream) {
    rbe_rng *rng = rbe_alloc(1, sizeof *rng);
    if (!rng) return NULL;
    uint32_t start = (uint32_t)(rbe_splitmix64(seed ^ rbe_splitmix64(stream)) >> 32);
    rng->word[0] = start ? start : 4357; /* GSL's seed in the place of 0 */
    for (uint32_t n = 1; n < WORDS; n++) rng->word[n] = 1812433253u * (rng->word[n - 1] ^ rng->word[n - 1] >> 30) + n;
    rng->next = WORDS;
    return rng;
}

void rbe_rng_free(rbe_rng *rng) { rbe_free(rng); }

static void renew(rbe_rng *rng) {
    for (size_t n = 0; n < WORDS; n++) {
        const uint32_t y = (rng->word[n] & 0x80000000u) | (rng->word[(n + 1) % WORDS] & 0x7fffffffu);
        rng->word[n] = rng->word[(n + SHIFT) % WORDS] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    rng->next = 0;
}

static uint32_t draw(rbe_rng *rng) {
    if (rng->next == WORDS) renew(rng);
    uint32_t y = rng->word[rng->next++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

double rbe_rng_uniform(rbe_rng *rng) { return rng ? draw(rng) / 4294967296.0 : 0.0; }

uint32_t rbe_rng_below(rbe_rng *rng, uint32_t bound) {
    if (!rng || bound <= 1) return 0;
    const uint32_t scale = UINT32_MAX / bound;
    uint32_t found;
    do {
        found = draw(rng) / scale;
    } while (found >= bound);
    return found;
}
