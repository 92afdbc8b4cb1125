/* Losses: their values against plain loops, their gradients against finite differences, what weights mean, losses of
 * one's own; what is refused. */
#include <math.h>
#include <string.h>

#include "rbe/train.h"
#include "suites.h"
#include "support.h"

enum { ROWS = 6, COLUMNS = 4, PLACES = 3, FEATURES = 5 };

static float inputs[ROWS * FEATURES], targets[ROWS * COLUMNS], weights[ROWS];
static int32_t labels[ROWS * PLACES];

/* A batch of ROWS samples with everything; the cases take away what they do not want. */
static rbe_batch full_batch(size_t label_width) {
    fill_normal(inputs, ROWS * FEATURES, 1.0, 1);
    fill_normal(targets, ROWS * COLUMNS, 1.0, 2);
    for (int n = 0; n < ROWS * PLACES; n++) labels[n] = n * 7 % COLUMNS;
    for (int n = 0; n < ROWS; n++) weights[n] = 0.25f * (float)(n % 4);
    return (rbe_batch){.x = rbe_tensor_2d(inputs, ROWS, FEATURES),
                       .labels = labels,
                       .label_width = label_width,
                       .targets = rbe_tensor_2d(targets, ROWS, COLUMNS),
                       .weights = weights,
                       .rows = ROWS};
}

static const struct loss_case {
    rbe_loss_function function;
    size_t label_width;
    bool weighted;
} loss_cases[] = {
    {rbe_loss_cross_entropy, 1, false},      {rbe_loss_cross_entropy, 1, true},
    {rbe_loss_cross_entropy, PLACES, false}, {rbe_loss_cross_entropy, PLACES, true},
    {rbe_loss_mean_squared_error, 1, false}, {rbe_loss_mean_squared_error, 1, true},
};
#define LOSS_CASES (int)(sizeof loss_cases / sizeof *loss_cases)

static rbe_batch batch_of(const struct loss_case *c) {
    rbe_batch batch = full_batch(c->label_width);
    if (!c->weighted) batch.weights = NULL;
    return batch;
}

/* Outputs as the loss wants them: a row for each label. */
static rbe_tensor outputs_of(const struct loss_case *c) {
    rbe_tensor y = new_tensor(3, (const size_t[]){ROWS, c->label_width, COLUMNS});
    if (c->label_width == 1) y = (rbe_tensor){y.data, 2, {ROWS, COLUMNS, 1, 1}};
    fill_normal(y.data, ROWS * c->label_width * COLUMNS, 1.0, 3);
    return y;
}

/* The formulas of train.h, in double. */
static double expected_loss(const struct loss_case *c, const rbe_batch *batch, const float *y) {
    double sum = 0.0, weight = 0.0;
    for (size_t n = 0; n < ROWS; n++) {
        double l = 0.0, w = batch->weights ? (double)batch->weights[n] : 1.0;
        if (c->function == rbe_loss_mean_squared_error)
            for (size_t j = 0; j < COLUMNS; j++)
                l += pow((double)y[n * COLUMNS + j] - (double)targets[n * COLUMNS + j], 2) / COLUMNS;
        else
            for (size_t k = n * c->label_width; k < (n + 1) * c->label_width; k++) {
                double z = 0.0;
                for (size_t j = 0; j < COLUMNS; j++) z += exp((double)y[k * COLUMNS + j]);
                l += (log(z) - (double)y[k * COLUMNS + (size_t)labels[k]]) / (double)c->label_width;
            }
        sum += w * l;
        weight += w;
    }
    return sum / weight;
}

START_TEST(values_are_those_of_the_formulas) {
    const struct loss_case *c = &loss_cases[_i];
    rbe_batch batch = batch_of(c);
    rbe_tensor y = outputs_of(c);
    rbe_tape *tape = rbe_tape_new(NULL);
    const rbe_var *loss = c->function(NULL, tape, rbe_input(tape, y), &batch);
    ck_assert_msg(rbe_tape_status(tape) == RBE_OK, "%s", rbe_tape_error(tape));
    ck_assert_double_eq_tol((double)rbe_item(loss), expected_loss(c, &batch, y.data), 1e-6);
    rbe_tape_free(tape);
    rbe_tensor_free(&y);
}
END_TEST

typedef struct built {
    const struct loss_case *c;
    const rbe_batch *batch;
} built;

static rbe_var *build(rbe_tape *tape, rbe_var **leaves, void *user) {
    const built *b = user;
    return b->c->function(NULL, tape, leaves[0], b->batch);
}

