/* Checkpoints of a training that ranks share: written by rank 0 alone, and gone on with by any number of ranks. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rank_support.h"
#include "support.h"

static const recipe usual = {.name = "usual",
                             .model = COMPRESSED,
                             .method = "adam",
                             .optim = {.lr = 0.001f},
                             .dropout = 0.1f,
                             .growth = true,
                             .tested = true,
                             .log = true,
                             .best = true,
                             .fit = {.epochs = 4, .batch = 8, .log_every = 1}};

enum { STEPS = 24, STOP_AT = 9 }; /* in the middle of the second epoch */

/* A training by so many ranks that one of them stops. */
static void leave(size_t size) {
    static team t;
    team_make(&t, &usual, size, true);
    t.ranks[size - 1].stop_after = STOP_AT;
    team_expect(&t, RBE_STOPPED);
    ck_assert_uint_eq(steps_in_file(t.ranks[0].path), STOP_AT);
    team_free(&t);
}

static const struct change { size_t before, after; } changes[] = {{2, 2}, {3, 3}, {2, 4}, {4, 1}, {1, 3}};

/* The rest is as it would have been: bit for bit with the same number, up to rounding with another. */
START_TEST(any_number_of_ranks_goes_on) {
    static team whole, rest;
    const struct change c = changes[_i];
    team_make(&whole, &usual, c.before, false);
    team_expect(&whole, RBE_OK);
    const training *expected = &whole.ranks[0];
    bytes log = read_whole(expected->log), best = read_whole(expected->best), end = snapshot_of(&whole.ranks[0]);
    scratch_clear();
    leave(c.before);
    team_make(&rest, &usual, c.after, true);
    for (size_t n = 0; n < c.after; n++) rest.ranks[n].keep.resume = true;
    team_expect(&rest, RBE_OK);
    for (size_t n = 0; n < c.after; n++) {
        ck_assert_uint_eq(rest.ranks[n].result.resumed, STOP_AT);
        ck_assert_uint_eq(rest.ranks[n].result.steps, STEPS);
        for (size_t k = STOP_AT; k < STEPS; k++)
            ck_assert_double_eq_tol(rest.ranks[n].notes[k].batch_loss, expected->notes[k].batch_loss, 1e-4);
    }
    team_assert_alike(&rest);
    if (c.before == c.after) {
        bytes log_after = read_whole(expected->log), best_after = read_whole(expected->best);
        bytes end_after = snapshot_of(&rest.ranks[0]);
        ck_assert(same_bytes(log, log_after));
        ck_assert(same_bytes(best, best_after));
        ck_assert(same_bytes(end, end_after));
        free(log_after.data), free(best_after.data), free(end_after.data);
    }
    free(log.data), free(best.data), free(end.data);
    team_free(&whole);
    team_free(&rest);
}
END_TEST

/* The others have paths of which nothing becomes, and read no file. */
START_TEST(rank_0_alone_has_files) {
    static team t;
    leave(2);
    team_make(&t, &usual, 3, true);
    for (size_t n = 0; n < 3; n++) {
        t.ranks[n].keep.resume = true;
        if (n == 0) continue;
        t.ranks[n].options.csv_path = "/nowhere/log.csv";
        t.ranks[n].options.best_path = "/nowhere/best";
        t.ranks[n].keep.path = "/nowhere/checkpoint";
    }
    team_expect(&t, RBE_OK);
    for (size_t n = 0; n < 3; n++) ck_assert_uint_eq(t.ranks[n].result.resumed, STOP_AT);
    team_free(&t);
}
END_TEST

/* A request on any rank is one to rank 0. */
static rbe_status ask(void *user, const rbe_progress *p) {
    training *t = user;
    if (p->step == 3) *t->keep.request = 1;
    return RBE_OK;
}

START_TEST(any_rank_may_ask_for_a_checkpoint) {
    static team t;
    volatile sig_atomic_t requests[3] = {0};
    team_make(&t, &usual, 3, true);
    for (size_t n = 0; n < 3; n++) {
        t.ranks[n].keep.every_minutes = 1e9;
        t.ranks[n].keep.request = &requests[n];
        t.ranks[n].keep.keep = 3;
    }
    t.ranks[2].options.on_step = ask;
    team_expect(&t, RBE_OK);
    char name[100];
    snprintf(name, sizeof name, "%s.1", t.ranks[0].path);
    ck_assert_uint_eq(steps_in_file(name), 4);
    ck_assert_int_eq(requests[2], 0);
    team_free(&t);
}
END_TEST

static void damage(team *t) { write_whole(t->ranks[0].path, (bytes){(uint8_t *)"rubbish", 7}); }

static void change_batch(team *t) {
    for (size_t n = 0; n < t->size; n++) t->ranks[n].options.batch = 9;
}

static void resume_on_one(team *t) { t->ranks[1].keep.resume = false; }

static void no_checkpoint_on_one(team *t) { t->ranks[1].options.checkpoint = NULL; }

static void remove_it(team *t) { remove(t->ranks[0].path); }

static const struct refusal {
    void (*spoil)(team *t);
    rbe_status status;
    const char *text;
} refusals[] = {{damage, RBE_BAD_FORMAT, "rank 0: "},
                {change_batch, RBE_INVALID_ARGUMENT, "fit: batch"},
                {resume_on_one, RBE_INVALID_ARGUMENT, "rank 1: fit: resume: 0 here, 1 on rank 0"},
                {no_checkpoint_on_one, RBE_INVALID_ARGUMENT, "rank 1: fit: checkpoint: 0 here, 1 on rank 0"},
                {remove_it, RBE_OK, ""}};

START_TEST(all_ranks_hear_of_a_refusal) {
    static team t;
    const struct refusal *r = &refusals[_i];
    leave(2);
    team_make(&t, &usual, 2, true);
    for (size_t n = 0; n < 2; n++) t.ranks[n].keep.resume = true;
    r->spoil(&t);
    team_expect(&t, r->status);
    for (size_t n = 0; n < 2 && r->status != RBE_OK; n++) ck_assert_msg(strstr(t.text[n], r->text), "%s", t.text[n]);
    team_free(&t);
}
END_TEST

TCase *ranks_resume_case(void) {
    TCase *resume = tcase_create("ranks resume");
    tcase_add_checked_fixture(resume, NULL, scratch_clear);
    tcase_add_loop_test(resume, any_number_of_ranks_goes_on, 0, sizeof changes / sizeof *changes);
    tcase_add_test(resume, rank_0_alone_has_files);
    tcase_add_test(resume, any_rank_may_ask_for_a_checkpoint);
    tcase_add_loop_test(resume, all_ranks_hear_of_a_refusal, 0, sizeof refusals / sizeof *refusals);
    return resume;
}
