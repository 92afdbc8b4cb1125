/* From tensors to a compressed matrix. Every shape is checked against the matrix's geometry before memory is taken
 * for it, and every list, position and value before the matrix is given away.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/input_file.h"
#include "codec/entries.h"
#include "io/blocks_read.h"
#include "io/positions_code.h"

bool rbe_may_be_packed(const rbe_tensor_file *file) {
    const char *version = rbe_tensor_file_metadata(file, RBE_VERSION_KEY);
    return version && strcmp(version, RBE_PACKED_VERSION_TEXT) == 0;
}

rbe_status rbe_check_format(const rbe_tensor_file *file, const char *expected, bool packed) {
    const char *name = file->source.name, *format = rbe_tensor_file_metadata(file, RBE_FORMAT_KEY);
    const char *version = rbe_tensor_file_metadata(file, RBE_VERSION_KEY);
    if (!format || strcmp(format, expected) != 0)
        return rbe_fail(RBE_BAD_FORMAT, "%s: %sexpected " RBE_FORMAT_KEY " %s, found %.20s", name,
                        format ? "" : "a safetensors file, but not of this library: ", expected,
                        format ? format : "none");
    if ((!version || strcmp(version, RBE_VERSION_TEXT) != 0) && !(packed && rbe_may_be_packed(file)))
        return rbe_fail(RBE_BAD_FORMAT, "%s: expected version " RBE_VERSION_TEXT "%s of the format, found %.20s", name,
                        packed ? " or " RBE_PACKED_VERSION_TEXT : "", version ? version : "none");
    if (!file->checksums) return rbe_fail(RBE_BAD_FORMAT, "%s: the checksums are missing", name);
    return RBE_OK;
}

/* ---- the owner's object and tensors -------------------------------------------------------------------------- */

rbe_status rbe_unpack_fail(const rbe_unpack *u, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return rbe_fail(RBE_BAD_FORMAT, "%s: %s %s: %s", u->file->source.name, u->owner.kind, u->owner.name, text);
}

/* Of a packed layer, values of two bits and less become floats, and each may have a column. */
rbe_room rbe_room_of(const rbe_tensor_file *file) {
    return (rbe_room){rbe_input_room(file->source.bytes, rbe_may_be_packed(file) ? 128 : 16, (uint64_t)1 << 25),
                      rbe_input_room(file->source.bytes, 16, (uint64_t)1 << 21)};
}

static rbe_status take(const rbe_unpack *u, const char *what, uint64_t bytes, uint64_t *room) {
    if (bytes > *room)
        return rbe_unpack_fail(u,
                               "%s %llu bytes of memory, expected at most %llu for a file of %llu "
                               "(rbe_set_max_read_bytes)",
                               what, (unsigned long long)bytes, (unsigned long long)*room,
                               (unsigned long long)u->file->source.bytes);
    *room -= bytes;
    return RBE_OK;
}

rbe_status rbe_unpack_take(const rbe_unpack *u, rbe_room bytes) {
    uint64_t sample;
    if (__builtin_mul_overflow(bytes.sample, u->times, &sample)) sample = UINT64_MAX;
    RBE_TRY(take(u, "a sample's inputs and outputs take", sample, &u->room->sample));
    return take(u, "it takes", bytes.content, &u->room->content);
}

const cJSON *rbe_unpack_member(rbe_unpack *u, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(u->json, name);
    if (item) u->members++;
    return item;
}

rbe_status rbe_unpack_number(rbe_unpack *u, const char *name, uint64_t least, uint64_t most, size_t *number) {
    uint64_t value;
    if (!rbe_json_whole(rbe_unpack_member(u, name), most, &value) || value < least)
        return rbe_unpack_fail(u, "%s: expected a whole number, %llu .. %llu", name, (unsigned long long)least,
                               (unsigned long long)most);
    *number = (size_t)value;
    return RBE_OK;
}

/* A number that may be missing: then it stays as it is. */
static rbe_status read_optional(rbe_unpack *u, const char *name, uint64_t most, size_t *number) {
    if (!cJSON_GetObjectItemCaseSensitive(u->json, name)) return RBE_OK;
    return rbe_unpack_number(u, name, 1, most, number);
}

