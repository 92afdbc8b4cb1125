/* Models as C files without floats: what they compute, bit for bit and compared with the library; that no input leaves
 * int32_t; what is refused.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/integer.h"
#include "export_support.h"
#include "io_support.h"
#include "packed_support.h"
#include "suites.h"
#include "support.h"

/* ---- random models ------------------------------------------------------------------------------------------- */

enum { SAMPLES = 4, AT_ONCE = 6 };

static size_t between(rbe_rng *rng, uint32_t least, uint32_t most) {
    return least + rbe_rng_below(rng, most - least + 1);
}

static bool chance(rbe_rng *rng, uint32_t of) { return rbe_rng_below(rng, of) == 0; }

static const rbe_transform *dct_or_identity(rbe_rng *rng) {
    return rbe_transform_named(chance(rng, 2) ? "dct" : "identity");
}

/* Sometimes as an image, and with lists of different lengths. */
static rbe_layer *any_linear(rbe_rng *rng, size_t in, size_t out) {
    rbe_linear_options o = {.block = (size_t)8 << between(rng, 0, 2),
                            .row_transform = dct_or_identity(rng),
                            .column_transform = dct_or_identity(rng),
                            .alpha = RBE_ALPHA_OFF,
                            .group = between(rng, 1, 7),
                            .no_bias = chance(rng, 5),
                            .seed = rbe_rng_below(rng, 1000)};
    o.coeffs = between(rng, 1, (uint32_t)(o.block * o.block / 4));
    for (size_t height = 2; height < 12 && !o.image_height && chance(rng, 2); height += 2)
        if (in % (2 * height) == 0) {
            o.image_height = height;
            o.image_width = in / height;
            o.column_transform = rbe_transform_named("identity");
        }
    rbe_layer *layer = rbe_linear_new(in, out, &o);
    ck_assert_msg(layer != NULL, "%s", rbe_last_error());
    return chance(rng, 3) ? scattered_layer(layer, chance(rng, 4) ? 0.0 : 0.1, rbe_rng_below(rng, 1000)) : layer;
}

/* ends: with something that keeps the order of outputs. */
static rbe_model *any_model(uint64_t seed, bool ends) {
    rbe_rng *rng = rbe_rng_new(seed, 78);
    rbe_model *model = rbe_model_new();
    size_t width = between(rng, 1, 12) * between(rng, 1, 12);
    const bool bits = chance(rng, 2);
    for (size_t n = between(rng, 1, 3); n > 0; n--) {
        const size_t next = between(rng, 2, chance(rng, 4) ? 150 : 40);
        rbe_layer *inside = rbe_sequential_new(NULL), *layer;
        layer = chance(rng, 3) ? rbe_dense_new(width, next, &(rbe_dense_options){.no_bias = chance(rng, 3)})
                               : any_linear(rng, width, next);
        if (bits && !chance(rng, 4)) ck_assert_ok(rbe_layer_set_bits(layer, (unsigned)between(rng, 2, 8)));
        ck_assert_ok(rbe_layer_add(inside, layer));
        if (chance(rng, 2)) ck_assert_ok(rbe_layer_add(inside, rbe_dropout_new(0.5f)));
        if (n > 1 ? !chance(rng, 4) : chance(rng, 4)) ck_assert_ok(rbe_layer_add(inside, rbe_operation_new(rbe_relu)));
        ck_assert_ok(rbe_model_add(model, inside));
        width = next;
    }
    if (ends && chance(rng, 2))
        ck_assert_ok(rbe_model_add(model, rbe_operation_new(rbe_operation_named("log_softmax"))));
    for (size_t k = 0; rbe_model_param(model, k); k++)
        fill_normal(rbe_model_param(model, k)->value, rbe_model_param(model, k)->count, 0.3, seed + k);
    rbe_rng_free(rng);
    return model;
}

static rbe_export_options options_for(uint64_t seed, const float *x, size_t count) {
    static const rbe_export_values values[] = {RBE_EXPORT_AS_TRAINED, RBE_EXPORT_INT8, RBE_EXPORT_INT4};
    return (rbe_export_options){.integer = true, .values = values[seed % 3], .samples = x, .sample_count = count};
}

/* ---- near the library ---------------------------------------------------------------------------------------- */

