/* The files beside a checkpoint when training goes on: log and best model, changed, shorter, longer, missing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint_support.h"

/* Three epochs of six steps, each better than the one before. */
static const recipe improving = {.name = "improving",
                                 .model = COMPRESSED,
                                 .method = "adam",
                                 .optim = {.lr = 0.01f},
                                 .tested = true,
                                 .log = true,
                                 .best = true,
                                 .fit = {.epochs = 3, .batch = 8, .log_every = 1}};

/* Spoilt in its second epoch: the first one is the best. */
static const recipe worsening = {.name = "worsening",
                                 .method = "adam",
                                 .optim = {.lr = 0.01f},
                                 .spoils = true,
                                 .tested = true,
                                 .log = true,
                                 .best = true,
                                 .fit = {.epochs = 3, .batch = 8, .log_every = 1}};

static rbe_status resume(const recipe *r, training *t) {
    training_make(t, r, true);
    t->keep.resume = true;
    return training_run(t);
}

/* ---- the log --------------------------------------------------------------------------------------------------- */

typedef enum log_harm { LONGER, ONE_BYTE, FIRST_BYTE, SHORTER, EMPTY, MISSING, ANOTHER, LOG_HARMS } log_harm;

static const struct {
    rbe_status status;
    const char *text;
} of_log[LOG_HARMS] = {
    [LONGER] = {RBE_OK, NULL},
    [ONE_BYTE] = {RBE_INVALID_ARGUMENT, "not the log of this training"},
    [FIRST_BYTE] = {RBE_INVALID_ARGUMENT, "not the log of this training"},
    [SHORTER] = {RBE_INVALID_ARGUMENT, "not the log of this training"},
    [EMPTY] = {RBE_INVALID_ARGUMENT, "not the log of this training"},
    [MISSING] = {RBE_IO_ERROR, "log.csv"},
    [ANOTHER] = {RBE_INVALID_ARGUMENT, "not the log of this training"},
};

static void harm_log(const char *path, log_harm how) {
    bytes b = read_whole(path);
    unlink(path);
    b.data = realloc(b.data, b.count + 20);
    if (how == LONGER) memcpy(b.data + b.count, "step,1,1,2", 10), b.count += 10;
    if (how == ONE_BYTE) b.data[b.count - 3] ^= 1;
    if (how == FIRST_BYTE) b.data[0] ^= 1;
    if (how == SHORTER) b.count--;
    if (how == EMPTY) b.count = 0;
    if (how == ANOTHER) memset(b.data, 'x', b.count);
    if (how != MISSING) write_whole(path, b);
    free(b.data);
}

START_TEST(the_log_must_be_there) {
    outcome expected = uninterrupted(&improving);
    training_leave(&improving, 8);
    harm_log(scratch_path("log.csv"), (log_harm)_i);
    bool there = exists(scratch_path("log.csv"));
    bytes before = there ? read_whole(scratch_path("log.csv")) : (bytes){0};
    training t;
    rbe_status status = resume(&improving, &t);
    ck_assert_msg(status == of_log[_i].status, "%d: %s: %s", _i, rbe_status_name(status), rbe_last_error());
    if (status == RBE_OK) {
        outcome found = outcome_of(&t);
        assert_same(&expected, &found, 8, "improving", "a longer log");
        outcome_free(&found);
    } else {
        assert_failed(status, of_log[_i].text);
        ck_assert_int_eq(exists(t.log), there);
        bytes after = there ? read_whole(t.log) : (bytes){0};
        ck_assert(!there || same_bytes(before, after));
        ck_assert_uint_eq(t.result.steps, 0);
        free(after.data);
    }
    training_free(&t);
    free(before.data);
    outcome_free(&expected);
}
END_TEST

/* A log that begins where the checkpoint is: there was none before. */
START_TEST(a_log_may_begin_later) {
    recipe r = improving;
    outcome expected = uninterrupted(&r);
    r.log = false;
    training_leave(&r, 13);
    training t;
    unlink(scratch_path("log.csv"));
    ck_assert_msg(resume(&improving, &t) == RBE_OK, "%s", rbe_last_error());
    bytes log = read_whole(t.log);
    size_t header = (size_t)((uint8_t *)memchr(log.data, '\n', log.count) - log.data) + 1, rest = log.count - header;
    ck_assert_mem_eq(log.data, expected.log.data, header);
    ck_assert_mem_eq(log.data + header, expected.log.data + expected.log.count - rest, rest);
    size_t rows = 0;
    for (size_t n = 0; n < log.count; n++) rows += log.data[n] == '\n';
    ck_assert_uint_eq(rows, 1 + 5 + 1);
    free(log.data);
    training_free(&t);
    outcome_free(&expected);
}
END_TEST

/* A log that is no regular file cannot be compared or cut back, and hinders nothing. */
START_TEST(a_special_log) {
    outcome expected = uninterrupted(&improving);
    for (int again = 0; again < 2; again++) {
        training t;
        training_make(&t, &improving, true);
        t.options.csv_path = "/dev/null";
        t.keep.resume = again;
        t.stop_after = again ? 0 : 8;
        rbe_status status = training_run(&t);
        ck_assert_msg(status == (again ? RBE_OK : RBE_STOPPED), "%s", rbe_last_error());
        if (again) ck_assert_double_eq(t.result.test.loss, expected.result.test.loss);
        training_free(&t);
    }
    outcome_free(&expected);
}
END_TEST

/* ---- the best model -------------------------------------------------------------------------------------------- */

