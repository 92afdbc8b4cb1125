/* The comparison of an operation with its formula. */
#include "operation_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rbe/op.h"

rbe_var *apply(const operation *op, rbe_var *const *x) {
    if (op->call) return op->call(op, x);
    if (op->unary) return op->unary(x[0]);
    if (op->binary) return op->binary(x[0], x[1]);
    return rbe_matmul(x[0], op->transposed[0], x[1], op->transposed[1]);
}

int operand_count(const operation *op) { return op->call ? op->operands : op->unary ? 1 : 2; }

size_t operand_index(const rbe_tensor *operand, const rbe_tensor *result, size_t i) {
    size_t index = 0, stride = 1;
    for (int d = 1; d <= operand->dims; d++) {
        const size_t extent = operand->shape[operand->dims - d], of_result = result->shape[result->dims - d];
        if (extent > 1) index += i % of_result * stride;
        stride *= extent;
        i /= of_result;
    }
    return index;
}

static rbe_tensor broadcast_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    const int longer = shapes[0].dims >= shapes[1].dims ? 0 : 1;
    const rbe_tensor *other = &shapes[1 - longer];
    rbe_tensor result = shapes[longer];
    for (int d = 1; d <= other->dims; d++)
        if (other->shape[other->dims - d] > 1) result.shape[result.dims - d] = other->shape[other->dims - d];
    for (size_t i = 0; i < rbe_tensor_count(&result); i++)
        y[i] = op->combine(x[0][operand_index(&shapes[0], &result, i)], x[1][operand_index(&shapes[1], &result, i)]);
    return result;
}

static rbe_tensor reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    if (op->combine) return broadcast_reference(op, shapes, x, y);
    if (op->reference) return op->reference(op, shapes, x, y);
    for (size_t i = 0; i < rbe_tensor_count(shapes); i++) y[i] = op->value(x[0][i]);
    return *shapes;
}

static double weighted_reference(const operation *op, const rbe_tensor *shapes, double *const *x,
                                 const rbe_tensor *weights) {
    static double y[MAX_VALUES];
    reference(op, shapes, x, y);
    double sum = 0.0;
    for (size_t i = 0; i < rbe_tensor_count(weights); i++) sum += (double)weights->data[i] * y[i];
    return sum;
}

/* Gradient of the weighted sum with respect to operand k, by central differences in double. */
static void reference_gradient(const operation *op, const rbe_tensor *shapes, double *const *x,
                               const rbe_tensor *weights, int k, double *gradient) {
    const double h = 1e-5;
    for (size_t i = 0; i < rbe_tensor_count(&shapes[k]); i++) {
        const double kept = x[k][i];
        x[k][i] = kept + h;
        const double above = weighted_reference(op, shapes, x, weights);
        x[k][i] = kept - h;
        const double below = weighted_reference(op, shapes, x, weights);
        x[k][i] = kept;
        gradient[i] = (above - below) / (2.0 * h);
    }
}

static rbe_var *build(rbe_tape *tape, rbe_var **leaves, void *op) {
    (void)tape;
    return apply(op, leaves);
}

/* Backward of `uses` weighted sums of the operation with only the operands in the mask `wanted` as variables: their
 * gradients are `uses` times the expected ones, the others have none. */
static void check_gradients(const operation *op, const rbe_tensor *leaves, const rbe_tensor *weights, int wanted,
                            int uses, double *const *expected) {
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x[MAX_OPERANDS], *loss = NULL;
    for (int k = 0; k < operand_count(op); k++)
        x[k] = wanted >> k & 1 ? rbe_variable(tape, leaves[k]) : rbe_input(tape, leaves[k]);
    for (int use = 0; use < uses; use++) {
        rbe_var *weighted = rbe_sum(rbe_mul(apply(op, x), rbe_input(tape, *weights)));
        loss = loss ? rbe_add(loss, weighted) : weighted;
    }
    ck_assert_msg(rbe_backward(loss) == RBE_OK, "%s", rbe_last_error());
    for (int k = 0; k < operand_count(op); k++) {
        if (!(wanted >> k & 1)) {
            ck_assert_ptr_null(rbe_grad(x[k]));
            continue;
        }
        double scaled[MAX_VALUES];
        const size_t count = rbe_tensor_count(&leaves[k]);
        for (size_t i = 0; i < count; i++) scaled[i] = uses * expected[k][i];
        const double error = relative_error(rbe_grad(x[k]), scaled, count);
        ck_assert_msg(error < 1e-4, "%s: gradient of operand %d used %d times: error %g", op->name, k, uses, error);
    }
    rbe_tape_free(tape);
}

/* ---- random operands ----------------------------------------------------------------------------------------- */

