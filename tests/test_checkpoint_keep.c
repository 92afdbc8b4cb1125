/* Which files stay, and from which of them training goes on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint_support.h"

/* Two epochs of six steps. */
static const recipe plain = {.name = "plain",
                             .model = COMPRESSED,
                             .method = "adam",
                             .optim = {.lr = 0.01f},
                             .growth = true,
                             .tested = true,
                             .log = true,
                             .fit = {.epochs = 2, .batch = 8}};

static const char *numbered(size_t n) {
    static char name[100];
    snprintf(name, sizeof name, n ? "%s.%zu" : "%s", scratch_path("run.checkpoint"), n);
    return name;
}

/* ---- which files there are ----------------------------------------------------------------------------------- */

static const struct {
    size_t keep, every_steps;
    size_t steps[6]; /* in the files, the newest first */
} kept[] = {
    {0, 3, {12}},        {1, 3, {12}},        {2, 5, {12, 10}},
    {3, 5, {12, 10, 5}}, {4, 5, {12, 10, 5}}, {5, 2, {12, 12, 10, 8, 6}}, /* one of the last step, one of the end */
};
#define KEPT (int)(sizeof kept / sizeof *kept)

START_TEST(the_newest_stay) {
    training t;
    training_make(&t, &plain, true);
    t.keep.keep = kept[_i].keep;
    t.keep.every_steps = kept[_i].every_steps;
    ck_assert_ok(training_run(&t));
    for (size_t n = 0; n < 6; n++) {
        if (kept[_i].steps[n] == 0)
            ck_assert_msg(!exists(numbered(n)), "%s", numbered(n));
        else
            ck_assert_uint_eq(steps_in_file(numbered(n)), kept[_i].steps[n]);
    }
    training_free(&t);
}
END_TEST

/* By hand: files shift by one with each save; fewer from now on leave the others as they are. */
START_TEST(files_shift) {
    training t;
    training_make(&t, &plain, false);
    const rbe_checkpoint c = {.model = t.model, .optim = t.optim};
    const char *path = t.path;
    bytes files[5];
    for (size_t n = 0; n < 5; n++) {
        rbe_model_param(t.model, 0)->value[0] = (float)n;
        ck_assert_ok(rbe_checkpoint_save(&c, path, 3));
        files[n] = read_whole(path);
        for (size_t k = 0; k < 3 && k <= n; k++) {
            bytes found = read_whole(numbered(k));
            ck_assert_msg(same_bytes(found, files[n - k]), "save %zu: file %zu", n, k);
            free(found.data);
        }
        ck_assert(!exists(numbered(3)));
    }
    ck_assert_ok(rbe_checkpoint_save(&c, path, 0));
    bytes second = read_whole(numbered(1)), third = read_whole(numbered(2));
    ck_assert(same_bytes(second, files[3]) && same_bytes(third, files[2]));
    ck_assert_int_eq(unlink(path), 0); /* with the newest gone the others keep their names */
    ck_assert_ok(rbe_checkpoint_save(&c, path, 3));
    free(second.data);
    second = read_whole(numbered(1));
    ck_assert(same_bytes(second, files[3]));
    free(second.data);
    free(third.data);
    for (size_t n = 0; n < 5; n++) free(files[n].data);
    training_free(&t);
}
END_TEST

/* A link as a path: the header says that path.1 is the one before, and there it is looked for. */
START_TEST(a_link_keeps_its_files_beside_it) {
    char folder[100], target[120];
    strcpy(folder, scratch_path("folder"));
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    snprintf(target, sizeof target, "%s/target", folder);
    outcome expected = uninterrupted(&plain);
    training t;
    training_make(&t, &plain, true);
    ck_assert_int_eq(symlink(target, t.path), 0);
    t.keep.keep = 2;
    t.keep.every_steps = 5;
    t.stop_after = 10;
    ck_assert_int_eq(training_run(&t), RBE_STOPPED);
    training_free(&t);
    write_whole(target, (bytes){(uint8_t *)"none", 4});
    training_make(&t, &plain, true);
    t.keep = (rbe_checkpoint_options){.path = t.path, .keep = 2, .resume = true, .or_before = true};
    ck_assert_msg(training_run(&t) == RBE_OK, "%s", rbe_last_error());
    ck_assert_uint_eq(t.result.resumed, 5);
    outcome found = outcome_of(&t);
    assert_same(&expected, &found, 5, "plain", "by a link");
    training_free(&t);
    outcome_free(&found);
    outcome_free(&expected);
    char old[130];
    snprintf(old, sizeof old, "%s.1", target);
    unlink(old);
    unlink(target);
    rmdir(folder);
}
END_TEST

