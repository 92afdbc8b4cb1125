/* Safe inference: every branch, by bad arguments, spoiled blocks, short memory and injected faults. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nn/linear_product.h"
#include "nn/safe_forward.h"
#include "reference.h"
#include "suites.h"
#include "support.h"

enum { IN = 70, OUT = 50, ROWS = 6 };

/* A layer with its input and the outputs of the ordinary forward pass. */
typedef struct fixture {
    rbe_layer *layer;
    float *x, *y, *expected;
    rbe_tensor input, output;
    int warnings;
    char warning[1024];
    rbe_safe_options options;
} fixture;

static void remember_warning(void *user, const char *text) {
    fixture *f = user;
    f->warnings++;
    snprintf(f->warning, sizeof f->warning, "%s", text);
}

static void setup(fixture *f, const rbe_linear_options *options) {
    rbe_linear_options o = options ? *options : (rbe_linear_options){.block = 16, .ratio = 4.0};
    o.name = "fc7";
    memset(f, 0, sizeof *f);
    f->layer = rbe_linear_new(IN, OUT, &o);
    ck_assert_ptr_nonnull(f->layer);
    if (!o.no_bias) fill_normal(layer_part(f->layer, "bias")->value, OUT, 1.0, 3);
    if (layer_part(f->layer, "alpha"))
        fill_normal(layer_part(f->layer, "alpha")->value, layer_part(f->layer, "alpha")->count, 1.0, 4);
    f->x = normals((size_t)ROWS * IN, 1);
    f->y = test_memory((size_t)ROWS * OUT, sizeof *f->y);
    f->expected = test_memory((size_t)ROWS * OUT, sizeof *f->expected);
    f->input = rbe_tensor_3d(f->x, 2, ROWS / 2, IN);
    f->output = rbe_tensor_3d(f->y, 2, ROWS / 2, OUT);
    f->options = (rbe_safe_options){.warn = remember_warning, .user = f};
    run_layer(f->layer, f->input, NULL, f->expected, NULL);
}

static void teardown(fixture *f) {
    rbe_safe_set_fault(NULL, NULL);
    rbe_layer_free(f->layer);
    free(f->x);
    free(f->y);
    free(f->expected);
}

static rbe_status run(fixture *f) { return rbe_linear_forward_safe(f->layer, &f->input, &f->output, &f->options); }

static uint64_t fallbacks(const fixture *f) { return rbe_linear_count(f->layer).fallback_count; }

/* The call fails with this status, these words, and without a fallback. */
static void check_refusal(fixture *f, rbe_status status, const char *words) {
    const rbe_status found = run(f);
    ck_assert_msg(found == status, "%s: %s", rbe_status_name(found), rbe_last_error());
    ck_assert_msg(strstr(rbe_last_error(), words), "no \"%s\" in \"%s\"", words, rbe_last_error());
    ck_assert(f->warnings == 0 && fallbacks(f) == 0);
}

