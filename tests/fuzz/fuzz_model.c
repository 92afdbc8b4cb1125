/* Safetensors files, and models and compressed matrices in them. This build does not compare checksums: a fuzzer
 * would never get past them. */
#include <stdlib.h>

#include "fuzz.h"
#include "io/model_file.h"
#include "io/safetensors.h"

/* The contract of rbe/io.h: what the header describes, what that is, and what is used beside. */
static size_t most_memory(size_t size) {
    const size_t content = 128 * size > (size_t)1 << 25 ? 128 * size : (size_t)1 << 25; /* of packed layers */
    return (size_t)rbe_file_room(size) + content + ((size_t)1 << 20);
}

static void read_tensors(const rbe_tensor_file *file) {
    const rbe_tensor_info *info;
    for (size_t n = 0; (info = rbe_tensor_file_at(file, n)); n++) {
        if (rbe_tensor_file_find(file, info->name) != n) abort();
        void *values = malloc(info->bytes + 1);
        float *floats = malloc((info->count + 1) * sizeof *floats);
        rbe_tensor_file_read(file, n, values);
        rbe_tensor_file_read_f32(file, n, floats);
        free(values);
        free(floats);
    }
}

static void check_model(const rbe_model *model) {
    rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++) {
        const rbe_blocks *blocks = rbe_linear_blocks(layer);
        if (blocks && rbe_blocks_check(blocks) != RBE_OK) abort();
    }
}

static void read_matrices(const rbe_tensor_file *file) {
    const char *name;
    for (size_t n = 0; (name = rbe_tensor_file_matrix(file, n)); n++) {
        rbe_blocks *blocks;
        if (rbe_tensor_file_read_blocks(file, name, &blocks) == RBE_OK && rbe_blocks_check(blocks) != RBE_OK) abort();
        rbe_blocks_free(blocks);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_limit_memory(most_memory(size));
    rbe_source source;
    if (rbe_source_from_memory(&source, data, size, "fuzz") != RBE_OK) abort();
    rbe_tensor_file *file = rbe_tensor_file_from_source(&source);
    if (file) {
        read_tensors(file);
        read_matrices(file);
        rbe_model *model = rbe_model_from_file(file);
        if (model) check_model(model);
        rbe_model_free(model);
    }
    rbe_tensor_file_close(file);
    fuzz_check_memory();
    return 0;
}
