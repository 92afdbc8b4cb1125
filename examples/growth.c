/* Where should the coefficients be? Trains a digits classifier with positions that stay where they were drawn, with
 * growth, with growth but without a transform, and dense: whole, and narrow with as many values as the compressed
 * one. Also measures what growth costs in time. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "experiment.h"
#include "recipe.h"

enum { MAX_SEEDS = 16, COST_EVERY = 100, COST_ROUND = 10, COST_ROUNDS = 50 };

typedef enum method { STATIC, GROWN, IDENTITY, NARROW, DENSE, METHODS } method;

static const char *const method_names[METHODS] = {"static", "grown", "identity", "narrow", "dense"};

typedef struct settings {
    const char *data, *only, *store_name, *out;
    recipe recipe;
    example_sizes ratios;
    size_t seeds, threads;
    rbe_store store;
    bool quiet, json;
} settings;

static settings read_settings(int argc, char **argv) {
    settings s = {.data = "data",
                  .store_name = "f32",
                  .recipe = recipe_default(),
                  .ratios = {.value = {8, 16, 32, 64}, .count = 4},
                  .seeds = 3};
    const example_option own[] = {
        {"data", EXAMPLE_TEXT, &s.data, "DIR", "folder with the four IDX files, plain or .gz", 0, 0},
        {"ratios", EXAMPLE_SIZES, &s.ratios, "R,R,..", "values of a dense layer per stored value", 2, 1e6},
        {"only", EXAMPLE_TEXT, &s.only, "static|grown|identity|narrow|dense", "one kind of model (default: all)", 0, 0},
        {"store", EXAMPLE_TEXT, &s.store_name, example_stores(), "type of the stored values", 0, 0},
        {"seeds", EXAMPLE_COUNT, &s.seeds, "N", "models of each kind, with consecutive seeds", 1, MAX_SEEDS},
        {"threads", EXAMPLE_COUNT, &s.threads, "N", "threads (default: one per processor)", 1, RBE_MAX_THREADS},
        {"out", EXAMPLE_TEXT, &s.out, "DIR", "folder for growth.csv (created)", 0, 0},
        {"quiet", EXAMPLE_FLAG, &s.quiet, NULL, "show no progress", 0, 0},
        {"json", EXAMPLE_FLAG, &s.json, NULL, "a line of JSON per kind of model and ratio", 0, 0},
    };
    enum { OWN = sizeof own / sizeof *own };
    example_option options[RECIPE_OPTIONS + OWN];
    memcpy(options, own, sizeof own);
    recipe_options(&s.recipe, options + OWN);
    example_parse(argc, argv, "Compares grown positions with static ones, and with dense networks.", options,
                  sizeof options / sizeof *options);
    recipe_check(&s.recipe);
    rbe_store_named(s.store_name, &s.store);
    return s;
}

/* ---- models -------------------------------------------------------------------------------------------------- */

static size_t dense_values(const example_sizes *hidden, const rbe_dataset *data) {
    size_t in = data->features, values = 0;
    for (size_t n = 0; n <= hidden->count; n++) {
        size_t out = n < hidden->count ? hidden->value[n] : (size_t)data->classes;
        values += (in + 1) * out;
        in = out;
    }
    return values;
}

/* The widest dense network of the same proportions that has at most so many values. */
static example_sizes narrow(const example_sizes *hidden, const rbe_dataset *data, size_t values) {
    example_sizes found = *hidden;
    for (size_t step = 1000; step > 0; step--) {
        for (size_t n = 0; n < hidden->count; n++) {
            size_t width = (size_t)lround((double)hidden->value[n] * (double)step / 1000.0);
            found.value[n] = width > 0 ? width : 1;
        }
        if (dense_values(&found, data) <= values) break;
    }
    return found;
}

static recipe recipe_of(const settings *s, method m, double ratio, uint64_t seed, const rbe_dataset *data) {
    recipe r = s->recipe;
    r.seed = seed;
    r.ratio = ratio;
    r.grow = m == GROWN || m == IDENTITY;
    if (r.group == 0) r.group = rbe_growth_group(ratio); /* for all: only the positions shall differ */
    if (m == IDENTITY) {
        r.transform = "identity";
        r.image = false;
    }
    if (m != NARROW && m != DENSE) return r;
    if (m == NARROW) {
        rbe_model *compressed = recipe_model(&r, data);
        r.hidden = narrow(&r.hidden, data, rbe_model_describe_cost(compressed).values);
        rbe_model_free(compressed);
    }
    r.dense = true;
    r.lr = 0.0;
    return r;
}

/* ---- a kind of model, over the seeds ------------------------------------------------------------------------- */

typedef struct outcome {
    method method;
    double ratio;
    spread error; /* percent */
    rbe_layer_cost cost;
    size_t file_bytes; /* most of all seeds */
    double seconds_per_epoch;
} outcome;

static outcome measure(const settings *s, method m, double ratio, const rbe_dataset *train, const rbe_dataset *test,
                       FILE *csv) {
    outcome o = {.method = m, .ratio = ratio};
    double errors[MAX_SEEDS];
    for (size_t n = 0; n < s->seeds; n++) {
        recipe r = recipe_of(s, m, ratio, s->recipe.seed + n, train);
        training t = recipe_start(&r, train);
        char label[80];
        snprintf(label, sizeof label, "%s, ratio %g, seed %llu", method_names[m], ratio, (unsigned long long)r.seed);
        t.fit.label = label;
        t.fit.progress = s->quiet ? NULL : stderr;
        rbe_fit_result fit = training_finish(&t, train, test);
        stored_model stored = experiment_store(t.model, NULL, s->store, test);
        errors[n] = 100.0 * stored.test.error;
        if (stored.bytes > o.file_bytes) o.file_bytes = stored.bytes;
        o.cost = rbe_model_describe_cost(t.model);
        o.seconds_per_epoch = fit.seconds_per_epoch;
        rbe_model_free(t.model);
        if (csv)
            fprintf(csv, "%s,%g,%llu,%.4f,%zu,%zu,%zu,%.4f\n", method_names[m], ratio, (unsigned long long)r.seed,
                    errors[n], o.cost.values, o.cost.bytes, stored.bytes, o.seconds_per_epoch);
    }
    o.error = spread_of(errors, s->seeds);
    return o;
}

