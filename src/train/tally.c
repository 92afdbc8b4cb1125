/* Means over samples, and how far the share of errors e of n samples can be trusted: sqrt(e (1 - e) / n). */
#include "train/tally.h"

#include <math.h>

/* A row whose values are not numbers has no largest one, and counts as wrong. */
static bool right(const float *row, size_t columns, int32_t label) {
    if (isnan(row[label])) return false;
    for (size_t i = 0; i < columns; i++)
        if (i != (size_t)label && !(row[i] < row[label])) return false;
    return true;
}

void rbe_tally_add(rbe_tally *tally, const rbe_var *loss, const rbe_var *logits, const rbe_batch *batch) {
    const rbe_tensor *y = rbe_value(logits);
    size_t columns = rbe_tensor_columns(y);
    for (size_t n = 0; n < batch->rows; n++) tally->wrong += !right(y->data + n * columns, columns, batch->labels[n]);
    tally->loss += (double)rbe_item(loss) * (double)batch->rows;
    tally->count += batch->rows;
}

rbe_evaluation rbe_tally_result(const rbe_tally *tally) {
    if (tally->count == 0) return (rbe_evaluation){0};
    double n = (double)tally->count, error = (double)tally->wrong / n;
    return (rbe_evaluation){.loss = tally->loss / n,
                            .error = error,
                            .error_uncertainty = sqrt(error * (1.0 - error) / n),
                            .count = tally->count};
}
