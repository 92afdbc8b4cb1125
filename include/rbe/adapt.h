/* rbe/adapt.h - compressed layers that change their positions: growth, pruning, block size, budgets, few bits.
 *
 * A call that changes the positions of a layer also moves its values, gradients and companions (an optimiser's state),
 * and frees memory that is no longer needed. Every call either succeeds or leaves the layer as it was. After such a
 * change, rbe_backward returns INVALID_ARGUMENT for a forward pass that was before it.
 */
#ifndef RBE_ADAPT_H
#define RBE_ADAPT_H

#include "rbe/extend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- growth -------------------------------------------------------------------------------------------------- */

/* Every `every` steps each compressed layer drops the given fraction of its coefficients, those of smallest |c|,
 * and grows as many at the empty positions where the loss's gradient is largest (summed in squares over the block
 * rows that share a position), list by list. Grown coefficients start at 0 with an optimiser's state of 0. The
 * number of values never changes.
 *
 *     fraction(step) = fraction (1 + cos(pi step / (stop steps))) / 2, none after stop * steps
 *
 * A layer whose coefficients are frozen, or which no optimiser trains or only at a rate of 0 (lr_scale, or the
 * optimiser's own), is left alone: positions and values stay.
 *
 * The gradient at empty positions comes from up to 128 rows of one batch, in a backward pass that the call of
 * rbe_growth_step before it has asked for. It is computed one block row at a time. A layer takes part in one growth
 * at a time; while that backward pass is due, rbe_sensitivity_add is refused (INVALID_ARGUMENT). */
typedef struct rbe_growth rbe_growth;

/* Zeros mean the defaults. */
typedef struct rbe_growth_options {
    size_t steps;    /* of the whole training; required */
    size_t every;    /* default 5 % of the steps, but within 10 .. 100; above 10,000 steps 1 % */
    double fraction; /* within (0, 1]; default 0.3 */
    double stop;     /* share of the steps after which positions stay; within (0, 1]; default 0.75 */
} rbe_growth_options;

/* A growth for all compressed layers of a model (INVALID_ARGUMENT if there is none). The model must outlive it. NULL on
 * failure. */
RBE_API rbe_growth *rbe_growth_new(rbe_model *model, const rbe_growth_options *options);
RBE_API void rbe_growth_free(rbe_growth *growth); /* NULL is allowed */

/* Call it after every step of the optimiser; `step` counts from 0. */
RBE_API rbe_status rbe_growth_step(rbe_growth *growth, size_t step);

/* The same for rbe_fit, with a state for checkpoints: whether an exchange is under way, and the counters.
 *     const rbe_routine grow = rbe_growth_routine(growth);
 *     rbe_fit_options options = {.routines = &grow, .routine_count = 1}; */
RBE_API rbe_routine rbe_growth_routine(rbe_growth *growth);

/* How many values have moved since the beginning, and how many exchanges there were. */
typedef struct rbe_growth_counters {
    size_t values;
    size_t exchanges;
} rbe_growth_counters;

/* Zeros for NULL. */
RBE_API rbe_growth_counters rbe_growth_count(const rbe_growth *growth);

/* A good group size for grown positions at a compression ratio, for rbe_linear_options.group. On MNIST at ratio 16 the
 * test error in groups of 1, 2, 4 and all 10 is 1.89, 1.93, 2.08 and 2.08 %. */
RBE_API size_t rbe_growth_group(double ratio);

/* ---- few bits ------------------------------------------------------------------------------------------------ */

/* Trains values that files hold in few bits. After each step of the optimiser, from number `from` (0, 1, ..) on, it
 * rounds the parameters that have bits to whole numbers of their steps (rbe_layer_set_bits). What the rounding takes
 * away is kept in a companion and added before the next rounding, so that small gradients add up. Forward passes, the
 * evaluation and the file have the same values, bit for bit. Growth and pruning may run, too; the quantiser is the last
 * of rbe_fit's routines.
 *
 * A good time to begin is half-way through a long training, and a quarter of the way through a short one.
 * docs/results.md says what bits cost: 4 bits at ratio 16 lose 0.03 to 0.1 points of test error, for an eighth of the
 * bytes of the file. */
