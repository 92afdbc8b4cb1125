/* A model: a root layer, whose layers have names, and the first error of building it. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "nn/model.h"
#include "tensor/node.h"

rbe_model *rbe_model_new(void) {
    rbe_model *model = rbe_alloc_zeroed(1, sizeof *model);
    if (!model) return NULL;
    model->root = rbe_layer_make_named(&rbe_sequential_type, sizeof(rbe_layer), 0, 0, "");
    if (!model->root) {
        rbe_free(model);
        return NULL;
    }
    rbe_layer_set_owner(model->root, model);
    return model;
}

void rbe_model_free(rbe_model *model) {
    if (!model) return;
    rbe_layer_set_owner(model->root, NULL);
    rbe_layer_free(model->root);
    rbe_free(model->gradients);
    rbe_free(model->texts);
    rbe_free(model);
}

/* ---- building ------------------------------------------------------------------------------------------------ */

/* Keeps the thread's last error as the model's, unless it has one already. */
static rbe_status keep_error(rbe_model *model) {
    if (model->status == RBE_OK) {
        model->status = rbe_last_status();
        snprintf(model->error, sizeof model->error, "%s", rbe_last_error());
    }
    return rbe_model_status(model);
}

rbe_status rbe_model_status(const rbe_model *model) {
    if (!model) return rbe_fail(RBE_INVALID_ARGUMENT, "the model is NULL (last failure: %s)", rbe_last_error());
    return model->status == RBE_OK ? RBE_OK : rbe_fail(model->status, "%s", model->error);
}

/* Layers that nobody has named are called by their place among those with parameters, containers by their kind. */
static void name_by_place(rbe_model *model, rbe_layer *layer) {
    if (layer->named || layer->places > 0) return;
    if (layer->param_count)
        snprintf(layer->name, sizeof layer->name, "fc%zu", model->fc_count + 1);
    else if (layer->type->role == RBE_CONTAINER)
        snprintf(layer->name, sizeof layer->name, "%s%zu", layer->type->kind, model->root->child_count + 1);
}

static bool is_not_elsewhere(void *user, rbe_layer *layer) { return !layer->owner || layer->owner == user; }

rbe_status rbe_model_add(rbe_model *model, rbe_layer *layer) {
    if (layer && !rbe_layer_holds_only(layer, is_not_elsewhere, model))
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_model_add: %s already belongs to another model", layer->path);
    rbe_status status = rbe_model_status(model);
    if (status == RBE_OK && !layer) {
        /* Most likely its constructor has just failed in this thread and said why. */
        rbe_fail(RBE_INVALID_ARGUMENT, "rbe_model_add: the layer is NULL (last failure: %s)", rbe_last_error());
        return keep_error(model);
    }
    if (status != RBE_OK) {
        if (layer && layer->places == 0) rbe_layer_free(layer);
        return status;
    }
    name_by_place(model, layer);
    bool first = layer->places == 0, trained = layer->param_count > 0;
    if (rbe_layer_adopt(model->root, layer) != RBE_OK) return keep_error(model);
    if (first && trained) model->fc_count++;
    return RBE_OK;
}

static rbe_status apply(rbe_model *model, rbe_layer *operation) {
    if (!operation || rbe_layer_adopt(model->root, operation) != RBE_OK) return keep_error(model);
    return RBE_OK;
}

rbe_status rbe_model_apply(rbe_model *model, rbe_operation *operation) {
    RBE_TRY(rbe_model_status(model));
    return apply(model, rbe_operation_new(operation));
}

rbe_status rbe_model_apply_function(rbe_model *model, rbe_var *(*function)(void *user, rbe_var *), void *user) {
    RBE_TRY(rbe_model_status(model));
    return apply(model, rbe_function_new(function, user));
}

/* ---- using --------------------------------------------------------------------------------------------------- */

rbe_var *rbe_model_forward(const rbe_model *model, rbe_var *x) {
    if (!x) return NULL;
    if (rbe_model_status(model) != RBE_OK) return rbe_tape_fail_last(x);
    return model->root->type->forward(model->root, x);
}

/* ---- what it holds ------------------------------------------------------------------------------------------- */

typedef struct search {
    size_t n; /* to be passed over */
    rbe_layer *layer;
    rbe_param *param;
    const char *path;
} search;

static bool pass_layer(void *user, rbe_layer *layer) {
    search *s = user;
    if (layer->type->role != RBE_LAYER || s->n-- > 0) return true;
    s->layer = layer;
    return false;
}

