/* Reading safetensors files: the header once, with every check, then tensors piece by piece.
 *
 * Checked are the header's length, the JSON text (json.h), the members of each tensor's entry, type, shape and byte
 * range against each other, that the ranges follow each other without gaps up to the end of the file, that no name
 * stands twice, and the checksums if the file has them.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc.h"
#include "base/input_file.h"
#include "io/convert.h"
#include "io/json.h"
#include "io/safetensors.h"

static const struct {
    const char *name;
    size_t bytes;
} dtypes[] = {
#define DTYPE(name, bytes) {#name, bytes},
    RBE_DTYPE_TABLE(DTYPE)
#undef DTYPE
};

enum { DTYPES = sizeof dtypes / sizeof *dtypes };

const char *rbe_dtype_name(rbe_dtype dtype) { return (size_t)dtype < DTYPES ? dtypes[dtype].name : "UNKNOWN"; }

size_t rbe_dtype_bytes(rbe_dtype dtype) { return (size_t)dtype < DTYPES ? dtypes[dtype].bytes : 0; }

bool rbe_shape_bytes(rbe_dtype dtype, size_t dims, const size_t *shape, size_t *count, size_t *bytes) {
    *count = 1;
    for (size_t d = 0; d < dims; d++)
        if (__builtin_mul_overflow(*count, shape[d], count)) return false;
    return !__builtin_mul_overflow(*count, rbe_dtype_bytes(dtype), bytes);
}

uint64_t rbe_file_room(uint64_t file_bytes) { return rbe_input_room(file_bytes, 16, (uint64_t)1 << 20); }

/* ---- one entry of the header --------------------------------------------------------------------------------- */

static rbe_status bad_entry(const rbe_tensor_file *file, const cJSON *item, const char *reason) {
    return rbe_fail(RBE_BAD_FORMAT, "%s: tensor %s: %s", file->source.name, item->string, reason);
}

static rbe_status read_shape(const rbe_tensor_file *file, const cJSON *item, rbe_tensor_info *info) {
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(item, "shape"), *extent;
    if (!cJSON_IsArray(shape)) return bad_entry(file, item, "the shape is not a list");
    cJSON_ArrayForEach(extent, shape) {
        uint64_t value;
        if (info->dims == RBE_FILE_MAX_DIMS) return bad_entry(file, item, "expected at most 8 dimensions");
        if (!rbe_json_whole(extent, RBE_JSON_MOST, &value))
            return bad_entry(file, item, "the shape is not a list of whole numbers below 2^53");
        info->shape[info->dims++] = (size_t)value;
    }
    return RBE_OK;
}

static rbe_status read_entry(const rbe_tensor_file *file, const cJSON *item, rbe_tensor_entry *entry) {
    rbe_tensor_info *info = &entry->info;
    if (!cJSON_IsObject(item) || cJSON_GetArraySize(item) != 3)
        return bad_entry(file, item, "expected dtype, shape and data_offsets and nothing else");
    const char *dtype = rbe_json_string(cJSON_GetObjectItemCaseSensitive(item, "dtype"));
    if (!dtype) return bad_entry(file, item, "there is no dtype");
    size_t type = 0;
    while (type < DTYPES && strcmp(dtype, dtypes[type].name) != 0) type++;
    if (type == DTYPES) return bad_entry(file, item, "the dtype is unknown");
    info->dtype = (rbe_dtype)type;
    RBE_TRY(read_shape(file, item, info));

    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    uint64_t end, most = file->source.bytes - file->data_start;
    if (most > RBE_JSON_MOST) most = RBE_JSON_MOST;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !rbe_json_whole(cJSON_GetArrayItem(offsets, 0), most, &entry->begin) ||
        !rbe_json_whole(cJSON_GetArrayItem(offsets, 1), most, &end) || end < entry->begin)
        return bad_entry(file, item, "data_offsets are not a range within the file");
    if (!rbe_shape_bytes(info->dtype, info->dims, info->shape, &info->count, &info->bytes) ||
        info->bytes != end - entry->begin)
        return bad_entry(file, item, "the shape does not fit the bytes of data_offsets");
    return RBE_OK;
}

/* ---- the header ---------------------------------------------------------------------------------------------- */

static const char *keep_text(char **next, const char *text) {
    size_t room = strlen(text) + 1;
    char *kept = memcpy(*next, text, room);
    *next += room;
    return kept;
}

