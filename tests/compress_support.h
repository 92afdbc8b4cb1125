/* What the suites of compression share. The test fails if anything does. */
#ifndef RBE_TESTS_COMPRESS_SUPPORT_H
#define RBE_TESTS_COMPRESS_SUPPORT_H

#include "rbe/codec.h"

rbe_blocks *compressed(const float *w, size_t out, size_t in, const rbe_compress_options *options);

/* Both are freed with free. */
float *decompressed(const rbe_blocks *blocks);

/* W[r][c] = exp(-((r/out - c/in) / width)^2 / 2) */
float *smooth(size_t out, size_t in, double width);

/* Relative error of compressing and decompressing. */
double round_trip(const float *w, size_t out, size_t in, const rbe_compress_options *options);

/* X W^T in double precision; freed with free. */
double *dense_product(const float *x, size_t rows, const float *w, size_t out, size_t in);

#endif
