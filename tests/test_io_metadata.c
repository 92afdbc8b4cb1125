/* Texts that a model carries through its files, and the sizes of these files before they are written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_support.h"
#include "support.h"

/* Among them what JSON escapes, and what is not ASCII. */
static const rbe_metadata texts[] = {
    {"", "no key"},
    {"classes", "cat\ndog\t\"bird\" \\ \x01"},
    {"empty", ""},
    {"format", "pt"},
    {"input.mean", "0.130660295"},
    {"rbe", "not the library's"},
    {"\xc3\xa4\xe2\x82\xac", "\xf0\x9f\x90\xa6"},
};
enum { TEXTS = sizeof texts / sizeof *texts };

/* In an order of their own. */
static void set_texts(rbe_model *model) {
    for (size_t n = 0; n < TEXTS; n++) {
        const rbe_metadata *pair = &texts[(n * 3 + 2) % TEXTS];
        ck_assert_ok(rbe_model_set_metadata(model, pair->key, pair->value));
    }
}

static void assert_texts(const rbe_model *model) {
    ck_assert_msg(model != NULL, "%s", rbe_last_error());
    for (size_t n = 0; n < TEXTS; n++) {
        ck_assert_str_eq(rbe_model_metadata_at(model, n)->key, texts[n].key);
        ck_assert_str_eq(rbe_model_metadata_at(model, n)->value, texts[n].value);
        ck_assert_str_eq(rbe_model_metadata(model, texts[n].key), texts[n].value);
    }
    ck_assert_ptr_null(rbe_model_metadata_at(model, TEXTS));
}

