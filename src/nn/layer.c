/* What all layers share: the call through the method table, names, costs, and the trees that they form. */
#include "nn/layer.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "nn/param.h"
#include "tensor/node.h"

/* ---- making and freeing -------------------------------------------------------------------------------------- */

rbe_layer *rbe_layer_make(const rbe_layer_type *type, size_t bytes, size_t in, size_t out) {
    if (!type || !type->kind || !type->forward || bytes < sizeof(rbe_layer)) {
        rbe_fail(RBE_INVALID_ARGUMENT, "rbe_layer_make: expected a type with a kind and a forward, and a struct that "
                                       "begins with an rbe_layer");
        return NULL;
    }
    return rbe_layer_make_named(type, bytes, in, out, NULL);
}

rbe_layer *rbe_layer_make_named(const rbe_layer_type *type, size_t bytes, size_t in, size_t out, const char *name) {
    rbe_layer *layer = rbe_alloc_zeroed(1, bytes);
    if (!layer) return NULL;
    layer->type = type;
    layer->in = in;
    layer->out = out;
    snprintf(layer->name, sizeof layer->name, "%s", name ? name : type->kind);
    snprintf(layer->path, sizeof layer->path, "%s", layer->name);
    layer->named = name != NULL;
    return layer;
}

float *rbe_layer_values(size_t count) { return rbe_alloc_zeroed(count, sizeof(float)); }

void rbe_layer_release(float *values) { rbe_free(values); }

rbe_status rbe_layer_check_size(const char *kind, size_t in, size_t out) {
    const size_t most = RBE_MOST_COLUMNS;
    if (in >= 1 && in <= most && out >= 1 && out <= most) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "%s: expected widths of 1 .. %zu, found %zu inputs and %zu outputs", kind,
                    most, in, out);
}

/* "a.b", cut where it is too long. */
static void join(char *path, size_t size, const char *a, const char *b) {
    size_t length = strlen(a) < size - 1 ? strlen(a) : size - 1;
    memmove(path, a, length);
    snprintf(path + length, size - length, "%s%s", length > 0 ? "." : "", b);
}

/* From the parent's path, that of a model's root being empty, and down the tree. */
static bool set_path(void *user, rbe_layer *layer) {
    (void)user;
    char path[RBE_PATH_SIZE] = "";
    if (layer->parent) join(path, sizeof path, layer->parent->path, layer->name);
    bool root = !layer->parent && layer->owner;
    snprintf(layer->path, sizeof layer->path, "%s", root ? "" : layer->parent ? path : layer->name);
    for (size_t n = 0; n < layer->param_count; n++) {
        rbe_param *param = &layer->params[n];
        join(param->name, sizeof param->name, layer->path, param->part ? param->part : "");
    }
    return true;
}

static void release(rbe_layer *layer) {
    if (layer->places > 0) return;
    for (size_t n = 0; n < layer->child_count; n++) {
        rbe_layer *child = layer->children[n];
        child->places--;
        if (child->parent == layer) child->parent = NULL;
        if (child->places > 0) rbe_layer_walk(child, set_path, NULL); /* it lives on elsewhere */
        release(child);
    }
    for (size_t n = 0; n < layer->param_count; n++) rbe_param_clear(&layer->params[n]);
    if (layer->type->destroy) layer->type->destroy(layer);
    rbe_free(layer->children);
    rbe_free(layer);
}

void rbe_layer_free(rbe_layer *layer) {
    if (layer && !layer->owner) release(layer);
}

/* ---- the call ------------------------------------------------------------------------------------------------ */

rbe_var *rbe_layer_forward(const rbe_layer *layer, rbe_var *x) {
    if (!x) return NULL;
    if (!rbe_ok(x)) return &x->tape->inert;
    rbe_tape *tape = x->tape;
    if (!layer) return rbe_tape_fail(x, RBE_INVALID_ARGUMENT, "rbe_layer_forward: the layer is NULL");
    if (tape->see_layer) tape->see_layer(tape->see_user, layer, x);
    const char *outer = tape->scope;
    if (layer->type->role == RBE_LAYER) tape->scope = layer->path;
    rbe_var *y;
    if (layer->in > 0 && rbe_tensor_columns(&x->value) != layer->in)
        y = rbe_tape_fail(x, RBE_INPUT_DIMENSION_MISMATCH, "input has %zu columns, expected %zu",
                          rbe_tensor_columns(&x->value), layer->in);
    else
        y = layer->type->forward(layer, x);
    tape->scope = outer;
    return y;
}

