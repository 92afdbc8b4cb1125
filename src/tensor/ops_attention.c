/* Causal self-attention of several heads (Vaswani et al. 2017), without a matrix of all scores.
 *
 * A row of qkv is a query, a key and a value, C numbers each, which H heads share out, d = C / H each. For each sequence
 * and head, with i the place of a query and j that of a key:
 *
 *     S_ij = q_i . k_j / sqrt d,  j <= i         P_ij = m_ij exp(S_ij - L_i)        L_i = log sum_j exp(S_ij)
 *     y_i  = sum_j P_ij v_j                       m_ij: of dropout, 0 or 1 / (1 - p)
 *
 * Forward keeps L alone. Backward computes tiles of P again (Dao et al. 2022): with D_i = dL/dy_i . y_i
 *
 *     dv_j = sum_i P_ij dy_i     dS_ij = exp(S_ij - L_i) (m_ij dy_i . v_j - D_i)
 *     dq_i = sum_j dS_ij k_j / sqrt d             dk_j = sum_i dS_ij q_i / sqrt d
 *
 * A task is a head of a sequence. It works on TILE queries and all keys before them at a time, by dense products.
 */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/blas.h"
#include "base/multiply.h"
#include "base/parallel.h"
#include "base/sizes.h"
#include "tensor/loops.h"
#include "tensor/mask.h"

enum { TILE = 64 };

typedef struct attention {
    size_t sequences, length, heads, width, head; /* C, d */
    float scale;                                  /* 1 / sqrt d */
    bool drops;                                   /* scores, by `mask` */
    rbe_mask mask;
    float *log_sums; /* L: sequences x heads x length; NULL in inference */
} attention;

/* What the tasks read and write. */
typedef struct attending {
    attention a;
    const float *qkv, *g; /* g: dL/dy */
    const float *y_read;
    float *y, *gx;
    float *scratch; /* of each worker */
    size_t scratch_each;
} attending;

/* A head of a sequence. */
typedef struct head_view {
    size_t at;              /* of the task: for masks and sums */
    const float *q, *k, *v; /* rows are 3 C apart */
    size_t place;           /* in y, whose rows are C apart */
} head_view;

static head_view view_of(const attending *t, size_t task) {
    const attention *a = &t->a;
    size_t sequence = task / a->heads, head = task % a->heads;
    const float *q = t->qkv + sequence * a->length * 3 * a->width + head * a->head;
    return (head_view){.at = task,
                       .q = q,
                       .k = q + a->width,
                       .v = q + 2 * a->width,
                       .place = sequence * a->length * a->width + head * a->head};
}

/* The factor of dropout of score (i, j) of a task. */
static inline float mask_of(const attention *a, size_t task, size_t i, size_t j) {
    return rbe_mask_factor(&a->mask, (task * a->length + i) * a->length + j);
}

/* Scores of `rows` queries from `first` on: S, rows x keys, keys = first + rows. */
static void score_tile(const attention *a, const head_view *h, size_t first, size_t rows, float *s) {
    size_t ld = 3 * a->width, keys = first + rows;
    rbe_multiply(false, true, rows, keys, a->head, a->scale, h->q + first * ld, ld, h->k, ld, 0.0f, s, keys);
}

/* ---- values -------------------------------------------------------------------------------------------------- */

/* Turns the scores of a row, of which `count` are of keys that it may see, into exp(S - max), and the others into 0;
 * returns the sum. */
static float exponentials(float *restrict s, size_t count, size_t keys, float *most) {
    float largest = s[0];
    for (size_t j = 1; j < count; j++) largest = s[j] > largest ? s[j] : largest;
    for (size_t j = count; j < keys; j++) s[j] = 0.0f;
    *most = largest;
    return rbe_loops_here()->exponentials(s, largest, count);
}

static void attend_tile(const attending *t, const head_view *h, size_t first, size_t rows, float *s) {
    const attention *a = &t->a;
    size_t keys = first + rows, ld = 3 * a->width;
    score_tile(a, h, first, rows, s);
    for (size_t r = 0; r < rows; r++) {
        float *row = s + r * keys, most;
        float sum = exponentials(row, first + r + 1, keys, &most), inverse = 1.0f / sum;
        if (a->log_sums) a->log_sums[h->at * a->length + first + r] = most + logf(sum);
        for (size_t j = 0; j <= first + r; j++) row[j] *= inverse;
        for (size_t j = 0; a->drops && j <= first + r; j++) row[j] *= mask_of(a, h->at, first + r, j);
    }
    rbe_multiply(false, false, rows, a->head, keys, 1.0f, s, keys, h->v, ld, 0.0f, t->y + h->place + first * a->width,
                 a->width);
}

static void attend(void *context, size_t task, size_t worker) {
    const attending *t = context;
    const head_view h = view_of(t, task);
    for (size_t first = 0; first < t->a.length; first += TILE)
        attend_tile(t, &h, first, rbe_at_most(t->a.length - first, TILE), t->scratch + worker * t->scratch_each);
}

/* ---- gradients ----------------------------------------------------------------------------------------------- */

/* s becomes P with its masks, ds (of dy . v) becomes dS. */
static void chain_row(const attention *a, size_t task, size_t i, float log_sum, float d, float *restrict s,
                      float *restrict ds, size_t keys) {
    rbe_loops_here()->exponentials(s, log_sum, i + 1);
    if (!a->drops)
        for (size_t j = 0; j <= i; j++) ds[j] = s[j] * (ds[j] - d);
    else
        for (size_t j = 0; j <= i; j++) {
            float m = mask_of(a, task, i, j);
            ds[j] = s[j] * (m * ds[j] - d);
            s[j] *= m;
        }
    for (size_t j = i + 1; j < keys; j++) s[j] = ds[j] = 0.0f;
}

