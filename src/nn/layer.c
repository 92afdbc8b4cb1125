/* What all layers share: parameters, names, the call through the method table. */
#include "nn/layer.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "tensor/node.h"

rbe_status rbe_layer_check_size(const char *kind, size_t in, size_t out) {
    const size_t most = (size_t)1 << 24; /* BLAS counts in int, positions in 32 bits */
    if (in >= 1 && in <= most && out >= 1 && out <= most) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "%s: expected widths of 1 .. %zu, found %zu inputs and %zu outputs", kind,
                    most, in, out);
}

rbe_status rbe_layer_require_grads(const rbe_layer *layer) {
    for (size_t n = 0; n < layer->param_count; n++)
        if (!layer->params[n].frozen) RBE_TRY(rbe_param_require_grad(&layer->params[n]));
    return RBE_OK;
}

bool rbe_layer_is_trained(const rbe_layer *layer) {
    for (size_t n = 0; n < layer->param_count; n++)
        if (!layer->params[n].frozen) return true;
    return false;
}

void rbe_layer_freeze(rbe_layer *layer, bool frozen) {
    for (size_t n = 0; layer && n < layer->param_count; n++) layer->params[n].frozen = frozen;
}

rbe_var *rbe_layer_forward(const rbe_layer *layer, rbe_var *x) {
    if (!x) return NULL;
    if (!rbe_ok(x)) return &x->tape->inert;
    rbe_tape *tape = x->tape;
    if (!layer) return rbe_tape_fail(x, RBE_INVALID_ARGUMENT, "rbe_layer_forward: the layer is NULL");
    const char *outer = tape->scope;
    tape->scope = layer->name;
    rbe_var *y;
    if (layer->in > 0 && rbe_tensor_columns(&x->value) != layer->in)
        y = rbe_tape_fail(x, RBE_INPUT_DIMENSION_MISMATCH, "input has %zu columns, expected %zu",
                          rbe_tensor_columns(&x->value), layer->in);
    else
        y = layer->type->forward(layer, x);
    tape->scope = outer;
    return y;
}

void rbe_layer_free(rbe_layer *layer) {
    if (!layer || layer->owner) return;
    for (size_t n = 0; n < layer->param_count; n++) rbe_param_clear(&layer->params[n]);
    if (layer->type->destroy) layer->type->destroy(layer);
    rbe_free(layer);
}

const char *rbe_layer_name(const rbe_layer *layer) { return layer ? layer->name : ""; }

const char *rbe_layer_kind(const rbe_layer *layer) { return layer ? layer->type->kind : ""; }

size_t rbe_layer_inputs(const rbe_layer *layer) { return layer ? layer->in : 0; }

size_t rbe_layer_outputs(const rbe_layer *layer) { return layer ? layer->out : 0; }

rbe_param *rbe_layer_param(const rbe_layer *layer, size_t n) {
    return layer && n < layer->param_count ? &layer->params[n] : NULL;
}

void rbe_layer_set_name(rbe_layer *layer, const char *name) {
    if (!layer || !name) return;
    rbe_layer_set_default_name(layer, name);
    layer->named = true;
}

void rbe_layer_set_default_name(rbe_layer *layer, const char *name) {
    snprintf(layer->name, sizeof layer->name, "%s", name);
    for (size_t n = 0; n < layer->param_count; n++) {
        rbe_param *param = &layer->params[n];
        int room = RBE_NAME_SIZE - 2 - (int)sizeof "coefficients";
        snprintf(param->name, sizeof param->name, "%.*s.%s", room, layer->name, param->part);
    }
}

size_t rbe_layer_table_bytes(const rbe_layer *layer) {
    return rbe_alloc_bytes(layer) + (layer->type->table_bytes ? layer->type->table_bytes(layer) : 0);
}

rbe_layer_cost rbe_layer_describe_cost(const rbe_layer *layer) {
    rbe_layer_cost cost = {0};
    if (!layer) return cost;
    for (size_t n = 0; n < layer->param_count; n++) cost.values += layer->params[n].count;
    cost.bytes = cost.values * sizeof(float);
    if (layer->type->structure_bytes) cost.bytes += layer->type->structure_bytes(layer);
    cost.dense_bytes = layer->type->dense_bytes ? layer->type->dense_bytes(layer) : cost.bytes;
    return cost;
}
