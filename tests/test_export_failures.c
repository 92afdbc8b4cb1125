/* Exports that are refused or fail: the status says why, the model is as it was, and no file is half-written. */
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "codec/blocks.h"
#include "export_support.h"
#include "file_faults.h"
#include "io_support.h"
#include "packed_support.h"
#include "suites.h"
#include "support.h"

/* ---- options ------------------------------------------------------------------------------------------------- */

static const float some_samples[75] = {0.5f}, bad_samples[75] = {NAN};

typedef struct refusal {
    const char *file, *words;
    rbe_status status;
    rbe_export_options options;
} refusal;

#define BAD RBE_INVALID_ARGUMENT
static const refusal refusals[] = {
    {"n.c", "expected as a name", BAD, {.name = "9x"}},
    {"n.c", "found \"\"", BAD, {.name = ""}},
    {"n.c", "found \"int\"", BAD, {.name = "int"}},
    {"n.c", "found \"class\"", BAD, {.name = "class"}},
    {"n.c", "found \"co_await\"", BAD, {.name = "co_await"}},
    {"n.c", "expected as a name", BAD, {.name = "_x"}},
    {"n.c", "expected as a name", BAD, {.name = "x_"}},
    {"n.c", "expected as a name", BAD, {.name = "a__b"}},
    {"n.c", "expected as a name", BAD, {.name = "a-b"}},
    {"n.c", "expected as a name", BAD, {.name = "na\xc3\xafve"}},
    {"n.c", "at most 23", BAD, {.name = "abcdefghijklmnopqrstuvwx"}},
    {"n", "ends in \".c\"", BAD, {0}},
    {"n.h", "ends in \".c\"", BAD, {0}},
    {".c", "ends in \".c\"", BAD, {0}},
    {"a\"b.c", "included", BAD, {0}},
    {"n.c", "values", BAD, {.values = (rbe_export_values)9}},
    {"n.c", "tolerance", BAD, {.tolerance = -1.0}},
    {"n.c", "tolerance", BAD, {.tolerance = NAN}},
    {"n.c", "samples are NULL", BAD, {.sample_count = 1}},
    {"n.c", "more than can be addressed", BAD, {.samples = some_samples, .sample_count = SIZE_MAX / 8}},
    {"n.c", "input 0 of sample 0 is nan", RBE_NUMERICAL_INSTABILITY, {.samples = bad_samples, .sample_count = 1}},
    {"nowhere/n.c", "nowhere", RBE_IO_ERROR, {0}},
};

START_TEST(options_are_refused) {
    const refusal *r = &refusals[_i];
    rbe_model *model = small_model(RBE_ALPHA_ON, 2, "dct", "db4");
    ck_assert_int_eq(rbe_export_c(model, scratch_path(r->file), &r->options), r->status);
    assert_failed(r->status, r->words);
    ck_assert_uint_eq(scratch_count(), 0);
    rbe_model_free(model);
}
END_TEST

START_TEST(null_is_an_argument) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 2, "dct", "db4");
    rbe_export_sample_shape shape;
    ck_assert_int_eq(rbe_export_c(NULL, scratch_path("n.c"), NULL), BAD);
    ck_assert_int_eq(rbe_export_c(model, NULL, NULL), BAD);
    ck_assert_int_eq(rbe_export_sample(NULL, NULL, &shape), BAD);
    ck_assert_int_eq(rbe_export_sample(model, NULL, NULL), BAD);
    ck_assert_ok(rbe_export_sample(model, NULL, &shape));
    ck_assert_uint_eq(shape.places * shape.inputs, 75);
    ck_assert_uint_eq(shape.vocabulary, 0);
    rbe_model_free(model);
}
END_TEST

/* ---- models -------------------------------------------------------------------------------------------------- */

static rbe_model *with(rbe_layer *layer) {
    rbe_model *model = rbe_model_new();
    if (layer) ck_assert_ok(rbe_model_add(model, layer));
    return model;
}

