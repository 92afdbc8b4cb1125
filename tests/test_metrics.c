/* Metrics: error, R^2 and perplexity against plain loops, whatever the batches; one's own; the log's columns and the
 * bar's text by the metric's name; what is refused. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rbe/train.h"
#include "suites.h"
#include "support.h"

enum { SAMPLES = 90, FEATURES = 4, WIDTH = 3 };

static float values[SAMPLES * FEATURES], targets[SAMPLES * WIDTH], weights[SAMPLES];
static int32_t labels[SAMPLES * 2];

/* Samples whose targets are far from 0 in one column and all in another scale. */
static rbe_dataset samples(void) {
    fill_normal(values, SAMPLES * FEATURES, 1.0, 1);
    fill_normal(targets, SAMPLES * WIDTH, 1.0, 2);
    for (int n = 0; n < SAMPLES; n++) {
        targets[n * WIDTH] += 1000.0f;
        targets[n * WIDTH + 2] *= 30.0f;
        labels[n] = n * n % WIDTH;
        weights[n] = (float)(n % 3);
    }
    return (rbe_dataset){.count = SAMPLES, .features = FEATURES, .values = values};
}

static rbe_dataset with_labels(void) {
    rbe_dataset data = samples();
    data.labels = labels;
    data.classes = WIDTH;
    return data;
}

static rbe_dataset with_targets(void) {
    rbe_dataset data = samples();
    data.targets = targets;
    data.target_width = WIDTH;
    return data;
}

static rbe_model *small_model(void) {
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_dense_new(FEATURES, WIDTH, &(rbe_dense_options){.seed = 4}));
    return model;
}

static const size_t batches[] = {1, 7, 64, 1000};

static rbe_evaluation evaluate(const rbe_model *model, const rbe_dataset *data, size_t batch, rbe_loss loss,
                               const rbe_metric *metric) {
    rbe_evaluation e;
    const rbe_evaluate_options options = {.batch = batch, .loss = loss, .metric = metric};
    ck_assert_msg(rbe_evaluate_with(model, data, &options, &e) == RBE_OK, "%s", rbe_last_error());
    ck_assert_uint_eq(e.count, SAMPLES);
    return e;
}

/* 1 - residual / total, with two passes over everything. */
static double expected_r2(const float *y) {
    double residual = 0.0, total = 0.0;
    for (size_t j = 0; j < WIDTH; j++) {
        double mean = 0.0;
        for (size_t n = 0; n < SAMPLES; n++) mean += (double)targets[n * WIDTH + j] / SAMPLES;
        for (size_t n = 0; n < SAMPLES; n++) {
            double t = (double)targets[n * WIDTH + j];
            residual += pow(t - (double)y[n * WIDTH + j], 2);
            total += pow(t - mean, 2);
        }
    }
    return 1.0 - residual / total;
}

START_TEST(r2) {
    rbe_dataset data = with_targets();
    rbe_model *model = small_model();
    rbe_param *bias = rbe_model_param(model, 1);
    bias->value[0] = 1000.0f;
    float y[SAMPLES * WIDTH];
    ck_assert_int_eq(rbe_predict(model, values, SAMPLES, y), RBE_OK);
    double expected = expected_r2(y);
    ck_assert_double_lt(expected, 0.9);
    rbe_evaluation e = evaluate(model, &data, batches[_i], (rbe_loss){0}, NULL); /* the default */
    ck_assert_double_eq_tol(e.metric, expected, 1e-6);
    ck_assert(isnan(e.error) && isnan(e.error_uncertainty));
    double loss = 0.0;
    for (int n = 0; n < SAMPLES * WIDTH; n++) loss += pow((double)y[n] - (double)targets[n], 2) / (SAMPLES * WIDTH);
    ck_assert_double_eq_tol(e.loss / loss, 1.0, 1e-6);
    rbe_model_free(model);
}
END_TEST

