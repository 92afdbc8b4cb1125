/* Speed of the compressed linear layer against OpenBLAS.
 *
 * For every case: a random compressed matrix and random data; the result is checked against dense products in
 * double precision; then the compressed and the dense product are timed in turns in this one process, and the ratio
 * is the median over all turns. Useful flops are 2 N (coefficients + alphas): what a dense product of the stored
 * numbers would take. On one thread times are processor times of the thread, so that other work on the machine disturbs
 * little.
 */
#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../examples/common.h"
#include "base/alloc.h"
#include "codec/blocks.h"
#include "codec/positions.h"
#include "interleaved.h"
#include "kernels/kernels.h"
#include "step.h"

typedef enum product { FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, BACKWARD, MATVEC, PRODUCTS } product;

static const char *const product_names[PRODUCTS] = {"fwd", "dx", "dw", "bwd", "matvec"};

typedef struct settings {
    const char *product, *transform, *alpha;
    example_sizes sizes;
    size_t n, block, coeffs, group, threads;
    bool json, quick;
} settings;

/* One layer, compressed and dense, with the data of one batch. */
typedef struct subject {
    rbe_blocks *w;
    rbe_plan *plan;
    rbe_layout layout;
    product product;
    size_t size, n;
    float *x, *dy;                  /* n x size */
    float *dense;                   /* W */
    float *y, *dx, *values, *alpha; /* results of the compressed layer */
    float *dense_y, *dense_dx, *dense_dw;
    void *scratch;
    size_t scratch_bytes;
} subject;

static float *floats(size_t count) { return example_need(rbe_alloc(count, sizeof(float))); }

static float *random_floats(rbe_rng *rng, size_t count) {
    float *values = floats(count);
    for (size_t i = 0; i < count; i++) values[i] = (float)(2.0 * rbe_rng_uniform(rng) - 1.0);
    return values;
}

static size_t alpha_count(const rbe_blocks *w) { return w->alpha ? RBE_BASIS_COUNT * w->grid_rows * w->grid_cols : 0; }

static subject make_subject(const settings *s, product p, size_t size, size_t n, rbe_rng *rng) {
    const rbe_transform *transform = rbe_transform_named(s->transform);
    if (!transform) example_fail(2, "%s", rbe_last_error());
    rbe_compress_options options = {.block = s->block,
                                    .coeffs = s->coeffs,
                                    .row_transform = transform,
                                    .column_transform = transform,
                                    .alpha = strcmp(s->alpha, "on") == 0 ? RBE_ALPHA_ON : RBE_ALPHA_OFF,
                                    .group = s->group};
    rbe_block_plan geometry;
    example_require(rbe_block_plan_make(&geometry, size, size, &options, 16));
    subject b = {.w = example_need(rbe_blocks_new(&geometry)), .product = p, .size = size, .n = n};
    example_require(rbe_blocks_draw_positions(b.w, s->coeffs * b.w->grid_rows * b.w->grid_cols, size));
    for (size_t i = 0; i < b.w->value_count; i++) b.w->values[i] = (float)(2.0 * rbe_rng_uniform(rng) - 1.0);
    for (size_t i = 0; i < alpha_count(b.w); i++) b.w->alpha[i] = (float)(2.0 * rbe_rng_uniform(rng) - 1.0);
    b.plan = example_need(rbe_plan_new(b.w));
    b.x = random_floats(rng, n * size);
    b.dy = random_floats(rng, n * size);
    b.dense = floats(size * size);
    example_require(rbe_decompress(b.w, b.dense));
    b.y = floats(n * size);
    b.dx = floats(n * size);
    b.values = floats(b.w->value_count);
    b.alpha = floats(alpha_count(b.w));
    b.dense_y = floats(n * size);
    b.dense_dx = floats(n * size);
    b.dense_dw = floats(size * size);
    b.layout = rbe_plan_layout(b.plan, n);
    size_t forward = rbe_plan_forward_bytes(b.plan, &b.layout), backward = rbe_plan_backward_bytes(b.plan, &b.layout);
    b.scratch_bytes = forward > backward ? forward : backward;
    b.scratch = example_need(rbe_alloc(b.scratch_bytes, 1));
    return b;
}

static void free_subject(subject *b) {
    float *all[] = {b->x, b->dy, b->dense, b->y, b->dx, b->values, b->alpha, b->dense_y, b->dense_dx, b->dense_dw};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) rbe_free(all[i]);
    rbe_free(b->scratch);
    rbe_plan_free(b->plan);
    rbe_blocks_free(b->w);
}

/* ---- the products -------------------------------------------------------------------------------------------- */

