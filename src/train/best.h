/* The best of all epochs: which it was, its model in a file, and when there has been none for too long. */
#ifndef RBE_TRAIN_BEST_H
#define RBE_TRAIN_BEST_H

#include "rbe/train.h"
#include "train/checksum.h"

typedef struct rbe_best {
    const rbe_fit_options *options;
    rbe_evaluation evaluation; /* count 0: there was none */
    size_t epoch;
    size_t epochs_since; /* that were not better */
    rbe_checksum file;   /* of its model, for checkpoints; 0 bytes: none */
    bool doubtful;       /* the file is another one than the checkpoint says */
} rbe_best;

/* Compares an epoch with the best so far; the model of a better one is saved, if there is a path. Fails as
 * rbe_model_save does; the epoch is the best all the same. */
rbe_status rbe_best_judge(rbe_best *best, const rbe_model *model, size_t epoch, const rbe_evaluation *found);

/* Of a training that goes on: IO_ERROR if there is no file where one was, INVALID_ARGUMENT if there is to be one and was
 * none. A file that differs is doubtful: it may be that of a later epoch. */
rbe_status rbe_best_look(rbe_best *best);

/* At the end: IO_ERROR if a doubtful file has not been replaced and is still another one. */
rbe_status rbe_best_confirm(const rbe_best *best);

/* Whether patience is at an end. */
bool rbe_best_is_over(const rbe_best *best);

#endif
