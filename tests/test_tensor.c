/* Tensors and the tape: shapes, errors that stick, gradients across several operations, memory. What the single
 * operations compute is tested in test_operations.c. */
#include <math.h>
#include <string.h>

#include "suites.h"
#include "support.h"
#include "tensor/node.h"

/* ---- tensors ------------------------------------------------------------------------------------------------- */

START_TEST(tensor_views) {
    float data[24];
    const rbe_tensor vector = rbe_tensor_1d(data, 24), matrix = rbe_tensor_2d(data, 4, 6),
                     stack = rbe_tensor_3d(data, 2, 3, 4);
    ck_assert_uint_eq(rbe_tensor_count(&vector), 24);
    ck_assert_uint_eq(rbe_tensor_rows(&vector), 1);
    ck_assert_uint_eq(rbe_tensor_columns(&vector), 24);
    ck_assert_uint_eq(rbe_tensor_count(&matrix), 24);
    ck_assert_uint_eq(rbe_tensor_rows(&matrix), 4);
    ck_assert_uint_eq(rbe_tensor_columns(&matrix), 6);
    ck_assert_uint_eq(rbe_tensor_count(&stack), 24);
    ck_assert_uint_eq(rbe_tensor_rows(&stack), 6);
    ck_assert_uint_eq(rbe_tensor_columns(&stack), 4);
}
END_TEST

START_TEST(tensor_new_is_zero) {
    rbe_tensor tensor = new_tensor(4, (const size_t[]){2, 3, 1, 5});
    ck_assert_int_eq(tensor.dims, 4);
    for (size_t i = 0; i < 30; i++) ck_assert_float_eq(tensor.data[i], 0.0f);
    rbe_tensor_free(&tensor);
    ck_assert_ptr_null(tensor.data);
    rbe_tensor_free(&tensor);
    rbe_tensor_free(NULL);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(tensor_new_refuses_bad_shapes) {
    const size_t ones[5] = {1, 1, 1, 1, 1}, zero[] = {3, 0}, huge[] = {SIZE_MAX / 8, 3, 1, 1};
    rbe_tensor tensor;
    ck_assert_int_eq(rbe_tensor_new(&tensor, 0, ones), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_tensor_new(&tensor, 5, ones), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_tensor_new(&tensor, 2, zero), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_tensor_new(&tensor, 2, huge), RBE_INVALID_ARGUMENT);
    failing_allocator allocator;
    failing_allocator_install(&allocator, 1);
    ck_assert_int_eq(rbe_tensor_new(&tensor, 1, ones), RBE_INSUFFICIENT_MEMORY);
    ck_assert_ptr_null(tensor.data);
    ck_assert(failing_allocator_remove(&allocator));
}
END_TEST

START_TEST(tensor_shape_text) {
    char text[RBE_SHAPE_TEXT];
    const rbe_tensor matrix = rbe_tensor_2d(NULL, 8, 784), vector = rbe_tensor_1d(NULL, 3);
    ck_assert_str_eq(rbe_shape_text(&matrix, text), "(8, 784)");
    ck_assert_str_eq(rbe_shape_text(&vector, text), "(3)");
    const rbe_tensor longest = {NULL, 4, {SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX}};
    ck_assert_uint_eq(strlen(rbe_shape_text(&longest, text)), 4 * 20 + 3 * 2 + 2);
}
END_TEST

/* ---- errors -------------------------------------------------------------------------------------------------- */

static float numbers[64];
static const int32_t labels[] = {0, 3};

static rbe_var *zeros(rbe_tape *t, size_t rows, size_t columns) {
    return rbe_input(t, rbe_tensor_2d(numbers, rows, columns));
}

static rbe_var *failing_matmul(rbe_tape *t) { return rbe_matmul(zeros(t, 2, 3), false, zeros(t, 2, 3), false); }

/* Every operation on `x`; those of two operands with x on both sides. */
static int all_operations(rbe_var *x, rbe_var **results) {
    rbe_var *made[] = {
        rbe_add(x, x),
        rbe_sub(x, x),
        rbe_mul(x, x),
        rbe_scale(x, 2.0f),
        rbe_matmul(x, false, x, true),
        rbe_reshape(x, 1, (const size_t[]){8}),
        rbe_sum(x),
        rbe_mean(x),
        rbe_relu(x),
        rbe_gelu(x),
        rbe_tanh(x),
        rbe_sigmoid(x),
        rbe_softmax(x),
        rbe_log_softmax(x),
        rbe_cross_entropy(x, labels),
        rbe_mean_squared_error(x, x),
        rbe_dropout(x, 0.5f),
        rbe_dropout(x, 2.0f),
    };
    memcpy(results, made, sizeof made);
    return (int)(sizeof made / sizeof *made);
}

START_TEST(error_sticks_and_expressions_stay_inert) {
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *before = zeros(tape, 2, 4);
    rbe_var *failed = failing_matmul(tape);
    rbe_var *results[32];
    for (int k = all_operations(failed, results); k-- > 0;) ck_assert_ptr_null(rbe_value(results[k])->data);
    ck_assert_ptr_null(rbe_value(rbe_relu(before))->data); /* no operation works on a failed tape */
    ck_assert_ptr_null(rbe_value(rbe_add(before, failed))->data);
    ck_assert_ptr_null(rbe_value(rbe_add(failed, before))->data);
    ck_assert_ptr_null(rbe_value(failing_matmul(tape))->data);
    ck_assert_ptr_null(rbe_value(zeros(tape, 1, 1))->data);
    ck_assert(isnan(rbe_item(failed)));
    ck_assert_ptr_null(rbe_grad(failed));
    ck_assert_int_eq(rbe_tape_status(tape), RBE_INPUT_DIMENSION_MISMATCH);
    ck_assert_ptr_nonnull(strstr(rbe_tape_error(tape), "matmul"));
    ck_assert_int_eq(rbe_backward(rbe_mean(before)), RBE_INPUT_DIMENSION_MISMATCH);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "matmul"));
    rbe_tape_free(tape);
}
END_TEST

