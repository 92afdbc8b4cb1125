/* Values in few bits: steps and whole numbers against their formula; training with them against exact values in double
 * precision, which a straight-through gradient moves; growth and pruning beside it; what is refused. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "adapt_support.h"
#include "base/bfloat.h"
#include "nn/bits.h"
#include "nn/param.h"
#include "reference.h"
#include "suites.h"

/* ---- steps and whole numbers --------------------------------------------------------------------------------- */

enum { DENSE_ROWS = 7, DENSE_WIDTH = 9 };

/* Rows of a dense matrix, or of the fixture's compressed one in groups of `group`. */
typedef struct subject {
    fixture f; /* compressed */
    rbe_rows rows;
    size_t count;
    size_t *row; /* of each value, by way of its place in S */
    float *values, *steps, *numbers;
} subject;

static void subject_init(subject *s, size_t group) {
    *s = (subject){.rows = {.count = DENSE_ROWS, .width = DENSE_WIDTH}, .count = DENSE_ROWS * DENSE_WIDTH};
    if (group > 0) {
        rbe_linear_options options = usual;
        options.group = group;
        fixture_init(&s->f, &options, rbe_sgd);
        s->rows = rbe_rows_of_blocks(s->f.layer->blocks);
        s->count = s->f.layer->blocks->value_count;
    }
    s->row = test_memory(s->count, sizeof *s->row);
    for (size_t n = 0; group == 0 && n < s->count; n++) s->row[n] = n / DENSE_WIDTH;
    const rbe_blocks *b = group > 0 ? s->f.layer->blocks : NULL;
    for (size_t p = 0; b && p < b->grid_rows; p++)
        for (size_t i = 0; i < b->block; i++) {
            const size_t list = p / b->group * b->block + i;
            for (size_t k = b->list_start[list]; k < b->list_start[list + 1]; k++)
                s->row[rbe_entry_value(b, p / b->group, k, p % b->group) - b->values] = p * b->block + i;
        }
    s->values = test_memory(s->count, sizeof *s->values);
    s->numbers = test_memory(s->count, sizeof *s->numbers);
    s->steps = test_memory(s->rows.count, sizeof *s->steps);
}

static void subject_free(subject *s) {
    if (s->f.model) fixture_free(&s->f);
    free(s->row);
    free(s->values);
    free(s->numbers);
    free(s->steps);
}

static const struct {
    size_t group; /* 0: dense */
    double scale; /* of the values */
} rows_cases[] = {{0, 1.0}, {1, 1.0}, {3, 1e-6}, {16, 1e30}, {3, 1e-36}, {0, 1e38}};

enum { ROWS_CASES = sizeof rows_cases / sizeof *rows_cases };

START_TEST(values_become_whole_steps) {
    subject s;
    subject_init(&s, rows_cases[_i].group);
    fill_normal(s.values, s.count, rows_cases[_i].scale, 5);
    for (size_t n = 0; n < s.count; n++) {
        if (s.row[n] % 5 == 2) s.values[n] = 0.0f; /* whole rows of zeros */
        if (n % 11 == 3) s.values[n] = -0.0f;
        s.values[n] = fmaxf(-3e38f, fminf(3e38f, s.values[n]));
    }
    for (unsigned bits = RBE_LEAST_BITS; bits <= RBE_MOST_BITS; bits++) {
        const float most = (float)rbe_most_steps(bits);
        ck_assert_uint_eq(rbe_quantise_steps(&s.rows, bits, s.values, s.steps), s.count);
        rbe_quantise(&s.rows, s.values, s.steps, s.numbers);
        float *largest = test_memory(s.rows.count, sizeof *largest);
        for (size_t n = 0; n < s.count; n++) largest[s.row[n]] = fmaxf(largest[s.row[n]], fabsf(s.values[n]));
        for (size_t row = 0; row < s.rows.count; row++) {
            if (s.steps[row] == 0.0f) ck_assert(largest[row] / most <= FLT_MIN);
            if (s.steps[row] == 0.0f) continue;
            ck_assert(s.steps[row] == rbe_bf16_to_f32(rbe_bf16_from_f32(largest[row] / most)));
            ck_assert(fabsf(s.steps[row] - largest[row] / most) <= largest[row] / most * 0x1p-8f);
        }
        for (size_t n = 0; n < s.count; n++) {
            const double step = s.steps[s.row[n]];
            if (step == 0.0) ck_assert(s.numbers[n] == 0.0f);
            if (step == 0.0) continue;
            ck_assert(s.numbers[n] == rintf(s.numbers[n]) && fabsf(s.numbers[n]) <= most);
            ck_assert(!(s.numbers[n] == 0.0f && signbit(s.numbers[n])));
            ck_assert(fabs(s.numbers[n] * step - s.values[n]) <= 0.5 * step * (1.0 + 1e-6));
        }
        free(largest);
    }
    subject_free(&s);
}
END_TEST

