/* What must be as it was for rbe_fit to go on: of each difference the status, the text, and that nothing has changed;
 * and what may differ. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint_support.h"

static const recipe base = {
    .name = "base",
    .model = COMPRESSED,
    .method = "adam",
    .optim = {.lr = 0.01f},
    .dropout = 0.1f,
    .growth = true,
    .gradual = true,
    .tested = true,
    .log = true,
    .samples = WITH_WEIGHTS,
    .fit = {.epochs = 3,
            .batch = 8,
            .log_every = 1,
            .schedule = {.kind = RBE_COSINE, .warmup = 2, .floor = 0.1f},
            .augment = &(const rbe_augment_options){.affine = 0.5, .elastic = 0.8, .seed = UINT64_MAX}}};

/* ---- changes --------------------------------------------------------------------------------------------------- */

#define RECIPE(NAME, STATEMENT)                                                                                        \
    static void NAME(recipe *r) { STATEMENT; }
#define MADE(NAME, STATEMENT)                                                                                          \
    static void NAME(training *t) { STATEMENT; }

RECIPE(sgd, r->method = "sgd")
RECIPE(adamw, r->method = "adamw")
RECIPE(momentum, r->optim.momentum = 0.5f)
RECIPE(nesterov, r->optim.momentum = 0.5f; r->optim.nesterov = true)
RECIPE(decay, r->optim.weight_decay = 0.5f)
RECIPE(beta1, r->optim.beta1 = 0.91f)
RECIPE(beta2, r->optim.beta2 = 0.991f)
RECIPE(epsilon, r->optim.epsilon = 1e-7f)
RECIPE(clip, r->optim.clip_norm = 3.0f)
RECIPE(lr, r->optim.lr = 0.02f)
RECIPE(dropout, r->dropout = 0.2f)
RECIPE(no_dropout, r->dropout = 0.0f)
RECIPE(no_growth, r->growth = false)
RECIPE(no_gradual, r->gradual = false)
RECIPE(by_chance, r->random_pruning = true)
RECIPE(other_model, r->model = IMAGE)
RECIPE(dense_model, r->model = DENSE; r->growth = r->gradual = false)
RECIPE(batch, r->fit.batch = 7)
RECIPE(accumulate, r->fit.accumulate = 2)
RECIPE(seed, r->fit.seed = 18446744073709551615u)
RECIPE(not_augmented, r->fit.augment = NULL)
RECIPE(constant, r->fit.schedule.kind = RBE_CONSTANT)
RECIPE(steps, r->fit.schedule.kind = RBE_STEP)
RECIPE(schedule_base, r->fit.schedule.base = 0.5f)
RECIPE(schedule_total, r->fit.schedule.total = 99)
RECIPE(warmup, r->fit.schedule.warmup = 3)
RECIPE(schedule_every, r->fit.schedule.every = 3)
RECIPE(factor, r->fit.schedule.factor = 0.3f)
RECIPE(schedule_floor, r->fit.schedule.floor = 0.1000001f)
RECIPE(epochs, r->fit.epochs = 4)
RECIPE(metric, r->fit.metric = rbe_metric_loss)
RECIPE(untested, r->tested = false)
RECIPE(best, r->best = true)
RECIPE(unweighted, r->samples = WITH_LABELS)
RECIPE(pixels, r->samples = WITH_PIXELS)

static rbe_var *own_loss(void *user, rbe_tape *tape, rbe_var *output, const rbe_batch *b) {
    return rbe_loss_cross_entropy(user, tape, output, b);
}

RECIPE(loss, r->fit.loss.function = own_loss)

/* `now` lives as long as the training. */
static void augment_with(training *t, double affine, double elastic, uint64_t augment_seed) {
    static rbe_augment_options now;
    now = (rbe_augment_options){affine, elastic, augment_seed};
    t->options.augment = &now;
}

MADE(affine, augment_with(t, 0.25, 0.8, UINT64_MAX))
MADE(elastic, augment_with(t, 0.5, 0.0, UINT64_MAX))
MADE(augment_seed, augment_with(t, 0.5, 0.8, UINT64_MAX - 1))
MADE(train_value, ((uint8_t *)t->train.values)[4 * 500 + 2] ^= 1)
MADE(train_label, t->train.labels[40] = (t->train.labels[40] + 1) % CLASSES)
MADE(train_weight, t->train.weights[3] += 0.5f)
MADE(test_value, ((uint8_t *)t->test.values)[4 * 20] ^= 1)
MADE(test_label, t->test.labels[3] = (t->test.labels[3] + 1) % CLASSES)
MADE(fewer_samples, t->train.count--)
MADE(fewer_tests, t->test.count--)
MADE(more_classes, t->train.classes++; t->test.classes++)

