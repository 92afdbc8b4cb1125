/* How few bytes does a digits classifier need for how many errors? One point of that curve: chooses, for a file of a given
 * size, width, bits, groups and the strength of what regularises, on held-out training images, then trains with several
 * seeds on all of them, and only then looks at the test images.
 *
 * The choices are made one after the other; each candidate is trained for a fifth of the epochs, with two seeds. */
#include <math.h>
#include <string.h>

#include "budget.h"
#include "experiment.h"

enum { MAX_SEEDS = 16, HELD_OUT_SHARE = 6, CHOICE_SEEDS = 2, FIRST_CHOICE_SEED = 101, LEAST_CHOICE_EPOCHS = 10 };

/* Epochs of files above this size are fewer in proportion: they learn faster, and a step takes longer. */
enum { LARGE_BYTES = 30000, LEAST_EPOCHS = 30 };

typedef struct settings {
    const char *data, *out;
    size_t budget, epochs, seeds, threads;
    uint64_t seed;
    bool augment, quiet;
} settings;

static settings read_settings(int argc, char **argv) {
    settings s = {.data = "data", .budget = 12608, .seeds = 5, .seed = 1};
    const example_option options[] = {
        {"data", EXAMPLE_TEXT, &s.data, "DIR", "folder with the four IDX files, plain or .gz", 0, 0},
        {"budget", EXAMPLE_COUNT, &s.budget, "BYTES", "the most bytes that the file may have", 1, 1e12},
        {"augment", EXAMPLE_FLAG, &s.augment, NULL, "augment the training images, differently in each epoch", 0, 0},
        {"epochs", EXAMPLE_COUNT, &s.epochs, "N",
         "epochs of the final trainings (default: 30, augmented 200; fewer above 30 kB)", 1, 1000000},
        {"seeds", EXAMPLE_COUNT, &s.seeds, "N", "models, with consecutive seeds", 1, MAX_SEEDS},
        {"seed", EXAMPLE_SEED, &s.seed, "N", "the first seed", 0, 0},
        {"threads", EXAMPLE_COUNT, &s.threads, "N", "threads (default: one per processor)", 1, RBE_MAX_THREADS},
        {"out", EXAMPLE_TEXT, &s.out, "DIR", "folder for frontier.csv and choices.csv (created)", 0, 0},
        {"quiet", EXAMPLE_FLAG, &s.quiet, NULL, "show no progress", 0, 0},
    };
    example_parse(argc, argv, "Measures the error of a digits classifier whose file has a given size.", options,
                  sizeof options / sizeof *options);
    return s;
}

/* ---- what is chosen ------------------------------------------------------------------------------------------ */

/* Strength is that of the augmentation, 1: the one that is good for MNIST; without it, of dropout, 1: 0.1. */
enum { WIDTH, BITS, GROUP, STRENGTH, PROPERTIES };

typedef struct choice {
    double of[PROPERTIES];
} choice;

/* What the program for a budget would do by itself, a strength of 1. */
static recipe usual_recipe(const settings *s, double strength, const rbe_dataset *train) {
    recipe r = recipe_default();
    if (s->augment) r.augment = (rbe_augment_options){.affine = 0.5 * strength, .elastic = 0.8 * strength};
    budget_choose(&r, train, s->budget);
    r.dropout *= strength;
    if (s->epochs > 0)
        r.epochs = s->epochs;
    else if (s->budget > LARGE_BYTES)
        r.epochs = (size_t)fmax(LEAST_EPOCHS, (double)r.epochs * LARGE_BYTES / (double)s->budget);
    return r;
}

static recipe recipe_of(const settings *s, const choice *c, const rbe_dataset *train) {
    recipe r = usual_recipe(s, c->of[STRENGTH], train);
    r.hidden.value[0] = (size_t)c->of[WIDTH];
    r.bits = r.head_bits = (size_t)c->of[BITS];
    r.group = (size_t)c->of[GROUP];
    return r;
}

static choice usual_choice(const settings *s, const rbe_dataset *train) {
    const recipe r = usual_recipe(s, 1.0, train);
    return (choice){{(double)r.hidden.value[0], (double)r.bits, (double)r.group, 1.0}};
}

/* Trains by the recipe, and says what became of it, in its file. */
static stored_model train_one(const settings *s, recipe r, const rbe_dataset *train, const rbe_dataset *test) {
    size_t trimmed;
    char label[80];
    budget_fit(&r, train, RBE_STORE_F32, s->budget);
    training t = recipe_start(&r, train);
    snprintf(label, sizeof label, "%zu bytes%s, seed %llu", s->budget, s->augment ? ", augmented" : "",
             (unsigned long long)r.seed);
    t.fit.label = label;
    t.fit.progress = s->quiet ? NULL : stderr;
    budget_train(&t, s->budget, train, NULL, &trimmed);
    const stored_model stored = experiment_store(t.model, NULL, RBE_STORE_F32, test);
    rbe_model_free(t.model);
    return stored;
}

/* The first columns of both tables. */
#define CHOICE_HEADER "augmented,budget,width,bits,group,strength,"

static void write_choice(FILE *csv, const settings *s, const choice *c) {
    fprintf(csv, "%d,%zu,%g,%g,%g,%.4g,", s->augment, s->budget, c->of[WIDTH], c->of[BITS], c->of[GROUP],
            c->of[STRENGTH]);
}

