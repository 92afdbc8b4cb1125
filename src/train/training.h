/* A training that runs: what the fit loop, its checkpoints and their state share. */
#ifndef RBE_TRAIN_TRAINING_H
#define RBE_TRAIN_TRAINING_H

#include "train/best.h"
#include "train/log.h"
#include "train/progress.h"
#include "train/tally.h"
#include "train/team.h"

/* When the last checkpoint was, and of what. */
typedef struct rbe_keeper {
    rbe_checkpoint checkpoint; /* its routines are the user's and the training's own */
    rbe_routine *routines;
    size_t steps, epoch; /* at the last attempt */
    bool saved;          /* the last attempt was a success */
    bool damaged;        /* what is at the path: it must not take the place of one that is whole */
    double seconds;      /* of the clock, at the last attempt */
} rbe_keeper;

typedef struct rbe_training {
    rbe_team team;
    rbe_exchange *exchange; /* elsewhere: a thread looks at it, and a checkpoint takes the place of all that is here */
    rbe_note told;          /* what came of the last meeting after a step or an epoch */
    rbe_step step;          /* step.tape is NULL between epochs */
    const rbe_batch *batch; /* that the step works on */
    bool idle;              /* it is none of this rank's */
    const rbe_dataset *train, *test;
    rbe_checksum train_sum, test_sum; /* of their arrays, for checkpoints */
    rbe_fit_options options;          /* defaults filled in; schedule.base is that which a callback set last */
    float given_base;                 /* of the schedule at the beginning */
    float own_rate;                   /* of the optimiser, outside of this training */
    rbe_progress progress;            /* progress.epoch is the one that is trained, or the next */
    rbe_tally of_step, of_epoch;
    rbe_evaluation last_test;
    rbe_best best;
    rbe_log_file log;
    rbe_checksum log_written; /* where the log goes on; 0 bytes: it begins */
    rbe_bar bar;
    rbe_keeper keeper;
    size_t steps_done, epochs_done, resumed;
    size_t batches_done; /* of progress.epoch */
    uint64_t draws;      /* masks of dropout, of progress.epoch, that a run before has drawn */
    bool in_callback;    /* the step failed in on_backward */
    double start, epoch_start, training_seconds;
} rbe_training;

/* Batches and steps of an epoch of so many samples. */
size_t rbe_epoch_batches(const rbe_fit_options *options, size_t samples);
size_t rbe_steps_per_epoch(const rbe_fit_options *options, size_t samples);

/* What a callback has set with rbe_optim_set_lr is the schedule's new base, and the optimiser's own rate from now on. */
void rbe_training_take_rate(rbe_training *training);

/* Everything but parameters, optimiser and the user's routines, as one; and of it what all ranks must have alike, to be
 * written alone: fit_state.c. */
rbe_routine rbe_training_routine(rbe_training *training);
rbe_routine rbe_training_identity(rbe_training *training);

/* Whether all ranks train the same: alike.c. They meet. INVALID_ARGUMENT names what differs. */
rbe_status rbe_training_compare(rbe_training *training);

/* ---- several ranks: fit_ranks.c ------------------------------------------------------------------------------ */

/* Counts training->batch in the means of the step. Fails as the metric does. */
rbe_status rbe_training_count(rbe_training *training);

/* Before the last batch of a step: what happens in its backward pass. */
rbe_status rbe_training_watch(rbe_training *training);

/* The hook on_sum of a step: makes the gradients, their weight, and loss and metric of the step those of all ranks, which
 * meet. */
rbe_status rbe_training_join(void *training, rbe_step *step);

/* All ranks have done the same, and hear what any of them has been asked. `compare`: their parameters must be the same. One
 * rank does nothing. */
rbe_status rbe_training_meet(rbe_training *training, bool compare);

/* Whether any rank has been asked to stop, as far as this one knows. */
bool rbe_training_is_asked(const rbe_training *training);

/* ---- checkpoints as the options want them: keep.c ------------------------------------------------------------ */

/* Checks the options, and goes on from a checkpoint if they say so; ranks meet then. rbe_keep_free is due in any case. */
rbe_status rbe_keep_start(rbe_training *training);
void rbe_keep_free(rbe_training *training);

/* After a step, after an epoch: saves if that is due. Fails where there is more wrong than a disk or short memory. */
rbe_status rbe_keep_step(rbe_training *training);
rbe_status rbe_keep_epoch(rbe_training *training);

/* Whether somebody has asked for a checkpoint; then takes note of it. */
bool rbe_keep_requested(const rbe_training *training);

/* At the end: saves what has not been saved. Fails as rbe_checkpoint_save does. */
rbe_status rbe_keep_last(rbe_training *training);

#endif