START_TEST(error_of_no_tape) {
    ck_assert_ptr_null(zeros(NULL, 1, 1));
    ck_assert_ptr_null(rbe_variable(NULL, rbe_tensor_1d(numbers, 1)));
    rbe_var *results[32];
    for (int k = all_operations(NULL, results); k-- > 0;) ck_assert_ptr_null(results[k]);
    rbe_tape *tape = rbe_tape_new(NULL);
    ck_assert_ptr_null(rbe_add(zeros(tape, 1, 1), NULL));
    ck_assert_ptr_null(rbe_add(NULL, zeros(tape, 1, 1)));
    ck_assert_ptr_null(rbe_value(NULL)->data);
    const rbe_tensor *failed[] = {rbe_value(NULL), rbe_value(failing_matmul(tape))}; /* have no dimensions */
    for (int k = 0; k < 2; k++)
        ck_assert_uint_eq(rbe_tensor_count(failed[k]) + rbe_tensor_rows(failed[k]) + rbe_tensor_columns(failed[k]), 0);
    rbe_tape_free(tape);
    ck_assert(isnan(rbe_item(NULL)));
    ck_assert_ptr_null(rbe_grad(NULL));
    ck_assert_int_eq(rbe_backward(NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_tape_status(NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_tape_check_finite(NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_tape_reserve(NULL, 1), RBE_INVALID_ARGUMENT);
    rbe_tape_reset(NULL);
    rbe_tape_free(NULL);
    rbe_tape_set_inference(NULL, true);
}
END_TEST

START_TEST(error_of_two_tapes) {
    rbe_tape *one = rbe_tape_new(NULL), *two = rbe_tape_new(NULL);
    rbe_add(zeros(one, 1, 1), zeros(two, 1, 1));
    ck_assert_str_eq(rbe_tape_error(one), "add: the operands are on different tapes");
    ck_assert_int_eq(rbe_tape_status(two), RBE_OK);
    rbe_tape_free(one);
    rbe_tape_free(two);
}
END_TEST

START_TEST(error_names_the_layer) {
    rbe_tape *tape = rbe_tape_new(NULL);
    tape->scope = "fc1";
    failing_matmul(tape);
    ck_assert_str_eq(rbe_tape_error(tape), "fc1: matmul: (2, 3) x (2, 3): inner extents 3 and 2 differ");
    rbe_tape_free(tape);
}
END_TEST

static rbe_status refuse(rbe_var *self) { return rbe_fail(RBE_STOPPED, "%s: no gradients today", self->operation); }

START_TEST(error_in_backward_names_the_layer) {
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, rbe_tensor_1d(numbers, 3));
    tape->scope = "fc1";
    rbe_var *y = rbe_node_like("refusal", x, refuse, 0);
    memset(y->value.data, 0, 3 * sizeof(float));
    tape->scope = "";
    ck_assert_int_eq(rbe_backward(rbe_sum(y)), RBE_STOPPED);
    ck_assert_str_eq(rbe_tape_error(tape), "fc1: refusal: no gradients today");
    ck_assert_int_eq(rbe_tape_status(tape), RBE_STOPPED);
    rbe_tape_free(tape);
}
END_TEST

START_TEST(backward_needs_one_value_and_a_variable) {
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, rbe_tensor_2d(numbers, 2, 3));
    ck_assert(isnan(rbe_item(x)));
    ck_assert_int_eq(rbe_backward(x), RBE_INVALID_ARGUMENT);
    ck_assert_str_eq(rbe_tape_error(tape), "rbe_backward: expected a loss of one value, found shape (2, 3)");
    rbe_tape_reset(tape);
    ck_assert_int_eq(rbe_backward(rbe_mean(zeros(tape, 2, 3))), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "needs a gradient"));
    rbe_tape_free(tape);
}
END_TEST

