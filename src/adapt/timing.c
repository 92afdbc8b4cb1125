/* Interleaved timing. */
#include "adapt/timing.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"

enum { WARM_UP = 2 };

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static rbe_status run_rounds(rbe_layer *const *layers, size_t count, rbe_tensor x, size_t rounds, rbe_tape *tape,
                             double *times) {
    for (size_t round = 0; round < WARM_UP + rounds; round++)
        for (size_t n = 0; n < count; n++) {
            rbe_var *input = rbe_input(tape, x);
            double start = rbe_seconds();
            rbe_layer_forward(layers[n], input);
            if (round >= WARM_UP) times[n * rounds + round - WARM_UP] = rbe_seconds() - start;
            rbe_status status = rbe_tape_status(tape);
            if (status != RBE_OK) return rbe_fail(status, "%s", rbe_tape_error(tape));
            rbe_tape_reset(tape);
        }
    return RBE_OK;
}

rbe_status rbe_time_layers(rbe_layer *const *layers, size_t count, const float *x, size_t rows, size_t rounds,
                           double *seconds) {
    /* Inputs are never written. */
    rbe_tensor input = rbe_tensor_2d((float *)(uintptr_t)x, rows, layers[0]->in);
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    double *times = rbe_alloc(rbe_product(count, rounds), sizeof *times);
    rbe_status status = tape && times ? run_rounds(layers, count, input, rounds, tape, times) : RBE_INSUFFICIENT_MEMORY;
    for (size_t n = 0; n < count && status == RBE_OK; n++) {
        qsort(times + n * rounds, rounds, sizeof *times, ascending);
        seconds[n] = times[n * rounds + rounds / 2];
    }
    rbe_free(times);
    rbe_tape_free(tape);
    return status;
}
