/* Operations of a user's own, parameters as variables, and gradients checked by finite differences. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "operation_check.h"
#include "rbe/rbe.h"
#include "suites.h"
#include "swish.h"

/* ---- operations of one's own --------------------------------------------------------------------------------- */

static rbe_var *steep_swish(const operation *op, rbe_var *const *x) {
    (void)op;
    return swish(x[0], 1.5f);
}

static double swish_formula(double x) { return x / (1.0 + exp(-1.5 * x)); }

static const operation own = {.name = "swish", .call = steep_swish, .operands = 1, .value = swish_formula};

START_TEST(an_own_operation_is_like_any_other) {
    check_operation(&own, &(rbe_tensor){NULL, 3, {2, 3, 5}});
    check_threads(&own, &(rbe_tensor){NULL, 2, {7, 11}});
    check_failed_operands(&own, &(rbe_tensor){NULL, 2, {7, 11}});
    rbe_tape *tape = rbe_tape_new(NULL);
    float x = 1.0f;
    ck_assert(!rbe_ok(swish(rbe_input(tape, rbe_tensor_1d(&x, 1)), 0.0f)));
    ck_assert_str_eq(rbe_tape_error(tape), "swish: expected a steepness > 0, found 0");
    rbe_tape_reset(tape);
    x = NAN;
    ck_assert(rbe_ok(swish(rbe_variable(tape, rbe_tensor_1d(&x, 1)), 1.0f)));
    ck_assert_int_eq(rbe_tape_check_finite(tape), RBE_NUMERICAL_INSTABILITY);
    rbe_tape_free(tape);
}
END_TEST

static rbe_status silent_backward(rbe_var *self) {
    (void)self;
    return RBE_CORRUPTED_BLOCK;
}

/* A backward that returns a status and records no text. */
START_TEST(a_silent_failure_has_a_text) {
    float one = 1.0f;
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *y = rbe_node_like("silent", rbe_variable(tape, rbe_tensor_1d(&one, 1)), silent_backward, 0);
    y->value.data[0] = 1.0f;
    rbe_fail(RBE_IO_ERROR, "an older failure");
    ck_assert_int_eq(rbe_backward(y), RBE_CORRUPTED_BLOCK);
    ck_assert_int_eq(rbe_tape_status(tape), RBE_CORRUPTED_BLOCK);
    ck_assert_str_eq(rbe_last_error(), "silent: its backward failed without a text");
    rbe_tape_free(tape);
}
END_TEST

/* Without a backward, and without operands. */
START_TEST(operations_are_checked) {
    float one = 1.0f;
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, rbe_tensor_1d(&one, 1)), *y = rbe_node_like("constant", x, NULL, 0);
    y->value.data[0] = 1.0f;
    ck_assert(!y->needs_grad);
    ck_assert_int_eq(rbe_backward(y), RBE_INVALID_ARGUMENT);
    rbe_tape_reset(tape);
    ck_assert_ptr_null(rbe_node("nothing", NULL, 0, 1, (const size_t[]){1}, NULL, 0));
    ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_null(rbe_node_like("nothing", NULL, NULL, 0));
    ck_assert_ptr_null(rbe_node_leaf(NULL, "nothing", rbe_tensor_1d(&one, 1), NULL));
    ck_assert_ptr_null(rbe_tape_take(NULL, 1, 1));
    rbe_node_has_parameters(NULL);
    x = rbe_variable(tape, rbe_tensor_1d(&one, 1));
    ck_assert(!rbe_ok(rbe_node("zero", &x, 1, 2, (const size_t[]){1, 0}, NULL, 0)));
    ck_assert_int_eq(rbe_tape_status(tape), RBE_INVALID_ARGUMENT);
    rbe_tape_free(tape);
}
END_TEST