/* Most inputs of every other sample become 0: ends of lines, and whole lines. */
static void blank_some(uint64_t seed, float *samples, size_t count, size_t in) {
    rbe_rng *rng = rbe_rng_new(seed, 79);
    for (size_t n = 0; n < count * in; n++)
        if (n / in % 2 && !chance(rng, 4)) samples[n] = 0.0f;
    rbe_rng_free(rng);
}

/* Root of the mean square of the errors, over that of the outputs, for `count` samples. */
static double error_of(uint64_t seed, size_t count) {
    rbe_model *model = any_model(seed, false);
    rbe_export_options options = options_for(seed, NULL, 0);
    float *samples = random_samples(model, &options, seed, count), *expected = NULL;
    rbe_exporter *x = calloc(1, sizeof *x);
    rbe_int_plan plan = {.layers = NULL};
    rbe_kept_values *kept = NULL;
    options.samples = samples;
    options.sample_count = count;
    x->model = model;
    x->o = options;
    ck_assert_ok(rbe_export_check(x, "n.c"));
    blank_some(seed, samples, count, x->in);
    ck_assert_ok(rbe_export_round(x, &kept));
    ck_assert_msg(rbe_int_make(x, &plan) == RBE_OK, "seed %llu: %s", (unsigned long long)seed, rbe_last_error());
    ck_assert_ok(rbe_export_evaluate(x, samples, count, &expected));
    int16_t *in = calloc(x->in, sizeof *in), *scratch = calloc(plan.scratch, sizeof *scratch);
    int32_t *y = calloc(plan.most_outputs, sizeof *y);
    double off = 0.0, all = 1e-30;
    for (size_t n = 0; n < count; n++) {
        rbe_int_run(&plan, plan.count, samples + n * x->in, in, y, scratch);
        for (size_t i = 0; i < x->out; i++) {
            const double right = (double)expected[n * x->out + i], found = y[i] * plan.layers[plan.count - 1].unit;
            off += (found - right) * (found - right);
            all += right * right;
        }
    }
    rbe_export_restore(kept);
    rbe_int_free(&plan);
    rbe_free(expected);
    rbe_free(x->layers);
    free(x);
    free(in);
    free(scratch);
    free(y);
    free(samples);
    rbe_model_free(model);
    return sqrt(off / all);
}

START_TEST(whole_numbers_are_near_the_library) {
    double worst = 0.0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        const double error = error_of(seed, 20);
        if (getenv("EXPORT_SHOW")) printf("%llu %.5f\n", (unsigned long long)seed, error);
        ck_assert_msg(error < 0.02, "seed %llu: %g", (unsigned long long)seed, error);
        worst = fmax(worst, error);
    }
    ck_assert_double_gt(worst, 0.0);
}
END_TEST

/* ---- bit for bit --------------------------------------------------------------------------------------------- */

static void export_one(uint64_t seed, size_t number) {
    char name[16], file[16];
    rbe_model *model = any_model(seed, true);
    rbe_export_options options = options_for(seed, NULL, 0);
    float *x = random_samples(model, &options, seed, SAMPLES);
    snprintf(name, sizeof name, "m%zu", number);
    snprintf(file, sizeof file, "m%zu.c", number);
    options.name = name;
    options.samples = x;
    options.sample_count = SAMPLES;
    ck_assert_msg(rbe_export_c(model, scratch_path(file), &options) == RBE_OK, "seed %llu: %s",
                  (unsigned long long)seed, rbe_last_error());
    free(x);
    rbe_model_free(model);
}

static size_t export_some(uint64_t first, uint64_t seeds[AT_ONCE]) {
    for (size_t n = 0; n < AT_ONCE; n++) {
        seeds[n] = first + n;
        export_one(seeds[n], n);
    }
    return AT_ONCE;
}

START_TEST(files_compute_what_was_promised) {
    static const char *const compilers[] = {
        "cc -std=c99 -Os",
        "cc -std=c99 -O0 -fsanitize=address,undefined -fno-sanitize-recover=all",
        "c++ -O2 -x c++",
        "clang -std=c99 -O2",
        "clang -std=c99 -O1 -fsanitize=address,undefined -fno-sanitize-recover=all",
    };
    uint64_t seeds[AT_ONCE];
    for (size_t n = 0; n < sizeof compilers / sizeof *compilers; n++) {
        char command[100];
        snprintf(command, sizeof command, "command -v %.*s > /dev/null", (int)strcspn(compilers[n], " "), compilers[n]);
        if (system(command) != 0) continue;
        const size_t count = export_some(1000 * (n + 1), seeds);
        export_compile_and_run(seeds, count, compilers[n]);
        scratch_clear();
    }
}
END_TEST