static const rbe_linear_options kinds[] = {
    {.block = 16, .ratio = 4.0, .alpha = RBE_ALPHA_ON},
    {.block = 32, .ratio = 3.0, .alpha = RBE_ALPHA_ON, .no_bias = true, .group = 1},
    {.block = 16, .ratio = 4.0, .overlap = 4, .alpha = RBE_ALPHA_ON},
    {.block = 16, .ratio = 4.0, .image_height = 7, .image_width = 10},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

START_TEST(sound_products_run_compressed) {
    fixture f;
    setup(&f, &kinds[_i]);
    ck_assert_ok(run(&f));
    ck_assert_mem_eq(f.y, f.expected, sizeof(float) * ROWS * OUT);
    ck_assert(f.warnings == 0 && fallbacks(&f) == 0);
    memset(f.y, 0, sizeof(float) * ROWS * OUT);
    ck_assert_ok(rbe_linear_forward_safe(f.layer, &f.input, &f.output, NULL));
    ck_assert_mem_eq(f.y, f.expected, sizeof(float) * ROWS * OUT);
    ck_assert_uint_eq(rbe_linear_count(f.layer).operation_count, 3);
    teardown(&f);
}
END_TEST

START_TEST(shapes_are_checked) {
    fixture f;
    setup(&f, NULL);
    const rbe_tensor input = f.input, output = f.output;
    f.input = rbe_tensor_2d(f.x, ROWS * 2, IN / 2);
    check_refusal(&f, RBE_INPUT_DIMENSION_MISMATCH, "fc7: input has 35 columns, expected 70");
    f.input = input;
    f.output = rbe_tensor_2d(f.y, ROWS - 1, OUT);
    check_refusal(&f, RBE_INPUT_DIMENSION_MISMATCH, "fc7: output is 5 x 50, expected 6 x 50");
    f.output = rbe_tensor_2d(f.y, ROWS, OUT - 1);
    check_refusal(&f, RBE_INPUT_DIMENSION_MISMATCH, "fc7: output is 6 x 49, expected 6 x 50");
    f.output = output;
    f.output.data = NULL;
    check_refusal(&f, RBE_INVALID_ARGUMENT, "output has no data");
    f.output = output;
    f.input.dims = 7;
    check_refusal(&f, RBE_INVALID_ARGUMENT, "dimensions, found 7");
    f.input = input;
    f.options.input_limit = NAN;
    check_refusal(&f, RBE_INVALID_ARGUMENT, "input_limit");
    ck_assert_int_eq(rbe_linear_forward_safe(f.layer, NULL, &f.output, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_linear_forward_safe(NULL, &f.input, &f.output, NULL), RBE_INVALID_ARGUMENT);
    rbe_layer *dense = rbe_dense_new(IN, OUT, NULL);
    ck_assert_int_eq(rbe_linear_forward_safe(dense, &f.input, &f.output, NULL), RBE_INVALID_ARGUMENT);
    rbe_layer_free(dense);
    teardown(&f);
}
END_TEST

START_TEST(inputs_are_checked) {
    static const float bad[] = {NAN, INFINITY, -INFINITY, 2e6F, -2e6F};
    fixture f;
    setup(&f, NULL);
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        char words[64];
        f.x[3 * IN + 11] = bad[n];
        snprintf(words, sizeof words, "fc7: input 221 (row 3, column 11) is %g", (double)bad[n]);
        check_refusal(&f, RBE_NUMERICAL_INSTABILITY, words);
    }
    f.options.input_limit = 3e6F;
    ck_assert_ok(run(&f));
    f.options.input_limit = 0.5F;
    check_refusal(&f, RBE_NUMERICAL_INSTABILITY, "magnitude of at most 0.5");
    teardown(&f);
}
END_TEST

/* The least memory_limit with which the call succeeds. */
static size_t least_limit(fixture *f) {
    size_t refused = 0, accepted = (size_t)1 << 30;
    while (accepted - refused > 1) {
        f->options.memory_limit = refused + (accepted - refused) / 2;
        const rbe_status status = run(f);
        ck_assert(status == RBE_OK || status == RBE_INSUFFICIENT_MEMORY);
        *(status == RBE_OK ? &accepted : &refused) = f->options.memory_limit;
    }
    return accepted;
}

START_TEST(memory_is_estimated) {
    fixture f;
    setup(&f, &kinds[_i]);
    f.options.memory_limit = 1000;
    check_refusal(&f, RBE_INSUFFICIENT_MEMORY, " MB, available 0.00 MB");
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "fc7: required "));
    rbe_arena arena = {0};
    ck_assert_ok(rbe_linear_forward_product(rbe_layer_as_linear(f.layer), &arena, f.x, ROWS, f.y, NULL));
    ck_assert_uint_eq(least_limit(&f), arena.high_water); /* what the product takes, to the byte */
    rbe_arena_free(&arena);
    teardown(&f);
}
END_TEST

START_TEST(available_memory_is_read) {
    char path[] = "/tmp/rbe-meminfo-XXXXXX";
    const int file = mkstemp(path);
    static const char text[] = "MemTotal:       100 kB\nMemAvailable:   2048 kB\nSwapTotal: 1 kB\n";
    ck_assert_int_eq(write(file, text, sizeof text - 1), sizeof text - 1);
    close(file);
    ck_assert_uint_eq(rbe_memory_available(path), 2048 * 1024);
    ck_assert_int_eq(truncate(path, 20), 0);
    ck_assert_uint_eq(rbe_memory_available(path), SIZE_MAX);
    unlink(path);
    ck_assert_uint_eq(rbe_memory_available(path), SIZE_MAX);
}
END_TEST

