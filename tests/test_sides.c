/* Biorthogonal wavelets, overlapping blocks, images: matrices whose coefficients are not those of plain orthonormal
 * blocks. */
#include <gsl/gsl_wavelet.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress_support.h"
#include "reference.h"
#include "suites.h"
#include "support.h"

/* ---- biorthogonal wavelets ----------------------------------------------------------------------------------- */

static const size_t members[] = {103, 105, 202, 204, 206, 208, 301, 303, 305, 307, 309};
enum { MEMBERS = sizeof members / sizeof *members };

static const rbe_transform *bspline(size_t member) {
    char name[16];
    snprintf(name, sizeof name, "bspline%zu", member);
    return rbe_transform_named(name);
}

START_TEST(bsplines_are_those_of_gsl_and_invert) {
    const rbe_transform *t = bspline(members[_i]);
    ck_assert_ptr_nonnull(t);
    ck_assert(!rbe_transform_is_orthonormal(t));
    for (size_t b = 8; b <= 256; b *= 2) {
        double *analysis = test_memory(b * b, sizeof *analysis), *synthesis = test_memory(b * b, sizeof *synthesis);
        ck_assert_ok(rbe_transform_analysis_matrix(t, b, analysis));
        ck_assert_ok(rbe_transform_matrix(t, b, synthesis));
        double worst = 0.0;
        for (size_t i = 0; i < b; i++)
            for (size_t j = 0; j < b; j++) {
                double dot = i == j ? -1.0 : 0.0;
                for (size_t c = 0; c < b; c++) dot += analysis[i * b + c] * synthesis[j * b + c];
                worst = fmax(worst, fabs(dot));
            }
        ck_assert_msg(worst < 1e-10, "%s, B = %zu: %g", rbe_transform_name(t), b, worst);

        gsl_wavelet *wavelet = gsl_wavelet_alloc(gsl_wavelet_bspline, members[_i]);
        gsl_wavelet_workspace *workspace = gsl_wavelet_workspace_alloc(b);
        double *forward = test_memory(b, sizeof *forward), *backward = test_memory(b, sizeof *backward);
        for (size_t n = 0; n < b; n++) { /* of unit impulses: columns of the one, rows of the other matrix */
            for (size_t k = 0; k < b; k++) forward[k] = backward[k] = k == n;
            gsl_wavelet_transform_forward(wavelet, forward, 1, b, workspace);
            gsl_wavelet_transform_inverse(wavelet, backward, 1, b, workspace);
            for (size_t k = 0; k < b; k++) {
                worst = fmax(worst, fabs(forward[k] - analysis[k * b + n]));
                worst = fmax(worst, fabs(backward[k] - synthesis[n * b + k]));
            }
        }
        ck_assert_msg(worst < 1e-9, "%s, B = %zu: %g from GSL", rbe_transform_name(t), b, worst);
        gsl_wavelet_workspace_free(workspace);
        gsl_wavelet_free(wavelet);
        free(forward);
        free(backward);
        free(analysis);
        free(synthesis);
    }
}
END_TEST

START_TEST(bsplines_compress) {
    const size_t out = 100, in = 130, b = 32;
    const rbe_transform *t = bspline(members[_i]);
    float *w = normals(out * in, 1), *even = smooth(128, 128, 0.5);
    ck_assert_double_lt(round_trip(w, out, in, &(rbe_compress_options){b, b * b, 0, t, t, .alpha = RBE_ALPHA_ON}),
                        1e-5);
    const double error = round_trip(even, 128, 128, &(rbe_compress_options){b, 128, 0, t, t, .group = 2});
    ck_assert_msg(error < 0.02, "%s: %g", rbe_transform_name(t), error);
    free(w);
    free(even);
}
END_TEST

/* ---- overlap and images -------------------------------------------------------------------------------------- */

static const struct {
    size_t out, in, block, overlap, height, width, group;
    const char *left, *right; /* NULL: the default */
    rbe_alpha_mode alpha;
} sides[] = {
    {64, 96, 16, 4, 0, 0, 1, NULL, NULL, RBE_ALPHA_ON},
    {50, 33, 16, 8, 0, 0, 3, "haar", "wht", RBE_ALPHA_AUTO},
    {7, 5, 8, 1, 0, 0, 1, NULL, NULL, RBE_ALPHA_AUTO},
    {129, 65, 32, 16, 0, 0, 16, NULL, "db4", RBE_ALPHA_ON},
    {9, 17, 8, 4, 0, 0, 2, "bspline202", "bspline103", RBE_ALPHA_ON},
    {40, 28 * 28, 16, 0, 28, 28, 2, NULL, NULL, RBE_ALPHA_AUTO},
    {33, 15 * 6, 16, 5, 15, 6, 1, NULL, NULL, RBE_ALPHA_ON},
    {20, 5 * 12, 8, 0, 5, 12, 1, "identity", "dct", RBE_ALPHA_OFF},
    {12, 31, 8, 0, 1, 31, 1, NULL, NULL, RBE_ALPHA_OFF},
};
enum { SIDES = sizeof sides / sizeof *sides };

