/* Data sets in memory: made from floats, read from a folder that has MNIST's file names, checked, split, freed. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/failure.h"
#include "data/dataset.h"

void rbe_dataset_free(rbe_dataset *data) {
    if (!data) return;
    if (data->owned) {
        rbe_free(data->pixels);
        rbe_free(data->values);
        rbe_free(data->tokens);
        rbe_free(data->labels);
        rbe_free(data->targets);
        rbe_free(data->weights);
    }
    *data = (rbe_dataset){0};
}

/* ---- checks -------------------------------------------------------------------------------------------------- */

/* Whether count x width floats can be addressed. */
static bool addressable(size_t count, size_t width) { return width <= PTRDIFF_MAX / sizeof(float) / count; }

static rbe_status check_inputs(const char *who, const rbe_dataset *data) {
    if (data->count < 1 || data->features < 1 || !addressable(data->count, data->features))
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "%s: expected samples and features, and no more than can be addressed, found %zu and %zu", who,
                        data->count, data->features);
    if (data->stride > 0 && (!data->tokens || !addressable(data->count, data->stride)))
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s: a stride of %zu: expected tokens, and places that can be addressed",
                        who, data->stride);
    int inputs = !!data->pixels + !!data->values + !!data->tokens;
    if (inputs == 1) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "%s: expected one of pixels, values and tokens, found %d of them", who,
                    inputs);
}

rbe_status rbe_dataset_check(const char *who, const rbe_dataset *data) {
    if (!data) return rbe_fail(RBE_INVALID_ARGUMENT, "%s: the data set is NULL", who);
    RBE_TRY(check_inputs(who, data));
    if (data->labels && !addressable(data->count, data->label_width))
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s: %zu labels for each of %zu samples are more than can be addressed",
                        who, data->label_width, data->count);
    if (data->targets && (data->target_width < 1 || !addressable(data->count, data->target_width)))
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "%s: expected targets of a width of at least 1 that can be addressed, found %zu", who,
                        data->target_width);
    for (size_t n = 0; data->weights && n < data->count; n++)
        if (!(data->weights[n] >= 0 && isfinite(data->weights[n])))
            return rbe_fail(RBE_INVALID_ARGUMENT, "%s: sample %zu: expected a finite weight >= 0, found %g", who, n,
                            (double)data->weights[n]);
    return RBE_OK;
}

/* What the functions below are given: `outputs` are labels or targets. */
static rbe_status check_arrays(const float *values, const void *outputs, const char *name, size_t count,
                               size_t features) {
    if (!values || !outputs)
        return rbe_fail(RBE_INVALID_ARGUMENT, "a data set needs values and %s, found NULL %s", name,
                        values ? name : "values");
    if (count > 0 && !addressable(count, features))
        return rbe_fail(RBE_INVALID_ARGUMENT, "%zu samples of %zu features are more than can be addressed", count,
                        features);
    size_t bad = rbe_first_nonfinite(values, count * features);
    if (bad == count * features) return RBE_OK;
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "sample %zu, feature %zu: expected a finite value, found %g",
                    bad / features, bad % features, (double)values[bad]);
}

static rbe_status check_labels(const int32_t *labels, size_t count, size_t features, int32_t classes) {
    if (count < 1 || features < 1 || classes < 1)
        return rbe_fail(RBE_INVALID_ARGUMENT, "a data set needs samples, features and classes, found %zu, %zu and %d",
                        count, features, (int)classes);
    for (size_t i = 0; i < count; i++)
        if (labels[i] < 0 || labels[i] >= classes)
            return rbe_fail(RBE_INVALID_ARGUMENT, "sample %zu: expected a label 0 .. %d, found %d", i, (int)classes - 1,
                            (int)labels[i]);
    return RBE_OK;
}

static rbe_status check_targets(const float *targets, size_t count, size_t features, size_t width) {
    if (count < 1 || features < 1 || width < 1)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "a data set needs samples, features and targets, found %zu, %zu and a width of %zu", count,
                        features, width);
    if (!addressable(count, width))
        return rbe_fail(RBE_INVALID_ARGUMENT, "%zu targets of width %zu are more than can be addressed", count, width);
    size_t bad = rbe_first_nonfinite(targets, count * width);
    if (bad == count * width) return RBE_OK;
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "sample %zu, target %zu: expected a finite value, found %g", bad / width,
                    bad % width, (double)targets[bad]);
}

