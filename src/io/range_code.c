/* Witten, Neal and Cleary 1987: the interval is split by the chance of a bit; when both ends agree in their first bit,
 * that is certain, and the interval is doubled. While it lies around the middle the next bits are certain but for a carry.
 */
#include "io/range_code.h"

#define WIDTH 32
#define HALF ((uint64_t)1 << (WIDTH - 1))
#define QUARTER ((uint64_t)1 << (WIDTH - 2))

enum { MOST_COUNT = 126, LEAST_CHANCE = 32 };

rbe_range rbe_range_begin(rbe_bits *bits) {
    rbe_range r = {.bits = bits, .high = 2 * HALF - 1};
    if (!bits->reads) return r;
    rbe_bits_code(bits, WIDTH, &r.ahead);
    bits->at -= WIDTH; /* what is ahead has not been used up */
    return r;
}

/* A bit that is certain, and those that have waited for it, which are its opposites. */
static void settle(rbe_range *r, uint64_t bit) {
    uint64_t opposite = !bit;
    for (rbe_bits_code(r->bits, 1, &bit); r->waiting > 0; r->waiting--) rbe_bits_code(r->bits, 1, &opposite);
}

/* One bit further: `from` is taken off, and all is doubled. */
static void move_on(rbe_range *r, uint64_t from) {
    r->low = 2 * (r->low - from);
    r->high = 2 * (r->high - from) + 1;
    if (!r->bits->reads) return;
    uint64_t next;
    r->bits->at += WIDTH;
    rbe_bits_code(r->bits, 1, &next);
    r->bits->at -= WIDTH;
    r->ahead = 2 * (r->ahead - from) + next;
}

static void narrow(rbe_range *r) {
    for (;;) {
        if (r->high < HALF || r->low >= HALF) {
            const uint64_t bit = r->low >= HALF;
            if (!r->bits->reads) settle(r, bit);
            move_on(r, bit ? HALF : 0);
        } else if (r->low >= QUARTER && r->high < HALF + QUARTER) {
            r->waiting++;
            move_on(r, QUARTER);
        } else {
            return;
        }
    }
}

static void learn(rbe_chance *c, uint64_t bit) {
    const uint32_t share = c->count + 2;
    if (bit)
        c->one += ((1U << 16) - c->one) / share;
    else
        c->one -= c->one / share;
    if (c->one < LEAST_CHANCE) c->one = LEAST_CHANCE;
    if (c->one > (1U << 16) - LEAST_CHANCE) c->one = (1U << 16) - LEAST_CHANCE;
    if (c->count < MOST_COUNT) c->count++;
}

void rbe_range_code(rbe_range *r, rbe_chance *chance, uint64_t *bit) {
    const uint64_t split = r->low + ((r->high - r->low + 1) * chance->one >> 16); /* ones are below it */
    if (r->bits->reads) *bit = r->ahead < split;
    if (*bit)
        r->high = split - 1;
    else
        r->low = split;
    learn(chance, *bit);
    narrow(r);
}

/* All numbers that begin with 01, or with 10, lie within the interval: whatever follows. */
bool rbe_range_end(rbe_range *r) {
    const bool second = r->low >= QUARTER;
    if (r->bits->reads) {
        r->bits->at += 2;
        return r->ahead / QUARTER == (second ? 2 : 1);
    }
    r->waiting++;
    settle(r, second);
    return true;
}
