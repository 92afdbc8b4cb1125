/* Compressing weights that exist: fits on activations, error targets, the choice of transforms, recompression, the
 * order of hidden units, threads. */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/blas.h"
#include "base/parallel.h"
#include "codec/solve.h"
#include "compress_support.h"
#include "reference.h"
#include "suites.h"
#include "support.h"

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
 * inputs, and a Gram matrix does as well as samples. */
START_TEST(activations_lower_the_error_of_outputs) {
    const size_t out = 70, in = 90, count = 400;
    float *w = normals(out * in, 1), *x = correlated(count, in, 2), *fresh = correlated(count, in, 5);
    float *bias = test_memory(out, sizeof *bias), *mean = test_memory(in, sizeof *mean);
    double *gram = test_memory(in * in, sizeof *gram), mean_difference;
    for (size_t n = 0; n < count; n++)
        for (size_t c = 0; c < in; c++) {
            mean[c] += x[n * in + c] / (float)count;
            for (size_t d = 0; d < in; d++)
                gram[c * in + d] += (double)x[n * in + c] * (double)x[n * in + d] / (double)count;
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
    options.gram = gram;
    options.mean = mean;
    rbe_blocks *by_gram = NULL;
    ck_assert_ok(rbe_compress_weights(&by_gram, bias, NULL, w, out, in, &options));
    float *fitted_too = decompressed(by_gram);
    const double same = output_error(x, count, w, fitted_too, bias, out, in, &mean_difference);
    ck_assert_double_eq_tol(same / after, 1.0, 0.01);
    ck_assert_double_lt(mean_difference, 1e-3);
    rbe_blocks_free(plain);
    rbe_blocks_free(blocks);
    rbe_blocks_free(by_gram);
    free(w);
    free(x);
    free(fresh);
    free(bias);
    free(mean);
    free(gram);
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
    double *gram = test_memory(in * in, sizeof *gram);
    ck_assert_ok(rbe_compress(&blocks, w, out, in, &(rbe_compress_options){.ratio = 4.0, .gram = gram}));
    rbe_blocks_free(blocks);

    static const struct {
        size_t count;
        bool samples, gram, nan;
        rbe_status status;
    } bad[] = {{1, true, false, false, RBE_INVALID_ARGUMENT},
               {4, false, false, false, RBE_INVALID_ARGUMENT},
               {4, true, true, false, RBE_INVALID_ARGUMENT},
               {4, true, false, true, RBE_NUMERICAL_INSTABILITY},
               {0, false, true, true, RBE_NUMERICAL_INSTABILITY}};
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        x[2 * in + 7] = gram[3 * in + 5] = bad[n].nan ? NAN : 0.0F;
        options = (rbe_compress_options){
            .samples = bad[n].samples ? x : NULL, .sample_count = bad[n].count, .gram = bad[n].gram ? gram : NULL};
        ck_assert_int_eq(rbe_compress_weights(&blocks, bias, NULL, w, out, in, &options), bad[n].status);
        ck_assert_ptr_null(blocks);
        if (bad[n].nan) {
            const char *place = bad[n].samples ? "sample 2, input 7" : "gram (3, 5)";
            ck_assert_msg(strstr(rbe_last_error(), place), "%s", rbe_last_error());
        }
    }
    free(gram);
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

typedef struct inner {
    const float *w;
    size_t n;
    rbe_blocks *blocks;
    rbe_status status;
} inner;

static void compress_inside(void *context, size_t task, size_t worker) {
    inner *of = context;
    (void)worker;
    if (task == 0) of->status = rbe_compress(&of->blocks, of->w, of->n, of->n, &(rbe_compress_options){.ratio = 16.0});
}

/* Inside a task there is one thread where four are asked for: the matrix is the same. */
START_TEST(fewer_threads_than_asked_for_change_nothing) {
    const size_t n = 256;
    float *w = normals(n * n, 1), *one, *several;
    ck_assert_ok(rbe_set_allocator(&(rbe_allocator){allocate_dirty, release_dirty, NULL}));
    ck_assert_ok(rbe_set_threads(1));
    rbe_blocks *blocks = compressed(w, n, n, &(rbe_compress_options){.ratio = 16.0});
    one = decompressed(blocks);
    rbe_blocks_free(blocks);
    ck_assert_ok(rbe_set_threads(4));
    inner of = {.w = w, .n = n};
    rbe_parallel(2, 2, compress_inside, &of);
    ck_assert_int_eq(of.status, RBE_OK);
    several = decompressed(of.blocks);
    rbe_blocks_free(of.blocks);
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
    ck_assert_uint_eq(rbe_blas_enter(1), 1);
    ck_assert_ok(rbe_cholesky(n, a, 1.0, diagonal));
    rbe_blas_leave(1);
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

/* Whatever uses OpenBLAS gives it back with the host program's number of threads [8]. */
START_TEST(openblas_keeps_its_threads) {
    enum { N = 32 };
    float *w = normals((size_t)N * N, 1);
    int before = openblas_get_num_threads();
    openblas_set_num_threads(2);
    int set = openblas_get_num_threads();
    makers[_i](w, N);
    ck_assert_int_eq(openblas_get_num_threads(), set);
    openblas_set_num_threads(before);
    free(w);
}
END_TEST

Suite *compress_suite(void) {
    Suite *suite = suite_create("compress");
    TCase *fit = tcase_create("fit"), *choice = tcase_create("choice"), *again = tcase_create("recompress");
    TCase *threads = tcase_create("threads");
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
    tcase_add_loop_test(threads, openblas_keeps_its_threads, 0, MAKERS);
    suite_add_tcase(suite, threads);
    return suite;
}