/* ---- resume -------------------------------------------------------------------------------------------------- */

START_TEST(without_a_file_it_begins) {
    outcome expected = uninterrupted(&plain);
    scratch_clear();
    for (int both = 0; both < 2; both++) {
        training t;
        scratch_clear();
        training_make(&t, &plain, true);
        t.keep.resume = true;
        t.keep.or_before = both;
        t.keep.keep = 3;
        ck_assert_msg(training_run(&t) == RBE_OK, "%s", rbe_last_error());
        ck_assert_uint_eq(t.result.resumed, 0);
        outcome found = outcome_of(&t);
        assert_same(&expected, &found, 0, "plain", "without a file");
        outcome_free(&found);
        training_free(&t);
    }
    outcome_free(&expected);
}
END_TEST

/* Without `resume` an older training's checkpoint is not looked at, whatever it is. */
START_TEST(without_resume_it_begins) {
    outcome expected = uninterrupted(&plain);
    for (int garbage = 0; garbage < 2; garbage++) {
        training_leave(&plain, 5);
        if (garbage) write_whole(scratch_path("run.checkpoint"), (bytes){(uint8_t *)"abc", 3});
        training t;
        training_make(&t, &plain, true);
        ck_assert_ok(training_run(&t));
        ck_assert_uint_eq(t.result.resumed, 0);
        outcome found = outcome_of(&t);
        assert_same(&expected, &found, 0, "plain", "without resume");
        ck_assert_uint_eq(steps_in_file(t.path), 12);
        outcome_free(&found);
        training_free(&t);
    }
    outcome_free(&expected);
}
END_TEST

/* ---- the one before ------------------------------------------------------------------------------------------ */

typedef enum harm { MISSING, EMPTY, HALF, LAST_BYTE, ONE_BIT, GARBAGE, A_FOLDER, A_MODEL, HARMS } harm;

static void damage(const char *path, harm how) {
    bytes b = read_whole(path);
    unlink(path);
    if (how == EMPTY) b.count = 0;
    if (how == HALF) b.count /= 2;
    if (how == LAST_BYTE) b.count--;
    if (how == ONE_BIT) b.data[b.count - 5] ^= 4;
    if (how == GARBAGE) memset(b.data, 0x5a, b.count);
    if (how == A_FOLDER) ck_assert_int_eq(mkdir(path, 0700), 0);
    if (how == A_MODEL) {
        free(b.data);
        rbe_model *model = make_model(COMPRESSED, 0.0f, CLASSES);
        b = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
        rbe_model_free(model);
    }
    if (how != MISSING && how != A_FOLDER) write_whole(path, b);
    free(b.data);
}

static void repair(const char *path) { rmdir(path); }

/* Checkpoints of 10, 8 and 6 steps. */
static void leave_three(void) {
    training t;
    training_make(&t, &plain, true);
    t.keep.keep = 3;
    t.keep.every_steps = 2;
    t.stop_after = 10;
    ck_assert_int_eq(training_run(&t), RBE_STOPPED);
    training_free(&t);
}

static void count_warnings(void *user, const char *text) {
    (void)text;
    ++*(size_t *)user;
}

/* The newest one or two are damaged: training goes on from the one before, says so, and ends with the same bits. */
START_TEST(from_the_one_before) {
    outcome expected = uninterrupted(&plain);
    for (size_t damaged = 1; damaged <= 2; damaged++) {
        size_t warnings = 0;
        scratch_clear();
        leave_three();
        for (size_t n = 0; n < damaged; n++) damage(numbered(n), (harm)_i);
        training t;
        training_make(&t, &plain, true);
        t.keep.resume = t.keep.or_before = true;
        t.keep.keep = 3;
        rbe_set_warning_handler(count_warnings, &warnings);
        rbe_status status = training_run(&t);
        rbe_set_warning_handler(NULL, NULL);
        ck_assert_msg(status == (_i == A_FOLDER ? RBE_IO_ERROR : RBE_OK), "%d: %s", _i, rbe_last_error());
        ck_assert_uint_eq(t.result.resumed, 10 - 2 * damaged);
        ck_assert_int_eq(warnings > 0, _i != MISSING);
        outcome found = outcome_of(&t);
        assert_same(&expected, &found, t.result.resumed, "plain", "from the one before");
        outcome_free(&found);
        training_free(&t);
        repair(numbered(0));
        repair(numbered(1));
    }
    outcome_free(&expected);
}
END_TEST

