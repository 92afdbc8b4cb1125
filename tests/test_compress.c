/* Compressing weights that exist: biorthogonal wavelets, overlap and images, fits on activations, error targets,
 * the choice of transforms, recompression, the order of hidden units; and what the layer promises for smooth, large
 * and random matrices. */
#include <cblas.h>
#include <gsl/gsl_wavelet.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/solve.h"
#include "reference.h"
#include "suites.h"
#include "support.h"

static rbe_blocks *compressed(const float *w, size_t out, size_t in, const rbe_compress_options *options) {
    rbe_blocks *blocks = NULL;
    ck_assert_ok(rbe_compress(&blocks, w, out, in, options));
    return blocks;
}

static float *decompressed(const rbe_blocks *blocks) {
    const rbe_blocks_info info = rbe_blocks_describe(blocks);
    float *w = test_memory(info.out * info.in, sizeof *w);
    ck_assert_ok(rbe_decompress(blocks, w));
    return w;
}

static double round_trip(const float *w, size_t out, size_t in, const rbe_compress_options *options) {
    rbe_blocks *blocks = compressed(w, out, in, options);
    float *back = decompressed(blocks);
    const double error = relative_difference(back, w, out * in);
    rbe_blocks_free(blocks);
    free(back);
    return error;
}

/* W[r][c] = exp(-((r/out - c/in) / width)^2 / 2) */
static float *smooth(size_t out, size_t in, double width) {
    float *w = test_memory(out * in, sizeof *w);
    for (size_t r = 0; r < out; r++)
        for (size_t c = 0; c < in; c++) {
            const double distance = ((double)r / (double)out - (double)c / (double)in) / width;
            w[r * in + c] = (float)exp(-0.5 * distance * distance);
        }
    return w;
}

