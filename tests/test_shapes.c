/* Operations that work along dimensions or change shapes, against the same formulas in double precision
 * (operation_check.h): reductions, joining and cutting, permutations, rows of a table, batches of matrices. */
#include <math.h>
#include <string.h>

#include "operation_check.h"
#include "suites.h"

/* ---- reductions along a dimension ---------------------------------------------------------------------------- */

static int own_dim(const rbe_tensor *x, int dim) { return dim < 0 ? dim + x->dims : dim; }

/* Index of x's value number i along dimension d. */
static size_t place_along(const rbe_tensor *x, int d, size_t i) {
    for (int below = x->dims - 1; below > d; below--) i /= x->shape[below];
    return i % x->shape[d];
}

static rbe_tensor shape_with(const rbe_tensor *x, int d, size_t extent) {
    rbe_tensor shape = *x;
    shape.shape[d] = extent;
    return shape;
}

static rbe_var *sum_along(const operation *op, rbe_var *const *x) { return rbe_sum_along(x[0], op->dim); }
static rbe_var *mean_along(const operation *op, rbe_var *const *x) { return rbe_mean_along(x[0], op->dim); }
static rbe_var *max_along(const operation *op, rbe_var *const *x) { return rbe_max_along(x[0], op->dim); }

/* The result broadcasts against x: operand_index finds where each value of x goes. */
static rbe_tensor sum_along_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    const rbe_tensor result = shape_with(shapes, own_dim(shapes, op->dim), 1);
    memset(y, 0, rbe_tensor_count(&result) * sizeof *y);
    for (size_t i = 0; i < rbe_tensor_count(shapes); i++) y[operand_index(&result, shapes, i)] += x[0][i];
    return result;
}

static rbe_tensor mean_along_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    const rbe_tensor result = sum_along_reference(op, shapes, x, y);
    const double n = (double)shapes->shape[own_dim(shapes, op->dim)];
    for (size_t i = 0; i < rbe_tensor_count(&result); i++) y[i] /= n;
    return result;
}

static rbe_tensor max_along_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    const rbe_tensor result = shape_with(shapes, own_dim(shapes, op->dim), 1);
    for (size_t i = 0; i < rbe_tensor_count(&result); i++) y[i] = -INFINITY;
    for (size_t i = 0; i < rbe_tensor_count(shapes); i++) {
        double *max = &y[operand_index(&result, shapes, i)];
        *max = fmax(*max, x[0][i]);
    }
    return result;
}

static const operation along[] = {
    {.name = "sum_along", .call = sum_along, .reference = sum_along_reference, .operands = 1, .linear = true},
    {.name = "mean_along", .call = mean_along, .reference = mean_along_reference, .operands = 1, .linear = true},
    {.name = "max_along", .call = max_along, .reference = max_along_reference, .operands = 1, .kinks = true},
};
enum { ALONG_COUNT = sizeof along / sizeof *along };

static const rbe_tensor along_shapes[] = {
    {NULL, 1, {1}},        {NULL, 1, {9}},          {NULL, 2, {5, 1}},       {NULL, 2, {1, 7}},  {NULL, 2, {6, 10}},
    {NULL, 3, {2, 3, 4}},  {NULL, 3, {3, 1, 5}},    {NULL, 4, {2, 3, 2, 5}}, {NULL, 2, {3, 70}}, /* two strips */
    {NULL, 3, {2, 3, 67}}, {NULL, 4, {2, 1, 3, 2}},
};
enum { ALONG_SHAPES = sizeof along_shapes / sizeof *along_shapes };

START_TEST(reductions_along_every_dimension) {
    for (int s = 0; s < ALONG_SHAPES; s++)
        for (int dim = -along_shapes[s].dims; dim < along_shapes[s].dims; dim++) {
            operation op = along[_i];
            op.dim = dim;
            check_operation(&op, &along_shapes[s]);
        }
}
END_TEST

