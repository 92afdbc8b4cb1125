/* A layer with all that is inside as named tensors and a JSON object, and back. docs/format.md, sections 2 to 4, says which.
 * Layers describe themselves (rbe/extend.h): nothing here knows a kind.
 */
#ifndef RBE_IO_LAYER_CODE_H
#define RBE_IO_LAYER_CODE_H

#include "io/blocks_code.h"
#include "nn/bits.h"

/* Layers inside layers, at most. Their descriptions are nested twice as deep, an object and a list for each; the bound
 * is for one layer more, so that it is layers that are said to be too many. */
enum { RBE_MOST_DEPTH = 64, RBE_STAGES_DEPTH = 2 * (RBE_MOST_DEPTH + 2) + 1 };

/* Tensors that a layer and all inside take, at most. */
size_t rbe_layer_parts(const rbe_layer *layer);

/* Appends a layer's tensors, and its description to `json`. owner.name is the way to it from the model on, "3.0.1", and
 * `depth` the number of layers on that way. Statuses: rbe_model_save. */
rbe_status rbe_pack_layer(rbe_pack *pack, rbe_owner owner, const rbe_layer *layer, size_t depth,
                          const rbe_save_options *options, cJSON *json);

/* Frees the ways that rbe_pack_layer has noted. */
void rbe_pack_forget_ways(rbe_pack *pack);

/* A layer that has been read, and what a sample takes each time that it runs. */
typedef struct rbe_run {
    const rbe_layer *layer;
    uint64_t sample;
} rbe_run;

/* The tree as far as it has been read. */
typedef struct rbe_tree {
    rbe_layer *open[RBE_MOST_DEPTH + 2]; /* containers that are being read, the model's root first */
    size_t depth;                        /* number of the innermost one */
    rbe_run *runs;                       /* layers that are complete; freed by the caller */
    size_t run_count, run_capacity;
    size_t packed_count; /* layers whose values are packed, packed.h */
} rbe_tree;

/* Makes the layer that `unpack` describes, and adds it to the innermost container. */
rbe_status rbe_unpack_layer(rbe_unpack *unpack, rbe_tree *tree);

#endif
