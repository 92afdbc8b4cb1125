/* Trains an autoencoder - 784 pixels become 32 numbers, and those 784 pixels again - and draws what comes back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiment.h"
#include "gnuplot.h"
#include "resume.h"

typedef struct settings {
    const char *data, *layer, *out;
    size_t epochs, batch, threads;
    double ratio, lr;
    uint64_t seed;
    bool dense;
    resume resume;
} settings;

enum { LAYERS = 4, CODE = 32 };

static settings read_settings(int argc, char **argv) {
    settings s = {.data = "data", .layer = "rbe", .epochs = 30, .batch = 64, .ratio = 8, .lr = 3e-3, .seed = 1};
    const example_option own[] = {
        {"data", EXAMPLE_TEXT, &s.data, "DIR", "folder with the four IDX files, plain or .gz", 0, 0},
        {"layer", EXAMPLE_TEXT, &s.layer, "dense|rbe", "kind of the layers", 0, 0},
        {"ratio", EXAMPLE_REAL, &s.ratio, "R", "rbe: values of a dense layer per stored value", 1, 1e6},
        {"epochs", EXAMPLE_COUNT, &s.epochs, "N", "passes over the training data", 1, 1000000},
        {"batch", EXAMPLE_COUNT, &s.batch, "N", "samples per step", 1, 1000000},
        {"lr", EXAMPLE_REAL, &s.lr, "R", "learning rate", 1e-9, 1e3},
        {"seed", EXAMPLE_SEED, &s.seed, "N", "seed of the initial weights and the order of samples", 0, 0},
        {"threads", EXAMPLE_COUNT, &s.threads, "N", "threads (default: one per processor)", 1, RBE_MAX_THREADS},
        {"out", EXAMPLE_TEXT, &s.out, "DIR", "folder for model.safetensors, log.csv, autoencoder.png (created)", 0, 0},
    };
    enum { OWN = sizeof own / sizeof *own };
    example_option options[OWN + RESUME_OPTIONS];
    memcpy(options, own, sizeof own);
    resume_options(&s.resume, options + OWN);
    example_parse(argc, argv, "Trains an autoencoder of 28 x 28 digits and draws what it makes of them.", options,
                  OWN + RESUME_OPTIONS);
    resume_check(&s.resume);
    s.dense = strcmp(s.layer, "dense") == 0;
    if (s.dense && example_given("ratio")) example_fail(2, "--ratio needs --layer rbe");
    return s;
}

/* What is to be learned is what is given: the same floats are inputs and targets. They are freed by hand. */
static rbe_dataset of_itself(rbe_dataset *digits) {
    const size_t count = digits->count * digits->features;
    rbe_dataset self = {.count = digits->count, .features = digits->features, .target_width = digits->features};
    self.values = self.targets = example_take(count, sizeof *self.values);
    for (size_t n = 0; n < count; n++) self.values[n] = (float)digits->pixels[n] / 255.0f;
    rbe_dataset_free(digits);
    return self;
}

static rbe_layer *new_layer(const settings *s, size_t in, size_t out, size_t n) {
    const uint64_t seed = s->seed * 1000 + n;
    if (s->dense) return rbe_dense_new(in, out, &(rbe_dense_options){.seed = seed});
    const rbe_linear_options options = {.ratio = s->ratio, .group = rbe_growth_group(s->ratio), .seed = seed};
    return rbe_linear_new(in, out, &options);
}

static rbe_model *new_model(const settings *s, size_t pixels) {
    const size_t widths[LAYERS + 1] = {pixels, 256, CODE, 256, pixels};
    rbe_model *model = rbe_model_new();
    for (size_t n = 0; n < LAYERS; n++) {
        rbe_model_add(model, new_layer(s, widths[n], widths[n + 1], n));
        if (widths[n + 1] == 256) rbe_model_apply(model, rbe_relu);
    }
    rbe_model_apply(model, rbe_sigmoid);
    example_require(rbe_model_status(model));
    return model;
}

