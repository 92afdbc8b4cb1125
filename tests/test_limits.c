/* Operations at their limits: operands that do not fit, extreme values, random masks. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "suites.h"
#include "support.h"

/* ---- operands ------------------------------------------------------------------------------------------------ */

static float numbers[64];
static const int32_t labels_too_large[] = {0, 4}, labels_negative[] = {-1, 9};

static rbe_var *zeros(rbe_tape *t, size_t rows, size_t columns) {
    return rbe_input(t, rbe_tensor_2d(numbers, rows, columns));
}

static rbe_var *reshaped(rbe_tape *t, int dims, size_t n0, size_t n1) {
    return rbe_reshape(zeros(t, 2, 6), dims, (const size_t[]){n0, n1, 1, 1, 1});
}

static rbe_var *failing_add(rbe_tape *t) { return rbe_add(zeros(t, 2, 3), zeros(t, 2, 4)); }
static rbe_var *failing_sub(rbe_tape *t) { return rbe_sub(zeros(t, 2, 3), zeros(t, 3, 3)); }
static rbe_var *failing_mul(rbe_tape *t) { return rbe_mul(zeros(t, 2, 3), rbe_input(t, rbe_tensor_1d(numbers, 2))); }
static rbe_var *failing_matmul(rbe_tape *t) { return rbe_matmul(zeros(t, 2, 3), false, zeros(t, 5, 4), true); }
static rbe_var *failing_matmul_dims(rbe_tape *t) {
    return rbe_matmul(zeros(t, 2, 3), false, rbe_input(t, rbe_tensor_1d(numbers, 3)), false);
}
static rbe_var *failing_matmul_extent(rbe_tape *t) {
    const size_t many = (size_t)1 << 31; /* the data are not reached */
    return rbe_matmul(zeros(t, many, 1), false, zeros(t, 1, 1), false);
}
static rbe_var *failing_reshape(rbe_tape *t) { return reshaped(t, 2, 5, 2); }
static rbe_var *failing_reshape_zero(rbe_tape *t) { return reshaped(t, 2, 12, 0); }
static rbe_var *failing_reshape_dims(rbe_tape *t) { return reshaped(t, 5, 12, 1); }
static rbe_var *failing_mse(rbe_tape *t) { return rbe_mean_squared_error(zeros(t, 2, 3), zeros(t, 2, 1)); }
static rbe_var *failing_labels(rbe_tape *t) { return rbe_cross_entropy(zeros(t, 2, 4), labels_too_large); }
static rbe_var *failing_negative(rbe_tape *t) { return rbe_cross_entropy(zeros(t, 2, 4), labels_negative); }
static rbe_var *failing_no_labels(rbe_tape *t) { return rbe_cross_entropy(zeros(t, 2, 4), NULL); }
static rbe_var *failing_one_class(rbe_tape *t) { return rbe_cross_entropy(zeros(t, 3, 1), (const int32_t[]){0, 0, 0}); }
static rbe_var *failing_dropout(rbe_tape *t) { return rbe_dropout(zeros(t, 1, 1), 1.0f); }
static rbe_var *failing_dropout_negative(rbe_tape *t) { return rbe_dropout(zeros(t, 1, 1), -0.25f); }
static rbe_var *failing_dropout_nan(rbe_tape *t) { return rbe_dropout(zeros(t, 1, 1), NAN); }
static rbe_var *failing_div(rbe_tape *t) { return rbe_div(zeros(t, 2, 3), zeros(t, 2, 4)); }
static rbe_var *failing_batch(rbe_tape *t) {
    return rbe_matmul(rbe_input(t, rbe_tensor_3d(numbers, 2, 2, 3)), false,
                      rbe_input(t, rbe_tensor_3d(numbers, 3, 3, 1)), false);
}
static rbe_var *failing_clamp(rbe_tape *t) { return rbe_clamp(zeros(t, 1, 1), 2.0f, 1.0f); }
static rbe_var *failing_clamp_nan(rbe_tape *t) { return rbe_clamp(zeros(t, 1, 1), NAN, 1.0f); }
static rbe_var *failing_power(rbe_tape *t) { return rbe_power(zeros(t, 1, 1), INFINITY); }
static rbe_var *failing_sum_along(rbe_tape *t) { return rbe_sum_along(zeros(t, 2, 3), 2); }
static rbe_var *failing_mean_along(rbe_tape *t) { return rbe_mean_along(zeros(t, 2, 3), -3); }
static rbe_var *failing_max_along(rbe_tape *t) { return rbe_max_along(rbe_input(t, rbe_tensor_1d(numbers, 3)), 1); }
static rbe_var *failing_concatenate(rbe_tape *t) {
    return rbe_concatenate((rbe_var *const[]){zeros(t, 2, 3), zeros(t, 2, 1), zeros(t, 3, 3)}, 3, -1);
}
static rbe_var *failing_concatenate_dims(rbe_tape *t) {
    return rbe_concatenate((rbe_var *const[]){zeros(t, 2, 3), rbe_input(t, rbe_tensor_1d(numbers, 3))}, 2, 0);
}
static rbe_var *failing_concatenate_dim(rbe_tape *t) {
    return rbe_concatenate((rbe_var *const[]){zeros(t, 2, 3)}, 1, 2);
}
static rbe_var *failing_slice(rbe_tape *t) { return rbe_slice(zeros(t, 2, 5), 1, 3, 3); }
static rbe_var *failing_slice_wrap(rbe_tape *t) { return rbe_slice(zeros(t, 2, 5), 1, 1, SIZE_MAX); }
static rbe_var *failing_slice_nothing(rbe_tape *t) { return rbe_slice(zeros(t, 2, 5), 1, 1, 0); }
static rbe_var *failing_slice_dim(rbe_tape *t) { return rbe_slice(zeros(t, 2, 5), 5, 0, 1); }
static rbe_var *failing_permute(rbe_tape *t) { return rbe_permute(zeros(t, 2, 5), (const int[]){1, 1}); }
static rbe_var *failing_permute_range(rbe_tape *t) { return rbe_permute(zeros(t, 2, 5), (const int[]){0, 2}); }
static rbe_var *failing_permute_null(rbe_tape *t) { return rbe_permute(zeros(t, 2, 5), NULL); }
static rbe_var *failing_gather(rbe_tape *t) { return rbe_gather_rows(zeros(t, 4, 2), labels_too_large, 2); }
static rbe_var *failing_gather_negative(rbe_tape *t) { return rbe_gather_rows(zeros(t, 4, 2), labels_negative, 2); }
static rbe_var *failing_gather_null(rbe_tape *t) { return rbe_gather_rows(zeros(t, 4, 2), NULL, 2); }
static rbe_var *failing_gather_nothing(rbe_tape *t) { return rbe_gather_rows(zeros(t, 4, 2), labels_negative, 0); }
static rbe_var *failing_scale(rbe_tape *t) { return rbe_layer_norm(zeros(t, 2, 5), zeros(t, 1, 5), NULL, 1e-5f); }
static rbe_var *failing_shift(rbe_tape *t) {
    return rbe_layer_norm(zeros(t, 2, 5), NULL, rbe_input(t, rbe_tensor_1d(numbers, 4)), 1e-5f);
}
static rbe_var *failing_epsilon(rbe_tape *t) { return rbe_rms_norm(zeros(t, 2, 5), NULL, -1e-5f); }
static rbe_var *failing_entropy(rbe_tape *t) { return rbe_binary_cross_entropy(zeros(t, 2, 3), zeros(t, 3, 2)); }
static rbe_var *failing_entropy_target(rbe_tape *t) {
    static float targets[] = {0.0f, 1.0f, 1.5f};
    return rbe_binary_cross_entropy(zeros(t, 1, 3), rbe_input(t, rbe_tensor_2d(targets, 1, 3)));
}
static rbe_var *failing_huber(rbe_tape *t) { return rbe_huber(zeros(t, 2, 3), zeros(t, 2, 1), 1.0f); }
static rbe_var *failing_huber_delta(rbe_tape *t) { return rbe_huber(zeros(t, 2, 3), zeros(t, 2, 3), 0.0f); }
static rbe_var *failing_input_empty(rbe_tape *t) { return zeros(t, 0, 3); }
static rbe_var *failing_input_null(rbe_tape *t) { return rbe_input(t, rbe_tensor_1d(NULL, 3)); }
static rbe_var *failing_variable_null(rbe_tape *t) { return rbe_variable(t, rbe_tensor_1d(NULL, 3)); }

