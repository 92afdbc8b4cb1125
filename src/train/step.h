/* What the fit loop shares with a step. */
#ifndef RBE_TRAIN_STEP_H
#define RBE_TRAIN_STEP_H

#include "rbe/train.h"

/* The status of a callback that ended something. The text is the callback's own if it has recorded that status since
 * there were `failures` of this thread; else it is `what` and the status. */
rbe_status rbe_callback_failed(rbe_status status, size_t failures, const char *what);

#endif
