/* The delta code: for each list its length, its first column, then column - previous column - 1. Numbers are
 * LEB128: seven bits to a byte, the lowest first, the eighth bit set in all bytes but the last. At density 1/16 the
 * distances are about 16, so nearly every position takes one byte.
 */
#include "io/positions_code.h"

#include "codec/entries.h"

static size_t put_number(uint8_t *code, uint32_t number) {
    size_t bytes = 0;
    do {
        uint8_t low = number & 0x7f;
        number >>= 7;
        if (code) code[bytes] = number ? low | 0x80 : low;
        bytes++;
    } while (number);
    return bytes;
}

size_t rbe_positions_encode(const rbe_blocks *b, uint8_t *code) {
    size_t at = 0;
    for (size_t n = 0; n < rbe_list_count(b); n++) {
        const rbe_list list = rbe_list_at(b, n);
        size_t next = 0;
        at += put_number(code ? code + at : NULL, (uint32_t)(list.end - list.first));
        for (rbe_walk entry = rbe_walk_lists(b, n, 1); rbe_walk_next(&entry); next = entry.column + 1)
            at += put_number(code ? code + at : NULL, (uint32_t)(entry.column - next));
    }
    return at;
}

typedef struct reader {
    const uint8_t *code;
    size_t bytes, at;
} reader;

/* False at the end of the code, and for a number that is longer than it need be or has more than 32 bits. */
static bool take_number(reader *r, uint32_t *number) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        if (r->at == r->bytes) return false;
        uint8_t byte = r->code[r->at++];
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte & 0x80) continue;
        *number = (uint32_t)value;
        return value <= UINT32_MAX && (byte != 0 || shift == 0);
    }
    return false;
}

rbe_status rbe_positions_decode_counts(rbe_blocks *b, const uint8_t *code, size_t bytes, const char *name) {
    reader r = {code, bytes, 0};
    size_t columns = b->grid_cols * b->block;
    for (size_t list = 0; list < rbe_list_count(b); list++) {
        uint32_t count, distance;
        if (!take_number(&r, &count) || count > columns)
            return rbe_fail(RBE_BAD_FORMAT, "%s: the length of list %zu is wrong", name, list);
        size_t next = 0;
        for (uint32_t k = 0; k < count; k++) {
            if (!take_number(&r, &distance) || distance >= columns - next)
                return rbe_fail(RBE_BAD_FORMAT, "%s: position %u of list %zu is wrong", name, (unsigned)k, list);
            next += distance + (size_t)1;
        }
        rbe_set_list_length(b, list, count);
    }
    if (r.at == bytes) return RBE_OK;
    return rbe_fail(RBE_BAD_FORMAT, "%s: %zu bytes follow the last list", name, bytes - r.at);
}

void rbe_positions_decode_columns(rbe_blocks *b, const uint8_t *code, size_t bytes) {
    reader r = {code, bytes, 0};
    for (size_t n = 0; n < rbe_list_count(b); n++) {
        const rbe_list list = rbe_list_at(b, n);
        uint32_t number = 0;
        take_number(&r, &number);
        size_t next = 0;
        for (size_t k = list.first; k < list.end; k++) {
            take_number(&r, &number);
            rbe_set_column(b, k, next + number);
            next += number + (size_t)1;
        }
    }
}

bool rbe_seed_suffices(size_t rows, size_t columns, size_t limit) {
    const size_t most_columns = 65536, least_density = 1024;
    return columns <= most_columns && limit >= rows && limit / rows >= columns / least_density &&
           limit <= rows * columns;
}