/* Each kind of damage, repaired afterwards. */
START_TEST(corrupted_blocks_are_named) {
    fixture f;
    setup(&f, &(rbe_linear_options){.block = 16, .ratio = 3.0, .alpha = RBE_ALPHA_ON, .group = 2});
    rbe_blocks *b = rbe_layer_as_linear(f.layer)->blocks;
    const size_t list = b->block + 3, entry = b->list_start[list] + 2; /* of the second group: block rows 2 and 3 */
    ck_assert_uint_gt(b->list_start[list + 1], entry + 1);
    const size_t column = b->columns16[entry], q = column / 16;
    char words[96];

    float *value = rbe_entry_value(b, 1, entry, 1);
    const float kept = *value;
    *value = NAN;
    snprintf(words, sizeof words, "block %zu: coefficient (3, %zu) is nan", 3 * b->grid_cols + q, column % 16);
    check_refusal(&f, RBE_CORRUPTED_BLOCK, words);
    *value = kept;

    b->columns16[entry] = (uint16_t)(b->grid_cols * 16);
    snprintf(words, sizeof words, "entry 2 of list 3 has column %zu", b->grid_cols * 16);
    check_refusal(&f, RBE_CORRUPTED_BLOCK, words);
    b->columns16[entry] = b->columns16[entry - 1];
    check_refusal(&f, RBE_CORRUPTED_BLOCK, "expected ascending");
    b->columns16[entry] = (uint16_t)column;

    float *alpha = rbe_block_alpha(b, 2, 1, 5);
    *alpha = INFINITY;
    snprintf(words, sizeof words, "block %zu: alpha 5 (orthonormal) is inf", 2 * b->grid_cols + 1);
    check_refusal(&f, RBE_CORRUPTED_BLOCK, words);
    *alpha = 0.5F;

    const uint32_t start = b->list_start[list];
    b->list_start[list] = (uint32_t)b->entries + 1;
    check_refusal(&f, RBE_CORRUPTED_BLOCK, "list 2 spans entries");
    b->list_start[list] = b->list_start[list + 1] + 1;
    check_refusal(&f, RBE_CORRUPTED_BLOCK, "list 3 spans entries");
    b->list_start[list] = start;
    b->list_start[0] = 1;
    check_refusal(&f, RBE_CORRUPTED_BLOCK, "block 0: list 0 spans entries 1");
    b->list_start[0] = 0;
    b->value_count--;
    check_refusal(&f, RBE_CORRUPTED_BLOCK, "the lists hold");
    b->value_count++;
    ck_assert_ok(run(&f));
    ck_assert_int_eq(rbe_blocks_check(NULL), RBE_INVALID_ARGUMENT);
    teardown(&f);
}
END_TEST

/* ---- faults -------------------------------------------------------------------------------------------------- */

typedef struct fault {
    bool fail[2], spoil[2]; /* by path */
    int calls[2];
} fault;

static rbe_status inject(void *user, rbe_safe_path path, float *y, size_t count) {
    fault *f = user;
    f->calls[path]++;
    if (f->spoil[path]) y[count - 3] = NAN;
    return f->fail[path] ? rbe_fail(RBE_IO_ERROR, "injected") : RBE_OK;
}

START_TEST(failing_products_fall_back) {
    for (int spoil = 0; spoil < 2; spoil++) {
        fixture f;
        setup(&f, &kinds[_i]);
        fault injected = {.fail = {!spoil}, .spoil = {spoil}};
        rbe_safe_set_fault(inject, &injected);
        for (int times = 1; times <= 2; times++) {
            memset(f.y, 0, sizeof(float) * ROWS * OUT);
            ck_assert_ok(run(&f));
            ck_assert_double_lt(relative_difference(f.y, f.expected, (size_t)ROWS * OUT), 1e-5);
            ck_assert(f.warnings == times && fallbacks(&f) == (uint64_t)times);
            ck_assert(injected.calls[0] == times && injected.calls[1] == times);
        }
        ck_assert_msg(strstr(f.warning, "fc7: the compressed product failed"), "%s", f.warning);
        ck_assert_msg(strstr(f.warning, spoil ? "output 297 (row 5, column 47) is nan" : "IO_ERROR: injected"), "%s",
                      f.warning);
        f.options.warn = NULL; /* counted all the same */
        ck_assert_ok(run(&f));
        ck_assert(f.warnings == 2 && fallbacks(&f) == 3);
        teardown(&f);
    }
}
END_TEST

