/* Trainings that ranks share: the losses of one rank, whatever is trained and however shares differ in size; the same
 * bits for the same number of ranks; what growth sees. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/blocks.h"
#include "nn/linear.h"
#include "rank_support.h"
#include "rbe/gpt.h"
#include "support.h"

enum { LOSSES = 100 };

/* 44 samples: a batch of 11 is 6 + 5 and 3 + 3 + 3 + 2; the last of 7 is 2, and 1 + 1 + nothing. */
static const recipe recipes[] = {
    {.name = "dense", .method = "sgd", .optim = {.lr = 0.05f, .momentum = 0.5f}, .fit = {.epochs = 25, .batch = 11}},
    {.name = "compressed, dropout",
     .model = COMPRESSED,
     .method = "adam",
     .optim = {.lr = 0.001f},
     .dropout = 0.3f,
     .tested = true,
     .fit = {.epochs = 25, .batch = 11}},
    {.name = "ranks without a sample",
     .model = COMPRESSED,
     .method = "sgd",
     .optim = {.lr = 0.02f},
     .dropout = 0.2f,
     .tested = true,
     .fit = {.epochs = 15, .batch = 7}},
    {.name = "weights, batches that add up, clipped",
     .model = NESTED,
     .samples = WITH_WEIGHTS,
     .method = "adamw",
     .optim = {.lr = 0.001f, .clip_norm = 0.5f},
     .tested = true,
     .fit = {.epochs = 34, .batch = 6, .accumulate = 3}},
    {.name = "targets, schedule",
     .model = NESTED,
     .samples = WITH_TARGETS,
     .method = "adam",
     .optim = {.lr = 0.001f},
     .dropout = 0.1f,
     .tested = true,
     .fit = {.epochs = 25, .batch = 11, .schedule = {.kind = RBE_COSINE, .warmup = 10}}},
    {.name = "augmented images",
     .model = IMAGE,
     .samples = WITH_PIXELS,
     .method = "adam",
     .optim = {.lr = 0.001f},
     .tested = true,
     .fit = {.epochs = 20, .batch = 9, .augment = &(rbe_augment_options){.affine = 0.5, .elastic = 0.5, .seed = 3}}},
    {.name = "growth, pruning, few bits",
     .model = COMPRESSED,
     .method = "adam",
     .optim = {.lr = 0.001f},
     .growth = true,
     .gradual = true,
     .bits = 6,
     .fit = {.epochs = 3, .batch = 11}},
};
enum { RECIPES = sizeof recipes / sizeof *recipes };

static const size_t sizes[] = {2, 3, 4, 5};
enum { SIZES = sizeof sizes / sizeof *sizes };

static bool is_near(double a, double b) { return fabs(a - b) <= 1e-4 * fmax(1.0, fabs(b)); }

static void assert_near(const training *one, const training *other, size_t size) {
    const size_t steps = one->result.steps < LOSSES ? one->result.steps : LOSSES;
    ck_assert_uint_eq(one->result.steps, other->result.steps);
    for (size_t n = 0; n < steps; n++)
        ck_assert_msg(is_near(other->notes[n].batch_loss, one->notes[n].batch_loss) &&
                          is_near(other->notes[n].mean_loss, one->notes[n].mean_loss) &&
                          is_near(other->notes[n].batch_metric, one->notes[n].batch_metric),
                      "%s, %zu ranks, step %zu: loss %.9g instead of %.9g, metric %.9g instead of %.9g", one->r.name,
                      size, n, other->notes[n].batch_loss, one->notes[n].batch_loss, other->notes[n].batch_metric,
                      one->notes[n].batch_metric);
    ck_assert_msg(is_near(other->result.test.loss, one->result.test.loss) &&
                      is_near(other->result.test.metric, one->result.test.metric) &&
                      one->result.test.count == other->result.test.count &&
                      one->result.train.count == other->result.train.count,
                  "%s, %zu ranks: test loss %.9g instead of %.9g, metric %.9g instead of %.9g", one->r.name, size,
                  other->result.test.loss, one->result.test.loss, other->result.test.metric, one->result.test.metric);
}

