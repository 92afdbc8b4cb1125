/* Says how well a stored model classifies the digits of a test set, and with --stores, how well and in how many bytes
 * it would in each type of stored values. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "experiment.h"
#include "rbe/io.h"

typedef struct settings {
    const char *model, *data, *classes;
    size_t batch, threads;
    bool train, stores, json;
} settings;

static settings read_settings(int argc, char **argv) {
    settings s = {.data = "data", .batch = 256};
    const example_option options[] = {
        {"MODEL", EXAMPLE_FILE, &s.model, NULL, "a model file", 0, 0},
        {"data", EXAMPLE_TEXT, &s.data, "DIR", "folder with the IDX files, plain or .gz", 0, 0},
        {"train", EXAMPLE_FLAG, &s.train, NULL, "the training data instead of the test data", 0, 0},
        {"batch", EXAMPLE_COUNT, &s.batch, "N", "samples at a time", 1, 1000000},
        {"threads", EXAMPLE_COUNT, &s.threads, "N", "threads (default: one per processor)", 1, RBE_MAX_THREADS},
        {"classes", EXAMPLE_TEXT, &s.classes, "FILE", "write the predicted class of each sample, as IDX labels", 0, 0},
        {"stores", EXAMPLE_FLAG, &s.stores, NULL, "compare the types of stored values", 0, 0},
        {"json", EXAMPLE_FLAG, &s.json, NULL, "end with one line of JSON", 0, 0},
    };
    example_parse(argc, argv, "Measures the accuracy of a stored model.", options, sizeof options / sizeof *options);
    return s;
}

/* ---- types of stored values ---------------------------------------------------------------------------------- */

/* Bytes of the model's file; the file is at `path` afterwards. */
static size_t save(const rbe_model *model, const char *path, rbe_save_options options) {
    struct stat about;
    example_require(rbe_model_save(model, path, &options));
    if (stat(path, &about) != 0) example_fail(1, "%s cannot be found again", path);
    return (size_t)about.st_size;
}

static void compare_stores(const rbe_model *model, const rbe_dataset *data, size_t batch, double error) {
    char folder[] = "/tmp/classify-XXXXXX", path[64];
    if (!mkdtemp(folder)) example_fail(1, "cannot create a folder in /tmp");
    snprintf(path, sizeof path, "%s/model", folder);
    double dense = (double)rbe_model_describe_cost(model).dense_bytes;
    printf("\nBytes of the file, with positions as deltas and in the smallest form; how many times smaller than dense "
           "f32:\n"
           "%-8s %13s %8s %10s %8s %11s %7s\n",
           "type", "deltas", "smaller", "smallest", "smaller", "error [%]", "change");
    const char *name;
    for (int store = 0; (name = rbe_store_name((rbe_store)store)); store++) {
        size_t deltas = save(model, path, (rbe_save_options){(rbe_store)store, RBE_POSITIONS_DELTA});
        size_t smallest = save(model, path, (rbe_save_options){(rbe_store)store, RBE_POSITIONS_SMALLEST});
        rbe_model *stored = example_need(rbe_model_load(path));
        rbe_evaluation found;
        example_require(rbe_evaluate(stored, data, batch, &found));
        printf("%-8s %13zu %8.2f %10zu %8.2f %11.2f %+7.2f\n", name, deltas, dense / (double)deltas, smallest,
               dense / (double)smallest, 100 * found.error, 100 * (found.error - error));
        rbe_model_free(stored);
    }
    unlink(path);
    rmdir(folder);
}

/* ---- classes ------------------------------------------------------------------------------------------------- */

static int largest(const float *y, size_t count) {
    size_t best = 0;
    for (size_t n = 1; n < count; n++)
        if (y[n] > y[best]) best = n;
    return (int)best;
}

static FILE *created(const char *path) {
    FILE *file = fopen(path, "wb");
    if (!file) example_fail(1, "%s cannot be written", path);
    return file;
}

/* An IDX file of labels, without compression. */
static void write_classes(const rbe_model *model, const rbe_dataset *data, const char *path) {
    const size_t outputs = rbe_model_outputs(model);
    const uint8_t header[8] = {0,
                               0,
                               8,
                               1,
                               (uint8_t)(data->count >> 24),
                               (uint8_t)(data->count >> 16),
                               (uint8_t)(data->count >> 8),
                               (uint8_t)data->count};
    float *x = example_take(data->features, sizeof *x), *y = example_take(outputs, sizeof *y);
    FILE *file = created(path);
    fwrite(header, 1, sizeof header, file);
    for (size_t n = 0; n < data->count; n++) {
        for (size_t i = 0; i < data->features; i++) x[i] = (float)data->pixels[n * data->features + i] / 255.0f;
        example_require(rbe_predict(model, x, 1, y));
        fputc(largest(y, outputs), file);
    }
    experiment_close(file);
    free(x);
    free(y);
}

int main(int argc, char **argv) {
    settings s = read_settings(argc, argv);
    if (s.threads > 0) example_require(rbe_set_threads((int)s.threads));
    rbe_model *model = example_need(rbe_model_load(s.model));
    rbe_dataset data;
    example_require(rbe_dataset_read_folder(&data, s.data, s.train));

    if (rbe_model_inputs(model) != data.features)
        example_fail(1, "%s: expected a model that takes %zu pixels, found one of %zu inputs%s", s.model, data.features,
                     rbe_model_inputs(model), rbe_model_inputs(model) > 0 ? "" : " (rows of any width)");
    rbe_evaluation found;
    double start = experiment_now();
    example_require(rbe_evaluate(model, &data, s.batch, &found));
    double seconds = experiment_now() - start;
    printf("%-10s %.2f +- %.2f %%  (%zu %s samples)\n", "accuracy", 100 * (1 - found.error),
           100 * found.error_uncertainty, found.count, s.train ? "training" : "test");
    printf("%-10s %.2f +- %.2f %%\n", "error", 100 * found.error, 100 * found.error_uncertainty);
    printf("%-10s %.4f\n", "loss", found.loss);
    printf("%-10s %.3f s, %.0f samples/s\n", "time", seconds, (double)found.count / seconds);
    if (s.classes) write_classes(model, &data, s.classes);
    if (s.stores) compare_stores(model, &data, s.batch, found.error);
    if (s.json)
        printf("{\"program\":\"classify\",\"error\":%.4f,\"error_uncertainty\":%.4f,\"loss\":%.6f,\"samples\":%zu}\n",
               100 * found.error, 100 * found.error_uncertainty, found.loss, found.count);
    rbe_dataset_free(&data);
    rbe_model_free(model);
    return 0;
}
