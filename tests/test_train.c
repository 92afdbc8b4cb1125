/* The fit loop: it learns, repeats itself bit by bit, stops when asked, says where a NaN came from, takes the
 * memory it announces, and survives every failed allocation. */
#define _XOPEN_SOURCE 700 /* pseudo-terminals */
#include <fcntl.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "rbe/train.h"
#include "suites.h"
#include "support.h"
#include "train/progress.h"

enum { FEATURES = 16, CLASSES = 3, SAMPLES = 150 };

/* Three clouds of points around three directions. */
static rbe_dataset clouds(size_t count, uint64_t seed) {
    float *values = malloc(count * FEATURES * sizeof *values);
    int32_t *labels = malloc(count * sizeof *labels);
    ck_assert(values && labels);
    fill_normal(values, count * FEATURES, 0.5, seed);
    for (size_t n = 0; n < count; n++) {
        labels[n] = (int32_t)(n % CLASSES);
        values[n * FEATURES + (size_t)labels[n]] += 2.0f;
    }
    rbe_dataset data;
    rbe_status status = rbe_dataset_from_floats(&data, values, labels, count, FEATURES, CLASSES);
    ck_assert_msg(status == RBE_OK, "%s", rbe_last_error());
    free(values);
    free(labels);
    return data;
}

static rbe_model *small_model(uint64_t seed) {
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_dense_new(FEATURES, 24, &(rbe_dense_options){.seed = seed}));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, rbe_dropout_new(0.1f));
    rbe_model_add(model, rbe_dense_new(24, CLASSES, &(rbe_dense_options){.seed = seed + 1}));
    return model;
}

/* A small training with everything it needs. */
typedef struct fixture {
    rbe_dataset train, test;
    rbe_model *model;
    rbe_optim *optim;
} fixture;

static fixture fixture_new(float lr) {
    fixture f = {.train = clouds(SAMPLES, 1), .test = clouds(60, 2), .model = small_model(1)};
    f.optim = rbe_optim_new(rbe_adam, f.model, &(rbe_optim_options){.lr = lr});
    ck_assert_msg(f.optim != NULL, "%s", rbe_last_error());
    return f;
}

static void fixture_free(fixture *f) {
    rbe_optim_free(f->optim);
    rbe_model_free(f->model);
    rbe_dataset_free(&f->train);
    rbe_dataset_free(&f->test);
}

