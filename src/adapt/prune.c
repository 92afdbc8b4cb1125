/* Pruning: coefficients of little weight are removed, and the memory they held with them.
 *
 *     magnitude |c|      Fisher 1/2 F c^2 (what the loss gains to second order)      gradient |c dL/dc|      random
 *
 * A unit is a single value, or an entry: all values of a group at one position, judged by their mean (magnitude:
 * root mean square). Units are ranked over all layers, or each layer's by themselves, or go at a threshold: of the
 * score, or relative to the layer's root mean square sqrt(sum of c^2 / n). The steps: score every unit,
 * mark what stays, make lists without the rest and whatever else needs memory; then, when nothing can fail any
 * more, change the layers.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "adapt/absorb.h"
#include "adapt/prune.h"
#include "adapt/refit.h"
#include "adapt/remap.h"
#include "adapt/sensitivity.h"
#include "base/alloc.h"
#include "base/splitmix.h"
#include "codec/entries.h"
#include "codec/select.h"
#include "nn/model.h"
#include "tensor/node.h"

/* A layer that is being pruned. Units are numbered like the entries, or like the values. */
typedef struct pruned_layer {
    rbe_linear_layer *linear;
    float *score;        /* units */
    uint8_t *keep_unit;  /* units */
    uint8_t *keep;       /* values */
    rbe_blocks *next;    /* lists without the entries of which nothing is kept */
    float *alpha_change; /* NULL: none */
    rbe_refit refit;     /* values NULL: none */
    float *inputs;       /* of the refit */
    size_t input_rows;
    size_t removed; /* values that become 0 or lose their place */
    rbe_absorption energy;
    rbe_remap remap;
} pruned_layer;

typedef struct pruning {
    const rbe_prune_options *options;
    rbe_model *model; /* that the layers are a part of; NULL: none */
    pruned_layer *layers;
    size_t count;
    const rbe_layer_count *before; /* of the layers that were pruned before, how many coefficients they had */
    size_t before_count;
} pruning;

/* ---- units --------------------------------------------------------------------------------------------------- */

static size_t values_of_unit(const pruning *p, const rbe_blocks *b, size_t g) {
    return p->options->single_values ? 1 : rbe_group_rows(b, g);
}

/* Where the units of group g begin; those of the last group end at group number `groups`. */
static size_t group_units(const pruning *p, const rbe_blocks *b, size_t g) {
    if (g == b->groups) return p->options->single_values ? b->value_count : b->entries;
    const rbe_list first = rbe_list_at(b, g * b->block);
    return p->options->single_values ? first.value : first.first;
}

/* ---- scores -------------------------------------------------------------------------------------------------- */

/* Between 0 and 1, from the seed, the layer's number and the unit's. */
static double random_score(const pruning *p, size_t layer, size_t unit) {
    return (double)(rbe_splitmix64(rbe_splitmix64(p->options->seed + layer) + unit) >> 11) * 0x1p-53;
}

/* Magnitude is squared here. */
static double value_score(const pruning *p, const rbe_layer_sensitivity *s, double c, size_t n) {
    if (p->options->score == RBE_PRUNE_MAGNITUDE) return c * c;
    double samples = (double)p->options->sensitivity->samples;
    if (p->options->score == RBE_PRUNE_FISHER) return 0.5 * s->squares[n] / samples * c * c;
    return fabs(c * s->gradient[n] / samples);
}

static double unit_score(const pruning *p, const rbe_layer_sensitivity *s, const rbe_blocks *b, size_t first,
                         size_t count) {
    double sum = 0.0;
    for (size_t n = first; n < first + count; n++) sum += value_score(p, s, b->values[n], n);
    sum /= (double)count;
    return p->options->score == RBE_PRUNE_MAGNITUDE ? sqrt(sum) : sum;
}

static rbe_status score_units(const pruning *p, size_t layer) {
    pruned_layer *l = &p->layers[layer];
    const rbe_blocks *b = l->linear->blocks;
    const rbe_layer_sensitivity *sensitivity = NULL;
    if (p->options->score == RBE_PRUNE_FISHER || p->options->score == RBE_PRUNE_GRADIENT) {
        sensitivity = rbe_sensitivity_of(p->options->sensitivity, l->linear);
        if (!sensitivity) return rbe_last_status();
    }
    for (size_t g = 0; g < b->groups; g++) {
        size_t count = values_of_unit(p, b, g), first = rbe_group_values(b, g), unit = group_units(p, b, g);
        for (; unit < group_units(p, b, g + 1); unit++, first += count)
            l->score[unit] =
                (float)(p->options->score == RBE_PRUNE_RANDOM ? random_score(p, layer, unit)
                                                              : unit_score(p, sensitivity, b, first, count));
    }
    return RBE_OK;
}