static bool same_notes(const training *a, const training *b) {
    for (size_t n = 0; n < a->result.steps; n++)
        if (a->notes[n].batch_loss != b->notes[n].batch_loss || a->notes[n].mean_metric != b->notes[n].mean_metric)
            return false;
    return a->result.test.loss == b->result.test.loss && a->result.train.metric == b->result.train.metric;
}

START_TEST(any_number_of_ranks_has_the_losses_of_one) {
    static team one, many;
    const recipe *r = &recipes[_i / SIZES];
    const size_t size = sizes[_i % SIZES];
    team_make(&one, r, 1, false);
    team_expect(&one, RBE_OK);
    team_make(&many, r, size, false);
    team_expect(&many, RBE_OK);
    assert_near(&one.ranks[0], &many.ranks[0], size);
    for (size_t n = 1; n < size; n++) ck_assert(same_notes(&many.ranks[0], &many.ranks[n]));
    team_assert_alike(&many);
    team_free(&one);
    team_free(&many);
}
END_TEST

START_TEST(the_same_number_of_ranks_gives_the_same_bits) {
    static team first, second;
    recipe r = recipes[_i];
    r.log = true;
    r.fit.log_every = 1;
    team_make(&first, &r, 3, false);
    team_expect(&first, RBE_OK);
    bytes log = read_whole(first.ranks[0].log), snapshot = snapshot_of(&first.ranks[0]);
    team_make(&second, &r, 3, false);
    ck_assert_ok(rbe_set_threads(2)); /* threads decide nothing */
    team_expect(&second, RBE_OK);
    bytes again = snapshot_of(&second.ranks[0]), log_again = read_whole(second.ranks[0].log);
    ck_assert(same_bytes(snapshot, again));
    ck_assert(same_bytes(log, log_again));
    ck_assert(same_notes(&first.ranks[0], &second.ranks[0]));
    free(log.data), free(log_again.data), free(snapshot.data), free(again.data);
    team_free(&first);
    team_free(&second);
}
END_TEST

/* A transport of one changes no bit. */
START_TEST(one_rank_is_none) {
    static team without, with;
    team_make(&without, &recipes[_i], 1, false);
    team_expect(&without, RBE_OK);
    team_make(&with, &recipes[_i], 1, false);
    with.ranks[0].options.comm = &with.comms[0];
    team_expect(&with, RBE_OK);
    bytes a = snapshot_of(&without.ranks[0]), b = snapshot_of(&with.ranks[0]);
    ck_assert(same_bytes(a, b));
    ck_assert(same_notes(&without.ranks[0], &with.ranks[0]));
    free(a.data), free(b.data);
    team_free(&without);
    team_free(&with);
}
END_TEST

/* ---- other models and losses ----------------------------------------------------------------------------------- */

static const recipe bare = {
    .name = "bare", .method = "sgd", .optim = {.lr = 0.05f}, .fit = {.epochs = 10, .batch = 7, .accumulate = 2}};

enum { IDS = 200, PLACES = 12, WORDS = 7 };

static void use_gpt(training *t) {
    static int32_t ids[IDS];
    for (int n = 0; n < IDS; n++) ids[n] = n % 5 == 4 ? n / 5 % WORDS : n % 5;
    rbe_model *model = rbe_gpt_new(&(rbe_gpt_options){
        .vocabulary = WORDS, .layers = 2, .heads = 2, .width = 16, .context = PLACES, .block = 8, .dropout = 0.3});
    training_use(t, model, rbe_optim_new(rbe_adamw, model, &(rbe_optim_options){.lr = 0.001f}));
    ck_assert_ok(rbe_dataset_from_windows(&t->train, ids, IDS, PLACES, 5, WORDS));
}

/* Rows are places of sequences, and scores are dropped too. */
START_TEST(sequences_are_shared) {
    static team one, many;
    team_make(&one, &bare, 1, false);
    team_make(&many, &bare, sizes[_i], false);
    use_gpt(&one.ranks[0]);
    for (size_t n = 0; n < many.size; n++) use_gpt(&many.ranks[n]);
    team_expect(&one, RBE_OK);
    team_expect(&many, RBE_OK);
    assert_near(&one.ranks[0], &many.ranks[0], many.size);
    team_assert_alike(&many);
    team_free(&one);
    team_free(&many);
}
END_TEST

