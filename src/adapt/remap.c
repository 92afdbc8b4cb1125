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

enum { VALUE, GRADIENT, STATE };

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

void rbe_coefficient_arrays(const rbe_linear_layer *layer, rbe_optim *optim, float *arrays[RBE_REMAP_ARRAYS]) {
    const rbe_param *param = &layer->params[0];
    arrays[VALUE] = param->value;
    arrays[GRADIENT] = param->grad;
    for (int n = 0; n < RBE_OPTIM_MAX_STATE; n++) arrays[STATE + n] = rbe_optim_state(optim, param, n);
}

rbe_status rbe_remap_prepare(rbe_remap *r, rbe_linear_layer *layer, rbe_optim *optim, rbe_blocks *next) {
    *r = (rbe_remap){.layer = layer, .optim = optim, .next = next};
    if (next->entries == layer->blocks->entries && next->value_count == layer->blocks->value_count) return RBE_OK;
    float *arrays[RBE_REMAP_ARRAYS];
    rbe_coefficient_arrays(layer, optim, arrays);
    for (int n = 0; n < RBE_REMAP_ARRAYS; n++) {
        if (!arrays[n]) continue;
        r->resized[n] = n == VALUE ? next->values : rbe_alloc(next->value_count, sizeof(float));
        if (r->resized[n]) continue;
        rbe_remap_discard(r);
        return rbe_last_status();
    }
    return RBE_OK;
}

void rbe_remap_discard(rbe_remap *r) {
    for (int n = GRADIENT; n < RBE_REMAP_ARRAYS; n++) rbe_free(r->resized[n]);
    *r = (rbe_remap){0};
}

static void replace_contents(rbe_blocks *old, rbe_blocks *next, float *const *arrays) {
    for (int n = 0; n < RBE_REMAP_ARRAYS; n++) {
        if (!arrays[n]) continue;
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

static void replace_arrays(rbe_remap *r, float *const *arrays) {
    rbe_param *param = &r->layer->params[0];
    for (int n = 0; n < RBE_REMAP_ARRAYS; n++)
        if (arrays[n]) follow(r->layer->blocks, r->next, arrays[n], r->resized[n]);
    for (int n = STATE; n < RBE_REMAP_ARRAYS; n++)
        if (arrays[n]) rbe_optim_replace_state(r->optim, param, n - STATE, r->resized[n]);
    rbe_free(param->grad);
    param->grad = r->resized[GRADIENT];
    param->count = r->next->value_count;
    exchange_lists(r->layer->blocks, r->next);
}

void rbe_remap_commit(rbe_remap *r) {
    float *arrays[RBE_REMAP_ARRAYS];
    rbe_coefficient_arrays(r->layer, r->optim, arrays);
    if (r->resized[VALUE])
        replace_arrays(r, arrays);
    else
        replace_contents(r->layer->blocks, r->next, arrays);
    r->layer->blocks->drawn = false;
    rbe_linear_blocks_changed(r->layer);
}

rbe_status rbe_linear_set_positions(rbe_linear_layer *layer, rbe_optim *optim, rbe_blocks *next) {
    rbe_remap remap;
    RBE_TRY(rbe_remap_prepare(&remap, layer, optim, next));
    rbe_remap_commit(&remap);
    return RBE_OK;
}