static void growth_with(training *t, rbe_growth_options o) {
    rbe_growth_free(t->growth);
    if (!o.steps) o.steps = 18;
    if (!o.every) o.every = 2;
    t->growth = rbe_growth_new(t->model, &o);
    t->routines[1] = rbe_growth_routine(t->growth);
}

MADE(growth_steps, growth_with(t, (rbe_growth_options){.steps = 19}))
MADE(growth_every, growth_with(t, (rbe_growth_options){.every = 3}))
MADE(growth_fraction, growth_with(t, (rbe_growth_options){.fraction = 0.31}))
MADE(growth_hair, growth_with(t, (rbe_growth_options){.fraction = 0.3 + 1e-15}))
MADE(growth_stop, growth_with(t, (rbe_growth_options){.stop = 0.7}))

static void gradual_with(training *t, rbe_gradual_options o) {
    rbe_gradual_free(t->gradual);
    if (o.final == 0.0) o.final = 0.5;
    if (!o.begin) o.begin = 1;
    if (!o.end) o.end = 16;
    if (!o.every) o.every = 3;
    t->gradual = rbe_gradual_new(t->model, &o);
    t->routines[0] = rbe_gradual_routine(t->gradual);
}

MADE(gradual_final, gradual_with(t, (rbe_gradual_options){.final = 0.51}))
MADE(gradual_begin, gradual_with(t, (rbe_gradual_options){.begin = 2}))
MADE(gradual_end, gradual_with(t, (rbe_gradual_options){.end = 17}))
MADE(gradual_every, gradual_with(t, (rbe_gradual_options){.every = 4}))
MADE(gradual_by, gradual_with(t, (rbe_gradual_options){.prune.by = RBE_PRUNE_THRESHOLD}))
MADE(gradual_layers, gradual_with(t, (rbe_gradual_options){.prune.per_layer = true}))
MADE(gradual_seed, gradual_with(t, (rbe_gradual_options){.prune.seed = 4}))
MADE(gradual_absorption, gradual_with(t, (rbe_gradual_options){.prune.no_absorption = true}))
MADE(another_routine, t->routines[t->options.routine_count++] = (rbe_routine){.name = "curriculum"})
MADE(renamed, t->routines[1].name = "another growth")
MADE(exchanged, rbe_routine kept = t->routines[0]; t->routines[0] = t->routines[1]; t->routines[1] = kept)

static void train_a_part(training *t, size_t first, size_t count) {
    rbe_param *params[40];
    for (size_t n = 0; n < count; n++) params[n] = rbe_model_param(t->model, first + n);
    rbe_optim_free(t->optim);
    t->optim = rbe_optim_new_for(rbe_optim_method_named(t->r.method), params, count, &t->r.optim);
}

MADE(a_part, train_a_part(t, 0, 3))
MADE(another_companion, ck_assert_ok(rbe_param_add_companion(rbe_model_param(t->model, 1), "average", NULL)))

