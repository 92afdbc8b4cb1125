/* Trains a classifier of handwritten digits, with dense or compressed hidden layers, and says what it costs. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common.h"
#include "rbe/adapt.h"

/* Rates that did best on the embedded digits and on MNIST, each for its kind of layer. */
static const double default_lr_dense = 4e-3, default_lr_rbe = 8e-3;

typedef struct settings {
    const char *data, *layer, *transform, *alpha, *schedule, *optimizer, *out;
    example_sizes hidden;
    double ratio, lr;
    size_t coeffs, block, group, epochs, batch, threads, log_every;
    uint64_t seed;
    bool image, grow, json;
} settings;

static settings read_settings(int argc, char **argv) {
    settings s = {.data = "data",
                  .layer = "rbe",
                  .transform = "dct",
                  .alpha = "auto",
                  .schedule = "cosine",
                  .optimizer = "adam",
                  .hidden = {.value = {300, 100}, .count = 2},
                  .block = 32,
                  .epochs = 8,
                  .batch = 256,
                  .seed = 1};
    const example_option options[] = {
        {"data", EXAMPLE_TEXT, &s.data, "DIR", "folder with the four IDX files, plain or .gz", 0, 0},
        {"layer", EXAMPLE_TEXT, &s.layer, "dense|rbe", "kind of the hidden layers; the last layer is dense", 0, 0},
        {"hidden", EXAMPLE_SIZES, &s.hidden, "N,N,..", "widths of the hidden layers", 1, 65536},
        {"ratio", EXAMPLE_REAL, &s.ratio, "R", "rbe: values of a dense layer per stored value (default 16)", 1, 1e6},
        {"coeffs", EXAMPLE_COUNT, &s.coeffs, "K", "rbe: coefficients per block, instead of --ratio", 1, 65536},
        {"block", EXAMPLE_COUNT, &s.block, "B", "rbe: block size, a power of two 8 .. 256", 8, 256},
        {"group", EXAMPLE_COUNT, &s.group, "G", "rbe: block rows that share positions (default 16)", 1, 65536},
        {"image", EXAMPLE_FLAG, &s.image, NULL, "rbe: the first layer takes its inputs as an image", 0, 0},
        {"grow", EXAMPLE_FLAG, &s.grow, NULL, "rbe: move unused coefficients to where the loss wants some", 0, 0},
        {"transform", EXAMPLE_TEXT, &s.transform, "NAME", "rbe: dct, haar, db4 .. db20, wht, identity", 0, 0},
        {"alpha", EXAMPLE_TEXT, &s.alpha, "on|off|auto", "rbe: the smooth part of each block", 0, 0},
        {"epochs", EXAMPLE_COUNT, &s.epochs, "N", "passes over the training data", 1, 1000000},
        {"batch", EXAMPLE_COUNT, &s.batch, "N", "samples per step", 1, 1000000},
        {"lr", EXAMPLE_REAL, &s.lr, "R", "learning rate (default: 0.004 dense, 0.008 rbe)", 1e-9, 1e3},
        {"schedule", EXAMPLE_TEXT, &s.schedule, "constant|cosine", "of the learning rate", 0, 0},
        {"optimizer", EXAMPLE_TEXT, &s.optimizer, "sgd|adam|adamw", "sgd has a momentum of 0.9", 0, 0},
        {"seed", EXAMPLE_SEED, &s.seed, "N", "of weights and order", 0, 0},
        {"threads", EXAMPLE_COUNT, &s.threads, "N", "threads (default: one per processor)", 1, 1024},
        {"out", EXAMPLE_TEXT, &s.out, "DIR", "folder for log.csv; created", 0, 0},
        {"log-every", EXAMPLE_COUNT, &s.log_every, "N", "log a row every N steps too", 1, 1e9},
        {"json", EXAMPLE_FLAG, &s.json, NULL, "end with one line of JSON", 0, 0},
    };
    example_parse(argc, argv, "Trains a classifier of 28 x 28 digits and says what it costs.", options,
                  sizeof options / sizeof *options);
    if (s.ratio > 0 && s.coeffs > 0) example_fail(2, "--ratio and --coeffs exclude each other");
    if ((s.grow || s.image) && strcmp(s.layer, "rbe") != 0) example_fail(2, "--grow and --image need --layer rbe");
    if ((s.block & (s.block - 1)) != 0) example_fail(2, "--block: expected a power of two, found %zu", s.block);
    if (!rbe_transform_named(s.transform)) example_fail(2, "--transform: %s", rbe_last_error());
    if (s.lr == 0) s.lr = strcmp(s.layer, "rbe") == 0 ? default_lr_rbe : default_lr_dense;
    return s;
}

/* ---- the model ----------------------------------------------------------------------------------------------- */

static rbe_alpha_mode alpha_mode(const char *name) {
    if (strcmp(name, "on") == 0) return RBE_ALPHA_ON;
    return strcmp(name, "off") == 0 ? RBE_ALPHA_OFF : RBE_ALPHA_AUTO;
}

static rbe_layer *hidden_layer(const settings *s, const rbe_dataset *data, size_t n) {
    size_t in = n == 0 ? data->features : s->hidden.value[n - 1], out = s->hidden.value[n];
    uint64_t seed = s->seed * 1000 + n;
    if (strcmp(s->layer, "dense") == 0) return rbe_dense_new(in, out, &(rbe_dense_options){.seed = seed});
    rbe_linear_options options = {.block = s->block,
                                  .coeffs = s->coeffs,
                                  .ratio = s->ratio,
                                  .row_transform = rbe_transform_named(s->transform),
                                  .column_transform = rbe_transform_named(s->transform),
                                  .alpha = alpha_mode(s->alpha),
                                  .group = s->group,
                                  .seed = seed};
    if (s->grow && s->group == 0) options.group = rbe_growth_group(s->ratio > 0 ? s->ratio : 16);
    if (s->image && n == 0) {
        options.image_height = data->height;
        options.image_width = data->width;
        options.column_transform = NULL; /* the 2-D DCT of the image takes its place */
    }
    return rbe_linear_new(in, out, &options);
}