/* The rule of base.h: what a constructor could not make may be passed on. */
START_TEST(what_could_not_be_made_is_refused) {
    rbe_batch batch;
    const rbe_tensor x = {0};
    const size_t tried = rbe_memory().allocations;
    ck_assert_ptr_null(rbe_batches_new(NULL, 1, true, 1));
    rbe_batches_start(NULL, 0);
    ck_assert(!rbe_batches_next(NULL, &batch) && rbe_batches_per_epoch(NULL) == 0);
    ck_assert(rbe_rng_uniform(NULL) == 0.0 && rbe_rng_normal(NULL) == 0.0 && rbe_rng_below(NULL, 5) == 0);
    ck_assert_uint_eq(rbe_layer_describe_cost(NULL).bytes, 0);
    ck_assert_uint_eq(rbe_model_describe_cost(NULL).bytes, 0);
    ck_assert_str_eq(rbe_layer_name(NULL), "");
    ck_assert_str_eq(rbe_layer_kind(NULL), "");
    rbe_layer_set_name(NULL, "name");
    ck_assert(rbe_layer_inputs(NULL) == 0 && rbe_layer_outputs(NULL) == 0 && !rbe_layer_param(NULL, 0));
    ck_assert(!rbe_linear_blocks(NULL) && rbe_linear_count(NULL).operation_count == 0);
    ck_assert_ptr_null(rbe_linear_from_blocks(NULL, NULL, 0, NULL));
    ck_assert_int_eq(rbe_param_require_grad(NULL), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_null(rbe_layer_forward(NULL, NULL));
    ck_assert_ptr_null(rbe_model_forward(NULL, NULL));
    ck_assert_uint_eq(rbe_model_tape_bytes(NULL, 1), rbe_model_tape_bytes(NULL, 2));
    rbe_tape_reset(NULL);
    rbe_tape_set_inference(NULL, true);
    ck_assert_int_eq(rbe_tape_status(NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_tape_reserve(NULL, 1), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_tape_check_finite(NULL), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_null(rbe_relu(rbe_add(rbe_input(NULL, x), rbe_variable(NULL, x))));
    ck_assert(!rbe_value(NULL) || !rbe_value(NULL)->data);
    ck_assert(isnan(rbe_item(NULL)) && !rbe_grad(NULL));
    ck_assert_int_eq(rbe_backward(NULL), RBE_INVALID_ARGUMENT);
    ck_assert_uint_eq(rbe_blocks_describe(NULL).out, 0);
    ck_assert_uint_eq(rbe_blocks_get(NULL, 0, 0, NULL, NULL, 0), 0);
    ck_assert_int_eq(rbe_blocks_check(NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_decompress(NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert(rbe_optim_lr(NULL) == 0.0f && rbe_optim_grad_norm(NULL) == 0.0f);
    ck_assert_int_eq(rbe_optim_step(NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_optim_set_lr(NULL, 1.0f), RBE_INVALID_ARGUMENT);
    ck_assert_uint_eq(rbe_memory().allocations, tried);
}
END_TEST

START_TEST(data_sets_need_data) {
    float values[2] = {0};
    int32_t labels[1] = {0};
    rbe_dataset data;
    ck_assert_int_eq(rbe_dataset_from_floats(NULL, values, labels, 1, 2, 1), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_dataset_from_floats(&data, NULL, labels, 1, 2, 1), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "NULL values"));
    ck_assert_int_eq(rbe_dataset_from_floats(&data, values, NULL, 1, 2, 1), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "NULL labels"));
    ck_assert_uint_eq(data.count, 0);
}
END_TEST

static double weight_sum(const rbe_model *model) {
    double sum = 0.0;
    const rbe_param *p;
    for (size_t n = 0; (p = rbe_model_param(model, n)); n++)
        for (size_t i = 0; i < p->count; i++) sum += (double)p->value[i] * (double)(i % 7 + 1);
    return sum;
}

/* ---- evaluation ---------------------------------------------------------------------------------------------- */

START_TEST(evaluation_counts) {
    /* Logits are the features themselves; 3 of 10 rows have another largest one than their label. */
    const float identity[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    float values[30];
    int32_t labels[10];
    fill_normal(values, 30, 0.1, 5);
    for (int n = 0; n < 10; n++) {
        labels[n] = n % 3;
        values[3 * n + (n < 3 ? (n + 1) % 3 : n % 3)] = 2.0f;
    }
    rbe_dataset data;
    ck_assert_int_eq(rbe_dataset_from_floats(&data, values, labels, 10, 3, 3), RBE_OK);
    rbe_model *model = rbe_model_new();
    ck_assert_int_eq(rbe_model_add(model, rbe_dense_from_weights(3, 3, identity, NULL, NULL)), RBE_OK);
    double loss = 0.0;
    for (int n = 0; n < 10; n++) {
        const float *x = values + 3 * n;
        loss += log(exp(x[0]) + exp(x[1]) + exp(x[2])) - x[labels[n]];
    }
    const size_t batches[] = {1, 3, 10, 100};
    for (size_t b = 0; b < 4; b++) {
        rbe_evaluation e;
        ck_assert_int_eq(rbe_evaluate(model, &data, batches[b], &e), RBE_OK);
        ck_assert_uint_eq(e.count, 10);
        ck_assert_double_eq_tol(e.error, 0.3, 1e-15);
        ck_assert_double_eq_tol(e.error_uncertainty, sqrt(0.3 * 0.7 / 10), 1e-15);
        ck_assert_double_eq_tol(e.loss, loss / 10, 1e-6);
    }
    rbe_model_free(model);
    rbe_dataset_free(&data);
}
END_TEST

/* With nine of ten values dropped, an evaluation in training would differ from the model's outputs in inference. */
START_TEST(evaluation_drops_nothing) {
    rbe_dataset data = clouds(60, 2);
    rbe_evaluation with, without;
    for (int dropout = 0; dropout < 2; dropout++) {
        rbe_model *model = rbe_model_new();
        if (dropout) rbe_model_add(model, rbe_dropout_new(0.9f));
        rbe_model_add(model, rbe_dense_new(FEATURES, CLASSES, &(rbe_dense_options){.seed = 1}));
        ck_assert_int_eq(rbe_evaluate(model, &data, 20, dropout ? &with : &without), RBE_OK);
        rbe_model_free(model);
    }
    ck_assert_double_eq(with.loss, without.loss);
    ck_assert_double_eq(with.error, without.error);
    rbe_dataset_free(&data);
}
END_TEST

START_TEST(evaluation_refuses) {
    fixture f = fixture_new(0.01f);
    rbe_evaluation e;
    ck_assert_int_eq(rbe_evaluate(NULL, &f.test, 10, &e), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_evaluate(f.model, NULL, 10, &e), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_evaluate(f.model, &f.test, 0, &e), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_evaluate(f.model, &f.test, 10, NULL), RBE_INVALID_ARGUMENT);
    rbe_model_param(f.model, 2)->value[0] = NAN;
    ck_assert_int_eq(rbe_evaluate(f.model, &f.test, 10, &e), RBE_NUMERICAL_INSTABILITY);
    ck_assert_msg(strstr(rbe_last_error(), "fc2"), "%s", rbe_last_error());
    fixture_free(&f);
}
END_TEST

/* ---- learning ------------------------------------------------------------------------------------------------ */

START_TEST(fit_learns) {
    fixture f = fixture_new(0.01f);
    rbe_evaluation before;
    ck_assert_int_eq(rbe_evaluate(f.model, &f.test, 64, &before), RBE_OK);
    rbe_fit_result result;
    const rbe_fit_options options = {.epochs = 10, .batch = 16, .seed = 3, .schedule = {.kind = RBE_COSINE}};
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, &f.test, &options, &result), RBE_OK);
    ck_assert_uint_eq(result.steps, 100); /* 150 samples: 10 steps an epoch */
    ck_assert_uint_eq(result.train.count, SAMPLES);
    ck_assert_uint_eq(result.test.count, 60);
    ck_assert_double_lt(result.test.loss, before.loss / 3);
    ck_assert_double_lt(result.test.error, 0.05);
    ck_assert_double_gt(result.seconds_per_epoch, 0);
    ck_assert_double_eq_tol(result.seconds_per_epoch, result.seconds / 10, 1e-9);
    /* The rate that the schedule wore down is the optimiser's own again. */
    ck_assert_float_eq_tol(rbe_optim_lr(f.optim), 0.01f, 1e-9f);
    fixture_free(&f);
}
END_TEST

static rbe_status note_loss(void *user, const rbe_progress *p) {
    ((double *)user)[p->epoch] = p->batch_loss;
    return RBE_OK;
}

/* At a rate of 0, and with one sample, only the masks make the loss differ from epoch to epoch. */
START_TEST(epochs_drop_differently) {
    rbe_dataset one = clouds(1, 1);
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_dropout_new(0.5f));
    rbe_model_add(model, rbe_dense_new(FEATURES, CLASSES, NULL));
    rbe_optim *optim = rbe_optim_new(rbe_sgd, model, NULL);
    ck_assert_int_eq(rbe_optim_set_lr(optim, 0.0f), RBE_OK);
    double loss[3];
    const rbe_fit_options options = {.epochs = 3, .on_step = note_loss, .user = loss};
    ck_assert_int_eq(rbe_fit(model, optim, &one, NULL, &options, NULL), RBE_OK);
    ck_assert(loss[0] != loss[1] && loss[1] != loss[2] && loss[0] != loss[2]);
    rbe_optim_free(optim);
    rbe_model_free(model);
    rbe_dataset_free(&one);
}
END_TEST

START_TEST(defaults_and_edges) {
    fixture f = fixture_new(0.01f);
    rbe_fit_result result;
    /* No options: one epoch in batches of 128. No test data: no evaluation. */
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, NULL, NULL, &result), RBE_OK);
    ck_assert_uint_eq(result.steps, 2);
    ck_assert_uint_eq(result.test.count, 0);
    /* A batch larger than the data set is the data set. */
    const rbe_fit_options large = {.epochs = 3, .batch = 100000};
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, &f.test, &large, &result), RBE_OK);
    ck_assert_uint_eq(result.steps, 3);
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, &f.test, &large, NULL), RBE_OK);
    fixture_free(&f);
}
END_TEST

