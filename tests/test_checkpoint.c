/* Exactness: a training that was interrupted, after any of its steps, ends with the bits of one that was not: model,
 * log, best model, results, and all that the optimiser and the routines remember. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint_support.h"
#include "suites.h"

/* 44 samples: six batches of 8, the last of 4 samples; with accumulate 3 two steps an epoch. */
static const recipe recipes[] = {
    {.name = "dense, momentum",
     .method = "sgd",
     .optim = {.lr = 0.05f, .momentum = 0.9f},
     .log = true,
     .fit = {.epochs = 2, .batch = 8, .log_every = 1}},
    {.name = "dense, plain sgd",
     .method = "sgd",
     .optim = {.lr = 0.05f},
     .dropout = 0.2f,
     .tested = true,
     .fit = {.epochs = 2, .batch = 8, .seed = 0xfedcba9876543210}},
    {.name = "dense, adam, dropout, cosine",
     .method = "adam",
     .dropout = 0.3f,
     .log = true,
     .tested = true,
     .best = true,
     .optim = {.lr = 0.01f, .clip_norm = 0.5f},
     .threads_after = 2,
     .fit = {.epochs = 3, .batch = 8, .seed = 3, .log_every = 2, .schedule = {.kind = RBE_COSINE, .floor = 0.1f}}},
    {.name = "dense, nesterov, drops of the rate",
     .method = "sgd",
     .optim = {.lr = 0.05f, .momentum = 0.9f, .nesterov = true, .weight_decay = 0.01f},
     .fit = {.epochs = 3, .batch = 8, .schedule = {.kind = RBE_STEP, .every = 5, .factor = 0.5f, .warmup = 4}}},
    {.name = "dense, accumulate",
     .method = "adamw",
     .optim = {.lr = 0.01f, .weight_decay = 0.1f},
     .tested = true,
     .samples = WITH_WEIGHTS,
     .dropout = 0.2f,
     .log = true,
     .threads = 2,
     .fit = {.epochs = 4, .batch = 8, .accumulate = 3, .log_every = 1}},
    {.name = "compressed, adam",
     .model = COMPRESSED,
     .method = "adam",
     .optim = {.lr = 0.01f},
     .tested = true,
     .log = true,
     .best = true,
     .fit = {.epochs = 3, .batch = 8, .log_every = 1}},
    {.name = "compressed, grown",
     .model = COMPRESSED,
     .method = "adam",
     .optim = {.lr = 0.01f},
     .growth = true,
     .log = true,
     .threads_after = 2,
     .fit = {.epochs = 3, .batch = 8, .log_every = 5}},
    {.name = "compressed, momentum, grown",
     .model = COMPRESSED,
     .method = "sgd",
     .growth = true,
     .dropout = 0.2f,
     .optim = {.lr = 0.02f, .momentum = 0.9f},
     .tested = true,
     .samples = WITH_PIXELS,
     .fit = {.epochs = 3, .batch = 8, .seed = 7, .schedule = {.kind = RBE_COSINE, .warmup = 3}}},
    {.name = "compressed, pruned",
     .model = COMPRESSED,
     .method = "adamw",
     .gradual = true,
     .tested = true,
     .log = true,
     .optim = {.lr = 0.01f, .weight_decay = 0.05f, .clip_norm = 1.0f},
     .best = true,
     .fit = {.epochs = 3, .batch = 8, .log_every = 1}},
    {.name = "compressed, pruned by chance",
     .model = COMPRESSED,
     .method = "adam",
     .gradual = true,
     .random_pruning = true,
     .optim = {.lr = 0.01f},
     .fit = {.epochs = 3, .batch = 8}},
    {.name = "compressed, grown and pruned",
     .model = COMPRESSED,
     .method = "adam",
     .gradual = true,
     .growth = true,
     .optim = {.lr = 0.01f},
     .dropout = 0.1f,
     .tested = true,
     .best = true,
     .log = true,
     .threads = 2,
     .fit = {.epochs = 3, .batch = 8, .schedule = {.kind = RBE_COSINE}, .log_every = 3}},
    {.name = "compressed, grown and pruned, of 4 bits",
     .model = COMPRESSED,
     .method = "adam",
     .gradual = true,
     .growth = true,
     .bits = 4,
     .optim = {.lr = 0.01f},
     .dropout = 0.1f,
     .tested = true,
     .best = true,
     .log = true,
     .threads_after = 2,
     .fit = {.epochs = 3, .batch = 8, .log_every = 3}},
    {.name = "nested, of 2 bits",
     .model = NESTED,
     .method = "sgd",
     .bits = 2,
     .optim = {.lr = 0.01f, .momentum = 0.8f},
     .fit = {.epochs = 3, .batch = 8}},
    {.name = "compressed, accumulate",
     .model = COMPRESSED,
     .method = "adam",
     .growth = true,
     .gradual = true,
     .optim = {.lr = 0.01f, .clip_norm = 0.3f},
     .samples = WITH_WEIGHTS,
     .tested = true,
     .dropout = 0.2f,
     .fit = {.epochs = 6, .batch = 8, .accumulate = 3}},
    {.name = "compressed, targets",
     .model = COMPRESSED,
     .method = "adam",
     .optim = {.lr = 0.01f},
     .log = true,
     .samples = WITH_TARGETS,
     .tested = true,
     .best = true,
     .growth = true,
     .fit = {.epochs = 3, .batch = 8, .best_by_metric = true, .log_every = 1}},
    {.name = "compressed, meddled with",
     .model = COMPRESSED,
     .method = "adam",
     .optim = {.lr = 0.01f},
     .log = true,
     .meddles = true,
     .growth = true,
     .tested = true,
     .fit = {.epochs = 3, .batch = 8, .log_every = 1, .schedule = {.kind = RBE_COSINE, .floor = 0.2f}}},
    {.name = "dense, meddled with",
     .method = "adamw",
     .optim = {.lr = 0.01f},
     .log = true,
     .meddles = true,
     .fit = {.epochs = 3, .batch = 8, .log_every = 1, .schedule = {.base = 0.02f}}},
    {.name = "nested, meddled with, accumulate",
     .model = NESTED,
     .method = "adam",
     .optim = {.lr = 0.01f, .clip_norm = 1.0f},
     .meddles = true,
     .gradual = true,
     .dropout = 0.1f,
     .fit = {.epochs = 4, .batch = 8, .accumulate = 2, .schedule = {.kind = RBE_STEP, .every = 4}}},
    {.name = "nested, adam",
     .model = NESTED,
     .method = "adam",
     .optim = {.lr = 0.005f},
     .dropout = 0.2f,
     .tested = true,
     .best = true,
     .log = true,
     .fit = {.epochs = 2, .batch = 8, .log_every = 1}},
    {.name = "nested, grown and pruned",
     .model = NESTED,
     .method = "sgd",
     .growth = true,
     .gradual = true,
     .optim = {.lr = 0.01f, .momentum = 0.8f, .clip_norm = 1.0f},
     .threads_after = 2,
     .dropout = 0.2f,
     .fit = {.epochs = 3, .batch = 8, .schedule = {.kind = RBE_COSINE}}},
    {.name = "image, alpha, overlap",
     .model = IMAGE,
     .method = "adam",
     .optim = {.lr = 0.01f},
     .growth = true,
     .samples = WITH_PIXELS,
     .tested = true,
     .log = true,
     .fit = {.epochs = 2, .batch = 8}},
    {.name = "image, pruned",
     .model = IMAGE,
     .method = "adamw",
     .optim = {.lr = 0.01f},
     .gradual = true,
     .tested = true,
     .samples = WITH_TARGETS,
     .dropout = 0.2f,
     .fit = {.epochs = 2, .batch = 8}},
    {.name = "image, augmented",
     .model = IMAGE,
     .method = "adam",
     .optim = {.lr = 0.01f},
     .growth = true,
     .samples = WITH_PIXELS,
     .dropout = 0.1f,
     .tested = true,
     .best = true,
     .log = true,
     .threads = 2,
     .threads_after = 3,
     .fit = {.epochs = 3,
             .batch = 20,
             .accumulate = 2,
             .log_every = 1,
             .seed = 4,
             .augment = &(const rbe_augment_options){.affine = 0.5, .elastic = 0.8, .seed = 9}}},
    {.name = "patience",
     .model = COMPRESSED,
     .method = "sgd",
     .optim = {.lr = 0.02f, .momentum = 0.9f},
     .spoils = true,
     .tested = true,
     .best = true,
     .log = true,
     .fit = {.epochs = 10, .batch = 16, .patience = 3, .log_every = 2, .seed = 2}},
    {.name = "one batch an epoch",
     .model = COMPRESSED,
     .method = "adam",
     .growth = true,
     .tested = true,
     .log = true,
     .best = true,
     .dropout = 0.1f,
     .fit = {.epochs = 12, .batch = 100, .log_every = 3}},
};
enum { RECIPES = sizeof recipes / sizeof *recipes };

