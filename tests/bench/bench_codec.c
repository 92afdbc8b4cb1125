/* Compression of a 1024 x 1024 matrix: memory against accuracy, and how long it takes.
 *
 * Three matrices: the middle layer of a 784-1024-1024-10 classifier of digits that is trained here, a smooth one,
 * exp(-((r - c) / 102)^2 / 2), and one of independent normal numbers. For the latter theory says what the largest
 * share p of the coefficients leaves, in any orthonormal basis:
 *
 *     E(p)^2 = 1 - 2 (t phi(t) + Q(t)),   Q(t) = p / 2
 *
 * with phi the density of the normal distribution and Q its upper tail. Times are taken in turns with a dense
 * product of 1024^3 (interleaved.h), one thread each; those of several threads in turns with one.
 */
#include <cblas.h>
#include <gsl/gsl_cdf.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../examples/common.h"
#include "baseline.h"
#include "interleaved.h"

enum { SIZE = 1024, COUNT = SIZE * SIZE, SAMPLES = 4000, MAX_THREADS = 64 };

typedef struct settings {
    const char *data, *what;
    size_t epochs, threads;
    uint64_t seed;
    bool json, quick;
} settings;

static const struct { size_t block, coeffs; } budgets[] = {{32, 100}, {64, 200}, {128, 400}, {256, 800}};

enum { BUDGETS = sizeof budgets / sizeof *budgets };

static float *floats(size_t count) { return example_need(malloc(count * sizeof(float))); }

/* ---- the matrices -------------------------------------------------------------------------------------------- */

typedef struct network {
    rbe_model *model;
    rbe_dataset test;
    float *activations; /* SAMPLES x SIZE: inputs of the middle layer */
    size_t samples;
} network;

static float *smooth_matrix(void) {
    float *w = floats(COUNT);
    for (int n = 0; n < COUNT; n++) {
        double distance = (n / SIZE - n % SIZE) / 102.0;
        w[n] = (float)exp(-0.5 * distance * distance);
    }
    return w;
}

static float *random_matrix(uint64_t seed) {
    float *w = floats(COUNT);
    rbe_rng *rng = example_need(rbe_rng_new(seed, 1));
    for (int n = 0; n < COUNT; n++) w[n] = (float)rbe_rng_normal(rng);
    rbe_rng_free(rng);
    return w;
}

/* What the middle layer is given for the first training images. */
static void record_activations(network *net, const rbe_dataset *train) {
    net->samples = train->count < SAMPLES ? train->count : SAMPLES;
    net->activations = floats(net->samples * SIZE);
    rbe_batches *batches = example_need(rbe_batches_new(train, net->samples, false, 0));
    rbe_batch batch;
    rbe_batches_start(batches, 0);
    rbe_batches_next(batches, &batch);
    rbe_tape *tape = example_need(rbe_tape_new(&(rbe_tape_options){.inference = true}));
    rbe_var *h = rbe_relu(rbe_layer_forward(rbe_model_layer(net->model, 0), rbe_input(tape, batch.x)));
    example_require(rbe_tape_status(tape));
    memcpy(net->activations, rbe_value(h)->data, net->samples * SIZE * sizeof(float));
    rbe_tape_free(tape);
    rbe_batches_free(batches);
}

static network trained_network(const settings *s) {
    network net = {.model = example_need(rbe_model_new())};
    rbe_dataset train;
    example_require(rbe_dataset_read_folder(&train, s->data, true));
    example_require(rbe_dataset_read_folder(&net.test, s->data, false));
    const size_t widths[] = {train.features, SIZE, SIZE, (size_t)train.classes};
    for (size_t n = 0; n < 3; n++) {
        rbe_model_add(net.model,
                      rbe_dense_new(widths[n], widths[n + 1], &(rbe_dense_options){.seed = s->seed * 1000 + n}));
        if (n < 2) rbe_model_apply(net.model, rbe_relu);
    }
    example_require(rbe_model_status(net.model));
    rbe_optim *optim = example_need(rbe_optim_new(rbe_optim_method_named("adam"), net.model, NULL));
    const rbe_fit_options options = {.epochs = s->epochs,
                                     .seed = s->seed,
                                     .schedule = {.kind = RBE_COSINE},
                                     .label = "784-1024-1024-10",
                                     .progress = stderr};
    rbe_fit_result result;
    example_require(rbe_fit(net.model, optim, &train, NULL, &options, &result));
    rbe_optim_free(optim);
    record_activations(&net, &train);
    rbe_dataset_free(&train);
    return net;
}

static const float *middle_weights(const network *net) {
    return rbe_layer_param(rbe_model_layer(net->model, 1), 0)->value;
}

/* ---- memory against accuracy --------------------------------------------------------------------------------- */

static rbe_layer *copy_of_dense(const network *net, size_t n) {
    const rbe_layer *layer = rbe_model_layer(net->model, n);
    return rbe_dense_from_weights(rbe_layer_inputs(layer), rbe_layer_outputs(layer), rbe_layer_param(layer, 0)->value,
                                  rbe_layer_param(layer, 1)->value, NULL);
}