static const struct {
    rbe_var *(*build)(rbe_tape *tape);
    rbe_status status;
    const char *text;
} failures[] = {
    {failing_add, RBE_INPUT_DIMENSION_MISMATCH,
     "add: shapes (2, 3) and (2, 4) do not broadcast: expected extents that are equal or 1"},
    {failing_sub, RBE_INPUT_DIMENSION_MISMATCH,
     "sub: shapes (2, 3) and (3, 3) do not broadcast: expected extents that are equal or 1"},
    {failing_mul, RBE_INPUT_DIMENSION_MISMATCH,
     "mul: shapes (2, 3) and (2) do not broadcast: expected extents that are equal or 1"},
    {failing_matmul, RBE_INPUT_DIMENSION_MISMATCH, "matmul: (2, 3) x (5, 4)^T: inner extents 3 and 4 differ"},
    {failing_matmul_dims, RBE_INPUT_DIMENSION_MISMATCH, "matmul: expected at least two dimensions, found (2, 3) x (3)"},
    {failing_matmul_extent, RBE_INVALID_ARGUMENT,
     "matmul: expected extents of at most 2147483647, found (2147483648, 1) x (1, 1)"},
    {failing_reshape, RBE_INPUT_DIMENSION_MISMATCH, "reshape: (2, 6) has 12 values, (5, 2) has 10"},
    {failing_reshape_zero, RBE_INVALID_ARGUMENT, "reshape: tensor: extent 1: expected at least 1, found 0"},
    {failing_reshape_dims, RBE_INVALID_ARGUMENT, "reshape: tensor: expected 1 .. 4 dimensions, found 5"},
    {failing_mse, RBE_INPUT_DIMENSION_MISMATCH,
     "mean_squared_error: expected equal shapes, found prediction (2, 3) and target (2, 1)"},
    {failing_labels, RBE_INVALID_ARGUMENT, "cross_entropy: row 1: expected a label in 0 .. 3, found 4"},
    {failing_negative, RBE_INVALID_ARGUMENT, "cross_entropy: row 0: expected a label in 0 .. 3, found -1"},
    {failing_no_labels, RBE_INVALID_ARGUMENT, "cross_entropy: the labels are NULL"},
    {failing_one_class, RBE_INVALID_ARGUMENT, /* [5] */
     "cross_entropy: expected at least 2 columns of logits, found 1: of one class the probability is always 1 (use two "
     "outputs, or another loss)"},
    {failing_dropout, RBE_INVALID_ARGUMENT, "dropout: expected a probability in 0 <= p < 1, found 1"},
    {failing_dropout_negative, RBE_INVALID_ARGUMENT, "dropout: expected a probability in 0 <= p < 1, found -0.25"},
    {failing_dropout_nan, RBE_INVALID_ARGUMENT, "dropout: expected a probability in 0 <= p < 1, found nan"},
    {failing_div, RBE_INPUT_DIMENSION_MISMATCH,
     "div: shapes (2, 3) and (2, 4) do not broadcast: expected extents that are equal or 1"},
    {failing_batch, RBE_INPUT_DIMENSION_MISMATCH,
     "matmul: (2, 2, 3) x (3, 3, 1): expected extents before the last two that are equal or 1"},
    {failing_clamp, RBE_INVALID_ARGUMENT, "clamp: expected low <= high, found 2 and 1"},
    {failing_clamp_nan, RBE_INVALID_ARGUMENT, "clamp: expected low <= high, found nan and 1"},
    {failing_power, RBE_INVALID_ARGUMENT, "power: expected a finite exponent, found inf"},
    {failing_sum_along, RBE_INVALID_ARGUMENT, "sum_along: expected a dimension in -2 .. 1 of shape (2, 3), found 2"},
    {failing_mean_along, RBE_INVALID_ARGUMENT, "mean_along: expected a dimension in -2 .. 1 of shape (2, 3), found -3"},
    {failing_max_along, RBE_INVALID_ARGUMENT, "max_along: expected a dimension in -1 .. 0 of shape (3), found 1"},
    {failing_concatenate, RBE_INPUT_DIMENSION_MISMATCH,
     "concatenate: expected shapes that are equal except in dimension 1, found (2, 3) and (3, 3) (part 2)"},
    {failing_concatenate_dims, RBE_INPUT_DIMENSION_MISMATCH,
     "concatenate: expected shapes that are equal except in dimension 0, found (2, 3) and (3) (part 1)"},
    {failing_concatenate_dim, RBE_INVALID_ARGUMENT,
     "concatenate: expected a dimension in -2 .. 1 of shape (2, 3), found 2"},
    {failing_slice, RBE_INVALID_ARGUMENT, "slice: expected places within 0 .. 4 of dimension 1, found 3 from 3 on"},
    {failing_slice_wrap, RBE_INVALID_ARGUMENT,
     "slice: expected places within 0 .. 4 of dimension 1, found 18446744073709551615 from 1 on"},
    {failing_slice_nothing, RBE_INVALID_ARGUMENT,
     "slice: expected places within 0 .. 4 of dimension 1, found 0 from 1 on"},
    {failing_slice_dim, RBE_INVALID_ARGUMENT, "slice: expected a dimension in -2 .. 1 of shape (2, 5), found 5"},
    {failing_permute, RBE_INVALID_ARGUMENT, "permute: expected each dimension 0 .. 1 once, found 1 at place 1"},
    {failing_permute_range, RBE_INVALID_ARGUMENT, "permute: expected each dimension 0 .. 1 once, found 2 at place 1"},
    {failing_permute_null, RBE_INVALID_ARGUMENT, "permute: the order is NULL"},
    {failing_gather, RBE_INVALID_ARGUMENT, "gather_rows: id 1: expected a row in 0 .. 3, found 4"},
    {failing_gather_negative, RBE_INVALID_ARGUMENT, "gather_rows: id 0: expected a row in 0 .. 3, found -1"},
    {failing_gather_null, RBE_INVALID_ARGUMENT, "gather_rows: the ids are NULL"},
    {failing_gather_nothing, RBE_INVALID_ARGUMENT, "gather_rows: expected at least one id, found 0"},
    {failing_scale, RBE_INPUT_DIMENSION_MISMATCH, "layer_norm: expected a scale of shape (5), found (1, 5)"},
    {failing_shift, RBE_INPUT_DIMENSION_MISMATCH, "layer_norm: expected a shift of shape (5), found (4)"},
    {failing_epsilon, RBE_INVALID_ARGUMENT, "rms_norm: expected a finite epsilon of at least 0, found -1e-05"},
    {failing_entropy, RBE_INPUT_DIMENSION_MISMATCH,
     "binary_cross_entropy: expected equal shapes, found prediction (2, 3) and target (3, 2)"},
    {failing_entropy_target, RBE_INVALID_ARGUMENT,
     "binary_cross_entropy: value 2: expected a target in 0 .. 1, found 1.5"},
    {failing_huber, RBE_INPUT_DIMENSION_MISMATCH,
     "huber: expected equal shapes, found prediction (2, 3) and target (2, 1)"},
    {failing_huber_delta, RBE_INVALID_ARGUMENT, "huber: expected a finite delta > 0, found 0"},
    {failing_input_empty, RBE_INVALID_ARGUMENT, "tensor: extent 0: expected at least 1, found 0"},
    {failing_input_null, RBE_INVALID_ARGUMENT, "input: the tensor has no data"},
    {failing_variable_null, RBE_INVALID_ARGUMENT, "variable: the tensor has no data"},
};

