/* Writes the first inputs of the fuzz targets: make_corpus DIR makes DIR/model, DIR/npy, DIR/idx and
 * DIR/checkpoint. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "rbe/data.h"
#include "rbe/io.h"

static const char *folder;

static const char *path_of(const char *name, int number) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (number >= 0) snprintf(path + strlen(path), sizeof path - strlen(path), "/%d", number);
    return path;
}

static void require(bool done) {
    if (done) return;
    fprintf(stderr, "make_corpus: %s\n", rbe_last_error());
    exit(1);
}

static void make_models(void) {
    static const rbe_linear_options layers[] = {{.block = 8, .ratio = 4, .alpha = RBE_ALPHA_ON},
                                                {.block = 8, .ratio = 4, .group = 1, .overlap = 2},
                                                {.block = 8, .ratio = 4, .image_height = 4, .image_width = 4}};
    int number = 0;
    for (size_t n = 0; n < 3; n++) {
        rbe_model *model = rbe_model_new();
        rbe_model_add(model, rbe_linear_new(16, 16, &layers[n]));
        rbe_model_apply(model, rbe_relu);
        rbe_model_add(model, rbe_dropout_new(0.5f));
        rbe_layer *block = rbe_residual_new(rbe_dense_new(16, 16, NULL), "block"); /* nested, and in two places */
        rbe_layer *again = rbe_repeat_new(block, 2, NULL);
        rbe_model_add(model, block);
        rbe_model_add(model, again);
        rbe_model_add(model, rbe_dense_new(16, 2, NULL));
        for (int store = 0; rbe_store_name((rbe_store)store); store++)
            for (int positions = RBE_POSITIONS_PLAIN; positions <= RBE_POSITIONS_SEED; positions++) {
                const rbe_save_options options = {(rbe_store)store, (rbe_store_positions)positions};
                require(rbe_model_save(model, path_of("model", number++), &options) == RBE_OK);
                const rbe_stored_tensor matrix = {
                    .name = "w", .blocks = rbe_linear_blocks(rbe_model_layer(model, 0)), .save = options};
                require(rbe_tensor_file_save(path_of("model", number++), &matrix, 1, NULL, 0, true) == RBE_OK);
            }
        for (unsigned bits = 2; bits <= 8; bits += 3) {
            rbe_layer *layer;
            const rbe_save_options options = {.positions = bits == 5 ? RBE_POSITIONS_SEED : RBE_POSITIONS_DELTA};
            for (size_t k = 0; (layer = rbe_model_layer(model, k)); k++)
                require(rbe_layer_set_bits(layer, bits) == RBE_OK);
            require(rbe_model_save(model, path_of("model", number++), &options) == RBE_OK);
        }
        rbe_model_free(model);
    }
    const double wide[3] = {1, 2, 3};
    const rbe_stored_tensor tensors[] = {{.name = "a", .dtype = RBE_F64, .dims = 1, .shape = {3}, .values = wide},
                                         {.name = "b", .dtype = RBE_BOOL, .dims = 2, .shape = {2, 2}, .values = wide}};
    require(rbe_tensor_file_save(path_of("model", number), tensors, 2, NULL, 0, false) == RBE_OK);
}

static void make_arrays(void) {
    static const char *const headers[] = {"{'descr': '>f4', 'fortran_order': True, 'shape': (2, 3), }\n",
                                          "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }\n",
                                          "{'descr': '|b1', 'fortran_order': True, 'shape': (2, 3, 4), }\n",
                                          "{'descr': '>i2', 'fortran_order': False, 'shape': (2, 3, 1, 2), }\n"};
    float values[6] = {1, 2, 3, 4, 5, 6};
    rbe_tensor tensor = rbe_tensor_2d(values, 2, 3);
    require(rbe_npy_write(path_of("npy", 0), &tensor) == RBE_OK);
    for (int n = 0; n < 4; n++) {
        FILE *file = fopen(path_of("npy", n + 1), "wb");
        require(file);
        fprintf(file, "\x93NUMPY%c%c%c%c", n == 1 ? 2 : 1, 0, (int)strlen(headers[n]), 0);
        if (n == 1) fwrite("\0\0", 1, 2, file);
        fputs(headers[n], file);
        fwrite(values, 1, sizeof values, file);
        fclose(file);
    }
}

static size_t read_into(const char *path, uint8_t *bytes, size_t room) {
    FILE *file = fopen(path, "rb");
    require(file);
    size_t count = fread(bytes, 1, room, file);
    fclose(file);
    unlink(path);
    return count;
}

/* Both files in one input, as fuzz_idx.c takes them: compressed, and plain. */
static void make_idx(void) {
    static const uint8_t plain_labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 7, 1};
    static const uint8_t plain_images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 10, 20, 30, 40};
    uint8_t pixels[4] = {10, 20, 30, 40}, bytes[4096];
    int32_t labels[2] = {7, 1};
    const rbe_dataset set = {
        .count = 2, .features = 2, .height = 1, .width = 2, .classes = 10, .pixels = pixels, .labels = labels};
    char image_path[4096];
    strcpy(image_path, path_of("images", -1));
    require(rbe_dataset_write_idx(&set, image_path, path_of("labels", -1)) == RBE_OK);
    for (int n = 0; n < 2; n++) {
        size_t count = 2 + (n ? sizeof plain_labels : read_into(path_of("labels", -1), bytes + 2, 1000));
        bytes[0] = 0;
        bytes[1] = (uint8_t)(count - 2);
        if (n) memcpy(bytes + 2, plain_labels, sizeof plain_labels);
        if (n) memcpy(bytes + count, plain_images, sizeof plain_images);
        count += n ? sizeof plain_images : read_into(image_path, bytes + count, 1000);
        FILE *file = fopen(path_of("idx", n), "wb");
        require(file && fwrite(bytes, 1, count, file) == count);
        fclose(file);
    }
}

/* Before and after positions have moved, and while they are about to. */
static void make_checkpoints(void) {
    fuzz_training t;
    require(fuzz_training_start(&t));
    for (int n = 0; n < 4; n++) {
        require(rbe_checkpoint_save(&t.checkpoint, path_of("checkpoint", n), 1) == RBE_OK);
        require(fuzz_training_step(&t));
    }
    fuzz_training_free(&t);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: make_corpus DIR\n");
        return 2;
    }
    folder = argv[1];
    mkdir(folder, 0777);
    static const char *const names[] = {"model", "npy", "idx", "checkpoint"};
    for (size_t n = 0; n < 4; n++) mkdir(path_of(names[n], -1), 0777);
    make_models();
    make_arrays();
    make_idx();
    make_checkpoints();
    return 0;
}