static rbe_layer *attention_of(size_t width) {
    return rbe_attention_new(rbe_dense_new(width, 3 * width, NULL), rbe_dense_new(width, width, NULL), NULL, "meet");
}

static rbe_var *twice(void *user, rbe_var *x) {
    (void)user;
    return rbe_add(x, x);
}

static rbe_model *empty(void) { return with(NULL); }
static rbe_model *without_widths(void) { return with(rbe_operation_new(rbe_relu)); }
static rbe_model *with_a_bag(void) { return with(rbe_bag_new("sack")); }
static rbe_model *with_repeated_attention(void) { return with(rbe_repeat_new(attention_of(8), 2, NULL)); }
static rbe_model *with_attention(void) { return with(attention_of(8)); }

static rbe_model *with_a_function(void) {
    rbe_model *model = with(rbe_dense_new(3, 3, NULL));
    ck_assert_ok(rbe_model_add(model, rbe_function_new(twice, NULL)));
    return model;
}

static rbe_model *with_an_error(void) {
    rbe_model *model = with(rbe_dense_new(3, 5, NULL));
    ck_assert_int_ne(rbe_model_add(model, rbe_dense_new(4, 2, NULL)), RBE_OK);
    return model;
}

static rbe_model *with_a_bad_value(void) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 2, "dct", "db4");
    rbe_model_find_param(model, "fc1.bias")->value[3] = INFINITY;
    return model;
}

static rbe_model *with_a_bad_coefficient(void) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 2, "dct", "db4");
    rbe_model_param(model, 0)->value[3] = NAN;
    return model;
}

static rbe_model *with_bad_positions(void) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 2, "dct", "db4");
    rbe_set_column((rbe_blocks *)rbe_linear_blocks(rbe_model_layer(model, 0)), 1, 60000);
    return model;
}

/* Each sequence holds the one before twice: 2^17 calls. */
static rbe_model *with_many_steps(void) {
    rbe_layer *layer = rbe_dense_new(2, 2, NULL);
    for (int n = 0; n < 17; n++) {
        rbe_layer *both = rbe_sequential_new(NULL);
        ck_assert_ok(rbe_layer_add(both, layer));
        ck_assert_ok(rbe_layer_add(both, layer));
        layer = both;
    }
    return with(layer);
}

static const struct {
    rbe_model *(*make)(void);
    rbe_status status;
    const char *words;
} bad_models[] = {
    {empty, BAD, "no layer with widths"},
    {without_widths, BAD, "no layer with widths"},
    {with_a_bag, BAD, "sack: a layer of the kind \"bag\" cannot be exported"},
    {with_a_function, BAD, "a layer of the kind \"function\" cannot be exported"},
    {with_repeated_attention, BAD, "places"},
    {with_attention, BAD, "places: expected 1 .. "},
    {with_an_error, RBE_INPUT_DIMENSION_MISMATCH, "takes 4 columns"},
    {with_a_bad_value, RBE_NUMERICAL_INSTABILITY, "fc1.bias: value 3 is inf"},
    {with_a_bad_coefficient, RBE_CORRUPTED_BLOCK, "block"},
    {with_bad_positions, RBE_CORRUPTED_BLOCK, "block"},
    {with_many_steps, BAD, "more than 100000 steps"},
};

START_TEST(models_are_refused) {
    rbe_model *model = bad_models[_i].make();
    ck_assert_int_eq(rbe_export_c(model, scratch_path("n.c"), NULL), bad_models[_i].status);
    assert_failed(bad_models[_i].status, bad_models[_i].words);
    ck_assert_uint_eq(scratch_count(), 0);
    rbe_model_free(model);
}
END_TEST

