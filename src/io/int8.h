/* Values as int8 with a scale for each row. */
#ifndef RBE_IO_INT8_H
#define RBE_IO_INT8_H

#include "codec/blocks.h"

/* Which row each of an array of values belongs to: of a dense matrix an output, of a compressed one a row of S,
 * that is p * B + i for output frequency i of block row p. */
typedef struct rbe_rows {
    const rbe_blocks *blocks; /* NULL: dense, with `width` values to a row */
    size_t count;             /* rows */
    size_t width;
} rbe_rows;

rbe_rows rbe_rows_of_blocks(const rbe_blocks *blocks);

/* value ~ stored * scale, scale = max |value| of the row / 127, rounded to a bf16. Returns the index of the first
 * value that is not finite or beyond RBE_INT8_LARGEST, or their number. `largest` is room for rows->count floats.
 */
#define RBE_INT8_LARGEST 0x1.fcp127f
size_t rbe_int8_from_f32(const rbe_rows *rows, const float *values, int8_t *stored, uint16_t *scales, float *largest);

/* Multiplies whole numbers in place by the scales of their rows. */
void rbe_int8_scale(const rbe_rows *rows, float *values, const float *scales);

#endif
