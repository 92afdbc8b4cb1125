/* rbe/checkpoint.h - saves and restores everything that decides how a training goes on.
 *
 * With rbe_fit it is three lines (rbe/train.h):
 *
 *     rbe_checkpoint_options keep = {.path = "run.checkpoint", .every_steps = 500, .resume = true};
 *     rbe_fit_options options = {.epochs = 50, .checkpoint = &keep};
 *     RBE_TRY(rbe_fit(model, optim, &train, &test, &options, &result));
 *
 * Started again after a crash, the program makes the same model, optimiser and options as before; the training goes on
 * where the file was written, in the middle of an epoch if need be, and ends with the bits of one that was never
 * interrupted. For a loop of your own there are the functions at the end.
 */
#ifndef RBE_CHECKPOINT_H
#define RBE_CHECKPOINT_H

#include <signal.h>

#include "rbe/extend.h"
#include "rbe/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- checkpoints of rbe_fit ---------------------------------------------------------------------------------- */

/* When and where rbe_fit saves, and whether it resumes from there. Zeros mean the defaults.
 *
 * It saves after a step (after the optimiser, all routines and on_step) if one of the options asks for it, and always
 * at the end of the training and when it is asked to stop. Without `every_steps`, `every_minutes` and `every_epoch` it
 * saves after each epoch. Minutes are those of a clock that does not jump.
 *
 * A checkpoint that cannot be written (IO_ERROR, INSUFFICIENT_MEMORY: a full disk, a folder that has vanished) does not
 * end the training: the warning handler is told (rbe/base.h), the previous checkpoint stays, and the next one is tried
 * when it is due. Only if it is the last one, at the end or for `stop`, does rbe_fit return its status. */
typedef struct rbe_checkpoint_options {
    const char *path; /* required */
    size_t keep;      /* files: the newest is `path`, those before it path.1, path.2, .. (beside the file that a link
                          leads to); default 1 */
    size_t every_steps;
    double every_minutes;
    bool every_epoch;
    volatile sig_atomic_t
        *request; /* a handler or a callback sets it to 1: save after this step; rbe_fit sets it to 0 */

    /* Go on from `path`. If there is no file, training begins afresh (rbe_fit_result.resumed is 0). It also does
     * without `resume`, and then the first checkpoint replaces that of an older training. IO_ERROR if there is a path.1
     * but no `path`, and or_before is not set. */
    bool resume;
    bool or_before; /* if it is damaged or missing, from path.1, path.2, .. */
} rbe_checkpoint_options;

/* ---- checkpoints of a loop of your own ----------------------------------------------------------------------- */

/* What a checkpoint saves, all of which is yours:
 *     of every parameter of the model, and of those that the optimiser has beside it: the values, positions, companions
 *         (moments, averages), frozen, lr_scale, and the rate of the last step
 *     of the optimiser: its steps and rate
 *     of every routine: its state
 * and, to be compared, how layers are arranged, their kinds, widths and options, the optimiser's method and options,
 * the names of parameters and routines, and the version of the library.
 *
 * Save whatever else decides your loop's next step by a routine of your own: the epoch and the batch
 * (rbe_batches_skip), the masks of dropout that have been drawn (rbe_tape_draws). */
typedef struct rbe_checkpoint {
    rbe_model *model;
    rbe_optim *optim;            /* NULL: none */
    const rbe_routine *routines; /* for which the order says nothing; NULL if there are none */
    size_t routine_count;
} rbe_checkpoint;

/* Writes the file, atomically: whatever happens, `path` is the old file or the new one, whole and on the disk. The old
 * one stays as path.1, what was path.1 as path.2, until there are `keep` files (0 means 1). Takes about as much memory
 * as positions and alphas, which is freed.
 *
 * To be called between two steps, after rbe_growth_step: INVALID_ARGUMENT while gradients wait for the optimiser (see
 * rbe_zero_grad) or candidates for growth; and for routines of equal names. NUMERICAL_INSTABILITY names a value that is
 * not finite: of a training that has failed there is nothing to save. IO_ERROR; INSUFFICIENT_MEMORY. */
RBE_API rbe_status rbe_checkpoint_save(const rbe_checkpoint *checkpoint, const char *path, size_t keep);

/* Reads it into a model, an optimiser and routines that were made as the stored ones were made at their beginning:
 * however positions have moved or been pruned since, they become the stored ones.
 *
 * INVALID_ARGUMENT, naming what differs, for a checkpoint of another model, optimiser or routine, or of another version
 * of the library; BAD_FORMAT for a file that is damaged or none; IO_ERROR; INSUFFICIENT_MEMORY. On failure everything
 * is as it was. */
RBE_API rbe_status rbe_checkpoint_load(const rbe_checkpoint *checkpoint, const char *path);

#ifdef __cplusplus
}
#endif
#endif
