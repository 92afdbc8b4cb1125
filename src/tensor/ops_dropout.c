/* Dropout: y_i = x_i / (1 - p) with probability 1 - p, else 0; dL/dx_i is dL/dy_i times the same factor.
 *
 * The mask is not stored. Every dropout of a tape has a key of its own, mixed from the tape's seed and the number
 * of masks drawn before, and value i is dropped if the i-th number of the splitmix64 stream of that key, seen as a
 * fraction of 2^53, is below p. The backward computes the same numbers again.
 */
#include "base/splitmix.h"
#include "tensor/node.h"

typedef struct mask {
    uint64_t key;
    uint64_t threshold; /* p 2^53 */
    float factor[2];    /* of dropped values, 0, and of kept ones, 1 / (1 - p) */
} mask;

/* The factor of value i. Looked up, because a branch would be mispredicted every other time. */
static inline float mask_factor(const mask *m, size_t i) {
    return m->factor[rbe_splitmix64(m->key + i * RBE_SPLITMIX_STEP) >> 11 >= m->threshold];
}

static rbe_status dropout_backward(rbe_var *self) {
    rbe_var *x = self->parents[0];
    if (!x->needs_grad) return RBE_OK;
    float *restrict gx = rbe_grad_zeroed(x);
    if (!gx) return rbe_last_status();
    const mask m = *(const mask *)self->context;
    const float *restrict g = self->grad;
    size_t count = rbe_tensor_count(&x->value);
    for (size_t i = 0; i < count; i++) gx[i] += mask_factor(&m, i) * g[i];
    return RBE_OK;
}

rbe_var *rbe_dropout(rbe_var *x, float probability) {
    if (!(probability >= 0.0f && probability < 1.0f))
        return rbe_tape_fail(x, RBE_INVALID_ARGUMENT, "dropout: expected a probability in 0 <= p < 1, found %g",
                             (double)probability);
    if (!x || x->tape->inference || x->tape->drops_nothing || probability == 0.0f) return x;
    rbe_var *y = rbe_node_like("dropout", x, dropout_backward, sizeof(mask));
    if (!rbe_ok(y)) return y;
    const uint64_t draw = x->tape->draws++;
    const mask m = {.key = rbe_splitmix64(x->tape->seed ^ rbe_splitmix64(draw)),
                    .threshold = (uint64_t)((double)probability * 0x1p53),
                    .factor = {0.0f, 1.0f / (1.0f - probability)}};
    *(mask *)y->context = m;
    const float *restrict in = x->value.data;
    float *restrict out = y->value.data;
    size_t count = rbe_tensor_count(&x->value);
    for (size_t i = 0; i < count; i++) out[i] = mask_factor(&m, i) * in[i];
    return y;
}
