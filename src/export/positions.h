/* Positions of a compressed matrix as the routines of an exported file read them. */
#ifndef RBE_EXPORT_POSITIONS_H
#define RBE_EXPORT_POSITIONS_H

#include "codec/blocks.h"

enum { RBE_ZONES = 16 };

typedef struct rbe_c_positions {
    uint8_t *code; /* freed by rbe_free */
    size_t bytes;
    /* Of Rice codes (snippets/positions_bits.c), not of bytes: */
    uint8_t widths[1 + RBE_ZONES]; /* of the lengths of lists, then of the columns in each zone */
    size_t width_count;
    size_t mean;    /* of the lengths */
    unsigned shift; /* zone = column >> shift */
} rbe_c_positions;

/* `in_bytes`: in bytes (snippets/positions_bytes.c). p->code is to be freed also after a failure. */
rbe_status rbe_c_positions_make(rbe_c_positions *p, const rbe_blocks *blocks, bool in_bytes);

/* Its mean, shift and widths alone. */
void rbe_c_positions_measure(rbe_c_positions *p, const rbe_blocks *blocks);

#endif