/* A program that gives a net the largest inputs that there are, in many patterns of signs. */
static void write_extremes(size_t number) {
    char file[16];
    snprintf(file, sizeof file, "e%zu.c", number);
    FILE *out = fopen(scratch_path(file), "w");
    fprintf(out,
            "#include <stdlib.h>\n#include \"m%zu.h\"\n"
            "#ifdef M%zu_LARGEST\ntypedef int16_t input;\nenum { MOST = M%zu_LARGEST, LEAST = -M%zu_LARGEST };\n"
            "#else\ntypedef uint8_t input;\nenum { MOST = 255, LEAST = 0 };\n#endif\n"
            "static unsigned char scratch[M%zu_SCRATCH];\nstatic input x[M%zu_INPUTS];\n"
            "static int32_t y[M%zu_OUTPUTS];\n"
            "int main(void)\n{\n"
            "    unsigned state = 1;\n"
            "    for (int n = 0; n < 60; n++) {\n"
            "        for (int i = 0; i < M%zu_INPUTS; i++) {\n"
            "            state = state * 1664525u + 1013904223u;\n"
            "            const int low = n < 2 ? n : n < 20 ? (i / n) %% 2 : (int)(state >> 31);\n"
            "            x[i] = (input)(low ? LEAST : MOST);\n"
            "        }\n"
            "        if (m%zu_predict(x, y, scratch) != 0) return 1;\n"
            "    }\n"
            "    if (LEAST < 0) {\n"
            "        x[M%zu_INPUTS - 1] = (input)(MOST + 1);\n"
            "        if (m%zu_predict(x, y, scratch) != -1) return 2;\n"
            "        x[M%zu_INPUTS - 1] = (input)(LEAST - 1);\n"
            "        if (m%zu_predict(x, y, scratch) != -1) return 3;\n"
            "        x[M%zu_INPUTS - 1] = 0;\n"
            "    }\n"
            "    return m%zu_predict(NULL, y, scratch) == -1 && m%zu_predict(x, NULL, scratch) == -1 &&\n"
            "                   m%zu_predict(x, y, NULL) == -1 ? 0 : 4;\n}\n",
            number, number, number, number, number, number, number, number, number, number, number, number, number,
            number, number, number, number);
    fclose(out);
}

START_TEST(no_input_leaves_32_bits) {
    uint64_t seeds[AT_ONCE];
    const size_t count = export_some(7000, seeds);
    for (size_t n = 0; n < count; n++) {
        char command[700];
        write_extremes(n);
        snprintf(command, sizeof command,
                 "cd '%.300s' && cc -std=c99 -O1 -fsanitize=address,undefined -fno-sanitize-recover=all m%zu.c e%zu.c "
                 "-o e && ./e",
                 scratch_path("."), n, n);
        ck_assert_msg(system(command) == 0, "seed %llu", (unsigned long long)seeds[n]);
    }
}
END_TEST

/* ---- what is refused ----------------------------------------------------------------------------------------- */

static const float some_samples[75] = {0.5f, -1.0f};

#define BAD RBE_INVALID_ARGUMENT

static rbe_model *with(rbe_layer *one, rbe_layer *other) {
    rbe_model *model = rbe_model_new();
    ck_assert_ok(rbe_model_add(model, one));
    if (other) ck_assert_ok(rbe_model_add(model, other));
    return model;
}

static rbe_layer *linear_of(rbe_linear_options o) {
    o.block = 8;
    o.ratio = 4;
    if (!o.alpha) o.alpha = RBE_ALPHA_OFF;
    return rbe_linear_new(75, 20, &o);
}

static rbe_layer *dense(void) { return rbe_dense_new(75, 75, NULL); }
static rbe_layer *operation(const char *name) { return rbe_operation_new(rbe_operation_named(name)); }

