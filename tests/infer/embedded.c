/* A program that has its model in itself: prints the classes of some inputs. It links with librbe and librbe_infer. The model
 * is an object of its own, by: ld -r -b binary model -o model.o */
#include <stdio.h>
#include <stdlib.h>

#include "rbe/infer.h"

extern const unsigned char _binary_model_start[], _binary_model_end[];

enum { ROWS = 40 };

/* The last layer's outputs. */
static size_t outputs_of(const rbe_model *model) {
    const rbe_layer *layer;
    size_t outputs = 0;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++)
        if (rbe_layer_outputs(layer) > 0) outputs = rbe_layer_outputs(layer);
    return outputs;
}

static rbe_status print_classes(const rbe_model *model, const float *x, float *y, size_t outputs) {
    RBE_TRY(rbe_predict(model, x, ROWS, y));
    for (size_t n = 0; n < ROWS; n++) {
        size_t class = 0;
        for (size_t k = 1; k < outputs; k++)
            if (y[n * outputs + k] > y[n * outputs + class]) class = k;
        printf("%zu ", class);
    }
    printf("\n");
    return RBE_OK;
}

int main(void) {
    rbe_model *model = rbe_model_load_memory(_binary_model_start, (size_t)(_binary_model_end - _binary_model_start));
    rbe_rng *rng = rbe_rng_new(1, 0);
    const size_t inputs = rbe_layer_inputs(rbe_model_layer(model, 0)), outputs = outputs_of(model);
    float *x = malloc((ROWS * inputs + 1) * sizeof *x), *y = malloc((ROWS * outputs + 1) * sizeof *y);
    for (size_t n = 0; x && n < ROWS * inputs; n++) x[n] = (float)(8.0 * rbe_rng_uniform(rng) - 4.0);
    rbe_status status = x && y ? print_classes(model, x, y, outputs) : RBE_INSUFFICIENT_MEMORY;
    if (status != RBE_OK) fprintf(stderr, "%s: %s\n", rbe_status_name(status), rbe_last_error());
    free(x);
    free(y);
    rbe_rng_free(rng);
    rbe_model_free(model);
    return status == RBE_OK ? 0 : 1;
}
