/* A training step of several ranks, threads of this process, on a wire that is as slow as one likes, against that of one
 * rank: its time, that of its sums, and the bytes that a rank sends. All are timed in turns, a few steps each; a ratio is
 * the median over the turns.
 *
 * --slices N cuts the share of a rank into N batches that add up: what it would cost to sum slices that are the same for
 * any number of ranks.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../examples/common.h"
#include "../../examples/experiment.h"
#include "wire.h"

enum { MOST_RANKS = 16, MOST_STEPS = 1000, MOST_TURNS = 100, MOST_CASES = 8, WARM = 3, PLACES = 64, WORDS = 65 };

typedef struct settings {
    const char *net;
    size_t ranks, batch, steps, turns, slices, hidden;
    double ratio, gbit;
    bool growth, dense, alone, csv;
    rbe_dataset data;
} settings;

/* One way of training, and what came of it. */
typedef struct variant {
    bool dense, background;
    size_t ranks, slices;
    double step[MOST_TURNS], over_one[MOST_TURNS]; /* medians of each turn, seconds */
    double bytes, in_sums;                         /* of a step, in the last turn */
    char layers[200];                              /* floats of their gradients, "51000+66000" */
} variant;

typedef struct rank {
    const settings *settings;
    const variant *variant;
    pthread_t thread;
    bench_wire wire;
    rbe_model *model;
    size_t steps;
    double at[MOST_STEPS + WARM + 1]; /* when each step ended */
} rank;

/* ---- networks ------------------------------------------------------------------------------------------------ */

/* What has fewer outputs than a block has rows stays dense. */
static void add_layer(rbe_model *model, const settings *s, bool dense, size_t in, size_t out, uint64_t seed) {
    if (dense || out < 64)
        rbe_model_add(model, rbe_dense_new(in, out, &(rbe_dense_options){.seed = seed}));
    else
        rbe_model_add(model, rbe_linear_new(in, out, &(rbe_linear_options){.ratio = s->ratio, .seed = seed}));
}

static rbe_model *new_model(const settings *s, bool dense) {
    if (strcmp(s->net, "gpt") == 0)
        return rbe_gpt_new(
            &(rbe_gpt_options){.vocabulary = WORDS, .context = PLACES, .dense = dense, .ratio = s->ratio, .seed = 1});
    const bool vgg = strcmp(s->net, "vgg") == 0;
    const size_t hidden = vgg ? 4096 : s->hidden;
    rbe_model *model = rbe_model_new();
    add_layer(model, s, dense, s->data.features, hidden, 1);
    rbe_model_apply(model, rbe_relu);
    add_layer(model, s, dense, hidden, hidden, 2);
    rbe_model_apply(model, rbe_relu);
    add_layer(model, s, dense, hidden, (size_t)s->data.classes, 3);
    example_require(rbe_model_status(model));
    return model;
}

static void write_layers(const rbe_model *model, char *text, size_t size) {
    const rbe_layer *layer;
    const rbe_param *param;
    for (size_t n = 0, at = 0; (layer = rbe_model_layer(model, n)) && at < size; n++) {
        size_t floats = 0;
        for (size_t k = 0; (param = rbe_layer_param(layer, k)); k++) floats += param->count;
        if (floats > 0) at += (size_t)snprintf(text + at, size - at, "%s%zu", at > 0 ? "+" : "", floats);
    }
}

/* What the samples are takes no time. */
static rbe_dataset new_data(const settings *s) {
    const size_t count = s->batch * s->ranks * (s->steps + WARM);
    rbe_dataset data = {.count = count, .features = 784, .classes = 10};
    if (strcmp(s->net, "gpt") == 0) {
        int32_t *ids = example_take(count + PLACES, sizeof *ids);
        for (size_t n = 0; n < count + PLACES; n++) ids[n] = (int32_t)(n * 7919 % WORDS);
        example_require(rbe_dataset_from_windows(&data, ids, count + PLACES, PLACES, 1, WORDS));
        return data;
    }
    if (strcmp(s->net, "vgg") == 0) {
        data.features = 25088;
        data.classes = 1000;
    }
    data.pixels = example_take(count, data.features);
    data.labels = example_take(count, sizeof *data.labels);
    for (size_t n = 0; n < count * data.features; n++) data.pixels[n] = (uint8_t)(n % 7919 % 256);
    for (size_t n = 0; n < count; n++) data.labels[n] = (int32_t)(n % (size_t)data.classes);
    return data;
}

