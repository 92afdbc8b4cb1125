/* One layer, compressed and dense, with the data of one batch: what is timed and checked. */
#ifndef BENCH_SUBJECT_H
#define BENCH_SUBJECT_H

#include "codec/blocks.h"
#include "kernels/kernels.h"
#include "rbe/rbe.h"

typedef enum bench_product {
    BENCH_FORWARD,
    BENCH_INPUT_GRADIENT,
    BENCH_WEIGHT_GRADIENT,
    BENCH_BACKWARD, /* both gradients */
    BENCH_MATVEC,
    BENCH_PRODUCTS
} bench_product;

typedef struct bench_subject {
    rbe_blocks *w;
    rbe_plan *plan;
    rbe_layout layout;
    bench_product product;
    size_t in, out, n;
    float *x;                       /* n x in */
    float *dy;                      /* n x out */
    float *dense;                   /* W, out x in */
    float *y, *dx, *values, *alpha; /* results of the compressed layer */
    float *dense_y, *dense_dx, *dense_dw;
    void *scratch;
    size_t scratch_bytes;
} bench_subject;

/* A random matrix of out x in with options->coeffs coefficients a block, and n random rows. */
bench_subject bench_subject_new(const rbe_compress_options *options, bench_product product, size_t in, size_t out,
                                size_t n);
void bench_subject_free(bench_subject *subject);

/* Of a bench_subject, for bench_interleaved: the product, with rbe_threads(), on one thread, and by OpenBLAS. */
void bench_run_compressed(void *subject);
void bench_run_on_one_thread(void *subject);
void bench_run_dense(void *subject);

/* Alphas that the compressed matrix has. */
size_t bench_alpha_count(const rbe_blocks *w);

/* Largest difference of the compressed product from dense ones in double precision, over the largest value; of several
 * results the worst. */
double bench_error(bench_subject *subject);

#endif
