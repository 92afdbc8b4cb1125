/* The inside of a tape, and what the operations of the library have beside rbe/op.h. */
#ifndef RBE_TENSOR_NODE_H
#define RBE_TENSOR_NODE_H

#include <stdint.h>

#include "base/arena.h"
#include "base/full.h"
#include "rbe/op.h"
#include "tensor/share.h"

/* What the tape keeps of a variable. Its operands' pointers stand behind it, in the same piece of memory. */
typedef struct rbe_record {
    rbe_var var;
    struct rbe_record *previous;    /* made before this one */
    const char *scope;              /* name of the layer that made it, or "" */
    rbe_backward_function backward; /* NULL for leaves */
    uintptr_t reach;                /* end of all gradients of parameters that its backward, or one that runs later, may
                                       write to */
    rbe_var *parents[];
} rbe_record;

/* Somebody who is told how far a backward pass has come: that it begins, which ends it if that fails, and whenever there are
 * more gradients of parameters that nothing will be added to, those from the address `reach` on. */
typedef struct rbe_watch {
    rbe_status (*begin)(void *user); /* NULL: nobody is told */
    void (*see)(void *user, uintptr_t reach);
    void *user;
} rbe_watch;

struct rbe_layer;   /* of rbe/nn.h */
struct rbe_context; /* of tensor/context.h */

struct rbe_tape {
    rbe_arena arena;
    size_t lasting; /* bytes of the arena, from its beginning, that hold variables, values and gradients */
    rbe_record *newest;
    rbe_status status;
    char error[256];
    bool inference;
    rbe_var *loss;      /* of the last rbe_backward */
    bool recycles;      /* gradients that a backward has passed on become memory for others */
    void *free_grads;   /* of such gradients: each begins with a pointer to the next and its bytes */
    bool drops_nothing; /* dropout does nothing, as in inference, but gradients are recorded */
    uint64_t seed;
    uint64_t draws;    /* random masks drawn since the tape was made: each has a stream of its own */
    rbe_share share;   /* of the batch whose samples the tape has: masks are those of the whole batch */
    const char *scope; /* of the layer now being applied */
    /* Told of the input of each layer that is applied; NULL: nobody is. */
    void (*see_layer)(void *user, const struct rbe_layer *layer, rbe_var *x);
    void *see_user;
    rbe_watch watch;
    uintptr_t told;              /* what it was told last */
    struct rbe_context *context; /* of a text that is read piece by piece; NULL: none */
    rbe_var inert;               /* what a failed operation returns */
};

/* RBE_OK, or fails with the tape's own error, so that what rbe_last_error says is the first one. */
rbe_status rbe_tape_report(const rbe_tape *tape);

/* rbe_node_has_parameters of an operation of which it is known that it writes to gradients before `end` only; those of
 * others may be anywhere. Likewise rbe_node_leaf. */
void rbe_node_writes_before(rbe_var *var, uintptr_t end);
rbe_var *rbe_node_leaf_before(rbe_tape *tape, const char *operation, rbe_tensor x, rbe_backward_function backward,
                              uintptr_t end);

/* For a backward that somebody watches: it will not write to gradients of parameters from the address `from` on any more,
 * though it goes on. */
static inline bool rbe_node_is_watched(const rbe_var *var) { return var->tape->watch.begin != NULL; }
void rbe_node_has_written(rbe_var *var, uintptr_t from);

/* rbe_backward, after which the gradients of leaves alone are there: it takes half the memory. */
rbe_status rbe_backward_frugal(rbe_var *loss);

/* Ids as an input of rows x columns floats, in the tape's memory: as embeddings take them. NULL gives NULL. */
rbe_var *rbe_input_ids(rbe_tape *tape, const int32_t *ids, size_t rows, size_t columns);

/* Scratch and other temporaries of the step. */
static inline rbe_arena *rbe_tape_arena(rbe_var *var) { return &var->tape->arena; }

#endif
