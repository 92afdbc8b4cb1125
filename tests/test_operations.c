/* Operations on values, on rows and on all values, against the same formulas in double precision, written down here once
 * more (operation_check.h). Those that change shapes are in test_shapes.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "operation_check.h"
#include "suites.h"

/* ---- formulas ------------------------------------------------------------------------------------------------ */

static double add(double a, double b) { return a + b; }
static double subtract(double a, double b) { return a - b; }
static double multiply(double a, double b) { return a * b; }
static double divide(double a, double b) { return a / b; }

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

static double at_least_0(double x) { return x < 0.0 ? 0.0 : x; }
static rbe_var *clamp_below(rbe_var *x) { return rbe_clamp(x, 0.0f, 100.0f); }
static double at_most_0(double x) { return x > 0.0 ? 0.0 : x; }
static rbe_var *clamp_above(rbe_var *x) { return rbe_clamp(x, -100.0f, 0.0f); }

static double power_5_halves(double x) { return pow(x, 2.5); }
static rbe_var *to_the_5_halves(rbe_var *x) { return rbe_power(x, 2.5f); }
static double power_minus_1(double x) { return 1.0 / x; }
static rbe_var *to_the_minus_1(rbe_var *x) { return rbe_power(x, -1.0f); }
static double cube(double x) { return x * x * x; }
static rbe_var *to_the_3(rbe_var *x) { return rbe_power(x, 3.0f); }
static double power_0(double x) { return x == x ? 1.0 : x; }
static rbe_var *to_the_0(rbe_var *x) { return rbe_power(x, 0.0f); }

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

/* The targets are sigmoids: values in 0 .. 1. */
static rbe_var *binary_cross_entropy(rbe_var *x, rbe_var *t) { return rbe_binary_cross_entropy(x, rbe_sigmoid(t)); }

static rbe_tensor binary_cross_entropy_reference(const operation *op, const rbe_tensor *shapes, double *const *x,
                                                 double *y) {
    (void)op;
    const size_t count = rbe_tensor_count(shapes);
    y[0] = 0.0;
    for (size_t i = 0; i < count; i++) {
        const double s = sigmoid(x[0][i]), t = sigmoid(x[1][i]);
        y[0] -= (t * log(s) + (1.0 - t) * log(1.0 - s)) / (double)count;
    }
    return rbe_tensor_1d(NULL, 1);
}

static rbe_var *huber(rbe_var *p, rbe_var *t) { return rbe_huber(p, t, 0.75f); }

static rbe_tensor huber_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    (void)op;
    const size_t count = rbe_tensor_count(shapes);
    y[0] = 0.0;
    for (size_t i = 0; i < count; i++) {
        const double d = fabs(x[0][i] - x[1][i]);
        y[0] += (d <= 0.75 ? d * d / 2.0 : 0.75 * (d - 0.375)) / (double)count;
    }
    return rbe_tensor_1d(NULL, 1);
}

#define EPSILON 0.0625f

static rbe_var *layer_norm(const operation *op, rbe_var *const *x) {
    return rbe_layer_norm(x[0], op->operands > 1 ? x[1] : NULL, op->operands > 2 ? x[2] : NULL, EPSILON);
}

static rbe_var *rms_norm(const operation *op, rbe_var *const *x) {
    return rbe_rms_norm(x[0], op->operands > 1 ? x[1] : NULL, EPSILON);
}

static void normalise(const operation *op, bool centred, const rbe_tensor *shape, double *const *x, double *y) {
    const size_t n = rbe_tensor_columns(shape);
    for (size_t start = 0; start < rbe_tensor_count(shape); start += n) {
        double mean = 0.0, square = 0.0;
        for (size_t i = 0; centred && i < n; i++) mean += x[0][start + i] / (double)n;
        for (size_t i = 0; i < n; i++) square += (x[0][start + i] - mean) * (x[0][start + i] - mean) / (double)n;
        for (size_t i = 0; i < n; i++) {
            y[start + i] = (x[0][start + i] - mean) / sqrt(square + (double)EPSILON);
            if (op->operands > 1) y[start + i] *= x[1][i];
            if (op->operands > 2) y[start + i] += x[2][i];
        }
    }
}

