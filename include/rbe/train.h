/* rbe/train.h - losses, metrics, evaluation, prediction; a training step with hooks, and the loop over it.
 *
 *     rbe_fit_options options = {.epochs = 50, .patience = 5, .best_path = "best.safetensors"};
 *     RBE_TRY(rbe_dataset_split(&train, 200, &validation));
 *     RBE_TRY(rbe_fit(model, optim, &train, &validation, &options, &result));
 *     rbe_model *best = rbe_model_load("best.safetensors");
 *     RBE_TRY(rbe_predict(best, x, rows, y));
 *
 * A loop of your own is short:
 *
 *     rbe_step step = {.model = model, .optim = optim, .tape = rbe_tape_new(NULL)};
 *     rbe_batches *batches = rbe_batches_new(&train, 128, true, seed);
 *     rbe_batch batch;
 *     for (size_t epoch = 0; epoch < epochs; epoch++)
 *         for (rbe_batches_start(batches, epoch); rbe_batches_next(batches, &batch);)
 *             RBE_TRY(rbe_train_step(&step, &batch));
 *     rbe_batches_free(batches);
 *     rbe_tape_free(step.tape);
 *
 * and what a step does can be written out:
 *
 *     rbe_var *logits = rbe_model_forward(model, rbe_input(tape, batch.x));
 *     RBE_TRY(rbe_backward(rbe_cross_entropy(logits, batch.labels)));
 *     RBE_TRY(rbe_optim_step(optim));
 *     rbe_tape_reset(tape);
 */
#ifndef RBE_TRAIN_H
#define RBE_TRAIN_H

#include <stdio.h>

#include "rbe/checkpoint.h"
#include "rbe/comm.h"
#include "rbe/data.h"
#include "rbe/io.h"
#include "rbe/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- losses -------------------------------------------------------------------------------------------------- */

/* What training minimises: a variable of one value on `tape`, the mean of the losses of the batch's samples. With
 * batch->weights it is sum_i w_i l_i / sum_i w_i: a sample of weight 2 counts as two samples, one of weight 0 as none.
 * `output` is what the model gave for the batch. To fail, return NULL after rbe_fail or a call that failed: the
 * training ends with that failure, as with one of the tape. */
typedef rbe_var *(*rbe_loss_function)(void *user, rbe_tape *tape, rbe_var *output, const rbe_batch *batch);

/* Zeros mean the default: the cross-entropy for samples with labels, the mean squared error for samples with targets.
 * Samples with both, or with neither, have no default (INVALID_ARGUMENT). */
typedef struct rbe_loss {
    rbe_loss_function function;
    void *user; /* passed on */
} rbe_loss;

/* The losses of these names in rbe/tensor.h, weighted if the samples have weights. They do not use `user`.
 *
 * The cross-entropy takes one label for each row of outputs: label_width rows for a sample. INPUT_DIMENSION_MISMATCH
 * for another number of rows; INVALID_ARGUMENT, naming the row, for a label without a column, and for a model with a
 * single output. Outputs and targets of the mean squared error have one shape, rows x target_width. */
RBE_API rbe_var *rbe_loss_cross_entropy(void *user, rbe_tape *tape, rbe_var *output, const rbe_batch *batch);
RBE_API rbe_var *rbe_loss_mean_squared_error(void *user, rbe_tape *tape, rbe_var *output, const rbe_batch *batch);

/* ---- metrics ------------------------------------------------------------------------------------------------- */

/* What is reported beside the loss: sums over the batches, and a value computed from them. `add` adds a batch to the
 * sums, which begin as zeros; `loss` is the mean of this batch. It may fail, with a text as a callback of rbe_fit.
 * `value` computes the metric from the sums. A metric of your own is a struct that you fill in; it must live as long as
 * it is used. If several ranks share the batches, each adds up its own share, and the sums of all are merged. */
typedef struct rbe_metric {
    const char *name; /* in the log's header and the bar: letters, digits and _, at most 47 */
    bool higher_is_better;
    size_t sums, target_sums; /* how many sums there are: sums + target_sums * target_width */
    rbe_status (*add)(void *user, double *sums, const rbe_tensor *output, const rbe_batch *batch, double loss);
    double (*value)(void *user, const double *sums);
    void *user; /* passed on */

    /* If several ranks share the batches: merges `others`, the sums of other batches (perhaps of none), into `sums`;
     * `count` of each. NULL: adds them one by one. */
    void (*merge)(void *user, double *sums, const double *others, size_t count);
} rbe_metric;

/* error: share of labels at which the row of outputs is not largest, 0 .. 1; the default for samples with labels alone.
 * r2: 1 - sum (t - y)^2 / sum (t - mean t)^2 over all targets, each column with a mean of its own; 1 is perfect, 0 as
 * good as the mean, NaN if all targets are equal; the default for samples with targets alone.
 * perplexity: exp(loss). loss: no metric beside the loss; the default for any other samples.
 * Weights count in the loss and the perplexity; error and r2 take every sample once. */