/* ---- the program is asked to stop ---------------------------------------------------------------------------- */

START_TEST(stopped_after_any_step) {
    const recipe *r = &recipes[_i];
    outcome expected = uninterrupted(r);
    for (size_t steps = 1; steps <= expected.result.steps; steps++) {
        scratch_clear();
        training_leave(r, steps);
        go_on(r, &expected, steps, "stopped");
    }
    outcome_free(&expected);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* A new process for each step. */
START_TEST(stopped_after_every_step) {
    const recipe *r = &recipes[_i];
    outcome expected = uninterrupted(r);
    scratch_clear();
    for (size_t steps = 1; steps <= expected.result.steps; steps++) {
        training t;
        training_make(&t, r, true);
        t.keep.resume = true;
        t.stop_after = steps;
        ck_assert_msg(training_run(&t) == RBE_STOPPED, "%s, step %zu: %s", r->name, steps, rbe_last_error());
        ck_assert_uint_eq(t.result.steps, steps);
        ck_assert_uint_eq(t.result.resumed, steps - 1);
        training_free(&t);
    }
    go_on(r, &expected, expected.result.steps, "a chain");
    outcome_free(&expected);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* ---- the program is killed ----------------------------------------------------------------------------------- */

/* With a checkpoint after each step and each epoch; copies of all of them. */
static outcome with_checkpoints(const recipe *r, bytes *copies, size_t *count) {
    training t;
    training_make(&t, r, true);
    t.keep.every_steps = 1;
    t.keep.every_epoch = true;
    t.copies = copies;
    ck_assert_msg(training_run(&t) == RBE_OK, "%s: %s", r->name, rbe_last_error());
    *count = t.copy_count;
    outcome o = outcome_of(&t);
    training_free(&t);
    return o;
}

/* Saving changes nothing. And a crash leaves a checkpoint, and a log and a best model that are later: the log is cut
 * back, the best model is written again where it comes again. */
START_TEST(killed_after_any_step) {
    const recipe *r = &recipes[_i];
    static bytes copies[3 * MOST_STEPS];
    size_t count;
    outcome expected = uninterrupted(r);
    scratch_clear();
    outcome saving = with_checkpoints(r, copies, &count);
    assert_same(&expected, &saving, 0, r->name, "with checkpoints");
    ck_assert_uint_eq(count, expected.result.steps - 1 + expected.result.epochs);
    for (size_t n = 0; n < count; n++) {
        write_whole(scratch_path("run.checkpoint"), copies[n]);
        go_on(r, &expected, steps_in(copies[n]), "killed");
        free(copies[n].data);
    }
    outcome_free(&expected);
    outcome_free(&saving);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* ---- growth -------------------------------------------------------------------------------------------------- */

/* After a step with growth armed, and after one with an exchange done: the counters go on. */
START_TEST(between_the_two_calls_of_an_exchange) {
    static const recipe grown = {.name = "grown",
                                 .model = COMPRESSED,
                                 .method = "adam",
                                 .growth = true,
                                 .optim = {.lr = 0.01f},
                                 .fit = {.epochs = 2, .batch = 8}};
    const recipe *r = &grown;
    training whole;
    training_make(&whole, r, false);
    ck_assert_ok(training_run(&whole));
    const rbe_growth_counters expected = rbe_growth_count(whole.growth);
    ck_assert_uint_gt(expected.exchanges, 2);
    size_t armed = 0;
    for (size_t steps = 1; steps < whole.result.steps; steps++) {
        training_leave(r, steps);
        bytes file = read_whole(scratch_path("run.checkpoint"));
        armed += !memmem(file.data, file.count, "\\\"armed_0\\\":0", strlen("\\\"armed_0\\\":0"));
        free(file.data);
        training t;
        training_make(&t, r, true);
        t.keep.resume = true;
        ck_assert_ok(training_run(&t));
        ck_assert_uint_eq(rbe_growth_count(t.growth).values, expected.values);
        ck_assert_uint_eq(rbe_growth_count(t.growth).exchanges, expected.exchanges);
        training_free(&t);
    }
    ck_assert_uint_eq(armed, expected.exchanges);
    training_free(&whole);
}
END_TEST

/* ---- what may change ----------------------------------------------------------------------------------------- */

/* More epochs at a constant rate: as if there had been so many from the beginning. */
START_TEST(more_epochs) {
    recipe r = recipes[5];
    r.fit.epochs = 5;
    outcome expected = uninterrupted(&r);
    scratch_clear();
    r.fit.epochs = 2;
    training t;
    training_make(&t, &r, true);
    ck_assert_ok(training_run(&t));
    training_free(&t);
    r.fit.epochs = 5;
    go_on(&r, &expected, 2 * 6, "with more epochs");
    r.fit.epochs = 3; /* fewer: there is nothing left to do */
    training_make(&t, &r, true);
    t.keep.resume = true;
    ck_assert_ok(training_run(&t));
    ck_assert_uint_eq(t.result.epochs, 5);
    ck_assert_uint_eq(t.result.resumed, 30);
    outcome found = outcome_of(&t);
    assert_same(&expected, &found, MOST_STEPS, r.name, "fewer epochs");
    outcome_free(&found);
    outcome_free(&expected);
    training_free(&t);
}
END_TEST

/* A training at its end is not trained again. */
START_TEST(nothing_is_left_to_do) {
    const recipe *r = &recipes[_i];
    training t;
    training_make(&t, r, true);
    ck_assert_ok(training_run(&t));
    outcome expected = outcome_of(&t);
    ck_assert_int_eq(expected.result.epochs<r->fit.epochs, r->fit.patience> 0);
    training_free(&t);
    bytes before = read_whole(scratch_path("run.checkpoint"));
    go_on(r, &expected, expected.result.steps, "at the end");
    bytes after = read_whole(scratch_path("run.checkpoint"));
    ck_assert(same_bytes(before, after));
    free(before.data);
    free(after.data);
    outcome_free(&expected);
}
END_TEST

/* Positions that have moved, and a half-finished training in the objects: the checkpoint's take their place. */
START_TEST(into_objects_that_are_not_fresh) {
    const recipe *r = &recipes[10];
    outcome expected = uninterrupted(r);
    scratch_clear();
    training_leave(r, 5);
    training t;
    training_make(&t, r, false);
    t.stop_after = 11;
    ck_assert_int_eq(training_run(&t), RBE_STOPPED);
    t.stop = 0;
    t.stop_after = 0;
    copy_file(scratch_path("log.csv"), scratch_path("longer.csv"));
    t.options.checkpoint = &t.keep;
    t.keep.resume = true;
    ck_assert_msg(training_run(&t) == RBE_OK, "%s", rbe_last_error());
    ck_assert_uint_eq(t.result.resumed, 5);
    outcome found = outcome_of(&t);
    assert_same(&expected, &found, 5, r->name, "into used objects");
    outcome_free(&found);
    outcome_free(&expected);
    training_free(&t);
}
END_TEST

Suite *checkpoint_suite(void) {
    Suite *suite = suite_create("checkpoint");
    TCase *exact = tcase_create("exact");
    tcase_add_checked_fixture(exact, scratch_clear, scratch_clear);
    tcase_add_loop_test(exact, stopped_after_any_step, 0, RECIPES);
    tcase_add_loop_test(exact, stopped_after_every_step, 0, RECIPES);
    tcase_add_loop_test(exact, killed_after_any_step, 0, RECIPES);
    tcase_add_test(exact, between_the_two_calls_of_an_exchange);
    tcase_add_test(exact, more_epochs);
    tcase_add_loop_test(exact, nothing_is_left_to_do, 0, RECIPES);
    tcase_add_test(exact, into_objects_that_are_not_fresh);
    suite_add_tcase(suite, exact);
    suite_add_tcase(suite, checkpoint_when_case());
    suite_add_tcase(suite, checkpoint_keep_case());
    suite_add_tcase(suite, checkpoint_loop_case());
    suite_add_tcase(suite, checkpoint_state_case());
    suite_add_tcase(suite, checkpoint_models_case());
    suite_add_tcase(suite, checkpoint_refusals_case());
    suite_add_tcase(suite, checkpoint_memory_case());
    suite_add_tcase(suite, checkpoint_files_case());
    suite_add_tcase(suite, checkpoint_size_case());
    suite_add_tcase(suite, checkpoint_damage_case());
    return suite;
}
