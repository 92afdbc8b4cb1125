/* Interleaved timing, and the question whether a dense layer would be faster. */
#include "adapt/timing.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "rbe/adapt.h"

enum { WARM_UP = 2, AUTOTUNE_ROUNDS = 15 };

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

/* ---- compressed against dense -------------------------------------------------------------------------------- */

static rbe_status autotune(rbe_layer *const layers[2], size_t rows, const float *x, rbe_autotune_report *report) {
    *report = (rbe_autotune_report){0};
    for (size_t batch = 1;; batch = 2 * batch < rows ? 2 * batch : rows) {
        double seconds[2];
        RBE_TRY(rbe_time_layers(layers, 2, x, batch, AUTOTUNE_ROUNDS, seconds));
        report->seconds = seconds[0];
        report->dense_seconds = seconds[1];
        report->dense_is_faster = seconds[1] < seconds[0];
        if (report->dense_is_faster)
            report->crossover = 0;
        else if (report->crossover == 0)
            report->crossover = batch;
        if (batch == rows) return RBE_OK;
    }
}

rbe_status rbe_linear_autotune(const rbe_layer *layer, size_t rows, rbe_autotune_report *report) {
    if (!rbe_linear_blocks(layer) || rows == 0 || !report)
        return rbe_fail(RBE_INVALID_ARGUMENT, "autotune: expected a compressed layer, rows and a report");
    rbe_layer *dense =
        rbe_dense_new(layer->in, layer->out, &(rbe_dense_options){.no_bias = !rbe_layer_has_bias(layer)});
    float *x = rbe_alloc(rbe_product(rows, layer->in), sizeof *x);
    rbe_status status = RBE_INSUFFICIENT_MEMORY;
    if (dense && x) {
        for (size_t n = 0; n < rows * layer->in; n++) x[n] = (float)(n % 31) / 31.0f - 0.5f;
        rbe_autotune_report result;
        /* Timing changes nothing but the layer's counters, which a const layer may change too. */
        status = autotune((rbe_layer *const[]){(rbe_layer *)(uintptr_t)layer, dense}, rows, x, &result);
        if (status == RBE_OK) *report = result;
    }
    rbe_free(x);
    rbe_layer_free(dense);
    return status;
}
