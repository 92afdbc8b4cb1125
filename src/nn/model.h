/* The inside of a model, for the rooms that store and change models. */
#ifndef RBE_NN_MODEL_H
#define RBE_NN_MODEL_H

#include "nn/layer.h"

struct rbe_model {
    rbe_layer *root;               /* a sequential layer, whose name is empty */
    size_t fc_count;               /* layers with parameters in it, for their names */
    float *gradients;              /* of rbe_model_gradients; NULL: not asked for yet */
    struct rbe_model_texts *texts; /* its metadata, in one piece of memory: io/metadata.c; NULL: none yet */
    rbe_status status;
    char error[256];
};

#endif
