/* An adaptive binary arithmetic code: a bit that can be foreseen takes a small part of a bit. Probabilities are learnt from
 * the bits before, so nothing has to be chosen or stored, and the same bits have one code. docs/format.md, section 13, describes
 * it.
 */
#ifndef RBE_IO_RANGE_CODE_H
#define RBE_IO_RANGE_CODE_H

#include "io/bit_stream.h"

/* How likely a bit is to be 1. */
typedef struct rbe_chance {
    uint32_t one;   /* of 2^16 */
    uint32_t count; /* bits that it has been learnt from, up to a limit */
} rbe_chance;

#define RBE_EVEN_CHANCE ((rbe_chance){1U << 15, 0})

/* The interval that stands for all bits so far, in the bits that follow those which are certain. */
typedef struct rbe_range {
    rbe_bits *bits;
    uint64_t low, high; /* both are in it: 32 bits each */
    uint64_t ahead;     /* 32 bits of what is read, within the interval */
    uint64_t waiting;   /* bits that are certain but for a carry, when it is written */
} rbe_range;

rbe_range rbe_range_begin(rbe_bits *bits);

/* The next bit; `chance`, which learns it. */
void rbe_range_code(rbe_range *range, rbe_chance *chance, uint64_t *bit);

/* Ends the code: no more than two bits. False, of what is read, for another end than the writer's. */
bool rbe_range_end(rbe_range *range);

#endif
