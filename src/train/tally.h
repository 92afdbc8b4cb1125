/* Running sums of loss and wrong answers over batches: what an epoch's means and an evaluation are made of. */
#ifndef RBE_TRAIN_TALLY_H
#define RBE_TRAIN_TALLY_H

#include "rbe/train.h"

typedef struct rbe_tally {
    double loss;         /* sum over the samples */
    size_t wrong, count; /* samples */
} rbe_tally;

/* Adds one batch: its mean loss, and how many rows of `logits` are not largest at their label. */
void rbe_tally_add(rbe_tally *tally, const rbe_var *loss, const rbe_var *logits, const rbe_batch *batch);

/* Means, with the error's binomial uncertainty; zeros for no samples. */
rbe_evaluation rbe_tally_result(const rbe_tally *tally);

#endif
