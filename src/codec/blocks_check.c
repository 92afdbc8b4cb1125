/* Whether a compressed matrix is sound: its lists, its values. */
#include <math.h>

#include "base/sizes.h"
#include "codec/entries.h"

/* Block row p of group g, the block that column lies in. */
static size_t block_index(const rbe_blocks *b, size_t p, size_t column) {
    return p * b->grid_cols + rbe_at_most(column >> b->log2_block, b->grid_cols - 1);
}

/* The lists follow each other and hold all entries and values. */
static rbe_status check_starts(const rbe_blocks *b) {
    size_t lists = b->groups * b->block, values = 0;
    for (size_t n = 0; n < lists; n++) {
        size_t first = b->list_start[n], last = b->list_start[n + 1], g = n / b->block;
        if (last < first || last > b->entries || (n == 0 && first != 0) || (n == lists - 1 && last != b->entries))
            return rbe_fail(RBE_CORRUPTED_BLOCK, "block %zu: list %zu spans entries %zu .. %zu of %zu",
                            block_index(b, g * b->group, 0), n % b->block, first, last, b->entries);
        values += (last - first) * rbe_group_rows(b, g);
    }
    if (values == b->value_count) return RBE_OK;
    return rbe_fail(RBE_CORRUPTED_BLOCK, "block %zu: the lists hold %zu values, expected %zu",
                    block_index(b, (b->groups - 1) * b->group, 0), values, b->value_count);
}

rbe_status rbe_blocks_check_positions(const rbe_blocks *b) {
    RBE_TRY(check_starts(b));
    const size_t most = b->grid_cols * b->block;
    size_t next = 0; /* the smallest column that may follow */
    for (rbe_walk at = rbe_walk_all(b); rbe_walk_next(&at); next = at.column + 1)
        if (at.column >= most || (at.entry > at.list.first && at.column < next))
            return rbe_fail(RBE_CORRUPTED_BLOCK,
                            "block %zu: entry %zu of list %zu has column %zu, expected ascending below %zu",
                            block_index(b, at.list.group * b->group, at.column), at.entry - at.list.first,
                            at.list.frequency, at.column, most);
    return RBE_OK;
}

static rbe_status check_values(const rbe_blocks *b) {
    for (rbe_walk at = rbe_walk_all(b); rbe_walk_next(&at);)
        for (size_t m = 0; m < at.list.rows; m++) {
            float value = b->values[at.value + m];
            if (!isfinite(value))
                return rbe_fail(RBE_CORRUPTED_BLOCK, "block %zu: coefficient (%zu, %zu) is %g",
                                block_index(b, at.list.group * b->group + m, at.column), at.list.frequency,
                                at.column & (b->block - 1), (double)value);
        }
    return RBE_OK;
}

rbe_status rbe_blocks_check(const rbe_blocks *b) {
    if (!b) return rbe_fail(RBE_INVALID_ARGUMENT, "the compressed matrix is NULL");
    RBE_TRY(rbe_blocks_check_positions(b));
    RBE_TRY(check_values(b));
    for (size_t n = 0; b->alpha && n < b->grid_rows * b->grid_cols; n++)
        for (size_t l = 0; l < RBE_BASIS_COUNT; l++) {
            float alpha = *rbe_block_alpha(b, n / b->grid_cols, n % b->grid_cols, l);
            if (!isfinite(alpha))
                return rbe_fail(RBE_CORRUPTED_BLOCK, "block %zu: alpha %zu (orthonormal) is %g", n, l, (double)alpha);
        }
    return RBE_OK;
}
