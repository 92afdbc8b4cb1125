/* rbe/optim.h - optimisers, learning-rate schedules, gradient clipping.
 *
 * An optimiser is one loop over a flat list of parameters. For a parameter p with gradient g, and its own rate
 * r = lr * p.lr_scale:
 *   sgd    u = g + decay p;  m = momentum m + u;  p -= r (nesterov ? u + momentum m : m)
 *   adam   u = g + decay p;  m = b1 m + (1-b1) u;  v = b2 v + (1-b2) u^2;  p -= r m' / (sqrt v' + eps),
 *          m' = m / (1 - b1^t), v' = v / (1 - b2^t)                   (Kingma and Ba 2015)
 *   adamw  as adam with u = g, and also p -= lr decay p               (Loshchilov and Hutter 2019)
 * `decay` is 0 for parameters that do not decay. A parameter of lr_scale 0 stays as it is, with m and v.
 */
#ifndef RBE_OPTIM_H
#define RBE_OPTIM_H

#include "rbe/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An optimiser, and its method: a constant table, see the end. */
typedef struct rbe_optim rbe_optim;
typedef struct rbe_optim_method rbe_optim_method;

/* The methods that the library has. */
RBE_API extern const rbe_optim_method *const rbe_sgd;
RBE_API extern const rbe_optim_method *const rbe_adam;
RBE_API extern const rbe_optim_method *const rbe_adamw;

/* "sgd", "adam", "adamw"; NULL, with an error text that lists the names, for another. */
RBE_API const rbe_optim_method *rbe_optim_method_named(const char *name);

/* Zeros (and NULL) mean the defaults. */
typedef struct rbe_optim_options {
    float lr;           /* > 0; default 1e-3 */
    float momentum;     /* sgd: 0 <= momentum < 1; default 0 */
    bool nesterov;      /* sgd: needs momentum > 0 */
    float weight_decay; /* >= 0; default 0 */
    float beta1, beta2; /* adam, adamw: below 1; 0: the default, 0.9 and 0.999 */
    float epsilon;      /* adam, adamw: > 0; default 1e-8 */
    float clip_norm;    /* > 0: gradients of all parameters are scaled to at most this joint norm; 0: never */
} rbe_optim_options;

/* An optimiser for the parameters of a model, whose gradients it allocates in one buffer (rbe_model_gradients). Its
 * state lives in companions of the parameters (rbe/nn.h), so a parameter has one optimiser of a method at a time:
 * INVALID_ARGUMENT for a second. The model must outlive it. The options are copied. NULL on failure: INVALID_ARGUMENT
 * for an option out of range or a model without parameters; INSUFFICIENT_MEMORY. */
RBE_API rbe_optim *rbe_optim_new(const rbe_optim_method *method, rbe_model *model, const rbe_optim_options *options);

/* The same for a list of different parameters, which is copied; the parameters must outlive it. */
RBE_API rbe_optim *rbe_optim_new_for(const rbe_optim_method *method, rbe_param *const *params, size_t count,
                                     const rbe_optim_options *options);
RBE_API void rbe_optim_free(rbe_optim *optim); /* and its state; NULL is allowed */

/* One step: clips, updates every parameter that is not frozen and whose gradient is set, and consumes the gradients.
 * NUMERICAL_INSTABILITY, naming the parameter, if a gradient is not finite, or for adam and adamw if it is beyond 1e19
 * after clipping: its square would not fit in a float. INVALID_ARGUMENT, naming the parameter, if the optimiser's state
 * no longer fits it (rbe_optimize_block_size makes another matrix), or its lr_scale is not finite. On failure nothing
 * is changed. */
RBE_API rbe_status rbe_optim_step(rbe_optim *optim);

/* Sets the rate from the next step on: finite, >= 0 (INVALID_ARGUMENT). In a callback of rbe_fit it is the new base of
 * the schedule (the rate itself, if the schedule is constant). */
