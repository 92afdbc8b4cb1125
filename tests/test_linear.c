/* The compressed layer against dense matrices in double precision: forward, gradients of inputs, coefficients, raw
 * alphas and bias, over sizes, blocks, groups, transforms and batches; what does not depend on threads, tapes,
 * paths or caches; creation, errors and memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rbe/nn.h"
#include "reference.h"
#include "suites.h"
#include "support.h"

/* ---- a layer and its reference ------------------------------------------------------------------------------- */

typedef struct layer_case {
    size_t in, out, block, group, per_block;
    const char *left, *right;
    bool alpha, bias;
} layer_case;

static rbe_layer *case_layer(const layer_case *c, const rbe_linear_options *options) {
    const rbe_compress_options layout = {.block = c->block,
                                         .row_transform = rbe_transform_named(c->left),
                                         .column_transform = rbe_transform_named(c->right),
                                         .alpha = c->alpha ? RBE_ALPHA_ON : RBE_ALPHA_OFF,
                                         .group = c->group};
    float *bias = test_memory(c->out, sizeof *bias);
    fill_normal(bias, c->out, 1.0, 3);
    rbe_blocks *blocks = random_blocks(c->out, c->in, c->per_block, &layout, c->in + c->out);
    rbe_layer *layer = rbe_linear_from_blocks(blocks, c->bias ? bias : NULL, c->bias ? c->out : 0, options);
    ck_assert_msg(layer != NULL, "%s", rbe_last_error());
    free(bias);
    return layer;
}

static void check_errors(layer_reference *f, size_t rows, const char *what) {
    const product_errors e = product_errors_of(f, rows, rows);
    ck_assert_msg(e.y < 1e-5 && e.dx < 1e-5 && e.coefficients < 1e-4 && e.alpha < 1e-4 && e.bias < 1e-4,
                  "%zu rows, %s: y %.1e, dx %.1e, coefficients %.1e, alpha %.1e, bias %.1e", rows, what, e.y, e.dx,
                  e.coefficients, e.alpha, e.bias);
}

/* ---- against the reference ----------------------------------------------------------------------------------- */

/* clang-format off */
static const layer_case cases[] = {
    /*  in  out   B group  K   left        right      alpha  bias */
    {  10,   7,   8,  1,   6, "dct",      "dct",      true,  true},
    {   1,   1,   8,  1,   9, "dct",      "dct",      true,  true},
    {   8,   8,   8,  1,  64, "dct",      "dct",      false, false},
    {  16,  24,   8,  2,   0, "dct",      "dct",      true,  true},
    {  33,  65,  16,  3,  20, "dct",      "dct",      true,  true},
    {  65,  33,  16,  2,  20, "dct",      "dct",      false, true},
    { 100, 300,  32,  5,  40, "dct",      "dct",      true,  true},
    { 300, 100,  32, 16,  40, "dct",      "dct",      true,  false},
    { 784, 300,  64,  5, 200, "dct",      "dct",      true,  true},
    { 300, 784,  64,  3, 200, "dct",      "dct",      false, true},
    { 784, 300,  32, 16,  64, "dct",      "dct",      true,  true},
    { 784, 300,  16,  5,  16, "dct",      "dct",      true,  true},
    { 784, 300,   8, 16,   4, "dct",      "dct",      true,  true},
    { 128, 512,  16, 16,  16, "dct",      "dct",      true,  true},
    { 128, 544,  16, 16,  16, "dct",      "dct",      true,  true}, /* last group: 2 rows */
    { 256, 136,   8, 16,   8, "dct",      "dct",      false, true}, /* last group: 1 row */
    {  70, 200,   8, 16,  12, "dct",      "dct",      true,  true}, /* last group: 9 rows */
    { 130, 258, 128,  2, 300, "dct",      "dct",      true,  true},
    { 300, 260, 256,  2, 900, "dct",      "dct",      true,  true},
    {  10,   7,  64,  1, 100, "dct",      "dct",      true,  true}, /* smaller than a block */
    {  64,  64,  64,  1,4096, "dct",      "dct",      true,  true}, /* every coefficient */
    { 512,  64,  64,  1,   1, "dct",      "dct",      false, true}, /* most lists are empty */
    {  33,  65,   8,  3,   9, "haar",     "haar",     true,  true},
    { 100,  70,  32,  2,  50, "haar",     "dct",      true,  true},
    { 100,  70,  32,  2,  50, "dct",      "haar",     true,  true},
    {  70, 130,  16,  5,  30, "wht",      "wht",      true,  true},
    { 130,  70,  64,  1,  90, "wht",      "dct",      false, true},
    { 100,  90,  32,  1,  60, "identity", "identity", true,  true},
    { 100,  90,  16,  3,  25, "identity", "wht",      true,  true},
    { 100,  90,  32,  2,  50, "db4",      "db4",      true,  true},
    {  90, 100,  64,  2,  90, "db4",      "dct",      true,  true},
    {  90, 100,   8,  5,   9, "db6",      "db8",      true,  true},
    {  90, 100,  16,  2,  20, "db10",     "db12",     true,  false},
    {  90, 100,  32,  1,  50, "db14",     "db16",     true,  true},
    {  90, 100,  64,  1,  90, "db18",     "db20",     true,  true},
    {  90, 100,   8, 16,   9, "db20",     "identity", false, true},
    {  90, 100,  32,  2,  50, "bspline202", "dct",    true,  true}, /* biorthogonal: L^T S R is no inverse of L W R^T */
    { 100,  90,  16,  3,  20, "bspline103", "bspline309", true, true},
};
/* clang-format on */
enum { CASES = sizeof cases / sizeof *cases };

