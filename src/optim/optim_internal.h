/* What an optimiser is made of: a const method table and a list of parameters, whose companions are its state. */
#ifndef RBE_OPTIM_INTERNAL_H
#define RBE_OPTIM_INTERNAL_H

#include <float.h>
#include <math.h>

#include "rbe/optim.h"

/* A parameter and, during a step, what the method remembers about it. */
typedef struct rbe_optim_slot {
    rbe_param *param;
    size_t arrays;                     /* companions that it has got */
    float *state[RBE_OPTIM_MAX_STATE]; /* NULL beyond the method's state arrays */
} rbe_optim_slot;

struct rbe_optim {
    const rbe_optim_method *method;
    rbe_optim_options options; /* defaults filled in; lr is the present one */
    bool lr_is_own;            /* set by rbe_optim_set_lr since rbe_optim_schedule_lr */
    rbe_optim_slot *slots;
    size_t count;
    size_t arrays;   /* that the method keeps for each parameter */
    size_t steps;    /* done */
    float grad_norm; /* of the last step, before clipping */
};

/* Whether the parameter is one of the optimiser's. Either may be NULL: false. */
bool rbe_optim_has(const rbe_optim *optim, const rbe_param *param);

/* The parameters that are not in the buffer of rbe_model_gradients and have a gradient, one after the other: *n begins as
 * 0. NULL at the end. */
rbe_param *rbe_optim_next_beside(const rbe_optim *optim, size_t *n);

/* Sets the rate of the next step, as a schedule has it. What a user sets with rbe_optim_set_lr is told apart by
 * `lr_is_own`. INVALID_ARGUMENT as there. */
rbe_status rbe_optim_schedule_lr(rbe_optim *optim, float lr);

/* Where gradients stay zero (a dead unit, a constant pixel) averages of them decay into the subnormal numbers, which many
 * processors handle far more slowly, and rounding keeps them there for ever. */
static inline float rbe_flush_subnormal(float x) { return fabsf(x) < FLT_MIN ? 0.0f : x; }

#endif
