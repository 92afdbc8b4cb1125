/* Timing in turns: whatever disturbs the machine disturbs both, and the median of the ratios forgets the rest. */
#include "interleaved.h"

#include <stdlib.h>
#include <time.h>

#include "baseline.h"

enum { MAX_ROUNDS = 2001, WARM_UP = 3 };

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double peak_now(clockid_t clock) {
    double start = now(clock), operations = bench_multiply_add();
    return operations / (now(clock) - start);
}

/* Seconds of one call, from `calls` in a row. Short ones are warm: the other's memory has left the caches before. */
static double seconds_of(bench_work *work, void *subject, size_t calls, clockid_t clock) {
    if (calls > 1) work(subject);
    double start = now(clock);
    for (size_t i = 0; i < calls; i++) work(subject);
    return (now(clock) - start) / (double)calls;
}

static int ascending(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* So many calls in a row that the clock's own cost does not count. */
static size_t calls_for(double seconds) { return seconds > 2e-4 ? 1 : (size_t)(2e-4 / (seconds + 1e-9)) + 1; }

bench_timing bench_interleaved(bench_work *compressed_work, bench_work *dense_work, void *subject, bool one_thread,
                               bool quick) {
    static double compressed[MAX_ROUNDS], dense[MAX_ROUNDS], ratio[MAX_ROUNDS], peak[MAX_ROUNDS];
    clockid_t clock = one_thread ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    double compressed_once = 0.0, dense_once = 0.0; /* of the last of a few calls: caches and clock are warm */
    for (int i = 0; i < WARM_UP; i++) {
        compressed_once = seconds_of(compressed_work, subject, 1, clock);
        dense_once = seconds_of(dense_work, subject, 1, clock);
    }
    size_t compressed_calls = calls_for(compressed_once), dense_calls = calls_for(dense_once);
    double round = compressed_once * (double)compressed_calls + dense_once * (double)dense_calls;
    size_t rounds = (size_t)((quick ? 0.3 : 2.0) / round), least = quick ? 5 : 11;
    if (rounds < least) rounds = least;
    if (rounds > MAX_ROUNDS) rounds = MAX_ROUNDS;
    double sum = 0.0;
    for (size_t r = 0; r < rounds; r++) {
        compressed[r] = seconds_of(compressed_work, subject, compressed_calls, clock);
        dense[r] = seconds_of(dense_work, subject, dense_calls, clock);
        peak[r] = peak_now(clock);
        ratio[r] = dense[r] / compressed[r];
        sum += ratio[r];
    }
    double *all[] = {compressed, dense, ratio, peak};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) qsort(all[i], rounds, sizeof(double), ascending);
    return (bench_timing){.compressed = compressed[rounds / 2],
                          .dense = dense[rounds / 2],
                          .ratio = ratio[rounds / 2],
                          .ratio_low = ratio[rounds / 4],
                          .ratio_high = ratio[rounds * 3 / 4],
                          .ratio_mean = sum / (double)rounds,
                          .ratio_quiet = dense[rounds / 10] / compressed[rounds / 10],
                          .peak = peak[rounds / 2]};
}
