/* Layers and models from dense tensors of a file, called as PyTorch calls them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/blocks.h"
#include "io_support.h"
#include "nn/model.h"
#include "support.h"

/* The weights of nested_model, other than those that it has; one more tensor for each test to add. */
static const struct {
    const char *name;
    size_t dims, shape[2];
} parts[] = {{"block.0.up.weight", 2, {12, 12}},
             {"block.0.up.bias", 1, {12}},
             {"block.0.3.weight", 2, {12, 12}},
             {"block.0.3.bias", 1, {12}},
             {"repeat2.step.0.weight", 2, {12, 12}},
             {"repeat2.step.0.bias", 1, {12}},
             {"head.weight", 2, {5, 12}},
             {"head.bias", 1, {5}}};
enum { PARTS = sizeof parts / sizeof *parts };

typedef struct weight_set {
    rbe_stored_tensor tensors[PARTS + 1];
    size_t count;
} weight_set;

static weight_set make_weights(void) {
    weight_set w = {.count = PARTS};
    for (size_t n = 0; n < PARTS; n++) {
        size_t count = parts[n].shape[0] * (parts[n].dims > 1 ? parts[n].shape[1] : 1);
        float *values = test_memory(count, sizeof *values);
        fill_normal(values, count, 0.5, 100 + n);
        w.tensors[n] = (rbe_stored_tensor){.name = parts[n].name, .dtype = RBE_F32, .dims = parts[n].dims};
        memcpy(w.tensors[n].shape, parts[n].shape, sizeof parts[n].shape);
        w.tensors[n].values = values;
    }
    return w;
}

static rbe_tensor_file *open_weights(const weight_set *w) {
    const char *path = scratch_path("weights");
    ck_assert_ok(rbe_tensor_file_save(path, w->tensors, w->count, NULL, 0, false));
    rbe_tensor_file *file = rbe_tensor_file_open(path);
    ck_assert_msg(file != NULL, "%s", rbe_last_error());
    return file;
}

static void weights_free(weight_set *w) {
    for (size_t n = 0; n < PARTS; n++) free((void *)w->tensors[n].values);
}

static const float *values_of(const weight_set *w, const char *name) {
    for (size_t n = 0; n < w->count; n++)
        if (strcmp(w->tensors[n].name, name) == 0) return w->tensors[n].values;
    return NULL;
}

/* ---- single layers ------------------------------------------------------------------------------------------- */

