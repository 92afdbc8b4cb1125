/* What a backward pass tells about all positions of a layer, stored ones and empty ones: one block row at a time.
 */
#ifndef RBE_ADAPT_SPECTRUM_H
#define RBE_ADAPT_SPECTRUM_H

#include "nn/linear.h"

typedef struct rbe_spectrum {
    const rbe_blocks *blocks;
    const float *dy; /* rows x out */
    size_t rows;
    size_t columns; /* grid_cols B */
    bool squares;
    float *left; /* L, B x B */
    float *xh;   /* rows x columns: the transformed input, squared if `squares` */
    float *dyh;  /* rows x B: the same of a block row of dY */
    float *sums; /* B x columns */
} rbe_spectrum;

/* Transforms the inputs x (rows x in) of a product whose outputs have the gradient dy (rows x out). All memory is
 * from `scratch`; x and dy are borrowed. */
rbe_status rbe_spectrum_open(rbe_spectrum *spectrum, const rbe_blocks *blocks, const float *x, const float *dy,
                             size_t rows, bool squares, rbe_arena *scratch);

/* B x columns sums for block row p, [i][column]: sum_n dYh[n, i] Xh[n, column], which is the loss's gradient at
 * this position of S; with `squares` sum_n dYh[n, i]^2 Xh[n, column]^2. They live until the next call.
 * NULL, with INSUFFICIENT_MEMORY recorded, if OpenBLAS finds no memory. */
const float *rbe_spectrum_block_row(rbe_spectrum *spectrum, size_t p);

#endif
