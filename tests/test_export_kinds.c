/* Each kind of layer by itself: what its C computes for 1000 inputs, compared with the library. Of each kind there are
 * two files, compiled into one library which is loaded: a small one, and a fast one with values of few bits.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export_support.h"
#include "io_support.h"
#include "packed_support.h"
#include "rbe/op.h"
#include "suites.h"
#include "support.h"

enum { INPUTS = 1000 };

/* ---- kinds ----------------------------------------------------------------------------------------------------- */

static rbe_model *with(rbe_layer *layer) {
    rbe_model *model = rbe_model_new();
    ck_assert_ok(rbe_model_add(model, layer));
    return model;
}

static rbe_model *linear(size_t in, size_t out, rbe_linear_options o) {
    if (o.ratio == 0.0 && o.coeffs == 0) o.coeffs = o.block;
    return with(rbe_linear_new(in, out, &o));
}

static rbe_model *transform(size_t n) {
    const rbe_transform *t = rbe_transform_at(n);
    if (!t) return NULL;
    return linear(50, 41, (rbe_linear_options){.block = 16, .row_transform = t, .column_transform = t, .group = 2});
}

static rbe_model *block_size(size_t n) {
    return n < 6 ? linear(((size_t)16 << n) + 3, ((size_t)8 << n) + 5, (rbe_linear_options){.block = (size_t)8 << n})
                 : NULL;
}

static rbe_model *group(size_t n) {
    static const size_t groups[] = {1, 2, 3, 5, 7, 16};
    return n < 6 ? linear(40, 60, (rbe_linear_options){.block = 8, .group = groups[n]}) : NULL;
}

/* (Of more than one output where many inputs are: a sum may cancel, and then no error is small beside it.) */
static rbe_model *ragged(size_t n) {
    static const size_t sizes[][2] = {{1, 1}, {8, 8}, {9, 7}, {7, 9}, {16, 33}, {64, 3}, {1, 64}};
    return n < 7 ? linear(sizes[n][0], sizes[n][1], (rbe_linear_options){.block = 8, .group = 2}) : NULL;
}

static rbe_model *image(size_t n) {
    static const size_t sizes[][2] = {{1, 9}, {9, 1}, {4, 4}, {7, 11}, {28, 28}};
    if (n >= 5) return NULL;
    return linear(sizes[n][0] * sizes[n][1], 21,
                  (rbe_linear_options){.block = 8, .image_height = sizes[n][0], .image_width = sizes[n][1]});
}

static rbe_model *overlap(size_t n) {
    static const size_t overlaps[] = {1, 3, 4, 1, 9, 16};
    return n < 6 ? linear(75, 62, (rbe_linear_options){.block = n < 3 ? 8 : 32, .overlap = overlaps[n], .group = 2})
                 : NULL;
}

static rbe_model *smooth(size_t n) {
    return n < 3 ? linear(50, 41, (rbe_linear_options){.block = (size_t)8 << n, .alpha = RBE_ALPHA_ON, .group = 3})
                 : NULL;
}

/* Lists of different lengths, from none to all. */
static rbe_model *scattered(size_t n) {
    static const double densities[] = {0.0, 0.01, 0.3, 1.0};
    const rbe_linear_options o = {.block = 8, .coeffs = 8, .group = 2};
    return n < 4 ? with(scattered_layer(rbe_linear_new(30, 50, &o), densities[n], n)) : NULL;
}

static rbe_model *dense(size_t n) {
    return n < 2 ? with(rbe_dense_new(30, 21, &(rbe_dense_options){.no_bias = n == 1})) : NULL;
}

static rbe_model *operation(size_t n) {
    static const char *const names[] = {"relu", "gelu", "gelu_tanh", "tanh", "sigmoid", "softmax", "log_softmax"};
    if (n >= 7) return NULL;
    rbe_model *model = with(rbe_dense_new(30, 21, NULL));
    ck_assert_ok(rbe_model_add(model, rbe_operation_new(rbe_operation_named(names[n]))));
    return model;
}

