/* Attention, rotary positions and gelu_tanh against the same formulas in double precision (attention_reference.h);
 * the loops they are made of, in each instruction set; the backward pass that gives memory back. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_reference.h"
#include "base/processor.h"
#include "operation_check.h"
#include "reference.h"
#include "suites.h"
#include "tensor/exponential.h"
#include "tensor/loops.h"
#include "tensor/node.h"

/* ---- values and gradients ------------------------------------------------------------------------------------ */

typedef struct shape_case {
    rbe_tensor shape;
    size_t heads;
} shape_case;

/* A tile has 64 places. */
static const shape_case shapes[] = {
    {{NULL, 2, {1, 6}}, 1},          {{NULL, 2, {2, 12}}, 2},         {{NULL, 2, {63, 24}}, 2},
    {{NULL, 2, {64, 24}}, 4},        {{NULL, 2, {65, 24}}, 8},        {{NULL, 2, {200, 48}}, 4},
    {{NULL, 2, {128, 30}}, 5},       {{NULL, 2, {129, 3}}, 1},        {{NULL, 3, {2, 65, 36}}, 3},
    {{NULL, 3, {5, 1, 12}}, 4},      {{NULL, 3, {3, 2, 6}}, 2},       {{NULL, 3, {2, 200, 24}}, 2},
    {{NULL, 4, {2, 3, 63, 12}}, 2},  {{NULL, 4, {1, 2, 130, 18}}, 3}, {{NULL, 4, {1, 1, 1, 3}}, 1},
    {{NULL, 4, {2, 1, 64, 120}}, 1},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Values to 1e-5, gradients to 1e-4 of the reference. `uses` times, by as many operations on one variable: gradients
 * are added up. */
static void compare(const shape_case *c, double deviation, int uses) {
    const layout l = layout_of(&c->shape, c->heads);
    rbe_tensor x = new_tensor(c->shape.dims, c->shape.shape);
    const size_t count = rbe_tensor_count(&x);
    fill_normal(x.data, count, deviation, 3);
    float *g = normals(count / 3, 4);
    double *wide = widened(x.data, count), *wide_g = widened(g, count / 3);
    double *y = test_memory(count / 3, sizeof *y), *gx = test_memory(count, sizeof *gx);
    reference_attend(&l, wide, NULL, y, wide_g, gx);

    rbe_tensor weights = c->shape;
    weights.data = g;
    weights.shape[weights.dims - 1] /= 3;
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *var = rbe_variable(tape, x), *loss = NULL;
    for (int use = 0; use < uses; use++) {
        rbe_var *out = rbe_attention(var, c->heads, 0.0f);
        ck_assert_msg(rbe_tape_status(tape) == RBE_OK, "%s", rbe_tape_error(tape));
        ck_assert_int_eq(rbe_value(out)->dims, c->shape.dims);
        for (int d = 0; d < c->shape.dims; d++) ck_assert_uint_eq(rbe_value(out)->shape[d], weights.shape[d]);
        const double error = relative_error(rbe_value(out)->data, y, count / 3);
        ck_assert_msg(error < 1e-5, "shape %d, value: error %g", (int)(c - shapes), error);
        rbe_var *sum = rbe_sum(rbe_mul(out, rbe_input(tape, weights)));
        loss = loss ? rbe_add(loss, sum) : sum;
    }
    ck_assert_ok(rbe_backward(loss));
    for (size_t n = 0; n < count; n++) gx[n] *= uses;
    const double error = relative_error(rbe_grad(var), gx, count);
    ck_assert_msg(error < 1e-4, "shape %d, gradient: error %g", (int)(c - shapes), error);
    rbe_tape_free(tape);
    rbe_tensor_free(&x);
    free(g);
    free(wide);
    free(wide_g);
    free(y);
    free(gx);
}

/* Also where scores are so large that almost all of the weight is on one place. */
START_TEST(values_and_gradients) {
    compare(&shapes[_i], 1.0, 1);
    compare(&shapes[_i], 3.0, 2);
}
END_TEST

/* In inference the same bits, without gradients. */
START_TEST(inference_gives_the_same) {
    rbe_tensor x = new_tensor(shapes[_i].shape.dims, shapes[_i].shape.shape);
    fill_normal(x.data, rbe_tensor_count(&x), 1.0, 3);
    rbe_tape *tape = rbe_tape_new(NULL), *other = rbe_tape_new(&(rbe_tape_options){.inference = true});
    rbe_var *y = rbe_attention(rbe_variable(tape, x), shapes[_i].heads, 0.0f);
    rbe_var *z = rbe_attention(rbe_variable(other, x), shapes[_i].heads, 0.5f);
    ck_assert_ok(rbe_tape_status(other));
    ck_assert_mem_eq(rbe_value(y)->data, rbe_value(z)->data, rbe_tensor_count(&x) / 3 * sizeof(float));
    ck_assert(!z->needs_grad);
    rbe_tape_free(tape);
    rbe_tape_free(other);
    rbe_tensor_free(&x);
}
END_TEST

/* Scores of thousands, of which the softmax is one place exactly. */
START_TEST(large_scores) {
    enum { LENGTH = 66 };
    float x[LENGTH * 3], y[LENGTH];
    for (int t = 0; t < LENGTH; t++) {
        x[3 * t] = 100.0f;
        x[3 * t + 1] = t == 40 ? 90.0f : -90.0f;
        x[3 * t + 2] = (float)t;
        y[t] = t < 40 ? (float)t / 2.0f : 40.0f;
    }
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *var = rbe_variable(tape, rbe_tensor_2d(x, LENGTH, 3)), *out = rbe_attention(var, 1, 0.0f);
    ck_assert_ok(rbe_backward(rbe_sum(out)));
    for (int t = 0; t < LENGTH; t++) ck_assert_float_eq_tol(rbe_value(out)->data[t], y[t], 1e-4);
    ck_assert_ok(rbe_tape_check_finite(tape));
    rbe_tape_free(tape);
}
END_TEST

/* ---- finite differences -------------------------------------------------------------------------------------- */

static rbe_var *attention_of(const operation *op, rbe_var *const *x) { return rbe_attention(x[0], op->count, 0.0f); }

static rbe_tensor attention_reference(const operation *op, const rbe_tensor *shape, double *const *x, double *y) {
    const layout l = layout_of(shape, op->count);
    rbe_tensor result = *shape;
    result.shape[shape->dims - 1] /= 3;
    reference_attend(&l, x[0], NULL, y, NULL, NULL);
    return result;
}

enum { BASE = 100 };

static rbe_var *rotary_of(const operation *op, rbe_var *const *x) {
    return rbe_rotary(x[0], op->count, BASE, op->first);
}

static rbe_tensor rotary_reference(const operation *op, const rbe_tensor *shape, double *const *x, double *y) {
    const layout l = layout_of(shape, op->count);
    reference_turn(&l, BASE, op->first, x[0], y);
    return *shape;
}

#define ATTENTION .name = "attention", .call = attention_of, .reference = attention_reference, .operands = 1
#define ROTARY .name = "rotary", .call = rotary_of, .reference = rotary_reference, .operands = 1, .linear = true
#define GELU .name = "gelu_tanh", .unary = rbe_gelu_tanh, .value = reference_gelu

static const struct {
    operation op;
    rbe_tensor shape;
} small[] = {
    {{ATTENTION, .count = 1}, {NULL, 2, {1, 3}}},
    {{ATTENTION, .count = 2}, {NULL, 2, {5, 12}}},
    {{ATTENTION, .count = 1}, {NULL, 2, {70, 6}}},
    {{ATTENTION, .count = 3}, {NULL, 3, {2, 4, 9}}},
    {{ATTENTION, .count = 2}, {NULL, 4, {2, 2, 3, 12}}},
    {{ROTARY, .count = 1}, {NULL, 2, {1, 6}}},
    {{ROTARY, .count = 2, .first = 7}, {NULL, 2, {5, 24}}},
    {{ROTARY, .count = 1, .first = 3}, {NULL, 3, {2, 4, 12}}},
    {{ROTARY, .count = 3}, {NULL, 4, {2, 2, 2, 18}}},
    {{GELU}, {NULL, 1, {1}}},
    {{GELU}, {NULL, 1, {37}}},
    {{GELU}, {NULL, 2, {6, 10}}},
    {{GELU}, {NULL, 4, {2, 1, 3, 5}}},
};
enum { SMALL = sizeof small / sizeof *small };

START_TEST(against_finite_differences) {
    check_operation(&small[_i].op, &small[_i].shape);
    check_failed_operands(&small[_i].op, &small[_i].shape);
}
END_TEST

static const struct {
    operation op;
    rbe_tensor shape;
} large[] = {
    {{ATTENTION, .count = 4}, {NULL, 3, {3, 130, 48}}},
    {{ATTENTION, .count = 1}, {NULL, 2, {300, 60}}},
    {{ROTARY, .count = 4}, {NULL, 3, {7, 100, 240}}},
    {{GELU}, {NULL, 1, {200003}}},
};
enum { LARGE = sizeof large / sizeof *large };

START_TEST(threads_give_the_same_bits) { check_threads(&large[_i].op, &large[_i].shape); }
END_TEST

static rbe_var *attention_with_dropout(const operation *op, rbe_var *const *x) {
    return rbe_attention(x[0], op->count, 0.25f);
}

START_TEST(threads_drop_the_same) {
    const operation op = {.name = "dropped attention", .call = attention_with_dropout, .operands = 1, .count = 4};
    check_threads(&op, &(rbe_tensor){NULL, 3, {3, 130, 48}});
}
END_TEST

/* ---- causality ----------------------------------------------------------------------------------------------- */

/* Places from `later` on become other ones, large ones too: nothing before moves by a bit. */
START_TEST(later_places_change_nothing_before) {
    enum { LENGTH = 200, WIDTH = 16, HEADS = 4 };
    static const size_t changed[] = {1, 2, 63, 64, 65, 100, 127, 128, 199};
    const size_t later = changed[_i], count = 2 * LENGTH * 3 * WIDTH;
    float *x = normals(count, 5), *other = normals(count, 6);
    for (size_t n = 0; n < count; n++)
        if (n / (3 * WIDTH) % LENGTH < later)
            other[n] = x[n];
        else
            other[n] *= n % 5 == 0 ? 1e18f : 10.0f;
    const size_t shape[3] = {2, LENGTH, 3 * WIDTH};
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_tensor a = rbe_tensor_3d(x, shape[0], shape[1], shape[2]),
               b = rbe_tensor_3d(other, shape[0], shape[1], shape[2]);
    const float *y = rbe_value(rbe_attention(rbe_input(tape, a), HEADS, 0.0f))->data;
    const float *z = rbe_value(rbe_attention(rbe_input(tape, b), HEADS, 0.0f))->data;
    ck_assert_ok(rbe_tape_status(tape));
    for (size_t sequence = 0; sequence < 2; sequence++) {
        const float *from = y + sequence * LENGTH * WIDTH, *to = z + sequence * LENGTH * WIDTH;
        ck_assert_mem_eq(from, to, later * WIDTH * sizeof *y);
        ck_assert_mem_ne(from + later * WIDTH, to + later * WIDTH, WIDTH * sizeof *y);
    }

    /* Outputs before `later` say nothing of places from there on. */
    rbe_var *var = rbe_variable(tape, a), *out = rbe_attention(var, HEADS, 0.0f);
    ck_assert_ok(rbe_backward(rbe_sum(rbe_slice(out, 1, 0, later))));
    for (size_t n = 0; n < count; n++)
        if (n / (3 * WIDTH) % LENGTH >= later) ck_assert_float_eq(rbe_grad(var)[n], 0.0f);
    rbe_tape_free(tape);
    free(x);
    free(other);
}
END_TEST

/* Sequences and heads do not see each other. */
START_TEST(sequences_and_heads_are_apart) {
    enum { LENGTH = 70, WIDTH = 8, HEADS = 2 };
    float *x = normals(3 * LENGTH * 3 * WIDTH, 7);
    rbe_tape *tape = rbe_tape_new(NULL);
    const float *all =
        rbe_value(rbe_attention(rbe_input(tape, rbe_tensor_3d(x, 3, LENGTH, 3 * WIDTH)), HEADS, 0.0f))->data;
    for (size_t sequence = 0; sequence < 3; sequence++) {
        float *part = x + sequence * LENGTH * 3 * WIDTH;
        const float *y =
            rbe_value(rbe_attention(rbe_input(tape, rbe_tensor_2d(part, LENGTH, 3 * WIDTH)), HEADS, 0.0f))->data;
        ck_assert_mem_eq(y, all + sequence * LENGTH * WIDTH, LENGTH * WIDTH * sizeof *y);
    }
    /* The first head alone, of half the width. */
    float half[LENGTH * 3 * WIDTH / 2];
    for (size_t row = 0; row < LENGTH; row++)
        for (size_t part = 0; part < 3; part++)
            memcpy(half + (row * 3 + part) * WIDTH / 2, x + (row * 3 + part) * WIDTH, WIDTH / 2 * sizeof *half);
    const float *y =
        rbe_value(rbe_attention(rbe_input(tape, rbe_tensor_2d(half, LENGTH, 3 * WIDTH / 2)), 1, 0.0f))->data;
    for (size_t row = 0; row < LENGTH; row++)
        ck_assert_double_lt(relative_difference(y + row * WIDTH / 2, all + row * WIDTH, WIDTH / 2), 1e-6);
    rbe_tape_free(tape);
    free(x);
}
END_TEST

/* ---- dropout ------------------------------------------------------------------------------------------------- */

enum { DROP_SEQUENCES = 2, DROP_LENGTH = 70, DROP_HEADS = 2, DROP_WIDTH = DROP_LENGTH * DROP_HEADS };
static const rbe_tensor drop_shape = {NULL, 3, {DROP_SEQUENCES, DROP_LENGTH, 3 * DROP_WIDTH}};
enum { MASKS = DROP_SEQUENCES * DROP_HEADS * DROP_LENGTH * DROP_LENGTH };

/* The factors of dropout that a tape draws next. Queries are 0, so that place i gives 1 / (i + 1) to each place; values
 * are unit vectors, so that the result shows what became of it. */
static double *masks_of(rbe_tape *tape, float probability) {
    rbe_tensor x = new_tensor(drop_shape.dims, drop_shape.shape);
    const layout l = layout_of(&drop_shape, DROP_HEADS);
    for (size_t s = 0; s < l.sequences; s++)
        for (size_t j = 0; j < l.length; j++)
            for (size_t h = 0; h < l.heads; h++) x.data[at(&l, s, j, 2, h) + j] = 1.0f;
    const float *y = rbe_value(rbe_attention(rbe_input(tape, x), DROP_HEADS, probability))->data;
    ck_assert_ok(rbe_tape_status(tape));
    double *masks = test_memory(MASKS, sizeof *masks);
    for (size_t task = 0; task < l.sequences * l.heads; task++)
        for (size_t i = 0; i < l.length; i++)
            for (size_t j = 0; j <= i; j++) {
                const size_t row = (task / l.heads * l.length + i) * l.width + task % l.heads * l.head;
                masks[(task * l.length + i) * l.length + j] = (double)(i + 1) * (double)y[row + j];
            }
    rbe_tensor_free(&x);
    return masks;
}

/* Masks are 0 or 1 / (1 - p), the right share of them; those of another head, sequence, draw or seed are others. */
START_TEST(masks_are_random) {
    static const float probabilities_of_dropout[] = {0.1f, 0.5f, 0.9f};
    const float p = probabilities_of_dropout[_i];
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.seed = 5});
    ck_assert_uint_eq(rbe_tape_draws(tape), 0);
    double *masks = masks_of(tape, p);
    ck_assert_uint_eq(rbe_tape_draws(tape), 1);
    double *next = masks_of(tape, p);
    rbe_tape_set_draws(tape, 0);
    double *again = masks_of(tape, p);
    ck_assert_mem_eq(masks, again, MASKS * sizeof *masks);
    rbe_tape *of_other_seed = rbe_tape_new(&(rbe_tape_options){.seed = 6});
    double *other = masks_of(of_other_seed, p);

    const size_t per_task = DROP_LENGTH * DROP_LENGTH;
    size_t kept = 0, drawn = 0, alike[4] = {0};
    for (size_t n = 0; n < MASKS; n++) {
        if (n % DROP_LENGTH > n / DROP_LENGTH % DROP_LENGTH) continue;
        const bool here = masks[n] != 0.0;
        ck_assert_double_eq_tol(masks[n], here ? 1.0 / (1.0 - (double)p) : 0.0, 1e-4);
        kept += here;
        drawn++;
        alike[0] += here == (next[n] != 0.0);
        alike[1] += here == (other[n] != 0.0);
        alike[2] += here == (masks[(n + per_task) % MASKS] != 0.0);     /* of the next head */
        alike[3] += here == (masks[(n + 2 * per_task) % MASKS] != 0.0); /* of the next sequence */
    }
    const double share = (double)kept / (double)drawn, q = (double)p, expected = q * q + (1.0 - q) * (1.0 - q);
    ck_assert_double_eq_tol(share, 1.0 - q, 5.0 * sqrt(q * (1.0 - q) / (double)drawn));
    for (int k = 0; k < 4; k++)
        ck_assert_msg(fabs((double)alike[k] / (double)drawn - expected) < 6.0 * sqrt(0.25 / (double)drawn),
                      "pair %d: %g of the masks are alike, expected %g", k, (double)alike[k] / (double)drawn, expected);
    free(masks);
    free(next);
    free(again);
    free(other);
    rbe_tape_free(tape);
    rbe_tape_free(of_other_seed);
}
END_TEST

