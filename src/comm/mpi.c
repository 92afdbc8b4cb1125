/* Ranks that are processes of MPI. Without make MPI=1 there are none, and no header of MPI is read.
 *
 * MPI_Allreduce may add in any order. Here each rank gets a slice of all ranks' values, adds them in the order of ranks,
 * and sends the sum to all others. Of two ranks each gets all values of the other: a + b and b + a are the same bits. Both
 * move as many bytes as the best algorithms for large messages, and give the same bits on all ranks, with any MPI, and as
 * threads do (threads.c).
 *
 * MPI's own calls wait by asking again and again, and take the processor from those who compute meanwhile: this rank, when
 * a thread of its own sums gradients, and others on the same machine. So calls are begun, and asked for now and then.
 */
#include "rbe/comm.h"

#ifndef RBE_MPI

rbe_comm *rbe_comm_mpi_new(void) {
    rbe_fail(RBE_INVALID_ARGUMENT, "this library was built without MPI: make MPI=1");
    return NULL;
}

void rbe_comm_mpi_free(rbe_comm *comm) { (void)comm; }

#else

#include <mpi.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/sizes.h"

/* Floats of a sum that are exchanged at a time, and bytes of a broadcast. */
enum { PIECE = 1 << 20 };

typedef struct world {
    rbe_comm comm;
    MPI_Comm mpi;
    bool begun;           /* MPI_Init was called here */
    float *received;      /* slices of all ranks */
    int *counts, *places; /* of the slices of a piece; behind them those of what is received, each `size` */
    int *sent;            /* counts of the slices that go to others */
} world;

static rbe_status check(int code, const char *what) {
    if (code == MPI_SUCCESS) return RBE_OK;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    MPI_Error_string(code, text, &length);
    return rbe_fail(RBE_IO_ERROR, "MPI: %s: %s", what, text);
}

enum { EAGER_TRIES = 100, PAUSE_NS = 20000 };

/* Waits for a call that has been begun with the result `code`. */
static rbe_status complete(int code, MPI_Request *request, const char *what) {
    int done = 0;
    for (int tries = 0; code == MPI_SUCCESS && !done; tries++) {
        if (tries > EAGER_TRIES)
            nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
        else if (tries > 0)
            sched_yield();
        code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
    }
    return check(code, what);
}

/* Two ranks give each other everything, which is as many bytes as slices and their sums, in one round. */
static rbe_status sum_of_two(const world *w, float *values, size_t count) {
    const size_t other = 1 - w->comm.rank;
    MPI_Request request;
    w->counts[other] = (int)count;
    w->counts[w->comm.rank] = w->places[0] = w->places[1] = 0;
    RBE_TRY(complete(MPI_Ialltoallv(values, w->counts, w->places, MPI_FLOAT, w->received, w->counts, w->places,
                                    MPI_FLOAT, w->mpi, &request),
                     &request, "a sum"));
    for (size_t i = 0; i < count; i++) values[i] += w->received[i];
    return RBE_OK;
}

/* Cuts a piece into slices; all that is received are slices of this rank's. Its own one stays: some MPIs would send it over
 * the wire. */
static void cut(const world *w, size_t count) {
    const size_t size = w->comm.size, rank = w->comm.rank;
    const size_t own = (rank + 1) * count / size - rank * count / size;
    for (size_t n = 0; n < size; n++) {
        w->places[n] = (int)(n * count / size);
        w->counts[n] = (int)((n + 1) * count / size) - w->places[n];
        w->places[size + n] = (int)(n * own);
        w->counts[size + n] = n == rank ? 0 : (int)own;
        w->sent[n] = n == rank ? 0 : w->counts[n];
    }
}

static rbe_status sum_piece(const world *w, float *values, size_t count) {
    const size_t size = w->comm.size, rank = w->comm.rank;
    MPI_Request request;
    cut(w, count);
    RBE_TRY(complete(MPI_Ialltoallv(values, w->sent, w->places, MPI_FLOAT, w->received, w->counts + size,
                                    w->places + size, MPI_FLOAT, w->mpi, &request),
                     &request, "slices of a sum"));
    const size_t own = (size_t)w->counts[rank];
    float *slice = values + w->places[rank];
    memcpy(w->received + rank * own, slice, own * sizeof *slice);
    memcpy(slice, w->received, own * sizeof *slice);
    for (size_t n = 1; n < size; n++)
        for (size_t i = 0; i < own; i++) slice[i] += w->received[n * own + i];
    return complete(
        MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values, w->counts, w->places, MPI_FLOAT, w->mpi, &request),
        &request, "a sum");
}

