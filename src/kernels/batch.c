/* Products of a whole batch, cut into tasks that any thread may take.
 *
 * The rows are cut into panels. Forward and dX are a task for each panel: transform, multiply, transform back; a row's
 * result does not depend on its neighbours in the panel.
 *
 * The gradients sum over all rows. Panels form runs; a run's transformed X and dY are made by one loop over its panels,
 * and a second loop over the lists of positions adds the run to the gradients. Each list is summed by one task, run
 * after run: the order of the sums depends on the shapes alone. One thread takes a run at a time, which then stays in
 * the second-level cache; several take as many as give all of them work.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/parallel.h"
#include "base/sizes.h"
#include "codec/entries.h"
#include "kernels/kernels.h"
#include "kernels/plan.h"

#define PANEL_STEP 16               /* a multiple of every vector's length */
#define PANEL_PAIR_BYTES (2u << 20) /* of input and output panel together, for the second-level cache */
#define LEAST_TASKS 10              /* that a loop should have, so that threads find work: 16 for a batch of 256 */
#define LIST_TASKS 32               /* the same for gradients, whose lists differ in length */
#define RUN_BYTES (640u << 10)      /* of the panels that are summed without a break */
#define TOGETHER_BYTES (4u << 20)   /* of the runs that several threads work on together */
#define MOST_JOINED_BYTES (16u << 20)

/* Floats up to a whole number of vectors. */
static size_t padded(size_t floats) { return (floats + PANEL_STEP - 1) / PANEL_STEP * PANEL_STEP; }

/* Narrow panels read all coefficients for fewer rows each, which costs little; so short batches have more of them. */
static size_t width_for_tasks(size_t width, size_t rows) {
    while (width > PANEL_STEP && rbe_pieces(rows, width) < LEAST_TASKS) width -= PANEL_STEP;
    return width;
}

rbe_layout rbe_plan_layout(const rbe_plan *plan, size_t rows) {
    rbe_layout l = {.rows = rows, .threads = (size_t)rbe_threads()};
    const size_t pair_bytes = (plan->grid_rows + plan->grid_cols) * plan->block_rows * sizeof(float);
    size_t width = rbe_at_least(rbe_at_most(rbe_isa()->width, padded(rows)), PANEL_STEP);
    while (width > PANEL_STEP && pair_bytes * width > PANEL_PAIR_BYTES) width -= PANEL_STEP;
    l.width = width_for_tasks(width, rows);
    l.panels = rbe_pieces(rows, l.width);
    l.input_floats = plan->grid_cols * plan->block_rows * l.width;
    l.output_floats = plan->grid_rows * plan->block_rows * l.width;
    l.run = rbe_at_most(rbe_at_most(RUN_BYTES / (pair_bytes * l.width), RBE_MAX_RUN / l.width), l.panels);
    l.run = rbe_at_least(l.run, 1);
    l.runs = rbe_pieces(l.panels, l.run);
    l.runs_together = rbe_at_most(l.runs, 1);
    if (l.threads > 1) {
        size_t bytes = rbe_at_least(TOGETHER_BYTES, l.threads * RUN_BYTES);
        l.runs_together = rbe_at_most(rbe_at_least(bytes / (pair_bytes * l.width * l.run), 1), l.runs);
    }
    return l;
}

bool rbe_layout_join_runs(rbe_layout *l) {
    rbe_layout joined = *l;
    joined.runs_together = l->runs;
    if (rbe_plan_backward_bytes(&joined) > MOST_JOINED_BYTES) return false;
    *l = joined;
    return true;
}

static size_t panel_rows(const rbe_layout *l, size_t panel) {
    return rbe_at_most(l->width, l->rows - panel * l->width);
}

/* What all tasks of one product share. */
typedef struct batch {
    const rbe_plan *plan;
    const rbe_blocks *w;
    const rbe_methods *isa;
    const rbe_backward_methods *backward;
    const rbe_layout *layout;
    const float *bias, *x, *dy;
    float *y, *cache;
    const float *cached;
    float *panels; /* scratch */
    const rbe_gradients *gradients;
    size_t first_panel, panel_count; /* of the runs that are worked on */
    size_t list_parts, list_step;    /* a group's lists are so many tasks, of so many frequencies each */
    size_t first_list, end_list;     /* whose values are summed, of all groups' lists */
    bool sums_first;                 /* dX comes after all sums */
} batch;

/* ---- forward ------------------------------------------------------------------------------------------------- */

/* Workers, and panels of a backward product, that scratch memory has room for. */
static size_t scratch_workers(const rbe_layout *l) { return rbe_at_most(l->threads, l->panels); }

static size_t scratch_panels(const rbe_layout *l) { return rbe_at_most(l->runs_together * l->run, l->panels); }

size_t rbe_plan_forward_bytes(const rbe_plan *plan, const rbe_layout *l) {
    size_t floats = scratch_workers(l) * (l->input_floats + l->output_floats);
    if (l->rows < plan->batch_threshold) floats = rbe_at_least(floats, rbe_small_floats(plan, l->rows));
    return rbe_aligned(floats * sizeof(float));
}