/* Scratch is given back, unless something that lasts stands behind it. */
START_TEST(scratch_is_given_back) {
    float one = 1.0f;
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, rbe_tensor_1d(&one, 1));
    rbe_tape_mark mark = rbe_tape_here(x);
    char *first = rbe_tape_take(x, 100, 1);
    rbe_tape_return(x, mark);
    ck_assert_ptr_eq(rbe_tape_take(x, 100, 1), first);
    float *gradient = rbe_grad_zeroed(x);
    rbe_tape_return(x, mark);
    char *second = rbe_tape_take(x, 100, 1);
    ck_assert(second >= (char *)(gradient + 1));
    mark = rbe_tape_here(x);
    rbe_var *y = rbe_relu(x);
    rbe_tape_return(x, mark);
    memset(rbe_tape_take(x, 100, 1), 255, 100);
    ck_assert_float_eq(rbe_item(y), 1.0f);
    rbe_tape_free(tape);
}
END_TEST

/* ---- parameters as variables --------------------------------------------------------------------------------- */

static rbe_param make_param(const char *name, float *values, size_t count, uint64_t seed) {
    rbe_param param = {.value = values, .count = count, .lr_scale = 1.0f};
    snprintf(param.name, sizeof param.name, "%s", name);
    fill_normal(values, count, 1.0, seed);
    return param;
}

/* Used twice on a tape and in two passes, gradients are summed until somebody clears them. */
START_TEST(gradients_of_a_parameter_add_up) {
    float values[6];
    rbe_param param = make_param("w", values, 6, 1);
    rbe_tape *tape = rbe_tape_new(NULL);
    const size_t matrix[] = {2, 3}, flat[] = {6};
    for (int pass = 1; pass <= 3; pass++) {
        rbe_tape_reset(tape);
        if (pass == 3) param.grad_set = false;
        rbe_var *a = rbe_parameter(tape, &param, 2, matrix), *b = rbe_parameter(tape, &param, 1, flat);
        ck_assert_mem_eq(rbe_value(a)->data, values, sizeof values);
        ck_assert_int_eq(rbe_backward(rbe_add(rbe_sum(rbe_mul(a, a)), rbe_sum(b))), RBE_OK);
        ck_assert(param.grad_set);
        const float times = pass == 2 ? 2.0f : 1.0f;
        for (int i = 0; i < 6; i++) ck_assert_float_eq_tol(param.grad[i], times * (2.0f * values[i] + 1.0f), 1e-5f);
    }
    rbe_tape_free(tape);
    rbe_param_clear(&param);
}
END_TEST

START_TEST(parameters_are_checked) {
    float values[6];
    rbe_param param = make_param("w", values, 6, 1), empty = {.count = 3};
    const size_t flat[] = {6}, wrong[] = {2, 4}, zero[] = {6, 0};
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    rbe_var *x = rbe_parameter(tape, &param, 1, flat);
    ck_assert(rbe_ok(x) && !x->needs_grad);
    ck_assert_int_eq(rbe_backward(rbe_sum(x)), RBE_INVALID_ARGUMENT);
    ck_assert(!param.grad && !param.grad_set);
    const struct {
        rbe_param *param;
        int dims;
        const size_t *shape;
        rbe_status status;
        const char *text;
    } failures[] = {
        {NULL, 1, flat, RBE_INVALID_ARGUMENT, "parameter: it is NULL"},
        {&empty, 1, flat, RBE_INVALID_ARGUMENT, "parameter: it has no values"},
        {&param, 2, wrong, RBE_INPUT_DIMENSION_MISMATCH, "parameter w: expected a shape of 6 values, found (2, 4)"},
        {&param, 2, zero, RBE_INVALID_ARGUMENT, "parameter w: tensor: extent 1: expected at least 1, found 0"},
    };
    for (size_t n = 0; n < sizeof failures / sizeof *failures; n++) {
        rbe_tape_reset(tape);
        ck_assert(!rbe_ok(rbe_parameter(tape, failures[n].param, failures[n].dims, failures[n].shape)));
        ck_assert_int_eq(rbe_tape_status(tape), failures[n].status);
        ck_assert_str_eq(rbe_tape_error(tape), failures[n].text);
        ck_assert(!rbe_ok(rbe_parameter(tape, &param, 1, flat)));
        ck_assert_str_eq(rbe_tape_error(tape), failures[n].text);
    }
    ck_assert_ptr_null(rbe_parameter(NULL, &param, 1, flat));

    rbe_tape_reset(tape);
    rbe_tape_set_inference(tape, false);
    rbe_var *loss = rbe_sum(rbe_parameter(tape, &param, 1, flat));
    float others[6];
    param.value = others; /* as growth does */
    ck_assert_int_eq(rbe_backward(loss), RBE_INVALID_ARGUMENT);
    ck_assert(!param.grad_set);
    rbe_tape_free(tape);
}
END_TEST