/* ---- what stays ---------------------------------------------------------------------------------------------- */

/* Of the layer's coefficients; those that earlier pruning took count as zeros. */
static double root_mean_square(const pruning *p, const pruned_layer *l) {
    const rbe_blocks *b = l->linear->blocks;
    size_t count = b->value_count;
    for (size_t n = 0; n < p->before_count; n++)
        if (p->before[n].layer == &l->linear->base) count = p->before[n].coefficients;
    double squares = 0.0;
    for (size_t n = 0; n < b->value_count; n++) squares += (double)b->values[n] * (double)b->values[n];
    return count > 0 ? sqrt(squares / (double)count) : 0.0;
}

static void keep_above_threshold(const pruning *p, pruned_layer *l) {
    const rbe_blocks *b = l->linear->blocks;
    double threshold = p->options->amount * (p->options->relative ? root_mean_square(p, l) : 1.0);
    size_t units = group_units(p, b, b->groups);
    for (size_t unit = 0; unit < units; unit++) l->keep_unit[unit] = !(l->score[unit] <= threshold);
}

static size_t column_bytes(const rbe_blocks *b) { return b->columns16 ? sizeof *b->columns16 : sizeof *b->columns32; }

/* Of a unit of group g: values, or bytes. */
static size_t unit_cost(const pruning *p, const rbe_blocks *b, size_t g) {
    size_t values = values_of_unit(p, b, g);
    return p->options->by == RBE_PRUNE_TO_BYTES ? values * sizeof(float) + column_bytes(b) : values;
}

static rbe_scores group_scores(const pruning *p, const pruned_layer *l, size_t g) {
    const rbe_blocks *b = l->linear->blocks;
    size_t first = group_units(p, b, g), count = group_units(p, b, g + 1) - first;
    return (rbe_scores){
        .score = l->score + first, .rows = 1, .columns = count, .stride = count, .cost = unit_cost(p, b, g)};
}

static uint64_t total_cost(const pruning *p, size_t first, size_t last) {
    uint64_t cost = 0;
    for (size_t n = first; n < last; n++) {
        const rbe_blocks *b = p->layers[n].linear->blocks;
        for (size_t g = 0; g < b->groups; g++) {
            rbe_scores scores = group_scores(p, &p->layers[n], g);
            cost += scores.columns * scores.cost;
        }
    }
    return cost;
}

/* Keeps the units of largest score of layers first .. last - 1 whose joint cost is at most `limit`. */
static void keep_largest(const pruning *p, size_t first, size_t last, uint64_t limit) {
    uint64_t histogram[1 << RBE_FINE_DIGIT];
    rbe_selection selection;
    rbe_selection_start(&selection, limit, RBE_FINE_DIGIT, histogram);
    do
        for (size_t n = first; n < last; n++)
            for (size_t g = 0; g < p->layers[n].linear->blocks->groups; g++) {
                rbe_scores scores = group_scores(p, &p->layers[n], g);
                rbe_selection_count(&selection, &scores);
            }
    while (rbe_selection_next(&selection));
    for (size_t n = first; n < last; n++)
        for (size_t g = 0; g < p->layers[n].linear->blocks->groups; g++) {
            rbe_scores scores = group_scores(p, &p->layers[n], g);
            rbe_selection_mark(&selection, &scores,
                               p->layers[n].keep_unit + group_units(p, p->layers[n].linear->blocks, g));
        }
}

/* What may stay of `total` values or bytes. `fixed` bytes cannot be pruned. */
static rbe_status cost_limit(const pruning *p, uint64_t total, size_t fixed, uint64_t *limit) {
    double amount = p->options->amount;
    if (p->options->by == RBE_PRUNE_FRACTION) {
        *limit = total - (uint64_t)floor(amount * (double)total);
        return RBE_OK;
    }
    if (amount < (double)fixed)
        return rbe_fail(RBE_INSUFFICIENT_COMPRESSION,
                        "pruning: expected a budget of at least the %zu bytes that cannot be pruned, found %.0f", fixed,
                        amount);
    *limit = amount - (double)fixed < (double)total ? (uint64_t)amount - fixed : total;
    return RBE_OK;
}