START_TEST(fit_refuses) {
    fixture f = fixture_new(0.01f);
    double before = weight_sum(f.model);
    rbe_dataset none = {.features = FEATURES, .classes = CLASSES}, other = f.test;
    ck_assert_int_eq(rbe_fit(NULL, f.optim, &f.train, NULL, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_fit(f.model, NULL, &f.train, NULL, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_fit(f.model, f.optim, NULL, NULL, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &none, NULL, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, &none, NULL, NULL), RBE_INVALID_ARGUMENT);
    other.features = FEATURES - 1;
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, &other, NULL, NULL), RBE_INPUT_DIMENSION_MISMATCH);
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &other, NULL, NULL, NULL), RBE_INPUT_DIMENSION_MISMATCH);
    ck_assert_msg(strstr(rbe_last_error(), "fc1") && strstr(rbe_last_error(), "16"), "%s", rbe_last_error());
    const rbe_fit_options bad_rate = {.schedule = {.base = NAN}};
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, NULL, &bad_rate, NULL), RBE_INVALID_ARGUMENT);
    const rbe_fit_options no_folder = {.csv_path = "/nonexistent/folder/log.csv"};
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, NULL, &no_folder, NULL), RBE_IO_ERROR);
    ck_assert_msg(strstr(rbe_last_error(), "/nonexistent/folder/log.csv") &&
                      strstr(rbe_last_error(), "No such file or directory"),
                  "%s", rbe_last_error());
    const rbe_fit_options no_space = {.csv_path = "/dev/full"};
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, NULL, &no_space, NULL), RBE_IO_ERROR);
    ck_assert_msg(strstr(rbe_last_error(), "No space left"), "%s", rbe_last_error());
    ck_assert_double_eq(weight_sum(f.model), before);
    fixture_free(&f);
}
END_TEST

/* ---- the log ------------------------------------------------------------------------------------------------- */

/* A file's content as a string, to be freed. */
static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "cannot open %s", path);
    char *text = calloc(1, 1 << 16);
    ck_assert_ptr_nonnull(text);
    size_t length = fread(text, 1, (1 << 16) - 1, file);
    text[length] = '\0';
    fclose(file);
    return text;
}

static char *log_of_run(uint64_t seed) {
    char path[] = "/tmp/rbe_log_XXXXXX";
    int descriptor = mkstemp(path);
    ck_assert_int_ge(descriptor, 0);
    close(descriptor);
    fixture f = fixture_new(0.01f);
    const rbe_fit_options options = {
        .epochs = 2, .batch = 50, .seed = seed, .csv_path = path, .log_every = 2, .schedule = {.kind = RBE_COSINE}};
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, &f.test, &options, NULL), RBE_OK);
    char *text = read_file(path);
    unlink(path);
    fixture_free(&f);
    return text;
}

