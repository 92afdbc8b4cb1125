/* Products of a whole batch: the rows are cut into panels, and the panels go to the threads.
 *
 * Forward and dX need a panel at a time: transform, multiply, transform back. The result of a row does not depend
 * on its neighbours in the panel, nor on the thread. The gradients sum over all rows: each thread takes a range of
 * panels and sums it, run by run, into gradients of its own, which are added up in the order of the threads. Threads
 * wait for each other only twice, so that one that is held up does not hold up the others again and again.
 */
#include <omp.h>
#include <string.h>

#include "base/alloc.h"
#include "kernels/plan.h"

#define PANEL_WIDTH 64              /* rows of a panel, at most */
#define PANEL_STEP 16               /* a multiple of every vector's length */
#define PANEL_PAIR_BYTES (2u << 20) /* of input and output panel together, for the second-level cache */
#define RUN_BYTES (640u << 10)      /* of the panels that are summed without a break */
#define RUN_PANELS 8

/* How a batch is cut. */
typedef struct layout {
    size_t width, panels;
    size_t input_floats, output_floats; /* of one panel */
    size_t run;                         /* panels summed without a break */
    size_t threads;
} layout;

/* Floats up to a whole number of vectors. */
static size_t padded(size_t floats) { return (floats + PANEL_STEP - 1) / PANEL_STEP * PANEL_STEP; }

static size_t at_most(size_t value, size_t limit) { return value < limit ? value : limit; }

static layout layout_of(const rbe_plan *plan, size_t rows) {
    layout l;
    size_t pair_rows = (plan->grid_rows + plan->grid_cols) * plan->block_rows;
    l.width = at_most(PANEL_WIDTH, padded(rows));
    while (l.width > PANEL_STEP && pair_rows * l.width * sizeof(float) > PANEL_PAIR_BYTES) l.width -= PANEL_STEP;
    l.panels = l.width > 0 ? (rows + l.width - 1) / l.width : 0;
    l.input_floats = plan->grid_cols * plan->block_rows * l.width;
    l.output_floats = plan->grid_rows * plan->block_rows * l.width;
    l.threads = at_most((size_t)rbe_threads(), l.panels);
    size_t run = RUN_BYTES / ((l.input_floats + l.output_floats) * sizeof(float) + 1);
    l.run = run < 1 ? 1 : at_most(run, RUN_PANELS);
    if (l.threads > 0) l.run = at_most(l.run, (l.panels + l.threads - 1) / l.threads);
    return l;
}

static size_t panel_start(const layout *l, size_t panel) { return panel * l->width; }

static size_t panel_rows(const layout *l, size_t panel, size_t rows) {
    return at_most(l->width, rows - panel_start(l, panel));
}

/* ---- forward ------------------------------------------------------------------------------------------------- */

size_t rbe_plan_forward_bytes(const rbe_plan *plan, const rbe_blocks *w, size_t rows) {
    (void)w;
    layout l = layout_of(plan, rows);
    size_t floats = l.threads * (l.input_floats + l.output_floats);
    if (rows < plan->batch_threshold) {
        size_t small = rbe_small_floats(plan, rows);
        if (small > floats) floats = small;
    }
    return rbe_aligned(floats * sizeof(float));
}

size_t rbe_plan_cache_bytes(const rbe_plan *plan, const rbe_blocks *w, size_t rows) {
    (void)w;
    layout l = layout_of(plan, rows);
    return rbe_aligned(l.panels * l.input_floats * sizeof(float));
}

void rbe_plan_forward(const rbe_plan *plan, const rbe_blocks *w, const float *bias, const float *x, size_t rows,
                      float *y, float *cache, void *scratch) {
    const rbe_methods *isa = rbe_isa();
    if (rows < plan->batch_threshold && !cache) {
        if (rows > 0) rbe_forward_small(plan, w, bias, x, rows, y, scratch);
        return;
    }
    const layout l = layout_of(plan, rows);
    float *panels = scratch;
#pragma omp parallel for schedule(dynamic) num_threads((int)l.threads) if (l.threads > 1)
    for (size_t panel = 0; panel < l.panels; panel++) {
        float *own = panels + (size_t)omp_get_thread_num() * (l.input_floats + l.output_floats);
        float *xh = cache ? cache + panel * l.input_floats : own, *yh = own + l.input_floats;
        size_t start = panel_start(&l, panel), count = panel_rows(&l, panel, rows);
        isa->analyze(&plan->input, x + start * w->in, count, w->in, xh, l.width);
        isa->product(plan, w, xh, yh, l.width, count);
        isa->synthesize(&plan->output, yh, l.width, bias, false, y + start * w->out, count, w->out);
    }
}

/* ---- backward ------------------------------------------------------------------------------------------------ */

static size_t alpha_count(const rbe_blocks *w) { return w->alpha ? RBE_BASIS_COUNT * w->grid_rows * w->grid_cols : 0; }

/* Gradients of values, alphas and bias side by side. */
static size_t parameter_floats(const rbe_blocks *w) {
    return padded(w->value_count) + padded(alpha_count(w)) + padded(w->out);
}

/* The panels of a run for each thread, and gradients for each thread but the first, which uses the caller's. */
size_t rbe_plan_backward_bytes(const rbe_plan *plan, const rbe_blocks *w, size_t rows) {
    layout l = layout_of(plan, rows);
    if (l.threads == 0) return 0;
    size_t floats = l.threads * l.run * (l.input_floats + l.output_floats) + (l.threads - 1) * parameter_floats(w);
    return rbe_aligned(floats * sizeof(float));
}