static rbe_compress_options side_options(int i) {
    return (rbe_compress_options){.block = sides[i].block,
                                  .row_transform = sides[i].left ? rbe_transform_named(sides[i].left) : NULL,
                                  .column_transform = sides[i].right ? rbe_transform_named(sides[i].right) : NULL,
                                  .alpha = sides[i].alpha,
                                  .group = sides[i].group,
                                  .overlap = sides[i].overlap,
                                  .image_height = sides[i].height,
                                  .image_width = sides[i].width};
}

/* The maps lose nothing, the info names the true extents, and a bad one is refused. */
START_TEST(sides_come_back) {
    const size_t out = sides[_i].out, in = sides[_i].in, b = sides[_i].block;
    rbe_compress_options options = side_options(_i);
    options.coeffs = b * b;
    float *w = normals(out * in, 2);
    rbe_blocks *blocks = compressed(w, out, in, &options);
    const rbe_blocks_info info = rbe_blocks_describe(blocks);
    ck_assert(info.out == out && info.in == in && info.overlap == options.overlap);
    ck_assert(info.image_height == sides[_i].height && info.image_width == sides[_i].width);
    float *back = decompressed(blocks), *rows = test_memory(3 * in, sizeof *rows);
    ck_assert_double_lt(relative_difference(back, w, out * in), 1e-5);
    ck_assert_ok(rbe_decompress_rows(blocks, out - 3, 3, rows));
    ck_assert_double_lt(relative_difference(rows, w + (out - 3) * in, 3 * in), 1e-5);
    ck_assert_int_eq(rbe_decompress_rows(blocks, out - 3, 4, rows), RBE_INVALID_ARGUMENT);
    ck_assert_ok(rbe_blocks_check(blocks));
    rbe_blocks_free(blocks);
    free(rows);
    free(back);
    free(w);
}
END_TEST

START_TEST(bad_sides_are_refused) {
    static const rbe_compress_options bad[] = {
        {.block = 16, .overlap = 9},
        {.overlap = SIZE_MAX},
        {.image_height = 8},
        {.image_width = 64},
        {.image_height = 8, .image_width = 9},
        {.image_height = (size_t)1 << 32, .image_width = (size_t)1 << 32},
    };
    float *w = normals(64 * 64, 3);
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        rbe_blocks *blocks = (rbe_blocks *)w;
        ck_assert_int_eq(rbe_compress(&blocks, w, 64, 64, &bad[n]), RBE_INVALID_ARGUMENT);
        ck_assert_ptr_null(blocks);
    }
    free(w);
}
END_TEST

/* The layer against the dense matrix: Y, dX, db; and the coefficients' gradients against the change of <dY, Y>,
 * which is linear in each of them. */
START_TEST(layers_with_sides_are_dense_ones) {
    const size_t out = sides[_i].out, in = sides[_i].in, rows = 70;
    rbe_compress_options options = side_options(_i);
    options.ratio = 1.5;
    float *w = normals(out * in, 4), *bias = normals(out, 5);
    rbe_blocks *blocks = compressed(w, out, in, &options);
    float *dense = decompressed(blocks);
    rbe_layer *layer = rbe_linear_from_blocks(blocks, bias, out, &(rbe_linear_options){.use_cache = _i % 2});
    ck_assert_ptr_nonnull(layer);
    ck_assert(rbe_layer_inputs(layer) == in && rbe_layer_outputs(layer) == out);

    float *x = normals(rows * in, 6), *g = normals(rows * out, 7);
    float *y = test_memory(rows * out, sizeof *y), *dx = test_memory(rows * in, sizeof *dx);
    double *expected = dense_product(x, rows, dense, out, in), *expected_dx = test_memory(rows * in, sizeof(double));
    double *expected_bias = test_memory(out, sizeof(double));
    for (size_t n = 0; n < rows; n++)
        for (size_t r = 0; r < out; r++) {
            expected[n * out + r] += (double)bias[r];
            expected_bias[r] += (double)g[n * out + r];
            for (size_t c = 0; c < in; c++)
                expected_dx[n * in + c] += (double)g[n * out + r] * (double)dense[r * in + c];
        }
    const rbe_tensor batch = rbe_tensor_2d(x, rows, in);
    run_layer(layer, batch, NULL, y, NULL);
    ck_assert_double_lt(relative_error(y, expected, rows * out), 1e-5);
    run_layer(layer, batch, g, y, dx);
    ck_assert_double_lt(relative_error(y, expected, rows * out), 1e-5);
    ck_assert_double_lt(relative_error(dx, expected_dx, rows * in), 1e-5);
    ck_assert_double_lt(relative_error(layer_part(layer, "bias")->grad, expected_bias, out), 1e-5);
    run_layer(layer, batch, g, y, dx); /* gradients add up */
    for (size_t r = 0; r < out; r++) expected_bias[r] *= 2.0;
    ck_assert_double_lt(relative_error(layer_part(layer, "bias")->grad, expected_bias, out), 1e-5);

    static const char *const parts[] = {"coefficients", "alpha"};
    for (int part = 0; part < 2; part++) {
        rbe_param *param = layer_part(layer, parts[part]);
        if (!param) continue;
        double square = 0.0, worst = 0.0;
        for (size_t n = 0; n < param->count; n++) square += (double)param->grad[n] * (double)param->grad[n];
        for (size_t n = 0; n < param->count; n += param->count / 7 + 1) {
            const float before = param->value[n];
            double change = 0.0;
            for (int sign = -1; sign <= 1; sign += 2) {
                param->value[n] = before + (float)sign * 8.0F;
                run_layer(layer, batch, NULL, y, NULL);
                for (size_t k = 0; k < rows * out; k++) change += sign / 16.0 * (double)y[k] * (double)g[k];
            }
            param->value[n] = before;
            worst = fmax(worst, fabs(2.0 * change - (double)param->grad[n]));
        }
        ck_assert_double_lt(worst, 1e-3 * sqrt(square / (double)param->count));
    }
    rbe_layer_free(layer);
    free(w);
    free(bias);
    free(dense);
    free(x);
    free(g);
    free(y);
    free(dx);
    free(expected);
    free(expected_dx);
    free(expected_bias);
}
END_TEST

