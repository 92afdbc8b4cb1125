/* What a sensitivity is measured through, and what it was measured for: layers without parameters, dropout, positions
 * that change, batches that fail. Its values are checked against single samples by the suite of pruning. */
#include "adapt/sensitivity.h"

#include <stdlib.h>
#include <string.h>

#include "adapt_support.h"
#include "base/alloc.h"
#include "reference.h"
#include "suites.h"

/* ---- what stands between the layers -------------------------------------------------------------------------- */

/* A kind of layer without parameters, as another room might make one. */
static rbe_var *tanh_forward(const rbe_layer *layer, rbe_var *x) {
    (void)layer;
    return rbe_tanh(x);
}

static const rbe_layer_type tanh_type = {.kind = "tanh", .forward = tanh_forward};

static rbe_layer *tanh_layer(void) {
    rbe_layer *layer = rbe_alloc_zeroed(1, sizeof *layer);
    layer->type = &tanh_type;
    return layer;
}

static rbe_var *drop_half(rbe_var *x) { return rbe_dropout(x, 0.5f); }

static rbe_layer *compressed(size_t in, size_t out) {
    return rbe_linear_new(in, out, &(rbe_linear_options){.block = BLOCK, .ratio = 2, .seed = in});
}

enum { PLAIN, TANH_LAYER, TANH_OPERATION, DROPOUT_LAYER, DROPOUT_OPERATION };

static float x[ROWS * IN];
static int32_t classes[ROWS];

/* Squares of both layers of a model with something between them; returns how many. */
static size_t measure(int between, float *squares) {
    fill_normal(x, ROWS * IN, 1.0, 3);
    for (int32_t n = 0; n < ROWS; n++) classes[n] = n % CLASSES;
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, compressed(IN, OUT));
    if (between == TANH_LAYER) rbe_model_add(model, tanh_layer());
    if (between == TANH_OPERATION) rbe_model_apply(model, rbe_tanh);
    if (between == DROPOUT_LAYER) rbe_model_add(model, rbe_dropout_new(0.5f));
    if (between == DROPOUT_OPERATION) rbe_model_apply(model, drop_half);
    rbe_model_add(model, compressed(OUT, CLASSES));
    require_ok(rbe_model_status(model));
    rbe_sensitivity *s = rbe_sensitivity_new(model);
    require_ok(rbe_sensitivity_add(s, rbe_tensor_2d(x, ROWS, IN), classes));
    size_t count = 0;
    for (size_t n = 0; n < s->count; n++) {
        memcpy(squares + count, s->layers[n].squares, s->layers[n].value_count * sizeof *squares);
        count += s->layers[n].value_count;
    }
    rbe_sensitivity_free(s);
    rbe_model_free(model);
    return count;
}

/* [12] A layer without parameters is applied like any other; what drops values is not, be it a layer or within an
 * operation. */