/* Entries are sorted by name: compares one with "owner.part". */
static int compare_part(const char *entry, const char *owner, const char *part) {
    size_t length = strlen(owner);
    int order = strncmp(owner, entry, length);
    if (order == 0) order = '.' - (int)(uint8_t)entry[length];
    return order == 0 ? strcmp(part, entry + length + 1) : order;
}

rbe_part rbe_unpack_find(const rbe_unpack *u, const char *name) {
    const rbe_tensor_file *file = u->file;
    for (size_t low = 0, high = file->count; low < high;) {
        size_t middle = low + (high - low) / 2, number = file->by_name[middle];
        int order = compare_part(file->entries[number].info.name, u->owner.name, name);
        if (order == 0) return (rbe_part){number, &file->entries[number].info};
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return (rbe_part){0};
}

rbe_part rbe_unpack_part(rbe_unpack *u, const char *name) {
    rbe_part part = rbe_unpack_find(u, name);
    if (part.info && u->used) u->used[part.number] = true;
    return part;
}

rbe_status rbe_unpack_shape(const rbe_unpack *u, const char *name, rbe_part p, size_t dims, const size_t *shape) {
    if (!p.info) return rbe_unpack_fail(u, "tensor %s.%s is missing", u->owner.name, name);
    if (p.info->dims == dims && memcmp(p.info->shape, shape, dims * sizeof *shape) == 0) return RBE_OK;
    char text[RBE_FILE_MAX_DIMS * 24] = "";
    for (size_t d = 0, at = 0; d < dims; d++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%zu", d ? ", " : "", shape[d]);
    return rbe_unpack_fail(u, "tensor %s: expected the shape [%s]", p.info->name, text);
}

static rbe_status check_dtype(const rbe_unpack *u, rbe_part p, rbe_dtype dtype) {
    if (p.info->dtype == dtype) return RBE_OK;
    return rbe_unpack_fail(u, "tensor %s: expected %s, found %s", p.info->name, rbe_dtype_name(dtype),
                           rbe_dtype_name(p.info->dtype));
}

rbe_status rbe_unpack_floats(const rbe_unpack *u, rbe_part p, float *values, float **floats) {
    rbe_dtype dtype = p.info->dtype;
    if (dtype != RBE_F32 && dtype != RBE_F16 && dtype != RBE_BF16)
        return rbe_unpack_fail(u, "tensor %s: expected F32, F16 or BF16, found %s", p.info->name,
                               rbe_dtype_name(dtype));
    if (!values) values = *floats = rbe_alloc(p.info->count, sizeof *values);
    if (!values) return RBE_INSUFFICIENT_MEMORY;
    RBE_TRY(rbe_tensor_file_read_f32(u->file, p.number, values));
    for (size_t n = 0; n < p.info->count; n++)
        if (!isfinite(values[n])) return rbe_unpack_fail(u, "tensor %s: value %zu is not finite", p.info->name, n);
    return RBE_OK;
}

/* ---- positions ----------------------------------------------------------------------------------------------- */

rbe_status rbe_unpack_check_lengths(const rbe_unpack *u, const rbe_blocks *b, const char *tensor, size_t values) {
    size_t count = 0; /* the lengths are in list_start[list + 1] */
    for (size_t list = 0; list < b->groups * b->block; list++)
        count += b->list_start[list + 1] * rbe_group_rows(b, list / b->block);
    if (count == values) return RBE_OK;
    return rbe_unpack_fail(u, "tensor %s: expected %zu values, as the positions say, found %zu", tensor, count, values);
}

/* list_start holds pointers; turns them into lengths, in list_start[list + 1]. */
static rbe_status check_pointers(const rbe_unpack *u, rbe_blocks *b, rbe_part lists, rbe_part columns) {
    size_t count = b->groups * b->block;
    bool sound = b->list_start[0] == 0 && b->list_start[count] == columns.info->count;
    for (size_t list = count; sound && list > 0; list--) {
        sound = b->list_start[list] >= b->list_start[list - 1];
        b->list_start[list] -= b->list_start[list - 1];
    }
    if (sound) return RBE_OK;
    return rbe_unpack_fail(u, "tensor %s: expected ascending pointers from 0 to %zu", lists.info->name,
                           columns.info->count);
}

static rbe_status check_columns(const rbe_unpack *u, const rbe_blocks *b, rbe_part columns) {
    size_t most = b->grid_cols * b->block;
    size_t next = 0; /* the smallest column that may follow */
    for (rbe_walk at = rbe_walk_all(b); rbe_walk_next(&at); next = at.column + 1)
        if ((at.entry > at.list.first && at.column < next) || at.column >= most)
            return rbe_unpack_fail(u, "tensor %s: position %zu, column %zu, does not ascend or is not below %zu",
                                   columns.info->name, at.entry, at.column, most);
    return RBE_OK;
}

static rbe_status read_plain(rbe_unpack *u, rbe_blocks *b, rbe_part lists, rbe_part values) {
    rbe_part columns = rbe_unpack_part(u, "columns");
    RBE_TRY(check_dtype(u, lists, RBE_U32));
    RBE_TRY(rbe_unpack_shape(u, "columns", columns, 1, columns.info ? &columns.info->count : NULL));
    RBE_TRY(check_dtype(u, columns, b->grid_cols * b->block <= 65536 ? RBE_U16 : RBE_U32));
    RBE_TRY(rbe_tensor_file_read(u->file, lists.number, b->list_start));
    RBE_TRY(check_pointers(u, b, lists, columns));
    RBE_TRY(rbe_unpack_check_lengths(u, b, values.info->name, values.info->count));
    RBE_TRY(rbe_blocks_allocate(b));
    void *stored = b->columns16 ? (void *)b->columns16 : (void *)b->columns32;
    RBE_TRY(rbe_tensor_file_read(u->file, columns.number, stored));
    return check_columns(u, b, columns);
}

static rbe_status decode_deltas(rbe_unpack *u, rbe_blocks *b, const uint8_t *code, rbe_part deltas, rbe_part values) {
    char name[128];
    snprintf(name, sizeof name, "%s: tensor %s", u->file->source.name, deltas.info->name);
    RBE_TRY(rbe_positions_decode_counts(b, code, deltas.info->bytes, name));
    RBE_TRY(rbe_unpack_check_lengths(u, b, values.info->name, values.info->count));
    RBE_TRY(rbe_blocks_allocate(b));
    rbe_positions_decode_columns(b, code, deltas.info->bytes);
    return RBE_OK;
}

static rbe_status read_deltas(rbe_unpack *u, rbe_blocks *b, rbe_part deltas, rbe_part values) {
    uint8_t *code = rbe_alloc(deltas.info->bytes, 1);
    if (!code) return RBE_INSUFFICIENT_MEMORY;
    rbe_status status = rbe_tensor_file_read(u->file, deltas.number, code);
    if (status == RBE_OK) status = decode_deltas(u, b, code, deltas, values);
    rbe_free(code);
    return status;
}

/* ---- drawn positions ------------------------------------------------------------------------------------------- */

bool rbe_unpack_has_pattern(const rbe_unpack *u) { return cJSON_GetObjectItemCaseSensitive(u->json, "seed") != NULL; }

static rbe_status read_seed(rbe_unpack *u, uint64_t *seed) {
    const char *text = rbe_json_string(rbe_unpack_member(u, "seed"));
    bool sound = text && *text;
    *seed = 0;
    for (; sound && *text; text++)
        sound = *text >= '0' && *text <= '9' && !__builtin_mul_overflow(*seed, (uint64_t)10, seed) &&
                !__builtin_add_overflow(*seed, (uint64_t)(*text - '0'), seed);
    return sound ? RBE_OK : rbe_unpack_fail(u, "seed: expected the digits of a number below 2^64");
}

rbe_status rbe_unpack_pattern(rbe_unpack *u, const rbe_geometry *geometry, size_t values, rbe_pattern *p) {
    RBE_TRY(read_seed(u, &p->seed));
    size_t rule = RBE_PATTERN_BY_PLACE; /* of older files, which do not say */
    RBE_TRY(read_optional(u, "pattern", RBE_PATTERN_BY_INPUT, &rule));
    p->rule = (rbe_pattern_rule)rule;
    RBE_TRY(rbe_unpack_number(u, "limit", 1, RBE_JSON_MOST, &p->limit));
    if (p->limit >= values && p->limit - values < geometry->group &&
        rbe_seed_suffices(geometry->grid_rows * geometry->block, geometry->grid_cols * geometry->block, p->limit))
        return RBE_OK;
    return rbe_unpack_fail(u, "limit: %zu does not fit the matrix and its %zu values", p->limit, values);
}

rbe_status rbe_unpack_draw(const rbe_unpack *u, rbe_blocks *b, const rbe_pattern *p, const char *tensor,
                           size_t values) {
    RBE_TRY(rbe_blocks_draw_pattern(b, p->limit, p->seed, p->rule));
    if (b->value_count == values) return RBE_OK;
    return rbe_unpack_fail(u, "tensor %s: expected %zu values, as limit says, found %zu", tensor, b->value_count,
                           values);
}

/* ---- the matrix ---------------------------------------------------------------------------------------------- */

static rbe_status read_transform(rbe_unpack *u, const char *name, const rbe_transform **transform) {
    const char *value = rbe_json_string(rbe_unpack_member(u, name));
    *transform = rbe_transform_named(value);
    return *transform ? RBE_OK : rbe_unpack_fail(u, "%s: %s", name, rbe_last_error());
}

rbe_status rbe_unpack_geometry(rbe_unpack *u, size_t in, size_t out, bool has_alpha, rbe_geometry *geometry) {
    rbe_compress_options o = {.coeffs = 1, .alpha = has_alpha ? RBE_ALPHA_ON : RBE_ALPHA_OFF};
    RBE_TRY(rbe_unpack_number(u, "block", 8, 256, &o.block));
    RBE_TRY(rbe_unpack_number(u, "group", 1, RBE_JSON_MOST, &o.group));
    RBE_TRY(read_transform(u, "row_transform", &o.row_transform));
    RBE_TRY(read_transform(u, "column_transform", &o.column_transform));
    RBE_TRY(read_optional(u, "overlap", o.block / 2, &o.overlap));
    RBE_TRY(read_optional(u, "image_height", in, &o.image_height));
    RBE_TRY(read_optional(u, "image_width", in, &o.image_width));
    if (rbe_geometry_make(geometry, out, in, &o, 1) != RBE_OK) return rbe_unpack_fail(u, "%s", rbe_last_error());
    if (geometry->group == o.group) return RBE_OK;
    return rbe_unpack_fail(u, "group: expected at most %zu, found %zu", geometry->grid_rows, o.group);
}

void rbe_alpha_from_order(rbe_blocks *b, const float *ordered) {
    for (size_t p = 0; p < b->grid_rows; p++)
        for (size_t q = 0; q < b->grid_cols; q++)
            for (size_t l = 0; l < RBE_BASIS_COUNT; l++) *rbe_block_alpha(b, p, q, l) = *ordered++;
}

static rbe_status read_alpha(rbe_unpack *u, rbe_blocks *b, rbe_part p) {
    float *ordered = NULL;
    rbe_status status = rbe_unpack_floats(u, p, NULL, &ordered);
    if (status == RBE_OK) rbe_alpha_from_order(b, ordered);
    rbe_free(ordered);
    return status;
}

/* The tensors that a compressed matrix may have. */
typedef struct parts {
    rbe_part values, alpha, lists, deltas;
    bool has_pattern;
    rbe_pattern pattern;
} parts;

rbe_room rbe_room_for_matrix(const rbe_geometry *geometry, bool has_pattern) {
    const uint64_t block = geometry->block,
                   lists = (geometry->grid_rows + geometry->group - 1) / geometry->group * block;
    const uint64_t columns = geometry->grid_cols * block, rows = geometry->grid_rows * block;
    const uint64_t height = geometry->image_height, width = geometry->image_width;
    uint64_t bytes = 4 * lists + 4 * geometry->grid_cols + 8 * block * block + 16384;
    if (geometry->has_alpha) bytes += 8 * RBE_BASIS_COUNT * geometry->grid_rows * geometry->grid_cols + 256 * block;
    if (has_pattern) bytes += 20 * columns;
    if (height > 0) bytes += 4 * (height * height + width * width) + sizeof(rbe_image_frequency) * geometry->in;
    return (rbe_room){bytes + 12 * geometry->out,
                      sizeof(float) * (rows + columns)}; /* a bias, in two copies, and scales */
}

/* One of the three forms of positions is there and not smaller than the lists that it describes. */
static rbe_status check_positions(rbe_unpack *u, const rbe_geometry *geometry, parts *p) {
    size_t lists = (geometry->grid_rows + geometry->group - 1) / geometry->group * geometry->block,
           pointers = lists + 1;
    p->lists = rbe_unpack_part(u, "lists");
    p->deltas = rbe_unpack_part(u, "deltas");
    p->has_pattern = rbe_unpack_has_pattern(u);
    if ((p->lists.info != NULL) + (p->deltas.info != NULL) + p->has_pattern != 1)
        return rbe_unpack_fail(u, "expected one of: tensor %s.lists, tensor %s.deltas, a seed", u->owner.name,
                               u->owner.name);
    if (p->lists.info) return rbe_unpack_shape(u, "lists", p->lists, 1, &pointers);
    if (p->deltas.info) {
        RBE_TRY(check_dtype(u, p->deltas, RBE_U8));
        if (p->deltas.info->count >= lists) return RBE_OK;
        return rbe_unpack_fail(u, "tensor %s: expected the code of %zu lists in %zu bytes", p->deltas.info->name, lists,
                               p->deltas.info->count);
    }
    return rbe_unpack_pattern(u, geometry, p->values.info->count, &p->pattern);
}

static rbe_status fill_blocks(rbe_unpack *u, rbe_blocks *b, const parts *p) {
    if (p->lists.info)
        RBE_TRY(read_plain(u, b, p->lists, p->values));
    else if (p->deltas.info)
        RBE_TRY(read_deltas(u, b, p->deltas, p->values));
    else
        RBE_TRY(rbe_unpack_draw(u, b, &p->pattern, p->values.info->name, p->values.info->count));
    const rbe_rows rows = rbe_rows_of_blocks(b);
    RBE_TRY(rbe_unpack_values(u, p->values, &rows, b->values));
    return b->alpha ? read_alpha(u, b, p->alpha) : RBE_OK;
}

static rbe_status read_blocks(rbe_unpack *u, size_t in, size_t out, rbe_blocks **blocks) {
    parts p = {.values = rbe_unpack_part(u, "values"), .alpha = rbe_unpack_part(u, "alpha")};
    rbe_geometry geometry;
    RBE_TRY(rbe_unpack_geometry(u, in, out, p.alpha.info != NULL, &geometry));
    const size_t alphas[3] = {geometry.grid_rows, geometry.grid_cols, RBE_BASIS_COUNT};
    if (p.alpha.info) RBE_TRY(rbe_unpack_shape(u, "alpha", p.alpha, 3, alphas));
    RBE_TRY(rbe_unpack_shape(u, "values", p.values, 1, p.values.info ? &p.values.info->count : NULL));
    RBE_TRY(check_positions(u, &geometry, &p));
    rbe_room room = rbe_room_for_matrix(&geometry, p.has_pattern);
    room.content += 8 * (uint64_t)p.values.info->count; /* values and, at most as many, columns */
    RBE_TRY(rbe_unpack_take(u, room));
    *blocks = rbe_blocks_new(&geometry);
    return *blocks ? fill_blocks(u, *blocks, &p) : RBE_INSUFFICIENT_MEMORY;
}

rbe_status rbe_unpack_blocks(rbe_unpack *u, size_t in, size_t out, rbe_blocks **blocks) {
    *blocks = NULL;
    rbe_status status = read_blocks(u, in, out, blocks);
    if (status == RBE_OK) return RBE_OK;
    rbe_blocks_free(*blocks);
    *blocks = NULL;
    return status;
}