/* 1 for what is right, 0 for the means, NaN where there is nothing to explain. */
START_TEST(r2_has_fixed_points) {
    rbe_dataset data = with_targets();
    data.features = WIDTH;
    data.values = targets;
    const float identity[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1}, nothing[9] = {0};
    float mean[WIDTH] = {0};
    for (int n = 0; n < SAMPLES * WIDTH; n++) mean[n % WIDTH] += targets[n] / SAMPLES;
    rbe_model *right = rbe_model_new(), *constant = rbe_model_new();
    rbe_model_add(right, rbe_dense_from_weights(3, 3, identity, NULL, NULL));
    rbe_model_add(constant, rbe_dense_from_weights(3, 3, nothing, mean, NULL));
    ck_assert_double_eq(evaluate(right, &data, 16, (rbe_loss){0}, NULL).metric, 1.0);
    ck_assert_double_eq_tol(evaluate(constant, &data, 16, (rbe_loss){0}, NULL).metric, 0.0, 1e-6);
    for (int n = 0; n < SAMPLES * WIDTH; n++) targets[n] = 7.0f;
    ck_assert(isnan(evaluate(right, &data, 16, (rbe_loss){0}, NULL).metric));
    rbe_model_free(right);
    rbe_model_free(constant);
}
END_TEST

/* Weights count in the loss, of which the perplexity is made; the error takes every label once. */
START_TEST(error_and_perplexity) {
    rbe_dataset data = with_labels();
    if (_i % 2) data.weights = weights;
    rbe_model *model = small_model();
    float y[SAMPLES * WIDTH];
    ck_assert_int_eq(rbe_predict(model, values, SAMPLES, y), RBE_OK);
    double wrong = 0, loss = 0, weight = 0;
    for (int n = 0; n < SAMPLES; n++) {
        const float *row = y + n * WIDTH;
        double z = 0, w = _i % 2 ? (double)weights[n] : 1.0;
        bool right = true;
        for (int j = 0; j < WIDTH; j++) {
            z += exp((double)row[j]);
            right &= j == labels[n] || row[j] < row[labels[n]];
        }
        wrong += !right;
        loss += w * (log(z) - (double)row[labels[n]]);
        weight += w;
    }
    rbe_evaluation e = evaluate(model, &data, batches[_i / 2], (rbe_loss){0}, NULL);
    ck_assert_double_eq(e.error, wrong / SAMPLES);
    ck_assert_double_eq(e.metric, e.error);
    ck_assert_double_eq_tol(e.error_uncertainty, sqrt(e.error * (1 - e.error) / SAMPLES), 1e-15);
    ck_assert_double_eq_tol(e.loss, loss / weight, 1e-6);
    e = evaluate(model, &data, batches[_i / 2], (rbe_loss){0}, rbe_metric_perplexity);
    ck_assert_double_eq_tol(e.metric, exp(loss / weight), 1e-5);
    ck_assert(isnan(e.error));
    e = evaluate(model, &data, batches[_i / 2], (rbe_loss){0}, rbe_metric_loss);
    ck_assert_double_eq(e.metric, e.loss);
    rbe_model_free(model);
}
END_TEST

/* A model of sequences: a row of outputs for each of two labels. */
static rbe_var *two_places(rbe_var *x) {
    const rbe_tensor *v = rbe_value(x);
    return rbe_reshape(x, 3, (const size_t[]){rbe_tensor_rows(v), 2, rbe_tensor_columns(v) / 2});
}

START_TEST(labels_for_each_place) {
    rbe_dataset data = with_labels();
    data.label_width = 2;
    for (int n = 0; n < SAMPLES * 2; n++) labels[n] = n * n % 3;
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_dense_new(FEATURES, 6, &(rbe_dense_options){.seed = 1}));
    rbe_model_apply(model, two_places);
    float y[SAMPLES * 6];
    rbe_model *flat = rbe_model_new(); /* the same without the reshape */
    rbe_model_add(flat, rbe_dense_new(FEATURES, 6, &(rbe_dense_options){.seed = 1}));
    ck_assert_int_eq(rbe_predict(flat, values, SAMPLES, y), RBE_OK);
    double wrong = 0;
    for (int n = 0; n < SAMPLES * 2; n++) {
        bool right = true;
        for (int j = 0; j < 3; j++) right &= j == labels[n] || y[n * 3 + j] < y[n * 3 + labels[n]];
        wrong += !right;
    }
    rbe_evaluation e = evaluate(model, &data, batches[_i], (rbe_loss){0}, NULL);
    ck_assert_double_eq(e.error, wrong / (2 * SAMPLES));
    ck_assert_double_eq_tol(e.error_uncertainty, sqrt(e.error * (1 - e.error) / (2 * SAMPLES)), 1e-15);
    rbe_model_free(model);
    rbe_model_free(flat);
}
END_TEST

