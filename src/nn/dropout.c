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

static rbe_status dropout_write(const rbe_layer *layer, rbe_writer *writer) {
    return rbe_write_number(writer, "probability", (double)((const dropout_layer *)layer)->probability);
}

static rbe_layer *dropout_read(const rbe_layer_type *type, rbe_reader *reader) {
    (void)type;
    double probability;
    if (rbe_read_number(reader, "probability", 0.0, 1.0, &probability) != RBE_OK) return NULL;
    if ((float)probability < 1.0f) return rbe_dropout_new((float)probability);
    rbe_read_fail(reader, "probability: expected 0 <= p < 1");
    return NULL;
}

const rbe_layer_type rbe_dropout_type = {.kind = "dropout",
                                         .forward = dropout_forward,
                                         .write = RBE_FULL(dropout_write),
                                         .read = dropout_read,
                                         .tape_bytes = dropout_tape_bytes};

rbe_layer *rbe_dropout_new(float probability) {
    if (!(probability >= 0.0f && probability < 1.0f)) {
        rbe_fail(RBE_INVALID_ARGUMENT, "dropout: expected a probability in [0, 1), found %g", (double)probability);
        return NULL;
    }
    dropout_layer *layer = (dropout_layer *)rbe_layer_make_named(&rbe_dropout_type, sizeof *layer, 0, 0, "dropout");
    if (!layer) return NULL;
    layer->probability = probability;
    return &layer->base;
}
