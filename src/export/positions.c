/* Positions as lengths of lists and distances of columns, in bytes or in Rice codes.
 *
 * A Rice code of width w is v >> w ones, a zero, and the lowest w bits of v. Distances have a width for each of up to 16
 * zones of columns, lengths one, for their differences from the mean: those that take the fewest bits.
 */
#include "export/positions.h"

#include <string.h>

#include "base/alloc.h"
#include "codec/entries.h"
#include "io/bit_stream.h"

enum { WIDTHS = 25 /* a column has at most 2^25 before it */ };

/* Differences 0, -1, 1, -2 .. become 0, 1, 2, 3 .. */
static uint64_t difference(uint64_t value, uint64_t mean) {
    return value < mean ? 2 * (mean - value) - 1 : 2 * (value - mean);
}

static uint64_t length_of(const rbe_list *list) { return list->end - list->first; }

static void count_bits(uint64_t *bits, uint64_t value) {
    for (unsigned w = 0; w < WIDTHS; w++) bits[w] += (value >> w) + 1 + w;
}

static uint8_t best(const uint64_t *bits) {
    unsigned width = 0;
    for (unsigned w = 1; w < WIDTHS; w++)
        if (bits[w] < bits[width]) width = w;
    return (uint8_t)width;
}

void rbe_c_positions_measure(rbe_c_positions *p, const rbe_blocks *b) {
    const size_t width = b->grid_cols * b->block, lists = rbe_list_count(b);
    uint64_t bits[1 + RBE_ZONES][WIDTHS] = {{0}};
    p->mean = (b->entries + lists / 2) / lists;
    while ((width - 1) >> p->shift >= RBE_ZONES) p->shift++;
    p->width_count = 2 + ((width - 1) >> p->shift);
    for (size_t n = 0; n < lists; n++) {
        const rbe_list list = rbe_list_at(b, n);
        count_bits(bits[0], difference(length_of(&list), p->mean));
        for (size_t k = list.first, next = 0; k < list.end; k++) {
            const size_t column = rbe_column_at(b, k);
            count_bits(bits[1 + (next >> p->shift)], column - next);
            next = column + 1;
        }
    }
    for (size_t n = 0; n < p->width_count; n++) p->widths[n] = best(bits[n]);
}

static void put_rice(rbe_bits *stream, unsigned width, uint64_t value) {
    uint64_t one = 1, zero = 0;
    for (uint64_t ones = value >> width; ones > 0; ones--) rbe_bits_code(stream, 1, &one);
    rbe_bits_code(stream, 1, &zero);
    value &= ((uint64_t)1 << width) - 1;
    rbe_bits_code(stream, width, &value);
}

static void put_bytes(rbe_bits *stream, uint64_t value) {
    uint64_t byte;
    do {
        byte = (value & 127) | (value > 127 ? 128 : 0);
        rbe_bits_code(stream, 8, &byte);
        value >>= 7;
    } while (value > 0);
}

static void put_all(const rbe_c_positions *p, const rbe_blocks *b, bool in_bytes, rbe_bits *stream) {
    for (size_t n = 0; n < rbe_list_count(b); n++) {
        const rbe_list list = rbe_list_at(b, n);
        if (in_bytes)
            put_bytes(stream, length_of(&list));
        else
            put_rice(stream, p->widths[0], difference(length_of(&list), p->mean));
        for (size_t k = list.first, next = 0; k < list.end; k++) {
            const size_t column = rbe_column_at(b, k);
            if (in_bytes)
                put_bytes(stream, column - next);
            else
                put_rice(stream, p->widths[1 + (next >> p->shift)], column - next);
            next = column + 1;
        }
    }
}

rbe_status rbe_c_positions_make(rbe_c_positions *p, const rbe_blocks *b, bool in_bytes) {
    *p = (rbe_c_positions){0};
    if (!in_bytes) rbe_c_positions_measure(p, b);
    rbe_bits counted = {0};
    put_all(p, b, in_bytes, &counted);
    p->bytes = (counted.at + 7) / 8;
    p->code = rbe_alloc_zeroed(p->bytes, 1);
    if (!p->code) return rbe_last_status();
    rbe_bits stream = {.bytes = p->code};
    put_all(p, b, in_bytes, &stream);
    return RBE_OK;
}