/* The masks of the forward pass, in the formula, give the values and the gradients: the backward pass has the same. */
START_TEST(dropout_values_and_gradients) {
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.seed = 8});
    double *masks = masks_of(tape, 0.3f);
    rbe_tape_set_draws(tape, 0);
    const layout l = layout_of(&drop_shape, DROP_HEADS);
    rbe_tensor x = new_tensor(drop_shape.dims, drop_shape.shape), g = drop_shape;
    const size_t count = rbe_tensor_count(&x);
    fill_normal(x.data, count, 0.5, 9);
    g.shape[2] /= 3;
    g.data = normals(count / 3, 10);
    rbe_var *var = rbe_variable(tape, x), *out = rbe_attention(var, DROP_HEADS, 0.3f);
    ck_assert_ok(rbe_backward(rbe_sum(rbe_mul(out, rbe_input(tape, g)))));
    double *wide = widened(x.data, count), *wide_g = widened(g.data, count / 3);
    double *y = test_memory(count / 3, sizeof *y), *gx = test_memory(count, sizeof *gx);
    reference_attend(&l, wide, masks, y, wide_g, gx);
    ck_assert_double_lt(relative_error(rbe_value(out)->data, y, count / 3), 1e-4);
    ck_assert_double_lt(relative_error(rbe_grad(var), gx, count), 1e-4);
    free(masks);
    free(g.data);
    free(wide);
    free(wide_g);
    free(y);
    free(gx);
    rbe_tensor_free(&x);
    rbe_tape_free(tape);
}
END_TEST

