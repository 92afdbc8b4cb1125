/* A model: layers and shape-keeping operations, one after the other. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "nn/model.h"
#include "tensor/node.h"

rbe_model *rbe_model_new(void) { return rbe_alloc_zeroed(1, sizeof(rbe_model)); }

void rbe_model_free(rbe_model *model) {
    if (!model) return;
    for (size_t n = 0; n < model->count; n++) {
        rbe_layer *layer = model->stages[n].layer;
        if (layer) layer->owner = NULL;
        rbe_layer_free(layer);
    }
    rbe_free(model->stages);
    rbe_free(model->gradients);
    rbe_free(model->texts);
    rbe_free(model);
}

/* Keeps the thread's last error as the model's, unless it has one already. */
static rbe_status keep_error(rbe_model *model) {
    if (model->status == RBE_OK) {
        model->status = rbe_last_status();
        snprintf(model->error, sizeof model->error, "%s", rbe_last_error());
    }
    return rbe_model_status(model);
}

rbe_status rbe_model_status(const rbe_model *model) {
    if (!model) return rbe_fail(RBE_INVALID_ARGUMENT, "the model is NULL: it could not be made");
    return model->status == RBE_OK ? RBE_OK : rbe_fail(model->status, "%s", model->error);
}

static rbe_status append(rbe_model *model, rbe_stage s) {
    if (model->count == model->capacity) {
        size_t capacity = model->capacity ? 2 * model->capacity : 8;
        rbe_stage *stages = rbe_alloc(capacity, sizeof *stages);
        if (!stages) return rbe_last_status();
        if (model->count) memcpy(stages, model->stages, model->count * sizeof *stages);
        rbe_free(model->stages);
        model->stages = stages;
        model->capacity = capacity;
    }
    model->stages[model->count++] = s;
    return RBE_OK;
}

static rbe_status add_layer(rbe_model *model, rbe_layer *layer) {
    if (model->width && layer->in && layer->in != model->width)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "%s: takes %zu columns, the layer before gives %zu", layer->name,
                        layer->in, model->width);
    RBE_TRY(append(model, (rbe_stage){.layer = layer}));
    layer->owner = model;
    if (layer->out) model->width = layer->out;
    if (layer->param_count) model->fc_count++;
    if (!layer->named) {
        char name[RBE_NAME_SIZE];
        snprintf(name, sizeof name, "fc%zu", model->fc_count);
        rbe_layer_set_default_name(layer, name);
    }
    return RBE_OK;
}

/* A layer has one place in one model, which trains, counts, stores and frees it there. */
static rbe_status refuse_owned(const rbe_model *model, const rbe_layer *layer) {
    if (layer->owner != model)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_model_add: %s is a layer of another model already", layer->name);
    size_t place = 0;
    while (rbe_model_layer(model, place) != layer) place++;
    return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_model_add: %s is layer %zu of this model already", layer->name, place);
}

rbe_status rbe_model_add(rbe_model *model, rbe_layer *layer) {
    if (layer && layer->owner) return refuse_owned(model, layer);
    rbe_status status = rbe_model_status(model);
    if (status == RBE_OK && !layer) {
        /* Most likely its constructor has just failed in this thread and said why. */
        rbe_fail(RBE_INVALID_ARGUMENT, "rbe_model_add: the layer is NULL (last failure: %s)", rbe_last_error());
        return keep_error(model);
    }
    if (status == RBE_OK && add_layer(model, layer) != RBE_OK) status = keep_error(model);
    if (status != RBE_OK) rbe_layer_free(layer);
    return status;
}

rbe_status rbe_model_apply(rbe_model *model, rbe_var *(*operation)(rbe_var *)) {
    RBE_TRY(rbe_model_status(model));
    if (!operation) rbe_fail(RBE_INVALID_ARGUMENT, "rbe_model_apply: the operation is NULL");
    if (!operation || append(model, (rbe_stage){.operation = operation}) != RBE_OK) return keep_error(model);
    return RBE_OK;
}

/* An operation is a caller's: what it returns is checked. */
rbe_var *rbe_model_stage_forward(const rbe_model *model, size_t n, rbe_var *x) {
    const rbe_stage *s = &model->stages[n];
    if (s->layer) return rbe_layer_forward(s->layer, x);
    if (!rbe_ok(x)) return x;
    rbe_var *y = s->operation(x);
    if (y && y->tape == x->tape) return y;
    return rbe_tape_fail(x, RBE_INVALID_ARGUMENT,
                         "the operation at place %zu of %zu of the model: expected a variable of its input's tape, "
                         "found %s",
                         n + 1, model->count, y ? "one of another tape" : "NULL");
}

rbe_var *rbe_model_forward(const rbe_model *model, rbe_var *x) {
    if (!x) return NULL;
    if (rbe_model_status(model) != RBE_OK) return rbe_tape_fail_last(x);
    for (size_t n = 0; n < model->count; n++) x = rbe_model_stage_forward(model, n, x);
    return x;
}

rbe_layer *rbe_model_layer(const rbe_model *model, size_t n) {
    for (size_t s = 0; model && s < model->count; s++)
        if (model->stages[s].layer && n-- == 0) return model->stages[s].layer;
    return NULL;
}

rbe_param *rbe_model_param(const rbe_model *model, size_t n) {
    for (size_t l = 0;; l++) {
        const rbe_layer *layer = rbe_model_layer(model, l);
        if (!layer) return NULL;
        if (n < layer->param_count) return &layer->params[n];
        n -= layer->param_count;
    }
}

rbe_layer_cost rbe_model_describe_cost(const rbe_model *model) {
    rbe_layer_cost sum = {0};
    const rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++) {
        rbe_layer_cost cost = rbe_layer_describe_cost(layer);
        sum.values += cost.values;
        sum.bytes += cost.bytes;
        sum.dense_bytes += cost.dense_bytes;
    }
    return sum;
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
    size_t columns = input_columns(model), scratch = 0;
    size_t bytes = rbe_aligned(sizeof(rbe_var)); /* the input */
    for (size_t n = 0; model && n < model->count; n++) {
        const rbe_layer *layer = model->stages[n].layer;
        bytes += layer ? layer->type->tape_bytes(layer, rows, columns) : rbe_node_bytes(rows * columns, true);
        if (layer && layer->out) columns = layer->out;
        size_t own = layer && layer->type->scratch_bytes ? layer->type->scratch_bytes(layer, rows) : 0;
        if (own > scratch) scratch = own;
    }
    /* The loss, what it remembers, and the softmax it keeps for its backward. */
    size_t loss = rbe_node_bytes(1, true) + RBE_ALIGNMENT + rbe_aligned(rows * columns * sizeof(float));
    return bytes + scratch + loss;
}
