/* Augmentation of an image: against a reference in double precision, by what must follow exactly, and what is drawn from
 * seed, epoch and sample. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "augment_support.h"
#include "base/processor.h"
#include "base/splitmix.h"
#include "data/augment.h"
#include "suites.h"

enum { SIDE = 28, PIXELS = SIDE * SIDE };

static const rbe_image_shape digit = {1, SIDE, SIDE};

void fill_uniform(float *values, size_t count, uint64_t seed) {
    for (size_t n = 0; n < count; n++)
        values[n] = (float)(rbe_splitmix64(seed + n * RBE_SPLITMIX_STEP) >> 40) * 0x1p-24f;
}

static float *take(size_t count) {
    float *values = malloc(count * sizeof *values);
    ck_assert_ptr_nonnull(values);
    return values;
}

static size_t values_of(rbe_image_shape s) { return s.channels * s.height * s.width; }

static float most_apart(const float *a, const float *b, size_t count) {
    float most = 0.0f;
    for (size_t n = 0; n < count; n++) most = fmaxf(most, fabsf(a[n] - b[n]));
    return most;
}

/* ---- the warps of all instruction sets that there are here ---------------------------------------------------------- */

static size_t warps_here(rbe_warp_function *warps[3]) {
    size_t count = 0;
    warps[count++] = rbe_warp_portable;
    if (rbe_processor_has_avx2()) warps[count++] = rbe_warp_avx2;
    if (rbe_processor_has_avx512()) warps[count++] = rbe_warp_avx512;
    return count;
}

static void run_warp(rbe_warp_function *run, rbe_image_shape shape, const rbe_warp *warp, const float *in, float *out) {
    rbe_warp_plan plan;
    rbe_warp_scratch scratch;
    ck_assert_ok(rbe_warp_plan_new(&plan, shape));
    ck_assert_ok(rbe_warp_scratch_new(&scratch, &plan));
    run(&plan, warp, in, out, &scratch);
    rbe_warp_scratch_free(&scratch);
    rbe_warp_plan_free(&plan);
}

/* ---- the reference: rbe/data.h in double precision, pixel by pixel -------------------------------------------------- */

static double reference_number(const rbe_augment_options *o, size_t epoch, size_t sample, uint64_t n) {
    uint64_t key = rbe_splitmix64(o->seed);
    key = rbe_splitmix64(key + epoch);
    key = rbe_splitmix64(key + sample);
    return ldexp((double)(rbe_splitmix64(key + n * RBE_SPLITMIX_STEP) >> 11), -52) - 1.0;
}

static double reference_normal(const rbe_augment_options *o, size_t epoch, size_t sample, uint64_t n) {
    uint64_t key = rbe_splitmix64(rbe_splitmix64(rbe_splitmix64(o->seed) + epoch) + sample);
    double sum = 0.0;
    for (uint64_t k = n; k < n + 2; k++)
        for (int part = 0; part < 4; part++)
            sum += (double)(rbe_splitmix64(key + k * RBE_SPLITMIX_STEP) >> (16 * part) & 0xffff) - 32767.5;
    return sum / sqrt(8.0 * (ldexp(1.0, 32) - 1.0) / 12.0);
}

static double keys(double t) {
    const double a = -0.75;
    t = fabs(t);
    if (t < 1.0) return (a + 2.0) * t * t * t - (a + 3.0) * t * t + 1.0;
    return t < 2.0 ? a * t * t * t - 5.0 * a * t * t + 8.0 * a * t - 4.0 * a : 0.0;
}

/* Between nodes at (k + 1/2) n / 6 - 1/2, at a pixel. */
static double reference_bend(const double nodes[36], size_t row, size_t column, size_t height, size_t width) {
    const double y = ((double)row + 0.5) * 6.0 / (double)height - 0.5;
    const double x = ((double)column + 0.5) * 6.0 / (double)width - 0.5;
    double sum = 0.0;
    for (int i = -2; i < 8; i++)
        for (int j = -2; j < 8; j++)
            sum += keys(y - i) * keys(x - j) * nodes[6 * (i < 0 ? 0 : i > 5 ? 5 : i) + (j < 0 ? 0 : j > 5 ? 5 : j)];
    return sum;
}