START_TEST(texts_come_back) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 3, "dct", "dct");
    bytes without = saved(model, RBE_STORE_F16, RBE_POSITIONS_SMALLEST);
    set_texts(model);
    assert_texts(model);
    bytes first = saved(model, RBE_STORE_F16, RBE_POSITIONS_SMALLEST);
    rbe_model *loaded = load_bytes(first);
    assert_texts(loaded);
    bytes second = saved(loaded, RBE_STORE_F16, RBE_POSITIONS_SMALLEST); /* they stay with the model */
    ck_assert_uint_eq(second.count, first.count);
    ck_assert_mem_eq(second.data, first.data, first.count);
    for (size_t n = 0; n < TEXTS; n++) ck_assert_ok(rbe_model_set_metadata(loaded, texts[n].key, NULL));
    bytes third = saved(loaded, RBE_STORE_F16, RBE_POSITIONS_SMALLEST);
    ck_assert_uint_eq(third.count, without.count);
    ck_assert_mem_eq(third.data, without.data, without.count);
    rbe_model_free(loaded);
    rbe_model_free(model);
    free(without.data), free(first.data), free(second.data), free(third.data);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(texts_are_set_and_removed) {
    rbe_model *model = rbe_model_new();
    ck_assert_ptr_null(rbe_model_metadata(model, "a"));
    ck_assert_ptr_null(rbe_model_metadata_at(model, 0));
    ck_assert_ok(rbe_model_set_metadata(model, "a", NULL)); /* there is none */
    ck_assert_ok(rbe_model_set_metadata(model, "b", "1"));
    ck_assert_ok(rbe_model_set_metadata(model, "a", "2"));
    ck_assert_ok(rbe_model_set_metadata(model, "b", rbe_model_metadata(model, "a"))); /* the model's own text */
    ck_assert_str_eq(rbe_model_metadata(model, "b"), "2");
    ck_assert_str_eq(rbe_model_metadata_at(model, 1)->key, "b");
    ck_assert_ok(rbe_model_set_metadata(model, rbe_model_metadata_at(model, 0)->key, NULL));
    ck_assert_ptr_null(rbe_model_metadata(model, "a"));
    ck_assert_str_eq(rbe_model_metadata_at(model, 0)->key, "b");
    ck_assert_ptr_null(rbe_model_metadata(model, NULL));
    ck_assert_ptr_null(rbe_model_metadata(NULL, "b"));
    ck_assert_ptr_null(rbe_model_metadata_at(NULL, 0));
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

static const struct {
    const char *key, *value, *reason;
} refused[] = {
    {NULL, "1", "expected a key in UTF-8, found NULL"},
    {"\xff", "1", "expected a key in UTF-8, found other bytes"},
    {"a", "\xc3", "a: its text is not UTF-8"},
    {"rbe.stages", "[]", "rbe.stages: keys that begin with rbe. are the library's"},
    {"rbe.", NULL, "keys that begin with rbe. are the library's"},
};

START_TEST(texts_that_are_refused) {
    rbe_model *model = rbe_model_new();
    ck_assert_ok(rbe_model_set_metadata(model, "a", "kept"));
    ck_assert_int_ne(rbe_model_set_metadata(model, refused[_i].key, refused[_i].value), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, refused[_i].reason);
    ck_assert_str_eq(rbe_model_metadata(model, "a"), "kept");
    ck_assert_ptr_null(rbe_model_metadata_at(model, 1));
    ck_assert_int_eq(rbe_model_set_metadata(NULL, "a", "b"), RBE_INVALID_ARGUMENT);
    rbe_model_free(model);
}
END_TEST

START_TEST(memory_for_texts_may_be_short) {
    bool reached = true;
    for (size_t n = 1; reached; n++) {
        failing_allocator allocator;
        failing_allocator_install(&allocator, n);
        rbe_model *model = rbe_model_new();
        bool first = rbe_model_set_metadata(model, "a", "1") == RBE_OK;
        bool second = rbe_model_set_metadata(model, "a", "22") == RBE_OK;
        if (model && second) ck_assert_str_eq(rbe_model_metadata(model, "a"), "22");
        if (first && !second) ck_assert_str_eq(rbe_model_metadata(model, "a"), "1");
        rbe_model_free(model);
        reached = failing_allocator_remove(&allocator);
        ck_assert(reached == !(first && second));
    }
}
END_TEST

/* A file's texts count as the memory of its model. */
START_TEST(long_texts_take_the_models_memory) {
    enum { LENGTH = 3000000 };
    char *text = test_memory(LENGTH + 1, 1);
    memset(text, 'x', LENGTH);
    rbe_model *model = small_model(RBE_ALPHA_ON, 1, "dct", "dct");
    ck_assert_ok(rbe_model_set_metadata(model, "long", text));
    bytes b = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    rbe_model_free(model);
    model = load_bytes(b);
    ck_assert_msg(model && strcmp(rbe_model_metadata(model, "long"), text) == 0, "%s", rbe_last_error());
    rbe_model_free(model);
    rbe_set_max_read_bytes(b.count); /* enough for the header, and for the text or the layers */
    ck_assert_ptr_null(load_bytes(b));
    rbe_set_max_read_bytes(0);
    assert_failed(RBE_BAD_FORMAT, "expected at most");
    free(text);
    free(b.data);
}
END_TEST

/* ---- damage -------------------------------------------------------------------------------------------------- */

START_TEST(changed_texts_are_noticed) {
    rbe_model *model = rbe_model_new();
    set_texts(model);
    bytes b = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    rbe_model_free(model);
    uint8_t *at = memmem(b.data, b.count, "0.130660295", 11);
    ck_assert_ptr_nonnull(at);
    at[2] = '2';
    ck_assert_ptr_null(load_bytes(b));
    assert_failed(RBE_BAD_FORMAT, "the header is damaged");
    free(b.data);
}
END_TEST

/* ---- sizes --------------------------------------------------------------------------------------------------- */

static rbe_model *with_image(void) {
    rbe_model *model = rbe_model_new();
    const rbe_linear_options image = {.block = 16, .image_height = 5, .image_width = 15, .overlap = 4, .group = 2};
    rbe_model_add(model, rbe_linear_new(75, 50, &image));
    set_texts(model);
    return model;
}

static rbe_model *without_values(void) { return rbe_model_new(); }
static rbe_model *with_alpha(void) { return small_model(RBE_ALPHA_ON, 3, "dct", "haar"); }
static rbe_model *without_alpha(void) { return small_model(RBE_ALPHA_OFF, 1, "wht", "db4"); }

static rbe_model *of_many_layers(void) { /* numbers of one digit and of two */
    rbe_model *model = rbe_model_new();
    for (size_t n = 0; n < 12; n++) {
        rbe_model_add(model, rbe_dense_new(n + 1, n + 2, NULL));
        rbe_model_apply(model, rbe_tanh);
    }
    return model;
}

static rbe_model *(*const models[])(void) = {without_values, with_alpha,     without_alpha,
                                             grown_model,    of_many_layers, with_image};
enum { MODELS = sizeof models / sizeof *models, STORES = 4, POSITIONS = 4 };

START_TEST(sizes_are_known_before) {
    const rbe_save_options options = {(rbe_store)(_i % STORES), (rbe_store_positions)(_i / STORES % POSITIONS)};
    rbe_model *model = models[_i / (STORES * POSITIONS)]();
    ck_assert_ok(rbe_model_status(model));
    const char *path = scratch_path("sized");
    size_t size = 12345;
    rbe_status status = rbe_model_stored_bytes(model, &options, &size);
    ck_assert_uint_eq(scratch_count(), 0); /* nothing is written */
    ck_assert_int_eq(rbe_model_save(model, path, &options), status);
    if (status == RBE_OK) {
        bytes b = read_whole(path);
        ck_assert_uint_eq(size, b.count);
        free(b.data);
    } else {
        ck_assert(options.positions == RBE_POSITIONS_SEED && models[_i / (STORES * POSITIONS)] == grown_model);
        ck_assert_uint_eq(size, 12345);
    }
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(sizes_that_nobody_knows) {
    size_t size = 0;
    rbe_model *model = small_model(RBE_ALPHA_ON, 1, "dct", "dct");
    ck_assert_int_eq(rbe_model_stored_bytes(NULL, NULL, &size), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_model_stored_bytes(model, NULL, NULL), RBE_INVALID_ARGUMENT);
    assert_failed(RBE_INVALID_ARGUMENT, "the result is NULL");
    ck_assert_int_ne(rbe_model_stored_bytes(model, &(rbe_save_options){.store = (rbe_store)9}, &size), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "save options");
    rbe_model_param(model, 0)->value[3] = 1e6f;
    ck_assert_int_ne(rbe_model_stored_bytes(model, &(rbe_save_options){.store = RBE_STORE_F16}, &size), RBE_OK);
    assert_failed(RBE_NUMERICAL_INSTABILITY, "0.values: value 3, 1e+06, is beyond the range of F16");
    ck_assert_ok(rbe_model_stored_bytes(model, NULL, &size));
    bytes b = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    ck_assert_uint_eq(size, b.count);
    rbe_model_free(model);
    free(b.data);
}
END_TEST

TCase *io_metadata_case(void) {
    TCase *metadata = tcase_create("metadata");
    tcase_add_checked_fixture(metadata, scratch_clear, scratch_clear);
    tcase_add_test(metadata, texts_come_back);
    tcase_add_test(metadata, texts_are_set_and_removed);
    tcase_add_loop_test(metadata, texts_that_are_refused, 0, sizeof refused / sizeof *refused);
    tcase_add_test(metadata, memory_for_texts_may_be_short);
    tcase_add_test(metadata, long_texts_take_the_models_memory);
    tcase_add_test(metadata, changed_texts_are_noticed);
    tcase_add_loop_test(metadata, sizes_are_known_before, 0, MODELS * STORES * POSITIONS);
    tcase_add_test(metadata, sizes_that_nobody_knows);
    return metadata;
}
