/* Tensor files: every type there and back, foreign files, every rule of the format. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io_support.h"

/* ---- safetensors --------------------------------------------------------------------------------------------- */

static const rbe_dtype every_dtype[] = {
#define LISTED(name, bytes) RBE_##name,
    RBE_DTYPE_TABLE(LISTED)
#undef LISTED
};

enum { DTYPES = sizeof every_dtype / sizeof *every_dtype, VALUES = 20001 /* more than one piece */ };

START_TEST(tensors_of_every_type) {
    rbe_dtype dtype = every_dtype[_i];
    size_t size = rbe_dtype_bytes(dtype);
    uint8_t *values = malloc(VALUES * size), *found = malloc(VALUES * size);
    for (size_t n = 0; n < VALUES * size; n++) values[n] = (uint8_t)(n * 37 + n / 256);
    const rbe_stored_tensor tensors[] = {
        {.name = "\xc3\xa4 \"quoted\" \\ /", .dtype = dtype, .dims = 2, .shape = {3, VALUES / 3}, .values = values},
        {.name = "single", .dtype = dtype, .values = values},
        {.name = "empty", .dtype = dtype, .dims = 3, .shape = {2, 0, 5}},
        {.name = "", .dtype = dtype, .dims = 8, .shape = {1, 1, 1, 1, 1, 1, 1, 2}, .values = values}};
    const rbe_metadata metadata[] = {{"format", "pt"}, {"k\"", "\tv\n\xe2\x82\xac"}};
    char path[400];
    strcpy(path, scratch_path("tensors"));
    for (int checksums = 0; checksums < 2; checksums++) {
        ck_assert_ok(rbe_tensor_file_save(path, tensors, 4, metadata, 2, checksums));
        rbe_tensor_file *file = rbe_tensor_file_open(path);
        ck_assert_msg(file != NULL, "%s", rbe_last_error());
        ck_assert_uint_eq(rbe_tensor_file_count(file), 4);
        ck_assert_str_eq(rbe_tensor_file_metadata(file, "k\""), metadata[1].value);
        ck_assert_ptr_null(rbe_tensor_file_metadata(file, "other"));
        ck_assert_uint_eq(rbe_tensor_file_find(file, "other"), 4);
        ck_assert_ptr_null(rbe_tensor_file_at(file, 4));
        for (size_t n = 0; n < 4; n++) {
            size_t number = rbe_tensor_file_find(file, tensors[n].name);
            const rbe_tensor_info *info = rbe_tensor_file_at(file, number);
            ck_assert_ptr_nonnull(info);
            ck_assert_int_eq(info->dtype, dtype);
            ck_assert_uint_eq(info->dims, tensors[n].dims);
            ck_assert_mem_eq(info->shape, tensors[n].shape, sizeof info->shape);
            ck_assert_uint_eq(info->bytes, info->count * size);
            ck_assert_ok(rbe_tensor_file_read(file, number, found));
            ck_assert_mem_eq(found, values, info->bytes);
        }
        ck_assert_int_eq(rbe_tensor_file_read(file, 4, found), RBE_INVALID_ARGUMENT);
        ck_assert_int_eq(rbe_tensor_file_read_f32(file, 4, NULL), RBE_INVALID_ARGUMENT);

        /* Through: the copy has the same bytes. */
        rbe_stored_tensor copies[4];
        for (size_t n = 0; n < 4; n++) {
            copies[n] = tensors[n];
            copies[n].values = NULL;
            copies[n].source = file;
            copies[n].source_index = rbe_tensor_file_find(file, tensors[n].name);
        }
        bytes first = read_whole(path);
        char copy_path[400];
        strcpy(copy_path, scratch_path("copy"));
        ck_assert_ok(rbe_tensor_file_save(copy_path, copies, 4, metadata, 2, checksums));
        bytes second = read_whole(copy_path);
        ck_assert_uint_eq(first.count, second.count);
        ck_assert_mem_eq(first.data, second.data, first.count);
        free(first.data);
        free(second.data);
        rbe_tensor_file_close(file);
    }
    free(values);
    free(found);
}
END_TEST