enum { FAILURES = sizeof failures / sizeof *failures };

START_TEST(error_text_names_operation_and_shapes) {
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *failed = failures[_i].build(tape);
    ck_assert_ptr_null(rbe_value(failed)->data);
    ck_assert_int_eq(rbe_tape_status(tape), failures[_i].status);
    ck_assert_str_eq(rbe_tape_error(tape), failures[_i].text);
    ck_assert_int_eq(rbe_backward(failed), failures[_i].status);
    ck_assert_str_eq(rbe_last_error(), failures[_i].text);
    rbe_tape_reset(tape);
    ck_assert_int_eq(rbe_tape_status(tape), RBE_OK);
    ck_assert_str_eq(rbe_tape_error(tape), "");
    rbe_tape_free(tape);
}
END_TEST

/* ---- extremes ------------------------------------------------------------------------------------------------ */

/* All kinds of large logits in rows of four. */
static float extreme_logits[] = {1e4f,   -1e4f, 0.0f, 1.0f, -1e4f, -1e4f, -1e4f, -1e4f,
                                 -1e30f, 1e4f,  1e4f, 1e4f, 88.0f, 89.0f, 90.0f, -90.0f};
static const double extreme_softmax[] = {1.0,           0.0,          0.0,          0.0,       0.25,      0.25,
                                         0.25,          0.25,         0.0,          1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0,
                                         0.09003057317, 0.2447284711, 0.6652409558, 0.0};

