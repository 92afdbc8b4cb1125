/* Damaged model files: every truncation, 100,000 mutations, and files whose checksums are right but whose content
 * is not. A reader says no, or gives the very model that was stored; it never crashes, and takes no piece of memory
 * larger than 4 times the file.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/blocks.h"
#include "io_support.h"
#include "support.h"

/* ---- memory is watched --------------------------------------------------------------------------------------- */

static size_t largest_request;

static void *watched_allocate(void *user, size_t size) {
    (void)user;
    if (size > largest_request) largest_request = size;
    return malloc(size);
}

static void watched_release(void *user, void *memory) {
    (void)user;
    free(memory);
}

static void watch_memory(void) {
    largest_request = 0;
    ck_assert_ok(rbe_set_allocator(&(rbe_allocator){watched_allocate, watched_release, NULL}));
}

static void stop_watching(void) { ck_assert_ok(rbe_set_allocator(NULL)); }

/* ---- random damage ------------------------------------------------------------------------------------------- */

static const struct {
    rbe_store store;
    rbe_store_positions positions;
} kinds[] = {
    {RBE_STORE_F32, RBE_POSITIONS_PLAIN},
    {RBE_STORE_INT8, RBE_POSITIONS_DELTA},
    {RBE_STORE_F16, RBE_POSITIONS_SEED},
    {RBE_STORE_INT8, RBE_POSITIONS_SMALLEST} /* of a nested model */
};

enum { KINDS = 4, NESTED = 3, MUTATIONS = 100000 };

static bytes stored_model(int kind) {
    rbe_model *model = kind == NESTED ? nested_model() : small_model(RBE_ALPHA_ON, 3, "dct", "haar");
    bytes b = saved(model, kinds[kind].store, kinds[kind].positions);
    rbe_model_free(model);
    return b;
}

START_TEST(every_truncation_is_refused) {
    bytes b = stored_model(_i);
    watch_memory();
    for (size_t whole = b.count; b.count-- > 0;) {
        ck_assert_msg(!load_bytes(b), "%zu of %zu bytes", b.count, whole);
        ck_assert_int_eq(rbe_last_status(), RBE_BAD_FORMAT);
    }
    stop_watching();
    free(b.data);
}
END_TEST

START_TEST(every_mutation_is_noticed) {
    bytes original = stored_model(_i);
    const size_t loaded = assert_mutations_noticed(original, load_bytes, "", MUTATIONS / KINDS + 1, 1, (uint64_t)_i);
    ck_assert_uint_lt(loaded, MUTATIONS / KINDS / 10); /* by chance unchanged */
    free(original.data);
}
END_TEST

/* ---- damage with right checksums ----------------------------------------------------------------------------- */

static rbe_stored_tensor *tensor_named(contents *c, const char *name) {
    for (size_t n = 0; n < c->count; n++)
        if (strcmp(c->tensors[n].name, name) == 0) return &c->tensors[n];
    ck_abort_msg("there is no tensor %s", name);
    return NULL;
}

