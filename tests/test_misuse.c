/* What a model, an optimiser and a training are given that does not go together: a layer twice, an operation that
 * gives nothing, one output with a cross-entropy, an optimiser of something else, sizes that overflow. Each is refused
 * with a text, and what was given can be used afterwards. */
#include <math.h>
#include <string.h>

#include "rbe/train.h"
#include "reference.h"
#include "suites.h"
#include "support.h"

enum { FEATURES = 6, CLASSES = 3, SAMPLES = 20, BATCH = 8 };

static float values[SAMPLES * FEATURES];
static int32_t labels[SAMPLES];

/* Samples in arrays of our own. */
static rbe_dataset samples(void) {
    fill_normal(values, SAMPLES * FEATURES, 1.0, 1);
    for (int32_t n = 0; n < SAMPLES; n++) labels[n] = n % CLASSES;
    return (rbe_dataset){
        .count = SAMPLES, .features = FEATURES, .classes = CLASSES, .values = values, .labels = labels};
}

static rbe_layer *dense(size_t in, size_t out, const char *name) {
    rbe_layer *layer = rbe_dense_new(in, out, &(rbe_dense_options){.name = name, .seed = in + out});
    ck_assert_msg(layer != NULL, "%s", rbe_last_error());
    return layer;
}

#define ck_assert_fails(call, expected, text)                                                                          \
    do {                                                                                                               \
        rbe_fail(RBE_IO_ERROR, "an older failure");                                                                    \
        ck_assert_int_eq(call, expected);                                                                              \
        ck_assert_int_eq(rbe_last_status(), expected);                                                                 \
        ck_assert_msg(strstr(rbe_last_error(), text), "%s", rbe_last_error());                                         \
    } while (0)

/* Trains one epoch by an optimiser of its own. */
static rbe_status train(rbe_model *model, const rbe_dataset *data) {
    rbe_optim *optim = rbe_optim_new(rbe_sgd, model, NULL);
    rbe_status status = rbe_fit(model, optim, data, NULL, &(rbe_fit_options){.batch = BATCH}, NULL);
    rbe_optim_free(optim);
    return status;
}

/* ---- models -------------------------------------------------------------------------------------------------- */

/* [3] A layer belongs to one model: whoever adds it to another gets a status, and nothing has changed. In its own it may
 * have several places, and is counted and freed once. */