START_TEST(products_match_the_reference) {
    static const size_t rows[] = {1, 2, 3, 7, 16, 33, 65, 130};
    layer_reference f = layer_reference_of(case_layer(&cases[_i], NULL));
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) check_errors(&f, rows[n], "default path");
    layer_reference_free(&f);
}
END_TEST

/* Both paths at every number of rows, with the cache and without. */
START_TEST(every_path_matches_the_reference) {
    static const size_t rows[] = {1, 2, 5, 8, 33, 63};
    static const rbe_linear_options paths[] = {{.batch_threshold = 1},
                                               {.batch_threshold = 1, .use_cache = true},
                                               {.batch_threshold = 64},
                                               {.batch_threshold = 64, .use_cache = true}};
    for (size_t path = 0; path < sizeof paths / sizeof *paths; path++) {
        char what[40];
        snprintf(what, sizeof what, "threshold %zu, cache %d", paths[path].batch_threshold, paths[path].use_cache);
        layer_reference f = layer_reference_of(case_layer(&cases[_i], &paths[path]));
        for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) check_errors(&f, rows[n], what);
        layer_reference_free(&f);
    }
}
END_TEST

START_TEST(leading_dimensions_are_kept) {
    const layer_case c = {100, 70, 32, 2, 50, "dct", "dct", true, true};
    rbe_layer *layer = case_layer(&c, NULL);
    float *x = normals(24 * c.in, 1), *g = normals(24 * c.out, 2);
    float *y[2], *dx[2];
    for (int i = 0; i < 2; i++) {
        y[i] = test_memory(24 * c.out, sizeof(float));
        dx[i] = test_memory(24 * c.in, sizeof(float));
    }
    const rbe_tensor shapes[] = {rbe_tensor_3d(x, 4, 6, c.in), rbe_tensor_3d(x, 24, 1, c.in), {x, 4, {2, 3, 4, c.in}}};
    run_layer(layer, rbe_tensor_2d(x, 24, c.in), g, y[0], dx[0]);
    for (size_t n = 0; n < sizeof shapes / sizeof *shapes; n++) {
        run_layer(layer, shapes[n], g, y[1], dx[1]);
        ck_assert_mem_eq(y[1], y[0], 24 * c.out * sizeof(float));
        ck_assert_mem_eq(dx[1], dx[0], 24 * c.in * sizeof(float));
    }
    run_layer(layer, rbe_tensor_2d(x, 1, c.in), g, y[0], dx[0]);
    run_layer(layer, rbe_tensor_1d(x, c.in), g, y[1], dx[1]);
    ck_assert_mem_eq(y[1], y[0], c.out * sizeof(float));
    ck_assert_mem_eq(dx[1], dx[0], c.in * sizeof(float));
    for (int i = 0; i < 2; i++) {
        free(y[i]);
        free(dx[i]);
    }
    free(x);
    free(g);
    rbe_layer_free(layer);
}
END_TEST