static rbe_model *with_alphas(void) { return with(linear_of((rbe_linear_options){.alpha = RBE_ALPHA_ON}), NULL); }
static rbe_model *with_overlap(void) { return with(linear_of((rbe_linear_options){.overlap = 2}), NULL); }
static rbe_model *with_wavelets(void) {
    return with(linear_of((rbe_linear_options){.row_transform = rbe_transform_named("db4")}), NULL);
}
static rbe_model *with_an_odd_image(void) {
    return with(linear_of((rbe_linear_options){.image_height = 5, .image_width = 15}), NULL);
}
static rbe_model *with_gelu(void) { return with(dense(), operation("gelu")); }
static rbe_model *with_relu_first(void) { return with(operation("relu"), dense()); }
static rbe_model *with_softmax_first(void) { return with(operation("softmax"), dense()); }
static rbe_model *with_a_norm(void) { return with(dense(), rbe_rms_norm_new(75, 1e-5f, NULL)); }
static rbe_model *with_a_residual(void) { return with(rbe_residual_new(dense(), NULL), NULL); }
static rbe_model *with_no_matrix(void) { return with(rbe_rms_norm_new(75, 1e-5f, NULL), NULL); }
static rbe_model *plain(void) { return with(dense(), operation("relu")); }

static const struct {
    rbe_model *(*make)(void);
    const char *words;
    rbe_export_options options;
} refusals[] = {
    {with_alphas, "found alphas", {.samples = some_samples, .sample_count = 1}},
    {with_overlap, "found blocks that overlap", {.samples = some_samples, .sample_count = 1}},
    {with_wavelets, "found db4", {.samples = some_samples, .sample_count = 1}},
    {with_an_odd_image, "an image of odd height or width", {.samples = some_samples, .sample_count = 1}},
    {with_gelu, "kind \"gelu\" cannot", {.samples = some_samples, .sample_count = 1}},
    {with_relu_first,
     "kind \"relu\" cannot be exported with integer arithmetic before",
     {.samples = some_samples, .sample_count = 1}},
    {with_softmax_first,
     "kind \"softmax\" cannot be exported with integer arithmetic where",
     {.samples = some_samples, .sample_count = 1}},
    {with_a_norm, "kind \"rms_norm\" cannot", {.samples = some_samples, .sample_count = 1}},
    {with_a_residual, "kind \"residual\" cannot", {.samples = some_samples, .sample_count = 1}},
    {with_no_matrix, "kind \"rms_norm\" cannot", {.samples = some_samples, .sample_count = 1}},
    {plain, "expected samples", {.name = "net"}},
    {plain, "arithmetic, found floats", {.samples = some_samples, .sample_count = 1, .values = RBE_EXPORT_F32}},
    {plain, "the inputs are NULL", {.samples = some_samples, .sample_count = 1, .input_count = 1}},
    {plain, "more than can be addressed", {.inputs = some_samples, .input_count = SIZE_MAX / 8}},
};

START_TEST(other_models_are_refused) {
    rbe_model *model = refusals[_i].make();
    rbe_export_options options = refusals[_i].options;
    options.integer = true;
    ck_assert_int_eq(rbe_export_c(model, scratch_path("n.c"), &options), BAD);
    assert_failed(BAD, refusals[_i].words);
    ck_assert_uint_eq(scratch_count(), 0);
    rbe_model_free(model);
}
END_TEST

/* Rows of 2^21 values of 8 bits: not even inputs of 8 bits would do. */
START_TEST(sums_that_are_too_large_are_refused) {
    const size_t width = (size_t)1 << 20;
    rbe_model *model = with(rbe_dense_new(width, 1, NULL), NULL);
    rbe_param *weight = rbe_model_param(model, 0);
    float *x = calloc(width, sizeof *x);
    for (size_t n = 0; n < width; n++) weight->value[n] = 1.0f;
    const rbe_export_options options = {.integer = true, .samples = x, .sample_count = 1};
    ck_assert_int_eq(rbe_export_c(model, scratch_path("n.c"), &options), BAD);
    assert_failed(BAD, "do not fit into 32 bits");
    ck_assert_uint_eq(scratch_count(), 0);
    free(x);
    rbe_model_free(model);
}
END_TEST

/* ---- what fails on the way ----------------------------------------------------------------------------------- */

