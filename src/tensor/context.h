/* What attention remembers while a text is read or written piece by piece: the keys and values of all places so far, of
 * each attention of a model in the order in which a forward pass meets them.
 */
#ifndef RBE_TENSOR_CONTEXT_H
#define RBE_TENSOR_CONTEXT_H

#include "tensor/node.h"

typedef struct rbe_context {
    size_t places, capacity; /* that are remembered; room */
    size_t width, attentions;
    size_t next;   /* attention of this pass */
    float *memory; /* of each attention: capacity x width keys, then as many values */
} rbe_context;

/* Places before those of this pass: 0 without a context. */
static inline size_t rbe_context_places(const rbe_tape *tape) { return tape->context ? tape->context->places : 0; }

static inline size_t rbe_context_floats(const rbe_context *c) { return 2 * c->attentions * c->capacity * c->width; }

/* Attention of the places of one sequence to themselves and to all that the tape's context remembers, in inference; it
 * remembers them too. Shapes as rbe_attention. */
rbe_var *rbe_attention_in_context(rbe_var *qkv, size_t heads);

#endif
