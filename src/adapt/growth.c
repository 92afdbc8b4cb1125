/* Growth: the weakest coefficients move to where the gradient is largest (RigL, Evci et al. 2020, in the transform
 * domain).
 *
 *     drop   argmin over the entries of     sum_m c_m^2               m: block rows of the group
 *     grow   argmax over the empty ones of  sum_m (dL/dc_m)^2
 *
 * Entries are ranked within a pool: one list, so that all lists keep their lengths, or all lists of a group. Either
 * way the number of values stays exactly what it was. A step that is due arms the layer's probe; the next backward
 * pass leaves the best empty positions of every pool; the call after that exchanges. Buffers are made once.
 */
#include <math.h>
#include <string.h>

#include "adapt/rank.h"
#include "adapt/remap.h"
#include "adapt/spectrum.h"
#include "base/alloc.h"
#include "rbe/adapt.h"

static const double pi = 3.14159265358979323846;

/* One layer. Pool n consists of the lists n * pool_lists .. ; its candidates stand at the place of its entries. */
typedef struct grown_layer {
    rbe_linear_layer *linear;
    size_t pool_lists, pools;
    double fraction;      /* of the exchange that is due */
    rbe_blocks *next;     /* the lists after an exchange */
    uint32_t *candidates; /* where to grow: list within the pool * columns + column, ascending */
    uint32_t *wanted;     /* candidates of each pool */
    uint64_t *keys;       /* of the positions of one pool */
    bool *dropped;        /* entries */
    bool seen;            /* candidates are there */
} grown_layer;

struct rbe_growth {
    rbe_growth_options options;
    rbe_optim *optim;
    grown_layer *layers;
    size_t count;
    rbe_growth_counters counted;
};

/* ---- buffers ------------------------------------------------------------------------------------------------- */

static void free_buffers(grown_layer *l) {
    rbe_blocks_free(l->next);
    rbe_free(l->candidates);
    rbe_free(l->wanted);
    rbe_free(l->keys);
    rbe_free(l->dropped);
    l->next = NULL;
    l->candidates = NULL;
    l->wanted = NULL;
    l->keys = NULL;
    l->dropped = NULL;
    l->seen = false;
}

/* For the layer's present number of entries, which pruning may have changed since. */
static rbe_status make_buffers(grown_layer *l) {
    const rbe_blocks *b = l->linear->blocks;
    size_t lists = b->groups * b->block;
    free_buffers(l);
    l->pools = lists / l->pool_lists;
    l->next = rbe_lists_new(b);
    l->candidates = rbe_alloc(b->entries, sizeof *l->candidates);
    l->wanted = rbe_alloc_zeroed(l->pools, sizeof *l->wanted);
    l->keys = rbe_alloc(l->pool_lists * b->grid_cols * b->block, sizeof *l->keys);
    l->dropped = rbe_alloc(b->entries, sizeof *l->dropped);
    if (!l->next || !l->candidates || !l->wanted || !l->keys || !l->dropped) return RBE_INSUFFICIENT_MEMORY;
    for (size_t list = 0; list < lists; list++)
        l->next->list_start[list + 1] = b->list_start[list + 1] - b->list_start[list];
    return rbe_blocks_allocate(l->next);
}

/* ---- where to grow ---------------------------------------------------------------------------------------------
 */

static size_t pool_entry(const grown_layer *l, size_t pool) {
    return l->linear->blocks->list_start[pool * l->pool_lists];
}

/* Keys of the empty positions of a pool that have a gradient; score: pool_lists x columns. */
static size_t rank_empty(const grown_layer *l, size_t pool, const float *score, size_t columns) {
    const rbe_blocks *b = l->linear->blocks;
    size_t count = 0;
    for (size_t i = 0; i < l->pool_lists; i++) {
        size_t list = pool * l->pool_lists + i, k = b->list_start[list], end = b->list_start[list + 1];
        for (size_t column = 0; column < columns; column++) {
            size_t at = i * columns + column;
            if (k < end && rbe_column_at(b, k) == column)
                k++;
            else if (score[at] > 0.0f)
                l->keys[count++] = rbe_rank_key(score[at], (uint32_t)at);
        }
    }
    return count;
}

/* Notes the best empty positions of a pool in ascending order; spoils the scores. */
static void choose_candidates(grown_layer *l, size_t pool, float *score, size_t columns) {
    size_t entries = pool_entry(l, pool + 1) - pool_entry(l, pool);
    size_t count = rank_empty(l, pool, score, columns), wanted = (size_t)lround(l->fraction * (double)entries);
    if (wanted > count) wanted = count;
    l->wanted[pool] = (uint32_t)wanted;
    if (wanted == 0) return;
    const float chosen = -1.0f;
    uint64_t limit = rbe_rank_nth(l->keys, count, wanted);
    for (size_t n = 0; n < count; n++)
        if (l->keys[n] >= limit) score[rbe_rank_place(l->keys[n])] = chosen;
    uint32_t *candidate = l->candidates + pool_entry(l, pool);
    for (size_t at = 0; at < l->pool_lists * columns; at++)
        if (score[at] == chosen) *candidate++ = (uint32_t)at;
}

