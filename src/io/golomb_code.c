/* The code of a number: how often the parameter fits into it in ones, then the rest in truncated binary. */
#include "io/golomb_code.h"

enum { MOST_ONES = 32, WIDTH = 32 };

/* The best parameter for numbers that fall off evenly is about ln 2 times their mean: 11/16, rounded. */
static uint64_t parameter(const rbe_average *mean) {
    const uint64_t m = (11 * mean->sum + 8 * mean->count) / (16 * mean->count);
    return m > 0 ? m : 1;
}

/* A number of ones, and a zero behind them if there are fewer than MOST_ONES. */
static void code_ones(rbe_bits *b, uint64_t *ones) {
    uint64_t found = 0, bit = 1;
    while (bit == 1 && found < MOST_ONES) {
        bit = found < *ones;
        rbe_bits_code(b, 1, &bit);
        found += bit;
    }
    *ones = found;
}

/* A number below m: the first ones in a bit less than the others. */
static void code_rest(rbe_bits *b, uint64_t m, uint64_t *rest) {
    unsigned width = 0;
    while ((uint64_t)1 << width < m) width++;
    if (width == 0) return;
    const uint64_t short_codes = ((uint64_t)1 << width) - m;
    uint64_t code = *rest < short_codes ? *rest : (*rest + short_codes) / 2;
    uint64_t last = (*rest + short_codes) % 2;
    rbe_bits_code(b, width - 1, &code);
    *rest = code;
    if (code < short_codes) return;
    rbe_bits_code(b, 1, &last);
    *rest = 2 * code + last - short_codes;
}

bool rbe_golomb_code(rbe_bits *b, rbe_average *mean, uint64_t *value) {
    const uint64_t m = parameter(mean);
    uint64_t ones = b->reads ? MOST_ONES : *value / m, rest = b->reads ? 0 : *value % m;
    code_ones(b, &ones);
    if (ones < MOST_ONES) {
        code_rest(b, m, &rest);
        *value = ones * m + rest;
    } else {
        rbe_bits_code(b, WIDTH, value);
        if (*value / m < MOST_ONES) return false;
    }
    mean->sum += *value;
    mean->count++;
    return !rbe_bits_over(b) && *value >> WIDTH == 0;
}

rbe_alike rbe_alike_begin(uint64_t guess, uint64_t difference) {
    return (rbe_alike){.previous = guess, .differences = {2 * difference, 2}};
}

static uint64_t distance(uint64_t a, uint64_t b) { return a < b ? b - a : a - b; }

bool rbe_alike_code(rbe_bits *b, rbe_alike *a, uint64_t most, uint64_t *value) {
    const uint64_t mean = a->numbers.count ? a->numbers.sum / a->numbers.count : a->previous;
    const uint64_t expected = a->off_numbers < a->off_previous ? mean : a->previous;
    /* Differences 0, -1, 1, -2 .. become 0, 1, 2, 3 .. */
    uint64_t code = 2 * distance(*value, expected) - (!b->reads && *value < expected);
    if (!rbe_golomb_code(b, &a->differences, &code)) return false;
    const uint64_t away = (code + 1) / 2;
    if (code % 2 == 1 && away > expected) return false;
    *value = code % 2 == 1 ? expected - away : expected + away;
    a->off_previous += distance(*value, a->previous);
    a->off_numbers += distance(*value, mean);
    a->previous = *value;
    a->numbers.sum += *value;
    a->numbers.count++;
    return *value <= most;
}
