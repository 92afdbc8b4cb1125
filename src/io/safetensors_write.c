/* Writing safetensors files: offsets, checksums, header, then the data in pieces, all in a file that replaces the
 * old one at the end (base/atomic_file.h).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic_file.h"
#include "base/crc.h"
#include "io/convert.h"
#include "io/json.h"
#include "io/safetensors.h"

/* What stands in the header beside the caller's texts. */
typedef struct layout {
    const rbe_stored_tensor *tensors;
    size_t count;
    const rbe_metadata *metadata;
    size_t metadata_count;
    char *checksums; /* of the data, as text; NULL: none */
    uint32_t *crcs;  /* the same as numbers */
} layout;

static void layout_free(layout *l) {
    rbe_free(l->checksums);
    rbe_free(l->crcs);
}

static size_t bytes_of(const rbe_stored_tensor *tensor) {
    size_t count, bytes;
    rbe_shape_bytes(tensor->dtype, tensor->dims, tensor->shape, &count, &bytes);
    return bytes;
}

/* ---- data ---------------------------------------------------------------------------------------------------- */

/* Computes the checksum of a tensor's bytes as they are to stand in the file, and feeds them to `file` unless it is
 * NULL. What is copied from a file with checksums is compared with its own. */
static rbe_status stream(const rbe_stored_tensor *tensor, uint32_t *crc, rbe_atomic_file *file) {
    uint8_t chunk[RBE_CHUNK_BYTES];
    size_t bytes = bytes_of(tensor), size = rbe_dtype_bytes(tensor->dtype), piece = sizeof chunk;
    *crc = 0;
    for (size_t at = 0; at < bytes; at += piece) {
        if (piece > bytes - at) piece = bytes - at;
        if (tensor->values)
            rbe_swap_little_endian(chunk, (const char *)tensor->values + at, piece / size, size);
        else
            RBE_TRY(rbe_tensor_entry_read(tensor->source, tensor->source_index, at, chunk, piece));
        *crc = rbe_crc32(*crc, chunk, piece);
        if (file) RBE_TRY(rbe_atomic_write(file, chunk, piece));
    }
    if (tensor->values || bytes == 0) return RBE_OK;
    return rbe_tensor_entry_check(tensor->source, tensor->source_index, *crc);
}

/* Eight digits for each tensor, with spaces between. */
static rbe_status print_checksums(layout *l) {
    const size_t each = RBE_CHECKSUM_DIGITS + 1;
    l->checksums = rbe_alloc(l->count * each + 1, 1);
    if (!l->checksums) return RBE_INSUFFICIENT_MEMORY;
    l->checksums[0] = '\0';
    for (size_t n = 0; n < l->count; n++)
        snprintf(l->checksums + n * each, each + 1, "%08x%s", (unsigned)l->crcs[n], n + 1 < l->count ? " " : "");
    return RBE_OK;
}

static rbe_status make_checksums(layout *l) {
    l->crcs = rbe_alloc(l->count, sizeof *l->crcs);
    if (!l->crcs) return RBE_INSUFFICIENT_MEMORY;
    for (size_t n = 0; n < l->count; n++) RBE_TRY(stream(&l->tensors[n], &l->crcs[n], NULL));
    return print_checksums(l);
}

/* As long as the others, without the work. */
static rbe_status make_no_checksums(layout *l) {
    l->crcs = rbe_alloc_zeroed(l->count, sizeof *l->crcs);
    return l->crcs ? print_checksums(l) : RBE_INSUFFICIENT_MEMORY;
}

static rbe_status write_tensor(rbe_atomic_file *file, const layout *l, size_t n) {
    uint32_t crc;
    RBE_TRY(stream(&l->tensors[n], &crc, file));
    if (!l->crcs || l->crcs[n] == crc) return RBE_OK;
    return rbe_fail(RBE_IO_ERROR, "%s: tensor %s changed while it was being written", file->path, l->tensors[n].name);
}

/* ---- checks -------------------------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Names, or keys: `stride` bytes lie between the pointers to two of them. */
static rbe_status check_names(const char *what, const char *const *first, size_t count, size_t stride) {
    const char **names = rbe_alloc(count, sizeof *names);
    if (!names) return RBE_INSUFFICIENT_MEMORY;
    rbe_status status = RBE_OK;
    for (size_t n = 0; n < count && status == RBE_OK; n++) {
        memcpy(&names[n], (const char *)first + n * stride, sizeof *names);
        if (!names[n] || rbe_utf8_length(names[n], strlen(names[n])) < strlen(names[n]))
            status = rbe_fail(RBE_INVALID_ARGUMENT, "%s %zu: its name is not UTF-8", what, n);
    }
    if (status == RBE_OK) qsort(names, count, sizeof *names, by_text);
    for (size_t n = 1; n < count && status == RBE_OK; n++)
        if (strcmp(names[n - 1], names[n]) == 0)
            status = rbe_fail(RBE_INVALID_ARGUMENT, "%s %s occurs twice", what, names[n]);
    rbe_free(names);
    return status;
}

