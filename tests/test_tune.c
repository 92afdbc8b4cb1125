/* Block sizes: three matrices for which the right one is known, scores that never fall, what is refused. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "adapt_support.h"
#include "reference.h"
#include "suites.h"

/* ---- block size ---------------------------------------------------------------------------------------------- */

enum { SIDE = 128, SAMPLES = 40 };

/* A compressed layer of weights, in some block size. */
static rbe_layer *layer_of(const float *weights, size_t side, const rbe_compress_options *options) {
    rbe_blocks *blocks;
    require_ok(rbe_compress(&blocks, weights, side, side, options));
    rbe_layer *layer = rbe_linear_from_blocks(blocks, NULL, 0, &(rbe_linear_options){.name = "tuned"});
    ck_assert_msg(layer != NULL, "%s", rbe_last_error());
    return layer;
}

static void require_chosen(const rbe_layer *layer, const rbe_tune_report *report, size_t block) {
    const rbe_tune_candidate *chosen = &report->candidates[report->chosen];
    ck_assert_uint_eq(chosen->block, block);
    ck_assert_uint_eq(rbe_blocks_describe(rbe_linear_blocks(layer)).block, block);
    ck_assert_uint_eq(rbe_layer_describe_cost(layer).bytes, chosen->bytes);
    ck_assert_str_eq(rbe_layer_name(layer), "tuned");
    ck_assert_str_eq(rbe_layer_param(layer, 0)->name, "tuned.coefficients");
    for (size_t n = 0; n < report->count; n++) ck_assert_double_ge(chosen->score, report->candidates[n].score);
}

/* An atom of the cosine transform of `block` rows and columns at (row, column) of a SIDE x SIDE matrix. */
static void add_atom(float *w, size_t block, size_t row, size_t column, size_t i, size_t j) {
    const double pi = acos(-1.0);
    for (size_t r = 0; r < block; r++)
        for (size_t c = 0; c < block; c++)
            w[(row + r) * SIDE + column + c] +=
                (float)(cos(pi * (2.0 * (double)r + 1.0) * (double)i / (2.0 * (double)block)) *
                        cos(pi * (2.0 * (double)c + 1.0) * (double)j / (2.0 * (double)block)));
}

static const size_t tried[] = {16, 32, 128};

/* One wave in each of 32 scattered tiles of 16: 32 coefficients for B = 16, and many more for larger blocks; three
 * long waves over the whole matrix: three coefficients for B = 128, and some per block for smaller ones. */
START_TEST(test_block_size_by_structure) {
    static float w[SIDE * SIDE], x[SAMPLES * SIDE];
    bool local = _i == 0;
    memset(w, 0, sizeof w);
    for (size_t n = 0; local && n < 32; n++) add_atom(w, 16, n / 4 * 16, n * 5 % 8 * 16, 3 + n % 5, 2 + n % 7);
    for (size_t n = 0; !local && n < 3; n++) add_atom(w, SIDE, 0, 0, 2 + n, 5 - n);
    fill_normal(x, SAMPLES * SIDE, 1.0, 5);
    const double values = local ? 32.0 : 3.0;
    rbe_layer *layer = layer_of(
        w, SIDE,
        &(rbe_compress_options){.block = local ? 128 : 16, .ratio = SIDE * SIDE / values, .alpha = RBE_ALPHA_OFF});
    rbe_tune_report report;
    require_ok(rbe_optimize_block_size(
        layer, x, SAMPLES,
        &(rbe_tune_options){.blocks = tried, .block_count = 3, .accuracy = 1.0, .weights = w, .rounds = 1}, &report));
    require_chosen(layer, &report, local ? 16 : 128);
    ck_assert_uint_eq(report.count, 4);
    ck_assert_double_lt(report.candidates[report.chosen].error, 1e-5);
    ck_assert_double_gt(report.candidates[0].error, 0.1);
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *y = rbe_layer_forward(layer, rbe_input(tape, rbe_tensor_2d(x, SAMPLES, SIDE)));
    double *wide_w = widened(w, SIDE * SIDE), *wide_x = widened(x, SAMPLES * SIDE),
           *expected = test_memory(SAMPLES * SIDE, sizeof *expected);
    reference_forward(wide_w, NULL, wide_x, SAMPLES, SIDE, SIDE, expected);
    ck_assert_double_lt(relative_error(rbe_value(y)->data, expected, SAMPLES * SIDE), 1e-5);
    require_ok(rbe_backward(rbe_mean(rbe_mul(y, y)))); /* and it trains */
    free(wide_w);
    free(wide_x);
    free(expected);
    rbe_tape_free(tape);
    rbe_layer_free(layer);
}
END_TEST

