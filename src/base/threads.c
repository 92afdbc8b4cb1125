/* How many threads the products use: those of our own loops. OpenBLAS runs on one thread per call (gemm.h). */
#include <omp.h>
#include <stdatomic.h>

#include "rbe/base.h"

#define MAX_THREADS 1024

static atomic_int thread_count; /* 0: not chosen yet */

rbe_status rbe_set_threads(int threads) {
    if (threads < 1 || threads > MAX_THREADS)
        return rbe_fail(RBE_INVALID_ARGUMENT, "threads: expected 1 .. %d, found %d", MAX_THREADS, threads);
    atomic_store(&thread_count, threads);
    return RBE_OK;
}

int rbe_threads(void) {
    int threads = atomic_load(&thread_count);
    return threads > 0 ? threads : omp_get_max_threads();
}