RBE_API extern const rbe_metric *const rbe_metric_error;
RBE_API extern const rbe_metric *const rbe_metric_r2;
RBE_API extern const rbe_metric *const rbe_metric_perplexity;
RBE_API extern const rbe_metric *const rbe_metric_loss;

/* ---- evaluation ---------------------------------------------------------------------------------------------- */

typedef struct rbe_evaluation {
    double loss;              /* mean over the samples */
    double metric;            /* of the chosen metric; for rbe_metric_loss the loss */
    double error;             /* if the metric is rbe_metric_error: its value; else NaN */
    double error_uncertainty; /* its binomial standard error sqrt(e (1 - e) / n) for n labels; else NaN */
    size_t count;             /* samples */
} rbe_evaluation;

/* Zeros (and NULL) mean the defaults. */
typedef struct rbe_evaluate_options {
    size_t batch; /* samples at a time; default 128 */
    rbe_loss loss;
    const rbe_metric *metric; /* NULL: the one that the samples suggest */
} rbe_evaluate_options;

/* Runs the model over all samples without recording gradients. INVALID_ARGUMENT for bad data, as rbe_batches_new; the
 * statuses of the loss and the metric; NUMERICAL_INSTABILITY names the layer and operation of the first value that is
 * not finite; INSUFFICIENT_MEMORY. *evaluation is set only if RBE_OK is returned. */
RBE_API rbe_status rbe_evaluate_with(const rbe_model *model, const rbe_dataset *data,
                                     const rbe_evaluate_options *options, rbe_evaluation *evaluation);

/* The same with the default loss and metric, `batch` (at least 1) samples at a time. */
RBE_API rbe_status rbe_evaluate(const rbe_model *model, const rbe_dataset *data, size_t batch,
                                rbe_evaluation *evaluation);

/* ---- prediction ---------------------------------------------------------------------------------------------- */

/* y = model(x) in inference: x is rows x in, y rows x out, row-major, both yours; in is rbe_model_inputs(model), out
 * rbe_model_outputs(model). Rows are taken a few hundred at a time, so that the
 * memory needed does not grow with them; it is freed at the end. Several threads may call it at once with one model
 * that nobody changes. With 0 rows nothing is done; x and y may then be NULL.
 *
 * INVALID_ARGUMENT for NULL, for more rows than can be addressed, and for a model whose first layer takes rows of any
 * width, or that has no layer with widths; INPUT_DIMENSION_MISMATCH if the model's operations give another shape than
 * rows x out; NUMERICAL_INSTABILITY, naming row and column, for an input that is not finite; the same, naming the layer
 * and operation where it began, for an output that is not; INSUFFICIENT_MEMORY. y holds no result unless RBE_OK is
 * returned. */
RBE_API rbe_status rbe_predict(const rbe_model *model, const float *x, size_t rows, float *y);

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* Bytes that training will need, before it starts: parameters with their positions, gradients, the optimiser's state, a
 * step's activations and a batch of `batch` rows with a label each. Not included are the data set, the order of its
 * samples (4 bytes each), and what targets, weights, augmentation or a loss of your own take. For sequences of ids,
 * `features` is 1 and `batch` is their number times their length; a step needs less than the result, since few
 * gradients live at a time. On several ranks the backward pass of a compressed layer may take up to 16 MB more.
 * PTRDIFF_MAX for a batch that cannot be addressed. */
RBE_API size_t rbe_training_bytes(const rbe_model *model, const rbe_optim_method *method,
                                  const rbe_optim_options *options, size_t features, size_t batch);

/* ---- one step ------------------------------------------------------------------------------------------------ */

/* A training step, see below. */
typedef struct rbe_step rbe_step;

/* Any status but RBE_OK ends the step: rbe_train_step returns it. The text is the one that the hook recorded for it
 * (rbe_fail, or a call of the library that failed), else a general one. */
typedef rbe_status (*rbe_step_hook)(void *user, rbe_step *step);

/* What a step works on, which is yours; what it leaves behind; and how far a step of several batches has come. */
struct rbe_step {
    rbe_model *model;
    rbe_optim *optim;
    rbe_tape *tape; /* each call begins by resetting it */
    rbe_loss loss;
    size_t accumulate;    /* batches of a step; 0 means 1. May change when none waits. */
    rbe_step_hook on_sum; /* when the gradients of all batches, each times its batch's weight, have been added up and
                             not yet been divided by `weight`: it may add gradients of others, and their weight.
                             NULL: nothing */
    rbe_step_hook on_backward; /* when the step's gradients are complete, before they are clipped and used */
    rbe_step_hook on_step;     /* after the optimiser; gradients that it does not consume are still there */
    void *user;                /* of the hooks */

