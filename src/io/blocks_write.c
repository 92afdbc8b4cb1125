/* From a compressed matrix to tensors: values in the type that is asked for, positions as plain lists, deltas or a
 * seed. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "io/blocks_code.h"
#include "io/convert.h"
#include "io/positions_code.h"

/* ---- the pack ------------------------------------------------------------------------------------------------ */

rbe_status rbe_pack_new(rbe_pack *pack, size_t capacity) {
    *pack = (rbe_pack){0};
    pack->tensors = rbe_alloc_zeroed(capacity, sizeof *pack->tensors);
    return pack->tensors ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
}

void rbe_pack_free(rbe_pack *pack) {
    for (size_t n = 0; n < pack->count; n++) rbe_free((char *)pack->tensors[n].name);
    rbe_free(pack->tensors);
    *pack = (rbe_pack){0};
}

void *rbe_pack_add(rbe_pack *pack, rbe_owner owner, const char *part, rbe_dtype dtype, size_t dims, const size_t *shape,
                   const void *borrowed) {
    rbe_stored_tensor tensor = {.dtype = dtype, .dims = dims, .values = borrowed};
    memcpy(tensor.shape, shape, dims * sizeof *shape);
    size_t count, bytes, length = strlen(owner.name) + 1 + strlen(part) + 1, head = rbe_aligned(length);
    rbe_shape_bytes(dtype, dims, shape, &count, &bytes);
    char *memory = rbe_alloc(1, head + (borrowed ? 0 : bytes));
    if (!memory) return NULL;
    snprintf(memory, length, "%s.%s", owner.name, part);
    tensor.name = memory;
    if (!borrowed) tensor.values = memory + head;
    pack->tensors[pack->count++] = tensor;
    return (void *)tensor.values;
}

bool rbe_add_number(cJSON *json, const char *name, size_t number) {
    return cJSON_AddNumberToObject(json, name, (double)number);
}

rbe_status rbe_no_description(rbe_owner owner) {
    return rbe_fail(RBE_INSUFFICIENT_MEMORY, "no memory for the description of %s %s", owner.kind, owner.name);
}

/* ---- values -------------------------------------------------------------------------------------------------- */

rbe_status rbe_pack_bad_value(const rbe_pack *pack, const float *values, size_t n, const char *store) {
    const char *name = pack->tensors[pack->count - 1].name;
    if (!isfinite(values[n]))
        return rbe_fail(RBE_NUMERICAL_INSTABILITY, "%s: value %zu is %g", name, n, (double)values[n]);
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "%s: value %zu, %g, is beyond the range of %s", name, n,
                    (double)values[n], store);
}

rbe_status rbe_pack_floats(rbe_pack *pack, rbe_owner owner, const char *part, rbe_dtype dtype, size_t dims,
                           const size_t *shape, const float *values) {
    size_t count, bytes;
    rbe_shape_bytes(dtype, dims, shape, &count, &bytes);
    void *stored = rbe_pack_add(pack, owner, part, dtype, dims, shape, NULL);
    if (!stored) return RBE_INSUFFICIENT_MEMORY;
    size_t done = rbe_convert_from_f32(dtype, values, count, stored);
    return done == count ? RBE_OK : rbe_pack_bad_value(pack, values, done, rbe_dtype_name(dtype));
}

void rbe_alpha_in_order(const rbe_blocks *b, float *ordered) {
    for (size_t p = 0; p < b->grid_rows; p++)
        for (size_t q = 0; q < b->grid_cols; q++)
            for (size_t l = 0; l < RBE_BASIS_COUNT; l++) *ordered++ = *rbe_block_alpha(b, p, q, l);
}

static rbe_status append_alpha(rbe_pack *pack, rbe_owner owner, rbe_store store, const rbe_blocks *b) {
    const size_t shape[3] = {b->grid_rows, b->grid_cols, RBE_BASIS_COUNT};
    float *ordered = rbe_alloc(shape[0] * shape[1] * shape[2], sizeof *ordered);
    if (!ordered) return RBE_INSUFFICIENT_MEMORY;
    rbe_alpha_in_order(b, ordered);
    rbe_status status = rbe_pack_floats(pack, owner, "alpha", rbe_plain_dtype(store), 3, shape, ordered);
    rbe_free(ordered);
    return status;
}

