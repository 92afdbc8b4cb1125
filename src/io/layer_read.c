/* From tensors to a layer: its matrix, dense or compressed, and its bias. */
#include <string.h>

#include "base/alloc.h"
#include "io/layer_code.h"

/* *bias is NULL if there is none. */
static rbe_status read_bias(rbe_unpack *u, size_t out, float **bias) {
    rbe_part p = rbe_unpack_part(u, "bias");
    if (!p.info) return RBE_OK;
    RBE_TRY(rbe_unpack_shape(u, "bias", p, 1, &out));
    return rbe_unpack_floats(u, p, NULL, bias);
}

static rbe_layer *compressed_layer(rbe_unpack *u, size_t in, size_t out, const char *name) {
    rbe_blocks *blocks = NULL;
    float *bias = NULL;
    rbe_layer *layer = NULL;
    if (rbe_unpack_blocks(u, in, out, &blocks) == RBE_OK && read_bias(u, out, &bias) == RBE_OK) {
        layer = rbe_linear_from_blocks(blocks, bias, bias ? out : 0, &(rbe_linear_options){.name = name});
        blocks = NULL; /* the layer's, or freed */
    }
    rbe_blocks_free(blocks);
    rbe_free(bias);
    return layer;
}

static rbe_layer *dense_layer(rbe_unpack *u, size_t in, size_t out, const char *name) {
    const size_t shape[2] = {out, in};
    const rbe_rows rows = {.count = out, .width = in};
    rbe_part p = rbe_unpack_part(u, "weight");
    if (rbe_unpack_shape(u, "weight", p, 2, shape) != RBE_OK) return NULL;
    const rbe_room copies = {2 * sizeof(float) * ((uint64_t)in + 2) * out, sizeof(float) * ((uint64_t)in + out)};
    if (rbe_unpack_take(u, copies) != RBE_OK) return NULL;
    float *bias = NULL, *weights = rbe_alloc(p.info->count, sizeof *weights);
    rbe_layer *layer = NULL;
    if (weights && rbe_unpack_values(u, p, &rows, weights) == RBE_OK && read_bias(u, out, &bias) == RBE_OK)
        layer = rbe_dense_from_weights(in, out, weights, bias, name);
    rbe_free(weights);
    rbe_free(bias);
    return layer;
}

static rbe_layer *dropout_layer(rbe_unpack *u, const char *name) {
    const cJSON *item = rbe_unpack_member(u, "probability");
    double probability = cJSON_IsNumber(item) ? item->valuedouble : -1.0;
    if (!(probability >= 0.0 && (float)probability < 1.0f)) {
        rbe_unpack_fail(u, "probability: expected 0 <= p < 1");
        return NULL;
    }
    rbe_layer *layer = rbe_dropout_new((float)probability);
    if (layer) rbe_layer_set_name(layer, name);
    return layer;
}

rbe_layer *rbe_unpack_layer(rbe_unpack *u, const char *kind) {
    size_t in = 0, out = 0;
    const char *name = rbe_json_string(rbe_unpack_member(u, "name"));
    if (!name || strlen(name) >= RBE_NAME_SIZE) {
        rbe_unpack_fail(u, "name: expected a text of fewer than %d bytes", RBE_NAME_SIZE);
        return NULL;
    }
    if (strcmp(kind, "dropout") == 0) return dropout_layer(u, name);
    bool dense = strcmp(kind, "dense") == 0;
    if (!dense && strcmp(kind, "rbe") != 0) {
        rbe_unpack_fail(u, "its kind, %.40s, is unknown", kind);
        return NULL;
    }
    if (rbe_unpack_number(u, "in", 1, RBE_MAX_WIDTH, &in) != RBE_OK ||
        rbe_unpack_number(u, "out", 1, RBE_MAX_WIDTH, &out) != RBE_OK)
        return NULL;
    return dense ? dense_layer(u, in, out, name) : compressed_layer(u, in, out, name);
}