/* On average dropout changes nothing. */
START_TEST(dropout_on_average) {
    enum { LENGTH = 12, WIDTH = 8, RUNS = 4000 };
    float x[LENGTH * 3 * WIDTH];
    double sum[LENGTH * WIDTH] = {0};
    fill_normal(x, LENGTH * 3 * WIDTH, 1.0, 11);
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.seed = 1});
    for (int run = 0; run < RUNS; run++) {
        const float *y = rbe_value(rbe_attention(rbe_input(tape, rbe_tensor_2d(x, LENGTH, 3 * WIDTH)), 2, 0.4f))->data;
        for (size_t n = 0; n < LENGTH * WIDTH; n++) sum[n] += (double)y[n] / RUNS;
        rbe_tape_reset(tape);
    }
    const float *y = rbe_value(rbe_attention(rbe_input(tape, rbe_tensor_2d(x, LENGTH, 3 * WIDTH)), 2, 0.0f))->data;
    ck_assert_double_lt(relative_error(y, sum, LENGTH * WIDTH),
                        0.03);                     /* one run deviates by about 0.8: of 4000, 0.013 */
    ck_assert_uint_eq(rbe_tape_draws(tape), RUNS); /* without dropout nothing is drawn */
    rbe_tape_free(tape);
}
END_TEST

