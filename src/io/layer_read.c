/* From tensors to a layer: its type makes it from its options, then its parameters are filled and its children
 * added. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "io/packed.h"

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
    *value = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    if (*value >= least && *value <= most) return RBE_OK;
    return rbe_unpack_fail(u, "%s: expected a number, %g .. %g", name, least, most);
}

static const char *read_text(rbe_reader *self, const char *name) {
    return rbe_json_string(rbe_unpack_member(((json_reader *)self)->u, name));
}

/* Looks without taking: what is taken is the parameter's, later. */
static size_t read_values(const rbe_reader *self, const char *part) {
    const rbe_unpack *u = ((const json_reader *)self)->u;
    if (u->packed) {
        const rbe_packed_part *packed = rbe_packed_find(u->packed, part);
        return packed ? rbe_packed_count(packed) : 0;
    }
    rbe_part found = rbe_unpack_find(u, part);
    return found.info ? found.info->count : 0;
}

/* What a matrix takes: a packed one, values and steps of its rows; another, twice as much. */
static rbe_status read_matrix(rbe_reader *self, const char *part, size_t rows, size_t columns) {
    rbe_unpack *u = ((json_reader *)self)->u;
    const size_t shape[2] = {rows, columns};
    const uint64_t bytes = sizeof(float) * ((uint64_t)columns + 2) * rows, copies = u->packed ? 1 : 2;
    if (u->packed)
        RBE_TRY(rbe_unpack_packed_shape(u, part, rows, (uint64_t)rows * columns));
    else
        RBE_TRY(rbe_unpack_shape(u, part, rbe_unpack_find(u, part), 2, shape));
    return rbe_unpack_take(u, (rbe_room){copies * bytes, sizeof(float) * ((uint64_t)rows + columns)});
}

static rbe_status read_blocks(rbe_reader *self, size_t in, size_t out, rbe_blocks **blocks) {
    rbe_unpack *u = ((json_reader *)self)->u;
    *blocks = NULL;
    return u->packed ? rbe_unpack_packed_blocks(u, in, out, blocks) : rbe_unpack_blocks(u, in, out, blocks);
}

static rbe_status read_fail(const rbe_reader *self, rbe_status status, const char *text) {
    rbe_unpack_fail(((const json_reader *)self)->u, "%s", text);
    return rbe_fail(status, "%s", rbe_last_error());
}

