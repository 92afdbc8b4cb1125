/* Growth: the weakest coefficients move to where the gradient is largest (RigL, Evci et al. 2020, in the transform
 * domain).
 *
 *     drop   argmin over the entries of     sum_m c_m^2               m: block rows of the group
 *     grow   argmax over the empty ones of  sum_m (dL/dc_m)^2
 *
 * Each list is ranked by itself and keeps its length, hence the number of values stays exactly what it was.
 * (Ranking over all lists of a group was measured: no better at ratio 16, worse at 64.) A step that is due arms the
 * layer's probe; the next backward pass leaves the best empty positions of every list; the call after that
 * exchanges. Buffers are made once.
 *
 * Where several ranks share the batches, each keeps its share of those rows in the backward pass, and of what they all have
 * seen every one makes the same choice before the exchange.
 *
 * What grows starts at zero and is worth something only once it has been trained: a layer that no optimiser
 * trains keeps what it has.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "adapt/remap.h"
#include "adapt/spectrum.h"
#include "base/alloc.h"
#include "base/parallel.h"
#include "base/sizes.h"
#include "codec/entries.h"
#include "codec/select.h"
#include "rbe/adapt.h"
#include "tensor/node.h"

/* Rows of a batch that the gradient at empty positions is taken from, at most: more cost time and were measured to
 * gain nothing. */
#define MOST_ROWS 128

static const double pi = 3.14159265358979323846;

/* One layer. */
typedef struct grown_layer {
    rbe_linear_layer *linear;
    double fraction;     /* of the exchange that is due */
    bool seen;           /* candidates are there */
    bool waits;          /* rows are there, and candidates are still to be chosen */
    bool restored;       /* armed by a checkpoint: buffers are still to be made */
    float *rows;         /* of several ranks: MOST_ROWS inputs and, behind them, gradients of outputs; NULL: none yet */
    rbe_blocks *next;    /* the lists after an exchange */
    uint32_t *candidate; /* columns where to grow, ascending, each list's at the place of its entries */
    uint32_t *wanted;    /* candidates of each list */
    float *score;        /* of a list's entries, or of the empty positions that come into question */
    uint8_t *keep;       /* of the same */
    uint32_t *column;    /* of those empty positions */
    uint64_t histogram[1 << RBE_FINE_DIGIT];
} grown_layer;

struct rbe_growth {
    rbe_growth_options options;
    grown_layer *layers;
    size_t count;
    rbe_growth_counters counted;
    rbe_arena scratch; /* of choices that are not made in a backward pass */
};

/* ---- buffers ------------------------------------------------------------------------------------------------- */

static void free_buffers(grown_layer *l) {
    rbe_blocks_free(l->next);
    rbe_free(l->rows);
    rbe_free(l->candidate);
    rbe_free(l->wanted);
    rbe_free(l->score);
    rbe_free(l->keep);
    rbe_free(l->column);
    *l = (grown_layer){.linear = l->linear, .fraction = l->fraction};
}

/* Are the buffers for the layer's present lists? Pruning or another block size may have changed them since. */
static bool fits(const grown_layer *l) {
    const rbe_blocks *b = l->linear->blocks, *n = l->next;
    return n && n->block == b->block && n->group == b->group && n->grid_rows == b->grid_rows &&
           n->grid_cols == b->grid_cols &&
           memcmp(n->list_start, b->list_start, (b->groups * b->block + 1) * sizeof *b->list_start) == 0;
}

static rbe_status make_buffers(grown_layer *l) {
    const rbe_blocks *b = l->linear->blocks;
    size_t lists = rbe_list_count(b), columns = b->grid_cols * b->block;
    free_buffers(l);
    l->next = rbe_lists_new(b);
    l->candidate = rbe_alloc(b->entries, sizeof *l->candidate);
    l->wanted = rbe_alloc_zeroed(lists, sizeof *l->wanted);
    l->score = rbe_alloc(columns, sizeof *l->score);
    l->keep = rbe_alloc(columns, sizeof *l->keep);
    l->column = rbe_alloc(columns, sizeof *l->column);
    if (!l->next || !l->candidate || !l->wanted || !l->score || !l->keep || !l->column) return RBE_INSUFFICIENT_MEMORY;
    for (size_t n = 0; n < lists; n++) {
        const rbe_list list = rbe_list_at(b, n);
        rbe_set_list_length(l->next, n, list.end - list.first);
    }
    return rbe_blocks_allocate(l->next);
}

