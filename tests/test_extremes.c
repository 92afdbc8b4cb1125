/* Sizes that cannot be multiplied and values that no float holds: compression, compressed layers, adaptation. */
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapt/spectrum.h"
#include "adapt_support.h"
#include "suites.h"

static const size_t wraps = (size_t)1 << 61; /* times 8 it is 0 */

/* ---- sizes [54] ---------------------------------------------------------------------------------------------- */

static float few[8 * 8]; /* what is not to be reached */

static rbe_status autotune_rows(void) {
    rbe_layer *layer = rbe_linear_new(8, 8, &(rbe_linear_options){.block = 8, .ratio = 2});
    rbe_autotune_report report;
    rbe_status status = rbe_linear_autotune(layer, wraps, &report);
    rbe_layer_free(layer);
    return status;
}

static rbe_status tune(size_t count, size_t rounds) {
    static const size_t blocks[] = {16};
    rbe_layer *layer = rbe_linear_new(8, 8, &(rbe_linear_options){.block = 8, .ratio = 2});
    rbe_status status = rbe_optimize_block_size(
        layer, few, count, &(rbe_tune_options){.blocks = blocks, .block_count = 1, .rounds = rounds}, NULL);
    rbe_layer_free(layer);
    return status;
}

static rbe_status tune_rounds(void) { return tune(8, (size_t)1 << 63); }
static rbe_status tune_all_rounds(void) { return tune(8, SIZE_MAX); }
static rbe_status tune_samples(void) { return tune(wraps, 1); }
static rbe_status tune_samples_of_blas(void) { return tune((size_t)INT_MAX + 1, 1); }

static rbe_status order_units(void) { return rbe_order_hidden_units(few, NULL, (size_t)1 << 32, 1, few, 1, NULL); }

static rbe_status order_inputs(void) { return rbe_order_hidden_units(few, NULL, 8, wraps, few, 1, NULL); }

static rbe_status compress_samples(size_t count) {
    rbe_blocks *blocks;
    rbe_status status =
        rbe_compress(&blocks, few, 8, 8, &(rbe_compress_options){.ratio = 2, .samples = few, .sample_count = count});
    rbe_blocks_free(blocks);
    return status;
}

static rbe_status wrapping_samples(void) { return compress_samples(wraps); }
static rbe_status samples_of_blas(void) { return compress_samples((size_t)INT_MAX + 1); }

static rbe_status spectrum_rows(void) {
    rbe_layer *layer = rbe_linear_new(8, 8, &(rbe_linear_options){.block = 8, .ratio = 2});
    rbe_arena arena = {0};
    rbe_spectrum spectrum;
    rbe_status status =
        rbe_spectrum_open(&spectrum, rbe_linear_blocks(layer), few, few, (size_t)INT_MAX + 1, false, &arena);
    rbe_arena_free(&arena);
    rbe_layer_free(layer);
    return status;
}

static rbe_status build(size_t out, size_t in, const rbe_block *source, size_t count) {
    rbe_blocks *blocks;
    rbe_status status = rbe_blocks_build(&blocks, out, in, source, count, &(rbe_compress_options){.block = 8});
    rbe_blocks_free(blocks);
    return status;
}

/* [72] One block, as the matrix has; what the caller says there is beside it would be read. */
static rbe_status build_of_many_blocks(void) { return build(8, 8, &(rbe_block){.count = 0}, (size_t)1 << 50); }

static rbe_status build_of_many_coefficients(void) {
    rbe_coefficient one = {0, 0, 1.0f};
    return build(8, 8, &(rbe_block){.coefficients = &one, .count = SIZE_MAX}, 1);
}

static rbe_status gradual_end(void) {
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_linear_new(8, 8, &(rbe_linear_options){.block = 8, .ratio = 2}));
    rbe_gradual *gradual = rbe_gradual_new(model, &(rbe_gradual_options){.final = 0.5, .end = SIZE_MAX});
    rbe_status status = gradual ? rbe_gradual_step(gradual, 7) : rbe_last_status();
    rbe_gradual_free(gradual);
    rbe_model_free(model);
    return status;
}

static rbe_status budget_widths(void) {
    size_t budgets[2];
    return rbe_budget_values((const rbe_layer_shape[]){{8, 8}, {SIZE_MAX - 8, 4}}, 2, 100, budgets);
}

