/* Augmentation: the random numbers of a sample become a warp (warp.h), samples become tasks.
 *
 * Random number n of a sample is splitmix64(key + n STEP), where
 *
 *     key = splitmix64(splitmix64(splitmix64(seed) + epoch) + sample)
 *
 * Numbers 0 .. 5 are of the affine map (angle, two scales, shear, two shifts), the others of the nodes, two each: so
 * neither strength changes what the other does. A uniform number is made of the upper 53 bits. A normal one is the sum
 * of the eight 16-bit parts of its two numbers, less the mean, over the standard deviation: every machine finds the same,
 * in a fraction of the time that logarithms and sines take. Its fourth moment is 2.85, not 3.
 */
#include "data/augment.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parallel.h"
#include "base/sizes.h"
#include "base/splitmix.h"

struct rbe_augmenter {
    rbe_augment_options options;
    rbe_warp_plan plan;
    rbe_warp_function *warp;
    rbe_warp_scratch *scratch; /* of each worker */
    size_t workers;
};

/* ---- random numbers ------------------------------------------------------------------------------------------ */

enum { AFFINE_NUMBERS = 6, NUMBERS_OF_A_NODE = 2 };

/* Number `n`, uniform in [-1, 1). */
static double uniform(uint64_t key, uint64_t n) {
    return (double)(rbe_splitmix64(key + n * RBE_SPLITMIX_STEP) >> 11) * 0x1p-52 - 1.0;
}

/* Of numbers n and n + 1: mean 0, variance 1. */
static double normal(uint64_t key, uint64_t n) {
    const uint64_t parts = 0x0000ffff0000ffff;
    uint64_t sum = 0;
    for (uint64_t k = n; k < n + NUMBERS_OF_A_NODE; k++) {
        const uint64_t bits = rbe_splitmix64(key + k * RBE_SPLITMIX_STEP);
        sum += (bits & parts) + (bits >> 16 & parts);
    }
    const double mean = 8.0 * 65535.0 / 2.0, deviation = 53509.92; /* sqrt(8 (2^32 - 1) / 12) */
    return ((double)((sum >> 32) + (sum & 0xffffffff)) - mean) / deviation;
}

static void draw_affine(double strength, rbe_image_shape shape, uint64_t key, rbe_warp *w) {
    const double angle = 0.25 * strength * uniform(key, 0), shear = 0.25 * strength * uniform(key, 3);
    const double scale_x = 1.0 + 0.15 * strength * uniform(key, 1), scale_y = 1.0 + 0.15 * strength * uniform(key, 2);
    const double cosine = cos(angle), sine = sin(angle);
    w->matrix[0][0] = cosine * scale_x;
    w->matrix[0][1] = (cosine * shear - sine) * scale_y;
    w->matrix[1][0] = sine * scale_x;
    w->matrix[1][1] = (sine * shear + cosine) * scale_y;
    w->shift[0] = 0.12 * strength * uniform(key, 4) * 0.5 * (double)shape.width;
    w->shift[1] = 0.12 * strength * uniform(key, 5) * 0.5 * (double)shape.height;
}

static void draw_nodes(double strength, rbe_image_shape shape, uint64_t key, rbe_warp *w) {
    const double half[2] = {0.5 * (double)shape.width, 0.5 * (double)shape.height};
    uint64_t n = AFFINE_NUMBERS;
    w->bends = true;
    for (size_t a = 0; a < 2; a++)
        for (size_t k = 0; k < RBE_WARP_NODES * RBE_WARP_NODES; k++, n += NUMBERS_OF_A_NODE)
            w->nodes[a][k / RBE_WARP_NODES][k % RBE_WARP_NODES] =
                (float)(strength * 2.0 / 28.0 * half[a] * normal(key, n));
}

rbe_warp rbe_augment_draw(const rbe_augment_options *options, rbe_image_shape shape, size_t epoch, size_t sample) {
    const uint64_t key = rbe_splitmix64(rbe_splitmix64(rbe_splitmix64(options->seed) + epoch) + sample);
    rbe_warp w = {.matrix = {{1.0, 0.0}, {0.0, 1.0}}};
    if (options->affine > 0) draw_affine(options->affine, shape, key, &w);
    if (options->elastic > 0) draw_nodes(options->elastic, shape, key, &w);
    return w;
}

/* ---- checks -------------------------------------------------------------------------------------------------- */

static rbe_status check_strength(const char *who, const char *name, double strength) {
    if (strength >= 0 && isfinite(strength)) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "%s: %s: expected a finite strength >= 0, found %g", who, name, strength);
}

static rbe_status check_strengths(const char *who, const rbe_augment_options *options) {
    RBE_TRY(check_strength(who, "affine", options->affine));
    return check_strength(who, "elastic", options->elastic);
}

rbe_image_shape rbe_image_shape_of(const rbe_dataset *data) {
    const size_t pixels = rbe_product(data->height, data->width);
    return (rbe_image_shape){pixels > 0 ? data->features / pixels : 0, data->height, data->width};
}

