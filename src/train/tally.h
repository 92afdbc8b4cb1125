/* Running sums of loss and metric over batches: what an epoch's means and an evaluation are made of. */
#ifndef RBE_TRAIN_TALLY_H
#define RBE_TRAIN_TALLY_H

#include "train/team.h"

typedef struct rbe_tally {
    const rbe_metric *metric;
    double loss, weight; /* sum of the samples' losses, each times its weight, and of the weights */
    size_t count;        /* samples */
    size_t label_width;  /* labels of a sample; 0 without */
    double *sums;        /* of the metric; NULL if it has none */
    size_t sum_count;
    double *of_ranks; /* room for those of all ranks; NULL for one */
} rbe_tally;

/* The metric that is wanted, or that the data suggest. INVALID_ARGUMENT for one that is not as rbe/train.h says. */
rbe_status rbe_metric_choose(const rbe_metric **metric, const rbe_dataset *data);

/* A tally of nothing, of batches of `data` that so many ranks share, to be freed by rbe_tally_free in any case. INSUFFICIENT_MEMORY. */
rbe_status rbe_tally_new(rbe_tally *tally, const rbe_metric *metric, const rbe_dataset *data, size_t ranks);
void rbe_tally_free(rbe_tally *tally);

/* Forgets all batches. */
void rbe_tally_clear(rbe_tally *tally);

/* Adds one batch, of the given mean loss. Fails as the metric does. */
rbe_status rbe_tally_add(rbe_tally *tally, const rbe_var *output, const rbe_batch *batch, double loss);

/* Adds all that another tally of the same metric and data has. */
void rbe_tally_merge(rbe_tally *tally, const rbe_tally *other);

/* Every rank's tally becomes that of all: the ranks meet. */
rbe_status rbe_tally_join(rbe_tally *tally, rbe_team *team);

/* Means, and the error's binomial uncertainty; zeros for no samples. */
rbe_evaluation rbe_tally_result(const rbe_tally *tally);

#endif
