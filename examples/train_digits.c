/* Trains a classifier of handwritten digits, with dense or compressed hidden layers, stores it, and says what it
 * costs. */
#include <stdio.h>
#include <string.h>

#include "budget.h"
#include "experiment.h"

typedef struct settings {
    const char *data, *layer, *store_name, *out;
    recipe recipe;
    rbe_store store;
    size_t hold_out, budget, threads, log_every;
    bool json, no_growth, no_image;
    resume resume;
} settings;

/* Ends the program if the command line has, for dense layers, an option of compressed ones. */
static void check_dense(void) {
    static const char *const options[] = {
        "ratio",          "coeffs",          "budget",        "growth",           "no-growth",
        "prune-schedule", "prune-threshold", "image",         "no-image",         "block",
        "group",          "transform",       "row-transform", "column-transform", "alpha"};
    for (size_t n = 0; n < sizeof options / sizeof *options; n++)
        if (example_given(options[n])) example_fail(2, "--%s needs --layer rbe", options[n]);
}

static settings read_settings(int argc, char **argv) {
    settings s = {.data = "data", .layer = "rbe", .store_name = "f32", .recipe = recipe_default()};
    recipe *r = &s.recipe;
    r->ratio = 0; /* not given */
    const example_option own[] = {
        {"data", EXAMPLE_TEXT, &s.data, "DIR", "folder with the four IDX files, plain or .gz", 0, 0},
        {"hold-out", EXAMPLE_COUNT, &s.hold_out, "N", "hold out the last N training samples and test on them", 1, 1e9},
        {"augment", EXAMPLE_REAL, &r->augment.affine, "A",
         "how strongly to rotate, scale, shear and shift the training images, differently in each epoch (0.5 suits "
         "MNIST)",
         0, 10},
        {"elastic", EXAMPLE_REAL, &r->augment.elastic, "E", "how strongly to bend them (0.8 suits MNIST)", 0, 10},
        {"layer", EXAMPLE_TEXT, &s.layer, "dense|rbe", "kind of the hidden layers; the last layer is dense", 0, 0},
        {"ratio", EXAMPLE_REAL, &r->ratio, "R", "rbe: values of a dense layer per stored value (default 16)", 1, 1e6},
        {"coeffs", EXAMPLE_COUNT, &r->coeffs, "K", "rbe: coefficients per block, instead of --ratio", 1, 65536},
        {"budget", EXAMPLE_COUNT, &s.budget, "BYTES",
         "rbe: the most bytes that the model's file may have; chooses the ratio and whatever is not given", 1, 1e12},
        {"growth", EXAMPLE_FLAG, &r->grow, NULL, "rbe: move the smallest coefficients to where the gradient is largest",
         0, 0},
        {"no-growth", EXAMPLE_FLAG, &s.no_growth, NULL, "rbe: with --budget, leave coefficients where they were drawn",
         0, 0},
        {"no-image", EXAMPLE_FLAG, &s.no_image, NULL, "rbe: with --budget, do not choose --image", 0, 0},
        {"prune-schedule", EXAMPLE_REAL, &r->prune, "P", "rbe: share of the coefficients removed during training", 0,
         1},
        {"prune-threshold", EXAMPLE_REAL, &r->threshold, "T", "rbe: instead, remove those of magnitude T or less", 0,
         1e30},
        {"relative", EXAMPLE_FLAG, &r->relative, NULL, "T is in units of each layer's root mean square", 0, 0},
        {"bits", EXAMPLE_COUNT, &r->bits, "N", "train and store the values of hidden layers in N bits each", 2, 8},
        {"head-bits", EXAMPLE_COUNT, &r->head_bits, "N", "the same for the last layer", 2, 8},
        {"quantize-from", EXAMPLE_REAL, &r->quantize_from, "SHARE",
         "share of the steps after which values have few bits", 0, 1},
        {"store", EXAMPLE_TEXT, &s.store_name, example_stores(), "type of the stored values", 0, 0},
        {"threads", EXAMPLE_COUNT, &s.threads, "N", "threads (default: one per processor)", 1, RBE_MAX_THREADS},
        {"out", EXAMPLE_TEXT, &s.out, "DIR", "folder for model.safetensors and log.csv (created)", 0, 0},
        {"log-every", EXAMPLE_COUNT, &s.log_every, "N", "also log a row every N steps", 1, 1e9},
        {"json", EXAMPLE_FLAG, &s.json, NULL, "end with one line of JSON", 0, 0},
    };
    enum { OWN = sizeof own / sizeof *own };
    example_option options[RECIPE_OPTIONS + RESUME_OPTIONS + OWN];
    memcpy(options, own, sizeof own);
    recipe_options(r, options + OWN);
    resume_options(&s.resume, options + OWN + RECIPE_OPTIONS);
    example_parse(argc, argv, "Trains a classifier of 28 x 28 digits and says what it costs.", options,
                  sizeof options / sizeof *options);
    r->dense = strcmp(s.layer, "dense") == 0;
    if ((r->ratio > 0) + (r->coeffs > 0) + (s.budget > 0) > 1)
        example_fail(2, "--ratio, --coeffs and --budget exclude each other");
    if (r->dense) check_dense();
    if ((s.no_growth && r->grow) || (s.no_image && r->image))
        example_fail(2, "--growth and --image exclude their --no-");
    if (r->prune > 0 && r->threshold > 0) example_fail(2, "--prune-schedule and --prune-threshold exclude each other");
    if (r->relative && r->threshold == 0) example_fail(2, "--relative needs --prune-threshold");
    if (example_given("quantize-from") && r->bits == 0 && r->head_bits == 0)
        example_fail(2, "--quantize-from needs --bits or --head-bits");
    if (r->ratio == 0) r->ratio = 16;
    recipe_check(r);
    resume_check(&s.resume);
    rbe_store_named(s.store_name, &s.store);
    return s;
}

