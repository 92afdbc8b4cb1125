/* What training needs, added up before it starts:
 *
 *     parameters and positions + tables + gradients (4 bytes per value) + optimiser state
 *     + one step's tape + one batch (features and a label per row)
 *
 * Evaluation between epochs takes no more: it runs after the epoch's tape, batch and order are freed. The order, 4
 * bytes per sample, grows with the data set and is counted with it.
 */
#include "train/memory.h"

#include "data/dataset.h"
#include "nn/model.h"

/* Room for what operations of a user's own remember beside their values, some 64 bytes each. */
#define CONTEXT_BYTES ((size_t)2 << 10)

size_t rbe_step_tape_bytes(const rbe_model *model, size_t rows) {
    return rbe_model_tape_bytes(model, rows) + CONTEXT_BYTES;
}

rbe_status rbe_step_reserve(rbe_tape *tape, const rbe_model *model, const rbe_dataset *data, size_t batch) {
    const size_t places = rbe_row_places(data), bytes = rbe_step_tape_bytes(model, batch * places);
    return rbe_tape_reserve(tape, places > 1 ? bytes / 2 : bytes);
}

/* Of operations and containers, too. */
static bool add_tables(void *user, rbe_layer *layer) {
    *(size_t *)user += rbe_layer_table_bytes(layer);
    return true;
}

size_t rbe_training_bytes(const rbe_model *model, const rbe_optim_method *method, const rbe_optim_options *options,
                          size_t features, size_t batch) {
    if (batch > INT32_MAX || features > PTRDIFF_MAX / (2 * sizeof(float)) / (batch + 1)) return PTRDIFF_MAX;
    rbe_layer_cost cost = rbe_model_describe_cost(model);
    size_t gradients = cost.values * sizeof(float);
    size_t tables = 0;
    if (model) rbe_layer_walk(model->root, add_tables, &tables);
    size_t rows = batch * (features * sizeof(float) + sizeof(int32_t));
    return cost.bytes + tables + gradients + rbe_optim_state_bytes(method, options, cost.values) +
           rbe_step_tape_bytes(model, batch) + rows;
}
