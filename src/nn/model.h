/* The inside of a model, for the rooms that store and change models. */
#ifndef RBE_NN_MODEL_H
#define RBE_NN_MODEL_H

#include "nn/layer.h"

/* One of the two is set. */
typedef struct rbe_stage {
    rbe_layer *layer;
    rbe_var *(*operation)(rbe_var *);
} rbe_stage;

struct rbe_model {
    rbe_stage *stages;
    size_t count, capacity;
    size_t fc_count; /* layers with parameters, for their names */
    size_t width;    /* of the values after the last stage; 0: not known yet */
    rbe_status status;
    char error[256];
};

#endif
