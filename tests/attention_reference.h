/* Attention, rotary positions and gelu_tanh once more: in double precision, slow and plain on purpose. */
#ifndef RBE_TESTS_ATTENTION_REFERENCE_H
#define RBE_TESTS_ATTENTION_REFERENCE_H

#include "rbe/tensor.h"

/* A qkv tensor seen as sequences of places. */
typedef struct layout {
    size_t sequences, length, heads, width, head; /* head: width of one */
} layout;

layout layout_of(const rbe_tensor *qkv, size_t heads);

/* Where a query, key or value (part 0, 1, 2) of a head begins. */
size_t at(const layout *l, size_t sequence, size_t place, size_t part, size_t head);

double inner(const double *a, const double *b, size_t count);

/* y of qkv, and gx = d(g . y)/d(qkv) if g is not NULL. `masks`: factors of dropout, sequences x heads x length x
 * length; NULL: all are 1. */
void reference_attend(const layout *l, const double *qkv, const double *masks, double *y, const double *g, double *gx);

/* y = x with queries and keys turned; the first place is `first`. */
void reference_turn(const layout *l, double base, size_t first, const double *x, double *y);

double reference_gelu(double x);

#endif