static void spoil(const char *path) {
    bytes b = read_whole(path);
    b.data[b.count - 1] ^= 1;
    write_whole(path, b);
    free(b.data);
}

START_TEST(the_recipes_are_as_they_say) {
    outcome a = uninterrupted(&improving), b = uninterrupted(&worsening);
    ck_assert_uint_eq(a.result.best_epoch, 2);
    ck_assert_uint_eq(b.result.best_epoch, 0);
    outcome_free(&a);
    outcome_free(&b);
}
END_TEST

START_TEST(the_best_model_must_be_there) {
    training_leave(&improving, 8);
    ck_assert_int_eq(unlink(scratch_path("best")), 0);
    training t;
    bytes log = read_whole(scratch_path("log.csv"));
    ck_assert_int_eq(resume(&improving, &t), RBE_IO_ERROR);
    assert_failed(RBE_IO_ERROR, "best");
    ck_assert(!exists(t.best));
    bytes log_after = read_whole(t.log);
    ck_assert(same_bytes(log, log_after));
    free(log.data);
    free(log_after.data);
    training_free(&t);
}
END_TEST

/* Before the end of the first epoch there is no best one yet: whatever stands there does not matter. */
START_TEST(before_there_is_a_best_one) {
    outcome expected = uninterrupted(&improving);
    for (int other = 0; other < 2; other++) {
        scratch_clear();
        training_leave(&improving, 4);
        ck_assert(!exists(scratch_path("best")));
        if (other) write_whole(scratch_path("best"), (bytes){(uint8_t *)"abc", 3});
        go_on(&improving, &expected, 4, "before there is a best model");
    }
    outcome_free(&expected);
}
END_TEST

/* Another file than the checkpoint's: perhaps that of a later epoch, which comes again. */
START_TEST(a_doubtful_best_model_is_replaced) {
    outcome expected = uninterrupted(&improving);
    training_leave(&improving, 8);
    spoil(scratch_path("best"));
    go_on(&improving, &expected, 8, "with a best model of another epoch");
    outcome_free(&expected);
}
END_TEST

/* If it does not come again, the file is not what the result says. The doubt outlives further stops. */
START_TEST(a_doubtful_best_model_is_reported) {
    training t;
    for (int stops = 0; stops < 3; stops++) {
        scratch_clear();
        training_leave(&worsening, 8);
        spoil(scratch_path("best"));
        for (int n = 0; n < stops; n++) {
            training_make(&t, &worsening, true);
            t.keep.resume = true;
            t.stop_after = 9 + (size_t)n;
            ck_assert_int_eq(training_run(&t), RBE_STOPPED);
            training_free(&t);
        }
        ck_assert_int_eq(resume(&worsening, &t), RBE_IO_ERROR);
        assert_failed(RBE_IO_ERROR, "not the model of the best epoch, 1");
        ck_assert_uint_eq(t.result.steps, 18); /* the training itself is done */
        ck_assert_uint_eq(t.result.best_epoch, 0);
        training_free(&t);
        ck_assert_int_eq(resume(&worsening, &t), RBE_IO_ERROR); /* and stays so */
        training_free(&t);
    }
}
END_TEST

/* Without a path there is no doubt. But with one that there was not, the best model is nowhere. */
START_TEST(a_path_that_comes_and_goes) {
    recipe without = worsening;
    without.best = false;
    outcome expected = uninterrupted(&without);
    training t;
    training_leave(&worsening, 8);
    spoil(scratch_path("best"));
    ck_assert_msg(resume(&without, &t) == RBE_OK, "%s", rbe_last_error());
    ck_assert_double_eq(t.result.best.loss, expected.result.best.loss);
    training_free(&t);
    scratch_clear();
    training_leave(&without, 8);
    ck_assert_int_eq(resume(&worsening, &t), RBE_INVALID_ARGUMENT);
    assert_failed(RBE_INVALID_ARGUMENT, "none when the checkpoint was saved");
    training_free(&t);
    outcome_free(&expected);
}
END_TEST

/* A better epoch of a run that saves no best model: the file of the run before is not the best epoch's any more. */
START_TEST(a_better_epoch_without_a_file) {
    recipe without = improving;
    without.best = false;
    training t;
    training_leave(&improving, 8);
    training_make(&t, &without, true);
    t.keep.resume = true;
    t.stop_after = 13; /* the second epoch is the better one */
    ck_assert_int_eq(training_run(&t), RBE_STOPPED);
    ck_assert_uint_eq(t.result.best_epoch, 1);
    training_free(&t);
    recipe two = improving;
    two.fit.epochs = 2;
    ck_assert_int_eq(resume(&two, &t), RBE_INVALID_ARGUMENT);
    assert_failed(RBE_INVALID_ARGUMENT, "none when the checkpoint was saved");
    training_free(&t);
}
END_TEST

TCase *checkpoint_files_case(void) {
    TCase *files = tcase_create("files");
    tcase_add_checked_fixture(files, scratch_clear, scratch_clear);
    tcase_add_loop_test(files, the_log_must_be_there, 0, LOG_HARMS);
    tcase_add_test(files, a_log_may_begin_later);
    tcase_add_test(files, a_special_log);
    tcase_add_test(files, the_recipes_are_as_they_say);
    tcase_add_test(files, the_best_model_must_be_there);
    tcase_add_test(files, before_there_is_a_best_one);
    tcase_add_test(files, a_doubtful_best_model_is_replaced);
    tcase_add_test(files, a_doubtful_best_model_is_reported);
    tcase_add_test(files, a_path_that_comes_and_goes);
    tcase_add_test(files, a_better_epoch_without_a_file);
    return files;
}