/* Marks in l->keep the `limit` largest of the scores, of equal ones the first; never those that are 0. */
static void keep_largest(grown_layer *l, const float *score, size_t count, size_t limit) {
    const rbe_scores scores = {.score = score, .rows = 1, .columns = count, .stride = count, .cost = 1};
    rbe_selection selection;
    rbe_selection_start(&selection, limit, RBE_FINE_DIGIT, l->histogram);
    do rbe_selection_count(&selection, &scores);
    while (rbe_selection_next(&selection));
    rbe_selection_mark(&selection, &scores, l->keep);
}

/* ---- where to grow ------------------------------------------------------------------------------------------- */

/* A number that at least `wanted` scores reach: the least of the maxima of so many stretches of the list. The order
 * of scores, none of which is negative, is that of their bits. */
static float lower_bound(const float *score, size_t count, size_t wanted) {
    int32_t least = INT32_MAX;
    for (size_t n = 0; n < wanted; n++) {
        int32_t most = 0;
        for (size_t c = n * count / wanted; c < (n + 1) * count / wanted; c++) {
            int32_t bits;
            memcpy(&bits, &score[c], sizeof bits);
            if (bits > most) most = bits;
        }
        if (most < least) least = most;
    }
    float bound;
    memcpy(&bound, &least, sizeof bound);
    return bound;
}

/* Notes the best empty positions of a list; spoils the scores (one per column). */
static void choose_candidates(grown_layer *l, size_t list, float *score, size_t columns) {
    const rbe_list taken = rbe_list_at(l->linear->blocks, list);
    size_t wanted = (size_t)lround(l->fraction * (double)(taken.end - taken.first)), count = 0;
    for (rbe_walk at = rbe_walk_lists(l->linear->blocks, list, 1); rbe_walk_next(&at);) score[at.column] = 0.0f;
    l->wanted[list] = 0;
    if (wanted == 0) return;
    float bound = lower_bound(score, columns, wanted); /* few columns reach it, and only they are ranked */
    for (size_t c = 0; c < columns; c++)
        if (score[c] >= bound) {
            l->score[count] = score[c];
            l->column[count++] = (uint32_t)c;
        }
    keep_largest(l, l->score, count, wanted);
    for (size_t n = 0; n < count; n++)
        if (l->keep[n]) l->candidate[taken.first + l->wanted[list]++] = l->column[n];
}

/* Scores, and what is added to them: the squares of a block row's gradient. */
typedef struct squares {
    float *score;
    const float *gradient;
} squares;

static void add_squares(void *context, size_t first, size_t count) {
    const squares *s = context;
    for (size_t n = first; n < first + count; n++) s->score[n] += s->gradient[n] * s->gradient[n];
}

static rbe_status choose(grown_layer *l, const float *x, const float *dy, size_t rows, rbe_arena *scratch) {
    const rbe_blocks *b = l->linear->blocks;
    rbe_spectrum spectrum;
    RBE_TRY(rbe_spectrum_open(&spectrum, b, x, dy, rows, false, scratch));
    size_t columns = spectrum.columns, positions = b->block * columns;
    float *score = rbe_arena_take(scratch, positions, sizeof *score);
    if (!score) return rbe_last_status();
    for (size_t g = 0; g < b->groups; g++) {
        memset(score, 0, positions * sizeof *score);
        for (size_t m = 0; m < rbe_group_rows(b, g); m++) {
            const float *gradient = rbe_spectrum_block_row(&spectrum, g * b->group + m);
            if (!gradient) return rbe_last_status();
            rbe_parallel_ranges(positions, RBE_PIECE, add_squares, &(squares){score, gradient});
        }
        for (size_t i = 0; i < b->block; i++) choose_candidates(l, g * b->block + i, score + i * columns, columns);
    }
    l->seen = true;
    return RBE_OK;
}

/* ---- several ranks ------------------------------------------------------------------------------------------- */

static size_t row_floats(const grown_layer *l) { return l->linear->blocks->in + l->linear->blocks->out; }

static float *gradient_rows(const grown_layer *l) { return l->rows + MOST_ROWS * l->linear->blocks->in; }

