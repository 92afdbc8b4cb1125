/* The nn room: the dense layer against the double-precision reference, dropout, parameters and names, models and
 * their errors, what they cost, and models that several threads use at once. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "nn/layer.h"
#include "reference.h"
#include "suites.h"
#include "support.h"

static rbe_layer *dense(size_t in, size_t out, const rbe_dense_options *options) {
    rbe_layer *layer = rbe_dense_new(in, out, options);
    ck_assert_msg(layer != NULL, "%s", rbe_last_error());
    return layer;
}

/* ---- the dense layer ----------------------------------------------------------------------------------------- */

START_TEST(dense_matches_the_reference) {
    static const struct {
        size_t in, out, rows;
        bool no_bias;
    } cases[] = {{1, 1, 1, false}, {10, 7, 3, false}, {33, 65, 16, true}, {300, 100, 1, false}, {100, 300, 64, false}};
    const size_t in = cases[_i].in, out = cases[_i].out, rows = cases[_i].rows;
    const bool has_bias = !cases[_i].no_bias;
    rbe_layer *layer = dense(in, out, &(rbe_dense_options){.no_bias = !has_bias, .seed = 5});
    rbe_param *weight = rbe_layer_param(layer, 0), *bias = rbe_layer_param(layer, 1);
    ck_assert_uint_eq(weight->count, in * out);
    ck_assert((bias != NULL) == has_bias);
    ck_assert_ptr_null(rbe_layer_param(layer, 2));
    if (bias) fill_normal(bias->value, out, 1.0, 6);

    float *x = normals(rows * in, 1), *g = normals(rows * out, 2);
    double *w = widened(weight->value, in * out), *b = bias ? widened(bias->value, out) : NULL;
    double *wide_x = widened(x, rows * in), *wide_g = widened(g, rows * out);
    double *y = test_memory(rows * out, sizeof *y), *dx = test_memory(rows * in, sizeof *dx);
    double *dw = test_memory(in * out, sizeof *dw), *db = test_memory(out, sizeof *db);
    reference_forward(w, b, wide_x, rows, out, in, y);
    reference_backward(w, wide_x, wide_g, rows, out, in, dx, dw, db);

    for (int pass = 1; pass <= 2; pass++) { /* the second one adds to the first one's gradients */
        rbe_tape *tape = rbe_tape_new(NULL);
        rbe_var *input = rbe_variable(tape, rbe_tensor_3d(x, 1, rows, in)), *output = rbe_layer_forward(layer, input);
        ck_assert_int_eq(rbe_value(output)->dims, 3);
        ck_assert_double_lt(relative_error(rbe_value(output)->data, y, rows * out), 1e-6);
        ck_assert_ok(rbe_backward(rbe_sum(rbe_mul(output, rbe_input(tape, rbe_tensor_3d(g, 1, rows, out))))));
        ck_assert_double_lt(relative_error(rbe_grad(input), dx, rows * in), 1e-6);
        ck_assert_double_lt(relative_error(weight->grad, dw, in * out), 1e-6);
        if (bias) ck_assert_double_lt(relative_error(bias->grad, db, out), 1e-6);
        for (size_t i = 0; i < in * out; i++) dw[i] *= 2.0;
        for (size_t i = 0; i < out; i++) db[i] *= 2.0;
        rbe_tape_free(tape);
    }
    double *const wide[] = {w, b, wide_x, wide_g, y, dx, dw, db};
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) free(wide[i]);
    free(x);
    free(g);
    rbe_layer_free(layer);
}
END_TEST

/* W ~ N(0, 2 / in), b = 0; the seed decides. */
START_TEST(dense_is_drawn_as_documented) {
    const size_t in = 400, out = 300;
    rbe_layer *layers[3];
    for (uint64_t n = 0; n < 3; n++) layers[n] = dense(in, out, &(rbe_dense_options){.seed = n / 2});
    const float *w[] = {rbe_layer_param(layers[0], 0)->value, rbe_layer_param(layers[1], 0)->value,
                        rbe_layer_param(layers[2], 0)->value};
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < in * out; i++) {
        sum += (double)w[0][i];
        squares += (double)w[0][i] * (double)w[0][i];
    }
    const double count = (double)(in * out), variance = 2.0 / (double)in;
    ck_assert_double_eq_tol(sum / count, 0.0, 4.0 * sqrt(variance / count));
    ck_assert_double_eq_tol(squares / count / variance, 1.0, 0.02);
    ck_assert_int_eq(memcmp(w[0], w[1], in * out * sizeof(float)), 0);
    ck_assert_double_gt(relative_difference(w[2], w[0], in * out), 1.0);
    for (size_t i = 0; i < out; i++) ck_assert(rbe_layer_param(layers[0], 1)->value[i] == 0.0F);
    for (int n = 0; n < 3; n++) rbe_layer_free(layers[n]);
}
END_TEST

