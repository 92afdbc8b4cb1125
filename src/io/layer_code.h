/* A layer as named tensors and a JSON object, and back. FORMAT.md says which. */
#ifndef RBE_IO_LAYER_CODE_H
#define RBE_IO_LAYER_CODE_H

#include "io/json.h"
#include "io/safetensors.h"
#include "nn/layer.h"

enum { RBE_LAYER_PARTS = 6, RBE_PART_NAME = 40 };

/* ---- out of memory ------------------------------------------------------------------------------------------- */

/* Tensors to be written. The name of each is the beginning of a piece of memory that belongs to the pack; its
 * values may follow there, or belong to the layer. */
typedef struct rbe_pack {
    rbe_stored_tensor *tensors;
    size_t count, capacity;
} rbe_pack;

/* Room for the layers of `stages` stages. */
rbe_status rbe_pack_new(rbe_pack *pack, size_t stages);
void rbe_pack_free(rbe_pack *pack); /* all zeros is allowed */

/* Appends a layer's tensors, and its description to `json`. Statuses: rbe_model_save. */
rbe_status rbe_pack_layer(rbe_pack *pack, size_t stage, const rbe_layer *layer, const rbe_save_options *options,
                          cJSON *json);

/* ---- into memory --------------------------------------------------------------------------------------------- */

/* Where a layer is read from. */
typedef struct rbe_unpack {
    const rbe_tensor_file *file;
    bool *used; /* tensors that a layer has taken */
    size_t stage;
    const cJSON *json;
    int members; /* of the JSON object that have been read */
} rbe_unpack;

/* A member of the stage's object; NULL without. */
const cJSON *rbe_unpack_member(rbe_unpack *unpack, const char *name);

/* BAD_FORMAT, with the file's name and the stage before the text. */
rbe_status rbe_unpack_fail(const rbe_unpack *unpack, const char *format, ...) RBE_PRINTF(2, 3);

/* Makes the layer of kind `kind`. NULL on failure. */
rbe_layer *rbe_unpack_layer(rbe_unpack *unpack, const char *kind);

#endif
