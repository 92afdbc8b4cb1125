/* Products of a whole batch: the rows are cut into panels, and the panels go to the threads.
 *
 * Forward and dX need a panel at a time: transform, multiply, transform back. The result of a row does not depend
 * on its neighbours in the panel, nor on the thread. The gradients sum over all rows: the panels of a chunk are
 * transformed first, one a thread, and stay; then the lists are dealt out to the threads, each summing its lists
 * over the chunk in the order of the rows. No two threads write the same gradient.
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
#define LISTS_AT_A_TIME 8

/* How a batch is cut. */
typedef struct layout {
    size_t width, panels;
    size_t input_floats, output_floats; /* of one panel */
    size_t run;                         /* panels summed without a break */
    size_t threads;
    size_t chunk; /* panels transformed before the lists are summed: a run for every thread */
} layout;

static size_t at_most(size_t value, size_t limit) { return value < limit ? value : limit; }

static layout layout_of(const rbe_plan *plan, size_t rows) {
    layout l;
    size_t pair_rows = (plan->grid_rows + plan->grid_cols) * plan->block_rows;
    l.width = at_most(PANEL_WIDTH, (rows + PANEL_STEP - 1) / PANEL_STEP * PANEL_STEP);
    while (l.width > PANEL_STEP && pair_rows * l.width * sizeof(float) > PANEL_PAIR_BYTES) l.width -= PANEL_STEP;
    l.panels = l.width > 0 ? (rows + l.width - 1) / l.width : 0;
    l.input_floats = plan->grid_cols * plan->block_rows * l.width;
    l.output_floats = plan->grid_rows * plan->block_rows * l.width;
    l.threads = at_most((size_t)rbe_threads(), l.panels);
    size_t run = RUN_BYTES / ((l.input_floats + l.output_floats) * sizeof(float) + 1);
    l.run = run < 1 ? 1 : at_most(run, RUN_PANELS);
    l.chunk = at_most(l.run * l.threads, l.panels);
    return l;
}

static size_t panel_start(const layout *l, size_t panel) { return panel * l->width; }

static size_t panel_rows(const layout *l, size_t panel, size_t rows) {
    return at_most(l->width, rows - panel_start(l, panel));
}

/* ---- forward ------------------------------------------------------------------------------------------------- */

size_t rbe_small_floats(const rbe_plan *plan, size_t rows) {
    size_t x_lanes = (plan->grid_cols * rows + PANEL_STEP - 1) / PANEL_STEP * PANEL_STEP;
    size_t y_lanes = (plan->grid_rows * rows + PANEL_STEP - 1) / PANEL_STEP * PANEL_STEP;
    return plan->block_rows * (x_lanes + y_lanes) + PANEL_STEP;
}

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
        if (rows > 0) rbe_isa_forward_small(w->group)(plan, w, bias, x, rows, y, scratch);
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

static size_t bias_floats(const rbe_blocks *w) { return (w->out + PANEL_STEP - 1) / PANEL_STEP * PANEL_STEP; }

size_t rbe_plan_backward_bytes(const rbe_plan *plan, const rbe_blocks *w, size_t rows) {
    layout l = layout_of(plan, rows);
    size_t floats = l.chunk * (l.input_floats + l.output_floats + bias_floats(w));
    return rbe_aligned(floats * sizeof(float));
}

/* The scratch memory of a backward product. */
typedef struct workspace {
    float *x, *y; /* panels of the chunk; a panel of x is that of dx before */
    float *bias;  /* sums of the panels of the chunk */
} workspace;

static workspace divide(const layout *l, void *scratch) {
    workspace s;
    s.x = scratch;
    s.y = s.x + l->chunk * l->input_floats;
    s.bias = s.y + l->chunk * l->output_floats;
    return s;
}

static void sum_rows(const float *rows, size_t count, size_t length, float *sum) {
    memset(sum, 0, length * sizeof *sum);
    for (size_t n = 0; n < count; n++)
        for (size_t o = 0; o < length; o++) sum[o] += rows[n * length + o];
}

static void add_sums_of_panels(const float *sums, size_t count, size_t step, size_t length, float *total) {
    for (size_t n = 0; n < count; n++)
        for (size_t o = 0; o < length; o++) total[o] += sums[n * step + o];
}

/* What all the steps of one backward product share. */
typedef struct batch {
    const rbe_plan *plan;
    const rbe_blocks *w;
    const rbe_methods *isa;
    const layout *layout;
    const rbe_gradients *gradients;
    size_t rows;
} batch;