static rbe_status see_backward(void *user, const rbe_linear_layer *layer, const float *x, const float *dy,
                               size_t rows, rbe_arena *scratch) {
    grown_layer *l = user;
    const rbe_blocks *b = layer->blocks;
    rbe_spectrum spectrum;
    RBE_TRY(rbe_spectrum_open(&spectrum, b, x, dy, rows, false, scratch));
    size_t columns = spectrum.columns, positions = b->block * columns;
    float *score = rbe_arena_take(scratch, positions, sizeof *score);
    if (!score) return rbe_last_status();
    for (size_t g = 0; g < b->groups; g++) {
        memset(score, 0, positions * sizeof *score);
        for (size_t m = 0; m < rbe_group_rows(b, g); m++) {
            const float *gradient = rbe_spectrum_block_row(&spectrum, g * b->group + m);
            for (size_t n = 0; n < positions; n++) score[n] += gradient[n] * gradient[n];
        }
        size_t pools = b->block / l->pool_lists;
        for (size_t n = 0; n < pools; n++)
            choose_candidates(l, g * pools + n, score + n * l->pool_lists * columns, columns);
    }
    l->seen = true;
    l->linear->probe = (rbe_linear_probe){0};
    return RBE_OK;
}

/* ---- the exchange ----------------------------------------------------------------------------------------------
 */

/* Marks the weakest entries of a pool, as many as will grow. */
static void choose_dropped(grown_layer *l, size_t pool) {
    const rbe_blocks *b = l->linear->blocks;
    size_t first = pool_entry(l, pool), count = pool_entry(l, pool + 1) - first, wanted = l->wanted[pool];
    memset(l->dropped + first, 0, count * sizeof *l->dropped);
    if (wanted == 0) return;
    size_t g = pool * l->pool_lists / b->block, rows = rbe_group_rows(b, g);
    const float *value = rbe_entry_value(b, g, first, 0);
    for (size_t n = 0; n < count; n++, value += rows) {
        float energy = 0.0f;
        for (size_t m = 0; m < rows; m++) energy += value[m] * value[m];
        l->keys[n] = rbe_rank_key_smallest(energy, (uint32_t)n);
    }
    uint64_t limit = rbe_rank_nth(l->keys, count, wanted);
    for (size_t n = 0; n < count; n++) l->dropped[first + rbe_rank_place(l->keys[n])] = l->keys[n] >= limit;
}

/* Writes the new lists of a pool: what is kept and what grows, in ascending order. */
static void merge_lists(grown_layer *l, size_t pool) {
    const rbe_blocks *b = l->linear->blocks;
    size_t columns = b->grid_cols * b->block, out = pool_entry(l, pool);
    const uint32_t *candidate = l->candidates + out, *last = candidate + l->wanted[pool];
    for (size_t i = 0; i < l->pool_lists; i++) {
        size_t list = pool * l->pool_lists + i;
        l->next->list_start[list] = (uint32_t)out;
        for (size_t k = b->list_start[list]; k < b->list_start[list + 1]; k++) {
            if (l->dropped[k]) continue;
            for (; candidate < last && *candidate < i * columns + rbe_column_at(b, k); candidate++)
                rbe_set_column(l->next, out++, *candidate - i * columns);
            rbe_set_column(l->next, out++, rbe_column_at(b, k));
        }
        for (; candidate < last && *candidate < (i + 1) * columns; candidate++)
            rbe_set_column(l->next, out++, *candidate - i * columns);
    }
}

static rbe_status exchange(grown_layer *l, rbe_optim *optim, rbe_growth_counters *counted) {
    const rbe_blocks *b = l->linear->blocks;
    size_t moved = 0;
    l->seen = false;
    /* Pruned meanwhile: what was seen does not fit any more. */
    if (b->entries != l->next->entries) return RBE_OK;
    for (size_t pool = 0; pool < l->pools; pool++) {
        choose_dropped(l, pool);
        merge_lists(l, pool);
        moved += l->wanted[pool] * rbe_group_rows(b, pool * l->pool_lists / b->block);
    }
    if (moved == 0) return RBE_OK;
    counted->values += moved;
    return rbe_linear_set_positions(l->linear, optim, l->next);
}