/* Away from the kinks of relu and abs at 0. */
static void make_leaves(const operation *op, const rbe_tensor *shapes, rbe_tensor *leaves) {
    for (int k = 0; k < operand_count(op); k++) {
        leaves[k] = new_tensor(shapes[k].dims, shapes[k].shape);
        const size_t count = rbe_tensor_count(&leaves[k]);
        fill_normal(leaves[k].data, count, 1.0, 100 + (uint64_t)k);
        for (size_t i = 0; i < count; i++) {
            float *x = &leaves[k].data[i];
            *x = op->positive >> k & 1 ? fabsf(*x) + 0.5f : *x + copysignf(0.05f, *x);
        }
    }
}

static void free_leaves(const operation *op, rbe_tensor *leaves) {
    for (int k = 0; k < operand_count(op); k++) rbe_tensor_free(&leaves[k]);
}

/* ---- what holds for all -------------------------------------------------------------------------------------- */

/* <w, f(x)> = <f^T w, x> for a linear f. */
static void check_adjoint(const operation *op, const rbe_tensor *leaves, const rbe_tensor *weights) {
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x[MAX_OPERANDS];
    for (int k = 0; k < operand_count(op); k++) x[k] = rbe_variable(tape, leaves[k]);
    rbe_var *y = apply(op, x);
    ck_assert_int_eq(rbe_backward(rbe_sum(rbe_mul(y, rbe_input(tape, *weights)))), RBE_OK);
    double forward = 0.0, backward = 0.0, size = 0.0;
    for (size_t i = 0; i < rbe_tensor_count(weights); i++) {
        const double product = (double)weights->data[i] * (double)rbe_value(y)->data[i];
        forward += product;
        size += fabs(product);
    }
    for (int k = 0; k < operand_count(op); k++)
        for (size_t i = 0; i < rbe_tensor_count(&leaves[k]); i++)
            backward += (double)rbe_grad(x[k])[i] * (double)leaves[k].data[i];
    ck_assert_msg(fabs(forward - backward) <= 1e-6 * size, "%s: <w, f(x)> = %g, <f^T w, x> = %g", op->name, forward,
                  backward);
    rbe_tape_free(tape);
}

/* The same value, and no gradients. */
static void check_inference(const operation *op, const rbe_tensor *leaves, const rbe_tensor *expected) {
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    rbe_var *x[MAX_OPERANDS];
    for (int k = 0; k < operand_count(op); k++) x[k] = rbe_variable(tape, leaves[k]);
    rbe_var *y = apply(op, x);
    ck_assert_mem_eq(rbe_value(y)->data, expected->data, rbe_tensor_count(expected) * sizeof(float));
    ck_assert_msg(!y->needs_grad, "%s: a gradient in inference", op->name);
    ck_assert_int_eq(rbe_backward(rbe_sum(y)), RBE_INVALID_ARGUMENT);
    rbe_tape_free(tape);
}

static void check_value(const operation *op, const rbe_tensor *leaves, const rbe_tensor *shape, const double *y) {
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *inputs[MAX_OPERANDS];
    for (int k = 0; k < operand_count(op); k++) inputs[k] = rbe_input(tape, leaves[k]);
    const rbe_tensor *value = rbe_value(apply(op, inputs));
    ck_assert_msg(rbe_tape_status(tape) == RBE_OK, "%s", rbe_tape_error(tape));
    ck_assert_int_eq(value->dims, shape->dims);
    for (int d = 0; d < shape->dims; d++) ck_assert_uint_eq(value->shape[d], shape->shape[d]);
    const double error = relative_error(value->data, y, rbe_tensor_count(shape));
    ck_assert_msg(error < 1e-5, "%s: value: error %g", op->name, error);
    check_inference(op, leaves, value);
    rbe_tape_free(tape);
}