START_TEST(log_repeats) {
    char *first = log_of_run(7), *second = log_of_run(7), *other = log_of_run(8);
    ck_assert_str_eq(first, second);
    ck_assert_str_ne(first, other);
    free(first);
    free(second);
    free(other);
}
END_TEST

START_TEST(log_ignores_the_locale) {
    if (!use_decimal_commas()) {
        printf("fit:log_ignores_the_locale: skipped, there is no localedef\n");
        return;
    }
    char *text = log_of_run(7);
    setlocale(LC_NUMERIC, "C");
    char *plain = log_of_run(7);
    ck_assert_str_eq(text, plain);
    free(text);
    free(plain);
}
END_TEST

START_TEST(log_rows) {
    char *text = log_of_run(7);
    /* 3 steps an epoch: steps 2, 4 and 6 are logged. */
    const char *kinds[] = {"step,1,2,", "epoch,1,3,", "step,2,4,", "step,2,6,", "epoch,2,6,"};
    char *line = strtok(text, "\n");
    ck_assert_str_eq(
        line, "kind,epoch,step,train_loss,train_error,test_loss,test_error,test_error_uncertainty,learning_rate");
    for (int n = 0; n < 5; n++) {
        line = strtok(NULL, "\n");
        ck_assert_msg(line && strncmp(line, kinds[n], strlen(kinds[n])) == 0, "row %d is %s", n, line);
        double train_loss, train_error, test_loss, test_error, uncertainty, lr;
        const char *rest = line + strlen(kinds[n]);
        if (kinds[n][0] == 'e') {
            ck_assert_int_eq(sscanf(rest, "%lf,%lf,%lf,%lf,%lf,%lf", &train_loss, &train_error, &test_loss, &test_error,
                                    &uncertainty, &lr),
                             6);
            ck_assert_double_eq_tol(uncertainty, sqrt(test_error * (1 - test_error) / 60), 1e-7);
        } else {
            ck_assert_int_eq(sscanf(rest, "%lf,%lf,,,,%lf", &train_loss, &train_error, &lr), 3);
        }
        ck_assert(train_loss > 0 && train_error >= 0 && lr > 0);
    }
    ck_assert_ptr_null(strtok(NULL, "\n"));
    free(text);
}
END_TEST

/* ---- callbacks ----------------------------------------------------------------------------------------------- */

typedef struct watcher {
    fixture *f;
    size_t steps, epochs;
    size_t act_at; /* the call of on_step, counted from 1, that does something */
    rbe_status answer;
    float poison;
    double before_failure; /* weights after the step before */
    float last_lr;
    size_t allocations_at_first_step, allocations_at_last_step;
} watcher;

static rbe_status watch_step(void *user, const rbe_progress *p) {
    watcher *w = user;
    ck_assert_uint_eq(p->step, w->steps);
    ck_assert_uint_eq(p->epoch, w->epochs);
    ck_assert(p->batch_loss > 0 && p->mean_loss > 0 && p->seconds > 0 && !p->test);
    w->steps++;
    w->last_lr = p->lr;
    if (w->steps == 1) w->allocations_at_first_step = rbe_memory().allocations;
    if (p->epoch == 0) w->allocations_at_last_step = rbe_memory().allocations;
    if (w->steps == w->act_at && w->poison != 0) rbe_model_param(w->f->model, 2)->value[5] = w->poison;
    w->before_failure = weight_sum(w->f->model);
    return w->steps == w->act_at ? w->answer : RBE_OK;
}

static rbe_status watch_epoch(void *user, const rbe_progress *p) {
    watcher *w = user;
    ck_assert_uint_eq(p->epoch, w->epochs);
    ck_assert_uint_eq(p->step + 1, w->steps);
    ck_assert(p->test && p->test->count == 60);
    w->epochs++;
    return w->epochs == 2 ? w->answer : RBE_OK;
}

static rbe_status fit_watched(fixture *f, watcher *w, rbe_fit_result *result) {
    w->f = f;
    const rbe_fit_options options = {.epochs = 4,
                                     .batch = 32,
                                     .schedule = {.kind = RBE_COSINE, .base = 0.02f},
                                     .on_step = watch_step,
                                     .on_epoch = watch_epoch,
                                     .user = w};
    return rbe_fit(f->model, f->optim, &f->train, &f->test, &options, result);
}

START_TEST(callbacks) {
    fixture f = fixture_new(0.01f);
    watcher w = {0};
    ck_assert_int_eq(fit_watched(&f, &w, NULL), RBE_OK);
    ck_assert_uint_eq(w.steps, 20);
    ck_assert_uint_eq(w.epochs, 4);
    /* Cosine over the 20 steps of this training: (1 + cos(19 pi / 20)) / 2 of the base at the last one. */
    ck_assert_float_eq_tol(w.last_lr, 0.02f * 0.00615583f, 1e-8f);
    fixture_free(&f);
}
END_TEST

START_TEST(a_step_can_stop) {
    fixture f = fixture_new(0.01f);
    watcher w = {.act_at = 7, .answer = RBE_STOPPED};
    rbe_fit_result result;
    ck_assert_int_eq(fit_watched(&f, &w, &result), RBE_STOPPED);
    ck_assert_uint_eq(w.steps, 7);
    ck_assert_uint_eq(result.steps, 7);
    ck_assert_msg(strstr(rbe_last_error(), "step 7 of 20"), "%s", rbe_last_error());
    fixture_free(&f);
}
END_TEST

