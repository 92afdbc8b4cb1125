/* The pool: helpers claim tasks from atomic words, and the caller waits for claimed tasks only.
 *
 * Each worker has a share of the tasks, so that a core meets the same rows of a batch in one loop after the other;
 * whoever has finished its own share helps with the others'. A share's word holds how many workers may take part (16
 * bits) and how many of its tasks are not claimed yet (48 bits); a claim is a compare-and-swap that takes one off. A
 * loop's function and context are read after a claim only, and a loop cannot end before its claimed tasks have: so a
 * helper that comes late finds either a task that is still to be done or nothing. A helper that the system has taken
 * off its core costs the rest of one task's time, at most.
 *
 * Helpers look for another loop for a moment, then sleep on a semaphore of their own. The pool serves one loop at a
 * time: callers that find it taken run their loop alone, and so do loops inside tasks.
 */
#include "base/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/sizes.h"
#include "base/threads.h"

#define SPIN_SECONDS 50e-6
#define STACK_BYTES ((size_t)2 << 20)
#define COUNT_BITS 48
#define COUNT_MASK (((uint64_t)1 << COUNT_BITS) - 1)

typedef struct helper {
    size_t worker;
    uint64_t seen;      /* the last loop that it has looked at */
    atomic_bool asleep; /* whoever turns it to false wakes the helper, or is the helper */
    sem_t wake;
} helper;

static pthread_mutex_t pool_taken = PTHREAD_MUTEX_INITIALIZER;
static helper helpers[RBE_MAX_THREADS - 1];
static size_t helper_count; /* guarded by pool_taken, like the next five */
static int refused_at;      /* rbe_thread_changes() when the system last refused a helper */
static rbe_task *loop_run;
static void *loop_context;
static size_t loop_tasks, loop_shares;

/* Words of different workers are in different lines of the cache. */
static struct { _Alignas(64) _Atomic uint64_t word; } share[RBE_MAX_THREADS];
static _Atomic uint64_t loop_number; /* how many loops there have been (48 bits), and shares of the last one (16) */
static atomic_size_t loop_finished;
static _Thread_local bool inside_task;
static rbe_task_observer *observer;
static void *observer_user;

/* ---- tasks --------------------------------------------------------------------------------------------------- */

static bool is_open(uint64_t word, size_t worker) { return (word & COUNT_MASK) > 0 && worker < word >> COUNT_BITS; }

/* The task behind the last one of share n. */
static size_t share_end(size_t n) { return (n + 1) * loop_tasks / loop_shares; }