/* The gradient goes to the first of equal values; a NaN is the largest, so that it is found. */
START_TEST(max_of_equal_values_and_nan) {
    float equal[] = {1, 3, 3, 2, 3, 3}, nan[] = {1, NAN, 7, NAN, 2, 3};
    rbe_tape *tape = rbe_tape_new(NULL);
    for (int dim = 0; dim < 2; dim++) {
        rbe_var *x = rbe_variable(tape, rbe_tensor_2d(equal, 2, 3));
        ck_assert_int_eq(rbe_backward(rbe_sum(rbe_max_along(x, dim))), RBE_OK);
        const float expected[2][6] = {{0, 1, 1, 1, 0, 0}, {0, 1, 0, 0, 1, 0}};
        ck_assert_mem_eq(rbe_grad(x), expected[dim], sizeof expected[dim]);
    }
    const float *y = rbe_value(rbe_max_along(rbe_input(tape, rbe_tensor_2d(nan, 2, 3)), 1))->data;
    ck_assert(isnan(y[0]) && isnan(y[1]));
    y = rbe_value(rbe_max_along(rbe_input(tape, rbe_tensor_2d(nan, 3, 2)), 0))->data;
    ck_assert_float_eq(y[0], 7.0f);
    ck_assert(isnan(y[1]));
    rbe_tape_free(tape);
}
END_TEST

/* ---- pieces -------------------------------------------------------------------------------------------------- */

static rbe_var *concatenate(const operation *op, rbe_var *const *x) {
    return rbe_concatenate(x, op->operands, op->dim);
}

/* Value i of the result comes from the part that holds its place. */
static rbe_tensor concatenate_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    const int d = own_dim(shapes, op->dim);
    size_t extent = 0, taken[MAX_OPERANDS] = {0};
    for (int k = 0; k < op->operands; k++) extent += shapes[k].shape[d];
    const rbe_tensor result = shape_with(shapes, d, extent);
    for (size_t i = 0; i < rbe_tensor_count(&result); i++) {
        size_t place = place_along(&result, d, i);
        int k = 0;
        for (; place >= shapes[k].shape[d]; k++) place -= shapes[k].shape[d];
        y[i] = x[k][taken[k]++];
    }
    return result;
}

static rbe_var *slice(const operation *op, rbe_var *const *x) { return rbe_slice(x[0], op->dim, op->first, op->count); }

static rbe_tensor slice_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    const int d = own_dim(shapes, op->dim);
    for (size_t i = 0; i < rbe_tensor_count(shapes); i++) {
        const size_t place = place_along(shapes, d, i);
        if (place >= op->first && place < op->first + op->count) *y++ = x[0][i];
    }
    return shape_with(shapes, d, op->count);
}

#define CONCATENATE .name = "concatenate", .call = concatenate, .reference = concatenate_reference, .linear = true
#define SLICE .name = "slice", .call = slice, .reference = slice_reference, .linear = true, .operands = 1

static const struct {
    operation op;
    rbe_tensor shapes[MAX_OPERANDS];
} pieces[] = {
    {{CONCATENATE, .operands = 1, .dim = 0}, {{NULL, 1, {7}}}},
    {{CONCATENATE, .operands = 2, .dim = 0}, {{NULL, 1, {7}}, {NULL, 1, {1}}}},
    {{CONCATENATE, .operands = 3, .dim = 0}, {{NULL, 2, {2, 5}}, {NULL, 2, {1, 5}}, {NULL, 2, {4, 5}}}},
    {{CONCATENATE, .operands = 3, .dim = -1}, {{NULL, 2, {3, 2}}, {NULL, 2, {3, 5}}, {NULL, 2, {3, 1}}}},
    {{CONCATENATE, .operands = 2, .dim = 1}, {{NULL, 3, {2, 3, 4}}, {NULL, 3, {2, 2, 4}}}},
    {{CONCATENATE, .operands = 3, .dim = -2},
     {{NULL, 4, {2, 2, 1, 3}}, {NULL, 4, {2, 2, 3, 3}}, {NULL, 4, {2, 2, 2, 3}}}},
    {{SLICE, .dim = 0, .first = 2, .count = 3}, {{NULL, 1, {7}}}},
    {{SLICE, .dim = 0, .first = 0, .count = 7}, {{NULL, 1, {7}}}},
    {{SLICE, .dim = 0, .first = 4, .count = 1}, {{NULL, 2, {5, 6}}}},
    {{SLICE, .dim = -1, .first = 1, .count = 4}, {{NULL, 2, {5, 6}}}},
    {{SLICE, .dim = 1, .first = 2, .count = 2}, {{NULL, 3, {3, 5, 4}}}},
    {{SLICE, .dim = 2, .first = 0, .count = 3}, {{NULL, 4, {2, 3, 4, 5}}}},
};
enum { PIECES = sizeof pieces / sizeof *pieces };