    /* Set by rbe_train_step; zeros before the first. */
    bool done;         /* this batch has completed a step */
    rbe_var *output;   /* of this batch; lives until the tape is reset */
    double batch_loss; /* of this batch: the mean */
    size_t waiting;    /* batches whose gradients wait for others */
    double weight;     /* of the samples in them */
};

/* Runs the model forward and backward on a batch. The last of `accumulate` batches completes the step: hooks, clipping,
 * optimiser. A step of several batches has the gradient that one batch of all their samples would have, up to rounding.
 * The first call after a completed step drops gradients that the optimiser has not consumed.
 *
 * On failure the parameters and the optimiser's state are as before, unless on_step failed, and all gradients are
 * dropped. NUMERICAL_INSTABILITY names the layer and the operation that first gave a value that is not finite, or the
 * parameter whose gradient is not. INVALID_ARGUMENT for a NULL step, batch, model, optimiser or tape. In a steady loop
 * nothing is allocated. */
RBE_API rbe_status rbe_train_step(rbe_step *step, const rbe_batch *batch);

/* ---- the fit loop -------------------------------------------------------------------------------------------- */

/* How far training is, for callbacks. */
typedef struct rbe_progress {
    size_t epoch, epochs;            /* epoch counts from 0 */
    size_t step, steps;              /* of the whole training; step counts from 0 */
    double batch_loss, batch_metric; /* of this step; in on_backward of the one before */
    double mean_loss, mean_metric;   /* of this epoch so far */
    float lr;
    double seconds;             /* since the start */
    const rbe_evaluation *test; /* at the end of an epoch, if there are test data; else NULL */
} rbe_progress;

/* Any status but RBE_OK ends the training: rbe_fit returns it. The text is the one that the callback recorded for it
 * (rbe_fail, or a call of the library that failed), else a general one. */
typedef rbe_status (*rbe_progress_callback)(void *user, const rbe_progress *progress);

/* Zeros (and NULL) mean the defaults.
 *
 * The log is a CSV file with a header line: kind,epoch,step,train_loss,train_error,test_loss,test_error,
 * test_error_uncertainty,learning_rate. With another metric, its name takes the place of "error", and there is no
 * uncertainty; without a metric there are only the losses. kind is "step" (the batch, or batches, of that step) or
 * "epoch" (means over the epoch, and the test columns, empty without test data); epoch counts from 1, step is the
 * number of steps done, errors are shares, 0 .. 1. The log contains no times, so two trainings of equal seed write the
 * same bytes, whatever the number of threads. Every row is written at once, but not synced.
 *
 * The best epoch is the one with the lowest loss on the test data; of equal ones the first. The test data are then
 * validation data: measure the model that you keep on other data. */
typedef struct rbe_fit_options {
    size_t epochs;         /* default 1 */
    size_t batch;          /* default 128 */
    size_t epoch_batches;  /* an epoch ends after so many; the next one has other samples; default: all samples */
    size_t accumulate;     /* batches of a step; default 1. The last step of an epoch may have fewer. */
    uint64_t seed;         /* order of the samples, dropout */
    rbe_schedule schedule; /* base 0: the optimiser's own rate; total 0: the length of this training */
    rbe_loss loss;
    const rbe_metric *metric; /* NULL: the one that the samples suggest */
    size_t patience;          /* training ends, with RBE_OK, after so many epochs without a better one; 0: never */
    const char *best_path;    /* file of the best model, saved when there is a better one (rbe/io.h); NULL: none */
    const rbe_save_options *best_save; /* how it is saved */
    bool best_by_metric;               /* the best epoch is that of the best metric, not of the lowest loss */
    const char *label;                 /* in front of the progress bar */
    FILE *progress;                    /* a bar with loss, metric and time left if it is a terminal, else a line per
                                          epoch; NULL: silence */
    const char *csv_path;              /* log: a row per `log_every` steps (0: none) and per epoch; NULL: none */
    size_t log_every;
    const rbe_routine *routines; /* run after each step, in their order; NULL: none (rbe/extend.h) */
    size_t routine_count;
    const rbe_augment_options *augment;       /* of the training's images (rbe/data.h), never the test's; NULL: none */
    const rbe_checkpoint_options *checkpoint; /* rbe/checkpoint.h; NULL: none */
    const volatile sig_atomic_t *stop;        /* not 0: end after this step, with STOPPED; a handler may set it */
    rbe_progress_callback on_backward; /* when a step's gradients are complete, before they are clipped and used */
    rbe_progress_callback on_step;     /* after each step and the routines */
    rbe_progress_callback on_epoch;    /* after each epoch, its evaluation, its row in the log and the best model */
    void *user;                        /* of the callbacks */
    const rbe_comm *comm;              /* this rank's end (rbe/comm.h); NULL: a single rank */
} rbe_fit_options;

