/* Parallel loops over tasks, on a pool of threads in which nobody waits for a helper that has claimed nothing. */
#ifndef RBE_BASE_PARALLEL_H
#define RBE_BASE_PARALLEL_H

#include <stddef.h>

/* One task. `worker` is below the loop's `threads`, and no two tasks run at the same time with the same one: it says
 * which piece of scratch memory to use. What fails in a task is recorded in the context, since rbe_fail is
 * thread-local. */
typedef void rbe_task(void *context, size_t task, size_t worker);

/* Runs tasks 0 .. tasks - 1, each exactly once, and returns when all are done. The calling thread takes part; up to
 * threads - 1 helpers join it if they are free. Never fails: without helpers (none could be made, another loop has
 * them, or the call comes from inside a task) the caller runs everything. */
void rbe_parallel(size_t threads, size_t tasks, rbe_task *run, void *context);

/* The same, but tasks begin in ascending order: one may wait for those before it. */
void rbe_parallel_in_order(size_t threads, size_t tasks, rbe_task *run, void *context);

/* The same for ranges of `count` items: pieces of `piece` items (the last may be shorter), on rbe_threads() threads.
 * Pieces depend on the count alone, so sums of pieces have the same bits for any number of threads. */
typedef void rbe_range_task(void *context, size_t first, size_t count);
void rbe_parallel_ranges(size_t count, size_t piece, rbe_range_task *run, void *context);

/* Values of a piece where each takes a few instructions: some microseconds of work. */
#define RBE_PIECE ((size_t)16384)

/* For tests and benchmarks: is told of each task, in ascending order, with its seconds. Loops are cut as for
 * rbe_threads() threads, but the caller runs them alone. What loops inside a task take is part of that task.
 * `function` is the rbe_task, or the rbe_range_task, of the loop. */
typedef void rbe_any_function(void);
typedef void rbe_task_observer(void *user, rbe_any_function *function, size_t task, size_t tasks, double seconds);

/* NULL, the default: nobody is told. Not to be called while a loop runs. */
void rbe_parallel_observe(rbe_task_observer *observer, void *user);

#endif
