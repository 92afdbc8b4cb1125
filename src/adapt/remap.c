/* Positions change, and values, gradients and moments follow.
 *
 * Old and new list of the same (group, frequency) are both ascending, so one walk along the two finds for every new
 * entry the old entry of the same column, or none:
 *
 *     target[new entry] = source[old entry of the same column], 0 without one          (all rows of the group)
 */
#include "adapt/remap.h"

#include <string.h>

#include "base/alloc.h"
#include "optim/optim_internal.h"

#define MOST_ARRAYS (2 + RBE_OPTIM_MAX_STATE) /* values, gradient, state */

rbe_blocks *rbe_lists_new(const rbe_blocks *like) {
    return rbe_blocks_new(&(rbe_block_plan){.out = like->out,
                                            .in = like->in,
                                            .block = like->block,
                                            .grid_rows = like->grid_rows,
                                            .grid_cols = like->grid_cols,
                                            .group = like->group,
                                            .row_transform = like->row_transform,
                                            .column_transform = like->column_transform});
}

/* The array `source` of the layout of old->values in that of next->values. */
static void follow(const rbe_blocks *old, const rbe_blocks *next, const float *source, float *target) {
    for (size_t g = 0; g < next->groups; g++) {
        size_t rows = rbe_group_rows(next, g), first = g * next->block;
        const float *from = source + rbe_group_values(old, g);
        float *to = target + rbe_group_values(next, g);
        for (size_t list = first; list < first + next->block; list++) {
            size_t k = old->list_start[list], end = old->list_start[list + 1];
            for (size_t n = next->list_start[list]; n < next->list_start[list + 1]; n++) {
                size_t column = rbe_column_at(next, n);
                while (k < end && rbe_column_at(old, k) < column) k++;
                float *entry = to + (n - next->list_start[first]) * rows;
                if (k < end && rbe_column_at(old, k) == column)
                    memcpy(entry, from + (k - old->list_start[first]) * rows, rows * sizeof *entry);
                else
                    memset(entry, 0, rows * sizeof *entry);
            }
        }
    }
}

/* Where the arrays of a layer's coefficients are, those that there are. */
static size_t find_arrays(rbe_param *param, rbe_optim *optim, float **arrays) {
    size_t count = 0;
    arrays[count++] = param->value;
    if (param->grad) arrays[count++] = param->grad;
    for (int which = 0; which < RBE_OPTIM_MAX_STATE; which++) {
        float *state = rbe_optim_state(optim, param, which);
        if (state) arrays[count++] = state;
    }
    return count;
}

static void replace_contents(rbe_blocks *old, rbe_blocks *next, float *const *arrays, size_t count) {
    for (size_t n = 0; n < count; n++) {
        follow(old, next, arrays[n], next->values);
        memcpy(arrays[n], next->values, next->value_count * sizeof(float));
    }
    memcpy(old->list_start, next->list_start, (old->groups * old->block + 1) * sizeof *old->list_start);
    if (old->columns16) memcpy(old->columns16, next->columns16, old->entries * sizeof *old->columns16);
    if (old->columns32) memcpy(old->columns32, next->columns32, old->entries * sizeof *old->columns32);
}

static void exchange_lists(rbe_blocks *a, rbe_blocks *b) {
    rbe_blocks kept = *a;
    a->entries = b->entries;
    a->value_count = b->value_count;
    a->list_start = b->list_start;
    a->columns16 = b->columns16;
    a->columns32 = b->columns32;
    a->values = b->values;
    b->entries = kept.entries;
    b->value_count = kept.value_count;
    b->list_start = kept.list_start;
    b->columns16 = kept.columns16;
    b->columns32 = kept.columns32;
    b->values = kept.values;
}

/* The values go to next->values; gradient and state to memory of their own, all of it there before anything
 * changes.
 */
static rbe_status replace_arrays(rbe_linear_layer *layer, rbe_optim *optim, rbe_blocks *next, float *const *arrays,
                                 size_t count) {
    rbe_param *param = &layer->params[0];
    float *resized[MOST_ARRAYS] = {next->values};
    for (size_t n = 1; n < count; n++) {
        resized[n] = rbe_alloc(next->value_count, sizeof(float));
        if (!resized[n]) {
            while (--n > 0) rbe_free(resized[n]);
            return rbe_last_status();
        }
    }
    for (size_t n = 0; n < count; n++) follow(layer->blocks, next, arrays[n], resized[n]);
    bool had_grad = param->grad, grad_set = param->grad_set;
    for (size_t n = had_grad ? 2 : 1, which = 0; n < count; n++, which++)
        rbe_optim_replace_state(optim, param, (int)which, resized[n]);
    exchange_lists(layer->blocks, next);
    rbe_linear_blocks_changed(layer);
    if (had_grad) {
        rbe_free(param->grad);
        param->grad = resized[1];
        param->grad_set = grad_set;
    }
    return RBE_OK;
}

rbe_status rbe_linear_set_positions(rbe_linear_layer *layer, rbe_optim *optim, rbe_blocks *next) {
    rbe_blocks *old = layer->blocks;
    float *arrays[MOST_ARRAYS];
    size_t count = find_arrays(&layer->params[0], optim, arrays);
    if (next->entries == old->entries && next->value_count == old->value_count)
        replace_contents(old, next, arrays, count);
    else
        RBE_TRY(replace_arrays(layer, optim, next, arrays, count));
    old->drawn = false;
    return RBE_OK;
}