START_TEST(dense_describes_itself) {
    rbe_layer *layer = dense(30, 20, NULL);
    ck_assert_str_eq(rbe_layer_name(layer), "dense");
    ck_assert_str_eq(rbe_layer_kind(layer), "dense");
    ck_assert_uint_eq(rbe_layer_inputs(layer), 30);
    ck_assert_uint_eq(rbe_layer_outputs(layer), 20);
    ck_assert_ptr_null(rbe_linear_blocks(layer));
    const rbe_layer_cost cost = rbe_layer_describe_cost(layer);
    ck_assert_uint_eq(cost.values, 30 * 20 + 20);
    ck_assert_uint_eq(cost.bytes, 4 * cost.values);
    ck_assert_uint_eq(cost.dense_bytes, cost.bytes);
    rbe_layer_free(layer);
    static const size_t widths[][2] = {{0, 1}, {1, 0}, {SIZE_MAX / 2, 16}};
    for (size_t n = 0; n < 3; n++) {
        ck_assert_ptr_null(rbe_dense_new(widths[n][0], widths[n][1], NULL));
        ck_assert_int_ne(rbe_last_status(), RBE_OK);
    }
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(inputs_must_fit) {
    float x[6] = {0};
    rbe_layer *layer = dense(4, 2, &(rbe_dense_options){.name = "head"});
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *y = rbe_layer_forward(layer, rbe_input(tape, rbe_tensor_2d(x, 2, 3)));
    ck_assert_int_eq(rbe_backward(rbe_mean(y)), RBE_INPUT_DIMENSION_MISMATCH);
    ck_assert_str_eq(rbe_tape_error(tape), "head: input has 3 columns, expected 4");
    rbe_tape_reset(tape);
    y = rbe_layer_forward(NULL, rbe_input(tape, rbe_tensor_2d(x, 2, 3)));
    ck_assert_int_eq(rbe_backward(rbe_mean(y)), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_null(rbe_layer_forward(layer, NULL)); /* a tape that could not be made */
    rbe_tape_free(tape);
    rbe_layer_free(layer);
    rbe_layer_free(NULL);
}
END_TEST

/* ---- dropout ------------------------------------------------------------------------------------------------- */

START_TEST(dropout_drops_in_training_only) {
    const float probability = 0.25F;
    enum { COUNT = 20000 };
    rbe_layer *layer = rbe_dropout_new(probability);
    ck_assert_ptr_nonnull(layer);
    ck_assert_uint_eq(rbe_layer_inputs(layer), 0);
    ck_assert_uint_eq(rbe_layer_outputs(layer), 0);
    ck_assert_ptr_null(rbe_layer_param(layer, 0));
    ck_assert_uint_eq(rbe_layer_describe_cost(layer).values, 0);
    float *x = normals(COUNT, 1);
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.seed = 3});
    rbe_var *input = rbe_variable(tape, rbe_tensor_2d(x, 200, 100)), *y = rbe_layer_forward(layer, input);
    ck_assert_ok(rbe_backward(rbe_sum(y)));
    size_t dropped = 0, wrong = 0;
    for (size_t i = 0; i < COUNT; i++) {
        const float value = rbe_value(y)->data[i], gradient = rbe_grad(input)[i];
        dropped += value == 0.0F;
        wrong += value == 0.0F ? gradient != 0.0F
                               : fabsf(value - x[i] / 0.75F) > 1e-5F || fabsf(gradient - 1.0F / 0.75F) > 1e-6F;
    }
    ck_assert_uint_eq(wrong, 0);
    ck_assert_double_eq_tol((double)dropped / COUNT, 0.25, 0.015);
    rbe_tape_reset(tape);
    rbe_tape_set_inference(tape, true);
    y = rbe_layer_forward(layer, rbe_input(tape, rbe_tensor_2d(x, 200, 100)));
    ck_assert_int_eq(memcmp(rbe_value(y)->data, x, COUNT * sizeof(float)), 0);
    rbe_tape_free(tape);
    rbe_layer_free(layer);
    free(x);
    static const float bad[] = {1.0F, -0.1F, 2.0F, NAN};
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        ck_assert_ptr_null(rbe_dropout_new(bad[n]));
        ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    }
}
END_TEST