typedef struct rbe_fit_result {
    rbe_evaluation train; /* loss and metric of the last epoch, measured while training */
    rbe_evaluation test;  /* after the last epoch; count 0 without test data */
    rbe_evaluation best;  /* after the best epoch; count 0 without test data */
    size_t best_epoch;    /* counts from 0 */
    size_t epochs;        /* done */
    size_t steps;         /* done */
    size_t resumed;       /* of these, done before the checkpoint from which this run went on */
    double seconds;       /* of training, without evaluation; with those of the runs before */
    double seconds_per_epoch;
} rbe_fit_result;

/* Trains: rbe_train_step over the batches of all epochs. The data are borrowed. test may be NULL, but not with patience
 * or best_path. Gradients that the optimiser does not consume can be used by on_step, and are dropped after it. If
 * patience ends the training, the model is that of the last epoch; the best one is in its file. `result` may be NULL;
 * it is filled in on failure, too, as far as the training came.
 *
 * NUMERICAL_INSTABILITY names the step, and the layer and operation that first gave a value that is not finite; the
 * parameters are then those before that step. If the evaluation finds the value first, the text names the epoch, and
 * the parameters are those after it. The log is complete up to the failure.
 *
 * INVALID_ARGUMENT for bad data (rbe_batches_new), for an optimiser that has none of the model's parameters (one that
 * has some of them trains those), for a bad schedule or metric, for one file under two of its names (checkpoint, best_path, csv_path), and for
 * what rbe_batches_augment and the loss refuse.
 * INPUT_DIMENSION_MISMATCH for test data of another width or number of classes than the training data.
 *
 * To resume from a checkpoint (rbe/checkpoint.h), whatever decides results must be as it was: model, optimiser,
 * routines, samples, augment, batch, epoch_batches, accumulate, seed, schedule, loss, metric and best_by_metric;
 * INVALID_ARGUMENT names what differs. The log is cut back to where it was then, and appended to: it must begin with
 * what had been written (INVALID_ARGUMENT; IO_ERROR if it is gone). If there was no log, a new one may begin; with
 * csv_path NULL it ends. The file of the best model must be there (IO_ERROR). If it is from a later epoch than the
 * checkpoint's, training reaches that epoch again; if the file is not that of the best epoch at the end, the status is
 * IO_ERROR. The number of epochs, patience, log_every, the callbacks and the number of threads may change. With a
 * schedule that ends (cosine), more epochs make another schedule.
 *
 * STOPPED, once `stop` is set: the checkpoint, if there is one, and the log are complete up to the last step.
 *
 * Several ranks (rbe/comm.h) call it at once, each with data, a model, an optimiser, routines and options of its own
 * that are made alike: INVALID_ARGUMENT names the first thing that differs from rank 0's - the library's version, the
 * model's layers or values, the optimiser, routines, samples, options. Every rank takes its share of each batch, in the
 * order that the seed gives the whole batch, and gets the gradients, losses and metrics of all. `batch` is that of all
 * ranks together, and at least as large as their number (INVALID_ARGUMENT). The test data are shared out in whole
 * batches. Dropout masks and augmented images are those that a single rank would have; sums differ from a single rank's
 * in their rounding. The same number of ranks gives the same bits. What uses the gradient at empty positions (growth)
 * sees that of all ranks.
 *
 * Only rank 0 writes the log, progress, checkpoints and the best model; the others' paths are not used. It also reads
 * the checkpoint, and gives it to the others: any number of ranks can resume from it. Callbacks, losses, metrics and
 * routines run on every rank, and must change the same things on each. If anything fails on one rank, the training ends
 * on all of them: each returns that rank's status, with its text after "rank N: ". `stop` on any rank stops all; a
 * checkpoint's `request` may be set on any, too. Checksums of the parameters are compared every 100 steps and after
 * each epoch: INVALID_ARGUMENT if they differ, which callbacks, or processors that round differently, may cause.
 *
 * The schedule sets the optimiser's rate before each step. A rate that a callback sets (rbe_optim_set_lr) is the
 * schedule's base from the next step on, or from this one if on_backward sets it: the rate is then that base times w
 * and s of rbe/optim.h. After the training, also after a failure, the optimiser's rate is the one that a callback set
 * last, else what it was before. */
RBE_API rbe_status rbe_fit(rbe_model *model, rbe_optim *optim, const rbe_dataset *train, const rbe_dataset *test,
                           const rbe_fit_options *options, rbe_fit_result *result);

#ifdef __cplusplus
}
#endif
#endif