START_TEST(a_layer_belongs_to_one_model) {
    rbe_dataset data = samples();
    rbe_model *one = rbe_model_new(), *two = rbe_model_new();
    rbe_layer *first = dense(FEATURES, FEATURES, NULL), *second = dense(FEATURES, FEATURES, "middle");
    ck_assert_ok(rbe_model_add(one, first));
    ck_assert_ok(rbe_model_apply(one, rbe_relu));
    ck_assert_ok(rbe_model_add(one, second));
    ck_assert_ok(rbe_model_add(two, dense(FEATURES, CLASSES, NULL)));
    const rbe_layer_cost cost = rbe_model_describe_cost(one);
    ck_assert_ok(rbe_model_add(one, first));
    ck_assert_ok(rbe_model_add(one, second));
    ck_assert_fails(rbe_model_add(two, second), RBE_INVALID_ARGUMENT, "middle already belongs to another model");
    ck_assert_fails(rbe_model_add(NULL, second), RBE_INVALID_ARGUMENT, "middle already belongs to another model");
    rbe_layer_free(second); /* left to its model */
    ck_assert_ok(rbe_model_status(one));
    ck_assert_ok(rbe_model_status(two));
    ck_assert_ptr_null(rbe_model_layer(one, 2));
    ck_assert_ptr_null(rbe_model_layer(two, 1));
    ck_assert_uint_eq(rbe_model_describe_cost(one).values, cost.values);
    ck_assert_uint_eq(rbe_model_describe_cost(one).bytes, cost.bytes);
    ck_assert_ok(rbe_model_add(one, dense(FEATURES, CLASSES, NULL)));
    ck_assert_ok(train(one, &data));
    ck_assert_ok(train(two, &data));
    rbe_model_free(one);
    rbe_model_free(two);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* A model that has failed already takes over and frees what it is given, but not what another model owns. */
START_TEST(a_failed_model_takes_no_layer_of_another) {
    rbe_model *good = rbe_model_new(), *failed = rbe_model_new();
    rbe_layer *layer = dense(FEATURES, CLASSES, NULL);
    ck_assert_ok(rbe_model_add(good, layer));
    rbe_model_add(failed, NULL);
    ck_assert_int_eq(rbe_model_add(failed, layer), RBE_INVALID_ARGUMENT);
    rbe_dataset data = samples();
    ck_assert_ok(train(good, &data));
    rbe_model_free(failed);
    ck_assert_ok(train(good, &data));
    rbe_model_free(good);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

static rbe_tape *other_tape;

static rbe_var *gives_null(rbe_var *x) {
    (void)x;
    return NULL;
}

static rbe_var *gives_another_tapes(rbe_var *x) { return rbe_input(other_tape, *rbe_value(x)); }

static rbe_var *halves_the_rows(rbe_var *x) {
    const rbe_tensor *v = rbe_value(x);
    return rbe_reshape(x, 2, (const size_t[]){rbe_tensor_rows(v) / 2, 2 * rbe_tensor_columns(v)});
}

static rbe_var *gives_one_value(rbe_var *x) { return rbe_mean(x); }

static const struct operation_case {
    rbe_var *(*operation)(rbe_var *x);
    rbe_status status;
    const char *text, *found;
} operation_cases[] = {
    {gives_null, RBE_INVALID_ARGUMENT, "place 2 of 3", "found NULL"},
    {gives_another_tapes, RBE_INVALID_ARGUMENT, "place 2 of 3", "found one of another tape"},
    {halves_the_rows, RBE_INPUT_DIMENSION_MISMATCH, "4 rows of outputs for 8 samples", ""},
    {gives_one_value, RBE_INPUT_DIMENSION_MISMATCH, "1 rows of outputs for 8 samples", ""},
};

/* [71] An operation of the caller's that gives no variable, or not a row for each sample: labels are not read by what
 * it gave, and the text is its own. */
START_TEST(operations_are_checked) {
    const struct operation_case *c = &operation_cases[_i];
    rbe_dataset data = samples();
    other_tape = rbe_tape_new(NULL);
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, dense(FEATURES, CLASSES, NULL));
    rbe_model_apply(model, c->operation);
    rbe_model_apply(model, rbe_tanh);
    ck_assert_ok(rbe_model_status(model));
    rbe_evaluation e = {.count = 77};
    ck_assert_fails(rbe_evaluate(model, &data, BATCH, &e), c->status, c->text);
    ck_assert_msg(strstr(rbe_last_error(), c->found), "%s", rbe_last_error());
    ck_assert_uint_eq(e.count, 77);
    ck_assert_fails(train(model, &data), c->status, c->text);
    if (c->status == RBE_INVALID_ARGUMENT) { /* on a tape of one's own too */
        rbe_tape *tape = rbe_tape_new(NULL);
        rbe_var *y = rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d(values, BATCH, FEATURES)));
        ck_assert_fails(rbe_backward(rbe_mean(y)), c->status, c->text);
        rbe_tape_free(tape);
    }
    rbe_tape_free(other_tape);
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* ---- one output ---------------------------------------------------------------------------------------------- */

/* [5] The softmax of one logit is 1: a cross-entropy would be 0 and every answer right. */
START_TEST(one_output_is_refused) {
    rbe_dataset data = samples();
    data.classes = 1;
    memset(labels, 0, sizeof labels);
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, dense(FEATURES, 1, NULL));
    rbe_optim *optim = rbe_optim_new(rbe_sgd, model, NULL);
    const float before = rbe_model_param(model, 0)->value[0];
    rbe_evaluation e;
    rbe_fit_result result;
    ck_assert_fails(rbe_fit(model, optim, &data, NULL, NULL, &result), RBE_INVALID_ARGUMENT, "use two outputs");
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "another loss"));
    ck_assert_uint_eq(result.steps, 0);
    ck_assert(rbe_model_param(model, 0)->value[0] == before);
    ck_assert_fails(rbe_evaluate(model, &data, BATCH, &e), RBE_INVALID_ARGUMENT, "use two outputs");
    rbe_optim_free(optim);
    rbe_model_free(model);
}
END_TEST

/* ---- optimisers ---------------------------------------------------------------------------------------------- */

