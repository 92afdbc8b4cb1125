/* The rows that values belong to: of a dense matrix one after the other, of a compressed one as its lists say. */
#include "io/rows.h"

rbe_rows rbe_rows_of_blocks(const rbe_blocks *blocks) {
    return (rbe_rows){.blocks = blocks, .count = blocks->grid_rows * blocks->block};
}

size_t rbe_row_run_count(const rbe_rows *rows) {
    return rows->blocks ? rows->blocks->groups * rows->blocks->block : rows->count;
}

rbe_row_run rbe_row_run_at(const rbe_rows *rows, size_t n) {
    const rbe_blocks *b = rows->blocks;
    if (!b) return (rbe_row_run){n, 0, 1, rows->width};
    size_t g = n / b->block, i = n % b->block;
    return (rbe_row_run){g * b->group * b->block + i, b->block, rbe_group_rows(b, g),
                         b->list_start[n + 1] - b->list_start[n]};
}