static void run_compressed(void *of) {
    subject *b = of;
    product p = b->product;
    rbe_gradients gradients = {0};
    if (p == FORWARD || p == MATVEC) {
        rbe_plan_forward(b->plan, b->w, &b->layout, NULL, b->x, b->y, NULL, b->scratch);
        return;
    }
    if (p != WEIGHT_GRADIENT) gradients.dx = b->dx;
    if (p != INPUT_GRADIENT) gradients.values = b->values;
    if (p != INPUT_GRADIENT && b->w->alpha) gradients.alpha = b->alpha;
    rbe_plan_backward(b->plan, b->w, &b->layout, b->x, NULL, b->dy, &gradients, b->scratch);
}

static void run_dense(void *of) {
    subject *b = of;
    product p = b->product;
    int n = (int)b->n, size = (int)b->size;
    if (p == MATVEC && n == 1)
        cblas_sgemv(CblasRowMajor, CblasNoTrans, size, size, 1.0f, b->dense, size, b->x, 1, 0.0f, b->dense_y, 1);
    else if (p == FORWARD || p == MATVEC)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, size, size, 1.0f, b->x, size, b->dense, size, 0.0f,
                    b->dense_y, size);
    if (p == INPUT_GRADIENT || p == BACKWARD)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, size, size, 1.0f, b->dy, size, b->dense, size, 0.0f,
                    b->dense_dx, size);
    if (p == WEIGHT_GRADIENT || p == BACKWARD)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, size, size, n, 1.0f, b->dy, size, b->x, size, 0.0f,
                    b->dense_dw, size);
}

/* The compressed product of settings.threads threads as a single one does it. */
static void run_on_one_thread(void *of) {
    int threads = rbe_threads();
    example_require(rbe_set_threads(1));
    run_compressed(of);
    example_require(rbe_set_threads(threads));
}

/* ---- the check ----------------------------------------------------------------------------------------------- */

static double *widened(const float *from, size_t count) {
    double *wide = example_need(rbe_alloc(count, sizeof *wide));
    for (size_t i = 0; i < count; i++) wide[i] = from[i];
    return wide;
}

/* Largest difference over largest value. */
static double error_of(const float *found, const double *expected, size_t count) {
    double difference = 0.0, largest = 1e-30;
    for (size_t i = 0; i < count; i++) {
        double d = fabs(found[i] - expected[i]);
        if (!(d <= difference)) difference = d;
        if (fabs(expected[i]) > largest) largest = fabs(expected[i]);
    }
    return difference / largest;
}

/* Gradients of values and alphas from the dense one: S_pq = L G_pq R^T at the stored positions, alpha_l = <Psi_l,
 * G>. */
static double parameter_error(const subject *b, const double *gradient) {
    const rbe_blocks *w = b->w;
    size_t block = w->block, area = block * block;
    double *padded = example_need(rbe_alloc(4 * area, sizeof *padded));
    double *left = padded + area, *right = left + area, *half = right + area;
    double *values = example_need(rbe_alloc_zeroed(w->value_count, sizeof *values));
    double *alpha = example_need(rbe_alloc_zeroed(alpha_count(w), sizeof *alpha));
    double *psi = example_need(rbe_alloc(RBE_BASIS_COUNT * area, sizeof *psi));
    example_require(rbe_transform_matrix(w->row_transform, block, left));
    example_require(rbe_transform_matrix(w->column_transform, block, right));
    for (size_t i = 0; w->alpha && i < RBE_BASIS_COUNT * area; i++)
        psi[i] = rbe_moments_psi(w->moments, (int)(i / area), i % area / block, i % block);
    for (size_t p = 0; p < w->grid_rows; p++)
        for (size_t q = 0; q < w->grid_cols; q++) {
            memset(padded, 0, area * sizeof *padded);
            for (size_t r = 0; r < block && p * block + r < w->out; r++)
                for (size_t c = 0; c < block && q * block + c < w->in; c++)
                    padded[r * block + c] = gradient[(p * block + r) * w->in + q * block + c];
            for (size_t l = 0; w->alpha && l < RBE_BASIS_COUNT; l++)
                alpha[rbe_block_alpha(w, p, q, l) - w->alpha] = cblas_ddot((int)area, padded, 1, psi + l * area, 1);
            int size = (int)block;
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, size, size, size, 1.0, left, size, padded, size, 0.0,
                        half, size);
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, size, size, size, 1.0, half, size, right, size, 0.0,
                        padded, size);
            size_t g = p / w->group;
            for (size_t i = 0; i < block; i++)
                for (size_t k = w->list_start[g * block + i]; k < w->list_start[g * block + i + 1]; k++) {
                    size_t column = rbe_column_at(w, k);
                    if (column / block == q)
                        values[rbe_entry_value(w, g, k, p % w->group) - w->values] = padded[i * block + column % block];
                }
        }
    double error = error_of(b->values, values, w->value_count);
    if (w->alpha) error = fmax(error, error_of(b->alpha, alpha, alpha_count(w)));
    rbe_free(padded);
    rbe_free(values);
    rbe_free(alpha);
    rbe_free(psi);
    return error;
}