/* ---- rotary positions ---------------------------------------------------------------------------------------- */

enum { TURNS = 9, TURN_HEADS = 2, TURN_WIDTH = 24 };

static const float *turned(rbe_tape *tape, float *x, size_t places, double base, size_t first) {
    rbe_var *y = rbe_rotary(rbe_input(tape, rbe_tensor_2d(x, places, 3 * TURN_WIDTH)), TURN_HEADS, base, first);
    ck_assert_msg(rbe_tape_status(tape) == RBE_OK, "%s", rbe_tape_error(tape));
    return rbe_value(y)->data;
}

/* Angles are exact far from the beginning, too. */
START_TEST(turned_by_their_places) {
    static const struct {
        double base;
        size_t first;
    } cases[] = {{10000, 0}, {10000, 1000}, {10000, 10000000}, {1.5, 3}, {1e6, 123456}, {500000, 1}};
    float x[TURNS * 3 * TURN_WIDTH];
    double y[TURNS * 3 * TURN_WIDTH];
    fill_normal(x, TURNS * 3 * TURN_WIDTH, 1.0, 12);
    double *wide = widened(x, TURNS * 3 * TURN_WIDTH);
    const layout l = {1, TURNS, TURN_HEADS, TURN_WIDTH, TURN_WIDTH / TURN_HEADS};
    rbe_tape *tape = rbe_tape_new(NULL);
    reference_turn(&l, cases[_i].base, cases[_i].first, wide, y);
    const float *found = turned(tape, x, TURNS, cases[_i].base, cases[_i].first);
    ck_assert_double_lt(relative_error(found, y, TURNS * 3 * TURN_WIDTH), 1e-6);
    for (size_t row = 0; row < TURNS; row++)
        ck_assert_mem_eq(found + (3 * row + 2) * TURN_WIDTH, x + (3 * row + 2) * TURN_WIDTH, TURN_WIDTH * sizeof *x);
    if (cases[_i].first == 0) ck_assert_mem_eq(found, x, 3 * TURN_WIDTH * sizeof *x);
    free(wide);
    rbe_tape_free(tape);
}
END_TEST