static double dot(const float *a, const float *b, size_t count) {
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

/* <W x, g> = <x, W' g>; W (2 x - 3 z) = 2 W x - 3 W z; and W is what rbe_decompress writes. */
START_TEST(layer_is_a_linear_map) {
    layer_case c = cases[_i];
    c.bias = false;
    const size_t rows = 20, nx = rows * c.in, ny = rows * c.out;
    rbe_layer *layer = case_layer(&c, NULL);
    float *x = normals(nx, 1), *z = normals(nx, 2), *g = normals(ny, 3);
    float *wx = test_memory(ny, sizeof *wx), *wz = test_memory(ny, sizeof *wz), *w_mixed = test_memory(ny, sizeof *wx);
    float *wg = test_memory(nx, sizeof *wg), *w = test_memory(c.in * c.out, sizeof *w);
    run_layer(layer, rbe_tensor_2d(x, rows, c.in), g, wx, wg);
    const double scale = sqrt(dot(wx, wx, ny) * dot(g, g, ny));
    ck_assert_double_le(fabs(dot(wx, g, ny) - dot(x, wg, nx)), 1e-5 * scale);

    ck_assert_ok(rbe_decompress(rbe_linear_blocks(layer), w));
    double *wide_w = widened(w, c.in * c.out), *wide_x = widened(x, nx), *expected = test_memory(ny, sizeof *expected);
    reference_forward(wide_w, NULL, wide_x, rows, c.out, c.in, expected);
    ck_assert_double_lt(relative_error(wx, expected, ny), 1e-5);

    run_layer(layer, rbe_tensor_2d(z, rows, c.in), NULL, wz, NULL);
    for (size_t i = 0; i < nx; i++) z[i] = 2.0F * x[i] - 3.0F * z[i];
    run_layer(layer, rbe_tensor_2d(z, rows, c.in), NULL, w_mixed, NULL);
    for (size_t i = 0; i < ny; i++) expected[i] = 2.0 * (double)wx[i] - 3.0 * (double)wz[i];
    ck_assert_double_lt(relative_error(w_mixed, expected, ny), 1e-5);

    float *const narrow[] = {x, z, g, wx, wz, w_mixed, wg, w};
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++) free(narrow[i]);
    free(wide_w);
    free(wide_x);
    free(expected);
    rbe_layer_free(layer);
}
END_TEST

/* ---- finite differences -------------------------------------------------------------------------------------- */

typedef struct quadratic {
    const rbe_layer *layer;
    rbe_tensor x, target;
} quadratic;

/* The mean squared error of the layer's outputs; with gradients unless in inference. */
static double loss_of(const quadratic *problem, bool inference) {
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = inference});
    rbe_var *y = rbe_layer_forward(problem->layer, rbe_variable(tape, problem->x));
    rbe_var *loss = rbe_mean_squared_error(y, rbe_input(tape, problem->target));
    ck_assert_msg(rbe_tape_status(tape) == RBE_OK, "%s", rbe_tape_error(tape));
    if (!inference) ck_assert_ok(rbe_backward(loss));
    const double value = (double)rbe_item(loss);
    rbe_tape_free(tape);
    return value;
}

/* The loss is quadratic in every parameter, so a central difference is exact for steps of any size: with a step of
 * the order of the values only the float32 rounding of the loss remains, 6e-8 of its value. */
START_TEST(parameter_gradients_match_differences) {
    static const layer_case small[] = {{10, 7, 8, 1, 5, "dct", "dct", true, true},
                                       {21, 19, 8, 2, 4, "wht", "db4", true, true},
                                       {20, 40, 16, 3, 9, "haar", "dct", true, true}};
    const layer_case *c = &small[_i % 3];
    const size_t rows = _i < 3 ? 2 : 40;
    quadratic problem = {.layer = case_layer(c, NULL)};
    problem.x = rbe_tensor_2d(normals(rows * c->in, 1), rows, c->in);
    problem.target = rbe_tensor_2d(normals(rows * c->out, 2), rows, c->out);
    loss_of(&problem, false);
    size_t params = 0;
    for (rbe_param *param; (param = rbe_layer_param(problem.layer, params)); params++) {
        ck_assert(param->grad_set && param->grad);
        const float step = strcmp(param->part, "alpha") == 0 ? 2.0F : 0.5F;
        double *expected = test_memory(param->count, sizeof *expected);
        for (size_t i = 0; i < param->count; i++) {
            const float kept = param->value[i], above = kept + step, below = kept - step;
            param->value[i] = above;
            expected[i] = loss_of(&problem, true);
            param->value[i] = below;
            expected[i] = (expected[i] - loss_of(&problem, true)) / ((double)above - (double)below);
            param->value[i] = kept;
        }
        const double error = relative_error(param->grad, expected, param->count);
        ck_assert_msg(error < 1e-3, "%s: %g", param->name, error);
        free(expected);
    }
    ck_assert_uint_eq(params, 3);
    free(problem.x.data);
    free(problem.target.data);
    rbe_layer_free((rbe_layer *)problem.layer);
}
END_TEST

static rbe_var *bent_output(rbe_tape *tape, rbe_var **leaves, void *user) {
    (void)tape;
    return rbe_tanh(rbe_scale(rbe_layer_forward(user, leaves[0]), 0.1F));
}

