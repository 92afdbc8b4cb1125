/* Arrays (.npy): every type, order and shape, exact whole numbers, every rule of the format. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/npy.h"
#include "io_support.h"

static rbe_status read_npy_bytes(bytes b, rbe_tensor *tensor) {
    rbe_source source;
    ck_assert_ok(rbe_source_from_memory(&source, b.data, b.count, "memory"));
    rbe_status status = rbe_npy_from_source(&source, tensor);
    rbe_source_close(&source);
    return status;
}

/* A .npy file of this version and header. */
static bytes npy(int version, const char *header, const void *values, size_t count) {
    size_t length = strlen(header), prefix = version == 1 ? 10 : 12;
    bytes b = {malloc(prefix + length + count), prefix + length + count};
    memcpy(b.data, "\x93NUMPY", 6);
    b.data[6] = (uint8_t)version;
    b.data[7] = 0;
    for (size_t n = 0; n < prefix - 8; n++) b.data[8 + n] = (uint8_t)(length >> 8 * n);
    memcpy(b.data + prefix, header, length);
    memcpy(b.data + prefix + length, values, count);
    return b;
}

START_TEST(arrays_of_every_form) {
    /* 2 x 3: 0 1 2 / 3 4 5, in both orders, types and byte orders */
    static const int c_order[6] = {0, 1, 2, 3, 4, 5}, fortran_order[6] = {0, 3, 1, 4, 2, 5};
    bool fortran = _i & 1, wide = _i & 2, big = _i & 4;
    uint8_t values[48];
    size_t size = wide ? 8 : 4;
    for (size_t n = 0; n < 6; n++) {
        float f32 = (float)(fortran ? fortran_order : c_order)[n];
        double f64 = (double)f32;
        uint8_t *at = values + n * size;
        memcpy(at, wide ? (void *)&f64 : (void *)&f32, size); /* little-endian: what else runs this test */
        for (size_t b = 0; big && b < size / 2; b++) {
            uint8_t kept = at[b];
            at[b] = at[size - 1 - b];
            at[size - 1 - b] = kept;
        }
    }
    char header[200];
    for (int version = 1; version <= 3; version++) {
        snprintf(header, sizeof header, "{'descr': '%cf%zu', 'fortran_order': %s, 'shape': (2, 3), }   \n",
                 big ? '>' : '<', size, fortran ? "True" : "False");
        bytes b = npy(version, header, values, 6 * size);
        rbe_tensor tensor;
        ck_assert_ok(read_npy_bytes(b, &tensor));
        ck_assert(tensor.dims == 2 && tensor.shape[0] == 2 && tensor.shape[1] == 3);
        for (int n = 0; n < 6; n++) ck_assert(tensor.data[n] == (float)n);
        rbe_tensor_free(&tensor);
        free(b.data);
    }
    snprintf(header, sizeof header, "{\"shape\":(6,),\"fortran_order\":%s,\"descr\":\"%cf%zu\"}",
             fortran ? "True" : "False", big ? '>' : '<', size);
    bytes b = npy(1, header, values, 6 * size);
    rbe_tensor tensor;
    ck_assert_ok(read_npy_bytes(b, &tensor));
    ck_assert(tensor.dims == 1 && tensor.shape[0] == 6 && tensor.data[1] == (fortran ? 3.0f : 1.0f));
    rbe_tensor_free(&tensor);
    free(b.data);
}
END_TEST