static rbe_status sum(void *user, float *values, size_t count) {
    const world *w = user;
    for (size_t first = 0; first < count; first += PIECE)
        RBE_TRY((w->comm.size == 2 ? sum_of_two : sum_piece)(w, values + first, rbe_at_most(count - first, PIECE)));
    return RBE_OK;
}

static rbe_status broadcast(void *user, size_t root, void *bytes, size_t count) {
    const world *w = user;
    MPI_Request request;
    for (size_t first = 0; first < count; first += PIECE)
        RBE_TRY(complete(MPI_Ibcast((char *)bytes + first, (int)rbe_at_most(count - first, PIECE), MPI_BYTE, (int)root,
                                    w->mpi, &request),
                         &request, "a broadcast"));
    return RBE_OK;
}

static rbe_status gather(void *user, const void *mine, size_t count, void *all) {
    const world *w = user;
    if (count > INT32_MAX / w->comm.size)
        return rbe_fail(RBE_INVALID_ARGUMENT, "gather: expected at most %zu bytes of each rank, found %zu",
                        (size_t)INT32_MAX / w->comm.size, count);
    MPI_Request request;
    return complete(MPI_Iallgather(mine, (int)count, MPI_BYTE, all, (int)count, MPI_BYTE, w->mpi, &request), &request,
                    "a gather");
}

static void abort_world(void *user) { MPI_Abort(((const world *)user)->mpi, 1); }

/* ---- making and freeing -------------------------------------------------------------------------------------- */

static rbe_status begin(world *w) {
    int begun, threads, rank, size;
    RBE_TRY(check(MPI_Initialized(&begun), "MPI_Initialized"));
    if (!begun) RBE_TRY(check(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &threads), "MPI_Init_thread"));
    RBE_TRY(check(MPI_Query_thread(&threads), "MPI_Query_thread"));
    w->begun = !begun;
    RBE_TRY(check(MPI_Comm_dup(MPI_COMM_WORLD, &w->mpi), "MPI_Comm_dup"));
    MPI_Comm_set_errhandler(w->mpi, MPI_ERRORS_RETURN);
    MPI_Comm_rank(w->mpi, &rank);
    MPI_Comm_size(w->mpi, &size);
    w->comm = (rbe_comm){.rank = (size_t)rank,
                         .size = (size_t)size,
                         .sum = sum,
                         .broadcast = broadcast,
                         .gather = gather,
                         .abort = abort_world,
                         .background = threads >= MPI_THREAD_SERIALIZED,
                         .user = w};
    /* A slice is at most one float longer than the others. */
    w->received = rbe_alloc(PIECE + w->comm.size, sizeof *w->received);
    w->counts = rbe_alloc(5 * w->comm.size, sizeof *w->counts);
    if (!w->received || !w->counts) return RBE_INSUFFICIENT_MEMORY;
    w->places = w->counts + 2 * w->comm.size;
    w->sent = w->counts + 4 * w->comm.size;
    return RBE_OK;
}

rbe_comm *rbe_comm_mpi_new(void) {
    world *w = rbe_alloc_zeroed(1, sizeof *w);
    if (!w) return NULL;
    w->mpi = MPI_COMM_NULL;
    if (begin(w) == RBE_OK) return &w->comm;
    if (w->mpi != MPI_COMM_NULL) MPI_Abort(w->mpi, 1); /* the others have it, and would wait */
    rbe_free(w->received);
    rbe_free(w->counts);
    rbe_free(w);
    return NULL;
}

void rbe_comm_mpi_free(rbe_comm *comm) {
    if (!comm) return;
    world *w = comm->user;
    MPI_Comm_free(&w->mpi);
    if (w->begun) MPI_Finalize();
    rbe_free(w->received);
    rbe_free(w->counts);
    rbe_free(w);
}

#endif