START_TEST(tensors_as_floats) {
    double f64[] = {1.5, -0.1, 1e-50, INFINITY};
    uint16_t f16[] = {0x3e00, 0xae66, 0x0001, 0x7c00}, bf16[] = {0x3fc0, 0xbdcd, 0x0001, 0x7f80};
    float f32[] = {1.5f, -0.1f, 1e-40f, INFINITY};
    int8_t i8[] = {1, -128, 127, 0};
    const rbe_stored_tensor tensors[] = {{.name = "f64", .dtype = RBE_F64, .dims = 1, .shape = {4}, .values = f64},
                                         {.name = "f32", .dtype = RBE_F32, .dims = 1, .shape = {4}, .values = f32},
                                         {.name = "f16", .dtype = RBE_F16, .dims = 1, .shape = {4}, .values = f16},
                                         {.name = "bf16", .dtype = RBE_BF16, .dims = 1, .shape = {4}, .values = bf16},
                                         {.name = "i8", .dtype = RBE_I8, .dims = 1, .shape = {4}, .values = i8},
                                         {.name = "u8", .dtype = RBE_U8, .dims = 1, .shape = {4}, .values = i8}};
    static const float expected[5][4] = {{1.5f, -0.1f, 0.0f, INFINITY},
                                         {1.5f, -0.1f, 1e-40f, INFINITY},
                                         {1.5f, -0.0999755859375f, 0x1p-24f, INFINITY},
                                         {1.5f, -0.10009765625f, 0x1p-133f, INFINITY},
                                         {1, -128, 127, 0}};
    const char *path = scratch_path("floats");
    ck_assert_ok(rbe_tensor_file_save(path, tensors, 6, NULL, 0, false));
    rbe_tensor_file *file = rbe_tensor_file_open(path);
    float found[4];
    for (size_t n = 0; n < 5; n++) {
        ck_assert_ok(rbe_tensor_file_read_f32(file, n, found));
        ck_assert_mem_eq(found, expected[n], sizeof found);
    }
    ck_assert_int_eq(rbe_tensor_file_read_f32(file, 5, found), RBE_INVALID_ARGUMENT);
    assert_failed(RBE_INVALID_ARGUMENT, "tensor u8: U8");
    rbe_tensor_file_close(file);
    f64[2] = 1e40;
    ck_assert_ok(rbe_tensor_file_save(path, tensors, 1, NULL, 0, false));
    file = rbe_tensor_file_open(path);
    ck_assert_int_ne(rbe_tensor_file_read_f32(file, 0, found), RBE_OK);
    assert_failed(RBE_NUMERICAL_INSTABILITY, "tensor f64: value 2");
    rbe_tensor_file_close(file);
}
END_TEST

