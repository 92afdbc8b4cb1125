/* Dropout as a layer of a model: the operation rbe_dropout with its probability. */
#include "base/alloc.h"
#include "nn/layer.h"
#include "tensor/node.h"

typedef struct dropout_layer {
    rbe_layer base;
    float probability;
} dropout_layer;

static rbe_var *dropout_forward(const rbe_layer *layer, rbe_var *x) {
    return rbe_dropout(x, ((const dropout_layer *)layer)->probability);
}

/* The mask is drawn again in the backward pass, not stored. */
static size_t dropout_tape_bytes(const rbe_layer *layer, size_t rows, size_t columns) {
    (void)layer;
    return rbe_node_bytes(rows * columns, true) + RBE_ALIGNMENT; /* its context */
}

static const rbe_layer_type dropout_type = {"dropout", dropout_forward, dropout_tape_bytes, NULL, NULL, NULL, NULL,
                                            NULL};

bool rbe_dropout_probability(const rbe_layer *layer, float *probability) {
    if (layer->type != &dropout_type) return false;
    *probability = ((const dropout_layer *)layer)->probability;
    return true;
}

rbe_layer *rbe_dropout_new(float probability) {
    if (!(probability >= 0.0f && probability < 1.0f)) {
        rbe_fail(RBE_INVALID_ARGUMENT, "dropout: expected a probability in [0, 1), found %g", (double)probability);
        return NULL;
    }
    dropout_layer *layer = rbe_alloc_zeroed(1, sizeof *layer);
    if (!layer) return NULL;
    layer->base = (rbe_layer){.type = &dropout_type};
    layer->probability = probability;
    rbe_layer_set_name(&layer->base, "dropout");
    return &layer->base;
}