static const struct change {
    void (*recipe)(recipe *r);
    void (*made)(training *t);
    const char *text;
    bool plain; /* without routines, whose options follow from the number of steps */
} changes[] = {
    {.recipe = sgd, .text = "method: adam when it was saved, sgd now"},
    {.recipe = adamw, .text = "adamw.m"},
    {.recipe = momentum, .text = "optimiser: momentum: 0 when it was saved, 0.5 now"},
    {.recipe = nesterov, .text = "optimiser: momentum"},
    {.recipe = decay, .text = "optimiser: weight_decay: 0 when it was saved, 0.5 now"},
    {.recipe = beta1, .text = "optimiser: beta1"},
    {.recipe = beta2, .text = "optimiser: beta2"},
    {.recipe = epsilon, .text = "optimiser: epsilon"},
    {.recipe = clip, .text = "optimiser: clip_norm: 0 when it was saved, 3 now"},
    {.recipe = lr, .text = "fit: schedule base: 0.00999999978 when it was saved, 0.0199999996 now"},
    {.recipe = dropout, .text = "probability"},
    {.recipe = no_dropout, .text = "layers when it was saved"},
    {.recipe = no_growth, .text = "growth when it was saved, none now"},
    {.recipe = no_gradual, .text = "gradual pruning when it was saved, none now"},
    {.recipe = by_chance, .text = "gradual pruning: score: 0 when it was saved, 3 now"},
    {.recipe = other_model, .text = "image 0 x 0"},
    {.recipe = dense_model, .text = "\"dense\""},
    {.recipe = batch, .text = "fit: batch: 8 when it was saved, 7 now", .plain = true},
    {.recipe = accumulate, .text = "fit: accumulate: 1 when it was saved, 2 now", .plain = true},
    {.recipe = seed, .text = "fit: seed: 0 when it was saved, 18446744073709551615 now"},
    {.recipe = not_augmented, .text = "fit: augment affine: 0.5 when it was saved, 0 now"},
    {.made = affine, .text = "fit: augment affine: 0.5 when it was saved, 0.25 now"},
    {.made = elastic, .text = "fit: augment elastic: 0.8 when it was saved, 0 now"},
    {.made = augment_seed,
     .text = "fit: augment seed: 18446744073709551615 when it was saved, 18446744073709551614 now"},
    {.recipe = constant, .text = "fit: schedule: 2 when it was saved, 0 now"},
    {.recipe = steps, .text = "fit: schedule: 2 when it was saved, 1 now"},
    {.recipe = schedule_base, .text = "fit: schedule base: 0.00999999978 when it was saved, 0.5 now"},
    {.recipe = schedule_total, .text = "fit: schedule total: 18 when it was saved, 99 now"},
    {.recipe = warmup, .text = "fit: schedule warmup: 2 when it was saved, 3 now"},
    {.recipe = schedule_every, .text = "fit: schedule every: 0 when it was saved, 3 now"},
    {.recipe = factor, .text = "fit: schedule factor"},
    {.recipe = schedule_floor, .text = "fit: schedule floor"},
    {.recipe = epochs, .text = "fit: schedule total: 18 when it was saved, 24 now", .plain = true},
    {.recipe = metric, .text = "fit: metric: error when it was saved, loss now"},
    {.recipe = loss, .text = "fit: loss: cross-entropy when it was saved, its own now"},
    {.recipe = untested, .text = "fit: test samples: 16 when it was saved, 0 now"},
    {.recipe = best, .text = "best_path"},
    {.recipe = unweighted, .text = "fit: train bytes"},
    {.recipe = pixels, .text = "fit: train bytes"},
    {.made = train_value, .text = "fit: train checksum"},
    {.made = train_label, .text = "fit: train checksum"},
    {.made = train_weight, .text = "fit: train checksum"},
    {.made = test_value, .text = "fit: test checksum"},
    {.made = test_label, .text = "fit: test checksum"},
    {.made = fewer_samples, .text = "fit: train samples: 44 when it was saved, 43 now"},
    {.made = fewer_tests, .text = "fit: test samples: 16 when it was saved, 15 now"},
    {.made = more_classes, .text = "fit: train classes: 3 when it was saved, 4 now"},
    {.made = growth_steps, .text = "growth: steps: 18 when it was saved, 19 now"},
    {.made = growth_every, .text = "growth: every: 2 when it was saved, 3 now"},
    {.made = growth_fraction, .text = "growth: fraction: 0.3 when it was saved, 0.31 now"},
    {.made = growth_hair, .text = "growth: fraction"},
    {.made = growth_stop, .text = "growth: stop: 0.75 when it was saved, 0.7 now"},
    {.made = gradual_final, .text = "gradual pruning: final: 0.5 when it was saved, 0.51 now"},
    {.made = gradual_begin, .text = "gradual pruning: begin: 1 when it was saved, 2 now"},
    {.made = gradual_end, .text = "gradual pruning: end: 16 when it was saved, 17 now"},
    {.made = gradual_every, .text = "gradual pruning: every: 3 when it was saved, 4 now"},
    {.made = gradual_by, .text = "gradual pruning: by: 0 when it was saved, 1 now"},
    {.made = gradual_layers, .text = "gradual pruning: per_layer: 0 when it was saved, 1 now"},
    {.made = gradual_seed, .text = "gradual pruning: seed: 0 when it was saved, 4 now"},
    {.made = gradual_absorption, .text = "gradual pruning: no_absorption"},
    {.made = another_routine, .text = "no curriculum when it was saved, one now"},
    {.made = renamed, .text = "another growth"},
    {.made = a_part, .text = "when it was saved"},
    {.made = another_companion, .text = "average"},
};
#define CHANGES (int)(sizeof changes / sizeof *changes)

static recipe recipe_of(const struct change *c) {
    recipe r = base;
    if (c->plain) r.growth = r.gradual = false;
    return r;
}

static void make_changed(training *t, const struct change *c) {
    recipe r = recipe_of(c);
    if (c->recipe) c->recipe(&r);
    training_make(t, &r, true);
    if (c->made) c->made(t);
    t->keep.resume = true;
}