START_TEST(softmax_of_extreme_logits) {
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, rbe_tensor_2d(extreme_logits, 4, 4));
    rbe_var *y = rbe_softmax(x);
    ck_assert_double_lt(relative_error(rbe_value(y)->data, extreme_softmax, 16), 1e-6);
    ck_assert_int_eq(rbe_backward(rbe_sum(rbe_mul(y, y))), RBE_OK);
    ck_assert_int_eq(rbe_tape_check_finite(tape), RBE_OK);
    rbe_tape_free(tape);
}
END_TEST

START_TEST(log_softmax_of_extreme_logits) {
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, rbe_tensor_2d(extreme_logits, 4, 4));
    rbe_var *y = rbe_log_softmax(x);
    const float *values = rbe_value(y)->data;
    ck_assert_float_eq(values[0], 0.0f);
    ck_assert_float_eq(values[1], -2e4f);
    ck_assert_float_eq_tol(values[4], -1.38629436f, 1e-6f);
    ck_assert_float_eq_tol(values[9], -1.09861229f, 1e-6f);
    ck_assert_int_eq(rbe_backward(rbe_sum(y)), RBE_OK);
    ck_assert_int_eq(rbe_tape_check_finite(tape), RBE_OK);
    rbe_tape_free(tape);
}
END_TEST

