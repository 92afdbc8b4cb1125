/* Compressed matrices among the tensors of a safetensors file: docs/format.md, section 9.
 *
 * A matrix called NAME becomes the tensors NAME.values, NAME.alpha, .., as a layer of a model does, and a text in the
 * metadata, under rbe.matrix.NAME, that describes it.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "io/store.h"

#define FORMAT_NAME "tensors"
#define MATRIX_KEY "rbe.matrix."

/* "rbe.matrix.NAME", freed by rbe_free; NULL when memory is short. */
static char *key_of(const char *name) {
    size_t length = sizeof MATRIX_KEY + strlen(name);
    char *key = rbe_alloc(length, 1);
    if (key) snprintf(key, length, MATRIX_KEY "%s", name);
    return key;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

/* The tensors and metadata of a file whose matrices have become tensors. The metadata begin with format and version
 * and two pairs of texts of each matrix; then come the caller's. */
typedef struct expansion {
    rbe_pack pack;
    rbe_stored_tensor *tensors;
    rbe_metadata *metadata;
    size_t count, metadata_count, matrices;
} expansion;

static void expansion_free(expansion *e) {
    for (size_t n = 0; n < e->matrices; n++) {
        rbe_free((char *)e->metadata[n].key);
        cJSON_free((char *)e->metadata[n].value);
    }
    rbe_free(e->tensors);
    rbe_free(e->metadata);
    rbe_pack_free(&e->pack);
}

/* Adds the tensors of a matrix to the pack; *text, freed by cJSON_free, describes it. */
static rbe_status pack_matrix(rbe_pack *pack, const rbe_stored_tensor *matrix, char **text) {
    const rbe_owner owner = {"matrix", matrix->name};
    const rbe_blocks_info info = rbe_blocks_describe(matrix->blocks);
    cJSON *json = cJSON_CreateObject();
    bool whole = json && rbe_add_number(json, "out", info.out) && rbe_add_number(json, "in", info.in);
    rbe_status status =
        whole ? rbe_pack_blocks(pack, owner, matrix->blocks, &matrix->save, json) : rbe_no_description(owner);
    *text = status == RBE_OK ? cJSON_PrintUnformatted(json) : NULL;
    cJSON_Delete(json);
    return status != RBE_OK || *text ? status : rbe_no_description(owner);
}

static rbe_status add_matrix(expansion *e, const rbe_stored_tensor *matrix) {
    if (!matrix->name || matrix->values || matrix->source || !rbe_store_type_of(matrix->save.store) ||
        matrix->save.positions > RBE_POSITIONS_SEED)
        return rbe_fail(RBE_INVALID_ARGUMENT, "matrix %s: expected a name, blocks, known options and nothing else",
                        matrix->name ? matrix->name : "NULL");
    rbe_metadata *pair = &e->metadata[e->matrices];
    if (!(pair->key = key_of(matrix->name))) return RBE_INSUFFICIENT_MEMORY;
    e->matrices++;
    char *text;
    RBE_TRY(pack_matrix(&e->pack, matrix, &text));
    pair->value = text;
    return RBE_OK;
}

/* Appends what the caller has beside the matrices. */
static rbe_status expand(expansion *e, const rbe_stored_tensor *tensors, size_t count, size_t matrices,
                         const rbe_metadata *metadata, size_t metadata_count) {
    RBE_TRY(rbe_pack_new(&e->pack, matrices * RBE_BLOCKS_PARTS));
    e->tensors = rbe_alloc(count + matrices * RBE_BLOCKS_PARTS, sizeof *e->tensors);
    e->metadata = rbe_alloc_zeroed(matrices + 2 + metadata_count, sizeof *e->metadata);
    if (!e->tensors || !e->metadata) return RBE_INSUFFICIENT_MEMORY;
    for (size_t n = 0; n < count; n++) {
        size_t packed = e->pack.count;
        if (tensors[n].blocks)
            RBE_TRY(add_matrix(e, &tensors[n]));
        else
            e->tensors[e->count++] = tensors[n];
        for (; packed < e->pack.count; packed++) e->tensors[e->count++] = e->pack.tensors[packed];
    }
    rbe_metadata *next = e->metadata + matrices;
    *next++ = (rbe_metadata){RBE_FORMAT_KEY, FORMAT_NAME};
    *next++ = (rbe_metadata){RBE_VERSION_KEY, RBE_VERSION_TEXT};
    for (size_t n = 0; n < metadata_count; n++) *next++ = metadata[n];
    e->metadata_count = (size_t)(next - e->metadata);
    rbe_order_tensors(e->tensors, e->count);
    return RBE_OK;
}

rbe_status rbe_tensor_file_save(const char *path, const rbe_stored_tensor *tensors, size_t count,
                                const rbe_metadata *metadata, size_t metadata_count, bool checksums) {
    if (!path || (!tensors && count > 0) || (!metadata && metadata_count > 0))
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_tensor_file_save: a pointer is NULL");
    size_t matrices = 0;
    for (size_t n = 0; n < count; n++) matrices += tensors[n].blocks != NULL;
    if (matrices == 0) return rbe_tensors_write(path, tensors, count, metadata, metadata_count, checksums);
    expansion e = {0};
    rbe_status status = expand(&e, tensors, count, matrices, metadata, metadata_count);
    if (status == RBE_OK) status = rbe_tensors_write(path, e.tensors, e.count, e.metadata, e.metadata_count, true);
    expansion_free(&e);
    return status;
}

rbe_status rbe_blocks_stored_bytes(const rbe_blocks *blocks, const rbe_save_options *options, size_t *bytes) {
    if (!blocks || !bytes) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_blocks_stored_bytes: a pointer is NULL");
    rbe_stored_tensor matrix = {.name = "", .blocks = blocks};
    if (options) matrix.save = *options;
    rbe_pack pack;
    char *text = NULL;
    RBE_TRY(rbe_pack_new(&pack, RBE_BLOCKS_PARTS));
    rbe_status status = pack_matrix(&pack, &matrix, &text);
    *bytes = 0;
    for (size_t n = 0; status == RBE_OK && n < pack.count; n++) {
        size_t values, size;
        rbe_shape_bytes(pack.tensors[n].dtype, pack.tensors[n].dims, pack.tensors[n].shape, &values, &size);
        *bytes += size;
    }
    cJSON_free(text);
    rbe_pack_free(&pack);
    return status;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

const char *rbe_tensor_file_matrix(const rbe_tensor_file *file, size_t n) {
    static const size_t length = sizeof MATRIX_KEY - 1;
    for (size_t k = 0; file && k < file->metadata_count; k++)
        if (strncmp(file->metadata[k].key, MATRIX_KEY, length) == 0 && n-- == 0) return file->metadata[k].key + length;
    return NULL;
}

static rbe_status read_matrix(rbe_unpack *u, rbe_blocks **blocks) {
    size_t in, out;
    if (!cJSON_IsObject(u->json)) return rbe_unpack_fail(u, "its description is not an object");
    RBE_TRY(rbe_unpack_number(u, "in", 1, RBE_MAX_WIDTH, &in));
    RBE_TRY(rbe_unpack_number(u, "out", 1, RBE_MAX_WIDTH, &out));
    RBE_TRY(rbe_unpack_blocks(u, in, out, blocks));
    if (u->members == cJSON_GetArraySize(u->json)) return RBE_OK;
    rbe_blocks_free(*blocks);
    *blocks = NULL;
    return rbe_unpack_fail(u, "its description has a member that is unknown or occurs twice");
}

rbe_status rbe_tensor_file_read_blocks(const rbe_tensor_file *file, const char *name, rbe_blocks **blocks) {
    if (blocks) *blocks = NULL;
    if (!file || !name || !blocks)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_tensor_file_read_blocks: a pointer is NULL");
    RBE_TRY(rbe_check_format(file, FORMAT_NAME, false));
    char *key = key_of(name);
    if (!key) return RBE_INSUFFICIENT_MEMORY;
    const char *text = rbe_tensor_file_metadata(file, key);
    rbe_free(key);
    if (!text) return rbe_fail(RBE_INVALID_ARGUMENT, "%s: there is no compressed matrix %s", file->source.name, name);
    rbe_room room = rbe_room_of(file);
    rbe_unpack u = {.file = file, .owner = {"matrix", name}, .room = &room, .times = 1};
    cJSON *json;
    RBE_TRY(rbe_json_parse(&json, text, strlen(text), RBE_JSON_DEPTH, file->source.name,
                           rbe_file_room(file->source.bytes)));
    u.json = json;
    rbe_status status = read_matrix(&u, blocks);
    cJSON_Delete(json);
    return status;
}