/* What is whole steps stays so: a file of trained values gives them back. */
START_TEST(whole_steps_stay) {
    subject s;
    subject_init(&s, rows_cases[_i].group);
    for (unsigned bits = RBE_LEAST_BITS; bits <= RBE_MOST_BITS; bits++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            fill_normal(s.values, s.count, rows_cases[_i].scale * pow(1.3, (double)seed), seed);
            for (size_t n = 0; n < s.count; n++) s.values[n] = fmaxf(-3e38f, fminf(3e38f, s.values[n]));
            ck_assert_uint_eq(rbe_quantise_steps(&s.rows, bits, s.values, s.steps), s.count);
            rbe_quantise(&s.rows, s.values, s.steps, s.values);
            rbe_dequantise(&s.rows, s.steps, s.values);
            float *before = test_memory(s.count, sizeof *before);
            memcpy(before, s.values, s.count * sizeof *before);
            ck_assert_uint_eq(rbe_quantise_steps(&s.rows, bits, s.values, s.steps), s.count);
            rbe_quantise(&s.rows, s.values, s.steps, s.values);
            rbe_dequantise(&s.rows, s.steps, s.values);
            ck_assert_mem_eq(before, s.values, s.count * sizeof *before);
            free(before);
        }
    subject_free(&s);
}
END_TEST

START_TEST(values_without_steps) {
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3.4e38f};
    subject s;
    subject_init(&s, rows_cases[_i].group);
    for (size_t n = 0; n < s.count; n += 13)
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            fill_normal(s.values, s.count, 1.0, 5);
            s.values[n] = bad[k];
            ck_assert_uint_eq(rbe_quantise_steps(&s.rows, 4, s.values, s.steps), n);
        }
    subject_free(&s);
}
END_TEST

/* ---- which parameters have bits ------------------------------------------------------------------------------ */

START_TEST(bits_of_a_layer) {
    rbe_layer *layers[] = {rbe_linear_new(IN, OUT, &usual), rbe_dense_new(IN, OUT, NULL),
                           rbe_layer_norm_new(IN, 0.0f, false, NULL), rbe_embedding_new(5, 8, 1, NULL)};
    for (size_t n = 0; n < sizeof layers / sizeof *layers; n++) {
        ck_assert_msg(layers[n] != NULL, "%s", rbe_last_error());
        const rbe_param *param;
        require_ok(rbe_layer_set_bits(layers[n], 3));
        for (size_t k = 0; (param = rbe_layer_param(layers[n], k)); k++) {
            const bool matrix =
                strcmp(param->part, "coefficients") == 0 || (strcmp(param->part, "weight") == 0 && n != 2);
            ck_assert_uint_eq(param->bits, matrix ? 3 : 8);
            const rbe_rows rows = rbe_param_rows(layers[n], param);
            const size_t expected = !matrix ? 1 : n == 0 ? 56 : n == 1 ? OUT : 5;
            ck_assert_uint_eq(rows.count, expected);
        }
        for (unsigned bits = 0; bits < 20; bits++) {
            const bool right = bits == 0 || (bits >= 2 && bits <= 8);
            ck_assert_int_eq(rbe_layer_set_bits(layers[n], bits), right ? RBE_OK : RBE_INVALID_ARGUMENT);
            if (!right) ck_assert_ptr_nonnull(strstr(rbe_last_error(), "expected 0 or 2 .. 8, found"));
        }
        ck_assert_uint_eq(rbe_layer_param(layers[n], 0)->bits, 8); /* refused ones change nothing */
        require_ok(rbe_layer_set_bits(layers[n], 0));
        for (size_t k = 0; (param = rbe_layer_param(layers[n], k)); k++) ck_assert_uint_eq(param->bits, 0);
        rbe_layer_free(layers[n]);
    }
    ck_assert_int_eq(rbe_layer_set_bits(NULL, 4), RBE_INVALID_ARGUMENT);
}
END_TEST