static const struct {
    const char *header;
    size_t data;
    rbe_status status;
    const char *reason;
} arrays[] = {
    {"{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", 8, RBE_INVALID_ARGUMENT, "found <c8"},
    {"{'descr': '=f4', 'fortran_order': False, 'shape': (1,), }", 4, RBE_INVALID_ARGUMENT, "found =f4"},
    {"{'descr': '|i4', 'fortran_order': False, 'shape': (1,), }", 4, RBE_INVALID_ARGUMENT, "found |i4"},
    {"{'descr': '<i3', 'fortran_order': False, 'shape': (1,), }", 3, RBE_INVALID_ARGUMENT, "found <i3"},
    {"{'descr': 'i', 'fortran_order': False, 'shape': (1,), }", 4, RBE_INVALID_ARGUMENT, "found i"},
    {"{'descr': '<f16', 'fortran_order': False, 'shape': (1,), }", 16, RBE_INVALID_ARGUMENT, "found <f16"},
    {"{'descr': '', 'fortran_order': False, 'shape': (1,), }", 4, RBE_INVALID_ARGUMENT, "found"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (), }", 4, RBE_INVALID_ARGUMENT, "dimensions, found 0"},
    {"{'descr': '<i4', 'fortran_order': False, 'shape': (1,1,2), }", 4, RBE_BAD_FORMAT, "do not fit"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1), }", 4, RBE_INVALID_ARGUMENT, "found 5"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }", 0, RBE_INVALID_ARGUMENT, "without values"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 4, RBE_BAD_FORMAT, "do not fit"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 9, RBE_BAD_FORMAT, "do not fit"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967297), }", 4, RBE_BAD_FORMAT, "do not fit"},
    {"{'descr': '<f8', 'fortran_order': False, 'shape': (2305843009213693952,), }", 0, RBE_BAD_FORMAT, "do not fit"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 4, RBE_BAD_FORMAT, "numbers"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 4, RBE_BAD_FORMAT, "numbers"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1 1), }", 4, RBE_BAD_FORMAT, "not closed"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': [1], }", 4, RBE_BAD_FORMAT, "tuple"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,", 4, RBE_BAD_FORMAT, "numbers"},
    {"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }", 4, RBE_BAD_FORMAT, "True nor False"},
    {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4, RBE_BAD_FORMAT, "descr"},
    {"{'descr': '<f4', 'fortran_order': False}", 4, RBE_BAD_FORMAT, "shape"},
    {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 4, RBE_BAD_FORMAT, "once"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", 4, RBE_BAD_FORMAT, "once"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", 4, RBE_BAD_FORMAT, "not closed"},
    {"{'descr': '<f4", 4, RBE_BAD_FORMAT, "descr"},
    {"{descr", 4, RBE_BAD_FORMAT, "keys"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", 4, RBE_BAD_FORMAT, "follows"},
    {"(1,)", 4, RBE_BAD_FORMAT, "dictionary"},
};

enum { ARRAYS = sizeof arrays / sizeof *arrays };

