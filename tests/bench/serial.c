/* What threads could do for a training step, from the times of its tasks on one thread.
 *
 * The tasks of a loop are given, in their order, each to the thread that is free first, as the pool does. What lies
 * outside of loops stays as it is, and each loop costs what it takes to bring a second thread to an empty one. Threads
 * are thought to be as fast as one alone: shared caches and memory are not counted.
 *
 * Each time of the step is the lower quartile over all steps, so that other work on the machine disturbs little.
 */
#include "serial.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../examples/common.h"
#include "base/clock.h"
#include "base/parallel.h"

enum { WARM_UP = 3, MOST_STEPS = 200, MOST_LOOPS = 256, SHOWN = 8, EMPTY_LOOPS = 2000, MOST_THREADS = 16 };

static const size_t thread_counts[] = {2, 4, 8, MOST_THREADS};

enum { COUNTS = sizeof thread_counts / sizeof *thread_counts };

typedef struct loop {
    rbe_any_function *function;
    size_t first, tasks;             /* of all tasks of the step */
    size_t loops;                    /* loops of this kind, in the report */
    double seconds, largest, shared; /* of all its tasks; of one; of all on MOST_THREADS */
} loop;

typedef struct profile {
    loop loops[MOST_LOOPS];
    size_t loop_count, task_count, steps, step;
    double (*samples)[MOST_STEPS]; /* of a task in all steps; NULL while tasks are being counted */
    double *seconds;               /* of a task: the lower quartile */
    double outside[MOST_STEPS], loop_cost;
} profile;

