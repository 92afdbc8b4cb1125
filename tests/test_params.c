/* Parameters: what is frozen, and the gradients of a model in one buffer. */
#include <stdlib.h>
#include <string.h>

#include "rbe/adapt.h"
#include "rbe/optim.h"
#include "reference.h"
#include "suites.h"
#include "support.h"

enum { ROWS = 13, IN = 20, HIDDEN = 33, CLASSES = 3 };

typedef struct fixture {
    rbe_model *model;
    float x[ROWS * IN];
    int32_t labels[ROWS];
} fixture;

/* A dense layer between two compressed ones. */
static void fixture_init(fixture *f) {
    const rbe_linear_options first = {.block = 8, .ratio = 4, .alpha = RBE_ALPHA_ON, .seed = 1};
    const rbe_linear_options last = {.block = 8, .ratio = 2, .seed = 3};
    f->model = rbe_model_new();
    rbe_model_add(f->model, rbe_linear_new(IN, HIDDEN, &first));
    rbe_model_apply(f->model, rbe_tanh);
    rbe_model_add(f->model, rbe_dense_new(HIDDEN, HIDDEN, &(rbe_dense_options){.seed = 2}));
    rbe_model_apply(f->model, rbe_tanh);
    rbe_model_add(f->model, rbe_linear_new(HIDDEN, CLASSES, &last));
    ck_assert_ok(rbe_model_status(f->model));
    fill_normal(f->x, ROWS * IN, 1.0, 4);
    for (int n = 0; n < ROWS; n++) f->labels[n] = n % CLASSES;
}

static void backward(const fixture *f) {
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *logits = rbe_model_forward(f->model, rbe_input(tape, rbe_tensor_2d((float *)f->x, ROWS, IN)));
    ck_assert_ok(rbe_backward(rbe_cross_entropy(logits, f->labels)));
    rbe_tape_free(tape);
}

/* ---- frozen layers ------------------------------------------------------------------------------------------- */

/* Whichever layers are frozen: the others get the gradients they have without it, the frozen ones get none, and a step
 * changes the others alone. */
START_TEST(frozen_layers_get_no_gradient) {
    enum { LAYERS = 3 };
    fixture all, some;
    fixture_init(&all);
    fixture_init(&some);
    for (int n = 0; n < LAYERS; n++) rbe_layer_freeze(rbe_model_layer(some.model, (size_t)n), _i >> n & 1);
    backward(&all);
    if (_i < 7) {
        backward(&some);
    } else {
        rbe_tape *tape = rbe_tape_new(NULL);
        rbe_var *logits = rbe_model_forward(some.model, rbe_input(tape, rbe_tensor_2d(some.x, ROWS, IN)));
        ck_assert_int_eq(rbe_backward(rbe_cross_entropy(logits, some.labels)), RBE_INVALID_ARGUMENT);
        ck_assert_msg(strstr(rbe_last_error(), "nothing that needs a gradient"), "%s", rbe_last_error());
        rbe_tape_free(tape);
    }
    for (size_t n = 0; n < LAYERS; n++) {
        const rbe_param *expected, *found;
        for (size_t k = 0; (expected = rbe_layer_param(rbe_model_layer(all.model, n), k)); k++) {
            found = rbe_layer_param(rbe_model_layer(some.model, n), k);
            ck_assert_int_eq(found->frozen, _i >> n & 1);
            ck_assert_int_eq(found->grad_set, !found->frozen);
            if (found->grad_set) ck_assert_mem_eq(found->grad, expected->grad, found->count * sizeof(float));
        }
    }
    rbe_model_free(all.model);
    rbe_model_free(some.model);
}
END_TEST

/* A part of a layer's parameters: the bias is trained alone, or all but the bias. */
START_TEST(parts_of_layers_can_be_frozen) {
    fixture all, some;
    fixture_init(&all);
    fixture_init(&some);
    rbe_param *param;
    for (size_t n = 0; (param = rbe_model_param(some.model, n)); n++)
        param->frozen = (strcmp(param->part, "bias") == 0) == _i;
    for (int pass = 0; pass < 2; pass++) { /* the second one adds */
        backward(&all);
        backward(&some);
    }
    for (size_t n = 0; (param = rbe_model_param(some.model, n)); n++) {
        ck_assert_int_eq(param->grad_set, !param->frozen);
        if (param->grad_set)
            ck_assert_mem_eq(param->grad, rbe_model_param(all.model, n)->grad, param->count * sizeof(float));
    }
    rbe_model_free(all.model);
    rbe_model_free(some.model);
}
END_TEST