/* Without or_before a damaged file is an error, and nothing has changed; so if all of them are damaged. */
START_TEST(damage_is_reported) {
    static const struct {
        rbe_status status;
        const char *text;
    } answers[HARMS] = {
        [MISSING] = {RBE_IO_ERROR, "is missing, but"},  [EMPTY] = {RBE_BAD_FORMAT, "run.checkpoint"},
        [HALF] = {RBE_BAD_FORMAT, "run.checkpoint"},    [LAST_BYTE] = {RBE_BAD_FORMAT, "run.checkpoint"},
        [ONE_BIT] = {RBE_BAD_FORMAT, "run.checkpoint"}, [GARBAGE] = {RBE_BAD_FORMAT, "run.checkpoint"},
        [A_FOLDER] = {RBE_IO_ERROR, "run.checkpoint"},  [A_MODEL] = {RBE_BAD_FORMAT, "checkpoint"}};
    for (int all = 0; all < 2; all++) {
        if (all && _i == MISSING) continue;
        scratch_clear();
        leave_three();
        for (size_t n = 0; n < (all ? 3 : 1); n++) damage(numbered(n), (harm)_i);
        bytes log = read_whole(scratch_path("log.csv"));
        training t;
        training_make(&t, &plain, true);
        t.keep.resume = true;
        t.keep.or_before = all;
        t.keep.keep = 3;
        bytes before = snapshot_of(&t);
        ck_assert_int_eq(training_run(&t), answers[_i].status);
        assert_failed(answers[_i].status, answers[_i].text);
        bytes after = snapshot_of(&t), log_after = read_whole(t.log);
        ck_assert(same_bytes(before, after) && same_bytes(log, log_after));
        ck_assert_uint_eq(t.result.steps, 0);
        free(before.data);
        free(after.data);
        free(log.data);
        free(log_after.data);
        training_free(&t);
        for (size_t n = 0; n < 3; n++) repair(numbered(n));
    }
}
END_TEST

/* The one before is of a training at its end: there is nothing to train, but the newest file is whole again. */
START_TEST(the_newest_is_made_again) {
    outcome expected = uninterrupted(&plain);
    training t;
    training_make(&t, &plain, true);
    ck_assert_ok(training_run(&t));
    copy_file(t.path, numbered(1));
    damage(t.path, HALF);
    training_free(&t);
    training_make(&t, &plain, true);
    t.keep.resume = t.keep.or_before = true;
    t.keep.keep = 2;
    ck_assert_ok(training_run(&t));
    ck_assert_uint_eq(t.result.resumed, 12);
    training_free(&t);
    go_on(&plain, &expected, 12, "the newest one");
    outcome_free(&expected);
}
END_TEST

/* What differs is no damage: the one before is not tried, which would differ too. */
START_TEST(a_difference_is_no_damage) {
    leave_three();
    recipe other = plain;
    other.fit.seed = 9;
    training t;
    training_make(&t, &other, true);
    t.keep.resume = t.keep.or_before = true;
    t.keep.keep = 3;
    ck_assert_int_eq(training_run(&t), RBE_INVALID_ARGUMENT);
    assert_failed(RBE_INVALID_ARGUMENT, "seed: 0 when it was saved, 9 now");
    training_free(&t);
}
END_TEST

TCase *checkpoint_keep_case(void) {
    TCase *keep = tcase_create("keep");
    tcase_add_checked_fixture(keep, scratch_clear, scratch_clear);
    tcase_add_loop_test(keep, the_newest_stay, 0, KEPT);
    tcase_add_test(keep, files_shift);
    tcase_add_test(keep, a_link_keeps_its_files_beside_it);
    tcase_add_test(keep, without_a_file_it_begins);
    tcase_add_test(keep, without_resume_it_begins);
    tcase_add_loop_test(keep, from_the_one_before, 0, HARMS);
    tcase_add_loop_test(keep, damage_is_reported, 0, HARMS);
    tcase_add_test(keep, the_newest_is_made_again);
    tcase_add_test(keep, a_difference_is_no_damage);
    return keep;
}