/* [40]: whole numbers and bools become floats if that is exact; up to four dimensions. */
static const struct {
    const char *descr;
    uint8_t value[8];
    float expected; /* NAN: there is none */
} whole_numbers[] = {
    {"|b1", {1}, 1},
    {"|b1", {2}, NAN},
    {"|i1", {0x80}, -128},
    {"<i1", {127}, 127},
    {"|u1", {255}, 255},
    {"<i2", {0x00, 0x80}, -32768},
    {">i2", {0x01, 0x02}, 258},
    {"<u2", {0xff, 0xff}, 65535},
    {"<i4", {0, 0, 0, 0x80}, -2147483648.0f},
    {"<i4", {0x01, 0, 0, 0x01}, NAN}, /* 2^24 + 1 */
    {"<i4", {0x02, 0, 0, 0x01}, 16777218},
    {"<i4", {0xff, 0xff, 0xff, 0xfe}, NAN}, /* -2^24 - 1 */
    {">u4", {0xff, 0xff, 0xff, 0x00}, 4294967040.0f},
    {"<u4", {0xff, 0xff, 0xff, 0xff}, NAN},
    {"<i8", {0, 0, 0, 0, 0, 0, 0, 0x80}, -9223372036854775808.0f},
    {"<i8", {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, -1},
    {">i8", {0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, NAN},
    {"<u8", {0, 0, 0, 0, 0, 0, 0, 0x80}, 9223372036854775808.0f},
    {"<u8", {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, NAN},
    {"<f2", {0x00, 0x3e}, 1.5f},
    {">f2", {0xc0, 0x00}, -2},
};

enum { WHOLE_NUMBERS = sizeof whole_numbers / sizeof *whole_numbers };

START_TEST(whole_numbers_are_exact) {
    char header[200];
    const char *descr = whole_numbers[_i].descr;
    snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (1,), }", descr);
    bytes b = npy(1, header, whole_numbers[_i].value, (size_t)(descr[2] - '0'));
    rbe_tensor tensor;
    rbe_status status = read_npy_bytes(b, &tensor);
    if (isnan(whole_numbers[_i].expected)) {
        ck_assert_int_ne(status, RBE_OK);
        assert_failed(RBE_NUMERICAL_INSTABILITY, "value 0 cannot be held by a float");
    } else {
        ck_assert_ok(status);
        ck_assert(tensor.data[0] == whole_numbers[_i].expected);
    }
    rbe_tensor_free(&tensor);
    free(b.data);
}
END_TEST

START_TEST(arrays_of_many_dimensions) { /* 2 x 3 x 2 x 4, both orders: the element (i, j, k, l) is 1000 i + .. + l */
    char header[200];
    int16_t values[48];
    for (int n = 0; n < 48; n++)
        values[n] = (int16_t)(_i ? n % 2 * 1000 + n / 2 % 3 * 100 + n / 6 % 2 * 10 + n / 12
                                 : n / 24 * 1000 + n / 8 % 3 * 100 + n / 4 % 2 * 10 + n % 4);
    snprintf(header, sizeof header, "{'descr': '<i2', 'fortran_order': %s, 'shape': (2, 3, 2, 4), }",
             _i ? "True" : "False");
    bytes b = npy(1, header, values, sizeof values);
    rbe_tensor tensor;
    ck_assert_ok(read_npy_bytes(b, &tensor));
    ck_assert(tensor.dims == 4 && tensor.shape[1] == 3 && tensor.shape[3] == 4);
    for (int n = 0; n < 48; n++)
        ck_assert(tensor.data[n] == (float)(n / 24 * 1000 + n / 8 % 3 * 100 + n / 4 % 2 * 10 + n % 4));
    rbe_tensor_free(&tensor);
    rbe_set_max_read_bytes(48 * sizeof(float) - 1);
    ck_assert_int_ne(read_npy_bytes(b, &tensor), RBE_OK);
    assert_failed(RBE_BAD_FORMAT, "48 floats");
    rbe_set_max_read_bytes(0);
    free(b.data);
}
END_TEST

START_TEST(bad_arrays_are_refused) {
    const uint8_t zeros[16] = {0};
    bytes b = npy(1, arrays[_i].header, zeros, arrays[_i].data);
    rbe_tensor tensor;
    ck_assert_msg(read_npy_bytes(b, &tensor) != RBE_OK, "%s", arrays[_i].header);
    assert_failed(arrays[_i].status, arrays[_i].reason);
    ck_assert_ptr_null(tensor.data);
    free(b.data);
}
END_TEST

START_TEST(truncated_arrays_are_refused) {
    const double values[2] = {1.0, 1e300};
    bytes b = npy(2, "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", values, sizeof values);
    rbe_tensor tensor;
    ck_assert_int_ne(read_npy_bytes(b, &tensor), RBE_OK);
    assert_failed(RBE_NUMERICAL_INSTABILITY, "value 1");
    for (size_t whole = b.count; b.count-- > 0;)
        ck_assert_msg(read_npy_bytes(b, &tensor) == RBE_BAD_FORMAT, "%zu of %zu bytes", b.count, whole);
    b.count = 60;
    b.data[6] = 4;
    ck_assert_int_ne(read_npy_bytes(b, &tensor), RBE_OK);
    assert_failed(RBE_BAD_FORMAT, "version 4.0");
    free(b.data);
}
END_TEST

START_TEST(arrays_come_back) {
    float values[24];
    for (int n = 0; n < 24; n++) values[n] = (float)n - 7.25f;
    const char *path = scratch_path("array.npy");
    rbe_tensor matrix = rbe_tensor_2d(values, 4, 6), vector = rbe_tensor_1d(values, 24), found;
    ck_assert_ok(rbe_npy_write(path, &matrix));
    ck_assert_ok(rbe_npy_read(path, &found));
    ck_assert(found.dims == 2 && found.shape[0] == 4 && found.shape[1] == 6);
    ck_assert_mem_eq(found.data, values, sizeof values);
    rbe_tensor_free(&found);
    ck_assert_ok(rbe_npy_write(path, &vector));
    ck_assert_ok(rbe_npy_read(path, &found));
    ck_assert(found.dims == 1 && found.shape[0] == 24);
    ck_assert_mem_eq(found.data, values, sizeof values);
    rbe_tensor_free(&found);
    bytes b = read_whole(path);
    ck_assert_uint_eq((b.count - sizeof values) % 64, 0); /* NumPy's own alignment */
    free(b.data);
    ck_assert_int_eq(rbe_npy_read(scratch_path("missing"), &found), RBE_IO_ERROR);
    ck_assert_int_eq(rbe_npy_read(NULL, &found), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_npy_write(NULL, &matrix), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_npy_write(path, &(rbe_tensor){0}), RBE_INVALID_ARGUMENT);
    matrix.shape[0] = 0; /* [68]: what could not be read is not written */
    ck_assert_int_eq(rbe_npy_write(path, &matrix), RBE_INVALID_ARGUMENT);
    matrix.shape[0] = matrix.shape[1] = (size_t)1 << 40;
    ck_assert_int_eq(rbe_npy_write(path, &matrix), RBE_INVALID_ARGUMENT);
    matrix.shape[0] = 4;
    ck_assert_int_eq(rbe_npy_write(scratch_path("nowhere/a.npy"), &matrix), RBE_IO_ERROR);
}
END_TEST

TCase *io_npy_case(void) {
    TCase *arrays_case = tcase_create("npy");
    tcase_add_checked_fixture(arrays_case, scratch_clear, scratch_clear);
    tcase_add_loop_test(arrays_case, arrays_of_every_form, 0, 8);
    tcase_add_loop_test(arrays_case, whole_numbers_are_exact, 0, WHOLE_NUMBERS);
    tcase_add_loop_test(arrays_case, arrays_of_many_dimensions, 0, 2);
    tcase_add_loop_test(arrays_case, bad_arrays_are_refused, 0, ARRAYS);
    tcase_add_test(arrays_case, truncated_arrays_are_refused);
    tcase_add_test(arrays_case, arrays_come_back);
    return arrays_case;
}
