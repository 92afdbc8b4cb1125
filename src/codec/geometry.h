/* How a matrix is cut into blocks, and how many coefficients it may have. */
#ifndef RBE_CODEC_GEOMETRY_H
#define RBE_CODEC_GEOMETRY_H

#include "codec/transform.h"

/* A geometry and a budget, checked and with the defaults filled in. */
typedef struct rbe_geometry {
    size_t out, in; /* of W */
    size_t block, grid_rows, grid_cols, group;
    size_t overlap, image_height, image_width;
    const rbe_transform *row_transform, *column_transform;
    bool has_alpha;
    size_t coeffs;      /* K of each block; 0: the budget is the layer's */
    size_t value_limit; /* residual coefficients of the whole matrix, alphas taken off */
} rbe_geometry;

/* `default_group` stands for a group of 0. INVALID_ARGUMENT names the option, what was expected and found. */
rbe_status rbe_geometry_make(rbe_geometry *geometry, size_t out, size_t in, const rbe_compress_options *options,
                             size_t default_group);

#endif
