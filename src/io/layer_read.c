/* From tensors to a layer: its type makes it from its options, then its parameters are filled and its children added. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "io/layer_code.h"

/* ---- options ------------------------------------------------------------------------------------------------- */

typedef struct json_reader {
    rbe_reader base;
    rbe_unpack *u;
} json_reader;

static rbe_status read_number(rbe_reader *self, const char *name, double least, double most, bool whole,
                              double *value) {
    rbe_unpack *u = ((json_reader *)self)->u;
    if (whole) {
        size_t number;
        RBE_TRY(rbe_unpack_number(u, name, (uint64_t)least, (uint64_t)most, &number));
        *value = (double)number;
        return RBE_OK;
    }
    const cJSON *item = rbe_unpack_member(u, name);
    *value = cJSON_IsNumber(item) ? item->valuedouble : most + 1.0;
    if (*value >= least && *value <= most) return RBE_OK;
    return rbe_unpack_fail(u, "%s: expected a number, %g .. %g", name, least, most);
}

static const char *read_text(rbe_reader *self, const char *name) {
    return rbe_json_string(rbe_unpack_member(((json_reader *)self)->u, name));
}

/* Looks without taking: what is taken is the parameter's, later. */
static const rbe_tensor_info *find_part(const rbe_unpack *u, const char *part) {
    char name[RBE_PATH_SIZE + RBE_NAME_SIZE];
    snprintf(name, sizeof name, "%s.%s", u->owner.name, part);
    return rbe_tensor_file_at(u->file, rbe_tensor_file_find(u->file, name));
}

static size_t read_values(const rbe_reader *self, const char *part) {
    const rbe_tensor_info *info = find_part(((const json_reader *)self)->u, part);
    return info ? info->count : 0;
}

static rbe_status read_matrix(rbe_reader *self, const char *part, size_t rows, size_t columns) {
    rbe_unpack *u = ((json_reader *)self)->u;
    const size_t shape[2] = {rows, columns};
    RBE_TRY(rbe_unpack_shape(u, part, (rbe_part){0, find_part(u, part)}, 2, shape));
    return rbe_unpack_take(
        u, (rbe_room){2 * sizeof(float) * ((uint64_t)columns + 2) * rows, sizeof(float) * ((uint64_t)rows + columns)});
}

static rbe_status read_blocks(rbe_reader *self, size_t in, size_t out, rbe_blocks **blocks) {
    *blocks = NULL;
    return rbe_unpack_blocks(((json_reader *)self)->u, in, out, blocks);
}

static rbe_status read_fail(const rbe_reader *self, const char *text) {
    return rbe_unpack_fail(((const json_reader *)self)->u, "%s", text);
}

/* ---- parameters ---------------------------------------------------------------------------------------------- */

static rbe_status fill_param(rbe_unpack *u, rbe_param *param) {
    const size_t shape[2] = {param->rows, param->rows ? param->count / param->rows : 0};
    rbe_part p = rbe_unpack_part(u, param->part);
    if (param->rows == 0) {
        RBE_TRY(rbe_unpack_shape(u, param->part, p, 1, &param->count));
        return rbe_unpack_floats(u, p, param->value, NULL);
    }
    const rbe_rows rows = {.count = shape[0], .width = shape[1]};
    RBE_TRY(rbe_unpack_shape(u, param->part, p, 2, shape));
    return rbe_unpack_values(u, p, &rows, param->value);
}

static rbe_status fill_params(rbe_unpack *u, rbe_layer *layer) {
    const rbe_blocks *blocks = layer->type->blocks ? layer->type->blocks(layer) : NULL;
    for (size_t n = 0; n < layer->param_count; n++) {
        rbe_param *param = &layer->params[n];
        if (!blocks || (param->value != blocks->values && param->value != blocks->alpha)) RBE_TRY(fill_param(u, param));
    }
    return RBE_OK;
}

/* ---- the tree ------------------------------------------------------------------------------------------------ */

static const char *name_of(rbe_unpack *u) {
    const char *name = rbe_json_string(rbe_unpack_member(u, "name"));
    if (name && strlen(name) < RBE_NAME_SIZE) return name;
    rbe_unpack_fail(u, "name: expected a text of fewer than %d bytes", RBE_NAME_SIZE);
    return NULL;
}