static rbe_status choose_units(const pruning *p, size_t model_bytes) {
    if (p->options->by == RBE_PRUNE_THRESHOLD) {
        for (size_t n = 0; n < p->count; n++) keep_above_threshold(p, &p->layers[n]);
        return RBE_OK;
    }
    /* The selection leaves out scores of 0, but a limit may allow them. */
    for (size_t n = 0; n < p->count; n++) {
        size_t units = group_units(p, p->layers[n].linear->blocks, p->layers[n].linear->blocks->groups);
        for (size_t unit = 0; unit < units; unit++) p->layers[n].score[unit] = fmaxf(p->layers[n].score[unit], FLT_MIN);
    }
    uint64_t total = total_cost(p, 0, p->count), limit = 0;
    RBE_TRY(cost_limit(p, total, model_bytes - (size_t)total, &limit));
    if (!p->options->per_layer) {
        keep_largest(p, 0, p->count, limit);
        return RBE_OK;
    }
    for (size_t n = 0; n < p->count; n++) {
        double share = (double)limit / fmax((double)total, 1.0);
        keep_largest(p, n, n + 1, (uint64_t)floor(share * (double)total_cost(p, n, n + 1) + 1e-6));
    }
    return RBE_OK;
}

/* ---- getting ready ------------------------------------------------------------------------------------------- */

/* Marks what stays value by value, and the lists' lengths; counts what goes. */
static void mark_values(const pruning *p, pruned_layer *l) {
    const rbe_blocks *b = l->linear->blocks;
    for (size_t list = 0; list < rbe_list_count(b); list++) {
        size_t kept_entries = 0;
        for (rbe_walk at = rbe_walk_lists(b, list, 1); rbe_walk_next(&at);) {
            size_t rows = at.list.rows, kept = 0, zeros = 0;
            for (size_t n = at.value; n < at.value + rows; n++) {
                l->keep[n] = l->keep_unit[p->options->single_values ? n : at.entry];
                kept += l->keep[n];
                zeros += !l->keep[n] && b->values[n] == 0.0f;
            }
            l->removed += rows - kept - (kept > 0 ? zeros : 0);
            kept_entries += kept > 0;
        }
        rbe_set_list_length(l->next, list, kept_entries);
    }
}

static void fill_lists(const pruned_layer *l) {
    size_t next = 0;
    for (rbe_walk at = rbe_walk_all(l->linear->blocks); rbe_walk_next(&at);)
        if (memchr(l->keep + at.value, 1, at.list.rows)) rbe_set_column(l->next, next++, at.column);
}

static rbe_status prepare(const pruning *p, pruned_layer *l) {
    const rbe_blocks *b = l->linear->blocks;
    mark_values(p, l);
    if (l->removed == 0) return RBE_OK;
    if (b->alpha && !p->options->no_absorption && !p->options->refit) {
        l->alpha_change = rbe_alloc(l->linear->alpha->count, sizeof *l->alpha_change);
        if (!l->alpha_change) return rbe_last_status();
    }
    RBE_TRY(rbe_absorb(b, l->keep, l->alpha_change, &l->energy));
    if (p->options->refit) RBE_TRY(rbe_refit_make(&l->refit, l->linear, l->keep, l->inputs, l->input_rows));
    RBE_TRY(rbe_blocks_allocate(l->next));
    fill_lists(l);
    return rbe_remap_prepare(&l->remap, l->linear, l->next);
}

/* ---- the change ---------------------------------------------------------------------------------------------- */

static void commit(pruned_layer *l) {
    if (l->removed == 0) return;
    rbe_blocks *b = l->linear->blocks;
    float **array;
    for (size_t which = 0; (array = rbe_param_array(&l->linear->params[0], which)); which++)
        for (size_t n = 0; *array && n < b->value_count; n++)
            if (!l->keep[n]) (*array)[n] = 0.0f;
    for (size_t n = 0; l->alpha_change && n < l->linear->alpha->count; n++) b->alpha[n] += l->alpha_change[n];
    if (l->refit.values) memcpy(b->values, l->refit.values, b->value_count * sizeof(float));
    if (l->refit.alpha) memcpy(b->alpha, l->refit.alpha, l->linear->alpha->count * sizeof(float));
    if (l->refit.bias) memcpy(l->linear->bias->value, l->refit.bias, l->linear->bias->count * sizeof(float));
    if (l->next->entries < b->entries) rbe_remap_commit(&l->remap);
}

static rbe_status add_layer(pruning *p, rbe_linear_layer *linear) {
    const rbe_blocks *b = linear->blocks;
    size_t units = p->options->single_values ? b->value_count : b->entries;
    pruned_layer *l = &p->layers[p->count++];
    l->linear = linear;
    l->score = rbe_alloc(units, sizeof *l->score);
    l->keep_unit = rbe_alloc(units, sizeof *l->keep_unit);
    l->keep = rbe_alloc(b->value_count, sizeof *l->keep);
    l->next = rbe_lists_new(b);
    if (!l->score || !l->keep_unit || !l->keep || !l->next) return RBE_INSUFFICIENT_MEMORY;
    return score_units(p, p->count - 1);
}