/* Rows: certain and right, undecided, certain and wrong, as usual. */
START_TEST(cross_entropy_of_extreme_logits) {
    static const int32_t labels[] = {0, 2, 0, 1};
    static const double losses[] = {0.0, 1.38629436, 1e30, 1.40760596};
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, rbe_tensor_2d(extreme_logits, 4, 4));
    rbe_var *loss = rbe_cross_entropy(x, labels);
    ck_assert_double_eq_tol((double)rbe_item(loss) / 2.5e29, 1.0, 1e-6);
    ck_assert_int_eq(rbe_backward(loss), RBE_OK);
    double gradient[16];
    for (int i = 0; i < 16; i++) gradient[i] = (extreme_softmax[i] - (i % 4 == labels[i / 4])) / 4.0;
    ck_assert_double_lt(relative_error(rbe_grad(x), gradient, 16), 1e-6);
    for (int row = 0; row < 4; row++) {
        rbe_tape_reset(tape);
        loss = rbe_cross_entropy(rbe_input(tape, rbe_tensor_1d(extreme_logits + 4 * row, 4)), &labels[row]);
        ck_assert_double_eq_tol((double)rbe_item(loss), losses[row], 1e-6 * (1.0 + losses[row]));
    }
    rbe_tape_free(tape);
}
END_TEST

START_TEST(activations_saturate) {
    float data[] = {-1e30f, -100.0f, 100.0f, 1e30f};
    static const double relu[] = {0, 0, 100, 1e30}, sign[] = {-1, -1, 1, 1}, step[] = {0, 0, 1, 1};
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, rbe_tensor_1d(data, 4));
    rbe_var *made[] = {rbe_relu(x), rbe_gelu(x), rbe_tanh(x), rbe_sigmoid(x)};
    const double *values[] = {relu, relu, sign, step}, *slopes[] = {step, step, NULL, NULL};
    static const double flat[4] = {0};
    for (int k = 0; k < 4; k++) {
        ck_assert_double_lt(relative_error(rbe_value(made[k])->data, values[k], 4), 1e-6);
        ck_assert_int_eq(rbe_backward(rbe_sum(made[k])), RBE_OK);
        ck_assert_double_lt(relative_error(rbe_grad(x), slopes[k] ? slopes[k] : flat, 4), 1e-6);
    }
    rbe_tape_free(tape);
}
END_TEST

/* Far in the tail gelu is small but still exact: -x Phi(-x), about 1.4e-6 at -5 and 1.1e-22 at -10. */
START_TEST(gelu_in_the_tail) {
    float data[] = {-5.0f, -10.0f};
    rbe_tape *tape = rbe_tape_new(NULL);
    const float *y = rbe_value(rbe_gelu(rbe_input(tape, rbe_tensor_1d(data, 2))))->data;
    for (int i = 0; i < 2; i++) {
        const double x = (double)data[i], expected = x / 2.0 * erfc(-x / sqrt(2.0));
        ck_assert_double_eq_tol((double)y[i] / expected, 1.0, 1e-4);
    }
    rbe_tape_free(tape);
}
END_TEST

START_TEST(relu_at_zero_and_nan) {
    float data[] = {0.0f, -0.0f, NAN, -1.0f};
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, rbe_tensor_1d(data, 4));
    rbe_var *y = rbe_relu(x);
    ck_assert(isnan(rbe_value(y)->data[2]));
    ck_assert_int_eq(rbe_backward(rbe_sum(y)), RBE_OK);
    ck_assert_float_eq(rbe_grad(x)[0], 0.0f);
    ck_assert_float_eq(rbe_grad(x)[1], 0.0f);
    ck_assert_float_eq(rbe_grad(x)[3], 0.0f);
    rbe_tape_free(tape);
}
END_TEST

/* In float the sum would stop at 2^24. */
/* The value and the gradient of y at each of four values. */
static void check_four(rbe_tape *tape, rbe_var *x, rbe_var *y, const float *values, const float *slopes) {
    ck_assert_int_eq(rbe_backward(rbe_sum(y)), RBE_OK);
    for (int i = 0; i < 4; i++) {
        ck_assert_float_eq(rbe_value(y)->data[i], values[i]);
        ck_assert_float_eq(rbe_grad(x)[i], slopes[i]);
    }
    ck_assert_int_eq(rbe_tape_status(tape), RBE_OK);
}

