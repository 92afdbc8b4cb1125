/* IDX files of images and labels (the format of MNIST), plain or gzip-compressed.
 *
 *     magic      4 bytes: 0, 0, type of the values (8: unsigned byte), number of dimensions
 *     extents    4 bytes each, most significant first
 *     values     the last dimension varies fastest
 *
 * A header is not trusted: what it promises must be in proportion to the file, before memory is taken for it.
 */
#include <string.h>

#include "base/input_file.h"
#include "data/gzip.h"
#include "rbe/data.h"

#define IMAGE_MAGIC 0x00000803u
#define LABEL_MAGIC 0x00000801u

enum { LABEL_CHUNK = 4096, MOST_TIMES = 64, LEAST_ROOM = 1 << 24 /* rbe/data.h */ };

/* ---- reading ------------------------------------------------------------------------------------------------- */

static uint32_t big_endian(const uint8_t *b) {
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Magic number and `dims` extents. */
static rbe_status read_header(rbe_reader *reader, uint32_t magic, uint32_t *extents, size_t dims) {
    uint8_t bytes[16];
    size_t wanted = 4 + 4 * dims, found;
    RBE_TRY(rbe_reader_read(reader, bytes, wanted, &found));
    if (found >= 4 && big_endian(bytes) != magic)
        return rbe_fail(RBE_BAD_FORMAT, "%s: expected magic 0x%08x (unsigned bytes, %zu dimension%s), found 0x%08x",
                        reader->path, (unsigned)magic, dims, dims == 1 ? "" : "s", (unsigned)big_endian(bytes));
    if (found < wanted)
        return rbe_fail(RBE_BAD_FORMAT, "%s: truncated: expected a header of %zu bytes, found %zu", reader->path,
                        wanted, found);
    for (size_t d = 0; d < dims; d++) extents[d] = big_endian(bytes + 4 + 4 * d);
    return RBE_OK;
}

/* After the last value: nothing follows, and the check sum of gzip data has been seen. */
static rbe_status check_end(rbe_reader *reader) {
    uint8_t byte;
    size_t found;
    RBE_TRY(rbe_reader_read(reader, &byte, 1, &found));
    if (found > 0)
        return rbe_fail(RBE_BAD_FORMAT, "%s: expected the end after the last value, found trailing bytes",
                        reader->path);
    if (reader->cut)
        return rbe_fail(RBE_BAD_FORMAT, "%s: truncated: the gzip data end before their checksum", reader->path);
    return RBE_OK;
}

/* Whether a file of this size may promise `count` things that take `size` bytes each. */
static rbe_status check_room(const rbe_reader *reader, uint64_t count, uint64_t size) {
    uint64_t room = rbe_input_room(reader->file_bytes, MOST_TIMES, LEAST_ROOM);
    if (count <= room / size) return RBE_OK;
    return rbe_fail(RBE_BAD_FORMAT,
                    "%s: header promises %llu times %llu bytes, expected at most %llu in all from a file of %llu "
                    "(rbe_set_max_read_bytes)",
                    reader->path, (unsigned long long)count, (unsigned long long)size, (unsigned long long)room,
                    (unsigned long long)reader->file_bytes);
}

static rbe_status read_images(rbe_dataset *data, rbe_reader *reader) {
    uint32_t extent[3];
    RBE_TRY(read_header(reader, IMAGE_MAGIC, extent, 3));
    uint32_t count = extent[0], height = extent[1], width = extent[2];
    uint64_t features = (uint64_t)height * width;
    if (count == 0 || features == 0)
        return rbe_fail(RBE_BAD_FORMAT, "%s: expected images, found %u of %u x %u", reader->path, (unsigned)count,
                        (unsigned)height, (unsigned)width);
    if (features > PTRDIFF_MAX / sizeof(float) / count)
        return rbe_fail(RBE_BAD_FORMAT, "%s: header promises %u images of %u x %u, more than can be addressed",
                        reader->path, (unsigned)count, (unsigned)height, (unsigned)width);
    data->count = count;
    data->features = (size_t)features;
    data->height = height;
    data->width = width;
    size_t found;
    RBE_TRY(check_room(reader, count, features));
    data->pixels = rbe_alloc(data->count, data->features);
    if (!data->pixels) return RBE_INSUFFICIENT_MEMORY;
    RBE_TRY(rbe_reader_read(reader, data->pixels, data->count * data->features, &found));
    if (found < data->count * data->features)
        return rbe_fail(RBE_BAD_FORMAT, "%s: truncated: header promises %u images of %u x %u, found %zu whole ones",
                        reader->path, (unsigned)count, (unsigned)height, (unsigned)width, found / data->features);
    return check_end(reader);
}

static rbe_status read_labels(rbe_dataset *data, rbe_reader *reader, const char *image_path) {
    uint32_t count = 0;
    RBE_TRY(read_header(reader, LABEL_MAGIC, &count, 1));
    if (count != data->count)
        return rbe_fail(RBE_BAD_FORMAT, "%s: expected %zu labels, as many as %s has images, found %u", reader->path,
                        data->count, image_path, (unsigned)count);
    RBE_TRY(check_room(reader, count, sizeof *data->labels));
    data->labels = rbe_alloc(count, sizeof *data->labels);
    if (!data->labels) return RBE_INSUFFICIENT_MEMORY;
    uint8_t chunk[LABEL_CHUNK];
    for (size_t at = 0; at < count;) {
        size_t wanted = count - at < LABEL_CHUNK ? count - at : LABEL_CHUNK, found;
        RBE_TRY(rbe_reader_read(reader, chunk, wanted, &found));
        for (size_t i = 0; i < found; i++) {
            if (chunk[i] >= data->classes)
                return rbe_fail(RBE_BAD_FORMAT, "%s: expected labels 0 .. %d, found %d at index %zu", reader->path,
                                (int)data->classes - 1, (int)chunk[i], at + i);
            data->labels[at + i] = chunk[i];
        }
        at += found;
        if (found < wanted)
            return rbe_fail(RBE_BAD_FORMAT, "%s: truncated: header promises %u labels, found %zu", reader->path,
                            (unsigned)count, at);
    }
    return check_end(reader);
}

static rbe_status read_both(rbe_dataset *data, const char *image_path, const char *label_path) {
    rbe_reader reader;
    RBE_TRY(rbe_reader_open(&reader, image_path));
    rbe_status status = read_images(data, &reader);
    rbe_reader_close(&reader);
    if (status != RBE_OK || !label_path) return status;
    RBE_TRY(rbe_reader_open(&reader, label_path));
    status = read_labels(data, &reader, image_path);
    rbe_reader_close(&reader);
    return status;
}

rbe_status rbe_dataset_read_idx(rbe_dataset *data, const char *image_path, const char *label_path, int32_t classes) {
    if (!data || !image_path) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_dataset_read_idx: a pointer is NULL");
    *data = (rbe_dataset){.classes = label_path ? classes : 0, .owned = true};
    rbe_status status = RBE_OK;
    if (label_path && classes < 1)
        status = rbe_fail(RBE_INVALID_ARGUMENT, "expected at least 1 class, found %d", (int)classes);
    if (status == RBE_OK) status = read_both(data, image_path, label_path);
    if (status != RBE_OK) rbe_dataset_free(data);
    return status;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static rbe_status write_header(rbe_writer *writer, uint32_t magic, const size_t *extents, size_t dims) {
    uint8_t bytes[16];
    for (size_t i = 0; i <= dims; i++) {
        uint32_t value = i == 0 ? magic : (uint32_t)extents[i - 1];
        for (int b = 0; b < 4; b++) bytes[4 * i + (size_t)b] = (uint8_t)(value >> (24 - 8 * b));
    }
    return rbe_writer_write(writer, bytes, 4 + 4 * dims);
}

static rbe_status write_images(rbe_writer *writer, const rbe_dataset *data, const char *path) {
    size_t extents[3] = {data->count, data->height, data->width};
    RBE_TRY(rbe_writer_open(writer, path));
    RBE_TRY(write_header(writer, IMAGE_MAGIC, extents, 3));
    RBE_TRY(rbe_writer_write(writer, data->pixels, data->count * data->features));
    return rbe_writer_finish(writer);
}

static rbe_status write_labels(rbe_writer *writer, const rbe_dataset *data, const char *path) {
    RBE_TRY(rbe_writer_open(writer, path));
    RBE_TRY(write_header(writer, LABEL_MAGIC, &data->count, 1));
    uint8_t chunk[LABEL_CHUNK];
    for (size_t at = 0; at < data->count;) {
        size_t n = data->count - at < LABEL_CHUNK ? data->count - at : LABEL_CHUNK;
        for (size_t i = 0; i < n; i++) chunk[i] = (uint8_t)data->labels[at + i];
        RBE_TRY(rbe_writer_write(writer, chunk, n));
        at += n;
    }
    return rbe_writer_finish(writer);
}

/* What the format can hold. */
static rbe_status check_writable(const rbe_dataset *data, const char *image_path, const char *label_path) {
    if (!data || !image_path || !label_path)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_dataset_write_idx: a pointer is NULL");
    if (strcmp(image_path, label_path) == 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s: expected two files, found one name for both", image_path);
    if (!data->pixels || !data->labels || data->label_width > 1 || data->height * data->width != data->features)
        return rbe_fail(RBE_INVALID_ARGUMENT, "an IDX file needs images of bytes with a label each");
    if (data->count > UINT32_MAX || data->height > UINT32_MAX || data->width > UINT32_MAX)
        return rbe_fail(RBE_INVALID_ARGUMENT, "an IDX file has extents below 2^32, found %zu x %zu x %zu", data->count,
                        data->height, data->width);
    for (size_t i = 0; i < data->count; i++)
        if (data->labels[i] < 0 || data->labels[i] > 255)
            return rbe_fail(RBE_INVALID_ARGUMENT, "an IDX file has labels 0 .. 255, found %d at index %zu",
                            (int)data->labels[i], i);
    return RBE_OK;
}

/* Neither file is replaced before both are on the disk. */
rbe_status rbe_dataset_write_idx(const rbe_dataset *data, const char *image_path, const char *label_path) {
    RBE_TRY(check_writable(data, image_path, label_path));
    rbe_writer images = {0}, labels = {0};
    rbe_status status = write_images(&images, data, image_path);
    if (status == RBE_OK) status = write_labels(&labels, data, label_path);
    if (status == RBE_OK) status = rbe_atomic_commit((rbe_atomic_file *const[]){&images.file, &labels.file}, 2);
    rbe_writer_discard(&images);
    rbe_writer_discard(&labels);
    return status;
}
