/* Causal attention of new places to themselves and to those that a context remembers: no score is computed twice.
 *
 *     y_i = sum_(j <= i) exp(S_ij) v_j / sum_(j <= i) exp(S_ij),   S_ij = q_i . k_j / sqrt d - max
 *
 * Inference alone: there is no backward. A head is a task; with few places they are done by one thread.
 */
#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "tensor/context.h"
#include "tensor/loops.h"

typedef struct reading {
    size_t first, places, width, head; /* first: remembered before; head: its width */
    const float *q;                    /* rows of 3 x width */
    const float *k, *v;                /* of all places */
    float *y, *scores;                 /* scores: a row of each head */
    size_t room;
} reading;

static void read_place(const reading *r, size_t head, size_t place) {
    const size_t keys = r->first + place + 1, at = head * r->head;
    const float *q = r->q + place * 3 * r->width + at;
    const float scale = (float)(1.0 / sqrt((double)r->head));
    const rbe_loops *loops = rbe_loops_here();
    float *restrict y = r->y + place * r->width + at, *restrict s = r->scores + head * r->room;
    float most = -INFINITY;
    for (size_t j = 0; j < keys; j++) {
        s[j] = scale * loops->dot(q, r->k + j * r->width + at, r->head);
        most = s[j] > most ? s[j] : most;
    }
    const float sum = loops->exponentials(s, most, keys);
    memset(y, 0, r->head * sizeof *y);
    for (size_t j = 0; j < keys; j++) loops->add_scaled(y, s[j] / sum, r->v + j * r->width + at, r->head);
}

static void read_heads(void *context, size_t first, size_t count) {
    const reading *r = context;
    for (size_t head = first; head < first + count; head++)
        for (size_t place = 0; place < r->places; place++) read_place(r, head, place);
}

static rbe_var *check(rbe_var *qkv, size_t heads) {
    const rbe_context *c = qkv->tape->context;
    const rbe_tensor *x = &qkv->value;
    const size_t columns = x->shape[x->dims - 1], places = x->dims > 1 ? x->shape[x->dims - 2] : 1;
    if (!qkv->tape->inference || columns != 3 * c->width || heads == 0 || c->width % heads != 0 ||
        rbe_tensor_rows(x) != places || c->next >= c->attentions)
        return rbe_tape_fail(qkv, RBE_INPUT_DIMENSION_MISMATCH,
                             "attention in a context: expected one sequence in inference, of width %zu and a multiple "
                             "of %zu heads, in at most %zu attentions",
                             c->width, heads, c->attentions);
    if (places <= c->capacity - c->places) return NULL;
    return rbe_tape_fail(qkv, RBE_INPUT_DIMENSION_MISMATCH, "context: expected at most %zu places, found %zu",
                         c->capacity, c->places + places);
}

/* Copies keys and values into the context. */
static void remember(const rbe_context *c, const rbe_tensor *x, float *k, float *v) {
    const size_t bytes = c->width * sizeof(float);
    for (size_t n = 0; n < rbe_tensor_rows(x); n++) {
        memcpy(k + (c->places + n) * c->width, x->data + (3 * n + 1) * c->width, bytes);
        memcpy(v + (c->places + n) * c->width, x->data + (3 * n + 2) * c->width, bytes);
    }
}

rbe_var *rbe_attention_in_context(rbe_var *qkv, size_t heads) {
    rbe_var *failed;
    if (!rbe_operands_ok("attention", &qkv, 1, &failed)) return failed;
    if ((failed = check(qkv, heads))) return failed;
    rbe_context *c = qkv->tape->context;
    const rbe_tensor *x = &qkv->value;
    size_t shape[RBE_MAX_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[x->dims - 1] = c->width;
    rbe_var *y = rbe_node("attention", &qkv, 1, x->dims, shape, NULL, 0);
    if (!rbe_ok(y)) return y;
    float *k = c->memory + 2 * c->next++ * c->capacity * c->width, *v = k + c->capacity * c->width;
    remember(c, x, k, v);
    reading r = {.first = c->places,
                 .places = rbe_tensor_rows(x),
                 .width = c->width,
                 .head = c->width / heads,
                 .q = x->data,
                 .k = k,
                 .v = v,
                 .y = y->value.data,
                 .room = c->places + rbe_tensor_rows(x)};
    rbe_tape_mark mark = rbe_tape_here(y);
    r.scores = rbe_tape_take(y, heads * r.room, sizeof(float));
    if (!r.scores) return rbe_tape_fail_last(y);
    rbe_parallel_ranges(heads, r.places > 8 ? 1 : heads, read_heads, &r);
    rbe_tape_return(y, mark);
    return y;
}