/* Where a function bends or ends. */
START_TEST(functions_at_their_bounds) {
    float data[] = {-2.0f, 0.0f, 1.0f, 3.0f}, not_negative[] = {0.0f, 1.0f, 4.0f, INFINITY}, nan[] = {NAN};
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, rbe_tensor_1d(data, 4)), *p = rbe_variable(tape, rbe_tensor_1d(not_negative, 4));
    check_four(tape, x, rbe_clamp(x, -2.0f, 1.0f), (float[]){-2, 0, 1, 1}, (float[]){1, 1, 1, 0});
    check_four(tape, x, rbe_clamp(x, 0.5f, 0.5f), (float[]){0.5f, 0.5f, 0.5f, 0.5f}, (float[]){0, 0, 0, 0});
    check_four(tape, x, rbe_abs(x), (float[]){2, 0, 1, 3}, (float[]){-1, 0, 1, 1});
    check_four(tape, x, rbe_power(x, 2.0f), (float[]){4, 0, 1, 9}, (float[]){-4, 0, 2, 6});
    check_four(tape, x, rbe_power(x, 1.0f), (float[]){-2, 0, 1, 3}, (float[]){1, 1, 1, 1});
    check_four(tape, x, rbe_power(x, 0.0f), (float[]){1, 1, 1, 1}, (float[]){0, 0, 0, 0});
    check_four(tape, p, rbe_sqrt(p), (float[]){0, 1, 2, INFINITY}, (float[]){INFINITY, 0.5f, 0.25f, 0});
    check_four(tape, p, rbe_log(p), (float[]){-INFINITY, 0, logf(4.0f), INFINITY}, (float[]){INFINITY, 1, 0.25f, 0});
    ck_assert(isnan(rbe_item(rbe_clamp(rbe_input(tape, rbe_tensor_1d(nan, 1)), 0.0f, 1.0f))));
    ck_assert(isnan(rbe_value(rbe_log(x))->data[0]) && isnan(rbe_value(rbe_sqrt(x))->data[0]));
    rbe_tape_free(tape);
}
END_TEST

/* Neither overflows nor loses what is small: log(1 + exp(-20)) beside 0. */
START_TEST(binary_cross_entropy_of_extreme_logits) {
    static const struct {
        float logit, target;
        double loss, slope;
    } cases[] = {
        {1e30f, 1.0f, 0.0, 0.0},
        {-1e30f, 0.0f, 0.0, 0.0},
        {-1e30f, 1.0f, 1e30, -1.0},
        {1e30f, 0.0f, 1e30, 1.0},
        {20.0f, 1.0f, 2.061153620e-9, -2.061153618e-9},
        {0.0f, 0.25f, 0.693147181, 0.25},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        float logit = cases[n].logit, target = cases[n].target;
        rbe_tape *tape = rbe_tape_new(NULL);
        rbe_var *x = rbe_variable(tape, rbe_tensor_1d(&logit, 1));
        rbe_var *loss = rbe_binary_cross_entropy(x, rbe_input(tape, rbe_tensor_1d(&target, 1)));
        ck_assert_int_eq(rbe_backward(loss), RBE_OK);
        ck_assert_double_le(fabs((double)rbe_item(loss) - cases[n].loss), 1e-6 * cases[n].loss);
        ck_assert_double_le(fabs((double)rbe_grad(x)[0] - cases[n].slope), 1e-7);
        rbe_tape_free(tape);
    }
}
END_TEST

/* Large values that differ little, and values that do not differ at all. */
START_TEST(norms_of_unusual_rows) {
    enum { N = 64 };
    float x[3][N];
    for (int i = 0; i < N; i++) {
        x[0][i] = 1e6f + (float)(i % 2); /* mean 1e6 + 1/2, deviation 1/2 */
        x[1][i] = 123.456f;
        x[2][i] = i % 2 ? 1e25f : -1e25f; /* whose squares are no floats */
    }
    rbe_tape *tape = rbe_tape_new(NULL);
    const float *y = rbe_value(rbe_layer_norm(rbe_input(tape, rbe_tensor_2d(x[0], 3, N)), NULL, NULL, 0x1p-20f))->data;
    for (int i = 0; i < N; i++) {
        ck_assert_float_eq_tol(y[i], i % 2 ? 1.0f : -1.0f, 1e-5f);
        ck_assert_float_eq(y[N + i], 0.0f);
        ck_assert_float_eq_tol(y[2 * N + i], i % 2 ? 1.0f : -1.0f, 1e-5f);
    }
    y = rbe_value(rbe_rms_norm(rbe_input(tape, rbe_tensor_2d(x[0], 3, N)), NULL, 0.0f))->data;
    for (int i = 0; i < N; i++) {
        ck_assert_float_eq_tol(y[i], 1.0f, 1e-5f);
        ck_assert_float_eq_tol(y[N + i], 1.0f, 1e-5f);
        ck_assert_float_eq_tol(y[2 * N + i], i % 2 ? 1.0f : -1.0f, 1e-5f);
    }
    rbe_tape_free(tape);
}
END_TEST