static double pixel_or_zero(const float *channel, rbe_image_shape s, double row, double column) {
    if (row < 0 || column < 0 || row >= (double)s.height || column >= (double)s.width) return 0.0;
    return (double)channel[(size_t)row * s.width + (size_t)column];
}

static double reference_value(const float *channel, rbe_image_shape s, double y, double x) {
    const double top = floor(y), left = floor(x), v = y - top, u = x - left;
    return (1 - v) * ((1 - u) * pixel_or_zero(channel, s, top, left) + u * pixel_or_zero(channel, s, top, left + 1)) +
           v * ((1 - u) * pixel_or_zero(channel, s, top + 1, left) + u * pixel_or_zero(channel, s, top + 1, left + 1));
}

static void reference_image(const rbe_augment_options *o, rbe_image_shape s, size_t epoch, size_t sample,
                            const float *in, double *out) {
    double u[6], bend[2][36], half[2] = {0.5 * (double)s.width, 0.5 * (double)s.height};
    for (uint64_t n = 0; n < 6; n++) u[n] = o->affine * reference_number(o, epoch, sample, n);
    for (uint64_t n = 0; n < 72; n++)
        bend[n / 36][n % 36] = o->elastic * 2 / 28 * half[n / 36] * reference_normal(o, epoch, sample, 6 + 2 * n);
    const double t = 0.25 * u[0], h = 0.25 * u[3];
    for (size_t row = 0; row < s.height; row++)
        for (size_t column = 0; column < s.width; column++) {
            const double x = (double)column + 0.5 - half[0], y = (double)row + 0.5 - half[1];
            const double wide = (1 + 0.15 * u[1]) * x + h * (1 + 0.15 * u[2]) * y, high = (1 + 0.15 * u[2]) * y;
            const double from_x = cos(t) * wide - sin(t) * high + 0.12 * u[4] * half[0] +
                                  reference_bend(bend[0], row, column, s.height, s.width);
            const double from_y = sin(t) * wide + cos(t) * high + 0.12 * u[5] * half[1] +
                                  reference_bend(bend[1], row, column, s.height, s.width);
            for (size_t c = 0; c < s.channels; c++)
                out[(c * s.height + row) * s.width + column] =
                    reference_value(in + c * s.height * s.width, s, from_y + half[1] - 0.5, from_x + half[0] - 0.5);
        }
}

static const struct {
    rbe_image_shape shape;
    double affine, elastic;
} cases[] = {
    {{1, 28, 28}, 0.5, 0.8}, {{1, 28, 28}, 1.0, 0.0}, {{1, 28, 28}, 0.0, 1.0},  {{1, 28, 28}, 5.0, 6.0},
    {{3, 17, 40}, 0.7, 1.0}, {{2, 41, 9}, 1.5, 0.5},  {{1, 2, 2}, 0.5, 0.8},    {{1, 2, 300}, 0.3, 1.0},
    {{1, 300, 3}, 0.5, 0.8}, {{2, 90, 70}, 0.5, 0.8}, {{1, 5, 1500}, 0.2, 0.2},
};
enum { CASES = sizeof cases / sizeof *cases };

