/* Products of the compressed layer: those of the kernels, with the maps of the two sides around them.
 *
 *     Y = ((X E_in^T) W'^T) E_out + b        dX = ((dY E_out^T) W') E_in        db = sum_n dY
 *
 * The kernels know W' only (codec/side.h); without maps nothing is copied.
 */
#include "nn/linear_product.h"

#include "base/blas.h"
#include "base/column_sums.h"
#include "tensor/node.h"

/* `count` rows of a mapped side and what its map needs beside them; NULL for a side without a map. */
typedef struct mapped_rows {
    const rbe_side *side;
    size_t count;
    float *rows, *scratch;
} mapped_rows;

static size_t mapped_bytes(const rbe_side *side, size_t rows, size_t threads) {
    if (side->kind == RBE_SIDE_PLAIN) return 0;
    return rbe_aligned(rows * side->mapped * sizeof(float)) +
           rbe_aligned(rbe_side_scratch(side, rows, threads) * sizeof(float));
}

static rbe_status take_mapped(mapped_rows *m, rbe_arena *arena, const rbe_side *side, size_t rows, size_t threads) {
    *m = (mapped_rows){.side = side, .count = rows};
    if (side->kind == RBE_SIDE_PLAIN) return RBE_OK;
    m->rows = rbe_arena_take(arena, rows * side->mapped, sizeof(float));
    m->scratch = rbe_arena_take(arena, rbe_side_scratch(side, rows, threads), sizeof(float));
    return m->rows && m->scratch ? RBE_OK : rbe_last_status();
}

/* Images are mapped by OpenBLAS: on how many threads maps may run, and how many of these have entered it. */
typedef struct map_threads {
    size_t count, inside;
} map_threads;

static rbe_status enter_maps(map_threads *t, const rbe_blocks *b, size_t threads) {
    *t = (map_threads){.count = threads};
    if (b->input_side.kind != RBE_SIDE_IMAGE && b->output_side.kind != RBE_SIDE_IMAGE) return RBE_OK;
    t->count = t->inside = rbe_blas_enter(threads);
    return t->inside > 0 ? RBE_OK : rbe_last_status();
}

/* x E^T, or x itself. */
static const float *apply(const mapped_rows *m, const map_threads *t, const float *x) {
    if (!m->rows) return x;
    rbe_side_apply(m->side, x, m->count, t->count, m->rows, m->scratch);
    return m->rows;
}

static void adjoint(const mapped_rows *m, const map_threads *t, const float *bias, bool add, float *x) {
    rbe_side_adjoint(m->side, m->rows, m->count, t->count, bias, add, x, m->scratch);
}

static void count_products(const rbe_linear_layer *layer, size_t rows, uint64_t products) {
    uint64_t values = layer->params[0].count + (layer->alpha ? layer->alpha->count : 0);
    atomic_fetch_add(&layer->count->operations, 1);
    atomic_fetch_add(&layer->count->flops, 2 * values * rows * products);
}

/* ---- forward ------------------------------------------------------------------------------------------------- */

size_t rbe_linear_forward_bytes(const rbe_linear_layer *layer, size_t rows) {
    const rbe_blocks *b = layer->blocks;
    const rbe_layout l = rbe_plan_layout(layer->plan, rows);
    return rbe_plan_forward_bytes(layer->plan, &l) + mapped_bytes(&b->input_side, rows, l.threads) +
           mapped_bytes(&b->output_side, rows, l.threads);
}

