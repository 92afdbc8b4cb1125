/* Says how well a stored model classifies the digits of a test set. */
#include <stdio.h>
#include <time.h>

#include "common.h"
#include "operand.h"
#include "rbe/io.h"

typedef struct settings {
    const char *model, *data;
    size_t batch, threads;
    bool train, json;
} settings;

static settings read_settings(int argc, char **argv) {
    settings s = {.data = "data", .batch = 256};
    const example_option options[] = {
        {"data", EXAMPLE_TEXT, &s.data, "DIR", "folder with the IDX files, plain or .gz", 0, 0},
        {"train", EXAMPLE_FLAG, &s.train, NULL, "the training data instead of the test data", 0, 0},
        {"batch", EXAMPLE_COUNT, &s.batch, "N", "samples at a time", 1, 1000000},
        {"threads", EXAMPLE_COUNT, &s.threads, "N", "threads (default: one per processor)", 1, 1024},
        {"json", EXAMPLE_FLAG, &s.json, NULL, "end with one line of JSON", 0, 0},
    };
    s.model = example_operand(&argc, &argv);
    example_parse(argc, argv, "Accuracy of a stored model: classify MODEL.safetensors [options].", options,
                  sizeof options / sizeof *options);
    if (!s.model) example_fail(2, "expected a model file before the options");
    return s;
}

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int argc, char **argv) {
    settings s = read_settings(argc, argv);
    if (s.threads > 0) example_require(rbe_set_threads((int)s.threads));
    rbe_model *model = example_need(rbe_model_load(s.model));
    rbe_dataset data;
    example_require(rbe_dataset_read_folder(&data, s.data, s.train));

    rbe_evaluation found;
    double start = seconds_now();
    example_require(rbe_evaluate(model, &data, s.batch, &found));
    double seconds = seconds_now() - start;
    printf("%-10s %.2f +- %.2f %%  (%zu %s samples)\n", "accuracy", 100 * (1 - found.error),
           100 * found.error_uncertainty, found.count, s.train ? "training" : "test");
    printf("%-10s %.2f +- %.2f %%\n", "error", 100 * found.error, 100 * found.error_uncertainty);
    printf("%-10s %.4f\n", "loss", found.loss);
    printf("%-10s %.3f s, %.0f samples/s\n", "time", seconds, (double)found.count / seconds);
    if (s.json)
        printf("{\"program\":\"classify\",\"error\":%.4f,\"error_uncertainty\":%.4f,\"loss\":%.6f,\"samples\":%zu}\n",
               100 * found.error, 100 * found.error_uncertainty, found.loss, found.count);
    rbe_dataset_free(&data);
    rbe_model_free(model);
    return 0;
}
