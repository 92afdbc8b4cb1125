/* A gated recurrent net made by hand: layers of a model in a loop over time, so that each weight is used at every step.
 * Two cells (Cho et al. 2014), the upper one reading the lower one's state:
 *
 *     z = sigmoid(Wz x + Uz h)      r = sigmoid(Wr x + Ur h)      n = tanh(Wn x + r Un h)      h' = n + z (h - n)
 *
 * W are dense, U are compressed. The class to be told at the end is seen in the first input alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_support.h"
#include "rbe/adapt.h"
#include "rbe/optim.h"
#include "suites.h"
#include "support.h"

enum { STEPS = 5, ROWS = 24, INPUTS = 6, HIDDEN = 16, CLASSES = 3, CELLS = 2, GATES = 3, PARAMS = 20 };

static const char *const cells[CELLS] = {"lower", "upper"};
static const char *const gates[GATES] = {"update", "reset", "candidate"};

static rbe_model *new_model(void) {
    rbe_model *model = rbe_model_new();
    for (uint64_t c = 0; c < CELLS; c++) {
        rbe_layer *cell = rbe_bag_new(cells[c]);
        for (uint64_t g = 0; g < GATES; g++) {
            char x[32], h[32];
            snprintf(x, sizeof x, "%s_x", gates[g]);
            snprintf(h, sizeof h, "%s_h", gates[g]);
            const size_t inputs = c == 0 ? INPUTS : HIDDEN;
            const rbe_linear_options options = {.name = h, .block = 8, .ratio = 2, .no_bias = true, .seed = 10 * c + g};
            ck_assert_ok(rbe_layer_add(cell, rbe_dense_new(inputs, HIDDEN, &(rbe_dense_options){x, .seed = c + g})));
            ck_assert_ok(rbe_layer_add(cell, rbe_linear_new(HIDDEN, HIDDEN, &options)));
        }
        ck_assert_ok(rbe_model_add(model, cell));
    }
    ck_assert_ok(rbe_model_add(model, rbe_dense_new(HIDDEN, CLASSES, &(rbe_dense_options){"head", .seed = 5})));
    return model;
}

/* ---- the forward pass ---------------------------------------------------------------------------------------- */

/* Layers of a model, by their names, and what they are given. */
typedef struct net {
    const rbe_layer *x[CELLS][GATES], *h[CELLS][GATES], *head;
    float inputs[STEPS * ROWS * INPUTS], zeros[ROWS * HIDDEN];
    int32_t labels[ROWS];
} net;

static const rbe_layer *find(const rbe_model *model, const char *cell, const char *gate, const char *of) {
    char path[64];
    snprintf(path, sizeof path, "%s.%s_%s", cell, gate, of);
    const rbe_layer *layer = rbe_model_find(model, path);
    ck_assert_msg(layer != NULL, "%s", path);
    return layer;
}

static net *net_of(const rbe_model *model) {
    net *n = test_memory(1, sizeof *n);
    for (size_t c = 0; c < CELLS; c++)
        for (size_t g = 0; g < GATES; g++) {
            n->x[c][g] = find(model, cells[c], gates[g], "x");
            n->h[c][g] = find(model, cells[c], gates[g], "h");
        }
    n->head = rbe_model_find(model, "head");
    fill_normal(n->inputs, STEPS * ROWS * INPUTS, 0.5, 1);
    for (int row = 0; row < ROWS; row++) {
        n->labels[row] = row % CLASSES;
        n->inputs[row * INPUTS + n->labels[row]] += 2.0f;
    }
    return n;
}

/* The state after one step. */
static rbe_var *advance(const net *n, size_t cell, rbe_var *x, rbe_var *h) {
    const rbe_layer *const *of_x = n->x[cell], *const *of_h = n->h[cell];
    rbe_var *update = rbe_sigmoid(rbe_add(rbe_layer_forward(of_x[0], x), rbe_layer_forward(of_h[0], h)));
    rbe_var *reset = rbe_sigmoid(rbe_add(rbe_layer_forward(of_x[1], x), rbe_layer_forward(of_h[1], h)));
    rbe_var *candidate =
        rbe_tanh(rbe_add(rbe_layer_forward(of_x[2], x), rbe_mul(reset, rbe_layer_forward(of_h[2], h))));
    return rbe_add(candidate, rbe_mul(update, rbe_sub(h, candidate)));
}

static rbe_var *logits(rbe_tape *tape, net *n) {
    rbe_var *state[CELLS];
    for (size_t c = 0; c < CELLS; c++) state[c] = rbe_input(tape, rbe_tensor_2d(n->zeros, ROWS, HIDDEN));
    for (size_t t = 0; t < STEPS; t++) {
        rbe_var *x = rbe_input(tape, rbe_tensor_2d(n->inputs + t * ROWS * INPUTS, ROWS, INPUTS));
        for (size_t c = 0; c < CELLS; c++) x = state[c] = advance(n, c, x, state[c]);
    }
    return rbe_layer_forward(n->head, state[CELLS - 1]);
}

