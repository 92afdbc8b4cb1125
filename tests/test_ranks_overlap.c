/* Gradients that are summed while the backward pass goes on: that they are, that nothing is added to them any more, that
 * bits do not depend on it, and what happens when a rank fails meanwhile. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "nn/model.h"
#include "nn/param.h"
#include "rank_support.h"
#include "rbe/gpt.h"
#include "reference.h"
#include "support.h"
#include "tensor/node.h"

/* ---- how far a backward pass has come ------------------------------------------------------------------------ */

enum { ROWS = 6, MOST_TELLS = 64 };

/* What the watch of a pass was told, and the gradients from there on as they were then. */
typedef struct told {
    const rbe_model *model;
    uintptr_t reach[MOST_TELLS];
    float *copy[MOST_TELLS];
    size_t count;
} told;

static const char *end_of(const rbe_model *model) {
    return (const char *)model->gradients + rbe_alloc_bytes(model->gradients);
}

static size_t bytes_from(const rbe_model *model, uintptr_t reach) {
    const uintptr_t end = (uintptr_t)end_of(model), begin = (uintptr_t)model->gradients;
    return reach < begin ? end - begin : reach < end ? end - reach : 0;
}

static rbe_status begin_pass(void *user) {
    ((told *)user)->count = 0;
    return RBE_OK;
}

static void tell(void *user, uintptr_t reach) {
    told *t = user;
    const size_t size = bytes_from(t->model, reach);
    ck_assert_uint_lt(t->count, MOST_TELLS);
    t->reach[t->count] = reach;
    t->copy[t->count] = test_memory(size + 1, 1);
    memcpy(t->copy[t->count++], end_of(t->model) - size, size);
}

/* An operation without a parameter of its own, whose backward adds to one of a layer that comes later, and so is done
 * sooner. */
static rbe_status spoil_backward(rbe_var *self) {
    bool add;
    float *gx = rbe_grad_target(self->parents[0], &add);
    rbe_param *param = (rbe_param *)self->context_pointer;
    if (!gx) return rbe_last_status();
    for (size_t n = 0; n < rbe_tensor_count(&self->value); n++) gx[n] = (add ? gx[n] : 0.0f) + self->grad[n];
    for (size_t n = 0; n < param->count; n++) param->grad[n] += 1.0f;
    return RBE_OK;
}

static rbe_var *spoil(void *param, rbe_var *x) {
    rbe_var *y = rbe_node_like("spoil", x, spoil_backward, 0);
    if (!rbe_ok(y)) return y;
    memcpy(y->value.data, x->value.data, rbe_tensor_count(&x->value) * sizeof(float));
    y->context_pointer = param;
    rbe_var *z = rbe_relu(y);
    rbe_node_has_parameters(y); /* only now */
    return z;
}

/* A parameter of another layer as an operand. */
static rbe_var *scaled_by_bias(void *param, rbe_var *x) {
    const size_t width = FEATURES;
    return rbe_mul(x, rbe_parameter(x->tape, param, 1, &width));
}

static rbe_model *chain(rbe_var *(*between)(void *param, rbe_var *x)) {
    rbe_model *model = rbe_model_new();
    rbe_layer *last = rbe_dense_new(FEATURES, FEATURES, &(rbe_dense_options){.seed = 9});
    rbe_model_add(model, rbe_dense_new(FEATURES, FEATURES, &(rbe_dense_options){.seed = 7}));
    rbe_model_apply_function(model, between, rbe_layer_param(last, 1));
    rbe_model_add(model, rbe_dense_new(FEATURES, FEATURES, &(rbe_dense_options){.seed = 8}));
    rbe_model_add(model, last);
    return model;
}

