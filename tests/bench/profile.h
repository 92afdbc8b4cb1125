/* Where the time of a piece of work goes: its loops, task by task, on one thread. */
#ifndef BENCH_PROFILE_H
#define BENCH_PROFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/parallel.h"
#include "interleaved.h"

typedef struct bench_loop {
    rbe_any_function *function;
    size_t first, tasks;             /* of all tasks of the work */
    size_t loops;                    /* that are merged here */
    double seconds, largest, shared; /* of all its tasks; of one; `shared` is the caller's to fill in */
} bench_loop;

/* Times are lower quartiles over all repetitions, so that other work on the machine disturbs little. */
typedef struct bench_profile {
    bench_loop *loops;
    size_t loop_count, task_count;
    double *seconds;              /* of each task */
    double outside, largest, all; /* outside of loops; the largest task; the whole work */
} bench_profile;

/* Does the work so many times, after a warm-up. Loops are cut as for rbe_threads() threads. */
bench_profile bench_profile_of(bench_work *work, void *subject, size_t repetitions);
void bench_profile_free(bench_profile *profile);

/* Loops of one function (and as many tasks, if `by_tasks`) become one, in the order in which they begin: their times are
 * added. */
void bench_profile_merge(bench_profile *profile, bool by_tasks);

/* "forward_panel (batch.c:91)" as addr2line finds it, else an address. */
void bench_function_name(rbe_any_function *function, char text[128]);

/* Prints the loops that take most of the work, merged by function, and how much each of them takes. */
void bench_costs(bench_profile *profile, size_t shown, bool json);

#endif
