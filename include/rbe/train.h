/* rbe/train.h - a training loop with evaluation, log, progress bar and callbacks. A loop of one's own is short:
 *
 *     rbe_tape *t = rbe_tape_new(NULL);
 *     rbe_batches *batches = rbe_batches_new(&train, 128, true, seed);
 *     rbe_batch batch;
 *     for (size_t epoch = 0; epoch < epochs; epoch++)
 *         for (rbe_batches_start(batches, epoch); rbe_batches_next(batches, &batch); rbe_tape_reset(t)) {
 *             rbe_var *logits = rbe_model_forward(model, rbe_input(t, batch.x));
 *             RBE_TRY(rbe_backward(rbe_cross_entropy(logits, batch.labels)));
 *             RBE_TRY(rbe_optim_step(optim));
 *         }
 *     rbe_batches_free(batches);
 *     rbe_tape_free(t);
 */
#ifndef RBE_TRAIN_H
#define RBE_TRAIN_H

#include <stdio.h>

#include "rbe/data.h"
#include "rbe/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- evaluation ---------------------------------------------------------------------------------------------- */

typedef struct rbe_evaluation {
    double loss;              /* mean cross-entropy */
    double error;             /* share of wrong answers, 0 .. 1 */
    double error_uncertainty; /* its binomial standard error sqrt(e (1 - e) / n) */
    size_t count;             /* n samples */
} rbe_evaluation;

/* Runs the model over all samples, `batch` at a time, without recording gradients. */
RBE_API rbe_status rbe_evaluate(const rbe_model *model, const rbe_dataset *data, size_t batch,
                                rbe_evaluation *evaluation);

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* Bytes that training will need, before it starts: parameters with their positions, gradients, the optimiser's
 * state, a step's activations and a batch of `batch` rows. Without the data set and the order in which its samples
 * are taken, 4 bytes each. PTRDIFF_MAX for a batch that cannot be addressed. */
RBE_API size_t rbe_training_bytes(const rbe_model *model, const rbe_optim_method *method,
                                  const rbe_optim_options *options, size_t features, size_t batch);

/* ---- the fit loop -------------------------------------------------------------------------------------------- */

/* Where training stands, for callbacks. */
typedef struct rbe_progress {
    size_t epoch, epochs;           /* epoch counts from 0 */
    size_t step, steps;             /* of the whole training; step counts from 0 */
    double batch_loss, batch_error; /* of this step */
    double mean_loss, mean_error;   /* of this epoch so far */
    float lr;
    double seconds;             /* since the start */
    const rbe_evaluation *test; /* at the end of an epoch, if there are test data; else NULL */
} rbe_progress;

/* Called after each step and after each epoch. Any status but RBE_OK ends training: rbe_fit returns it, with the text
 * that the callback recorded for it (rbe_fail, or a call of the library that failed), else with a general one. */
typedef rbe_status (*rbe_progress_callback)(void *user, const rbe_progress *progress);

/* Zeros mean the defaults; so does a NULL pointer to it.
 *
 * The log is a CSV file with a header line: kind,epoch,step,train_loss,train_error,test_loss,test_error,
 * test_error_uncertainty,learning_rate. kind is "step" (that batch) or "epoch" (means over the epoch, and the test
 * columns, empty without test data); epoch counts from 1, step is the number of steps done, errors are shares. It
 * holds no time: two trainings of equal seed write the same bytes, whatever the number of threads. Every row is
 * handed to the system at once (not synced). */
typedef struct rbe_fit_options {
    size_t epochs;         /* default 1 */
    size_t batch;          /* default 128 */
    uint64_t seed;         /* order of the samples, dropout */
    rbe_schedule schedule; /* base 0: the optimiser's own rate; total 0: the length of this training */
    const char *label;     /* in front of the progress bar */
    FILE *progress;        /* a bar with loss, error and time left if it is a terminal, else a line per epoch;
                              NULL: silence */
    const char *csv_path;  /* log: a row per `log_every` steps (0: none) and per epoch; NULL: none */
    size_t log_every;
    rbe_progress_callback on_step, on_epoch;
    void *user;
} rbe_fit_options;

typedef struct rbe_fit_result {
    rbe_evaluation train; /* loss and error of the last epoch, measured while training */
    rbe_evaluation test;  /* after the last epoch; count 0 without test data */
    double seconds;       /* training, without evaluation */
    double seconds_per_epoch;
    size_t steps; /* steps done */
} rbe_fit_result;

/* Trains. test may be NULL. Gradients that the optimiser does not consume can be used by on_step, and are dropped after
 * it. NUMERICAL_INSTABILITY names the step, the layer and the operation that first gave a
 * value that is not finite; the parameters are then those before that step. If the evaluation finds it first, it
 * names the epoch, and the parameters are those after it. The log is complete up to the failure.
 *
 * INVALID_ARGUMENT for an optimiser of none of the model's parameters (one of a part of them trains that part), for a
 * schedule that is none, and for a model of one output, of which a cross-entropy says nothing.
 *
 * The schedule sets the optimiser's rate before each step. A rate that a callback sets (rbe_optim_set_lr) is the
 * schedule's base from the next step on: the rate is then that base times w and s of rbe/optim.h. Whatever happens,
 * the optimiser's rate is afterwards the one that a callback set last, else what it was before. */
RBE_API rbe_status rbe_fit(rbe_model *model, rbe_optim *optim, const rbe_dataset *train, const rbe_dataset *test,
                           const rbe_fit_options *options, rbe_fit_result *result);

#ifdef __cplusplus
}
#endif
#endif