/* ---- making -------------------------------------------------------------------------------------------------- */

/* A copy of values of 4 bytes, or NULL. */
static void *copy_of(const void *values, size_t count) {
    void *copy = rbe_alloc(count, sizeof(float));
    return copy ? memcpy(copy, values, count * sizeof(float)) : NULL;
}

/* Gives *made, whose sizes are set, copies of the values and of the labels or targets; the third is NULL. */
static rbe_status copy_arrays(rbe_dataset *made, const float *values, const int32_t *labels, const float *targets) {
    made->owned = true;
    made->values = copy_of(values, made->count * made->features);
    if (made->values && labels) made->labels = copy_of(labels, made->count);
    if (made->values && targets) made->targets = copy_of(targets, made->count * made->target_width);
    if (made->labels || made->targets) return RBE_OK;
    rbe_dataset_free(made);
    return RBE_INSUFFICIENT_MEMORY;
}

rbe_status rbe_dataset_from_floats(rbe_dataset *data, const float *values, const int32_t *labels, size_t count,
                                   size_t features, int32_t classes) {
    if (!data) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_dataset_from_floats: the result pointer is NULL");
    *data = (rbe_dataset){0};
    RBE_TRY(check_arrays(values, labels, "labels", count, features));
    RBE_TRY(check_labels(labels, count, features, classes));
    *data = (rbe_dataset){.count = count, .features = features, .classes = classes};
    return copy_arrays(data, values, labels, NULL);
}

rbe_status rbe_dataset_from_targets(rbe_dataset *data, const float *values, const float *targets, size_t count,
                                    size_t features, size_t target_width) {
    if (!data) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_dataset_from_targets: the result pointer is NULL");
    *data = (rbe_dataset){0};
    RBE_TRY(check_arrays(values, targets, "targets", count, features));
    RBE_TRY(check_targets(targets, count, features, target_width));
    *data = (rbe_dataset){.count = count, .features = features, .target_width = target_width};
    return copy_arrays(data, values, NULL, targets);
}

rbe_status rbe_dataset_split(rbe_dataset *data, size_t count, rbe_dataset *last) {
    if (!last) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_dataset_split: the result pointer is NULL");
    RBE_TRY(rbe_dataset_check("rbe_dataset_split", data));
    if (count < 1 || count >= data->count)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_dataset_split: expected 1 .. %zu of %zu samples, found %zu",
                        data->count - 1, data->count, count);
    data->count -= count;
    rbe_dataset view = *data;
    view.count = count;
    view.owned = false;
    size_t inputs = data->count * data->features;
    if (view.pixels) view.pixels += inputs;
    if (view.values) view.values += inputs;
    if (view.tokens) view.tokens += data->count * rbe_stride(data, data->features);
    if (view.labels) view.labels += data->count * rbe_stride(data, rbe_label_width(data));
    if (view.targets) view.targets += data->count * data->target_width;
    if (view.weights) view.weights += data->count;
    *last = view;
    return RBE_OK;
}

/* Writes "folder/name.gz", or "folder/name" if only that is there, to `path`. */
static rbe_status find_file(char *path, size_t room, const char *folder, const char *name) {
    int length = snprintf(path, room, "%s/%s.gz", folder, name);
    if (access(path, F_OK) == 0) return RBE_OK;
    path[(size_t)length - strlen(".gz")] = '\0';
    if (access(path, F_OK) == 0) return RBE_OK;
    return rbe_fail(RBE_IO_ERROR, "%s, with .gz or without: %s", path, strerror(errno));
}

rbe_status rbe_dataset_read_folder(rbe_dataset *data, const char *folder, bool train) {
    if (!data || !folder)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_dataset_read_folder: the %s is NULL",
                        data ? "folder" : "result pointer");
    *data = (rbe_dataset){0};
    size_t room = strlen(folder) + 64;
    char *images = rbe_alloc(2, room);
    if (!images) return RBE_INSUFFICIENT_MEMORY;
    char *labels = images + room;
    rbe_status status = find_file(images, room, folder, train ? "train-images-idx3-ubyte" : "t10k-images-idx3-ubyte");
    if (status == RBE_OK)
        status = find_file(labels, room, folder, train ? "train-labels-idx1-ubyte" : "t10k-labels-idx1-ubyte");
    if (status == RBE_OK) status = rbe_dataset_read_idx(data, images, labels, 10);
    rbe_free(images);
    return status;
}