START_TEST(an_epoch_can_stop) {
    fixture f = fixture_new(0.01f);
    watcher w = {.answer = RBE_BAD_FORMAT};
    ck_assert_int_eq(fit_watched(&f, &w, NULL), RBE_BAD_FORMAT);
    ck_assert_uint_eq(w.epochs, 2);
    fixture_free(&f);
}
END_TEST

typedef struct answer {
    rbe_status returned, recorded; /* RBE_OK: no failure is recorded */
    const char *text;              /* that is expected, which is that recorded for the status returned */
} answer;

static const answer answers[] = {
    {RBE_STOPPED, RBE_STOPPED, "no gain in 3 epochs"},
    {RBE_IO_ERROR, RBE_IO_ERROR, "model.bin: no space left"},
    {RBE_STOPPED, RBE_OK, "a callback stopped the training after step 5 of 20"},
    {RBE_STOPPED, RBE_IO_ERROR, "a callback stopped the training after step 5 of 20"}, /* of something else */
    {RBE_BAD_FORMAT, RBE_OK,
     "a callback stopped the training after step 5 of 20: a file does not have the expected format"},
};
#define ANSWERS (int)(sizeof answers / sizeof *answers)

static rbe_status answer_at_step_5(void *user, const rbe_progress *p) {
    const answer *a = user;
    if (p->step != 4) return RBE_OK;
    if (a->recorded != RBE_OK) rbe_fail(a->recorded, "%s", a->recorded == a->returned ? a->text : "optional.csv");
    return a->returned;
}

/* [7] The callback's status, and its own text; the end of an epoch is one of a step. */
START_TEST(a_callbacks_text_is_kept) {
    answer a = answers[_i / 2];
    fixture f = fixture_new(0.01f);
    rbe_fit_options options = {.epochs = 4, .batch = 32, .user = &a};
    *(_i % 2 ? &options.on_epoch : &options.on_step) = answer_at_step_5;
    rbe_fail(a.returned, "an older failure");
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, &f.test, &options, NULL), a.returned);
    ck_assert_int_eq(rbe_last_status(), a.returned);
    ck_assert_str_eq(rbe_last_error(), a.text);
    fixture_free(&f);
}
END_TEST

/* Sets the rate once, after step number `at`, and watches it. */
typedef struct rate_setter {
    rbe_optim *optim;
    rbe_schedule schedule;
    size_t at;
    float to;
} rate_setter;

static rbe_status set_rate(void *user, const rbe_progress *p) {
    const rate_setter *r = user;
    rbe_schedule expected = r->schedule;
    if (p->step > r->at) expected.base = r->to;
    ck_assert_float_eq(p->lr, rbe_schedule_lr(&expected, p->step));
    ck_assert_float_eq(rbe_optim_lr(r->optim), p->lr);
    return p->step == r->at ? rbe_optim_set_lr(r->optim, r->to) : RBE_OK;
}

/* [7] A rate that a callback sets is the schedule's base from the next step on, and remains when all is done; the
 * rate of the very step is such a one too. */
START_TEST(a_callback_sets_the_rate) {
    static const rbe_schedule_kind kinds[] = {RBE_CONSTANT, RBE_STEP, RBE_COSINE};
    static const size_t steps[] = {0, 6, 19};
    fixture f = fixture_new(0.01f);
    rate_setter r = {.optim = f.optim,
                     .schedule = {.kind = kinds[_i % 3], .base = 0.02f, .total = 20, .every = 4, .warmup = 3},
                     .at = steps[_i / 3 % 3]};
    r.to = _i < 9 ? 0.005f : rbe_schedule_lr(&r.schedule, r.at);
    const rbe_fit_options options = {.epochs = 4, .batch = 32, .schedule = r.schedule, .on_step = set_rate, .user = &r};
    ck_assert_msg(rbe_fit(f.model, f.optim, &f.train, NULL, &options, NULL) == RBE_OK, "%s", rbe_last_error());
    ck_assert_float_eq(rbe_optim_lr(f.optim), r.to);
    fixture_free(&f);
}
END_TEST

static rbe_status stop_learning(void *user, const rbe_progress *p) {
    watcher *w = user;
    if (p->step == 4) w->before_failure = weight_sum(w->f->model);
    return p->step == 4 ? rbe_optim_set_lr(w->f->optim, 0.0f) : RBE_OK;
}

START_TEST(a_rate_of_zero_stops_learning) {
    fixture f = fixture_new(0.01f);
    watcher w = {.f = &f};
    const rbe_fit_options options = {.epochs = 4, .batch = 32, .on_epoch = stop_learning, .user = &w};
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, NULL, &options, NULL), RBE_OK);
    ck_assert_double_eq(weight_sum(f.model), w.before_failure);
    fixture_free(&f);
}
END_TEST

/* ---- values that are not finite ------------------------------------------------------------------------------ */

