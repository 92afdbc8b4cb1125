/* Pieces of tensors along one dimension; values are only copied.
 *
 *     concatenate    y = the parts behind each other      dL/dpart = its piece of dL/dy
 *     slice          y = places first .. of x             dL/dx = dL/dy in these places, 0 elsewhere
 *
 * Seen along the dimension a piece is one run of neighbours for each index before it: runs of a length, at distances
 * that differ in whole and piece.
 */
#include <string.h>

#include "base/parallel.h"
#include "base/sizes.h"
#include "tensor/along.h"

/* to = from, or added to it: `count` runs of `length` values. */
typedef struct copying {
    const float *from;
    float *to;
    size_t from_step, to_step, length, pieces;
    bool add;
} copying;

static void copy_pieces(void *context, size_t first, size_t count) {
    const copying *c = context;
    for (size_t index = first; index < first + count; index++) {
        const size_t run = index / c->pieces, start = index % c->pieces * RBE_PIECE;
        const size_t length = rbe_at_most(c->length - start, RBE_PIECE);
        const float *restrict from = c->from + run * c->from_step + start;
        float *restrict to = c->to + run * c->to_step + start;
        if (c->add)
            for (size_t i = 0; i < length; i++) to[i] += from[i];
        else
            memcpy(to, from, length * sizeof *to);
    }
}

static void copy_runs(copying c, size_t count) {
    c.pieces = rbe_pieces(c.length, RBE_PIECE);
    rbe_parallel_ranges(count * c.pieces, 1 + (RBE_PIECE - 1) / c.length, copy_pieces, &c);
}

/* ---- concatenate --------------------------------------------------------------------------------------------- */

static rbe_status concatenate_backward(rbe_var *self) {
    const rbe_along *whole = self->context;
    const size_t step = whole->extent * whole->after;
    const float *g = self->grad;
    for (int k = 0; k < self->parent_count; k++) {
        rbe_var *part = self->parents[k];
        const size_t length = part->value.shape[whole->dim] * whole->after;
        if (part->needs_grad) {
            copying c = {.from = g, .from_step = step, .to_step = length, .length = length};
            c.to = rbe_grad_target(part, &c.add);
            if (!c.to) return rbe_last_status();
            copy_runs(c, whole->before);
        }
        g += length;
    }
    return RBE_OK;
}

/* Whether part k has the shape of part 0 except along the dimension; false with the failure on the tape. */
static bool joins(rbe_var *const *parts, int k, int dim) {
    const rbe_tensor *first = &parts[0]->value, *part = &parts[k]->value;
    bool fits = part->dims == first->dims;
    for (int d = 0; fits && d < first->dims; d++) fits = d == dim || part->shape[d] == first->shape[d];
    if (fits) return true;
    char first_text[RBE_SHAPE_TEXT], text[RBE_SHAPE_TEXT];
    rbe_tape_fail(parts[0], RBE_INPUT_DIMENSION_MISMATCH,
                  "concatenate: expected shapes that are equal except in dimension %d, found %s and %s (part %d)", dim,
                  rbe_shape_text(first, first_text), rbe_shape_text(part, text), k);
    return false;
}

rbe_var *rbe_concatenate(rbe_var *const *parts, int count, int dim) {
    if (count < 1) {
        rbe_fail(RBE_INVALID_ARGUMENT, "concatenate: expected at least one part, found %d", count);
        return NULL;
    }
    rbe_var *failed;
    rbe_along whole;
    if (!rbe_operands_ok("concatenate", parts, count, &failed)) return failed;
    if (!rbe_look_along("concatenate", parts[0], dim, &whole)) return &parts[0]->tape->inert;
    for (int k = 1; k < count; k++) {
        if (!joins(parts, k, whole.dim)) return &parts[0]->tape->inert;
        whole.extent += parts[k]->value.shape[whole.dim];
    }
    size_t shape[RBE_MAX_DIMS];
    memcpy(shape, parts[0]->value.shape, sizeof shape);
    shape[whole.dim] = whole.extent;
    rbe_var *y = rbe_node("concatenate", parts, count, parts[0]->value.dims, shape, RBE_FULL(concatenate_backward),
                          sizeof whole);
    if (!rbe_ok(y)) return y;
    *(rbe_along *)y->context = whole;
    float *to = y->value.data;
    for (int k = 0; k < count; k++) {
        const size_t length = parts[k]->value.shape[whole.dim] * whole.after;
        copy_runs((copying){.from = parts[k]->value.data,
                            .to = to,
                            .from_step = length,
                            .to_step = whole.extent * whole.after,
                            .length = length},
                  whole.before);
        to += length;
    }
    return y;
}

/* ---- slice --------------------------------------------------------------------------------------------------- */

typedef struct place {
    rbe_along whole;
    size_t first, count;
} place;

static rbe_status slice_backward(rbe_var *self) {
    const place *p = self->context;
    float *gx = rbe_grad_zeroed(self->parents[0]);
    if (!gx) return rbe_last_status();
    const size_t length = p->count * p->whole.after;
    copy_runs((copying){.from = self->grad,
                        .to = gx + p->first * p->whole.after,
                        .from_step = length,
                        .to_step = p->whole.extent * p->whole.after,
                        .length = length,
                        .add = true},
              p->whole.before);
    return RBE_OK;
}

rbe_var *rbe_slice(rbe_var *x, int dim, size_t first, size_t count) {
    rbe_var *failed;
    place p = {.first = first, .count = count};
    if (!rbe_operands_ok("slice", &x, 1, &failed)) return failed;
    if (!rbe_look_along("slice", x, dim, &p.whole)) return &x->tape->inert;
    if (count < 1 || first >= p.whole.extent || count > p.whole.extent - first)
        return rbe_tape_fail(x, RBE_INVALID_ARGUMENT,
                             "slice: expected places within 0 .. %zu of dimension %d, found %zu from %zu on",
                             p.whole.extent - 1, p.whole.dim, count, first);
    size_t shape[RBE_MAX_DIMS];
    memcpy(shape, x->value.shape, sizeof shape);
    shape[p.whole.dim] = count;
    rbe_var *y = rbe_node("slice", &x, 1, x->value.dims, shape, RBE_FULL(slice_backward), sizeof p);
    if (!rbe_ok(y)) return y;
    *(place *)y->context = p;
    copy_runs((copying){.from = x->value.data + first * p.whole.after,
                        .to = y->value.data,
                        .from_step = p.whole.extent * p.whole.after,
                        .to_step = count * p.whole.after,
                        .length = count * p.whole.after},
              p.whole.before);
    return y;
}
