/* The inside of the compressed layer, for the rooms that store it and change its positions. */
#ifndef RBE_NN_LINEAR_H
#define RBE_NN_LINEAR_H

#include <stdatomic.h>

#include "base/arena.h"
#include "kernels/kernels.h"
#include "nn/layer.h"

typedef struct rbe_linear_layer rbe_linear_layer;

/* Watches the backward passes of a layer: sees the rows of the core product's input and of its output's gradient. The
 * tape's arena is for scratch.
 */
typedef struct rbe_linear_probe {
    rbe_status (*see)(void *user, const rbe_linear_layer *layer, const float *x, const float *dy, size_t rows,
                      rbe_tape *tape);
    void *user;
} rbe_linear_probe;

struct rbe_linear_layer {
    rbe_layer base;
    rbe_param params[RBE_MAX_PARAMS]; /* coefficients; then alpha and bias, those that there are */
    rbe_param *alpha, *bias;          /* NULL without */
    rbe_blocks *blocks;
    rbe_plan *plan;
    float usual_rate;    /* the lr_scale of coefficients and alphas that nobody has set otherwise */
    uint64_t generation; /* rises whenever the lists are replaced: what was made for other positions can tell */
    bool use_cache;
    size_t batch_threshold; /* that the layer was made with; 0: the plan's own */
    rbe_linear_probe probe; /* see NULL: none */
    struct rbe_linear_counts {
        atomic_uint_fast64_t operations, flops, fallbacks;
    } counted;
    struct rbe_linear_counts *count; /* &counted, writable from a const layer */
};

/* NULL if the layer is of another kind, or NULL. */
rbe_linear_layer *rbe_layer_as_linear(const rbe_layer *layer);

/* To be called after the blocks, their positions or their array of values have been replaced: parameters point to
 * them again, and the generation rises. Gradients and companions are dropped if the count has changed; rates follow it, those that a user
 * has set in proportion. */
void rbe_linear_blocks_changed(rbe_linear_layer *layer);

/* Exchanges the contents of the layer's matrix with those of one of the same geometry, for which the plan holds as
 * well; then rbe_linear_blocks_changed. */
void rbe_linear_exchange_blocks(rbe_linear_layer *layer, rbe_blocks *blocks);

#endif
