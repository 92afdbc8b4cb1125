/* The inside of layers: what the library does with any of them. */
#ifndef RBE_NN_LAYER_H
#define RBE_NN_LAYER_H

#include "nn/param.h"
#include "rbe/extend.h"

#define RBE_MAX_PARAMS 3 /* of the library's own layers */

/* A layer of the library's own, as rbe_layer_make, with a name that holds until it gets one of its own (`name`, NULL:
 * none) or a place. */
rbe_layer *rbe_layer_make_named(const rbe_layer_type *type, size_t bytes, size_t in, size_t out, const char *name);

/* The name of a layer whose parameters are complete: `name`, or its kind until it gets one. */
void rbe_layer_set_default_name(rbe_layer *layer, const char *name);

#define RBE_MOST_COLUMNS ((size_t)1 << 24) /* BLAS counts in int, positions in 32 bits */

/* INVALID_ARGUMENT, with the kind of layer in its text, unless both widths are 1 .. 2^24. */
rbe_status rbe_layer_check_size(const char *kind, size_t in, size_t out);

bool rbe_layer_has_bias(const rbe_layer *layer);

/* The compressed matrix that files store; NULL without. */
static inline const rbe_blocks *rbe_layer_blocks(const rbe_layer *layer) {
    return layer->type->blocks ? layer->type->blocks(layer) : NULL;
}

/* Without what is inside it. */
rbe_layer_cost rbe_layer_own_cost(const rbe_layer *layer);

/* Bytes that a layer holds beside parameters, positions and gradients: its struct and its tables. */
size_t rbe_layer_table_bytes(const rbe_layer *layer);

/* Allocates the gradients of all parameters that are trained and have none yet. */
rbe_status rbe_layer_require_grads(const rbe_layer *layer);

/* Where the last of its gradients in the buffer of the model ends; 0 if there is none. */
uintptr_t rbe_layer_gradient_end(const rbe_layer *layer);

/* Whether any parameter is not frozen: only then does the layer take part in a backward pass for its own sake. */
bool rbe_layer_is_trained(const rbe_layer *layer);

/* What its methods say, or the defaults. *columns: of the input, then of the output. */
size_t rbe_layer_tape_bytes(const rbe_layer *layer, size_t rows, size_t *columns);
size_t rbe_layer_scratch_bytes(const rbe_layer *layer, size_t rows);

/* ---- trees of layers ----------------------------------------------------------------------------------------- */

/* Puts a layer into a container, which owns it from then on. A layer that is in the way of another model, or that would
 * hold itself, is refused and stays where it is; with any other failure it is freed unless it has a place already. */
rbe_status rbe_layer_adopt(rbe_layer *container, rbe_layer *layer);

/* Puts `count` layers into a container that has just been made, which takes them over also when it fails: then it is freed,
 * and NULL returned. `made` may be NULL. */
rbe_layer *rbe_layer_around(rbe_layer *made, rbe_layer *const *inner, size_t count);

/* How often a forward pass runs what is inside: of a repeat its times, of any other 1. */
size_t rbe_layer_times(const rbe_layer *layer);

/* `read` of a container that has no options. */
rbe_layer *rbe_container_read(const rbe_layer_type *type, rbe_reader *reader);

/* The most scratch memory that a layer inside needs: it is given back after each. */
size_t rbe_layer_largest_scratch(const rbe_layer *layer, size_t rows);

/* Goes through a layer and all inside, parents first; each once, at its first place. Ends where `see` returns false, and
 * returns that. */
typedef bool rbe_layer_visitor(void *user, rbe_layer *layer);
bool rbe_layer_walk(rbe_layer *layer, rbe_layer_visitor *see, void *user);

/* Whether `right` is true of a layer and of all inside, wherever else these have places. */
bool rbe_layer_holds_only(rbe_layer *layer, rbe_layer_visitor *right, void *user);

/* Gives a layer and all inside the model that they are a part of; NULL: none. */
void rbe_layer_set_owner(rbe_layer *layer, const rbe_model *owner);

/* ---- kinds --------------------------------------------------------------------------------------------------- */

/* The type of this kind; NULL if there is none. */
const rbe_layer_type *rbe_layer_type_of(const char *kind);

extern const rbe_layer_type rbe_dense_type, rbe_linear_type, rbe_dropout_type, rbe_sequential_type, rbe_residual_type,
    rbe_repeat_type, rbe_bag_type, rbe_rms_norm_type, rbe_layer_norm_type, rbe_embedding_type, rbe_positions_type,
    rbe_unembedding_type, rbe_attention_type, rbe_block_type;

/* The n-th type of a storable operation; NULL past the last. */
const rbe_layer_type *rbe_operation_type(size_t n);

/* "relu, gelu, .. or log_softmax" */
const char *rbe_operation_kinds(char *text, size_t size);

/* What a reader and a writer are to the library's own layers: the methods of what stores them. */
struct rbe_writer {
    rbe_status (*number)(rbe_writer *self, const char *name, double value);
    rbe_status (*text)(rbe_writer *self, const char *name, const char *value);
};

struct rbe_reader {
    rbe_status (*number)(rbe_reader *self, const char *name, double least, double most, bool whole, double *value);
    const char *(*text)(rbe_reader *self, const char *name);
    size_t (*values)(const rbe_reader *self, const char *part);
    rbe_status (*matrix)(rbe_reader *self, const char *part, size_t rows, size_t columns);
    rbe_status (*blocks)(rbe_reader *self, size_t in, size_t out, rbe_blocks **blocks);
    void (*repeats)(rbe_reader *self, size_t times); /* what is inside runs so often */
    rbe_status (*fail)(const rbe_reader *self, rbe_status status, const char *text);
};

/* Options that decide results: they go into a writer, or are compared with what a reader has (rbe_read_same_number), so
 * that one list serves both. */
typedef struct rbe_sameness {
    rbe_writer *writer; /* NULL: compare */
    rbe_reader *reader;
} rbe_sameness;

rbe_status rbe_same_number(rbe_sameness s, const char *name, double now);
rbe_status rbe_same_text(rbe_sameness s, const char *name, const char *now);
rbe_status rbe_same_seed(rbe_sameness s, const char *name, uint64_t now); /* as a text: all 64 bits */

/* The options "in" and "out". */
rbe_status rbe_layer_write_widths(const rbe_layer *layer, rbe_writer *writer);
rbe_status rbe_layer_read_widths(rbe_reader *reader, size_t *in, size_t *out);

#endif