/* ---- one's own ----------------------------------------------------------------------------------------------- */

typedef struct largest {
    int calls;
    rbe_status answer;
    const char *text;
} largest;

static rbe_status add_largest(void *user, double *sums, const rbe_tensor *output, const rbe_batch *batch, double loss) {
    largest *l = user;
    l->calls++;
    if (l->text) rbe_fail(l->answer, "%s", l->text);
    if (l->answer != RBE_OK) return l->answer;
    ck_assert(loss > 0);
    for (size_t n = 0; n < rbe_tensor_count(&batch->targets); n++)
        sums[n % WIDTH] = fmax(sums[n % WIDTH], fabs((double)output->data[n] - (double)batch->targets.data[n]));
    return RBE_OK;
}

static double value_of_largest(void *user, const double *sums) {
    (void)user;
    return fmax(sums[0], fmax(sums[1], sums[2]));
}

/* The largest deviation, with a sum for each target column. */
static rbe_metric own_metric(largest *l) {
    return (rbe_metric){.name = "largest", .target_sums = 1, .add = add_largest, .value = value_of_largest, .user = l};
}

START_TEST(a_metric_of_ones_own) {
    rbe_dataset data = with_targets();
    rbe_model *model = small_model();
    float y[SAMPLES * WIDTH];
    double expected = 0;
    ck_assert_int_eq(rbe_predict(model, values, SAMPLES, y), RBE_OK);
    for (int n = 0; n < SAMPLES * WIDTH; n++) expected = fmax(expected, fabs((double)y[n] - (double)targets[n]));
    largest l = {0};
    rbe_metric own = own_metric(&l);
    ck_assert_double_eq(evaluate(model, &data, 30, (rbe_loss){0}, &own).metric, expected);
    ck_assert_int_eq(l.calls, 3);
    rbe_model_free(model);
}
END_TEST

static const struct failure {
    largest l;
    const char *text;
} failures[] = {
    {{.answer = RBE_BAD_FORMAT, .text = "a text of its own"}, "a text of its own"},
    {{.answer = RBE_BAD_FORMAT}, "the metric failed: a file does not have the expected format"},
    {{.answer = RBE_STOPPED}, "the metric failed"},
};