/* [6] An optimiser must train a part of the model; parameters beside it are no harm. */
START_TEST(optimisers_of_something_else_are_refused) {
    rbe_dataset data = samples();
    rbe_model *model = rbe_model_new(), *other = rbe_model_new();
    rbe_model_add(model, dense(FEATURES, FEATURES, NULL));
    rbe_model_add(model, dense(FEATURES, CLASSES, "head"));
    rbe_model_add(other, dense(FEATURES, CLASSES, NULL));
    rbe_param *head = rbe_model_param(model, 2), *body = rbe_model_param(model, 0);
    rbe_param *foreign = rbe_model_param(other, 0);
    const float untouched = body->value[0], of_other = foreign->value[0];
    rbe_optim *wrong = rbe_optim_new(rbe_sgd, other, NULL);
    ck_assert_fails(rbe_fit(model, wrong, &data, NULL, NULL, NULL), RBE_INVALID_ARGUMENT,
                    "found none of the model's 4 among the optimiser's 2");
    ck_assert_ok(rbe_fit(other, wrong, &data, NULL, NULL, NULL));
    ck_assert(foreign->value[0] != of_other);
    rbe_optim_free(wrong);
    const float trained_before = foreign->value[0];
    rbe_optim *part = rbe_optim_new_for(rbe_sgd, (rbe_param *[]){head, foreign}, 2, NULL);
    const float head_before = head->value[0];
    ck_assert_ok(rbe_fit(model, part, &data, NULL, NULL, NULL));
    ck_assert(head->value[0] != head_before);
    ck_assert(body->value[0] == untouched && foreign->value[0] == trained_before);
    ck_assert(!body->grad_set); /* the sum of all steps would spoil the next training */
    rbe_optim_free(part);
    rbe_model_free(model);
    rbe_model_free(other);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* A parameter named twice would be clipped twice; NULL and missing values are found before anything is read. */
START_TEST(lists_of_parameters_are_checked) {
    float a[2] = {3, 4}, gradient[2] = {30, 40};
    rbe_param p = {.name = "p", .value = a, .grad = gradient, .count = 2, .grad_set = true, .lr_scale = 1.0f};
    rbe_param q = {.name = "q", .count = 2, .lr_scale = 1.0f};
    rbe_param *twice[] = {&p, &p}, *missing[] = {&p, NULL}, *empty[] = {&q};
    float norm = -1.0f;
    ck_assert_fails(rbe_clip_global_norm(twice, 2, 5.0f, &norm), RBE_INVALID_ARGUMENT, "parameter 1 (p)");
    ck_assert_fails(rbe_clip_global_norm(missing, 2, 5.0f, &norm), RBE_INVALID_ARGUMENT, "parameter 1 of 2 is NULL");
    ck_assert_fails(rbe_clip_global_norm(NULL, 2, 5.0f, &norm), RBE_INVALID_ARGUMENT, "list");
    ck_assert(norm == -1.0f && gradient[0] == 30 && gradient[1] == 40);
    ck_assert_ptr_null(rbe_optim_new_for(rbe_sgd, twice, 2, NULL));
    ck_assert_ptr_null(rbe_optim_new_for(rbe_sgd, missing, 2, NULL));
    ck_assert_ptr_null(rbe_optim_new_for(rbe_sgd, empty, 1, NULL));
    ck_assert_msg(strstr(rbe_last_error(), "q: expected 2 values, found NULL"), "%s", rbe_last_error());
    p.lr_scale = NAN;
    rbe_optim *optim = rbe_optim_new_for(rbe_sgd, (rbe_param *[]){&p}, 1, NULL);
    ck_assert_fails(rbe_optim_step(optim), RBE_INVALID_ARGUMENT, "p: expected a finite lr_scale, found nan");
    p.lr_scale = 1.0f;
    ck_assert(a[0] == 3 && p.grad_set);
    ck_assert_ok(rbe_optim_step(optim));
    ck_assert(a[0] < 3);
    rbe_optim_free(optim);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* A rate of its own of 0 keeps a parameter as it is, whatever the method does beside the gradient. */
START_TEST(a_rate_of_zero_freezes) {
    static const char *const methods[] = {"sgd", "adam", "adamw"};
    float a[2] = {3, 4}, gradient[2] = {1, 2};
    rbe_param p = {.value = a, .grad = gradient, .count = 2, .decays = true};
    const rbe_optim_options options = {.lr = 0.1f, .weight_decay = 0.1f};
    rbe_optim *optim = rbe_optim_new_for(rbe_optim_method_named(methods[_i]), (rbe_param *[]){&p}, 1, &options);
    for (int step = 0; step < 3; step++) {
        p.grad_set = true;
        ck_assert_ok(rbe_optim_step(optim));
        ck_assert(!p.grad_set);
    }
    ck_assert(a[0] == 3 && a[1] == 4);
    p.lr_scale = 1.0f;
    p.grad_set = true;
    ck_assert_ok(rbe_optim_step(optim));
    ck_assert(a[0] < 3 && a[1] < 4);
    rbe_optim_free(optim);
}
END_TEST

/* [11] The gradient of a parameter of one's own can be given back, and is made anew when it is wanted. */
START_TEST(own_gradients_are_freed) {
    float a[5] = {0};
    rbe_param p = {.value = a, .count = 5, .lr_scale = 1.0f};
    const size_t before = rbe_memory().current;
    ck_assert_ok(rbe_param_require_grad(&p));
    ck_assert_uint_eq(rbe_memory().current, before + sizeof a);
    rbe_optim *optim = rbe_optim_new_for(rbe_sgd, (rbe_param *[]){&p}, 1, NULL);
    memset(p.grad, 0, sizeof a);
    p.grad_set = true;
    rbe_param_clear(&p);
    ck_assert(!p.grad && !p.grad_set);
    rbe_param_clear(&p);
    rbe_param_clear(NULL);
    ck_assert_ok(rbe_optim_step(optim)); /* nothing to do */
    ck_assert_ok(rbe_param_require_grad(&p));
    rbe_param_clear(&p);
    rbe_optim_free(optim);
    ck_assert_uint_eq(rbe_memory().current, before);
    p.count = SIZE_MAX;
    ck_assert_fails(rbe_param_require_grad(&p), RBE_INSUFFICIENT_MEMORY, "more than can be addressed");
}
END_TEST

/* ---- data of one's own ----------------------------------------------------------------------------------------- */

static const struct data_case {
    size_t count, features;
    bool has_pixels, has_values;
    const char *text;
} data_cases[] = {
    {SAMPLES, FEATURES, false, false, "one of pixels, values and tokens, found 0"},
    {SAMPLES, FEATURES, true, true, "one of pixels, values and tokens, found 2"},
    {SAMPLES, 0, false, true, "samples and features, and no more than can be addressed, found 20 and 0"},
    {SAMPLES, SIZE_MAX / 8, false, true, "addressed"},
    {0, FEATURES, false, true, "found 0 and 6"},
};

START_TEST(incomplete_data_are_refused) {
    const struct data_case *c = &data_cases[_i];
    static uint8_t pixels[SAMPLES * FEATURES];
    rbe_dataset data = samples();
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, dense(FEATURES, CLASSES, NULL));
    data.count = c->count;
    data.features = c->features;
    data.pixels = c->has_pixels ? pixels : NULL;
    if (!c->has_values) data.values = NULL;
    rbe_evaluation e;
    ck_assert_ptr_null(rbe_batches_new(&data, BATCH, true, 1));
    ck_assert_fails(rbe_evaluate(model, &data, BATCH, &e), RBE_INVALID_ARGUMENT, c->text);
    ck_assert_fails(train(model, &data), RBE_INVALID_ARGUMENT, c->text);
    const rbe_dataset whole = samples(); /* as test data: before the first step */
    rbe_optim *optim = rbe_optim_new(rbe_sgd, model, NULL);
    rbe_fit_result result;
    ck_assert_fails(rbe_fit(model, optim, &whole, &data, NULL, &result), RBE_INVALID_ARGUMENT, c->text);
    ck_assert_uint_eq(result.steps, 0);
    rbe_optim_free(optim);
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* [10] What the caller owns stays the caller's; what the library made is counted off once. */
START_TEST(data_of_ones_own_are_not_freed) {
    const size_t before = rbe_memory().current;
    rbe_dataset own = samples(), made;
    ck_assert_ok(rbe_dataset_from_floats(&made, own.values, own.labels, SAMPLES, FEATURES, CLASSES));
    ck_assert(made.owned && !own.owned);
    const size_t held = rbe_memory().current;
    ck_assert_uint_gt(held, before);
    rbe_dataset_free(&own);
    ck_assert(!own.values && !own.labels && own.count == 0);
    ck_assert_uint_eq(rbe_memory().current, held);
    ck_assert(values[0] == made.values[0] && labels[1] == 1);
    rbe_dataset_free(&made);
    ck_assert_uint_eq(rbe_memory().current, before);
    ck_assert_ok(rbe_digits_generate(&made, 3, 1));
    ck_assert(made.owned);
    rbe_dataset_free(&made);
    ck_assert_uint_eq(rbe_memory().current, before);
    ck_assert_fails(rbe_dataset_read_folder(&made, NULL, true), RBE_INVALID_ARGUMENT, "folder is NULL");
    ck_assert_fails(rbe_dataset_read_folder(NULL, "data", true), RBE_INVALID_ARGUMENT, "result pointer is NULL");
}
END_TEST

/* ---- sizes and options ----------------------------------------------------------------------------------------- */

START_TEST(sizes_do_not_wrap) {
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, dense(FEATURES, CLASSES, NULL));
    rbe_tape *tape = rbe_tape_new(NULL);
    static const size_t huge[] = {(size_t)INT32_MAX + 1, SIZE_MAX / 24, SIZE_MAX / 2, SIZE_MAX};
    for (size_t n = 0; n < sizeof huge / sizeof *huge; n++) {
        ck_assert_uint_eq(rbe_model_tape_bytes(model, huge[n]), PTRDIFF_MAX);
        ck_assert_uint_eq(rbe_training_bytes(model, rbe_adam, NULL, FEATURES, huge[n]), PTRDIFF_MAX);
        ck_assert_fails(rbe_tape_reserve(tape, rbe_model_tape_bytes(model, huge[n])), RBE_INSUFFICIENT_MEMORY, "");
    }
    ck_assert_uint_eq(rbe_training_bytes(model, rbe_adam, NULL, SIZE_MAX, 1), PTRDIFF_MAX);
    ck_assert_uint_eq(rbe_training_bytes(model, rbe_adam, NULL, SIZE_MAX / 16, 7), PTRDIFF_MAX);
    ck_assert_uint_eq(rbe_optim_state_bytes(rbe_adam, NULL, SIZE_MAX / 8), 8 * (SIZE_MAX / 8));
    ck_assert_uint_eq(rbe_optim_state_bytes(rbe_adam, NULL, SIZE_MAX / 8 + 1), SIZE_MAX);
    ck_assert_uint_eq(rbe_optim_state_bytes(rbe_sgd, NULL, SIZE_MAX), 0);
    rbe_tape_free(tape);
    rbe_model_free(model);
}
END_TEST

static const struct option_case {
    rbe_fit_options options;
    const char *text;
} option_cases[] = {
    {{.epochs = SIZE_MAX, .batch = BATCH}, "more steps than can be counted"},
    {{.schedule = {.kind = (rbe_schedule_kind)7}}, "no schedule of kind 7"},
    {{.schedule = {.base = NAN}}, "found nan"},
    {{.schedule = {.base = -1.0f}}, "found -1"},
    {{.schedule = {.kind = RBE_STEP, .every = 1000, .factor = NAN}}, "finite"},
    {{.schedule = {.kind = RBE_COSINE, .warmup = 1000, .floor = INFINITY}}, "finite"},
};

/* Before the first step, and before the log is opened. */
START_TEST(fit_options_are_checked) {
    rbe_dataset data = samples();
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, dense(FEATURES, CLASSES, NULL));
    rbe_optim *optim = rbe_optim_new(rbe_sgd, model, NULL);
    rbe_fit_options options = option_cases[_i].options;
    options.csv_path = "/nonexistent/folder/log.csv";
    ck_assert_fails(rbe_fit(model, optim, &data, NULL, &options, NULL), RBE_INVALID_ARGUMENT, option_cases[_i].text);
    rbe_optim_free(optim);
    rbe_model_free(model);
}
END_TEST