/* Item of work `item` on the chunk that starts at panel `first`: LISTS_AT_A_TIME lists or the alphas of a group. */
static void sum_lists(const batch *b, const float *x, const float *y, size_t first, size_t count, size_t item) {
    const layout *l = b->layout;
    size_t items = b->plan->block / LISTS_AT_A_TIME + 1, g = item / items, list = item % items * LISTS_AT_A_TIME;
    for (size_t panel = 0; panel < count; panel += l->run) {
        size_t start = panel_start(l, first + panel), end = panel_start(l, first + at_most(panel + l->run, count));
        rbe_panels run = {.count = at_most(l->run, count - panel),
                          .width = l->width,
                          .rows = at_most(end, b->rows) - start,
                          .x = x + panel * l->input_floats,
                          .y = y + panel * l->output_floats,
                          .x_panel = l->input_floats,
                          .y_panel = l->output_floats};
        if (list == b->plan->block) {
            if (b->gradients->alpha) b->isa->gradient_alpha(b->plan, b->w, &run, g, b->gradients->alpha);
        } else if (b->gradients->values) {
            b->isa->gradient_values(b->plan, b->w, &run, g, list, list + LISTS_AT_A_TIME, b->gradients->values);
        }
    }
}

/* dX of one panel. */
static void input_gradient(const batch *b, size_t panel, const float *yh, float *dxh) {
    const layout *l = b->layout;
    size_t start = panel_start(l, panel), count = panel_rows(l, panel, b->rows), in = b->w->in;
    memset(dxh, 0, l->input_floats * sizeof *dxh);
    b->isa->product_transposed(b->plan, b->w, yh, dxh, l->width, count);
    b->isa->synthesize(&b->plan->input, dxh, l->width, NULL, b->gradients->add_dx, b->gradients->dx + start * in, count,
                       in);
}

static void clear_parameters(const rbe_blocks *w, const rbe_gradients *gradients) {
    if (gradients->add_parameters) return;
    if (gradients->values) memset(gradients->values, 0, w->value_count * sizeof(float));
    if (gradients->alpha) memset(gradients->alpha, 0, RBE_BASIS_COUNT * w->grid_rows * w->grid_cols * sizeof(float));
    if (gradients->bias) memset(gradients->bias, 0, w->out * sizeof(float));
}

void rbe_plan_backward(const rbe_plan *plan, const rbe_blocks *w, const float *x, const float *cache, const float *dy,
                       size_t rows, const rbe_gradients *gradients, void *scratch) {
    const rbe_methods *isa = rbe_isa();
    const layout l = layout_of(plan, rows);
    const batch b = {plan, w, isa, &l, gradients, rows};
    size_t bias_step = bias_floats(w);
    const workspace s = divide(&l, scratch);
    bool sums = gradients->values || gradients->alpha;
    size_t items = sums ? w->groups * (plan->block / LISTS_AT_A_TIME + 1) : 0;
    clear_parameters(w, gradients);

#pragma omp parallel num_threads((int)l.threads) if (l.threads > 1)
    for (size_t first = 0; first < l.panels; first += l.chunk) {
        size_t count = at_most(l.chunk, l.panels - first);
#pragma omp for schedule(dynamic)
        for (size_t n = 0; n < count; n++) {
            size_t start = panel_start(&l, first + n), panel_count = panel_rows(&l, first + n, rows);
            float *xh = s.x + n * l.input_floats, *yh = s.y + n * l.output_floats;
            if (gradients->bias) sum_rows(dy + start * w->out, panel_count, w->out, s.bias + n * bias_step);
            if (sums || gradients->dx)
                isa->analyze(&plan->output, dy + start * w->out, panel_count, w->out, yh, l.width);
            if (gradients->dx) input_gradient(&b, first + n, yh, xh);
            if (sums && !cache) isa->analyze(&plan->input, x + start * w->in, panel_count, w->in, xh, l.width);
        }
        const float *all_xh = cache ? cache + first * l.input_floats : s.x;
#pragma omp for schedule(dynamic)
        for (size_t item = 0; item <= items; item++)
            if (item < items)
                sum_lists(&b, all_xh, s.y, first, count, item);
            else if (gradients->bias)
                add_sums_of_panels(s.bias, count, bias_step, w->out, gradients->bias);
    }
}