static bytes stored;

static rbe_status load_and_export(void *user) {
    (void)user;
    rbe_model *model = load_bytes(stored);
    if (!model) return rbe_last_status();
    uint32_t classes[2][1];
    const rbe_export_options options = {.integer = true,
                                        .samples = some_samples,
                                        .sample_count = 1,
                                        .inputs = some_samples,
                                        .input_count = 1,
                                        .model_classes = classes[0],
                                        .file_classes = classes[1]};
    const rbe_status status = rbe_export_c(model, scratch_path("n.c"), &options);
    rbe_model_free(model);
    ck_assert_uint_eq(scratch_count(), status == RBE_OK ? 2 : 0);
    return status;
}

static rbe_model *two_layers(void) {
    rbe_model *model = with(linear_of((rbe_linear_options){.group = 2}), operation("relu"));
    ck_assert_ok(rbe_model_add(model, rbe_dense_new(20, 5, NULL)));
    return model;
}

START_TEST(every_allocation_may_fail) {
    rbe_model *model = two_layers();
    stored = saved(model, RBE_STORE_F32, RBE_POSITIONS_DELTA);
    rbe_model_free(model);
    ck_assert_uint_gt(fail_each_allocation(load_and_export, NULL), 60);
    free(stored.data);
}
END_TEST

/* One number of the constants, or of what is expected, is another. */
START_TEST(a_file_that_computes_something_else_fails) {
    static const char *const marks[] = {"values_2[", "bias_1[", "test_outputs["};
    rbe_model *model = two_layers();
    for (size_t k = 0; rbe_model_param(model, k); k++)
        fill_normal(rbe_model_param(model, k)->value, rbe_model_param(model, k)->count, 0.3, k);
    const rbe_export_options options = {
        .integer = true, .name = "m0", .samples = some_samples, .sample_count = 1, .values = RBE_EXPORT_INT4};
    for (size_t n = 0; n < 4; n++) {
        ck_assert_ok(rbe_export_c(model, scratch_path("m0.c"), &options));
        bytes b = read_whole(scratch_path("m0.c"));
        if (n < 3) {
            char *at = memmem(b.data, b.count, marks[n], strlen(marks[n]));
            ck_assert_ptr_nonnull(at);
            at = strpbrk(strchr(at, '{'), "0123456789"); /* the first number */
            *at = *at == '3' ? '1' : '3';
            write_whole(scratch_path("m0.c"), b);
        }
        ck_assert_int_eq(export_test_passes(), n == 3);
        free(b.data);
    }
    rbe_model_free(model);
}
END_TEST

/* ---- bits of trained values ---------------------------------------------------------------------------------- */

/* What has bits is written in them when nobody says otherwise, with floats and without. */
START_TEST(values_are_written_as_trained) {
    static const char *const marks[] = {"uint8_t values_1[", "float values_1["};
    for (size_t n = 0; n < 2; n++) {
        rbe_model *model = with(linear_of((rbe_linear_options){.group = 2}), NULL);
        if (n == 0) give_bits(model, 4, 1);
        ck_assert_ok(rbe_export_c(model, scratch_path("n.c"), NULL));
        bytes b = read_whole(scratch_path("n.c"));
        for (size_t k = 0; k < 2; k++)
            ck_assert_int_eq(memmem(b.data, b.count, marks[k], strlen(marks[k])) != NULL, k == n);
        free(b.data);
        rbe_model_free(model);
    }
}
END_TEST

TCase *export_integer_case(void) {
    TCase *integer = tcase_create("integer");
    tcase_set_timeout(integer, 600);
    tcase_add_checked_fixture(integer, scratch_clear, scratch_clear);
    tcase_add_test(integer, whole_numbers_are_near_the_library);
    tcase_add_test(integer, files_compute_what_was_promised);
    tcase_add_test(integer, no_input_leaves_32_bits);
    tcase_add_loop_test(integer, other_models_are_refused, 0, sizeof refusals / sizeof *refusals);
    tcase_add_test(integer, sums_that_are_too_large_are_refused);
    tcase_add_test(integer, every_allocation_may_fail);
    tcase_add_test(integer, a_file_that_computes_something_else_fails);
    tcase_add_test(integer, values_are_written_as_trained);
    return integer;
}
