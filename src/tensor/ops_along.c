/* Reductions along one dimension, which stays with extent 1. With x_k the n values along it:
 *
 *     sum_along     s = sum_k x_k                      dL/dx_k = dL/ds
 *     mean_along    s = (1/n) sum_k x_k                dL/dx_k = dL/ds / n
 *     max_along     s = max_k x_k                      dL/dx_k = dL/ds for the first largest k, else 0
 *
 * Sums are accumulated in double. The values are cut into items: of the last dimension, where `after` is 1, a row; of
 * others a strip of neighbours, which are reduced side by side.
 */
#include <string.h>

#include "base/parallel.h"
#include "base/sizes.h"
#include "tensor/along.h"

enum { STRIP = 64 };

typedef struct context {
    rbe_along along;
    float divisor;
    size_t *largest; /* of max: k of each result; NULL: no gradient is wanted */
} context;

/* What the tasks of one pass read and write. */
typedef struct reduction {
    context c;
    size_t strips;
    const float *x, *g;
    float *y, *gx;
    bool add;
} reduction;

/* `width` neighbours: the first of them in x and in y, and how far it is from one k to the next. */
typedef struct item {
    size_t from, to, width, step;
} item;

static item item_of(const reduction *r, size_t index) {
    const rbe_along *a = &r->c.along;
    const size_t before = index / r->strips, first = index % r->strips * STRIP;
    return (item){before * a->extent * a->after + first, before * a->after + first,
                  rbe_at_most(a->after - first, STRIP), a->after};
}

/* Items of some thousand values together are a task. */
static void run_items(reduction *r, rbe_range_task *run) {
    const rbe_along *a = &r->c.along;
    r->strips = rbe_pieces(a->after, STRIP);
    const size_t values = a->extent * rbe_at_most(a->after, STRIP);
    rbe_parallel_ranges(a->before * r->strips, 1 + (RBE_PIECE - 1) / values, run, r);
}

static rbe_var *reduce(const char *operation, rbe_var *x, int dim, rbe_backward_function backward) {
    rbe_var *failed;
    context c = {.divisor = 1.0f};
    if (!rbe_operands_ok(operation, &x, 1, &failed)) return failed;
    if (!rbe_look_along(operation, x, dim, &c.along)) return &x->tape->inert;
    size_t shape[RBE_MAX_DIMS];
    memcpy(shape, x->value.shape, sizeof shape);
    shape[c.along.dim] = 1;
    rbe_var *y = rbe_node(operation, &x, 1, x->value.dims, shape, backward, sizeof c);
    if (rbe_ok(y)) *(context *)y->context = c;
    return y;
}

static rbe_status reduce_backward(rbe_var *self, rbe_range_task *run) {
    rbe_var *x = self->parents[0];
    reduction r = {.c = *(const context *)self->context, .g = self->grad};
    r.gx = rbe_grad_target(x, &r.add);
    if (!r.gx) return rbe_last_status();
    run_items(&r, run);
    return RBE_OK;
}

/* ---- sum and mean -------------------------------------------------------------------------------------------- */

static double row_total(const float *x, size_t n) {
    double total = 0.0;
#pragma omp simd reduction(+ : total)
    for (size_t k = 0; k < n; k++) total += (double)x[k];
    return total;
}

static void sum_items(void *pass, size_t first, size_t count) {
    const reduction *r = pass;
    const size_t n = r->c.along.extent;
    const double divisor = (double)r->c.divisor;
    for (size_t index = first; index < first + count; index++) {
        const item at = item_of(r, index);
        double total[STRIP] = {0};
        if (at.step == 1) total[0] = row_total(r->x + at.from, n);
        for (size_t k = 0; at.step > 1 && k < n; k++) {
            const float *x = r->x + at.from + k * at.step;
            for (size_t i = 0; i < at.width; i++) total[i] += (double)x[i];
        }
        for (size_t i = 0; i < at.width; i++) r->y[at.to + i] = (float)(total[i] / divisor);
    }
}

static void spread_items(void *pass, size_t first, size_t count) {
    const reduction *r = pass;
    const size_t n = r->c.along.extent;
    for (size_t index = first; index < first + count; index++) {
        const item at = item_of(r, index);
        float gradient[STRIP] = {0};
        for (size_t i = 0; i < at.width; i++) gradient[i] = r->g[at.to + i] / r->c.divisor;
        float *gx = r->gx + at.from;
        if (at.step == 1)
            for (size_t k = 0; k < n; k++) gx[k] = (r->add ? gx[k] : 0.0f) + gradient[0];
        for (size_t k = 0; at.step > 1 && k < n; k++, gx += at.step)
            for (size_t i = 0; i < at.width; i++) gx[i] = (r->add ? gx[i] : 0.0f) + gradient[i];
    }
}

static rbe_status spread_backward(rbe_var *self) { return reduce_backward(self, spread_items); }

static rbe_var *total_along(const char *operation, rbe_var *x, int dim, bool mean) {
    rbe_var *y = reduce(operation, x, dim, spread_backward);
    if (!rbe_ok(y)) return y;
    context *c = y->context;
    if (mean) c->divisor = (float)c->along.extent;
    run_items(&(reduction){.c = *c, .x = x->value.data, .y = y->value.data}, sum_items);
    return y;
}

rbe_var *rbe_sum_along(rbe_var *x, int dim) { return total_along("sum_along", x, dim, false); }

rbe_var *rbe_mean_along(rbe_var *x, int dim) { return total_along("mean_along", x, dim, true); }

/* ---- max ----------------------------------------------------------------------------------------------------- */

/* A NaN is larger than anything, so that it is found later. */
static void max_items(void *pass, size_t first, size_t count) {
    const reduction *r = pass;
    for (size_t index = first; index < first + count; index++) {
        const item at = item_of(r, index);
        const float *x = r->x + at.from;
        float max[STRIP];
        size_t largest[STRIP] = {0};
        memcpy(max, x, at.width * sizeof *max);
        for (size_t k = 1; k < r->c.along.extent; k++) {
            x += at.step;
            for (size_t i = 0; i < at.width; i++) {
                const bool larger = x[i] > max[i] || (x[i] != x[i] && max[i] == max[i]);
                max[i] = larger ? x[i] : max[i];
                largest[i] = larger ? k : largest[i];
            }
        }
        memcpy(r->y + at.to, max, at.width * sizeof *max);
        if (r->c.largest) memcpy(r->c.largest + at.to, largest, at.width * sizeof *largest);
    }
}

static void max_gradient_items(void *pass, size_t first, size_t count) {
    const reduction *r = pass;
    for (size_t index = first; index < first + count; index++) {
        const item at = item_of(r, index);
        for (size_t i = 0; i < at.width; i++) r->gx[at.from + i + r->c.largest[at.to + i] * at.step] += r->g[at.to + i];
    }
}

static rbe_status max_backward(rbe_var *self) {
    if (!rbe_grad_zeroed(self->parents[0])) return rbe_last_status();
    return reduce_backward(self, max_gradient_items);
}

rbe_var *rbe_max_along(rbe_var *x, int dim) {
    rbe_var *y = reduce("max_along", x, dim, max_backward);
    if (!rbe_ok(y)) return y;
    context *c = y->context;
    if (y->needs_grad) {
        c->largest = rbe_arena_take(rbe_tape_arena(y), rbe_tensor_count(&y->value), sizeof *c->largest);
        if (!c->largest) return rbe_tape_fail_last(y);
    }
    run_items(&(reduction){.c = *c, .x = x->value.data, .y = y->value.data}, max_items);
    return y;
}
