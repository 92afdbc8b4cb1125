/* What the compressed layer promises: products as exact as those of the dense matrix, in every transform, where the
 * matrix is smooth; bytes and peak memory of large layers; the theoretical error of random matrices. */
#include <math.h>
#include <stdlib.h>

#include "compress_support.h"
#include "reference.h"
#include "suites.h"
#include "support.h"

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

Suite *specification_suite(void) {
    Suite *suite = suite_create("specification");
    TCase *layer = tcase_create("layer");
    tcase_add_loop_test(layer, smooth_matrices_run_as_dense_ones, 0, SUITED);
    tcase_add_loop_test(layer, compressed_products_are_decompressed_ones, 0, 2);
    tcase_add_test(layer, large_layers_are_small);
    tcase_add_test(layer, random_matrices_have_the_error_of_theory);
    suite_add_tcase(suite, layer);
    return suite;
}
