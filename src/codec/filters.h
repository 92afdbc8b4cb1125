/* The filters of wavelets. */
#ifndef RBE_CODEC_FILTERS_H
#define RBE_CODEC_FILTERS_H

#include "codec/transform.h"

/* Averages and details: `taps` values each. */
#define RBE_MOST_TAPS 32
typedef struct rbe_filters {
    const double *low, *high;
    size_t taps;
} rbe_filters;

/* Of a haar, db or bspline transform; the two pairs of the orthonormal ones are equal. They live as long as the program. */
void rbe_transform_filters(const rbe_transform *transform, rbe_filters *analysis, rbe_filters *synthesis);

#endif