/* Counts tensors and metadata and takes memory for them. */
static rbe_status make_room(rbe_tensor_file *file, const cJSON *root) {
    const cJSON *item, *pair;
    size_t text = 0;
    bool seen = false;
    cJSON_ArrayForEach(item, root) {
        if (strcmp(item->string, RBE_METADATA_KEY) != 0) {
            file->count++;
            text += strlen(item->string) + 1;
            continue;
        }
        if (!cJSON_IsObject(item) || seen)
            return rbe_fail(RBE_BAD_FORMAT, "%s: expected one __metadata__ of keys and texts", file->source.name);
        seen = true;
        cJSON_ArrayForEach(pair, item) {
            if (!rbe_json_string(pair))
                return rbe_fail(RBE_BAD_FORMAT, "%s: metadata %s is not a text", file->source.name, pair->string);
            file->metadata_count++;
            text += strlen(pair->string) + strlen(pair->valuestring) + 2;
        }
    }
    file->entries = rbe_alloc_zeroed(file->count, sizeof *file->entries);
    file->by_name = rbe_alloc(file->count, sizeof *file->by_name);
    file->metadata = rbe_alloc(file->metadata_count, sizeof *file->metadata);
    file->text = rbe_alloc(text, 1);
    return file->entries && file->by_name && file->metadata && file->text ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
}

static int by_place(const void *a, const void *b) {
    const rbe_tensor_entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->info.bytes > y->info.bytes) - (x->info.bytes < y->info.bytes);
}

static int by_key(const void *a, const void *b) {
    return strcmp(((const rbe_metadata *)a)->key, ((const rbe_metadata *)b)->key);
}

/* qsort hands no context on: names are sorted as (name, number) pairs. */
typedef struct named_entry {
    const char *name;
    size_t number;
} named_entry;

static int by_name(const void *a, const void *b) {
    return strcmp(((const named_entry *)a)->name, ((const named_entry *)b)->name);
}

static rbe_status sort_names(rbe_tensor_file *file) {
    named_entry *names = rbe_alloc(file->count, sizeof *names);
    if (!names) return RBE_INSUFFICIENT_MEMORY;
    for (size_t n = 0; n < file->count; n++) names[n] = (named_entry){file->entries[n].info.name, n};
    qsort(names, file->count, sizeof *names, by_name);
    for (size_t n = 0; n < file->count; n++) file->by_name[n] = names[n].number;
    rbe_free(names);
    for (size_t n = 1; n < file->count; n++)
        if (strcmp(file->entries[file->by_name[n - 1]].info.name, file->entries[file->by_name[n]].info.name) == 0)
            return rbe_fail(RBE_BAD_FORMAT, "%s: tensor %s occurs twice in the header", file->source.name,
                            file->entries[file->by_name[n]].info.name);
    qsort(file->metadata, file->metadata_count, sizeof *file->metadata, by_key);
    for (size_t n = 1; n < file->metadata_count; n++)
        if (strcmp(file->metadata[n - 1].key, file->metadata[n].key) == 0)
            return rbe_fail(RBE_BAD_FORMAT, "%s: metadata %s occurs twice in the header", file->source.name,
                            file->metadata[n].key);
    return RBE_OK;
}

/* The tensors' ranges follow each other from 0 to the end of the file. */
static rbe_status check_ranges(rbe_tensor_file *file) {
    uint64_t at = 0;
    for (size_t n = 0; n < file->count; n++) {
        const rbe_tensor_entry *entry = &file->entries[n];
        if (entry->begin != at)
            return rbe_fail(RBE_BAD_FORMAT, "%s: tensor %s begins at byte %llu of the data, expected %llu",
                            file->source.name, entry->info.name, (unsigned long long)entry->begin,
                            (unsigned long long)at);
        at += entry->info.bytes;
    }
    if (at != file->source.bytes - file->data_start)
        return rbe_fail(RBE_BAD_FORMAT, "%s: the tensors end at byte %llu of the data, the file at %llu",
                        file->source.name, (unsigned long long)at,
                        (unsigned long long)(file->source.bytes - file->data_start));
    return RBE_OK;
}

static rbe_status fill_file(rbe_tensor_file *file, const cJSON *root) {
    RBE_TRY(make_room(file, root));
    const cJSON *item, *pair;
    char *next = file->text;
    size_t tensors = 0, pairs = 0;
    cJSON_ArrayForEach(item, root) {
        if (strcmp(item->string, RBE_METADATA_KEY) == 0) {
            cJSON_ArrayForEach(pair, item) {
                const char *key = keep_text(&next, pair->string);
                file->metadata[pairs++] = (rbe_metadata){key, keep_text(&next, pair->valuestring)};
            }
        } else {
            rbe_tensor_entry *entry = &file->entries[tensors++];
            RBE_TRY(read_entry(file, item, entry));
            entry->info.name = keep_text(&next, item->string);
        }
    }
    qsort(file->entries, file->count, sizeof *file->entries, by_place);
    RBE_TRY(check_ranges(file));
    return sort_names(file);
}

/* ---- checksums ----------------------------------------------------------------------------------------------- */

