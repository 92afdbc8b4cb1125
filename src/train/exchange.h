/* The sum of all ranks' gradients, which begins while the backward pass goes on.
 *
 * The layout of a model's buffer of gradients and the number of ranks alone say how it is cut into pieces, so all ranks have
 * the same ones. They are summed one after the other from the end of the buffer: the gradients of the last layers are
 * complete first. Where the transport allows it (rbe_comm.background), a thread of each rank calls it while the rank
 * computes; else the pieces are summed at the end. Bits do not depend on it.
 */
#ifndef RBE_TRAIN_EXCHANGE_H
#define RBE_TRAIN_EXCHANGE_H

#include <pthread.h>
#include <stdint.h>

#include "rbe/train.h"

enum { RBE_MOST_PIECES = 17 };

typedef struct rbe_piece {
    float *values;
    size_t count;
} rbe_piece;

typedef struct rbe_exchange {
    const rbe_comm *comm;
    rbe_model *model;
    size_t least; /* floats of a piece, but for the last one, at the begin of the buffer; none has twice as many */
    size_t left;  /* floats of the buffer, from the first on, that are in no piece yet */
    size_t begins, untouched; /* parameters, from the first on: those that begin there, and that lie there wholly */
    rbe_piece pieces[RBE_MOST_PIECES]; /* of which `ready` may be summed */
    /* ---- of the mutex, where there is a thread */
    size_t ready, done;
    rbe_status status; /* of the first sum that failed: there are no others then */
    char text[256];
    bool over; /* the thread shall end */
    /* ---- */
    bool has_thread;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
} rbe_exchange;

/* For a transport, which is borrowed; NULL: for none, and nothing below is called but free. A thread that cannot be made is
 * no failure: ranks need not be alike in it. */
void rbe_exchange_make(rbe_exchange *exchange, const rbe_comm *comm);
void rbe_exchange_free(rbe_exchange *exchange);

/* Before a forward pass, of this rank alone: the gradients of the model will be summed. */
rbe_status rbe_exchange_prepare(rbe_exchange *exchange, rbe_model *model);

/* Nothing will be added to gradients from the address `reach` on. Cannot fail. */
void rbe_exchange_advance(rbe_exchange *exchange, uintptr_t reach);

/* Sums what is left. The first failure of the transport, which is that of all ranks. Once it has returned, another call of
 * the transport may follow. */
rbe_status rbe_exchange_finish(rbe_exchange *exchange);

#endif