START_TEST(pieces_along_a_dimension) { check_operation(&pieces[_i].op, pieces[_i].shapes); }
END_TEST

/* More parts than any other operation has operands; one of them twice. */
START_TEST(many_parts) {
    enum { PARTS = 40 };
    float values[PARTS];
    for (int k = 0; k < PARTS; k++) values[k] = (float)k;
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *parts[PARTS];
    for (int k = 0; k < PARTS; k++) parts[k] = rbe_variable(tape, rbe_tensor_1d(&values[k], 1));
    parts[3] = parts[5];
    rbe_var *y = rbe_concatenate(parts, PARTS, 0);
    ck_assert_float_eq(rbe_value(y)->data[3], 5.0f);
    ck_assert_float_eq(rbe_value(y)->data[PARTS - 1], (float)PARTS - 1);
    ck_assert_int_eq(rbe_backward(rbe_sum(y)), RBE_OK);
    ck_assert_float_eq(rbe_grad(parts[5])[0], 2.0f);
    ck_assert_float_eq(rbe_grad(parts[6])[0], 1.0f);
    ck_assert_ptr_null(rbe_concatenate(parts, 0, 0));
    ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    rbe_tape_free(tape);
}
END_TEST

/* ---- permutations -------------------------------------------------------------------------------------------- */

static rbe_var *permute(const operation *op, rbe_var *const *x) { return rbe_permute(x[0], op->order); }

static rbe_tensor permute_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    rbe_tensor result = *shapes;
    for (int d = 0; d < shapes->dims; d++) result.shape[d] = shapes->shape[op->order[d]];
    for (size_t i = 0; i < rbe_tensor_count(shapes); i++) {
        size_t index = 0;
        for (int d = 0; d < shapes->dims; d++) index = index * result.shape[d] + place_along(shapes, op->order[d], i);
        y[index] = x[0][i];
    }
    return result;
}

static const struct {
    int order[RBE_MAX_DIMS];
    rbe_tensor shape;
} permutations[] = {
    {{0}, {NULL, 1, {7}}},
    {{1, 0}, {NULL, 2, {5, 8}}},
    {{0, 1}, {NULL, 2, {5, 8}}},
    {{1, 0, 2}, {NULL, 3, {3, 4, 5}}},
    {{1, 2, 0}, {NULL, 3, {3, 4, 5}}},
    {{2, 0, 1}, {NULL, 3, {3, 4, 5}}},
    {{0, 2, 1, 3}, {NULL, 4, {2, 3, 4, 5}}}, /* heads of attention */
    {{3, 1, 0, 2}, {NULL, 4, {2, 3, 4, 5}}},
    {{3, 2, 1, 0}, {NULL, 4, {2, 1, 4, 5}}},
};
enum { PERMUTATIONS = sizeof permutations / sizeof *permutations };

static operation permutation(int n) {
    operation op = {.name = "permute", .call = permute, .reference = permute_reference, .operands = 1, .linear = true};
    memcpy(op.order, permutations[n].order, sizeof op.order);
    return op;
}

START_TEST(permutations_of_dimensions) {
    const operation op = permutation(_i);
    check_operation(&op, &permutations[_i].shape);
}
END_TEST

/* ---- rows of a table ----------------------------------------------------------------------------------------- */