START_TEST(gradients_are_those_of_finite_differences) {
    const struct loss_case *c = &loss_cases[_i];
    rbe_batch batch = batch_of(c);
    rbe_tensor y = outputs_of(c);
    double error = gradient_error(build, &y, 1, &(built){c, &batch});
    ck_assert_msg(error < 1e-3, "relative error %g", error);
    rbe_tensor_free(&y);
}
END_TEST

/* Loss and gradient of a batch in which sample n stands `copies` times. */
static double repeated(const struct loss_case *c, const size_t copies[ROWS], float gradient[ROWS * COLUMNS]) {
    rbe_batch plain = batch_of(c), batch = plain;
    static float y[4 * ROWS * COLUMNS], t[4 * ROWS * COLUMNS];
    static int32_t l[4 * ROWS];
    size_t origin[4 * ROWS], rows = 0;
    rbe_tensor all = outputs_of(c);
    for (size_t n = 0; n < ROWS; n++)
        for (size_t k = 0; k < copies[n]; k++, rows++) {
            origin[rows] = n;
            l[rows] = labels[n];
            memcpy(y + rows * COLUMNS, all.data + n * COLUMNS, COLUMNS * sizeof *y);
            memcpy(t + rows * COLUMNS, targets + n * COLUMNS, COLUMNS * sizeof *t);
        }
    rbe_tensor_free(&all);
    batch = (rbe_batch){.labels = l, .label_width = 1, .targets = rbe_tensor_2d(t, rows, COLUMNS), .rows = rows};
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *output = rbe_variable(tape, rbe_tensor_2d(y, rows, COLUMNS));
    rbe_var *loss = c->function(NULL, tape, output, &batch);
    ck_assert_int_eq(rbe_backward(loss), RBE_OK);
    memset(gradient, 0, ROWS * COLUMNS * sizeof *gradient);
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < COLUMNS; j++) gradient[origin[r] * COLUMNS + j] += rbe_grad(output)[r * COLUMNS + j];
    double value = (double)rbe_item(loss);
    rbe_tape_free(tape);
    return value;
}

/* A sample of weight 2 is two samples, one of weight 0 is none. */
START_TEST(a_weight_is_a_number_of_samples) {
    const struct loss_case *c = &loss_cases[_i ? 4 : 0];
    const size_t copies[ROWS] = {1, 2, 0, 3, 1, 2};
    rbe_batch batch = full_batch(1);
    float expected[ROWS * COLUMNS];
    double of_copies = repeated(c, copies, expected);
    for (int n = 0; n < ROWS; n++) weights[n] = (float)copies[n];
    rbe_tensor y = outputs_of(c);
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *output = rbe_variable(tape, y), *loss = c->function(NULL, tape, output, &batch);
    ck_assert_int_eq(rbe_backward(loss), RBE_OK);
    ck_assert_double_eq_tol((double)rbe_item(loss), of_copies, 1e-6);
    ck_assert_double_lt(relative_difference(rbe_grad(output), expected, ROWS * COLUMNS), 1e-6);
    rbe_tape_free(tape);
    rbe_tensor_free(&y);
}
END_TEST

START_TEST(weights_of_zero_teach_nothing) {
    const struct loss_case *c = &loss_cases[_i ? 4 : 0];
    rbe_batch batch = full_batch(1);
    memset(weights, 0, sizeof weights);
    rbe_tensor y = outputs_of(c);
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *output = rbe_variable(tape, y), *loss = c->function(NULL, tape, output, &batch);
    ck_assert_int_eq(rbe_backward(loss), RBE_OK);
    ck_assert_float_eq(rbe_item(loss), 0.0f);
    for (size_t n = 0; n < ROWS * COLUMNS; n++) ck_assert_float_eq(rbe_grad(output)[n], 0.0f);
    rbe_tape_free(tape);
    rbe_tensor_free(&y);
}
END_TEST

/* ---- what is refused ----------------------------------------------------------------------------------------- */

enum { WITH_LABELS = 1, WITH_TARGETS = 2, WITH_WEIGHTS = 4 };