START_TEST(nan_is_located) {
    const float poisons[] = {NAN, INFINITY};
    fixture f = fixture_new(0.01f);
    watcher w = {.act_at = 6, .poison = poisons[_i]};
    rbe_fit_result result;
    ck_assert_int_eq(fit_watched(&f, &w, &result), RBE_NUMERICAL_INSTABILITY);
    ck_assert_msg(strstr(rbe_last_error(), "step 7 of 20") && strstr(rbe_last_error(), "fc2: dense"), "%s",
                  rbe_last_error());
    ck_assert_uint_eq(result.steps, 6);
    rbe_model_param(f.model, 2)->value[5] = 0.0f; /* the only thing wrong: gradients and state are clean */
    w = (watcher){0};
    ck_assert_int_eq(fit_watched(&f, &w, &result), RBE_OK);
    fixture_free(&f);
}
END_TEST

START_TEST(divergence_leaves_the_last_parameters) {
    fixture f = fixture_new(0.01f);
    rbe_optim_free(f.optim);
    f.optim = rbe_optim_new(rbe_sgd, f.model, NULL);
    watcher w = {.f = &f};
    const rbe_fit_options options = {
        .epochs = 20, .batch = 32, .schedule = {.base = 1e20f}, .on_step = watch_step, .user = &w};
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, NULL, &options, NULL), RBE_NUMERICAL_INSTABILITY);
    ck_assert_msg(strstr(rbe_last_error(), "fc"), "%s", rbe_last_error());
    ck_assert_uint_gt(w.steps, 0);
    ck_assert(isfinite(weight_sum(f.model)) && weight_sum(f.model) == w.before_failure);
    fixture_free(&f);
}
END_TEST

/* The step is finite, and so is the loss before it, but not the outputs after it. */
START_TEST(evaluation_names_the_epoch) {
    fixture f = fixture_new(0.01f);
    rbe_optim_free(f.optim);
    f.optim = rbe_optim_new(rbe_sgd, f.model, NULL);
    const rbe_fit_options options = {.epochs = 3, .batch = SAMPLES, .schedule = {.base = 1e30f}};
    rbe_fit_result result;
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, &f.test, &options, &result), RBE_NUMERICAL_INSTABILITY);
    ck_assert_msg(strstr(rbe_last_error(), "after epoch 1 of 3: evaluation: "), "%s", rbe_last_error());
    ck_assert_uint_eq(result.steps, 1);
    fixture_free(&f);
}
END_TEST

START_TEST(gradient_overflow_is_located) {
    /* Every value of the forward pass is finite, the weights' gradient is a sum of many 1e38. */
    enum { ROWS = 64 };
    float values[ROWS];
    int32_t labels[ROWS];
    for (int n = 0; n < ROWS; n++) {
        values[n] = 3e38f;
        labels[n] = 0;
    }
    rbe_dataset data;
    ck_assert_int_eq(rbe_dataset_from_floats(&data, values, labels, ROWS, 1, 2), RBE_OK);
    const float weights[2] = {0, 0};
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_dense_from_weights(1, 2, weights, NULL, "only"));
    /* Each row adds dy x = -0.5 / 64 * 3e38 to the gradient: 1.5e38, still finite; ten steps' worth is not. */
    rbe_param *p = rbe_model_param(model, 0);
    rbe_optim *optim = rbe_optim_new(rbe_sgd, model, NULL);
    for (size_t i = 0; i < p->count; i++) p->grad[i] = i == 0 ? -3e38f : 3e38f;
    p->grad_set = true;
    const rbe_fit_options options = {.batch = ROWS};
    ck_assert_int_eq(rbe_fit(model, optim, &data, NULL, &options, NULL), RBE_NUMERICAL_INSTABILITY);
    ck_assert_msg(strstr(rbe_last_error(), "step 1 of 1") && strstr(rbe_last_error(), "only.weight"), "%s",
                  rbe_last_error());
    ck_assert(p->value[0] == 0 && p->value[1] == 0 && !p->grad_set);
    rbe_optim_free(optim);
    rbe_model_free(model);
    rbe_dataset_free(&data);
}
END_TEST

/* ---- memory -------------------------------------------------------------------------------------------------- */

START_TEST(steady_steps_allocate_nothing) {
    fixture f = fixture_new(0.01f);
    watcher w = {0};
    ck_assert_int_eq(fit_watched(&f, &w, NULL), RBE_OK);
    ck_assert_uint_eq(w.allocations_at_first_step, w.allocations_at_last_step);
    fixture_free(&f);
}
END_TEST

typedef struct memory_case {
    bool compressed;
    const char *method;
    size_t batch;
    float momentum;
    enum { NOTHING, DROPOUT, OPERATION } first; /* before the first layer */
} memory_case;

static const memory_case memory_cases[] = {
    {false, "adam", 64, 0, NOTHING},   {false, "sgd", 64, 0, NOTHING},   {false, "sgd", 256, 0.9f, NOTHING},
    {false, "adamw", 1, 0, NOTHING},   {true, "adam", 64, 0, NOTHING},   {true, "sgd", 256, 0, NOTHING},
    {true, "sgd", 128, 0.9f, NOTHING}, {true, "adam", 16, 0, NOTHING},   {true, "adam", 1, 0, NOTHING},
    {true, "sgd", 256, 0, DROPOUT},    {true, "sgd", 256, 0, OPERATION},
};
#define MEMORY_CASES (int)(sizeof memory_cases / sizeof *memory_cases)