/* ---- a turn -------------------------------------------------------------------------------------------------- */

static rbe_status note_step(void *user, const rbe_progress *p) {
    rank *r = user;
    if (p->step + 1 == WARM) r->wire.bytes = r->wire.seconds = 0;
    r->at[r->steps++] = experiment_now();
    return RBE_OK;
}

static void *train(void *user) {
    rank *r = user;
    const settings *s = r->settings;
    const variant *v = r->variant;
    r->model = example_need(new_model(s, v->dense));
    rbe_optim *optim = example_need(rbe_optim_new(rbe_adam, r->model, NULL));
    const size_t steps = s->steps + WARM;
    rbe_growth *growth = NULL;
    if (s->growth && !v->dense)
        growth = example_need(rbe_growth_new(r->model, &(rbe_growth_options){.steps = 10 * steps, .every = 100}));
    const rbe_routine routine = rbe_growth_routine(growth);
    const rbe_fit_options options = {.batch = s->batch * v->ranks / v->slices,
                                     .epoch_batches = steps * v->slices,
                                     .accumulate = v->slices,
                                     .routines = &routine,
                                     .routine_count = growth ? 1 : 0,
                                     .on_step = note_step,
                                     .user = r,
                                     .comm = v->ranks > 1 ? &r->wire.comm : NULL};
    example_require(rbe_fit(r->model, optim, &s->data, NULL, &options, NULL));
    rbe_growth_free(growth);
    rbe_optim_free(optim);
    return NULL;
}

/* The step's median; sets what else is known of it. */
static double run(const settings *s, variant *v) {
    static rank ranks[MOST_RANKS];
    static double times[MOST_STEPS];
    rbe_comm *comms = example_need(rbe_comm_threads_new(v->ranks));
    const size_t here = s->alone ? 1 : v->ranks;
    for (size_t n = 0; n < here; n++) {
        ranks[n] = (rank){.settings = s, .variant = v};
        bench_wire_make(&ranks[n].wire, s->alone ? NULL : &comms[n], v->ranks, s->gbit, v->background);
        if (pthread_create(&ranks[n].thread, NULL, train, &ranks[n]) != 0) example_fail(1, "no thread can be made");
    }
    for (size_t n = 0; n < here; n++) pthread_join(ranks[n].thread, NULL);
    write_layers(ranks[0].model, v->layers, sizeof v->layers);
    for (size_t n = 0; n < s->steps; n++) times[n] = ranks[0].at[WARM + n] - ranks[0].at[WARM + n - 1];
    v->bytes = ranks[0].wire.bytes / (double)s->steps;
    v->in_sums = ranks[0].wire.seconds / (double)s->steps;
    for (size_t n = 0; n < here; n++) rbe_model_free(ranks[n].model);
    rbe_comm_threads_free(comms);
    return median(times, s->steps);
}

/* ---- report -------------------------------------------------------------------------------------------------- */

