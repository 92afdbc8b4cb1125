/* Which row each of an array of values belongs to, for stored types that treat each row by itself. */
#ifndef RBE_CODEC_ROWS_H
#define RBE_CODEC_ROWS_H

#include "codec/blocks.h"

/* Of a dense matrix a row is an output, of a compressed one a row of S, that is p * B + i for output frequency i of
 * block row p. */
typedef struct rbe_rows {
    const rbe_blocks *blocks; /* NULL: dense, with `width` values to a row */
    size_t count;             /* rows */
    size_t width;
} rbe_rows;

rbe_rows rbe_rows_of_blocks(const rbe_blocks *blocks);

/* Values come in runs: `entries` times `members` values, the m-th of each entry in row `first` + m * `step`. */
typedef struct rbe_row_run {
    size_t first, step, members, entries;
} rbe_row_run;

size_t rbe_row_run_count(const rbe_rows *rows);
rbe_row_run rbe_row_run_at(const rbe_rows *rows, size_t n);

#endif
