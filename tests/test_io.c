/* Models in files: what is stored comes back, to the C library and to Python. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codec/blocks.h"
#include "io/convert.h"
#include "io_support.h"
#include "nn/layer.h"
#include "support.h"

Suite *io_suite(void);

/* ---- numbers ------------------------------------------------------------------------------------------------- */

START_TEST(half_floats) {
    static const struct {
        float value;
        uint16_t f16, bf16;
    } known[] = {{0.0f, 0, 0},
                 {-0.0f, 0x8000, 0x8000},
                 {1.0f, 0x3c00, 0x3f80},
                 {-2.0f, 0xc000, 0xc000},
                 {65504.0f, 0x7bff, 0x4780},
                 {65519.99f, 0x7bff, 0x4780},
                 {65520.0f, 0x7c00, 0x4780},
                 {INFINITY, 0x7c00, 0x7f80},
                 {0x1p-24f, 0x0001, 0x3380},
                 {0x1p-25f, 0x0000, 0x3300},
                 {0x1.8p-25f, 0x0001, 0x3340},
                 {0x1.ffcp-15f, 0x0400, 0x3880}, /* the carry makes it a normal number */
                 {0x1.ff8p-15f, 0x03ff, 0x3880},
                 {0x1.002p0f, 0x3c00, 0x3f80}, /* a tie, to even */
                 {0x1.006p0f, 0x3c02, 0x3f80},
                 {0x1.01p0f, 0x3c04, 0x3f80},
                 {0x1.03p0f, 0x3c0c, 0x3f82},
                 {0x1.ffp127f, 0x7c00, 0x7f80}};
    for (size_t n = 0; n < sizeof known / sizeof *known; n++) {
        ck_assert_uint_eq(rbe_f16_from_f32(known[n].value), known[n].f16);
        ck_assert_uint_eq(rbe_bf16_from_f32(known[n].value), known[n].bf16);
    }
    for (unsigned bits = 0; bits < 65536; bits++) {
        float f16 = rbe_f16_to_f32((uint16_t)bits), bf16 = rbe_bf16_to_f32((uint16_t)bits);
        if (!isnan(f16)) ck_assert_uint_eq(rbe_f16_from_f32(f16), bits);
        if (!isnan(bf16)) ck_assert_uint_eq(rbe_bf16_from_f32(bf16), bits);
    }
    ck_assert(isnan(rbe_f16_to_f32(rbe_f16_from_f32(NAN))) && isnan(rbe_bf16_to_f32(rbe_bf16_from_f32(NAN))));
}
END_TEST

/* ---- round trips --------------------------------------------------------------------------------------------- */

static const char *const transforms[][2] = {{"dct", "dct"}, {"haar", "identity"}, {"wht", "db4"}};

enum { STORES = 4, POSITIONS = 4, GROUPS = 3, TRANSFORMS = sizeof transforms / sizeof *transforms };

static const size_t groups[GROUPS] = {1, 3, 8};

/* Which row of S, or of the dense matrix, each value belongs to. */
static void rows_of_values(const rbe_layer *layer, size_t *row) {
    const rbe_blocks *b = rbe_linear_blocks(layer);
    for (size_t n = 0; !b && n < layer->in * layer->out; n++) row[n] = n / layer->in;
    for (size_t list = 0; b && list < b->groups * b->block; list++)
        for (size_t k = b->list_start[list]; k < b->list_start[list + 1]; k++)
            for (size_t m = 0, g = list / b->block; m < rbe_group_rows(b, g); m++)
                row[rbe_entry_value(b, g, k, m) - b->values] = (g * b->group + m) * b->block + list % b->block;
}

/* The largest error that each value of the coefficients or weights may have in int8: half a step of its row, which
 * is rounded by at most 1/256. */
static double *int8_steps(const rbe_layer *layer) {
    const rbe_param *p = &layer->params[0];
    size_t *row = calloc(p->count, sizeof *row);
    double *largest = calloc(p->count + layer->out + 256, sizeof *largest), *half = calloc(p->count, sizeof *half);
    rows_of_values(layer, row);
    for (size_t n = 0; n < p->count; n++) largest[row[n]] = fmax(largest[row[n]], fabs((double)p->value[n]));
    for (size_t n = 0; n < p->count; n++) half[n] = largest[row[n]] / 127.0 / 2.0 * (1.0 + 0x1p-8) * (1.0 + 1e-5);
    free(row);
    free(largest);
    return half;
}