static rbe_status check_tensor(const rbe_stored_tensor *t) {
    size_t count, bytes;
    if (rbe_dtype_bytes(t->dtype) == 0 || t->dims > RBE_FILE_MAX_DIMS ||
        !rbe_shape_bytes(t->dtype, t->dims, t->shape, &count, &bytes))
        return rbe_fail(RBE_INVALID_ARGUMENT, "tensor %s: the type or the shape cannot be stored", t->name);
    for (size_t d = 0; d < t->dims; d++)
        if (t->shape[d] > RBE_JSON_MOST)
            return rbe_fail(RBE_INVALID_ARGUMENT, "tensor %s: expected extents below 2^53, found %zu", t->name,
                            t->shape[d]);
    if (strcmp(t->name, RBE_METADATA_KEY) == 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "no tensor can be called " RBE_METADATA_KEY);
    if (t->values || count == 0) return RBE_OK;
    const rbe_tensor_info *source = rbe_tensor_file_at(t->source, t->source_index);
    if (!source || source->dtype != t->dtype || source->bytes != bytes)
        return rbe_fail(RBE_INVALID_ARGUMENT, "tensor %s: expected values, or a source of its type and size", t->name);
    return RBE_OK;
}

/* Metadata of a name of this library's promise checksums to the reader. */
static rbe_status check_metadata(const rbe_metadata *pair, bool checksums) {
    if (!pair->value || rbe_utf8_length(pair->value, strlen(pair->value)) < strlen(pair->value))
        return rbe_fail(RBE_INVALID_ARGUMENT, "metadata %s: its text is not UTF-8", pair->key);
    if (strcmp(pair->key, RBE_CHECKSUM_KEY) == 0 || strcmp(pair->key, RBE_DATA_CHECKSUM_KEY) == 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "metadata %s is written with the checksums", pair->key);
    if (!checksums && strncmp(pair->key, RBE_KEY_PREFIX, strlen(RBE_KEY_PREFIX)) == 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "metadata %s: a file with it needs checksums", pair->key);
    return RBE_OK;
}

static rbe_status check_layout(const layout *l, bool checksums) {
    if (l->count > 0) RBE_TRY(check_names("tensor", &l->tensors->name, l->count, sizeof *l->tensors));
    if (l->metadata_count > 0)
        RBE_TRY(check_names("metadata", &l->metadata->key, l->metadata_count, sizeof *l->metadata));
    for (size_t n = 0; n < l->count; n++) RBE_TRY(check_tensor(&l->tensors[n]));
    for (size_t n = 0; n < l->metadata_count; n++) RBE_TRY(check_metadata(&l->metadata[n], checksums));
    return RBE_OK;
}

/* ---- header -------------------------------------------------------------------------------------------------- */

static bool add_metadata(cJSON *root, const layout *l) {
    if (!l->checksums && l->metadata_count == 0) return true;
    cJSON *metadata = cJSON_AddObjectToObject(root, RBE_METADATA_KEY);
    bool whole = metadata;
    if (l->checksums)
        whole = whole && cJSON_AddStringToObject(metadata, RBE_CHECKSUM_KEY, "00000000") &&
                cJSON_AddStringToObject(metadata, RBE_DATA_CHECKSUM_KEY, l->checksums);
    for (size_t n = 0; whole && n < l->metadata_count; n++)
        whole = cJSON_AddStringToObject(metadata, l->metadata[n].key, l->metadata[n].value);
    return whole;
}

/* As text: cJSON prints numbers of more than 15 digits rounded. */
static bool add_numbers(cJSON *object, const char *key, const size_t *numbers, size_t count) {
    cJSON *list = cJSON_AddArrayToObject(object, key);
    bool whole = list;
    for (size_t n = 0; whole && n < count; n++) {
        char text[24];
        snprintf(text, sizeof text, "%zu", numbers[n]);
        whole = cJSON_AddItemToArray(list, cJSON_CreateRaw(text));
    }
    return whole;
}

/* Adds the tensor's entry; its data begin at *offset, which is moved behind them. */
static bool add_entry(cJSON *root, const rbe_stored_tensor *t, size_t *offset) {
    const size_t range[2] = {*offset, *offset + bytes_of(t)};
    *offset = range[1];
    cJSON *entry = cJSON_AddObjectToObject(root, t->name);
    return entry && cJSON_AddStringToObject(entry, "dtype", rbe_dtype_name(t->dtype)) &&
           add_numbers(entry, "shape", t->shape, t->dims) && add_numbers(entry, "data_offsets", range, 2);
}

/* Spaces put the data at a multiple of 8. */
static size_t padding_of(size_t length) { return (8 - length % 8) % 8; }

