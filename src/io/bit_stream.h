/* A sequence of bits in bytes; the first is the most significant bit of the first byte. One object counts, writes or reads,
 * so that a code is described once, by one function for all three.
 */
#ifndef RBE_IO_BIT_STREAM_H
#define RBE_IO_BIT_STREAM_H

#include <stdbool.h>
#include <stdint.h>

typedef struct rbe_bits {
    uint8_t *bytes; /* when they are written: zeros before; NULL: bits are counted only */
    uint64_t at;    /* bits that have been coded */
    uint64_t size;  /* bits that there are, when they are read */
    bool reads;
} rbe_bits;

/* The next `width` bits, at most 64, the most significant first: puts *value there, or takes it from there. Behind the end
 * there are zeros. */
void rbe_bits_code(rbe_bits *bits, unsigned width, uint64_t *value);

/* Whether more has been read than there is. */
static inline bool rbe_bits_over(const rbe_bits *bits) { return bits->reads && bits->at > bits->size; }

#endif
