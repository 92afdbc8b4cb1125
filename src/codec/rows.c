/* The rows that values belong to: of a dense matrix one after the other, of a compressed one as its lists say. */
#include "codec/rows.h"

#include "codec/entries.h"

rbe_rows rbe_rows_of_blocks(const rbe_blocks *blocks) {
    return (rbe_rows){.blocks = blocks, .count = blocks->grid_rows * blocks->block};
}

size_t rbe_row_run_count(const rbe_rows *rows) { return rows->blocks ? rbe_list_count(rows->blocks) : rows->count; }

rbe_row_run rbe_row_run_at(const rbe_rows *rows, size_t n) {
    const rbe_blocks *b = rows->blocks;
    if (!b) return (rbe_row_run){n, 0, 1, rows->width};
    const rbe_list list = rbe_list_at(b, n);
    return (rbe_row_run){list.group * b->group * b->block + list.frequency, b->block, list.rows, list.end - list.first};
}