/* Puts this rank's rows where they stand in the whole batch, with zeros elsewhere. */
static rbe_status keep_rows(grown_layer *l, const float *x, const float *dy, size_t rows, const rbe_share *share) {
    const size_t in = l->linear->blocks->in, out = l->linear->blocks->out, floats = MOST_ROWS * row_floats(l);
    const size_t first = rbe_share_first_row(share, rows);
    if (!l->rows && !(l->rows = rbe_alloc(floats, sizeof *l->rows))) return RBE_INSUFFICIENT_MEMORY;
    memset(l->rows, 0, floats * sizeof *l->rows);
    l->waits = true;
    if (first >= MOST_ROWS) return RBE_OK;
    const size_t count = rbe_at_most(rows, MOST_ROWS - first);
    memcpy(l->rows + first * in, x, count * in * sizeof *x);
    memcpy(gradient_rows(l) + first * out, dy, count * out * sizeof *dy);
    return RBE_OK;
}

/* All ranks have the rows of all. */
static rbe_status meet_routine(void *user, const rbe_comm *comm) {
    rbe_growth *growth = user;
    for (size_t n = 0; n < growth->count; n++) {
        grown_layer *l = &growth->layers[n];
        if (l->waits && fits(l)) RBE_TRY(comm->sum(comm->user, l->rows, MOST_ROWS * row_floats(l)));
    }
    return RBE_OK;
}

static rbe_status choose_of_all(rbe_growth *growth) {
    for (size_t n = 0; n < growth->count; n++) {
        grown_layer *l = &growth->layers[n];
        const bool due = l->waits && fits(l);
        l->waits = false;
        if (due) RBE_TRY(choose(l, l->rows, gradient_rows(l), MOST_ROWS, &growth->scratch));
        rbe_arena_reset(&growth->scratch);
    }
    return RBE_OK;
}

/* ---- the backward pass --------------------------------------------------------------------------------------- */

static rbe_status see_backward(void *user, const rbe_linear_layer *layer, const float *x, const float *dy, size_t rows,
                               rbe_tape *tape) {
    (void)layer;
    grown_layer *l = user;
    if (l->restored && !fits(l)) RBE_TRY(make_buffers(l));
    l->restored = false;
    if (!fits(l)) return RBE_OK;
    if (tape->share.samples > 0)
        RBE_TRY(keep_rows(l, x, dy, rows, &tape->share));
    else
        RBE_TRY(choose(l, x, dy, rbe_at_most(rows, MOST_ROWS), &tape->arena));
    l->linear->probe = (rbe_linear_probe){0};
    return RBE_OK;
}

/* ---- the exchange -------------------------------------------------------------------------------------------- */

/* Marks the strongest entries of a list, all but as many as will grow. */
static void choose_kept(grown_layer *l, size_t list) {
    const rbe_blocks *b = l->linear->blocks;
    size_t count = 0;
    for (rbe_walk at = rbe_walk_lists(b, list, 1); rbe_walk_next(&at); count++) {
        const float *value = b->values + at.value;
        l->score[count] = FLT_MIN; /* an entry of zeros counts as well */
        for (size_t m = 0; m < at.list.rows; m++) l->score[count] += value[m] * value[m];
    }
    keep_largest(l, l->score, count, count - l->wanted[list]);
}

/* Writes the new list: what is kept and what grows, in ascending order. */
static void merge(grown_layer *l, size_t list) {
    size_t first = rbe_list_at(l->linear->blocks, list).first, out = first;
    const uint32_t *candidate = l->candidate + first, *last = candidate + l->wanted[list];
    for (rbe_walk at = rbe_walk_lists(l->linear->blocks, list, 1); rbe_walk_next(&at);) {
        if (!l->keep[at.entry - first]) continue;
        while (candidate < last && *candidate < at.column) rbe_set_column(l->next, out++, *candidate++);
        rbe_set_column(l->next, out++, at.column);
    }
    while (candidate < last) rbe_set_column(l->next, out++, *candidate++);
}

static rbe_status exchange(grown_layer *l, rbe_growth_counters *counted) {
    const rbe_blocks *b = l->linear->blocks;
    size_t moved = 0;
    if (!fits(l)) return RBE_OK; /* nor does what was seen */
    for (size_t list = 0; list < rbe_list_count(b); list++) {
        choose_kept(l, list);
        merge(l, list);
        moved += l->wanted[list] * rbe_list_at(b, list).rows;
    }
    if (moved == 0) return RBE_OK;
    counted->values += moved;
    return rbe_linear_set_positions(l->linear, l->next);
}

