/* What a backward pass tells about all positions of a layer, stored ones and empty ones: one block row at a time.
 */
#ifndef RBE_ADAPT_SPECTRUM_H
#define RBE_ADAPT_SPECTRUM_H

#include "nn/linear.h"

typedef struct rbe_spectrum {
    const rbe_blocks *blocks;
    size_t rows;
    size_t columns; /* grid_cols B */
    float *xh;      /* rows x columns: the transformed input, squared if wanted */
    float *dyh;     /* the same of dY: rows x B for each block row */
    float *sums;    /* B x columns */
} rbe_spectrum;

/* Transforms the inputs x (rows x in) of a product whose outputs have the gradient dy (rows x out). With
 * `squares` both are squared. All memory is from `scratch`. INSUFFICIENT_MEMORY if there is none, or none for
 * OpenBLAS. */
rbe_status rbe_spectrum_open(rbe_spectrum *spectrum, const rbe_blocks *blocks, const float *x, const float *dy,
                             size_t rows, bool squares, rbe_arena *scratch);

/* B x columns sums for block row p, [i][column]: sum_n dYh[n, i] Xh[n, column], which is the loss's gradient at
 * this position of S; with `squares` sum_n dYh[n, i]^2 Xh[n, column]^2. They live until the next call.
 * NULL, with INSUFFICIENT_MEMORY recorded, if OpenBLAS finds no memory. */
const float *rbe_spectrum_block_row(rbe_spectrum *spectrum, size_t p);

#endif
