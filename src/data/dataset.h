/* What every room asks of a data set that a user may have filled in. */
#ifndef RBE_DATA_DATASET_H
#define RBE_DATA_DATASET_H

#include "rbe/data.h"

/* INVALID_ARGUMENT, beginning with `who`, unless the data set is one as rbe/data.h describes it, of at least one sample
 * (what labels, tokens and targets hold is not looked at). NULL is refused. */
rbe_status rbe_dataset_check(const char *who, const rbe_dataset *data);

/* Labels of a sample that has some. */
static inline size_t rbe_label_width(const rbe_dataset *data) { return data->label_width ? data->label_width : 1; }

#endif
