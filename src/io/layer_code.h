/* A layer with all that is inside as named tensors and a JSON object, and back. FORMAT.md, sections 2 to 4, says which.
 * Layers describe themselves (rbe/extend.h): nothing here knows a kind.
 */
#ifndef RBE_IO_LAYER_CODE_H
#define RBE_IO_LAYER_CODE_H

#include "io/blocks_code.h"
#include "nn/layer.h"

/* Layers inside layers, at most. */
enum { RBE_MOST_DEPTH = 64 };

/* Tensors that a layer and all inside take, at most. */
size_t rbe_layer_parts(const rbe_layer *layer);

/* Appends a layer's tensors, and its description to `json`. `root` is the outermost layer, and owner.name the way from
 * there: "3.0.1". Statuses: rbe_model_save. */
rbe_status rbe_pack_layer(rbe_pack *pack, rbe_owner owner, const rbe_layer *root, const rbe_layer *layer,
                          const rbe_save_options *options, cJSON *json);

/* Makes the layer that `unpack` describes, and adds it to `container`, which is `root` or inside it. */
rbe_status rbe_unpack_layer(rbe_unpack *unpack, rbe_layer *root, rbe_layer *container, size_t depth);

#endif