/* ---- gradients across operations ----------------------------------------------------------------------------- */

/* d/dx (x^2 + 3 x) x = 3 x^2 + 6 x, with x in several places at different depths. */
START_TEST(gradients_of_several_uses_add_up) {
    float x_data[] = {-1.5f, 0.5f, 2.0f};
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, rbe_tensor_1d(x_data, 3));
    rbe_var *loss = rbe_sum(rbe_mul(rbe_add(rbe_mul(x, x), rbe_scale(x, 3.0f)), x));
    for (int pass = 0; pass < 2; pass++) { /* the second starts from zero again */
        ck_assert_int_eq(rbe_backward(loss), RBE_OK);
        for (int i = 0; i < 3; i++)
            ck_assert_float_eq_tol(rbe_grad(x)[i], 3 * x_data[i] * x_data[i] + 6 * x_data[i], 1e-5f);
    }
    rbe_tape_free(tape);
}
END_TEST

START_TEST(gradients_reach_only_what_the_loss_depends_on) {
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, rbe_tensor_1d(numbers, 3)), *y = rbe_variable(tape, rbe_tensor_1d(numbers, 3));
    rbe_var *loss = rbe_sum(x);
    rbe_var *later = rbe_sum(rbe_add(x, y));
    ck_assert_int_eq(rbe_backward(loss), RBE_OK);
    ck_assert_ptr_nonnull(rbe_grad(x));
    ck_assert_ptr_null(rbe_grad(y));
    ck_assert_ptr_null(rbe_grad(later));
    rbe_tape_free(tape);
}
END_TEST

/* A loss that is a variable itself. */
START_TEST(gradient_of_a_leaf) {
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, rbe_tensor_1d(numbers, 1));
    ck_assert_int_eq(rbe_backward(x), RBE_OK);
    ck_assert_float_eq(rbe_grad(x)[0], 1.0f);
    rbe_tape_free(tape);
}
END_TEST

/* Two layers with everything in between: leaves x, w1, b1, w2. */
static rbe_var *network(rbe_tape *tape, rbe_var **leaf, void *user) {
    (void)tape, (void)user;
    rbe_var *h = rbe_tanh(rbe_add(rbe_matmul(leaf[0], false, leaf[1], true), leaf[2]));
    h = rbe_add(rbe_dropout(h, 0.25f), rbe_dropout(rbe_sigmoid(h), 0.5f));
    h = rbe_add(rbe_dropout(h, 0.25f), rbe_dropout(h, 0.5f));
    rbe_var *logits = rbe_matmul(h, false, leaf[3], true);
    rbe_var *square = rbe_reshape(rbe_gelu(logits), 2, (const size_t[]){4, 2});
    return rbe_sub(rbe_cross_entropy(logits, labels), rbe_matmul(square, true, rbe_softmax(square), false));
}

START_TEST(gradients_of_a_chain) {
    static const size_t shapes[4][2] = {{2, 5}, {6, 5}, {1, 6}, {4, 6}};
    rbe_tensor leaves[4];
    for (int k = 0; k < 4; k++) {
        leaves[k] = new_tensor(2, shapes[k]);
        fill_normal(leaves[k].data, rbe_tensor_count(&leaves[k]), 0.7, (uint64_t)k);
    }
    ck_assert_double_lt(gradient_error(network, leaves, 4, NULL), 1e-3);
    for (int k = 0; k < 4; k++) rbe_tensor_free(&leaves[k]);
}
END_TEST