/* Held-out images and those that are left to train on, and the table of what was tried. */
typedef struct trial {
    const settings *s;
    const rbe_dataset *train, *held_out;
    FILE *csv;
} trial;

/* Percent of the held-out images, the mean over the seeds. */
static double held_out_error(const trial *t, const choice *c) {
    double errors[CHOICE_SEEDS];
    for (size_t n = 0; n < CHOICE_SEEDS; n++) {
        recipe r = recipe_of(t->s, c, t->train);
        r.seed = FIRST_CHOICE_SEED + n;
        r.epochs = (size_t)fmax(fmin(LEAST_CHOICE_EPOCHS, (double)r.epochs), (double)r.epochs / 5.0);
        errors[n] = 100.0 * train_one(t->s, r, t->train, t->held_out).test.error;
    }
    const double error = spread_of(errors, CHOICE_SEEDS).mean;
    printf("  width %g, %g bits, groups of %g, strength %.2g: %.2f %% of the held-out images\n", c->of[WIDTH],
           c->of[BITS], c->of[GROUP], c->of[STRENGTH], error);
    fflush(stdout);
    if (t->csv) {
        write_choice(t->csv, t->s, c);
        fprintf(t->csv, "%.3f\n", error);
    }
    return error;
}

/* The neighbours of a choice in a property: the value times `factor`, plus `more`. */
typedef struct neighbour {
    size_t property;
    double factor, more;
} neighbour;

static bool move_to(choice *c, const neighbour *to) {
    enum { UNITS = 8, MOST_UNITS = 1024, MOST_BITS = 8 };
    double *value = &c->of[to->property];
    *value = *value * to->factor + to->more;
    if (to->property == WIDTH) *value = UNITS * round(*value / UNITS);
    return c->of[WIDTH] >= UNITS && c->of[WIDTH] <= MOST_UNITS && c->of[BITS] <= MOST_BITS;
}

/* The usual choice, and its neighbours, property by property: what does best so far goes on. */
static choice choose(const trial *t) {
    const neighbour neighbours[] = {
        {WIDTH, 2.0 / 3.0, 0}, {WIDTH, 1.5, 0},          {BITS, 1, -1},           {BITS, 1, 1}, {GROUP, 0.5, 0},
        {GROUP, 2, 0},         {STRENGTH, 2.0 / 3.0, 0}, {STRENGTH, 4.0 / 3.0, 0}};
    choice best = usual_choice(t->s, t->train), start = best;
    double least = held_out_error(t, &best);
    for (size_t n = 0; n < sizeof neighbours / sizeof *neighbours; n++) {
        if (n > 0 && neighbours[n].property != neighbours[n - 1].property) start = best;
        choice next = start;
        if (!move_to(&next, &neighbours[n])) continue;
        const double error = held_out_error(t, &next);
        if (error >= least) continue;
        least = error;
        best = next;
    }
    return best;
}

/* ---- the test ------------------------------------------------------------------------------------------------ */

static void measure(const settings *s, const choice *c, const rbe_dataset *train, const rbe_dataset *test, FILE *csv) {
    double errors[MAX_SEEDS];
    size_t most = 0;
    for (size_t n = 0; n < s->seeds; n++) {
        recipe r = recipe_of(s, c, train);
        r.seed = s->seed + n;
        const double start = experiment_now();
        const stored_model stored = train_one(s, r, train, test);
        errors[n] = 100.0 * stored.test.error;
        if (stored.bytes > most) most = stored.bytes;
        printf("  seed %llu: %.2f %% in %zu bytes\n", (unsigned long long)r.seed, errors[n], stored.bytes);
        fflush(stdout);
        if (!csv) continue;
        write_choice(csv, s, c);
        fprintf(csv, "%zu,%llu,%.3f,%zu,%.1f\n", r.epochs, (unsigned long long)r.seed, errors[n], stored.bytes,
                experiment_now() - start);
    }
    const spread error = spread_of(errors, s->seeds);
    printf("%s: test error %.2f +- %.2f %% in at most %zu bytes\n", s->augment ? "augmented" : "not augmented",
           error.mean, error.deviation, most);
}

int main(int argc, char **argv) {
    const settings s = read_settings(argc, argv);
    if (s.threads > 0) example_require(rbe_set_threads((int)s.threads));
    rbe_dataset train, test, held_out = {0};
    experiment_data(s.data, &train, &test);
    rbe_dataset part = train;
    experiment_hold_out(&part, &held_out, train.count / HELD_OUT_SHARE);

    FILE *csv = experiment_file(s.out, "choices.csv");
    if (csv) fprintf(csv, CHOICE_HEADER "held_out_error\n");
    const choice best = choose(&(trial){&s, &part, &held_out, csv});
    experiment_close(csv);

    csv = experiment_file(s.out, "frontier.csv");
    if (csv) fprintf(csv, CHOICE_HEADER "epochs,seed,test_error,file_bytes,seconds\n");
    measure(&s, &best, &train, &test, csv);
    experiment_close(csv);
    rbe_dataset_free(&held_out);
    rbe_dataset_free(&train);
    rbe_dataset_free(&test);
    return 0;
}
