/* Positions as bytes: the distances between the columns of each list. */
#ifndef RBE_IO_POSITIONS_CODE_H
#define RBE_IO_POSITIONS_CODE_H

#include "codec/blocks.h"

/* Bytes that the code of all lists takes; writes them if `code` is not NULL. */
size_t rbe_positions_encode(const rbe_blocks *blocks, uint8_t *code);

/* Reads the lengths of the lists of a matrix with empty lists, and checks the whole code: lengths, columns within the matrix, numbers in their shortest form, nothing behind the last list. On failure
 * BAD_FORMAT, whose text begins with `name`. */
rbe_status rbe_positions_decode_counts(rbe_blocks *blocks, const uint8_t *code, size_t bytes, const char *name);

/* Reads the columns, after rbe_positions_decode_counts and rbe_blocks_allocate. */
void rbe_positions_decode_columns(rbe_blocks *blocks, const uint8_t *code, size_t bytes);

/* Whether a pattern drawn with this limit may be stored as its seed: a reader that finds the geometry of a matrix,
 * and few values, must not spend much memory and time on drawing. */
bool rbe_seed_suffices(size_t rows, size_t columns, size_t limit);

#endif