START_TEST(attention_cannot_run_several_times) {
    rbe_model *model = with_repeated_attention();
    ck_assert_int_eq(rbe_export_c(model, scratch_path("n.c"), &(rbe_export_options){.places = 4}), BAD);
    assert_failed(BAD, "meet: attention that runs several times cannot be exported");
    ck_assert_uint_eq(scratch_count(), 0);
    rbe_model_free(model);
}
END_TEST

START_TEST(scratch_memory_has_an_end) {
    rbe_model *model = with(attention_of(32));
    const rbe_export_options options = {.places = (size_t)1 << 24};
    ck_assert_int_eq(rbe_export_c(model, scratch_path("n.c"), &options), BAD);
    assert_failed(BAD, "expected less than 2147483647 bytes of scratch memory, found 4");
    ck_assert_uint_eq(scratch_count(), 0);
    rbe_model_free(model);
}
END_TEST

/* Nobody looks at values that would be too many. */
START_TEST(huge_models_are_refused) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 2, "dct", "db4");
    rbe_param *param = rbe_model_param(model, 0);
    const size_t count = param->count;
    param->count = ((size_t)1 << 29) + 1;
    ck_assert_int_eq(rbe_export_c(model, scratch_path("n.c"), NULL), BAD);
    assert_failed(BAD, "at most 2147483648 bytes of values");
    param->count = count;
    ck_assert_ok(rbe_export_c(model, scratch_path("n.c"), NULL));
    rbe_model_free(model);
}
END_TEST

/* ---- what fails on the way ----------------------------------------------------------------------------------- */

static void assert_holds(const char *name, const char *text) {
    bytes b = read_whole(scratch_path(name));
    ck_assert_uint_eq(b.count, strlen(text));
    ck_assert_mem_eq(b.data, text, b.count);
    free(b.data);
}

static void write_old(void) {
    write_whole(scratch_path("n.c"), (bytes){(uint8_t *)"old c", 5});
    write_whole(scratch_path("n.h"), (bytes){(uint8_t *)"old h", 5});
}

static void assert_old(void) {
    assert_holds("n.c", "old c");
    assert_holds("n.h", "old h");
    ck_assert_uint_eq(scratch_count(), 2);
}

START_TEST(full_disk_keeps_the_old_files) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 2, "dct", "db4");
    struct rlimit unlimited, limit;
    getrlimit(RLIMIT_FSIZE, &unlimited);
    limit = unlimited;
    signal(SIGXFSZ, SIG_IGN);
    write_old();
    rbe_status status = RBE_IO_ERROR;
    size_t full = 0;
    for (; status != RBE_OK && full < 1000000; full += 331) { /* the disk is full after so many bytes */
        limit.rlim_cur = full;
        setrlimit(RLIMIT_FSIZE, &limit);
        status = rbe_export_c(model, scratch_path("n.c"), NULL);
        setrlimit(RLIMIT_FSIZE, &unlimited);
        if (status == RBE_OK) break;
        assert_failed(RBE_IO_ERROR, "cannot write");
        assert_old();
    }
    ck_assert_uint_gt(full, 10000);
    ck_assert_int_eq(status, RBE_OK);
    ck_assert_uint_eq(scratch_count(), 2);
    rbe_model_free(model);
}
END_TEST

START_TEST(disk_errors_keep_the_old_files) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 2, "dct", "db4");
    for (int call = 1; call <= 2; call++) { /* of either file */
        write_old();
        failing_fsync = fsync_calls + call;
        ck_assert_int_ne(rbe_export_c(model, scratch_path("n.c"), NULL), RBE_OK);
        assert_failed(RBE_IO_ERROR, "cannot write to the disk");
        assert_old();
    }
    rbe_model_free(model);
}
END_TEST

static bytes stored;

static rbe_status load_and_export(void *user) {
    (void)user;
    rbe_model *model = load_bytes(stored);
    if (!model) return rbe_last_status();
    const rbe_export_options options = {
        .samples = some_samples, .sample_count = 1, .values = RBE_EXPORT_INT8, .tolerance = 1.0};
    const rbe_status status = rbe_export_c(model, scratch_path("n.c"), &options);
    rbe_model_free(model);
    if (status != RBE_OK) assert_old();
    return status;
}

