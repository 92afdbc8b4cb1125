/* rbe/checkpoint.h - saves and restores everything that decides how a training goes on.
 *
 * With rbe_fit it is three lines (rbe/train.h):
 *
 *     rbe_checkpoint_options keep = {.path = "run.checkpoint", .every_steps = 500, .resume = true};
 *     rbe_fit_options options = {.epochs = 50, .checkpoint = &keep};
 *     RBE_TRY(rbe_fit(model, optim, &train, &test, &options, &result));
 *
 * After a crash, start the program again: it makes the same model, optimiser and options as before, and the training
 * goes on where the file was written, in the middle of an epoch if need be. It ends with the same bits as a training
 * that was never interrupted. For a loop of your own there are the functions at the end.
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
 * saves after each epoch. Minutes are measured by a clock that does not jump.
 *
 * A checkpoint that cannot be written (IO_ERROR, INSUFFICIENT_MEMORY: a full disk, a folder that has vanished) does not
 * end the training: the warning handler is told (rbe/base.h), the previous checkpoint stays, and the next one is tried
 * when it is due. rbe_fit returns the status only if the last one fails, at the end or for `stop`: the model is
 * trained then, so save it all the same. */
typedef struct rbe_checkpoint_options {
    const char *path; /* required */
    size_t keep;      /* files: the newest is `path`, those before it path.1, path.2, .. (beside the file that a link
                          leads to); default 1 */
    size_t every_steps;
    double every_minutes;
    bool every_epoch;
    volatile sig_atomic_t
        *request; /* a handler or a callback sets it to 1: save after this step; rbe_fit sets it to 0 */

    /* true: go on from `path`. If there is no file, training begins afresh (rbe_fit_result.resumed is 0). IO_ERROR if
     * there is a path.1 but no `path`, and or_before is false. false: begin afresh; the first checkpoint replaces that
     * of an older training. */
    bool resume;
    bool or_before; /* with resume: if `path` is damaged or missing, go on from path.1, path.2, .. */
} rbe_checkpoint_options;

/* ---- checkpoints of a loop of your own ----------------------------------------------------------------------- */

/* What a checkpoint saves, all of which is yours:
 *     of every parameter of the model, and of others that the optimiser trains: the values, positions, companions
 *         (moments, averages), frozen, lr_scale, and the rate of the last step
 *     of the optimiser: its steps and rate
 *     of every routine: its state
 * and, to be compared when it is loaded: how layers are arranged, their kinds, widths and options, the optimiser's
 * method and options, the names of parameters and routines, and the version of the library.
 *
 * Whatever else decides the next step of your loop, save it by a routine of your own: the epoch and the batch
 * (rbe_batches_skip), and how many dropout masks have been drawn (rbe_tape_draws). */
typedef struct rbe_checkpoint {
    rbe_model *model;
    rbe_optim *optim;            /* NULL: none */
    const rbe_routine *routines; /* for which the order says nothing; NULL if there are none */
    size_t routine_count;
} rbe_checkpoint;

/* Writes the file atomically: whatever happens, `path` is the old file or the new one, whole and on the disk. The old
 * file becomes path.1, the old path.1 becomes path.2, and so on, until there are `keep` files (0 means 1). The call
 * takes about as much memory as positions and alphas, and frees it.
 *
 * Call it between two steps, after rbe_growth_step: INVALID_ARGUMENT while gradients wait for the optimiser (see
 * rbe_zero_grad) or candidates wait for growth; also for two routines of one name. NUMERICAL_INSTABILITY names a value
 * that is not finite: a training that has failed has nothing to save. IO_ERROR; INSUFFICIENT_MEMORY. */
RBE_API rbe_status rbe_checkpoint_save(const rbe_checkpoint *checkpoint, const char *path, size_t keep);

/* Loads a file into a model, an optimiser and routines that were made in the same way as those at the beginning of the
 * saved training. Positions become the stored ones, however they moved or were pruned before it was saved.
 *
 * INVALID_ARGUMENT, naming what differs, for a checkpoint of another model, optimiser or routine, or of another version
 * of the library; BAD_FORMAT for a file that is damaged or no checkpoint; IO_ERROR; INSUFFICIENT_MEMORY. On failure
 * everything is as it was. */
RBE_API rbe_status rbe_checkpoint_load(const rbe_checkpoint *checkpoint, const char *path);

#ifdef __cplusplus
}
#endif
#endif
