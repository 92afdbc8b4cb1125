/* What a layer is made of: a const method table and its parameters. */
#ifndef RBE_NN_LAYER_H
#define RBE_NN_LAYER_H

#include "rbe/nn.h"

#define RBE_MAX_PARAMS 3

typedef struct rbe_layer_type {
    const char *kind; /* "dense" */
    rbe_var *(*forward)(const rbe_layer *layer, rbe_var *x);
    /* Bytes a training step takes from the tape's arena for `rows` rows of `columns` values: output, gradients,
     * scratch. */
    size_t (*tape_bytes)(const rbe_layer *layer, size_t rows, size_t columns);
    size_t (*structure_bytes)(
        const rbe_layer *layer);       /* beside the parameters: positions, pointers. May be NULL. */
    void (*destroy)(rbe_layer *layer); /* frees what the layer owns beyond this struct; may be NULL */
} rbe_layer_type;

/* A layer's own struct begins with this one. Parameter values belong to the layer's own struct (destroy frees
 * them), gradients to rbe_layer_free. */
struct rbe_layer {
    const rbe_layer_type *type;
    char name[RBE_NAME_SIZE];
    bool named;        /* by its maker or by rbe_layer_set_name */
    size_t in, out;    /* 0: any */
    rbe_param *params; /* param_count, inside the layer's own struct: a const layer's gradients can be written */
    size_t param_count;
};

/* Checks the last dimension of x against layer->in; the inert variable, with the error on the tape, if it differs,
 * else NULL. */
rbe_var *rbe_layer_reject_input(const rbe_layer *layer, rbe_var *x);

/* Sets name and parameters' names "<layer>.<part>". */
void rbe_layer_name_params(rbe_layer *layer);

#endif