/* X W^T in double precision. */
static double *dense_product(const float *x, size_t rows, const float *w, size_t out, size_t in) {
    double *y = test_memory(rows * out, sizeof *y);
    for (size_t n = 0; n < rows; n++)
        for (size_t r = 0; r < out; r++)
            for (size_t c = 0; c < in; c++) y[n * out + r] += (double)x[n * in + c] * (double)w[r * in + c];
    return y;
}

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
} axes[] = {
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
enum { AXES = sizeof axes / sizeof *axes };

static rbe_compress_options axis_options(int i) {
    return (rbe_compress_options){.block = axes[i].block,
                                  .row_transform = axes[i].left ? rbe_transform_named(axes[i].left) : NULL,
                                  .column_transform = axes[i].right ? rbe_transform_named(axes[i].right) : NULL,
                                  .alpha = axes[i].alpha,
                                  .group = axes[i].group,
                                  .overlap = axes[i].overlap,
                                  .image_height = axes[i].height,
                                  .image_width = axes[i].width};
}

/* The maps lose nothing, the info names the true extents, and a bad one is refused. */
START_TEST(axis_maps_come_back) {
    const size_t out = axes[_i].out, in = axes[_i].in, b = axes[_i].block;
    rbe_compress_options options = axis_options(_i);
    options.coeffs = b * b;
    float *w = normals(out * in, 2);
    rbe_blocks *blocks = compressed(w, out, in, &options);
    const rbe_blocks_info info = rbe_blocks_describe(blocks);
    ck_assert(info.out == out && info.in == in && info.overlap == options.overlap);
    ck_assert(info.image_height == axes[_i].height && info.image_width == axes[_i].width);
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

START_TEST(bad_axes_are_refused) {
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
START_TEST(layers_with_axis_maps_are_dense_ones) {
    const size_t out = axes[_i].out, in = axes[_i].in, rows = 70;
    rbe_compress_options options = axis_options(_i);
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

START_TEST(layers_with_axis_maps_can_be_drawn) {
    const size_t out = axes[_i].out, in = axes[_i].in, rows = 5;
    rbe_linear_options options = {.block = axes[_i].block,
                                  .ratio = 2.0,
                                  .overlap = axes[_i].overlap,
                                  .image_height = axes[_i].height,
                                  .image_width = axes[_i].width,
                                  .group = axes[_i].group,
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

/* ---- fits ---------------------------------------------------------------------------------------------------- */

/* Eight functions and coefficients anywhere, also where the two overlap: given the positions, both come back. */
START_TEST(alpha_and_coefficients_are_fitted_together) {
    const size_t b = 16, k = 12, blocks_wanted = 4;
    rbe_coefficient list[48];
    rbe_block source[4] = {{.count = 0}};
    rbe_rng *rng = rbe_rng_new(3, 0);
    for (size_t n = 0; n < blocks_wanted * k; n++) { /* even frequencies, where the functions have their energy */
        const float value = (float)(5.0 + rbe_rng_uniform(rng));
        list[n] = (rbe_coefficient){(uint16_t)(4 + 2 * (n % k % 4)), (uint16_t)(2 + 2 * (n % k / 4)),
                                    rbe_rng_below(rng, 2) ? value : -value};
    }
    for (size_t n = 0; n < blocks_wanted; n++) {
        source[n] = (rbe_block){.coefficients = &list[n * k], .count = k};
        for (int a = 0; a < RBE_BASIS_COUNT; a++) source[n].alpha[a] = rbe_rng_normal(rng);
    }
    rbe_compress_options options = {.block = b, .alpha = RBE_ALPHA_ON};
    rbe_blocks *blocks = NULL;
    ck_assert_ok(rbe_blocks_build(&blocks, 2 * b, 2 * b, source, blocks_wanted, &options));
    float *w = decompressed(blocks);
    options.coeffs = k;
    ck_assert_double_lt(round_trip(w, 2 * b, 2 * b, &options), 1e-5);
    rbe_blocks_free(blocks);
    rbe_rng_free(rng);
    free(w);
}
END_TEST

/* Inputs of a few directions and very different sizes, not centred. */
static float *correlated(size_t count, size_t in, uint64_t seed) {
    const size_t rank = 12;
    float *x = normals(count * in, seed), *directions = normals(rank * in, 99),
          *mixed = normals(count * rank, seed + 1);
    for (size_t n = 0; n < count; n++)
        for (size_t c = 0; c < in; c++) {
            x[n * in + c] = 0.05F * x[n * in + c] + 0.3F;
            for (size_t k = 0; k < rank; k++) x[n * in + c] += mixed[n * rank + k] * directions[k * in + c] / 4.0F;
        }
    free(directions);
    free(mixed);
    return x;
}

/* ||centred X (W - W')^T|| / ||centred X W^T||, and the largest difference of the mean outputs with the biases. */
static double output_error(const float *x, size_t count, const float *w, const float *found, const float *bias,
                           size_t out, size_t in, double *mean_difference) {
    double *expected = dense_product(x, count, w, out, in), *y = dense_product(x, count, found, out, in);
    double whole = 0.0, part = 0.0;
    *mean_difference = 0.0;
    for (size_t r = 0; r < out; r++) {
        double mean = 0.0, mean_found = 0.0;
        for (size_t n = 0; n < count; n++) {
            mean += expected[n * out + r] / (double)count;
            mean_found += y[n * out + r] / (double)count;
        }
        for (size_t n = 0; n < count; n++) {
            const double e = expected[n * out + r] - mean, f = y[n * out + r] - mean_found;
            whole += e * e;
            part += (e - f) * (e - f);
        }
        *mean_difference = fmax(*mean_difference, fabs(mean_found + (double)bias[r] - mean));
    }
    free(expected);
    free(y);
    return sqrt(part / whole);
}

static const rbe_compress_options fits[] = {
    {.block = 16, .ratio = 8.0, .alpha = RBE_ALPHA_OFF},
    {.block = 16, .ratio = 8.0, .alpha = RBE_ALPHA_ON, .group = 2},
    {.block = 32, .coeffs = 100},
    {.block = 16, .ratio = 6.0, .overlap = 4},
    {.block = 16, .ratio = 8.0, .image_height = 10, .image_width = 9},
};
enum { FITS = sizeof fits / sizeof *fits };

/* The fit lowers the error of the outputs far below that of the largest coefficients, keeps the mean, holds for new
 * inputs, and moments do as well as samples. */
START_TEST(activations_lower_the_error_of_outputs) {
    const size_t out = 70, in = 90, count = 400;
    float *w = normals(out * in, 1), *x = correlated(count, in, 2), *fresh = correlated(count, in, 5);
    float *bias = test_memory(out, sizeof *bias), *mean = test_memory(in, sizeof *mean);
    double *moments = test_memory(in * in, sizeof *moments), mean_difference;
    for (size_t n = 0; n < count; n++)
        for (size_t c = 0; c < in; c++) {
            mean[c] += x[n * in + c] / (float)count;
            for (size_t d = 0; d < in; d++)
                moments[c * in + d] += (double)x[n * in + c] * (double)x[n * in + d] / (double)count;
        }

    rbe_compress_options options = fits[_i];
    rbe_blocks *plain = compressed(w, out, in, &options), *blocks = NULL;
    float *plain_w = decompressed(plain);
    const double before = output_error(x, count, w, plain_w, bias, out, in, &mean_difference);

    options.samples = x;
    options.sample_count = count;
    rbe_compress_report report;
    ck_assert_ok(rbe_compress_weights(&blocks, bias, &report, w, out, in, &options));
    ck_assert_uint_eq(rbe_blocks_describe(blocks).coefficients, rbe_blocks_describe(plain).coefficients);
    float *fitted = decompressed(blocks);
    const double after = output_error(x, count, w, fitted, bias, out, in, &mean_difference);
    ck_assert_msg(after < 0.7 * before, "%g after %g", after, before);
    ck_assert_double_eq_tol(report.output_error, after, 1e-4);
    ck_assert_double_eq_tol(report.relative_error, relative_difference(fitted, w, out * in), 1e-5);
    ck_assert_double_lt(mean_difference, 1e-4);
    const double later = output_error(fresh, count, w, fitted, bias, out, in, &mean_difference);
    ck_assert_msg(later < 0.9 * before, "%g for new inputs, %g before", later, before);

    memset(bias, 0, out * sizeof *bias);
    options.samples = NULL;
    options.sample_count = 0;
    options.moments = moments;
    options.mean = mean;
    rbe_blocks *by_moments = NULL;
    ck_assert_ok(rbe_compress_weights(&by_moments, bias, NULL, w, out, in, &options));
    float *fitted_too = decompressed(by_moments);
    const double same = output_error(x, count, w, fitted_too, bias, out, in, &mean_difference);
    ck_assert_double_eq_tol(same / after, 1.0, 0.01);
    ck_assert_double_lt(mean_difference, 1e-3);
    rbe_blocks_free(plain);
    rbe_blocks_free(blocks);
    rbe_blocks_free(by_moments);
    free(w);
    free(x);
    free(fresh);
    free(bias);
    free(mean);
    free(moments);
    free(plain_w);
    free(fitted);
    free(fitted_too);
}
END_TEST

/* Inputs that are constant, all alike, or fewer than the coefficients of a row: a ridge answers, GSL's handler
 * never hears of it. Activations that say nothing or are not finite are refused. */
START_TEST(activations_may_be_poor_or_refused) {
    const size_t out = 40, in = 48;
    float *w = normals(out * in, 1), *x = normals(4 * in, 2), *bias = test_memory(out, sizeof *bias);
    rbe_blocks *blocks;
    rbe_compress_options options = {.block = 16, .ratio = 2.0, .samples = x};
    for (int kind = 0; kind < 3; kind++) {
        for (size_t n = 0; n < 4 * in; n++)
            x[n] = kind == 0 ? 0.0F : kind == 1 ? x[n % in] : (n % in < 40 ? x[n] : 1e-20F * x[n]);
        options.sample_count = 2 + (size_t)kind;
        ck_assert_ok(rbe_compress_weights(&blocks, bias, NULL, w, out, in, &options));
        ck_assert_ok(rbe_blocks_check(blocks));
        rbe_blocks_free(blocks);
    }
    double *moments = test_memory(in * in, sizeof *moments);
    ck_assert_ok(rbe_compress(&blocks, w, out, in, &(rbe_compress_options){.ratio = 4.0, .moments = moments}));
    rbe_blocks_free(blocks);

    static const struct {
        size_t count;
        bool samples, moments, nan;
        rbe_status status;
    } bad[] = {{1, true, false, false, RBE_INVALID_ARGUMENT},
               {4, false, false, false, RBE_INVALID_ARGUMENT},
               {4, true, true, false, RBE_INVALID_ARGUMENT},
               {4, true, false, true, RBE_NUMERICAL_INSTABILITY},
               {0, false, true, true, RBE_NUMERICAL_INSTABILITY}};
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        x[2 * in + 7] = moments[3 * in + 5] = bad[n].nan ? NAN : 0.0F;
        options = (rbe_compress_options){.samples = bad[n].samples ? x : NULL,
                                         .sample_count = bad[n].count,
                                         .moments = bad[n].moments ? moments : NULL};
        ck_assert_int_eq(rbe_compress_weights(&blocks, bias, NULL, w, out, in, &options), bad[n].status);
        ck_assert_ptr_null(blocks);
        if (bad[n].nan) {
            const char *place = bad[n].samples ? "sample 2, input 7" : "moment (3, 5)";
            ck_assert_msg(strstr(rbe_last_error(), place), "%s", rbe_last_error());
        }
    }
    free(moments);
    free(bias);
    free(w);
    free(x);
}
END_TEST

/* A matrix times a power of two keeps its positions and its errors, and has that multiple of its values, to the bit:
 * also where the squares of its values are no floats. */
START_TEST(scale_changes_nothing) {
    static const int exponents[] = {0, 85, -75}; /* 4e25, 3e-23 */
    const size_t out = 48, in = 64, samples = 100;
    float *w = normals(out * in, 1), *x = correlated(samples, in, 2), *scaled = test_memory(out * in, sizeof *scaled);
    for (int fitted = 0; fitted < 2; fitted++) {
        rbe_compress_options options = {.block = 16, .ratio = 6.0, .alpha = RBE_ALPHA_ON, .group = 2};
        if (fitted) {
            options.samples = x;
            options.sample_count = samples;
        }
        float *expected = NULL;
        rbe_compress_report report, first = {0};
        for (size_t e = 0; e < sizeof exponents / sizeof *exponents; e++) {
            for (size_t n = 0; n < out * in; n++) scaled[n] = ldexpf(w[n], exponents[e]);
            rbe_blocks *blocks;
            ck_assert_ok(rbe_compress_weights(&blocks, NULL, &report, scaled, out, in, &options));
            float *back = decompressed(blocks);
            rbe_blocks_free(blocks);
            if (e == 0) first = report;
            for (size_t n = 0; e > 0 && n < out * in; n++) ck_assert(back[n] == ldexpf(expected[n], exponents[e]));
            ck_assert_double_gt(report.relative_error, 0.1);
            ck_assert_double_eq(report.relative_error, first.relative_error);
            ck_assert_double_eq(report.output_error, first.output_error);
            ck_assert_double_eq(report.value_ratio, first.value_ratio);
            if (e > 0) free(back);
            if (e == 0) expected = back;
        }
        free(expected);
    }
    free(w);
    free(x);
    free(scaled);
}
END_TEST

START_TEST(coefficients_must_be_floats) {
    const size_t n = 64;
    float *w = test_memory(n * n, sizeof *w);
    for (size_t i = 0; i < n * n; i++) w[i] = 3e37F * (1.0F + 0.1F * (float)(i % 7));
    for (int alpha = RBE_ALPHA_ON; alpha <= RBE_ALPHA_OFF; alpha++) {
        rbe_blocks *blocks = (rbe_blocks *)w;
        const rbe_compress_options options = {.block = 64, .alpha = (rbe_alpha_mode)alpha};
        ck_assert_int_eq(rbe_compress(&blocks, w, n, n, &options), RBE_NUMERICAL_INSTABILITY);
        ck_assert_ptr_null(blocks);
    }
    free(w);
}
END_TEST

/* ---- targets and choices ------------------------------------------------------------------------------------- */

START_TEST(targets_take_the_least_budget) {
    const size_t out = 96, in = 128;
    float *w = smooth(out, in, 0.1), *x = correlated(300, in, 1);
    for (int fitted = 0; fitted < 2; fitted++) {
        rbe_compress_options options = {.block = 16, .target_error = 0.01, .alpha = RBE_ALPHA_OFF, .group = 2};
        if (fitted) {
            options.samples = x;
            options.sample_count = 300;
        }
        rbe_compress_report report, less;
        rbe_blocks *blocks, *smaller;
        ck_assert_ok(rbe_compress_weights(&blocks, NULL, &report, w, out, in, &options));
        ck_assert_double_le(fitted ? report.output_error : report.relative_error, 0.01);
        ck_assert_double_gt(report.byte_ratio, 1.0);
        ck_assert_double_eq_tol(report.snr, -20.0 * log10(report.relative_error), 1e-9);
        const size_t count = rbe_blocks_describe(blocks).coefficients;
        ck_assert_double_eq_tol(report.value_ratio, (double)(out * in) / (double)count, 1e-9);
        options.target_error = 0.0;
        options.ratio = (double)(out * in) / floor((double)count * 0.98 - 2.0);
        ck_assert_ok(rbe_compress_weights(&smaller, NULL, &less, w, out, in, &options));
        ck_assert_double_gt(fitted ? less.output_error : less.relative_error, 0.01);
        rbe_blocks_free(blocks);
        rbe_blocks_free(smaller);
    }
    free(w);
    free(x);
}
END_TEST

/* Eight alphas in a block of 64 values are more than the default budget, a sixteenth; so is any value of nine. */
START_TEST(targets_need_no_ratio) {
    static const struct {
        size_t n;
        rbe_alpha_mode alpha;
    } cases[] = {{64, RBE_ALPHA_ON}, {3, RBE_ALPHA_OFF}};
    for (size_t i = 0; i < 2; i++) {
        const size_t n = cases[i].n;
        float *w = smooth(n, n, 0.5);
        rbe_blocks *blocks;
        rbe_compress_report report;
        const rbe_compress_options options = {
            .block = 8, .alpha = cases[i].alpha, .target_error = 0.01, .min_compression = 1e-9};
        ck_assert_ok(rbe_compress_weights(&blocks, NULL, &report, w, n, n, &options));
        ck_assert_double_le(report.relative_error, 0.01);
        ck_assert(rbe_blocks_describe(blocks).has_alpha == (cases[i].alpha == RBE_ALPHA_ON));
        rbe_blocks_free(blocks);
        free(w);
    }
}
END_TEST

START_TEST(too_little_compression_is_refused) {
    const size_t n = 64;
    float *w = normals(n * n, 1);
    static const struct {
        rbe_compress_options options;
        rbe_status status;
        const char *text;
    } cases[] = {
        {{.target_error = 0.02}, RBE_INSUFFICIENT_COMPRESSION, "expected at least 1.000"},
        {{.target_error = 0.9, .min_compression = 100.0}, RBE_INSUFFICIENT_COMPRESSION, "expected at least 100.000"},
        {{.target_error = 1e-12}, RBE_INSUFFICIENT_COMPRESSION, "out of reach"},
        {{.ratio = 4.0, .min_compression = 3.9}, RBE_INSUFFICIENT_COMPRESSION, "expected at least 3.900"},
        {{.ratio = 4.0, .min_compression = 1.5}, RBE_OK, ""},
        {{.ratio = 1.0}, RBE_OK, ""}, /* nobody asked */
        {{.target_error = 0.5, .ratio = 4.0}, RBE_INVALID_ARGUMENT, "both"},
        {{.target_error = 0.5, .coeffs = 4}, RBE_INVALID_ARGUMENT, "both"},
        {{.target_error = 1.0}, RBE_INVALID_ARGUMENT, "target_error"},
        {{.target_error = NAN}, RBE_INVALID_ARGUMENT, "target_error"},
        {{.min_compression = -1.0}, RBE_INVALID_ARGUMENT, "min_compression"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rbe_blocks *blocks = (rbe_blocks *)w;
        const rbe_status status = rbe_compress(&blocks, w, n, n, &cases[i].options);
        ck_assert_msg(status == cases[i].status, "case %zu: %s", i, rbe_last_error());
        ck_assert((blocks != NULL) == (status == RBE_OK));
        if (status != RBE_OK) ck_assert_msg(strstr(rbe_last_error(), cases[i].text), "%s", rbe_last_error());
        rbe_blocks_free(blocks);
    }
    free(w);
}
END_TEST

/* A matrix that is sparse in a pair of transforms is recognised as such, on both axes or on the one that is open. */
START_TEST(adaptive_finds_the_transforms) {
    static const char *const names[] = {"dct", "haar", "db4", "wht", "identity"};
    const size_t b = 16, k = 20, count = 9;
    rbe_coefficient *list = test_memory(count * k, sizeof *list);
    rbe_block source[9];
    rbe_rng *rng = rbe_rng_new(4, 0);
    for (size_t n = 0; n < count * k; n++)
        list[n] =
            (rbe_coefficient){(uint16_t)(n % k * 5 % b), (uint16_t)(n % k / 2 + n / k % 3), (float)rbe_rng_normal(rng)};
    for (size_t n = 0; n < count; n++) source[n] = (rbe_block){.coefficients = &list[n * k], .count = k};
    const rbe_transform *left = rbe_transform_named(names[_i / 5]), *right = rbe_transform_named(names[_i % 5]);
    rbe_compress_options options = {
        .block = b, .alpha = RBE_ALPHA_OFF, .row_transform = left, .column_transform = right};
    rbe_blocks *blocks;
    ck_assert_ok(rbe_blocks_build(&blocks, 3 * b, 3 * b, source, count, &options));
    float *w = decompressed(blocks);
    rbe_blocks_free(blocks);
    for (int open = 0; open < 3; open++) { /* rows, columns, both */
        options = (rbe_compress_options){.block = b,
                                         .coeffs = k,
                                         .adaptive = true,
                                         .row_transform = open == 1 ? left : NULL,
                                         .column_transform = open == 0 ? right : NULL,
                                         .alpha = RBE_ALPHA_OFF};
        rbe_compress_report report;
        ck_assert_ok(rbe_compress_weights(&blocks, NULL, &report, w, 3 * b, 3 * b, &options));
        ck_assert_ptr_eq(report.row_transform, left);
        ck_assert_ptr_eq(report.column_transform, right);
        ck_assert_double_lt(report.relative_error, 1e-5);
        rbe_blocks_free(blocks);
        options.coeffs = 0;
        options.target_error = 1e-3;
        ck_assert_ok(rbe_compress_weights(&blocks, NULL, &report, w, 3 * b, 3 * b, &options));
        ck_assert_ptr_eq(report.row_transform, left);
        ck_assert_ptr_eq(report.column_transform, right);
        ck_assert_uint_le(rbe_blocks_describe(blocks).coefficients, count * k);
        rbe_blocks_free(blocks);
    }
    free(w);
    rbe_rng_free(rng);
    free(list);
}
END_TEST

/* ---- recompress ---------------------------------------------------------------------------------------------- */

static const rbe_compress_options second[] = {
    {.block = 8, .ratio = 20.0},
    {.block = 64, .coeffs = 200, .group = 2},
    {.block = 32, .ratio = 10.0, .overlap = 8},
    {.block = 16, .ratio = 10.0, .image_height = 16, .image_width = 12},
    {.block = 32, .target_error = 0.3},
};
enum { SECOND = sizeof second / sizeof *second };

START_TEST(recompressing_is_compressing_the_dense_matrix) {
    const size_t out = 150, in = 192;
    float *w = smooth(out, in, 0.05);
    for (int overlap = 0; overlap <= 8; overlap += 8) {
        const rbe_compress_options first = {.block = 32, .ratio = 8.0, .overlap = (size_t)overlap};
        rbe_blocks *source = compressed(w, out, in, &first), *expected, *found;
        float *dense = decompressed(source);
        rbe_compress_report report, expected_report;
        ck_assert_ok(rbe_compress_weights(&expected, NULL, &expected_report, dense, out, in, &second[_i]));
        ck_assert_ok(rbe_recompress(&found, NULL, &report, source, &second[_i]));
        float *a = decompressed(expected), *b = decompressed(found);
        ck_assert_double_eq(report.relative_error, expected_report.relative_error);
        ck_assert_mem_eq(a, b, out * in * sizeof *a);
        free(a);
        free(b);
        free(dense);
        rbe_blocks_free(source);
        rbe_blocks_free(expected);
        rbe_blocks_free(found);
    }
    rbe_blocks *blocks = (rbe_blocks *)w;
    ck_assert_int_eq(rbe_recompress(&blocks, NULL, NULL, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_null(blocks);
    free(w);
}
END_TEST

/* Shared positions, too, are found and filled a block row at a time. */
START_TEST(recompressing_never_holds_a_dense_matrix) {
    static const rbe_compress_options again[] = {
        {.block = 16, .ratio = 32.0}, {.block = 64, .ratio = 32.0, .group = 16}, {.block = 32, .target_error = 0.9}};
    const size_t n = 2048;
    rbe_blocks *source = random_blocks(n, n, 64, &(rbe_compress_options){.block = 32}, 1), *found;
    const size_t before = rbe_memory().current;
    rbe_memory_reset_peak();
    ck_assert_ok(rbe_recompress(&found, NULL, NULL, source, &again[_i]));
    const size_t most = rbe_memory().peak - before;
    ck_assert_msg(most < n * n * sizeof(float) / 2, "%zu bytes", most);
    rbe_blocks_free(source);
    rbe_blocks_free(found);
}
END_TEST

/* ---- the order of hidden units ------------------------------------------------------------------------------- */

START_TEST(ordered_networks_compute_the_same) {
    const size_t in = 20, hidden = 50, out = 7, rows = 9;
    float *w1 = normals(hidden * in, 1), *b1 = normals(hidden, 2), *w2 = normals(out * hidden, 3);
    float *x = normals(rows * in, 4);
    double *before = NULL, length[2] = {0.0, 0.0};
    size_t order[50];
    for (int ordered = 0; ordered < 2; ordered++) {
        if (ordered) ck_assert_ok(rbe_order_hidden_units(w1, b1, hidden, in, w2, out, order));
        double *h = dense_product(x, rows, w1, hidden, in);
        float *relu = test_memory(rows * hidden, sizeof *relu);
        for (size_t n = 0; n < rows * hidden; n++) relu[n] = fmaxf((float)h[n] + b1[n % hidden], 0.0F);
        double *y = dense_product(relu, rows, w2, out, hidden);
        for (size_t n = 0; ordered && n < rows * out; n++) ck_assert_double_eq_tol(y[n], before[n], 1e-5);
        for (size_t u = 1; u < hidden; u++) /* neighbours are nearer to each other than they were */
            for (size_t c = 0; c < in; c++) length[ordered] += pow(w1[u * in + c] - w1[(u - 1) * in + c], 2.0);
        free(before);
        before = y;
        free(h);
        free(relu);
    }
    ck_assert_double_lt(length[1], 0.8 * length[0]);
    bool seen[50] = {false};
    for (size_t u = 0; u < hidden; u++) {
        ck_assert(order[u] < hidden && !seen[order[u]]);
        seen[order[u]] = true;
    }
    ck_assert_uint_eq(order[0], 0);
    w1[3] = NAN; /* an order there is all the same */
    ck_assert_ok(rbe_order_hidden_units(w1, NULL, hidden, in, w2, out, NULL));
    ck_assert_int_eq(rbe_order_hidden_units(w1, NULL, 0, in, w2, out, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_order_hidden_units(NULL, NULL, 1, 1, w2, 1, NULL), RBE_INVALID_ARGUMENT);
    free(before);
    free(w1);
    free(b1);
    free(w2);
    free(x);
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------------------------- */

/* Memory that is anything but zero. */
static void *allocate_dirty(void *user, size_t bytes) {
    (void)user;
    void *memory = malloc(bytes);
    if (memory) memset(memory, 1, bytes);
    return memory;
}

static void release_dirty(void *user, void *memory) {
    (void)user;
    free(memory);
}

/* Within a parallel region OpenMP gives one thread where four are asked for: the matrix is the same. */
START_TEST(fewer_threads_than_asked_for_change_nothing) {
    const size_t n = 256;
    float *w = normals(n * n, 1), *one, *several;
    ck_assert_ok(rbe_set_allocator(&(rbe_allocator){allocate_dirty, release_dirty, NULL}));
    ck_assert_ok(rbe_set_threads(1));
    rbe_blocks *blocks = compressed(w, n, n, &(rbe_compress_options){.ratio = 16.0});
    one = decompressed(blocks);
    rbe_blocks_free(blocks);
    ck_assert_ok(rbe_set_threads(4));
    blocks = NULL;
    rbe_status status = RBE_OK;
#pragma omp parallel num_threads(2)
#pragma omp single
    status = rbe_compress(&blocks, w, n, n, &(rbe_compress_options){.ratio = 16.0});
    ck_assert_int_eq(status, RBE_OK);
    several = decompressed(blocks);
    rbe_blocks_free(blocks);
    ck_assert_mem_eq(several, one, n * n * sizeof *one);
    ck_assert_ok(rbe_set_allocator(NULL));
    free(w);
    free(one);
    free(several);
}
END_TEST

static void make_layer(const float *w, size_t n) {
    (void)w;
    rbe_layer_free(rbe_linear_new(n, n, NULL));
}

static void make_blocks(const float *w, size_t n) { rbe_blocks_free(compressed(w, n, n, NULL)); }

static void factor(const float *w, size_t n) {
    (void)w;
    double *a = test_memory(n * n, sizeof *a), *diagonal = test_memory(n, sizeof *diagonal);
    ck_assert_ok(rbe_cholesky(n, a, 1.0, diagonal));
    free(a);
    free(diagonal);
}

static void order_units(const float *w, size_t n) {
    float *a = test_memory(n * n, sizeof *a), *b = test_memory(n * n, sizeof *b);
    memcpy(a, w, n * n * sizeof *a);
    ck_assert_ok(rbe_order_hidden_units(a, NULL, n, n, b, n, NULL));
    free(a);
    free(b);
}

static void (*const makers[])(const float *w, size_t n) = {make_layer, make_blocks, factor, order_units};
enum { MAKERS = sizeof makers / sizeof *makers };

/* Whichever comes first in a program. Each of these runs in a process of its own, unless CK_FORK forbids it. */
START_TEST(openblas_has_one_thread) {
    const char *fork = getenv("CK_FORK");
    if (fork && strcmp(fork, "no") == 0) return;
    enum { N = 32 };
    float *w = normals((size_t)N * N, 1);
    openblas_set_num_threads(2);
    makers[_i](w, N);
    ck_assert_int_eq(openblas_get_num_threads(), 1);
    free(w);
}
END_TEST

/* ---- what the layer promises --------------------------------------------------------------------------------- */

static rbe_layer *layer_of(const float *w, size_t out, size_t in, const rbe_compress_options *options) {
    rbe_layer *layer = rbe_linear_from_blocks(compressed(w, out, in, options), NULL, 0, NULL);
    ck_assert_ptr_nonnull(layer);
    return layer;
}

/* The two shapes: forward with an input of (8, 64, 512), 512 -> 256, K = 256, and the gradient of an input of
 * (4, 32, 256), 256 -> 128, K = 200, both with B = 64. */
static const struct {
    size_t n0, n1, in, out, coeffs;
    bool backward;
} shapes[] = {{8, 64, 512, 256, 256, false}, {4, 32, 256, 128, 200, true}};

/* Runs a layer of the compressed W. The errors of its result against the product with W itself, and with W
 * decompressed. */
static void product_against_dense(int shape, const rbe_transform *t, const float *w, double *dense,
                                  double *decompressed_error) {
    const size_t in = shapes[shape].in, out = shapes[shape].out, rows = shapes[shape].n0 * shapes[shape].n1;
    const bool backward = shapes[shape].backward;
    const size_t width = backward ? in : out;
    float *x = normals(rows * in, 2), *g = normals(rows * out, 3);
    float *y = test_memory(rows * out, sizeof *y), *dx = test_memory(rows * in, sizeof *dx);
    const rbe_compress_options options = {64, shapes[shape].coeffs, .row_transform = t, .column_transform = t};
    rbe_layer *layer = layer_of(w, out, in, &options);
    float *again = decompressed(rbe_linear_blocks(layer)), *turned = test_memory(out * in, sizeof *turned);
    run_layer(layer, rbe_tensor_3d(x, shapes[shape].n0, shapes[shape].n1, in), backward ? g : NULL, y, dx);
    for (int k = 0; k < 2; k++) {
        const float *matrix = k ? again : w;
        for (size_t n = 0; n < out * in; n++) turned[n % in * out + n / in] = matrix[n];
        double *expected = backward ? dense_product(g, rows, turned, in, out) : dense_product(x, rows, matrix, out, in);
        *(k ? decompressed_error : dense) = relative_error(backward ? dx : y, expected, rows * width);
        free(expected);
    }
    rbe_layer_free(layer);
    free(x);
    free(g);
    free(y);
    free(dx);
    free(again);
    free(turned);
}

/* A smooth matrix runs as the dense one does in the transforms that suit it. The others need more coefficients:
 * their atoms have steps (haar, bspline103), or are so long that a block's ends, where a periodic wavelet sees a
 * jump, touch most of them. */
static const struct {
    const char *name;
    int shapes; /* that it suits: both, or only the first, where a block holds less of the curve */
} suited[] = {{"dct", 2},        {"db4", 2},        {"bspline202", 2}, {"bspline204", 2}, {"bspline206", 2},
              {"bspline208", 2}, {"bspline301", 2}, {"bspline303", 2}, {"bspline305", 2}, {"bspline307", 2},
              {"wht", 1},        {"db6", 1},        {"db8", 1},        {"db10", 1},       {"db12", 1}};
enum { SUITED = sizeof suited / sizeof *suited };

START_TEST(smooth_matrices_run_as_dense_ones) {
    for (int shape = 0; shape < suited[_i].shapes; shape++) {
        double dense, again;
        float *w = smooth(shapes[shape].out, shapes[shape].in, 0.3);
        product_against_dense(shape, rbe_transform_named(suited[_i].name), w, &dense, &again);
        ck_assert_msg(dense < 1e-3 && again < 1e-5, "%s, shape %d: %g, %g", suited[_i].name, shape, dense, again);
        free(w);
    }
}
END_TEST

/* Any matrix, in any transform: the compressed product is that of the decompressed matrix. */
START_TEST(compressed_products_are_decompressed_ones) {
    const rbe_transform *t;
    for (size_t n = 0; (t = rbe_transform_at(n)); n++) {
        double dense, again;
        float *w = normals(shapes[_i].out * shapes[_i].in, 1);
        product_against_dense(_i, t, w, &dense, &again);
        ck_assert_msg(again < 1e-5, "%s: %g", rbe_transform_name(t), again);
        free(w);
    }
}
END_TEST

/* Peak of the library's memory over weights and one inference with (16, 64) rows. */
static size_t inference_peak(rbe_layer *layer, const float *x, size_t in) {
    rbe_memory_reset_peak();
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    rbe_var *y = rbe_layer_forward(layer, rbe_input(tape, rbe_tensor_3d((float *)(uintptr_t)x, 16, 64, in)));
    ck_assert_ptr_nonnull(rbe_value(y)->data);
    rbe_tape_free(tape);
    const size_t peak = rbe_memory().peak;
    rbe_layer_free(layer);
    return peak;
}

/* 2048 x 2048 at B = 128, K = 400: more than 10 times smaller with all bytes, more than 70 % less at the peak. Of
 * the peak, the outputs belong to the caller in both cases: 8 MB here, as many as half of the dense weights. */
START_TEST(large_layers_are_small) {
    const size_t n = 2048, outputs = (size_t)16 * 64 * n * sizeof(float);
    float *w = normals(n * n, 1), *x = normals((size_t)16 * 64 * n, 2);
    const rbe_compress_options options = {.block = 128, .coeffs = 400};
    rbe_layer *layer = layer_of(w, n, n, &options);
    const rbe_layer_cost cost = rbe_layer_describe_cost(layer);
    ck_assert_uint_gt(cost.dense_bytes, 10 * cost.bytes);
    const size_t peak = inference_peak(layer, x, n);
    const size_t dense_peak = inference_peak(rbe_dense_from_weights(n, n, w, NULL, NULL), x, n);
    ck_assert_msg((double)(peak - outputs) < 0.3 * (double)(dense_peak - outputs), "%zu against %zu, %zu of outputs",
                  peak, dense_peak, outputs);
    free(w);
    free(x);
}
END_TEST

/* The energy that the largest fraction p of the coefficients of an i.i.d. Gaussian matrix holds. */
START_TEST(random_matrices_have_the_error_of_theory) {
    static const struct {
        double ratio, error;
    } facts[] = {{2.0, 0.2671}, {4.0, 0.5257}, {8.0, 0.7054}, {16.0, 0.8218}, {32.0, 0.8943}, {64.0, 0.9384}};
    float *w = normals((size_t)256 * 512, 1);
    for (size_t n = 0; n < sizeof facts / sizeof *facts; n++) {
        const rbe_compress_options options = {64, .ratio = facts[n].ratio, .alpha = RBE_ALPHA_OFF};
        ck_assert_double_eq_tol(round_trip(w, 256, 512, &options), facts[n].error, 0.005);
    }
    free(w);
}
END_TEST

Suite *compress_suite(void) {
    Suite *suite = suite_create("compress");
    TCase *wavelets = tcase_create("bspline"), *maps = tcase_create("axes"), *fit = tcase_create("fit");
    TCase *choice = tcase_create("choice"), *again = tcase_create("recompress"), *layer = tcase_create("layer");
    TCase *threads = tcase_create("threads");
    tcase_add_loop_test(wavelets, bsplines_are_those_of_gsl_and_invert, 0, MEMBERS);
    tcase_add_loop_test(wavelets, bsplines_compress, 0, MEMBERS);
    suite_add_tcase(suite, wavelets);
    tcase_add_loop_test(maps, axis_maps_come_back, 0, AXES);
    tcase_add_test(maps, bad_axes_are_refused);
    tcase_add_loop_test(maps, layers_with_axis_maps_are_dense_ones, 0, AXES);
    tcase_add_loop_test(maps, layers_with_axis_maps_can_be_drawn, 0, AXES);
    tcase_add_test(maps, images_gather_their_energy);
    suite_add_tcase(suite, maps);
    tcase_add_test(fit, alpha_and_coefficients_are_fitted_together);
    tcase_add_loop_test(fit, activations_lower_the_error_of_outputs, 0, FITS);
    tcase_add_test(fit, activations_may_be_poor_or_refused);
    tcase_add_test(fit, scale_changes_nothing);
    tcase_add_test(fit, coefficients_must_be_floats);
    suite_add_tcase(suite, fit);
    tcase_add_test(choice, targets_take_the_least_budget);
    tcase_add_test(choice, targets_need_no_ratio);
    tcase_add_test(choice, too_little_compression_is_refused);
    tcase_add_loop_test(choice, adaptive_finds_the_transforms, 0, 25);
    suite_add_tcase(suite, choice);
    tcase_add_loop_test(again, recompressing_is_compressing_the_dense_matrix, 0, SECOND);
    tcase_add_loop_test(again, recompressing_never_holds_a_dense_matrix, 0, 3);
    tcase_add_test(again, ordered_networks_compute_the_same);
    suite_add_tcase(suite, again);
    tcase_add_test(threads, fewer_threads_than_asked_for_change_nothing);
    tcase_add_loop_test(threads, openblas_has_one_thread, 0, MAKERS);
    suite_add_tcase(suite, threads);
    tcase_add_loop_test(layer, smooth_matrices_run_as_dense_ones, 0, SUITED);
    tcase_add_loop_test(layer, compressed_products_are_decompressed_ones, 0, 2);
    tcase_add_test(layer, large_layers_are_small);
    tcase_add_test(layer, random_matrices_have_the_error_of_theory);
    suite_add_tcase(suite, layer);
    return suite;
}