static const struct {
    int kind;
    const char *from, *to, *reason;
} forgeries[] = {
    {0, "[{", "{", "byte"},
    {0, "[{\"kind\":\"rbe\"", "[1,{\"kind\":\"rbe\"", "stage 0: its description is not an object"},
    {0, "\"kind\":\"rbe\",", "", "stage 0: its kind is missing"},
    {0, "\"kind\":\"rbe\"", "\"kind\":\"conv\"", "stage 0: its kind, conv, is unknown"},
    {0, "\"kind\":\"rbe\"", "\"kind\":\"dense\"", "stage 0: tensor 0.weight is missing"},
    {0, "\"name\":\"fc1\",", "", "stage 0: name"},
    {0, "\"name\":\"fc1\"", "\"name\":\"fc1..............................................\"", "stage 0: name"},
    {0, "\"in\":75", "\"in\":0", "stage 0: in"},
    {0, "\"in\":75", "\"in\":75.5", "stage 0: in"},
    {0, "\"in\":75", "\"in\":\"75\"", "stage 0: in"},
    {0, "\"in\":75", "\"in\":16777217", "stage 0: in"},
    {0, "\"in\":75", "\"in\":16777216", "0.alpha: expected the shape"},
    {0, "\"in\":75", "\"in\":81", "0.alpha: expected the shape [7, 11, 8]"},
    {0, "\"out\":50", "\"out\":49", "0.bias: expected the shape [49]"},
    {0, "\"out\":50", "\"out\":1000000", "0.alpha: expected the shape"},
    {0, "\"block\":8", "\"block\":0", "stage 0: block"},
    {0, "\"block\":8", "\"block\":9", "stage 0: block"},
    {0, "\"block\":8", "\"block\":512", "stage 0: block"},
    {0, "\"block\":8", "\"block\":16", "0.alpha: expected the shape"},
    {0, "\"group\":3", "\"group\":0", "stage 0: group"},
    {0, "\"group\":3", "\"group\":8", "stage 0: group"},
    {0, "\"group\":3", "\"group\":4", "0.lists: expected the shape"},
    {0, "\"row_transform\":\"dct\"", "\"row_transform\":\"fft\"", "row_transform: transform: expected dct"},
    {0, ",\"row_transform\":\"dct\"", "", "row_transform"},
    {0, ",\"row_transform\":\"dct\"", ",\"row_transform\":\"dct\",\"x\":0", "unknown or occurs twice"},
    {0, ",\"row_transform\":\"dct\"", ",\"row_transform\":\"dct\",\"row_transform\":\"dct\"", "occurs twice"},
    {0, "\"group\":3", "\"group\":3,\"overlap\":5", "stage 0: overlap"},
    {0, "\"group\":3", "\"group\":3,\"overlap\":0", "stage 0: overlap"},
    {0, "\"group\":3", "\"group\":3,\"overlap\":4", "0.alpha: expected the shape"},
    {0, "\"group\":3", "\"group\":3,\"image_height\":75", "stage 0: image: expected height x width"},
    {0, "\"group\":3", "\"group\":3,\"image_height\":5,\"image_width\":16", "stage 0: image"},
    {0, "\"in\":75", "\"in\":100000,\"image_height\":100000,\"image_width\":1", "0.alpha: expected the shape"},
    {0, "{\"kind\":\"relu\"}", "{\"kind\":\"relu\",\"name\":\"a\"}", "stage 1: its description has a member"},
    {0, "{\"kind\":\"relu\"}", "{\"kind\":\"dropout\"}", "stage 1: name"},
    {0, "{\"kind\":\"relu\"},", "", "is missing"},
    {0, "\"probability\":", "\"probability\":1", "stage 2: probability"},
    {0, "\"probability\":", "\"probability\":-", "stage 2: probability"},
    {0, "\"in\":50,\"out\":7", "\"in\":51,\"out\":7", "3.weight: expected the shape [7, 51]"},
    {1, "\"group\":3", "\"group\":1", "0.deltas: "},
    {1, "\"in\":75", "\"in\":65", "0.alpha"},
    {2, "\"seed\":\"18364758544493064720\"", "\"seed\":\"18446744073709551616\"", "seed: expected the digits"},
    {2, "\"seed\":\"18364758544493064720\"", "\"seed\":\"-1\"", "seed: expected the digits"},
    {2, "\"seed\":\"18364758544493064720\"", "\"seed\":\"\"", "seed: expected the digits"},
    {2, "\"seed\":\"18364758544493064720\"", "\"seed\":1", "seed: expected the digits"},
    {2, "\"seed\":\"18364758544493064720\",", "", "expected one of"},
    {2, "\"limit\":", "\"limit\":9", "limit: "},
    {2, "\"limit\":", "\"limit\":-", "stage 0: limit"},
};

enum { FORGERIES = sizeof forgeries / sizeof *forgeries };

