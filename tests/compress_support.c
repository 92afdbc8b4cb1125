/* Compressing and decompressing that must succeed; a smooth matrix; dense products in double precision. */
#include "compress_support.h"

#include <math.h>
#include <stdlib.h>

#include "reference.h"
#include "support.h"

rbe_blocks *compressed(const float *w, size_t out, size_t in, const rbe_compress_options *options) {
    rbe_blocks *blocks = NULL;
    ck_assert_ok(rbe_compress(&blocks, w, out, in, options));
    return blocks;
}

float *decompressed(const rbe_blocks *blocks) {
    const rbe_blocks_info info = rbe_blocks_describe(blocks);
    float *w = test_memory(info.out * info.in, sizeof *w);
    ck_assert_ok(rbe_decompress(blocks, w));
    return w;
}

double round_trip(const float *w, size_t out, size_t in, const rbe_compress_options *options) {
    rbe_blocks *blocks = compressed(w, out, in, options);
    float *back = decompressed(blocks);
    const double error = relative_difference(back, w, out * in);
    rbe_blocks_free(blocks);
    free(back);
    return error;
}

/* W[r][c] = exp(-((r/out - c/in) / width)^2 / 2) */
float *smooth(size_t out, size_t in, double width) {
    float *w = test_memory(out * in, sizeof *w);
    for (size_t r = 0; r < out; r++)
        for (size_t c = 0; c < in; c++) {
            const double distance = ((double)r / (double)out - (double)c / (double)in) / width;
            w[r * in + c] = (float)exp(-0.5 * distance * distance);
        }
    return w;
}

/* X W^T in double precision. */
double *dense_product(const float *x, size_t rows, const float *w, size_t out, size_t in) {
    double *y = test_memory(rows * out, sizeof *y);
    for (size_t n = 0; n < rows; n++)
        for (size_t r = 0; r < out; r++)
            for (size_t c = 0; c < in; c++) y[n * out + r] += (double)x[n * in + c] * (double)w[r * in + c];
    return y;
}