START_TEST(input_gradients_match_differences) {
    const layer_case c = {21, 19, 8, 2, 4, "dct", "dct", true, true};
    rbe_layer *layer = case_layer(&c, NULL);
    rbe_tensor x = rbe_tensor_2d(normals(3 * c.in, 1), 3, c.in);
    ck_assert_double_lt(gradient_error(bent_output, &x, 1, layer), 2e-3);
    free(x.data);
    rbe_layer_free(layer);
}
END_TEST

/* ---- what results do not depend on --------------------------------------------------------------------------- */

static rbe_layer *drawn_layer(size_t in, size_t out, rbe_linear_options options) {
    rbe_layer *layer = rbe_linear_new(in, out, &options);
    ck_assert_msg(layer != NULL, "%s", rbe_last_error());
    return layer;
}

/* An inference tape and any number of threads give the same bits. */
START_TEST(forward_bits_are_always_the_same) {
    static const size_t rows[] = {1, 3, 20, 130};
    static const int threads[] = {1, 2, 3, 5};
    const size_t in = 300, out = 260;
    rbe_layer *layer = drawn_layer(in, out, (rbe_linear_options){.ratio = 8, .block = 32, .alpha = RBE_ALPHA_ON});
    for (size_t i = 0; i < layer_part(layer, "alpha")->count; i++)
        layer_part(layer, "alpha")->value[i] = (float)(i % 7) - 3.0F;
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
        float *x = normals(rows[n] * in, n), *g = normals(rows[n] * out, n), *dx = test_memory(rows[n] * in, 4);
        float *first = test_memory(rows[n] * out, sizeof(float)), *y = test_memory(rows[n] * out, sizeof(float));
        for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
            ck_assert_ok(rbe_set_threads(threads[t]));
            for (int training = 0; training < 2; training++) {
                const bool is_first = t == 0 && !training;
                run_layer(layer, rbe_tensor_2d(x, rows[n], in), training ? g : NULL, is_first ? first : y, dx);
                if (!is_first)
                    ck_assert_msg(memcmp(first, y, rows[n] * out * sizeof(float)) == 0,
                                  "%zu rows, %d threads, training %d", rows[n], threads[t], training);
            }
        }
        float *const all[] = {x, g, dx, first, y};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    }
    rbe_layer_free(layer);
}
END_TEST