static void report(const settings *s, variant *v) {
    const double step = median(v->step, s->turns), over = median(v->over_one, s->turns); /* sorted from now on */
    const double low = v->over_one[s->turns / 4], high = v->over_one[s->turns * 3 / 4],
                 gbit = v->ranks > 1 ? s->gbit : 0;
    const double ratio = v->dense ? 1 : s->ratio;
    if (s->csv)
        printf("%s,%g,%zu,%zu,%g,%d,%zu,%.3f,%.3f,%.3f,%.3f,%.0f,%s\n", s->net, ratio, s->batch, v->ranks, gbit,
               v->background, v->slices, 1e3 * step, over, low, high, v->bytes, v->layers);
    else
        printf("%s, ratio %g, batch %zu a rank in %zu, %zu ranks, %g Gbit/s, %s: %.2f ms a step, %.3f of one rank's "
               "(%.3f - "
               "%.3f); %.2f ms in sums, %.0f bytes\n",
               s->net, ratio, s->batch, v->slices, v->ranks, gbit, v->background ? "overlapped" : "one after the other",
               1e3 * step, over, low, high, 1e3 * v->in_sums, v->bytes);
}

int main(int argc, char **argv) {
    static settings s = {
        .net = "digits", .ranks = 2, .batch = 256, .steps = 20, .turns = 9, .slices = 1, .hidden = 1024, .ratio = 16};
    const example_option options[] = {
        {"net", EXAMPLE_TEXT, &s.net, "digits|vgg|gpt", "784-1024-1024-10, 25088-4096-4096-1000, or a transformer", 0,
         0},
        {"ranks", EXAMPLE_COUNT, &s.ranks, "N", "threads, each a rank", 1, MOST_RANKS},
        {"batch", EXAMPLE_COUNT, &s.batch, "N", "samples of a rank", 1, 65536},
        {"hidden", EXAMPLE_COUNT, &s.hidden, "N", "units of each of the two layers of digits", 1, 65536},
        {"ratio", EXAMPLE_REAL, &s.ratio, "R", "values of a dense layer per stored value", 1, 1e6},
        {"dense", EXAMPLE_FLAG, &s.dense, NULL, "the same with dense layers, too", 0, 0},
        {"alone", EXAMPLE_FLAG, &s.alone, NULL,
         "only one rank computes, as on a machine of its own: the others do the same", 0, 0},
        {"gbit", EXAMPLE_REAL, &s.gbit, "G", "of the wire, in each direction; 0: no limit", 0, 1e6},
        {"steps", EXAMPLE_COUNT, &s.steps, "N", "that are timed in a turn, and three before", 1, MOST_STEPS},
        {"turns", EXAMPLE_COUNT, &s.turns, "N", "of each", 1, MOST_TURNS},
        {"slices", EXAMPLE_COUNT, &s.slices, "N", "batches of a rank that add up, beside one", 1, 1024},
        {"growth", EXAMPLE_FLAG, &s.growth, NULL, "every 100 steps", 0, 0},
        {"csv", EXAMPLE_FLAG, &s.csv, NULL,
         "net,ratio,batch,ranks,gbit,overlap,slices,step_ms,over_one,low,high,bytes,layers", 0, 0},
    };
    static variant variants[MOST_CASES];
    size_t count = 0;
    example_parse(argc, argv, "Times a step of several ranks on a slow wire.", options,
                  sizeof options / sizeof *options);
    example_require(rbe_set_threads(1));
    s.data = new_data(&s);
    for (int dense = 0; dense <= s.dense; dense++) {
        variants[count++] = (variant){.dense = dense, .ranks = 1, .slices = 1};
        if (s.slices > 1) variants[count++] = (variant){.dense = dense, .ranks = 1, .slices = s.slices};
        for (int background = 0; background <= 1 && s.ranks > 1; background++)
            variants[count++] = (variant){.dense = dense, .background = background, .ranks = s.ranks, .slices = 1};
    }
    for (size_t turn = 0; turn < s.turns; turn++)
        for (size_t n = 0; n < count; n++) {
            const variant *one = &variants[variants[n].dense ? count / 2 : 0];
            variants[n].step[turn] = run(&s, &variants[n]);
            variants[n].over_one[turn] = variants[n].step[turn] / one->step[turn];
        }
    for (size_t n = 0; n < count; n++) report(&s, &variants[n]);
    rbe_dataset_free(&s.data);
    return 0;
}