void check_operation(const operation *op, const rbe_tensor *shapes) {
    rbe_tensor leaves[MAX_OPERANDS];
    double *x[MAX_OPERANDS], *gradients[MAX_OPERANDS];
    const int operands = operand_count(op);
    make_leaves(op, shapes, leaves);
    for (int k = 0; k < operands; k++) {
        const size_t count = rbe_tensor_count(&leaves[k]);
        ck_assert_uint_le(count, MAX_VALUES);
        x[k] = malloc(count * sizeof(double));
        gradients[k] = malloc(count * sizeof(double));
        for (size_t i = 0; i < count; i++) x[k][i] = (double)leaves[k].data[i];
    }
    double y[MAX_VALUES];
    const rbe_tensor result = reference(op, shapes, x, y);
    check_value(op, leaves, &result, y);

    rbe_tensor weights = new_tensor(result.dims, result.shape);
    fill_normal(weights.data, rbe_tensor_count(&weights), 1.0, 200);
    for (int k = 0; k < operands; k++) reference_gradient(op, shapes, x, &weights, k, gradients[k]);
    const int all = (1 << operands) - 1;
    for (int wanted = 1; wanted <= all; wanted++) check_gradients(op, leaves, &weights, wanted, 1, gradients);
    check_gradients(op, leaves, &weights, all, 2, gradients);
    if (op->linear) check_adjoint(op, leaves, &weights);
    const double difference = op->kinks ? 0.0 : gradient_error(build, leaves, operands, (void *)op);
    ck_assert_msg(difference < 1e-3, "%s: finite differences: error %g", op->name, difference);

    rbe_tensor_free(&weights);
    free_leaves(op, leaves);
    for (int k = 0; k < operands; k++) {
        free(x[k]);
        free(gradients[k]);
    }
}

/* ---- threads ------------------------------------------------------------------------------------------------- */

/* The value and all gradients of one pass with so many threads, behind each other; returns how many floats. */
static size_t run_with(int threads, const operation *op, const rbe_tensor *leaves, float *bits, size_t capacity) {
    ck_assert_int_eq(rbe_set_threads(threads), RBE_OK);
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *x[MAX_OPERANDS];
    for (int k = 0; k < operand_count(op); k++) x[k] = rbe_variable(tape, leaves[k]);
    rbe_var *y = apply(op, x);
    ck_assert_msg(rbe_backward(rbe_sum(rbe_mul(y, y))) == RBE_OK, "%s", rbe_last_error());
    size_t size = rbe_tensor_count(rbe_value(y));
    ck_assert_uint_le(size, capacity);
    memcpy(bits, rbe_value(y)->data, size * sizeof *bits);
    for (int k = 0; k < operand_count(op); k++) {
        const size_t count = rbe_tensor_count(&leaves[k]);
        ck_assert_uint_le(size + count, capacity);
        memcpy(bits + size, rbe_grad(x[k]), count * sizeof *bits);
        size += count;
    }
    rbe_tape_free(tape);
    rbe_set_threads(1);
    return size;
}

void check_threads(const operation *op, const rbe_tensor *shapes) {
    enum { CAPACITY = 2000000 };
    static const int threads[] = {2, 3, 7};
    rbe_tensor leaves[MAX_OPERANDS];
    make_leaves(op, shapes, leaves);
    float *one = malloc(CAPACITY * sizeof *one), *many = malloc(CAPACITY * sizeof *many);
    const size_t size = run_with(1, op, leaves, one, CAPACITY);
    for (int t = 0; t < 3; t++) {
        ck_assert_uint_eq(run_with(threads[t], op, leaves, many, CAPACITY), size);
        ck_assert_msg(memcmp(one, many, size * sizeof *one) == 0, "%s: %d threads give other bits", op->name,
                      threads[t]);
    }
    free(one);
    free(many);
    free_leaves(op, leaves);
}

/* ---- failures ------------------------------------------------------------------------------------------------ */

void check_failed_operands(const operation *op, const rbe_tensor *shapes) {
    rbe_tensor leaves[MAX_OPERANDS];
    make_leaves(op, shapes, leaves);
    rbe_tape *tape = rbe_tape_new(NULL), *other = rbe_tape_new(NULL);
    rbe_var *x[MAX_OPERANDS] = {NULL};
    ck_assert_msg(apply(op, x) == NULL, "%s of NULL is something", op->name);
    ck_assert_int_eq(rbe_tape_status(tape), RBE_OK);

    const int operands = operand_count(op);
    for (int k = 0; k < operands; k++) x[k] = rbe_variable(k + 1 < operands ? tape : other, leaves[k]);
    if (operands > 1) {
        ck_assert_msg(!rbe_ok(apply(op, x)), "%s of two tapes has a value", op->name);
        ck_assert_int_eq(rbe_tape_status(tape), RBE_INVALID_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(rbe_tape_error(tape), "different tapes"));
        rbe_tape_reset(tape);
    }

    for (int k = 0; k < operands; k++) x[k] = rbe_variable(tape, leaves[k]);
    rbe_input(tape, rbe_tensor_1d(NULL, 3));
    char first[256];
    snprintf(first, sizeof first, "%s", rbe_tape_error(tape));
    ck_assert_msg(!rbe_ok(apply(op, x)), "%s on a failed tape has a value", op->name);
    ck_assert_str_eq(rbe_tape_error(tape), first);
    rbe_tape_free(tape);
    rbe_tape_free(other);
    free_leaves(op, leaves);
}
