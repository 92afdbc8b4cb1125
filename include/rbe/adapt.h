/* rbe/adapt.h - compressed layers that change their positions: growth, pruning, block size, budgets.
 *
 * Whatever changes the positions of a layer moves its values, gradients and the optimiser's moments along with
 * them; memory that is no longer needed is freed. Every call either does its work or leaves the layer as it was.
 */
#ifndef RBE_ADAPT_H
#define RBE_ADAPT_H

#include "rbe/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- growth ---------------------------------------------------------------------------------------------------
 */

/* Every `every` steps each compressed layer drops the given fraction of its coefficients, those of smallest |c|,
 * and grows as many at the empty positions where the loss's gradient is largest (summed in squares over the block
 * rows that share a position), list by list. Grown coefficients start at 0 with moments of 0. The number of values
 * never changes.
 *
 *     fraction(step) = fraction (1 + cos(pi step / (stop steps))) / 2, none after stop * steps
 *
 * The gradient at empty positions comes from one batch: the backward pass between the two calls of rbe_growth_step
 * that surround it. It is computed one block row at a time. */
typedef struct rbe_growth rbe_growth;

/* Zeros mean the defaults. */
typedef struct rbe_growth_options {
    size_t steps;    /* of the whole training; required */
    size_t every;    /* default 2 % of the steps, but within 10 .. 100 */
    double fraction; /* within (0, 1]; default 0.3 */
    double stop;     /* share of the steps after which positions stay; within (0, 1]; default 0.75 */
} rbe_growth_options;

/* For all compressed layers of a model (INVALID_ARGUMENT if there is none). Model and optimiser must outlive it.
 * NULL on failure. */
RBE_API rbe_growth *rbe_growth_new(rbe_model *model, rbe_optim *optim, const rbe_growth_options *options);
RBE_API void rbe_growth_free(rbe_growth *growth); /* NULL is allowed */

/* To be called after the optimiser's step number `step` (0, 1, ...), each time. As a callback of rbe_fit:
 *     static rbe_status grow(void *growth, const rbe_progress *p) { return rbe_growth_step(growth, p->step); } */
RBE_API rbe_status rbe_growth_step(rbe_growth *growth, size_t step);

/* Values that have changed their position since the beginning, and how often there was an exchange. */
typedef struct rbe_growth_counters {
    size_t values;
    size_t exchanges;
} rbe_growth_counters;

RBE_API rbe_growth_counters rbe_growth_count(const rbe_growth *growth);

/* The group size that grown positions want at a compression ratio: sharing costs nothing measurable at moderate
 * ratios, but the more a single list entry weighs the less. For rbe_linear_options.group. */
RBE_API size_t rbe_growth_group(double ratio);

#ifdef __cplusplus
}
#endif
#endif
