/* Early stopping and the best model: which epoch is the best, when patience ends, what the file holds, and what happens
 * when it cannot be written. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rbe/train.h"
#include "suites.h"
#include "support.h"
#include "train/best.h"

enum { SAMPLES = 60, FEATURES = 4 };

static float values[SAMPLES * FEATURES], targets[SAMPLES];

/* A sum of the features, of which the last third, the test data, has noise of its own. */
static void samples(rbe_dataset *train, rbe_dataset *test) {
    fill_normal(values, SAMPLES * FEATURES, 1.0, 1);
    fill_normal(targets, SAMPLES, 0.2, 2);
    for (int n = 0; n < SAMPLES; n++)
        for (int j = 0; j < FEATURES; j++) targets[n] += values[n * FEATURES + j];
    *train =
        (rbe_dataset){.count = SAMPLES, .features = FEATURES, .values = values, .targets = targets, .target_width = 1};
    ck_assert_int_eq(rbe_dataset_split(train, 20, test), RBE_OK);
}

/* ---- which is the best --------------------------------------------------------------------------------------- */

enum { EPOCHS = 8 };

static const struct course {
    size_t patience;
    bool by_metric, higher_is_better;
    double loss[EPOCHS], metric[EPOCHS]; /* of each epoch */
    size_t done, best;
} courses[] = {
    {0, false, false, {5, 4, 6, 6, 6, 6, 6, 3}, {0}, 8, 7},
    {3, false, false, {5, 4, 6, 6, 6, 1, 1, 1}, {0}, 5, 1},
    {3, false, false, {5, 4, 6, 6, 3, 6, 6, 6}, {0}, 8, 4},
    {1, false, false, {5, 4, 3, 3, 1, 1, 1, 1}, {0}, 4, 2}, /* equal is not better */
    {1, false, false, {5, 6, 1, 1, 1, 1, 1, 1}, {0}, 2, 0},
    {2, false, false, {NAN, 4, NAN, NAN, 1, 1, 1, 1}, {0}, 4, 1},
    {2, false, false, {NAN, NAN, NAN, 1, 1, 1, 1, 1}, {0}, 3, 0},
    {2, true, false, {1, 2, 3, 4, 5, 6, 7, 8}, {9, 8, 7, 6, 7, 7, 1, 1}, 6, 3},
    {2, true, true, {1, 2, 3, 4, 5, 6, 7, 8}, {0.1, 0.2, 0.9, 0.8, 0.9, 1, 1, 1}, 5, 2},
    {2, true, true, {1, 2, 3, 4, 5, 6, 7, 8}, {-0.5, -0.2, -0.9, 0.1, 0, -1, 1, 1}, 6, 3},
};
#define COURSES (int)(sizeof courses / sizeof *courses)

START_TEST(the_best_epoch) {
    const struct course *c = &courses[_i];
    const rbe_metric metric = {.name = "own", .higher_is_better = c->higher_is_better};
    const rbe_fit_options options = {.patience = c->patience, .best_by_metric = c->by_metric, .metric = &metric};
    rbe_best best = {.options = &options};
    size_t epoch = 0;
    for (; epoch < EPOCHS && !rbe_best_is_over(&best); epoch++) {
        const rbe_evaluation found = {.loss = c->loss[epoch], .metric = c->metric[epoch], .count = 1};
        ck_assert_int_eq(rbe_best_judge(&best, NULL, epoch, &found), RBE_OK);
    }
    ck_assert_uint_eq(epoch, c->done);
    ck_assert_uint_eq(best.epoch, c->best);
    ck_assert(best.evaluation.metric == c->metric[c->best]);
}
END_TEST

/* ---- in a training ------------------------------------------------------------------------------------------- */

typedef struct fixture {
    rbe_dataset train, test;
    rbe_model *model;
    rbe_optim *optim;
    char folder[32], path[64];
} fixture;

static void fixture_start(fixture *f) {
    strcpy(f->folder, "/tmp/rbe_best_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/best.safetensors", f->folder);
    samples(&f->train, &f->test);
    f->model = rbe_model_new();
    rbe_model_add(f->model, rbe_dense_new(FEATURES, 1, &(rbe_dense_options){.seed = 1}));
    f->optim = rbe_optim_new(rbe_sgd, f->model, &(rbe_optim_options){.lr = 0.05f});
    ck_assert_msg(f->optim != NULL, "%s", rbe_last_error());
}

