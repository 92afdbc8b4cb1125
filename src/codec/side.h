/* The two sides of a matrix: what happens to its inputs, or its outputs, before it is cut into blocks.
 *
 * A side has a map, a tall matrix E (mapped x length) with E^T E = 1. The blocks hold W' = E_out W E_in^T, and
 *
 *     W = E_out^T W' E_in        Y = X W^T = ((X E_in^T) W'^T) E_out
 *
 * so that a product is apply (x -> x E^T), the product of the blocks, adjoint (y -> y E). Three maps:
 *
 *     plain      E = 1
 *
 *     overlap    blocks of B have a stride of B - o; block q is cut out at q (B - o), multiplied by a window and
 *                padded with zeros. Where two blocks overlap the windows are sin and cos of (pi/2)(k + 1/2)/o,
 *                k = 0 .. o-1, elsewhere 1: their squares sum to one. mapped = blocks * B.
 *
 *     image      the orthonormal 2-D DCT-II over height x width, coefficients (u, v) in zigzag order: by rising
 *                u + v, runs of equal u + v in alternating directions
 */
#ifndef RBE_CODEC_SIDE_H
#define RBE_CODEC_SIDE_H

#include <stdbool.h>

#include "rbe/base.h"

typedef enum rbe_side_kind { RBE_SIDE_PLAIN, RBE_SIDE_OVERLAP, RBE_SIDE_IMAGE } rbe_side_kind;

/* Frequency along the height and the width. */
typedef struct rbe_image_frequency {
    uint32_t u, v;
} rbe_image_frequency;

typedef struct rbe_side {
    rbe_side_kind kind;
    size_t length, mapped;
    size_t block, overlap;               /* overlap */
    size_t height, width;                /* image */
    float *ramp;                         /* overlap: the rising window, o values */
    float *height_matrix, *width_matrix; /* image: DCT, rows = atoms */
    rbe_image_frequency *order;          /* image: of each coefficient */
} rbe_side;

/* All fail only for want of memory. Freed by rbe_side_free. */
rbe_side rbe_side_plain(size_t length);
rbe_status rbe_side_overlap(rbe_side *side, size_t length, size_t block, size_t overlap);
rbe_status rbe_side_image(rbe_side *side, size_t height, size_t width);
void rbe_side_free(rbe_side *side);

/* Length after the map of overlapping blocks. */
size_t rbe_overlap_mapped(size_t length, size_t block, size_t overlap);

/* Where block row or column `n` of the mapped side is cut out. */
static inline size_t rbe_side_start(const rbe_side *side, size_t block, size_t n) {
    return n * (side->kind == RBE_SIDE_OVERLAP ? block - side->overlap : block);
}

/* Window at element t of block n; 1 unless blocks overlap. */
float rbe_side_window(const rbe_side *side, size_t n, size_t t);

/* Floats of scratch that apply and adjoint need for `rows` rows on at most `threads` threads. Images go through
 * OpenBLAS: the caller has entered it (base/blas.h) for so many callers. */
size_t rbe_side_scratch(const rbe_side *side, size_t rows, size_t threads);

/* mapped (rows x mapped) = x E^T,  x: rows x length */
void rbe_side_apply(const rbe_side *side, const float *x, size_t rows, size_t threads, float *mapped, float *scratch);

/* x (+)= mapped E + bias in every row, unless E = 1; bias may be NULL, `add` keeps what x holds. */
void rbe_side_adjoint(const rbe_side *side, const float *mapped, size_t rows, size_t threads, const float *bias,
                      bool add, float *x, float *scratch);

#endif