/* Whether coefficients that grow would be trained. */
static bool is_trained(const grown_layer *l) { return rbe_param_is_trained(&l->linear->params[0]); }

/* ---- the schedule -------------------------------------------------------------------------------------------- */

static rbe_status arm(rbe_growth *growth, double fraction) {
    for (size_t n = 0; n < growth->count; n++) {
        grown_layer *l = &growth->layers[n];
        if (!is_trained(l)) continue;
        if (l->linear->probe.see && l->linear->probe.user != l)
            return rbe_fail(RBE_INVALID_ARGUMENT,
                            "growth: %s already has a backward hook (another growth or sensitivity is active)",
                            l->linear->base.name);
        if (!fits(l)) RBE_TRY(make_buffers(l));
        l->fraction = fraction;
        l->restored = l->waits = false;
        l->linear->probe = (rbe_linear_probe){see_backward, l};
    }
    return RBE_OK;
}

rbe_status rbe_growth_step(rbe_growth *growth, size_t step) {
    if (!growth) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_growth_step: growth is NULL; did rbe_growth_new fail?");
    const rbe_growth_options *o = &growth->options;
    bool any = false;
    RBE_TRY(choose_of_all(growth));
    for (size_t n = 0; n < growth->count; n++) {
        grown_layer *l = &growth->layers[n];
        bool due = l->seen && is_trained(l);
        l->seen = false;
        if (due) RBE_TRY(exchange(l, &growth->counted));
        any |= due;
    }
    growth->counted.exchanges += any;
    double at = (double)(step + 1) / (o->stop * (double)o->steps);
    if ((step + 1) % o->every != 0 || at >= 1.0) return RBE_OK;
    return arm(growth, o->fraction * (1.0 + cos(pi * at)) / 2.0);
}

rbe_growth_counters rbe_growth_count(const rbe_growth *growth) {
    return growth ? growth->counted : (rbe_growth_counters){0};
}

/* ---- as a routine -------------------------------------------------------------------------------------------- */

static rbe_status step_routine(void *user, size_t step) { return rbe_growth_step(user, step); }

/* Armed, with buffers for the present lists: what a pruning in between has made useless does nothing any more. */
static bool is_armed(const grown_layer *l) { return l->linear->probe.user == l && (l->restored || fits(l)); }

static const char *number_of(size_t layer, char name[32]) {
    snprintf(name, 32, "armed_%zu", layer);
    return name;
}

static rbe_status same_options(const rbe_growth_options *o, rbe_sameness s) {
    RBE_TRY(rbe_same_number(s, "steps", (double)o->steps));
    RBE_TRY(rbe_same_number(s, "every", (double)o->every));
    RBE_TRY(rbe_same_number(s, "fraction", o->fraction));
    return rbe_same_number(s, "stop", o->stop);
}

static rbe_status write_state(void *user, rbe_writer *writer) {
    const rbe_growth *growth = user;
    if (!growth) return rbe_fail(RBE_INVALID_ARGUMENT, "growth is NULL; did rbe_growth_new fail?");
    RBE_TRY(same_options(&growth->options, (rbe_sameness){.writer = writer}));
    RBE_TRY(rbe_write_number(writer, "values", (double)growth->counted.values));
    RBE_TRY(rbe_write_number(writer, "exchanges", (double)growth->counted.exchanges));
    for (size_t n = 0; n < growth->count; n++) {
        char name[32];
        const grown_layer *l = &growth->layers[n];
        if (l->seen)
            return rbe_fail(RBE_INVALID_ARGUMENT, "a checkpoint: candidates for growth wait for rbe_growth_step");
        RBE_TRY(rbe_write_number(writer, number_of(n, name), is_armed(l) ? l->fraction : 0.0));
    }
    return RBE_OK;
}

