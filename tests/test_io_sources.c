/* Files that are not files: bytes in memory, streams, pipes. They are read as a path is, with the same answers; a
 * stream is left open, and one without end is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io_support.h"
#include "support.h"

/* ---- one file, from everywhere ------------------------------------------------------------------------------- */

/* A stream of these bytes that cannot be positioned. They must fit a pipe, 64 KiB. */
static FILE *pipe_of(const void *data, size_t count) {
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], data, count), (ssize_t)count);
    close(ends[1]);
    return fdopen(ends[0], "rb");
}

static FILE *memory_of(const void *data, size_t count) { return fmemopen((void *)data, count, "rb"); }

static FILE *file_of(const void *data, size_t count) {
    const char *path = scratch_path("stream");
    write_whole(path, (bytes){(uint8_t *)data, count});
    return fopen(path, "rb");
}

static FILE *(*const streams[])(const void *, size_t) = {pipe_of, memory_of, file_of};
enum { STREAMS = sizeof streams / sizeof *streams };

static FILE *stream_of(int kind, bytes b) {
    FILE *stream = streams[kind](b.data, b.count);
    ck_assert_ptr_nonnull(stream);
    return stream;
}

static bytes stored_model(void) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 3, "dct", "haar");
    bytes b = saved(model, RBE_STORE_F16, RBE_POSITIONS_DELTA);
    rbe_model_free(model);
    return b;
}