static rbe_model *make_dense(void) { return make_model(DENSE, 0.1f, CLASSES); }
static rbe_model *make_compressed(void) { return make_model(COMPRESSED, 0.1f, CLASSES); }
static rbe_model *make_nested(void) { return make_model(NESTED, 0.1f, CLASSES); }
/* Six block rows, each a group: told in four parts of a group or two. */
static rbe_model *make_grouped(void) {
    rbe_model *model = rbe_model_new();
    for (uint64_t n = 0; n < 2; n++)
        rbe_model_add(model, rbe_linear_new(n ? 48 : FEATURES, n ? 41 : 48,
                                            &(rbe_linear_options){.block = 8, .ratio = 2, .group = 1, .seed = n}));
    return model;
}

static rbe_model *make_spoiled(void) { return chain(spoil); }
static rbe_model *make_scaled(void) { return chain(scaled_by_bias); }

static rbe_model *make_gpt(void) {
    return rbe_gpt_new(
        &(rbe_gpt_options){.vocabulary = 7, .layers = 2, .heads = 2, .width = 16, .context = ROWS, .block = 8});
}

static const struct watched {
    const char *name;
    rbe_model *(*make)(void);
    size_t least; /* different places that the watch is told */
} watched[] = {{"dense", make_dense, 4},     {"compressed", make_compressed, 4}, {"nested", make_nested, 3},
               {"grouped", make_grouped, 8}, {"spoiled", make_spoiled, 2},       {"scaled", make_scaled, 2},
               {"gpt", make_gpt, 5}};

/* From the input of a pass to its loss. */
static rbe_var *loss_of(const rbe_model *model, rbe_tape *tape, bool ids) {
    static float x[ROWS * FEATURES];
    static const int32_t words[ROWS] = {1, 5, 3, 3, 0, 6};
    fill_normal(x, ROWS * FEATURES, 1.0, 3);
    rbe_var *input = ids ? rbe_input_ids(tape, words, 1, ROWS) : rbe_input(tape, rbe_tensor_2d(x, ROWS, FEATURES));
    rbe_var *y = rbe_model_forward(model, input);
    return rbe_mean(rbe_mul(y, y));
}

/* The gradients of two passes that nobody watches. */
static float *unwatched_gradients(const struct watched *w, size_t *count) {
    rbe_model *model = w->make();
    rbe_tape *tape = rbe_tape_new(NULL);
    ck_assert_ptr_nonnull(rbe_model_gradients(model, count));
    for (int pass = 0; pass < 2; pass++) {
        rbe_tape_reset(tape);
        ck_assert_ok(rbe_backward_frugal(loss_of(model, tape, w->make == make_gpt)));
    }
    float *copy = test_memory(*count, sizeof *copy);
    memcpy(copy, model->gradients, *count * sizeof *copy);
    rbe_tape_free(tape);
    rbe_model_free(model);
    return copy;
}

/* In the second pass gradients are there that it adds to. Bits are those of a pass that nobody watches. */
START_TEST(nothing_is_added_to_what_has_been_told) {
    const struct watched *w = &watched[_i];
    size_t count;
    float *expected = unwatched_gradients(w, &count);
    rbe_model *model = w->make();
    ck_assert_ptr_nonnull(rbe_model_gradients(model, NULL));
    told t = {.model = model};
    rbe_tape *tape = rbe_tape_new(NULL);
    for (int pass = 0; pass < 2; pass++) {
        rbe_tape_reset(tape);
        rbe_var *loss = loss_of(model, tape, w->make == make_gpt);
        tape->watch = (rbe_watch){begin_pass, tell, &t};
        ck_assert_msg(rbe_backward_frugal(loss) == RBE_OK, "%s: %s", w->name, rbe_last_error());
        size_t places = 0;
        for (size_t n = 0; n < t.count; n++) {
            const size_t size = bytes_from(model, t.reach[n]);
            ck_assert_msg(memcmp(t.copy[n], end_of(model) - size, size) == 0, "%s, pass %d: told %zu", w->name, pass,
                          n);
            if (n > 0) ck_assert_uint_lt(t.reach[n], t.reach[n - 1]);
            places += size > 0;
            free(t.copy[n]);
        }
        ck_assert_msg(places >= w->least, "%s: %zu places", w->name, places);
    }
    ck_assert_msg(memcmp(expected, model->gradients, count * sizeof *expected) == 0, "%s: other bits", w->name);
    free(expected);
    rbe_tape_free(tape);
    rbe_model_free(model);
}
END_TEST