/* The share that is due in each layer: 0 where none is. */
static rbe_status read_armed(const rbe_growth *growth, rbe_reader *reader, double *armed) {
    for (size_t n = 0; n < growth->count; n++) {
        char name[32];
        const rbe_linear_layer *linear = growth->layers[n].linear;
        RBE_TRY(rbe_read_number(reader, number_of(n, name), 0.0, 1.0, &armed[n]));
        if (armed[n] > 0.0 && linear->probe.see && linear->probe.user != &growth->layers[n])
            return rbe_fail(RBE_INVALID_ARGUMENT,
                            "growth: %s already has a backward hook (another growth or sensitivity is active)",
                            linear->base.name);
    }
    return RBE_OK;
}

static void restore(rbe_growth *growth, const double *armed) {
    for (size_t n = 0; n < growth->count; n++) {
        grown_layer *l = &growth->layers[n];
        if (l->linear->probe.user == l) l->linear->probe = (rbe_linear_probe){0};
        l->seen = l->waits = false;
        l->fraction = armed[n];
        l->restored = armed[n] > 0.0;
        if (l->restored) l->linear->probe = (rbe_linear_probe){see_backward, l};
    }
}

static rbe_status read_state(void *user, rbe_reader *reader) {
    rbe_growth *growth = user;
    if (!growth) return rbe_fail(RBE_INVALID_ARGUMENT, "growth is NULL; did rbe_growth_new fail?");
    rbe_growth_counters counted;
    RBE_TRY(same_options(&growth->options, (rbe_sameness){.reader = reader}));
    RBE_TRY(rbe_read_count(reader, "values", 0, SIZE_MAX / 4096, &counted.values));
    RBE_TRY(rbe_read_count(reader, "exchanges", 0, SIZE_MAX / 4096, &counted.exchanges));
    double *armed = rbe_alloc(growth->count, sizeof *armed);
    if (!armed) return rbe_last_status();
    rbe_status status = read_armed(growth, reader, armed);
    if (status == RBE_OK) restore(growth, armed);
    if (status == RBE_OK) growth->counted = counted;
    rbe_free(armed);
    return status;
}

rbe_routine rbe_growth_routine(rbe_growth *growth) {
    return (rbe_routine){.name = "growth",
                         .step = step_routine,
                         .write = write_state,
                         .read = read_state,
                         .user = growth,
                         .meet = growth ? meet_routine : NULL};
}

/* ---- making and freeing -------------------------------------------------------------------------------------- */

/* Written so that NaN is refused. */
static bool is_share(double x) { return x > 0.0 && x <= 1.0; }

/* What has grown needs time to become worth something, but in long trainings positions need not move all the time. */
static size_t usual_interval(size_t steps) {
    if (steps > 10000) return steps / 100;
    return steps < 200 ? 10 : steps > 2000 ? 100 : steps / 20;
}

static rbe_status fill_options(rbe_growth_options *o, const rbe_growth_options *given) {
    *o = given ? *given : (rbe_growth_options){0};
    if (o->steps == 0) return rbe_fail(RBE_INVALID_ARGUMENT, "growth: expected the number of training steps, found 0");
    if (o->every == 0) o->every = usual_interval(o->steps);
    if (o->fraction == 0.0) o->fraction = 0.3;
    if (o->stop == 0.0) o->stop = 0.75;
    if (!is_share(o->fraction))
        return rbe_fail(RBE_INVALID_ARGUMENT, "growth: expected 0 < fraction <= 1, found %g", o->fraction);
    if (!is_share(o->stop)) return rbe_fail(RBE_INVALID_ARGUMENT, "growth: expected 0 < stop <= 1, found %g", o->stop);
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
        RBE_TRY(make_buffers(l));
    }
    if (growth->count == 0) return rbe_fail(RBE_INVALID_ARGUMENT, "growth: the model has no compressed layer");
    return RBE_OK;
}

rbe_growth *rbe_growth_new(rbe_model *model, const rbe_growth_options *options) {
    rbe_growth_options o;
    if (rbe_model_status(model) != RBE_OK || fill_options(&o, options) != RBE_OK) return NULL;
    rbe_growth *growth = rbe_alloc_zeroed(1, sizeof *growth);
    if (!growth) return NULL;
    growth->options = o;
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
    rbe_arena_free(&growth->scratch);
    rbe_free(growth->layers);
    rbe_free(growth);
}

size_t rbe_growth_group(double ratio) { return ratio <= 12.0 ? 4 : ratio <= 32.0 ? 2 : 1; }