/* A fuzzer cannot guess checksums: its builds go on behind them. */
static bool checksum_fits(uint32_t expected, uint32_t found) {
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    (void)expected, (void)found;
    return true;
#else
    return expected == found;
#endif
}

/* Eight lower-case digits. */
static bool read_digits(const char *text, uint32_t *value) {
    *value = 0;
    for (int n = 0; n < RBE_CHECKSUM_DIGITS; n++) {
        const char *digits = "0123456789abcdef", *digit = text[n] ? strchr(digits, text[n]) : NULL;
        if (!digit) return false;
        *value = *value << 4 | (uint32_t)(digit - digits);
    }
    return true;
}

static rbe_status check_header(rbe_tensor_file *file, const char *header, size_t length) {
    const size_t prefix = sizeof RBE_CHECKSUM_PREFIX - 1, behind = prefix + RBE_CHECKSUM_DIGITS;
    if (length < behind || memcmp(header, RBE_CHECKSUM_PREFIX, prefix) != 0) return RBE_OK;
    uint32_t expected, found = rbe_crc32(0, header + behind, length - behind);
    if (!read_digits(header + prefix, &expected) || !checksum_fits(expected, found))
        return rbe_fail(RBE_BAD_FORMAT, "%s: the header is damaged: expected checksum %.8s, found %08x",
                        file->source.name, header + prefix, (unsigned)found);
    file->checksums = true;
    return RBE_OK;
}

static rbe_status read_data_checksums(rbe_tensor_file *file) {
    const char *text = rbe_tensor_file_metadata(file, RBE_DATA_CHECKSUM_KEY);
    const size_t each = RBE_CHECKSUM_DIGITS + 1;
    bool sound = text && strlen(text) + 1 == (file->count ? file->count * each : 1);
    for (size_t n = 0; sound && n < file->count; n++)
        sound = read_digits(text + n * each, &file->entries[n].crc) && (n == 0 || text[n * each - 1] == ' ');
    if (sound) return RBE_OK;
    return rbe_fail(RBE_BAD_FORMAT, "%s: expected %zu checksums of tensors in " RBE_DATA_CHECKSUM_KEY,
                    file->source.name, file->count);
}

/* Foreign files have no such keys; a file of this library has more than one, so that one stays when a byte changes. */
static rbe_status check_checksums(rbe_tensor_file *file) {
    if (file->checksums) return read_data_checksums(file);
    for (size_t n = 0; n < file->metadata_count; n++)
        if (strncmp(file->metadata[n].key, RBE_KEY_PREFIX, strlen(RBE_KEY_PREFIX)) == 0)
            return rbe_fail(RBE_BAD_FORMAT, "%s: metadata %s, but the checksums are missing", file->source.name,
                            file->metadata[n].key);
    return RBE_OK;
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static rbe_status read_header(rbe_tensor_file *file, char **header) {
    uint64_t length;
    const char *name = file->source.name;
    if (file->source.bytes < sizeof length)
        return rbe_fail(RBE_BAD_FORMAT, "%s: %llu bytes are too few for a safetensors file", name,
                        (unsigned long long)file->source.bytes);
    RBE_TRY(rbe_source_read(&file->source, 0, &length, sizeof length));
    rbe_swap_little_endian(&length, &length, 1, sizeof length);
    if (length > RBE_MAX_HEADER || length > file->source.bytes - sizeof length)
        return rbe_fail(RBE_BAD_FORMAT,
                        "%s: not a safetensors file: a header of %llu bytes does not fit the file of %llu", name,
                        (unsigned long long)length, (unsigned long long)file->source.bytes);
    if (length > rbe_file_room(file->source.bytes))
        return rbe_fail(RBE_BAD_FORMAT, "%s: a header of %llu bytes, expected at most %llu (rbe_set_max_read_bytes)",
                        name, (unsigned long long)length, (unsigned long long)rbe_file_room(file->source.bytes));
    file->data_start = sizeof length + length;
    *header = rbe_alloc(length + 1, 1);
    if (!*header) return RBE_INSUFFICIENT_MEMORY;
    (*header)[length] = '\0';
    RBE_TRY(rbe_source_read(&file->source, sizeof length, *header, (size_t)length));
    if ((*header)[0] != '{') return rbe_fail(RBE_BAD_FORMAT, "%s: the header does not begin with {", name);
    return check_header(file, *header, (size_t)length);
}

static rbe_status open_file(rbe_tensor_file *file) {
    char *header = NULL;
    cJSON *root = NULL;
    rbe_status status = read_header(file, &header);
    if (status == RBE_OK)
        status = rbe_json_parse(&root, header, (size_t)file->data_start - sizeof(uint64_t), RBE_JSON_DEPTH,
                                file->source.name, rbe_file_room(file->source.bytes));
    if (status == RBE_OK) status = fill_file(file, root);
    if (status == RBE_OK) status = check_checksums(file);
    cJSON_Delete(root);
    rbe_free(header);
    return status;
}

rbe_tensor_file *rbe_tensor_file_from_source(rbe_source *source) {
    rbe_tensor_file *file = rbe_alloc_zeroed(1, sizeof *file);
    if (!file) {
        rbe_source_close(source);
        return NULL;
    }
    file->source = *source;
    if (open_file(file) == RBE_OK) return file;
    rbe_tensor_file_close(file);
    return NULL;
}

void rbe_tensor_file_close(rbe_tensor_file *file) {
    if (!file) return;
    rbe_source_close(&file->source);
    rbe_free(file->entries);
    rbe_free(file->by_name);
    rbe_free(file->metadata);
    rbe_free(file->text);
    rbe_free(file);
}

/* ---- looking up and reading ---------------------------------------------------------------------------------- */

const rbe_tensor_info *rbe_tensor_file_at(const rbe_tensor_file *file, size_t n) {
    return file && n < file->count ? &file->entries[n].info : NULL;
}

size_t rbe_tensor_file_count(const rbe_tensor_file *file) { return file ? file->count : 0; }

size_t rbe_tensor_file_find(const rbe_tensor_file *file, const char *name) {
    size_t low = 0, high = file && name ? file->count : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, file->entries[file->by_name[middle]].info.name);
        if (order == 0) return file->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return rbe_tensor_file_count(file);
}