static void free_layers(pruning *p) {
    for (size_t n = 0; n < p->count; n++) {
        pruned_layer *l = &p->layers[n];
        rbe_free(l->score);
        rbe_free(l->keep_unit);
        rbe_free(l->keep);
        rbe_free(l->alpha_change);
        rbe_free(l->inputs);
        rbe_refit_free(&l->refit);
        rbe_blocks_free(l->next);
    }
    rbe_free(p->layers);
}

/* ---- inputs of the layers ------------------------------------------------------------------------------------ */

static pruned_layer *find_layer(const pruning *p, const rbe_layer *layer) {
    for (size_t n = 0; n < p->count; n++)
        if (&p->layers[n].linear->base == layer) return &p->layers[n];
    return NULL;
}

static rbe_status copy_inputs(pruned_layer *l, const rbe_tensor *x) {
    l->input_rows = rbe_tensor_rows(x);
    l->inputs = rbe_alloc(rbe_tensor_count(x), sizeof(float));
    if (!l->inputs) return rbe_last_status();
    memcpy(l->inputs, x->data, rbe_tensor_count(x) * sizeof(float));
    return RBE_OK;
}

/* Keeps what arrives at a layer that is being pruned, the first time. */
static void see_input(void *user, const rbe_layer *layer, rbe_var *x) {
    const pruning *p = user;
    pruned_layer *l = find_layer(p, layer);
    if (l && !l->inputs && copy_inputs(l, rbe_value(x)) != RBE_OK) rbe_tape_fail_last(x);
}

/* Runs the samples through the model. */
static rbe_status collect_inputs(pruning *p, const rbe_model *model, rbe_tape *tape) {
    tape->see_layer = see_input;
    tape->see_user = p;
    rbe_model_forward(model, rbe_input(tape, *p->options->refit));
    if (rbe_tape_status(tape) != RBE_OK) return rbe_fail(rbe_tape_status(tape), "%s", rbe_tape_error(tape));
    return RBE_OK;
}

static void describe(const pruning *p, rbe_prune_report *report) {
    for (size_t n = 0; n < p->count; n++) {
        const pruned_layer *l = &p->layers[n];
        report->removed += l->removed;
        report->removed_energy += l->energy.removed;
        report->absorbed_energy += l->energy.absorbed;
    }
}

/* The buffer of the model's gradients as it will be; *buffer stays NULL if the model has none. */
static rbe_status prepare_gradients(const pruning *p, float **buffer) {
    *buffer = NULL;
    if (!p->model || !p->model->gradients) return RBE_OK;
    size_t floats = 0;
    const rbe_param *param;
    for (size_t n = 0; (param = rbe_model_param(p->model, n)); n++) {
        size_t count = param->count;
        for (size_t k = 0; k < p->count; k++)
            if (param == p->layers[k].linear->params && p->layers[k].removed > 0)
                count = p->layers[k].next->value_count;
        floats += rbe_gradient_floats(param, count);
    }
    *buffer = rbe_alloc_zeroed(floats, sizeof **buffer);
    return *buffer ? RBE_OK : rbe_last_status();
}

/* Layers are scored, and their memory counted, before this. */
static rbe_status prune(pruning *p, size_t model_bytes) {
    RBE_TRY(choose_units(p, model_bytes));
    size_t ready = 0;
    float *gradients = NULL;
    rbe_status status = RBE_OK;
    for (; ready < p->count && status == RBE_OK; ready++) status = prepare(p, &p->layers[ready]);
    if (status == RBE_OK) status = prepare_gradients(p, &gradients);
    if (status != RBE_OK) {
        while (ready-- > 0) rbe_remap_discard(&p->layers[ready].remap);
        return status;
    }
    for (size_t n = 0; n < p->count; n++) commit(&p->layers[n]);
    if (gradients) rbe_model_arrange_gradients(p->model, gradients);
    return RBE_OK;
}

/* ---- the calls ----------------------------------------------------------------------------------------------- */

