/* Radix select over streams of scores. */
#include "codec/select.h"

#include <string.h>

static uint32_t bits_of(float score) {
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return bits;
}

void rbe_selection_clear(const rbe_selection *s, uint64_t *histogram) {
    memset(histogram, 0, sizeof(uint64_t) << s->digit_bits);
}

void rbe_selection_merge(rbe_selection *s, const uint64_t *histogram) {
    for (size_t n = 0; n < (size_t)1 << s->digit_bits; n++) s->histogram[n] += histogram[n];
}

void rbe_selection_start(rbe_selection *s, uint64_t limit, unsigned digit_bits, uint64_t *histogram) {
    *s = (rbe_selection){digit_bits, 32 - digit_bits, 0, limit, histogram};
    rbe_selection_clear(s, s->histogram);
}

void rbe_selection_count(rbe_selection *s, const rbe_scores *scores) {
    const uint64_t mask = ((uint64_t)1 << s->digit_bits) - 1;
    for (size_t r = 0; r < scores->rows; r++)
        for (size_t c = 0; c < scores->columns; c++) {
            uint64_t digits = bits_of(scores->score[r * scores->stride + c]) >> s->shift;
            if (digits >> s->digit_bits == s->found) s->histogram[digits & mask] += scores->cost;
        }
}

bool rbe_selection_next(rbe_selection *s) {
    size_t digit = (size_t)1 << s->digit_bits;
    while (digit > 0 && s->histogram[digit - 1] <= s->rest) s->rest -= s->histogram[--digit];
    if (digit == 0) { /* only in the first round: everything may be kept */
        s->found = 0;
        return false;
    }
    s->found = s->found << s->digit_bits | (digit - 1);
    if (s->shift == 0) return false;
    s->shift -= s->digit_bits;
    rbe_selection_clear(s, s->histogram);
    return true;
}

void rbe_selection_mark(rbe_selection *s, const rbe_scores *scores, uint8_t *keep) {
    for (size_t r = 0; r < scores->rows; r++)
        for (size_t c = 0; c < scores->columns; c++) {
            size_t n = r * scores->stride + c;
            uint32_t bits = bits_of(scores->score[n]);
            keep[n] = bits > s->found;
            if (bits == s->found && bits > 0 && s->rest >= scores->cost) {
                keep[n] = 1;
                s->rest -= scores->cost;
            }
        }
}