size_t rbe_plan_cache_bytes(const rbe_plan *plan, size_t rows) {
    rbe_layout l = rbe_plan_layout(plan, rows);
    return rbe_aligned(l.panels * l.input_floats * sizeof(float));
}

static void forward_panel(void *context, size_t panel, size_t worker) {
    const batch *b = context;
    const rbe_layout *l = b->layout;
    const size_t in = b->w->in, out = b->w->out, start = panel * l->width, rows = panel_rows(l, panel);
    RBE_ASSERT(worker < scratch_workers(l));
    float *own = b->panels + worker * (l->input_floats + l->output_floats);
    float *xh = b->cache ? b->cache + panel * l->input_floats : own, *yh = own + l->input_floats;
    b->isa->analyze(&b->plan->input, b->x + start * in, rows, in, xh, l->width);
    b->isa->product(b->plan, b->w, xh, yh, l->width, rows);
    b->isa->synthesize(&b->plan->output, yh, l->width, b->bias, false, b->y + start * out, rows, out);
}

void rbe_plan_forward(const rbe_plan *plan, const rbe_blocks *w, const rbe_layout *layout, const float *bias,
                      const float *x, float *y, float *cache, void *scratch) {
    if (layout->rows < plan->batch_threshold && !cache) {
        if (layout->rows > 0) rbe_forward_small(plan, w, bias, x, layout->rows, y, scratch);
        return;
    }
    batch b = {.plan = plan,
               .w = w,
               .isa = rbe_isa(),
               .layout = layout,
               .bias = bias,
               .x = x,
               .y = y,
               .cache = cache,
               .panels = scratch};
    rbe_parallel(layout->threads, layout->panels, forward_panel, &b);
}

/* ---- backward ------------------------------------------------------------------------------------------------ */

/* The panels of the runs that are worked on together. */
size_t rbe_plan_backward_bytes(const rbe_layout *l) {
    return rbe_aligned(scratch_panels(l) * (l->input_floats + l->output_floats) * sizeof(float));
}

static float *input_panel(const batch *b, size_t n) { return b->panels + n * b->layout->input_floats; }

static float *output_panel(const batch *b, size_t n) {
    const rbe_layout *l = b->layout;
    return b->panels + scratch_panels(l) * l->input_floats + n * l->output_floats;
}

/* dX of one panel, made in `dxh`. */
static void input_gradient(const batch *b, size_t panel, const float *yh, float *dxh) {
    const rbe_layout *l = b->layout;
    const rbe_gradients *g = b->gradients;
    const size_t in = b->w->in, rows = panel_rows(l, panel);
    memset(dxh, 0, l->input_floats * sizeof *dxh);
    b->backward->product_transposed(b->plan, b->w, yh, dxh, l->width, rows);
    b->isa->synthesize(&b->plan->input, dxh, l->width, NULL, g->add_dx, g->dx + panel * l->width * in, rows, in);
}

/* dX of the n-th panel after the sums: X is not needed any more. */
static void late_input_gradient(void *context, size_t n, size_t worker) {
    (void)worker;
    const batch *b = context;
    input_gradient(b, n, output_panel(b, n), input_panel(b, n));
}

/* Transformed dY and X of the n-th panel that is worked on. A panel of X is that of dX before. */
static void backward_panel(void *context, size_t n, size_t worker) {
    (void)worker;
    const batch *b = context;
    const rbe_layout *l = b->layout;
    const rbe_gradients *g = b->gradients;
    const size_t panel = b->first_panel + n, start = panel * l->width, rows = panel_rows(l, panel);
    const size_t in = b->w->in, out = b->w->out;
    RBE_ASSERT(n < scratch_panels(l));
    float *xh = input_panel(b, n), *yh = output_panel(b, n);
    b->isa->analyze(&b->plan->output, b->dy + start * out, rows, out, yh, l->width);
    if (g->dx && !b->sums_first) input_gradient(b, panel, yh, xh);
    if ((g->values || g->alpha) && !b->cached)
        b->isa->analyze(&b->plan->input, b->x + start * in, rows, in, xh, l->width);
}

/* The panels of the run that begins with the n-th panel. */
static rbe_panels run_of(const batch *b, size_t n) {
    const rbe_layout *l = b->layout;
    const size_t first = b->first_panel + n, count = rbe_at_most(l->run, b->panel_count - n);
    return (rbe_panels){.count = count,
                        .width = l->width,
                        .rows = rbe_at_most((first + count) * l->width, l->rows) - first * l->width,
                        .x = b->cached ? b->cached + first * l->input_floats : input_panel(b, n),
                        .y = output_panel(b, n),
                        .x_panel = l->input_floats,
                        .y_panel = l->output_floats};
}

static bool starts_at_zero(const batch *b) { return b->first_panel == 0 && !b->gradients->add_parameters; }