typedef struct rbe_quantiser rbe_quantiser;

/* INVALID_ARGUMENT if no layer has bits. The model must outlive it. NULL on failure. */
RBE_API rbe_quantiser *rbe_quantiser_new(rbe_model *model, size_t from);
RBE_API void rbe_quantiser_free(rbe_quantiser *quantiser); /* values stay as they are; NULL is allowed */

/* Call it after every step of the optimiser, and after growth and pruning; `step` counts from 0. NUMERICAL_INSTABILITY
 * names the parameter and the value that is not finite; this parameter stays as it is. */
RBE_API rbe_status rbe_quantiser_step(rbe_quantiser *quantiser, size_t step);

/* The same for rbe_fit, with a state for checkpoints. */
RBE_API rbe_routine rbe_quantiser_routine(rbe_quantiser *quantiser);

/* ---- what the loss says about the coefficients --------------------------------------------------------------- */

/* Mean gradient and diagonal Fisher information F = mean of (d loss of one sample / d c)^2 of every stored coefficient,
 * over the samples added. It describes the model as it is while samples are added, so make a new one for each pruning:
 * once the positions of a layer have changed (growth, pruning, another block size), rbe_prune and rbe_sensitivity_add
 * refuse it (INVALID_ARGUMENT). */
typedef struct rbe_sensitivity rbe_sensitivity;

/* The model must outlive it. INVALID_ARGUMENT if there is no compressed layer. NULL on failure. */
RBE_API rbe_sensitivity *rbe_sensitivity_new(const rbe_model *model);
RBE_API void rbe_sensitivity_free(rbe_sensitivity *sensitivity); /* NULL is allowed */

/* Runs a batch forward and backward, without dropout, with the cross-entropy as its loss: x is rows x features, each
 * row a sample with one label. INVALID_ARGUMENT if gradients wait for an optimiser's step, since they would be lost. A
 * batch that fails adds nothing. */
RBE_API rbe_status rbe_sensitivity_add(rbe_sensitivity *sensitivity, rbe_tensor x, const int32_t *labels);

/* How many samples have been added. */
RBE_API size_t rbe_sensitivity_samples(const rbe_sensitivity *sensitivity);

/* ---- pruning ------------------------------------------------------------------------------------------------- */

typedef enum rbe_prune_score {
    RBE_PRUNE_MAGNITUDE, /* |c| */
    RBE_PRUNE_FISHER,    /* F c^2 / 2; needs a sensitivity */
    RBE_PRUNE_GRADIENT,  /* |c d loss / d c|; needs a sensitivity */
    RBE_PRUNE_RANDOM     /* as a control */
} rbe_prune_score;

typedef enum rbe_prune_by {
    RBE_PRUNE_FRACTION,  /* amount: share of the stored coefficients to remove, 0 .. 1 */
    RBE_PRUNE_THRESHOLD, /* amount: scores at or below it are removed; see `relative` */
    RBE_PRUNE_TO_BYTES   /* amount: bytes that rbe_model_describe_cost may count afterwards */
} rbe_prune_by;

/* Zeros mean the defaults; only `amount` has none. */
typedef struct rbe_prune_options {
    rbe_prune_score score;
    rbe_prune_by by;
    double amount;
    bool relative;  /* of a threshold for magnitudes: the amount is in units of each layer's root mean square, the
                       root of the mean of c^2 over all its stored coefficients; default: in units of c */
    bool per_layer; /* every layer loses the same share; default: ranked over the whole network */
    /* Default: an entry, that is all values of a group at one position, is judged as a whole (by the mean score; for
     * magnitudes by the root mean square), and its memory is freed. With single_values each value is judged by itself:
     * finer, but a group of 16 rows keeps the position, and a zero, as long as one row needs it. Not with
     * RBE_PRUNE_TO_BYTES. */
    bool single_values;
    bool no_absorption; /* alpha stays as it is */
    /* Instead of absorbing: samples of the model's inputs (rows x features, a few hundred to a few thousand). What is
     * kept - coefficients, alpha, bias - is then fitted to each layer's outputs for them, by least squares. Only for
     * whole entries and blocks that do not overlap. NULL: no refit. */
    const rbe_tensor *refit;
    const rbe_sensitivity *sensitivity;
    uint64_t seed; /* of random scores */
} rbe_prune_options;

