/* Data sets in memory: made from floats, read from a folder that has MNIST's file names, freed. */
#include <errno.h>
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
        rbe_free(data->labels);
    }
    *data = (rbe_dataset){0};
}

rbe_status rbe_dataset_check(const char *who, const rbe_dataset *data) {
    if (!data) return rbe_fail(RBE_INVALID_ARGUMENT, "%s: the data set is NULL", who);
    if (data->count < 1 || data->features < 1 || data->features > PTRDIFF_MAX / sizeof(float) / data->count)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "%s: expected samples and features, and no more than can be addressed, found %zu and %zu", who,
                        data->count, data->features);
    if (!data->labels) return rbe_fail(RBE_INVALID_ARGUMENT, "%s: the labels are NULL", who);
    if (!data->pixels != !data->values) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "%s: expected either pixels or values, found %s", who,
                    data->pixels ? "both" : "neither");
}

static rbe_status check_samples(const float *values, const int32_t *labels, size_t count, size_t features,
                                int32_t classes) {
    if (!values || !labels)
        return rbe_fail(RBE_INVALID_ARGUMENT, "a data set needs values and labels, found NULL %s",
                        values ? "labels" : "values");
    if (count < 1 || features < 1 || classes < 1)
        return rbe_fail(RBE_INVALID_ARGUMENT, "a data set needs samples, features and classes, found %zu, %zu and %d",
                        count, features, (int)classes);
    if (features > PTRDIFF_MAX / sizeof(float) / count)
        return rbe_fail(RBE_INVALID_ARGUMENT, "%zu samples of %zu features are more than can be addressed", count,
                        features);
    size_t bad = rbe_first_nonfinite(values, count * features);
    if (bad < count * features)
        return rbe_fail(RBE_NUMERICAL_INSTABILITY, "sample %zu, feature %zu: expected a finite value, found %g",
                        bad / features, bad % features, (double)values[bad]);
    for (size_t i = 0; i < count; i++)
        if (labels[i] < 0 || labels[i] >= classes)
            return rbe_fail(RBE_INVALID_ARGUMENT, "sample %zu: expected a label 0 .. %d, found %d", i, (int)classes - 1,
                            (int)labels[i]);
    return RBE_OK;
}

rbe_status rbe_dataset_from_floats(rbe_dataset *data, const float *values, const int32_t *labels, size_t count,
                                   size_t features, int32_t classes) {
    if (!data) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_dataset_from_floats: the result pointer is NULL");
    *data = (rbe_dataset){0};
    RBE_TRY(check_samples(values, labels, count, features, classes));
    rbe_dataset made = {.count = count, .features = features, .classes = classes, .owned = true};
    made.values = rbe_alloc(count * features, sizeof(float));
    if (made.values) made.labels = rbe_alloc(count, sizeof(int32_t));
    if (!made.labels) {
        rbe_dataset_free(&made);
        return RBE_INSUFFICIENT_MEMORY;
    }
    memcpy(made.values, values, count * features * sizeof(float));
    memcpy(made.labels, labels, count * sizeof(int32_t));
    *data = made;
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
