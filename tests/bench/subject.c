/* One layer, compressed and dense, and its products. */
#include "subject.h"

#include <cblas.h>

#include "../../examples/common.h"
#include "base/alloc.h"
#include "codec/positions.h"

static float *floats(size_t count) { return example_need(rbe_alloc(count, sizeof(float))); }

static void fill(rbe_rng *rng, float *values, size_t count) {
    for (size_t i = 0; i < count; i++) values[i] = (float)(2.0 * rbe_rng_uniform(rng) - 1.0);
}

static float *random_floats(rbe_rng *rng, size_t count) {
    float *values = floats(count);
    fill(rng, values, count);
    return values;
}

size_t bench_alpha_count(const rbe_blocks *w) { return w->alpha ? RBE_BASIS_COUNT * w->grid_rows * w->grid_cols : 0; }

bench_subject bench_subject_new(const rbe_compress_options *options, bench_product product, size_t in, size_t out,
                                size_t n) {
    rbe_rng *rng = example_need(rbe_rng_new(in + 10 * out, product));
    rbe_geometry geometry;
    example_require(rbe_geometry_make(&geometry, out, in, options, 16));
    bench_subject b = {.w = example_need(rbe_blocks_new(&geometry)), .product = product, .in = in, .out = out, .n = n};
    example_require(rbe_blocks_draw_positions(b.w, options->coeffs * b.w->grid_rows * b.w->grid_cols, in));
    fill(rng, b.w->values, b.w->value_count);
    fill(rng, b.w->alpha, bench_alpha_count(b.w));
    b.plan = example_need(rbe_plan_new(b.w));
    b.x = random_floats(rng, n * in);
    b.dy = random_floats(rng, n * out);
    b.dense = floats(out * in);
    example_require(rbe_decompress(b.w, b.dense));
    b.y = floats(n * out);
    b.dx = floats(n * in);
    b.values = floats(b.w->value_count);
    b.alpha = floats(bench_alpha_count(b.w));
    b.dense_y = floats(n * out);
    b.dense_dx = floats(n * in);
    b.dense_dw = floats(out * in);
    b.layout = rbe_plan_layout(b.plan, n);
    size_t forward = rbe_plan_forward_bytes(b.plan, &b.layout), backward = rbe_plan_backward_bytes(&b.layout);
    b.scratch_bytes = forward > backward ? forward : backward;
    b.scratch = example_need(rbe_alloc(b.scratch_bytes, 1));
    rbe_rng_free(rng);
    return b;
}

void bench_subject_free(bench_subject *b) {
    float *all[] = {b->x, b->dy, b->dense, b->y, b->dx, b->values, b->alpha, b->dense_y, b->dense_dx, b->dense_dw};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) rbe_free(all[i]);
    rbe_free(b->scratch);
    rbe_plan_free(b->plan);
    rbe_blocks_free(b->w);
}

void bench_run_compressed(void *subject) {
    bench_subject *b = subject;
    bench_product p = b->product;
    rbe_gradients gradients = {0};
    if (p == BENCH_FORWARD || p == BENCH_MATVEC) {
        rbe_plan_forward(b->plan, b->w, &b->layout, NULL, b->x, b->y, NULL, b->scratch);
        return;
    }
    if (p != BENCH_WEIGHT_GRADIENT) gradients.dx = b->dx;
    if (p != BENCH_INPUT_GRADIENT) gradients.values = b->values;
    if (p != BENCH_INPUT_GRADIENT && b->w->alpha) gradients.alpha = b->alpha;
    rbe_plan_backward(b->plan, b->w, &b->layout, b->x, NULL, b->dy, &gradients, b->scratch);
}

void bench_run_on_one_thread(void *subject) {
    int threads = rbe_threads();
    example_require(rbe_set_threads(1));
    bench_run_compressed(subject);
    example_require(rbe_set_threads(threads));
}

void bench_run_dense(void *subject) {
    bench_subject *b = subject;
    bench_product p = b->product;
    int n = (int)b->n, in = (int)b->in, out = (int)b->out;
    if (p == BENCH_MATVEC && n == 1)
        cblas_sgemv(CblasRowMajor, CblasNoTrans, out, in, 1.0f, b->dense, in, b->x, 1, 0.0f, b->dense_y, 1);
    else if (p == BENCH_FORWARD || p == BENCH_MATVEC)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, out, in, 1.0f, b->x, in, b->dense, in, 0.0f, b->dense_y,
                    out);
    if (p == BENCH_INPUT_GRADIENT || p == BENCH_BACKWARD)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, in, out, 1.0f, b->dy, out, b->dense, in, 0.0f,
                    b->dense_dx, in);
    if (p == BENCH_WEIGHT_GRADIENT || p == BENCH_BACKWARD)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, out, in, n, 1.0f, b->dy, out, b->x, in, 0.0f, b->dense_dw,
                    in);
}
