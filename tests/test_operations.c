/* Every operation against the same formula in double precision, written down here once more.
 *
 * Values must agree to 1e-5. Gradients of sum_i w_i y_i are compared with central differences of the double formula
 * (whose own error is about 1e-9) to 1e-4, and with finite differences of the float operation itself.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "suites.h"
#include "support.h"

enum { MAX_OPERANDS = 2, MAX_VALUES = 1024 };

/* One of unary, binary and matmul's transposes says what to call; one of value, combine and reference is its
 * formula: of one value, of two values that are broadcast, or of whole tensors. */
typedef struct operation {
    const char *name;
    rbe_var *(*unary)(rbe_var *x);
    rbe_var *(*binary)(rbe_var *a, rbe_var *b);
    bool transposed[MAX_OPERANDS];
    double (*value)(double x);
    double (*combine)(double a, double b);
    rbe_tensor (*reference)(const struct operation *op, const rbe_tensor *shapes, double *const *x, double *y);
    size_t least_columns; /* fewer are refused */
} operation;

static rbe_var *apply(const operation *op, rbe_var *const *x) {
    if (op->unary) return op->unary(x[0]);
    if (op->binary) return op->binary(x[0], x[1]);
    return rbe_matmul(x[0], op->transposed[0], x[1], op->transposed[1]);
}

static int operand_count(const operation *op) { return op->unary ? 1 : 2; }

/* ---- formulas ------------------------------------------------------------------------------------------------ */

static double add(double a, double b) { return a + b; }
static double subtract(double a, double b) { return a - b; }
static double multiply(double a, double b) { return a * b; }

/* Index of the operand's value that meets value i of the result. */
static size_t operand_index(const rbe_tensor *operand, const rbe_tensor *result, size_t i) {
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

static rbe_tensor matmul_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    const size_t *a = shapes[0].shape, *b = shapes[1].shape;
    const bool ta = op->transposed[0], tb = op->transposed[1];
    const rbe_tensor result = rbe_tensor_2d(NULL, a[ta ? 1 : 0], b[tb ? 0 : 1]);
    for (size_t i = 0; i < result.shape[0]; i++)
        for (size_t j = 0; j < result.shape[1]; j++) {
            double sum = 0.0;
            for (size_t k = 0; k < a[ta ? 0 : 1]; k++)
                sum += x[0][ta ? k * a[1] + i : i * a[1] + k] * x[1][tb ? j * b[1] + k : k * b[1] + j];
            y[i * result.shape[1] + j] = sum;
        }
    return result;
}

static double relu(double x) { return x > 0.0 ? x : 0.0; }
static double gelu(double x) { return x / 2.0 * (1.0 + erf(x / sqrt(2.0))); }
static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

static double times_minus_seven_fourths(double x) { return -1.75 * x; }
static rbe_var *scale_by_minus_seven_fourths(rbe_var *x) { return rbe_scale(x, -1.75f); }

/* To one dimension. */
static rbe_var *flatten(rbe_var *x) {
    const size_t count = rbe_tensor_count(rbe_value(x));
    return rbe_reshape(x, 1, &count);
}

static rbe_tensor flatten_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    (void)op;
    const size_t count = rbe_tensor_count(shapes);
    memcpy(y, x[0], count * sizeof *y);
    return rbe_tensor_1d(NULL, count);
}

static rbe_tensor sum_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    (void)op;
    y[0] = 0.0;
    for (size_t i = 0; i < rbe_tensor_count(shapes); i++) y[0] += x[0][i];
    return rbe_tensor_1d(NULL, 1);
}

static rbe_tensor mean_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    const rbe_tensor result = sum_reference(op, shapes, x, y);
    y[0] /= (double)rbe_tensor_count(shapes);
    return result;
}