static const struct size_case {
    rbe_status (*call)(void);
    rbe_status status;
    const char *text; /* a part of it */
} size_cases[] = {
    {autotune_rows, RBE_INSUFFICIENT_MEMORY, "more than can be addressed"},
    {tune_rounds, RBE_INSUFFICIENT_MEMORY, "more than can be addressed"},
    {tune_all_rounds, RBE_INSUFFICIENT_MEMORY, "more than can be addressed"},
    {tune_samples, RBE_INVALID_ARGUMENT, "at most 2147483647 samples, found 2305843009213693952"},
    {tune_samples_of_blas, RBE_INVALID_ARGUMENT, "at most 2147483647 samples, found 2147483648"},
    {order_units, RBE_INVALID_ARGUMENT, "extents of 1 .. 16777216, found 4294967296 x 1 and 1"},
    {order_inputs, RBE_INVALID_ARGUMENT, "extents of 1 .. 16777216, found 8 x 2305843009213693952 and 1"},
    {wrapping_samples, RBE_INVALID_ARGUMENT, "samples: expected at most 2147483647, found 2305843009213693952"},
    {samples_of_blas, RBE_INVALID_ARGUMENT, "samples: expected at most 2147483647, found 2147483648"},
    {spectrum_rows, RBE_INVALID_ARGUMENT, "at most 2147483647 rows, found 2147483648"},
    {build_of_many_blocks, RBE_INPUT_DIMENSION_MISMATCH, "1 x 1 blocks of 8, found 1125899906842624"},
    {build_of_many_coefficients, RBE_CORRUPTED_BLOCK, "block 0: promises 18446744073709551615 coefficients"},
    {gradual_end, RBE_INVALID_ARGUMENT, "an end of at most 9223372036854775807, found 18446744073709551615"},
    {budget_widths, RBE_INVALID_ARGUMENT, "the widths up to layer 1"},
};

enum { SIZE_CASES = sizeof size_cases / sizeof *size_cases };