/* Runs tasks of a share until none is left to claim. */
static void work_on_share(size_t n, size_t worker) {
    uint64_t word = atomic_load_explicit(&share[n].word, memory_order_acquire);
    while (is_open(word, worker)) {
        if (!atomic_compare_exchange_weak_explicit(&share[n].word, &word, word - 1, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        loop_run(loop_context, share_end(n) - (size_t)(word & COUNT_MASK), worker);
        atomic_fetch_add_explicit(&loop_finished, 1, memory_order_release);
        word = atomic_load_explicit(&share[n].word, memory_order_acquire);
    }
}

/* Its own share first, then what the others have left. */
static void work(size_t shares, size_t worker) {
    for (size_t n = 0; n < shares; n++) work_on_share((worker + n) % shares, worker);
}

static void pause_core(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* ---- helpers ------------------------------------------------------------------------------------------------- */

static uint64_t present_loop(void) { return atomic_load(&loop_number); }

static bool finds_loop(const helper *self) {
    double end = rbe_seconds() + SPIN_SECONDS;
    do {
        for (int n = 0; n < 32; n++) {
            if (present_loop() != self->seen) return true;
            pause_core();
        }
    } while (rbe_seconds() < end);
    return false;
}

static void sleep_until_woken(helper *self) {
    atomic_store(&self->asleep, true);
    /* Published before the flag was seen: nobody will wake this helper, unless somebody is just doing so. */
    if (present_loop() != self->seen && atomic_exchange(&self->asleep, false)) return;
    while (sem_wait(&self->wake) != 0) {
    }
}

static void *help(void *argument) {
    helper *self = argument;
    inside_task = true;
    for (;;) {
        self->seen = present_loop();
        work((size_t)(self->seen >> COUNT_BITS), self->worker);
        if (!finds_loop(self)) sleep_until_woken(self);
    }
    return NULL;
}

/* Signals are for the threads of the host program. */
static bool start_helper(helper *h) {
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, old;
    if (pthread_attr_init(&attributes) != 0) return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bool started = sem_init(&h->wake, 0, 0) == 0 && pthread_create(&thread, &attributes, help, h) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    return started;
}

/* A child after fork has none of the helpers, and the loop that the pool was in, if any, is its parent's. */
static void reset_in_child(void) {
    pthread_mutex_init(&pool_taken, NULL);
    helper_count = 0;
    for (size_t n = 0; n < RBE_MAX_THREADS; n++) atomic_store(&share[n].word, 0);
}

static bool fork_is_safe;

static void watch_forks(void) { fork_is_safe = pthread_atfork(NULL, NULL, reset_in_child) == 0; }

/* As many helpers as are wanted, or as the system gives: a refusal is final until the number of threads is set anew. */
static void provide_helpers(size_t wanted) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    if (!fork_is_safe || (refused_at != 0 && refused_at == rbe_thread_changes())) return;
    for (; helper_count < wanted; helper_count++) {
        helper *h = &helpers[helper_count];
        h->worker = helper_count + 1;
        atomic_store(&h->asleep, false);
        if (!start_helper(h)) {
            refused_at = rbe_thread_changes();
            return;
        }
    }
}

static void wake_helpers(size_t wanted) {
    for (size_t n = 0; n < wanted && n < helper_count; n++)
        if (atomic_load(&helpers[n].asleep) && atomic_exchange(&helpers[n].asleep, false)) sem_post(&helpers[n].wake);
}

/* ---- loops --------------------------------------------------------------------------------------------------- */

typedef struct ranges {
    rbe_range_task *run;
    void *context;
    size_t count, piece;
} ranges;

static void run_range(void *context, size_t task, size_t worker) {
    (void)worker;
    const ranges *r = context;
    size_t first = task * r->piece, rest = r->count - first;
    r->run(r->context, first, rbe_at_most(rest, r->piece));
}

/* What the caller has written: of ranges, the function that runs one. */
static rbe_any_function *function_of(rbe_task *run, const void *context) {
    return run == run_range ? (rbe_any_function *)((const ranges *)context)->run : (rbe_any_function *)run;
}

static void run_observed(size_t tasks, rbe_task *run, void *context) {
    inside_task = true;
    double start = rbe_seconds();
    for (size_t task = 0; task < tasks; task++) {
        run(context, task, 0);
        double end = rbe_seconds();
        observer(observer_user, function_of(run, context), task, tasks, end - start);
        start = end;
    }
    inside_task = false;
}

static void run_alone(size_t tasks, rbe_task *run, void *context) {
    if (observer && !inside_task) {
        run_observed(tasks, run, context);
        return;
    }
    for (size_t task = 0; task < tasks; task++) run(context, task, 0);
}

/* A claimed task is being run: mostly it ends within microseconds, but its thread may have lost its core. */
static void wait_for_claimed(size_t tasks) {
    for (unsigned turn = 0; atomic_load_explicit(&loop_finished, memory_order_acquire) < tasks; turn++) {
        if (turn < 2000)
            pause_core();
        else
            sched_yield();
    }
}

static void publish(size_t threads, size_t shares, size_t tasks, rbe_task *run, void *context) {
    loop_run = run;
    loop_context = context;
    loop_tasks = tasks;
    loop_shares = shares;
    atomic_store_explicit(&loop_finished, 0, memory_order_relaxed);
    for (size_t n = 0; n < shares; n++) {
        size_t count = share_end(n) - (n > 0 ? share_end(n - 1) : 0);
        atomic_store_explicit(&share[n].word, (uint64_t)threads << COUNT_BITS | count, memory_order_release);
    }
    uint64_t number = ((present_loop() & COUNT_MASK) + 1) & COUNT_MASK;
    atomic_store(&loop_number, (uint64_t)shares << COUNT_BITS | number);
}

static void run_loop(size_t threads, size_t shares, size_t tasks, rbe_task *run, void *context) {
    if (threads <= 1 || inside_task || observer || pthread_mutex_trylock(&pool_taken) != 0) {
        run_alone(tasks, run, context);
        return;
    }
    provide_helpers(threads - 1);
    publish(threads, shares, tasks, run, context);
    wake_helpers(threads - 1);
    inside_task = true;
    work(shares, 0);
    inside_task = false;
    wait_for_claimed(tasks);
    pthread_mutex_unlock(&pool_taken);
}

void rbe_parallel(size_t threads, size_t tasks, rbe_task *run, void *context) {
    if (threads > tasks) threads = tasks;
    run_loop(threads, threads, tasks, run, context);
}

void rbe_parallel_in_order(size_t threads, size_t tasks, rbe_task *run, void *context) {
    if (threads > tasks) threads = tasks;
    run_loop(threads, 1, tasks, run, context);
}

void rbe_parallel_ranges(size_t count, size_t piece, rbe_range_task *run, void *context) {
    ranges r = {run, context, count, piece};
    rbe_parallel((size_t)rbe_threads(), rbe_pieces(count, piece), run_range, &r);
}

void rbe_parallel_observe(rbe_task_observer *told, void *user) {
    observer = told;
    observer_user = user;
}
