/* What an optimiser is made of: a const method table, and for every parameter its state arrays. */
#ifndef RBE_OPTIM_INTERNAL_H
#define RBE_OPTIM_INTERNAL_H

#include <float.h>
#include <math.h>

#include "rbe/optim.h"

#define RBE_OPTIM_MAX_STATE 2

/* A parameter and what the method remembers about it: for each of its values one float in every state array. sgd
 * with momentum: m. adam and adamw: m, v. */
typedef struct rbe_optim_slot {
    rbe_param *param;
    float *state[RBE_OPTIM_MAX_STATE]; /* NULL beyond the method's state arrays */
} rbe_optim_slot;

struct rbe_optim_method {
    const char *name;
    size_t (*state_arrays)(const rbe_optim_options *options);
    /* Changes the parameter's values by its gradient; optim->steps counts this step already. */
    void (*update)(const rbe_optim *optim, const rbe_optim_slot *slot);
    bool keeps_squares; /* of gradients, as floats */
};

struct rbe_optim {
    const rbe_optim_method *method;
    rbe_optim_options options; /* defaults filled in; lr is the present one */
    bool lr_is_own;            /* set by rbe_optim_set_lr since rbe_optim_schedule_lr */
    rbe_optim_slot *slots;
    size_t count;
    size_t steps;    /* done */
    float grad_norm; /* of the last step, before clipping */
};

/* Whether the parameter is one of the optimiser's. Either may be NULL: false. */
bool rbe_optim_has(const rbe_optim *optim, const rbe_param *param);

/* Whether a step would change it: it is one of the optimiser's, and its rate is not 0. */
bool rbe_optim_trains(const rbe_optim *optim, const rbe_param *param);

/* Sets the rate of the next step, as a schedule has it. What a user sets with rbe_optim_set_lr is told apart by
 * `lr_is_own`. INVALID_ARGUMENT as there. */
rbe_status rbe_optim_schedule_lr(rbe_optim *optim, float lr);

/* State array number `which` of a parameter, as long as the parameter; NULL if the method keeps no such array, the
 * parameter is not the optimiser's, or its count has changed without the optimiser (whose next step says so). */
float *rbe_optim_state(rbe_optim *optim, const rbe_param *param, int which);

/* Puts `state`, of the library's memory, in the place of that array, which is freed: after the parameter's count
 * has changed. */
void rbe_optim_replace_state(rbe_optim *optim, const rbe_param *param, int which, float *state);

/* Where gradients stay zero (a dead unit, a constant pixel) moments decay into the subnormal numbers, which many
 * processors handle far more slowly, and rounding keeps them there for ever. */
static inline float rbe_flush_subnormal(float x) { return fabsf(x) < FLT_MIN ? 0.0f : x; }

#endif
