/* What every room asks of a data set that a user may have filled in. */
#ifndef RBE_DATA_DATASET_H
#define RBE_DATA_DATASET_H

#include "rbe/data.h"

/* INVALID_ARGUMENT, beginning with `who`, unless the data set is one as rbe/data.h describes it, of at least one sample
 * (what labels, tokens and targets hold is not looked at). NULL is refused. */
rbe_status rbe_dataset_check(const char *who, const rbe_dataset *data);

/* Labels of a sample that has some. */
static inline size_t rbe_label_width(const rbe_dataset *data) { return data->label_width ? data->label_width : 1; }

/* Places between the tokens, or labels, of two samples that have `width` each; and all of `count` samples. */
static inline size_t rbe_stride(const rbe_dataset *data, size_t width) { return data->stride ? data->stride : width; }

static inline size_t rbe_places(const rbe_dataset *data, size_t width) {
    return data->count > 0 ? (data->count - 1) * rbe_stride(data, width) + width : 0;
}

/* Rows that a sample becomes in a model: the places of a sequence of ids. */
static inline size_t rbe_row_places(const rbe_dataset *data) { return data->tokens ? data->features : 1; }

#endif