/* Nothing below the last trained parameter takes part in a backward pass. */
START_TEST(backward_ends_at_the_last_trained_layer) {
    fixture f;
    fixture_init(&f);
    for (size_t n = 0; n < 2; n++) rbe_layer_freeze(rbe_model_layer(f.model, n), true);
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *h = rbe_input(tape, rbe_tensor_2d(f.x, ROWS, IN));
    for (size_t n = 0; n < 2; n++) h = rbe_tanh(rbe_layer_forward(rbe_model_layer(f.model, n), h));
    ck_assert_ok(rbe_backward(rbe_cross_entropy(rbe_layer_forward(rbe_model_layer(f.model, 2), h), f.labels)));
    ck_assert_ptr_null(rbe_grad(h));
    const uint64_t before = rbe_linear_count(rbe_model_layer(f.model, 0)).operation_count;
    ck_assert_uint_eq(before, 1); /* forward */
    rbe_tape_free(tape);
    rbe_model_free(f.model);
}
END_TEST

/* ---- one buffer ---------------------------------------------------------------------------------------------- */

/* All gradients lie one after the other, those that are not set are zeros, and what lies between them is zero. */
static void require_one_buffer(const fixture *f) {
    size_t count = 0;
    const float *buffer = rbe_model_gradients(f->model, &count), *at = buffer;
    ck_assert_ptr_nonnull(buffer);
    const rbe_param *param;
    for (size_t n = 0; (param = rbe_model_param(f->model, n)); n++) {
        if (param->frozen) continue;
        ck_assert_ptr_eq(param->grad, at);
        for (size_t k = 0; k < param->count && !param->grad_set; k++) ck_assert(at[k] == 0.0f);
        at += param->count;
        for (; (size_t)(at - buffer) % 16 != 0; at++) ck_assert(*at == 0.0f);
    }
    ck_assert_uint_eq((size_t)(at - buffer), count);
}

START_TEST(gradients_lie_in_one_buffer) {
    fixture f;
    fixture_init(&f);
    require_one_buffer(&f);
    rbe_optim *optim = rbe_optim_new(rbe_adam, f.model, NULL);
    backward(&f);
    float *gradient = rbe_model_gradients(f.model, NULL);
    ck_assert_ptr_eq(gradient, rbe_model_param(f.model, 0)->grad);
    require_one_buffer(&f);
    ck_assert_ok(rbe_optim_step(optim));
    ck_assert_ok(rbe_prune(f.model, &(rbe_prune_options){.amount = 0.5}, NULL));
    require_one_buffer(&f);
    backward(&f);
    ck_assert_ok(rbe_optim_step(optim));
    rbe_layer_freeze(rbe_model_layer(f.model, 1), true);
    require_one_buffer(&f);
    backward(&f);
    ck_assert_ok(rbe_optim_step(optim));
    rbe_layer_freeze(rbe_model_layer(f.model, 1), false);
    backward(&f);
    require_one_buffer(&f);
    ck_assert_ok(rbe_optim_step(optim));
    rbe_optim_free(optim);
    rbe_model_free(f.model);
}
END_TEST

/* What is set when the buffer is made stays set, and stays the same. */
START_TEST(gradients_move_into_the_buffer) {
    fixture f;
    fixture_init(&f);
    backward(&f);
    float *before = test_memory(HIDDEN * HIDDEN, sizeof *before);
    const rbe_param *weights = rbe_layer_param(rbe_model_layer(f.model, 1), 0);
    memcpy(before, weights->grad, HIDDEN * HIDDEN * sizeof *before);
    require_one_buffer(&f);
    ck_assert(weights->grad_set);
    ck_assert_mem_eq(weights->grad, before, HIDDEN * HIDDEN * sizeof *before);
    rbe_zero_grad(f.model);
    ck_assert(!weights->grad_set);
    require_one_buffer(&f);
    rbe_zero_grad(NULL);
    rbe_layer_freeze(NULL, true);
    ck_assert_ptr_null(rbe_model_gradients(NULL, NULL));
    free(before);
    rbe_model_free(f.model);
}
END_TEST

Suite *params_suite(void) {
    Suite *suite = suite_create("params");
    TCase *frozen = tcase_create("frozen"), *buffer = tcase_create("buffer");
    tcase_add_loop_test(frozen, frozen_layers_get_no_gradient, 0, 8);
    tcase_add_loop_test(frozen, parts_of_layers_can_be_frozen, 0, 2);
    tcase_add_test(frozen, backward_ends_at_the_last_trained_layer);
    tcase_add_test(buffer, gradients_lie_in_one_buffer);
    tcase_add_test(buffer, gradients_move_into_the_buffer);
    suite_add_tcase(suite, frozen);
    suite_add_tcase(suite, buffer);
    return suite;
}