/* Products of queries and keys are those of other places as far from each other. */
START_TEST(products_depend_on_distance) {
    static const size_t shifts[] = {1, 17, 1000, 40000};
    float x[TURNS * 3 * TURN_WIDTH];
    fill_normal(x, TURNS * 3 * TURN_WIDTH, 1.0, 13);
    rbe_tape *tape = rbe_tape_new(NULL);
    const float *here = turned(tape, x, TURNS, 10000, 0), *there = turned(tape, x, TURNS, 10000, shifts[_i]);
    const layout l = {1, TURNS, TURN_HEADS, TURN_WIDTH, TURN_WIDTH / TURN_HEADS};
    double *a = widened(here, TURNS * 3 * TURN_WIDTH), *b = widened(there, TURNS * 3 * TURN_WIDTH);
    ck_assert_mem_ne(here, there, TURN_WIDTH * sizeof *here);
    for (size_t i = 0; i < TURNS; i++)
        for (size_t j = 0; j < TURNS; j++)
            for (size_t h = 0; h < TURN_HEADS; h++)
                ck_assert_double_eq_tol(inner(a + at(&l, 0, i, 0, h), a + at(&l, 0, j, 1, h), l.head),
                                        inner(b + at(&l, 0, i, 0, h), b + at(&l, 0, j, 1, h), l.head), 1e-5);
    free(a);
    free(b);
    rbe_tape_free(tape);
}
END_TEST

/* The gradient turns back: that of y . y / 2 is x. A sequence in two pieces is turned as the whole. */
START_TEST(turned_back_and_in_pieces) {
    enum { COUNT = TURNS * 3 * TURN_WIDTH };
    float x[COUNT];
    fill_normal(x, COUNT, 1.0, 14);
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *var = rbe_variable(tape, rbe_tensor_2d(x, TURNS, 3 * TURN_WIDTH)), *y = rbe_rotary(var, TURN_HEADS, 77, 5);
    ck_assert_ok(rbe_backward(rbe_scale(rbe_sum(rbe_mul(y, y)), 0.5f)));
    ck_assert_double_lt(relative_difference(rbe_grad(var), x, COUNT), 1e-6);
    for (size_t first = 1; first < TURNS; first++) {
        const float *before = turned(tape, x, first, 77, 5);
        const float *after = turned(tape, x + first * 3 * TURN_WIDTH, TURNS - first, 77, 5 + first);
        ck_assert_mem_eq(before, rbe_value(y)->data, first * 3 * TURN_WIDTH * sizeof *x);
        ck_assert_mem_eq(after, rbe_value(y)->data + first * 3 * TURN_WIDTH,
                         (TURNS - first) * 3 * TURN_WIDTH * sizeof *x);
    }
    rbe_tape_free(tape);
}
END_TEST

/* ---- gelu_tanh ----------------------------------------------------------------------------------------------- */

/* Against tanh in double, and within 5e-4 of gelu; both everywhere, and so the derivative. */
START_TEST(gelu_everywhere) {
    enum { COUNT = 40001 };
    static float x[COUNT];
    for (int n = 0; n < COUNT; n++) x[n] = (float)(n - COUNT / 2) * 5e-4f;
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *var = rbe_variable(tape, rbe_tensor_1d(x, COUNT)), *y = rbe_gelu_tanh(var), *exact = rbe_gelu(var);
    ck_assert_ok(rbe_backward(rbe_sum(y)));
    for (int n = 0; n < COUNT; n++) {
        const double v = (double)x[n], h = 1e-5, found = (double)rbe_value(y)->data[n];
        ck_assert_double_eq_tol(found, reference_gelu(v), 1e-6 * fmax(1.0, fabs(v)));
        ck_assert_double_eq_tol(found, (double)rbe_value(exact)->data[n], 5e-4);
        ck_assert_double_eq_tol((double)rbe_grad(var)[n], (reference_gelu(v + h) - reference_gelu(v - h)) / (2.0 * h),
                                1e-5);
    }
    rbe_tape_free(tape);
}
END_TEST

/* Far away it is x or 0, and its derivative 1 or 0; a NaN stays one. (The sigmoid inside ends at 6e-39 and not at 0:
 * below -1e12 the derivative is off, beyond 1e19 it is a NaN. A net with such values has diverged.) */
START_TEST(gelu_far_away) {
    static const float far[] = {12.0f, 30.0f, 1e3f, 1e4f, 1e6f, 1e10f};
    enum { FAR = sizeof far / sizeof *far };
    float x[2 * FAR + 1];
    for (int n = 0; n < FAR; n++) {
        x[2 * n] = far[n];
        x[2 * n + 1] = -far[n];
    }
    x[2 * FAR] = NAN;
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *var = rbe_variable(tape, rbe_tensor_1d(x, 2 * FAR + 1)), *y = rbe_gelu_tanh(var);
    ck_assert_ok(rbe_backward(rbe_sum(y)));
    for (int n = 0; n < 2 * FAR; n++) {
        const float expected = x[n] > 0.0f ? x[n] : 0.0f, slope = x[n] > 0.0f;
        ck_assert_msg(fabsf(rbe_value(y)->data[n] - expected) <= 1e-20f, "gelu_tanh(%g) = %g", (double)x[n],
                      (double)rbe_value(y)->data[n]);
        ck_assert_msg(fabsf(rbe_grad(var)[n] - slope) <= 1e-8f, "gelu_tanh'(%g) = %g", (double)x[n],
                      (double)rbe_grad(var)[n]);
    }
    ck_assert(isnan(rbe_value(y)->data[2 * FAR]) && isnan(rbe_grad(var)[2 * FAR]));
    rbe_tape_free(tape);
}
END_TEST

/* ---- loops --------------------------------------------------------------------------------------------------- */

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* To 2 units in the last place of the float, against exp in double: a sample of all floats between -87 and 88, and
 * those around the changes of the power of 2. */
static double units_of_error(float x) {
    const double expected = exp((double)x), unit = ldexp(1.0, ilogb(expected) - 23);
    return fabs((double)rbe_exponential(x) - expected) / unit;
}