START_TEST(training_bytes_are_announced) {
    const memory_case *c = &memory_cases[_i];
    const size_t in = 784, count = 2000; /* whose order is 8000 bytes */
    rbe_dataset data = {.count = count, .features = in, .classes = 10};
    data.pixels = calloc(count, in);
    data.labels = calloc(count, sizeof *data.labels);
    ck_assert(data.pixels && data.labels);
    size_t before = rbe_memory().current;
    rbe_memory_reset_peak();
    rbe_model *model = rbe_model_new();
    if (c->first == DROPOUT) rbe_model_add(model, rbe_dropout_new(0.1f));
    if (c->first == OPERATION) rbe_model_apply(model, rbe_tanh);
    rbe_model_add(model, c->compressed ? rbe_linear_new(in, 300, NULL) : rbe_dense_new(in, 300, NULL));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, c->compressed ? rbe_linear_new(300, 100, NULL) : rbe_dense_new(300, 100, NULL));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, rbe_dense_new(100, 10, NULL));
    const rbe_optim_method *method = rbe_optim_method_named(c->method);
    const rbe_optim_options optim_options = {.momentum = c->momentum};
    rbe_optim *optim = rbe_optim_new(method, model, &optim_options);
    ck_assert_msg(optim != NULL, "%s", rbe_last_error());
    const rbe_fit_options options = {.epochs = 1, .batch = c->batch};
    ck_assert_int_eq(rbe_fit(model, optim, &data, &data, &options, NULL), RBE_OK);
    double announced = (double)(rbe_training_bytes(model, method, &optim_options, in, c->batch) + 4 * count);
    double taken = (double)(rbe_memory().peak - before);
    ck_assert_msg(fabs(announced / taken - 1) < 0.05, "announced %.0f bytes, taken %.0f", announced, taken);
    rbe_optim_free(optim);
    rbe_model_free(model);
    free(data.pixels);
    free(data.labels);
}
END_TEST

/* A whole program in small: data, model, optimiser, fit with evaluation. */
static rbe_status small_program(void) {
    static float values[40 * FEATURES];
    static int32_t labels[40];
    for (size_t n = 0; n < 40; n++) {
        labels[n] = (int32_t)(n % CLASSES);
        for (size_t j = 0; j < FEATURES; j++) values[n * FEATURES + j] = (float)(n * 7 % 11 + j) / 20.0f;
    }
    rbe_dataset data;
    RBE_TRY(rbe_dataset_from_floats(&data, values, labels, 40, FEATURES, CLASSES));
    rbe_model *model = rbe_model_new();
    if (!model) {
        rbe_dataset_free(&data);
        return rbe_last_status();
    }
    rbe_model_add(model, rbe_linear_new(FEATURES, 16, &(rbe_linear_options){.block = 8, .ratio = 2}));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, rbe_dropout_new(0.1f));
    rbe_model_add(model, rbe_dense_new(16, CLASSES, NULL));
    rbe_optim *optim = rbe_optim_new(rbe_adam, model, NULL);
    const rbe_fit_options options = {.epochs = 2, .batch = 16};
    rbe_status status = optim ? rbe_fit(model, optim, &data, &data, &options, NULL) : rbe_last_status();
    rbe_optim_free(optim);
    rbe_model_free(model);
    rbe_dataset_free(&data);
    return status;
}

START_TEST(every_allocation_may_fail) {
    bool reached = true;
    for (size_t n = 1; reached; n++) {
        failing_allocator allocator;
        failing_allocator_install(&allocator, n);
        rbe_status status = small_program();
        reached = failing_allocator_remove(&allocator);
        /* For a model, a layer that could not be made is an argument that is NULL; the text says why. */
        bool named = status == RBE_INSUFFICIENT_MEMORY ||
                     (status == RBE_INVALID_ARGUMENT && strstr(rbe_last_error(), "the layer is NULL (last failure: "));
        ck_assert_msg(reached ? named && strstr(rbe_last_error(), "the allocator gave none") : status == RBE_OK,
                      "allocation %zu: %s: %s", n, rbe_status_name(status), rbe_last_error());
    }
}
END_TEST

/* ---- what is shown ------------------------------------------------------------------------------------------- */

START_TEST(plain_lines) {
    FILE *out = tmpfile();
    fixture f = fixture_new(0.01f);
    const rbe_fit_options options = {.epochs = 3, .batch = 50, .progress = out, .label = "small"};
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, &f.test, &options, NULL), RBE_OK);
    rewind(out);
    char line[256];
    int lines = 0;
    while (fgets(line, sizeof line, out)) {
        char start[32];
        snprintf(start, sizeof start, "small  epoch %d/3 ", ++lines);
        ck_assert_msg(strncmp(line, start, strlen(start)) == 0 && strstr(line, "test loss") && !strchr(line, '\r'),
                      "%s", line);
    }
    ck_assert_int_eq(lines, 3);
    fclose(out);
    fixture_free(&f);
}
END_TEST