/* ---- positions ----------------------------------------------------------------------------------------------- */

static rbe_status append_plain(rbe_pack *pack, rbe_owner owner, const rbe_blocks *b) {
    const size_t lists = b->groups * b->block + 1;
    const void *columns = b->columns16 ? (const void *)b->columns16 : (const void *)b->columns32;
    rbe_dtype dtype = b->columns16 ? RBE_U16 : RBE_U32;
    bool whole = rbe_pack_add(pack, owner, "lists", RBE_U32, 1, &lists, b->list_start) &&
                 rbe_pack_add(pack, owner, "columns", dtype, 1, &b->entries, columns);
    return whole ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
}

static rbe_status append_deltas(rbe_pack *pack, rbe_owner owner, const rbe_blocks *b) {
    const size_t bytes = rbe_positions_encode(b, NULL);
    uint8_t *code = rbe_pack_add(pack, owner, "deltas", RBE_U8, 1, &bytes, NULL);
    if (!code) return RBE_INSUFFICIENT_MEMORY;
    rbe_positions_encode(b, code);
    return RBE_OK;
}

/* ---- the matrix ---------------------------------------------------------------------------------------------- */

/* What is 0 for most layers is left out. */
static bool describe_geometry(const rbe_blocks_info *info, cJSON *json) {
    bool whole = rbe_add_number(json, "block", info->block) && rbe_add_number(json, "group", info->group) &&
                 cJSON_AddStringToObject(json, "row_transform", rbe_transform_name(info->row_transform)) &&
                 cJSON_AddStringToObject(json, "column_transform", rbe_transform_name(info->column_transform));
    if (info->overlap) whole = whole && rbe_add_number(json, "overlap", info->overlap);
    if (info->image_height)
        whole = whole && rbe_add_number(json, "image_height", info->image_height) &&
                rbe_add_number(json, "image_width", info->image_width);
    return whole;
}

/* Whether positions are to be stored as what draws them again; then appends that to the description. */
static rbe_status describe_pattern(rbe_owner owner, const rbe_blocks *b, rbe_store_positions store, cJSON *json,
                                   bool *drawn) {
    const bool seed = b->drawn && rbe_seed_suffices(b->grid_rows * b->block, b->grid_cols * b->block, b->drawn_limit);
    if (store == RBE_POSITIONS_SEED && !seed)
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s %s: its positions have no seed to be stored as", owner.kind,
                        owner.name);
    *drawn = seed && store != RBE_POSITIONS_PLAIN && store != RBE_POSITIONS_DELTA;
    if (!*drawn) return RBE_OK;
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)b->drawn_seed);
    bool whole = cJSON_AddStringToObject(json, "seed", text) && rbe_add_number(json, "limit", b->drawn_limit);
    if (b->drawn_rule != RBE_PATTERN_BY_PLACE) whole = whole && rbe_add_number(json, "pattern", b->drawn_rule);
    return whole ? RBE_OK : rbe_no_description(owner);
}

rbe_status rbe_describe_blocks(rbe_owner owner, const rbe_blocks *b, rbe_store_positions positions, cJSON *json,
                               bool *drawn) {
    const rbe_blocks_info info = rbe_blocks_describe(b);
    if (!describe_geometry(&info, json)) return rbe_no_description(owner);
    return describe_pattern(owner, b, positions, json, drawn);
}

rbe_status rbe_pack_blocks(rbe_pack *pack, rbe_owner owner, const rbe_blocks *b, const rbe_save_options *options,
                           cJSON *json) {
    bool drawn;
    RBE_TRY(rbe_describe_blocks(owner, b, options->positions, json, &drawn));
    const rbe_rows rows = rbe_rows_of_blocks(b);
    if (!drawn)
        RBE_TRY(options->positions == RBE_POSITIONS_PLAIN ? append_plain(pack, owner, b)
                                                          : append_deltas(pack, owner, b));
    RBE_TRY(rbe_pack_values(pack, owner, "values", options->store, 1, &b->value_count, b->values, &rows));
    return b->alpha ? append_alpha(pack, owner, options->store, b) : RBE_OK;
}
