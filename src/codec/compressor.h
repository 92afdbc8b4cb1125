/* The compression of one matrix with one choice of transforms, for any budget. */
#ifndef RBE_CODEC_COMPRESSOR_H
#define RBE_CODEC_COMPRESSOR_H

#include "codec/activations.h"
#include "codec/select.h"

/* What a thread needs to work on a group: room for the spectra and alphas of `capacity` block rows, which are those
 * from number `held` on (SIZE_MAX: none, or changed since). */
typedef struct rbe_group_worker {
    rbe_strips strips;
    double *spectra, *alpha;
    size_t capacity, held;
    float *score; /* B x width, like `keep` */
    uint8_t *keep;
    uint64_t *histogram;
} rbe_group_worker;

typedef struct rbe_compressor {
    const rbe_row_source *source;
    rbe_geometry geometry;
    rbe_blocks *shape;        /* the geometry, without positions */
    const rbe_inputs *inputs; /* count 0: none */
    rbe_activations activations;
    rbe_group_worker *workers; /* one with activations, or where only one can read */
    size_t worker_count;
} rbe_compressor;

rbe_status rbe_compressor_new(rbe_compressor *c, const rbe_row_source *source, const rbe_inputs *inputs,
                              const rbe_compress_options *options);
void rbe_compressor_free(rbe_compressor *c); /* zeros are allowed */

/* Compresses to geometry->coeffs a block, or if that is 0 to at most geometry->value_limit coefficients. */
rbe_status rbe_compressor_run(rbe_compressor *c, rbe_blocks **blocks);

/* How far `blocks` is from the source. bias_change (out values, or NULL) becomes what keeps the mean output. */
typedef struct rbe_distance {
    double weights, outputs; /* relative errors; outputs 0 without inputs */
} rbe_distance;

rbe_status rbe_compressor_measure(const rbe_row_source *source, const rbe_inputs *inputs, const rbe_blocks *blocks,
                                  rbe_distance *distance, float *bias_change);

#endif