static double rounding(rbe_store store, double value) {
    if (store == RBE_STORE_F32) return 0.0;
    if (store == RBE_STORE_BF16) return fabs(value) * 0x1p-8;
    return fmax(fabs(value) * 0x1p-11, 0x1p-25);
}

static void assert_close(const rbe_model *found, const rbe_model *expected, rbe_store store) {
    const rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(expected, n)); n++)
        for (size_t k = 0; k < layer->param_count; k++) {
            const rbe_param *p = &layer->params[k], *q = rbe_layer_param(rbe_model_layer(found, n), k);
            ck_assert_uint_eq(q->count, p->count);
            double *steps = store == RBE_STORE_INT8 && k == 0 ? int8_steps(layer) : NULL;
            for (size_t i = 0; i < p->count; i++) {
                double value = (double)p->value[i], error = fabs((double)q->value[i] - value);
                double most = steps ? steps[i] : rounding(store, value);
                ck_assert_msg(error <= most, "%s %zu: %g for %g, error %g, expected at most %g", p->name, i,
                              (double)q->value[i], value, error, most);
            }
            free(steps);
        }
}

/* Loads, compares, and saves again what was loaded: the same bytes. */
static void check_round_trip(const rbe_model *model, rbe_store store, rbe_store_positions positions) {
    bytes first = saved(model, store, positions);
    rbe_model *loaded = load_bytes(first);
    ck_assert_msg(loaded != NULL, "%s", rbe_last_error());
    assert_close(loaded, model, store);
    if (store == RBE_STORE_F32) ck_assert(same_models(loaded, model));
    bytes second = saved(loaded, store, positions);
    ck_assert_uint_eq(second.count, first.count);
    ck_assert_mem_eq(second.data, first.data, first.count);
    rbe_model_free(loaded);
    free(first.data);
    free(second.data);
}

START_TEST(models_come_back) {
    rbe_store store = (rbe_store)(_i % STORES);
    rbe_store_positions positions = (rbe_store_positions)(_i / STORES % POSITIONS);
    size_t group = groups[_i / (STORES * POSITIONS) % GROUPS];
    const char *const *names = transforms[_i / (STORES * POSITIONS * GROUPS) % TRANSFORMS];
    bool alpha = _i / (STORES * POSITIONS * GROUPS * TRANSFORMS) % 2;
    rbe_model *model = small_model(alpha ? RBE_ALPHA_ON : RBE_ALPHA_OFF, group, names[0], names[1]);
    check_round_trip(model, store, positions);
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(overlap_and_images_come_back) {
    rbe_linear_options options[] = {
        {.block = 16, .overlap = 5, .group = 2},
        {.block = 8, .image_height = 5, .image_width = 15},
        {.block = 8, .image_height = 15, .image_width = 5, .overlap = 4, .alpha = RBE_ALPHA_ON},
        {.block = 32,
         .row_transform = rbe_transform_named("bspline103"),
         .column_transform = rbe_transform_named("db20")}};
    for (size_t n = 0; n < 4; n++) {
        options[n].ratio = 2;
        rbe_model *model = rbe_model_new();
        rbe_model_add(model, rbe_linear_new(75, 50, &options[n]));
        ck_assert_ok(rbe_model_status(model));
        for (int store = 0; store < STORES; store++)
            for (int positions = 0; positions < POSITIONS; positions++)
                check_round_trip(model, (rbe_store)store, (rbe_store_positions)positions);
        rbe_model_free(model);
    }
}
END_TEST

START_TEST(wide_positions_come_back) {
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_linear_new(70000, 9, &(rbe_linear_options){.block = 8, .coeffs = 2, .no_bias = true}));
    check_round_trip(model, RBE_STORE_F32, RBE_POSITIONS_PLAIN);
    check_round_trip(model, RBE_STORE_INT8, RBE_POSITIONS_DELTA);
    ck_assert_int_eq(rbe_model_save(model, scratch_path("wide"), &(rbe_save_options){.positions = RBE_POSITIONS_SEED}),
                     RBE_INVALID_ARGUMENT);
    check_round_trip(model, RBE_STORE_F16, RBE_POSITIONS_SMALLEST);
    rbe_model_free(model);
}
END_TEST

