/* How many threads the library's loops use: the caller's choice, or as many as the process may run on now.
 *
 * A container may have fewer processors' worth of time than it sees processors: the quota of the process's control
 * group (version 2, at the root of what the container sees) counts too.
 */
#include "base/threads.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

static atomic_int thread_count; /* 0: not chosen yet */
static atomic_int changes = 1;

static int processors(void) {
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < RBE_MAX_THREADS ? count : RBE_MAX_THREADS;
}

/* Processors' worth of time, rounded up; `otherwise` without a quota. */
static int quota(int otherwise) {
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!file) return otherwise;
    long time, period;
    int found = fscanf(file, "%ld %ld", &time, &period);
    fclose(file);
    if (found != 2 || time < 1 || period < 1) return otherwise;
    long whole = (time + period - 1) / period;
    return whole < otherwise ? (int)whole : otherwise;
}

rbe_status rbe_set_threads(int threads) {
    if (threads < 1 || threads > RBE_MAX_THREADS)
        return rbe_fail(RBE_INVALID_ARGUMENT, "threads: expected 1 .. %d, found %d", RBE_MAX_THREADS, threads);
    atomic_store(&thread_count, threads);
    atomic_fetch_add(&changes, 1);
    return RBE_OK;
}

int rbe_threads(void) {
    int threads = atomic_load(&thread_count);
    if (threads > 0) return threads;
    int none = 0, found = quota(processors());
    return atomic_compare_exchange_strong(&thread_count, &none, found) ? found : none;
}

int rbe_thread_changes(void) { return atomic_load(&changes); }