/* ---- gradients by finite differences ------------------------------------------------------------------------- */

enum { IN = 12, HIDDEN = 20, OUT = 5, ROWS = 16, MOST_PARAMS = 8 };

/* A network with a layer of each kind and one made of operations. */
typedef struct network {
    float x[ROWS * IN], scale[HIDDEN], shift[HIDDEN];
    int32_t labels[ROWS];
    rbe_layer *first, *last;
    rbe_param own[2], *params[MOST_PARAMS];
    size_t count;
    float dropout;
    bool wrong, relu;
    int failing_call, calls; /* the call that fails, counted from 1; 0: none */
    float drift;             /* added to the loss in each call */
} network;

static void network_make(network *net) {
    *net = (network){0};
    fill_normal(net->x, ROWS * IN, 1.0, 1);
    for (int n = 0; n < ROWS; n++) net->labels[n] = n % OUT;
    net->own[0] = make_param("affine.scale", net->scale, HIDDEN, 2);
    net->own[1] = make_param("affine.shift", net->shift, HIDDEN, 3);
    net->first =
        rbe_linear_new(IN, HIDDEN, &(rbe_linear_options){.block = 8, .ratio = 2, .alpha = RBE_ALPHA_ON, .seed = 4});
    net->last = rbe_dense_new(HIDDEN, OUT, &(rbe_dense_options){.name = "head", .seed = 5});
    ck_assert(net->first && net->last);
    net->params[net->count++] = &net->own[0];
    net->params[net->count++] = &net->own[1];
    rbe_param *p;
    for (size_t n = 0; (p = rbe_layer_param(net->first, n)); n++) net->params[net->count++] = p;
    for (size_t n = 0; (p = rbe_layer_param(net->last, n)); n++) net->params[net->count++] = p;
}

static void network_free(network *net) {
    rbe_layer_free(net->first);
    rbe_layer_free(net->last);
    for (int n = 0; n < 2; n++) rbe_param_clear(&net->own[n]);
    ck_assert_uint_eq(rbe_memory().current, 0);
}

static rbe_var *network_loss(rbe_tape *tape, void *user) {
    network *net = user;
    const size_t width = HIDDEN;
    net->calls++;
    rbe_var *h = rbe_layer_forward(net->first, rbe_input(tape, rbe_tensor_2d(net->x, ROWS, IN)));
    h = net->wrong ? wrong_swish(h) : net->relu ? rbe_relu(h) : swish(h, 1.0f);
    h = rbe_layer_norm(h, rbe_parameter(tape, &net->own[0], 1, &width), rbe_parameter(tape, &net->own[1], 1, &width),
                       1e-5f);
    rbe_var *y = rbe_layer_forward(net->last, rbe_dropout(h, net->dropout));
    if (net->calls == net->failing_call) y = rbe_reshape(y, 1, &width);
    rbe_var *loss = rbe_cross_entropy(y, net->labels);
    if (net->drift == 0.0f) return loss;
    net->drift += 0.5f;
    return rbe_add(loss, rbe_input(tape, rbe_tensor_1d(&net->drift, 1)));
}

/* All values, to be compared bit by bit. */
static size_t take_values(const network *net, float *values) {
    size_t at = 0;
    for (size_t n = 0; n < net->count; at += net->params[n++]->count)
        memcpy(values + at, net->params[n]->value, net->params[n]->count * sizeof *values);
    return at;
}

