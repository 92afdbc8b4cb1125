/* The best of all epochs: which it was, its model in a file, and when there has been none for too long. */
#ifndef RBE_TRAIN_BEST_H
#define RBE_TRAIN_BEST_H

#include "rbe/train.h"

typedef struct rbe_best {
    const rbe_fit_options *options;
    rbe_evaluation evaluation; /* count 0: there was none */
    size_t epoch;
    size_t epochs_since; /* that were not better */
} rbe_best;

/* Compares an epoch with the best so far; the model of a better one is saved, if there is a path. Fails as
 * rbe_model_save does; the epoch is the best all the same. */
rbe_status rbe_best_judge(rbe_best *best, const rbe_model *model, size_t epoch, const rbe_evaluation *found);

/* Whether patience is at an end. */
bool rbe_best_is_over(const rbe_best *best);

#endif