/* A loss with a parameter of its own, which is no part of the model. */
typedef struct warmth {
    float value;
    rbe_param param;
} warmth;

static rbe_var *divided(void *user, rbe_tape *tape, rbe_var *output, const rbe_batch *batch) {
    const size_t single = 1;
    warmth *w = user;
    return rbe_loss_cross_entropy(NULL, tape, rbe_mul(output, rbe_parameter(tape, &w->param, 1, &single)), batch);
}

static void use_warmth(training *t, warmth *w) {
    rbe_param *params[40] = {&w->param}, *param;
    size_t count = 1;
    *w = (warmth){.value = 1.0f};
    w->param = (rbe_param){.name = "warmth", .value = &w->value, .count = 1, .lr_scale = 10.0f};
    while ((param = rbe_model_param(t->model, count - 1))) params[count++] = param;
    training_use(t, t->model, rbe_optim_new_for(rbe_sgd, params, count, &t->r.optim));
    t->options.loss = (rbe_loss){divided, w};
}

static float trained_warmth(const recipe *r, size_t size) {
    static team t;
    warmth warmths[MOST_RANKS];
    team_make(&t, r, size, false);
    for (size_t n = 0; n < size; n++) use_warmth(&t.ranks[n], &warmths[n]);
    team_expect(&t, RBE_OK);
    for (size_t n = 1; n < size; n++) ck_assert_float_eq(warmths[n].value, warmths[0].value);
    team_free(&t);
    for (size_t n = 0; n < size; n++) rbe_param_clear(&warmths[n].param);
    return warmths[0].value;
}

/* Its gradient is summed and divided as those of the model are, by ranks and by batches that add up. */
START_TEST(parameters_beside_the_model_are_shared) {
    recipe whole = bare;
    whole.fit.batch = 11;
    whole.fit.accumulate = 1;
    const float expected = trained_warmth(&whole, 1);
    ck_assert_float_gt(fabsf(expected - 1.0f), 0.01f);
    ck_assert_float_eq_tol(trained_warmth(&whole, 3), expected, 1e-4f);
    recipe parts = whole;
    parts.fit.batch = 22;
    const float of_large = trained_warmth(&parts, 1);
    parts.fit.batch = 11;
    parts.fit.accumulate = 2;
    ck_assert_float_eq_tol(trained_warmth(&parts, 1), of_large, 1e-4f);
    ck_assert_float_eq_tol(trained_warmth(&parts, 2), of_large, 1e-4f);
}
END_TEST

/* ---- bytes on the wire ----------------------------------------------------------------------------------------- */

enum { WIRE_STEPS = 101, DENSE_STEPS = 2 /* all alike */ };

/* Bytes that this rank has sent, by what rbe/comm.h says of each call. */
static rbe_comm behind;
static double sent;

static rbe_status counted_sum(void *user, float *values, size_t count) {
    sent += 2.0 * (double)(behind.size - 1) / (double)behind.size * sizeof(float) * (double)count;
    return behind.sum(user, values, count);
}

static rbe_status counted_gather(void *user, const void *mine, size_t count, void *all) {
    sent += (double)((behind.size - 1) * count);
    return behind.gather(user, mine, count, all);
}

static rbe_layer *wide_layer(size_t in, double ratio) {
    if (ratio <= 1.0) return rbe_dense_new(in, 1024, &(rbe_dense_options){.seed = in});
    return rbe_linear_new(in, 1024, &(rbe_linear_options){.ratio = ratio, .seed = in});
}

/* 784-1024-1024-10. */
static void use_wide(training *t, double ratio) {
    static uint8_t pixels[784 * TRAIN_SAMPLES];
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, wide_layer(784, ratio));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, wide_layer(1024, ratio));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, rbe_dense_new(1024, 10, &(rbe_dense_options){.seed = 3}));
    training_use(t, model, rbe_optim_new(rbe_sgd, model, NULL));
    for (size_t n = 0; n < sizeof pixels; n++) pixels[n] = (uint8_t)(n % 7919);
    t->train.values = NULL;
    t->train.pixels = pixels;
    t->train.features = 784;
    if (ratio <= 1.0) return;
    t->growth = rbe_growth_new(model, &(rbe_growth_options){.steps = 10 * WIRE_STEPS, .every = 100});
    t->routines[t->options.routine_count++] = rbe_growth_routine(t->growth);
}