/* Compressed layers grow. */
static rbe_fit_result train(const settings *s, rbe_model *model, const rbe_dataset *data, const rbe_dataset *test) {
    char csv_path[4200], model_path[4200];
    rbe_fit_options fit = {.epochs = s->epochs,
                           .batch = s->batch,
                           .seed = s->seed,
                           .schedule = {.kind = RBE_COSINE},
                           .label = s->layer,
                           .progress = stderr,
                           .csv_path = s->out ? csv_path : NULL};
    if (s->out) snprintf(csv_path, sizeof csv_path, "%s/log.csv", s->out);
    if (s->out) snprintf(model_path, sizeof model_path, "%s/model.safetensors", s->out);
    const size_t steps = s->epochs * ((data->count + s->batch - 1) / s->batch);
    rbe_growth *growth = NULL;
    if (!s->dense) growth = example_need(rbe_growth_new(model, &(rbe_growth_options){.steps = steps}));
    const rbe_routine grow = rbe_growth_routine(growth);
    fit.routines = &grow;
    fit.routine_count = growth ? 1 : 0;
    rbe_optim *optim = example_need(rbe_optim_new(rbe_adam, model, &(rbe_optim_options){.lr = (float)s->lr}));
    const rbe_fit_result result =
        resume_fit(&s->resume, model, optim, data, test, &fit, s->out ? model_path : NULL, NULL);
    rbe_optim_free(optim);
    rbe_growth_free(growth);
    return result;
}

/* ---- the picture --------------------------------------------------------------------------------------------- */

enum { SIDE = 28, DOWN = 6, ACROSS = 6, GAP = 14 };

/* A line of pixels of ACROSS digits. */
static void write_line(FILE *gnuplot, const float *digits, size_t line) {
    for (size_t n = 0; n < ACROSS; n++)
        for (size_t x = 0; x < SIDE; x++) fprintf(gnuplot, "%.3f ", (double)digits[(n * SIDE + line) * SIDE + x]);
}

/* The first digits on the left, and on the right, in the same places, what the model makes of them. */
static void draw(const char *path, const float *digits, const float *made, double error) {
    const int panel = ACROSS * SIDE;
    FILE *gnuplot = gnuplot_open(path, 1200, 640);
    fprintf(gnuplot, "$pixels << END\n");
    for (size_t line = 0; line < DOWN * SIDE; line++) {
        const size_t first = line / SIDE * ACROSS * SIDE * SIDE;
        write_line(gnuplot, digits + first, line % SIDE);
        for (size_t n = 0; n < GAP; n++) fprintf(gnuplot, "0 ");
        write_line(gnuplot, made + first, line % SIDE);
        fprintf(gnuplot, "\n");
    }
    fprintf(gnuplot,
            "END\nset title 'Digits, and what %d numbers of each bring back (mean squared error %.4f)'\n"
            "set lmargin at screen 0.01\nset rmargin at screen 0.85\nset cblabel 'ink'\n"
            "set bmargin at screen 0.08\nset tmargin at screen 0.9\n"
            "set palette gray negative\nset cbrange [0:1]\nset cbtics 0.5\n"
            "set size ratio -1\nset yrange [*:*] reverse\nunset key\nunset border\nset format y ''\nunset ytics\n"
            "set xtics ('digits' %d, 'reconstructions' %d) scale 0\nplot $pixels matrix with image\n",
            CODE, error, panel / 2, panel + GAP + panel / 2);
    gnuplot_close(gnuplot, path);
}

static void store_and_draw(const settings *s, const rbe_model *model, const rbe_dataset *test, double error) {
    char path[4200];
    snprintf(path, sizeof path, "%s/model.safetensors", s->out);
    example_require(rbe_model_save(model, path, NULL));
    if (test->count < DOWN * ACROSS) example_fail(1, "expected at least %d test digits to draw", DOWN * ACROSS);
    float *made = example_take(DOWN * ACROSS * test->features, sizeof *made);
    example_require(rbe_predict(model, test->values, DOWN * ACROSS, made));
    snprintf(path, sizeof path, "%s/autoencoder.png", s->out);
    draw(path, test->values, made, error);
    free(made);
}

int main(int argc, char **argv) {
    settings s = read_settings(argc, argv);
    if (s.threads > 0) example_require(rbe_set_threads((int)s.threads));
    if (s.out) example_make_folder(s.out);
    rbe_dataset train_digits, test_digits;
    experiment_data(s.data, &train_digits, &test_digits);
    rbe_dataset data = of_itself(&train_digits), test = of_itself(&test_digits);
    rbe_model *model = new_model(&s, data.features);
    const rbe_fit_result result = train(&s, model, &data, &test);
    const rbe_layer_cost cost = rbe_model_describe_cost(model);
    char a[EXAMPLE_NUMBER_SIZE], b[EXAMPLE_NUMBER_SIZE];
    printf("reconstruction error %.5f per pixel (mean square; ink is 0 .. 1), R^2 %.3f, of %zu test digits\n",
           result.test.loss, result.test.metric, result.test.count);
    printf("bytes of the layers %s (dense: %s); %.2f seconds per epoch\n", example_number(cost.bytes, a),
           example_number(cost.dense_bytes, b), result.seconds_per_epoch);
    if (s.out) store_and_draw(&s, model, &test, result.test.loss);
    rbe_model_free(model);
    free(data.values);
    free(test.values);
    return 0;
}