static rbe_model *new_model(const settings *s, const rbe_dataset *data) {
    rbe_model *model = rbe_model_new();
    for (size_t n = 0; n < s->hidden.count; n++) {
        rbe_model_add(model, hidden_layer(s, data, n));
        rbe_model_apply(model, rbe_relu);
    }
    const rbe_dense_options head = {.seed = s->seed * 1000 + s->hidden.count};
    rbe_model_add(model, rbe_dense_new(s->hidden.value[s->hidden.count - 1], (size_t)data->classes, &head));
    example_require(rbe_model_status(model));
    return model;
}

/* ---- what it costs ------------------------------------------------------------------------------------------- */

typedef struct report {
    rbe_fit_result fit;
    rbe_layer_cost cost;
    size_t peak; /* of the library, without the data */
} report;

static double megabytes(size_t bytes) { return (double)bytes / 1e6; }

static void print_table(const settings *s, const report *r) {
    char a[EXAMPLE_NUMBER_SIZE], b[EXAMPLE_NUMBER_SIZE];
    printf("\n%-20s %s\n", "hidden layers", s->layer);
    printf("%-20s %.2f +- %.2f %%  (%zu samples)\n", "test error", 100 * r->fit.test.error,
           100 * r->fit.test.error_uncertainty, r->fit.test.count);
    printf("%-20s %s\n", "values", example_number(r->cost.values, a));
    printf("%-20s %s  (dense: %s, %.1f times)\n", "bytes", example_number(r->cost.bytes, a),
           example_number(r->cost.dense_bytes, b), (double)r->cost.dense_bytes / (double)r->cost.bytes);
    printf("%-20s %.3f\n", "seconds per epoch", r->fit.seconds_per_epoch);
    printf("%-20s %.2f MB  (without the data)\n", "peak memory", megabytes(r->peak));
}

static void print_json(const settings *s, const report *r) {
    printf("{\"program\":\"train_digits\",\"layer\":\"%s\",\"test_error\":%.4f,\"test_error_uncertainty\":%.4f,"
           "\"weight_values\":%zu,\"weight_bytes\":%zu,\"dense_bytes\":%zu,\"train_seconds\":%.4f,"
           "\"seconds_per_epoch\":%.5f,\"peak_bytes\":%zu}\n",
           s->layer, 100 * r->fit.test.error, 100 * r->fit.test.error_uncertainty, r->cost.values, r->cost.bytes,
           r->cost.dense_bytes, r->fit.seconds, r->fit.seconds_per_epoch, r->peak);
}

static rbe_status grow(void *growth, const rbe_progress *progress) { return rbe_growth_step(growth, progress->step); }

int main(int argc, char **argv) {
    settings s = read_settings(argc, argv);
    if (s.threads > 0) example_require(rbe_set_threads((int)s.threads));
    char csv_path[4200];
    if (s.out) {
        example_make_folder(s.out);
        snprintf(csv_path, sizeof csv_path, "%s/log.csv", s.out);
    }
    rbe_dataset train, test;
    example_require(rbe_dataset_read_folder(&train, s.data, true));
    example_require(rbe_dataset_read_folder(&test, s.data, false));
    size_t data_bytes = rbe_memory().current;
    rbe_memory_reset_peak();

    report r;
    rbe_model *model = new_model(&s, &train);
    const rbe_optim_method *method = rbe_optim_method_named(s.optimizer);
    const rbe_optim_options optim_options = {.lr = (float)s.lr, .momentum = method == rbe_sgd ? 0.9f : 0.0f};
    r.cost = rbe_model_describe_cost(model);
    size_t batch = s.batch < train.count ? s.batch : train.count;
    printf("%zu training and %zu test samples; training needs %.2f MB%s beside their %.2f MB\n", train.count,
           test.count, megabytes(rbe_training_bytes(model, method, &optim_options, train.features, batch)),
           s.grow ? ", and growth some more," : "", megabytes(data_bytes));
    fflush(stdout);

    rbe_optim *optim = example_need(rbe_optim_new(method, model, &optim_options));
    rbe_fit_options fit = {.epochs = s.epochs,
                           .batch = batch,
                           .seed = s.seed,
                           .label = s.layer,
                           .progress = stderr,
                           .csv_path = s.out ? csv_path : NULL,
                           .log_every = s.log_every};
    rbe_schedule_kind_named(s.schedule, &fit.schedule.kind);
    rbe_growth *growth = NULL;
    if (s.grow) {
        size_t steps = s.epochs * ((train.count + batch - 1) / batch);
        growth = example_need(rbe_growth_new(model, optim, &(rbe_growth_options){.steps = steps}));
        fit.on_step = grow;
        fit.user = growth;
    }
    example_require(rbe_fit(model, optim, &train, &test, &fit, &r.fit));
    r.peak = rbe_memory().peak - data_bytes;
    print_table(&s, &r);
    if (s.json) print_json(&s, &r);

    rbe_growth_free(growth);
    rbe_optim_free(optim);
    rbe_model_free(model);
    rbe_dataset_free(&train);
    rbe_dataset_free(&test);
    return 0;
}