static rbe_status check_options(const rbe_prune_options *o) {
    if (!o) return rbe_fail(RBE_INVALID_ARGUMENT, "pruning: the options are NULL");
    if (o->score != RBE_PRUNE_MAGNITUDE && o->score != RBE_PRUNE_FISHER && o->score != RBE_PRUNE_GRADIENT &&
        o->score != RBE_PRUNE_RANDOM)
        return rbe_fail(RBE_INVALID_ARGUMENT, "pruning: there is no score %d", (int)o->score);
    if (!(o->amount >= 0.0 && isfinite(o->amount)))
        return rbe_fail(RBE_INVALID_ARGUMENT, "pruning: expected a finite amount >= 0, found %g", o->amount);
    if (o->relative && (o->by != RBE_PRUNE_THRESHOLD || o->score != RBE_PRUNE_MAGNITUDE))
        return rbe_fail(RBE_INVALID_ARGUMENT, "pruning: only a threshold for magnitudes can be relative");
    if (o->refit && o->single_values)
        return rbe_fail(RBE_INVALID_ARGUMENT, "pruning: a refit needs whole entries, found single_values");
    switch (o->by) {
    case RBE_PRUNE_FRACTION:
        if (o->amount <= 1.0) return RBE_OK;
        return rbe_fail(RBE_INVALID_ARGUMENT, "pruning: expected a fraction of at most 1, found %g", o->amount);
    case RBE_PRUNE_TO_BYTES:
        if (!o->single_values) return RBE_OK;
        return rbe_fail(RBE_INVALID_ARGUMENT, "pruning to bytes needs whole entries, found single_values");
    case RBE_PRUNE_THRESHOLD: return RBE_OK;
    }
    return rbe_fail(RBE_INVALID_ARGUMENT, "pruning: there is no amount of kind %d", (int)o->by);
}

static rbe_status prune_model(pruning *p, const rbe_model *model, rbe_prune_report *report) {
    size_t layers = 0;
    while (rbe_model_layer(model, layers)) layers++;
    p->layers = rbe_alloc_zeroed(layers, sizeof *p->layers);
    if (!p->layers) return rbe_last_status();
    for (size_t n = 0; n < layers; n++) {
        rbe_linear_layer *linear = rbe_layer_as_linear(rbe_model_layer(model, n));
        if (linear && !linear->params[0].frozen) RBE_TRY(add_layer(p, linear));
    }
    if (p->count == 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "pruning: the model has no compressed layer that is not frozen");
    if (p->options->refit) {
        rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
        rbe_status status = tape ? collect_inputs(p, model, tape) : rbe_last_status();
        rbe_tape_free(tape);
        if (status != RBE_OK) return status;
    }
    rbe_layer_cost before = rbe_model_describe_cost(model);
    RBE_TRY(prune(p, before.bytes));
    rbe_layer_cost after = rbe_model_describe_cost(model);
    *report = (rbe_prune_report){.values_before = before.values,
                                 .values_after = after.values,
                                 .bytes_before = before.bytes,
                                 .bytes_after = after.bytes};
    describe(p, report);
    return RBE_OK;
}

rbe_status rbe_prune_further(rbe_model *model, const rbe_prune_options *options, const rbe_layer_count *before,
                             size_t count, rbe_prune_report *report) {
    RBE_TRY(rbe_model_status(model));
    RBE_TRY(check_options(options));
    pruning p = {.options = options, .model = model, .before = before, .before_count = count};
    rbe_prune_report result;
    rbe_status status = prune_model(&p, model, &result);
    free_layers(&p);
    if (status == RBE_OK && report) *report = result;
    return status;
}

rbe_status rbe_prune(rbe_model *model, const rbe_prune_options *options, rbe_prune_report *report) {
    return rbe_prune_further(model, options, NULL, 0, report);
}

rbe_status rbe_adaptive_coefficient_pruning(rbe_layer *layer, double threshold, size_t *removed) {
    rbe_linear_layer *linear = rbe_layer_as_linear(layer);
    if (!linear) return rbe_fail(RBE_INVALID_ARGUMENT, "pruning: expected a compressed layer");
    if (linear->params[0].frozen) return rbe_fail(RBE_INVALID_ARGUMENT, "pruning: %s is frozen", layer->name);
    const rbe_prune_options options = {.by = RBE_PRUNE_THRESHOLD, .amount = threshold, .single_values = true};
    RBE_TRY(check_options(&options));
    pruning p = {
        .options = &options, .model = (rbe_model *)layer->owner, .layers = rbe_alloc_zeroed(1, sizeof(pruned_layer))};
    rbe_status status = p.layers ? add_layer(&p, linear) : rbe_last_status();
    if (status == RBE_OK) status = prune(&p, 0);
    if (status == RBE_OK && removed) *removed = p.layers->removed;
    free_layers(&p);
    return status;
}