rbe_status rbe_augment_check(const char *who, const rbe_augment_options *options, const rbe_dataset *data) {
    if (!options) return RBE_OK;
    RBE_TRY(check_strengths(who, options));
    if (!rbe_augment_changes(options)) return RBE_OK;
    const rbe_image_shape s = rbe_image_shape_of(data);
    if (!data->tokens && s.height >= 2 && s.width >= 2 && s.channels * s.height * s.width == data->features)
        return RBE_OK;
    return rbe_fail(
        RBE_INVALID_ARGUMENT,
        "%s: augmentation: expected images, of a height and a width of at least 2 whose product divides the "
        "features, found %zu %s and %zu x %zu",
        who, data->features, data->tokens ? "tokens" : "features", data->height, data->width);
}

/* ---- images one by one --------------------------------------------------------------------------------------- */

static rbe_status prepare(rbe_augmenter *a, rbe_image_shape shape) {
    RBE_TRY(rbe_warp_plan_new(&a->plan, shape));
    a->scratch = rbe_alloc_zeroed(a->workers, sizeof *a->scratch);
    if (!a->scratch) return RBE_INSUFFICIENT_MEMORY;
    for (size_t n = 0; n < a->workers; n++) RBE_TRY(rbe_warp_scratch_new(&a->scratch[n], &a->plan));
    return RBE_OK;
}

rbe_augmenter *rbe_augmenter_new(const rbe_augment_options *options, rbe_image_shape shape, size_t workers) {
    rbe_augmenter *a = rbe_alloc_zeroed(1, sizeof *a);
    if (!a) return NULL;
    *a = (rbe_augmenter){.options = *options, .warp = rbe_warp_here(), .workers = workers};
    if (prepare(a, shape) == RBE_OK) return a;
    rbe_augmenter_free(a);
    return NULL;
}

void rbe_augmenter_free(rbe_augmenter *a) {
    if (!a) return;
    for (size_t n = 0; a->scratch && n < a->workers; n++) rbe_warp_scratch_free(&a->scratch[n]);
    rbe_free(a->scratch);
    rbe_warp_plan_free(&a->plan);
    rbe_free(a);
}

size_t rbe_augmenter_workers(const rbe_augmenter *a) { return a->workers; }

void rbe_augmenter_run(const rbe_augmenter *a, size_t worker, size_t epoch, size_t sample, const float *in,
                       float *out) {
    const rbe_warp warp = rbe_augment_draw(&a->options, a->plan.shape, epoch, sample);
    a->warp(&a->plan, &warp, in, out, &a->scratch[worker]);
}

/* ---- images of a user's own ---------------------------------------------------------------------------------- */

typedef struct images {
    rbe_augmenter *augmenter;
    size_t epoch, count, values, piece; /* values of an image, images of a task */
    const size_t *samples;
    const float *in;
    float *out;
} images;

static void change_piece(void *context, size_t task, size_t worker) {
    const images *i = context;
    const size_t first = task * i->piece, end = rbe_at_most(first + i->piece, i->count);
    for (size_t n = first; n < end; n++)
        rbe_augmenter_run(i->augmenter, worker, i->epoch, i->samples ? i->samples[n] : n, i->in + n * i->values,
                          i->out + n * i->values);
}

static rbe_status check_images(const rbe_augment_options *options, rbe_image_shape s, size_t count, const float *in,
                               const float *out) {
    if (!options) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_augment_images: the options are NULL");
    RBE_TRY(check_strengths("rbe_augment_images", options));
    if (s.channels < 1 || s.height < 2 || s.width < 2)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "rbe_augment_images: expected at least one channel, of at least 2 x 2 pixels, found %zu of "
                        "%zu x %zu",
                        s.channels, s.height, s.width);
    const size_t values = rbe_product(rbe_product(s.height, s.width), s.channels);
    if (rbe_product(values, count) > PTRDIFF_MAX / sizeof(float))
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "rbe_augment_images: %zu images of %zu x %zu x %zu values are more than can be addressed",
                        count, s.channels, s.height, s.width);
    if (count == 0 || (in && out)) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_augment_images: the %s is NULL", in ? "output" : "input");
}

rbe_status rbe_augment_images(const rbe_augment_options *options, rbe_image_shape shape, size_t epoch,
                              const size_t *samples, size_t count, const float *in, float *out) {
    RBE_TRY(check_images(options, shape, count, in, out));
    const size_t values = shape.channels * shape.height * shape.width;
    if (count == 0) return RBE_OK;
    if (!rbe_augment_changes(options)) {
        memmove(out, in, count * values * sizeof *in);
        return RBE_OK;
    }
    const size_t piece = rbe_at_least(RBE_PIECE / values, 1), tasks = rbe_pieces(count, piece);
    images i = {NULL, epoch, count, values, piece, samples, in, out};
    i.augmenter = rbe_augmenter_new(options, shape, rbe_at_most((size_t)rbe_threads(), tasks));
    if (!i.augmenter) return rbe_last_status();
    rbe_parallel(rbe_augmenter_workers(i.augmenter), tasks, change_piece, &i);
    rbe_augmenter_free(i.augmenter);
    return RBE_OK;
}