static const struct refusal {
    rbe_loss_function function;
    int with;
    size_t rows, columns; /* of the outputs */
    int32_t label;        /* of the last sample */
    rbe_status status;
    const char *text;
} refusals[] = {
    {rbe_loss_cross_entropy, WITH_TARGETS, ROWS, COLUMNS, 0, RBE_INVALID_ARGUMENT, "no labels"},
    {rbe_loss_cross_entropy, WITH_LABELS, ROWS - 1, COLUMNS, 0, RBE_INPUT_DIMENSION_MISMATCH, "5 rows of outputs"},
    {rbe_loss_cross_entropy, WITH_LABELS, ROWS, 1, 0, RBE_INVALID_ARGUMENT, "use two outputs"},
    {rbe_loss_cross_entropy, WITH_LABELS | WITH_WEIGHTS, ROWS, 1, 0, RBE_INVALID_ARGUMENT, "use two outputs"},
    {rbe_loss_cross_entropy, WITH_LABELS, ROWS, COLUMNS, COLUMNS, RBE_INVALID_ARGUMENT, "label in 0 .. 3, found 4"},
    {rbe_loss_cross_entropy, WITH_LABELS | WITH_WEIGHTS, ROWS, COLUMNS, COLUMNS, RBE_INVALID_ARGUMENT,
     "row 5: expected a label in 0 .. 3, found 4"},
    {rbe_loss_cross_entropy, WITH_LABELS | WITH_WEIGHTS, ROWS, COLUMNS, -1, RBE_INVALID_ARGUMENT, "found -1"},
    {rbe_loss_mean_squared_error, WITH_LABELS, ROWS, COLUMNS, 0, RBE_INVALID_ARGUMENT, "no targets"},
    {rbe_loss_mean_squared_error, WITH_TARGETS, ROWS - 1, COLUMNS, 0, RBE_INPUT_DIMENSION_MISMATCH, "equal shapes"},
    {rbe_loss_mean_squared_error, WITH_TARGETS, ROWS, COLUMNS - 1, 0, RBE_INPUT_DIMENSION_MISMATCH, "equal shapes"},
    {rbe_loss_mean_squared_error, WITH_TARGETS | WITH_WEIGHTS, ROWS, 1, 0, RBE_INPUT_DIMENSION_MISMATCH,
     "equal shapes"},
};
#define REFUSALS (int)(sizeof refusals / sizeof *refusals)

START_TEST(refused) {
    const struct refusal *r = &refusals[_i];
    static float y[ROWS * COLUMNS];
    rbe_batch batch = full_batch(1);
    labels[ROWS - 1] = r->label;
    if (!(r->with & WITH_LABELS)) batch.labels = NULL;
    if (!(r->with & WITH_TARGETS)) batch.targets = (rbe_tensor){0};
    if (!(r->with & WITH_WEIGHTS)) batch.weights = NULL;
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *loss = r->function(NULL, tape, rbe_variable(tape, rbe_tensor_2d(y, r->rows, r->columns)), &batch);
    ck_assert_int_eq(rbe_backward(loss), r->status);
    ck_assert_msg(strstr(rbe_last_error(), r->text), "%s", rbe_last_error());
    ck_assert_ptr_null(r->function(NULL, tape, NULL, &batch)); /* what could not be made passes through */
    rbe_tape_free(tape);
}
END_TEST

/* ---- in a training ------------------------------------------------------------------------------------------- */

static rbe_var *absolute_error(void *user, rbe_tape *tape, rbe_var *output, const rbe_batch *batch) {
    ++*(int *)user;
    rbe_var *d = rbe_sub(output, rbe_input(tape, batch->targets));
    return rbe_mean(rbe_add(rbe_relu(d), rbe_relu(rbe_scale(d, -1.0f))));
}

static rbe_var *no_loss(void *user, rbe_tape *tape, rbe_var *output, const rbe_batch *batch) {
    (void)tape, (void)output, (void)batch;
    if (user) rbe_fail(RBE_BAD_FORMAT, "%s", (const char *)user);
    return NULL;
}

static rbe_var *loss_of_many_values(void *user, rbe_tape *tape, rbe_var *output, const rbe_batch *batch) {
    (void)user, (void)tape, (void)batch;
    return output;
}

static rbe_tape *other_tape;

static rbe_var *loss_of_another_tape(void *user, rbe_tape *tape, rbe_var *output, const rbe_batch *batch) {
    (void)user, (void)tape, (void)output;
    return rbe_mean(rbe_input(other_tape, batch->x));
}

static rbe_var *reconstruction(void *user, rbe_tape *tape, rbe_var *output, const rbe_batch *batch) {
    (void)user;
    return rbe_mean_squared_error(output, rbe_input(tape, batch->x));
}

static rbe_dataset data_with(int with) {
    rbe_batch batch = full_batch(1);
    rbe_dataset data = {.count = ROWS, .features = FEATURES, .values = inputs};
    if (with & WITH_LABELS) {
        data.labels = labels;
        data.classes = COLUMNS;
    }
    if (with & WITH_TARGETS) {
        data.targets = batch.targets.data;
        data.target_width = COLUMNS;
    }
    if (with & WITH_WEIGHTS) data.weights = weights;
    return data;
}