START_TEST(operations_and_names_come_back) {
    rbe_model *model = rbe_model_new();
    char long_name[100];
    memset(long_name, 'x', sizeof long_name);
    strcpy(long_name + 46, "\xc3\xa4"); /* cut in the middle of this */
    rbe_model_add(model, rbe_dense_new(5, 5, &(rbe_dense_options){.name = long_name}));
    rbe_var *(*const operations[])(rbe_var *) = {rbe_relu,    rbe_gelu,    rbe_tanh,
                                                 rbe_sigmoid, rbe_softmax, rbe_log_softmax};
    for (size_t n = 0; n < 6; n++) rbe_model_apply(model, operations[n]);
    rbe_model_add(model, rbe_dropout_new(0.0f));
    rbe_model_add(model, rbe_dense_new(5, 2, &(rbe_dense_options){.name = "fc1"}));
    rbe_model_add(model, rbe_dense_new(2, 2, &(rbe_dense_options){.name = "fc1"}));
    bytes file = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    rbe_model *loaded = load_bytes(file);
    ck_assert_msg(loaded != NULL, "%s", rbe_last_error());
    ck_assert_uint_eq(strlen(rbe_layer_name(rbe_model_layer(loaded, 0))), 46);
    rbe_layer_set_name(rbe_model_layer(loaded, 0), long_name);
    ck_assert(same_models(loaded, model));
    rbe_model_free(loaded);
    rbe_model_free(model);
    free(file.data);

    model = rbe_model_new(); /* nothing at all */
    file = saved(model, RBE_STORE_F16, RBE_POSITIONS_SMALLEST);
    loaded = load_bytes(file);
    ck_assert(loaded && same_models(loaded, model));
    rbe_model_free(loaded);
    rbe_model_free(model);
    free(file.data);
}
END_TEST

START_TEST(empty_lists_come_back) {
    rbe_coefficient one = {3, 2, 1.5f};
    rbe_block blocks[4] = {{.coefficients = &one, .count = 1}};
    rbe_blocks *matrix;
    ck_assert_ok(rbe_blocks_build(&matrix, 12, 12, blocks, 4, &(rbe_compress_options){.block = 8}));
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_linear_from_blocks(matrix, NULL, 0, NULL));
    for (int store = 0; store < STORES; store++) check_round_trip(model, (rbe_store)store, RBE_POSITIONS_DELTA);
    check_round_trip(model, RBE_STORE_F32, RBE_POSITIONS_PLAIN);
    rbe_model_free(model);
}
END_TEST

