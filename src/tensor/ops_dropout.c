/* Dropout: y_i = x_i / (1 - p) with probability 1 - p, else 0; dL/dx_i is dL/dy_i times the same factor.
 *
 * The mask is not stored. Every dropout of a tape has a key of its own, mixed from the tape's seed and the number
 * of masks drawn before, and value i is dropped if the i-th number of the splitmix64 stream of that key, seen as a
 * fraction of 2^53, is below p. The backward computes the same numbers again.
 */
#include "base/parallel.h"
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

/* to = mask from, or added to it. */
typedef struct masking {
    mask mask;
    const float *from;
    float *to;
    bool add;
} masking;

static void mask_range(void *context, size_t first, size_t count) {
    const masking *k = context;
    const mask m = k->mask;
    const float *restrict from = k->from;
    float *restrict to = k->to;
    for (size_t i = first; i < first + count; i++) to[i] = (k->add ? to[i] : 0.0f) + mask_factor(&m, i) * from[i];
}

static rbe_status dropout_backward(rbe_var *self) {
    rbe_var *x = self->parents[0];
    if (!x->needs_grad) return RBE_OK;
    masking k = {.mask = *(const mask *)self->context, .from = self->grad};
    k.to = rbe_grad_target(x, &k.add);
    if (!k.to) return rbe_last_status();
    rbe_parallel_ranges(rbe_tensor_count(&x->value), RBE_PIECE, mask_range, &k);
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
    masking k = {.mask = m, .from = x->value.data, .to = y->value.data};
    rbe_parallel_ranges(rbe_tensor_count(&x->value), RBE_PIECE, mask_range, &k);
    return y;
}