START_TEST(memory_of_the_fallback_is_estimated) {
    fixture f;
    setup(&f, &kinds[_i]);
    const size_t compressed = least_limit(&f);
    fault injected = {.fail = {true}};
    rbe_safe_set_fault(inject, &injected);
    const size_t limit = least_limit(&f);
    ck_assert_uint_gt(limit, compressed);
    f.options.memory_limit = limit;
    const size_t before = rbe_memory().current;
    rbe_memory_reset_peak();
    ck_assert_ok(run(&f));
    ck_assert_uint_eq(rbe_memory().peak - before, limit);
    f.options.memory_limit = limit - 1;
    injected.calls[RBE_SAFE_FALLBACK] = 0;
    ck_assert_int_eq(run(&f), RBE_INSUFFICIENT_MEMORY);
    ck_assert_int_eq(injected.calls[RBE_SAFE_FALLBACK], 0);
    ck_assert_msg(strstr(rbe_last_error(), " MB to decompress block rows, available "), "%s", rbe_last_error());
    teardown(&f);
}
END_TEST

START_TEST(failing_fallbacks_are_reported) {
    fixture f;
    setup(&f, NULL);
    fault injected = {.spoil = {true, true}};
    rbe_safe_set_fault(inject, &injected);
    ck_assert_int_eq(run(&f), RBE_NUMERICAL_INSTABILITY);
    injected = (fault){.fail = {true, true}};
    ck_assert_int_eq(run(&f), RBE_IO_ERROR);
    ck_assert_uint_eq(fallbacks(&f), 2);
    rbe_safe_set_fault(NULL, NULL);
    layer_part(f.layer, "bias")->value[4] = INFINITY; /* neither path can help */
    ck_assert_int_eq(run(&f), RBE_NUMERICAL_INSTABILITY);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "output 4 (row 0, column 4) is inf"));
    teardown(&f);
}
END_TEST

/* One request for memory fails, each in turn: the compressed product fails with it, the fallback does not. */
START_TEST(short_memory_is_survived) {
    size_t fell_back = 0, failed = 0;
    for (size_t at = 1;; at++) {
        failing_allocator allocator;
        fixture f;
        failing_allocator_install(&allocator, 0);
        setup(&f, &kinds[_i]);
        allocator.fail_at = allocator.requests + at;
        const rbe_status status = run(&f);
        ck_assert(status == RBE_OK || status == RBE_INSUFFICIENT_MEMORY);
        const bool reached = allocator.requests >= allocator.fail_at;
        if (status == RBE_OK) ck_assert_double_lt(relative_difference(f.y, f.expected, (size_t)ROWS * OUT), 1e-5);
        fell_back += reached && status == RBE_OK;
        failed += status != RBE_OK;
        teardown(&f);
        failing_allocator_remove(&allocator);
        if (!reached) break;
    }
    ck_assert_uint_gt(fell_back, 0);
    ck_assert_uint_eq(failed, 0); /* one failure never takes both paths */
}
END_TEST

/* The same with the compressed path out of order: all of the fallback's own requests fail once. */
START_TEST(short_memory_of_the_fallback_is_reported) {
    size_t failed = 0;
    for (size_t at = 1;; at++) {
        failing_allocator allocator;
        fixture f;
        failing_allocator_install(&allocator, 0);
        setup(&f, &kinds[_i]);
        fault injected = {.fail = {true}};
        rbe_safe_set_fault(inject, &injected);
        allocator.fail_at = allocator.requests + at;
        const rbe_status status = run(&f);
        const bool reached = allocator.requests >= allocator.fail_at;
        ck_assert(status == RBE_OK || status == RBE_INSUFFICIENT_MEMORY);
        failed += status != RBE_OK;
        teardown(&f);
        failing_allocator_remove(&allocator);
        if (!reached) break;
    }
    ck_assert_uint_gt(failed, 2);
}
END_TEST

Suite *safe_suite(void) {
    Suite *suite = suite_create("safe");
    TCase *checks = tcase_create("checks"), *faults = tcase_create("faults");
    tcase_add_loop_test(checks, sound_products_run_compressed, 0, KINDS);
    tcase_add_test(checks, shapes_are_checked);
    tcase_add_test(checks, inputs_are_checked);
    tcase_add_loop_test(checks, memory_is_estimated, 0, KINDS);
    tcase_add_test(checks, available_memory_is_read);
    tcase_add_test(checks, corrupted_blocks_are_named);
    suite_add_tcase(suite, checks);
    tcase_add_loop_test(faults, failing_products_fall_back, 0, KINDS);
    tcase_add_loop_test(faults, memory_of_the_fallback_is_estimated, 0, KINDS);
    tcase_add_test(faults, failing_fallbacks_are_reported);
    tcase_add_loop_test(faults, short_memory_is_survived, 0, KINDS);
    tcase_add_loop_test(faults, short_memory_of_the_fallback_is_reported, 0, KINDS);
    suite_add_tcase(suite, faults);
    return suite;
}
