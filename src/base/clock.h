/* A clock for durations: it never jumps. */
#ifndef RBE_BASE_CLOCK_H
#define RBE_BASE_CLOCK_H

#include <time.h>

/* Seconds since some moment in the past. */
static inline double rbe_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