const char *rbe_tensor_file_metadata(const rbe_tensor_file *file, const char *key) {
    for (size_t n = 0; file && key && n < file->metadata_count; n++)
        if (strcmp(file->metadata[n].key, key) == 0) return file->metadata[n].value;
    return NULL;
}

rbe_status rbe_tensor_entry_read(const rbe_tensor_file *file, size_t n, size_t offset, void *bytes, size_t count) {
    return rbe_source_read(&file->source, file->data_start + file->entries[n].begin + offset, bytes, count);
}

static rbe_status check_number(const rbe_tensor_file *file, size_t n) {
    if (file && n < file->count) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "tensor %zu does not exist: the file has %zu", n, file ? file->count : 0);
}

rbe_status rbe_tensor_entry_check(const rbe_tensor_file *file, size_t n, uint32_t found) {
    const rbe_tensor_entry *entry = &file->entries[n];
    if (!file->checksums || checksum_fits(entry->crc, found)) return RBE_OK;
    return rbe_fail(RBE_BAD_FORMAT, "%s: tensor %s is damaged: expected checksum %08x, found %08x", file->source.name,
                    entry->info.name, (unsigned)entry->crc, (unsigned)found);
}

rbe_status rbe_tensor_file_read(const rbe_tensor_file *file, size_t n, void *values) {
    RBE_TRY(check_number(file, n));
    const rbe_tensor_info *info = &file->entries[n].info;
    RBE_TRY(rbe_tensor_entry_read(file, n, 0, values, info->bytes));
    if (file->checksums) RBE_TRY(rbe_tensor_entry_check(file, n, rbe_crc32(0, values, info->bytes)));
    rbe_swap_little_endian(values, values, info->count, rbe_dtype_bytes(info->dtype));
    return RBE_OK;
}

rbe_status rbe_tensor_file_read_f32(const rbe_tensor_file *file, size_t n, float *values) {
    RBE_TRY(check_number(file, n));
    const rbe_tensor_info *info = &file->entries[n].info;
    bool real = info->dtype == RBE_F64 || info->dtype == RBE_F32 || info->dtype == RBE_F16 || info->dtype == RBE_BF16;
    if (!real && info->dtype != RBE_I8)
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s: tensor %s: %s cannot be read as F32", file->source.name, info->name,
                        rbe_dtype_name(info->dtype));
    uint8_t chunk[RBE_CHUNK_BYTES];
    size_t size = rbe_dtype_bytes(info->dtype), piece = sizeof chunk / size;
    uint32_t crc = 0;
    for (size_t at = 0; at < info->count; at += piece) {
        if (piece > info->count - at) piece = info->count - at;
        RBE_TRY(rbe_tensor_entry_read(file, n, at * size, chunk, piece * size));
        crc = rbe_crc32(crc, chunk, piece * size);
        rbe_swap_little_endian(chunk, chunk, piece, size);
        size_t converted = rbe_convert_to_f32(info->dtype, chunk, piece, values + at);
        if (converted < piece)
            return rbe_fail(RBE_NUMERICAL_INSTABILITY, "%s: tensor %s: value %zu is too large for a float",
                            file->source.name, info->name, at + converted);
    }
    return rbe_tensor_entry_check(file, n, crc);
}
