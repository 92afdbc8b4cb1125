/* Whether a dense layer would be faster. */
#include "adapt/timing.h"
#include "base/alloc.h"
#include "rbe/adapt.h"

enum { ROUNDS = 15 };

static rbe_status autotune(rbe_layer *const layers[2], size_t rows, const float *x, rbe_autotune_report *report) {
    *report = (rbe_autotune_report){0};
    for (size_t batch = 1;; batch = 2 * batch < rows ? 2 * batch : rows) {
        double seconds[2];
        RBE_TRY(rbe_time_layers(layers, 2, x, batch, ROUNDS, seconds));
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
        return rbe_fail(RBE_INVALID_ARGUMENT, "autotune: expected a compressed layer, at least one row and a report");
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