START_TEST(descriptions_are_checked) {
    bytes original = stored_model(forgeries[_i].kind);
    contents c = take_apart(original);
    const char *from = forgeries[_i].from, *to = forgeries[_i].to;
    forge(&c, from, to);
    watch_memory();
    ck_assert_msg(!load_contents(&c), "%s for %s", to, from);
    stop_watching();
    assert_failed(RBE_BAD_FORMAT, forgeries[_i].reason);
    ck_assert_msg(largest_request <= 4 * original.count, "%s: %zu bytes for a file of %zu", to, largest_request,
                  original.count);
    discard(&c);
    free(original.data);
}
END_TEST

/* Each changes one tensor of a file of its kind. */
static void nan_value(contents *c) { ((float *)tensor_named(c, "0.values")->values)[5] = NAN; }
static void infinite_bias(contents *c) { ((float *)tensor_named(c, "0.bias")->values)[49] = INFINITY; }
static void nan_alpha(contents *c) { ((float *)tensor_named(c, "0.alpha")->values)[0] = NAN; }
static void nan_weight(contents *c) { ((float *)tensor_named(c, "3.weight")->values)[1] = NAN; }
static void fewer_values(contents *c) { tensor_named(c, "0.values")->shape[0]--; }
static void values_in_2d(contents *c) {
    rbe_stored_tensor *t = tensor_named(c, "0.values");
    t->dims = 2;
    t->shape[1] = 1;
}
static void whole_values(contents *c) { tensor_named(c, "0.values")->dtype = RBE_I32; }
static void pointers_from_one(contents *c) { ((uint32_t *)tensor_named(c, "0.lists")->values)[0] = 1; }
static void pointers_descend(contents *c) { ((uint32_t *)tensor_named(c, "0.lists")->values)[3] = 1u << 31; }
static void pointers_too_far(contents *c) {
    const rbe_stored_tensor *t = tensor_named(c, "0.lists");
    ((uint32_t *)t->values)[t->shape[0] - 1]++;
}
static void fewer_pointers(contents *c) { tensor_named(c, "0.lists")->shape[0]--; }
static void signed_pointers(contents *c) { tensor_named(c, "0.lists")->dtype = RBE_I32; }
static void signed_columns(contents *c) { tensor_named(c, "0.columns")->dtype = RBE_I16; }
static void columns_repeat(contents *c) {
    uint16_t *columns = (uint16_t *)tensor_named(c, "0.columns")->values;
    columns[1] = columns[0];
}
static void column_too_large(contents *c) {
    ((uint16_t *)tensor_named(c, "0.columns")->values)[tensor_named(c, "0.columns")->shape[0] - 1] = 80;
}
static void no_columns(contents *c) { strcpy((char *)tensor_named(c, "0.columns")->name, "0.other"); }
static void no_values(contents *c) { strcpy((char *)tensor_named(c, "0.values")->name, "0.other"); }
static void stray_tensor(contents *c) { strcpy((char *)tensor_named(c, "0.bias")->name, "9.bias"); }
static rbe_stored_tensor one_zero(const char *name, rbe_dtype dtype) {
    return (rbe_stored_tensor){
        .name = strdup(name), .dtype = dtype, .dims = 1, .shape = {1}, .values = calloc(1, sizeof(float))};
}
static void bias_too_many(contents *c) { c->tensors[c->count++] = one_zero("2.bias", RBE_F32); }
static void positions_twice(contents *c) { c->tensors[c->count++] = one_zero("0.deltas", RBE_U8); }
static void newer_version(contents *c) { c->version = "3"; }
static void version_of_packed(contents *c) { c->version = "2"; }

