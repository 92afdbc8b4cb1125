/* Prediction: what a tape gives, whatever the number of rows; in memory that does not grow with them; by several
 * threads at once; what is refused. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "rbe/train.h"
#include "suites.h"
#include "support.h"

enum { FEATURES = 40, OUTPUTS = 3, ROWS = 1000 };

static float x[ROWS * FEATURES];

/* Dropout does nothing here. */
static rbe_model *small_model(void) {
    fill_normal(x, ROWS * FEATURES, 1.0, 1);
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_linear_new(FEATURES, 32, &(rbe_linear_options){.block = 8, .ratio = 4, .seed = 1}));
    rbe_model_apply(model, rbe_gelu);
    rbe_model_add(model, rbe_dropout_new(0.5f));
    rbe_model_add(model, rbe_dense_new(32, OUTPUTS, &(rbe_dense_options){.seed = 2}));
    rbe_model_apply(model, rbe_tanh);
    ck_assert_msg(rbe_model_status(model) == RBE_OK, "%s", rbe_last_error());
    return model;
}

/* All rows at once, on a tape. */
static void by_tape(const rbe_model *model, size_t rows, float *y) {
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    const rbe_var *output = rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d(x, rows, FEATURES)));
    ck_assert_msg(rbe_tape_status(tape) == RBE_OK, "%s", rbe_tape_error(tape));
    memcpy(y, rbe_value(output)->data, rows * OUTPUTS * sizeof *y);
    rbe_tape_free(tape);
}

/* The same bits for a chunk; of several chunks the last may go through the kernels of small batches. */
START_TEST(predictions_are_those_of_a_tape) {
    static const size_t rows[] = {1, 2, 7, 100, 255, 256, 257, 512, 1000};
    rbe_model *model = small_model();
    static float y[(ROWS + 1) * OUTPUTS], expected[ROWS * OUTPUTS];
    for (size_t n = 0; n < sizeof y / sizeof *y; n++) y[n] = 77.0f;
    by_tape(model, rows[_i], expected);
    ck_assert_msg(rbe_predict(model, x, rows[_i], y) == RBE_OK, "%s", rbe_last_error());
    if (rows[_i] <= 256) ck_assert_mem_eq(y, expected, rows[_i] * OUTPUTS * sizeof *y);
    ck_assert_double_lt(relative_difference(y, expected, rows[_i] * OUTPUTS), 1e-6);
    ck_assert_float_eq(y[rows[_i] * OUTPUTS], 77.0f);
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

static size_t peak_of(const rbe_model *model, const float *inputs, size_t rows, float *y) {
    const size_t before = rbe_memory().current;
    rbe_memory_reset_peak();
    ck_assert_int_eq(rbe_predict(model, inputs, rows, y), RBE_OK);
    ck_assert_uint_eq(rbe_memory().current, before);
    return rbe_memory().peak - before;
}

START_TEST(memory_does_not_grow_with_the_rows) {
    rbe_model *model = small_model();
    enum { MANY = 20000 };
    float *many = malloc(MANY * FEATURES * sizeof *many), *y = malloc(MANY * OUTPUTS * sizeof *y);
    ck_assert(many && y);
    fill_normal(many, MANY * FEATURES, 1.0, 2);
    peak_of(model, many, 256, y); /* what lasts: buffers of the kernels */
    size_t chunk = peak_of(model, many, 256, y);
    ck_assert_uint_eq(peak_of(model, many, MANY, y), chunk);
    ck_assert_uint_lt(chunk, MANY * OUTPUTS * sizeof *y * 4);
    free(many);
    free(y);
    rbe_model_free(model);
}
END_TEST

/* A layer so wide that 256 rows of it would be 128 MiB: fewer rows are taken at a time. */
START_TEST(wide_layers_take_fewer_rows) {
    enum { WIDE = 65536 };
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_dense_new(1, WIDE, &(rbe_dense_options){.seed = 1}));
    rbe_model_add(model, rbe_dense_new(WIDE, 1, &(rbe_dense_options){.seed = 1}));
    float y[ROWS];
    fill_normal(x, ROWS, 1.0, 1);
    ck_assert_uint_lt(peak_of(model, x, ROWS, y), (size_t)20 << 20);
    for (int n = 0; n < ROWS; n++) ck_assert_float_eq_tol(y[n] / x[n], y[0] / x[0], 1e-3f); /* it is linear */
    rbe_model_free(model);
}
END_TEST

typedef struct caller {
    const rbe_model *model;
    float y[ROWS * OUTPUTS];
    rbe_status status;
} caller;

static void *call(void *context) {
    caller *c = context;
    for (int n = 0; n < 20 && c->status == RBE_OK; n++) c->status = rbe_predict(c->model, x, ROWS, c->y);
    return NULL;
}

START_TEST(threads_predict_at_once) {
    enum { THREADS = 4 };
    static caller callers[THREADS];
    static float expected[ROWS * OUTPUTS];
    rbe_model *model = small_model();
    ck_assert_int_eq(rbe_predict(model, x, ROWS, expected), RBE_OK);
    pthread_t threads[THREADS];
    for (int n = 0; n < THREADS; n++) {
        callers[n].model = model;
        ck_assert_int_eq(pthread_create(&threads[n], NULL, call, &callers[n]), 0);
    }
    for (int n = 0; n < THREADS; n++) {
        ck_assert_int_eq(pthread_join(threads[n], NULL), 0);
        ck_assert_int_eq(callers[n].status, RBE_OK);
        ck_assert_mem_eq(callers[n].y, expected, sizeof expected);
    }
    rbe_model_free(model);
}
END_TEST

/* ---- what is refused ----------------------------------------------------------------------------------------- */