/* ---- parameters and names ------------------------------------------------------------------------------------ */

/* Three weight layers of both kinds with dropout and operations between. */
static rbe_model *mixed_model(void) {
    rbe_model *m = rbe_model_new();
    rbe_model_add(m, rbe_linear_new(64, 48, &(rbe_linear_options){.block = 16, .alpha = RBE_ALPHA_ON, .seed = 1}));
    rbe_model_apply(m, rbe_relu);
    rbe_model_add(m, rbe_dense_new(48, 32, &(rbe_dense_options){.name = "middle", .seed = 2}));
    rbe_model_apply(m, rbe_gelu);
    rbe_model_add(m, rbe_dense_new(32, 10, &(rbe_dense_options){.seed = 3}));
    ck_assert_msg(rbe_model_status(m) == RBE_OK, "%s", rbe_last_error());
    return m;
}

START_TEST(parameters_are_enumerated) {
    static const char *const layers[] = {"fc1", "middle", "fc3"};
    rbe_model *m = mixed_model();
    size_t count = 0, values = 0;
    for (size_t n = 0; n < 3; n++) {
        const rbe_layer *layer = rbe_model_layer(m, n);
        ck_assert_str_eq(rbe_layer_name(layer), layers[n]);
        const size_t of_layer = n == 0 ? 3 : 2;
        for (size_t k = 0; k < of_layer; k++) {
            const rbe_param *param = rbe_layer_param(layer, k);
            ck_assert_ptr_eq(rbe_model_param(m, count), param);
            char name[2 * RBE_NAME_SIZE];
            snprintf(name, sizeof name, "%s.%s", layers[n], param->part);
            ck_assert_str_eq(param->name, name);
            ck_assert_float_gt(param->lr_scale, 0.0F);
            ck_assert(param->value && !param->grad_set);
            values += param->count;
            count++;
        }
        ck_assert_ptr_null(rbe_layer_param(layer, of_layer));
    }
    ck_assert_ptr_null(rbe_model_layer(m, 3));
    ck_assert_ptr_null(rbe_model_param(m, count));
    ck_assert_uint_eq(rbe_model_describe_cost(m).values, values);
    size_t bytes = 0, dense_bytes = 0;
    for (size_t n = 0; n < 3; n++) {
        bytes += rbe_layer_describe_cost(rbe_model_layer(m, n)).bytes;
        dense_bytes += rbe_layer_describe_cost(rbe_model_layer(m, n)).dense_bytes;
    }
    ck_assert_uint_eq(rbe_model_describe_cost(m).bytes, bytes);
    ck_assert_uint_eq(rbe_model_describe_cost(m).dense_bytes, dense_bytes);
    ck_assert_uint_eq(dense_bytes, 4 * (64 * 48 + 48 + 48 * 32 + 32 + 32 * 10 + 10));
    rbe_model_free(m);
}
END_TEST

/* A kind of layer as another room might make one: y = s x, a factor for each of its widths. */
typedef struct scaling_layer {
    rbe_layer base;
    rbe_param factors;
} scaling_layer;

static void scaling_destroy(rbe_layer *layer) { rbe_free(((scaling_layer *)layer)->factors.value); }

static const rbe_layer_type scaling_type = {.kind = "scaling", .destroy = scaling_destroy};

static rbe_layer *scaling(size_t width) {
    scaling_layer *layer = rbe_alloc_zeroed(1, sizeof *layer);
    layer->factors = (rbe_param){.part = "factors", .value = rbe_alloc_zeroed(width, sizeof(float)), .count = width};
    layer->base =
        (rbe_layer){.type = &scaling_type, .in = width, .out = width, .params = &layer->factors, .param_count = 1};
    return &layer->base;
}