/* Test error, in percent, of the network with this middle layer, which is used up; NULL: the dense one. */
static double test_error(const network *net, rbe_layer *middle) {
    rbe_model *model = example_need(rbe_model_new());
    rbe_model_add(model, copy_of_dense(net, 0));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, middle ? middle : copy_of_dense(net, 1));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, copy_of_dense(net, 2));
    example_require(rbe_model_status(model));
    rbe_evaluation e;
    example_require(rbe_evaluate(model, &net->test, 500, &e));
    rbe_model_free(model);
    return 100.0 * e.error;
}

static size_t bytes_of(const rbe_blocks *blocks) {
    rbe_blocks_info info = rbe_blocks_describe(blocks);
    return info.value_bytes + info.position_bytes + info.alpha_bytes;
}

/* net: of a trained matrix, else NULL. */
static void measure(const settings *s, const char *name, const float *w, const network *net, size_t n, bool fitted) {
    /* Of random numbers there is no smooth part, and theory speaks of the coefficients alone. */
    rbe_compress_options options = {.block = budgets[n].block,
                                    .coeffs = budgets[n].coeffs,
                                    .alpha = strcmp(name, "random") == 0 ? RBE_ALPHA_OFF : RBE_ALPHA_AUTO};
    float bias[SIZE];
    if (net) memcpy(bias, rbe_layer_param(rbe_model_layer(net->model, 1), 1)->value, sizeof bias);
    if (fitted) {
        options.samples = net->activations;
        options.sample_count = net->samples;
    }
    rbe_blocks *blocks;
    rbe_compress_report r;
    example_require(rbe_compress_weights(&blocks, bias, &r, w, SIZE, SIZE, &options));
    size_t bytes = bytes_of(blocks);
    double error = net ? test_error(net, rbe_linear_from_blocks(blocks, bias, SIZE, NULL)) : NAN;
    if (!net) rbe_blocks_free(blocks);
    double smaller = COUNT * sizeof(float) / (double)bytes;
    if (s->json) {
        printf("{\"case\":\"accuracy\",\"matrix\":\"%s\",\"fitted\":%s,\"block\":%zu,\"coeffs\":%zu,\"bytes\":%zu,"
               "\"smaller\":%.3f,\"error\":%.6g",
               name, fitted ? "true" : "false", budgets[n].block, budgets[n].coeffs, bytes, smaller, r.relative_error);
        if (net) printf(",\"test_error\":%.4f", error);
        printf("}\n");
    } else {
        printf("%-8s %-8s %5zu %5zu %10zu %8.2f %10.2e", name, fitted ? "fitted" : "", budgets[n].block,
               budgets[n].coeffs, bytes, smaller, r.relative_error);
        if (net) printf(" %10.2f", error);
        printf("\n");
    }
    fflush(stdout);
}

/* E(p), see above. */
static double theory(double p) {
    double t = gsl_cdf_ugaussian_Qinv(p / 2.0), density = exp(-0.5 * t * t) / sqrt(2.0 * M_PI);
    return sqrt(1.0 - 2.0 * (t * density + p / 2.0));
}

/* The same line in bytes: 4 for a value, 2 for its position, 4 for the list of each row. */
static void print_theory(const settings *s) {
    for (double p = 0.4; p > 0.005; p /= 1.2) {
        double smaller = 4.0 * COUNT / (6.0 * p * COUNT + 4.0 * SIZE);
        if (s->json)
            printf("{\"case\":\"theory\",\"share\":%.5f,\"smaller\":%.3f,\"error\":%.5f}\n", p, smaller, theory(p));
    }
    for (size_t n = 0; !s->json && n < BUDGETS; n++) {
        double share = (double)budgets[n].coeffs / (double)(budgets[n].block * budgets[n].block);
        printf("%-8s %-8s %5zu %5zu %30.2e\n", "random", "theory", budgets[n].block, budgets[n].coeffs, theory(share));
    }
}

static void compare_accuracy(const settings *s) {
    network net = trained_network(s);
    double dense = test_error(&net, NULL);
    if (s->json)
        printf("{\"case\":\"dense\",\"bytes\":%zu,\"test_error\":%.4f,\"samples\":%zu}\n", COUNT * sizeof(float), dense,
               net.test.count);
    else
        printf("784-1024-1024-10: test error %.2f %%, the middle layer takes %zu bytes\n\n"
               "matrix               B     K      bytes  smaller      error  test error [%%]\n",
               dense, COUNT * sizeof(float));
    float *smooth = smooth_matrix(), *random = random_matrix(s->seed);
    for (int fitted = 0; fitted < 2; fitted++)
        for (size_t n = 0; n < BUDGETS; n++) measure(s, "trained", middle_weights(&net), &net, n, fitted);
    for (size_t n = 0; n < BUDGETS; n++) measure(s, "smooth", smooth, NULL, n, false);
    for (size_t n = 0; n < BUDGETS; n++) measure(s, "random", random, NULL, n, false);
    print_theory(s);
    free(smooth);
    free(random);
    free(net.activations);
    rbe_dataset_free(&net.test);
    rbe_model_free(net.model);
}

