/* A character transformer with compressed layers against the same with dense ones: a training step, memory, speech.
 *
 * Both networks see the same ids. Steps, and characters, are timed in turns in this one process; a ratio is the median over
 * all turns. --costs times the loops of one network's step instead.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../examples/common.h"
#include "baseline.h"
#include "interleaved.h"
#include "profile.h"

enum { VOCABULARY = 65, HEAD = 64, CHARACTERS = 48, COSTS = 8 };

typedef struct settings {
    size_t width, context, batch, threads;
    double ratio;
    bool quick, json, costs;
} settings;

typedef struct network {
    rbe_model *model;
    rbe_optim *optim;
    rbe_step step;
    rbe_generator *generator;
} network;

typedef struct subject {
    network compressed, dense;
    rbe_batch batch;
} subject;

static network new_network(const settings *s, bool dense) {
    network n = {.model = rbe_gpt_new(&(rbe_gpt_options){.vocabulary = VOCABULARY,
                                                         .heads = s->width / HEAD,
                                                         .width = s->width,
                                                         .context = s->context,
                                                         .dense = dense,
                                                         .ratio = s->ratio,
                                                         .seed = 1})};
    /* All steps are alike: with such a rate the values hardly move, and with such a limit each gradient is clipped. */
    const rbe_optim_options options = {.lr = 1e-6f, .beta2 = 0.99f, .weight_decay = 0.1f, .clip_norm = 1e-3f};
    n.optim = example_need(rbe_optim_new(rbe_adamw, example_need(n.model), &options));
    n.step = (rbe_step){.model = n.model, .optim = n.optim, .tape = example_need(rbe_tape_new(NULL))};
    n.generator = example_need(rbe_generator_new(n.model, s->context, NULL, 0));
    return n;
}

static void free_network(network *n) {
    rbe_generator_free(n->generator);
    rbe_tape_free(n->step.tape);
    rbe_optim_free(n->optim);
    rbe_model_free(n->model);
}

/* Ids of a text that repeats itself a little later. */
static rbe_batch new_batch(const settings *s) {
    const size_t count = s->batch * s->context;
    int32_t *ids = example_take(2 * count, sizeof *ids);
    for (size_t n = 0; n < count; n++) {
        ids[n] = (int32_t)(n * 7919 % VOCABULARY);
        ids[count + n] = (int32_t)((n + 1) * 7919 % VOCABULARY);
    }
    return (rbe_batch){
        .tokens = ids, .token_width = s->context, .labels = ids + count, .label_width = s->context, .rows = s->batch};
}

/* ---- what is timed ------------------------------------------------------------------------------------------- */

static void step_compressed(void *user) {
    subject *s = user;
    example_require(rbe_train_step(&s->compressed.step, &s->batch));
}

static void step_dense(void *user) {
    subject *s = user;
    example_require(rbe_train_step(&s->dense.step, &s->batch));
}

/* Says what is likeliest, from the beginning. */
static void speak(rbe_generator *generator) {
    int32_t id = 1;
    const float *logits;
    rbe_generator_reset(generator);
    for (int n = 0; n < CHARACTERS; n++) {
        example_require(rbe_generator_feed(generator, &id, 1, &logits));
        example_require(rbe_sample(logits, VOCABULARY, NULL, NULL, 0, NULL, &id));
    }
}

static void speak_compressed(void *user) { speak(((subject *)user)->compressed.generator); }

static void speak_dense(void *user) { speak(((subject *)user)->dense.generator); }

/* Peak of the library's memory over two steps of a network of its own, with room for the values made as rbe_fit does. */
static size_t peak_of(const settings *s, const rbe_batch *batch, bool dense) {
    const size_t before = rbe_memory().current;
    rbe_memory_reset_peak();
    network n = new_network(s, dense);
    example_require(rbe_tape_reserve(n.step.tape, rbe_model_tape_bytes(n.model, s->batch * s->context) / 2));
    for (int k = 0; k < 2; k++) example_require(rbe_train_step(&n.step, batch));
    free_network(&n);
    return rbe_memory().peak - before;
}