START_TEST(a_metric_that_fails) {
    rbe_dataset data = with_targets();
    rbe_model *model = small_model();
    rbe_optim *optim = rbe_optim_new(rbe_sgd, model, NULL);
    largest l = failures[_i].l;
    rbe_metric own = own_metric(&l);
    rbe_evaluation e = {.count = 77};
    ck_assert_int_eq(rbe_evaluate_with(model, &data, &(rbe_evaluate_options){.metric = &own}, &e), l.answer);
    ck_assert_str_eq(rbe_last_error(), failures[_i].text);
    ck_assert_uint_eq(e.count, 77);
    ck_assert_int_eq(rbe_fit(model, optim, &data, NULL, &(rbe_fit_options){.metric = &own}, NULL), l.answer);
    ck_assert_str_eq(rbe_last_error(), failures[_i].text);
    rbe_optim_free(optim);
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* ---- the log and the bar ------------------------------------------------------------------------------------- */

/* First line of what a training of two epochs writes: of its log, or of its progress; *lines of all. */
static void first_line(const rbe_dataset *data, const rbe_metric *metric, rbe_loss loss, bool of_log, char line[256],
                       int *lines) {
    char path[] = "/tmp/rbe_metric_XXXXXX", rest[256];
    int descriptor = mkstemp(path);
    ck_assert_int_ge(descriptor, 0);
    close(descriptor);
    FILE *progress = tmpfile();
    rbe_model *model = small_model();
    rbe_optim *optim = rbe_optim_new(rbe_adam, model, NULL);
    const rbe_fit_options options = {.epochs = 2,
                                     .batch = 32,
                                     .metric = metric,
                                     .loss = loss,
                                     .csv_path = path,
                                     .log_every = 1,
                                     .progress = progress};
    ck_assert_msg(rbe_fit(model, optim, data, data, &options, NULL) == RBE_OK, "%s", rbe_last_error());
    rewind(progress);
    FILE *file = of_log ? fopen(path, "r") : progress;
    ck_assert(fgets(line, 256, file));
    size_t commas = 0, expected = 0;
    for (const char *c = line; *c; c++) expected += *c == ',';
    for (*lines = 1; fgets(rest, sizeof rest, file); ++*lines) {
        commas = 0;
        for (const char *c = rest; *c; c++) commas += *c == ',';
        if (of_log) ck_assert_uint_eq(commas, expected); /* as many columns in every row */
    }
    if (of_log) fclose(file);
    fclose(progress);
    unlink(path);
    rbe_optim_free(optim);
    rbe_model_free(model);
}

static const struct column_case {
    bool labelled;
    const rbe_metric *const *metric;
    rbe_loss_function loss;
    const char *header, *shown[2];
} column_cases[] = {
    {true,
     NULL,
     NULL,
     "kind,epoch,step,train_loss,train_error,test_loss,test_error,test_error_uncertainty,learning_rate\n",
     {"  error ", " +- "}},
    {true,
     &rbe_metric_perplexity,
     NULL,
     "kind,epoch,step,train_loss,train_perplexity,test_loss,test_perplexity,learning_rate\n",
     {"  perplexity ", "  perplexity "}},
    {false, NULL, NULL, "kind,epoch,step,train_loss,train_r2,test_loss,test_r2,learning_rate\n", {"  r2 ", "  r2 "}},
    {false,
     &rbe_metric_loss,
     rbe_loss_mean_squared_error,
     "kind,epoch,step,train_loss,test_loss,learning_rate\n",
     {"   train loss ", "   test loss "}},
};
#define COLUMN_CASES (int)(sizeof column_cases / sizeof *column_cases)

START_TEST(columns_have_the_metrics_name) {
    const struct column_case *c = &column_cases[_i];
    rbe_dataset data = c->labelled ? with_labels() : with_targets();
    char line[256];
    int lines;
    const rbe_metric *metric = c->metric ? *c->metric : NULL;
    first_line(&data, metric, (rbe_loss){.function = c->loss}, true, line, &lines);
    ck_assert_str_eq(line, c->header);
    ck_assert_int_eq(lines, 1 + 2 * 3 + 2); /* three steps and one row for each epoch */
    first_line(&data, metric, (rbe_loss){.function = c->loss}, false, line, &lines);
    const char *first = strstr(line, c->shown[0]);
    ck_assert_msg(first && strstr(first + 1, c->shown[1]), "%s", line);
    ck_assert_int_eq(lines, 2);
}
END_TEST

/* ---- what is refused ----------------------------------------------------------------------------------------- */

static const struct refusal {
    bool labelled;
    const rbe_metric *const *metric; /* NULL: `own` */
    rbe_metric own;
    rbe_status status;
    const char *text;
} refusals[] = {
    {true, &rbe_metric_r2, {0}, RBE_INVALID_ARGUMENT, "r2: the samples have no targets"},
    {false, &rbe_metric_error, {0}, RBE_INVALID_ARGUMENT, "error: the samples have no labels"},
    {true, NULL, {0}, RBE_INVALID_ARGUMENT, "found \"(NULL)\""},
    {true, NULL, {.name = ""}, RBE_INVALID_ARGUMENT, "letters"},
    {true, NULL, {.name = "a,b"}, RBE_INVALID_ARGUMENT, "found \"a,b\""},
    {true, NULL, {.name = "of_ten_of_ten_of_ten_of_ten_of_ten_of_ten_of_ten_"}, RBE_INVALID_ARGUMENT, "letters"},
    {true, NULL, {.name = "half", .add = add_largest}, RBE_INVALID_ARGUMENT, "both functions or none"},
    {true, NULL, {.name = "half", .value = value_of_largest}, RBE_INVALID_ARGUMENT, "both functions or none"},
    {false, NULL, {.name = "many", .target_sums = SIZE_MAX / 2}, RBE_INSUFFICIENT_MEMORY, "more than can be addressed"},
    {false, NULL, {.name = "many", .sums = SIZE_MAX}, RBE_INSUFFICIENT_MEMORY, "more than can be addressed"},
};
#define REFUSALS (int)(sizeof refusals / sizeof *refusals)

START_TEST(refused) {
    const struct refusal *r = &refusals[_i];
    rbe_dataset data = r->labelled ? with_labels() : with_targets();
    const rbe_metric *metric = r->metric ? *r->metric : &r->own;
    rbe_model *model = small_model();
    rbe_optim *optim = rbe_optim_new(rbe_sgd, model, NULL);
    rbe_evaluation e = {.count = 77};
    ck_assert_int_eq(rbe_evaluate_with(model, &data, &(rbe_evaluate_options){.metric = metric}, &e), r->status);
    ck_assert_msg(strstr(rbe_last_error(), r->text), "%s", rbe_last_error());
    ck_assert_int_eq(rbe_fit(model, optim, &data, NULL, &(rbe_fit_options){.metric = metric}, NULL), r->status);
    ck_assert_msg(strstr(rbe_last_error(), r->text), "%s", rbe_last_error());
    ck_assert_uint_eq(e.count, 77);
    rbe_optim_free(optim);
    rbe_model_free(model);
}
END_TEST

/* With a loss of one's own the outputs need not be logits: labels that are no column are not read. */
static rbe_var *first_output(void *user, rbe_tape *tape, rbe_var *output, const rbe_batch *batch) {
    (void)user, (void)tape, (void)batch;
    return rbe_mean(rbe_mul(output, output));
}

START_TEST(labels_that_are_no_columns_are_not_read) {
    rbe_dataset data = with_labels();
    rbe_model *model = small_model();
    labels[3] = _i ? 1 << 30 : -1;
    rbe_evaluation e;
    rbe_evaluate_options options = {.loss = {first_output, NULL}};
    ck_assert_int_eq(rbe_evaluate_with(model, &data, &options, &e), RBE_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rbe_last_error(), "error: row 3: expected a label in 0 .. 2"), "%s", rbe_last_error());
    options.metric = rbe_metric_loss;
    ck_assert_int_eq(rbe_evaluate_with(model, &data, &options, &e), RBE_OK);
    rbe_model_free(model);
}
END_TEST

Suite *metrics_suite(void) {
    Suite *suite = suite_create("metrics");
    TCase *known = tcase_create("values");
    tcase_add_loop_test(known, r2, 0, 4);
    tcase_add_test(known, r2_has_fixed_points);
    tcase_add_loop_test(known, error_and_perplexity, 0, 8);
    tcase_add_loop_test(known, labels_for_each_place, 0, 4);
    suite_add_tcase(suite, known);
    TCase *own = tcase_create("own");
    tcase_add_test(own, a_metric_of_ones_own);
    tcase_add_loop_test(own, a_metric_that_fails, 0, 3);
    suite_add_tcase(suite, own);
    TCase *shown = tcase_create("shown");
    tcase_add_loop_test(shown, columns_have_the_metrics_name, 0, COLUMN_CASES);
    suite_add_tcase(suite, shown);
    TCase *refusals_case = tcase_create("refused");
    tcase_add_loop_test(refusals_case, refused, 0, REFUSALS);
    tcase_add_loop_test(refusals_case, labels_that_are_no_columns_are_not_read, 0, 2);
    suite_add_tcase(suite, refusals_case);
    return suite;
}
