/* Training by a recipe; statistics; timing of models side by side. */
#include "experiment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

recipe recipe_default(void) {
    return (recipe){.hidden = {.value = {300, 100}, .count = 2},
                    .ratio = 16,
                    .transform = "dct",
                    .block = 32,
                    .epochs = 8,
                    .batch = 256,
                    .seed = 1};
}

/* ---- training ------------------------------------------------------------------------------------------------ */

static rbe_layer *hidden_layer(const recipe *r, const rbe_dataset *data, size_t n) {
    size_t in = n == 0 ? data->features : r->hidden.value[n - 1], out = r->hidden.value[n];
    uint64_t seed = r->seed * 1000 + n;
    if (r->ratio == 1.0) return rbe_dense_new(in, out, &(rbe_dense_options){.seed = seed});
    const rbe_transform *transform = rbe_transform_named(r->transform);
    rbe_linear_options options = {.block = r->block,
                                  .ratio = r->ratio,
                                  .row_transform = transform,
                                  .column_transform = transform,
                                  .group = r->group ? r->group : rbe_growth_group(r->ratio),
                                  .seed = seed};
    if (r->image && n == 0) {
        options.image_height = data->height;
        options.image_width = data->width;
        options.column_transform = NULL;
    }
    return rbe_linear_new(in, out, &options);
}

rbe_model *recipe_model(const recipe *r, const rbe_dataset *data) {
    rbe_model *model = rbe_model_new();
    if (r->dropout > 0) rbe_model_add(model, rbe_dropout_new((float)r->dropout));
    for (size_t n = 0; n < r->hidden.count; n++) {
        rbe_model_add(model, hidden_layer(r, data, n));
        rbe_model_apply(model, rbe_relu);
        if (r->dropout > 0) rbe_model_add(model, rbe_dropout_new((float)r->dropout));
    }
    rbe_model_add(model, rbe_dense_new(r->hidden.value[r->hidden.count - 1], (size_t)data->classes,
                                       &(rbe_dense_options){.seed = r->seed * 1000 + r->hidden.count}));
    example_require(rbe_model_status(model));
    return model;
}

/* Rates that did best on MNIST at 8 epochs of batch 256. */
static float rate(const recipe *r) {
    if (r->lr > 0) return (float)r->lr;
    return r->ratio == 1.0 ? 1.5e-3f : r->ratio <= 32.0 ? 4e-3f : 6e-3f;
}

static rbe_status grow(void *growth, const rbe_progress *progress) {
    return growth ? rbe_growth_step(growth, progress->step) : RBE_OK;
}

rbe_optim *recipe_optim(const recipe *r, rbe_model *model) {
    rbe_optim *optim = example_need(rbe_optim_new(rbe_adam, model, &(rbe_optim_options){.lr = rate(r)}));
    return optim;
}

rbe_growth *recipe_growth(const recipe *r, rbe_model *model, rbe_optim *optim, const rbe_dataset *train) {
    if (!r->grow || r->ratio == 1.0) return NULL;
    size_t steps = r->epochs * ((train->count + r->batch - 1) / r->batch);
    rbe_growth *growth = example_need(rbe_growth_new(model, optim, &(rbe_growth_options){.steps = steps}));
    return growth;
}

trained recipe_train(const recipe *r, const rbe_dataset *train, const rbe_dataset *test, bool progress) {
    trained t = {.model = recipe_model(r, train)};
    rbe_optim *optim = recipe_optim(r, t.model);
    rbe_growth *growth = recipe_growth(r, t.model, optim, train);
    char label[80];
    snprintf(label, sizeof label, "ratio %g, seed %llu", r->ratio, (unsigned long long)r->seed);
    const rbe_fit_options fit = {.epochs = r->epochs,
                                 .batch = r->batch,
                                 .seed = r->seed,
                                 .schedule = {.kind = RBE_COSINE},
                                 .label = label,
                                 .progress = progress ? stderr : NULL,
                                 .on_step = grow,
                                 .user = growth};
    example_require(rbe_fit(t.model, optim, train, test, &fit, &t.fit));
    rbe_growth_free(growth);
    rbe_optim_free(optim);
    return t;
}

/* ---- data and results ---------------------------------------------------------------------------------------- */

void experiment_data(const char *folder, rbe_dataset *train, rbe_dataset *test) {
    example_require(rbe_dataset_read_folder(train, folder, true));
    example_require(rbe_dataset_read_folder(test, folder, false));
}

FILE *experiment_file(const char *folder, const char *name) {
    if (!folder) return NULL;
    char path[4200];
    example_make_folder(folder);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    if (!file) example_fail(1, "%s cannot be written", path);
    return file;
}

void experiment_close(FILE *file) {
    if (file && fclose(file) != 0) example_fail(1, "the results cannot be written: is the disk full?");
}

stored_model experiment_store(const rbe_model *model, rbe_store store, const rbe_dataset *test) {
    char path[] = "/tmp/experiment_XXXXXX";
    struct stat status;
    int file = mkstemp(path);
    if (file < 0) example_fail(1, "no temporary file can be made in /tmp");
    close(file);
    example_require(rbe_model_save(model, path, &(rbe_save_options){.store = store}));
    rbe_model *again = example_need(rbe_model_load(path));
    rbe_evaluation e;
    example_require(rbe_evaluate(again, test, 500, &e));
    if (stat(path, &status) != 0) example_fail(1, "%s has disappeared", path);
    unlink(path);
    rbe_model_free(again);
    return (stored_model){(size_t)status.st_size, 100.0 * e.error};
}

spread spread_of(const double *values, size_t count) {
    spread s = {0};
    for (size_t n = 0; n < count; n++) s.mean += values[n] / (double)count;
    for (size_t n = 0; n < count; n++) s.deviation += (values[n] - s.mean) * (values[n] - s.mean);
    s.deviation = count > 1 ? sqrt(s.deviation / (double)(count - 1)) : 0.0;
    return s;
}

/* ---- timing -------------------------------------------------------------------------------------------------- */

double experiment_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, ascending);
    return values[count / 2];
}

void time_forward(rbe_model *const *models, size_t count, size_t rows, size_t rounds, double *seconds) {
    size_t features = rbe_layer_inputs(rbe_model_layer(models[0], 0));
    float *x = malloc(rows * features * sizeof *x);
    double *times = malloc(count * rounds * sizeof *times);
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    if (!x || !times || !tape) example_fail(1, "out of memory");
    for (size_t n = 0; n < rows * features; n++) x[n] = (float)(n % 17) / 17.0f;
    for (size_t round = 0; round < rounds + 2; round++) /* two to warm up */
        for (size_t m = 0; m < count; m++) {
            double start = experiment_now();
            rbe_model_forward(models[m], rbe_input(tape, rbe_tensor_2d(x, rows, features)));
            if (round >= 2) times[m * rounds + round - 2] = experiment_now() - start;
            example_require(rbe_tape_status(tape));
            rbe_tape_reset(tape);
        }
    for (size_t m = 0; m < count; m++) seconds[m] = median(times + m * rounds, rounds);
    rbe_tape_free(tape);
    free(times);
    free(x);
}
