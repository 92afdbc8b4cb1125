/* RBELinear: a linear layer whose matrix is compressed, in training too.
 *
 *     Y = X W^T + b        W_pq = sum_l alpha_l Psi_l + L^T S_pq R        (rbe/codec.h; Psi: codec/basis.h)
 *
 * Trained are the stored coefficients of S, the alphas in orthonormal coordinates, and b. Products are those of
 * kernels/kernels.h. A coefficient's learning rate is scaled by sqrt(B^2 / K): with K of B^2 positions stored, a
 * step of that many times the size changes a dense W by as much as one of a dense layer does.
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/failure.h"
#include "codec/positions.h"
#include "nn/linear_product.h"
#include "tensor/node.h"

enum { DEFAULT_GROUP = 16, VALUE_STREAM = 2 };

#define DEFAULT_INIT_SCALE 0.7

/* What a forward product leaves for its backward. */
typedef struct linear_context {
    float *cache;
    uint64_t generation; /* of the layer */
} linear_context;

/* Says whether the parameters' gradients are to be added to; those without one join the others at zero. */
static bool add_to_gradients(const rbe_layer *layer) {
    bool any = false;
    for (size_t n = 0; n < layer->param_count; n++) any |= !layer->params[n].frozen && layer->params[n].grad_set;
    for (size_t n = 0; n < layer->param_count; n++) {
        rbe_param *param = &layer->params[n];
        if (!param->frozen && !rbe_param_mark_gradient(param) && any)
            memset(param->grad, 0, param->count * sizeof(float));
    }
    return any;
}

static float *gradient_of(const rbe_param *param) { return param && !param->frozen ? param->grad : NULL; }

static rbe_status linear_backward(rbe_var *self) {
    const rbe_linear_layer *layer = self->context_pointer;
    const linear_context *context = self->context;
    rbe_var *x = self->parents[0];
    if (context->generation != layer->generation)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "%s: its positions have changed since the forward product, expected a new forward pass",
                        layer->base.name);
    RBE_TRY(rbe_layer_require_grads(&layer->base));
    rbe_gradients gradients = {0};
    if (x->needs_grad) {
        gradients.dx = rbe_grad_target(x, &gradients.add_dx);
        if (!gradients.dx) return rbe_last_status();
    }
    gradients.add_parameters = add_to_gradients(&layer->base);
    gradients.values = gradient_of(&layer->params[0]);
    gradients.alpha = gradient_of(layer->alpha);
    float *bias = gradient_of(layer->bias);
    rbe_status status = rbe_linear_backward_product(layer, self, context->cache, &gradients, bias);
    /* What failed has written nothing: gradients that were there stay, others stay unset. */
    if (status != RBE_OK && !gradients.add_parameters)
        for (size_t n = 0; n < layer->base.param_count; n++)
            if (!layer->base.params[n].frozen) layer->base.params[n].grad_set = false;
    return status;
}

static rbe_var *linear_forward(const rbe_layer *base, rbe_var *x) {
    const rbe_linear_layer *layer = (const rbe_linear_layer *)base;
    size_t shape[RBE_MAX_DIMS], rows = rbe_tensor_rows(&x->value);
    memcpy(shape, x->value.shape, sizeof shape);
    shape[x->value.dims - 1] = base->out;
    rbe_var *y = rbe_node("rbe", &x, 1, x->value.dims, shape, RBE_FULL(linear_backward), sizeof(linear_context));
    if (!rbe_ok(y)) return y;
    y->context_pointer = layer;
    if (rbe_layer_is_trained(base)) rbe_node_writes_before(y, rbe_layer_gradient_end(base));
    rbe_arena *arena = rbe_tape_arena(y);
    linear_context *context = y->context;
    context->generation = layer->generation;
    if (layer->use_cache && y->needs_grad) {
        context->cache = rbe_arena_take(arena, 1, rbe_plan_cache_bytes(layer->plan, rows));
        if (!context->cache) return rbe_tape_fail_last(y);
    }
    if (rbe_linear_forward_product(layer, arena, x->value.data, rows, y->value.data, context->cache) != RBE_OK)
        return rbe_tape_fail_last(y);
    return y;
}

