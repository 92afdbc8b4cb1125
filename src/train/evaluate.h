/* An evaluation that the ranks of a training share. */
#ifndef RBE_TRAIN_EVALUATE_H
#define RBE_TRAIN_EVALUATE_H

#include "train/team.h"

/* rbe_evaluate_with, with the same result on all ranks. They meet at its end, unless this one fails before. */
rbe_status rbe_evaluate_by(rbe_team *team, const rbe_model *model, const rbe_dataset *data,
                           const rbe_evaluate_options *options, rbe_evaluation *evaluation);

#endif