START_TEST(reshape_is_a_view) {
    float data[] = {1, 2, 3, 4, 5, 6};
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, rbe_tensor_2d(data, 2, 3));
    rbe_var *y = rbe_reshape(x, 3, (const size_t[]){3, 1, 2});
    ck_assert_ptr_eq(rbe_value(y)->data, data);
    ck_assert_int_eq(rbe_value(y)->dims, 3);
    ck_assert_uint_eq(rbe_value(y)->shape[2], 2);
    ck_assert_int_eq(rbe_backward(rbe_add(rbe_sum(rbe_mul(y, y)), rbe_sum(x))), RBE_OK);
    for (int i = 0; i < 6; i++) ck_assert_float_eq(rbe_grad(x)[i], 2 * data[i] + 1);
    for (int i = 0; i < 6; i++) ck_assert_float_eq(rbe_grad(y)[i], 2 * data[i]);
    rbe_tape_free(tape);
}
END_TEST

START_TEST(inference_records_no_gradients) {
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    rbe_var *x = rbe_variable(tape, rbe_tensor_2d(numbers, 2, 4));
    ck_assert_ptr_eq(rbe_dropout(x, 0.5f), x);
    ck_assert_int_eq(rbe_backward(rbe_mean(rbe_relu(x))), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_null(rbe_grad(x));
    rbe_tape_reset(tape);
    rbe_tape_set_inference(tape, false);
    x = rbe_variable(tape, rbe_tensor_2d(numbers, 2, 4));
    ck_assert_ptr_ne(rbe_dropout(x, 0.5f), x);
    ck_assert_ptr_eq(rbe_dropout(x, 0.0f), x);
    ck_assert_int_eq(rbe_backward(rbe_mean(rbe_relu(x))), RBE_OK);
    ck_assert_ptr_nonnull(rbe_grad(x));
    rbe_tape_set_inference(tape, true); /* for what is built from now on */
    ck_assert_int_eq(rbe_backward(rbe_mean(x)), RBE_INVALID_ARGUMENT);
    rbe_tape_free(tape);
}
END_TEST

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* A training step with 80 kB per value, more than the arena's first chunk. */
static rbe_status step(rbe_tape *tape) {
    static float x_data[100 * 200], w_data[200 * 200], b_data[200];
    static int32_t classes[100];
    rbe_var *x = rbe_input(tape, rbe_tensor_2d(x_data, 100, 200));
    rbe_var *w = rbe_variable(tape, rbe_tensor_2d(w_data, 200, 200));
    rbe_var *b = rbe_variable(tape, rbe_tensor_1d(b_data, 200));
    rbe_var *h = rbe_dropout(rbe_relu(rbe_add(rbe_matmul(x, false, w, true), b)), 0.1f);
    rbe_var *loss = rbe_cross_entropy(rbe_mul(rbe_gelu(h), b), classes);
    RBE_TRY(rbe_backward(loss));
    return rbe_tape_check_finite(tape);
}

START_TEST(steady_steps_allocate_nothing) {
    rbe_tape *tape = rbe_tape_new(NULL);
    size_t allocations = 0;
    for (int k = 0; k < 6; k++) {
        if (k == 2) allocations = rbe_memory().allocations;
        ck_assert_int_eq(step(tape), RBE_OK);
        rbe_tape_reset(tape);
    }
    ck_assert_uint_eq(rbe_memory().allocations, allocations);
    rbe_tape_free(tape);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(reserved_tape_allocates_nothing) {
    rbe_tape *tape = rbe_tape_new(NULL);
    ck_assert_int_eq(rbe_tape_reserve(tape, 4000000), RBE_OK);
    const size_t allocations = rbe_memory().allocations;
    ck_assert_int_eq(step(tape), RBE_OK);
    ck_assert_int_eq(rbe_tape_reserve(tape, 4000000), RBE_INVALID_ARGUMENT); /* in use */
    ck_assert_uint_eq(rbe_memory().allocations, allocations);
    rbe_tape_free(tape);
}
END_TEST

/* Scratch of an operation is given back: what remains is one gradient for each variable. */
START_TEST(backward_keeps_gradients_only) {
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *b = rbe_variable(tape, rbe_tensor_1d(numbers, 16));
    rbe_var *loss = rbe_sum(rbe_add(zeros(tape, 4, 16), b));
    const size_t before = tape->arena.used;
    ck_assert_int_eq(rbe_backward(loss), RBE_OK);
    ck_assert_uint_eq(tape->arena.used - before, rbe_aligned(4) + 4 * 64 + 64);
    rbe_tape_free(tape);
}
END_TEST

START_TEST(every_allocation_may_fail) { ck_assert_uint_gt(fail_each_allocation_of_step(step), 8); }
END_TEST

/* ---- values that are not finite ------------------------------------------------------------------------------ */

START_TEST(check_finite_finds_the_first_value) {
    float data[] = {1.0f, 1e30f, 2.0f};
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, rbe_tensor_1d(data, 3));
    ck_assert_int_eq(rbe_tape_check_finite(tape), RBE_OK);
    tape->scope = "fc1";
    rbe_var *y = rbe_mul(x, x);
    tape->scope = "fc2";
    rbe_sub(y, y);
    ck_assert_int_eq(rbe_tape_check_finite(tape), RBE_NUMERICAL_INSTABILITY);
    ck_assert_str_eq(rbe_last_error(), "fc1: mul: value 1 is inf");
    rbe_tape_reset(tape);
    data[2] = NAN;
    rbe_relu(rbe_variable(tape, rbe_tensor_1d(data, 3)));
    ck_assert_int_eq(rbe_tape_check_finite(tape), RBE_NUMERICAL_INSTABILITY);
    ck_assert_str_eq(rbe_last_error(), "variable: value 2 is nan");
    rbe_tape_free(tape);
}
END_TEST

/* Finite values, but d sum(1e30 x * 1e30) / dx overflows on its way to x. */
START_TEST(check_finite_finds_the_first_gradient) {
    float data[] = {0.0f, 0.0f};
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, rbe_tensor_1d(data, 2));
    tape->scope = "fc1";
    rbe_var *y = rbe_scale(x, 1e30f);
    tape->scope = "fc2";
    ck_assert_int_eq(rbe_backward(rbe_sum(rbe_scale(rbe_scale(y, 1e30f), 1e-30f))), RBE_OK);
    ck_assert_int_eq(rbe_tape_check_finite(tape), RBE_OK);
    ck_assert_int_eq(rbe_backward(rbe_sum(rbe_scale(y, 1e30f))), RBE_OK);
    ck_assert_int_eq(rbe_tape_check_finite(tape), RBE_NUMERICAL_INSTABILITY);
    ck_assert_str_eq(rbe_last_error(), "variable: gradient 0 is inf");
    rbe_tape_free(tape);
}
END_TEST

