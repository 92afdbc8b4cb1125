/* Writes a data set of generated digits under the file names of MNIST, or prints samples of such a folder. */
#include <stdio.h>

#include "common.h"

enum { CLASSES = 10, PER_CLASS = 10, GAP = 2 };

/* A file of a folder, and what it is for. */
static const char *path_in(const char *folder, const char *name, char path[4096]) {
    int length = snprintf(path, 4096, "%s/%s", folder, name);
    if (length >= 4096) example_fail(1, "the folder's name has more than 4000 characters");
    return path;
}

static void write_set(const char *folder, const char *image_name, const char *label_name, size_t count, uint64_t seed) {
    char images[4096], labels[4096];
    rbe_dataset digits;
    example_require(rbe_digits_generate(&digits, count, seed));
    example_require(
        rbe_dataset_write_idx(&digits, path_in(folder, image_name, images), path_in(folder, label_name, labels)));
    rbe_dataset_free(&digits);
    printf("%s: %zu digits\n", images, count);
}

/* One row of the picture: the images chosen for a class side by side. */
static void print_row(const rbe_dataset *data, const size_t *chosen, size_t count, size_t y) {
    for (size_t n = 0; n < PER_CLASS; n++)
        for (size_t x = 0; x < data->width + GAP; x++) {
            bool ink = n < count && y < data->height && x < data->width;
            printf("%d ", ink ? data->pixels[chosen[n] * data->features + y * data->width + x] : 0);
        }
    printf("\n");
}

/* A matrix of pixels, top row first: the first ten images of each class, a class in each row of images. */
static void print_samples(const char *folder) {
    rbe_dataset data;
    example_require(rbe_dataset_read_folder(&data, folder, true));
    for (int32_t label = 0; label < CLASSES; label++) {
        size_t chosen[PER_CLASS], count = 0;
        for (size_t i = 0; i < data.count && count < PER_CLASS; i++)
            if (data.labels[i] == label) chosen[count++] = i;
        for (size_t y = 0; y < data.height + GAP; y++) print_row(&data, chosen, count, y);
    }
    rbe_dataset_free(&data);
}

int main(int argc, char **argv) {
    size_t train = 6000, test = 1000;
    uint64_t seed = 1;
    const char *out = "data", *dump = NULL;
    const example_option options[] = {
        {"train", EXAMPLE_COUNT, &train, "N", "training samples", 1, 1e7},
        {"test", EXAMPLE_COUNT, &test, "N", "test samples", 1, 1e7},
        {"seed", EXAMPLE_SEED, &seed, "N", "of the training set; the test set has its complement", 0, 0},
        {"out", EXAMPLE_TEXT, &out, "DIR", "folder for the four files; created", 0, 0},
        {"dump", EXAMPLE_TEXT, &dump, "DIR", "only print 10 x 10 training samples of this folder as pixels", 0, 0},
    };
    example_parse(argc, argv, "Generates handwritten-looking digits as four gzip-compressed IDX files.", options,
                  sizeof options / sizeof *options);
    if (dump) {
        print_samples(dump);
        return 0;
    }
    example_make_folder(out);
    write_set(out, "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", train, seed);
    write_set(out, "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", test, ~seed);
    return 0;
}