/* ---- training ------------------------------------------------------------------------------------------------ */

/* Like the fixture, but with a dense head. */
static void quantised_init(fixture *f, const rbe_optim_method *method, unsigned bits, unsigned head_bits) {
    fixture_data(f);
    f->model = rbe_model_new();
    rbe_model_add(f->model, rbe_linear_new(IN, OUT, &usual));
    rbe_model_apply(f->model, rbe_tanh);
    rbe_model_add(f->model, rbe_dense_new(OUT, CLASSES, &(rbe_dense_options){.seed = 2}));
    require_ok(rbe_model_status(f->model));
    f->optim = rbe_optim_new(method, f->model, &(rbe_optim_options){.lr = 1e-2f});
    f->tape = rbe_tape_new(NULL);
    f->layer = rbe_layer_as_linear(rbe_model_layer(f->model, 0));
    require_ok(rbe_layer_set_bits(rbe_model_layer(f->model, 0), bits));
    require_ok(rbe_layer_set_bits(rbe_model_layer(f->model, 1), head_bits));
}

/* All parameters that have bits hold whole steps. */
static void require_whole_steps(const rbe_model *model) {
    const rbe_layer *layer;
    const rbe_param *param;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++)
        for (size_t k = 0; (param = rbe_layer_param(layer, k)); k++) {
            if (param->bits == 0) continue;
            const rbe_rows rows = rbe_param_rows(layer, param);
            float *steps = test_memory(rows.count, sizeof *steps), *again = test_memory(param->count, sizeof *again);
            ck_assert_uint_eq(rbe_quantise_steps(&rows, param->bits, param->value, steps), param->count);
            rbe_quantise(&rows, param->value, steps, again);
            rbe_dequantise(&rows, steps, again);
            ck_assert_mem_eq(again, param->value, param->count * sizeof *again);
            free(steps);
            free(again);
        }
}

enum { FROM = 3, LONG = 40, MOST_PARAMS = 8 };

/* Gradients that do not depend on the values: the exact values are then known. */
START_TEST(exact_values_follow_the_gradients) {
    const unsigned bits[] = {2, 3, 4, 5, 6, 8};
    fixture f;
    quantised_init(&f, rbe_sgd, bits[_i], 4);
    rbe_quantiser *q = rbe_quantiser_new(f.model, FROM);
    ck_assert_msg(q != NULL, "%s", rbe_last_error());
    double *exact[MOST_PARAMS] = {0};
    rbe_param *param;
    for (size_t k = 0; (param = rbe_model_param(f.model, k)); k++) exact[k] = widened(param->value, param->count);
    for (size_t step = 0; step < LONG; step++) {
        for (size_t k = 0; (param = rbe_model_param(f.model, k)); k++) {
            fill_normal(param->grad, param->count, 1.0, 100 * step + k);
            param->grad_set = true;
            const double rate = 1e-2 * (double)param->lr_scale;
            for (size_t n = 0; n < param->count; n++) exact[k][n] -= rate * param->grad[n];
        }
        require_ok(rbe_optim_step(f.optim));
        require_ok(rbe_quantiser_step(q, step));
        for (size_t k = 0; (param = rbe_model_param(f.model, k)); k++) {
            const float *error = rbe_param_companion(param, "rounding");
            ck_assert_ptr_nonnull(error);
            for (size_t n = 0; n < param->count; n++) {
                const double found = (double)param->value[n] + error[n];
                ck_assert_msg(fabs(found - exact[k][n]) <= 1e-5 * (1.0 + fabs(exact[k][n])), "%s, step %zu: %g, %g",
                              param->name, step, found, exact[k][n]);
                if (step < FROM) ck_assert(error[n] == 0.0f);
            }
        }
        if (step >= FROM) require_whole_steps(f.model);
    }
    for (size_t k = 0; k < MOST_PARAMS; k++) free(exact[k]);
    rbe_quantiser_free(q);
    for (size_t k = 0; (param = rbe_model_param(f.model, k)); k++)
        ck_assert_ptr_null(rbe_param_companion(param, "rounding"));
    require_whole_steps(f.model);
    fixture_free(&f);
}
END_TEST

