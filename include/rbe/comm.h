/* rbe/comm.h - ranks: processes, or threads, that train one model together.
 *
 * Every rank runs the same program on the same data, with a model and an optimiser of its own that are made alike, and
 * hands its rbe_comm to rbe_fit:
 *
 *     rbe_comm *comm = rbe_comm_mpi_new();
 *     RBE_TRY(rbe_fit(model, optim, &train, &test, &(rbe_fit_options){.comm = comm}, &result));
 *     rbe_comm_mpi_free(comm);
 *
 * Each rank computes with its share of every batch, and gradients are summed over all ranks before they are used. The
 * gradient of a compressed layer is as small as the layer: nothing is encoded, and the sum is exact up to rounding.
 *
 * To use another transport, fill in an rbe_comm of your own.
 */
#ifndef RBE_COMM_H
#define RBE_COMM_H

#include <stdbool.h>

#include "rbe/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The most ranks that rbe_fit accepts. */
#define RBE_COMM_MOST_RANKS 1024

/* One rank's end of a transport. All functions but abort are collective: all ranks call the same functions in the same
 * order, with the same counts and root. Each rank calls from one thread at a time. A call returns when this rank's part
 * is done, and borrows its data until then. All ranks must have the same byte order and float format. The struct must
 * live as long as it is used.
 *
 * A call fails on all ranks or on none (IO_ERROR, with a text). A transport that cannot promise this must end the other
 * ranks: no rank may wait forever for one that has failed or gone. After a failure only abort may be called. */
typedef struct rbe_comm {
    size_t rank, size; /* rank 0 .. size - 1 */

    /* Replaces values[i] by x_0[i] + x_1[i] + .. + x_(size-1)[i], where x_r are the values of rank r. All ranks get the
     * same bits. The transports below add in this order, on any number of machines. */
    rbe_status (*sum)(void *user, float *values, size_t count);

    /* Gives all ranks the `count` bytes of rank `root`. */
    rbe_status (*broadcast)(void *user, size_t root, void *bytes, size_t count);

    /* Puts the `count` bytes of each rank one after the other into `all` (size * count bytes, on every rank), in the
     * order of ranks. */
    rbe_status (*gather)(void *user, const void *mine, size_t count, void *all);

    /* This rank will not call again. Ranks that wait for it get a failure, or their processes are ended. Not
     * collective; any thread may call it, any number of times. rbe_fit does not call it, because its ranks agree on
     * failures. It is for a program that fails before or after rbe_fit. */
    void (*abort)(void *user);

    /* true: rbe_fit may call `sum` from a thread of its own, for some gradients while it computes others. There is
     * still one call at a time, and it sees all that was written before. false: only the thread that called rbe_fit
     * calls. It changes only the speed; ranks may differ in it. */
    bool background;

    void *user; /* passed on */
} rbe_comm;

/* ---- threads ------------------------------------------------------------------------------------------------- */

/* `size` (1 .. RBE_COMM_MOST_RANKS) ranks in this process: an array whose element n is for the thread that is rank n.
 * Calls that do not match fail on all ranks with INVALID_ARGUMENT, and calls after an abort with IO_ERROR. NULL on
 * failure: INVALID_ARGUMENT, INSUFFICIENT_MEMORY. */
RBE_API rbe_comm *rbe_comm_threads_new(size_t size);
RBE_API void rbe_comm_threads_free(rbe_comm *comms); /* after the last call has returned; NULL is allowed */

/* ---- MPI ----------------------------------------------------------------------------------------------------- */

/* The processes of MPI_COMM_WORLD, all of which must call it. Calls MPI_Init if nobody has. NULL on failure:
 * INVALID_ARGUMENT if the library was built without MPI (build it by make MPI=1).
 *
 * A sum of `count` floats takes 2 (size - 1) / size times 4 count bytes in each direction, which is the least possible:
 * each rank adds up one slice and sends it to the others; two ranks exchange all their values. abort ends all processes
 * with exit code 1. */
RBE_API rbe_comm *rbe_comm_mpi_new(void);

/* Collective. Calls MPI_Finalize if rbe_comm_mpi_new called MPI_Init; MPI cannot be started again then. NULL is
 * allowed. */
RBE_API void rbe_comm_mpi_free(rbe_comm *comm);

#ifdef __cplusplus
}
#endif
#endif