static void fewer_deltas(contents *c) { tensor_named(c, "0.deltas")->shape[0]--; }
static void no_deltas(contents *c) { tensor_named(c, "0.deltas")->shape[0] = 0; }
static void signed_deltas(contents *c) { tensor_named(c, "0.deltas")->dtype = RBE_I8; }
static void long_list(contents *c) { ((uint8_t *)tensor_named(c, "0.deltas")->values)[0] = 81; }
static void long_number(contents *c) { memset((uint8_t *)tensor_named(c, "0.deltas")->values + 1, 0xff, 6); }
static void padded_number(contents *c) { memcpy((uint8_t *)tensor_named(c, "0.deltas")->values + 1, "\x80\x00", 2); }
static void far_column(contents *c) { ((uint8_t *)tensor_named(c, "0.deltas")->values)[1] = 80; }
static void more_deltas(contents *c) {
    rbe_stored_tensor *t = tensor_named(c, "0.deltas");
    ((uint8_t *)t->values)[t->shape[0]++] = 0;
}
static void no_scales(contents *c) { strcpy((char *)tensor_named(c, "0.scales")->name, "0.scalez"); }
static void nan_scale(contents *c) { ((uint16_t *)tensor_named(c, "0.scales")->values)[2] = 0x7fc0; }
static void huge_scale(contents *c) { memset((void *)tensor_named(c, "0.scales")->values, 0x7f, 100); }
static void fewer_scales(contents *c) { tensor_named(c, "3.scales")->shape[0]--; }
static void unscaled(contents *c) { tensor_named(c, "3.weight")->dtype = RBE_U8; }
static void seed_of_more(contents *c) { tensor_named(c, "0.values")->shape[0] -= 3; }

static const struct {
    int kind;
    void (*forge)(contents *);
    const char *reason;
} tensor_forgeries[] = {
    {0, nan_value, "tensor 0.values: value 5 is not finite"},
    {0, infinite_bias, "tensor 0.bias: value 49 is not finite"},
    {0, nan_alpha, "tensor 0.alpha: value 0 is not finite"},
    {0, nan_weight, "tensor 3.weight: value 1 is not finite"},
    {0, fewer_values, "tensor 0.values: expected"},
    {0, values_in_2d, "tensor 0.values: expected the shape"},
    {0, whole_values, "tensor 0.values: expected F32, F16, BF16 or I8, found I32"},
    {0, pointers_from_one, "tensor 0.lists: expected ascending pointers"},
    {0, pointers_descend, "tensor 0.lists: expected ascending pointers"},
    {0, pointers_too_far, "tensor 0.lists: expected ascending pointers"},
    {0, fewer_pointers, "tensor 0.lists: expected the shape"},
    {0, signed_pointers, "tensor 0.lists: expected U32, found I32"},
    {0, signed_columns, "tensor 0.columns: expected U16, found I16"},
    {0, columns_repeat, "tensor 0.columns: position 1, column"},
    {0, column_too_large, "column 80, does not ascend or is not below 80"},
    {0, no_columns, "tensor 0.columns is missing"},
    {0, no_values, "tensor 0.values is missing"},
    {0, stray_tensor, "tensor 9.bias belongs to no stage"},
    {0, bias_too_many, "tensor 2.bias belongs to no stage"},
    {0, positions_twice, "expected one of"},
    {0, newer_version, "expected version 1 or 2 of the format, found 3"},
    {0, version_of_packed, "version 2 of the format, but nothing is packed"},
    {1, fewer_deltas, "tensor 0.deltas: "},
    {1, no_deltas, "tensor 0.deltas: expected the code of"},
    {1, signed_deltas, "tensor 0.deltas: expected U8"},
    {1, long_list, "tensor 0.deltas: the length of list 0"},
    {1, long_number, "tensor 0.deltas: position 0 of list 0"},
    {1, padded_number, "tensor 0.deltas: position 0 of list 0"},
    {1, far_column, "tensor 0.deltas: position 0 of list 0"},
    {1, more_deltas, "tensor 0.deltas: 1 bytes follow the last list"},
    {1, no_scales, "tensor 0.scales is missing"},
    {1, nan_scale, "tensor 0.scales: value 2 is not finite"},
    {1, huge_scale, "tensor 0.values: value"},
    {1, fewer_scales, "tensor 3.scales: expected the shape [7]"},
    {1, unscaled, "tensor 3.weight: expected F32, F16, BF16 or I8, found U8"},
    {2, seed_of_more, "limit"},
};