/* Some rows several times, some not at all. */
static const int32_t *ids_for(size_t rows, size_t count) {
    static int32_t ids[4096];
    ck_assert_uint_le(count, 4096);
    for (size_t i = 0; i < count; i++) ids[i] = (int32_t)((i * i + 2 * i) % rows);
    return ids;
}

static rbe_var *gather(const operation *op, rbe_var *const *x) {
    return rbe_gather_rows(x[0], ids_for(x[0] ? rbe_value(x[0])->shape[0] : 1, op->count), op->count);
}

static rbe_tensor gather_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    const size_t rows = shapes->shape[0], width = rbe_tensor_count(shapes) / rows;
    const int32_t *ids = ids_for(rows, op->count);
    for (size_t i = 0; i < op->count * width; i++) y[i] = x[0][(size_t)ids[i / width] * width + i % width];
    return shape_with(shapes, 0, op->count);
}

static const operation gather_rows = {
    .name = "gather_rows", .call = gather, .reference = gather_reference, .operands = 1, .linear = true, .count = 11};

static const rbe_tensor tables[] = {
    {NULL, 1, {5}}, {NULL, 2, {1, 4}}, {NULL, 2, {7, 1}}, {NULL, 2, {9, 6}}, {NULL, 3, {4, 3, 5}}, {NULL, 2, {3, 70}},
};

START_TEST(rows_of_tables) { check_operation(&gather_rows, &tables[_i]); }
END_TEST

/* ---- batches of matrices ------------------------------------------------------------------------------------- */

/* Where the matrix of an operand begins that meets matrix number n of the result. */
static size_t matrix_index(const rbe_tensor *x, const rbe_tensor *result, size_t n) {
    const size_t size = x->shape[x->dims - 2] * x->shape[x->dims - 1];
    if (x->dims == 2) return 0;
    rbe_tensor batch = *x, of_result = *result;
    batch.dims -= 2;
    of_result.dims -= 2;
    return operand_index(&batch, &of_result, n) * size;
}

static rbe_tensor batch_reference(const operation *op, const rbe_tensor *shapes, double *const *x, double *y) {
    const int longer = shapes[0].dims >= shapes[1].dims ? 0 : 1;
    const size_t *a = shapes[0].shape + shapes[0].dims - 2, *b = shapes[1].shape + shapes[1].dims - 2;
    const bool ta = op->transposed[0], tb = op->transposed[1];
    const size_t m = a[ta ? 1 : 0], n = b[tb ? 0 : 1], inner = a[ta ? 0 : 1];
    rbe_tensor result = shapes[longer];
    for (int d = 3; d <= shapes[1 - longer].dims; d++) {
        const size_t extent = shapes[1 - longer].shape[shapes[1 - longer].dims - d];
        if (extent > 1) result.shape[result.dims - d] = extent;
    }
    result.shape[result.dims - 2] = m;
    result.shape[result.dims - 1] = n;
    for (size_t t = 0; t < rbe_tensor_count(&result) / (m * n); t++) {
        const double *xa = x[0] + matrix_index(&shapes[0], &result, t);
        const double *xb = x[1] + matrix_index(&shapes[1], &result, t);
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < n; j++) {
                double sum = 0.0;
                for (size_t k = 0; k < inner; k++)
                    sum += xa[ta ? k * a[1] + i : i * a[1] + k] * xb[tb ? j * b[1] + k : k * b[1] + j];
                y[t * m * n + i * n + j] = sum;
            }
    }
    return result;
}

static const operation matmul[] = {
    {.name = "matmul", .reference = batch_reference},
    {.name = "matmul ^T", .transposed = {false, true}, .reference = batch_reference},
    {.name = "^T matmul", .transposed = {true, false}, .reference = batch_reference},
    {.name = "^T matmul ^T", .transposed = {true, true}, .reference = batch_reference},
};
enum { MATMUL_COUNT = sizeof matmul / sizeof *matmul };