static rbe_tensor layer_norm_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    normalise(op, true, shapes, x, y);
    return *shapes;
}

static rbe_tensor rms_norm_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    normalise(op, false, shapes, x, y);
    return *shapes;
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

/* ---- tables -------------------------------------------------------------------------------------------------- */

static const operation unary[] = {
    {.name = "scale", .unary = scale_by_minus_seven_fourths, .value = times_minus_seven_fourths, .linear = true},
    {.name = "exp", .unary = rbe_exp, .value = exp},
    {.name = "log", .unary = rbe_log, .value = log, .positive = 1},
    {.name = "sqrt", .unary = rbe_sqrt, .value = sqrt, .positive = 1},
    {.name = "abs", .unary = rbe_abs, .value = fabs},
    {.name = "clamp from below", .unary = clamp_below, .value = at_least_0},
    {.name = "clamp from above", .unary = clamp_above, .value = at_most_0},
    {.name = "power 5/2", .unary = to_the_5_halves, .value = power_5_halves, .positive = 1},
    {.name = "power -1", .unary = to_the_minus_1, .value = power_minus_1, .positive = 1},
    {.name = "power 3", .unary = to_the_3, .value = cube},
    {.name = "power 0", .unary = to_the_0, .value = power_0},
    {.name = "relu", .unary = rbe_relu, .value = relu},
    {.name = "gelu", .unary = rbe_gelu, .value = gelu},
    {.name = "tanh", .unary = rbe_tanh, .value = tanh},
    {.name = "sigmoid", .unary = rbe_sigmoid, .value = sigmoid},
    {.name = "reshape", .unary = flatten, .reference = flatten_reference, .linear = true},
    {.name = "sum", .unary = rbe_sum, .reference = sum_reference, .linear = true},
    {.name = "mean", .unary = rbe_mean, .reference = mean_reference, .linear = true},
    {.name = "softmax", .unary = rbe_softmax, .reference = softmax_reference},
    {.name = "log_softmax", .unary = rbe_log_softmax, .reference = log_softmax_reference},
    {.name = "cross_entropy", .unary = cross_entropy, .reference = cross_entropy_reference, .least_columns = 2},
};

static const rbe_tensor unary_shapes[] = {
    {NULL, 1, {1}},     {NULL, 1, {7}},       {NULL, 2, {1, 1}},    {NULL, 2, {5, 1}},       {NULL, 2, {1, 9}},
    {NULL, 2, {6, 10}}, {NULL, 3, {2, 3, 4}}, {NULL, 3, {3, 1, 5}}, {NULL, 4, {2, 1, 3, 2}}, {NULL, 4, {1, 1, 1, 1}},
};