START_TEST(layers_come_from_files) {
    weight_set w = make_weights();
    rbe_tensor_file *file = open_weights(&w);
    rbe_layer *dense = rbe_dense_from_file(file, "head");
    ck_assert_msg(dense != NULL, "%s", rbe_last_error());
    ck_assert_str_eq(rbe_layer_name(dense), "head");
    ck_assert_mem_eq(rbe_layer_param(dense, 0)->value, values_of(&w, "head.weight"), 60 * sizeof(float));
    ck_assert_mem_eq(rbe_layer_param(dense, 1)->value, values_of(&w, "head.bias"), 5 * sizeof(float));

    /* The same as by hand, the bias corrected for the samples. */
    float *samples = test_memory(40 * 12, sizeof *samples), bias[12];
    fill_normal(samples, 40 * 12, 1.0, 3);
    for (size_t n = 0; n < 40 * 12; n++) samples[n] += 0.5f;
    const rbe_compress_options options = {.block = 8, .ratio = 3, .samples = samples, .sample_count = 40};
    rbe_compress_report report = {0}, expected = {0};
    rbe_layer *compressed = rbe_linear_from_file(file, "block.0.up", &options, &report);
    ck_assert_msg(compressed != NULL, "%s", rbe_last_error());
    rbe_blocks *blocks;
    memcpy(bias, values_of(&w, "block.0.up.bias"), sizeof bias);
    ck_assert_ok(rbe_compress_weights(&blocks, bias, &expected, values_of(&w, "block.0.up.weight"), 12, 12, &options));
    ck_assert(same_matrices(blocks, rbe_linear_blocks(compressed)));
    ck_assert_mem_eq(rbe_layer_param(compressed, rbe_layer_param(compressed, 2) ? 2 : 1)->value, bias, sizeof bias);
    ck_assert(report.output_error == expected.output_error && report.output_error > 0.0);
    ck_assert_str_eq(rbe_layer_name(compressed), "block.0.up");
    rbe_blocks_free(blocks);
    rbe_layer_free(compressed);
    rbe_layer_free(dense);
    rbe_tensor_file_close(file);

    w.count = 7; /* head.bias is gone */
    file = open_weights(&w);
    dense = rbe_dense_from_file(file, "head");
    ck_assert_msg(dense != NULL && !rbe_layer_param(dense, 1), "%s", rbe_last_error());
    rbe_layer_free(dense);
    rbe_tensor_file_close(file);
    free(samples);
    weights_free(&w);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(wrong_layers_are_refused) {
    weight_set w = make_weights();
    w.tensors[7].shape[0] = 4;
    ((float *)w.tensors[2].values)[5] = NAN;
    rbe_tensor_file *file = open_weights(&w);
    ck_assert_ptr_null(rbe_linear_from_file(file, "tail", NULL, NULL));
    assert_failed(RBE_INVALID_ARGUMENT, "weights: tensor tail.weight is missing");
    ck_assert_ptr_null(rbe_linear_from_file(file, "head", NULL, NULL));
    assert_failed(RBE_INPUT_DIMENSION_MISMATCH, "tensor head.bias: expected the shape [5], found [4]");
    ck_assert_ptr_null(rbe_dense_from_file(file, "block.0.3"));
    assert_failed(RBE_NUMERICAL_INSTABILITY, "tensor block.0.3.weight: value 5 is nan");
    ck_assert_ptr_null(rbe_linear_from_file(file, "block.0.up", &(rbe_compress_options){.block = 9}, NULL));
    assert_failed(RBE_INVALID_ARGUMENT, "block size");
    ck_assert_ptr_null(rbe_dense_from_file(NULL, "head"));
    assert_failed(RBE_INVALID_ARGUMENT, "expected a file and a name");
    ck_assert_ptr_null(rbe_linear_from_file(file, NULL, NULL, NULL));
    rbe_tensor_file_close(file);
    w.tensors[6].dims = 1;
    w.tensors[6].shape[0] = 60;
    file = open_weights(&w);
    ck_assert_ptr_null(rbe_dense_from_file(file, "head"));
    assert_failed(RBE_INPUT_DIMENSION_MISMATCH, "tensor head.weight: expected a matrix, found 1 dimensions");
    rbe_tensor_file_close(file);
    weights_free(&w);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* ---- models -------------------------------------------------------------------------------------------------- */

START_TEST(models_are_filled) {
    weight_set w = make_weights();
    rbe_tensor_file *file = open_weights(&w);
    rbe_model *model = nested_model();
    const rbe_blocks_info before = rbe_blocks_describe(rbe_linear_blocks(rbe_model_layer(model, 0)));
    ck_assert_ok(rbe_model_fill(model, file, NULL));
    for (size_t n = 1; n < PARTS; n++) {
        const rbe_param *param = rbe_model_find_param(model, parts[n].name);
        ck_assert_msg(param != NULL, "%s", parts[n].name);
        ck_assert_mem_eq(param->value, values_of(&w, parts[n].name), param->count * sizeof *param->value);
    }
    const rbe_blocks *blocks = rbe_linear_blocks(rbe_model_layer(model, 0));
    const rbe_blocks_info after = rbe_blocks_describe(blocks);
    ck_assert(after.block == before.block && after.group == before.group && after.has_alpha == before.has_alpha &&
              after.coefficients <= before.coefficients && after.coefficients + before.group > before.coefficients);
    ck_assert_uint_eq(rbe_model_param(model, 0)->count, after.coefficients);
    ck_assert_ptr_eq(rbe_model_param(model, 0)->value, blocks->values);
    float dense[144];
    ck_assert_ok(rbe_decompress(blocks, dense));
    ck_assert_double_lt(relative_difference(dense, values_of(&w, "block.0.up.weight"), 144), 0.5);

    /* It is as good as one that was loaded: the same outputs. */
    bytes b = saved(model, RBE_STORE_F32, RBE_POSITIONS_PLAIN);
    rbe_model *again = load_bytes(b);
    ck_assert(again && same_models(model, again));
    rbe_model *const both[] = {model, again};
    float x[24], y[2][10];
    fill_normal(x, 24, 1.0, 5);
    for (int n = 0; n < 2; n++) {
        rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
        const rbe_var *out = rbe_model_forward(both[n], rbe_input(tape, rbe_tensor_2d(x, 2, 12)));
        ck_assert_ok(rbe_tape_status(tape));
        memcpy(y[n], rbe_value(out)->data, sizeof y[n]);
        rbe_tape_free(tape);
    }
    ck_assert_mem_eq(y[0], y[1], sizeof y[0]);
    free(b.data);
    rbe_model_free(again);
    rbe_model_free(model);
    rbe_tensor_file_close(file);
    weights_free(&w);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* What does not fit is named, and the model is left as it was. */
START_TEST(wrong_weights_are_named) {
    static const struct {
        const char *from, *to; /* a tensor and its new name; `to` NULL: with a row less */
        rbe_fill_options options;
        rbe_status status;
        const char *reason;
    } cases[] = {
        {"head.bias", "head.bios", {0}, RBE_INVALID_ARGUMENT, "tensor head.bias is missing"},
        {"head.bias", "head.bios", {.allow_missing = true}, RBE_INVALID_ARGUMENT, "tensor head.bios belongs to no"},
        {"head.bias", "head.bios", {.allow_left_over = true}, RBE_INVALID_ARGUMENT, "tensor head.bias is missing"},
        {"head.bias", "head.bios", {true, true}, RBE_OK, ""},
        {"block.0.up.weight", "up.weight", {0}, RBE_INVALID_ARGUMENT, "tensor block.0.up.weight is missing"},
        {"block.0.up.weight", "up.weight", {true, true}, RBE_OK, ""},
        {"block.0.up.weight",
         NULL,
         {true, true},
         RBE_INPUT_DIMENSION_MISMATCH,
         "tensor block.0.up.weight: expected the shape [12, 12], found [11, 12]"},
        {"head.weight", NULL, {true, true}, RBE_INPUT_DIMENSION_MISMATCH, "expected the shape [5, 12], found [4, 12]"},
        {"head.bias", NULL, {true, true}, RBE_INPUT_DIMENSION_MISMATCH, "expected the shape [5], found [4]"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        weight_set w = make_weights();
        for (size_t n = 0; n < PARTS; n++) {
            if (strcmp(w.tensors[n].name, cases[k].from) != 0) continue;
            if (cases[k].to) w.tensors[n].name = cases[k].to;
            w.tensors[n].shape[0] -= !cases[k].to;
        }
        rbe_tensor_file *file = open_weights(&w);
        rbe_model *model = nested_model(), *before = nested_model();
        ck_assert_int_eq(rbe_model_fill(model, file, &cases[k].options), cases[k].status);
        if (cases[k].status != RBE_OK) assert_failed(cases[k].status, cases[k].reason);
        ck_assert(same_models(model, before) == (cases[k].status != RBE_OK));
        rbe_model_free(model);
        rbe_model_free(before);
        rbe_tensor_file_close(file);
        weights_free(&w);
    }
    weight_set w = make_weights();
    ((float *)w.tensors[7].values)[4] = INFINITY;
    rbe_tensor_file *file = open_weights(&w);
    rbe_model *model = nested_model(), *before = nested_model();
    ck_assert_int_eq(rbe_model_fill(model, file, NULL), RBE_NUMERICAL_INSTABILITY);
    assert_failed(RBE_NUMERICAL_INSTABILITY, "tensor head.bias: value 4 is inf");
    ck_assert(same_models(model, before));
    ck_assert_int_eq(rbe_model_fill(model, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_model_fill(NULL, file, NULL), RBE_INVALID_ARGUMENT);
    rbe_model_free(model);
    rbe_model_free(before);
    rbe_tensor_file_close(file);
    weights_free(&w);
}
END_TEST

/* Each allocation fails in turn: the model is what it was. On one thread, since a compression does without further
 * threads whose memory is not granted. */
START_TEST(filling_when_allocations_fail) {
    ck_assert_ok(rbe_set_threads(1));
    weight_set w = make_weights();
    bool reached = true;
    for (size_t at = 1; reached; at++) {
        failing_allocator allocator;
        failing_allocator_install(&allocator, 0);
        rbe_tensor_file *file = open_weights(&w);
        rbe_model *model = nested_model(), *before = nested_model();
        allocator.fail_at = allocator.requests + at;
        rbe_layer *layer = rbe_linear_from_file(file, "block.0.3", &(rbe_compress_options){.block = 8}, NULL);
        rbe_status status = rbe_model_fill(model, file, NULL);
        reached = allocator.requests >= allocator.fail_at;
        allocator.fail_at = 0;
        if (status != RBE_OK) ck_assert_int_eq(status, RBE_INSUFFICIENT_MEMORY);
        ck_assert(same_models(model, before) == (status != RBE_OK));
        rbe_layer_free(layer);
        rbe_model_free(model);
        rbe_model_free(before);
        rbe_tensor_file_close(file);
        failing_allocator_remove(&allocator);
        ck_assert(reached || (layer && status == RBE_OK)); /* parallel work may make do with less */
    }
    weights_free(&w);
}
END_TEST

TCase *io_weights_case(void) {
    TCase *weights = tcase_create("weights");
    tcase_add_checked_fixture(weights, scratch_clear, scratch_clear);
    tcase_add_test(weights, layers_come_from_files);
    tcase_add_test(weights, wrong_layers_are_refused);
    tcase_add_test(weights, models_are_filled);
    tcase_add_test(weights, wrong_weights_are_named);
    tcase_add_test(weights, filling_when_allocations_fail);
    return weights;
}
