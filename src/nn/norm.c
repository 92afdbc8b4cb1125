/* Normalisations as layers, along the last dimension:
 *
 *     rms_norm     y = x / sqrt(mean of x^2 + eps) scale                              (Zhang and Sennrich 2019)
 *     layer_norm   y = (x - mean of x) / sqrt(variance of x + eps) weight + bias      (Ba, Kiros and Hinton 2016)
 *
 * scale and weight begin at 1, bias at 0.
 */
#include "base/alloc.h"
#include "nn/layer.h"
#include "tensor/node.h"

typedef struct norm_layer {
    rbe_layer base;
    rbe_param params[2]; /* scale; or weight and, perhaps, bias */
    float epsilon;
} norm_layer;

static float epsilon_of(const rbe_layer *layer) { return ((const norm_layer *)layer)->epsilon; }

static rbe_var *param_of(const rbe_layer *layer, size_t n, rbe_var *x) {
    return n < layer->param_count ? rbe_parameter(x->tape, &layer->params[n], 1, &layer->in) : NULL;
}

static void norm_destroy(rbe_layer *layer) {
    for (size_t n = 0; n < layer->param_count; n++) rbe_free(layer->params[n].value);
}

static rbe_status norm_write(const rbe_layer *layer, rbe_writer *writer) {
    RBE_TRY(rbe_write_number(writer, "width", (double)layer->in));
    return rbe_write_number(writer, "epsilon", (double)epsilon_of(layer));
}

/* The result, mean and factor of each row, and the variables of the parameters. */
static size_t norm_tape_bytes(const rbe_layer *layer, size_t rows, size_t columns) {
    (void)columns;
    return rbe_node_bytes(rows * layer->in, true) + layer->param_count * rbe_node_bytes(layer->in, true) +
           rbe_aligned(2 * rows * sizeof(double)) + RBE_ALIGNMENT;
}

/* A layer whose first parameter is called `part`. `name` is the layer's. */
static rbe_layer *make(const rbe_layer_type *type, size_t width, float epsilon, const char *part, bool bias,
                       const char *name) {
    if (rbe_layer_check_size(type->kind, width, width) != RBE_OK) return NULL;
    if (!(epsilon >= 0.0f && epsilon <= 1.0f)) {
        rbe_fail(RBE_INVALID_ARGUMENT, "%s: expected 0 <= epsilon <= 1, found %g", type->kind, (double)epsilon);
        return NULL;
    }
    norm_layer *layer = (norm_layer *)rbe_layer_make_named(type, sizeof *layer, width, width, NULL);
    if (!layer) return NULL;
    layer->epsilon = epsilon > 0.0f ? epsilon : 1e-5f;
    layer->params[0] = (rbe_param){.part = part, .count = width, .lr_scale = 1.0f};
    layer->params[1] = (rbe_param){.part = "bias", .count = width, .lr_scale = 1.0f};
    layer->base.params = layer->params;
    layer->base.param_count = bias ? 2 : 1;
    for (size_t n = 0; n < layer->base.param_count; n++)
        if (!(layer->params[n].value = rbe_alloc_zeroed(width, sizeof(float)))) {
            rbe_layer_free(&layer->base);
            return NULL;
        }
    for (size_t n = 0; n < width; n++) layer->params[0].value[n] = 1.0f;
    rbe_layer_set_default_name(&layer->base, name);
    return &layer->base;
}

/* Width, which the file has values for, and epsilon. */
static bool read_options(rbe_reader *reader, const char *part, size_t *width, double *epsilon) {
    return rbe_read_count(reader, "width", 1, rbe_read_values(reader, part), width) == RBE_OK &&
           rbe_read_number(reader, "epsilon", 0.0, 1.0, epsilon) == RBE_OK;
}

/* ---- rms_norm ------------------------------------------------------------------------------------------------ */

static rbe_var *rms_norm_forward(const rbe_layer *layer, rbe_var *x) {
    return rbe_rms_norm(x, param_of(layer, 0, x), epsilon_of(layer));
}

static rbe_layer *rms_norm_read(const rbe_layer_type *type, rbe_reader *reader) {
    (void)type;
    size_t width;
    double epsilon;
    return read_options(reader, "scale", &width, &epsilon) ? rbe_rms_norm_new(width, (float)epsilon, NULL) : NULL;
}

const rbe_layer_type rbe_rms_norm_type = {.kind = "rms_norm",
                                          .forward = rms_norm_forward,
                                          .destroy = norm_destroy,
                                          .write = RBE_FULL(norm_write),
                                          .read = rms_norm_read,
                                          .tape_bytes = norm_tape_bytes};

rbe_layer *rbe_rms_norm_new(size_t width, float epsilon, const char *name) {
    return make(&rbe_rms_norm_type, width, epsilon, "scale", false, name);
}

/* ---- layer_norm ---------------------------------------------------------------------------------------------- */

static rbe_var *layer_norm_forward(const rbe_layer *layer, rbe_var *x) {
    return rbe_layer_norm(x, param_of(layer, 0, x), param_of(layer, 1, x), epsilon_of(layer));
}

static rbe_layer *layer_norm_read(const rbe_layer_type *type, rbe_reader *reader) {
    (void)type;
    size_t width;
    double epsilon;
    if (!read_options(reader, "weight", &width, &epsilon)) return NULL;
    return rbe_layer_norm_new(width, (float)epsilon, rbe_read_values(reader, "bias") == 0, NULL);
}

const rbe_layer_type rbe_layer_norm_type = {.kind = "layer_norm",
                                            .forward = layer_norm_forward,
                                            .destroy = norm_destroy,
                                            .write = RBE_FULL(norm_write),
                                            .read = layer_norm_read,
                                            .tape_bytes = norm_tape_bytes};

rbe_layer *rbe_layer_norm_new(size_t width, float epsilon, bool no_bias, const char *name) {
    return make(&rbe_layer_norm_type, width, epsilon, "weight", !no_bias, name);
}
