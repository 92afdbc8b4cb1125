/* Checkpoints, read into a training that has begun. This build does not compare checksums: a fuzzer would never get past
 * them. What is loaded must be sound: the training goes on from it. */
#include <stdlib.h>

#include "fuzz.h"
#include "io/safetensors.h"
#include "train/checkpoint.h"

/* The training's own memory, what the header describes, and what is read before it takes its place. */
static size_t most_memory(size_t size) {
    const size_t content = 16 * size > (size_t)1 << 25 ? 16 * size : (size_t)1 << 25;
    return (size_t)rbe_file_room(size) + content + ((size_t)4 << 20);
}

static void check_training(fuzz_training *t) {
    rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(t->model, n)); n++) {
        const rbe_blocks *blocks = rbe_linear_blocks(layer);
        if (blocks && rbe_blocks_check(blocks) != RBE_OK) abort();
    }
    fuzz_training_step(t); /* values may be any: a status is enough */
    fuzz_training_step(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_limit_memory(most_memory(size));
    fuzz_training t;
    rbe_source source;
    if (!fuzz_training_start(&t) || rbe_source_from_memory(&source, data, size, "fuzz") != RBE_OK) abort();
    rbe_tensor_file *file = rbe_tensor_file_from_source(&source);
    if (file && rbe_checkpoint_from_file(&t.checkpoint, file) == RBE_OK) check_training(&t);
    rbe_tensor_file_close(file);
    fuzz_training_free(&t);
    fuzz_check_memory();
    return 0;
}