static rbe_model *norm(size_t n) {
    if (n >= 3) return NULL;
    return with(n == 0 ? rbe_rms_norm_new(30, 1e-5f, NULL) : rbe_layer_norm_new(30, 0.0f, n == 1, NULL));
}

static rbe_model *container(size_t n) {
    rbe_layer *inner = rbe_dense_new(20, 20, NULL), *both = rbe_sequential_new(NULL);
    ck_assert_ok(rbe_layer_add(both, inner));
    ck_assert_ok(rbe_layer_add(both, rbe_dropout_new(0.5f)));
    switch (n) {
    case 0: return with(both);
    case 1: return with(rbe_residual_new(both, NULL));
    case 2: return with(rbe_repeat_new(both, 3, NULL));
    default: rbe_layer_free(both); return NULL;
    }
}

static rbe_layer *attention(size_t width, size_t heads, double rotary) {
    return rbe_attention_new(rbe_dense_new(width, 3 * width, NULL), rbe_dense_new(width, width, NULL),
                             &(rbe_attention_options){.heads = heads, .rotary_base = rotary}, NULL);
}

static rbe_model *sequence(size_t n) {
    rbe_layer *table = n < 3 ? rbe_embedding_new(13, 12, 1, NULL) : NULL;
    rbe_model *model = rbe_model_new();
    if (table) ck_assert_ok(rbe_model_add(model, table));
    switch (n) {
    case 0: break;
    case 1: ck_assert_ok(rbe_model_add(model, rbe_positions_new(4, 12, 2, NULL))); break;
    case 2: ck_assert_ok(rbe_model_add(model, rbe_unembedding_new(table, NULL))); break;
    case 3:
    case 4:
    case 5: ck_assert_ok(rbe_model_add(model, attention(12, n - 2, 0.0))); break;
    case 6: ck_assert_ok(rbe_model_add(model, attention(12, 2, 10000.0))); break;
    case 7:
        ck_assert_ok(
            rbe_model_add(model, rbe_block_new(rbe_layer_norm_new(12, 0.0f, false, NULL), attention(12, 2, 0.0),
                                               rbe_rms_norm_new(12, 1e-5f, NULL), rbe_dense_new(12, 12, NULL), NULL)));
        break;
    default: rbe_model_free(model); return NULL;
    }
    return model;
}

static rbe_model *(*const kinds[])(size_t n) = {transform, block_size, group,     ragged, image,     overlap, smooth,
                                                scattered, dense,      operation, norm,   container, sequence};

/* ---- exported, compiled, loaded ---------------------------------------------------------------------------------- */

/* The n-th model of a kind, each twice, with values; NULL behind the last. */
static rbe_model *model_of(int kind, size_t n, rbe_export_options *options) {
    rbe_model *model = kinds[kind](n / 2);
    if (!model) return NULL;
    ck_assert_msg(rbe_model_status(model) == RBE_OK, "%s", rbe_last_error());
    rbe_param *param;
    for (size_t k = 0; (param = rbe_model_param(model, k)); k++) fill_normal(param->value, param->count, 0.3, n + k);
    if (n % 2) give_bits(model, n % 4 == 1 ? 4 : 8, n);
    *options =
        (rbe_export_options){.speed = n % 2, .places = kinds[kind] == sequence && n / 2 != 0 && n / 2 != 2 ? 4 : 0};
    return model;
}

/* Writes all models of a kind as mK.c; returns how many, and into all.c the bytes of memory that each needs. */
static size_t export_kind(int kind) {
    FILE *all = fopen(scratch_path("all.c"), "w");
    ck_assert_ptr_nonnull(all);
    rbe_export_options options;
    rbe_model *model;
    char name[24], file[32];
    size_t count = 0;
    for (; (model = model_of(kind, count, &options)); count++) {
        snprintf(name, sizeof name, "m%zu", count);
        snprintf(file, sizeof file, "m%zu.c", count);
        options.name = name;
        ck_assert_msg(rbe_export_c(model, scratch_path(file), &options) == RBE_OK, "%s", rbe_last_error());
        fprintf(all,
                "#include \"m%zu.h\"\nextern const unsigned long m%zu_bytes;\nconst unsigned long m%zu_bytes = "
                "M%zu_SCRATCH;\n",
                count, count, count, count);
        rbe_model_free(model);
    }
    fclose(all);
    return count;
}

