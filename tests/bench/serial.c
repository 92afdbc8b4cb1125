/* What threads could do for a training step, from the times of its tasks on one thread.
 *
 * The tasks of a loop are given, in their order, each to the thread that is free first, as the pool does. What lies
 * outside of loops stays as it is, and each loop costs what it takes to bring a second thread to an empty one. Threads
 * are thought to be as fast as one alone: shared caches and memory are not counted.
 */
#include "serial.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../examples/common.h"
#include "base/clock.h"
#include "profile.h"

enum { STEPS = 200, SHOWN = 8, EMPTY_LOOPS = 2000, MOST_THREADS = 16 };

static const size_t thread_counts[] = {2, 4, 8, MOST_THREADS};

enum { COUNTS = sizeof thread_counts / sizeof *thread_counts };

/* Two tasks that end when both have begun, or after a while if no other thread comes. */
static void meet(void *context, size_t task, size_t worker) {
    (void)task;
    (void)worker;
    atomic_int *here = context;
    atomic_fetch_add(here, 1);
    for (double end = rbe_seconds() + 1e-4; atomic_load(here) < 2 && rbe_seconds() < end;) continue;
}

/* What it takes to have a second thread at work, at best: on a busy machine it mostly comes too late. */
static double empty_loop(void) {
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) return 0.0;
    double least = 1.0;
    for (size_t n = 0; n < EMPTY_LOOPS; n++) {
        atomic_int here = 0;
        double start = rbe_seconds();
        rbe_parallel(2, 2, meet, &here);
        double seconds = rbe_seconds() - start;
        if (seconds < least) least = seconds;
    }
    return least;
}

/* ---- the prediction ------------------------------------------------------------------------------------------ */

static double on_threads(const bench_profile *p, const bench_loop *l, double loop_cost, size_t threads) {
    double busy_until[MOST_THREADS] = {0}, end = 0.0;
    for (size_t task = l->first; task < l->first + l->tasks; task++) {
        size_t free_first = 0;
        for (size_t t = 1; t < threads; t++)
            if (busy_until[t] < busy_until[free_first]) free_first = t;
        busy_until[free_first] += p->seconds[task];
        if (busy_until[free_first] > end) end = busy_until[free_first];
    }
    return end + (l->tasks > 1 ? loop_cost : 0.0);
}

/* How many times as fast as on one thread. */
static double speedup(const bench_profile *p, double loop_cost, size_t threads) {
    double sum = p->outside;
    for (size_t n = 0; n < p->loop_count; n++) sum += on_threads(p, &p->loops[n], loop_cost, threads);
    return p->all / sum;
}

/* ---- the report ---------------------------------------------------------------------------------------------- */

/* What a loop keeps 16 threads from doing. */
static double lost(const bench_loop *l) { return l->shared - l->seconds / MOST_THREADS; }

static int most_lost_first(const void *a, const void *b) {
    double left = lost(a), right = lost(b);
    return (left < right) - (left > right);
}

static void print_table(bench_profile *p, double loop_cost) {
    printf(
        "serial %.0f us on one thread; outside of loops %.1f us (%.1f %%); %zu loops, %zu tasks, the largest %.1f us; "
        "%.2f us a loop\npredicted times as fast:",
        p->all * 1e6, p->outside * 1e6, 100 * p->outside / p->all, p->loop_count, p->task_count, p->largest * 1e6,
        loop_cost * 1e6);
    for (size_t n = 0; n < COUNTS; n++)
        printf("%s %.2f on %zu threads", n ? "," : "", speedup(p, loop_cost, thread_counts[n]), thread_counts[n]);
    printf("\nwhat costs most on %d: loop %33s loops x tasks   all us   largest   on %d     lost\n", MOST_THREADS, "",
           MOST_THREADS);
    for (bench_loop *l = p->loops; l < p->loops + p->loop_count; l++)
        l->shared = on_threads(p, l, loop_cost, MOST_THREADS);
    bench_profile_merge(p, true);
    qsort(p->loops, p->loop_count, sizeof *p->loops, most_lost_first);
    for (size_t n = 0; n < SHOWN && n < p->loop_count; n++) {
        const bench_loop *l = &p->loops[n];
        char name[128];
        bench_function_name(l->function, name);
        printf("  %-55s %5zu x %5zu %8.1f %9.1f %7.1f %8.1f\n", name, l->loops, l->tasks, l->seconds * 1e6,
               l->largest * 1e6, l->shared * 1e6, lost(l) * 1e6);
    }
}

static void print_json(const bench_profile *p, const bench_step_options *o, double loop_cost) {
    printf("{\"case\":\"serial\",\"in\":%zu,\"out\":%zu,\"n\":%zu,\"ratio\":%.3f,\"step_us\":%.3f,\"outside_us\":%.3f,"
           "\"loops\":%zu,\"tasks\":%zu,\"largest_us\":%.3f,\"loop_cost_us\":%.3f",
           o->inputs, o->hidden, o->batch, o->ratio, p->all * 1e6, p->outside * 1e6, p->loop_count, p->task_count,
           p->largest * 1e6, loop_cost * 1e6);
    for (size_t n = 0; n < COUNTS; n++)
        printf(",\"predicted_%zu\":%.3f", thread_counts[n], speedup(p, loop_cost, thread_counts[n]));
    printf("}\n");
}

void bench_serial(const bench_step_options *options, bool json) {
    example_require(rbe_set_threads(MOST_THREADS)); /* loops are cut as for so many */
    bench_training *training = bench_training_new(options);
    bench_profile p = bench_profile_of(bench_step_compressed, training, options->quick ? STEPS / 10 : STEPS);
    double loop_cost = empty_loop();
    if (json)
        print_json(&p, options, loop_cost);
    else
        print_table(&p, loop_cost);
    fflush(stdout);
    bench_profile_free(&p);
    bench_training_free(training);
}