static bool wanted(const settings *s, method m) { return !s->only || strcmp(s->only, method_names[m]) == 0; }

static void print_outcome(const settings *s, const outcome *o) {
    const char *name = method_names[o->method];
    if (s->json)
        printf("{\"program\":\"growth\",\"method\":\"%s\",\"ratio\":%g,\"test_error\":%.4f,\"deviation\":%.4f,"
               "\"seeds\":%zu,\"values\":%zu,\"memory_bytes\":%zu,\"file_bytes\":%zu,\"seconds_per_epoch\":%.4f}\n",
               name, o->ratio, o->error.mean, o->error.deviation, s->seeds, o->cost.values, o->cost.bytes,
               o->file_bytes, o->seconds_per_epoch);
    else
        printf("%-9s %6g  %5.2f +- %4.2f %% %9zu %10zu %10zu %10.2f\n", name, o->ratio, o->error.mean,
               o->error.deviation, o->cost.values, o->cost.bytes, o->file_bytes, o->seconds_per_epoch);
    fflush(stdout);
}

/* ---- the cost of growth -------------------------------------------------------------------------------------- */

/* Seconds of processor time, which other work on the machine disturbs least. */
static double processor_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double timed_step(training *t, rbe_tape *tape, const rbe_batch *batch, size_t step) {
    double start = processor_time();
    rbe_var *logits = rbe_model_forward(t->model, rbe_input(tape, batch->x));
    example_require(rbe_backward(rbe_cross_entropy(logits, batch->labels)));
    example_require(rbe_optim_step(t->optim));
    rbe_tape_reset(tape);
    example_require(rbe_growth_step(t->growth, step));
    return processor_time() - start;
}

/* Time of training with an exchange every COST_EVERY steps over that without: an exchange is in every COST_ROUND-th
 * step here; medians of the steps with one and of those without. */
static double growth_cost(const settings *s, double ratio, const rbe_dataset *train) {
    double with[COST_ROUNDS], without[COST_ROUNDS * COST_ROUND];
    size_t exchanges = 0, others = 0;
    recipe r = recipe_of(s, STATIC, ratio, s->recipe.seed, train);
    training t = recipe_start(&r, train);
    t.growth = example_need(rbe_growth_new(t.model, &(rbe_growth_options){.steps = 1000000, .every = COST_ROUND}));
    rbe_tape *tape = example_need(rbe_tape_new(NULL));
    rbe_batches *batches = example_need(rbe_batches_new(train, t.fit.batch, true, 1));
    rbe_batch batch;
    rbe_batches_start(batches, 0);
    rbe_batches_next(batches, &batch);
    for (size_t step = 0; exchanges < COST_ROUNDS; step++) {
        double seconds = timed_step(&t, tape, &batch, step);
        if (step < COST_ROUND) continue; /* to warm up */
        if (step % COST_ROUND == 0)
            with[exchanges++] = seconds;
        else
            without[others++] = seconds;
    }
    double plain = median(without, others), extra = median(with, exchanges) - plain;
    rbe_batches_free(batches);
    rbe_tape_free(tape);
    rbe_growth_free(t.growth);
    rbe_optim_free(t.optim);
    rbe_model_free(t.model);
    return 1.0 + extra / (COST_EVERY * plain);
}

int main(int argc, char **argv) {
    settings s = read_settings(argc, argv);
    if (s.threads > 0) example_require(rbe_set_threads((int)s.threads));
    FILE *csv = experiment_file(s.out, "growth.csv");
    rbe_dataset train, test;
    experiment_data(s.data, &train, &test);
    if (csv) fprintf(csv, "method,ratio,seed,test_error,values,memory_bytes,file_bytes,seconds_per_epoch\n");
    if (!s.json)
        printf("%-9s %6s  %15s %9s %10s %10s %10s\n", "positions", "ratio", "test error", "values", "memory B",
               "file B", "s/epoch");
    for (size_t n = 0; n <= s.ratios.count; n++)
        for (method m = STATIC; m < METHODS; m++) {
            bool compared = n < s.ratios.count; /* dense has no ratio, and comes last */
            if (!wanted(&s, m) || compared == (m == DENSE)) continue;
            outcome o = measure(&s, m, compared ? (double)s.ratios.value[n] : 1.0, &train, &test, csv);
            print_outcome(&s, &o);
        }
    experiment_close(csv);
    for (size_t n = 0; n < s.ratios.count && !s.only; n++) {
        double cost = growth_cost(&s, (double)s.ratios.value[n], &train);
        if (s.json)
            printf("{\"program\":\"growth\",\"method\":\"cost\",\"ratio\":%zu,\"time\":%.4f}\n", s.ratios.value[n],
                   cost);
        else
            printf("ratio %zu: growth every %d steps takes %.3f times the time\n", s.ratios.value[n], COST_EVERY, cost);
    }
    rbe_dataset_free(&train);
    rbe_dataset_free(&test);
    return 0;
}
