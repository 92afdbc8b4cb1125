/* Whole numbers in few bits: Golomb codes whose parameter follows the mean of the numbers so far. So nothing has to be
 * chosen or stored, and the same numbers have one code. docs/format.md, section 13, describes them bit by bit.
 */
#ifndef RBE_IO_GOLOMB_CODE_H
#define RBE_IO_GOLOMB_CODE_H

#include "io/bit_stream.h"

/* Of the numbers that have been coded, and of those that are expected before there are any. */
typedef struct rbe_average {
    uint64_t sum, count;
} rbe_average;

/* A number below 2^32. False, of what is read, for the end of the bits and for a number that has a shorter code. */
bool rbe_golomb_code(rbe_bits *bits, rbe_average *mean, uint64_t *value);

/* Numbers that are alike: each is coded as its difference from the one before or from the mean, whichever has been nearer
 * so far. */
typedef struct rbe_alike {
    rbe_average differences, numbers;
    uint64_t previous;                  /* the guess, before the first */
    uint64_t off_previous, off_numbers; /* sums of distances from the one before, and from the mean */
} rbe_alike;

rbe_alike rbe_alike_begin(uint64_t guess, uint64_t difference);

/* A number, 0 .. most < 2^31. False also for another. */
bool rbe_alike_code(rbe_bits *bits, rbe_alike *alike, uint64_t most, uint64_t *value);

#endif