/* Scratch is returned after each product, so that of one product counts; the larger one, that of the backward. */
static size_t linear_tape_bytes(const rbe_layer *base, size_t rows, size_t columns) {
    (void)columns;
    const rbe_linear_layer *layer = (const rbe_linear_layer *)base;
    size_t cache = layer->use_cache ? rbe_aligned(rbe_plan_cache_bytes(layer->plan, rows)) : 0;
    return rbe_node_bytes(rows * base->out, true) + rbe_aligned(sizeof(linear_context)) + cache;
}

static size_t linear_scratch_bytes(const rbe_layer *base, size_t rows) {
    const rbe_linear_layer *layer = (const rbe_linear_layer *)base;
    size_t forward = rbe_linear_forward_bytes(layer, rows), backward = rbe_linear_backward_bytes(layer, rows);
    return forward > backward ? forward : backward;
}

static size_t linear_table_bytes(const rbe_layer *base) {
    const rbe_linear_layer *layer = (const rbe_linear_layer *)base;
    return rbe_alloc_bytes(layer->plan) + rbe_alloc_bytes(layer->blocks) + rbe_alloc_bytes(layer->blocks->basis);
}

static void linear_destroy(rbe_layer *base) {
    rbe_linear_layer *layer = (rbe_linear_layer *)base;
    if (layer->bias) rbe_free(layer->bias->value);
    rbe_plan_free(layer->plan);
    rbe_blocks_free(layer->blocks);
}

/* Positions come on top; instead of it all there could be W and b uncompressed. */
static void linear_cost(const rbe_layer *base, rbe_layer_cost *cost) {
    const rbe_linear_layer *layer = (const rbe_linear_layer *)base;
    cost->bytes += rbe_blocks_describe(layer->blocks).position_bytes;
    cost->dense_bytes = (base->in * base->out + (layer->bias ? base->out : 0)) * sizeof(float);
}

static const rbe_blocks *linear_blocks(const rbe_layer *base) { return ((const rbe_linear_layer *)base)->blocks; }

static rbe_layer *assemble(rbe_blocks *blocks, float *bias, const rbe_linear_options *o);

static rbe_layer *linear_read(const rbe_layer_type *type, rbe_reader *reader) {
    (void)type;
    size_t in, out;
    rbe_blocks *blocks;
    if (rbe_layer_read_widths(reader, &in, &out) != RBE_OK || reader->blocks(reader, in, out, &blocks) != RBE_OK)
        return NULL;
    float *bias = NULL;
    if (rbe_read_values(reader, "bias") > 0 && !(bias = rbe_alloc_zeroed(out, sizeof *bias))) {
        rbe_blocks_free(blocks);
        return NULL;
    }
    return assemble(blocks, bias, &(rbe_linear_options){0});
}

const rbe_layer_type rbe_linear_type = {.kind = "rbe",
                                        .forward = linear_forward,
                                        .destroy = linear_destroy,
                                        .write = RBE_FULL(rbe_layer_write_widths),
                                        .read = linear_read,
                                        .cost = linear_cost,
                                        .tape_bytes = linear_tape_bytes,
                                        .scratch_bytes = linear_scratch_bytes,
                                        .table_bytes = linear_table_bytes,
                                        .blocks = linear_blocks};

/* ---- making one ---------------------------------------------------------------------------------------------- */

/* B^2 / K, with the number of positions of the whole padded matrix over that of its values. */
static double positions_per_value(const rbe_blocks *b) {
    size_t values = b->value_count ? b->value_count : 1;
    return (double)(b->grid_rows * b->block) * (double)(b->grid_cols * b->block) / (double)values;
}

/* The scale of a coefficient's rate, and of an alpha's. */
static float usual_rate(const rbe_blocks *b) { return (float)sqrt(positions_per_value(b)); }

/* The usual rate becomes the new one; one that a user has set keeps its proportion to it, and 0 stays 0. */
static void follow_rate(rbe_param *param, float before, float after) {
    param->lr_scale = param->lr_scale == before ? after : param->lr_scale * (after / before);
}

void rbe_linear_blocks_changed(rbe_linear_layer *layer) {
    const rbe_blocks *b = layer->blocks;
    rbe_param *coefficients = &layer->params[0];
    float before = layer->usual_rate, after = usual_rate(b);
    if (coefficients->count != b->value_count) rbe_param_clear(coefficients);
    coefficients->value = b->values;
    coefficients->count = b->value_count;
    follow_rate(coefficients, before, after);
    if (layer->alpha) follow_rate(layer->alpha, before, after);
    layer->usual_rate = after;
    layer->generation++;
    RBE_ASSERT(rbe_blocks_check_positions(b) == RBE_OK);
}