rbe_status rbe_linear_forward_product(const rbe_linear_layer *layer, rbe_arena *arena, const float *x, size_t rows,
                                      float *y, float *cache) {
    const rbe_blocks *b = layer->blocks;
    const rbe_layout l = rbe_plan_layout(layer->plan, rows);
    const float *bias = layer->bias ? layer->bias->value : NULL;
    rbe_arena_mark mark = rbe_arena_here(arena);
    mapped_rows in, out;
    RBE_TRY(take_mapped(&in, arena, &b->input_side, rows, l.threads));
    RBE_TRY(take_mapped(&out, arena, &b->output_side, rows, l.threads));
    void *scratch = rbe_arena_take(arena, 1, rbe_plan_forward_bytes(layer->plan, &l));
    if (!scratch) return rbe_last_status();
    map_threads t;
    RBE_TRY(enter_maps(&t, b, l.threads));
    rbe_plan_forward(layer->plan, b, &l, out.rows ? NULL : bias, apply(&in, &t, x), out.rows ? out.rows : y, cache,
                     scratch);
    if (out.rows) adjoint(&out, &t, bias, false, y);
    rbe_blas_leave(t.inside);
    rbe_arena_return(arena, mark);
    count_products(layer, rows, 1);
    return RBE_OK;
}

/* ---- backward ------------------------------------------------------------------------------------------------ */

size_t rbe_linear_backward_bytes(const rbe_linear_layer *layer, size_t rows) {
    const rbe_blocks *b = layer->blocks;
    const rbe_layout l = rbe_plan_layout(layer->plan, rows);
    return rbe_plan_backward_bytes(&l) + 2 * mapped_bytes(&b->input_side, rows, l.threads) +
           mapped_bytes(&b->output_side, rows, l.threads);
}

/* For rbe_gradients.written. */
typedef struct watched {
    rbe_var *node;
    const float *values;
} watched;

static void tell(void *user, size_t first) {
    const watched *w = user;
    rbe_node_has_written(w->node, (uintptr_t)(w->values + first));
}

rbe_status rbe_linear_backward_product(const rbe_linear_layer *layer, rbe_var *self, const float *cache,
                                       const rbe_gradients *g, float *bias) {
    const rbe_blocks *b = layer->blocks;
    rbe_tape *tape = self->tape;
    rbe_arena *arena = &tape->arena;
    const float *x = self->parents[0]->value.data, *dy = self->grad;
    const size_t rows = rbe_tensor_rows(&self->value);
    rbe_layout l = rbe_plan_layout(layer->plan, rows);
    rbe_arena_mark mark = rbe_arena_here(arena);
    mapped_rows in, dx, out;
    RBE_TRY(take_mapped(&in, arena, &b->input_side, rows, l.threads));
    RBE_TRY(take_mapped(&dx, arena, &b->input_side, rows, l.threads));
    RBE_TRY(take_mapped(&out, arena, &b->output_side, rows, l.threads));
    rbe_gradients inner = *g;
    watched watch = {self, g->values};
    if (rbe_node_is_watched(self) && rbe_layout_join_runs(&l)) {
        inner.written = tell;
        inner.user = &watch;
    }
    void *scratch = rbe_arena_take(arena, 1, rbe_plan_backward_bytes(&l));
    if (!scratch) return rbe_last_status();
    if (dx.rows && g->dx) {
        inner.dx = dx.rows;
        inner.add_dx = false;
    }
    map_threads t;
    RBE_TRY(enter_maps(&t, b, l.threads));
    const float *mapped_x = !cache || layer->probe.see ? apply(&in, &t, x) : NULL, *mapped_dy = apply(&out, &t, dy);
    rbe_status status = RBE_OK;
    /* The probe comes first: where it fails, nothing has been written. */
    if (layer->probe.see) status = layer->probe.see(layer->probe.user, layer, mapped_x, mapped_dy, rows, tape);
    if (status == RBE_OK) {
        if (bias) rbe_column_sums(dy, rows, b->output_side.length, g->add_parameters, bias);
        rbe_plan_backward(layer->plan, b, &l, mapped_x, cache, mapped_dy, &inner, scratch);
        if (dx.rows && g->dx) adjoint(&dx, &t, NULL, g->add_dx, g->dx);
        count_products(layer, rows, g->dx ? 2 : 1);
    }
    rbe_blas_leave(t.inside);
    rbe_arena_return(arena, mark);
    return status;
}
