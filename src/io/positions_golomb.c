/* Lengths as numbers that are alike, columns as distances, each zone of columns with its own mean. */
#include "io/positions_golomb.h"

#include "codec/entries.h"
#include "io/golomb_code.h"

enum { ZONES = 16, WEIGHT = 4 /* entries that a zone's mean is worth before there are any */ };

static size_t width_of(const rbe_blocks *b) { return b->grid_cols * b->block; }

rbe_status rbe_lengths_code(rbe_bits *bits, rbe_blocks *b, size_t values, const char *name) {
    rbe_alike alike = rbe_alike_begin(values / (b->grid_rows * b->block), 1);
    for (size_t n = 0; n < rbe_list_count(b); n++) {
        uint64_t length = bits->reads ? 0 : b->list_start[n + 1] - b->list_start[n];
        if (!rbe_alike_code(bits, &alike, width_of(b), &length))
            return rbe_fail(RBE_BAD_FORMAT, "%s: the length of list %zu is wrong", name, n);
        if (bits->reads) rbe_set_list_length(b, n, length);
    }
    return RBE_OK;
}

/* All distances of the lists, over their number: what is behind the last entry of a list counts as one. */
static void begin_means(const rbe_blocks *b, rbe_average *means) {
    const uint64_t lists = rbe_list_count(b), width = width_of(b);
    const uint64_t mean = WEIGHT * (width * lists - b->entries) / (b->entries + lists);
    for (size_t zone = 0; zone < ZONES; zone++) means[zone] = (rbe_average){mean, WEIGHT};
}

rbe_status rbe_columns_code(rbe_bits *bits, rbe_blocks *b, const char *name) {
    const size_t width = width_of(b);
    rbe_average means[ZONES];
    begin_means(b, means);
    for (size_t n = 0; n < rbe_list_count(b); n++) {
        const rbe_list list = rbe_list_at(b, n);
        size_t next = 0; /* the smallest column that may follow */
        for (size_t k = list.first; k < list.end; k++) {
            uint64_t distance = bits->reads ? 0 : rbe_column_at(b, k) - next;
            if (next == width || !rbe_golomb_code(bits, &means[next * ZONES / width], &distance) ||
                distance >= width - next)
                return rbe_fail(RBE_BAD_FORMAT, "%s: position %zu of list %zu is wrong", name, k - list.first, n);
            next += distance + 1;
            if (bits->reads) rbe_set_column(b, k, next - 1);
        }
    }
    return RBE_OK;
}