void rbe_linear_exchange_blocks(rbe_linear_layer *layer, rbe_blocks *blocks) {
    rbe_blocks kept = *layer->blocks;
    *layer->blocks = *blocks;
    *blocks = kept;
    if (layer->alpha) layer->alpha->value = layer->blocks->alpha;
    rbe_linear_blocks_changed(layer);
}

/* Weight decay is left out: at a learning rate scaled up it would shrink coefficients that much faster. */
static void set_params(rbe_linear_layer *layer, float *bias) {
    const rbe_blocks *b = layer->blocks;
    rbe_param *next = layer->params;
    float rate = layer->usual_rate = usual_rate(b);
    *next++ = (rbe_param){.part = "coefficients", .value = b->values, .count = b->value_count, .lr_scale = rate};
    if (b->alpha) {
        size_t count = RBE_BASIS_COUNT * b->grid_rows * b->grid_cols;
        layer->alpha = next++;
        *layer->alpha = (rbe_param){.part = "alpha", .value = b->alpha, .count = count, .lr_scale = rate};
    }
    if (bias) {
        layer->bias = next++;
        *layer->bias = (rbe_param){.part = "bias", .value = bias, .count = layer->base.out, .lr_scale = 1.0f};
    }
    layer->base.params = layer->params;
    layer->base.param_count = (size_t)(next - layer->params);
}

/* Takes over blocks and bias (NULL: none), also when it fails. */
static rbe_layer *assemble(rbe_blocks *blocks, float *bias, const rbe_linear_options *o) {
    rbe_linear_layer *layer = (rbe_linear_layer *)rbe_layer_make_named(
        &rbe_linear_type, sizeof *layer, blocks->input_side.length, blocks->output_side.length, NULL);
    rbe_plan *plan = rbe_plan_new(blocks);
    if (!layer || !plan) {
        rbe_free(layer);
        rbe_plan_free(plan);
        rbe_blocks_free(blocks);
        rbe_free(bias);
        return NULL;
    }
    layer->blocks = blocks;
    layer->plan = plan;
    layer->use_cache = o->use_cache;
    layer->batch_threshold = o->batch_threshold;
    layer->count = &layer->counted;
    if (o->batch_threshold) rbe_plan_set_batch_threshold(plan, o->batch_threshold);
    set_params(layer, bias);
    rbe_layer_set_default_name(&layer->base, o->name);
    return &layer->base;
}

/* c ~ N(0, g^2 2/in B^2/K): the variance that W = L^T S R then has is g^2 2/in, as a dense layer's. */
static rbe_status draw_values(rbe_blocks *b, double init_scale, uint64_t seed) {
    rbe_rng *rng = rbe_rng_new(seed, VALUE_STREAM);
    if (!rng) return rbe_last_status();
    double deviation = init_scale * sqrt(2.0 / (double)b->input_side.length * positions_per_value(b));
    for (size_t n = 0; n < b->value_count; n++) b->values[n] = (float)(deviation * rbe_rng_normal(rng));
    rbe_rng_free(rng);
    size_t bad = rbe_first_nonfinite(b->values, b->value_count);
    if (bad == b->value_count) return RBE_OK;
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "init_scale: %g makes coefficient %zu too large for a float", init_scale,
                    bad);
}