/* ---- the suite ----------------------------------------------------------------------------------------------- */

#define COUNT(table) (int)(sizeof(table) / sizeof *(table))

Suite *misuse_suite(void) {
    Suite *suite = suite_create("misuse");
    TCase *models = tcase_create("models");
    tcase_add_test(models, a_layer_belongs_to_one_model);
    tcase_add_test(models, a_failed_model_takes_no_layer_of_another);
    tcase_add_loop_test(models, operations_are_checked, 0, COUNT(operation_cases));
    tcase_add_test(models, one_output_is_refused);
    suite_add_tcase(suite, models);
    TCase *optimisers = tcase_create("optimisers");
    tcase_add_test(optimisers, optimisers_of_something_else_are_refused);
    tcase_add_test(optimisers, lists_of_parameters_are_checked);
    tcase_add_loop_test(optimisers, a_rate_of_zero_freezes, 0, 3);
    tcase_add_test(optimisers, own_gradients_are_freed);
    suite_add_tcase(suite, optimisers);
    TCase *data = tcase_create("data and options");
    tcase_add_loop_test(data, incomplete_data_are_refused, 0, COUNT(data_cases));
    tcase_add_test(data, data_of_ones_own_are_not_freed);
    tcase_add_test(data, sizes_do_not_wrap);
    tcase_add_loop_test(data, fit_options_are_checked, 0, COUNT(option_cases));
    suite_add_tcase(suite, data);
    return suite;
}
