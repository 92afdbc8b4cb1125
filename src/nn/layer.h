/* What a layer is made of: a const method table and its parameters. */
#ifndef RBE_NN_LAYER_H
#define RBE_NN_LAYER_H

#include "nn/param.h"

#define RBE_MAX_PARAMS 3

typedef struct rbe_layer_type {
    const char *kind; /* "dense" */
    rbe_var *(*forward)(const rbe_layer *layer, rbe_var *x);
    /* Bytes that a training step keeps in the tape's arena for `rows` rows of `columns` values: outputs and
     * gradients. */
    size_t (*tape_bytes)(const rbe_layer *layer, size_t rows, size_t columns);
    /* Bytes that one product takes on top and gives back. May be NULL: none. */
    size_t (*scratch_bytes)(const rbe_layer *layer, size_t rows);
    size_t (*structure_bytes)(const rbe_layer *layer); /* beside the parameters: positions, pointers. May be NULL. */
    size_t (*table_bytes)(const rbe_layer *layer);     /* constants of its products, not stored. May be NULL. */
    void (*destroy)(rbe_layer *layer);                 /* frees what the layer owns beyond this struct; may be NULL */
    size_t (*dense_bytes)(const rbe_layer *layer);     /* what the dense layer in its place takes. May be NULL: as much
                                                          as the layer itself, which compresses nothing. */
} rbe_layer_type;

/* A layer's own struct begins with this one and is one piece of rbe_alloc. Parameter values belong to the layer's
 * own struct (destroy frees them), gradients to rbe_layer_free. */
struct rbe_layer {
    const rbe_layer_type *type;
    char name[RBE_NAME_SIZE];
    bool named; /* by rbe_layer_set_name; otherwise a model names it by its place */
    bool has_bias;
    const rbe_model *owner; /* the model that it is a part of, and that frees it; NULL: none */
    size_t in, out;         /* 0: any */
    rbe_param *params;      /* inside the layer's own struct: the gradients of a const layer can be written */
    size_t param_count;
};

/* A name that holds until the layer gets one of its own or a place in a model. */
void rbe_layer_set_default_name(rbe_layer *layer, const char *name);

/* INVALID_ARGUMENT, with the kind of layer in its text, unless both widths are 1 .. 2^24. */
rbe_status rbe_layer_check_size(const char *kind, size_t in, size_t out);

/* Bytes that a layer holds beside parameters, positions and gradients: its struct and its tables. */
size_t rbe_layer_table_bytes(const rbe_layer *layer);

/* Allocates the gradients of all parameters that are trained and have none yet. */
rbe_status rbe_layer_require_grads(const rbe_layer *layer);

/* Whether any parameter is not frozen: only then does the layer take part in a backward pass for its own sake. */
bool rbe_layer_is_trained(const rbe_layer *layer);

/* The probability of a dropout layer; false for another kind. */
bool rbe_dropout_probability(const rbe_layer *layer, float *probability);

#endif
