/* Compressed matrices among other tensors: what is stored comes back, for the library and for Python; damage is
 * noticed, and descriptions that lie are refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codec/blocks.h"
#include "io/blocks_code.h"
#include "io_support.h"
#include "support.h"

enum { STORES = 4, POSITIONS = 3 /* of any matrix: the seed apart */ };

static const rbe_compress_options kinds[] = {
    {.block = 8, .alpha = RBE_ALPHA_ON},
    {.block = 16, .group = 2, .alpha = RBE_ALPHA_OFF},
    {.block = 8, .group = 3, .overlap = 3},
    {.block = 8, .image_height = 5, .image_width = 15},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static rbe_blocks *matrix_of(int kind, uint64_t seed) {
    rbe_compress_options options = kinds[kind];
    options.ratio = 4;
    rbe_blocks *blocks;
    float *w = normals((size_t)50 * 75, seed);
    ck_assert_ok(rbe_compress(&blocks, w, 50, 75, &options));
    free(w);
    return blocks;
}

/* A file of two compressed matrices and two other tensors, one of them copied from another file. */
static bytes save_file(const rbe_blocks *a, const rbe_blocks *b, const rbe_save_options *save) {
    static const float bias[5] = {1, 2, 3, 4, 5};
    const uint8_t odd[3] = {7, 8, 9};
    char source_path[400];
    strcpy(source_path, scratch_path("source"));
    const rbe_stored_tensor other = {.name = "odd", .dtype = RBE_U8, .dims = 1, .shape = {3}, .values = odd};
    ck_assert_ok(rbe_tensor_file_save(source_path, &other, 1, NULL, 0, false));
    rbe_tensor_file *source = rbe_tensor_file_open(source_path);
    const rbe_stored_tensor tensors[] = {{.name = "odd", .dtype = RBE_U8, .dims = 1, .shape = {3}, .source = source},
                                         {.name = "fc.weight", .blocks = a, .save = *save},
                                         {.name = "fc.bias", .dtype = RBE_F32, .dims = 1, .shape = {5}, .values = bias},
                                         {.name = "\xc3\xa4 \"2\"", .blocks = b, .save = *save}};
    const rbe_metadata metadata[] = {{"made.by", "a test"}};
    const char *path = scratch_path("matrices");
    ck_assert_ok(rbe_tensor_file_save(path, tensors, 4, metadata, 1, false));
    rbe_tensor_file_close(source);
    return read_whole(path);
}

static rbe_blocks *read_matrix(const rbe_tensor_file *file, const char *name) {
    rbe_blocks *blocks;
    ck_assert_msg(rbe_tensor_file_read_blocks(file, name, &blocks) == RBE_OK, "%s: %s", name, rbe_last_error());
    return blocks;
}

/* Bytes of the tensors whose names begin with NAME and a dot, biases apart. */
static size_t bytes_of(const rbe_tensor_file *file, const char *name) {
    const rbe_tensor_info *info;
    size_t total = 0, length = strlen(name);
    for (size_t n = 0; (info = rbe_tensor_file_at(file, n)); n++)
        if (strncmp(info->name, name, length) == 0 && info->name[length] == '.' && strcmp(info->name, "fc.bias") != 0)
            total += info->bytes;
    return total;
}

START_TEST(matrices_come_back) {
    const rbe_save_options save = {(rbe_store)(_i % STORES), (rbe_store_positions)(_i / STORES % POSITIONS)};
    rbe_blocks *a = matrix_of(_i / (STORES * POSITIONS), 1), *b = matrix_of(0, 2);
    bytes first = save_file(a, b, &save);
    rbe_tensor_file *file = open_bytes(first);
    ck_assert_str_eq(rbe_tensor_file_matrix(file, 0), "fc.weight");
    ck_assert_str_eq(rbe_tensor_file_matrix(file, 1), "\xc3\xa4 \"2\"");
    ck_assert_ptr_null(rbe_tensor_file_matrix(file, 2));
    ck_assert_str_eq(rbe_tensor_file_metadata(file, "made.by"), "a test");
    float bias[5];
    uint8_t odd[3];
    ck_assert_ok(rbe_tensor_file_read(file, rbe_tensor_file_find(file, "fc.bias"), bias));
    ck_assert_ok(rbe_tensor_file_read(file, rbe_tensor_file_find(file, "odd"), odd));
    ck_assert(bias[4] == 5.0f && odd[2] == 9);
    const rbe_tensor_info *info;
    size_t at = 0; /* wide values stand first, so all are aligned */
    for (size_t n = 0; (info = rbe_tensor_file_at(file, n)); at += info->bytes, n++)
        ck_assert_uint_eq(at % rbe_dtype_bytes(info->dtype), 0);

    rbe_blocks *found_a = read_matrix(file, "fc.weight"), *found_b = read_matrix(file, "\xc3\xa4 \"2\"");
    if (save.store == RBE_STORE_F32) ck_assert(same_matrices(found_a, a) && same_matrices(found_b, b));
    bytes second = save_file(found_a, found_b, &save); /* rounded once, rounded for ever */
    ck_assert_uint_eq(second.count, first.count);
    ck_assert_mem_eq(second.data, first.data, first.count);
    float *w = test_memory((size_t)50 * 75, sizeof *w), *again = test_memory((size_t)50 * 75, sizeof *again);
    ck_assert_ok(rbe_decompress(a, w));
    ck_assert_ok(rbe_decompress(found_a, again));
    static const double rounding[STORES] = {0, 1e-3, 1e-2, 2e-2};
    ck_assert_double_le(relative_difference(again, w, (size_t)50 * 75), rounding[save.store]);

    size_t expected;
    ck_assert_ok(rbe_blocks_stored_bytes(a, &save, &expected));
    ck_assert_uint_eq(bytes_of(file, "fc.weight"), expected);
    rbe_tensor_file_close(file);
    rbe_blocks_free(a);
    rbe_blocks_free(b);
    rbe_blocks_free(found_a);
    rbe_blocks_free(found_b);
    free(w);
    free(again);
    free(first.data);
    free(second.data);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Positions that were drawn cost nothing here either. */
START_TEST(seeds_come_back) {
    rbe_layer *layer = rbe_linear_new(75, 50, &(rbe_linear_options){.block = 8, .seed = 0xfedcba9876543210});
    const rbe_blocks *blocks = rbe_linear_blocks(layer);
    const rbe_save_options seed = {RBE_STORE_F32, RBE_POSITIONS_SEED}, defaults = {0};
    bytes b = save_file(blocks, blocks, &defaults);
    rbe_tensor_file *file = open_bytes(b);
    rbe_blocks *found = read_matrix(file, "fc.weight");
    ck_assert(same_matrices(found, blocks));
    size_t stored;
    ck_assert_ok(rbe_blocks_stored_bytes(blocks, &seed, &stored));
    ck_assert_uint_eq(stored, blocks->value_count * sizeof(float) + (blocks->alpha ? 7 * 10 * 8 * sizeof(float) : 0));
    rbe_blocks_free(found);
    rbe_tensor_file_close(file);
    free(b.data);
    rbe_layer_free(layer);
}
END_TEST

START_TEST(bad_requests_are_refused) {
    rbe_blocks *a = matrix_of(0, 1), *found = a;
    const char *path = scratch_path("refused");
    rbe_stored_tensor tensors[2] = {{.name = "w", .blocks = a}, {.name = "w", .blocks = a}};
    ck_assert_int_ne(rbe_tensor_file_save(path, tensors, 2, NULL, 0, true), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "occurs twice");
    tensors[1] =
        (rbe_stored_tensor){.name = "w.values", .dtype = RBE_F32, .dims = 1, .shape = {1}, .values = a->values};
    ck_assert_int_ne(rbe_tensor_file_save(path, tensors, 2, NULL, 0, true), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "tensor w.values occurs twice");
    tensors[0].name = NULL;
    ck_assert_int_ne(rbe_tensor_file_save(path, tensors, 1, NULL, 0, true), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "expected a name");
    tensors[0] = (rbe_stored_tensor){.name = "w", .blocks = a, .values = a->values};
    ck_assert_int_ne(rbe_tensor_file_save(path, tensors, 1, NULL, 0, true), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "matrix w: expected");
    tensors[0] = (rbe_stored_tensor){.name = "w", .blocks = a, .save = {(rbe_store)9, RBE_POSITIONS_PLAIN}};
    ck_assert_int_ne(rbe_tensor_file_save(path, tensors, 1, NULL, 0, true), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "known options");
    tensors[0].save = (rbe_save_options){.positions = RBE_POSITIONS_SEED};
    ck_assert_int_ne(rbe_tensor_file_save(path, tensors, 1, NULL, 0, true), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "matrix w: its positions have no seed");
    tensors[0] = (rbe_stored_tensor){.name = "w\xff", .blocks = a};
    ck_assert_int_ne(rbe_tensor_file_save(path, tensors, 1, NULL, 0, true), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "not UTF-8");
    tensors[0].name = "w";
    const rbe_metadata taken = {RBE_FORMAT_KEY, "mine"};
    ck_assert_int_ne(rbe_tensor_file_save(path, tensors, 1, &taken, 1, true), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "rbe.format occurs twice");
    a->values[3] = 1e5f;
    tensors[0].save = (rbe_save_options){.store = RBE_STORE_F16};
    ck_assert_int_ne(rbe_tensor_file_save(path, tensors, 1, NULL, 0, true), RBE_OK);
    assert_failed(RBE_NUMERICAL_INSTABILITY, "w.values: value 3, 100000, is beyond the range of F16");
    size_t count;
    ck_assert_int_eq(rbe_blocks_stored_bytes(a, &tensors[0].save, &count), RBE_NUMERICAL_INSTABILITY);
    ck_assert_int_eq(rbe_blocks_stored_bytes(NULL, NULL, &count), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_blocks_stored_bytes(a, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_ne(access(path, F_OK), 0);

    const rbe_save_options f32 = {0};
    bytes b = save_file(a, a, &f32);
    rbe_tensor_file *file = open_bytes(b);
    ck_assert_int_ne(rbe_tensor_file_read_blocks(file, "fc", &found), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "there is no compressed matrix fc");
    ck_assert_ptr_null(found);
    ck_assert_int_eq(rbe_tensor_file_read_blocks(file, NULL, &found), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_tensor_file_read_blocks(NULL, "fc.weight", &found), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_tensor_file_read_blocks(file, "fc.weight", NULL), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_null(rbe_tensor_file_matrix(NULL, 0));
    rbe_tensor_file_close(file);
    ck_assert_ptr_null(load_bytes(b));
    assert_failed(RBE_BAD_FORMAT, "expected rbe.format model, found tensors");
    free(b.data);
    rbe_blocks_free(a);
}
END_TEST

/* ---- damage -------------------------------------------------------------------------------------------------- */

static const rbe_save_options damaged[] = {{RBE_STORE_F32, RBE_POSITIONS_PLAIN}, {RBE_STORE_INT8, RBE_POSITIONS_DELTA}};

enum { DAMAGED = 2, MUTATIONS = 20000 };

/* The matrix, or NULL with an error. */
static rbe_blocks *load_matrix(bytes b) {
    rbe_tensor_file *file = open_bytes(b);
    rbe_blocks *blocks = NULL;
    if (file && rbe_tensor_file_matrix(file, 0)) rbe_tensor_file_read_blocks(file, "fc.weight", &blocks);
    rbe_tensor_file_close(file);
    return blocks;
}

START_TEST(truncations_are_refused) {
    rbe_blocks *a = matrix_of(0, 1);
    bytes b = save_file(a, a, &damaged[_i]);
    for (size_t whole = b.count; b.count-- > 0;) {
        ck_assert_msg(!load_matrix(b), "%zu of %zu bytes", b.count, whole);
        ck_assert_int_eq(rbe_last_status(), RBE_BAD_FORMAT);
    }
    rbe_blocks_free(a);
    free(b.data);
}
END_TEST

/* Only the tensors of the matrix are read: damage of the others may remain unnoticed, but never changes it. */
START_TEST(mutations_never_change_a_matrix) {
    rbe_blocks *a = matrix_of(0, 1);
    bytes original = save_file(a, a, &damaged[_i]);
    rbe_blocks *expected = load_matrix(original);
    size_t room = original.count + 64, refused = 0;
    bytes b = {malloc(room), 0};
    rbe_rng *rng = rbe_rng_new(1, (uint64_t)_i);
    for (int n = 0; n < MUTATIONS; n++) {
        b.count = original.count;
        memcpy(b.data, original.data, b.count);
        mutate(&b, room, rng);
        rbe_blocks *found = load_matrix(b);
        ck_assert_msg(!found || same_matrices(found, expected), "mutation %d was not noticed", n);
        if (!found) ck_assert_int_eq(rbe_last_status(), RBE_BAD_FORMAT);
        refused += !found;
        rbe_blocks_free(found);
    }
    ck_assert_uint_gt(refused, MUTATIONS / 2);
    rbe_rng_free(rng);
    rbe_blocks_free(expected);
    rbe_blocks_free(a);
    free(b.data);
    free(original.data);
}
END_TEST

static const struct {
    const char *from, *to, *reason;
} forgeries[] = {
    {"", "", NULL},
    {"{", "[{", "byte"},
    {"{\"out\":50", "[\"out\",50", "byte"},
    {"\"out\":50,", "", "matrix w: out: expected a whole number"},
    {"\"out\":50", "\"out\":57", "tensor w.alpha: expected the shape [8, 10, 8]"},
    {"\"in\":75", "\"in\":-1", "matrix w: in: expected a whole number"},
    {"\"in\":75", "\"in\":16777216", "tensor w.alpha: expected the shape"},
    {"\"block\":8", "\"block\":7", "matrix w: block"},
    {"\"block\":8", "\"block\":16", "tensor w.alpha: expected the shape"},
    {"\"block\":8", "\"block\":8,\"name\":\"fc\"", "a member that is unknown or occurs twice"},
    {"\"block\":8", "\"block\":8,\"block\":8", "a member that is unknown or occurs twice"},
    {"\"dct\"", "\"fft\"", "matrix w: row_transform"},
};
enum { FORGERIES = sizeof forgeries / sizeof *forgeries };

/* The tensors of a file as they are, with this description, format and version. */
static rbe_blocks *load_forged(const rbe_tensor_file *file, size_t count, const char *text, const char *format,
                               const char *version, bool checksums) {
    rbe_stored_tensor tensors[8] = {0};
    for (size_t n = 0; n < count; n++) {
        const rbe_tensor_info *info = rbe_tensor_file_at(file, n);
        tensors[n] = (rbe_stored_tensor){
            .name = info->name, .dtype = info->dtype, .dims = info->dims, .source = file, .source_index = n};
        memcpy(tensors[n].shape, info->shape, sizeof info->shape);
    }
    const rbe_metadata metadata[] = {{RBE_FORMAT_KEY, format}, {RBE_VERSION_KEY, version}, {"rbe.matrix.w", text}};
    const char *path = scratch_path("forged");
    ck_assert_ok(rbe_tensor_file_save(path, tensors, count, metadata, 3, true));
    bytes b = read_whole(path);
    if (!checksums) rename_checksums(b);
    rbe_tensor_file *forged = open_bytes(b);
    rbe_blocks *blocks = NULL;
    if (forged) rbe_tensor_file_read_blocks(forged, "w", &blocks);
    rbe_tensor_file_close(forged);
    free(b.data);
    return blocks;
}

START_TEST(descriptions_are_checked) {
    rbe_blocks *a = matrix_of(0, 1), *found;
    char path[400], text[400];
    strcpy(path, scratch_path("matrix"));
    const rbe_stored_tensor matrix = {.name = "w", .blocks = a};
    ck_assert_ok(rbe_tensor_file_save(path, &matrix, 1, NULL, 0, true));
    rbe_tensor_file *file = rbe_tensor_file_open(path);
    const size_t count = rbe_tensor_file_count(file);
    const char *original = rbe_tensor_file_metadata(file, "rbe.matrix.w");
    for (size_t n = 0; n < FORGERIES; n++) {
        const char *at = strstr(original, forgeries[n].from);
        ck_assert_ptr_nonnull(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - original), original, forgeries[n].to,
                 at + strlen(forgeries[n].from));
        found = load_forged(file, count, text, "tensors", "1", true);
        ck_assert_msg(!found == (forgeries[n].reason != NULL), "%s: %s", text, rbe_last_error());
        if (!found) assert_failed(RBE_BAD_FORMAT, forgeries[n].reason);
        if (found) ck_assert(same_matrices(found, a));
        rbe_blocks_free(found);
    }
    ck_assert_ptr_null(load_forged(file, count, "[]", "tensors", "1", true));
    assert_failed(RBE_BAD_FORMAT, "matrix w: its description is not an object");
    ck_assert_ptr_null(load_forged(file, count, original, "model", "1", true));
    assert_failed(RBE_BAD_FORMAT, "expected rbe.format tensors, found model");
    ck_assert_ptr_null(load_forged(file, count, original, "tensors", "2", true));
    assert_failed(RBE_BAD_FORMAT, "expected version 1");
    ck_assert_ptr_null(load_forged(file, count, original, "tensors", "1", false));
    assert_failed(RBE_BAD_FORMAT, "the checksums are missing");
    ck_assert_ptr_null(load_forged(file, count - 1, original, "tensors", "1", true));
    assert_failed(RBE_BAD_FORMAT, "expected one of: tensor w.lists, tensor w.deltas, a seed");
    rbe_tensor_file_close(file);
    rbe_blocks_free(a);
}
END_TEST

/* ---- memory and Python --------------------------------------------------------------------------------------- */

START_TEST(memory_may_run_out_anywhere) {
    char path[400];
    strcpy(path, scratch_path("short"));
    size_t fail_at = 0;
    for (bool reached = true; reached;) {
        failing_allocator allocator;
        failing_allocator_install(&allocator, 0);
        rbe_blocks *a = matrix_of(0, 1);
        allocator.fail_at = allocator.requests + ++fail_at;
        const rbe_stored_tensor matrix = {.name = "w", .blocks = a, .save = {RBE_STORE_INT8, RBE_POSITIONS_SMALLEST}};
        rbe_blocks *found = NULL;
        rbe_status status = rbe_tensor_file_save(path, &matrix, 1, NULL, 0, true);
        rbe_tensor_file *file = status == RBE_OK ? rbe_tensor_file_open(path) : NULL;
        if (status == RBE_OK) status = file ? rbe_tensor_file_read_blocks(file, "w", &found) : rbe_last_status();
        ck_assert(status == RBE_OK || status == RBE_INSUFFICIENT_MEMORY);
        ck_assert(!found == (status != RBE_OK));
        rbe_tensor_file_close(file);
        rbe_blocks_free(found);
        rbe_blocks_free(a);
        reached = failing_allocator_remove(&allocator);
    }
    ck_assert_uint_gt(fail_at, 25);
}
END_TEST

START_TEST(python_reads_matrices) {
    const char *python = find_python();
    if (!python) return;
    const rbe_save_options save = {(rbe_store)_i, RBE_POSITIONS_SMALLEST};
    rbe_blocks *a = matrix_of(_i, 1);
    bytes b = save_file(a, a, &save);
    rbe_tensor_file *file = open_bytes(b);
    rbe_blocks *found = read_matrix(file, "fc.weight");
    rbe_tensor w = new_tensor(2, (const size_t[]){50, 75});
    ck_assert_ok(rbe_decompress(found, w.data));
    char command[1200], matrix_path[400];
    strcpy(matrix_path, scratch_path("w.npy"));
    ck_assert_ok(rbe_npy_write(matrix_path, &w));
    snprintf(command, sizeof command, "%s tests/read_model.py %s fc.weight %s 'made.by=a test' >/dev/null", python,
             scratch_path("matrices"), matrix_path);
    ck_assert_msg(system(command) == 0, "%s", command);
    rbe_tensor_free(&w);
    rbe_tensor_file_close(file);
    rbe_blocks_free(found);
    rbe_blocks_free(a);
    free(b.data);
}
END_TEST

TCase *io_matrix_case(void) {
    TCase *matrices = tcase_create("matrices");
    tcase_add_checked_fixture(matrices, scratch_clear, scratch_clear);
    tcase_add_loop_test(matrices, matrices_come_back, 0, STORES * POSITIONS * KINDS);
    tcase_add_test(matrices, seeds_come_back);
    tcase_add_test(matrices, bad_requests_are_refused);
    tcase_add_loop_test(matrices, truncations_are_refused, 0, DAMAGED);
    tcase_add_loop_test(matrices, mutations_never_change_a_matrix, 0, DAMAGED);
    tcase_add_test(matrices, descriptions_are_checked);
    tcase_add_test(matrices, memory_may_run_out_anywhere);
    tcase_add_loop_test(matrices, python_reads_matrices, 0, KINDS);
    return matrices;
}
