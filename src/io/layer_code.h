/* A layer as named tensors and a JSON object, and back. FORMAT.md, sections 2 to 4, says which. */
#ifndef RBE_IO_LAYER_CODE_H
#define RBE_IO_LAYER_CODE_H

#include "io/blocks_code.h"
#include "nn/layer.h"

enum { RBE_LAYER_PARTS = RBE_BLOCKS_PARTS + 1 };

/* Appends a layer's tensors, and its description to `json`. Statuses: rbe_model_save. */
rbe_status rbe_pack_layer(rbe_pack *pack, rbe_owner owner, const rbe_layer *layer, const rbe_save_options *options,
                          cJSON *json);

/* Makes the layer of kind `kind`. NULL on failure. */
rbe_layer *rbe_unpack_layer(rbe_unpack *unpack, const char *kind);

#endif