static void chain_tile(const attending *t, const head_view *h, size_t first, size_t rows, float *s, float *ds) {
    const attention *a = &t->a;
    const size_t keys = first + rows, ld = 3 * a->width, d = a->head;
    const float *g = t->g + h->place + first * a->width, *y = t->y_read + h->place + first * a->width;
    float *gq = t->gx + (h->q - t->qkv), *gk = gq + a->width, *gv = gk + a->width;
    score_tile(a, h, first, rows, s);
    rbe_multiply(false, true, rows, keys, d, 1.0f, g, a->width, h->v, ld, 0.0f, ds, keys);
    for (size_t r = 0; r < rows; r++)
        chain_row(a, h->at, first + r, a->log_sums[h->at * a->length + first + r],
                  rbe_loops_here()->dot(g + r * a->width, y + r * a->width, d), s + r * keys, ds + r * keys, keys);
    rbe_multiply(true, false, keys, d, rows, 1.0f, s, keys, g, a->width, 1.0f, gv, ld);
    rbe_multiply(false, false, rows, d, keys, a->scale, ds, keys, h->k, ld, 1.0f, gq + first * ld, ld);
    rbe_multiply(true, false, keys, d, rows, a->scale, ds, keys, h->q + first * ld, ld, 1.0f, gk, ld);
}

static void chain(void *context, size_t task, size_t worker) {
    const attending *t = context;
    const head_view h = view_of(t, task);
    float *s = t->scratch + worker * t->scratch_each, *ds = s + t->scratch_each / 2;
    for (size_t first = 0; first < t->a.length; first += TILE)
        chain_tile(t, &h, first, rbe_at_most(t->a.length - first, TILE), s, ds);
}

/* Runs a task for each head of each sequence, with `tiles` tiles of scratch for each worker. */
static rbe_status run(rbe_var *var, attending *t, size_t tiles, rbe_task *task) {
    const size_t tasks = t->a.sequences * t->a.heads;
    const size_t threads = rbe_blas_enter(rbe_at_most((size_t)rbe_threads(), tasks));
    if (threads == 0) return rbe_last_status();
    rbe_tape_mark mark = rbe_tape_here(var);
    t->scratch_each = tiles * rbe_at_most(t->a.length, TILE) * t->a.length;
    t->scratch = rbe_tape_take(var, threads * t->scratch_each, sizeof *t->scratch);
    rbe_status status = t->scratch ? RBE_OK : rbe_last_status();
    if (t->scratch) rbe_parallel(threads, tasks, task, t);
    rbe_tape_return(var, mark);
    rbe_blas_leave(threads);
    return status;
}

static rbe_status attention_backward(rbe_var *self) {
    rbe_var *x = self->parents[0];
    attending t = {.a = *(const attention *)self->context,
                   .qkv = x->value.data,
                   .g = self->grad,
                   .y_read = self->value.data,
                   .gx = rbe_grad_zeroed(x)};
    return t.gx ? run(self, &t, 2, chain) : rbe_last_status();
}

/* ---- the operation ------------------------------------------------------------------------------------------- */

static rbe_var *check(rbe_var *qkv, size_t heads, float dropout) {
    const rbe_tensor *x = &qkv->value;
    const size_t columns = x->shape[x->dims - 1];
    char shape[RBE_SHAPE_TEXT];
    if (x->dims < 2 || heads == 0 || columns % 3 != 0 || columns / 3 % heads != 0 || columns > INT_MAX ||
        x->shape[x->dims - 2] > INT_MAX)
        return rbe_tape_fail(qkv, RBE_INPUT_DIMENSION_MISMATCH,
                             "attention: expected (.., places, 3 x width), width a multiple of %zu heads, found %s",
                             heads, rbe_shape_text(x, shape));
    if (!(dropout >= 0.0f && dropout < 1.0f))
        return rbe_tape_fail(qkv, RBE_INVALID_ARGUMENT, "attention: expected a dropout in 0 <= p < 1, found %g",
                             (double)dropout);
    return NULL;
}

rbe_var *rbe_attention(rbe_var *qkv, size_t heads, float dropout) {
    rbe_var *failed;
    if (!rbe_operands_ok("attention", &qkv, 1, &failed)) return failed;
    if ((failed = check(qkv, heads, dropout))) return failed;
    const rbe_tensor *x = &qkv->value;
    size_t shape[RBE_MAX_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[x->dims - 1] /= 3;
    rbe_var *y = rbe_node("attention", &qkv, 1, x->dims, shape, RBE_FULL(attention_backward), sizeof(attention));
    if (!rbe_ok(y)) return y;
    attention *a = y->context;
    *a = (attention){.length = shape[x->dims - 2], .heads = heads, .width = shape[x->dims - 1]};
    a->head = a->width / heads;
    a->sequences = rbe_tensor_count(&y->value) / a->length / a->width;
    a->scale = (float)(1.0 / sqrt((double)a->head));
    a->drops = rbe_tape_drops(y->tape, dropout);
    if (a->drops) /* each row of qkv has a row of scores for each head */
        a->mask = rbe_mask_draw(y->tape, dropout, a->sequences * a->length, heads * a->length);
    if (y->needs_grad && !(a->log_sums = rbe_tape_take(y, a->sequences * heads * a->length, sizeof *a->log_sums)))
        return rbe_tape_fail_last(y);
    attending t = {.a = *a, .qkv = x->data, .y = y->value.data};
    return run(y, &t, 1, attend) == RBE_OK ? y : rbe_tape_fail_last(y);
}