enum { TENSOR_FORGERIES = sizeof tensor_forgeries / sizeof *tensor_forgeries };

START_TEST(tensors_are_checked) {
    bytes original = stored_model(tensor_forgeries[_i].kind);
    contents c = take_apart(original);
    tensor_forgeries[_i].forge(&c);
    ck_assert_msg(!load_contents(&c), "%s", tensor_forgeries[_i].reason);
    assert_failed(RBE_BAD_FORMAT, tensor_forgeries[_i].reason);
    discard(&c);
    free(original.data);
}
END_TEST

/* Whatever a forger writes, what loads is sound enough to be run. */
START_TEST(forged_models_are_refused_or_sound) {
    bytes original = stored_model(_i);
    rbe_rng *rng = rbe_rng_new(2, (uint64_t)_i);
    contents c = take_apart(original);
    const char *text = "0123456789,:[]{}\"\\ e.-abcdfiklmnoprstuw";
    for (int n = 0; n < 1500; n++) {
        contents forged = c;
        rbe_stored_tensor *t = &forged.tensors[rbe_rng_below(rng, (uint32_t)c.count)];
        size_t size = rbe_dtype_bytes(t->dtype) * t->shape[0] * (t->dims > 1 ? t->shape[1] : 1);
        uint8_t *byte = (uint8_t *)t->values + rbe_rng_below(rng, (uint32_t)size), kept = *byte;
        if (rbe_rng_below(rng, 2)) *byte = (uint8_t)rbe_rng_below(rng, 256);
        char *letter = &forged.stages[rbe_rng_below(rng, (uint32_t)strlen(forged.stages))];
        if (rbe_rng_below(rng, 2) && *letter > 0) *letter = text[rbe_rng_below(rng, 38)];
        rbe_model *model = load_contents(&forged);
        if (!model) ck_assert_int_eq(rbe_last_status(), RBE_BAD_FORMAT);
        if (model && rbe_model_layer(model, 0)) {
            rbe_tensor x = new_tensor(2, (const size_t[]){3, rbe_layer_inputs(rbe_model_layer(model, 0))});
            rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
            rbe_model_forward(model, rbe_input(tape, x));
            rbe_tape_free(tape);
            rbe_tensor_free(&x);
        }
        rbe_model_free(model);
        *byte = kept;
    }
    discard(&c);
    rbe_rng_free(rng);
    free(original.data);
}
END_TEST

START_TEST(valid_files_take_little_memory) {
    bytes b = stored_model(_i);
    watch_memory();
    rbe_model *model = load_bytes(b);
    ck_assert_msg(model != NULL, "%s", rbe_last_error());
    rbe_model_free(model);
    stop_watching();
    ck_assert_msg(largest_request <= 4 * b.count, "%zu bytes for a file of %zu", largest_request, b.count);
    free(b.data);
}
END_TEST

START_TEST(other_files_are_no_models) {
    float value = 1.0f;
    const rbe_stored_tensor tensor = {.name = "0.weight", .dtype = RBE_F32, .values = &value};
    const rbe_metadata metadata[] = {{"rbe.format", "model"}, {"rbe.version", "1"}, {"rbe.stages", "[]"}};
    const char *path = scratch_path("other");
    ck_assert_ok(rbe_tensor_file_save(path, &tensor, 1, NULL, 0, true));
    ck_assert_ptr_null(rbe_model_load(path));
    assert_failed(RBE_BAD_FORMAT,
                  "other: a safetensors file, but not of this library: expected rbe.format model, found none");
    ck_assert_int_eq(rbe_tensor_file_save(path, NULL, 0, metadata, 3, false), RBE_INVALID_ARGUMENT);
    ck_assert_ok(rbe_tensor_file_save(path, NULL, 0, metadata, 3, true));
    bytes b = read_whole(path);
    rename_checksums(b);
    ck_assert_ptr_null(load_bytes(b));
    assert_failed(RBE_BAD_FORMAT, "metadata rbe.format, but the checksums are missing");
    free(b.data);
    ck_assert_ok(rbe_tensor_file_save(path, NULL, 0, metadata, 2, true));
    ck_assert_ptr_null(rbe_model_load(path));
    assert_failed(RBE_BAD_FORMAT, "JSON");
    ck_assert_ok(rbe_tensor_file_save(path, NULL, 0, metadata, 3, true));
    rbe_model *model = rbe_model_load(path);
    ck_assert_msg(model != NULL, "%s", rbe_last_error());
    rbe_model_free(model);
}
END_TEST