/* Steps of the optimiser that are each far below half a step of rounding add up. */
START_TEST(small_gradients_add_up) {
    fixture f;
    quantised_init(&f, rbe_sgd, 2, 2);
    rbe_quantiser *q = rbe_quantiser_new(f.model, 0);
    rbe_param *weight = rbe_layer_param(rbe_model_layer(f.model, 1), 0);
    weight->value[0] = 1.0f; /* the largest of its row: its step is 1 */
    for (size_t n = 1; n < OUT; n++) weight->value[n] = 0.0f;
    for (size_t step = 0; step < 60; step++) {
        memset(weight->grad, 0, weight->count * sizeof(float));
        weight->grad[1] = -1.0f;
        weight->grad_set = true;
        require_ok(rbe_optim_step(f.optim)); /* 0.01 to value 1 */
        require_ok(rbe_quantiser_step(q, step));
        ck_assert(weight->value[1] == (step + 1 > 50 ? 1.0f : 0.0f) || step + 1 == 50);
    }
    rbe_quantiser_free(q);
    fixture_free(&f);
}
END_TEST

/* Growth moves values, errors and averages together, pruning takes some away; what is trained learns. */
START_TEST(growth_and_pruning_beside_it) {
    fixture f;
    quantised_init(&f, rbe_adam, 3, 4);
    rbe_growth *growth = rbe_growth_new(f.model, &(rbe_growth_options){.steps = LONG, .every = 2});
    rbe_gradual *gradual =
        rbe_gradual_new(f.model, &(rbe_gradual_options){.final = 0.4, .begin = 2, .end = LONG - 2, .every = 3});
    rbe_quantiser *q = rbe_quantiser_new(f.model, FROM);
    rbe_var *loss =
        rbe_cross_entropy(rbe_model_forward(f.model, rbe_input(f.tape, rbe_tensor_2d(f.x, ROWS, IN))), f.labels);
    const float before = loss->value.data[0];
    rbe_tape_reset(f.tape);
    for (size_t step = 0; step < LONG; step++) {
        require_ok(train_step(&f));
        require_ok(rbe_gradual_step(gradual, step));
        snapshot old, now;
        snapshot_take(&old, f.layer);
        const size_t exchanges = rbe_growth_count(growth).exchanges;
        require_ok(rbe_growth_step(growth, step));
        if (rbe_growth_count(growth).exchanges > exchanges) { /* companions: two averages, then the errors */
            ck_assert_ptr_eq(*rbe_param_array(&f.layer->params[0], 4),
                             rbe_param_companion(&f.layer->params[0], "rounding"));
            snapshot_take(&now, f.layer);
            require_all_followed(&old, &now);
            snapshot_free(&now);
        }
        snapshot_free(&old);
        require_ok(rbe_quantiser_step(q, step));
        if (step >= FROM) require_whole_steps(f.model);
    }
    ck_assert_uint_gt(rbe_growth_count(growth).values, 0);
    loss = rbe_cross_entropy(rbe_model_forward(f.model, rbe_input(f.tape, rbe_tensor_2d(f.x, ROWS, IN))), f.labels);
    ck_assert(loss->value.data[0] < 0.5f * before);
    rbe_quantiser_free(q);
    rbe_gradual_free(gradual);
    rbe_growth_free(growth);
    fixture_free(&f);
}
END_TEST

