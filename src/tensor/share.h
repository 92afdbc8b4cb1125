/* Of several ranks each computes with its share of a batch: which samples of it those on a tape are. */
#ifndef RBE_TENSOR_SHARE_H
#define RBE_TENSOR_SHARE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct rbe_share {
    size_t first;   /* sample of the whole batch */
    size_t samples; /* 0: there is nobody to share with */
    bool idle;      /* no sample was left: there is one, of weight 0, to compute with */
} rbe_share;

/* Where something of `rows` rows begins in that of the whole batch; at 0 if samples do not have equally many of them. */
static inline size_t rbe_share_first_row(const rbe_share *share, size_t rows) {
    return share->samples > 0 && rows % share->samples == 0 ? share->first * (rows / share->samples) : 0;
}

#endif