rbe_layer *rbe_linear_new(size_t in, size_t out, const rbe_linear_options *options) {
    static const rbe_linear_options defaults = {0};
    const rbe_linear_options *o = options ? options : &defaults;
    rbe_compress_options shape = {.block = o->block,
                                  .coeffs = o->coeffs,
                                  .ratio = o->ratio,
                                  .row_transform = o->row_transform,
                                  .column_transform = o->column_transform,
                                  .alpha = o->alpha == RBE_ALPHA_AUTO ? RBE_ALPHA_OFF : o->alpha,
                                  .group = o->group,
                                  .overlap = o->overlap,
                                  .image_height = o->image_height,
                                  .image_width = o->image_width};
    rbe_geometry geometry;
    if (rbe_layer_check_size("rbe", in, out) != RBE_OK) return NULL;
    if (rbe_geometry_make(&geometry, out, in, &shape, DEFAULT_GROUP) != RBE_OK) return NULL;
    if (!(o->init_scale >= 0.0 && isfinite(o->init_scale))) {
        rbe_fail(RBE_INVALID_ARGUMENT, "init_scale: expected a finite value >= 0, found %g", o->init_scale);
        return NULL;
    }
    rbe_blocks *blocks = rbe_blocks_new(&geometry);
    float *bias = o->no_bias ? NULL : rbe_alloc_zeroed(out, sizeof *bias);
    double init_scale = o->init_scale > 0.0 ? o->init_scale : DEFAULT_INIT_SCALE;
    if (!blocks || (!bias && !o->no_bias) ||
        rbe_blocks_draw_positions(blocks, geometry.value_limit, o->seed) != RBE_OK ||
        draw_values(blocks, init_scale, o->seed) != RBE_OK) {
        rbe_blocks_free(blocks);
        rbe_free(bias);
        return NULL;
    }
    return assemble(blocks, bias, o);
}

/* A copy of the caller's bias, checked. */
static rbe_status copy_bias(float **copy, const float *bias, size_t bias_count, size_t out) {
    *copy = NULL;
    if (!bias && bias_count == 0) return RBE_OK;
    if (!bias || bias_count != out)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "bias has %zu values, expected %zu", bias ? bias_count : 0, out);
    size_t bad = rbe_first_nonfinite(bias, out);
    if (bad < out) return rbe_fail(RBE_NUMERICAL_INSTABILITY, "bias %zu is %g", bad, (double)bias[bad]);
    *copy = rbe_alloc(out, sizeof **copy);
    if (!*copy) return rbe_last_status();
    memcpy(*copy, bias, out * sizeof **copy);
    return RBE_OK;
}

rbe_layer *rbe_linear_from_blocks(rbe_blocks *blocks, const float *bias, size_t bias_count,
                                  const rbe_linear_options *options) {
    static const rbe_linear_options defaults = {0};
    if (!blocks) {
        rbe_fail(RBE_INVALID_ARGUMENT, "rbe_linear_from_blocks: the compressed matrix is NULL");
        return NULL;
    }
    float *copy;
    if (copy_bias(&copy, bias, bias_count, blocks->output_side.length) != RBE_OK) {
        rbe_blocks_free(blocks);
        return NULL;
    }
    return assemble(blocks, copy, options ? options : &defaults);
}

/* ---- looking inside ------------------------------------------------------------------------------------------ */

rbe_linear_layer *rbe_layer_as_linear(const rbe_layer *layer) {
    return layer && layer->type == &rbe_linear_type ? (rbe_linear_layer *)layer : NULL;
}

const rbe_blocks *rbe_linear_blocks(const rbe_layer *layer) {
    const rbe_linear_layer *linear = rbe_layer_as_linear(layer);
    return linear ? linear->blocks : NULL;
}

size_t rbe_linear_get_gradients(const rbe_layer *layer, size_t p, size_t q, double alpha[RBE_BASIS_COUNT],
                                rbe_coefficient *coefficients, size_t capacity) {
    const rbe_linear_layer *linear = rbe_layer_as_linear(layer);
    if (!linear || !linear->params[0].grad_set) return 0;
    const rbe_blocks *b = linear->blocks;
    if (p >= b->grid_rows || q >= b->grid_cols) return 0;
    if (alpha) {
        double orthonormal[RBE_BASIS_COUNT];
        memset(alpha, 0, RBE_BASIS_COUNT * sizeof *alpha);
        for (size_t l = 0; linear->alpha && l < RBE_BASIS_COUNT; l++)
            orthonormal[l] = linear->alpha->grad[rbe_block_alpha(b, p, q, l) - b->alpha];
        if (linear->alpha) rbe_basis_gradient_to_raw(b->basis, orthonormal, alpha);
    }
    return rbe_blocks_get_from(b, linear->params[0].grad, p, q, coefficients, capacity);
}

rbe_linear_counters rbe_linear_count(const rbe_layer *layer) {
    const rbe_linear_layer *linear = rbe_layer_as_linear(layer);
    if (!linear) return (rbe_linear_counters){0};
    return (rbe_linear_counters){atomic_load(&linear->count->operations), atomic_load(&linear->count->flops),
                                 atomic_load(&linear->count->fallbacks)};
}
