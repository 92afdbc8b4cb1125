/* A training step of several ranks, threads of this process, on a wire that is as slow as one likes: its time, the time
 * of that in sums, and the bytes that a rank sends. Every call takes at least as long as its bytes would at --gbit, in
 * each direction at once, and --latency for each of its two rounds.
 *
 * --slices N cuts each rank's share into N batches that add up: what it would cost to sum slices that are the same for
 * any number of ranks.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../examples/common.h"
#include "../../examples/experiment.h"

enum { IN = 784, CLASSES = 10, MOST_RANKS = 16, MOST_STEPS = 10000, WARM = 3 };

typedef struct settings {
    size_t ranks, batch, hidden, steps, slices;
    double ratio, gbit, latency;
    bool growth;
} settings;

typedef struct rank {
    const settings *settings;
    const rbe_dataset *data;
    pthread_t thread;
    rbe_comm wire;        /* what rbe_fit gets */
    const rbe_comm *comm; /* what is behind it */
    double bytes, in_sums;
    size_t steps;
    double at[MOST_STEPS + 1]; /* when each step ended; the first: the beginning */
} rank;

/* ---- the wire ------------------------------------------------------------------------------------------------ */

static void pace(rank *r, double start, double bytes) {
    const settings *s = r->settings;
    double due = start + 2e-6 * s->latency + (s->gbit > 0 ? 8e-9 * bytes / s->gbit : 0.0), now = experiment_now();
    r->bytes += bytes;
    if (now < due)
        nanosleep(&(struct timespec){.tv_nsec = (long)(1e9 * (due - now)) % 1000000000, .tv_sec = (time_t)(due - now)},
                  NULL);
}

static rbe_status sum(void *user, float *values, size_t count) {
    rank *r = user;
    const double start = experiment_now(), size = (double)r->comm->size;
    rbe_status status = r->comm->sum(r->comm->user, values, count);
    pace(r, start, 2 * (size - 1) / size * 4 * (double)count);
    r->in_sums += experiment_now() - start;
    return status;
}

static rbe_status broadcast(void *user, size_t root, void *bytes, size_t count) {
    const rbe_comm *c = ((rank *)user)->comm;
    return c->broadcast(c->user, root, bytes, count);
}

static rbe_status gather(void *user, const void *mine, size_t count, void *all) {
    rank *r = user;
    const double start = experiment_now();
    rbe_status status = r->comm->gather(r->comm->user, mine, count, all);
    pace(r, start, (double)((r->comm->size - 1) * count));
    return status;
}

/* ---- a rank -------------------------------------------------------------------------------------------------- */

static rbe_layer *new_layer(const settings *s, size_t in, uint64_t seed) {
    if (s->ratio <= 1) return rbe_dense_new(in, s->hidden, &(rbe_dense_options){.seed = seed});
    return rbe_linear_new(in, s->hidden, &(rbe_linear_options){.ratio = s->ratio, .seed = seed});
}

static rbe_model *new_model(const settings *s) {
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, new_layer(s, IN, 1));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, new_layer(s, s->hidden, 2));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, rbe_dense_new(s->hidden, CLASSES, &(rbe_dense_options){.seed = 3}));
    example_require(rbe_model_status(model));
    return model;
}

static rbe_status note_step(void *user, const rbe_progress *p) {
    rank *r = user;
    if (p->step + 1 == WARM) r->bytes = r->in_sums = 0;
    r->at[r->steps++] = experiment_now();
    return RBE_OK;
}

static void *train(void *user) {
    rank *r = user;
    const settings *s = r->settings;
    rbe_model *model = new_model(s);
    rbe_optim *optim = example_need(rbe_optim_new(rbe_adam, model, NULL));
    rbe_growth *growth =
        s->growth ? example_need(rbe_growth_new(model, &(rbe_growth_options){.steps = 10 * s->steps, .every = 100}))
                  : NULL;
    const rbe_routine routine = rbe_growth_routine(growth);
    const rbe_fit_options options = {.batch = s->batch * s->ranks / s->slices,
                                     .epoch_batches = s->steps * s->slices,
                                     .accumulate = s->slices,
                                     .routines = &routine,
                                     .routine_count = growth ? 1 : 0,
                                     .on_step = note_step,
                                     .user = r,
                                     .comm = s->ranks > 1 ? &r->wire : NULL};
    example_require(rbe_fit(model, optim, r->data, NULL, &options, NULL));
    rbe_growth_free(growth);
    rbe_optim_free(optim);
    rbe_model_free(model);
    return NULL;
}

