/* What the fuzz targets share: an allocator that does not give more than a reader may ask for. */
#ifndef RBE_TESTS_FUZZ_H
#define RBE_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "rbe/rbe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program if the library asks for more than `bytes` of memory in all, from here on. */
void fuzz_limit_memory(size_t bytes);

/* Ends the program if the library still holds memory. */
void fuzz_check_memory(void);

/* A training of a small mixed model, with Adam and growth, one step at a time: checkpoints are of it. */
typedef struct fuzz_training {
    rbe_model *model;
    rbe_optim *optim;
    rbe_growth *growth;
    rbe_tape *tape;
    rbe_routine routine;
    rbe_checkpoint checkpoint;
    size_t steps;
} fuzz_training;

/* To be freed in any case. */
bool fuzz_training_start(fuzz_training *training);
bool fuzz_training_step(fuzz_training *training);
void fuzz_training_free(fuzz_training *training);

#endif