/* Runs the check; values stay, and no gradients are left. */
static rbe_status check(network *net, const rbe_gradient_options *options, rbe_gradient_report *report) {
    float before[2048], after[2048];
    const size_t size = take_values(net, before);
    ck_assert_uint_le(size, 2048);
    const rbe_status status = rbe_check_gradients(network_loss, net, net->params, net->count, options, report);
    take_values(net, after);
    ck_assert_mem_eq(before, after, size * sizeof *before);
    for (size_t n = 0; n < net->count; n++) ck_assert(!net->params[n]->grad_set);
    return status;
}

START_TEST(right_gradients_pass) {
    network net;
    rbe_gradient_report report;
    network_make(&net);
    ck_assert_msg(check(&net, NULL, &report) == RBE_OK, "%s", rbe_last_error());
    ck_assert_double_le(report.error, 1e-3);
    ck_assert_ptr_nonnull(report.param);
    size_t entries = 0;
    for (size_t n = 0; n < net.count; n++) entries += net.params[n]->count < 64 ? net.params[n]->count : 64;
    ck_assert_uint_eq(report.checked, entries);
    ck_assert_uint_le(report.unresolved, entries / 10);
    net.dropout = 0.4f; /* the same masks in each call */
    for (uint64_t seed = 1; seed < 4; seed++)
        ck_assert_msg(check(&net, &(rbe_gradient_options){.seed = seed}, NULL) == RBE_OK, "%s", rbe_last_error());
    net.relu = true;
    ck_assert_msg(check(&net, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    network_free(&net);
}
END_TEST

/* An operation whose gradient is too small by 1 % is found, and named by what stands below it. */
START_TEST(wrong_gradients_are_named) {
    network net;
    rbe_gradient_report report;
    network_make(&net);
    net.wrong = true;
    ck_assert_int_eq(check(&net, NULL, &report), RBE_NUMERICAL_INSTABILITY);
    ck_assert_double_gt(report.error, 8e-3);
    ck_assert_double_lt(report.error, 1.3e-2);
    ck_assert_double_eq_tol(report.found / report.expected, 0.99, 2e-3);
    char text[RBE_PATH_SIZE + 256];
    snprintf(text, sizeof text, "%s: entry %zu: expected the gradient %g by finite differences, found %g by backward",
             report.param->name, report.index, report.expected, report.found);
    ck_assert_msg(strstr(rbe_last_error(), text), "%s", rbe_last_error());
    bool below = false;
    for (size_t n = 0; n < 3; n++) below |= report.param == rbe_layer_param(net.first, n);
    ck_assert_msg(below, "%s has a wrong gradient", report.param->name);
    ck_assert_int_eq(check(&net, &(rbe_gradient_options){.tolerance = 2e-2}, &report), RBE_OK);

    /* What stands above it is right. */
    size_t count = net.count;
    net.params[2] = net.params[count - 2];
    net.params[3] = net.params[count - 1];
    net.count = 4;
    ck_assert_msg(check(&net, NULL, &report) == RBE_OK, "%s", rbe_last_error());
    network_free(&net);
}
END_TEST

/* y = p with a gradient of 0 and of NaN in one entry. */
static rbe_status spoiled_backward(rbe_var *self) {
    float *gx = rbe_grad_zeroed(self->parents[0]);
    if (!gx) return rbe_last_status();
    for (size_t i = 0; i < rbe_tensor_count(&self->value); i++) gx[i] += self->grad[i];
    gx[70] = *(const float *)self->context_pointer;
    return RBE_OK;
}

static rbe_var *spoiled_loss(rbe_tape *tape, void *user) {
    const size_t width = 100;
    rbe_param *param = ((rbe_param **)user)[0];
    rbe_var *x = rbe_parameter(tape, param, 1, &width);
    rbe_var *y = rbe_node_like("spoiled", x, spoiled_backward, 0);
    if (!rbe_ok(y)) return y;
    y->context_pointer = ((void **)user)[1];
    memcpy(y->value.data, x->value.data, width * sizeof(float));
    return rbe_sum(rbe_mul(y, y));
}

/* The worst entry is the wrong one, if it is looked at. */
START_TEST(the_worst_entry_is_found) {
    float values[100];
    rbe_param param = make_param("w", values, 100, 6), *const params[] = {&param};
    float spoiled[] = {0.0f, NAN, 1000.0f};
    for (int n = 0; n < 3; n++) {
        void *user[] = {&param, &spoiled[n]};
        rbe_gradient_report report;
        const rbe_gradient_options all = {.entries = 100};
        ck_assert_int_eq(rbe_check_gradients(spoiled_loss, user, params, 1, &all, &report), RBE_NUMERICAL_INSTABILITY);
        ck_assert_ptr_eq(report.param, &param);
        ck_assert_uint_eq(report.index, 70);
        ck_assert_double_eq_tol(report.expected, 2.0 * (double)values[70], 1e-2);
        ck_assert_uint_eq(report.checked, 100);
        ck_assert_ptr_nonnull(strstr(rbe_last_error(), "w: entry 70: expected the gradient"));
    }
    /* A sample of ten: one of each ten, so with some seeds it is there. */
    void *user[] = {&param, &spoiled[2]};
    int found = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        rbe_gradient_report report, again;
        const rbe_gradient_options some = {.entries = 10, .seed = seed};
        const rbe_status status = rbe_check_gradients(spoiled_loss, user, params, 1, &some, &report);
        ck_assert_uint_eq(report.checked, 10);
        ck_assert_int_eq(rbe_check_gradients(spoiled_loss, user, params, 1, &some, &again), status);
        ck_assert_uint_eq(report.index, again.index);
        if (status != RBE_OK) ck_assert_uint_eq(report.index, 70);
        found += status != RBE_OK;
    }
    ck_assert(found > 0 && found < 20);
    rbe_param_clear(&param);
}
END_TEST

/* sum |w| plus the parameter's rate, which serves as a constant. */
static rbe_var *kinked_loss(rbe_tape *tape, void *user) {
    const size_t width = 100;
    rbe_param *param = user;
    rbe_var *sum = rbe_sum(rbe_abs(rbe_parameter(tape, param, 1, &width)));
    return rbe_add(sum, rbe_input(tape, rbe_tensor_1d(&param->lr_scale, 1)));
}

/* At a kink nothing can be said, which is not an error; and nothing if the loss is too large for its changes. */
START_TEST(uncertain_entries_are_counted) {
    float values[100];
    rbe_param param = make_param("w", values, 100, 6), *const params[] = {&param};
    rbe_gradient_report report;
    const rbe_gradient_options all = {.entries = 100, .step = 0.01};
    for (int i = 0; i < 100; i++) values[i] += copysignf(0.1f, values[i]);
    ck_assert_msg(rbe_check_gradients(kinked_loss, &param, params, 1, &all, &report) == RBE_OK, "%s", rbe_last_error());
    ck_assert_uint_eq(report.unresolved, 0);
    for (int i = 0; i < 20; i++) values[5 * i] = (float)(i - 10) * 1e-3f; /* steps are about 0.01 */
    ck_assert_msg(rbe_check_gradients(kinked_loss, &param, params, 1, &all, &report) == RBE_OK, "%s", rbe_last_error());
    ck_assert(report.unresolved >= 10 && report.unresolved <= 20);
    param.lr_scale = 1e6f;
    ck_assert_int_eq(rbe_check_gradients(kinked_loss, &param, params, 1, &all, &report), RBE_NUMERICAL_INSTABILITY);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "entries the gradient is too small beside the loss"));
    ck_assert_uint_gt(report.unresolved, 50);
    rbe_param_clear(&param);
}
END_TEST