START_TEST(test_sizes_are_refused) {
    const struct size_case *c = &size_cases[_i];
    rbe_status status = c->call();
    ck_assert_msg(status == c->status, "%s: %s", rbe_status_name(status), rbe_last_error());
    ck_assert_msg(strstr(rbe_last_error(), c->text), "%s", rbe_last_error());
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* The sum of the layers' values is no number of ours, but what they get is. */
START_TEST(test_budgets_of_wide_layers) {
    const size_t wide = (size_t)1 << 32;
    size_t budgets[2];
    require_ok(rbe_budget_values((const rbe_layer_shape[]){{wide, wide}, {1, 1}}, 2, 1000 * wide, budgets));
    ck_assert_uint_eq(budgets[1], 1);
    ck_assert_uint_eq(budgets[0], 1000 * wide - 1);
    require_ok(rbe_budget_values((const rbe_layer_shape[]){{784, 300}}, 1, SIZE_MAX, budgets));
    ck_assert_uint_eq(budgets[0], 784 * 300);
    require_ok(rbe_budget_values((const rbe_layer_shape[]){{wide, wide}}, 1, SIZE_MAX, budgets));
    ck_assert_uint_eq(budgets[0], SIZE_MAX);
}
END_TEST

static rbe_status as_many_bytes(void *user, size_t values, size_t *bytes) {
    size_t *calls = user;
    *bytes = values;
    return ++*calls < 100 ? RBE_OK : rbe_fail(RBE_STOPPED, "too many calls");
}

START_TEST(test_searches_reach_the_largest_size) {
    size_t calls = 0, values;
    require_ok(rbe_budget_fit(12345, 0, SIZE_MAX, as_many_bytes, &calls, &values));
    ck_assert_uint_eq(values, 12345);
    calls = 0;
    require_ok(rbe_budget_fit(SIZE_MAX, 0, SIZE_MAX, as_many_bytes, &calls, &values));
    ck_assert_uint_eq(values, SIZE_MAX);
    ck_assert_double_eq(rbe_prune_schedule(0.8, 10, 50, SIZE_MAX), 0.8);
    ck_assert_double_eq(rbe_prune_schedule(0.8, 10, SIZE_MAX, 9), 0.0);
    ck_assert_double_eq(rbe_prune_schedule(0.8, 0, SIZE_MAX, SIZE_MAX), 0.8);
}
END_TEST

/* [40] What was asked, and what would be accepted, which then is. */
START_TEST(test_a_layer_too_small_for_its_ratio) {
    static const struct {
        size_t in, out;
        rbe_linear_options options;
        double accepted; /* 0: none */
        const char *text;
    } cases[] = {
        {8, 1, {0}, 8.0, "a 1 x 8 matrix is too small for 16: 8 / 16 values leave no coefficients beside 0 alphas"},
        {7, 3, {.ratio = 30.0}, 21.0, "a 3 x 7 matrix is too small for 30: 21 / 30 values"},
        {8, 8, {.block = 8, .ratio = 8, .alpha = RBE_ALPHA_ON}, 7.11, "64 / 8 values leave no coefficients beside 8"},
        {2,
         4,
         {.ratio = 1.0, .alpha = RBE_ALPHA_ON},
         0.0,
         "its 8 values leave none beside 8 alphas; expected alpha off"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        rbe_linear_options options = cases[n].options;
        ck_assert_ptr_null(rbe_linear_new(cases[n].in, cases[n].out, &options));
        ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
        ck_assert_msg(strstr(rbe_last_error(), cases[n].text), "%s", rbe_last_error());
        if (cases[n].accepted == 0.0) continue;
        char most[32];
        snprintf(most, sizeof most, "expected at most %g", cases[n].accepted);
        ck_assert_msg(strstr(rbe_last_error(), most), "%s", rbe_last_error());
        options.ratio = cases[n].accepted;
        options.group = 1;
        rbe_layer *layer = rbe_linear_new(cases[n].in, cases[n].out, &options);
        ck_assert_msg(layer != NULL, "%s", rbe_last_error());
        rbe_layer_free(layer);
    }
}
END_TEST

/* ---- values that no float holds [66] ------------------------------------------------------------------------- */

START_TEST(test_alphas_too_large) {
    static const double large[] = {1e300, -1e300, 3.4e38, DBL_MAX};
    for (size_t n = 0; n < sizeof large / sizeof *large; n++) {
        rbe_block source[2] = {{.alpha = {1.0}}, {.alpha = {0.0}}};
        source[1].alpha[3] = large[n];
        ck_assert_int_eq(build(16, 8, source, 2), RBE_NUMERICAL_INSTABILITY);
        ck_assert_msg(strstr(rbe_last_error(), "block 1: alpha "), "%s", rbe_last_error());
        source[1].alpha[3] = copysign(1e30, large[n]);
        require_ok(build(16, 8, source, 2));
    }
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(test_init_scale_too_large) {
    static const double large[] = {1e300, DBL_MAX, 1e39};
    for (size_t n = 0; n < sizeof large / sizeof *large; n++) {
        ck_assert_ptr_null(rbe_linear_new(IN, OUT, &(rbe_linear_options){.init_scale = large[n]}));
        ck_assert_int_eq(rbe_last_status(), RBE_NUMERICAL_INSTABILITY);
        char value[32];
        snprintf(value, sizeof value, "init_scale: %g ", large[n]);
        ck_assert_msg(strstr(rbe_last_error(), value), "%s", rbe_last_error());
    }
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* The correction is the lost weights times the inputs' mean. */
START_TEST(test_bias_too_large) {
    enum { SIDE = 16, COUNT = 4 };
    static float w[SIDE * SIDE], x[COUNT * SIDE], bias[SIDE], before[SIDE];
    fill_normal(w, SIDE * SIDE, 1e10, 1);
    fill_normal(x, COUNT * SIDE, 1.0, 2);
    for (size_t n = 0; n < COUNT * SIDE; n++) x[n] += 1e35f;
    for (size_t n = 0; n < SIDE; n++) bias[n] = before[n] = 1.0f;
    rbe_blocks *blocks;
    rbe_status status =
        rbe_compress_weights(&blocks, bias, NULL, w, SIDE, SIDE,
                             &(rbe_compress_options){.block = 8, .ratio = 8, .samples = x, .sample_count = COUNT});
    ck_assert_msg(status == RBE_NUMERICAL_INSTABILITY, "%s", rbe_status_name(status));
    ck_assert_msg(strstr(rbe_last_error(), "bias 0, 1, would be corrected to"), "%s", rbe_last_error());
    ck_assert_ptr_null(blocks);
    ck_assert_mem_eq(bias, before, sizeof bias);
}
END_TEST

/* ---- the suite ----------------------------------------------------------------------------------------------- */

Suite *extremes_suite(void) {
    Suite *suite = suite_create("extremes");
    TCase *sizes = tcase_create("sizes");
    tcase_add_loop_test(sizes, test_sizes_are_refused, 0, SIZE_CASES);
    tcase_add_test(sizes, test_budgets_of_wide_layers);
    tcase_add_test(sizes, test_searches_reach_the_largest_size);
    tcase_add_test(sizes, test_a_layer_too_small_for_its_ratio);
    suite_add_tcase(suite, sizes);
    TCase *values = tcase_create("values");
    tcase_add_test(values, test_alphas_too_large);
    tcase_add_test(values, test_init_scale_too_large);
    tcase_add_test(values, test_bias_too_large);
    suite_add_tcase(suite, values);
    return suite;
}