/* *text is freed by cJSON_free. */
static rbe_status make_header(const layout *l, char **text) {
    cJSON *root = cJSON_CreateObject();
    size_t offset = 0;
    bool whole = root && add_metadata(root, l);
    for (size_t n = 0; whole && n < l->count; n++) whole = add_entry(root, &l->tensors[n], &offset);
    *text = whole ? cJSON_PrintUnformatted(root) : NULL;
    cJSON_Delete(root);
    if (!*text) return rbe_fail(RBE_INSUFFICIENT_MEMORY, "no memory for the header of %zu tensors", l->count);
    size_t length = strlen(*text);
    if (length + padding_of(length) <= RBE_MAX_HEADER) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "names and metadata: a header of %zu bytes, expected at most %d", length,
                    RBE_MAX_HEADER);
}

/* Length, text and spaces. */
static rbe_status write_header(rbe_atomic_file *file, char *text, bool checksums) {
    static const char spaces[8] = "        ";
    size_t length = strlen(text), padding = padding_of(length);
    if (checksums) {
        char *digits = text + sizeof RBE_CHECKSUM_PREFIX - 1, *behind = digits + RBE_CHECKSUM_DIGITS;
        const uint32_t crc = rbe_crc32(rbe_crc32(0, behind, strlen(behind)), spaces, padding);
        char printed[RBE_CHECKSUM_DIGITS + 1];
        snprintf(printed, sizeof printed, "%08x", (unsigned)crc);
        memcpy(digits, printed, RBE_CHECKSUM_DIGITS);
    }
    uint64_t total = length + padding;
    rbe_swap_little_endian(&total, &total, 1, sizeof total);
    RBE_TRY(rbe_atomic_write(file, &total, sizeof total));
    RBE_TRY(rbe_atomic_write(file, text, length));
    return rbe_atomic_write(file, spaces, padding);
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

static rbe_status write_file(rbe_atomic_file *file, const char *path, char *header, const layout *l, size_t keep) {
    RBE_TRY(rbe_atomic_open(file, path));
    RBE_TRY(write_header(file, header, l->checksums));
    for (size_t n = 0; n < l->count; n++) RBE_TRY(write_tensor(file, l, n));
    RBE_TRY(rbe_atomic_finish(file));
    RBE_TRY(rbe_atomic_keep(file, keep));
    return rbe_atomic_commit(&file, 1);
}

void rbe_order_tensors(rbe_stored_tensor *tensors, size_t count) {
    for (size_t n = 1; n < count; n++) {
        const rbe_stored_tensor tensor = tensors[n];
        size_t at = n;
        for (; at > 0 && rbe_dtype_bytes(tensors[at - 1].dtype) < rbe_dtype_bytes(tensor.dtype); at--)
            tensors[at] = tensors[at - 1];
        tensors[at] = tensor;
    }
}

static rbe_status write_layout(const char *path, layout *l, bool checksums, size_t keep) {
    rbe_atomic_file file = {0};
    char *header = NULL;
    rbe_status status = check_layout(l, checksums);
    if (status == RBE_OK && checksums) status = make_checksums(l);
    if (status == RBE_OK) status = make_header(l, &header);
    if (status == RBE_OK) status = write_file(&file, path, header, l, keep);
    rbe_atomic_discard(&file);
    cJSON_free(header);
    layout_free(l);
    return status;
}

rbe_status rbe_tensors_write(const char *path, const rbe_stored_tensor *tensors, size_t count,
                             const rbe_metadata *metadata, size_t metadata_count, bool checksums) {
    layout l = {.tensors = tensors, .count = count, .metadata = metadata, .metadata_count = metadata_count};
    return write_layout(path, &l, checksums, 1);
}

rbe_status rbe_tensors_write_keeping(const char *path, const rbe_stored_tensor *tensors, size_t count,
                                     const rbe_metadata *metadata, size_t metadata_count, size_t keep) {
    layout l = {.tensors = tensors, .count = count, .metadata = metadata, .metadata_count = metadata_count};
    return write_layout(path, &l, true, keep);
}

rbe_status rbe_tensors_bytes(const rbe_stored_tensor *tensors, size_t count, const rbe_metadata *metadata,
                             size_t metadata_count, bool checksums, size_t *bytes) {
    layout l = {.tensors = tensors, .count = count, .metadata = metadata, .metadata_count = metadata_count};
    char *header = NULL;
    rbe_status status = check_layout(&l, checksums);
    if (status == RBE_OK && checksums) status = make_no_checksums(&l);
    if (status == RBE_OK) status = make_header(&l, &header);
    if (status == RBE_OK) {
        size_t length = strlen(header);
        *bytes = sizeof(uint64_t) + length + padding_of(length);
        for (size_t n = 0; n < count; n++) *bytes += bytes_of(&tensors[n]);
    }
    cJSON_free(header);
    layout_free(&l);
    return status;
}