/* The goals for the digits network: values in f16 at most 1/24, in int8 at most 1/36 of the dense file. */
START_TEST(files_are_small) {
    rbe_model *dense = rbe_model_new(), *compressed = rbe_model_new();
    rbe_model_add(dense, rbe_dense_new(784, 300, NULL));
    rbe_model_add(dense, rbe_dense_new(300, 100, NULL));
    rbe_model_add(compressed, rbe_linear_new(784, 300, &(rbe_linear_options){.group = 8}));
    rbe_model_add(compressed, rbe_linear_new(300, 100, &(rbe_linear_options){.group = 8}));
    rbe_model *const both[] = {dense, compressed};
    for (size_t n = 0; n < 2; n++) {
        rbe_model_add(both[n], rbe_dense_new(100, 10, NULL));
        ck_assert_ok(rbe_model_status(both[n]));
    }
    bytes whole = saved(dense, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    bytes f16 = saved(compressed, RBE_STORE_F16, RBE_POSITIONS_DELTA);
    bytes int8 = saved(compressed, RBE_STORE_INT8, RBE_POSITIONS_DELTA);
    ck_assert_uint_le(24 * f16.count, whole.count);
    ck_assert_uint_le(36 * int8.count, whole.count);
    rbe_model_free(dense);
    rbe_model_free(compressed);
    free(whole.data), free(f16.data), free(int8.data);
}
END_TEST

/* ---- what cannot be stored ----------------------------------------------------------------------------------- */

static rbe_var *twice(rbe_var *x) { return rbe_scale(x, 2.0f); }

START_TEST(what_cannot_be_stored_is_named) {
    const char *path = scratch_path("refused");
    rbe_model *model = grown_model();
    float *value = rbe_model_param(model, 0)->value;
    const float kept = value[11];
    value[11] = NAN;
    for (int store = 0; store < STORES; store++) {
        ck_assert_int_ne(rbe_model_save(model, path, &(rbe_save_options){.store = (rbe_store)store}), RBE_OK);
        assert_failed(RBE_NUMERICAL_INSTABILITY, "0.values: value 11 is nan");
    }
    value[11] = 65520.0f;
    ck_assert_ok(rbe_model_save(model, path, &(rbe_save_options){.store = RBE_STORE_BF16}));
    ck_assert_int_ne(rbe_model_save(model, path, &(rbe_save_options){.store = RBE_STORE_F16}), RBE_OK);
    assert_failed(RBE_NUMERICAL_INSTABILITY, "0.values: value 11, 65520, is beyond the range of F16");
    value[11] = 3.4e38f;
    ck_assert_ok(rbe_model_save(model, path, &(rbe_save_options){.store = RBE_STORE_F32}));
    ck_assert_int_ne(rbe_model_save(model, path, &(rbe_save_options){.store = RBE_STORE_INT8}), RBE_OK);
    assert_failed(RBE_NUMERICAL_INSTABILITY, "0.values: value 11, 3.4e+38, is beyond the range of int8");
    value[11] = kept;

    ck_assert_int_ne(rbe_model_save(model, path, &(rbe_save_options){.positions = RBE_POSITIONS_SEED}), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "stage 0");
    ck_assert_int_ne(rbe_model_save(model, NULL, NULL), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "path");
    ck_assert_int_ne(rbe_model_save(model, path, &(rbe_save_options){.store = (rbe_store)9}), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "option");
    rbe_model_apply(model, twice);
    ck_assert_int_ne(rbe_model_save(model, path, NULL), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "stage 5");
    rbe_model_add(model, NULL);
    ck_assert_int_ne(rbe_model_save(model, path, NULL), RBE_OK);
    ck_assert_int_eq(rbe_model_save(NULL, path, NULL), RBE_INVALID_ARGUMENT);
    rbe_model_free(model);

    rbe_store store = RBE_STORE_F32;
    ck_assert(rbe_store_named("int8", &store) && store == RBE_STORE_INT8);
    ck_assert(!rbe_store_named("f64", &store) && !rbe_store_named(NULL, &store));
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "f32, f16, bf16 or int8"));
    for (int n = 0; n < STORES; n++)
        ck_assert(rbe_store_named(rbe_store_name((rbe_store)n), &store) && store == (rbe_store)n);
    ck_assert_ptr_null(rbe_store_name((rbe_store)STORES));
}
END_TEST

/* ---- Python -------------------------------------------------------------------------------------------------- */

static const struct {
    rbe_linear_options layer;
    rbe_save_options save;
    unsigned bits;
} for_python[] = {
    {{.block = 8, .group = 3, .alpha = RBE_ALPHA_ON}, {RBE_STORE_F32, RBE_POSITIONS_PLAIN}, 0},
    {{.block = 16, .group = 1, .alpha = RBE_ALPHA_ON}, {RBE_STORE_F16, RBE_POSITIONS_DELTA}, 0},
    {{.block = 8, .group = 2, .overlap = 3}, {RBE_STORE_INT8, RBE_POSITIONS_PLAIN}, 0},
    {{.block = 16, .group = 3, .alpha = RBE_ALPHA_ON, .seed = 12345678901234567890u},
     {RBE_STORE_INT8, RBE_POSITIONS_SEED},
     0},
    {{.block = 8, .group = 4, .image_height = 5, .image_width = 15}, {RBE_STORE_BF16, RBE_POSITIONS_DELTA}, 0},
    {{.block = 8, .overlap = 2, .image_height = 15, .image_width = 5, .seed = 1},
     {RBE_STORE_F16, RBE_POSITIONS_SEED},
     0},
    {{.block = 8, .group = 3, .alpha = RBE_ALPHA_ON}, {.positions = RBE_POSITIONS_DELTA}, 2},
    {{.block = 16, .group = 1, .alpha = RBE_ALPHA_ON, .seed = 3}, {.positions = RBE_POSITIONS_SEED}, 5},
    {{.block = 8, .group = 2, .overlap = 2, .image_height = 15, .image_width = 5},
     {.positions = RBE_POSITIONS_DELTA},
     8},
};

