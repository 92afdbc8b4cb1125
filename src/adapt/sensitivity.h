/* The inside of the sensitivities, for pruning. */
#ifndef RBE_ADAPT_SENSITIVITY_H
#define RBE_ADAPT_SENSITIVITY_H

#include "nn/linear.h"
#include "rbe/adapt.h"

/* Sums over all samples seen, in the layout of blocks->values. */
typedef struct rbe_layer_sensitivity {
    rbe_linear_layer *layer;
    size_t value_count;   /* of the layer when this was made, */
    uint64_t generation;  /* and of its lists */
    float *squares;       /* of the gradient of one sample's loss */
    float *gradient;      /* of one sample's loss */
    float *batch_squares; /* of the batch at hand alone, until its backward pass has come to its end */
    double scale;         /* of the batch at hand: its samples, which its mean loss divides by */
} rbe_layer_sensitivity;

struct rbe_sensitivity {
    const rbe_model *model;
    rbe_layer_sensitivity *layers;
    size_t count;
    size_t samples;
};

/* That of a layer; NULL, with the error recorded, if there is none, no sample was seen, or the layer's positions
 * have changed since. */
const rbe_layer_sensitivity *rbe_sensitivity_of(const rbe_sensitivity *s, const rbe_linear_layer *layer);

#endif