/* Of a step. */
static double bytes_of_training(double ratio, size_t steps) {
    static team t;
    const recipe r = {.name = "wide", .method = "sgd", .fit = {.epochs = steps, .epoch_batches = 1, .batch = 2}};
    team_make(&t, &r, 2, false);
    for (size_t n = 0; n < t.size; n++) use_wide(&t.ranks[n], ratio);
    behind = t.comms[0];
    t.comms[0].sum = counted_sum;
    t.comms[0].gather = counted_gather;
    sent = 0;
    team_expect(&t, RBE_OK);
    if (ratio > 1.0) ck_assert_uint_eq(rbe_growth_count(t.ranks[0].growth).exchanges, 1);
    team_free(&t);
    return sent / (double)steps;
}

/* At a ratio of 16, with meetings, and with an exchange of growth for each 100 steps. */
START_TEST(a_compressed_training_sends_a_twelfth) {
    const double dense = bytes_of_training(1.0, DENSE_STEPS), compressed = bytes_of_training(16.0, WIRE_STEPS);
    const double gradients = 4.0 * (784 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 10 + 10);
    ck_assert_double_ge(dense, gradients);
    ck_assert_double_le(dense, 1.002 * gradients);
    ck_assert_msg(dense >= 12.0 * compressed, "%.0f bytes of %.0f: %.2f times less", compressed, dense,
                  dense / compressed);
}
END_TEST

/* ---- growth -------------------------------------------------------------------------------------------------- */

/* One exchange, from gradients that no rounding makes differ in rank: all ranks have the positions of one, also where the
 * first 128 rows are those of some ranks, or one rank's share is larger. A choice of a share's own would be another. */
START_TEST(growth_sees_the_rows_of_all_ranks) {
    static team one, many;
    recipe r = recipes[RECIPES - 1];
    r.gradual = false;
    r.bits = 0;
    r.fit.epochs = _i % 2 ? 2 : 1;
    r.fit.batch = 11;
    r.fit.accumulate = _i % 2 ? 2 : 0;
    const size_t size = 2 + (size_t)_i / 2;
    team_make(&one, &r, 1, false);
    team_make(&many, &r, size, false);
    team_expect(&one, RBE_OK);
    team_expect(&many, RBE_OK);
    const rbe_growth_counters expected = rbe_growth_count(one.ranks[0].growth);
    for (size_t n = 0; n < size; n++) {
        const rbe_growth_counters found = rbe_growth_count(many.ranks[n].growth);
        ck_assert_uint_gt(found.values, 0);
        ck_assert_uint_eq(found.values, expected.values);
        for (size_t k = 0; k < 2; k++) {
            rbe_layer *a = rbe_model_layer(one.ranks[0].model, k), *b = rbe_model_layer(many.ranks[n].model, k);
            const rbe_blocks *p = rbe_layer_as_linear(a)->blocks, *q = rbe_layer_as_linear(b)->blocks;
            ck_assert_uint_eq(p->entries, q->entries);
            for (size_t i = 0; i < p->entries; i++) ck_assert_uint_eq(rbe_column_at(p, i), rbe_column_at(q, i));
        }
    }
    team_free(&one);
    team_free(&many);
}
END_TEST

TCase *ranks_case(void) {
    TCase *ranks = tcase_create("ranks");
    tcase_add_checked_fixture(ranks, NULL, scratch_clear);
    tcase_add_loop_test(ranks, any_number_of_ranks_has_the_losses_of_one, 0, RECIPES * SIZES);
    tcase_add_loop_test(ranks, the_same_number_of_ranks_gives_the_same_bits, 0, RECIPES);
    tcase_add_loop_test(ranks, one_rank_is_none, 0, RECIPES);
    tcase_add_loop_test(ranks, sequences_are_shared, 0, SIZES);
    tcase_add_test(ranks, parameters_beside_the_model_are_shared);
    tcase_add_test(ranks, a_compressed_training_sends_a_twelfth);
    tcase_add_loop_test(ranks, growth_sees_the_rows_of_all_ranks, 0, 6);
    return ranks;
}