/* The master's end of a terminal `columns` wide; *out is the other end. -1 where there are none. */
static int open_terminal(unsigned short columns, FILE **out) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0) return -1;
    ck_assert_int_eq(grantpt(master), 0);
    ck_assert_int_eq(unlockpt(master), 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    ck_assert_int_ge(slave, 0);
    struct winsize size = {.ws_row = 24, .ws_col = columns};
    ck_assert_int_eq(ioctl(slave, TIOCSWINSZ, &size), 0);
    *out = fdopen(slave, "w");
    return master;
}

START_TEST(bar_fits_the_terminal) {
    const unsigned short widths[] = {200, 80, 60, 20, 1};
    const rbe_metric *const metrics[] = {rbe_metric_error, rbe_metric_r2, rbe_metric_loss};
    const char *const shown[] = {"loss 0.5000  error 25.00 %", "loss 0.5000  r2 0.25", "loss 0.5000  ETA"};
    const unsigned short columns = widths[_i % 5];
    FILE *out;
    int master = open_terminal(columns, &out);
    if (master < 0) return;
    rbe_bar bar;
    rbe_bar_open(&bar, out, "label", metrics[_i / 5]);
    ck_assert(bar.terminal);
    rbe_progress p = {.epochs = 2, .steps = 100, .mean_loss = 0.5, .mean_metric = 0.25};
    for (; p.step < 50; p.step++) { /* every 0.05 s: every second step is drawn */
        p.seconds = 0.05 * (double)p.step + 0.001;
        rbe_bar_step(&bar, &p);
    }
    rbe_bar_close(&bar);
    fclose(out);
    char text[8192];
    size_t length = 0;
    ssize_t got; /* an error once all is read, for the other end is closed */
    while ((got = read(master, text + length, sizeof text - 1 - length)) > 0) length += (size_t)got;
    text[length] = '\0';
    close(master);
    ck_assert_uint_gt(length, 3);
    ck_assert_str_eq(text + length - strlen("\r\033[K"), "\r\033[K"); /* cleared at the end */
    int drawn = 0;
    for (char *at = text, *end; (end = strstr(at, "\r\033[K")); at = end + strlen("\r\033[K"), drawn++)
        ck_assert_msg(end - at < columns && !memchr(at, '\n', (size_t)(end - at)), "a line of %d columns: %.*s",
                      (int)(end - at), (int)(end - at), at);
    ck_assert_int_ge(drawn, 20);
    ck_assert_int_le(drawn, 26);
    ck_assert(columns < 40 || (strstr(text, "ETA") && (columns < 70 || strstr(text, shown[_i / 5]))));
}
END_TEST

Suite *train_suite(void) {
    Suite *suite = suite_create("train");
    TCase *evaluation_case = tcase_create("evaluation");
    tcase_add_test(evaluation_case, evaluation_counts);
    tcase_add_test(evaluation_case, evaluation_drops_nothing);
    tcase_add_test(evaluation_case, evaluation_refuses);
    suite_add_tcase(suite, evaluation_case);
    TCase *null_case = tcase_create("NULL");
    tcase_add_test(null_case, what_could_not_be_made_is_refused);
    tcase_add_test(null_case, data_sets_need_data);
    suite_add_tcase(suite, null_case);
    TCase *fit_case = tcase_create("fit");
    tcase_add_test(fit_case, fit_learns);
    tcase_add_test(fit_case, epochs_drop_differently);
    tcase_add_test(fit_case, defaults_and_edges);
    tcase_add_test(fit_case, fit_refuses);
    tcase_add_test(fit_case, log_repeats);
    tcase_add_test(fit_case, log_ignores_the_locale);
    tcase_add_test(fit_case, log_rows);
    tcase_add_test(fit_case, callbacks);
    tcase_add_test(fit_case, a_step_can_stop);
    tcase_add_test(fit_case, an_epoch_can_stop);
    tcase_add_loop_test(fit_case, a_callbacks_text_is_kept, 0, 2 * ANSWERS);
    tcase_add_loop_test(fit_case, a_callback_sets_the_rate, 0, 18);
    tcase_add_test(fit_case, a_rate_of_zero_stops_learning);
    suite_add_tcase(suite, fit_case);
    TCase *finite_case = tcase_create("not finite");
    tcase_add_loop_test(finite_case, nan_is_located, 0, 2);
    tcase_add_test(finite_case, divergence_leaves_the_last_parameters);
    tcase_add_test(finite_case, evaluation_names_the_epoch);
    tcase_add_test(finite_case, gradient_overflow_is_located);
    suite_add_tcase(suite, finite_case);
    TCase *memory_case_ = tcase_create("memory");
    tcase_add_test(memory_case_, steady_steps_allocate_nothing);
    tcase_add_loop_test(memory_case_, training_bytes_are_announced, 0, MEMORY_CASES);
    tcase_add_test(memory_case_, every_allocation_may_fail);
    suite_add_tcase(suite, memory_case_);
    TCase *shown_case = tcase_create("progress");
    tcase_add_test(shown_case, plain_lines);
    tcase_add_loop_test(shown_case, bar_fits_the_terminal, 0, 15);
    suite_add_tcase(suite, shown_case);
    return suite;
}