/* A B-spline wavelet has no fast kernel: its transforms cost B operations per value, eight times more at 256. */
START_TEST(test_block_size_by_speed) {
    enum { WIDE = 512, ROWS_TIMED = 64 };
    float *w = test_memory(WIDE * WIDE, sizeof *w), *x = test_memory(ROWS_TIMED * WIDE, sizeof *x);
    fill_normal(w, WIDE * WIDE, 1.0, 1);
    fill_normal(x, ROWS_TIMED * WIDE, 1.0, 2);
    const rbe_transform *spline = rbe_transform_named("bspline309");
    rbe_layer *layer = layer_of(w, WIDE,
                                &(rbe_compress_options){.block = 256,
                                                        .group = 2,
                                                        .ratio = 64,
                                                        .row_transform = spline,
                                                        .column_transform = spline,
                                                        .alpha = RBE_ALPHA_OFF});
    static const size_t blocks[] = {32, 256};
    rbe_tune_report report;
    require_ok(rbe_optimize_block_size(layer, x, ROWS_TIMED,
                                       &(rbe_tune_options){.blocks = blocks, .block_count = 2, .speed = 1.0}, &report));
    require_chosen(layer, &report, 32);
    ck_assert_double_lt(report.candidates[1].seconds, report.candidates[0].seconds);
    free(w);
    free(x);
    rbe_layer_free(layer);
}
END_TEST

/* Whatever the layer: the score does not fall, and a layer that stays, stays as it is. */
START_TEST(test_block_size_is_never_worse) {
    static float x[SAMPLES * IN];
    fill_normal(x, SAMPLES * IN, 1.0, 4);
    static const size_t blocks[] = {8, 16, 64}, groups[] = {1, 4};
    const rbe_transform *const transforms[] = {rbe_transform_named("dct"), rbe_transform_named("haar")};
    for (uint64_t seed = 1; seed <= 4; seed++) {
        rbe_layer *layer =
            rbe_linear_new(IN, OUT, &(rbe_linear_options){.name = "tuned", .block = 16, .ratio = 4, .seed = seed});
        double *before = dense_matrix(rbe_linear_blocks(layer));
        rbe_tune_report report;
        require_ok(rbe_optimize_block_size(layer, x, SAMPLES,
                                           &(rbe_tune_options){.blocks = blocks,
                                                               .block_count = 3,
                                                               .groups = groups,
                                                               .group_count = 2,
                                                               .transforms = transforms,
                                                               .transform_count = 2,
                                                               .rounds = 3},
                                           &report));
        ck_assert_uint_gt(report.count, 8);
        ck_assert_double_lt(report.candidates[0].error, 1e-5);
        require_chosen(layer, &report, report.candidates[report.chosen].block);
        double *after = dense_matrix(rbe_linear_blocks(layer));
        if (report.chosen == 0) ck_assert_mem_eq(before, after, IN * OUT * sizeof *before);
        for (size_t n = 0; n < report.count; n++) {
            const rbe_tune_candidate *c = &report.candidates[n];
            ck_assert(c->memory_score > 0.0 && c->memory_score <= 1.0);
            ck_assert(c->speed_score > 0.0 && c->speed_score <= 1.0);
            ck_assert(c->accuracy_score >= 0.0 && c->accuracy_score <= 1.0);
            ck_assert_double_eq_tol(c->score, 0.3 * c->memory_score + 0.4 * c->speed_score + 0.3 * c->accuracy_score,
                                    1e-12);
        }
        free(before);
        free(after);
        rbe_layer_free(layer);
    }
}
END_TEST

