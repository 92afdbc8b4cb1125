/* A process that is killed while it writes: what is on the disk is the old checkpoint or the new one, whole, and
 * training goes on from it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "checkpoint_support.h"

static const recipe killed = {.name = "killed",
                              .model = COMPRESSED,
                              .method = "adam",
                              .optim = {.lr = 0.01f},
                              .growth = true,
                              .dropout = 0.1f,
                              .tested = true,
                              .log = true,
                              .best = true,
                              .fit = {.epochs = 2, .batch = 8, .log_every = 1}};

static int kill_at;

static void kill_oneself(void) {
    if (fsync_calls + 1 == kill_at) raise(SIGKILL);
}

/* Whether a child process that trains was killed at call number `at` of fsync. */
static bool train_and_die(int at, size_t keep) {
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        training t;
        training_make(&t, &killed, true);
        t.keep.every_steps = 2;
        t.keep.keep = keep;
        t.keep.resume = t.keep.or_before = true;
        fsync_calls = 0;
        kill_at = at;
        at_fsync = kill_oneself;
        _exit(training_run(&t) == RBE_OK ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    return WIFSIGNALED(status);
}

/* At each fsync in turn: nothing but checkpoints, log and best model is left in the end. */
START_TEST(killed_while_it_writes) {
    const size_t keep = (size_t)_i;
    outcome expected = uninterrupted(&killed);
    int at = 1;
    for (bool dies = true; dies; at++) {
        scratch_clear();
        dies = train_and_die(at, keep);
        training t;
        training_make(&t, &killed, true);
        t.keep.resume = true;
        t.keep.every_steps = 2;
        t.keep.keep = keep;
        ck_assert_msg(training_run(&t) == RBE_OK, "call %d: %s", at, rbe_last_error());
        outcome found = outcome_of(&t);
        assert_same(&expected, &found, t.result.resumed, killed.name, "while it writes");
        ck_assert_uint_eq(scratch_count(), 2 + keep);
        outcome_free(&found);
        training_free(&t);
    }
    ck_assert_int_gt(at, 20);
    outcome_free(&expected);
}
END_TEST

/* One process after the other, each killed a little later than it can make a checkpoint: they get to the end. */
START_TEST(killed_again_and_again) {
    outcome expected = uninterrupted(&killed);
    scratch_clear();
    size_t processes = 1;
    for (; train_and_die(8 + (int)(processes % 3), 2); processes++) ck_assert_uint_lt(processes, 30);
    ck_assert_uint_gt(processes, 2);
    go_on(&killed, &expected, 12, "killed again and again");
    outcome_free(&expected);
}
END_TEST

TCase *checkpoint_killed_case(void) {
    TCase *process = tcase_create("killed");
    tcase_add_checked_fixture(process, scratch_clear, scratch_clear);
    tcase_add_loop_test(process, killed_while_it_writes, 1, 4);
    tcase_add_test(process, killed_again_and_again);
    return process;
}