/* Without transposes. */
static const rbe_tensor batches[][2] = {
    {{NULL, 3, {3, 4, 5}}, {NULL, 3, {3, 5, 2}}},       {{NULL, 3, {3, 4, 5}}, {NULL, 2, {5, 2}}},
    {{NULL, 2, {4, 5}}, {NULL, 3, {3, 5, 2}}},          {{NULL, 3, {1, 4, 5}}, {NULL, 3, {3, 5, 2}}},
    {{NULL, 3, {3, 4, 5}}, {NULL, 3, {1, 5, 2}}},       {{NULL, 4, {2, 3, 4, 5}}, {NULL, 4, {2, 3, 5, 2}}},
    {{NULL, 4, {2, 3, 4, 5}}, {NULL, 3, {3, 5, 2}}},    {{NULL, 4, {2, 1, 4, 5}}, {NULL, 4, {1, 3, 5, 2}}},
    {{NULL, 4, {1, 3, 4, 5}}, {NULL, 4, {2, 3, 5, 2}}}, {{NULL, 4, {2, 3, 4, 5}}, {NULL, 4, {2, 1, 5, 2}}},
    {{NULL, 4, {2, 3, 4, 5}}, {NULL, 2, {5, 2}}},       {{NULL, 4, {2, 3, 1, 1}}, {NULL, 4, {2, 3, 1, 1}}},
};
enum { BATCHES = sizeof batches / sizeof *batches };

static void transposed_where_asked(const operation *op, const rbe_tensor *plain, rbe_tensor *shapes) {
    for (int k = 0; k < 2; k++) {
        shapes[k] = plain[k];
        if (!op->transposed[k]) continue;
        shapes[k].shape[plain[k].dims - 2] = plain[k].shape[plain[k].dims - 1];
        shapes[k].shape[plain[k].dims - 1] = plain[k].shape[plain[k].dims - 2];
    }
}

START_TEST(batches_of_matrices) {
    for (int s = 0; s < BATCHES; s++) {
        rbe_tensor shapes[2];
        transposed_where_asked(&matmul[_i], batches[s], shapes);
        check_operation(&matmul[_i], shapes);
    }
}
END_TEST

/* ---- what all have in common --------------------------------------------------------------------------------- */

/* Shapes of several tasks; of joined parts, one is much longer than a task. */
START_TEST(threads_change_no_bit) {
    for (int n = 0; n < ALONG_COUNT; n++)
        for (int dim = 0; dim < 3; dim++) {
            operation op = along[n];
            op.dim = dim;
            check_threads(&op, &(rbe_tensor){NULL, 3, {37, 11, 301}});
        }
    const operation join = {CONCATENATE, .operands = 3, .dim = 1}, cut = {SLICE, .dim = 1, .first = 2, .count = 13};
    check_threads(&join, (rbe_tensor[]){{NULL, 2, {3, 40000}}, {NULL, 2, {3, 1}}, {NULL, 2, {3, 301}}});
    check_threads(&cut, &(rbe_tensor){NULL, 3, {37, 17, 301}});
    for (int n = 0; n < PERMUTATIONS; n++) {
        const operation op = permutation(n);
        rbe_tensor shape = {NULL, permutations[n].shape.dims, {13, 19, 17, 23}};
        check_threads(&op, &shape);
    }
    operation rows = gather_rows;
    rows.count = 4096;
    check_threads(&rows, &(rbe_tensor){NULL, 2, {100, 150}});
    for (int n = 0; n < MATMUL_COUNT; n++) {
        rbe_tensor shapes[2];
        transposed_where_asked(&matmul[n], (rbe_tensor[]){{NULL, 4, {2, 3, 70, 33}}, {NULL, 3, {3, 33, 130}}}, shapes);
        check_threads(&matmul[n], shapes);
        transposed_where_asked(&matmul[n], (rbe_tensor[]){{NULL, 4, {2, 3, 70, 33}}, {NULL, 2, {33, 130}}}, shapes);
        check_threads(&matmul[n], shapes);
    }
}
END_TEST