START_TEST(exponentials_are_exact) {
    const uint32_t end = 0x42b00000; /* 88 */
    double worst = 0.0;
    for (uint32_t bits = 0; bits <= end; bits += 311)
        for (uint32_t sign = 0; sign < 2; sign++)
            if (float_of(bits | sign << 31) >= -87.0f) worst = fmax(worst, units_of_error(float_of(bits | sign << 31)));
    for (int n = -125; n <= 126; n++) {
        float x = (float)((n + 0.5) * M_LN2);
        for (int step = -200; step < 200; step++)
            worst = fmax(worst, units_of_error(x + (float)step * 1e-6f * fabsf(x)));
    }
    ck_assert_msg(worst <= 2.0, "%g units in the last place", worst);
    ck_assert_float_eq(rbe_exponential(0.0f), 1.0f);
    ck_assert_float_eq(rbe_exponential(-1e30f), rbe_exponential(-87.0f));
    ck_assert_float_eq(rbe_exponential(-INFINITY), rbe_exponential(-87.0f));
    ck_assert_float_eq(rbe_exponential(INFINITY), rbe_exponential(88.0f));
    ck_assert(isnan(rbe_exponential(NAN)));
}
END_TEST

enum { LOOP_ROOM = 300 };

/* Random numbers of all sizes, and at some places special ones. */
static void fill_loop(float *x, size_t count, bool special, uint64_t seed) {
    static const float odd[] = {0.0f, -0.0f, 1e-45f, -1e-40f, 3e38f,   -3e38f, INFINITY, -INFINITY,
                                NAN,  87.5f, -87.5f, 88.5f,   -100.0f, 1e20f,  -1e20f};
    rbe_rng *rng = rbe_rng_new(seed, 0);
    for (size_t n = 0; n < count; n++) {
        x[n] = (float)(rbe_rng_normal(rng) * exp(3.0 * rbe_rng_normal(rng)));
        if (special && rbe_rng_uniform(rng) < 0.2)
            x[n] = odd[(size_t)(rbe_rng_uniform(rng) * (double)(sizeof odd / sizeof *odd))];
    }
    rbe_rng_free(rng);
}

/* The same bits; a NaN is a NaN. */
static void same_floats(const float *a, const float *b, size_t count, const char *what, size_t of) {
    for (size_t n = 0; n < count; n++)
        ck_assert_msg(memcmp(a + n, b + n, sizeof *a) == 0 || (isnan(a[n]) && isnan(b[n])),
                      "%s of %zu: value %zu is %.9g, expected %.9g", what, of, n, (double)b[n], (double)a[n]);
}

typedef struct loop_results {
    float gelu[LOOP_ROOM], chain[LOOP_ROOM], chain_added[LOOP_ROOM], exponentials[LOOP_ROOM], added[LOOP_ROOM];
    float sum, dot;
} loop_results;

static loop_results run_loops(const rbe_loops *loops, const float *x, const float *g, size_t count) {
    loop_results r = {0};
    loops->gelu(x, r.gelu, count);
    loops->gelu_chain(g, x, r.chain, false, count);
    memcpy(r.chain_added, x, count * sizeof *x);
    loops->gelu_chain(g, x, r.chain_added, true, count);
    memcpy(r.exponentials, x, count * sizeof *x);
    r.sum = loops->exponentials(r.exponentials, 0.75f, count);
    r.dot = loops->dot(x, g, count);
    memcpy(r.added, x, count * sizeof *x);
    loops->add_scaled(r.added, -0.7f, g, count);
    return r;
}

/* Each instruction set, at places of any alignment, gives the bits of the portable loops. */
START_TEST(instruction_sets_agree) {
    const rbe_loops *sets[2];
    size_t count = 0;
#if defined(__x86_64__)
    if (rbe_processor_has_avx2()) sets[count++] = &rbe_loops_avx2;
    if (rbe_processor_has_avx512()) sets[count++] = &rbe_loops_avx512;
#endif
    float x[LOOP_ROOM + 16], g[LOOP_ROOM + 16];
    for (size_t length = 0; length <= LOOP_ROOM; length += length < 70 ? 1 : 23) {
        const size_t offset = length % 13;
        fill_loop(x, LOOP_ROOM + 16, _i, length);
        fill_loop(g, LOOP_ROOM + 16, _i, 1000 + length);
        const loop_results expected = run_loops(&rbe_loops_portable, x + offset, g + offset, length);
        for (size_t n = 0; n < count; n++) {
            const loop_results found = run_loops(sets[n], x + offset, g + offset, length);
            same_floats(expected.gelu, found.gelu, length, "gelu", length);
            same_floats(expected.chain, found.chain, length, "gelu_chain", length);
            same_floats(expected.chain_added, found.chain_added, length, "gelu_chain, added", length);
            same_floats(expected.exponentials, found.exponentials, length, "exponentials", length);
            same_floats(expected.added, found.added, length, "add_scaled", length);
            same_floats(&expected.sum, &found.sum, 1, "sum of exponentials", length);
            same_floats(&expected.dot, &found.dot, 1, "dot", length);
        }
    }
}
END_TEST

/* What they compute, in double. */
START_TEST(loops_compute_what_they_say) {
    float x[LOOP_ROOM], g[LOOP_ROOM];
    for (size_t length = 0; length <= LOOP_ROOM; length += 1 + length / 5) {
        fill_normal(x, LOOP_ROOM, 1.5, 20 + length);
        fill_normal(g, LOOP_ROOM, 1.0, 40 + length);
        const loop_results r = run_loops(rbe_loops_here(), x, g, length);
        double sum = 0.0, product = 0.0, size = 0.0;
        for (size_t n = 0; n < length; n++) {
            const double v = (double)x[n], h = 1e-5,
                         slope = (reference_gelu(v + h) - reference_gelu(v - h)) / (2.0 * h);
            ck_assert_double_eq_tol((double)r.gelu[n], reference_gelu(v), 2e-6);
            ck_assert_double_eq_tol((double)r.chain[n], (double)g[n] * slope, 1e-5);
            ck_assert_double_eq_tol((double)r.chain_added[n], v + (double)g[n] * slope, 1e-5);
            ck_assert_double_eq_tol((double)r.exponentials[n] / exp(v - 0.75), 1.0, 1e-6);
            ck_assert_double_eq_tol((double)r.added[n], v - 0.7 * (double)g[n], 1e-6 * (1.0 + fabs(v)));
            sum += exp(v - 0.75);
            product += v * (double)g[n];
            size += fabs(v * (double)g[n]);
        }
        ck_assert_double_le(fabs((double)r.sum - sum), 1e-6 * sum);
        ck_assert_double_le(fabs((double)r.dot - product), 1e-6 * size);
    }
}
END_TEST