typedef struct rbe_prune_report {
    size_t removed; /* coefficients that lost their position or became 0 */
    size_t values_before, values_after, bytes_before, bytes_after; /* of the model, by rbe_model_describe_cost */
    double removed_energy;                                         /* squared Frobenius norm of what W lost with them */
    double absorbed_energy; /* by how much absorption into alpha made that less */
} rbe_prune_report;

/* Removes coefficients that matter little. If a layer has alpha, it absorbs what W loses, as far as the smooth basis
 * can (exact least squares per block; not with overlapping blocks). The memory of removed values, positions, gradients
 * and companions is freed. Layers whose coefficients are frozen are left alone. A layer may lose all its coefficients:
 * alpha and bias remain. INVALID_ARGUMENT for options that are NULL or out of range, a model without a compressed layer
 * to prune, and a sensitivity that does not fit it; INSUFFICIENT_COMPRESSION, with both numbers, for a byte budget that
 * cannot be met even without any coefficients; INSUFFICIENT_MEMORY. On failure nothing has changed. `report` may be
 * NULL. */
RBE_API rbe_status rbe_prune(rbe_model *model, const rbe_prune_options *options, rbe_prune_report *report);

/* The same for one layer, by single values: removes |c| <= threshold. `removed` (or NULL) as in the report.
 * INVALID_ARGUMENT for a frozen layer or one of another kind. */
RBE_API rbe_status rbe_adaptive_coefficient_pruning(rbe_layer *layer, double threshold, size_t *removed);

/* Share of the coefficients that are gone after step number `step` (0, 1, ..) of a gradual pruning (Zhu and Gupta
 * 2017), or the threshold at that step:
 *     final (1 - (1 - u)^3),  u = (step + 1 - begin) / (end - begin) within [0, 1] */
RBE_API double rbe_prune_schedule(double final, size_t begin, size_t end, size_t step);

/* Pruning that goes on during a training. */
typedef struct rbe_gradual rbe_gradual;

/* By a share or by a threshold (prune.by). A relative threshold is in units of the layer's root mean square at each
 * step, in which coefficients that are already gone count as zeros: otherwise each step would raise the unit, and a
 * threshold of 1 would take everything in the end. */
typedef struct rbe_gradual_options {
    rbe_prune_options prune; /* score (magnitude or random), by, relative, per_layer, no_absorption, seed */
    double final;            /* share that is gone in the end, 0 .. 1; or the last threshold */
    size_t begin, end;       /* steps; begin < end <= SIZE_MAX / 2 */
    size_t every;            /* default: a twentieth of them */
} rbe_gradual_options;

/* The options are required and copied. The model must outlive it. INVALID_ARGUMENT for a bad option, and for a model
 * without a compressed layer. NULL on failure. */
RBE_API rbe_gradual *rbe_gradual_new(rbe_model *model, const rbe_gradual_options *options);
RBE_API void rbe_gradual_free(rbe_gradual *gradual); /* NULL is allowed */

/* Call it after every step of the optimiser, and before growth; `step` counts from 0. */
RBE_API rbe_status rbe_gradual_step(rbe_gradual *gradual, size_t step);

/* The same for rbe_fit, with a state for checkpoints: what the model held at the beginning. */
RBE_API rbe_routine rbe_gradual_routine(rbe_gradual *gradual);

/* ---- budgets ------------------------------------------------------------------------------------------------- */

/* The widths of a layer. */
typedef struct rbe_layer_shape {
    size_t in, out;
} rbe_layer_shape;

/* Divides `values` among `count` layers in proportion to in + out (Mocanu et al. 2018), at most in * out each, and
 * writes their shares to budgets[0 .. count - 1]. What a layer cannot use goes to the others, and what no layer can use
 * is left over. (In proportion to in * out a narrow last layer would get too few.) INSUFFICIENT_COMPRESSION if a layer
 * would get none. An in * out that no size_t holds counts as SIZE_MAX; the widths are at least 1 and must add up to
 * less (INVALID_ARGUMENT). */