static int ascending(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double lower_quartile(double *values, size_t count) {
    qsort(values, count, sizeof *values, ascending);
    return values[count / 4];
}

/* ---- measuring ----------------------------------------------------------------------------------------------- */

static void note_task(void *user, rbe_any_function *function, size_t task, size_t tasks, double seconds) {
    profile *p = user;
    if (task == 0) {
        if (p->loop_count == MOST_LOOPS) example_fail(1, "a step has more than %d loops", MOST_LOOPS);
        p->loops[p->loop_count++] = (loop){.function = function, .first = p->task_count, .tasks = tasks};
    }
    if (p->samples) {
        p->samples[p->task_count][p->step] = seconds;
        p->outside[p->step] -= seconds;
    }
    p->task_count++;
}

static void observe_step(profile *p, bench_training *training) {
    p->loop_count = p->task_count = 0;
    rbe_parallel_observe(note_task, p);
    double start = rbe_seconds();
    bench_step_compressed(training);
    p->outside[p->step] += rbe_seconds() - start;
    rbe_parallel_observe(NULL, NULL);
}

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

static double on_threads(const profile *p, const loop *l, size_t threads) {
    double busy_until[MOST_THREADS] = {0}, end = 0.0;
    for (size_t task = l->first; task < l->first + l->tasks; task++) {
        size_t free_first = 0;
        for (size_t t = 1; t < threads; t++)
            if (busy_until[t] < busy_until[free_first]) free_first = t;
        busy_until[free_first] += p->seconds[task];
        if (busy_until[free_first] > end) end = busy_until[free_first];
    }
    return end + (l->tasks > 1 ? p->loop_cost : 0.0);
}

static double step_on_threads(const profile *p, size_t threads) {
    double sum = p->outside[0];
    for (size_t n = 0; n < p->loop_count; n++) sum += on_threads(p, &p->loops[n], threads);
    return sum;
}

static void summarise(profile *p) {
    for (size_t task = 0; task < p->task_count; task++) p->seconds[task] = lower_quartile(p->samples[task], p->steps);
    p->outside[0] = lower_quartile(p->outside, p->steps);
    p->loop_cost = empty_loop();
    for (loop *l = p->loops; l < p->loops + p->loop_count; l++) {
        for (size_t task = l->first; task < l->first + l->tasks; task++) {
            l->seconds += p->seconds[task];
            if (p->seconds[task] > l->largest) l->largest = p->seconds[task];
        }
        l->shared = on_threads(p, l, MOST_THREADS);
    }
}

/* ---- the report ---------------------------------------------------------------------------------------------- */

/* "forward_panel (batch.c:91)" as addr2line finds it, else an address. */
static void name_of(rbe_any_function *function, char text[128]) {
    Dl_info program;
    char command[128], name[64] = "", place[64] = "";
    uintptr_t address = (uintptr_t)function;
    snprintf(text, 128, "%#zx", (size_t)address);
    if (dladdr((void *)address, &program) == 0) return;
    snprintf(command, sizeof command, "addr2line -s -f -e /proc/%d/exe %#zx 2> /dev/null", (int)getpid(),
             (size_t)(address - (uintptr_t)program.dli_fbase));
    FILE *found = popen(command, "r");
    if (!found) return;
    if (fscanf(found, "%63s %63s", name, place) == 2) snprintf(text, 128, "%s (%s)", name, place);
    pclose(found);
}

/* What a loop keeps 16 threads from doing. */
static double lost(const loop *l) { return l->shared - l->seconds / MOST_THREADS; }

static int most_lost_first(const void *a, const void *b) {
    double left = lost(a), right = lost(b);
    return (left < right) - (left > right);
}

/* Loops of one function and as many tasks become one; gives how many remain. */
static size_t merge(loop *loops, size_t count) {
    size_t kept = 0;
    for (size_t n = 0; n < count; n++) {
        size_t same = 0;
        while (same < kept && (loops[same].function != loops[n].function || loops[same].tasks != loops[n].tasks))
            same++;
        if (same == kept) {
            loops[kept] = loops[n];
            loops[kept++].loops = 1;
            continue;
        }
        loops[same].loops++;
        loops[same].seconds += loops[n].seconds;
        loops[same].shared += loops[n].shared;
        if (loops[n].largest > loops[same].largest) loops[same].largest = loops[n].largest;
    }
    qsort(loops, kept, sizeof *loops, most_lost_first);
    return kept;
}

static void print_table(profile *p, double step, double largest) {
    printf(
        "serial %.0f us on one thread; outside of loops %.1f us (%.1f %%); %zu loops, %zu tasks, the largest %.1f us; "
        "%.2f us a loop\npredicted times as fast:",
        step * 1e6, p->outside[0] * 1e6, 100 * p->outside[0] / step, p->loop_count, p->task_count, largest * 1e6,
        p->loop_cost * 1e6);
    for (size_t n = 0; n < COUNTS; n++)
        printf("%s %.2f on %zu threads", n ? "," : "", step / step_on_threads(p, thread_counts[n]), thread_counts[n]);
    printf("\nwhat costs most on %d: loop %33s loops x tasks   all us   largest   on %d     lost\n", MOST_THREADS, "",
           MOST_THREADS);
    size_t kinds = merge(p->loops, p->loop_count);
    for (size_t n = 0; n < SHOWN && n < kinds; n++) {
        const loop *l = &p->loops[n];
        char name[128];
        name_of(l->function, name);
        printf("  %-55s %5zu x %5zu %8.1f %9.1f %7.1f %8.1f\n", name, l->loops, l->tasks, l->seconds * 1e6,
               l->largest * 1e6, l->shared * 1e6, lost(l) * 1e6);
    }
}

static void print_json(const profile *p, const bench_step_options *o, double step, double largest) {
    printf("{\"case\":\"serial\",\"in\":%zu,\"out\":%zu,\"n\":%zu,\"ratio\":%.3f,\"step_us\":%.3f,\"outside_us\":%.3f,"
           "\"loops\":%zu,\"tasks\":%zu,\"largest_us\":%.3f,\"loop_cost_us\":%.3f",
           o->inputs, o->hidden, o->batch, o->ratio, step * 1e6, p->outside[0] * 1e6, p->loop_count, p->task_count,
           largest * 1e6, p->loop_cost * 1e6);
    for (size_t n = 0; n < COUNTS; n++)
        printf(",\"predicted_%zu\":%.3f", thread_counts[n], step / step_on_threads(p, thread_counts[n]));
    printf("}\n");
}

void bench_serial(const bench_step_options *options, bool json) {
    profile *p = example_take(1, sizeof *p);
    p->steps = options->quick ? MOST_STEPS / 10 : MOST_STEPS;
    example_require(rbe_set_threads(MOST_THREADS)); /* loops are cut as for so many */
    bench_training *training = bench_training_new(options);
    for (int n = 0; n < WARM_UP; n++) observe_step(p, training);
    size_t tasks = p->task_count;
    p->samples = example_take(tasks, sizeof *p->samples);
    p->seconds = example_take(tasks, sizeof *p->seconds);
    for (p->step = 0; p->step < p->steps; p->step++) {
        p->outside[p->step] = 0.0;
        observe_step(p, training);
        if (p->task_count != tasks) example_fail(1, "a step has %zu tasks, another %zu", tasks, p->task_count);
    }
    summarise(p);
    double step = p->outside[0], largest = 0.0;
    for (size_t n = 0; n < p->loop_count; n++) {
        step += p->loops[n].seconds;
        if (p->loops[n].largest > largest) largest = p->loops[n].largest;
    }
    if (json)
        print_json(p, options, step, largest);
    else
        print_table(p, step, largest);
    fflush(stdout);
    bench_training_free(training);
    free(p->samples);
    free(p->seconds);
    free(p);
}
