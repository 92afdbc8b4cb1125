/* Files in the small library: what the full one refuses it refuses for the same reason, with or without its memory. */
#include <stdlib.h>
#include <string.h>

#include "infer_support.h"
#include "packed_support.h"
#include "support.h"

/* The small library does with a file what the full one does: a model with the same values, or the same status and text.
 * Returns whether there was a model. */
static bool check_same_fate(bytes file) {
    rbe_model *a = load_bytes(file), *b = small.rbe_model_load_memory(file.data, file.count);
    ck_assert_msg(!a == !b, "%s; %s", rbe_last_error(), small.rbe_last_error());
    if (a) check_same_model(a, b);
    if (!a) ck_assert_str_eq(rbe_last_error(), small.rbe_last_error());
    if (!a) ck_assert_int_eq(rbe_last_status(), small.rbe_last_status());
    const bool loaded = a != NULL;
    rbe_model_free(a);
    small.rbe_model_free(b);
    ck_assert_uint_eq(small.rbe_memory().current, 0);
    return loaded;
}

static rbe_model *few_bits(void) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 3, "dct", "haar");
    give_bits(model, 3, 1);
    return model;
}

static rbe_model *plain(void) { return small_model(RBE_ALPHA_ON, 3, "dct", "haar"); }

static rbe_model *(*const models[])(void) = {plain, few_bits, grown_model, nested_model};
enum { MODELS = sizeof models / sizeof *models };

static bytes file_of(int n, size_t room) {
    rbe_model *model = models[n]();
    bytes file = saved(model, RBE_STORE_F16, RBE_POSITIONS_SMALLEST);
    rbe_model_free(model);
    file.data = realloc(file.data, file.count + room);
    return file;
}

/* Random damage, with checksums and, so that it comes to the parser of JSON, without. */
START_TEST(damage_is_refused_alike) {
    enum { ROOM = 64, TIMES = 3000 / LESS_DAMAGE };
    small_library_load(NULL);
    bytes original = file_of(_i % MODELS, ROOM), b = {malloc(original.count + ROOM), 0};
    if (_i >= MODELS) rename_checksums(original);
    rbe_rng *rng = rbe_rng_new(5, (uint64_t)_i);
    for (int n = 0; n < TIMES; n++) {
        b.count = original.count;
        memcpy(b.data, original.data, b.count);
        mutate(&b, original.count + ROOM, rng);
        check_same_fate(b);
    }
    rbe_rng_free(rng);
    free(original.data);
    free(b.data);
}
END_TEST

START_TEST(cut_files_are_refused_alike) {
    small_library_load(NULL);
    bytes file = file_of(_i, 0);
    for (size_t count = 1; count < file.count; count += 1 + count / 100)
        ck_assert(!check_same_fate((bytes){file.data, count}));
    ck_assert(check_same_fate(file));
    free(file.data);
}
END_TEST

/* Stages that a forger has changed, a byte here and there, under right checksums. */
START_TEST(forged_stages_are_refused_alike) {
    static const char bytes_of_json[] = "0123456789,:[]{}\"\\ue.-+ tfn\t\x1f";
    small_library_load(NULL);
    bytes file = file_of(_i, 0);
    rbe_rng *rng = rbe_rng_new(6, (uint64_t)_i);
    size_t loaded = 0;
    for (int n = 0; n < 2000 / LESS_DAMAGE; n++) {
        contents c = take_apart(file);
        for (uint32_t times = 1 + rbe_rng_below(rng, 2); times > 0; times--) {
            char *at = &c.stages[rbe_rng_below(rng, (uint32_t)strlen(c.stages))];
            if ((uint8_t)*at < 0x80)
                *at = bytes_of_json[rbe_rng_below(rng, sizeof bytes_of_json - 1)]; /* else: of UTF-8 */
        }
        bytes forged = put_together(&c);
        loaded += check_same_fate(forged);
        free(forged.data);
        discard(&c);
    }
    ck_assert_uint_gt(loaded, 0);
    rbe_rng_free(rng);
    free(file.data);
}
END_TEST

/* ---- memory -------------------------------------------------------------------------------------------------- */

static size_t requests, failing;

static void *allocate(void *user, size_t count) {
    (void)user;
    return ++requests == failing ? NULL : malloc(count);
}

static void release(void *user, void *memory) {
    (void)user;
    free(memory);
}

static rbe_status load_and_predict(bytes file, size_t inputs) {
    float *x = normals(2 * inputs, 1), *y = test_memory(2 * inputs, sizeof *y);
    rbe_model *model = small.rbe_model_load_memory(file.data, file.count);
    rbe_status status = model ? small.rbe_predict(model, x, 2, y) : small.rbe_last_status();
    small.rbe_model_free(model);
    free(x);
    free(y);
    return status;
}

/* Each request fails in turn; afterwards nothing is held. */
START_TEST(no_memory_is_reported) {
    static const size_t inputs[MODELS] = {75, 75, 75, 12};
    small_library_load(NULL);
    bytes file = file_of(_i, 0);
    ck_assert_ok(small.rbe_set_allocator(&(rbe_allocator){allocate, release, NULL}));
    rbe_status status = RBE_INSUFFICIENT_MEMORY;
    for (failing = 1; status != RBE_OK; failing++) {
        requests = 0;
        status = load_and_predict(file, inputs[_i]);
        ck_assert(status == RBE_OK || (status == RBE_INSUFFICIENT_MEMORY && requests >= failing));
        ck_assert_uint_eq(small.rbe_memory().current, 0);
    }
    ck_assert_uint_gt(failing, 20);
    free(file.data);
}
END_TEST

TCase *infer_files_case(void) {
    TCase *files = tcase_create("files");
    tcase_set_timeout(files, 300);
    tcase_add_loop_test(files, damage_is_refused_alike, 0, 2 * MODELS);
    tcase_add_loop_test(files, cut_files_are_refused_alike, 0, MODELS);
    tcase_add_loop_test(files, forged_stages_are_refused_alike, 0, MODELS);
    tcase_add_loop_test(files, no_memory_is_reported, 0, MODELS);
    return files;
}
