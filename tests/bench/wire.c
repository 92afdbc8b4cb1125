#include "wire.h"

#include <math.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "../../examples/experiment.h"

enum { LATENCY = 25 }; /* microseconds of a round */

/* A processor that slept wakes up late. Where ranks share the processors nobody may keep one from the others. */
static void wait_until(double end, bool alone) {
    const double awake = alone ? 1e-4 : 0.0;
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* of this thread */
    for (double left; (left = end - experiment_now()) > 0;)
        if (left > awake)
            nanosleep(
                &(struct timespec){.tv_sec = (time_t)(left - awake), .tv_nsec = (long)(1e9 * fmod(left - awake, 1.0))},
                NULL);
}

/* All ranks have called when it begins. */
static void travel(bench_wire *w, double bytes, int rounds) {
    const double seconds = 1e-6 * LATENCY * rounds + (w->gbit > 0 ? 8e-9 * bytes / w->gbit : 0.0);
    w->bytes += bytes;
    wait_until(experiment_now() + seconds, !w->behind);
}

static rbe_status sum(void *user, float *values, size_t count) {
    bench_wire *w = user;
    const double start = experiment_now(), size = (double)w->comm.size;
    rbe_status status = RBE_OK;
    if (w->behind)
        status = w->behind->sum(w->behind->user, values, count);
    else
        for (size_t i = 0; i < count; i++) values[i] *= (float)w->comm.size;
    /* src/comm/mpi.c: two ranks take one round. */
    travel(w, 2 * (size - 1) / size * sizeof(float) * (double)count, w->comm.size == 2 ? 1 : 2);
    w->seconds += experiment_now() - start;
    return status;
}

static rbe_status broadcast(void *user, size_t root, void *bytes, size_t count) {
    const rbe_comm *c = ((bench_wire *)user)->behind;
    return c ? c->broadcast(c->user, root, bytes, count) : RBE_OK;
}

static rbe_status gather(void *user, const void *mine, size_t count, void *all) {
    bench_wire *w = user;
    rbe_status status = RBE_OK;
    if (w->behind)
        status = w->behind->gather(w->behind->user, mine, count, all);
    else
        for (size_t n = 0; n < w->comm.size; n++) memcpy((char *)all + n * count, mine, count);
    travel(w, (double)((w->comm.size - 1) * count), 1);
    return status;
}

static void abort_ranks(void *user) {
    const rbe_comm *c = ((bench_wire *)user)->behind;
    if (c) c->abort(c->user);
}

void bench_wire_make(bench_wire *wire, const rbe_comm *behind, size_t size, double gbit, bool background) {
    *wire = (bench_wire){.behind = behind, .gbit = gbit};
    wire->comm = (rbe_comm){.rank = behind ? behind->rank : 0,
                            .size = size,
                            .sum = sum,
                            .broadcast = broadcast,
                            .gather = gather,
                            .abort = abort_ranks,
                            .background = background,
                            .user = wire};
}
