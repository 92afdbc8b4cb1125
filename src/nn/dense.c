/* The dense layer, the yardstick of the compressed one: two or three BLAS products and nothing else.
 *
 *     Y = X W^T + b        dX = dY W        dW = dY^T X        db = sum_n dY_n
 * W is out x in, row-major; X is rows x in.
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/column_sums.h"
#include "base/failure.h"
#include "base/gemm.h"
#include "nn/layer.h"
#include "tensor/node.h"

typedef struct dense_layer {
    rbe_layer base;
    rbe_param params[2]; /* weights, bias */
} dense_layer;

static rbe_status dense_backward(rbe_var *self) {
    const rbe_layer *layer = self->context_pointer;
    rbe_var *x = self->parents[0];
    size_t rows = rbe_tensor_rows(&x->value);
    RBE_TRY(rbe_layer_require_grads(layer));
    rbe_param *weights = &layer->params[0], *bias = &layer->params[1];
    if (!weights->frozen) {
        RBE_TRY(rbe_gemm(true, false, layer->out, layer->in, rows, self->grad, x->value.data, weights->grad_set,
                         weights->grad));
        weights->grad_set = true;
    }
    if (rbe_layer_has_bias(layer) && !bias->frozen)
        rbe_column_sums(self->grad, rows, layer->out, rbe_param_mark_gradient(bias), bias->grad);
    rbe_node_has_written(self, 0);
    if (!x->needs_grad) return RBE_OK;
    bool add;
    float *dx = rbe_grad_target(x, &add);
    if (!dx) return rbe_last_status();
    return rbe_gemm(false, false, rows, layer->in, layer->out, self->grad, weights->value, add, dx);
}

static rbe_var *dense_forward(const rbe_layer *layer, rbe_var *x) {
    size_t shape[RBE_MAX_DIMS];
    memcpy(shape, x->value.shape, sizeof shape);
    shape[x->value.dims - 1] = layer->out;
    rbe_var *y = rbe_node("dense", &x, 1, x->value.dims, shape, RBE_FULL(dense_backward), 0);
    if (!rbe_ok(y)) return y;
    y->context_pointer = layer;
    if (rbe_layer_is_trained(layer)) rbe_node_writes_before(y, rbe_layer_gradient_end(layer));
    size_t rows = rbe_tensor_rows(&x->value);
    if (rbe_layer_has_bias(layer))
        for (size_t n = 0; n < rows; n++)
            memcpy(y->value.data + n * layer->out, layer->params[1].value, layer->out * sizeof(float));
    if (rbe_gemm(false, true, rows, layer->out, layer->in, x->value.data, layer->params[0].value,
                 rbe_layer_has_bias(layer), y->value.data) != RBE_OK)
        return rbe_tape_fail_last(y);
    return y;
}

static void dense_destroy(rbe_layer *layer) {
    for (size_t n = 0; n < layer->param_count; n++) rbe_free(layer->params[n].value);
}

static dense_layer *dense_bare(size_t in, size_t out, bool bias, const char *name);

static rbe_layer *dense_read(const rbe_layer_type *type, rbe_reader *reader) {
    (void)type;
    size_t in, out;
    if (rbe_layer_read_widths(reader, &in, &out) != RBE_OK || rbe_read_matrix(reader, "weight", out, in) != RBE_OK)
        return NULL;
    dense_layer *layer = dense_bare(in, out, rbe_read_values(reader, "bias") > 0, NULL);
    return layer ? &layer->base : NULL;
}

const rbe_layer_type rbe_dense_type = {.kind = "dense",
                                       .forward = dense_forward,
                                       .destroy = dense_destroy,
                                       .write = RBE_FULL(rbe_layer_write_widths),
                                       .read = dense_read};

/* A layer with uninitialised weights and a bias of zeros. */
static dense_layer *dense_bare(size_t in, size_t out, bool bias, const char *name) {
    if (rbe_layer_check_size("dense", in, out) != RBE_OK) return NULL;
    dense_layer *layer = (dense_layer *)rbe_layer_make_named(&rbe_dense_type, sizeof *layer, in, out, NULL);
    if (!layer) return NULL;
    layer->base.params = layer->params;
    layer->base.param_count = bias ? 2 : 1;
    layer->params[0] = (rbe_param){.part = "weight", .count = in * out, .rows = out, .decays = true, .lr_scale = 1.0f};
    layer->params[1] = (rbe_param){.part = "bias", .count = out, .lr_scale = 1.0f};
    rbe_layer_set_default_name(&layer->base, name);
    layer->params[0].value = rbe_alloc(in * out, sizeof(float));
    if (bias) layer->params[1].value = rbe_alloc_zeroed(out, sizeof(float));
    if (layer->params[0].value && (!bias || layer->params[1].value)) return layer;
    rbe_layer_free(&layer->base);
    return NULL;
}

rbe_layer *rbe_dense_new(size_t in, size_t out, const rbe_dense_options *options) {
    static const rbe_dense_options defaults = {0};
    const rbe_dense_options *o = options ? options : &defaults;
    dense_layer *layer = dense_bare(in, out, !o->no_bias, o->name);
    rbe_rng *rng = layer ? rbe_rng_new(o->seed, 0) : NULL;
    if (!rng) {
        rbe_layer_free(layer ? &layer->base : NULL);
        return NULL;
    }
    double deviation = sqrt(2.0 / (double)in); /* He et al. 2015: keeps the variance through a relu */
    for (size_t i = 0; i < in * out; i++) layer->params[0].value[i] = (float)(deviation * rbe_rng_normal(rng));
    rbe_rng_free(rng);
    return &layer->base;
}

rbe_layer *rbe_dense_from_weights(size_t in, size_t out, const float *weights, const float *bias, const char *name) {
    if (!weights) {
        rbe_fail(RBE_INVALID_ARGUMENT, "rbe_dense_from_weights: the weights are NULL");
        return NULL;
    }
    dense_layer *layer = dense_bare(in, out, bias != NULL, name);
    if (!layer) return NULL;
    memcpy(layer->params[0].value, weights, in * out * sizeof(float));
    if (bias) memcpy(layer->params[1].value, bias, out * sizeof(float));
    for (size_t n = 0; n < layer->base.param_count; n++) {
        const rbe_param *p = &layer->params[n];
        size_t bad = rbe_first_nonfinite(p->value, p->count);
        if (bad == p->count) continue;
        rbe_fail(RBE_NUMERICAL_INSTABILITY, "%s: value %zu is %g", p->name, bad, (double)p->value[bad]);
        rbe_layer_free(&layer->base);
        return NULL;
    }
    return &layer->base;
}
