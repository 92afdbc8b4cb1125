/* Positions in few bits: lengths of lists, then the distances from one column to the next, in Golomb codes
 * (golomb_code.h). docs/format.md, section 13.
 *
 * Growth and images leave many columns of low frequency and few of high ones: each of 16 zones of columns has a mean of its
 * own. So the code of a grown layer of an image takes about 3/4 of log2 C(columns, length), summed over its lists; that of
 * columns drawn at random takes a few per cent more than that.
 */
#ifndef RBE_IO_POSITIONS_GOLOMB_H
#define RBE_IO_POSITIONS_GOLOMB_H

#include "codec/blocks.h"
#include "io/bit_stream.h"

/* Codes the lengths of all lists of a matrix that is to have `values` values. What is read are those of a matrix with empty
 * lists, which rbe_blocks_allocate makes lists of. BAD_FORMAT, with `name` before the text, for a length beyond the row and
 * the end of the bits. */
rbe_status rbe_lengths_code(rbe_bits *bits, rbe_blocks *blocks, size_t values, const char *name);

/* Codes the columns of all lists. BAD_FORMAT for a column beyond the row and the end of the bits. */
rbe_status rbe_columns_code(rbe_bits *bits, rbe_blocks *blocks, const char *name);

#endif
