/* From a layer to tensors: its options, its parameters, its compressed matrix, what is inside. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "io/packed.h"

/* ---- options ------------------------------------------------------------------------------------------------- */

typedef struct json_writer {
    rbe_writer base;
    rbe_owner owner;
    cJSON *json;
} json_writer;

static rbe_status write_number(rbe_writer *self, const char *name, double value) {
    json_writer *w = (json_writer *)self;
    return cJSON_AddNumberToObject(w->json, name, value) ? RBE_OK : rbe_no_description(w->owner);
}

static rbe_status write_text(rbe_writer *self, const char *name, const char *value) {
    json_writer *w = (json_writer *)self;
    if (!value || rbe_utf8_length(value, strlen(value)) != strlen(value))
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s %s: %s: expected a text in UTF-8", w->owner.kind, w->owner.name,
                        name);
    return cJSON_AddStringToObject(w->json, name, value) ? RBE_OK : rbe_no_description(w->owner);
}

/* Kind, and the name: it may have been cut within a character, and only whole ones are stored. */
static rbe_status describe(rbe_owner owner, const rbe_layer *layer, cJSON *json) {
    char kinds[96];
    if (!layer->type->read && layer->type->role == RBE_OPERATION)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "%s %s: expected %s, found an operation of your own, which cannot be stored", owner.kind,
                        owner.name, rbe_operation_kinds(kinds, sizeof kinds));
    if (!layer->type->read)
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s %s: a layer of kind %s cannot be stored", owner.kind, owner.name,
                        layer->type->kind);
    if (!cJSON_AddStringToObject(json, "kind", layer->type->kind)) return rbe_no_description(owner);
    if (layer->type->role != RBE_OPERATION) {
        char name[RBE_NAME_SIZE] = {0};
        memcpy(name, layer->name, rbe_utf8_length(layer->name, strlen(layer->name)));
        if (!cJSON_AddStringToObject(json, "name", name)) return rbe_no_description(owner);
    }
    json_writer writer = {{write_number, write_text}, owner, json};
    return layer->type->write ? layer->type->write(layer, &writer.base) : RBE_OK;
}

/* ---- parameters ---------------------------------------------------------------------------------------------- */

static rbe_status pack_param(rbe_pack *pack, rbe_owner owner, const rbe_param *param, rbe_store store) {
    if (!param->part)
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s %s: one of its parameters has no part, which is its name in files",
                        owner.kind, owner.name);
    if (param->rows == 0)
        return rbe_pack_floats(pack, owner, param->part, rbe_plain_dtype(store), 1, &param->count, param->value);
    const size_t shape[2] = {param->rows, param->count / param->rows};
    const rbe_rows rows = {.count = shape[0], .width = shape[1]};
    return rbe_pack_values(pack, owner, param->part, store, 2, shape, param->value, &rows);
}

static rbe_status pack_params(rbe_pack *pack, rbe_owner owner, const rbe_layer *layer, const rbe_save_options *options,
                              cJSON *json) {
    const rbe_blocks *blocks = rbe_layer_blocks(layer);
    if (blocks) RBE_TRY(rbe_pack_blocks(pack, owner, blocks, options, json));
    for (size_t n = 0; n < layer->param_count; n++)
        if (!rbe_param_is_of_matrix(&layer->params[n], blocks))
            RBE_TRY(pack_param(pack, owner, &layer->params[n], options->store));
    return RBE_OK;
}

/* ---- the tree ------------------------------------------------------------------------------------------------ */

static bool count_parts(void *user, rbe_layer *layer) {
    *(size_t *)user += RBE_STORE_PARTS * layer->param_count + (layer->type->blocks ? RBE_BLOCKS_PARTS : 0);
    return true;
}

size_t rbe_layer_parts(const rbe_layer *layer) {
    size_t parts = 0;
    rbe_layer_walk((rbe_layer *)layer, count_parts, &parts);
    return parts;
}

/* The first place of a layer that has several. */
typedef struct rbe_pack_way {
    const rbe_layer *layer;
    struct rbe_pack_way *next;
    char text[RBE_PATH_SIZE]; /* "3.0" */
} rbe_pack_way;

void rbe_pack_forget_ways(rbe_pack *pack) {
    for (rbe_pack_way *way = pack->ways, *next; way; way = next) {
        next = way->next;
        rbe_free(way);
    }
    pack->ways = NULL;
}

static const char *first_place(const rbe_pack *pack, const rbe_layer *layer) {
    const rbe_pack_way *way = pack->ways;
    while (way && way->layer != layer) way = way->next;
    return way ? way->text : NULL;
}

static rbe_status note_place(rbe_pack *pack, const rbe_layer *layer, const char *text) {
    rbe_pack_way *way = rbe_alloc(1, sizeof *way);
    if (!way) return RBE_INSUFFICIENT_MEMORY;
    *way = (rbe_pack_way){.layer = layer, .next = pack->ways};
    snprintf(way->text, sizeof way->text, "%s", text);
    pack->ways = way;
    return RBE_OK;
}

static rbe_status pack_children(rbe_pack *pack, rbe_owner owner, const rbe_layer *layer, size_t depth,
                                const rbe_save_options *options, cJSON *json) {
    cJSON *list = cJSON_AddArrayToObject(json, "children");
    if (!list) return rbe_no_description(owner);
    for (size_t n = 0; n < layer->child_count; n++) {
        char way[RBE_PATH_SIZE];
        cJSON *child = cJSON_CreateObject();
        if (!cJSON_AddItemToArray(list, child)) return rbe_no_description(owner);
        int length = snprintf(way, sizeof way, "%s.%zu", owner.name, n);
        if (depth + 1 > RBE_MOST_DEPTH || (size_t)length >= sizeof way)
            return rbe_fail(RBE_INVALID_ARGUMENT,
                            "%s %.20s..: expected at most %d layers inside layers, and paths of fewer than %d "
                            "bytes",
                            owner.kind, owner.name, RBE_MOST_DEPTH, RBE_PATH_SIZE);
        RBE_TRY(rbe_pack_layer(pack, (rbe_owner){owner.kind, way}, layer->children[n], depth + 1, options, child));
    }
    return RBE_OK;
}

rbe_status rbe_pack_layer(rbe_pack *pack, rbe_owner owner, const rbe_layer *layer, size_t depth,
                          const rbe_save_options *options, cJSON *json) {
    const char *first = layer->places > 1 ? first_place(pack, layer) : NULL;
    if (first) {
        bool whole = cJSON_AddStringToObject(json, "kind", "shared") && cJSON_AddStringToObject(json, "of", first);
        return whole ? RBE_OK : rbe_no_description(owner);
    }
    if (layer->places > 1) RBE_TRY(note_place(pack, layer, owner.name));
    RBE_TRY(describe(owner, layer, json));
    RBE_TRY(rbe_layer_has_bits(layer) ? rbe_pack_packed(pack, owner, layer, options->positions, json)
                                      : pack_params(pack, owner, layer, options, json));
    return layer->type->role == RBE_CONTAINER ? pack_children(pack, owner, layer, depth, options, json) : RBE_OK;
}