/* [13] What stands dense in the place of a layer says its own kind: only what compresses has another size. */
START_TEST(costs_are_the_layers_own) {
    enum { WIDTH = 48 };
    rbe_model *m = rbe_model_new();
    rbe_layer *layers[] = {scaling(WIDTH), rbe_dropout_new(0.1F), dense(WIDTH, 8, NULL),
                           rbe_linear_new(8, WIDTH, &(rbe_linear_options){.block = 8}),
                           rbe_linear_new(WIDTH, 8, &(rbe_linear_options){.block = 8, .no_bias = true})};
    const size_t expected[] = {4 * WIDTH, 0, 4 * (WIDTH * 8 + 8), 4 * (WIDTH * 8 + WIDTH), 4 * WIDTH * 8};
    size_t sum = 0;
    for (size_t n = 0; n < 5; n++) {
        ck_assert_ok(rbe_model_add(m, layers[n]));
        ck_assert_uint_eq(rbe_layer_describe_cost(layers[n]).dense_bytes, expected[n]);
        sum += expected[n];
    }
    ck_assert_uint_eq(rbe_layer_describe_cost(layers[0]).bytes, expected[0]);
    ck_assert_uint_eq(rbe_model_describe_cost(m).dense_bytes, sum);
    rbe_model_free(m);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(names_follow_the_layer) {
    char text[200];
    memset(text, 'n', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    rbe_layer *layer = dense(3, 2, &(rbe_dense_options){.name = text});
    ck_assert_uint_eq(strlen(rbe_layer_name(layer)), RBE_NAME_SIZE - 1); /* cut */
    ck_assert_uint_lt(strlen(rbe_layer_param(layer, 0)->name), RBE_PATH_SIZE);
    ck_assert_ptr_nonnull(strstr(rbe_layer_param(layer, 0)->name, "nnn.weight"));
    rbe_layer_set_name(layer, "out");
    ck_assert_str_eq(rbe_layer_name(layer), "out");
    snprintf(text, sizeof text, "out.%s", rbe_layer_param(layer, 1)->part);
    ck_assert_str_eq(rbe_layer_param(layer, 1)->name, text);
    rbe_layer_free(layer);
}
END_TEST

START_TEST(models_keep_given_names) {
    rbe_model *m = rbe_model_new();
    rbe_layer *layers[] = {rbe_linear_new(8, 8, NULL), rbe_dropout_new(0.1F), dense(8, 8, NULL), dense(8, 8, NULL)};
    static const char *const names[] = {"encoder", "noise", "decoder", "fc3"};
    for (size_t n = 0; n < 3; n++) rbe_layer_set_name(layers[n], names[n]);
    for (size_t n = 0; n < 4; n++) ck_assert_ok(rbe_model_add(m, layers[n]));
    for (size_t n = 0; n < 4; n++) ck_assert_str_eq(rbe_layer_name(layers[n]), names[n]);
    ck_assert_str_eq(rbe_model_param(m, 0)->name, "encoder.coefficients");
    rbe_model_free(m);
}
END_TEST

START_TEST(gradients_are_made_on_demand) {
    rbe_layer *layer = dense(3, 2, NULL);
    rbe_param *weight = rbe_layer_param(layer, 0);
    ck_assert_ptr_null(weight->grad);
    ck_assert_ok(rbe_param_require_grad(weight));
    const float *first = weight->grad;
    ck_assert_ptr_nonnull(first);
    ck_assert(!weight->grad_set);
    ck_assert_ok(rbe_param_require_grad(weight));
    ck_assert_ptr_eq(weight->grad, first);
    rbe_layer_free(layer);
}
END_TEST

/* ---- models -------------------------------------------------------------------------------------------------- */

START_TEST(model_is_its_layers_in_a_row) {
    rbe_model *m = mixed_model();
    float *x = normals(9 * 64, 1);
    const int32_t labels[] = {0, 1, 2, 3, 4, 5, 6, 7, 9};
    float *first = NULL;
    for (int by_hand = 0; by_hand < 2; by_hand++) {
        rbe_tape *tape = rbe_tape_new(NULL);
        rbe_var *h = rbe_input(tape, rbe_tensor_2d(x, 9, 64));
        if (by_hand) {
            h = rbe_relu(rbe_layer_forward(rbe_model_layer(m, 0), h));
            h = rbe_gelu(rbe_layer_forward(rbe_model_layer(m, 1), h));
            h = rbe_layer_forward(rbe_model_layer(m, 2), h);
        } else {
            h = rbe_model_forward(m, h);
        }
        ck_assert_ok(rbe_backward(rbe_cross_entropy(h, labels)));
        const rbe_param *param = rbe_model_param(m, 0);
        if (by_hand) {
            ck_assert_int_eq(memcmp(param->grad, first, param->count * sizeof(float)), 0);
        } else {
            first = test_memory(param->count, sizeof *first);
            memcpy(first, param->grad, param->count * sizeof(float));
            for (size_t n = 0; rbe_model_param(m, n); n++) rbe_model_param(m, n)->grad_set = false;
        }
        rbe_tape_free(tape);
    }
    rbe_model_free(m);
    free(first);
    free(x);
}
END_TEST

START_TEST(model_errors_stick) {
    float x[2 * 20] = {0};
    rbe_model *m = rbe_model_new();
    ck_assert_ok(rbe_model_add(m, rbe_dense_new(20, 17, NULL)));
    ck_assert_ok(rbe_model_apply(m, rbe_relu));
    ck_assert_ok(rbe_model_add(m, rbe_dropout_new(0.5F))); /* takes any width */
    if (_i == 0) {
        ck_assert_int_eq(rbe_model_add(m, rbe_dense_new(18, 5, NULL)), RBE_INPUT_DIMENSION_MISMATCH);
        ck_assert_msg(strstr(rbe_last_error(), "17") && strstr(rbe_last_error(), "18"), "%s", rbe_last_error());
    } else {
        ck_assert_int_ne(rbe_model_add(m, rbe_dense_new(17, 0, NULL)), RBE_OK); /* a layer that could not be made */
    }
    const rbe_status failed = rbe_model_status(m);
    ck_assert_int_eq(failed, _i == 0 ? RBE_INPUT_DIMENSION_MISMATCH : RBE_INVALID_ARGUMENT);
    rbe_model_add(m, rbe_dense_new(17, 5, NULL)); /* fits, but too late; owned and freed all the same */
    ck_assert_int_eq(rbe_model_status(m), failed);
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *y = rbe_model_forward(m, rbe_input(tape, rbe_tensor_2d(x, 2, 20)));
    ck_assert_int_eq(rbe_backward(rbe_mean(y)), failed);
    rbe_tape_free(tape);
    rbe_model_free(m);
    rbe_model_free(NULL);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Operations have no widths; rows of any width may enter an embedding. */
START_TEST(models_have_the_widths_of_their_ends) {
    rbe_model *m = rbe_model_new();
    ck_assert(rbe_model_inputs(NULL) == 0 && rbe_model_outputs(NULL) == 0);
    ck_assert(rbe_model_inputs(m) == 0 && rbe_model_outputs(m) == 0);
    ck_assert_ok(rbe_model_add(m, rbe_dropout_new(0.5f)));
    ck_assert_ok(rbe_model_add(m, dense(7, 5, NULL)));
    ck_assert_ok(rbe_model_apply(m, rbe_relu));
    ck_assert_ok(rbe_model_add(m, dense(5, 3, NULL)));
    ck_assert_ok(rbe_model_apply(m, rbe_softmax));
    ck_assert_uint_eq(rbe_model_inputs(m), 7);
    ck_assert_uint_eq(rbe_model_outputs(m), 3);
    rbe_model_free(m);
    m = rbe_model_new();
    ck_assert_ok(rbe_model_add(m, rbe_embedding_new(11, 4, 1, NULL)));
    ck_assert_ok(rbe_model_add(m, dense(4, 2, NULL)));
    ck_assert_uint_eq(rbe_model_inputs(m), 0);
    ck_assert_uint_eq(rbe_model_outputs(m), 2);
    rbe_model_free(m);
}
END_TEST

START_TEST(model_null_arguments) {
    ck_assert_int_eq(rbe_model_status(NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_ne(rbe_model_add(NULL, rbe_dense_new(2, 2, NULL)), RBE_OK); /* the layer is freed */
    ck_assert_uint_eq(rbe_memory().current, 0);
    ck_assert_int_ne(rbe_model_apply(NULL, rbe_relu), RBE_OK);
    ck_assert_ptr_null(rbe_model_layer(NULL, 0));
    ck_assert_ptr_null(rbe_model_param(NULL, 0));
    rbe_model *m = rbe_model_new();
    ck_assert_int_eq(rbe_model_apply(m, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_model_status(m), RBE_INVALID_ARGUMENT);
    rbe_model_free(m);
    m = rbe_model_new();
    rbe_fail(RBE_IO_ERROR, "something else"); /* is not taken for the layer's */
    ck_assert_int_eq(rbe_model_add(m, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_str_eq(rbe_last_error(), "rbe_model_add: the layer is NULL (last failure: something else)");
    rbe_model_free(m);
}
END_TEST

/* rbe_tape_reserve(rbe_model_tape_bytes) is enough for a whole step with its loss: nothing more is asked for. */
START_TEST(tape_bytes_cover_a_step) {
    static const size_t rows[] = {1, 3, 16, 64, 100};
    const size_t n = rows[_i % 5];
    const bool cached = _i >= 5;
    rbe_model *m = rbe_model_new();
    rbe_model_add(m, rbe_linear_new(300, 200, &(rbe_linear_options){.use_cache = cached, .alpha = RBE_ALPHA_ON}));
    rbe_model_apply(m, rbe_relu);
    rbe_model_add(m, rbe_dropout_new(0.1F));
    rbe_model_add(m, rbe_linear_new(200, 90, &(rbe_linear_options){.block = 64, .coeffs = 100}));
    rbe_model_apply(m, rbe_gelu);
    rbe_model_add(m, rbe_dense_new(90, 10, NULL));
    ck_assert_msg(rbe_model_status(m) == RBE_OK, "%s", rbe_last_error());
    for (size_t k = 0; rbe_model_param(m, k); k++) ck_assert_ok(rbe_param_require_grad(rbe_model_param(m, k)));
    float *x = normals(n * 300, 1);
    int32_t *labels = test_memory(n, sizeof *labels);
    rbe_tape *tape = rbe_tape_new(NULL);
    const size_t bytes = rbe_model_tape_bytes(m, n);
    ck_assert_ok(rbe_tape_reserve(tape, bytes));
    const rbe_memory_usage before = rbe_memory();
    for (int step = 0; step < 3; step++) {
        rbe_var *y = rbe_model_forward(m, rbe_input(tape, rbe_tensor_2d(x, n, 300)));
        ck_assert_ok(rbe_backward(rbe_cross_entropy(y, labels)));
        rbe_tape_reset(tape);
        ck_assert_msg(rbe_memory().allocations == before.allocations, "step %d asks for memory", step);
    }
    ck_assert_uint_eq(rbe_memory().current, before.current);
    ck_assert_uint_ge(rbe_model_tape_bytes(m, 2 * n), bytes);
    rbe_tape_free(tape);
    rbe_model_free(m);
    free(x);
    free(labels);
}
END_TEST

/* ---- several threads ----------------------------------------------------------------------------------------- */

enum { THREADS = 4, ROWS = 37, REPEATS = 20 };

typedef struct worker {
    const rbe_model *model;
    float *x, *expected;
    rbe_status status;
    int differences;
} worker;

static void *infer(void *argument) {
    worker *w = argument;
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    for (int i = 0; i < REPEATS && w->status == RBE_OK; i++) {
        const size_t rows = i % 2 ? 1 : ROWS; /* both paths at once */
        const rbe_var *y = rbe_model_forward(w->model, rbe_input(tape, rbe_tensor_2d(w->x, rows, 64)));
        w->status = rbe_tape_status(tape);
        const float *expected = i % 2 ? w->expected + (size_t)ROWS * 10 : w->expected;
        if (w->status == RBE_OK) w->differences += memcmp(rbe_value(y)->data, expected, rows * 10 * sizeof(float)) != 0;
        rbe_tape_reset(tape);
    }
    rbe_tape_free(tape);
    return NULL;
}

START_TEST(threads_share_a_model) {
    rbe_model *m = mixed_model();
    ck_assert_ok(rbe_set_threads(2));
    float *x = normals((size_t)ROWS * 64, 1), *expected = test_memory((ROWS + 1) * 10, sizeof *expected);
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    const rbe_var *y = rbe_model_forward(m, rbe_input(tape, rbe_tensor_2d(x, ROWS, 64)));
    const rbe_var *one = rbe_model_forward(m, rbe_input(tape, rbe_tensor_2d(x, 1, 64)));
    memcpy(expected, rbe_value(y)->data, ROWS * 10 * sizeof(float));
    memcpy(expected + (size_t)ROWS * 10, rbe_value(one)->data, 10 * sizeof(float));
    rbe_tape_free(tape);
    worker workers[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){m, x, expected, RBE_OK, 0};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, infer, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(workers[i].status, RBE_OK);
        ck_assert_int_eq(workers[i].differences, 0);
    }
    ck_assert_uint_eq(rbe_linear_count(rbe_model_layer(m, 0)).operation_count, 2 + THREADS * REPEATS);
    for (size_t n = 0; rbe_model_param(m, n); n++) ck_assert(!rbe_model_param(m, n)->grad_set);
    rbe_model_free(m);
    free(x);
    free(expected);
}
END_TEST

/* ---- memory that runs out ------------------------------------------------------------------------------------ */

static rbe_status build_and_train(float *x, const int32_t *labels) {
    rbe_model *m = rbe_model_new();
    rbe_model_add(m, rbe_linear_new(64, 48, &(rbe_linear_options){.block = 16}));
    rbe_model_apply(m, rbe_relu);
    rbe_model_add(m, rbe_dropout_new(0.1F));
    rbe_model_add(m, rbe_dense_new(48, 10, NULL));
    rbe_status status = rbe_model_status(m);
    rbe_tape *tape = status == RBE_OK ? rbe_tape_new(NULL) : NULL;
    if (status == RBE_OK && !tape) status = rbe_last_status();
    if (tape) {
        rbe_var *y = rbe_model_forward(m, rbe_input(tape, rbe_tensor_2d(x, 4, 64)));
        status = rbe_backward(rbe_cross_entropy(y, labels));
    }
    rbe_tape_free(tape);
    rbe_model_free(m);
    return status;
}

/* A layer that could not be made for lack of memory is passed on as NULL: the model cannot know why. */
START_TEST(memory_may_run_out_anywhere) {
    float *x = normals((size_t)4 * 64, 1);
    const int32_t labels[4] = {1, 2, 3, 4};
    for (size_t fail_at = 1;; fail_at++) {
        failing_allocator allocator;
        failing_allocator_install(&allocator, fail_at);
        const rbe_status status = build_and_train(x, labels);
        const bool reached = failing_allocator_remove(&allocator);
        ck_assert_msg(reached ? status == RBE_INSUFFICIENT_MEMORY || status == RBE_INVALID_ARGUMENT : status == RBE_OK,
                      "request %zu: %s", fail_at, rbe_status_name(status));
        if (!reached) break;
        ck_assert_uint_lt(fail_at, 1000);
    }
    free(x);
}
END_TEST

/* ---- the suite ----------------------------------------------------------------------------------------------- */

Suite *nn_suite(void) {
    Suite *suite = suite_create("nn");

    TCase *layers = tcase_create("layers");
    tcase_add_loop_test(layers, dense_matches_the_reference, 0, 5);
    tcase_add_test(layers, dense_is_drawn_as_documented);
    tcase_add_test(layers, dense_describes_itself);
    tcase_add_test(layers, inputs_must_fit);
    tcase_add_test(layers, dropout_drops_in_training_only);
    suite_add_tcase(suite, layers);

    TCase *parameters = tcase_create("parameters");
    tcase_add_test(parameters, parameters_are_enumerated);
    tcase_add_test(parameters, models_have_the_widths_of_their_ends);
    tcase_add_test(parameters, costs_are_the_layers_own);
    tcase_add_test(parameters, names_follow_the_layer);
    tcase_add_test(parameters, models_keep_given_names);
    tcase_add_test(parameters, gradients_are_made_on_demand);
    suite_add_tcase(suite, parameters);

    TCase *models = tcase_create("models");
    tcase_add_test(models, model_is_its_layers_in_a_row);
    tcase_add_loop_test(models, model_errors_stick, 0, 2);
    tcase_add_test(models, model_null_arguments);
    tcase_add_loop_test(models, tape_bytes_cover_a_step, 0, 10);
    tcase_add_test(models, threads_share_a_model);
    tcase_add_test(models, memory_may_run_out_anywhere);
    suite_add_tcase(suite, models);

    return suite;
}