/* ---- a backward pass that gives memory back ------------------------------------------------------------------ */

enum { CHAIN = 12, CHAIN_ROWS = 40, CHAIN_WIDTH = 24 };

/* A chain of operations with branches that meet again, of equal and unequal sizes, on one leaf that is used
 * everywhere. */
static rbe_var *chain_of_operations(rbe_tape *tape, rbe_param *params, rbe_var *leaf) {
    const size_t square[2] = {CHAIN_WIDTH, CHAIN_WIDTH};
    rbe_var *x = leaf;
    for (int n = 0; n < CHAIN; n++) {
        rbe_var *w = rbe_parameter(tape, &params[n % 3], 2, square), *y = rbe_matmul(x, false, w, n % 2);
        if (n % 4 == 0) y = rbe_gelu_tanh(rbe_layer_norm(y, NULL, NULL, 1e-5f));
        if (n % 4 == 1) y = rbe_dropout(rbe_add(y, x), 0.2f);
        if (n % 4 == 2) {
            rbe_var *wide[3] = {y, rbe_tanh(y), x};
            y = rbe_attention(rbe_rotary(rbe_concatenate(wide, 3, 1), 2, 50, 0), 2, 0.1f);
        }
        if (n % 4 == 3)
            y = rbe_mul(rbe_sigmoid(y),
                        rbe_slice(rbe_permute(rbe_permute(y, (int[]){1, 0}), (int[]){1, 0}), 0, 0, CHAIN_ROWS));
        x = rbe_add(rbe_add(y, x), rbe_scale(leaf, 0.1f));
    }
    return rbe_add(rbe_sum(rbe_mul(x, x)), rbe_mean(rbe_abs(leaf)));
}

typedef struct chain_result {
    float grads[4][CHAIN_ROWS * CHAIN_WIDTH]; /* of three parameters and the leaf */
    size_t bytes;                             /* of the tape */
} chain_result;

static void run_chain(rbe_status (*backward)(rbe_var *), chain_result *r) {
    rbe_param params[3] = {0};
    float *values[3], *x = normals(CHAIN_ROWS * CHAIN_WIDTH, 30);
    for (int n = 0; n < 3; n++) {
        values[n] = normals(CHAIN_WIDTH * CHAIN_WIDTH, 31 + (uint64_t)n);
        for (size_t k = 0; k < CHAIN_WIDTH * CHAIN_WIDTH; k++) values[n][k] *= 0.2f;
        params[n] = (rbe_param){.value = values[n], .count = CHAIN_WIDTH * CHAIN_WIDTH, .lr_scale = 1.0f};
    }
    memset(r, 0, sizeof *r);
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.seed = 2});
    rbe_var *leaf = rbe_variable(tape, rbe_tensor_2d(x, CHAIN_ROWS, CHAIN_WIDTH));
    ck_assert_ok(backward(chain_of_operations(tape, params, leaf)));
    r->bytes = tape->arena.used;
    for (int n = 0; n < 3; n++) memcpy(r->grads[n], params[n].grad, CHAIN_WIDTH * CHAIN_WIDTH * sizeof(float));
    memcpy(r->grads[3], rbe_grad(leaf), CHAIN_ROWS * CHAIN_WIDTH * sizeof(float));
    rbe_tape_free(tape);
    for (int n = 0; n < 3; n++) {
        rbe_param_clear(&params[n]);
        free(values[n]);
    }
    free(x);
}

START_TEST(a_frugal_backward_gives_the_same) {
    static chain_result full, frugal;
    run_chain(rbe_backward, &full);
    run_chain(rbe_backward_frugal, &frugal);
    ck_assert_mem_eq(full.grads, frugal.grads, sizeof full.grads);
    ck_assert_float_ne(full.grads[3][0], 0.0f);
    ck_assert_msg((double)frugal.bytes < 0.75 * (double)full.bytes, "%zu bytes, %zu with all gradients", frugal.bytes,
                  full.bytes);
}
END_TEST