/* ---- trainings ----------------------------------------------------------------------------------------------- */

enum { RANKS = 3, VICTIM = 1, WIDTH = 130 };

/* On the way through a rank's model. */
typedef struct gate {
    const rbe_comm *behind;
    atomic_size_t sums;             /* that have been called since the last forward pass */
    bool waits;                     /* in the backward pass, for the first of them, or ten seconds */
    size_t passes, early, fails_at; /* backward passes; those in which there had been sums; the one that fails */
} gate;

static gate gates[MOST_RANKS];

static rbe_status counted_sum(void *user, float *values, size_t count) {
    gate *g = user;
    atomic_fetch_add(&g->sums, 1);
    return g->behind->sum(g->behind->user, values, count);
}

static rbe_status passed_broadcast(void *user, size_t root, void *data, size_t count) {
    const rbe_comm *c = ((gate *)user)->behind;
    return c->broadcast(c->user, root, data, count);
}

static rbe_status passed_gather(void *user, const void *mine, size_t count, void *all) {
    const rbe_comm *c = ((gate *)user)->behind;
    return c->gather(c->user, mine, count, all);
}

static rbe_status gate_backward(rbe_var *self) {
    gate *g = (gate *)self->context_pointer;
    bool add;
    float *gx = rbe_grad_target(self->parents[0], &add);
    if (!gx) return rbe_last_status();
    memcpy(gx, self->grad, rbe_tensor_count(&self->value) * sizeof *gx);
    for (int n = 0; g->waits && n < 10000 && atomic_load(&g->sums) == 0; n++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    g->early += atomic_load(&g->sums) > 0;
    return ++g->passes == g->fails_at ? rbe_fail(RBE_BAD_FORMAT, "the gate is shut") : RBE_OK;
}

static rbe_var *gate_forward(void *user, rbe_var *x) {
    rbe_var *y = rbe_node_like("gate", x, gate_backward, 0);
    if (!rbe_ok(y)) return y;
    memcpy(y->value.data, x->value.data, rbe_tensor_count(&x->value) * sizeof(float));
    y->context_pointer = user;
    atomic_store(&((gate *)user)->sums, 0);
    return y;
}

/* Layers of several pieces. A layer stands in two places. */
static rbe_model *wide_model(gate *g) {
    rbe_model *model = rbe_model_new();
    rbe_layer *twice = rbe_dense_new(WIDTH, WIDTH, &(rbe_dense_options){.seed = 2});
    rbe_model_add(model, rbe_dense_new(FEATURES, WIDTH, &(rbe_dense_options){.seed = 1}));
    rbe_model_add(model, twice);
    rbe_model_apply(model, rbe_relu);
    rbe_model_apply_function(model, gate_forward, g);
    rbe_model_add(model, rbe_linear_new(WIDTH, WIDTH, &(rbe_linear_options){.block = 8, .ratio = 2, .seed = 3}));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, rbe_dense_new(WIDTH, WIDTH, &(rbe_dense_options){.seed = 4}));
    rbe_model_add(model, twice);
    rbe_model_add(model, rbe_dense_new(WIDTH, CLASSES, &(rbe_dense_options){.seed = 5}));
    return model;
}

static const recipe wide = {.name = "wide",
                            .method = "adam",
                            .optim = {.lr = 0.001f, .clip_norm = 0.5f},
                            .tested = true,
                            .fit = {.epochs = 2, .batch = 11}};

