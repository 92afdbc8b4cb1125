/* Two ways of doing the same, timed in turns. */
#ifndef BENCH_INTERLEAVED_H
#define BENCH_INTERLEAVED_H

#include <stdbool.h>

typedef struct bench_timing {
    double compressed, dense;            /* medians, seconds */
    double ratio, ratio_low, ratio_high; /* dense / compressed: median and quartiles */
    double ratio_mean;
    double ratio_quiet; /* of the lower deciles: without what other work on the machine adds to both */
    double peak;        /* floating-point operations per second of one core, meanwhile (baseline.h): median */
} bench_timing;

typedef void bench_work(void *subject);

/* On one thread times are processor times of the thread, so that other work on the machine disturbs little. */
bench_timing bench_interleaved(bench_work *compressed, bench_work *dense, void *subject, bool one_thread, bool quick);

#endif