/* ---- speed --------------------------------------------------------------------------------------------------- */

typedef struct subject {
    float *w, *x, *y;
    rbe_compress_options options;
    int threads;
} subject;

static void compress_once(const subject *b, int threads) {
    rbe_blocks *blocks;
    example_require(rbe_set_threads(threads));
    example_require(rbe_compress(&blocks, b->w, SIZE, SIZE, &b->options));
    rbe_blocks_free(blocks);
}

static void run_compression(void *b) { compress_once(b, ((subject *)b)->threads); }
static void run_on_one_thread(void *b) { compress_once(b, 1); }

static void run_dense(void *self) {
    const subject *b = self;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, SIZE, SIZE, SIZE, 1.0f, b->x, SIZE, b->w, SIZE, 0.0f, b->y,
                SIZE);
}

/* On one thread against the dense product, on more against one thread. */
static void time_compression(const settings *s, subject *b, const char *what) {
    bool alone = s->threads == 1;
    bench_timing t = bench_interleaved(run_compression, alone ? run_dense : run_on_one_thread, b, alone, s->quick);
    double speed = COUNT * sizeof(float) / t.compressed * 1e-6;
    if (s->json)
        printf("{\"case\":\"speed\",\"what\":\"%s\",\"block\":%zu,\"coeffs\":%zu,\"threads\":%zu,\"ms\":%.3f,"
               "\"mb_per_s\":%.1f,\"%s\":%.3f,\"ratio\":%.3f,\"ratio_low\":%.3f,\"ratio_high\":%.3f}\n",
               what, b->options.block, b->options.coeffs, s->threads, t.compressed * 1e3, speed,
               alone ? "sgemm_ms" : "one_thread_ms", t.dense * 1e3, 1.0 / t.ratio, 1.0 / t.ratio_high,
               1.0 / t.ratio_low);
    else
        printf("%-24s %5zu %5zu %9.2f %8.0f %9.2f %8.2f (%.2f - %.2f)\n", what, b->options.block, b->options.coeffs,
               t.compressed * 1e3, speed, t.dense * 1e3, 1.0 / t.ratio, 1.0 / t.ratio_high, 1.0 / t.ratio_low);
    fflush(stdout);
}

static void compare_speed(const settings *s) {
    subject b = {random_matrix(s->seed), random_matrix(s->seed + 1), floats(COUNT), {0}, (int)s->threads};
    if (!s->json)
        printf("%zu thread%s, OpenBLAS for %s\nbudget                       B     K        ms     MB/s %9s    times "
               "(quartiles)\n",
               s->threads, s->threads == 1 ? "" : "s", openblas_get_corename(),
               s->threads == 1 ? "sgemm ms" : "1 thread");
    b.options = (rbe_compress_options){.block = 64, .coeffs = 256, .alpha = RBE_ALPHA_OFF};
    time_compression(s, &b, "of each block, no alpha");
    b.options.alpha = RBE_ALPHA_AUTO;
    time_compression(s, &b, "of each block");
    b.options = (rbe_compress_options){.block = 64, .ratio = 16};
    time_compression(s, &b, "of the matrix, ratio 16");
    for (size_t n = 0; n < BUDGETS; n++) {
        b.options = (rbe_compress_options){.block = budgets[n].block, .coeffs = budgets[n].coeffs};
        time_compression(s, &b, "of each block");
    }
    free(b.w);
    free(b.x);
    free(b.y);
}

int main(int argc, char **argv) {
    settings s = {.data = "data", .what = "accuracy", .epochs = 5, .threads = 1, .seed = 1};
    const example_option options[] = {
        {"case", EXAMPLE_TEXT, &s.what, "accuracy|speed", "memory against accuracy, or times", 0, 0},
        {"data", EXAMPLE_TEXT, &s.data, "DIR", "digits to train on, IDX files", 0, 0},
        {"epochs", EXAMPLE_COUNT, &s.epochs, "N", "of training", 1, 1000},
        {"seed", EXAMPLE_SEED, &s.seed, "N", "of the network and the random matrix", 0, 0},
        {"threads", EXAMPLE_COUNT, &s.threads, "T", "1: against a dense product; more: against one thread", 1,
         MAX_THREADS},
        {"quick", EXAMPLE_FLAG, &s.quick, NULL, "fewer rounds of timing", 0, 0},
        {"json", EXAMPLE_FLAG, &s.json, NULL, "one JSON object per line instead of a table", 0, 0},
    };
    example_parse(argc, argv, "Compresses matrices of 1024 x 1024.", options, sizeof options / sizeof *options);
    bench_require_kernels();
    example_require(rbe_set_threads((int)s.threads));
    if (strcmp(s.what, "speed") == 0)
        compare_speed(&s);
    else
        compare_accuracy(&s);
    return 0;
}