static const operation broadcasting[] = {
    {.name = "add", .binary = rbe_add, .combine = add, .linear = true},
    {.name = "sub", .binary = rbe_sub, .combine = subtract, .linear = true},
    {.name = "mul", .binary = rbe_mul, .combine = multiply},
    {.name = "div", .binary = rbe_div, .combine = divide, .positive = 2},
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

static const operation losses[] = {
    {.name = "mean_squared_error", .binary = rbe_mean_squared_error, .reference = squared_error_reference},
    {.name = "binary_cross_entropy", .binary = binary_cross_entropy, .reference = binary_cross_entropy_reference},
    {.name = "huber", .binary = huber, .reference = huber_reference},
};

static const operation norms[] = {
    {.name = "layer_norm", .call = layer_norm, .operands = 1, .reference = layer_norm_reference},
    {.name = "layer_norm, scale", .call = layer_norm, .operands = 2, .reference = layer_norm_reference},
    {.name = "layer_norm, scale, shift", .call = layer_norm, .operands = 3, .reference = layer_norm_reference},
    {.name = "rms_norm", .call = rms_norm, .operands = 1, .reference = rms_norm_reference},
    {.name = "rms_norm, scale", .call = rms_norm, .operands = 2, .reference = rms_norm_reference},
};

enum {
    UNARY_COUNT = sizeof unary / sizeof *unary,
    UNARY_SHAPES = sizeof unary_shapes / sizeof *unary_shapes,
    BROADCASTING_COUNT = sizeof broadcasting / sizeof *broadcasting,
    BROADCASTING_SHAPES = sizeof broadcasting_shapes / sizeof *broadcasting_shapes,
    MATMUL_COUNT = sizeof matmul / sizeof *matmul,
    MATMUL_EXTENTS = sizeof matmul_extents / sizeof *matmul_extents,
    LOSS_COUNT = sizeof losses / sizeof *losses,
    NORM_COUNT = sizeof norms / sizeof *norms,
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
        rbe_tensor shapes[2];
        for (int k = 0; k < 2; k++)
            shapes[k] = op->transposed[k] ? rbe_tensor_2d(NULL, extents[k + 1], extents[k])
                                          : rbe_tensor_2d(NULL, extents[k], extents[k + 1]);
        check_operation(op, shapes);
    }
}
END_TEST

START_TEST(losses_of_two_tensors) {
    for (int s = 0; s < UNARY_SHAPES; s++)
        check_operation(&losses[_i], (rbe_tensor[]){unary_shapes[s], unary_shapes[s]});
}
END_TEST

START_TEST(norms_of_rows) {
    for (int s = 0; s < UNARY_SHAPES; s++) {
        const rbe_tensor row = rbe_tensor_1d(NULL, rbe_tensor_columns(&unary_shapes[s]));
        check_operation(&norms[_i], (rbe_tensor[]){unary_shapes[s], row, row});
    }
}
END_TEST

/* ---- what all have in common --------------------------------------------------------------------------------- */

static const struct {
    const operation *table;
    int count;
    rbe_tensor shapes[MAX_OPERANDS]; /* of several tasks */
} tables[] = {
    {unary, UNARY_COUNT, {{NULL, 3, {3, 211, 67}}}},
    {broadcasting, BROADCASTING_COUNT, {{NULL, 3, {3, 211, 67}}, {NULL, 2, {211, 1}}}},
    {losses, LOSS_COUNT, {{NULL, 3, {3, 211, 67}}, {NULL, 3, {3, 211, 67}}}},
    {norms, NORM_COUNT, {{NULL, 3, {3, 211, 67}}, {NULL, 1, {67}}, {NULL, 1, {67}}}},
};
enum { TABLES = sizeof tables / sizeof *tables };

START_TEST(threads_change_no_bit) {
    for (int n = 0; n < tables[_i].count; n++) check_threads(&tables[_i].table[n], tables[_i].shapes);
}
END_TEST

START_TEST(failed_operands_give_nothing) {
    for (int n = 0; n < tables[_i].count; n++) check_failed_operands(&tables[_i].table[n], tables[_i].shapes);
}
END_TEST

Suite *operations_suite(void) {
    Suite *suite = suite_create("operations");
    TCase *formulas = tcase_create("formulas");
    tcase_add_loop_test(formulas, unary_operations, 0, UNARY_COUNT);
    tcase_add_loop_test(formulas, broadcasting_operations, 0, BROADCASTING_COUNT);
    tcase_add_loop_test(formulas, matmul_with_transposes, 0, MATMUL_COUNT);
    tcase_add_loop_test(formulas, losses_of_two_tensors, 0, LOSS_COUNT);
    tcase_add_loop_test(formulas, norms_of_rows, 0, NORM_COUNT);
    suite_add_tcase(suite, formulas);
    TCase *all = tcase_create("all");
    tcase_add_loop_test(all, threads_change_no_bit, 0, TABLES);
    tcase_add_loop_test(all, failed_operands_give_nothing, 0, TABLES);
    suite_add_tcase(suite, all);
    return suite;
}
