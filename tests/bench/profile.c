/* The times of tasks come from the observer of rbe_parallel; what is left of the work's time lies outside of loops. */
#include "profile.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../examples/common.h"
#include "base/clock.h"

enum { WARM_UP = 3, MOST_LOOPS = 4096 };

typedef struct recording {
    bench_profile *profile;
    double *samples; /* of a task in all repetitions, then of the next; NULL while tasks are being counted */
    size_t repetition, repetitions;
    double in_loops;
} recording;

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
    recording *r = user;
    bench_profile *p = r->profile;
    if (task == 0) {
        if (p->loop_count == MOST_LOOPS) example_fail(1, "more than %d loops", MOST_LOOPS);
        p->loops[p->loop_count++] =
            (bench_loop){.function = function, .first = p->task_count, .tasks = tasks, .loops = 1};
    }
    if (r->samples) r->samples[p->task_count * r->repetitions + r->repetition] = seconds;
    r->in_loops += seconds;
    p->task_count++;
}

/* Gives the seconds outside of loops. */
static double observe(recording *r, bench_work *work, void *subject) {
    r->profile->loop_count = r->profile->task_count = 0;
    r->in_loops = 0.0;
    rbe_parallel_observe(note_task, r);
    double start = rbe_seconds();
    work(subject);
    double seconds = rbe_seconds() - start;
    rbe_parallel_observe(NULL, NULL);
    return seconds - r->in_loops;
}

static void summarise(recording *r, double *outside) {
    bench_profile *p = r->profile;
    for (size_t task = 0; task < p->task_count; task++)
        p->seconds[task] = lower_quartile(r->samples + task * r->repetitions, r->repetitions);
    p->all = p->outside = lower_quartile(outside, r->repetitions);
    for (bench_loop *l = p->loops; l < p->loops + p->loop_count; l++) {
        for (size_t task = l->first; task < l->first + l->tasks; task++) {
            l->seconds += p->seconds[task];
            if (p->seconds[task] > l->largest) l->largest = p->seconds[task];
        }
        if (l->largest > p->largest) p->largest = l->largest;
        p->all += l->seconds;
    }
}

bench_profile bench_profile_of(bench_work *work, void *subject, size_t repetitions) {
    bench_profile p = {.loops = example_take(MOST_LOOPS, sizeof *p.loops)};
    recording r = {.profile = &p, .repetitions = repetitions};
    for (int n = 0; n < WARM_UP; n++) observe(&r, work, subject);
    const size_t tasks = p.task_count;
    double *outside = example_take(repetitions, sizeof *outside);
    r.samples = example_take(tasks * repetitions, sizeof *r.samples);
    p.seconds = example_take(tasks, sizeof *p.seconds);
    for (; r.repetition < repetitions; r.repetition++) {
        outside[r.repetition] = observe(&r, work, subject);
        if (p.task_count != tasks) example_fail(1, "there were %zu tasks, then %zu", tasks, p.task_count);
    }
    summarise(&r, outside);
    free(outside);
    free(r.samples);
    return p;
}

void bench_profile_free(bench_profile *p) {
    free(p->loops);
    free(p->seconds);
}

void bench_profile_merge(bench_profile *p, bool by_tasks) {
    size_t kept = 0;
    for (size_t n = 0; n < p->loop_count; n++) {
        const bench_loop *l = &p->loops[n];
        size_t same = 0;
        while (same < kept &&
               (p->loops[same].function != l->function || (by_tasks && p->loops[same].tasks != l->tasks)))
            same++;
        if (same == kept) {
            p->loops[kept++] = *l;
            continue;
        }
        bench_loop *into = &p->loops[same];
        into->loops++;
        into->seconds += l->seconds;
        into->shared += l->shared;
        if (l->largest > into->largest) into->largest = l->largest;
    }
    p->loop_count = kept;
}

/* ---- the report ---------------------------------------------------------------------------------------------- */

void bench_function_name(rbe_any_function *function, char text[128]) {
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

static int longest_first(const void *a, const void *b) {
    double left = ((const bench_loop *)a)->seconds, right = ((const bench_loop *)b)->seconds;
    return (left < right) - (left > right);
}

void bench_costs(bench_profile *p, size_t shown, bool json) {
    bench_profile_merge(p, false);
    qsort(p->loops, p->loop_count, sizeof *p->loops, longest_first);
    if (!json)
        printf("%.0f us, %.1f %% of it outside of loops; most of it:\n", p->all * 1e6, 100 * p->outside / p->all);
    for (const bench_loop *l = p->loops; l < p->loops + shown && l < p->loops + p->loop_count; l++) {
        char name[128];
        bench_function_name(l->function, name);
        if (json)
            printf("{\"case\":\"cost\",\"loop\":\"%s\",\"loops\":%zu,\"us\":%.2f,\"share\":%.4f}\n", name, l->loops,
                   l->seconds * 1e6, l->seconds / p->all);
        else
            printf("  %-55s %5zu loops %9.1f us %5.1f %%\n", name, l->loops, l->seconds * 1e6,
                   100 * l->seconds / p->all);
    }
}
