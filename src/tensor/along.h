/* A tensor seen along one of its dimensions: `before` x `extent` x `after` values. */
#ifndef RBE_TENSOR_ALONG_H
#define RBE_TENSOR_ALONG_H

#include "tensor/node.h"

typedef struct rbe_along {
    int dim; /* 0 .. dims - 1 */
    size_t before, extent, after;
} rbe_along;

/* Dimension `dim` of x; negative ones count from the last, -1. False, with the failure on the tape, if x has no such
 * dimension. */
static inline bool rbe_look_along(const char *operation, rbe_var *x, int dim, rbe_along *along) {
    const rbe_tensor *value = &x->value;
    const int own = dim < 0 ? dim + value->dims : dim;
    if (own < 0 || own >= value->dims) {
        char text[RBE_SHAPE_TEXT];
        rbe_tape_fail(x, RBE_INVALID_ARGUMENT, "%s: expected a dimension in %d .. %d of shape %s, found %d", operation,
                      -value->dims, value->dims - 1, rbe_shape_text(value, text), dim);
        return false;
    }
    *along = (rbe_along){.dim = own, .before = 1, .extent = value->shape[own], .after = 1};
    for (int d = 0; d < own; d++) along->before *= value->shape[d];
    for (int d = own + 1; d < value->dims; d++) along->after *= value->shape[d];
    return true;
}

#endif