START_TEST(layers_with_sides_can_be_drawn) {
    const size_t out = sides[_i].out, in = sides[_i].in, rows = 5;
    rbe_linear_options options = {.block = sides[_i].block,
                                  .ratio = 2.0,
                                  .overlap = sides[_i].overlap,
                                  .image_height = sides[_i].height,
                                  .image_width = sides[_i].width,
                                  .group = sides[_i].group,
                                  .init_scale = 1.0,
                                  .seed = 9};
    rbe_layer *layer = rbe_linear_new(in, out, &options);
    ck_assert_ptr_nonnull(layer);
    const rbe_blocks_info info = rbe_blocks_describe(rbe_linear_blocks(layer));
    ck_assert_uint_le(info.coefficients + info.alphas, out * in / 2);
    float *w = decompressed(rbe_linear_blocks(layer)), *x = normals(rows * in, 1);
    float *y = test_memory(rows * out, sizeof *y);
    double variance = 0.0, *expected = dense_product(x, rows, w, out, in);
    for (size_t n = 0; n < out * in; n++) variance += (double)w[n] * (double)w[n] / (double)(out * in);
    if (out * in > 1000) ck_assert_double_eq_tol(variance * (double)in / 2.0, 1.0, 0.5);
    run_layer(layer, rbe_tensor_2d(x, rows, in), NULL, y, NULL);
    ck_assert_double_lt(relative_error(y, expected, rows * out), 1e-5);
    rbe_layer_free(layer);
    free(w);
    free(x);
    free(y);
    free(expected);
}
END_TEST

/* Weights that are blobs of pixels: smooth along both sides of the image, which rows of pixels by themselves hide.
 */
START_TEST(images_gather_their_energy) {
    const size_t out = 16, height = 28, width = 28, in = height * width;
    float *w = test_memory(out * in, sizeof *w);
    for (size_t r = 0; r < out; r++)
        for (size_t c = 0; c < in; c++) { /* blobs of pixels */
            const double v = (double)(c / width) - 6.0 - (double)r, h = (double)(c % width) - 20.0 + (double)r;
            w[r * in + c] = (float)exp(-(v * v + h * h) / 18.0);
        }
    const rbe_compress_options plain = {.block = 16, .ratio = 16.0, .alpha = RBE_ALPHA_OFF};
    rbe_compress_options image = plain;
    image.image_height = height;
    image.image_width = width;
    const double flat = round_trip(w, out, in, &plain), seen = round_trip(w, out, in, &image);
    ck_assert_msg(seen < 0.05 && seen < 0.1 * flat, "image %g, flat %g", seen, flat);
    free(w);
}
END_TEST

Suite *sides_suite(void) {
    Suite *suite = suite_create("sides");
    TCase *wavelets = tcase_create("bspline"), *maps = tcase_create("sides");
    tcase_add_loop_test(wavelets, bsplines_are_those_of_gsl_and_invert, 0, MEMBERS);
    tcase_add_loop_test(wavelets, bsplines_compress, 0, MEMBERS);
    suite_add_tcase(suite, wavelets);
    tcase_add_loop_test(maps, sides_come_back, 0, SIDES);
    tcase_add_test(maps, bad_sides_are_refused);
    tcase_add_loop_test(maps, layers_with_sides_are_dense_ones, 0, SIDES);
    tcase_add_loop_test(maps, layers_with_sides_can_be_drawn, 0, SIDES);
    tcase_add_test(maps, images_gather_their_energy);
    suite_add_tcase(suite, maps);
    return suite;
}