/* An error of one digit that the text would not show would be of no use to anybody. */
static void assert_tells_apart(const char *text) {
    const char *then = strstr(text, " when it was saved, "), *begin = then;
    if (!then) return;
    while (begin > text && begin[-1] != ' ') begin--;
    const char *now = then + strlen(" when it was saved, ");
    size_t length = (size_t)(then - begin);
    ck_assert_msg(strncmp(begin, now, length) != 0 || strncmp(now + length, " now", 4) != 0, "%s", text);
}

START_TEST(what_differs_is_named) {
    training t;
    const recipe r = recipe_of(&changes[_i]);
    training_leave(&r, 7);
    bytes file = read_whole(scratch_path("run.checkpoint")), log = read_whole(scratch_path("log.csv"));
    make_changed(&t, &changes[_i]);
    bytes before = snapshot_of(&t);
    rbe_status status = training_run(&t);
    ck_assert_msg(status == RBE_INVALID_ARGUMENT, "case %d: %s: %s", _i, rbe_status_name(status), rbe_last_error());
    assert_failed(RBE_INVALID_ARGUMENT, changes[_i].text);
    assert_tells_apart(rbe_last_error());
    bytes after = snapshot_of(&t), file_after = read_whole(t.path), log_after = read_whole(t.log);
    ck_assert_msg(same_bytes(before, after), "case %d: something has changed", _i);
    ck_assert(same_bytes(file, file_after) && same_bytes(log, log_after));
    ck_assert_uint_eq(t.result.steps, 0);
    ck_assert_float_eq(rbe_optim_lr(t.optim), t.r.optim.lr);
    free(file.data);
    free(log.data);
    free(before.data);
    free(after.data);
    free(file_after.data);
    free(log_after.data);
    training_free(&t);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Samples of checksums that nine digits do not tell apart: whatever the byte is, the text shows two numbers. */
START_TEST(any_byte_of_the_samples_counts) {
    training t;
    training_leave(&base, 2);
    for (size_t n = 0; n < 60; n++) {
        make_changed(&t, &(struct change){0});
        ((uint8_t *)t.train.values)[4 * 17 * n] ^= (uint8_t)(1u << n % 8);
        ck_assert_int_eq(training_run(&t), RBE_INVALID_ARGUMENT);
        assert_failed(RBE_INVALID_ARGUMENT, "train checksum");
        assert_tells_apart(rbe_last_error());
        training_free(&t);
    }
}
END_TEST

/* ---- what may differ ------------------------------------------------------------------------------------------- */

RECIPE(patience, r->fit.patience = 50)
RECIPE(log_every, r->fit.log_every = 4)
RECIPE(no_log, r->log = false)
RECIPE(labelled, r->fit.label = "again")
MADE(order_of_routines, exchanged(t))
MADE(other_callbacks, t->options.on_step = NULL; t->options.on_epoch = NULL)

static const struct change allowed[] = {{.recipe = NULL},         {.recipe = patience}, {.recipe = log_every},
                                        {.recipe = no_log},       {.recipe = labelled}, {.made = order_of_routines},
                                        {.made = other_callbacks}};
#define ALLOWED (int)(sizeof allowed / sizeof *allowed)

START_TEST(what_may_differ) {
    training t;
    training_leave(&base, 7);
    make_changed(&t, &allowed[_i]);
    ck_assert_msg(training_run(&t) == RBE_OK, "case %d: %s", _i, rbe_last_error());
    ck_assert_uint_eq(t.result.resumed, 7);
    ck_assert_uint_eq(t.result.steps, 18);
    training_free(&t);
}
END_TEST

/* Strengths of 0 are no augmentation, whatever their seed. */
START_TEST(no_augmentation_has_no_seed) {
    training t;
    recipe r = base;
    const rbe_augment_options zeros = {.seed = 5};
    r.fit.augment = NULL;
    training_leave(&r, 7);
    r.fit.augment = &zeros;
    training_make(&t, &r, true);
    t.keep.resume = true;
    ck_assert_msg(training_run(&t) == RBE_OK, "%s", rbe_last_error());
    ck_assert_uint_eq(t.result.resumed, 7);
    training_free(&t);
}
END_TEST

/* ---- files that are none, arguments that are none -------------------------------------------------------------- */

START_TEST(other_files_are_refused) {
    training t;
    training_make(&t, &base, false);
    const rbe_checkpoint c = checkpoint_of(&t);
    bytes before = snapshot_of(&t);
    ck_assert_int_eq(rbe_checkpoint_load(&c, scratch_path("missing")), RBE_IO_ERROR);
    assert_failed(RBE_IO_ERROR, "missing");
    ck_assert_int_eq(mkdir(scratch_path("folder"), 0700), 0);
    ck_assert_int_eq(rbe_checkpoint_load(&c, scratch_path("folder")), RBE_IO_ERROR);
    ck_assert_int_eq(rbe_checkpoint_save(&c, scratch_path("folder"), 1), RBE_IO_ERROR);
    ck_assert_int_eq(rmdir(scratch_path("folder")), 0);
    ck_assert_int_eq(rbe_checkpoint_load(&c, "/dev/null"), RBE_IO_ERROR);
    ck_assert_ok(rbe_model_save(t.model, scratch_path("model"), NULL));
    ck_assert_int_eq(rbe_checkpoint_load(&c, scratch_path("model")), RBE_BAD_FORMAT);
    assert_failed(RBE_BAD_FORMAT, "model");
    ck_assert_int_eq(rbe_checkpoint_load(&c, "tests/main.c"), RBE_BAD_FORMAT);
    const float value = 1.0f;
    const rbe_stored_tensor tensor = {.name = "a", .dtype = RBE_F32, .dims = 1, .shape = {1}, .values = &value};
    ck_assert_ok(rbe_tensor_file_save(scratch_path("tensors"), &tensor, 1, NULL, 0, true));
    ck_assert_int_eq(rbe_checkpoint_load(&c, scratch_path("tensors")), RBE_BAD_FORMAT);
    ck_assert_ok(rbe_checkpoint_save(&c, scratch_path("checkpoint"), 1));
    ck_assert_ptr_null(rbe_model_load(scratch_path("checkpoint")));
    ck_assert_int_eq(rbe_last_status(), RBE_BAD_FORMAT);
    bytes after = snapshot_of(&t);
    ck_assert(same_bytes(before, after));
    free(before.data);
    free(after.data);
    training_free(&t);
}
END_TEST

static rbe_status nothing(void *user, rbe_writer *writer) {
    (void)user, (void)writer;
    return RBE_OK;
}

START_TEST(arguments_are_checked) {
    training t;
    training_make(&t, &base, false);
    const rbe_routine half = {.name = "half", .write = nothing}, unnamed = {.name = NULL};
    const rbe_routine twins[2] = {{.name = "twin"}, {.name = "twin"}}, own = {.name = "optimiser"};
    const rbe_growth *none = NULL;
    const rbe_routine null = rbe_growth_routine((rbe_growth *)none), library = {.name = "library"};
    const rbe_checkpoint cases[] = {{.model = NULL},
                                    {.model = t.model, .routine_count = 1},
                                    {.model = t.model, .routines = &half, .routine_count = 1},
                                    {.model = t.model, .routines = &unnamed, .routine_count = 1},
                                    {.model = t.model, .routines = twins, .routine_count = 2},
                                    {.model = t.model, .optim = t.optim, .routines = &own, .routine_count = 1},
                                    {.model = t.model, .routines = &library, .routine_count = 1},
                                    {.model = t.model, .routines = &null, .routine_count = 1}};
    const rbe_checkpoint good = {.model = t.model, .optim = t.optim, .routines = &own};
    ck_assert_ok(rbe_checkpoint_save(&good, scratch_path("good"), 1));
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        ck_assert_int_eq(rbe_checkpoint_save(&cases[n], scratch_path("c"), 1), RBE_INVALID_ARGUMENT);
        ck_assert_int_eq(rbe_checkpoint_load(&cases[n], scratch_path("good")), RBE_INVALID_ARGUMENT);
    }
    ck_assert_int_eq(rbe_checkpoint_save(NULL, scratch_path("c"), 1), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_checkpoint_load(NULL, scratch_path("good")), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_checkpoint_save(&good, NULL, 1), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_checkpoint_load(&good, NULL), RBE_INVALID_ARGUMENT);
    ck_assert(!exists(scratch_path("c")));
    ck_assert_ok(rbe_checkpoint_load(&good, scratch_path("good")));
    training_free(&t);
}
END_TEST

TCase *checkpoint_refusals_case(void) {
    TCase *refusals = tcase_create("refusals");
    tcase_add_checked_fixture(refusals, scratch_clear, scratch_clear);
    tcase_add_loop_test(refusals, what_differs_is_named, 0, CHANGES);
    tcase_add_test(refusals, any_byte_of_the_samples_counts);
    tcase_add_loop_test(refusals, what_may_differ, 0, ALLOWED);
    tcase_add_test(refusals, no_augmentation_has_no_seed);
    tcase_add_test(refusals, other_files_are_refused);
    tcase_add_test(refusals, arguments_are_checked);
    return refusals;
}
