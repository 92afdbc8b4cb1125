/* Bits are put and taken byte by byte, as many as there is room for at a time. */
#include "io/bit_stream.h"

/* How many of `width` bits stand in the byte of bit number `at`. */
static unsigned in_this_byte(uint64_t at, unsigned width) {
    const unsigned rest = 8 - (unsigned)(at % 8);
    return width < rest ? width : rest;
}

static void put(rbe_bits *b, unsigned width, uint64_t value) {
    for (uint64_t at = b->at; width > 0;) {
        const unsigned part = in_this_byte(at, width);
        width -= part;
        const unsigned bits = (unsigned)(value >> width) & ((1U << part) - 1);
        b->bytes[at / 8] |= (uint8_t)(bits << (8 - at % 8 - part));
        at += part;
    }
}

static uint64_t take(const rbe_bits *b, unsigned width) {
    uint64_t value = 0;
    for (uint64_t at = b->at; width > 0;) {
        const unsigned part = in_this_byte(at, width);
        const unsigned byte = at < b->size ? b->bytes[at / 8] : 0;
        width -= part;
        value = value << part | (byte >> (8 - at % 8 - part) & ((1U << part) - 1));
        at += part;
    }
    return value;
}

void rbe_bits_code(rbe_bits *b, unsigned width, uint64_t *value) {
    if (b->reads)
        *value = take(b, width);
    else if (b->bytes)
        put(b, width, *value);
    b->at += width;
}