START_TEST(failed_operands_give_nothing) {
    for (int n = 0; n < ALONG_COUNT; n++) check_failed_operands(&along[n], &along_shapes[4]);
    for (int n = 0; n < PIECES; n++) check_failed_operands(&pieces[n].op, pieces[n].shapes);
    const operation op = permutation(1);
    check_failed_operands(&op, &permutations[1].shape);
    check_failed_operands(&gather_rows, &tables[3]);
    for (int n = 0; n < MATMUL_COUNT; n++) check_failed_operands(&matmul[n], batches[0]);
}
END_TEST

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* A step with every operation that takes memory of its own: attention of 4 heads over 8 sequences of 32 tokens, with
 * norms, a rest of each kind, and two losses. */
static rbe_status step(rbe_tape *tape) {
    enum { TOKENS = 8 * 32, WIDTH = 64 };
    static float table[100 * WIDTH], scale[WIDTH], targets[8 * WIDTH];
    const size_t heads[] = {8, 32, 4, 16}, flat[] = {8, 32, WIDTH};
    rbe_var *w = rbe_variable(tape, rbe_tensor_1d(scale, WIDTH)),
            *t = rbe_input(tape, rbe_tensor_3d(targets, 8, 1, WIDTH));
    rbe_var *x = rbe_gather_rows(rbe_variable(tape, rbe_tensor_2d(table, 100, WIDTH)), ids_for(100, TOKENS), TOKENS);
    x = rbe_permute(rbe_reshape(rbe_layer_norm(x, w, w, 1e-5f), 4, heads), (const int[]){0, 2, 1, 3});
    x = rbe_matmul(rbe_softmax(rbe_matmul(x, false, x, true)), false, x, false);
    x = rbe_rms_norm(rbe_reshape(rbe_permute(x, (const int[]){0, 2, 1, 3}), 3, flat), w, 1e-5f);
    x = rbe_concatenate((rbe_var *const[]){rbe_slice(x, 1, 0, 5), rbe_max_along(x, 1), rbe_div(x, rbe_exp(x))}, 3, 1);
    x = rbe_mean_along(rbe_power(rbe_clamp(x, -1.0f, 1.0f), 2.0f), 1);
    RBE_TRY(rbe_backward(rbe_add(rbe_binary_cross_entropy(x, t), rbe_huber(x, t, 1.0f))));
    return rbe_tape_check_finite(tape);
}

START_TEST(steady_steps_allocate_nothing) {
    rbe_tape *tape = rbe_tape_new(NULL);
    size_t allocations = 0;
    for (int k = 0; k < 6; k++) {
        if (k == 2) allocations = rbe_memory().allocations;
        ck_assert_msg(step(tape) == RBE_OK, "%s", rbe_last_error());
        rbe_tape_reset(tape);
    }
    ck_assert_uint_eq(rbe_memory().allocations, allocations);
    rbe_tape_free(tape);
}
END_TEST

START_TEST(every_allocation_may_fail) { ck_assert_uint_gt(fail_each_allocation_of_step(step), 8); }
END_TEST

Suite *shapes_suite(void) {
    Suite *suite = suite_create("shapes");
    TCase *formulas = tcase_create("formulas");
    tcase_add_loop_test(formulas, reductions_along_every_dimension, 0, ALONG_COUNT);
    tcase_add_test(formulas, max_of_equal_values_and_nan);
    tcase_add_loop_test(formulas, pieces_along_a_dimension, 0, PIECES);
    tcase_add_test(formulas, many_parts);
    tcase_add_loop_test(formulas, permutations_of_dimensions, 0, PERMUTATIONS);
    tcase_add_loop_test(formulas, rows_of_tables, 0, (int)(sizeof tables / sizeof *tables));
    tcase_add_loop_test(formulas, batches_of_matrices, 0, MATMUL_COUNT);
    suite_add_tcase(suite, formulas);
    TCase *all = tcase_create("all");
    tcase_add_test(all, threads_change_no_bit);
    tcase_add_test(all, failed_operands_give_nothing);
    tcase_add_test(all, steady_steps_allocate_nothing);
    tcase_add_test(all, every_allocation_may_fail);
    suite_add_tcase(suite, all);
    return suite;
}