/* A layer without what is inside it. */
static rbe_status make_layer(rbe_unpack *u, const char *kind, rbe_layer **made) {
    const rbe_layer_type *type = rbe_layer_type_of(kind);
    if (!type) return rbe_unpack_fail(u, "its kind, %.40s, is unknown", kind);
    const char *name = type->role != RBE_OPERATION ? name_of(u) : "";
    if (!name) return rbe_last_status();
    json_reader reader = {{read_number, read_text, read_values, read_matrix, read_blocks, read_fail}, u};
    rbe_layer *layer = type->read(type, &reader.base);
    if (!layer) return rbe_last_status() != RBE_OK ? rbe_last_status() : rbe_unpack_fail(u, "it could not be made");
    if (type->role != RBE_OPERATION) rbe_layer_set_name(layer, name);
    rbe_status status = fill_params(u, layer);
    if (status != RBE_OK) {
        rbe_layer_free(layer);
        return status;
    }
    *made = layer;
    return RBE_OK;
}

/* The layer at the end of a way, "3.0"; NULL if there is none, or not yet. */
static rbe_layer *follow(rbe_layer *root, const char *way) {
    rbe_layer *layer = root;
    for (bool more = true; more && layer;) {
        char *end;
        if (*way < '0' || *way > '9') return NULL;
        layer = rbe_layer_child(layer, strtoull(way, &end, 10));
        if (*end != '.' && *end != '\0') return NULL;
        more = *end == '.';
        way = end + 1;
    }
    return layer;
}

static rbe_status add_children(rbe_unpack *u, rbe_layer *root, rbe_layer *layer, size_t depth) {
    const cJSON *list = rbe_unpack_member(u, "children"), *json;
    if (!list && layer->type->role != RBE_CONTAINER) return RBE_OK;
    if (!cJSON_IsArray(list)) return rbe_unpack_fail(u, "children: expected a list");
    size_t number = 0;
    cJSON_ArrayForEach(json, list) {
        char way[RBE_PATH_SIZE];
        if ((size_t)snprintf(way, sizeof way, "%s.%zu", u->owner.name, number++) >= sizeof way)
            return rbe_unpack_fail(u, "too many layers inside layers");
        rbe_unpack child = *u;
        child.owner.name = way;
        child.json = json;
        child.members = 0;
        RBE_TRY(rbe_unpack_layer(&child, root, layer, depth + 1));
    }
    return RBE_OK;
}

static rbe_status adopt(rbe_unpack *u, rbe_layer *container, rbe_layer *layer) {
    rbe_status status = rbe_layer_adopt(container, layer);
    if (status == RBE_INPUT_DIMENSION_MISMATCH || status == RBE_INVALID_ARGUMENT)
        return rbe_unpack_fail(u, "%s", rbe_last_error());
    return status;
}

/* Children come before the layer gets its own place: its widths follow from theirs. */
static rbe_status add_layer(rbe_unpack *u, rbe_layer *root, rbe_layer *container, size_t depth, const char *kind) {
    if (strcmp(kind, "shared") == 0) {
        const char *way = rbe_json_string(rbe_unpack_member(u, "of"));
        rbe_layer *layer = way ? follow(root, way) : NULL;
        return layer ? adopt(u, container, layer) : rbe_unpack_fail(u, "of: expected the way to a layer before it");
    }
    rbe_layer *layer = NULL;
    RBE_TRY(make_layer(u, kind, &layer));
    rbe_status status = add_children(u, root, layer, depth);
    if (status == RBE_OK) return adopt(u, container, layer);
    rbe_layer_free(layer);
    return status;
}

enum { LAYER_BYTES = 1024 /* of any layer, apart from matrices */ };

rbe_status rbe_unpack_layer(rbe_unpack *u, rbe_layer *root, rbe_layer *container, size_t depth) {
    RBE_TRY(rbe_unpack_take(u, (rbe_room){.content = LAYER_BYTES}));
    if (!cJSON_IsObject(u->json)) return rbe_unpack_fail(u, "its description is not an object");
    if (depth > RBE_MOST_DEPTH) return rbe_unpack_fail(u, "more than %d layers inside layers", RBE_MOST_DEPTH);
    const char *kind = rbe_json_string(rbe_unpack_member(u, "kind"));
    if (!kind) return rbe_unpack_fail(u, "its kind is missing");
    RBE_TRY(add_layer(u, root, container, depth, kind));
    if (u->members == cJSON_GetArraySize(u->json)) return RBE_OK;
    return rbe_unpack_fail(u, "its description has a member that is unknown or stands twice");
}