static rbe_var *halves_the_rows(rbe_var *v) {
    const rbe_tensor *value = rbe_value(v);
    return rbe_reshape(v, 2, (const size_t[]){rbe_tensor_rows(value) / 2, 2 * rbe_tensor_columns(value)});
}

static rbe_var *gives_null(rbe_var *v) {
    (void)v;
    return NULL;
}

static const struct refusal {
    enum { GOOD, NONE, EMPTY, FAILED } model;
    rbe_var *(*operation)(rbe_var *); /* at the end */
    bool has_x, has_y;
    size_t rows;
    rbe_status status;
    const char *text;
} refusals[] = {
    {NONE, NULL, true, true, 2, RBE_INVALID_ARGUMENT, "the model is NULL"},
    {NONE, NULL, true, true, 0, RBE_INVALID_ARGUMENT, "the model is NULL"},
    {FAILED, NULL, true, true, 2, RBE_INPUT_DIMENSION_MISMATCH, "takes 5 columns"},
    {EMPTY, NULL, true, true, 2, RBE_INVALID_ARGUMENT, "no layer with widths"},
    {EMPTY, rbe_relu, true, true, 2, RBE_INVALID_ARGUMENT, "no layer with widths"},
    {GOOD, NULL, false, true, 2, RBE_INVALID_ARGUMENT, "the inputs are NULL"},
    {GOOD, NULL, true, false, 2, RBE_INVALID_ARGUMENT, "the outputs are NULL"},
    {GOOD, NULL, true, true, SIZE_MAX / 4, RBE_INVALID_ARGUMENT, "more than can be addressed"},
    {GOOD, halves_the_rows, true, true, 2, RBE_INPUT_DIMENSION_MISMATCH, "shape (2, 3), found (1, 6)"},
    {GOOD, rbe_mean, true, true, 2, RBE_INPUT_DIMENSION_MISMATCH, "shape (2, 3), found (1)"},
    {GOOD, gives_null, true, true, 2, RBE_INVALID_ARGUMENT, "found NULL"},
    {GOOD, NULL, false, false, 0, RBE_OK, ""},
};
#define REFUSALS (int)(sizeof refusals / sizeof *refusals)

START_TEST(refused) {
    const struct refusal *r = &refusals[_i];
    rbe_model *model = r->model == NONE ? NULL : r->model == EMPTY ? rbe_model_new() : small_model();
    if (r->model == FAILED) rbe_model_add(model, rbe_dense_new(5, 5, NULL));
    if (r->operation) ck_assert_int_eq(rbe_model_apply(model, r->operation), RBE_OK);
    float y[2 * OUTPUTS];
    rbe_fail(RBE_IO_ERROR, "an older failure");
    ck_assert_int_eq(rbe_predict(model, r->has_x ? x : NULL, r->rows, r->has_y ? y : NULL), r->status);
    if (r->status != RBE_OK) ck_assert_msg(strstr(rbe_last_error(), r->text), "%s", rbe_last_error());
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(values_must_be_finite) {
    rbe_model *model = small_model();
    static float y[ROWS * OUTPUTS];
    x[700 * FEATURES + 13] = _i ? INFINITY : NAN;
    ck_assert_int_eq(rbe_predict(model, x, ROWS, y), RBE_NUMERICAL_INSTABILITY);
    ck_assert_msg(strstr(rbe_last_error(), "row 700, column 13: expected a finite value"), "%s", rbe_last_error());
    x[700 * FEATURES + 13] = 0.0f;
    rbe_model_param(model, 2)->value[1] = NAN;
    ck_assert_int_eq(rbe_predict(model, x, ROWS, y), RBE_NUMERICAL_INSTABILITY);
    ck_assert_msg(strstr(rbe_last_error(), "rbe_predict: fc2"), "%s", rbe_last_error());
    rbe_model_param(model, 2)->value[1] = 0.0f;
    ck_assert_int_eq(rbe_predict(model, x, ROWS, y), RBE_OK);
    rbe_model_free(model);
}
END_TEST

START_TEST(every_allocation_may_fail) {
    bool reached = true;
    fill_normal(x, ROWS * FEATURES, 1.0, 1);
    for (size_t n = 1; reached; n++) {
        failing_allocator allocator;
        float y[2 * OUTPUTS];
        failing_allocator_install(&allocator, n);
        rbe_model *model = rbe_model_new();
        if (model) rbe_model_add(model, rbe_dense_new(FEATURES, OUTPUTS, NULL));
        rbe_status status = model ? rbe_predict(model, x, 2, y) : rbe_last_status();
        rbe_model_free(model);
        reached = failing_allocator_remove(&allocator);
        ck_assert(reached ? status != RBE_OK : status == RBE_OK);
        if (reached) ck_assert_msg(strstr(rbe_last_error(), "the allocator gave none"), "%s", rbe_last_error());
    }
}
END_TEST

Suite *predict_suite(void) {
    Suite *suite = suite_create("predict");
    TCase *outputs = tcase_create("outputs");
    tcase_add_loop_test(outputs, predictions_are_those_of_a_tape, 0, 9);
    tcase_add_test(outputs, threads_predict_at_once);
    suite_add_tcase(suite, outputs);
    TCase *memory = tcase_create("memory");
    tcase_add_test(memory, memory_does_not_grow_with_the_rows);
    tcase_add_test(memory, wide_layers_take_fewer_rows);
    tcase_add_test(memory, every_allocation_may_fail);
    suite_add_tcase(suite, memory);
    TCase *refusals_case = tcase_create("refused");
    tcase_add_loop_test(refusals_case, refused, 0, REFUSALS);
    tcase_add_loop_test(refusals_case, values_must_be_finite, 0, 2);
    suite_add_tcase(suite, refusals_case);
    return suite;
}