RBE_API rbe_status rbe_optim_set_lr(rbe_optim *optim, float lr);

/* The rate that was set; within rbe_fit, the rate of the last step. */
RBE_API float rbe_optim_lr(const rbe_optim *optim);

/* Euclidean norm of all gradients together at the last step, before clipping. */
RBE_API float rbe_optim_grad_norm(const rbe_optim *optim);

/* Bytes of optimiser state that `values` trained values take: one float each for sgd with momentum, two for adam and
 * adamw. SIZE_MAX for more than can be counted. */
RBE_API size_t rbe_optim_state_bytes(const rbe_optim_method *method, const rbe_optim_options *options, size_t values);

/* Scales the gradients of `count` different parameters so that their joint Euclidean norm is at most `limit` (> 0), and
 * writes the norm before clipping to *norm (or NULL). Gradients that are not set or belong to frozen parameters do not
 * count. g = (30, 40) with limit 5 becomes (3, 4). NUMERICAL_INSTABILITY, naming the parameter, if a gradient is not
 * finite; nothing is changed then. */
RBE_API rbe_status rbe_clip_global_norm(rbe_param *const *params, size_t count, float limit, float *norm);

/* ---- schedules ----------------------------------------------------------------------------------------------- */

/* How the learning rate changes. */
typedef enum rbe_schedule_kind { RBE_CONSTANT, RBE_STEP, RBE_COSINE } rbe_schedule_kind;

/* lr(step) = base * w * s, with w = min(1, (step + 1) / warmup) (linear warm-up; 1 without) and
 *   constant  s = 1
 *   step      s = factor^floor(step / every)
 *   cosine    s = floor + (1 - floor) (1 + cos(pi u)) / 2, u = (step - warmup) / (total - warmup) within [0, 1]
 */
typedef struct rbe_schedule {
    rbe_schedule_kind kind;
    float base;    /* in rbe_fit, 0: the optimiser's own rate */
    size_t total;  /* cosine: steps of the whole training */
    size_t warmup; /* steps */
    size_t every;  /* step: steps between two drops; 0: none */
    float factor;  /* step; default 0.1 */
    float floor;   /* cosine: the last rate as a share of base */
} rbe_schedule;

/* lr(step); step counts from 0. A cosine needs `total`; rbe_fit fills it in if it is 0. */
RBE_API float rbe_schedule_lr(const rbe_schedule *schedule, size_t step);

/* The kind of that name, "constant", "step" or "cosine"; false, with an error text that lists the names, for
 * another. */
RBE_API bool rbe_schedule_kind_named(const char *name, rbe_schedule_kind *kind);

/* ---- a method of your own ------------------------------------------------------------------------------------ */

/* The most state arrays of a method. */
#define RBE_OPTIM_MAX_STATE 4

/* A constant table, which you pass to rbe_optim_new like rbe_adam; it must outlive the optimiser. rbe_optim_new refuses
 * a table (INVALID_ARGUMENT) without a name, state_arrays or update, or with more state arrays than names. */
struct rbe_optim_method {
    const char *name;
    const char *state[RBE_OPTIM_MAX_STATE]; /* names of the companions that it keeps: "adam.m" */
    /* How many of them it keeps with these options. */
    size_t (*state_arrays)(const rbe_optim_options *options);
    /* Changes param->value and state[0 ..] by param->grad, all of param->count floats; states begin as zeros. The
     * options have their defaults filled in, also those of adam, and options->lr is the present rate. Apply
     * lr * param->lr_scale, and a decay of 0 unless param->decays. step counts from 1. Only called for parameters that
     * are trained. */
    void (*update)(const rbe_optim_options *options, size_t step, rbe_param *param, float *const *state);
    bool keeps_squares; /* the state holds squares of gradients, so gradients beyond 1e19 are refused */
};

#ifdef __cplusplus
}
#endif
#endif