static rbe_var *loss(rbe_tape *tape, void *user) {
    net *n = user;
    return rbe_cross_entropy(logits(tape, n), n->labels);
}

/* ---- training ------------------------------------------------------------------------------------------------ */

/* `steps` steps on the same sequences; the loss before the first and that before the last. From the third step on
 * nothing is allocated, unless something grows. */
static void train(rbe_model *model, net *n, size_t steps, rbe_growth *growth, double losses[2]) {
    rbe_optim *optim = rbe_optim_new(rbe_adam, model, &(rbe_optim_options){.lr = 0.01f});
    rbe_tape *tape = rbe_tape_new(NULL);
    ck_assert(optim && tape);
    size_t allocations = 0;
    for (size_t step = 0; step < steps; step++) {
        rbe_var *l = loss(tape, n);
        ck_assert_ok(rbe_backward(l));
        losses[step > 0] = (double)rbe_item(l);
        ck_assert_ok(rbe_optim_step(optim));
        rbe_tape_reset(tape);
        if (growth) ck_assert_ok(rbe_growth_step(growth, step));
        if (step == 2) allocations = rbe_memory().allocations;
    }
    if (!growth) ck_assert_uint_eq(rbe_memory().allocations, allocations);
    rbe_tape_free(tape);
    rbe_optim_free(optim);
}

/* _i: with growth of the compressed gates, and pruning. */
START_TEST(it_learns_to_remember) {
    rbe_model *model = new_model();
    net *n = net_of(model);
    rbe_growth *growth = _i ? rbe_growth_new(model, &(rbe_growth_options){.steps = 60, .every = 10}) : NULL;
    double losses[2];
    train(model, n, 60, growth, losses);
    ck_assert_msg(losses[1] < 0.1 * losses[0], "%g, then %g", losses[0], losses[1]);
    if (_i) {
        ck_assert_uint_gt(rbe_growth_count(growth).values, 0);
        ck_assert_ok(rbe_prune(model, &(rbe_prune_options){.amount = 0.5}, NULL));
        train(model, n, 20, NULL, losses);
        ck_assert_msg(losses[1] < 0.1, "%g", losses[1]);
    }
    rbe_growth_free(growth);
    rbe_model_free(model);
    free(n);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Each weight gets the sum of what all steps say of it. */
START_TEST(gradients_are_those_of_differences) {
    rbe_model *model = new_model();
    net *n = net_of(model);
    rbe_param *params[PARAMS];
    for (size_t p = 0; p < PARAMS; p++) params[p] = rbe_model_param(model, p);
    ck_assert_ptr_null(rbe_model_param(model, PARAMS));
    rbe_gradient_report report;
    ck_assert_ok(rbe_check_gradients(loss, n, params, PARAMS, &(rbe_gradient_options){.entries = 12}, &report));
    ck_assert_uint_ge(report.checked, 12 * (PARAMS - 1)); /* the head's bias has 3 */
    rbe_model_free(model);
    free(n);
}
END_TEST

/* ---- in a file ----------------------------------------------------------------------------------------------- */

static void write_logits(net *n, float *values) {
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    const rbe_var *y = logits(tape, n);
    ck_assert_ok(rbe_tape_status(tape));
    memcpy(values, rbe_value(y)->data, ROWS * CLASSES * sizeof *values);
    rbe_tape_free(tape);
}

START_TEST(it_is_stored) {
    rbe_model *model = new_model();
    net *n = net_of(model);
    double losses[2];
    train(model, n, 5, NULL, losses);
    bytes file = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    rbe_model *again = load_bytes(file);
    ck_assert_msg(again != NULL, "%s", rbe_last_error());
    ck_assert(same_models(model, again));
    net *other = net_of(again);
    float before[ROWS * CLASSES], after[ROWS * CLASSES];
    write_logits(n, before);
    rbe_model_free(model);
    write_logits(other, after);
    ck_assert_mem_eq(before, after, sizeof before);
    rbe_model_free(again);
    free(file.data);
    free(other);
    free(n);
}
END_TEST

Suite *recurrent_suite(void) {
    Suite *suite = suite_create("recurrent");
    TCase *net_case = tcase_create("net");
    tcase_add_loop_test(net_case, it_learns_to_remember, 0, 2);
    tcase_add_test(net_case, gradients_are_those_of_differences);
    tcase_add_test(net_case, it_is_stored);
    suite_add_tcase(suite, net_case);
    return suite;
}