/* [59]: whatever byte of a file with checksums is changed, the reader says so, or the file says the same as before. */
START_TEST(every_byte_counts) {
    static const float values[] = {1.5f, -2.0f, 3.25f};
    static const uint8_t small[] = {1, 2, 3, 4, 5};
    const rbe_stored_tensor tensors[] = {{.name = "a", .dtype = RBE_F32, .dims = 1, .shape = {3}, .values = values},
                                         {.name = "b", .dtype = RBE_U8, .dims = 1, .shape = {5}, .values = small}};
    const rbe_metadata metadata = {"made by", "a test"};
    const char *path = scratch_path("bytes");
    ck_assert_ok(rbe_tensor_file_save(path, tensors, 2, &metadata, 1, true));
    bytes b = read_whole(path);
    size_t noticed = 0;
    for (size_t at = 0; at < b.count; at++) {
        uint8_t kept = b.data[at];
        for (int change = 1; change < 256; change++) {
            b.data[at] = kept ^ (uint8_t)change;
            rbe_tensor_file *file = open_bytes(b);
            float found[3];
            uint8_t found_small[5];
            bool same = file && rbe_tensor_file_find(file, "a") == 0 && rbe_tensor_file_find(file, "b") == 1 &&
                        rbe_tensor_file_at(file, 0)->bytes == sizeof found &&
                        rbe_tensor_file_at(file, 1)->bytes == sizeof found_small;
            ck_assert_msg(!file || same, "byte %zu as %d: another header is accepted", at, b.data[at]);
            bool read = file && rbe_tensor_file_read(file, 0, found) == RBE_OK &&
                        rbe_tensor_file_read(file, 1, found_small) == RBE_OK;
            ck_assert_msg(
                !read || (memcmp(found, values, sizeof found) == 0 && memcmp(found_small, small, sizeof small) == 0),
                "byte %zu as %d: other values are accepted", at, b.data[at]);
            ck_assert_msg(!file || file->checksums, "byte %zu as %d: the checksums are off", at, b.data[at]);
            noticed += !read;
            rbe_tensor_file_close(file);
        }
        b.data[at] = kept;
    }
    ck_assert_uint_eq(noticed, 255 * b.count);
    rename_checksums(b); /* two bytes and more: metadata of other names are anybody's */
    rbe_tensor_file *foreign = open_bytes(b);
    ck_assert_msg(foreign != NULL, "%s", rbe_last_error());
    rbe_tensor_file_close(foreign);
    free(b.data);
}
END_TEST

TCase *io_damage_case(void) {
    TCase *damage = tcase_create("damage");
    tcase_add_checked_fixture(damage, scratch_clear, scratch_clear);
    tcase_add_loop_test(damage, every_truncation_is_refused, 0, KINDS);
    tcase_add_loop_test(damage, every_mutation_is_noticed, 0, KINDS);
    tcase_add_loop_test(damage, descriptions_are_checked, 0, FORGERIES);
    tcase_add_loop_test(damage, tensors_are_checked, 0, TENSOR_FORGERIES);
    tcase_add_loop_test(damage, forged_models_are_refused_or_sound, 0, KINDS);
    tcase_add_loop_test(damage, valid_files_take_little_memory, 0, KINDS);
    tcase_add_test(damage, other_files_are_no_models);
    tcase_add_test(damage, every_byte_counts);
    return damage;
}
