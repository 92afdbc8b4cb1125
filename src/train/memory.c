/* What training needs, added up before it starts:
 *
 *     parameters and positions + gradients (4 bytes per value) + optimiser state
 *     + one step's tape + one batch (features and a label per row)
 *
 * Evaluation between epochs takes no more: it runs after the epoch's tape and batch are freed.
 */
#include "train/memory.h"

#include "tensor/node.h"

/* Room for what operations remember beside their values, some 64 bytes each. */
#define CONTEXT_BYTES ((size_t)2 << 10)

/* Width of the last layer that has one: the number of classes. */
static size_t output_width(const rbe_model *model) {
    size_t width = 0;
    const rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++)
        if (rbe_layer_outputs(layer) > 0) width = rbe_layer_outputs(layer);
    return width;
}

size_t rbe_step_tape_bytes(const rbe_model *model, size_t rows) {
    size_t input = rbe_aligned(sizeof(rbe_var));
    /* The loss keeps the softmax for its backward. */
    size_t loss = rbe_node_bytes(1, true) + rbe_aligned(rows * output_width(model) * sizeof(float));
    return input + rbe_model_tape_bytes(model, rows) + loss + CONTEXT_BYTES;
}

size_t rbe_training_bytes(const rbe_model *model, const rbe_optim_method *method, const rbe_optim_options *options,
                          size_t features, size_t batch) {
    rbe_layer_cost cost = rbe_model_describe_cost(model);
    size_t gradients = cost.values * sizeof(float);
    size_t rows = batch * (features * sizeof(float) + sizeof(int32_t));
    return cost.bytes + gradients + rbe_optim_state_bytes(method, options, cost.values) +
           rbe_step_tape_bytes(model, batch) + rows;
}