/* Says, as options, what has been chosen for the budget beside the number of values. */
static void print_choices(const settings *s) {
    const recipe *r = &s->recipe;
    char budget[EXAMPLE_NUMBER_SIZE];
    printf("for %s bytes:", example_number(s->budget, budget));
    if (!example_given("hidden")) printf(" --hidden %zu", r->hidden.value[0]);
    if (r->grow) printf(" --growth");
    if (r->image) printf(" --image");
    if (r->bits > 0) printf(" --bits %zu", r->bits);
    if (r->head_bits > 0) printf(" --head-bits %zu", r->head_bits);
    printf(" --group %zu --dropout %g --epochs %zu --optimizer %s --weight-decay %g --lr %g\n", r->group, r->dropout,
           r->epochs, r->optimizer, r->decay, r->lr);
}

/* ---- what it costs ------------------------------------------------------------------------------------------- */

typedef struct report {
    rbe_fit_result fit;
    stored_model stored;
    rbe_layer_cost cost;
    size_t trimmed; /* values */
    size_t peak;    /* of the library, without the data */
} report;

static double megabytes(size_t bytes) { return (double)bytes / 1e6; }

static void print_table(const settings *s, const report *r) {
    char a[EXAMPLE_NUMBER_SIZE], b[EXAMPLE_NUMBER_SIZE], c[EXAMPLE_NUMBER_SIZE];
    printf("\n%-20s %s\n", "hidden layers", s->layer);
    printf("%-20s %.2f +- %.2f %%  (%zu samples, of the model read back from its file)\n", "test error",
           100 * r->stored.test.error, 100 * r->stored.test.error_uncertainty, r->stored.test.count);
    printf("%-20s %s", "values", example_number(r->cost.values, a));
    if (r->trimmed > 0) printf("  (%zu pruned for the budget)", r->trimmed);
    printf("\n%-20s %s  (dense: %s, this is %s)\n", "bytes", example_number(r->cost.bytes, a),
           example_number(r->cost.dense_bytes, b), example_smaller(r->cost.bytes, r->cost.dense_bytes, c));
    printf("%-20s %s  (", "bytes of the file", example_number(r->stored.bytes, a));
    if (s->recipe.bits > 0) printf("%zu bits, ", s->recipe.bits);
    if (s->recipe.head_bits > 0) printf("%zu in the last layer, ", s->recipe.head_bits);
    printf("%s)\n", s->recipe.bits > 0 && s->recipe.head_bits > 0 ? "everything packed" : s->store_name);
    printf("%-20s %.3f\n", "seconds per epoch", r->fit.seconds_per_epoch);
    printf("%-20s %.2f MB  (without the data)\n", "peak memory", megabytes(r->peak));
}