/* What a step does, and how long: of the compressed network, on one thread. */
static void costs_of(const settings *s, const rbe_batch *batch) {
    subject one = {.compressed = new_network(s, false), .batch = *batch};
    bench_profile p = bench_profile_of(step_compressed, &one, s->quick ? 5 : 50);
    bench_costs(&p, COSTS, s->json);
    bench_profile_free(&p);
    free_network(&one.compressed);
}

/* ---- report -------------------------------------------------------------------------------------------------- */

static void report(const settings *s, const char *name, bench_timing t, double per) {
    if (s->json)
        printf("{\"case\":\"%s\",\"width\":%zu,\"compressed_us\":%.2f,\"dense_us\":%.2f,\"ratio\":%.3f,\"ratio_quiet\":"
               "%.3f}\n",
               name, s->width, 1e6 * t.compressed / per, 1e6 * t.dense / per, t.compressed / t.dense,
               1 / t.ratio_quiet);
    else
        printf("%-10s width %4zu: compressed %10.1f us, dense %10.1f us; compressed over dense %.3f (%.3f - %.3f; "
               "quiet %.3f)\n",
               name, s->width, 1e6 * t.compressed / per, 1e6 * t.dense / per, 1 / t.ratio, 1 / t.ratio_high,
               1 / t.ratio_low, 1 / t.ratio_quiet);
    fflush(stdout);
}

static void compare(const settings *s, const rbe_batch *batch) {
    const size_t peak = peak_of(s, batch, false), dense_peak = peak_of(s, batch, true);
    subject both = {.compressed = new_network(s, false), .dense = new_network(s, true), .batch = *batch};
    const bool one = s->threads == 1;
    report(s, "step", bench_interleaved(step_compressed, step_dense, &both, one, s->quick), 1);
    report(s, "character", bench_interleaved(speak_compressed, speak_dense, &both, one, s->quick), CHARACTERS);
    if (s->json)
        printf("{\"case\":\"memory\",\"width\":%zu,\"compressed_bytes\":%zu,\"dense_bytes\":%zu,\"ratio\":%.3f}\n",
               s->width, peak, dense_peak, (double)peak / (double)dense_peak);
    else
        printf("%-10s width %4zu: compressed %10.1f MB, dense %10.1f MB; compressed over dense %.3f\n", "memory",
               s->width, (double)peak / 1e6, (double)dense_peak / 1e6, (double)peak / (double)dense_peak);
    free_network(&both.compressed);
    free_network(&both.dense);
}

int main(int argc, char **argv) {
    settings s = {.width = 256, .context = 64, .batch = 12, .threads = 1, .ratio = 16};
    const example_option options[] = {
        {"width", EXAMPLE_COUNT, &s.width, "N", "a multiple of 64", 64, 4096},
        {"context", EXAMPLE_COUNT, &s.context, "N", "places of a sequence", CHARACTERS, 4096},
        {"batch", EXAMPLE_COUNT, &s.batch, "N", "sequences of a step", 1, 4096},
        {"ratio", EXAMPLE_REAL, &s.ratio, "R", "values of a dense layer per stored value", 1, 1e6},
        {"threads", EXAMPLE_COUNT, &s.threads, "T", "of both", 1, RBE_MAX_THREADS},
        {"costs", EXAMPLE_FLAG, &s.costs, NULL, "what takes most of a compressed step", 0, 0},
        {"quick", EXAMPLE_FLAG, &s.quick, NULL, "fewer rounds", 0, 0},
        {"json", EXAMPLE_FLAG, &s.json, NULL, "one JSON object per line", 0, 0},
    };
    example_parse(argc, argv, "Times a character transformer, compressed against dense.", options,
                  sizeof options / sizeof *options);
    if (s.width % HEAD != 0) example_fail(2, "--width: expected a multiple of %d, found %zu", HEAD, s.width);
    bench_require_kernels();
    example_require(rbe_set_threads((int)s.threads));
    const rbe_batch batch = new_batch(&s);
    if (s.costs)
        costs_of(&s, &batch);
    else
        compare(&s, &batch);
    free((void *)(uintptr_t)batch.tokens);
    return 0;
}