static rbe_tensor squared_error_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    (void)op;
    const size_t count = rbe_tensor_count(shapes);
    y[0] = 0.0;
    for (size_t i = 0; i < count; i++) y[0] += (x[0][i] - x[1][i]) * (x[0][i] - x[1][i]) / (double)count;
    return rbe_tensor_1d(NULL, 1);
}

static rbe_tensor log_softmax_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    (void)op;
    const size_t n = rbe_tensor_columns(shapes);
    for (size_t start = 0; start < rbe_tensor_count(shapes); start += n) {
        const double *row = x[0] + start, shift = row[0]; /* of one class the result is exact */
        double z = 0.0;
        for (size_t i = 0; i < n; i++) z += exp(row[i] - shift);
        for (size_t i = 0; i < n; i++) y[start + i] = row[i] - shift - log(z);
    }
    return *shapes;
}

static rbe_tensor softmax_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    log_softmax_reference(op, shapes, x, y);
    for (size_t i = 0; i < rbe_tensor_count(shapes); i++) y[i] = exp(y[i]);
    return *shapes;
}

static int32_t label_of(size_t row, size_t classes) { return (int32_t)((row * 7 + 3) % classes); }

static rbe_var *cross_entropy(rbe_var *x) {
    static int32_t labels[MAX_VALUES];
    for (size_t row = 0; row < rbe_tensor_rows(rbe_value(x)); row++)
        labels[row] = label_of(row, rbe_tensor_columns(rbe_value(x)));
    return rbe_cross_entropy(x, labels);
}

static rbe_tensor cross_entropy_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    static double logarithms[MAX_VALUES];
    log_softmax_reference(op, shapes, x, logarithms);
    const size_t rows = rbe_tensor_rows(shapes), n = rbe_tensor_columns(shapes);
    y[0] = 0.0;
    for (size_t row = 0; row < rows; row++) y[0] -= logarithms[row * n + (size_t)label_of(row, n)] / (double)rows;
    return rbe_tensor_1d(NULL, 1);
}

static rbe_tensor reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    if (op->combine) return broadcast_reference(op, shapes, x, y);
    if (op->reference) return op->reference(op, shapes, x, y);
    for (size_t i = 0; i < rbe_tensor_count(shapes); i++) y[i] = op->value(x[0][i]);
    return *shapes;
}

/* ---- the comparison ------------------------------------------------------------------------------------------ */

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

static void check_operation(const operation *op, const rbe_tensor *shapes) {
    rbe_tensor leaves[MAX_OPERANDS];
    double *x[MAX_OPERANDS], *gradients[MAX_OPERANDS];
    const int operands = operand_count(op);
    for (int k = 0; k < operands; k++) {
        leaves[k] = new_tensor(shapes[k].dims, shapes[k].shape);
        const size_t count = rbe_tensor_count(&leaves[k]);
        ck_assert_uint_le(count, MAX_VALUES);
        fill_normal(leaves[k].data, count, 1.0, 100 + (uint64_t)k);
        x[k] = malloc(count * sizeof(double));
        gradients[k] = malloc(count * sizeof(double));
        for (size_t i = 0; i < count; i++) {
            leaves[k].data[i] += copysignf(0.05f, leaves[k].data[i]); /* away from the kink of relu */
            x[k][i] = (double)leaves[k].data[i];
        }
    }

    double y[MAX_VALUES];
    const rbe_tensor result = reference(op, shapes, x, y);
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *inputs[MAX_OPERANDS];
    for (int k = 0; k < operands; k++) inputs[k] = rbe_input(tape, leaves[k]);
    const rbe_tensor *value = rbe_value(apply(op, inputs));
    ck_assert_msg(rbe_tape_status(tape) == RBE_OK, "%s", rbe_tape_error(tape));
    ck_assert_int_eq(value->dims, result.dims);
    for (int d = 0; d < result.dims; d++) ck_assert_uint_eq(value->shape[d], result.shape[d]);
    const double error = relative_error(value->data, y, rbe_tensor_count(&result));
    ck_assert_msg(error < 1e-5, "%s: value: error %g", op->name, error);
    rbe_tape_free(tape);

    rbe_tensor weights = new_tensor(result.dims, result.shape);
    fill_normal(weights.data, rbe_tensor_count(&weights), 1.0, 200);
    for (int k = 0; k < operands; k++) reference_gradient(op, shapes, x, &weights, k, gradients[k]);
    const int all = (1 << operands) - 1;
    for (int wanted = 1; wanted <= all; wanted++) check_gradients(op, leaves, &weights, wanted, 1, gradients);
    check_gradients(op, leaves, &weights, all, 2, gradients);
    const double difference = gradient_error(build, leaves, operands, (void *)op);
    ck_assert_msg(difference < 1e-3, "%s: finite differences: error %g", op->name, difference);

    rbe_tensor_free(&weights);
    for (int k = 0; k < operands; k++) {
        rbe_tensor_free(&leaves[k]);
        free(x[k]);
        free(gradients[k]);
    }
}