START_TEST(sums_are_accumulated_in_double) {
    const size_t rows = 5000, columns = 4000;
    rbe_tensor ones = new_tensor(2, (const size_t[]){rows, columns});
    for (size_t i = 0; i < rows * columns; i++) ones.data[i] = 1.0f;
    float offset = 0.0f;
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_input(tape, ones), *b = rbe_variable(tape, rbe_tensor_1d(&offset, 1));
    rbe_var *sum = rbe_sum(rbe_add(x, b));
    ck_assert_float_eq(rbe_item(sum), 2e7f);
    ck_assert_float_eq(rbe_item(rbe_mean(x)), 1.0f);
    ck_assert_float_eq(rbe_item(rbe_mean_squared_error(x, rbe_scale(x, 2.0f))), 1.0f);
    ck_assert_int_eq(rbe_backward(sum), RBE_OK);
    ck_assert_float_eq(rbe_grad(b)[0], 2e7f);
    const size_t other[] = {rows * columns / 2, 2};
    for (int dim = 0; dim < 2; dim++) {
        rbe_var *tall = dim ? rbe_reshape(x, 2, (const size_t[]){2, rows * columns / 2}) : rbe_reshape(x, 2, other);
        ck_assert_float_eq(rbe_value(rbe_sum_along(rbe_scale(tall, 3.0f), dim))->data[0], 3e7f);
        ck_assert_float_eq(rbe_value(rbe_mean_along(tall, dim))->data[1], 1.0f);
    }
    rbe_tape_free(tape);
    rbe_tensor_free(&ones);
}
END_TEST

/* Y = X W^T, dX and dW of sum(Y^2) have the same bits with any number of threads. Shapes of one strip of rows and of
 * several (base/gemm.c). */
START_TEST(dense_products_repeat) {
    static const size_t shapes[][3] = {{1, 512, 512}, {33, 65, 129}, {700, 10, 300}, {700, 700, 65}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const size_t n = shapes[s][0], out = shapes[s][1], in = shapes[s][2];
        rbe_tensor x = new_tensor(2, (const size_t[]){n, in}), w = new_tensor(2, (const size_t[]){out, in});
        fill_normal(x.data, n * in, 1.0, 1);
        fill_normal(w.data, out * in, 1.0, 2);
        rbe_tape *tapes[3];
        rbe_var *found[3][3]; /* by thread count: Y, X, W */
        for (int k = 0; k < 3; k++) {
            rbe_set_threads(k + 1);
            tapes[k] = rbe_tape_new(NULL);
            rbe_var *vx = rbe_variable(tapes[k], x), *vw = rbe_variable(tapes[k], w);
            rbe_var *y = rbe_matmul(vx, false, vw, true);
            ck_assert_int_eq(rbe_backward(rbe_sum(rbe_mul(y, y))), RBE_OK);
            found[k][0] = y;
            found[k][1] = vx;
            found[k][2] = vw;
        }
        for (int k = 1; k < 3; k++) {
            ck_assert_mem_eq(rbe_value(found[k][0])->data, rbe_value(found[0][0])->data, n * out * sizeof(float));
            ck_assert_mem_eq(rbe_grad(found[k][1]), rbe_grad(found[0][1]), n * in * sizeof(float));
            ck_assert_mem_eq(rbe_grad(found[k][2]), rbe_grad(found[0][2]), out * in * sizeof(float));
        }
        for (int k = 0; k < 3; k++) rbe_tape_free(tapes[k]);
        rbe_tensor_free(&x);
        rbe_tensor_free(&w);
    }
}
END_TEST

/* ---- dropout ------------------------------------------------------------------------------------------------- */

enum { MASK_COUNT = 100000 };

/* A tensor of ones: its dropout shows the mask. */
static rbe_tensor ones_for_masks(void) {
    rbe_tensor ones = new_tensor(1, (const size_t[]){MASK_COUNT});
    for (size_t i = 0; i < MASK_COUNT; i++) ones.data[i] = 1.0f;
    return ones;
}

static size_t count_agreements(const float *a, const float *b) {
    size_t count = 0;
    for (size_t i = 0; i < MASK_COUNT; i++) count += a[i] == b[i];
    return count;
}

