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
    size_t fc_count;  /* layers with parameters, for their names */
    size_t width;     /* of the values after the last stage; 0: not known yet */
    float *gradients; /* of rbe_model_gradients; NULL: not asked for yet */
    rbe_status status;
    char error[256];
    struct rbe_model_texts *texts; /* its metadata, in one piece of memory: io/metadata.c; NULL: none yet */
};

/* y = stage number n of x, as in rbe_model_forward: for what looks at the values between the stages. An operation
 * that gives no variable of x's tape fails on that tape, with its place in the text. */
rbe_var *rbe_model_stage_forward(const rbe_model *model, size_t n, rbe_var *x);

#endif