static void fixture_free(fixture *f) {
    rbe_optim_free(f->optim);
    rbe_model_free(f->model);
    unlink(f->path);
    ck_assert_int_eq(rmdir(f->folder), 0); /* nothing else is left there */
    ck_assert_uint_eq(rbe_memory().current, 0);
}

/* Notes every evaluation, and spoils the model after some epoch. */
typedef struct course_of_training {
    fixture *f;
    size_t epochs, spoil_at;
    rbe_evaluation found[40];
} course_of_training;

static rbe_status note_epoch(void *user, const rbe_progress *p) {
    course_of_training *c = user;
    ck_assert_uint_eq(c->epochs++, p->epoch);
    c->found[p->epoch] = *p->test;
    if (p->epoch == c->spoil_at) {
        rbe_model_param(c->f->model, 0)->value[0] += 100.0f;
        return rbe_optim_set_lr(c->f->optim, 0.0f);
    }
    return RBE_OK;
}

/* [31] The model gets better for a while and is then spoilt: patience ends four epochs after the best one, and the file
 * has the model of that one, which gives its loss again. */
START_TEST(patience_and_the_best_model) {
    fixture f;
    fixture_start(&f);
    course_of_training c = {.f = &f, .spoil_at = 9};
    const rbe_fit_options options = {.epochs = 40,
                                     .batch = 10,
                                     .patience = 4,
                                     .best_path = f.path,
                                     .best_by_metric = _i == 1,
                                     .on_epoch = note_epoch,
                                     .user = &c};
    rbe_fit_result result;
    ck_assert_msg(rbe_fit(f.model, f.optim, &f.train, &f.test, &options, &result) == RBE_OK, "%s", rbe_last_error());
    ck_assert_uint_lt(result.best_epoch, 10);
    ck_assert_uint_eq(result.epochs, result.best_epoch + 1 + 4);
    ck_assert_uint_eq(c.epochs, result.epochs);
    ck_assert_uint_eq(result.steps, 4 * result.epochs);
    for (size_t n = 0; n < c.epochs; n++)
        if (n != result.best_epoch) ck_assert(c.found[n].loss > result.best.loss);
    ck_assert_double_eq(result.best.loss, c.found[result.best_epoch].loss);
    ck_assert_double_eq(result.test.loss, c.found[c.epochs - 1].loss);
    rbe_model *best = rbe_model_load(f.path);
    rbe_evaluation again;
    ck_assert_msg(rbe_evaluate(best, &f.test, 10, &again) == RBE_OK, "%s", rbe_last_error());
    ck_assert_double_eq(again.loss, result.best.loss);
    ck_assert_double_eq(again.metric, result.best.metric);
    rbe_model_free(best);
    fixture_free(&f);
}
END_TEST

START_TEST(the_best_is_saved_as_wanted) {
    fixture f;
    fixture_start(&f);
    rbe_fit_options options = {.epochs = 3, .best_path = f.path};
    for (int half = 0; half < 2; half++) {
        options.best_save = half ? &(rbe_save_options){.store = RBE_STORE_F16} : NULL;
        rbe_fit_result result;
        rbe_evaluation again;
        ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, &f.test, &options, &result), RBE_OK);
        rbe_model *best = rbe_model_load(f.path);
        ck_assert_int_eq(rbe_evaluate(best, &f.test, 128, &again), RBE_OK);
        ck_assert_int_eq(again.loss != result.best.loss, half);
        rbe_model_free(best);
    }
    fixture_free(&f);
}
END_TEST

/* Without patience and a path the result says which epoch was best all the same; without test data there is none. */
START_TEST(the_result_knows_the_best) {
    fixture f;
    fixture_start(&f);
    course_of_training c = {.f = &f, .spoil_at = 5};
    rbe_fit_options options = {.epochs = 9, .batch = 10, .on_epoch = note_epoch, .user = &c};
    rbe_fit_result result;
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, &f.test, &options, &result), RBE_OK);
    ck_assert_uint_eq(result.epochs, 9);
    ck_assert(result.best_epoch < 6 && result.best.count == 20);
    options = (rbe_fit_options){.epochs = 2};
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, NULL, &options, &result), RBE_OK);
    ck_assert(result.epochs == 2 && result.best.count == 0 && result.best_epoch == 0);
    fixture_free(&f);
}
END_TEST

