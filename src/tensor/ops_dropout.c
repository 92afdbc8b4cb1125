/* Dropout: y_i = x_i / (1 - p) with probability 1 - p, else 0; dL/dx_i is dL/dy_i times the same factor.
 *
 * The mask is not stored (tensor/mask.h): the backward computes the same numbers again.
 */
#include "base/parallel.h"
#include "tensor/mask.h"

/* to = mask from, or added to it. */
typedef struct masking {
    rbe_mask mask;
    const float *from;
    float *to;
    bool add;
} masking;

static void mask_range(void *context, size_t first, size_t count) {
    const masking *k = context;
    const rbe_mask m = k->mask;
    const float *restrict from = k->from;
    float *restrict to = k->to;
    for (size_t i = first; i < first + count; i++) to[i] = (k->add ? to[i] : 0.0f) + rbe_mask_factor(&m, i) * from[i];
}

static rbe_status dropout_backward(rbe_var *self) {
    rbe_var *x = self->parents[0];
    if (!x->needs_grad) return RBE_OK;
    masking k = {.mask = *(const rbe_mask *)self->context, .from = self->grad};
    k.to = rbe_grad_target(x, &k.add);
    if (!k.to) return rbe_last_status();
    rbe_parallel_ranges(rbe_tensor_count(&x->value), RBE_PIECE, mask_range, &k);
    return RBE_OK;
}

rbe_var *rbe_dropout(rbe_var *x, float probability) {
    if (!(probability >= 0.0f && probability < 1.0f))
        return rbe_tape_fail(x, RBE_INVALID_ARGUMENT, "dropout: expected a probability in 0 <= p < 1, found %g",
                             (double)probability);
    if (!x || !rbe_tape_drops(x->tape, probability)) return x;
    rbe_var *y = rbe_node_like("dropout", x, RBE_FULL(dropout_backward), sizeof(rbe_mask));
    if (!rbe_ok(y)) return y;
    const rbe_mask m = rbe_mask_draw(x->tape, probability, rbe_tensor_rows(&x->value), rbe_tensor_columns(&x->value));
    *(rbe_mask *)y->context = m;
    masking k = {.mask = m, .from = x->value.data, .to = y->value.data};
    rbe_parallel_ranges(rbe_tensor_count(&x->value), RBE_PIECE, mask_range, &k);
    return y;
}