/* ---- parameters ---------------------------------------------------------------------------------------------- */

rbe_param *rbe_layer_param(const rbe_layer *layer, size_t n) {
    return layer && n < layer->param_count ? &layer->params[n] : NULL;
}

rbe_status rbe_layer_require_grads(const rbe_layer *layer) {
    for (size_t n = 0; n < layer->param_count; n++)
        if (!layer->params[n].frozen) RBE_TRY(rbe_param_require_grad(&layer->params[n]));
    return RBE_OK;
}

uintptr_t rbe_layer_gradient_end(const rbe_layer *layer) {
    uintptr_t last = 0;
    for (size_t n = 0; n < layer->param_count; n++) {
        const uintptr_t end = rbe_param_gradient_end(&layer->params[n]);
        if (end > last) last = end;
    }
    return last;
}

bool rbe_layer_is_trained(const rbe_layer *layer) {
    for (size_t n = 0; n < layer->param_count; n++)
        if (!layer->params[n].frozen) return true;
    return false;
}

bool rbe_layer_has_bias(const rbe_layer *layer) {
    for (size_t n = 0; n < layer->param_count; n++)
        if (layer->params[n].part && strcmp(layer->params[n].part, "bias") == 0) return true;
    return false;
}

static bool set_frozen(void *user, rbe_layer *layer) {
    for (size_t n = 0; n < layer->param_count; n++) layer->params[n].frozen = *(const bool *)user;
    return true;
}

void rbe_layer_freeze(rbe_layer *layer, bool frozen) {
    if (layer) rbe_layer_walk(layer, set_frozen, &frozen);
}

/* ---- names --------------------------------------------------------------------------------------------------- */

const char *rbe_layer_name(const rbe_layer *layer) { return layer ? layer->name : ""; }

const char *rbe_layer_path(const rbe_layer *layer) { return layer ? layer->path : ""; }

const char *rbe_layer_kind(const rbe_layer *layer) { return layer ? layer->type->kind : ""; }

size_t rbe_layer_inputs(const rbe_layer *layer) { return layer ? layer->in : 0; }

size_t rbe_layer_outputs(const rbe_layer *layer) { return layer ? layer->out : 0; }

void rbe_layer_set_default_name(rbe_layer *layer, const char *name) {
    if (name)
        rbe_layer_set_name(layer, name);
    else
        rbe_layer_walk(layer, set_path, NULL);
}

void rbe_layer_set_name(rbe_layer *layer, const char *name) {
    if (!layer || !name) return;
    snprintf(layer->name, sizeof layer->name, "%s", name);
    layer->named = true;
    rbe_layer_walk(layer, set_path, NULL);
}

/* ---- costs --------------------------------------------------------------------------------------------------- */

size_t rbe_layer_table_bytes(const rbe_layer *layer) {
    return rbe_alloc_bytes(layer) + rbe_alloc_bytes(layer->children) +
           (layer->type->table_bytes ? layer->type->table_bytes(layer) : 0);
}

rbe_layer_cost rbe_layer_own_cost(const rbe_layer *layer) {
    rbe_layer_cost own = {0};
    for (size_t n = 0; n < layer->param_count; n++) own.values += layer->params[n].count;
    own.bytes = own.dense_bytes = own.values * sizeof(float);
    if (layer->type->cost) layer->type->cost(layer, &own);
    return own;
}

static bool add_cost(void *user, rbe_layer *layer) {
    rbe_layer_cost *sum = user, own = rbe_layer_own_cost(layer);
    sum->values += own.values;
    sum->bytes += own.bytes;
    sum->dense_bytes += own.dense_bytes;
    return true;
}

rbe_layer_cost rbe_layer_describe_cost(const rbe_layer *layer) {
    rbe_layer_cost cost = {0};
    if (layer) rbe_layer_walk((rbe_layer *)layer, add_cost, &cost);
    return cost;
}

size_t rbe_layer_tape_bytes(const rbe_layer *layer, size_t rows, size_t *columns) {
    const size_t in = *columns;
    if (layer->out) *columns = layer->out;
    if (layer->type->tape_bytes) return layer->type->tape_bytes(layer, rows, in);
    return rbe_node_bytes(rows * *columns, true);
}

