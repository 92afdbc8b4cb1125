/* Where the time of a forward product goes: its three methods are timed apart, panel by panel, for three matrices with
 * the same positions. What the transforms take is what they add to the identity; what the moments take is what alpha
 * adds.
 *
 *     packing      analysis and synthesis of the identity      transform    what the transform adds to both
 *     moments      what alpha adds to both                      product      of the lists
 *     alpha        what alpha adds to the product
 *
 * Each time is the lower quartile over all panels of all rounds, of the clock on the wall: whatever else runs on the
 * machine lengthens some of them only. */
#include "parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../examples/common.h"
#include "base/alloc.h"
#include "codec/blocks.h"
#include "codec/positions.h"
#include "kernels/kernels.h"
#include "kernels/plan.h"

enum { MAX_SAMPLES = 4096 };

typedef enum method { ANALYZE, PRODUCT, SYNTHESIZE, METHODS } method;

typedef struct subject {
    rbe_blocks *w;
    rbe_plan *plan;
    float *xh, *yh; /* a panel each */
    size_t samples;
    double seconds[METHODS][MAX_SAMPLES]; /* of a panel */
} subject;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *random_floats(rbe_rng *rng, size_t count) {
    float *values = example_need(rbe_alloc(count, sizeof *values));
    for (size_t i = 0; i < count; i++) values[i] = (float)(2.0 * rbe_rng_uniform(rng) - 1.0);
    return values;
}

static void fill(rbe_rng *rng, float *values, size_t count) {
    float *random = random_floats(rng, count);
    memcpy(values, random, count * sizeof *values);
    rbe_free(random);
}

static subject *new_subject(const rbe_compress_options *options, size_t size, rbe_rng *rng) {
    subject *s = example_need(rbe_alloc_zeroed(1, sizeof *s));
    rbe_geometry geometry;
    example_require(rbe_geometry_make(&geometry, size, size, options, 16));
    s->w = example_need(rbe_blocks_new(&geometry));
    example_require(rbe_blocks_draw_positions(s->w, options->coeffs * s->w->grid_rows * s->w->grid_cols, size));
    fill(rng, s->w->values, s->w->value_count);
    if (s->w->alpha) fill(rng, s->w->alpha, RBE_BASIS_COUNT * s->w->grid_rows * s->w->grid_cols);
    s->plan = example_need(rbe_plan_new(s->w));
    s->xh = random_floats(rng, s->w->grid_cols * s->plan->block_rows * rbe_isa()->width);
    s->yh = random_floats(rng, s->w->grid_rows * s->plan->block_rows * rbe_isa()->width);
    return s;
}

static void free_subject(subject *s) {
    rbe_free(s->xh);
    rbe_free(s->yh);
    rbe_plan_free(s->plan);
    rbe_blocks_free(s->w);
    rbe_free(s);
}

/* One forward product, panel by panel. */
static void run(subject *s, const float *x, float *y, size_t rows) {
    const rbe_methods *isa = rbe_isa();
    const size_t width = isa->width;
    for (size_t start = 0; start + width <= rows; start += width) {
        double time[METHODS + 1];
        time[ANALYZE] = now();
        isa->analyze(&s->plan->input, x + start * s->w->in, width, s->w->in, s->xh, width);
        time[PRODUCT] = now();
        isa->product(s->plan, s->w, s->xh, s->yh, width, width);
        time[SYNTHESIZE] = now();
        isa->synthesize(&s->plan->output, s->yh, width, NULL, false, y + start * s->w->out, width, s->w->out);
        time[METHODS] = now();
        if (s->samples == MAX_SAMPLES) return;
        for (int m = 0; m < METHODS; m++) s->seconds[m][s->samples] = time[m + 1] - time[m];
        s->samples++;
    }
}

static int ascending(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double quartile(subject *s, method m) {
    qsort(s->seconds[m], s->samples, sizeof(double), ascending);
    return s->seconds[m][s->samples / 4] * 1e6;
}

void bench_parts(const rbe_compress_options *options, size_t size, size_t rows, bool quick) {
    enum { PLAIN, TRANSFORMED, FULL, KINDS };
    rbe_rng *rng = example_need(rbe_rng_new(size, 0));
    float *x = random_floats(rng, rows * size), *y = random_floats(rng, rows * size);
    subject *s[KINDS];
    for (int k = 0; k < KINDS; k++) {
        rbe_compress_options of = *options;
        if (k == PLAIN) of.row_transform = of.column_transform = rbe_transform_named("identity");
        of.alpha = k == FULL ? RBE_ALPHA_ON : RBE_ALPHA_OFF;
        s[k] = new_subject(&of, size, rng);
    }
    for (double end = now() + (quick ? 0.5 : 3.0); now() < end;)
        for (int k = 0; k < KINDS; k++) run(s[k], x, y, rows);
    double sides[KINDS], products[KINDS];
    for (int k = 0; k < KINDS; k++) {
        sides[k] = quartile(s[k], ANALYZE) + quartile(s[k], SYNTHESIZE);
        products[k] = quartile(s[k], PRODUCT);
    }
    double total = sides[FULL] + products[FULL],
           part[] = {sides[PLAIN], sides[TRANSFORMED] - sides[PLAIN], sides[FULL] - sides[TRANSFORMED],
                     products[TRANSFORMED], products[FULL] - products[TRANSFORMED]};
    const char *const part_names[] = {"packing", "transform", "moments", "product", "alpha"};
    printf("%5zu: %8.1f us for %zu rows", size, total, rbe_isa()->width);
    for (int p = 0; p < 5; p++)
        printf("%s %s %.1f (%.0f %%)", p ? "," : ":", part_names[p], part[p], 100 * part[p] / total);
    printf("\n");
    for (int k = 0; k < KINDS; k++) free_subject(s[k]);
    rbe_free(x);
    rbe_free(y);
    rbe_rng_free(rng);
}