START_TEST(python_reads_models) {
    const char *python = find_python();
    if (!python) return;
    char model_path[400], matrix_path[400], command[1200];
    strcpy(model_path, scratch_path("model.safetensors"));
    strcpy(matrix_path, scratch_path("w.npy"));
    rbe_linear_options options = for_python[_i].layer;
    options.ratio = 2;
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_linear_new(75, 50, &options));
    ck_assert_ok(rbe_model_status(model));
    rbe_param *param;
    for (size_t n = 0; (param = rbe_model_param(model, n)); n++) fill_normal(param->value, param->count, 0.3, n);
    ck_assert_ok(rbe_layer_set_bits(rbe_model_layer(model, 0), for_python[_i].bits));
    ck_assert_ok(rbe_model_set_metadata(model, "input.mean", "0.5 \xc3\xa4"));
    ck_assert_ok(rbe_model_save(model, model_path, &for_python[_i].save));
    rbe_model_free(model);

    model = rbe_model_load(model_path);
    ck_assert_msg(model != NULL, "%s", rbe_last_error());
    rbe_tensor w = new_tensor(2, (const size_t[]){50, 75});
    ck_assert_ok(rbe_decompress(rbe_linear_blocks(rbe_model_layer(model, 0)), w.data));
    ck_assert_ok(rbe_npy_write(matrix_path, &w));
    snprintf(command, sizeof command, "%s tests/read_model.py %s fc1.weight %s 'input.mean=0.5 \xc3\xa4' >/dev/null",
             python, model_path, matrix_path);
    ck_assert_msg(system(command) == 0, "%s", command);
    rbe_tensor_free(&w);
    rbe_model_free(model);
}
END_TEST

/* Python finds the matrices `list` of a model file, and they are those of `w`, one below the other. */
static void require_python_reads(const char *python, bytes file, const char *list, const rbe_tensor *w) {
    char model_path[400], matrix_path[400], command[3000];
    strcpy(model_path, scratch_path("model"));
    write_whole(model_path, file);
    strcpy(matrix_path, scratch_path("w.npy"));
    ck_assert_ok(rbe_npy_write(matrix_path, w));
    snprintf(command, sizeof command, "%s tests/read_model.py %s %s %s >/dev/null", python, model_path, list,
             matrix_path);
    ck_assert_msg(system(command) == 0, "%s", command);
}

/* Square layers, one for each transform, and a dense one with int8 weights, side by side in one file. */
START_TEST(python_knows_all_transforms) {
    static const char *const names[] = {
        "dct",        "identity",   "wht",        "haar",       "db4",        "db6",        "db8",        "db10",
        "db12",       "db14",       "db16",       "db18",       "db20",       "bspline103", "bspline105", "bspline202",
        "bspline204", "bspline206", "bspline208", "bspline301", "bspline303", "bspline305", "bspline307", "bspline309"};
    enum { NAMES = sizeof names / sizeof *names, WIDTH = 32 };
    const char *python = find_python();
    if (!python) return;
    rbe_model *model = rbe_model_new();
    for (size_t n = 0; n < NAMES; n++) {
        const rbe_transform *transform = rbe_transform_named(names[n]);
        const rbe_linear_options options = {
            .block = 16, .ratio = 2, .row_transform = transform, .column_transform = transform, .no_bias = true};
        rbe_model_add(model, rbe_linear_new(WIDTH, WIDTH, &options));
    }
    rbe_model_add(model, rbe_dense_new(WIDTH, WIDTH, NULL));
    bytes b = saved(model, RBE_STORE_INT8, RBE_POSITIONS_SMALLEST);
    rbe_model_free(model);
    model = load_bytes(b);
    ck_assert_msg(model != NULL, "%s", rbe_last_error());
    rbe_tensor w = new_tensor(2, (const size_t[]){(NAMES + 1) * WIDTH, WIDTH});
    char list[NAMES * 16] = "";
    for (size_t n = 0; n <= NAMES; n++) {
        const rbe_layer *layer = rbe_model_layer(model, n);
        float *values = w.data + n * WIDTH * WIDTH;
        if (n < NAMES)
            ck_assert_ok(rbe_decompress(rbe_linear_blocks(layer), values));
        else
            memcpy(values, layer->params[0].value, WIDTH * WIDTH * sizeof *values);
        sprintf(list + strlen(list), "%s%s.weight", n ? "," : "", rbe_layer_name(layer));
    }
    require_python_reads(python, b, list, &w);
    rbe_tensor_free(&w);
    rbe_model_free(model);
    free(b.data);
}
END_TEST