/* Backward passes without an optimiser's step between them add up, whatever the path; after a step they do not. */
START_TEST(gradients_accumulate) {
    const layer_case c = {100, 70, 16, 3, 20, "dct", "dct", true, true};
    const size_t rows = _i ? 40 : 2;
    rbe_layer *layer = case_layer(&c, NULL);
    float *x = normals(rows * c.in, 1), *g = normals(rows * c.out, 2);
    float *y = test_memory(rows * c.out, sizeof *y), *dx = test_memory(rows * c.in, sizeof *dx);
    float *once[3] = {NULL};
    for (size_t pass = 0; pass < 4; pass++) { /* gradients 1, 2, 3 times, and once again */
        if (pass == 3) consume_gradients(layer);
        run_layer(layer, rbe_tensor_2d(x, rows, c.in), g, y, dx);
        for (size_t n = 0; n < 3; n++) {
            const rbe_param *param = rbe_layer_param(layer, n);
            ck_assert(param->grad_set);
            if (pass == 0) {
                once[n] = test_memory(param->count, sizeof(float));
                memcpy(once[n], param->grad, param->count * sizeof(float));
            }
            double *expected = widened(once[n], param->count);
            for (size_t i = 0; i < param->count; i++) expected[i] *= pass == 3 ? 1.0 : (double)(pass + 1);
            ck_assert_double_lt(relative_error(param->grad, expected, param->count), 1e-6);
            free(expected);
        }
    }
    float *const all[] = {x, g, y, dx, once[0], once[1], once[2]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    rbe_layer_free(layer);
}
END_TEST

/* A constant input needs no gradient of its own; those of the parameters are the same. The cache changes nothing.
 */
START_TEST(parameter_gradients_do_not_depend_on_the_rest) {
    const layer_case c = {100, 300, 32, 5, 40, "dct", "dct", true, true};
    const size_t rows = 50;
    float *x = normals(rows * c.in, 1), *target = normals(rows * c.out, 2), *expected[3] = {NULL};
    for (int variant = 0; variant < 4; variant++) {
        rbe_layer *layer = case_layer(&c, &(rbe_linear_options){.use_cache = variant & 1});
        rbe_tape *tape = rbe_tape_new(NULL);
        const rbe_tensor data = rbe_tensor_2d(x, rows, c.in);
        rbe_var *y = rbe_layer_forward(layer, variant & 2 ? rbe_variable(tape, data) : rbe_input(tape, data));
        rbe_var *wanted = rbe_input(tape, rbe_tensor_2d(target, rows, c.out));
        ck_assert_ok(rbe_backward(rbe_mean_squared_error(y, wanted)));
        for (size_t n = 0; n < 3; n++) {
            const rbe_param *param = rbe_layer_param(layer, n);
            if (variant == 0) {
                expected[n] = test_memory(param->count, sizeof(float));
                memcpy(expected[n], param->grad, param->count * sizeof(float));
            }
            ck_assert_double_lt(relative_difference(param->grad, expected[n], param->count), 1e-6);
        }
        rbe_tape_free(tape);
        rbe_layer_free(layer);
    }
    for (size_t n = 0; n < 3; n++) free(expected[n]);
    free(x);
    free(target);
}
END_TEST

/* ---- creation ------------------------------------------------------------------------------------------------ */

START_TEST(bad_options_are_refused) {
    static const struct {
        size_t in, out;
        rbe_linear_options options;
    } bad[] = {
        {0, 32, {0}},
        {32, 0, {0}},
        {32, 32, {.block = 7}},
        {32, 32, {.block = 4}},
        {32, 32, {.block = 48}},
        {32, 32, {.block = 512}},
        {32, 32, {.block = 16, .coeffs = 257}},
        {32, 32, {.coeffs = SIZE_MAX}},
        {32, 32, {.coeffs = 16, .ratio = 8.0}},
        {32, 32, {.ratio = 0.5}},
        {32, 32, {.ratio = -16.0}},
        {32, 32, {.ratio = NAN}},
        {32, 32, {.ratio = INFINITY}},
        {32, 32, {.ratio = 5000.0}},
        {32, 32, {.block = 8, .ratio = 8.0, .alpha = RBE_ALPHA_ON}},
        {32, 32, {.init_scale = NAN}},
        {32, 32, {.init_scale = INFINITY}},
        {32, 32, {.init_scale = -1.0}},
    };
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        rbe_fail(RBE_OK, "none");
        rbe_layer *layer = rbe_linear_new(bad[n].in, bad[n].out, &bad[n].options);
        ck_assert_msg(layer == NULL, "case %zu is accepted", n);
        ck_assert_msg(rbe_last_status() == RBE_INVALID_ARGUMENT, "case %zu: %s", n, rbe_last_error());
        ck_assert_str_ne(rbe_last_error(), "none");
    }
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* The matrix belongs to the layer from the call on, also when the call fails. */
START_TEST(blocks_are_taken_over) {
    const rbe_compress_options layout = {.block = 16, .group = 2, .alpha = RBE_ALPHA_ON};
    float *bias = normals(50, 1);
    bias[33] = _i == 3 ? NAN : bias[33];
    rbe_blocks *blocks = random_blocks(50, 70, 10, &layout, 1);
    static const size_t counts[] = {49, 51, 0, 50, 50};
    rbe_fail(RBE_OK, "none");
    rbe_layer *layer = rbe_linear_from_blocks(blocks, _i == 4 ? NULL : bias, counts[_i], NULL);
    ck_assert_ptr_null(layer);
    ck_assert(rbe_last_status() == RBE_INVALID_ARGUMENT || rbe_last_status() == RBE_INPUT_DIMENSION_MISMATCH ||
              (_i == 3 && rbe_last_status() == RBE_NUMERICAL_INSTABILITY));
    if (_i < 2) ck_assert_msg(strstr(rbe_last_error(), "50"), "%s", rbe_last_error());
    if (_i == 3) ck_assert_msg(strstr(rbe_last_error(), "33"), "%s", rbe_last_error());
    ck_assert_uint_eq(rbe_memory().current, 0);
    ck_assert_ptr_null(rbe_linear_from_blocks(NULL, bias, 50, NULL));
    ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    free(bias);
}
END_TEST

START_TEST(inputs_must_fit) {
    float *x = normals(4 * 784, 1);
    for (int named = 0; named < 2; named++) {
        rbe_layer *layer = drawn_layer(784, 30, (rbe_linear_options){.name = named ? "fc1" : NULL});
        rbe_tape *tape = rbe_tape_new(NULL);
        rbe_var *y = rbe_layer_forward(layer, rbe_input(tape, rbe_tensor_2d(x, 4, 783)));
        ck_assert_ptr_null(rbe_value(y)->data);
        ck_assert_int_eq(rbe_backward(rbe_mean(y)), RBE_INPUT_DIMENSION_MISMATCH);
        ck_assert_int_eq(rbe_tape_status(tape), RBE_INPUT_DIMENSION_MISMATCH);
        ck_assert_str_eq(rbe_tape_error(tape), named ? "fc1: input has 783 columns, expected 784"
                                                     : "rbe: input has 783 columns, expected 784");
        ck_assert_uint_eq(rbe_linear_count(layer).operation_count, 0);
        rbe_tape_free(tape);
        rbe_layer_free(layer);
    }
    free(x);
}
END_TEST

START_TEST(seeds_decide) {
    rbe_linear_options options = {.ratio = 16, .seed = 7};
    rbe_layer *first = drawn_layer(200, 100, options), *same = drawn_layer(200, 100, options);
    options.seed = 8;
    rbe_layer *other = drawn_layer(200, 100, options);
    reference_views a, b, c;
    reference_read(&a, rbe_linear_blocks(first));
    reference_read(&b, rbe_linear_blocks(same));
    reference_read(&c, rbe_linear_blocks(other));
    ck_assert_uint_eq(a.total, b.total);
    size_t equal_values = 0, equal_positions = 0;
    for (size_t i = 0; i < a.total; i++) {
        const rbe_coefficient *x = &a.coefficients[i], *y = &b.coefficients[i];
        ck_assert(x->freq_i == y->freq_i && x->freq_j == y->freq_j && x->value == y->value);
        if (i >= c.total) continue;
        equal_values += c.coefficients[i].value == x->value;
        equal_positions += c.coefficients[i].freq_i == x->freq_i && c.coefficients[i].freq_j == x->freq_j;
    }
    ck_assert_uint_lt(equal_values, a.total / 100);
    ck_assert_uint_lt(equal_positions, a.total * 9 / 10);
    reference_views_free(&a);
    reference_views_free(&b);
    reference_views_free(&c);
    rbe_layer_free(first);
    rbe_layer_free(same);
    rbe_layer_free(other);
}
END_TEST

/* Positions: every row of S has the same number of columns, to one, and low columns are preferred. Values: of
 * variance g^2 2/in B^2/K, so that W's entries have variance g^2 2/in. */
START_TEST(layers_are_drawn_as_documented) {
    static const rbe_linear_options drawn[] = {
        {.ratio = 16},
        {.ratio = 10, .block = 16, .group = 1, .seed = 3},
        {.coeffs = 100, .block = 64, .group = 3, .init_scale = 1.0},
        {.ratio = 30, .block = 8, .group = 5, .alpha = RBE_ALPHA_OFF},
        {.ratio = 16, .alpha = RBE_ALPHA_ON, .no_bias = true},
        {.coeffs = 1024},
    };
    const size_t in = 512, out = 320;
    const rbe_linear_options *o = &drawn[_i];
    rbe_layer *layer = drawn_layer(in, out, *o);
    const rbe_blocks_info info = rbe_blocks_describe(rbe_linear_blocks(layer));
    const size_t b = info.block, blocks = info.grid_rows * info.grid_cols;
    ck_assert_uint_eq(b, o->block ? o->block : 32);
    ck_assert_int_eq(info.has_alpha, o->alpha == RBE_ALPHA_ON); /* by default there are none */
    ck_assert_uint_eq(info.group, o->group ? o->group : info.grid_rows < 16 ? info.grid_rows : 16);
    const double budget = o->coeffs ? (double)(o->coeffs * blocks) : (double)(in * out) / o->ratio - info.alphas;
    ck_assert_double_le((double)info.coefficients, budget);
    ck_assert_double_ge((double)info.coefficients, budget - (double)info.group);

    reference_views views;
    reference_read(&views, rbe_linear_blocks(layer));
    size_t *in_row = test_memory(info.grid_rows * b, sizeof *in_row);
    double frequency = 0.0, energy = 0.0;
    for (size_t index = 0; index < blocks; index++)
        for (size_t n = views.start[index]; n < views.start[index + 1]; n++) {
            const rbe_coefficient c = views.coefficients[n];
            in_row[index / info.grid_cols * b + c.freq_i]++;
            frequency += (double)c.freq_j;
            energy += (double)c.value * (double)c.value;
        }
    size_t least = SIZE_MAX, most = 0;
    for (size_t i = 0; i < info.grid_rows * b; i++) {
        least = in_row[i] < least ? in_row[i] : least;
        most = in_row[i] > most ? in_row[i] : most;
    }
    ck_assert_uint_le(most - least, 1);
    if (o->coeffs != 1024) ck_assert_double_lt(frequency / (double)views.total, 0.4 * (double)(b - 1));
    const double g = o->init_scale > 0.0 ? o->init_scale : 0.7;
    ck_assert_double_eq_tol(energy / (double)(in * out) / (g * g * 2.0 / (double)in), 1.0, 0.06);
    for (size_t i = 0; i < blocks * RBE_BASIS_COUNT; i++) ck_assert(views.alpha[i] == 0.0);

    /* a coefficient's learning rate is scaled by sqrt(B^2 / K) */
    const double per_block = (double)info.coefficients / (double)blocks;
    ck_assert_double_eq_tol((double)layer_part(layer, "coefficients")->lr_scale / sqrt((double)(b * b) / per_block),
                            1.0, 0.01);
    ck_assert((layer_part(layer, "bias") == NULL) == o->no_bias);
    ck_assert((layer_part(layer, "alpha") != NULL) == info.has_alpha);
    if (!o->no_bias) ck_assert(!layer_part(layer, "bias")->decays);
    reference_views_free(&views);
    free(in_row);
    rbe_layer_free(layer);
}
END_TEST

START_TEST(products_are_counted) {
    const size_t rows = 24, in = 100, out = 70;
    rbe_layer *layer = drawn_layer(in, out, (rbe_linear_options){.alpha = _i ? RBE_ALPHA_ON : RBE_ALPHA_OFF});
    const rbe_blocks_info info = rbe_blocks_describe(rbe_linear_blocks(layer));
    const uint64_t sparse = 2 * rows * info.coefficients; /* a multiplication and an addition each */
    float *x = normals(rows * in, 1), *g = normals(rows * out, 2);
    float *y = test_memory(rows * out, sizeof *y), *dx = test_memory(rows * in, sizeof *dx);
    double alpha[RBE_BASIS_COUNT];
    ck_assert_uint_eq(rbe_linear_get_gradients(layer, 0, 0, alpha, NULL, 0), 0);
    ck_assert_uint_eq(rbe_linear_count(layer).operation_count, 0);
    run_layer(layer, rbe_tensor_2d(x, rows, in), NULL, y, NULL);
    const rbe_linear_counters forward = rbe_linear_count(layer);
    ck_assert_uint_eq(forward.operation_count, 1);
    ck_assert_uint_eq(rbe_linear_get_gradients(layer, 0, 0, alpha, NULL, 0), 0);
    run_layer(layer, rbe_tensor_2d(x, rows, in), g, y, dx);
    const rbe_linear_counters both = rbe_linear_count(layer);
    ck_assert_uint_eq(both.operation_count, 3);
    if (_i) {
        ck_assert_uint_gt(forward.total_flops, sparse);
        ck_assert_uint_gt(both.total_flops, 4 * sparse);
    } else { /* forward, forward, dX and dS */
        ck_assert_uint_eq(forward.total_flops, sparse);
        ck_assert_uint_eq(both.total_flops, 4 * sparse);
    }
    ck_assert_uint_gt(rbe_linear_get_gradients(layer, 0, 0, alpha, NULL, 0), 0);
    float *const all[] = {x, g, y, dx};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    rbe_layer_free(layer);
}
END_TEST

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* Forward and backward of a mean squared error. */
static rbe_status train_step(rbe_layer *layer, const float *x, const float *target, size_t rows) {
    rbe_tape *tape = rbe_tape_new(NULL);
    if (!tape) return rbe_last_status();
    rbe_tensor data = rbe_tensor_2d((float *)x, rows, rbe_layer_inputs(layer));
    rbe_tensor wanted = rbe_tensor_2d((float *)target, rows, rbe_layer_outputs(layer));
    rbe_var *y = rbe_layer_forward(layer, rbe_variable(tape, data));
    const rbe_status status = rbe_backward(rbe_mean_squared_error(y, rbe_input(tape, wanted)));
    rbe_tape_free(tape);
    return status;
}

/* 1024 x 1024, K = 256 of 4096: parameters, gradients and Adam's two arrays against the same of a dense layer. */
START_TEST(a_tenth_of_dense_training_state) {
    const size_t size = 1024, start = rbe_memory().current;
    float *x = normals(8 * size, 1), *target = normals(8 * size, 2);
    rbe_layer *layer = drawn_layer(size, size, (rbe_linear_options){.block = 64, .coeffs = 256});
    ck_assert_ok(train_step(layer, x, target, 8)); /* makes the gradients */
    const rbe_layer_cost cost = rbe_layer_describe_cost(layer);
    const rbe_blocks_info info = rbe_blocks_describe(rbe_linear_blocks(layer));
    ck_assert_uint_eq(cost.values, info.coefficients + info.alphas + size);
    ck_assert_uint_eq(cost.bytes, info.value_bytes + info.position_bytes + info.alpha_bytes + 4 * size);
    ck_assert_uint_eq(cost.dense_bytes, 4 * (size * size + size));
    const size_t adam = 2 * 4 * cost.values, dense = 4 * cost.dense_bytes;
    ck_assert_uint_le(cost.bytes + 4 * cost.values + adam, dense / 10);
    ck_assert_uint_le(rbe_memory().current - start + adam, dense / 10); /* all that is really held */
    rbe_layer_free(layer);
    free(x);
    free(target);
}
END_TEST

/* A training step of a large layer, its creation included, stays below a fifth of dense weights and gradients
 * alone. */
START_TEST(large_layers_train_in_little_memory) {
    const size_t size = 4096, rows = 64, dense = 2 * size * size * sizeof(float);
    float *x = normals(rows * size, 1), *target = normals(rows * size, 2);
    rbe_memory_reset_peak();
    const size_t start = rbe_memory().current;
    rbe_layer *layer = drawn_layer(size, size, (rbe_linear_options){.block = 64, .ratio = 16, .use_cache = _i});
    ck_assert_ok(train_step(layer, x, target, rows));
    const size_t peak = rbe_memory().peak - start;
    ck_assert_msg(peak <= dense / 5, "%zu bytes", peak);
    rbe_layer_free(layer);
    free(x);
    free(target);
}
END_TEST

static rbe_status create_and_train(int how, const float *x, const float *target) {
    static const layer_case c = {50, 40, 16, 2, 10, "dct", "haar", true, true};
    const size_t rows = how & 1 ? 2 : 40; /* both paths */
    rbe_layer *layer = NULL;
    if (how & 2) {
        rbe_block source[12] = {{.alpha = {1.0}, .count = 0}};
        rbe_blocks *blocks = NULL;
        const rbe_compress_options layout = {.block = c.block, .group = 2};
        RBE_TRY(rbe_blocks_build(&blocks, c.out, c.in, source, 12, &layout));
        layer = rbe_linear_from_blocks(blocks, target, c.out, &(rbe_linear_options){.use_cache = true});
    } else {
        layer = rbe_linear_new(c.in, c.out, &(rbe_linear_options){.block = 16, .alpha = RBE_ALPHA_ON});
    }
    if (!layer) return rbe_last_status();
    const rbe_status status = train_step(layer, x, target, rows);
    rbe_layer_free(layer);
    return status;
}

START_TEST(memory_may_run_out_anywhere) {
    float *x = normals(40 * 50, 1), *target = normals(40 * 40, 2);
    ck_assert_ok(rbe_set_threads(2));
    for (size_t fail_at = 1;; fail_at++) {
        failing_allocator allocator;
        failing_allocator_install(&allocator, fail_at);
        const rbe_status status = create_and_train(_i, x, target);
        const bool reached = failing_allocator_remove(&allocator);
        ck_assert_msg(status == (reached ? RBE_INSUFFICIENT_MEMORY : RBE_OK), "request %zu: %s", fail_at,
                      rbe_status_name(status));
        if (!reached) break;
        ck_assert_uint_lt(fail_at, 1000);
    }
    free(x);
    free(target);
}
END_TEST

/* ---- the suite ----------------------------------------------------------------------------------------------- */

Suite *linear_suite(void) {
    Suite *suite = suite_create("linear");

    TCase *products = tcase_create("products");
    tcase_add_loop_test(products, products_match_the_reference, 0, CASES);
    tcase_add_loop_test(products, every_path_matches_the_reference, 0, CASES);
    tcase_add_test(products, leading_dimensions_are_kept);
    tcase_add_loop_test(products, layer_is_a_linear_map, 0, CASES);
    suite_add_tcase(suite, products);

    TCase *differences = tcase_create("finite differences");
    tcase_add_loop_test(differences, parameter_gradients_match_differences, 0, 6);
    tcase_add_test(differences, input_gradients_match_differences);
    suite_add_tcase(suite, differences);

    TCase *same = tcase_create("independence");
    tcase_add_test(same, forward_bits_are_always_the_same);
    tcase_add_loop_test(same, gradients_accumulate, 0, 2);
    tcase_add_test(same, parameter_gradients_do_not_depend_on_the_rest);
    suite_add_tcase(suite, same);

    TCase *creation = tcase_create("creation");
    tcase_add_test(creation, bad_options_are_refused);
    tcase_add_loop_test(creation, blocks_are_taken_over, 0, 5);
    tcase_add_test(creation, inputs_must_fit);
    tcase_add_test(creation, seeds_decide);
    tcase_add_loop_test(creation, layers_are_drawn_as_documented, 0, 6);
    tcase_add_loop_test(creation, products_are_counted, 0, 2);
    suite_add_tcase(suite, creation);

    TCase *memory = tcase_create("memory");
    tcase_add_test(memory, a_tenth_of_dense_training_state);
    tcase_add_loop_test(memory, large_layers_train_in_little_memory, 0, 2);
    tcase_add_loop_test(memory, memory_may_run_out_anywhere, 0, 4);
    suite_add_tcase(suite, memory);

    return suite;
}
