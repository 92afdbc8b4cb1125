/* Root mean square normalisation as a layer: y = x / sqrt(mean of x^2 + eps) * scale, along the last dimension (Zhang and
 * Sennrich 2019). scale begins at 1. */
#include "base/alloc.h"
#include "nn/layer.h"
#include "tensor/node.h"

typedef struct rms_norm_layer {
    rbe_layer base;
    rbe_param params[1]; /* scale */
    float epsilon;
} rms_norm_layer;

static rbe_var *rms_norm_forward(const rbe_layer *layer, rbe_var *x) {
    rbe_var *scale = rbe_parameter(x->tape, &layer->params[0], 1, &layer->in);
    return rbe_rms_norm(x, scale, ((const rms_norm_layer *)layer)->epsilon);
}

static void rms_norm_destroy(rbe_layer *layer) { rbe_free(layer->params[0].value); }

static rbe_status rms_norm_write(const rbe_layer *layer, rbe_writer *writer) {
    RBE_TRY(rbe_write_number(writer, "width", (double)layer->in));
    return rbe_write_number(writer, "epsilon", (double)((const rms_norm_layer *)layer)->epsilon);
}

static rbe_layer *rms_norm_read(const rbe_layer_type *type, rbe_reader *reader) {
    (void)type;
    size_t width;
    double epsilon;
    if (rbe_read_count(reader, "width", 1, rbe_read_values(reader, "scale"), &width) != RBE_OK ||
        rbe_read_number(reader, "epsilon", 0.0, 1.0, &epsilon) != RBE_OK)
        return NULL;
    return rbe_rms_norm_new(width, (float)epsilon, NULL);
}

/* The result, mean and factor of each row, and the variable of the scale. */
static size_t rms_norm_tape_bytes(const rbe_layer *layer, size_t rows, size_t columns) {
    (void)columns;
    return rbe_node_bytes(rows * layer->in, true) + rbe_node_bytes(layer->in, true) +
           rbe_aligned(2 * rows * sizeof(double)) + RBE_ALIGNMENT;
}

const rbe_layer_type rbe_rms_norm_type = {.kind = "rms_norm",
                                          .forward = rms_norm_forward,
                                          .destroy = rms_norm_destroy,
                                          .write = rms_norm_write,
                                          .read = rms_norm_read,
                                          .tape_bytes = rms_norm_tape_bytes};

rbe_layer *rbe_rms_norm_new(size_t width, float epsilon, const char *name) {
    if (rbe_layer_check_size("rms_norm", width, width) != RBE_OK) return NULL;
    if (!(epsilon >= 0.0f && epsilon <= 1.0f)) {
        rbe_fail(RBE_INVALID_ARGUMENT, "rms_norm: expected 0 <= epsilon <= 1, found %g", (double)epsilon);
        return NULL;
    }
    rms_norm_layer *layer =
        (rms_norm_layer *)rbe_layer_make_named(&rbe_rms_norm_type, sizeof *layer, width, width, NULL);
    if (!layer) return NULL;
    layer->epsilon = epsilon > 0.0f ? epsilon : 1e-5f;
    layer->params[0] = (rbe_param){.part = "scale", .count = width, .lr_scale = 1.0f};
    layer->base.params = layer->params;
    layer->base.param_count = 1;
    layer->params[0].value = rbe_alloc(width, sizeof(float));
    if (!layer->params[0].value) {
        rbe_layer_free(&layer->base);
        return NULL;
    }
    for (size_t n = 0; n < width; n++) layer->params[0].value[n] = 1.0f;
    rbe_layer_set_default_name(&layer->base, name);
    return &layer->base;
}