Suite *tensor_suite(void) {
    Suite *suite = suite_create("tensor");

    TCase *tensors = tcase_create("tensors");
    tcase_add_test(tensors, tensor_views);
    tcase_add_test(tensors, tensor_new_is_zero);
    tcase_add_test(tensors, tensor_new_refuses_bad_shapes);
    tcase_add_test(tensors, tensor_shape_text);
    suite_add_tcase(suite, tensors);

    TCase *errors = tcase_create("errors");
    tcase_add_test(errors, error_sticks_and_expressions_stay_inert);
    tcase_add_test(errors, error_of_no_tape);
    tcase_add_test(errors, error_of_two_tapes);
    tcase_add_test(errors, error_names_the_layer);
    tcase_add_test(errors, error_in_backward_names_the_layer);
    tcase_add_test(errors, backward_needs_one_value_and_a_variable);
    suite_add_tcase(suite, errors);

    TCase *gradients = tcase_create("gradients across operations");
    tcase_add_test(gradients, gradients_of_several_uses_add_up);
    tcase_add_test(gradients, gradients_reach_only_what_the_loss_depends_on);
    tcase_add_test(gradients, gradient_of_a_leaf);
    tcase_add_test(gradients, gradients_of_a_chain);
    tcase_add_test(gradients, reshape_is_a_view);
    tcase_add_test(gradients, inference_records_no_gradients);
    suite_add_tcase(suite, gradients);

    TCase *memory = tcase_create("memory");
    tcase_add_test(memory, steady_steps_allocate_nothing);
    tcase_add_test(memory, reserved_tape_allocates_nothing);
    tcase_add_test(memory, backward_keeps_gradients_only);
    tcase_add_test(memory, every_allocation_may_fail);
    suite_add_tcase(suite, memory);

    TCase *values = tcase_create("values that are not finite");
    tcase_add_test(values, check_finite_finds_the_first_value);
    tcase_add_test(values, check_finite_finds_the_first_gradient);
    suite_add_tcase(suite, values);

    return suite;
}