START_TEST(unwritable_tensors_are_refused) {
    float value = 1.0f;
    const char *path = scratch_path("refused");
    const rbe_stored_tensor good = {.name = "a", .dtype = RBE_F32, .values = &value};
    rbe_stored_tensor two[] = {good, good};
    const rbe_metadata same[] = {{"k", "1"}, {"k", "2"}}, foreign[] = {{"k", "\xff"}}, taken[] = {{"rbe.crc32", "1"}};
    ck_assert_int_ne(rbe_tensor_file_save(path, two, 2, NULL, 0, false), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "tensor a occurs twice");
    ck_assert_int_ne(rbe_tensor_file_save(path, two, 1, same, 2, false), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "metadata k occurs twice");
    ck_assert_int_ne(rbe_tensor_file_save(path, two, 1, foreign, 1, false), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "metadata k: its text is not UTF-8");
    ck_assert_int_ne(rbe_tensor_file_save(path, two, 1, taken, 1, false), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "rbe.crc32");
    static const char *const names[] = {"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                        "\xe2\x82", "__metadata__", NULL};
    for (size_t n = 0; n < 6; n++) {
        two[0].name = names[n];
        ck_assert_int_eq(rbe_tensor_file_save(path, two, 1, NULL, 0, false), RBE_INVALID_ARGUMENT);
    }
    two[0] = (rbe_stored_tensor){.name = "a", .dtype = RBE_F32};
    ck_assert_int_ne(rbe_tensor_file_save(path, two, 1, NULL, 0, false), RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "source");
    two[0] = (rbe_stored_tensor){.name = "a", .dtype = RBE_F32, .dims = 2, .shape = {SIZE_MAX, 2}, .values = &value};
    ck_assert_int_eq(rbe_tensor_file_save(path, two, 1, NULL, 0, false), RBE_INVALID_ARGUMENT);
    two[0] = (rbe_stored_tensor){.name = "a", .dtype = (rbe_dtype)99, .values = &value};
    ck_assert_int_eq(rbe_tensor_file_save(path, two, 1, NULL, 0, false), RBE_INVALID_ARGUMENT);
    two[0] = (rbe_stored_tensor){.name = "a", .dtype = RBE_F32, .dims = 9, .values = &value};
    ck_assert_int_eq(rbe_tensor_file_save(path, two, 1, NULL, 0, false), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_tensor_file_save(NULL, NULL, 0, NULL, 0, false), RBE_INVALID_ARGUMENT);
    ck_assert_uint_eq(scratch_count(), 0);
}
END_TEST

/* A file of this header and so many zero bytes. */
static bytes with_header(const char *header, size_t data) {
    uint64_t length = strlen(header);
    bytes b = {malloc(8 + length + data), 8 + length + data};
    for (size_t n = 0; n < 8; n++) b.data[n] = (uint8_t)(length >> 8 * n);
    memcpy(b.data + 8, header, length);
    memset(b.data + 8 + length, 0, data);
    return b;
}

static const struct {
    const char *header;
    size_t data;
    const char *reason; /* NULL: a good file */
} headers[] = {
    {"{}", 0, NULL},
    {"{}    ", 0, NULL},
    {"{ \"a\" : { \"shape\" : [ 2 ] ,\n\"data_offsets\":[0,8],\"dtype\":\"F32\" } } ", 8, NULL},
    {"{\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[4,5]},\"a\":{\"dtype\":\"F32\",\"shape\":[],"
     "\"data_offsets\":[0,4]},\"__metadata__\":{}}",
     5, NULL},
    {"{\"\\u00e9\\ud83d\\ude00\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, NULL},
    {"", 0, "begin with {"},
    {"[]", 0, "begin with {"},
    {" {}", 0, "begin with {"},
    {"{}", 1, "the tensors end at byte 0 of the data, the file at 1"},
    {"{} x", 0, "byte 3"},
    {"{", 0, "byte"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}", 4, "byte"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},}", 4, "byte"},
    {"{\"a\":1}", 0, "tensor a: expected dtype, shape and data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 0, "tensor a: expected dtype, shape and data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":0}}", 4, "nothing else"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets are not"},
    {"{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "tensor a: there is no dtype"},
    {"{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "tensor a: the dtype is unknown"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "tensor a: the shape is not a list"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}", 4, "whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,6]}}", 6, "whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9007199254740993],\"data_offsets\":[0,4]}}", 4, "whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1e999],\"data_offsets\":[0,4]}}", 4, "whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,4],\"data_offsets\":[0,0]}}", 0, "does not fit"},
    {"{\"a\":{\"dtype\":\"F64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]}}", 0, "whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "at most 8"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "does not fit"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "not a range"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 8, "not a range"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 4, "not a range within the file"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0.5,4.5]}}", 8, "not a range"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "tensor a begins at byte 4"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],"
     "\"data_offsets\":[2,6]}}",
     6, "tensor b begins at byte 2 of the data, expected 4"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],"
     "\"data_offsets\":[6,8]}}",
     8, "tensor b begins at byte 6 of the data, expected 4"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],"
     "\"data_offsets\":[0,4]}}",
     4, "expected 4"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"U8\",\"shape\":[2],"
     "\"data_offsets\":[4,6]}}",
     6, "tensor a occurs twice"},
    {"{\"__metadata__\":[]}", 0, "__metadata__"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__"},
    {"{\"__metadata__\":{\"k\":1}}", 0, "metadata k is not a text"},
    {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, "metadata k occurs twice"},
    {"{\"__metadata__\":{\"k\":{\"a\":[{\"a\":[{\"a\":[{\"a\":[0]}]}]}]}}}", 0, "nested"},
    {"{\"\xff\":0}", 0, "byte 2 of the JSON text is not UTF-8"},
    {"{\"a\nb\":0}", 0, "control character"},
    {"{\"a\\u0000b\":0}", 0, "escaped zero"},
    {"{\"\\ud800\":0}", 0, "byte"},
    {"{\"__metadata__\":{\"rbe.crc32\":\"00000000\"}}", 0, "the header is damaged"},
};

enum { HEADERS = sizeof headers / sizeof *headers };

START_TEST(headers_follow_the_rules) {
    bytes b = with_header(headers[_i].header, headers[_i].data);
    rbe_tensor_file *file = open_bytes(b);
    if (headers[_i].reason) {
        ck_assert_msg(!file, "%s", headers[_i].header);
        assert_failed(RBE_BAD_FORMAT, headers[_i].reason);
    } else {
        ck_assert_msg(file != NULL, "%s: %s", headers[_i].header, rbe_last_error());
    }
    rbe_tensor_file_close(file);
    free(b.data);
}
END_TEST

START_TEST(headers_too_long_or_too_many) {
    bytes b = with_header("{}", 100);
    memset(b.data, 0xff, 8);
    ck_assert_ptr_null(open_bytes(b));
    assert_failed(RBE_BAD_FORMAT, "a header of 18446744073709551615 bytes");
    b.count = 7;
    ck_assert_ptr_null(open_bytes(b));
    assert_failed(RBE_BAD_FORMAT, "7 bytes");
    free(b.data);

    char *many = malloc(200000); /* [0,0,..: 64 bytes of memory for every two */
    strcpy(many, "{\"a\":[");
    for (size_t n = 0; n < 90000; n++) strcat(many + 6 + 2 * n, "0,");
    strcat(many + 180000, "0]}");
    b = with_header(many, 0);
    ck_assert_ptr_null(open_bytes(b));
    assert_failed(RBE_BAD_FORMAT, "too many");
    free(many);
    free(b.data);

    ck_assert_ptr_null(rbe_tensor_file_open(scratch_path("missing")));
    assert_failed(RBE_IO_ERROR, "missing: cannot open");
    ck_assert_ptr_null(rbe_tensor_file_open("/dev/null"));
    assert_failed(RBE_IO_ERROR, "regular file");
    ck_assert_ptr_null(rbe_tensor_file_open("/tmp"));
    ck_assert_ptr_null(rbe_tensor_file_open(NULL));
    ck_assert_ptr_null(rbe_model_load(NULL));
    rbe_tensor_file_close(NULL);
}
END_TEST

/* [68]: a shape is refused, or the file can be opened again and has it. */
START_TEST(what_is_saved_can_be_opened) {
    static const size_t extents[] = {0, 1, 3, (size_t)1 << 53, ((size_t)1 << 53) - 1, (size_t)1 << 60, SIZE_MAX};
    enum { EXTENTS = sizeof extents / sizeof *extents };
    char path[400];
    strcpy(path, scratch_path("shapes"));
    size_t saved_files = 0;
    for (size_t n = 0; n < EXTENTS * EXTENTS * EXTENTS; n++) {
        static const float values[27] = {1};
        const rbe_stored_tensor tensor = {
            .name = "a",
            .dtype = RBE_F32,
            .dims = 3,
            .shape = {extents[n % EXTENTS], extents[n / EXTENTS % EXTENTS], extents[n / EXTENTS / EXTENTS]},
            .values = values};
        bool small = true, empty = false;
        for (size_t d = 0; d < 3; d++) {
            small = small && tensor.shape[d] <= 3;
            empty = empty || tensor.shape[d] == 0;
        }
        if (!small && !empty) continue; /* it would be read beyond its end */
        rbe_status status = rbe_tensor_file_save(path, &tensor, 1, NULL, 0, false);
        if (status != RBE_OK) {
            assert_failed(RBE_INVALID_ARGUMENT, "tensor a: ");
            continue;
        }
        saved_files++;
        rbe_tensor_file *file = rbe_tensor_file_open(path);
        ck_assert_msg(file != NULL, "%s", rbe_last_error());
        ck_assert_mem_eq(rbe_tensor_file_at(file, 0)->shape, tensor.shape, sizeof tensor.shape);
        rbe_tensor_file_close(file);
    }
    ck_assert_uint_gt(saved_files, 27);

    enum { MANY = 20000 }; /* tensors that are nearly all header */
    rbe_stored_tensor *tensors = calloc(MANY, sizeof *tensors);
    char(*names)[8] = malloc(MANY * sizeof *names);
    for (size_t n = 0; n < MANY; n++) {
        snprintf(names[n], sizeof *names, "%zx", n);
        tensors[n] = (rbe_stored_tensor){.name = names[n], .dtype = RBE_U8, .dims = 8, .values = "x"};
        for (size_t d = 0; d < 8; d++) tensors[n].shape[d] = 1;
    }
    ck_assert_ok(rbe_tensor_file_save(path, tensors, MANY, NULL, 0, true));
    rbe_tensor_file *file = rbe_tensor_file_open(path);
    ck_assert_msg(file != NULL, "%s", rbe_last_error());
    ck_assert_uint_eq(rbe_tensor_file_count(file), MANY);
    rbe_tensor_file_close(file);
    free(names);
    free(tensors);
}
END_TEST

/* [60]: a copy does not make damage sound. */
START_TEST(damage_is_not_copied) {
    static float values[10000];
    const rbe_stored_tensor tensor = {.name = "a", .dtype = RBE_F32, .dims = 1, .shape = {10000}, .values = values};
    char path[400], copy[400];
    strcpy(path, scratch_path("source"));
    strcpy(copy, scratch_path("copy"));
    ck_assert_ok(rbe_tensor_file_save(path, &tensor, 1, NULL, 0, true));
    bytes b = read_whole(path);
    b.data[b.count - 1] ^= 1;
    rbe_tensor_file *file = open_bytes(b);
    ck_assert_ptr_nonnull(file);
    rbe_stored_tensor copied = tensor;
    copied.values = NULL;
    copied.source = file;
    for (int checksums = 0; checksums < 2; checksums++) {
        ck_assert_int_ne(rbe_tensor_file_save(copy, &copied, 1, NULL, 0, checksums), RBE_OK);
        assert_failed(RBE_BAD_FORMAT, "tensor a is damaged: expected checksum");
        ck_assert_uint_eq(scratch_count(), 1);
    }
    b.data[b.count - 1] ^= 1;
    ck_assert_ok(rbe_tensor_file_save(copy, &copied, 1, NULL, 0, true));
    rbe_tensor_file_close(file);
    free(b.data);
}
END_TEST

/* [53]: what a failed constructor gives may be passed on to every function of rbe/io.h. */
static rbe_status null_read(void) { return rbe_tensor_file_read(NULL, 0, &(float){0}); }
static rbe_status null_read_f32(void) { return rbe_tensor_file_read_f32(NULL, 0, &(float){0}); }
static rbe_status null_read_blocks(void) {
    rbe_blocks *blocks = (rbe_blocks *)&blocks;
    rbe_status status = rbe_tensor_file_read_blocks(NULL, "a", &blocks);
    ck_assert_ptr_null(blocks);
    return status;
}
static rbe_status null_stored_bytes(void) { return rbe_blocks_stored_bytes(NULL, NULL, &(size_t){0}); }
static rbe_status null_model(void) { return rbe_model_save(NULL, scratch_path("a"), NULL); }
static rbe_status null_source(void) {
    const rbe_stored_tensor tensor = {.name = "a", .dtype = RBE_U8, .dims = 1, .shape = {1}};
    return rbe_tensor_file_save(scratch_path("a"), &tensor, 1, NULL, 0, true);
}
static rbe_status null_array(void) { return rbe_npy_write(scratch_path("a"), &(rbe_tensor){0}); }
static rbe_status null_tensors(void) { return rbe_tensor_file_save(scratch_path("a"), NULL, 1, NULL, 0, true); }

static rbe_status (*const with_null[])(void) = {null_read,  null_read_f32, null_read_blocks, null_stored_bytes,
                                                null_model, null_source,   null_array,       null_tensors};

START_TEST(null_is_an_argument) {
    for (size_t n = 0; n < sizeof with_null / sizeof *with_null; n++) {
        rbe_fail(RBE_OK, "%s", "");
        ck_assert_msg(with_null[n]() == RBE_INVALID_ARGUMENT, "function %zu", n);
        ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    }
    ck_assert_ptr_null(rbe_tensor_file_at(NULL, 0));
    ck_assert_uint_eq(rbe_tensor_file_find(NULL, "a"), 0);
    ck_assert_uint_eq(rbe_tensor_file_count(NULL), 0);
    ck_assert_ptr_null(rbe_tensor_file_metadata(NULL, "a"));
    ck_assert_ptr_null(rbe_tensor_file_matrix(NULL, 0));
    rbe_tensor_file_close(NULL);
    ck_assert_uint_eq(scratch_count(), 0);
}
END_TEST

START_TEST(a_file_that_shrinks) {
    float values[1000] = {0};
    const rbe_stored_tensor tensor = {.name = "a", .dtype = RBE_F32, .dims = 1, .shape = {1000}, .values = values};
    const char *path = scratch_path("shrinks");
    ck_assert_ok(rbe_tensor_file_save(path, &tensor, 1, NULL, 0, false));
    rbe_tensor_file *file = rbe_tensor_file_open(path);
    ck_assert_int_eq(truncate(path, 1000), 0);
    ck_assert_int_eq(rbe_tensor_file_read(file, 0, values), RBE_IO_ERROR);
    ck_assert_int_eq(rbe_tensor_file_read_f32(file, 0, values), RBE_IO_ERROR);
    rbe_tensor_file_close(file);
}
END_TEST

TCase *io_files_case(void) {
    TCase *files = tcase_create("files");
    tcase_add_checked_fixture(files, scratch_clear, scratch_clear);
    tcase_add_loop_test(files, tensors_of_every_type, 0, DTYPES);
    tcase_add_test(files, tensors_as_floats);
    tcase_add_test(files, unwritable_tensors_are_refused);
    tcase_add_loop_test(files, headers_follow_the_rules, 0, HEADERS);
    tcase_add_test(files, headers_too_long_or_too_many);
    tcase_add_test(files, what_is_saved_can_be_opened);
    tcase_add_test(files, damage_is_not_copied);
    tcase_add_test(files, null_is_an_argument);
    tcase_add_test(files, a_file_that_shrinks);
    return files;
}
