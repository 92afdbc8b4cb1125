/* Writes a data set of generated digits under the file names of MNIST, or prints samples of such a folder, as they are or
 * augmented. */
#include <stdio.h>
#include <stdlib.h>

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

/* Images of one class, side by side; white where there are fewer than ten. */
static size_t take_class(const rbe_dataset *data, int32_t label, size_t most, float *images) {
    size_t count = 0;
    for (size_t i = 0; i < data->count && count < most; i++) {
        if (data->labels[i] != label) continue;
        for (size_t k = 0; k < data->features; k++)
            images[count * data->features + k] = (float)data->pixels[i * data->features + k];
        count++;
    }
    return count;
}

/* The first image of each class, and behind it what nine epochs make of it. */
static size_t take_variants(const rbe_dataset *data, int32_t label, const rbe_augment_options *augment, float *images) {
    const rbe_image_shape shape = {1, data->height, data->width};
    const size_t sample = (size_t)label;
    if (take_class(data, label, 1, images) == 0) return 0;
    for (size_t n = 1; n < PER_CLASS; n++)
        example_require(rbe_augment_images(augment, shape, n, &sample, 1, images, images + n * data->features));
    return PER_CLASS;
}

static void print_images(const rbe_dataset *data, const float *images, size_t count) {
    for (size_t y = 0; y < data->height + GAP; y++) {
        for (size_t n = 0; n < PER_CLASS; n++)
            for (size_t x = 0; x < data->width + GAP; x++) {
                const bool ink = n < count && y < data->height && x < data->width;
                printf("%.0f ", ink ? (double)images[n * data->features + y * data->width + x] : 0.0);
            }
        printf("\n");
    }
}

/* A matrix of pixels, top row first, a class in each row of images: its first ten, or the first in ten variants. */
static void print_samples(const char *folder, const rbe_augment_options *augment) {
    rbe_dataset data;
    example_require(rbe_dataset_read_folder(&data, folder, true));
    float *images = example_take(PER_CLASS * data.features, sizeof *images);
    for (int32_t label = 0; label < CLASSES; label++) {
        const bool plain = augment->affine == 0 && augment->elastic == 0;
        print_images(&data, images,
                     plain ? take_class(&data, label, PER_CLASS, images)
                           : take_variants(&data, label, augment, images));
    }
    free(images);
    rbe_dataset_free(&data);
}

int main(int argc, char **argv) {
    size_t train = 6000, test = 1000;
    uint64_t seed = 1;
    const char *out = "data", *dump = NULL;
    rbe_augment_options augment = {0};
    const example_option options[] = {
        {"train", EXAMPLE_COUNT, &train, "N", "training samples", 1, 1e7},
        {"test", EXAMPLE_COUNT, &test, "N", "test samples", 1, 1e7},
        {"seed", EXAMPLE_SEED, &seed, "N", "seed of the training set and of variants; the test set has its complement",
         0, 0},
        {"out", EXAMPLE_TEXT, &out, "DIR", "folder for the four files (created)", 0, 0},
        {"dump", EXAMPLE_TEXT, &dump, "DIR", "only print 10 x 10 training samples of this folder as pixels", 0, 0},
        {"augment", EXAMPLE_REAL, &augment.affine, "A",
         "with --dump: a sample of each class and nine variants, turned, "
         "scaled, sheared and shifted that strongly",
         0, 10},
        {"elastic", EXAMPLE_REAL, &augment.elastic, "E", "the same, bent with this strength", 0, 10},
    };
    example_parse(argc, argv, "Generates handwritten-looking digits as four gzip-compressed IDX files.", options,
                  sizeof options / sizeof *options);
    if (!dump && (augment.affine > 0 || augment.elastic > 0)) example_fail(2, "--augment and --elastic need --dump");
    augment.seed = seed;
    if (dump) {
        print_samples(dump, &augment);
        return 0;
    }
    example_make_folder(out);
    write_set(out, "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", train, seed);
    write_set(out, "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", test, ~seed);
    return 0;
}
