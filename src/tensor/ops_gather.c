/* Rows of a table: y_i = table_id(i), and dL/dtable_r = the sum of dL/dy_i over all i with id(i) = r.
 *
 * A row is all that one index of the first dimension selects. The gradient is shared out by columns: each task adds up
 * its columns of all rows in the order of the ids.
 */
#include <string.h>

#include "base/parallel.h"
#include "tensor/node.h"

enum { COLUMNS_OF_TASK = 64 };

typedef struct gathering {
    const int32_t *ids;
    size_t count, width; /* of the ids, and of a row */
    const float *from;
    float *to;
} gathering;

static void gather_range(void *context, size_t first, size_t count) {
    const gathering *g = context;
    for (size_t i = first; i < first + count; i++)
        memcpy(g->to + i * g->width, g->from + (size_t)g->ids[i] * g->width, g->width * sizeof *g->to);
}

static void scatter_columns(void *context, size_t first, size_t count) {
    const gathering *g = context;
    for (size_t i = 0; i < g->count; i++) {
        float *restrict to = g->to + (size_t)g->ids[i] * g->width + first;
        const float *restrict from = g->from + i * g->width + first;
        for (size_t j = 0; j < count; j++) to[j] += from[j];
    }
}

static rbe_status gather_backward(rbe_var *self) {
    rbe_var *table = self->parents[0];
    const size_t count = self->value.shape[0];
    gathering g = {.ids = self->context_pointer,
                   .count = count,
                   .width = rbe_tensor_count(&self->value) / count,
                   .from = self->grad,
                   .to = rbe_grad_zeroed(table)};
    if (!g.to) return rbe_last_status();
    rbe_parallel_ranges(g.width, COLUMNS_OF_TASK, scatter_columns, &g);
    return RBE_OK;
}

rbe_var *rbe_gather_rows(rbe_var *table, const int32_t *ids, size_t count) {
    rbe_var *failed;
    if (!rbe_operands_ok("gather_rows", &table, 1, &failed)) return failed;
    if (!ids) return rbe_tape_fail(table, RBE_INVALID_ARGUMENT, "gather_rows: the ids are NULL");
    if (count == 0) return rbe_tape_fail(table, RBE_INVALID_ARGUMENT, "gather_rows: expected at least one id, found 0");
    const size_t rows = table->value.shape[0];
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= rows)
            return rbe_tape_fail(table, RBE_INVALID_ARGUMENT,
                                 "gather_rows: id %zu: expected a row in 0 .. %zu, found %d", i, rows - 1, (int)ids[i]);
    size_t shape[RBE_MAX_DIMS];
    memcpy(shape, table->value.shape, sizeof shape);
    shape[0] = count;
    rbe_var *y = rbe_node("gather_rows", &table, 1, table->value.dims, shape, RBE_FULL(gather_backward), 0);
    if (!rbe_ok(y)) return y;
    y->context_pointer = ids;
    gathering g = {.ids = ids,
                   .count = count,
                   .width = rbe_tensor_count(&table->value) / rows,
                   .from = table->value.data,
                   .to = y->value.data};
    rbe_parallel_ranges(count, 1 + (RBE_PIECE - 1) / g.width, gather_range, &g);
    return y;
}