RBE_API rbe_status rbe_budget_values(const rbe_layer_shape *shapes, size_t count, size_t values, size_t *budgets);

/* Finds the largest number of values, least .. most, for which `measure` reports at most `bytes`: the size of a file,
 * say (rbe_model_stored_bytes). Bytes must not fall as values rise. INSUFFICIENT_COMPRESSION, with both numbers, if
 * `least` is too many; a failure of the callback ends the search and is returned. */
RBE_API rbe_status rbe_budget_fit(size_t bytes, size_t least, size_t most,
                                  rbe_status (*measure)(void *user, size_t values, size_t *bytes), void *user,
                                  size_t *values);

/* ---- block size ---------------------------------------------------------------------------------------------- */

/* Zeros (and NULL) mean the defaults. */
typedef struct rbe_tune_options {
    const size_t *blocks; /* to try, 8 .. 256; default 32, 64, 128, 256. At most RBE_TUNE_MAX - 1 combinations */
    size_t block_count;
    const size_t *groups; /* default: the layer's */
    size_t group_count;
    const rbe_transform *const *transforms; /* of both axes; default: the layer's */
    size_t transform_count;
    double memory, speed, accuracy; /* weights of the scores, >= 0; all 0: 0.3, 0.4, 0.3 */
    const float *weights;           /* out x in: the matrix that is to be compressed; default: what the layer holds */
    size_t rounds;                  /* of timing; default 15 */
} rbe_tune_options;

/* One form of the layer. Each of the three scores is free of units, and 1 for the best candidate:
 *     memory    least bytes / bytes
 *     speed     least seconds / seconds
 *     accuracy  share of the output's energy that is right, max(0, 1 - error^2), over that of the best candidate
 *     score     their mean, weighted */
typedef struct rbe_tune_candidate {
    size_t block, group;
    const rbe_transform *row_transform, *column_transform;
    size_t bytes;   /* rbe_layer_describe_cost */
    double seconds; /* of the forward product of the samples: median, all candidates in turn */
    double error;   /* ||Y - Y'|| / ||Y|| of the samples' outputs, without bias; Y from the matrix to be compressed */
    double memory_score, speed_score, accuracy_score, score;
} rbe_tune_candidate;

/* The most candidates. */
#define RBE_TUNE_MAX 64

typedef struct rbe_tune_report {
    rbe_tune_candidate candidates[RBE_TUNE_MAX]; /* the first one is the layer as it was given */
    size_t count;
    size_t chosen;
} rbe_tune_report;

/* Compresses the layer again with other block sizes and as many values, judges each form by `samples` (count x in), and
 * keeps the form with the best score. The score never falls, since the layer itself is a candidate. A candidate for
 * which the budget is too small is left out. Optimisers that were made for the layer do not fit it afterwards.
 * INVALID_ARGUMENT (no samples, negative weights, ...), NUMERICAL_INSTABILITY (with the place of a sample that is not
 * finite), INSUFFICIENT_MEMORY: then the layer is as before. `report` may be NULL. */
RBE_API rbe_status rbe_optimize_block_size(rbe_layer *layer, const float *samples, size_t count,
                                           const rbe_tune_options *options, rbe_tune_report *report);

/* Whether the compressed layer is worth it. */
typedef struct rbe_autotune_report {
    double seconds, dense_seconds; /* of a forward product of that many rows: medians, measured in turn */
    bool dense_is_faster;
    size_t crossover; /* least batch, of 1, 2, 4 .. rows, from which on the compressed layer is faster; 0: none */
} rbe_autotune_report;

/* Times a compressed layer against a dense one of its shape, for batches of 1, 2, 4 .. rows. rows >= 1; the report is
 * required. */
RBE_API rbe_status rbe_linear_autotune(const rbe_layer *layer, size_t rows, rbe_autotune_report *report);

#ifdef __cplusplus
}
#endif
#endif