/* ---- tables -------------------------------------------------------------------------------------------------- */

static const operation unary[] = {
    {.name = "scale", .unary = scale_by_minus_seven_fourths, .value = times_minus_seven_fourths},
    {.name = "relu", .unary = rbe_relu, .value = relu},
    {.name = "gelu", .unary = rbe_gelu, .value = gelu},
    {.name = "tanh", .unary = rbe_tanh, .value = tanh},
    {.name = "sigmoid", .unary = rbe_sigmoid, .value = sigmoid},
    {.name = "reshape", .unary = flatten, .reference = flatten_reference},
    {.name = "sum", .unary = rbe_sum, .reference = sum_reference},
    {.name = "mean", .unary = rbe_mean, .reference = mean_reference},
    {.name = "softmax", .unary = rbe_softmax, .reference = softmax_reference},
    {.name = "log_softmax", .unary = rbe_log_softmax, .reference = log_softmax_reference},
    {.name = "cross_entropy", .unary = cross_entropy, .reference = cross_entropy_reference, .least_columns = 2},
};

static const rbe_tensor unary_shapes[] = {
    {NULL, 1, {1}},     {NULL, 1, {7}},       {NULL, 2, {1, 1}},    {NULL, 2, {5, 1}},       {NULL, 2, {1, 9}},
    {NULL, 2, {6, 10}}, {NULL, 3, {2, 3, 4}}, {NULL, 3, {3, 1, 5}}, {NULL, 4, {2, 1, 3, 2}}, {NULL, 4, {1, 1, 1, 1}},
};

static const operation broadcasting[] = {
    {.name = "add", .binary = rbe_add, .combine = add},
    {.name = "sub", .binary = rbe_sub, .combine = subtract},
    {.name = "mul", .binary = rbe_mul, .combine = multiply},
};

static const rbe_tensor broadcasting_shapes[][MAX_OPERANDS] = {
    {{NULL, 1, {1}}, {NULL, 1, {1}}},
    {{NULL, 1, {7}}, {NULL, 1, {7}}},
    {{NULL, 1, {7}}, {NULL, 1, {1}}},
    {{NULL, 1, {1}}, {NULL, 1, {7}}},
    {{NULL, 2, {5, 9}}, {NULL, 2, {5, 9}}},
    {{NULL, 2, {5, 9}}, {NULL, 1, {9}}},    /* a row of biases */
    {{NULL, 1, {9}}, {NULL, 2, {5, 9}}},    /* ... on the left */
    {{NULL, 2, {5, 9}}, {NULL, 2, {5, 1}}}, /* a column */
    {{NULL, 2, {5, 1}}, {NULL, 2, {1, 9}}}, /* outer product: both are repeated */
    {{NULL, 2, {5, 1}}, {NULL, 1, {9}}},
    {{NULL, 2, {5, 9}}, {NULL, 4, {1, 1, 1, 1}}}, /* more dimensions, but no more values */
    {{NULL, 3, {2, 3, 4}}, {NULL, 2, {3, 4}}},
    {{NULL, 3, {2, 3, 4}}, {NULL, 3, {2, 1, 4}}}, /* repeated in the middle */
    {{NULL, 3, {2, 1, 4}}, {NULL, 3, {1, 3, 1}}},
    {{NULL, 4, {2, 3, 2, 5}}, {NULL, 4, {2, 3, 2, 5}}},
    {{NULL, 4, {2, 3, 2, 5}}, {NULL, 4, {1, 3, 1, 5}}},
    {{NULL, 4, {2, 1, 2, 1}}, {NULL, 4, {1, 3, 1, 5}}},
    {{NULL, 4, {2, 3, 2, 5}}, {NULL, 1, {5}}},
};

