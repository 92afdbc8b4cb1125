/* How much memory a small file may take: no more than the bound that it is read under. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_support.h"
#include "support.h"

/* A model of compressed layers of these widths, without values: a file of hardly more than its header. */
static bytes hollow_model(const size_t *widths, size_t layers) {
    const uint8_t zeros[256] = {0};
    char *stages = malloc(layers * 256), (*names)[2][32] = malloc(layers * sizeof *names);
    rbe_stored_tensor *tensors = calloc(2 * layers, sizeof *tensors);
    size_t length = 0;
    for (size_t n = 0; n < layers; n++) {
        length +=
            (size_t)sprintf(stages + length,
                            "%c{\"kind\":\"rbe\",\"name\":\"\",\"in\":%zu,\"out\":%zu,\"block\":256,\"group\":%zu,"
                            "\"row_transform\":\"dct\",\"column_transform\":\"dct\"}",
                            n ? ',' : '[', widths[n], widths[n + 1], (widths[n + 1] + 255) / 256);
        for (size_t t = 0; t < 2; t++) {
            sprintf(names[n][t], "%zu.%s", n, t ? "deltas" : "values");
            tensors[t * layers + n] = (rbe_stored_tensor){
                .name = names[n][t], .dtype = t ? RBE_U8 : RBE_F32, .dims = 1, .shape = {256 * t}, .values = zeros};
        }
    }
    strcpy(stages + length, "]");
    const rbe_metadata metadata[] = {{"rbe.format", "model"}, {"rbe.version", "1"}, {"rbe.stages", stages}};
    const char *path = scratch_path("hollow");
    ck_assert_ok(rbe_tensor_file_save(path, tensors, 2 * layers, metadata, 3, true));
    free(stages);
    free(names);
    free(tensors);
    return read_whole(path);
}

START_TEST(small_files_are_no_large_models) { /* [63] */
    const size_t widths[] = {784, 1 << 24, 10}, pruned[] = {784, 300, 100, 10};
    size_t tables[201];
    for (size_t n = 0; n < 201; n++) tables[n] = 1;
    bytes b = hollow_model(widths, 2);
    ck_assert_uint_lt(b.count, 2000);
    rbe_memory_reset_peak();
    size_t before = rbe_memory().current;
    ck_assert_ptr_null(load_bytes(b));
    assert_failed(RBE_BAD_FORMAT, "stage 0: a sample's inputs and outputs take");
    ck_assert_uint_lt(rbe_memory().peak - before, 20 * b.count);
    rbe_set_max_read_bytes((size_t)3 << 30); /* for those who want it */
    rbe_model *model = load_bytes(b);
    rbe_set_max_read_bytes(0);
    ck_assert_msg(model != NULL, "%s", rbe_last_error());
    rbe_model_free(model);
    free(b.data);

    b = hollow_model(tables, 200); /* half a megabyte of tables for each */
    rbe_memory_reset_peak();
    ck_assert_ptr_null(load_bytes(b));
    assert_failed(RBE_BAD_FORMAT, "it takes");
    ck_assert_uint_lt(rbe_memory().peak - before, 34 << 20);
    free(b.data);

    b = hollow_model(pruned, 3); /* what pruning may leave */
    model = load_bytes(b);
    ck_assert_msg(model != NULL, "%s", rbe_last_error());
    rbe_model_free(model);
    free(b.data);
}
END_TEST

/* The smallest limit under which a file is read is no less than what reading it takes. */
START_TEST(limits_hold) { /* [63] */
    static const rbe_linear_options layers[] = {{.block = 8, .ratio = 4, .alpha = RBE_ALPHA_ON},
                                                {.block = 256, .ratio = 16, .alpha = RBE_ALPHA_ON},
                                                {.block = 256, .ratio = 300, .group = 1, .overlap = 100},
                                                {.block = 16, .ratio = 8, .image_height = 30, .image_width = 40},
                                                {.block = 8, .ratio = 2, .group = 1, .seed = 3}};
    for (size_t n = 0; n < sizeof layers / sizeof *layers; n++) {
        rbe_model *model = rbe_model_new();
        rbe_model_add(model, rbe_linear_new(1200, 700, &layers[n]));
        rbe_model_add(model, rbe_dense_new(700, 70, NULL));
        ck_assert_ok(rbe_model_status(model));
        bytes b = saved(model, n % 2 ? RBE_STORE_F32 : RBE_STORE_INT8, RBE_POSITIONS_SMALLEST);
        rbe_model_free(model);
        size_t before = rbe_memory().current, high = (size_t)16 * b.count;
        if (high < 1 << 25) high = 1 << 25;
        for (size_t low = 0; high - low > high / 64;) {
            size_t middle = low + (high - low) / 2;
            rbe_set_max_read_bytes(middle);
            rbe_memory_reset_peak();
            model = load_bytes(b);
            size_t taken = rbe_memory().peak - before, extra = 1 << 20;
            rbe_model_free(model);
            ck_assert_msg(taken <= middle + extra, "%zu: %zu bytes under a limit of %zu", n, taken, middle);
            if (model)
                high = middle;
            else
                low = middle;
        }
        rbe_set_max_read_bytes(0);
        model = load_bytes(b);
        ck_assert_msg(model != NULL, "%zu: %s", n, rbe_last_error());
        rbe_model_free(model);
        free(b.data);
    }
}
END_TEST

TCase *io_memory_case(void) {
    TCase *memory = tcase_create("memory");
    tcase_add_checked_fixture(memory, scratch_clear, scratch_clear);
    tcase_add_test(memory, small_files_are_no_large_models);
    tcase_add_test(memory, limits_hold);
    return memory;
}