static void *compile_and_load(void) {
    char command[1000];
    snprintf(command, sizeof command, "cd '%.300s' && cc -std=c99 -O1 -shared -fPIC m*.c all.c -lm -o all.so",
             scratch_path("."));
    ck_assert_int_eq(system(command), 0);
    void *library = dlopen(scratch_path("all.so"), RTLD_NOW | RTLD_LOCAL);
    ck_assert_msg(library != NULL, "%s", dlerror());
    return library;
}

/* ---- compared ---------------------------------------------------------------------------------------------------- */

typedef struct exported {
    int (*predict)(const float *x, float *y, void *scratch);
    void (*begin)(void *scratch); /* NULL: it is no sequence */
    const unsigned long *bytes;
} exported;

static exported find_exported(void *library, size_t n) {
    exported e;
    char name[40];
    snprintf(name, sizeof name, "m%zu_predict", n);
    *(void **)&e.predict = dlsym(library, name);
    snprintf(name, sizeof name, "m%zu_begin", n);
    *(void **)&e.begin = dlsym(library, name);
    snprintf(name, sizeof name, "m%zu_bytes", n);
    e.bytes = dlsym(library, name);
    ck_assert(e.predict && e.bytes);
    return e;
}

/* What it gives for a sample: `outputs` values at each place. */
static void run_exported(const exported *e, const rbe_export_sample_shape *shape, const float *x, float *y,
                         size_t outputs, void *scratch) {
    if (e->begin) e->begin(scratch);
    for (size_t place = 0; place < shape->places; place++)
        ck_assert_int_eq(e->predict(x + place * shape->inputs, y + place * outputs, scratch), 0);
}

/* The largest error of a sample, over its largest output. */
static double error_of(const float *y, const float *expected, size_t count) {
    double largest = 1e-30, error = 0.0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)expected[i]));
        error = fmax(error, fabs((double)y[i] - (double)expected[i]));
        ck_assert(isfinite(y[i]));
    }
    return error / largest;
}

static void compare(void *library, int kind, size_t n) {
    rbe_export_options options;
    rbe_export_sample_shape shape;
    rbe_model *model = model_of(kind, n, &options);
    ck_assert_ok(rbe_export_sample(model, &options, &shape));
    const size_t width = shape.places * shape.inputs;
    float *x = random_samples(model, &options, n, INPUTS);
    size_t count;
    float *expected = outputs_of(model, &shape, x, INPUTS, &count);
    const size_t outputs = count / INPUTS;
    const exported e = find_exported(library, n);
    float *y = malloc(outputs * sizeof *y);
    void *scratch = malloc(*e.bytes);
    for (size_t k = 0; k < INPUTS; k++) {
        run_exported(&e, &shape, x + k * width, y, outputs / shape.places, scratch);
        const double error = error_of(y, expected + k * outputs, outputs);
        ck_assert_msg(error <= 1e-5, "kind %d, model %zu, sample %zu: expected an error of 1e-5, found %g", kind, n, k,
                      error);
    }
    free(scratch);
    free(y);
    free(expected);
    free(x);
    rbe_model_free(model);
}

START_TEST(a_kind_gives_the_same_outputs_for_1000_inputs) {
    const size_t count = export_kind(_i);
    ck_assert_uint_ge(count, 4);
    void *library = compile_and_load();
    for (size_t n = 0; n < count; n++) compare(library, _i, n);
    dlclose(library);
}
END_TEST

TCase *export_kinds_case(void) {
    TCase *tests = tcase_create("kinds");
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, scratch_clear, scratch_clear);
    tcase_add_loop_test(tests, a_kind_gives_the_same_outputs_for_1000_inputs, 0, sizeof kinds / sizeof *kinds);
    return tests;
}
