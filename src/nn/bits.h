/* The rows of a parameter, each of which has a step of its own where values are stored in few bits. */
#ifndef RBE_NN_BITS_H
#define RBE_NN_BITS_H

#include "codec/quantise.h"
#include "nn/layer.h"

/* Whether a parameter is a part of the layer's compressed matrix. NULL blocks: there is none. */
static inline bool rbe_param_is_of_matrix(const rbe_param *param, const rbe_blocks *blocks) {
    return blocks && (param->value == blocks->values || param->value == blocks->alpha);
}

/* Of a compressed matrix those of S, of a dense one its own; anything else is one row. */
rbe_rows rbe_param_rows(const rbe_layer *layer, const rbe_param *param);

#endif