/* Layers inside layers have their paths, and what is shared is there once. */
START_TEST(python_reads_nested_models) {
    static const char *const names[] = {"block.0.up", "block.0.3", "repeat2.step.0", "head"};
    const char *python = find_python();
    if (!python) return;
    rbe_model *model = nested_model();
    rbe_layer *part;
    for (size_t n = 0; _i == 2 && (part = rbe_model_layer(model, n)); n++) ck_assert_ok(rbe_layer_set_bits(part, 4));
    bytes b = saved(model, _i ? RBE_STORE_INT8 : RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    rbe_model_free(model);
    model = load_bytes(b);
    ck_assert_msg(model != NULL, "%s", rbe_last_error());
    rbe_tensor w = new_tensor(2, (const size_t[]){12 + 12 + 12 + 5, 12});
    float *next = w.data;
    char list[200] = "";
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        const rbe_layer *layer = rbe_model_find(model, names[n]);
        ck_assert_msg(layer != NULL, "%s", names[n]);
        if (rbe_linear_blocks(layer))
            ck_assert_ok(rbe_decompress(rbe_linear_blocks(layer), next));
        else
            memcpy(next, layer->params[0].value, layer->in * layer->out * sizeof *next);
        next += layer->in * layer->out;
        sprintf(list + strlen(list), "%s%s.weight", n ? "," : "", names[n]);
    }
    require_python_reads(python, b, list, &w);
    rbe_tensor_free(&w);
    rbe_model_free(model);
    free(b.data);
}
END_TEST

START_TEST(python_writes_tensors) {
    const char *python = find_python();
    if (!python) return;
    char command[600], path[400];
    strcpy(path, scratch_path("dense.safetensors"));
    snprintf(command, sizeof command, "%s tests/read_model.py --write %s", python, path);
    ck_assert_msg(system(command) == 0, "%s", command);
    rbe_tensor_file *file = rbe_tensor_file_open(path);
    ck_assert_msg(file != NULL, "%s", rbe_last_error());
    float a[12], b[5];
    ck_assert_uint_eq(rbe_tensor_file_at(file, rbe_tensor_file_find(file, "a"))->shape[1], 4);
    ck_assert_ok(rbe_tensor_file_read_f32(file, rbe_tensor_file_find(file, "a"), a));
    ck_assert_ok(rbe_tensor_file_read_f32(file, rbe_tensor_file_find(file, "b"), b));
    for (int n = 0; n < 12; n++) ck_assert(a[n] == (float)n / 7.0f);
    for (int n = 0; n < 5; n++) ck_assert(b[n] == (float)n / 8.0f);
    rbe_tensor_file_close(file);
}
END_TEST

Suite *io_suite(void) {
    Suite *suite = suite_create("io");
    TCase *models = tcase_create("models");
    tcase_add_test(models, half_floats);
    tcase_add_loop_test(models, models_come_back, 0, STORES * POSITIONS * GROUPS * TRANSFORMS * 2);
    tcase_add_test(models, overlap_and_images_come_back);
    tcase_add_test(models, wide_positions_come_back);
    tcase_add_test(models, operations_and_names_come_back);
    tcase_add_test(models, empty_lists_come_back);
    tcase_add_test(models, files_are_small);
    tcase_add_test(models, what_cannot_be_stored_is_named);
    tcase_add_loop_test(models, python_reads_models, 0, sizeof for_python / sizeof *for_python);
    tcase_add_test(models, python_knows_all_transforms);
    tcase_add_loop_test(models, python_reads_nested_models, 0, 3);
    tcase_add_test(models, python_writes_tensors);
    suite_add_tcase(suite, models);
    suite_add_tcase(suite, io_disk_case());
    suite_add_tcase(suite, io_replace_case());
    suite_add_tcase(suite, io_files_case());
    suite_add_tcase(suite, io_npy_case());
    suite_add_tcase(suite, io_metadata_case());
    suite_add_tcase(suite, io_sources_case());
    suite_add_tcase(suite, io_damage_case());
    suite_add_tcase(suite, io_memory_case());
    suite_add_tcase(suite, io_matrix_case());
    suite_add_tcase(suite, io_trees_case());
    suite_add_tcase(suite, io_weights_case());
    return suite;
}