static double check(subject *b) {
    product p = b->product;
    int n = (int)b->n, size = (int)b->size;
    size_t count = b->n * b->size;
    double *x = widened(b->x, count), *dy = widened(b->dy, count), *dense = widened(b->dense, b->size * b->size);
    double *result = example_need(rbe_alloc(count > b->size * b->size ? count : b->size * b->size, sizeof *result));
    double error = 0.0;
    run_compressed(b);
    if (p == FORWARD || p == MATVEC) {
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, size, size, 1.0, x, size, dense, size, 0.0, result,
                    size);
        error = error_of(b->y, result, count);
    }
    if (p == INPUT_GRADIENT || p == BACKWARD) {
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, size, size, 1.0, dy, size, dense, size, 0.0, result,
                    size);
        error = error_of(b->dx, result, count);
    }
    if (p == WEIGHT_GRADIENT || p == BACKWARD) {
        cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, size, size, n, 1.0, dy, size, x, size, 0.0, result, size);
        error = fmax(error, parameter_error(b, result));
    }
    rbe_free(x);
    rbe_free(dy);
    rbe_free(dense);
    rbe_free(result);
    return error;
}

/* ---- the report ---------------------------------------------------------------------------------------------- */

static void print_head(const settings *s) {
    printf("B=%zu K=%zu %s, alpha %s, %zu thread%s, %s; dense: OpenBLAS for %s\n", s->block, s->coeffs, s->transform,
           s->alpha, s->threads, s->threads == 1 ? "" : "s", rbe_isa_name(), openblas_get_corename());
    printf("case    size     n  group  compressed us   dense us   ratio (quartiles)      GF/s   error     "
           "layer  workspace    dense bytes\n");
}

/* gain: time on one thread over that on all, 0 if there is only one. */
static void report(const settings *s, const subject *b, product p, const bench_timing *t, double gain, double error) {
    const rbe_blocks *w = b->w;
    rbe_blocks_info info = rbe_blocks_describe(w);
    size_t layer = info.value_bytes + info.position_bytes + info.alpha_bytes;
    size_t dense = b->size * b->size * sizeof(float), products = p == BACKWARD ? 2 : 1;
    double stored = (double)(info.coefficients + info.alphas);
    double gflops = 2.0 * (double)(products * b->n) * stored / t->compressed * 1e-9;
    if (s->json) {
        printf("{\"case\":\"%s\",\"in\":%zu,\"out\":%zu,\"n\":%zu,\"block\":%zu,\"coeffs\":%zu,\"group\":%zu,"
               "\"transform\":\"%s\",\"alpha\":%s,\"threads\":%zu,\"isa\":\"%s\",\"rbe_us\":%.3f,\"dense_us\":%.3f,"
               "\"ratio\":%.3f,\"ratio_low\":%.3f,\"ratio_high\":%.3f,\"thread_gain\":%.3f,\"useful_gflops\":%.2f,"
               "\"max_rel_err\":%.3g,\"layer_bytes\":%zu,\"workspace_bytes\":%zu,\"dense_bytes\":%zu}\n",
               product_names[p], b->size, b->size, b->n, s->block, s->coeffs, w->group, s->transform,
               w->alpha ? "true" : "false", s->threads, rbe_isa_name(), t->compressed * 1e6, t->dense * 1e6, t->ratio,
               t->ratio_low, t->ratio_high, gain, gflops, error, layer, b->scratch_bytes, dense);
    } else {
        printf("%-6s %5zu %5zu %6zu %14.1f %10.1f %7.2f (%.2f - %.2f) %8.1f %7.1e %9zu %10zu %14zu\n", product_names[p],
               b->size, b->n, w->group, t->compressed * 1e6, t->dense * 1e6, t->ratio, t->ratio_low, t->ratio_high,
               gflops, error, layer, b->scratch_bytes, dense);
        if (gain > 0) printf("       compressed, %zu threads: %.2f times as fast as one\n", s->threads, gain);
    }
    fflush(stdout);
}

static void bench(const settings *s, product p, size_t size) {
    rbe_rng *rng = example_need(rbe_rng_new(size + 10 * (size_t)p, 0));
    size_t n = s->n > 0 ? s->n : p == MATVEC ? 1 : size < 512 ? 512 : 1024;
    subject b = make_subject(s, p, size, n, rng);
    double error = check(&b);
    if (!(error < 1e-4)) example_fail(1, "%s, size %zu: wrong result, error %g", product_names[p], size, error);
    openblas_set_num_threads((int)s->threads);
    bench_timing t = bench_interleaved(run_compressed, run_dense, &b, s->threads == 1, s->quick);
    double gain = 0;
    if (s->threads > 1) gain = bench_interleaved(run_compressed, run_on_one_thread, &b, false, s->quick).ratio;
    report(s, &b, p, &t, gain, error);
    free_subject(&b);
    rbe_rng_free(rng);
}

