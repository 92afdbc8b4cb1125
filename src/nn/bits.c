/* With how many bits a layer is stored, and which of its values share a step. */
#include "nn/bits.h"

#include "base/failure.h"

rbe_rows rbe_param_rows(const rbe_layer *layer, const rbe_param *param) {
    const rbe_blocks *blocks = rbe_layer_blocks(layer);
    if (blocks && param->value == blocks->values) return rbe_rows_of_blocks(blocks);
    const size_t rows = param->rows ? param->rows : 1;
    return (rbe_rows){.count = rows, .width = param->count / rows};
}

rbe_status rbe_layer_set_bits(rbe_layer *layer, unsigned bits) {
    if (!layer) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_layer_set_bits: the layer is NULL");
    if (bits != 0 && (bits < RBE_LEAST_BITS || bits > RBE_MOST_BITS))
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s: bits: expected 0 or %d .. %d, found %u", layer->path, RBE_LEAST_BITS,
                        RBE_MOST_BITS, bits);
    const rbe_blocks *blocks = rbe_layer_blocks(layer);
    for (size_t n = 0; n < layer->param_count; n++) {
        rbe_param *param = &layer->params[n];
        const bool matrix = param->rows > 0 || (blocks && param->value == blocks->values);
        param->bits = bits == 0 || matrix ? bits : RBE_MOST_BITS;
    }
    return RBE_OK;
}