/* ---- the schedule ----------------------------------------------------------------------------------------------
 */

static rbe_status arm(rbe_growth *growth, double fraction) {
    for (size_t n = 0; n < growth->count; n++) {
        grown_layer *l = &growth->layers[n];
        if (l->linear->probe.see && l->linear->probe.user != l)
            return rbe_fail(RBE_INVALID_ARGUMENT, "growth: the backward passes of %s are watched by somebody else",
                            l->linear->base.name);
        if (!l->next || l->linear->blocks->entries != l->next->entries) RBE_TRY(make_buffers(l));
        l->fraction = fraction;
        l->linear->probe = (rbe_linear_probe){see_backward, l};
    }
    return RBE_OK;
}

rbe_status rbe_growth_step(rbe_growth *growth, size_t step) {
    if (!growth) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_growth_step: it is NULL: it could not be made");
    const rbe_growth_options *o = &growth->options;
    bool any = false;
    for (size_t n = 0; n < growth->count; n++)
        if (growth->layers[n].seen) {
            RBE_TRY(exchange(&growth->layers[n], growth->optim, &growth->counted));
            any = true;
        }
    growth->counted.exchanges += any;
    double at = (double)(step + 1) / (o->stop * (double)o->steps);
    if ((step + 1) % o->every != 0 || at >= 1.0) return RBE_OK;
    return arm(growth, o->fraction * (1.0 + cos(pi * at)) / 2.0);
}

rbe_growth_counters rbe_growth_count(const rbe_growth *growth) {
    return growth ? growth->counted : (rbe_growth_counters){0};
}

/* ---- making and freeing ----------------------------------------------------------------------------------------
 */

/* Written so that NaN is refused. */
static bool is_share(double x) { return x > 0.0 && x <= 1.0; }

static rbe_status fill_options(rbe_growth_options *o, const rbe_growth_options *given) {
    *o = given ? *given : (rbe_growth_options){0};
    if (o->steps == 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "growth: expected the number of training steps, found 0");
    if (o->every == 0) o->every = o->steps < 500 ? 10 : o->steps > 5000 ? 100 : o->steps / 50;
    if (o->fraction == 0.0) o->fraction = 0.3;
    if (o->stop == 0.0) o->stop = 0.75;
    if (!is_share(o->fraction))
        return rbe_fail(RBE_INVALID_ARGUMENT, "growth: expected 0 < fraction <= 1, found %g", o->fraction);
    if (!is_share(o->stop))
        return rbe_fail(RBE_INVALID_ARGUMENT, "growth: expected 0 < stop <= 1, found %g", o->stop);
    return RBE_OK;
}

static rbe_status fill(rbe_growth *growth, rbe_model *model) {
    size_t layers = 0;
    while (rbe_model_layer(model, layers)) layers++;
    growth->layers = rbe_alloc_zeroed(layers, sizeof *growth->layers);
    if (!growth->layers) return rbe_last_status();
    for (size_t n = 0; n < layers; n++) {
        rbe_linear_layer *linear = rbe_layer_as_linear(rbe_model_layer(model, n));
        if (!linear) continue;
        grown_layer *l = &growth->layers[growth->count++];
        l->linear = linear;
        l->pool_lists = growth->options.free_counts ? linear->blocks->block : 1;
        RBE_TRY(make_buffers(l));
    }
    if (growth->count == 0) return rbe_fail(RBE_INVALID_ARGUMENT, "growth: the model has no compressed layer");
    return RBE_OK;
}

rbe_growth *rbe_growth_new(rbe_model *model, rbe_optim *optim, const rbe_growth_options *options) {
    rbe_growth_options o;
    if (rbe_model_status(model) != RBE_OK || fill_options(&o, options) != RBE_OK) return NULL;
    if (!optim) {
        rbe_fail(RBE_INVALID_ARGUMENT, "growth: the optimiser is NULL: it could not be made");
        return NULL;
    }
    rbe_growth *growth = rbe_alloc_zeroed(1, sizeof *growth);
    if (!growth) return NULL;
    growth->options = o;
    growth->optim = optim;
    if (fill(growth, model) == RBE_OK) return growth;
    rbe_growth_free(growth);
    return NULL;
}

void rbe_growth_free(rbe_growth *growth) {
    if (!growth) return;
    for (size_t n = 0; n < growth->count; n++) {
        grown_layer *l = &growth->layers[n];
        if (l->linear->probe.user == l) l->linear->probe = (rbe_linear_probe){0};
        free_buffers(l);
    }
    rbe_free(growth->layers);
    rbe_free(growth);
}

size_t rbe_growth_group(double ratio) { return ratio <= 24.0 ? 16 : ratio <= 40.0 ? 4 : 1; }