static rbe_var *many_values(rbe_tape *tape, void *user) {
    const size_t width = HIDDEN;
    return rbe_parameter(tape, &((network *)user)->own[0], 1, &width);
}

static rbe_var *no_value(rbe_tape *tape, void *user) {
    (void)tape;
    (void)user;
    return NULL;
}

/* A loss that the rest does not depend on. */
static rbe_var *constant_loss(rbe_tape *tape, void *user) {
    const size_t width = HIDDEN;
    return rbe_sum(rbe_parameter(tape, &((network *)user)->own[0], 1, &width));
}

START_TEST(checks_are_checked) {
    network net;
    network_make(&net);
    rbe_gradient_report report = {.checked = 9};
    ck_assert_int_eq(rbe_check_gradients(NULL, &net, net.params, net.count, NULL, &report), RBE_INVALID_ARGUMENT);
    ck_assert_uint_eq(report.checked, 0);
    ck_assert_int_eq(rbe_check_gradients(network_loss, &net, net.params, 0, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(check(&net, &(rbe_gradient_options){.step = -1.0}, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(check(&net, &(rbe_gradient_options){.step = NAN}, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(check(&net, &(rbe_gradient_options){.tolerance = -1.0}, NULL), RBE_INVALID_ARGUMENT);
    rbe_param *const missing[] = {&net.own[0], NULL};
    ck_assert_int_eq(rbe_check_gradients(network_loss, &net, missing, 2, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "parameter 1 is NULL"));
    ck_assert_int_eq(rbe_check_gradients(many_values, &net, net.params, 1, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "expected a loss of one value, found 20 values"));
    ck_assert_int_eq(rbe_check_gradients(no_value, &net, net.params, 1, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_check_gradients(constant_loss, &net, net.params, net.count, NULL, NULL), RBE_OK);

    ck_assert_int_eq(rbe_param_require_grad(&net.own[1]), RBE_OK);
    net.own[1].grad_set = true;
    ck_assert_int_eq(rbe_check_gradients(network_loss, &net, net.params, net.count, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "affine.shift holds a gradient"));
    ck_assert(net.own[1].grad_set);
    net.own[1].grad_set = false;

    net.drift = 1.0f;
    ck_assert_int_eq(check(&net, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "expected a loss that is the same in each call"));
    net.drift = 0.0f;
    for (int call = 1; call < 40; call += 5) { /* in the midst of a difference, too */
        net.calls = 0;
        net.failing_call = call;
        ck_assert_int_eq(check(&net, NULL, NULL), RBE_INPUT_DIMENSION_MISMATCH);
        ck_assert_ptr_nonnull(strstr(rbe_last_error(), "reshape"));
    }
    net.failing_call = 0;
    net.x[0] = INFINITY;
    ck_assert_int_eq(check(&net, NULL, NULL), RBE_NUMERICAL_INSTABILITY);
    network_free(&net);
}
END_TEST

static rbe_status check_soundly(void *user) {
    rbe_param *param = user;
    const float no_fault = 0.0f;
    void *loss_of[] = {param, (void *)&no_fault};
    const rbe_status status = rbe_check_gradients(spoiled_loss, loss_of, &param, 1, NULL, NULL);
    rbe_param_clear(param);
    return status;
}

START_TEST(memory_may_run_out_anywhere) {
    float values[100];
    rbe_param param = make_param("w", values, 100, 6);
    values[70] = 0.0f; /* where the fault is none */
    ck_assert_uint_gt(fail_each_allocation(check_soundly, &param), 2);
}
END_TEST

Suite *own_operations_suite(void) {
    Suite *suite = suite_create("own_operations");
    TCase *operations = tcase_create("operations");
    tcase_add_test(operations, an_own_operation_is_like_any_other);
    tcase_add_test(operations, a_silent_failure_has_a_text);
    tcase_add_test(operations, operations_are_checked);
    tcase_add_test(operations, scratch_is_given_back);
    suite_add_tcase(suite, operations);
    TCase *parameters = tcase_create("parameters");
    tcase_add_test(parameters, gradients_of_a_parameter_add_up);
    tcase_add_test(parameters, parameters_are_checked);
    suite_add_tcase(suite, parameters);
    TCase *gradients = tcase_create("gradients");
    tcase_add_test(gradients, right_gradients_pass);
    tcase_add_test(gradients, wrong_gradients_are_named);
    tcase_add_test(gradients, the_worst_entry_is_found);
    tcase_add_test(gradients, uncertain_entries_are_counted);
    tcase_add_test(gradients, checks_are_checked);
    tcase_add_test(gradients, memory_may_run_out_anywhere);
    suite_add_tcase(suite, gradients);
    return suite;
}