START_TEST(test_sensitivity_passes_all_but_dropout) {
    static const int same[][2] = {{TANH_LAYER, TANH_OPERATION}, {DROPOUT_LAYER, PLAIN}, {DROPOUT_OPERATION, PLAIN}};
    float *found = test_memory(2 * IN * OUT, sizeof *found), *expected = test_memory(2 * IN * OUT, sizeof *expected);
    const size_t count = measure(same[_i][0], found);
    ck_assert_uint_eq(measure(same[_i][1], expected), count);
    ck_assert_mem_eq(found, expected, count * sizeof *found);
    if (_i == 0) { /* and tanh is not nothing */
        measure(PLAIN, expected);
        ck_assert_double_gt(relative_difference(found, expected, count), 0.1);
    }
    free(found);
    free(expected);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

static rbe_var *gives_null(rbe_var *value) {
    (void)value;
    return NULL;
}

static rbe_var *two_rows_in_one(rbe_var *value) {
    const rbe_tensor *v = rbe_value(value);
    return rbe_reshape(value, 2, (const size_t[]){rbe_tensor_rows(v) / 2, 2 * rbe_tensor_columns(v)});
}

/* [71] Operations of the caller's, here and in the refit of pruning. */
START_TEST(test_operations_are_checked) {
    const rbe_tensor samples = rbe_tensor_2d(x, 4, IN);
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, compressed(IN, OUT));
    rbe_model_apply(model, _i ? two_rows_in_one : gives_null);
    if (_i == 0) rbe_model_add(model, compressed(OUT, CLASSES));
    rbe_sensitivity *s = rbe_sensitivity_new(model);
    ck_assert_int_eq(rbe_sensitivity_add(s, samples, classes),
                     _i ? RBE_INPUT_DIMENSION_MISMATCH : RBE_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rbe_last_error(), _i ? "2 rows of outputs for 4 samples" : "place 2 of 3"), "%s",
                  rbe_last_error());
    ck_assert_uint_eq(rbe_sensitivity_samples(s), 0);
    if (_i == 0) {
        const size_t before = stored(model);
        const rbe_prune_options prune = {.amount = 0.5, .refit = &samples};
        ck_assert_int_eq(rbe_prune(model, &prune, NULL), RBE_INVALID_ARGUMENT);
        ck_assert_msg(strstr(rbe_last_error(), "place 2 of 3"), "%s", rbe_last_error());
        ck_assert_uint_eq(stored(model), before);
    }
    rbe_sensitivity_free(s);
    rbe_model_free(model);
}
END_TEST

/* ---- positions that change ----------------------------------------------------------------------------------- */

enum { GROWTH, ANOTHER_BLOCK_SIZE, PRUNING, TRAINING };

static void change_positions(fixture *f, int how) {
    static const size_t blocks[] = {16};
    if (how == ANOTHER_BLOCK_SIZE) {
        float *smooth = test_memory(IN * OUT, sizeof *smooth);
        for (size_t i = 0; i < IN * OUT; i++) smooth[i] = (float)(i % IN) * 0.1f;
        const rbe_tune_options tune = {
            .blocks = blocks, .block_count = 1, .accuracy = 1.0, .rounds = 1, .weights = smooth};
        require_ok(rbe_optimize_block_size(&f->layer->base, f->x, ROWS, &tune, NULL));
        ck_assert_uint_eq(f->layer->blocks->block, 16);
        free(smooth);
    }
    if (how == PRUNING) require_ok(rbe_prune(f->model, &(rbe_prune_options){.amount = 0.1}, NULL));
    if (how != GROWTH && how != TRAINING) return;
    rbe_growth *growth = rbe_growth_new(f->model, &(rbe_growth_options){.steps = 100, .every = 1});
    for (size_t step = 0; step < 3; step++) {
        require_ok(train_step(f));
        if (how == GROWTH) require_ok(rbe_growth_step(growth, step));
    }
    ck_assert((rbe_growth_count(growth).values > 0) == (how == GROWTH));
    rbe_growth_free(growth);
}

/* [65] A sensitivity is of the positions that it was measured at: as many others will not do. */
START_TEST(test_sensitivity_is_of_its_positions) {
    fixture f;
    rbe_linear_options options = usual;
    options.group = 1;
    options.alpha = RBE_ALPHA_OFF;
    fixture_init(&f, &options, rbe_adam);
    const rbe_tensor samples = rbe_tensor_2d(f.x, ROWS, IN);
    rbe_sensitivity *s = rbe_sensitivity_new(f.model);
    require_ok(rbe_sensitivity_add(s, samples, f.labels));
    change_positions(&f, _i);
    const size_t before = stored(f.model);
    const rbe_prune_options prune = {.score = RBE_PRUNE_FISHER, .amount = 0.5, .sensitivity = s};
    const rbe_status expected = _i == TRAINING ? RBE_OK : RBE_INVALID_ARGUMENT;
    ck_assert_int_eq(rbe_sensitivity_add(s, samples, f.labels), expected);
    ck_assert_int_eq(rbe_prune(f.model, &prune, NULL), expected);
    if (_i != TRAINING) {
        ck_assert_msg(strstr(rbe_last_error(), "fc1: its positions have changed"), "%s", rbe_last_error());
        ck_assert_uint_eq(stored(f.model), before);
    }
    rbe_sensitivity_free(s);
    fixture_free(&f);
}
END_TEST

