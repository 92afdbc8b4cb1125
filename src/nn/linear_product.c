/* Products of the compressed layer: those of the kernels, with the axis maps around them.
 *
 *     Y = ((X E_in^T) W'^T) E_out + b        dX = ((dY E_out^T) W') E_in        db = sum_n dY
 *
 * The kernels know W' only (codec/axis.h); without maps nothing is copied.
 */
#include "nn/linear_product.h"

/* `count` rows of a mapped axis and what its map needs beside them; NULL for an axis without a map. */
typedef struct mapped_rows {
    const rbe_axis_map *axis;
    size_t count;
    float *rows, *scratch;
} mapped_rows;

static size_t mapped_bytes(const rbe_axis_map *axis, size_t rows) {
    if (axis->kind == RBE_AXIS_MAP_NONE) return 0;
    return rbe_aligned(rows * axis->mapped * sizeof(float)) + rbe_aligned(rbe_axis_scratch(axis, rows) * sizeof(float));
}

static rbe_status take_mapped(mapped_rows *m, rbe_arena *arena, const rbe_axis_map *axis, size_t rows) {
    *m = (mapped_rows){.axis = axis, .count = rows};
    if (axis->kind == RBE_AXIS_MAP_NONE) return RBE_OK;
    m->rows = rbe_arena_take(arena, rows * axis->mapped, sizeof(float));
    m->scratch = rbe_arena_take(arena, rbe_axis_scratch(axis, rows), sizeof(float));
    return m->rows && m->scratch ? RBE_OK : rbe_last_status();
}

/* x E^T, or x itself. */
static const float *apply(const mapped_rows *m, const float *x) {
    if (!m->rows) return x;
    rbe_axis_apply(m->axis, x, m->count, m->rows, m->scratch);
    return m->rows;
}

static void adjoint(const mapped_rows *m, const float *bias, bool add, float *x) {
    rbe_axis_adjoint(m->axis, m->rows, m->count, bias, add, x, m->scratch);
}

static void count_products(const rbe_linear_layer *layer, size_t rows, uint64_t products) {
    uint64_t values = layer->params[0].count + (layer->alpha ? layer->alpha->count : 0);
    atomic_fetch_add(&layer->count->operations, 1);
    atomic_fetch_add(&layer->count->flops, 2 * values * rows * products);
}

/* ---- forward ------------------------------------------------------------------------------------------------- */

size_t rbe_linear_forward_bytes(const rbe_linear_layer *layer, size_t rows) {
    const rbe_blocks *b = layer->blocks;
    return rbe_aligned(rbe_plan_forward_bytes(layer->plan, b, rows)) + mapped_bytes(&b->input_axis, rows) +
           mapped_bytes(&b->output_axis, rows);
}

rbe_status rbe_linear_forward_product(const rbe_linear_layer *layer, rbe_arena *arena, const float *x, size_t rows,
                                      float *y, float *cache) {
    const rbe_blocks *b = layer->blocks;
    const float *bias = layer->bias ? layer->bias->value : NULL;
    rbe_arena_mark mark = rbe_arena_here(arena);
    mapped_rows in, out;
    RBE_TRY(take_mapped(&in, arena, &b->input_axis, rows));
    RBE_TRY(take_mapped(&out, arena, &b->output_axis, rows));
    void *scratch = rbe_arena_take(arena, 1, rbe_plan_forward_bytes(layer->plan, b, rows));
    if (!scratch) return rbe_last_status();
    rbe_plan_forward(layer->plan, b, out.rows ? NULL : bias, apply(&in, x), rows, out.rows ? out.rows : y, cache,
                     scratch);
    if (out.rows) adjoint(&out, bias, false, y);
    rbe_arena_return(arena, mark);
    count_products(layer, rows, 1);
    return RBE_OK;
}

/* ---- backward ------------------------------------------------------------------------------------------------ */

size_t rbe_linear_backward_bytes(const rbe_linear_layer *layer, size_t rows) {
    const rbe_blocks *b = layer->blocks;
    return rbe_aligned(rbe_plan_backward_bytes(layer->plan, b, rows)) + 2 * mapped_bytes(&b->input_axis, rows) +
           mapped_bytes(&b->output_axis, rows);
}

rbe_status rbe_linear_backward_product(const rbe_linear_layer *layer, rbe_arena *arena, const float *x,
                                       const float *cache, const float *dy, size_t rows, const rbe_gradients *g) {
    const rbe_blocks *b = layer->blocks;
    rbe_arena_mark mark = rbe_arena_here(arena);
    mapped_rows in, dx, out;
    RBE_TRY(take_mapped(&in, arena, &b->input_axis, rows));
    RBE_TRY(take_mapped(&dx, arena, &b->input_axis, rows));
    RBE_TRY(take_mapped(&out, arena, &b->output_axis, rows));
    void *scratch = rbe_arena_take(arena, 1, rbe_plan_backward_bytes(layer->plan, b, rows));
    if (!scratch) return rbe_last_status();
    rbe_gradients inner = *g;
    if (dx.rows && g->dx) {
        inner.dx = dx.rows;
        inner.add_dx = false;
    }
    if (out.rows && g->bias) {
        inner.bias = NULL; /* the kernels' sum is over mapped outputs, which have no bias */
        rbe_bias_gradient(dy, rows, b->output_axis.length, g->add_parameters, g->bias);
    }
    if (!cache || layer->probe.see) x = apply(&in, x);
    dy = apply(&out, dy);
    rbe_plan_backward(layer->plan, b, x, cache, dy, rows, &inner, scratch);
    if (dx.rows && g->dx) adjoint(&dx, NULL, g->add_dx, g->dx);
    count_products(layer, rows, g->dx ? 2 : 1);
    rbe_status status = RBE_OK;
    if (layer->probe.see) status = layer->probe.see(layer->probe.user, layer, x, dy, rows, arena);
    rbe_arena_return(arena, mark);
    return status;
}