/* Of a task's lists, from the frequency `begin` on, those whose values are summed. */
static void add_values(const batch *b, size_t group, size_t begin) {
    const rbe_blocks *w = b->w;
    const size_t here = group * w->block, task_end = here + rbe_at_most(begin + b->list_step, w->block);
    const size_t from = rbe_at_least(here + begin, b->first_list), end = rbe_at_most(task_end, b->end_list);
    if (from >= end) return;
    const size_t first = from - here, count = end - from;
    const uint32_t *start = w->list_start + here;
    if (starts_at_zero(b)) {
        size_t rows = rbe_group_rows(w, group);
        memset(b->gradients->values + rbe_group_values(w, group) + (start[first] - start[0]) * rows, 0,
               (start[first + count] - start[first]) * rows * sizeof(float));
    }
    for (size_t n = 0; n < b->panel_count; n += b->layout->run) {
        const rbe_panels run = run_of(b, n);
        b->backward->gradient_values(b->plan, w, &run, group, first, count, b->gradients->values);
    }
}

/* Of the alphas one task adds up those of the separable functions, another those of the last one, whose pairs are as
 * many again. */
enum { ALPHA_TASKS = 2 };

static void add_alphas(const batch *b, size_t group, size_t part) {
    const rbe_blocks *w = b->w;
    const size_t last = RBE_ALPHA_FUNCTIONS - 1, values = w->grid_cols * rbe_group_rows(w, group);
    const size_t first = part == 0 ? 0 : RBE_SEPARABLE_PAIRS;
    const size_t count = part == 0 ? RBE_SEPARABLE_PAIRS : b->plan->pair_count - RBE_SEPARABLE_PAIRS;
    if (starts_at_zero(b))
        memset(b->gradients->alpha + rbe_group_alpha(w, group) + (part == 0 ? 0 : last * values), 0,
               (part == 0 ? last : 1) * values * sizeof(float));
    for (size_t n = 0; n < b->panel_count; n += b->layout->run) {
        const rbe_panels run = run_of(b, n);
        b->backward->gradient_alpha(b->plan, w, &run, group, first, count, b->gradients->alpha);
    }
}

/* A group's tasks are those of its alphas, which take longest, then its parts of lists. */
static void add_gradients(void *context, size_t task, size_t worker) {
    (void)worker;
    const batch *b = context;
    const size_t group = task / (ALPHA_TASKS + b->list_parts), part = task % (ALPHA_TASKS + b->list_parts);
    if (part < ALPHA_TASKS && b->gradients->alpha) add_alphas(b, group, part);
    if (part >= ALPHA_TASKS && b->gradients->values) add_values(b, group, (part - ALPHA_TASKS) * b->list_step);
}

/* The parts in which values come where somebody waits for them. */
enum { PARTS = 4 };

static void add_all(batch *b) {
    rbe_parallel(b->layout->threads, b->w->groups * (ALPHA_TASKS + b->list_parts), add_gradients, b);
}

/* Alphas lie behind all values, so with them there is one part. */
static void backward_in_parts(batch *b) {
    const rbe_layout *l = b->layout;
    const rbe_gradients *g = b->gradients;
    const size_t parts = g->alpha ? 1 : PARTS, values = b->w->value_count;
    RBE_ASSERT(l->runs_together == l->runs);
    b->panel_count = l->panels;
    b->sums_first = true;
    rbe_parallel(l->threads, l->panels, backward_panel, b);
    for (size_t n = parts; n-- > 0; b->end_list = b->first_list) {
        const size_t begin = values * n / parts;
        b->first_list = begin > 0 ? b->end_list : 0;
        while (b->first_list > 0 && rbe_list_at(b->w, b->first_list - 1).value >= begin) b->first_list--;
        if (b->first_list == b->end_list) continue;
        add_all(b);
        g->written(g->user, rbe_list_at(b->w, b->first_list).value);
    }
    if (g->dx) rbe_parallel(l->threads, l->panels, late_input_gradient, b);
}

void rbe_plan_backward(const rbe_plan *plan, const rbe_blocks *w, const rbe_layout *layout, const float *x,
                       const float *cache, const float *dy, const rbe_gradients *gradients, void *scratch) {
    const bool sums = gradients->values || gradients->alpha;
    if (!sums && !gradients->dx) return;
    batch b = {.plan = plan,
               .w = w,
               .isa = rbe_isa(),
               .backward = rbe_isa_backward(),
               .layout = layout,
               .x = x,
               .dy = dy,
               .cached = cache,
               .panels = scratch,
               .gradients = gradients};
    b.list_step = rbe_at_least(w->block * rbe_at_most(w->groups, LIST_TASKS) / LIST_TASKS, 1);
    b.list_parts = rbe_pieces(w->block, b.list_step);
    b.end_list = rbe_list_count(w);
    if (sums && gradients->written) {
        backward_in_parts(&b);
        return;
    }
    const size_t step = layout->runs_together * layout->run;
    do {
        b.panel_count = rbe_at_most(step, layout->panels - b.first_panel);
        rbe_parallel(layout->threads, b.panel_count, backward_panel, &b);
        if (sums) add_all(&b);
        b.first_panel += step;
    } while (b.first_panel < layout->panels);
}