START_TEST(streams_and_memory_are_files) {
    bytes b = stored_model();
    const char *path = scratch_path("model");
    write_whole(path, b);
    rbe_model *expected = rbe_model_load(path), *found = rbe_model_load_memory(b.data, b.count);
    ck_assert_msg(expected && found && same_models(found, expected), "%s", rbe_last_error());
    rbe_model_free(found);
    FILE *stream = stream_of(_i, b);
    found = rbe_model_load_stream(stream);
    ck_assert_msg(found && same_models(found, expected), "%s", rbe_last_error());
    ck_assert(feof(stream)); /* all of it was read, and it is open */
    ck_assert_int_eq(fclose(stream), 0);
    rbe_model_free(found);
    rbe_model_free(expected);

    stream = stream_of(_i, b);
    rbe_tensor_file *from_stream = rbe_tensor_file_open_stream(stream);
    ck_assert_int_eq(fclose(stream), 0); /* the file does not need it any longer */
    rbe_tensor_file *from_memory = rbe_tensor_file_open_memory(b.data, b.count);
    ck_assert_msg(from_stream && from_memory, "%s", rbe_last_error());
    const rbe_tensor_info *info;
    for (size_t n = 0; (info = rbe_tensor_file_at(from_memory, n)); n++) {
        ck_assert_str_eq(rbe_tensor_file_at(from_stream, n)->name, info->name);
        uint8_t *one = malloc(info->bytes + 1), *two = malloc(info->bytes + 1);
        ck_assert_ok(rbe_tensor_file_read(from_memory, n, one));
        ck_assert_ok(rbe_tensor_file_read(from_stream, n, two));
        ck_assert_mem_eq(one, two, info->bytes);
        free(one);
        free(two);
    }
    rbe_tensor_file_close(from_stream);
    rbe_tensor_file_close(from_memory);
    free(b.data);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* A model that stands behind something else in a stream. */
START_TEST(a_stream_is_read_from_where_it_stands) {
    bytes b = stored_model();
    uint8_t *longer = malloc(b.count + 5);
    memcpy(longer, "first", 5);
    memcpy(longer + 5, b.data, b.count);
    FILE *stream = streams[_i](longer, b.count + 5);
    char before[5];
    ck_assert_uint_eq(fread(before, 1, sizeof before, stream), sizeof before);
    rbe_model *model = rbe_model_load_stream(stream);
    ck_assert_msg(model != NULL, "%s", rbe_last_error());
    rbe_model_free(model);
    ck_assert_ptr_null(rbe_model_load_stream(stream)); /* at its end */
    assert_failed(RBE_BAD_FORMAT, "stream: 0 bytes are too few for a safetensors file");
    fclose(stream);
    free(longer);
    free(b.data);
}
END_TEST

/* Larger than the first piece of memory that is taken for it. */
START_TEST(long_streams_come_back) {
    enum { COUNT = 100000 };
    float *values = normals(COUNT, 1), *found = test_memory(COUNT, sizeof *found);
    const rbe_stored_tensor tensor = {.name = "w", .dtype = RBE_F32, .dims = 1, .shape = {COUNT}, .values = values};
    const char *path = scratch_path("long");
    ck_assert_ok(rbe_tensor_file_save(path, &tensor, 1, NULL, 0, true));
    FILE *stream = fopen(path, "rb");
    rbe_tensor_file *file = rbe_tensor_file_open_stream(stream);
    ck_assert_msg(file != NULL, "%s", rbe_last_error());
    ck_assert_uint_lt(rbe_memory().current, 2 * COUNT * sizeof(float) + 65536);
    ck_assert_ok(rbe_tensor_file_read_f32(file, 0, found));
    ck_assert_mem_eq(found, values, COUNT * sizeof *found);
    rbe_tensor_file_close(file);
    fclose(stream);
    free(values);
    free(found);
}
END_TEST

/* ---- damage -------------------------------------------------------------------------------------------------- */

static rbe_model *load_stream(bytes b) {
    FILE *stream = b.count > 0 ? memory_of(b.data, b.count) : fopen("/dev/null", "rb");
    ck_assert_ptr_nonnull(stream);
    rbe_model *model = rbe_model_load_stream(stream);
    ck_assert_int_eq(fclose(stream), 0);
    return model;
}

START_TEST(every_truncated_stream_is_refused) {
    bytes b = stored_model();
    for (size_t whole = b.count; b.count-- > 0;) {
        ck_assert_msg(!load_stream(b), "%zu of %zu bytes", b.count, whole);
        assert_failed(RBE_BAD_FORMAT, "stream: ");
    }
    free(b.data);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(mutated_streams_are_noticed) {
    enum { MUTATIONS = 5000 };
    bytes original = stored_model();
    assert_mutations_noticed(original, load_stream, "stream: ", MUTATIONS, 3, 0);
    free(original.data);
}
END_TEST

/* ---- what is none -------------------------------------------------------------------------------------------- */

START_TEST(endless_streams_are_refused) {
    FILE *zeros = fopen("/dev/zero", "rb");
    rbe_memory_reset_peak();
    ck_assert_ptr_null(rbe_model_load_stream(zeros));
    assert_failed(RBE_BAD_FORMAT, "stream: it does not begin like a safetensors file");
    ck_assert_uint_lt(rbe_memory().peak, 1 << 20);
    fclose(zeros);
}
END_TEST

START_TEST(limits_hold_for_streams) {
    bytes b = stored_model();
    const struct {
        size_t limit;
        const char *reason; /* NULL: it suffices */
    } limits[] = {{1 << 20, NULL}, {1000, "stream: expected at most 1000 bytes (rbe_set_max_read_bytes)"}};
    for (size_t n = 0; n < 2; n++) {
        rbe_set_max_read_bytes(limits[n].limit);
        rbe_model *model = load_stream(b);
        rbe_set_max_read_bytes(0);
        ck_assert_msg(!model == !!limits[n].reason, "%zu: %s", limits[n].limit, rbe_last_error());
        if (!model) assert_failed(RBE_BAD_FORMAT, limits[n].reason);
        rbe_model_free(model);
    }
    free(b.data);
}
END_TEST

START_TEST(what_is_no_stream_or_memory) {
    const struct {
        FILE *stream;
        rbe_status status;
        const char *reason;
    } cases[] = {{fopen(scratch_path("written"), "wb"), RBE_IO_ERROR, "stream: cannot read: Bad file descriptor"},
                 {fopen("/", "rb"), RBE_IO_ERROR, "stream: cannot read: Is a directory"},
                 {NULL, RBE_INVALID_ARGUMENT, "the stream is NULL"}};
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        ck_assert_ptr_null(rbe_model_load_stream(cases[n].stream));
        assert_failed(cases[n].status, cases[n].reason);
        ck_assert_ptr_null(rbe_tensor_file_open_stream(cases[n].stream));
        assert_failed(cases[n].status, cases[n].reason);
        if (cases[n].stream) ck_assert_int_eq(fclose(cases[n].stream), 0);
    }
    ck_assert_ptr_null(rbe_model_load_memory(NULL, 100));
    assert_failed(RBE_INVALID_ARGUMENT, "the memory is NULL");
    ck_assert_ptr_null(rbe_tensor_file_open_memory(NULL, 0));
    assert_failed(RBE_INVALID_ARGUMENT, "the memory is NULL");
    ck_assert_ptr_null(rbe_tensor_file_open_memory("", 0));
    assert_failed(RBE_BAD_FORMAT, "memory: 0 bytes are too few for a safetensors file");
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Whichever request for memory fails: a status, and nothing is held. */
START_TEST(memory_may_be_short) {
    bytes b = stored_model();
    size_t failures = 0;
    for (bool reached = true; reached; failures++) {
        failing_allocator allocator;
        failing_allocator_install(&allocator, failures + 1);
        rbe_model *model = _i ? load_stream(b) : load_bytes(b);
        if (!model) ck_assert_int_eq(rbe_last_status(), RBE_INSUFFICIENT_MEMORY);
        rbe_model_free(model);
        reached = failing_allocator_remove(&allocator);
        ck_assert(reached == !model);
    }
    ck_assert_uint_gt(failures, 10);
    free(b.data);
}
END_TEST

TCase *io_sources_case(void) {
    TCase *sources = tcase_create("sources");
    tcase_add_checked_fixture(sources, scratch_clear, scratch_clear);
    tcase_add_loop_test(sources, streams_and_memory_are_files, 0, STREAMS);
    tcase_add_loop_test(sources, a_stream_is_read_from_where_it_stands, 0, STREAMS);
    tcase_add_test(sources, long_streams_come_back);
    tcase_add_test(sources, every_truncated_stream_is_refused);
    tcase_add_test(sources, mutated_streams_are_noticed);
    tcase_add_test(sources, endless_streams_are_refused);
    tcase_add_test(sources, limits_hold_for_streams);
    tcase_add_test(sources, what_is_no_stream_or_memory);
    tcase_add_loop_test(sources, memory_may_be_short, 0, 2);
    return sources;
}
