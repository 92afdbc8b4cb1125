/* Data and results; models in files; statistics; timing of models side by side. */
#include "experiment.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- data and results ---------------------------------------------------------------------------------------- */

void experiment_data(const char *folder, rbe_dataset *train, rbe_dataset *test) {
    example_require(rbe_dataset_read_folder(train, folder, true));
    example_require(rbe_dataset_read_folder(test, folder, false));
}

void experiment_hold_out(rbe_dataset *train, rbe_dataset *test, size_t count) {
    if (count >= train->count)
        example_fail(2, "--hold-out: expected fewer than the %zu training samples, found %zu", train->count, count);
    rbe_dataset_free(test);
    example_require(rbe_dataset_split(train, count, test));
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

/* ---- models in files ----------------------------------------------------------------------------------------- */

static size_t size_of(const char *path) {
    struct stat status;
    if (stat(path, &status) != 0) example_fail(1, "%s has disappeared", path);
    return (size_t)status.st_size;
}

void experiment_temporary(char path[EXPERIMENT_PATH_SIZE]) {
    snprintf(path, EXPERIMENT_PATH_SIZE, "/tmp/experiment_XXXXXX");
    int file = mkstemp(path);
    if (file < 0) example_fail(1, "no temporary file can be made in /tmp");
    close(file);
}

size_t experiment_file_bytes(const rbe_model *model, const rbe_save_options *options) {
    size_t bytes;
    example_require(rbe_model_stored_bytes(model, options, &bytes));
    return bytes;
}

rbe_model *experiment_again(const rbe_model *model, const char *path, const rbe_save_options *save, size_t *bytes) {
    char name[EXPERIMENT_PATH_SIZE];
    if (!path) experiment_temporary(name);
    const char *file = path ? path : name;
    example_require(rbe_model_save(model, file, save));
    rbe_model *again = example_need(rbe_model_load(file));
    *bytes = size_of(file);
    if (!path) unlink(name);
    return again;
}

stored_model experiment_store(const rbe_model *model, const char *path, rbe_store store, const rbe_dataset *test) {
    stored_model stored;
    rbe_model *again = experiment_again(model, path, &(rbe_save_options){.store = store}, &stored.bytes);
    example_require(rbe_evaluate(again, test, 500, &stored.test));
    rbe_model_free(again);
    return stored;
}

/* ---- statistics ---------------------------------------------------------------------------------------------- */

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
    size_t features = rbe_model_inputs(models[0]);
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
