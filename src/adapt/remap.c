/* Positions change, and all arrays of the parameter follow.
 *
 * Old and new list of the same (group, frequency) are both ascending, so one walk along the two finds for every new
 * entry the old entry of the same column, or none:
 *
 *     target[new entry] = source[old entry of the same column], 0 without one          (all rows of the group)
 */
#include "adapt/remap.h"

#include <string.h>

#include "base/alloc.h"
#include "codec/entries.h"

rbe_blocks *rbe_lists_new(const rbe_blocks *like) {
    return rbe_blocks_new(&(rbe_geometry){.out = like->out,
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
    for (size_t list = 0; list < rbe_list_count(next); list++) {
        rbe_walk from = rbe_walk_lists(old, list, 1);
        bool more = rbe_walk_next(&from);
        for (rbe_walk to = rbe_walk_lists(next, list, 1); rbe_walk_next(&to);) {
            size_t bytes = to.list.rows * sizeof *target;
            while (more && from.column < to.column) more = rbe_walk_next(&from);
            if (more && from.column == to.column)
                memcpy(target + to.value, source + from.value, bytes);
            else
                memset(target + to.value, 0, bytes);
        }
    }
}

static rbe_param *coefficients(const rbe_remap *r) { return &r->layer->params[0]; }

rbe_status rbe_remap_prepare(rbe_remap *r, rbe_linear_layer *layer, rbe_blocks *next) {
    *r = (rbe_remap){.layer = layer, .next = next};
    if (next->entries == layer->blocks->entries && next->value_count == layer->blocks->value_count) return RBE_OK;
    while (rbe_param_array(coefficients(r), r->count)) r->count++;
    r->resized = rbe_alloc_zeroed(r->count, sizeof *r->resized);
    bool whole = r->resized != NULL;
    for (size_t n = 1; whole && n < r->count; n++) {
        if (!*rbe_param_array(coefficients(r), n)) continue; /* no gradient yet */
        r->resized[n] = rbe_alloc(next->value_count, sizeof(float));
        whole = r->resized[n] != NULL;
    }
    if (whole) return RBE_OK;
    rbe_remap_discard(r);
    return rbe_last_status();
}

void rbe_remap_discard(rbe_remap *r) {
    for (size_t n = 1; r->resized && n < r->count; n++) rbe_free(r->resized[n]);
    rbe_free(r->resized);
    *r = (rbe_remap){0};
}

static void replace_contents(const rbe_remap *r) {
    rbe_blocks *old = r->layer->blocks, *next = r->next;
    float **array;
    for (size_t n = 0; (array = rbe_param_array(coefficients(r), n)); n++) {
        if (!*array) continue;
        follow(old, next, *array, next->values);
        memcpy(*array, next->values, next->value_count * sizeof(float));
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

static void replace_arrays(rbe_remap *r) {
    rbe_param *param = coefficients(r);
    follow(r->layer->blocks, r->next, param->value, r->next->values);
    for (size_t n = 1; n < r->count; n++) {
        if (!r->resized[n]) continue;
        follow(r->layer->blocks, r->next, *rbe_param_array(param, n), r->resized[n]);
        rbe_param_replace_array(param, n, r->resized[n]);
    }
    rbe_free(r->resized);
    r->resized = NULL;
    param->count = r->next->value_count;
    exchange_lists(r->layer->blocks, r->next);
}

void rbe_remap_commit(rbe_remap *r) {
    if (r->resized)
        replace_arrays(r);
    else
        replace_contents(r);
    r->layer->blocks->drawn = false;
    rbe_linear_blocks_changed(r->layer);
}

rbe_status rbe_linear_set_positions(rbe_linear_layer *layer, rbe_blocks *next) {
    rbe_remap remap;
    RBE_TRY(rbe_remap_prepare(&remap, layer, next));
    rbe_remap_commit(&remap);
    return RBE_OK;
}