static void print_json(const settings *s, const report *r) {
    printf("{\"program\":\"train_digits\",\"layer\":\"%s\",\"test_error\":%.4f,\"test_error_uncertainty\":%.4f,"
           "\"weight_values\":%zu,\"weight_bytes\":%zu,\"dense_bytes\":%zu,\"file_bytes\":%zu,\"train_seconds\":%.4f,"
           "\"seconds_per_epoch\":%.5f,\"peak_bytes\":%zu}\n",
           s->layer, 100 * r->stored.test.error, 100 * r->stored.test.error_uncertainty, r->cost.values, r->cost.bytes,
           r->cost.dense_bytes, r->stored.bytes, r->fit.seconds, r->fit.seconds_per_epoch, r->peak);
}

int main(int argc, char **argv) {
    settings s = read_settings(argc, argv);
    if (s.threads > 0) example_require(rbe_set_threads((int)s.threads));
    char csv_path[4200], model_path[4200];
    if (s.out) {
        example_make_folder(s.out);
        snprintf(csv_path, sizeof csv_path, "%s/log.csv", s.out);
        snprintf(model_path, sizeof model_path, "%s/model.safetensors", s.out);
    }
    rbe_dataset train, test;
    experiment_data(s.data, &train, &test);
    if (s.hold_out > 0) experiment_hold_out(&train, &test, s.hold_out);
    if (s.budget > 0) {
        budget_choose(&s.recipe, &train, s.budget);
        print_choices(&s);
        budget_fit(&s.recipe, &train, s.store, s.budget);
    }
    size_t data_bytes = rbe_memory().current;
    rbe_memory_reset_peak();

    report r = {0};
    training t = recipe_start(&s.recipe, &train);
    const rbe_optim_options optim = recipe_optim_options(&s.recipe);
    size_t bytes =
        rbe_training_bytes(t.model, rbe_optim_method_named(s.recipe.optimizer), &optim, train.features, t.fit.batch);
    printf("%zu training and %zu test samples; training needs %.2f MB%s beside their %.2f MB\n", train.count,
           test.count, megabytes(bytes), t.growth ? ", and growth some more," : "", megabytes(data_bytes));
    fflush(stdout);
    t.fit.label = s.layer;
    t.fit.progress = stderr;
    t.fit.csv_path = s.out ? csv_path : NULL;
    t.fit.log_every = s.log_every;
    t.resume = s.resume;
    t.path = s.out ? model_path : NULL;
    t.save.store = s.store;
    r.fit = s.budget > 0 ? budget_train(&t, s.budget, &train, &test, &r.trimmed) : training_finish(&t, &train, &test);
    r.peak = rbe_memory().peak - data_bytes;
    r.stored = experiment_store(t.model, s.out ? model_path : NULL, s.store, &test);
    r.cost = rbe_model_describe_cost(t.model);
    print_table(&s, &r);
    if (s.json) print_json(&s, &r);

    rbe_model_free(t.model);
    rbe_dataset_free(&train);
    rbe_dataset_free(&test);
    return 0;
}