/* Gradients of leaves stay, those of others are not shown; a full one afterwards shows all again. */
START_TEST(a_frugal_backward_keeps_leaves) {
    float x[6] = {1, -2, 3, -4, 5, -6};
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *leaf = rbe_variable(tape, rbe_tensor_1d(x, 6)), *y = rbe_abs(leaf), *loss = rbe_sum(y);
    for (int pass = 0; pass < 3; pass++) {
        const bool frugal = pass != 1;
        ck_assert_ok(frugal ? rbe_backward_frugal(loss) : rbe_backward(loss));
        for (int n = 0; n < 6; n++) ck_assert_float_eq(rbe_grad(leaf)[n], x[n] > 0.0f ? 1.0f : -1.0f);
        ck_assert_int_eq(rbe_grad(y) == NULL, frugal);
    }
    ck_assert_int_eq(rbe_backward_frugal(NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_backward_frugal(y), RBE_INVALID_ARGUMENT);
    rbe_tape_free(tape);
}
END_TEST

/* ---- failures ------------------------------------------------------------------------------------------------ */

static rbe_status step(rbe_tape *tape) {
    static float x[2 * 70 * 24];
    for (size_t n = 0; n < sizeof x / sizeof *x; n++) x[n] = (float)(n % 17) / 8.0f - 1.0f;
    rbe_var *qkv = rbe_gelu_tanh(rbe_variable(tape, rbe_tensor_3d(x, 2, 70, 24)));
    return rbe_backward(rbe_sum(rbe_attention(rbe_rotary(qkv, 2, 10000, 0), 2, 0.1f)));
}

START_TEST(allocations_that_fail) { ck_assert_uint_ge(fail_each_allocation_of_step(step), 3); }
END_TEST

static const struct {
    rbe_tensor shape;
    size_t heads;
    double parameter; /* dropout, or base */
    bool rotary;
    rbe_status status;
    const char *text;
} refused[] = {
    {{NULL, 1, {12}}, 2, 0, false, RBE_INPUT_DIMENSION_MISMATCH, "found (12)"},
    {{NULL, 2, {4, 12}}, 0, 0, false, RBE_INPUT_DIMENSION_MISMATCH, "0 heads"},
    {{NULL, 2, {4, 13}}, 1, 0, false, RBE_INPUT_DIMENSION_MISMATCH, "found (4, 13)"},
    {{NULL, 2, {4, 12}}, 3, 0, false, RBE_INPUT_DIMENSION_MISMATCH, "multiple of 3 heads"},
    {{NULL, 3, {2, 4, 12}}, 8, 0, false, RBE_INPUT_DIMENSION_MISMATCH, "found (2, 4, 12)"},
    {{NULL, 2, {4, 12}}, (size_t)-1, 0, false, RBE_INPUT_DIMENSION_MISMATCH, "attention: "},
    {{NULL, 2, {4, 12}}, 2, 1, false, RBE_INVALID_ARGUMENT, "0 <= p < 1, found 1"},
    {{NULL, 2, {4, 12}}, 2, -0.5, false, RBE_INVALID_ARGUMENT, "found -0.5"},
    {{NULL, 2, {4, 12}}, 2, NAN, false, RBE_INVALID_ARGUMENT, "found nan"},
    {{NULL, 1, {12}}, 2, 10, true, RBE_INPUT_DIMENSION_MISMATCH, "rotary: "},
    {{NULL, 2, {4, 12}}, 0, 10, true, RBE_INPUT_DIMENSION_MISMATCH, "0 heads"},
    {{NULL, 2, {4, 12}}, 4, 10, true, RBE_INPUT_DIMENSION_MISMATCH, "even multiple of 4 heads"},
    {{NULL, 2, {4, 14}}, 1, 10, true, RBE_INPUT_DIMENSION_MISMATCH, "found (4, 14)"},
    {{NULL, 2, {4, 12}}, ((size_t)-1 >> 1) + 1, 10, true, RBE_INPUT_DIMENSION_MISMATCH, "rotary: "},
    {{NULL, 2, {4, 12}}, 2, 1, true, RBE_INVALID_ARGUMENT, "base > 1, found 1"},
    {{NULL, 2, {4, 12}}, 2, NAN, true, RBE_INVALID_ARGUMENT, "found nan"},
    {{NULL, 2, {4, 12}}, 2, INFINITY, true, RBE_INVALID_ARGUMENT, "found inf"},
};
enum { REFUSED = sizeof refused / sizeof *refused };

START_TEST(bad_shapes_are_refused) {
    float values[96] = {0};
    rbe_tensor x = refused[_i].shape;
    x.data = values;
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *var = rbe_variable(tape, x);
    rbe_var *y = refused[_i].rotary ? rbe_rotary(var, refused[_i].heads, refused[_i].parameter, 0)
                                    : rbe_attention(var, refused[_i].heads, (float)refused[_i].parameter);
    ck_assert(!rbe_ok(y));
    ck_assert_msg(rbe_tape_status(tape) == refused[_i].status, "%s: %s", rbe_status_name(rbe_tape_status(tape)),
                  rbe_tape_error(tape));
    ck_assert_msg(strstr(rbe_tape_error(tape), refused[_i].text) != NULL, "%s", rbe_tape_error(tape));
    rbe_tape_free(tape);
}
END_TEST

Suite *attention_suite(void) {
    Suite *suite = suite_create("attention");
    TCase *values = tcase_create("values");
    tcase_add_loop_test(values, values_and_gradients, 0, SHAPES);
    tcase_add_loop_test(values, inference_gives_the_same, 0, SHAPES);
    tcase_add_test(values, large_scores);
    tcase_add_loop_test(values, against_finite_differences, 0, SMALL);
    tcase_add_loop_test(values, threads_give_the_same_bits, 0, LARGE);
    tcase_add_test(values, threads_drop_the_same);
    tcase_add_loop_test(values, later_places_change_nothing_before, 0, 9);
    tcase_add_test(values, sequences_and_heads_are_apart);
    suite_add_tcase(suite, values);
    TCase *dropout = tcase_create("dropout");
    tcase_add_loop_test(dropout, masks_are_random, 0, 3);
    tcase_add_test(dropout, dropout_values_and_gradients);
    tcase_add_test(dropout, dropout_on_average);
    suite_add_tcase(suite, dropout);
    TCase *rotary = tcase_create("rotary");
    tcase_add_loop_test(rotary, turned_by_their_places, 0, 6);
    tcase_add_loop_test(rotary, products_depend_on_distance, 0, 4);
    tcase_add_test(rotary, turned_back_and_in_pieces);
    suite_add_tcase(suite, rotary);
    TCase *loops = tcase_create("loops");
    tcase_add_test(loops, gelu_everywhere);
    tcase_add_test(loops, gelu_far_away);
    tcase_add_test(loops, exponentials_are_exact);
    tcase_add_loop_test(loops, instruction_sets_agree, 0, 2);
    tcase_add_test(loops, loops_compute_what_they_say);
    suite_add_tcase(suite, loops);
    TCase *frugal = tcase_create("frugal");
    tcase_add_test(frugal, a_frugal_backward_gives_the_same);
    tcase_add_test(frugal, a_frugal_backward_keeps_leaves);
    suite_add_tcase(suite, frugal);
    TCase *failures = tcase_create("failures");
    tcase_add_test(failures, allocations_that_fail);
    tcase_add_loop_test(failures, bad_shapes_are_refused, 0, REFUSED);
    suite_add_tcase(suite, failures);
    return suite;
}