/* Places are found in single precision: some millionths of the image's width away from where they are. */
START_TEST(as_the_reference) {
    const rbe_image_shape s = cases[_i].shape;
    const rbe_augment_options o = {.affine = cases[_i].affine, .elastic = cases[_i].elastic, .seed = 11};
    const size_t values = values_of(s), samples[] = {0, 5, 123456789012, SIZE_MAX};
    float *in = take(4 * values), *out = take(4 * values);
    double *expected = malloc(values * sizeof *expected), most = 0.0;
    fill_uniform(in, 4 * values, 1);
    ck_assert_ok(rbe_augment_images(&o, s, 7, samples, 4, in, out));
    for (size_t n = 0; n < 4; n++) {
        reference_image(&o, s, 7, samples[n], in + n * values, expected);
        for (size_t k = 0; k < values; k++) most = fmax(most, fabs((double)out[n * values + k] - expected[k]));
    }
    ck_assert_msg(most < 1e-6 * (double)(s.height + s.width), "case %d: %g", _i, most);
    ck_assert_float_gt(most_apart(in, out, 4 * values), 0.1f);
    free(in);
    free(out);
    free(expected);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(instruction_sets_give_the_same_bits) {
    const rbe_image_shape s = cases[_i].shape;
    const rbe_augment_options o = {.affine = cases[_i].affine, .elastic = cases[_i].elastic, .seed = 12};
    const rbe_warp warp = rbe_augment_draw(&o, s, 1, 2);
    const size_t values = values_of(s);
    rbe_warp_function *warps[3];
    float *in = take(values), *expected = take(values), *out = take(values);
    fill_uniform(in, values, 2);
    ck_assert_ok(rbe_augment_images(&o, s, 1, (size_t[]){2}, 1, in, expected));
    for (size_t n = 0, count = warps_here(warps); n < count; n++) {
        run_warp(warps[n], s, &warp, in, out);
        ck_assert_mem_eq(out, expected, values * sizeof *out);
    }
    free(in);
    free(expected);
    free(out);
}
END_TEST

/* ---- what follows exactly -------------------------------------------------------------------------------------- */

START_TEST(zeros_change_nothing) {
    const rbe_augment_options zeros = {.seed = 5};
    float in[2 * PIXELS], out[2 * PIXELS], kept[2 * PIXELS];
    fill_uniform(in, 2 * PIXELS, 3);
    in[0] = -0.0f;
    in[1] = 1e-42f;
    in[2] = NAN;
    memcpy(kept, in, sizeof in);
    ck_assert_ok(rbe_augment_images(&zeros, digit, 3, NULL, 2, in, out));
    ck_assert_mem_eq(out, kept, sizeof kept);
    ck_assert_ok(rbe_augment_images(&zeros, digit, 3, NULL, 2, in, in));
    ck_assert_mem_eq(in, kept, sizeof kept);
}
END_TEST

/* Also where the image goes out of sight, and without a map that changes anything. */
START_TEST(whole_pixels_move_exactly) {
    static const int moves[][2] = {{0, 0}, {1, 0}, {0, -1}, {3, 5}, {-27, 2}, {28, 0}, {0, -29}, {1000, 1000}};
    static const rbe_image_shape shapes[] = {{1, 28, 28}, {2, 7, 33}, {1, 150, 20}};
    const rbe_image_shape s = shapes[_i];
    const size_t values = values_of(s);
    float *in = take(values), *out = take(values);
    rbe_warp_function *warps[3];
    fill_uniform(in, values, 4);
    for (size_t n = 0, count = warps_here(warps); n < count; n++)
        for (size_t m = 0; m < sizeof moves / sizeof *moves; m++) {
            const rbe_warp warp = {.matrix = {{1, 0}, {0, 1}}, .shift = {moves[m][0], moves[m][1]}, .bends = m % 2};
            run_warp(warps[n], s, &warp, in, out);
            for (size_t k = 0; k < values; k++) {
                const double row = (double)(k / s.width % s.height) + moves[m][1];
                const double column = (double)(k % s.width) + moves[m][0];
                const float *channel = in + k / (s.width * s.height) * (s.width * s.height);
                ck_assert_float_eq(out[k], (float)pixel_or_zero(channel, s, row, column));
            }
        }
    free(in);
    free(out);
}
END_TEST

static void fill_bell(float *image, double row, double column) {
    for (size_t k = 0; k < PIXELS; k++) {
        const double y = (double)(k / SIDE) - row, x = (double)(k % SIDE) - column;
        image[k] = (float)exp(-(x * x + y * y) / 18.0);
    }
}

/* A round bell (deviation 3) in the middle stays: bilinear interpolation errs by at most an eighth of both second
 * derivatives, 1/9 each. One beside the middle goes away, and comes back after four quarters of a turn. */
START_TEST(rotation) {
    float round[PIXELS], beside[PIXELS], out[PIXELS];
    fill_bell(round, 13.5, 13.5);
    fill_bell(beside, 13.5, 7.0);
    for (int degrees = 10; degrees < 360; degrees += 10) {
        const double t = degrees * 3.14159265358979 / 180.0;
        const rbe_warp turn = {.matrix = {{cos(t), -sin(t)}, {sin(t), cos(t)}}};
        run_warp(rbe_warp_here(), digit, &turn, round, out);
        ck_assert_float_lt(most_apart(round, out, PIXELS), 1.0f / 36.0f);
        run_warp(rbe_warp_here(), digit, &turn, beside, out);
        ck_assert_float_gt(most_apart(beside, out, PIXELS), 0.2f);
    }
    const rbe_warp quarter = {.matrix = {{0, -1}, {1, 0}}};
    memcpy(out, beside, sizeof out);
    for (int n = 0; n < 4; n++) run_warp(rbe_warp_here(), digit, &quarter, out, out);
    ck_assert_float_lt(most_apart(beside, out, PIXELS), 1e-6f);
}
END_TEST

START_TEST(linear_in_the_image) {
    const rbe_augment_options o = {.affine = 0.6, .elastic = 1.0, .seed = 4};
    float x[PIXELS], y[PIXELS], sum[PIXELS], out[3][PIXELS];
    fill_uniform(x, PIXELS, 5);
    fill_uniform(y, PIXELS, 6);
    for (size_t k = 0; k < PIXELS; k++) sum[k] = x[k] - 3.0f * y[k];
    for (size_t sample = 0; sample < 50; sample++) {
        ck_assert_ok(rbe_augment_images(&o, digit, 0, &sample, 1, x, out[0]));
        ck_assert_ok(rbe_augment_images(&o, digit, 0, &sample, 1, y, out[1]));
        ck_assert_ok(rbe_augment_images(&o, digit, 0, &sample, 1, sum, out[2]));
        for (size_t k = 0; k < PIXELS; k++) ck_assert_float_eq_tol(out[2][k], out[0][k] - 3.0f * out[1][k], 2e-6f);
    }
}
END_TEST

START_TEST(channels_move_together) {
    const rbe_augment_options o = {.affine = 0.6, .elastic = 1.0, .seed = 5};
    const rbe_image_shape one = {1, 19, 23}, three = {3, 19, 23};
    enum { CHANNEL = 19 * 23 };
    float in[3 * CHANNEL], together[3 * CHANNEL], alone[CHANNEL];
    fill_uniform(in, 3 * CHANNEL, 7);
    ck_assert_ok(rbe_augment_images(&o, three, 2, (size_t[]){9}, 1, in, together));
    for (size_t c = 0; c < 3; c++) {
        ck_assert_ok(rbe_augment_images(&o, one, 2, (size_t[]){9}, 1, in + c * CHANNEL, alone));
        ck_assert_mem_eq(together + c * CHANNEL, alone, sizeof alone);
    }
}
END_TEST

/* Values stay within those of the image and the zeros around it, however strange the map. */
START_TEST(no_strength_is_too_much) {
    static const double strengths[] = {20.0, 1e4, 1e9, 1e30, 1e300, 1.7e308};
    float in[PIXELS], out[PIXELS];
    fill_uniform(in, PIXELS, 8);
    for (size_t n = 0; n < 2 * sizeof strengths / sizeof *strengths; n++) {
        const rbe_augment_options o = {.affine = strengths[n / 2], .elastic = n % 2 ? strengths[n / 2] : 0.0};
        for (size_t sample = 0; sample < 20; sample++) {
            ck_assert_ok(rbe_augment_images(&o, digit, 0, &sample, 1, in, out));
            for (size_t k = 0; k < PIXELS; k++) ck_assert(out[k] >= 0.0f && out[k] <= 1.0f);
        }
    }
}
END_TEST

/* ---- what is drawn ----------------------------------------------------------------------------------------------- */

enum { DRAWS = 20000, PARAMETERS = 6 };

/* Angle, scales, shear, shifts in half widths, of a warp. */
static void parameters_of(const rbe_warp *w, double p[PARAMETERS]) {
    const double(*m)[2] = w->matrix;
    p[0] = atan2(m[1][0], m[0][0]);
    p[1] = hypot(m[0][0], m[1][0]);
    p[2] = (m[0][0] * m[1][1] - m[0][1] * m[1][0]) / p[1];
    p[3] = (cos(p[0]) * m[0][1] + sin(p[0]) * m[1][1]) / p[2];
    p[4] = w->shift[0] / 20.0;
    p[5] = w->shift[1] / 10.0;
}

static double uncorrelated(const double *a, const double *b, size_t count) {
    double product = 0, aa = 0, bb = 0;
    for (size_t n = 0; n < count; n++) {
        product += a[n] * b[n];
        aa += a[n] * a[n];
        bb += b[n] * b[n];
    }
    return fabs(product) /
           sqrt(aa * bb / (double)count); /* in standard deviations: sqrt(count) times the correlation */
}

/* Each uniform in its range, and independent of the others and of the sample before. Drawn once, from a fixed seed. */
START_TEST(the_map_is_uniform) {
    static const double middle[PARAMETERS] = {0, 1, 1, 0, 0, 0}, range[PARAMETERS] = {.25, .15, .15, .25, .12, .12};
    static double u[PARAMETERS][DRAWS];
    const rbe_augment_options o = {.affine = 0.8, .seed = 1234567};
    for (size_t n = 0; n < DRAWS; n++) {
        double p[PARAMETERS];
        const rbe_warp w = rbe_augment_draw(&o, (rbe_image_shape){1, 20, 40}, n / 100, n % 100);
        parameters_of(&w, p);
        ck_assert(!w.bends);
        for (int k = 0; k < PARAMETERS; k++) u[k][n] = (p[k] - middle[k]) / (0.8 * range[k]);
    }
    for (int k = 0; k < PARAMETERS; k++) {
        double sum = 0, squares = 0, tenths[10] = {0}, chi2 = 0;
        for (size_t n = 0; n < DRAWS; n++) {
            ck_assert_double_le(fabs(u[k][n]), 1.0 + 1e-12);
            sum += u[k][n];
            squares += u[k][n] * u[k][n];
            tenths[(int)fmin(9.0, 5.0 * (u[k][n] + 1.0))]++;
        }
        for (int t = 0; t < 10; t++) chi2 += pow(tenths[t] - DRAWS / 10.0, 2) / (DRAWS / 10.0);
        ck_assert_double_lt(fabs(sum / DRAWS), 4 * sqrt(1.0 / 3 / DRAWS));
        ck_assert_double_lt(fabs(squares / DRAWS - 1.0 / 3), 4 * sqrt(4.0 / 45 / DRAWS));
        ck_assert_double_lt(chi2, 30); /* 9 degrees of freedom: exceeded by chance once in 2000 */
        for (int other = 0; other < k; other++) ck_assert_double_lt(uncorrelated(u[k], u[other], DRAWS), 4);
        ck_assert_double_lt(uncorrelated(u[k], u[k] + 1, DRAWS - 1), 4);
        ck_assert_double_lt(uncorrelated(u[k], u[k] + 100, DRAWS - 100), 4); /* the epoch before */
    }
}
END_TEST

/* All nodes: mean, spread and fourth moment of a sum of eight uniform numbers, and neighbours have nothing in common. */
START_TEST(the_nodes_are_normal) {
    enum { SAMPLES = 2000, NODES = 36 };
    static double x[SAMPLES * NODES], y[SAMPLES * NODES];
    const rbe_augment_options o = {.elastic = 0.7, .seed = 99};
    for (size_t n = 0; n < SAMPLES; n++) {
        const rbe_warp w = rbe_augment_draw(&o, (rbe_image_shape){1, 20, 40}, 3, n);
        ck_assert(w.bends && w.matrix[0][0] == 1.0 && w.matrix[0][1] == 0.0 && w.shift[0] == 0.0);
        for (size_t k = 0; k < NODES; k++) {
            x[n * NODES + k] = (double)w.nodes[0][k / 6][k % 6] / (0.7 * 2 / 28 * 20);
            y[n * NODES + k] = (double)w.nodes[1][k / 6][k % 6] / (0.7 * 2 / 28 * 10);
        }
    }
    const double *const both[] = {x, y}, count = SAMPLES * NODES;
    for (int a = 0; a < 2; a++) {
        double sum = 0, squares = 0, fourth = 0, largest = 0;
        for (size_t n = 0; n < SAMPLES * NODES; n++) {
            sum += both[a][n];
            squares += pow(both[a][n], 2);
            fourth += pow(both[a][n], 4);
            largest = fmax(largest, fabs(both[a][n]));
        }
        ck_assert_double_lt(fabs(sum / count), 4 / sqrt(count));
        ck_assert_double_lt(fabs(squares / count - 1), 4 * sqrt(1.85 / count));
        ck_assert_double_eq_tol(fourth / count, 2.85, 0.1);
        ck_assert(largest > 3.5 && largest < 4.9);
        ck_assert_double_lt(uncorrelated(both[a], both[a] + 1, SAMPLES * NODES - 1), 4);
        ck_assert_double_lt(uncorrelated(both[a], both[a] + 6, SAMPLES * NODES - 6), 4);
        ck_assert_double_lt(uncorrelated(both[a], both[a] + NODES, SAMPLES * NODES - NODES), 4);
    }
    ck_assert_double_lt(uncorrelated(x, y, SAMPLES * NODES), 4);
}
END_TEST

/* Of one image: equal where all three are equal, else different. */
START_TEST(seed_epoch_and_sample_decide) {
    enum { EACH = 4, ALL = EACH * EACH * EACH };
    static const uint64_t seeds[EACH] = {0, 1, 2, UINT64_MAX};
    static float in[PIXELS], out[ALL][PIXELS], again[PIXELS];
    fill_uniform(in, PIXELS, 9);
    for (size_t n = 0; n < ALL; n++) {
        const rbe_augment_options o = {.affine = 0.1, .seed = seeds[n / 16]};
        const size_t sample = n % 4;
        ck_assert_ok(rbe_augment_images(&o, digit, n / 4 % 4, &sample, 1, in, out[n]));
        ck_assert_ok(rbe_augment_images(&o, digit, n / 4 % 4, &sample, 1, in, again));
        ck_assert_mem_eq(out[n], again, sizeof again);
        for (size_t other = 0; other < n; other++) ck_assert_int_ne(memcmp(out[n], out[other], sizeof again), 0);
    }
}
END_TEST

START_TEST(strengths_do_not_mix) {
    const rbe_warp affine = rbe_augment_draw(&(rbe_augment_options){.affine = 0.5}, digit, 1, 2);
    const rbe_warp elastic = rbe_augment_draw(&(rbe_augment_options){.elastic = 0.8}, digit, 1, 2);
    const rbe_warp both = rbe_augment_draw(&(rbe_augment_options){.affine = 0.5, .elastic = 0.8}, digit, 1, 2);
    ck_assert_mem_eq(both.matrix, affine.matrix, sizeof both.matrix);
    ck_assert_mem_eq(both.shift, affine.shift, sizeof both.shift);
    ck_assert_mem_eq(both.nodes, elastic.nodes, sizeof both.nodes);
}
END_TEST

Suite *augment_suite(void) {
    Suite *suite = suite_create("augment");
    TCase *exact = tcase_create("exact");
    tcase_add_loop_test(exact, as_the_reference, 0, CASES);
    tcase_add_loop_test(exact, instruction_sets_give_the_same_bits, 0, CASES);
    tcase_add_test(exact, zeros_change_nothing);
    tcase_add_loop_test(exact, whole_pixels_move_exactly, 0, 3);
    tcase_add_test(exact, rotation);
    tcase_add_test(exact, linear_in_the_image);
    tcase_add_test(exact, channels_move_together);
    tcase_add_test(exact, no_strength_is_too_much);
    suite_add_tcase(suite, exact);
    TCase *drawn = tcase_create("drawn");
    tcase_add_test(drawn, the_map_is_uniform);
    tcase_add_test(drawn, the_nodes_are_normal);
    tcase_add_test(drawn, seed_epoch_and_sample_decide);
    tcase_add_test(drawn, strengths_do_not_mix);
    suite_add_tcase(suite, drawn);
    suite_add_tcase(suite, augment_batches_case());
    suite_add_tcase(suite, augment_trainings_case());
    suite_add_tcase(suite, augment_misuse_case());
    return suite;
}