rbe_layer *rbe_model_layer(const rbe_model *model, size_t n) {
    search s = {.n = n};
    if (model) rbe_layer_walk(model->root, pass_layer, &s);
    return s.layer;
}

size_t rbe_model_inputs(const rbe_model *model) {
    const rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++)
        if (layer->in > 0 || layer->out > 0) return layer->in;
    return 0;
}

size_t rbe_model_outputs(const rbe_model *model) {
    const rbe_layer *layer;
    size_t out = 0;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++)
        if (layer->out > 0) out = layer->out;
    return out;
}

static bool pass_params(void *user, rbe_layer *layer) {
    search *s = user;
    if (s->n >= layer->param_count) {
        s->n -= layer->param_count;
        return true;
    }
    s->param = &layer->params[s->n];
    return false;
}

rbe_param *rbe_model_param(const rbe_model *model, size_t n) {
    search s = {.n = n};
    if (model) rbe_layer_walk(model->root, pass_params, &s);
    return s.param;
}

static bool has_path(void *user, rbe_layer *layer) {
    search *s = user;
    if (layer->type->role == RBE_OPERATION || !layer->parent || strcmp(layer->path, s->path) != 0) return true;
    s->layer = layer;
    return false;
}

rbe_layer *rbe_model_find(const rbe_model *model, const char *path) {
    search s = {.path = path};
    if (model && path) rbe_layer_walk(model->root, has_path, &s);
    return s.layer;
}

static bool has_param(void *user, rbe_layer *layer) {
    search *s = user;
    for (size_t n = 0; n < layer->param_count && !s->param; n++)
        if (strcmp(layer->params[n].name, s->path) == 0) s->param = &layer->params[n];
    return !s->param;
}

rbe_param *rbe_model_find_param(const rbe_model *model, const char *path) {
    search s = {.path = path};
    if (model && path) rbe_layer_walk(model->root, has_param, &s);
    return s.param;
}

rbe_layer_cost rbe_model_describe_cost(const rbe_model *model) {
    return rbe_layer_describe_cost(model ? model->root : NULL);
}

/* Columns of the input: what stands before the first layer with a width keeps the shape. */
static size_t input_columns(const rbe_model *model) {
    const rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++)
        if (layer->in) return layer->in;
    return 0;
}

size_t rbe_model_tape_bytes(const rbe_model *model, size_t rows) {
    if (rows > INT32_MAX) return PTRDIFF_MAX; /* no product takes so many; nothing below overflows */
    size_t columns = input_columns(model);
    size_t bytes = rbe_node_bytes(0, false); /* the input */
    if (model) bytes += rbe_layer_tape_bytes(model->root, rows, &columns) + rbe_layer_scratch_bytes(model->root, rows);
    /* The loss, what it remembers, and the softmax it keeps for its backward. */
    return bytes + rbe_node_bytes(1, true) + RBE_ALIGNMENT + rbe_aligned(rows * columns * sizeof(float));
}

/* ---- printing ------------------------------------------------------------------------------------------------ */

static bool print_layer(void *user, rbe_layer *layer) {
    if (layer->type->role != RBE_LAYER) return true;
    const rbe_layer_cost cost = rbe_layer_own_cost(layer);
    char widths[48] = "", smaller[16] = "";
    if (layer->in || layer->out) snprintf(widths, sizeof widths, "%zu -> %zu", layer->in, layer->out);
    if (cost.bytes > 0) snprintf(smaller, sizeof smaller, "%.1f", (double)cost.dense_bytes / (double)cost.bytes);
    return fprintf(user, "%-32s %-10s %-16s %12zu %12zu %8s\n", layer->path, layer->type->kind, widths, cost.values,
                   cost.bytes, smaller) >= 0;
}

rbe_status rbe_model_print(const rbe_model *model, FILE *file) {
    RBE_TRY(rbe_model_status(model));
    if (!file) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_model_print: the file is NULL");
    const rbe_layer_cost all = rbe_model_describe_cost(model);
    bool whole = fprintf(file, "%-32s %-10s %-16s %12s %12s %8s\n", "name", "kind", "widths", "values", "bytes",
                         "smaller") >= 0 &&
                 rbe_layer_walk(model->root, print_layer, file) &&
                 fprintf(file, "%-32s %-10s %-16s %12zu %12zu %8.1f\n", "all", "", "", all.values, all.bytes,
                         all.bytes > 0 ? (double)all.dense_bytes / (double)all.bytes : 1.0) >= 0;
    return whole ? RBE_OK : rbe_fail(RBE_IO_ERROR, "rbe_model_print: the table cannot be written");
}
