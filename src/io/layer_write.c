/* From a layer to tensors: its matrix, dense or compressed, and its bias. */
#include <string.h>

#include "io/layer_code.h"

static rbe_status pack_dense(rbe_pack *pack, rbe_owner owner, const rbe_layer *layer, const rbe_save_options *options) {
    const size_t shape[2] = {layer->out, layer->in};
    const rbe_rows rows = {.count = layer->out, .width = layer->in};
    return rbe_pack_values(pack, owner, "weight", options->store, 2, shape, layer->params[0].value, &rows);
}

/* The name may have been cut within a character: only whole ones are stored. */
static rbe_status describe(rbe_owner owner, const rbe_layer *layer, cJSON *json) {
    char name[RBE_NAME_SIZE] = {0};
    memcpy(name, layer->name, rbe_utf8_length(layer->name, strlen(layer->name)));
    bool whole =
        cJSON_AddStringToObject(json, "kind", layer->type->kind) && cJSON_AddStringToObject(json, "name", name);
    if (layer->in > 0)
        whole = whole && rbe_add_number(json, "in", layer->in) && rbe_add_number(json, "out", layer->out);
    return whole ? RBE_OK : rbe_no_description(owner);
}

rbe_status rbe_pack_layer(rbe_pack *pack, rbe_owner owner, const rbe_layer *layer, const rbe_save_options *options,
                          cJSON *json) {
    const rbe_blocks *blocks = rbe_linear_blocks(layer);
    float probability;
    RBE_TRY(describe(owner, layer, json));
    if (blocks)
        RBE_TRY(rbe_pack_blocks(pack, owner, blocks, options, json));
    else if (strcmp(layer->type->kind, "dense") == 0)
        RBE_TRY(pack_dense(pack, owner, layer, options));
    else if (!rbe_dropout_probability(layer, &probability))
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s %s: %s, a layer of kind %s, cannot be stored", owner.kind, owner.name,
                        layer->name, layer->type->kind);
    else if (!cJSON_AddNumberToObject(json, "probability", (double)probability))
        return rbe_no_description(owner);
    if (!layer->has_bias) return RBE_OK;
    return rbe_pack_floats(pack, owner, "bias", rbe_plain_dtype(options->store), 1, &layer->out,
                           layer->params[layer->param_count - 1].value);
}