/* ---- failures ------------------------------------------------------------------------------------------------ */

START_TEST(values_that_cannot_be_rounded) {
    fixture f;
    quantised_init(&f, rbe_sgd, 4, 4);
    rbe_quantiser *q = rbe_quantiser_new(f.model, 0);
    require_ok(rbe_quantiser_step(q, 0));
    rbe_param *first = rbe_model_param(f.model, 0);
    float *before = test_memory(first->count, sizeof *before), *error = rbe_param_companion(first, "rounding");
    first->value[5] = NAN;
    memcpy(before, first->value, first->count * sizeof *before);
    float kept = error[4];
    ck_assert_int_eq(rbe_quantiser_step(q, 1), RBE_NUMERICAL_INSTABILITY);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "coefficients: value 5 of"));
    ck_assert_mem_eq(before, first->value, first->count * sizeof *before);
    ck_assert(fabsf(error[4] - kept) <= 1e-6f);
    first->value[5] = 0.0f;
    error[5] = 0.0f;
    require_ok(rbe_quantiser_step(q, 1));
    require_whole_steps(f.model);
    free(before);
    rbe_quantiser_free(q);
    fixture_free(&f);
}
END_TEST

START_TEST(quantisers_that_cannot_be) {
    fixture f;
    quantised_init(&f, rbe_sgd, 0, 0);
    ck_assert_ptr_null(rbe_quantiser_new(f.model, 0));
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "no layer of the model has bits"));
    ck_assert_ptr_null(rbe_quantiser_new(NULL, 0));
    ck_assert_int_eq(rbe_quantiser_step(NULL, 0), RBE_INVALID_ARGUMENT);
    rbe_routine routine = rbe_quantiser_routine(NULL);
    ck_assert_int_eq(routine.step(routine.user, 0), RBE_INVALID_ARGUMENT);
    rbe_quantiser_free(NULL);
    fixture_free(&f);
}
END_TEST

static rbe_status make_and_round(void *user) {
    (void)user;
    rbe_layer *layer = rbe_dense_new(IN, OUT, NULL);
    if (!layer) return rbe_last_status();
    rbe_model *model = rbe_model_new();
    if (!model) {
        rbe_layer_free(layer);
        return rbe_last_status();
    }
    rbe_status status = rbe_model_add(model, layer);
    if (status == RBE_OK) status = rbe_layer_set_bits(rbe_model_layer(model, 0), 4);
    rbe_quantiser *q = status == RBE_OK ? rbe_quantiser_new(model, 0) : NULL;
    if (status == RBE_OK) status = q ? rbe_quantiser_step(q, 0) : rbe_last_status();
    if (status == RBE_OK) require_whole_steps(model);
    rbe_quantiser_free(q);
    rbe_model_free(model);
    return status;
}

/* Beside those of the model: the quantiser, two for each companion, and the steps of each parameter. */
START_TEST(allocations_that_fail) { ck_assert_uint_ge(fail_each_allocation(make_and_round, NULL), 4 + 7); }
END_TEST

Suite *quantise_suite(void) {
    Suite *suite = suite_create("quantise");
    TCase *codec = tcase_create("steps");
    tcase_add_loop_test(codec, values_become_whole_steps, 0, ROWS_CASES);
    tcase_add_loop_test(codec, whole_steps_stay, 0, ROWS_CASES);
    tcase_add_loop_test(codec, values_without_steps, 0, 3);
    tcase_add_test(codec, bits_of_a_layer);
    suite_add_tcase(suite, codec);
    TCase *training = tcase_create("training");
    tcase_add_loop_test(training, exact_values_follow_the_gradients, 0, 6);
    tcase_add_test(training, small_gradients_add_up);
    tcase_add_test(training, growth_and_pruning_beside_it);
    tcase_add_test(training, values_that_cannot_be_rounded);
    tcase_add_test(training, quantisers_that_cannot_be);
    tcase_add_test(training, allocations_that_fail);
    suite_add_tcase(suite, training);
    return suite;
}