static void make_wide(team *t, bool background) {
    static rbe_comm wires[MOST_RANKS];
    team_make(t, &wide, RANKS, false);
    for (size_t n = 0; n < RANKS; n++) {
        memset(&gates[n], 0, sizeof gates[n]);
        gates[n].behind = &t->comms[n];
        wires[n] = t->comms[n];
        wires[n].sum = counted_sum;
        wires[n].broadcast = passed_broadcast;
        wires[n].gather = passed_gather;
        wires[n].background = background;
        wires[n].user = &gates[n];
        t->ranks[n].options.comm = &wires[n];
        rbe_model *model = wide_model(&gates[n]);
        training_use(&t->ranks[n], model, rbe_optim_new(rbe_adam, model, &wide.optim));
    }
}

/* Each rank waits in the middle of its backward pass until its sums have begun. */
START_TEST(sums_begin_in_the_backward_pass) {
    static team t;
    make_wide(&t, true);
    for (size_t n = 0; n < RANKS; n++) gates[n].waits = true;
    team_expect(&t, RBE_OK);
    for (size_t n = 0; n < RANKS; n++) {
        ck_assert_uint_eq(gates[n].passes, 8);
        ck_assert_uint_eq(gates[n].early, gates[n].passes);
    }
    team_assert_alike(&t);
    team_free(&t);
}
END_TEST

/* Of the second batch one rank has a sample, the others have none. */
static const struct batches { size_t batch, accumulate; } batches[] = {{11, 1}, {11, 2}, {TRAIN_SAMPLES - 1, 1}};

static void train_wide(team *t, const struct batches *b, bool background) {
    make_wide(t, background);
    for (size_t n = 0; n < RANKS; n++) {
        t->ranks[n].options.batch = b->batch;
        t->ranks[n].options.accumulate = b->accumulate;
    }
    team_expect(t, RBE_OK);
}

/* A transport that only the caller's thread may call is called after the backward pass: the bits are the same. */
START_TEST(bits_do_not_depend_on_the_thread) {
    static team with, without;
    train_wide(&without, &batches[_i], false);
    bytes expected = snapshot_of(&without.ranks[0]);
    for (size_t n = 0; n < RANKS; n++) ck_assert_uint_eq(gates[n].early, 0);
    train_wide(&with, &batches[_i], true);
    bytes found = snapshot_of(&with.ranks[0]);
    ck_assert(same_bytes(expected, found));
    team_assert_alike(&with);
    free(expected.data), free(found.data);
    team_free(&with);
    team_free(&without);
}
END_TEST

/* One rank fails when some of its gradients are on their way. */
START_TEST(a_failure_in_the_backward_pass_ends_all) {
    static team t;
    make_wide(&t, _i == 0);
    for (size_t n = 0; n < RANKS; n++) gates[n].waits = _i == 0;
    gates[VICTIM].fails_at = 3;
    team_expect(&t, RBE_BAD_FORMAT);
    for (size_t n = 0; n < RANKS; n++) {
        ck_assert_msg(strstr(t.text[n], "rank 1: gate: the gate is shut") ||
                          strstr(t.text[n], "rank 1: the gate is shut"),
                      "rank %zu says: %s", n, t.text[n]);
        ck_assert_uint_eq(t.ranks[n].result.steps, 2);
    }
    team_free(&t);
}
END_TEST

TCase *ranks_overlap_case(void) {
    TCase *overlap = tcase_create("ranks overlap");
    tcase_add_checked_fixture(overlap, NULL, scratch_clear);
    tcase_add_loop_test(overlap, nothing_is_added_to_what_has_been_told, 0, sizeof watched / sizeof *watched);
    tcase_add_test(overlap, sums_begin_in_the_backward_pass);
    tcase_add_loop_test(overlap, bits_do_not_depend_on_the_thread, 0, sizeof batches / sizeof *batches);
    tcase_add_loop_test(overlap, a_failure_in_the_backward_pass_ends_all, 0, 2);
    return overlap;
}
