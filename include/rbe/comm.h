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
 * A transport of your own is a table that you fill in.
 */
#ifndef RBE_COMM_H
#define RBE_COMM_H

#include <stdbool.h>

#include "rbe/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* More ranks are refused. */
#define RBE_COMM_MOST_RANKS 1024

/* One rank's end of a transport. All functions but abort are collective: all ranks call the same ones in the same order,
 * with the same counts and root, each from one thread at a time; a call returns when this rank's part is done. Data of
 * a call are borrowed until it returns. All ranks have one byte order and one format of floats.
 *
 * A call fails on all ranks or on none (IO_ERROR, with a text). A transport that cannot promise it has to end the other
 * ranks: nobody may wait for ever for one that has failed or gone. After a failure no function but abort is called. */
typedef struct rbe_comm {
    size_t rank, size; /* rank 0 .. size - 1 */

    /* Puts x_0[i] + x_1[i] + .. + x_(size-1)[i], x_r being rank r's values, in the place of values[i]: the same bits on
     * all ranks. With the transports below the sum is taken in this order, whatever the number of machines. */
    rbe_status (*sum)(void *user, float *values, size_t count);

    /* Gives all ranks the bytes of rank `root`. */
    rbe_status (*broadcast)(void *user, size_t root, void *bytes, size_t count);

    /* Puts `count` bytes of each rank one after the other into `all`, in the order of ranks. */
    rbe_status (*gather)(void *user, const void *mine, size_t count, void *all);

    /* This rank will not call again, though others may wait for it: their calls fail, or their processes are ended. Not
     * collective, from any thread, as often as one likes. rbe_fit does not call it: failures inside of it are agreed
     * upon. It is for a program that fails before or after. */
    void (*abort)(void *user);

    /* `sum` may be called from a thread of rbe_fit's own, for some of the gradients while the rank computes others: still
     * one call of the table at a time, with all that was written before it seen by it. Of no consequence but speed; ranks
     * may differ in it. false: only the thread that has called rbe_fit calls. */
    bool background;

    void *user; /* passed on */
} rbe_comm;

/* ---- threads ------------------------------------------------------------------------------------------------- */

/* `size` ranks in this process: an array, of which element n is for the thread that is rank n. Calls that do not match
 * fail on all ranks with INVALID_ARGUMENT, and calls after an abort with IO_ERROR. NULL on failure. */
RBE_API rbe_comm *rbe_comm_threads_new(size_t size);
RBE_API void rbe_comm_threads_free(rbe_comm *comms); /* when nobody is in a call any more; NULL is allowed */

/* ---- MPI ----------------------------------------------------------------------------------------------------- */

/* All processes of MPI_COMM_WORLD, which all call it; MPI_Init is called if it has not been. NULL on failure:
 * INVALID_ARGUMENT if the library has been built without MPI (make MPI=1).
 *
 * A message of `count` floats goes to each rank as count / size floats, and comes back as many, in pieces of 4 MB at most:
 * 2 (size - 1) / size times 4 count bytes in each direction, which is the least that a sum takes. abort ends all
 * processes, with exit code 1. */
RBE_API rbe_comm *rbe_comm_mpi_new(void);

/* Collective. Calls MPI_Finalize if rbe_comm_mpi_new has called MPI_Init; MPI cannot be begun again then. NULL is
 * allowed. */
RBE_API void rbe_comm_mpi_free(rbe_comm *comm);

#ifdef __cplusplus
}
#endif
#endif
