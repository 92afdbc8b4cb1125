/* A training step on several threads against one, on a quiet machine or beside a busy neighbour. */
#include "scaling.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../examples/common.h"

typedef struct subject {
    bench_training *training;
    int threads;
} subject;

static void step_on(const subject *s, int threads) {
    example_require(rbe_set_threads(threads));
    bench_step_compressed(s->training);
}

static void step_on_one(void *s) { step_on(s, 1); }

static void step_on_all(void *s) { step_on(s, ((subject *)s)->threads); }

/* The second processor that the program may run on. */
static cpu_set_t second_processor(void) {
    cpu_set_t all, second;
    CPU_ZERO(&second);
    if (sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) < 2)
        example_fail(1, "--busy: expected two processors or more");
    int seen = 0;
    for (int n = 0; n < CPU_SETSIZE && seen < 2; n++) {
        if (!CPU_ISSET(n, &all)) continue;
        if (++seen == 2) CPU_SET(n, &second);
    }
    return second;
}

/* A process that only turns round, and ends with this one. */
static pid_t start_neighbour(void) {
    cpu_set_t second = second_processor();
    pid_t parent = getpid(), child = fork();
    if (child < 0) example_fail(1, "--busy: no other process could be started");
    if (child > 0) return child;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(1);
    if (sched_setaffinity(0, sizeof second, &second) != 0) _exit(1);
    for (volatile unsigned turn = 0;; turn++) continue;
}

static void stop_neighbour(pid_t child) {
    int status;
    kill(child, SIGKILL);
    if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status))
        example_fail(1, "--busy: the other process has ended by itself");
}

void bench_scaling(const bench_step_options *options, size_t threads, bool busy, bool json) {
    subject s = {bench_training_new(options), (int)threads};
    pid_t neighbour = busy ? start_neighbour() : 0;
    bench_timing t = bench_interleaved(step_on_one, step_on_all, &s, false, options->quick);
    if (busy) stop_neighbour(neighbour);
    if (json)
        printf(
            "{\"case\":\"scaling\",\"in\":%zu,\"out\":%zu,\"n\":%zu,\"threads\":%zu,\"busy\":%s,\"one_thread_us\":%.3f,"
            "\"us\":%.3f,\"ratio\":%.3f,\"ratio_low\":%.3f,\"ratio_high\":%.3f,\"ratio_mean\":%.3f,\"ratio_quiet\":%."
            "3f}\n",
            options->inputs, options->hidden, options->batch, threads, busy ? "true" : "false", t.compressed * 1e6,
            t.dense * 1e6, t.ratio, t.ratio_low, t.ratio_high, t.ratio_mean, t.ratio_quiet);
    else
        printf("step of 784-%zu-%zu-10, batch %zu, %zu threads%s: %.2f of one thread's time (%.2f - %.2f), mean %.2f, "
               "quiet %.2f; "
               "%.0f us, one thread %.0f us\n",
               options->hidden, options->hidden, options->batch, threads, busy ? " beside a busy processor" : "",
               t.ratio, t.ratio_low, t.ratio_high, t.ratio_mean, t.ratio_quiet, t.dense * 1e6, t.compressed * 1e6);
    fflush(stdout);
    bench_training_free(s.training);
}