static rbe_status fit(const rbe_dataset *data, rbe_loss loss, size_t outputs, rbe_fit_result *result) {
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_dense_new(FEATURES, outputs, &(rbe_dense_options){.seed = 1}));
    rbe_optim *optim = rbe_optim_new(rbe_adam, model, &(rbe_optim_options){.lr = 0.05f});
    const rbe_fit_options options = {.epochs = 200, .batch = 4, .loss = loss};
    rbe_status status = rbe_fit(model, optim, data, NULL, &options, result);
    rbe_optim_free(optim);
    rbe_model_free(model);
    return status;
}

static int calls;

static const struct training {
    int with;
    rbe_loss loss;
    size_t outputs;
    double below; /* the last epoch's loss */
    rbe_status status;
    const char *text;
} trainings[] = {
    {WITH_LABELS, {0}, COLUMNS, 0.5, RBE_OK, ""},
    {WITH_LABELS | WITH_WEIGHTS, {0}, COLUMNS, 0.5, RBE_OK, ""},
    {WITH_TARGETS, {0}, COLUMNS, 0.3, RBE_OK, ""},
    {WITH_TARGETS | WITH_WEIGHTS, {0}, COLUMNS, 0.1, RBE_OK, ""},
    {WITH_TARGETS, {absolute_error, &calls}, COLUMNS, 0.3, RBE_OK, ""},
    {0, {reconstruction, NULL}, FEATURES, 0.1, RBE_OK, ""},
    {WITH_LABELS | WITH_TARGETS, {rbe_loss_cross_entropy, NULL}, COLUMNS, 0.5, RBE_OK, ""},
    {WITH_LABELS | WITH_TARGETS, {rbe_loss_mean_squared_error, NULL}, COLUMNS, 0.3, RBE_OK, ""},
    {WITH_LABELS | WITH_TARGETS, {0}, COLUMNS, 0, RBE_INVALID_ARGUMENT, "have labels and targets"},
    {0, {0}, COLUMNS, 0, RBE_INVALID_ARGUMENT, "neither labels nor targets"},
    {WITH_TARGETS, {0}, COLUMNS + 1, 0, RBE_INPUT_DIMENSION_MISMATCH, "equal shapes"},
    {WITH_LABELS, {no_loss, NULL}, COLUMNS, 0, RBE_INVALID_ARGUMENT, "expected a loss, found NULL"},
    {WITH_LABELS, {no_loss, "a text of its own"}, COLUMNS, 0, RBE_BAD_FORMAT, "a text of its own"},
    {WITH_LABELS, {loss_of_many_values, NULL}, COLUMNS, 0, RBE_INVALID_ARGUMENT, "one value, found shape (4, 4)"},
    {WITH_LABELS, {loss_of_another_tape, NULL}, COLUMNS, 0, RBE_INVALID_ARGUMENT, "of another tape"},
};
#define TRAININGS (int)(sizeof trainings / sizeof *trainings)

/* [23][31] Whatever the samples have, and whatever the loss is. */
START_TEST(fit_knows_no_loss) {
    const struct training *t = &trainings[_i];
    rbe_dataset data = data_with(t->with);
    rbe_fit_result result;
    other_tape = rbe_tape_new(NULL);
    calls = 0;
    rbe_fail(RBE_IO_ERROR, "an older failure");
    ck_assert_msg(fit(&data, t->loss, t->outputs, &result) == t->status, "%s", rbe_last_error());
    if (t->status == RBE_OK) ck_assert_double_lt(result.train.loss, t->below);
    if (t->status != RBE_OK) ck_assert_msg(strstr(rbe_last_error(), t->text), "%s", rbe_last_error());
    ck_assert_int_eq(calls, t->loss.function == absolute_error ? 400 : 0);
    rbe_tape_free(other_tape);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

Suite *losses_suite(void) {
    Suite *suite = suite_create("losses");
    TCase *formulas = tcase_create("formulas");
    tcase_add_loop_test(formulas, values_are_those_of_the_formulas, 0, LOSS_CASES);
    tcase_add_loop_test(formulas, gradients_are_those_of_finite_differences, 0, LOSS_CASES);
    tcase_add_loop_test(formulas, a_weight_is_a_number_of_samples, 0, 2);
    tcase_add_loop_test(formulas, weights_of_zero_teach_nothing, 0, 2);
    tcase_add_loop_test(formulas, refused, 0, REFUSALS);
    suite_add_tcase(suite, formulas);
    TCase *training = tcase_create("training");
    tcase_add_loop_test(training, fit_knows_no_loss, 0, TRAININGS);
    suite_add_tcase(suite, training);
    return suite;
}
