/* An image drawn from places of another: output pixel (x, y), counted from the centre, is the image's value, by
 * bilinear interpolation between pixels, at
 *
 *     matrix (x, y) + shift + d(x, y)        (in pixels; 0 outside of the image)
 *
 * where d interpolates `nodes` bicubically: see rbe/data.h.
 */
#ifndef RBE_DATA_WARP_H
#define RBE_DATA_WARP_H

#include "rbe/data.h"

enum { RBE_WARP_NODES = 6, RBE_WARP_TAPS = 4 };

typedef struct rbe_warp {
    double matrix[2][2], shift[2];                  /* x, then y */
    bool bends;                                     /* else d = 0, and there are no nodes */
    float nodes[2][RBE_WARP_NODES][RBE_WARP_NODES]; /* of d's x, of its y: rows of nodes from above */
} rbe_warp;

/* What all images of a shape share. A framed image has zeros around it, so that no place needs a question: a row and a
 * column before it and two behind it, the last of which is the neighbour of the one before. */
typedef struct rbe_warp_plan {
    rbe_image_shape shape;
    size_t stride, framed; /* pixels of a framed row, of a framed channel */
    size_t strip;          /* rows that are worked on at a time */
    float least, most[2];  /* places in a framed image, x and y */
    float *across;         /* nodes x width: what a node of a row weighs at a column */
    float *down;           /* height x taps: what rows of nodes weigh at a row, from first[row] on */
    uint32_t *first;       /* height */
} rbe_warp_plan;

/* INVALID_ARGUMENT for an image of 2^31 pixels and more; INSUFFICIENT_MEMORY. rbe_warp_plan_free is due in any case. */
rbe_status rbe_warp_plan_new(rbe_warp_plan *plan, rbe_image_shape shape);
void rbe_warp_plan_free(rbe_warp_plan *plan);

/* Memory for one image at a time. */
typedef struct rbe_warp_scratch {
    float *framed;  /* all channels */
    float *bent[2]; /* nodes x width: rows of nodes, interpolated along x */
    float *x, *y;   /* of a strip: places in a framed channel, then the way to them from the pixel before, 0 .. 1 */
    int32_t *pixel; /* of a strip: that pixel */
} rbe_warp_scratch;

rbe_status rbe_warp_scratch_new(rbe_warp_scratch *scratch, const rbe_warp_plan *plan);
void rbe_warp_scratch_free(rbe_warp_scratch *scratch);

/* in, out: channels x height x width; they may be the same. The text is compiled for each instruction set. No compiler
 * may fuse products with sums (-ffp-contract=off), so all give the same bits. */
typedef void rbe_warp_function(const rbe_warp_plan *plan, const rbe_warp *warp, const float *in, float *out,
                               const rbe_warp_scratch *scratch);
rbe_warp_function rbe_warp_portable, rbe_warp_avx2, rbe_warp_avx512;

/* That of this processor. */
rbe_warp_function *rbe_warp_here(void);

#endif