/* The gradients of the parameters that thread number `thread` sums: those that the caller wants. */
static rbe_gradients gradients_of(const rbe_blocks *w, const rbe_gradients *wanted, float *others, size_t thread) {
    if (thread == 0) return *wanted;
    float *own = others + (thread - 1) * parameter_floats(w);
    rbe_gradients g = *wanted;
    if (g.values) g.values = own;
    if (g.alpha) g.alpha = own + padded(w->value_count);
    if (g.bias) g.bias = own + padded(w->value_count) + padded(alpha_count(w));
    return g;
}

static void clear_parameters(const rbe_blocks *w, const rbe_gradients *g) {
    if (g->values) memset(g->values, 0, w->value_count * sizeof(float));
    if (g->alpha) memset(g->alpha, 0, alpha_count(w) * sizeof(float));
    if (g->bias) memset(g->bias, 0, w->out * sizeof(float));
}

static void sum_rows(const float *rows, size_t count, size_t length, float *sum) {
    for (size_t n = 0; n < count; n++)
        for (size_t o = 0; o < length; o++) sum[o] += rows[n * length + o];
}

/* What all threads of one backward product share. */
typedef struct batch {
    const rbe_plan *plan;
    const rbe_blocks *w;
    const rbe_methods *isa;
    layout layout;
    const float *x, *cache, *dy;
    size_t rows;
} batch;

/* dX of one panel, made in `dxh`. */
static void input_gradient(const batch *b, size_t panel, const float *yh, float *dxh, const rbe_gradients *g) {
    const layout *l = &b->layout;
    size_t start = panel_start(l, panel), count = panel_rows(l, panel, b->rows), in = b->w->in;
    memset(dxh, 0, l->input_floats * sizeof *dxh);
    b->isa->product_transposed(b->plan, b->w, yh, dxh, l->width, count);
    b->isa->synthesize(&b->plan->input, dxh, l->width, NULL, g->add_dx, g->dx + start * in, count, in);
}

/* Everything for the `count` panels of a run: xh and yh are panels of the thread's own. A panel of xh is that of dX
 * before. */
static void backward_run(const batch *b, size_t first, size_t count, float *xh, float *yh, const rbe_gradients *g) {
    const layout *l = &b->layout;
    const rbe_blocks *w = b->w;
    bool sums = g->values || g->alpha;
    for (size_t n = 0; n < count; n++) {
        size_t start = panel_start(l, first + n), rows = panel_rows(l, first + n, b->rows);
        float *x_panel = xh + n * l->input_floats, *y_panel = yh + n * l->output_floats;
        const float *dy = b->dy + start * w->out;
        if (g->bias) sum_rows(dy, rows, w->out, g->bias);
        if (sums || g->dx) b->isa->analyze(&b->plan->output, dy, rows, w->out, y_panel, l->width);
        if (g->dx) input_gradient(b, first + n, y_panel, x_panel, g);
        if (sums && !b->cache) b->isa->analyze(&b->plan->input, b->x + start * w->in, rows, w->in, x_panel, l->width);
    }
    const rbe_panels run = {.count = count,
                            .width = l->width,
                            .rows = at_most(panel_start(l, first + count), b->rows) - panel_start(l, first),
                            .x = b->cache ? b->cache + first * l->input_floats : xh,
                            .y = yh,
                            .x_panel = l->input_floats,
                            .y_panel = l->output_floats};
    for (size_t group = 0; group < w->groups; group++) {
        if (g->values) b->isa->gradient_values(b->plan, w, &run, group, g->values);
        if (g->alpha) b->isa->gradient_alpha(b->plan, w, &run, group, g->alpha);
    }
}

/* total[i] += the other threads' sums, in their order, for this thread's share of the i. */
static void add_share(float *total, const float *others, size_t step, size_t count, size_t threads) {
#pragma omp for schedule(static) nowait
    for (size_t i = 0; i < count; i++)
        for (size_t t = 0; t + 1 < threads; t++) total[i] += others[t * step + i];
}

/* Once all threads have come here. */
static void add_threads(const rbe_blocks *w, const rbe_gradients *total, float *others, size_t threads) {
    const size_t step = parameter_floats(w);
    const rbe_gradients second = gradients_of(w, total, others, 1);
#pragma omp barrier
    if (total->values) add_share(total->values, second.values, step, w->value_count, threads);
    if (total->alpha) add_share(total->alpha, second.alpha, step, alpha_count(w), threads);
    if (total->bias) add_share(total->bias, second.bias, step, w->out, threads);
}

void rbe_plan_backward(const rbe_plan *plan, const rbe_blocks *w, const float *x, const float *cache, const float *dy,
                       size_t rows, const rbe_gradients *gradients, void *scratch) {
    const batch b = {plan, w, rbe_isa(), layout_of(plan, rows), x, cache, dy, rows};
    const layout *l = &b.layout;
    const size_t pair = l->run * (l->input_floats + l->output_floats);
    float *panels = scratch, *others = panels + l->threads * pair;
    if (!gradients->add_parameters) clear_parameters(w, gradients);

#pragma omp parallel num_threads((int)l->threads) if (l->threads > 1)
    {
        const size_t thread = (size_t)omp_get_thread_num(), team = (size_t)omp_get_num_threads();
        const rbe_gradients own = gradients_of(w, gradients, others, thread);
        if (thread > 0) clear_parameters(w, &own);
        float *xh = panels + thread * pair, *yh = xh + l->run * l->input_floats;
        size_t end = (thread + 1) * l->panels / team;
        for (size_t first = thread * l->panels / team; first < end; first += l->run)
            backward_run(&b, first, at_most(l->run, end - first), xh, yh, &own);
        if (team > 1) add_threads(w, gradients, others, team);
    }
}