size_t rbe_layer_scratch_bytes(const rbe_layer *layer, size_t rows) {
    return layer->type->scratch_bytes ? layer->type->scratch_bytes(layer, rows) : 0;
}

/* ---- trees --------------------------------------------------------------------------------------------------- */

/* Whether child n of a layer is at its first place. */
static bool is_first_place(const rbe_layer *layer, size_t n) {
    if (layer->children[n]->parent && layer->children[n]->parent != layer) return false;
    for (size_t k = 0; k < n; k++)
        if (layer->children[k] == layer->children[n]) return false;
    return true;
}

bool rbe_layer_walk(rbe_layer *layer, rbe_layer_visitor *see, void *user) {
    if (!see(user, layer)) return false;
    for (size_t n = 0; n < layer->child_count; n++)
        if (is_first_place(layer, n) && !rbe_layer_walk(layer->children[n], see, user)) return false;
    return true;
}

bool rbe_layer_holds_only(rbe_layer *layer, rbe_layer_visitor *right, void *user) {
    if (!right(user, layer)) return false;
    for (size_t n = 0; n < layer->child_count; n++)
        if (!rbe_layer_holds_only(layer->children[n], right, user)) return false;
    return true;
}

rbe_layer *rbe_layer_child(const rbe_layer *layer, size_t n) {
    return layer && n < layer->child_count ? layer->children[n] : NULL;
}

void rbe_layer_set_owner(rbe_layer *layer, const rbe_model *owner) {
    if (layer->owner == owner) return;
    layer->owner = owner;
    for (size_t n = 0; n < layer->child_count; n++) rbe_layer_set_owner(layer->children[n], owner);
}

/* First places follow from the tree alone, so that a file gives the same ones back. A layer of a model has none in a
 * container outside of the model. */
static void forget_places(rbe_layer *layer) {
    for (size_t n = 0; n < layer->child_count; n++) {
        rbe_layer *child = layer->children[n];
        if (!child->parent || child->owner != layer->owner) continue;
        child->parent = NULL;
        forget_places(child);
    }
}

static void find_places(rbe_layer *layer) {
    for (size_t n = 0; n < layer->child_count; n++) {
        rbe_layer *child = layer->children[n];
        if (child->parent || child->owner != layer->owner) continue;
        child->parent = layer;
        find_places(child);
    }
}

static void renew_places(rbe_layer *layer) {
    while (layer->parent) layer = layer->parent;
    forget_places(layer);
    find_places(layer);
    rbe_layer_walk(layer, set_path, NULL);
}

static bool is_free(void *user, rbe_layer *layer) {
    const rbe_layer *container = user;
    if (layer == container)
        rbe_fail(RBE_INVALID_ARGUMENT, "%s: a layer cannot hold itself", layer->name);
    else if (layer->owner && container->owner && layer->owner != container->owner)
        rbe_fail(RBE_INVALID_ARGUMENT, "%s already belongs to another model", layer->path);
    else
        return true;
    return false;
}

static rbe_status append(rbe_layer *container, rbe_layer *layer) {
    if (container->child_count == container->child_capacity) {
        size_t capacity = container->child_capacity ? 2 * container->child_capacity : 4;
        rbe_layer **children = rbe_alloc(capacity, sizeof *children);
        if (!children) return rbe_last_status();
        if (container->child_count) memcpy(children, container->children, container->child_count * sizeof *children);
        rbe_free(container->children);
        container->children = children;
        container->child_capacity = capacity;
    }
    container->children[container->child_count++] = layer;
    layer->places++;
    return RBE_OK;
}

rbe_status rbe_layer_adopt(rbe_layer *container, rbe_layer *layer) {
    if (!rbe_layer_holds_only(layer, is_free, container)) return rbe_last_status();
    rbe_status status = container->type->adopt ? container->type->adopt(container, layer) : RBE_OK;
    if (status == RBE_OK) status = append(container, layer);
    if (status != RBE_OK) {
        release(layer);
        return status;
    }
    bool root = container->owner && !container->parent; /* a model names its layers itself */
    if (layer->places == 1 && !layer->named && layer->type->role != RBE_OPERATION && !root)
        snprintf(layer->name, sizeof layer->name, "%zu", container->child_count - 1);
    if (container->owner) rbe_layer_set_owner(layer, container->owner);
    renew_places(container);
    return RBE_OK;
}