static void report(const settings *s, const rank *r) {
    static double times[MOST_STEPS];
    const size_t count = r->steps - WARM;
    for (size_t n = 0; n < count; n++) times[n] = r->at[WARM + n] - r->at[WARM + n - 1];
    printf("ranks %zu, ratio %g, batch %zu a rank, %g Gbit/s: %.2f ms a step, %.2f of it in sums; %.0f bytes a step\n",
           s->ranks, s->ratio, s->batch, s->gbit, 1e3 * median(times, count), 1e3 * r->in_sums / (double)count,
           r->bytes / (double)count);
}

/* What the samples are takes no time. */
static rbe_dataset new_data(size_t count) {
    rbe_dataset data = {.count = count, .features = IN, .classes = CLASSES};
    data.pixels = example_take(count, IN);
    data.labels = example_take(count, sizeof *data.labels);
    for (size_t n = 0; n < count * IN; n++) data.pixels[n] = (uint8_t)(n % 7919 % 256);
    for (size_t n = 0; n < count; n++) data.labels[n] = (int32_t)(n % CLASSES);
    return data;
}

int main(int argc, char **argv) {
    settings s = {.ranks = 2, .batch = 256, .hidden = 1024, .steps = 60, .slices = 1, .ratio = 16, .latency = 25};
    const example_option options[] = {
        {"ranks", EXAMPLE_COUNT, &s.ranks, "N", "threads, each a rank", 1, MOST_RANKS},
        {"batch", EXAMPLE_COUNT, &s.batch, "N", "samples of a rank", 1, 65536},
        {"hidden", EXAMPLE_COUNT, &s.hidden, "N", "units of each of two layers", 1, 65536},
        {"ratio", EXAMPLE_REAL, &s.ratio, "R", "values of a dense layer per stored value; 1: dense layers", 1, 1e6},
        {"gbit", EXAMPLE_REAL, &s.gbit, "G", "of the wire, in each direction; 0: no limit", 0, 1e6},
        {"latency", EXAMPLE_REAL, &s.latency, "US", "microseconds of a round", 0, 1e6},
        {"steps", EXAMPLE_COUNT, &s.steps, "N", "that are timed, and three before", 1, MOST_STEPS - WARM},
        {"slices", EXAMPLE_COUNT, &s.slices, "N", "batches of a rank that add up", 1, 1024},
        {"growth", EXAMPLE_FLAG, &s.growth, NULL, "every 100 steps", 0, 0},
    };
    example_parse(argc, argv, "Times a step of several ranks on a slow wire.", options,
                  sizeof options / sizeof *options);
    example_require(rbe_set_threads(1));
    s.steps += WARM;
    rbe_dataset data = new_data(s.batch * s.ranks * s.steps);
    static rank ranks[MOST_RANKS];
    rbe_comm *comms = example_need(rbe_comm_threads_new(s.ranks));
    for (size_t n = 0; n < s.ranks; n++) {
        ranks[n] = (rank){.settings = &s, .data = &data, .comm = &comms[n]};
        ranks[n].wire = (rbe_comm){
            .rank = n, .size = s.ranks, .sum = sum, .broadcast = broadcast, .gather = gather, .user = &ranks[n]};
        if (pthread_create(&ranks[n].thread, NULL, train, &ranks[n]) != 0) example_fail(1, "no thread can be made");
    }
    for (size_t n = 0; n < s.ranks; n++) pthread_join(ranks[n].thread, NULL);
    report(&s, &ranks[0]);
    rbe_comm_threads_free(comms);
    free(data.pixels);
    free(data.labels);
    return 0;
}