START_TEST(every_allocation_may_fail) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 2, "dct", "db4");
    stored = saved(model, RBE_STORE_F32, RBE_POSITIONS_DELTA);
    rbe_model_free(model);
    write_old();
    ck_assert_uint_gt(fail_each_allocation(load_and_export, NULL), 60);
    free(stored.data);
}
END_TEST

/* ---- what an export leaves alone ----------------------------------------------------------------------------- */

/* In any locale, if one can be made. */
START_TEST(equal_models_give_equal_bytes_and_stay_as_they_are) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 2, "dct", "db4"), *same = small_model(RBE_ALPHA_ON, 2, "dct", "db4");
    const rbe_export_options options = {.samples = some_samples, .sample_count = 1, .values = RBE_EXPORT_INT4};
    bytes files[2][2];
    for (size_t n = 0; n < 2; n++) {
        ck_assert_ok(rbe_export_c(model, scratch_path("n.c"), &options));
        ck_assert(same_models(model, same));
        files[n][0] = read_whole(scratch_path("n.c"));
        files[n][1] = read_whole(scratch_path("n.h"));
        if (n == 0) use_decimal_commas();
    }
    setlocale(LC_ALL, "C");
    for (size_t n = 0; n < 2; n++) {
        ck_assert_uint_eq(files[0][n].count, files[1][n].count);
        ck_assert_mem_eq(files[0][n].data, files[1][n].data, files[0][n].count);
        free(files[0][n].data);
        free(files[1][n].data);
    }
    rbe_model_free(model);
    rbe_model_free(same);
}
END_TEST

/* One byte of the constants, or one number of what is expected, is another. */
START_TEST(a_file_that_computes_something_else_fails) {
    static const char *const marks[] = {"cosines_8[9] = {\n    ", "test_outputs[7] = {\n    "};
    rbe_model *model = small_model(RBE_ALPHA_ON, 2, "dct", "db4");
    const rbe_export_options options = {.name = "m0", .samples = some_samples, .sample_count = 1};
    for (size_t n = 0; n < 3; n++) {
        ck_assert_ok(rbe_export_c(model, scratch_path("m0.c"), &options));
        bytes b = read_whole(scratch_path("m0.c"));
        if (n < 2) {
            char *at = memmem(b.data, b.count, marks[n], strlen(marks[n]));
            ck_assert_ptr_nonnull(at);
            at += strlen(marks[n]);
            at += *at == '-';
            *at = *at == '9' ? '1' : '9';
            write_whole(scratch_path("m0.c"), b);
        }
        ck_assert_int_eq(export_test_passes(), n == 2);
        free(b.data);
    }
    rbe_model_free(model);
}
END_TEST

TCase *export_failures_case(void) {
    TCase *failures = tcase_create("failures");
    tcase_set_timeout(failures, 300);
    tcase_add_checked_fixture(failures, scratch_clear, scratch_clear);
    tcase_add_loop_test(failures, options_are_refused, 0, sizeof refusals / sizeof *refusals);
    tcase_add_test(failures, null_is_an_argument);
    tcase_add_loop_test(failures, models_are_refused, 0, sizeof bad_models / sizeof *bad_models);
    tcase_add_test(failures, attention_cannot_run_several_times);
    tcase_add_test(failures, scratch_memory_has_an_end);
    tcase_add_test(failures, huge_models_are_refused);
    tcase_add_test(failures, full_disk_keeps_the_old_files);
    tcase_add_test(failures, disk_errors_keep_the_old_files);
    tcase_add_test(failures, every_allocation_may_fail);
    tcase_add_test(failures, equal_models_give_equal_bytes_and_stay_as_they_are);
    tcase_add_test(failures, a_file_that_computes_something_else_fails);
    return failures;
}