/* ---- batches that fail --------------------------------------------------------------------------------------- */

/* So wide, and so many rows, that the first layer's backward pass, the last of all, needs memory of its own. */
enum { WIDE = 200, MANY = 400, FIRST_BATCH = 150 };

static float wide_x[MANY * WIDE];
static int32_t wide_classes[MANY];

static rbe_model *wide_model(void) {
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, compressed(WIDE, OUT));
    rbe_model_add(model, compressed(OUT, CLASSES));
    return model;
}

/* Adds two batches, again if that fails; returns how often it did. */
static size_t add_two_batches(rbe_sensitivity *s) {
    size_t failures = 0;
    for (size_t first = 0; first < MANY; first += first == 0 ? FIRST_BATCH : MANY) {
        const size_t rows = first == 0 ? FIRST_BATCH : MANY - FIRST_BATCH;
        const rbe_tensor samples = rbe_tensor_2d(wide_x + first * WIDE, rows, WIDE);
        if (rbe_sensitivity_add(s, samples, wide_classes + first) == RBE_OK) continue;
        ck_assert_int_eq(rbe_last_status(), RBE_INSUFFICIENT_MEMORY);
        ck_assert_uint_eq(rbe_sensitivity_samples(s), first);
        require_ok(rbe_sensitivity_add(s, samples, wide_classes + first));
        failures++;
    }
    return failures;
}

/* All sums of a sensitivity, one after the other; to be freed. */
static float *all_sums(const rbe_sensitivity *s, size_t *count) {
    float *sums = test_memory(4 * WIDE * OUT, sizeof *sums);
    *count = 0;
    for (size_t n = 0; n < s->count; n++) {
        const rbe_layer_sensitivity *l = &s->layers[n];
        memcpy(sums + *count, l->squares, l->value_count * sizeof *sums);
        memcpy(sums + *count + l->value_count, l->gradient, l->value_count * sizeof *sums);
        *count += 2 * l->value_count;
    }
    return sums;
}

/* Whichever request fails: a batch is added as a whole or not at all. */
START_TEST(test_failed_batches_add_nothing) {
    failing_allocator allocator;
    size_t failures = 0, count = 0;
    float *expected = NULL;
    bool reached = true;
    fill_normal(wide_x, MANY * WIDE, 1.0, 3);
    for (int32_t n = 0; n < MANY; n++) wide_classes[n] = n % CLASSES;
    for (size_t n = 0; n < 2 || reached; n++) { /* first none fails: that is what is expected */
        failing_allocator_install(&allocator, n);
        rbe_model *model = wide_model();
        rbe_sensitivity *s = rbe_sensitivity_new(model);
        if (s) {
            failures += add_two_batches(s);
            float *sums = all_sums(s, &count);
            if (!expected) expected = sums;
            ck_assert_mem_eq(sums, expected, count * sizeof *sums);
            if (sums != expected) free(sums);
        }
        rbe_sensitivity_free(s);
        rbe_model_free(model);
        reached = failing_allocator_remove(&allocator);
    }
    ck_assert_uint_gt(failures, 3);
    free(expected);
}
END_TEST

/* ---- the suite ----------------------------------------------------------------------------------------------- */

Suite *sensitivity_suite(void) {
    Suite *suite = suite_create("sensitivity");
    TCase *sensitivity = tcase_create("sensitivity");
    tcase_add_loop_test(sensitivity, test_sensitivity_passes_all_but_dropout, 0, 3);
    tcase_add_loop_test(sensitivity, test_operations_are_checked, 0, 2);
    tcase_add_loop_test(sensitivity, test_sensitivity_is_of_its_positions, 0, 4);
    tcase_add_test(sensitivity, test_failed_batches_add_nothing);
    suite_add_tcase(suite, sensitivity);
    return suite;
}