START_TEST(test_block_size_refuses) {
    static float x[SAMPLES * IN];
    memset(x, 0, sizeof x);
    static const size_t bad[] = {24}, good[] = {16};
    static const rbe_tune_options refused[] = {
        {.blocks = bad, .block_count = 1},
        {.blocks = good, .block_count = 1, .memory = -1.0},
        {.blocks = good, .block_count = 1, .speed = NAN},
        {.blocks = good, .block_count = 1, .accuracy = INFINITY},
        {.blocks = good, .block_count = RBE_TUNE_MAX},
    };
    rbe_layer *layer = rbe_linear_new(IN, OUT, &usual), *dense = rbe_dense_new(IN, OUT, NULL);
    for (size_t n = 0; n < sizeof refused / sizeof *refused; n++)
        ck_assert_int_eq(rbe_optimize_block_size(layer, x, SAMPLES, &refused[n], NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_optimize_block_size(layer, x, 0, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_optimize_block_size(layer, NULL, SAMPLES, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_optimize_block_size(dense, x, SAMPLES, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_optimize_block_size(NULL, x, SAMPLES, NULL, NULL), RBE_INVALID_ARGUMENT);
    require_ok(rbe_optimize_block_size(layer, x, SAMPLES, &(rbe_tune_options){.blocks = good, .block_count = 1}, NULL));
    x[IN + 3] = NAN;
    ck_assert_int_eq(rbe_optimize_block_size(layer, x, SAMPLES, NULL, NULL), RBE_NUMERICAL_INSTABILITY);
    ck_assert_str_eq(rbe_last_error(), "block size: sample 1, input 3 is nan");
    rbe_layer_free(layer);
    rbe_layer_free(dense);
}
END_TEST

START_TEST(test_block_size_when_allocations_fail) {
    static float x[SAMPLES * IN];
    fill_normal(x, SAMPLES * IN, 1.0, 4);
    static const size_t blocks[] = {16};
    failing_allocator allocator;
    bool reached = true;
    for (size_t n = 1; reached; n++) {
        failing_allocator_install(&allocator, n);
        rbe_layer *layer = rbe_linear_new(IN, OUT, &usual);
        rbe_status status =
            layer ? rbe_optimize_block_size(layer, x, SAMPLES,
                                            &(rbe_tune_options){.blocks = blocks, .block_count = 1, .rounds = 1}, NULL)
                  : RBE_INSUFFICIENT_MEMORY;
        rbe_autotune_report report;
        if (status == RBE_OK) status = rbe_linear_autotune(layer, 4, &report);
        ck_assert_int_eq(status, allocator.requests >= n ? RBE_INSUFFICIENT_MEMORY : RBE_OK);
        if (layer && status != RBE_OK) { /* it is as it was */
            rbe_tape *tape = rbe_tape_new(NULL);
            rbe_var *y = rbe_layer_forward(layer, rbe_input(tape, rbe_tensor_2d(x, SAMPLES, IN)));
            require_ok(rbe_backward(rbe_mean(y)));
            rbe_tape_free(tape);
        }
        rbe_layer_free(layer);
        reached = failing_allocator_remove(&allocator);
    }
}
END_TEST

START_TEST(test_autotune) {
    rbe_layer *layer = rbe_linear_new(IN, OUT, &usual), *dense = rbe_dense_new(IN, OUT, NULL);
    rbe_autotune_report report;
    require_ok(rbe_linear_autotune(layer, 100, &report));
    ck_assert(report.seconds > 0.0 && report.dense_seconds > 0.0);
    ck_assert_int_eq(report.dense_is_faster, report.dense_seconds < report.seconds);
    ck_assert_int_eq(report.dense_is_faster, report.crossover == 0);
    ck_assert_uint_le(report.crossover, 100);
    ck_assert_int_eq(rbe_linear_autotune(layer, 0, &report), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_linear_autotune(layer, 4, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_linear_autotune(dense, 4, &report), RBE_INVALID_ARGUMENT);
    rbe_layer_free(layer);
    rbe_layer_free(dense);
}
END_TEST

/* ---- the suite ----------------------------------------------------------------------------------------------- */

Suite *tune_suite(void) {
    Suite *suite = suite_create("tune");
    TCase *tuning = tcase_create("tuning");
    tcase_add_loop_test(tuning, test_block_size_by_structure, 0, 2);
    tcase_add_test(tuning, test_block_size_by_speed);
    tcase_add_test(tuning, test_block_size_is_never_worse);
    tcase_add_test(tuning, test_block_size_refuses);
    tcase_add_test(tuning, test_block_size_when_allocations_fail);
    tcase_add_test(tuning, test_autotune);
    suite_add_tcase(suite, tuning);
    return suite;
}