/* ---- what is refused ----------------------------------------------------------------------------------------- */

START_TEST(test_data_are_needed) {
    fixture f;
    fixture_start(&f);
    rbe_fit_options options = {.patience = 1};
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, NULL, &options, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rbe_last_error(), "patience needs test data"), "%s", rbe_last_error());
    options = (rbe_fit_options){.best_path = f.path};
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, NULL, &options, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rbe_last_error(), "best_path needs test data"), "%s", rbe_last_error());
    ck_assert_int_ne(access(f.path, F_OK), 0);
    fixture_free(&f);
}
END_TEST

/* None of the files may be another one. */
START_TEST(each_file_has_its_name) {
    fixture f;
    fixture_start(&f);
    const rbe_checkpoint_options keep = {.path = f.path};
    const struct {
        rbe_fit_options options;
        const char *text;
    } cases[] = {
        {{.best_path = f.path, .csv_path = f.path}, "best_path and csv_path are the same file"},
        {{.checkpoint = &keep, .csv_path = f.path}, "checkpoint and csv_path are the same file"},
        {{.checkpoint = &keep, .best_path = f.path}, "checkpoint and best_path are the same file"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, &f.test, &cases[n].options, NULL), RBE_INVALID_ARGUMENT);
        ck_assert_msg(strstr(rbe_last_error(), cases[n].text), "%s", rbe_last_error());
    }
    ck_assert_int_ne(access(f.path, F_OK), 0);
    fixture_free(&f);
}
END_TEST

/* A model that cannot be saved ends the training with the reason, after the epoch's step and before its callback. */
START_TEST(a_file_that_cannot_be_written) {
    fixture f;
    fixture_start(&f);
    course_of_training c = {.f = &f, .spoil_at = 99};
    const rbe_fit_options options = {
        .epochs = 3, .best_path = "/nonexistent/folder/best", .on_epoch = note_epoch, .user = &c};
    rbe_fit_result result;
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, &f.test, &options, &result), RBE_IO_ERROR);
    ck_assert_msg(strstr(rbe_last_error(), "/nonexistent/folder"), "%s", rbe_last_error());
    ck_assert(result.steps == 1 && result.epochs == 0 && c.epochs == 0 && result.best.count == 20);
    fixture_free(&f);
}
END_TEST

static rbe_var *own_operation(rbe_var *v) { return rbe_scale(v, 2.0f); }

START_TEST(a_model_that_cannot_be_saved) {
    fixture f;
    fixture_start(&f);
    ck_assert_int_eq(rbe_model_apply(f.model, own_operation), RBE_OK);
    const rbe_fit_options options = {.epochs = 3, .best_path = f.path};
    ck_assert_int_eq(rbe_fit(f.model, f.optim, &f.train, &f.test, &options, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rbe_last_error(), "cannot be stored"), "%s", rbe_last_error());
    fixture_free(&f);
}
END_TEST

Suite *best_suite(void) {
    Suite *suite = suite_create("best");
    TCase *rule = tcase_create("rule");
    tcase_add_loop_test(rule, the_best_epoch, 0, COURSES);
    suite_add_tcase(suite, rule);
    TCase *training = tcase_create("training");
    tcase_add_loop_test(training, patience_and_the_best_model, 0, 2);
    tcase_add_test(training, the_best_is_saved_as_wanted);
    tcase_add_test(training, the_result_knows_the_best);
    suite_add_tcase(suite, training);
    TCase *refusals_case = tcase_create("refused");
    tcase_add_test(refusals_case, test_data_are_needed);
    tcase_add_test(refusals_case, each_file_has_its_name);
    tcase_add_test(refusals_case, a_file_that_cannot_be_written);
    tcase_add_test(refusals_case, a_model_that_cannot_be_saved);
    suite_add_tcase(suite, refusals_case);
    return suite;
}