static const operation matmul[] = {
    {.name = "matmul", .reference = matmul_reference},
    {.name = "matmul ^T", .transposed = {false, true}, .reference = matmul_reference},
    {.name = "^T matmul", .transposed = {true, false}, .reference = matmul_reference},
    {.name = "^T matmul ^T", .transposed = {true, true}, .reference = matmul_reference},
};

/* rows, inner extent, columns */
static const size_t matmul_extents[][3] = {{1, 1, 1}, {1, 6, 1}, {4, 1, 3}, {1, 5, 7}, {5, 7, 1}, {8, 17, 9}};

static const operation mean_squared_error = {
    .name = "mean_squared_error", .binary = rbe_mean_squared_error, .reference = squared_error_reference};

enum {
    UNARY_COUNT = sizeof unary / sizeof *unary,
    UNARY_SHAPES = sizeof unary_shapes / sizeof *unary_shapes,
    BROADCASTING_COUNT = sizeof broadcasting / sizeof *broadcasting,
    BROADCASTING_SHAPES = sizeof broadcasting_shapes / sizeof *broadcasting_shapes,
    MATMUL_COUNT = sizeof matmul / sizeof *matmul,
    MATMUL_EXTENTS = sizeof matmul_extents / sizeof *matmul_extents,
};

START_TEST(unary_operations) {
    for (int s = 0; s < UNARY_SHAPES; s++)
        if (rbe_tensor_columns(&unary_shapes[s]) >= unary[_i].least_columns)
            check_operation(&unary[_i], &unary_shapes[s]);
}
END_TEST

START_TEST(broadcasting_operations) {
    for (int s = 0; s < BROADCASTING_SHAPES; s++) check_operation(&broadcasting[_i], broadcasting_shapes[s]);
}
END_TEST

START_TEST(matmul_with_transposes) {
    const operation *op = &matmul[_i];
    for (int s = 0; s < MATMUL_EXTENTS; s++) {
        const size_t *extents = matmul_extents[s];
        rbe_tensor shapes[MAX_OPERANDS];
        for (int k = 0; k < MAX_OPERANDS; k++)
            shapes[k] = op->transposed[k] ? rbe_tensor_2d(NULL, extents[k + 1], extents[k])
                                          : rbe_tensor_2d(NULL, extents[k], extents[k + 1]);
        check_operation(op, shapes);
    }
}
END_TEST

START_TEST(mean_squared_errors) {
    for (int s = 0; s < UNARY_SHAPES; s++)
        check_operation(&mean_squared_error, (rbe_tensor[]){unary_shapes[s], unary_shapes[s]});
}
END_TEST

Suite *operations_suite(void) {
    Suite *suite = suite_create("operations");
    TCase *formulas = tcase_create("formulas");
    tcase_add_loop_test(formulas, unary_operations, 0, UNARY_COUNT);
    tcase_add_loop_test(formulas, broadcasting_operations, 0, BROADCASTING_COUNT);
    tcase_add_loop_test(formulas, matmul_with_transposes, 0, MATMUL_COUNT);
    tcase_add_test(formulas, mean_squared_errors);
    suite_add_tcase(suite, formulas);
    return suite;
}
