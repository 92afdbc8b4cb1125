/* Values in few bits: which parameters have them, and the model with what they will be in the file. */
#include <string.h>

#include "base/alloc.h"
#include "export/exporter.h"
#include "nn/bits.h"

unsigned rbe_export_bits(const rbe_exporter *x, const rbe_layer *layer, const rbe_param *param) {
    const rbe_blocks *blocks = rbe_layer_blocks(layer);
    const bool matrix = param->rows > 0 || (blocks && param->value == blocks->values);
    if (x->o.values == RBE_EXPORT_F32) return 0;
    if (x->o.integer && matrix && x->o.values == RBE_EXPORT_AS_TRAINED) return param->bits > 0 ? param->bits : 8;
    if (x->o.values == RBE_EXPORT_AS_TRAINED || !matrix) return param->bits;
    const unsigned most = x->o.values == RBE_EXPORT_INT8 ? 8 : 4;
    return param->bits > 0 && param->bits < most ? param->bits : most;
}

struct rbe_kept_values {
    rbe_param *param;
    rbe_kept_values *next;
    float values[];
};

static rbe_status round_param(rbe_layer *layer, rbe_param *param, unsigned bits, rbe_kept_values **kept) {
    const rbe_rows rows = rbe_param_rows(layer, param);
    rbe_kept_values *one = rbe_alloc(1, sizeof *one + param->count * sizeof(float));
    float *steps = rbe_alloc(rows.count, sizeof *steps);
    if (!one || !steps) {
        rbe_free(one);
        rbe_free(steps);
        return RBE_INSUFFICIENT_MEMORY;
    }
    *one = (rbe_kept_values){param, *kept};
    *kept = one;
    memcpy(one->values, param->value, param->count * sizeof(float));
    const size_t bad = rbe_quantise_steps(&rows, bits, param->value, steps);
    if (bad == param->count) {
        rbe_quantise(&rows, param->value, steps, param->value);
        rbe_dequantise(&rows, steps, param->value);
    }
    rbe_free(steps);
    if (bad == param->count) return RBE_OK;
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "%s: value %zu, %g, is too large", param->name, bad,
                    (double)param->value[bad]);
}

rbe_status rbe_export_round(rbe_exporter *x, rbe_kept_values **kept) {
    *kept = NULL;
    for (size_t n = 0; n < x->layer_count; n++) {
        rbe_layer *layer = (rbe_layer *)x->layers[n]; /* of x->model, which is not const */
        for (size_t k = 0; k < layer->param_count; k++) {
            const unsigned bits = rbe_export_bits(x, layer, &layer->params[k]);
            if (bits > 0) RBE_TRY(round_param(layer, &layer->params[k], bits, kept));
        }
    }
    return RBE_OK;
}

void rbe_export_restore(rbe_kept_values *kept) {
    while (kept) {
        rbe_kept_values *next = kept->next;
        memcpy(kept->param->value, kept->values, kept->param->count * sizeof(float));
        rbe_free(kept);
        kept = next;
    }
}