START_TEST(dropout_drops_the_fraction_and_keeps_the_mean) {
    static const float probabilities[] = {0.001f, 0.1f, 0.5f, 0.9f};
    const float p = probabilities[_i];
    rbe_tensor ones = ones_for_masks();
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x = rbe_variable(tape, ones);
    rbe_var *y = rbe_dropout(x, p);
    size_t dropped = 0, pairs = 0;
    for (size_t i = 0; i < MASK_COUNT; i++) {
        const float value = rbe_value(y)->data[i];
        ck_assert(value == 0.0f || value == 1.0f / (1.0f - p));
        dropped += value == 0.0f;
        pairs += i > 0 && value == 0.0f && rbe_value(y)->data[i - 1] == 0.0f;
    }
    /* Within 5 standard deviations, for single values and for neighbours (which should be independent). */
    const double q = (double)p, n = MASK_COUNT;
    ck_assert_double_eq_tol((double)dropped, n * q, 5.0 * sqrt(n * q * (1.0 - q)));
    ck_assert_double_eq_tol((double)pairs, n * q * q, 5.0 * sqrt(n * q * q * (1.0 + 2.0 * q)));
    ck_assert_int_eq(rbe_backward(rbe_sum(y)), RBE_OK);
    ck_assert_mem_eq(rbe_grad(x), rbe_value(y)->data, MASK_COUNT * sizeof(float)); /* the same mask */
    rbe_tape_free(tape);
    rbe_tensor_free(&ones);
}
END_TEST

START_TEST(dropout_masks_are_seeded_and_differ) {
    rbe_tensor ones = ones_for_masks();
    rbe_tape *a = rbe_tape_new(&(rbe_tape_options){.seed = 1}), *b = rbe_tape_new(&(rbe_tape_options){.seed = 1}),
             *c = rbe_tape_new(&(rbe_tape_options){.seed = 2});
    const float *first_a = rbe_value(rbe_dropout(rbe_input(a, ones), 0.5f))->data;
    const float *first_b = rbe_value(rbe_dropout(rbe_input(b, ones), 0.5f))->data;
    const float *first_c = rbe_value(rbe_dropout(rbe_input(c, ones), 0.5f))->data;
    const float *second_a = rbe_value(rbe_dropout(rbe_input(a, ones), 0.5f))->data;
    const size_t bytes = MASK_COUNT * sizeof(float);
    ck_assert_mem_eq(first_a, first_b, bytes);
    /* Independent masks agree in half of the values, up to 5 standard deviations. */
    ck_assert_double_eq_tol((double)count_agreements(first_a, second_a), MASK_COUNT / 2.0, 800.0);
    ck_assert_double_eq_tol((double)count_agreements(first_a, first_c), MASK_COUNT / 2.0, 800.0);
    ck_assert_double_eq_tol((double)count_agreements(second_a, first_c), MASK_COUNT / 2.0, 800.0);

    /* The next step goes on: its mask is not the first one again, but the third. */
    rbe_tape_reset(a);
    const float *third_a = rbe_value(rbe_dropout(rbe_input(a, ones), 0.5f))->data;
    ck_assert_double_eq_tol((double)count_agreements(third_a, first_b), MASK_COUNT / 2.0, 800.0);
    rbe_dropout(rbe_input(b, ones), 0.5f);
    ck_assert_mem_eq(third_a, rbe_value(rbe_dropout(rbe_input(b, ones), 0.5f))->data, bytes);
    rbe_tape_free(a);
    rbe_tape_free(b);
    rbe_tape_free(c);
    rbe_tensor_free(&ones);
}
END_TEST

Suite *limits_suite(void) {
    Suite *suite = suite_create("limits");

    TCase *operands = tcase_create("operands");
    tcase_add_loop_test(operands, error_text_names_operation_and_shapes, 0, FAILURES);
    suite_add_tcase(suite, operands);

    TCase *extremes = tcase_create("extremes");
    tcase_add_test(extremes, softmax_of_extreme_logits);
    tcase_add_test(extremes, log_softmax_of_extreme_logits);
    tcase_add_test(extremes, cross_entropy_of_extreme_logits);
    tcase_add_test(extremes, activations_saturate);
    tcase_add_test(extremes, gelu_in_the_tail);
    tcase_add_test(extremes, relu_at_zero_and_nan);
    tcase_add_test(extremes, functions_at_their_bounds);
    tcase_add_test(extremes, binary_cross_entropy_of_extreme_logits);
    tcase_add_test(extremes, norms_of_unusual_rows);
    tcase_add_test(extremes, sums_are_accumulated_in_double);
    tcase_add_test(extremes, dense_products_repeat);
    suite_add_tcase(suite, extremes);

    TCase *dropout = tcase_create("dropout");
    tcase_add_loop_test(dropout, dropout_drops_the_fraction_and_keeps_the_mean, 0, 4);
    tcase_add_test(dropout, dropout_masks_are_seeded_and_differ);
    suite_add_tcase(suite, dropout);

    return suite;
}