/* A whole training step of 784-size-size-10. */
static void bench_training_step(const settings *s, size_t size) {
    const bench_step_options options = {.inputs = 784,
                                        .hidden = size,
                                        .batch = s->n > 0 ? s->n : 256,
                                        .block = s->block,
                                        .group = s->group,
                                        .ratio = (double)(s->block * s->block) / (double)s->coeffs,
                                        .one_thread = s->threads == 1,
                                        .quick = s->quick};
    bench_step_result r = bench_step(&options);
    if (!(r.error < 1e-4)) example_fail(1, "step, size %zu: wrong result, error %g", size, r.error);
    if (s->json)
        printf("{\"case\":\"step\",\"in\":784,\"out\":%zu,\"n\":%zu,\"block\":%zu,\"coeffs\":%zu,\"group\":%zu,"
               "\"transform\":\"dct\",\"threads\":%zu,\"isa\":\"%s\",\"rbe_us\":%.3f,\"dense_us\":%.3f,"
               "\"ratio\":%.3f,\"ratio_low\":%.3f,\"ratio_high\":%.3f,\"max_rel_err\":%.3g,\"layer_bytes\":%zu,"
               "\"dense_bytes\":%zu}\n",
               size, options.batch, s->block, s->coeffs, s->group, s->threads, rbe_isa_name(),
               r.timing.compressed * 1e6, r.timing.dense * 1e6, r.timing.ratio, r.timing.ratio_low, r.timing.ratio_high,
               r.error, r.bytes, r.dense_bytes);
    else
        printf("step   784-%zu-%zu-10, batch %zu, values / %.0f, Adam: %.0f us, dense %.0f us, ratio %.2f (%.2f - "
               "%.2f), "
               "error %.1e; parameters, gradients and moments: %zu bytes, dense %zu\n",
               size, size, options.batch, options.ratio, r.timing.compressed * 1e6, r.timing.dense * 1e6,
               r.timing.ratio, r.timing.ratio_low, r.timing.ratio_high, r.error, r.bytes, r.dense_bytes);
    fflush(stdout);
}

int main(int argc, char **argv) {
    settings s = {.product = "all",
                  .transform = "dct",
                  .alpha = "on",
                  .sizes = {{256, 512, 1024, 2048}, 4},
                  .block = 64,
                  .coeffs = 256,
                  .threads = 1};
    const example_option options[] = {
        {"case", EXAMPLE_TEXT, &s.product, "all|fwd|dx|dw|bwd|matvec|step",
         "a product (all: fwd, bwd, matvec), or a training step of 784-size-size-10", 0, 0},
        {"size", EXAMPLE_SIZES, &s.sizes, "LIST", "inputs and outputs of the layer", 1, 16384},
        {"n", EXAMPLE_COUNT, &s.n, "N", "rows; default 512 below 512, else 1024; 1 for matvec", 1, 1e6},
        {"block", EXAMPLE_COUNT, &s.block, "B", "block size", 8, 256},
        {"coeffs", EXAMPLE_COUNT, &s.coeffs, "K", "coefficients per block", 1, 65536},
        {"group", EXAMPLE_COUNT, &s.group, "G", "block rows that share positions; default 16", 1, 65536},
        {"transform", EXAMPLE_TEXT, &s.transform, "NAME", "of both axes", 0, 0},
        {"alpha", EXAMPLE_TEXT, &s.alpha, "on|off", "the eight basis functions", 0, 0},
        {"threads", EXAMPLE_COUNT, &s.threads, "T", "of both the compressed and the dense product", 1, 1024},
        {"quick", EXAMPLE_FLAG, &s.quick, NULL, "fewer rounds", 0, 0},
        {"json", EXAMPLE_FLAG, &s.json, NULL, "one JSON object per line instead of a table", 0, 0},
    };
    example_parse(argc, argv, "Times the compressed linear layer against OpenBLAS.", options,
                  sizeof options / sizeof options[0]);
    example_require(rbe_set_threads((int)s.threads));
    if (strcmp(s.product, "step") == 0) {
        for (size_t i = 0; i < s.sizes.count; i++) bench_training_step(&s, s.sizes.value[i]);
        return 0;
    }
    if (!s.json) print_head(&s);
    for (product p = 0; p < PRODUCTS; p++) {
        bool all = strcmp(s.product, "all") == 0 && (p == FORWARD || p == BACKWARD || p == MATVEC);
        if (!all && strcmp(s.product, product_names[p]) != 0) continue;
        for (size_t i = 0; i < s.sizes.count; i++) bench(&s, p, s.sizes.value[i]);
    }
    return 0;
}