static void read_repeats(rbe_reader *self, size_t times) {
    rbe_unpack *u = ((json_reader *)self)->u;
    if (__builtin_mul_overflow(u->times, (uint64_t)times, &u->times)) u->times = UINT64_MAX;
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

static rbe_status fill_packed(rbe_unpack *u, const rbe_layer *layer, const rbe_param *param) {
    const rbe_rows rows = rbe_param_rows(layer, param);
    return rbe_unpack_packed_values(u, param->part, param->rows, param->count, &rows, param->value);
}

static rbe_status fill_params(rbe_unpack *u, rbe_layer *layer) {
    const rbe_blocks *blocks = rbe_layer_blocks(layer);
    for (size_t n = 0; n < layer->param_count; n++) {
        rbe_param *param = &layer->params[n];
        if (!rbe_param_is_of_matrix(param, blocks))
            RBE_TRY(u->packed ? fill_packed(u, layer, param) : fill_param(u, param));
    }
    if (!u->packed) return RBE_OK;
    RBE_TRY(rbe_unpack_packed_end(u));
    for (size_t n = 0; n < layer->param_count; n++) layer->params[n].bits = (unsigned)u->packed->parts[n].bits;
    return RBE_OK;
}

/* ---- the tree ------------------------------------------------------------------------------------------------ */

static const char *name_of(rbe_unpack *u) {
    const char *name = rbe_json_string(rbe_unpack_member(u, "name"));
    if (name && strlen(name) < RBE_NAME_SIZE) return name;
    rbe_unpack_fail(u, "name: expected a text of fewer than %d bytes", RBE_NAME_SIZE);
    return NULL;
}

/* A layer without what is inside it; its tensor is open if it has one of packed values. */
static rbe_status make_from(rbe_unpack *u, const char *kind, rbe_layer **made) {
    const rbe_layer_type *type = rbe_layer_type_of(kind);
    if (!type) return rbe_unpack_fail(u, "its kind, %.40s, is unknown", kind);
    const char *name = type->role != RBE_OPERATION ? name_of(u) : "";
    if (!name) return rbe_last_status();
    json_reader reader = {{read_number, read_text, read_values, read_matrix, read_blocks, read_repeats, read_fail}, u};
    rbe_layer *layer = type->read(type, &reader.base);
    if (!layer)
        return rbe_last_status() != RBE_OK ? rbe_last_status() : rbe_unpack_fail(u, "its layer could not be created");
    if (type->role != RBE_OPERATION) rbe_layer_set_name(layer, name);
    rbe_status status = fill_params(u, layer);
    if (status != RBE_OK) {
        rbe_layer_free(layer);
        return status;
    }
    *made = layer;
    return RBE_OK;
}

static rbe_status make_layer(rbe_unpack *u, rbe_tree *tree, const char *kind, rbe_layer **made) {
    rbe_packed packed;
    rbe_status status = rbe_unpack_packed_open(u, &packed);
    if (status == RBE_OK) status = make_from(u, kind, made);
    if (u->packed) tree->packed_count++;
    u->packed = NULL;
    rbe_packed_free(&packed);
    return status;
}

/* The layer at the end of a way, "3.0", or NULL: a layer that is complete, which none is that holds the place where the
 * way is asked for. */
static rbe_layer *follow(const rbe_tree *tree, const char *way) {
    rbe_layer *layer = tree->open[0];
    for (size_t depth = 0;; way++) {
        char *end;
        if (*way < '0' || *way > '9') return NULL;
        uint64_t number = strtoull(way, &end, 10);
        bool open = layer == tree->open[depth], last = *end == '\0';
        if (*end != '.' && !last) return NULL;
        if (open && depth < tree->depth && number == layer->child_count && !last)
            layer = tree->open[++depth];
        else
            layer = rbe_layer_child(layer, number);
        if (!layer || last) return layer;
        way = end;
    }
}

static rbe_status adopt(rbe_unpack *u, rbe_layer *container, rbe_layer *layer) {
    rbe_status status = rbe_layer_adopt(container, layer);
    if (status == RBE_INPUT_DIMENSION_MISMATCH || status == RBE_INVALID_ARGUMENT)
        return rbe_unpack_fail(u, "%s", rbe_last_error());
    return status;
}

static rbe_status add_children(rbe_unpack *u, rbe_tree *tree, rbe_layer *layer) {
    const cJSON *list = rbe_unpack_member(u, "children"), *json;
    if (layer->type->role != RBE_CONTAINER)
        return list ? rbe_unpack_fail(u, "children: a %s layer holds no others", layer->type->kind) : RBE_OK;
    if (!cJSON_IsArray(list)) return rbe_unpack_fail(u, "children: expected a list");
    if (tree->depth == RBE_MOST_DEPTH && cJSON_GetArraySize(list) > 0)
        return rbe_unpack_fail(u, "more than %d layers inside layers", RBE_MOST_DEPTH);
    tree->open[++tree->depth] = layer;
    rbe_status status = RBE_OK;
    size_t number = 0;
    cJSON_ArrayForEach(json, list) {
        char way[RBE_PATH_SIZE];
        if ((size_t)snprintf(way, sizeof way, "%s.%zu", u->owner.name, number++) >= sizeof way)
            status = rbe_unpack_fail(u, "expected a path of fewer than %d bytes to each layer inside", RBE_PATH_SIZE);
        rbe_unpack child = *u;
        child.owner.name = way;
        child.json = json;
        child.members = 0;
        if (status == RBE_OK) status = rbe_unpack_layer(&child, tree);
        if (status != RBE_OK) break;
    }
    tree->depth--;
    return status;
}

/* ---- what runs takes ----------------------------------------------------------------------------------------- */

static rbe_status note_run(rbe_tree *tree, const rbe_layer *layer, uint64_t sample) {
    if (tree->run_count == tree->run_capacity) {
        size_t capacity = 2 * tree->run_capacity + 8;
        rbe_run *runs = rbe_alloc(capacity, sizeof *runs);
        if (!runs) return RBE_INSUFFICIENT_MEMORY;
        if (tree->run_count) memcpy(runs, tree->runs, tree->run_count * sizeof *runs);
        rbe_free(tree->runs);
        tree->runs = runs;
        tree->run_capacity = capacity;
    }
    tree->runs[tree->run_count++] = (rbe_run){layer, sample};
    return RBE_OK;
}

static uint64_t sample_of(const rbe_tree *tree, const rbe_layer *layer) {
    for (size_t n = 0; n < tree->run_count; n++)
        if (tree->runs[n].layer == layer) return tree->runs[n].sample;
    return 0; /* made by the type that holds it */
}

/* ---- one layer ----------------------------------------------------------------------------------------------- */

enum { LAYER_BYTES = 1024 /* of any layer, apart from matrices */, RUN_BYTES = 16 /* the same, each time it runs */ };

static rbe_status add_shared(rbe_unpack *u, rbe_tree *tree) {
    const char *way = rbe_json_string(rbe_unpack_member(u, "of"));
    rbe_layer *layer = way ? follow(tree, way) : NULL;
    if (!layer) return rbe_unpack_fail(u, "of: expected the path of an earlier layer");
    RBE_TRY(rbe_unpack_take(u, (rbe_room){LAYER_BYTES, sample_of(tree, layer)}));
    return adopt(u, tree->open[tree->depth], layer);
}

/* Children come before the layer gets its own place: its widths follow from theirs. */
static rbe_status add_new(rbe_unpack *u, rbe_tree *tree, const char *kind) {
    const uint64_t times = u->times, room = u->room->sample;
    RBE_TRY(rbe_unpack_take(u, (rbe_room){LAYER_BYTES, RUN_BYTES}));
    rbe_layer *layer = NULL;
    RBE_TRY(make_layer(u, tree, kind, &layer));
    rbe_status status = add_children(u, tree, layer);
    if (status == RBE_OK) status = note_run(tree, layer, (room - u->room->sample) / times);
    if (status == RBE_OK) return adopt(u, tree->open[tree->depth], layer);
    rbe_layer_free(layer);
    return status;
}

rbe_status rbe_unpack_layer(rbe_unpack *u, rbe_tree *tree) {
    if (!cJSON_IsObject(u->json)) return rbe_unpack_fail(u, "its description is not an object");
    const char *kind = rbe_json_string(rbe_unpack_member(u, "kind"));
    if (!kind) return rbe_unpack_fail(u, "its kind is missing");
    RBE_TRY(strcmp(kind, "shared") == 0 ? add_shared(u, tree) : add_new(u, tree, kind));
    if (u->members == cJSON_GetArraySize(u->json)) return RBE_OK;
    return rbe_unpack_fail(u, "its description has a member that is unknown or occurs twice");
}
