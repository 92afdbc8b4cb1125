/* What goes wrong on one rank: the training ends on all of them, with that rank's status and text, and nobody waits.
 * What differs between ranks is named before anything is trained. */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/blocks.h"
#include "nn/linear.h"
#include "rank_support.h"
#include "support.h"

enum { RANKS = 3, VICTIM = 1 };

static const recipe usual = {.name = "usual",
                             .model = COMPRESSED,
                             .method = "adam",
                             .optim = {.lr = 0.001f},
                             .dropout = 0.1f,
                             .growth = true,
                             .tested = true,
                             .fit = {.epochs = 3, .batch = 8, .accumulate = 2}};

/* ---- callbacks that fail ------------------------------------------------------------------------------------- */

static rbe_status do_nothing(void *user, const rbe_progress *p) {
    (void)user, (void)p;
    return RBE_OK;
}

static rbe_status fail_at_4(void *user, const rbe_progress *p) {
    (void)user;
    return p->step == 4 ? rbe_fail(RBE_BAD_FORMAT, "a failure of its own") : RBE_OK;
}

static rbe_status fail_always(void *user, const rbe_progress *p) {
    (void)user, (void)p;
    return rbe_fail(RBE_BAD_FORMAT, "a failure of its own");
}

static rbe_status fail_silently(void *user, const rbe_progress *p) {
    (void)user, (void)p;
    return RBE_STOPPED;
}

static rbe_status fail_routine(void *user, size_t step) {
    (void)user;
    return step == 2 ? rbe_fail(RBE_CORRUPTED_BLOCK, "a routine's failure") : RBE_OK;
}

static rbe_status change_a_value(void *user, const rbe_progress *p) {
    training *t = user;
    if (p->step == 1) rbe_model_param(t->model, 0)->value[3] += 1e-3f;
    return RBE_OK;
}

/* Moves an entry to an empty place beside it, with its value. */
static rbe_status move_an_entry(void *user, const rbe_progress *p) {
    training *t = user;
    rbe_blocks *b = rbe_layer_as_linear(rbe_model_layer(t->model, 0))->blocks;
    for (size_t k = 0; p->step == 1 && k + 1 < b->entries; k++) {
        if (rbe_column_at(b, k) + 1 >= rbe_column_at(b, k + 1)) continue;
        rbe_set_column(b, k, rbe_column_at(b, k) + 1);
        break;
    }
    return RBE_OK;
}

static rbe_var *lose_number(void *user, rbe_tape *tape, rbe_var *output, const rbe_batch *batch) {
    rbe_var *loss = rbe_loss_cross_entropy(user, tape, output, batch);
    return user && ++*(int *)user == 5 ? rbe_scale(loss, NAN) : loss;
}

static rbe_status fail_to_measure(void *user, double *sums, const rbe_tensor *output, const rbe_batch *batch,
                                  double loss) {
    (void)output, (void)batch, (void)loss;
    sums[0]++;
    return user && ++*(int *)user == 3 ? rbe_fail(RBE_BAD_FORMAT, "not measured") : RBE_OK;
}

static double measured(void *user, const double *sums) {
    (void)user;
    return sums[0];
}

static int batches, measurements;
static rbe_metric metrics[2] = {{.name = "own", .sums = 1, .add = fail_to_measure, .value = measured},
                                {.name = "own", .sums = 1, .add = fail_to_measure, .value = measured}};

/* ---- failures ------------------------------------------------------------------------------------------------ */

static void on_backward_fails(training *t, bool victim) { t->options.on_backward = victim ? fail_at_4 : do_nothing; }
static void on_step_fails(training *t, bool victim) { t->options.on_step = victim ? fail_at_4 : do_nothing; }
static void on_epoch_fails(training *t, bool victim) { t->options.on_epoch = victim ? fail_always : do_nothing; }
static void callback_stops(training *t, bool victim) { t->options.on_step = victim ? fail_silently : do_nothing; }

static void all_callbacks_fail(training *t, bool victim) {
    (void)victim;
    t->options.on_step = fail_at_4;
}

static void routine_fails(training *t, bool victim) {
    t->routines[t->options.routine_count++] = (rbe_routine){.name = "own", .step = victim ? fail_routine : NULL};
}

static void loss_is_no_number(training *t, bool victim) {
    batches = 0;
    t->options.loss = (rbe_loss){lose_number, victim ? &batches : NULL};
}

static void metric_fails(training *t, bool victim) {
    measurements = 0;
    metrics[1].user = &measurements;
    t->options.metric = &metrics[victim];
}

static void value_changes(training *t, bool victim) { t->options.on_step = victim ? change_a_value : do_nothing; }

static void position_changes(training *t, bool victim) {
    t->options.routine_count = 0; /* growth would move entries, too */
    t->options.on_step = victim ? move_an_entry : do_nothing;
}

static void stop_is_asked(training *t, bool victim) {
    if (victim) t->stop_after = 4;
}

static void log_has_no_folder(training *t, bool victim) {
    if (t->options.comm->rank == 0) t->options.csv_path = "/nowhere/log.csv";
    (void)victim;
}

static void checkpoint_has_no_folder(training *t, bool victim) {
    (void)victim;
    t->options.checkpoint = &t->keep;
    t->keep.path = "/nowhere/checkpoint";
}

static void best_has_no_folder(training *t, bool victim) {
    t->options.best_path = "/nowhere/best";
    (void)victim;
}

/* ---- differences --------------------------------------------------------------------------------------------- */

static void no_model(training *t, bool victim) {
    if (!victim) return;
    rbe_growth_free(t->growth); /* which knows the model */
    t->growth = NULL;
    t->options.routine_count = 0;
    rbe_optim_free(t->optim);
    t->optim = NULL;
}

static void batch_too_small(training *t, bool victim) {
    (void)victim;
    t->options.batch = RANKS - 1;
}

static void other_batch(training *t, bool victim) { t->options.batch += victim; }
static void other_seed(training *t, bool victim) { t->options.seed += victim; }
static void other_epochs(training *t, bool victim) { t->options.epochs += victim; }
static void other_rate(training *t, bool victim) { t->options.schedule.base = victim ? 0.5f : 0.25f; }
static void backward_on_one(training *t, bool victim) { t->options.on_backward = victim ? do_nothing : NULL; }
static void no_test(training *t, bool victim) { t->r.tested = !victim; }

static void other_value(training *t, bool victim) {
    if (victim) rbe_model_param(t->model, 0)->value[0] += 1e-6f;
}

static void other_sample(training *t, bool victim) {
    static float copy[TRAIN_SAMPLES * FEATURES];
    memcpy(copy, t->train.values, sizeof copy);
    copy[7] += 1e-6f;
    if (victim) t->train.values = copy;
}

static void other_optimiser(training *t, bool victim) {
    if (!victim) return;
    rbe_optim_free(t->optim);
    t->optim = rbe_optim_new(rbe_sgd, t->model, NULL);
}

static void other_layer(training *t, bool victim) {
    if (victim) rbe_model_add(t->model, rbe_dense_new(CLASSES, CLASSES, &(rbe_dense_options){.name = "last"}));
}

static void other_dropout(training *t, bool victim) {
    if (!victim) return;
    t->r.dropout = 0.2f;
    training other;
    training_make(&other, &t->r, false);
    other.options.comm = t->options.comm;
    training_free(t);
    *t = other;
    t->options.user = t;
    t->options.stop = &t->stop;
    t->options.routines = t->routines;
}

static void other_routine(training *t, bool victim) {
    if (victim) t->options.routine_count = 0;
}

static const struct fault {
    const char *name;
    void (*spoil)(training *t, bool victim);
    rbe_status status;
    const char *text;
} faults[] = {
    {"on_backward", on_backward_fails, RBE_BAD_FORMAT, "rank 1: a failure of its own"},
    {"on_step", on_step_fails, RBE_BAD_FORMAT, "rank 1: a failure of its own"},
    {"on_epoch", on_epoch_fails, RBE_BAD_FORMAT, "rank 1: a failure of its own"},
    {"a callback stops", callback_stops, RBE_STOPPED, "rank 1: a callback stopped the training after step 1 of "},
    {"all callbacks", all_callbacks_fail, RBE_BAD_FORMAT, "a failure of its own"},
    {"a routine", routine_fails, RBE_CORRUPTED_BLOCK, "rank 1: a routine's failure"},
    {"the loss", loss_is_no_number, RBE_NUMERICAL_INSTABILITY, "rank 1: step 3 of 9: "},
    {"the metric", metric_fails, RBE_BAD_FORMAT, "rank 1: not measured"},
    {"a value", value_changes, RBE_INVALID_ARGUMENT, "the parameters of rank 1 are not those of rank 0"},
    {"a position", position_changes, RBE_INVALID_ARGUMENT, "the parameters of rank 1 are not those of rank 0"},
    {"stop", stop_is_asked, RBE_STOPPED, "the training was asked to stop, after step 4 of 9"},
    {"the log", log_has_no_folder, RBE_IO_ERROR, "rank 0: /nowhere/log.csv: cannot create"},
    {"the best model", best_has_no_folder, RBE_IO_ERROR, "rank 0: /nowhere"},
    {"the checkpoint", checkpoint_has_no_folder, RBE_IO_ERROR, "rank 0: /nowhere/checkpoint"},
    {"no optimiser", no_model, RBE_INVALID_ARGUMENT, "rank 1: rbe_fit: the optimiser is NULL"},
    {"too few samples", batch_too_small, RBE_INVALID_ARGUMENT, "a sample for each of 3 ranks, found 2"},
    {"batch", other_batch, RBE_INVALID_ARGUMENT, "rank 1: fit: batch: 9 here, 8 on rank 0"},
    {"seed", other_seed, RBE_INVALID_ARGUMENT, "rank 1: fit: seed"},
    {"epochs", other_epochs, RBE_INVALID_ARGUMENT, "rank 1: fit: epochs: 4 here, 3 on rank 0"},
    {"rate", other_rate, RBE_INVALID_ARGUMENT, "rank 1: fit: schedule base: 0.5 here, 0.25 on rank 0"},
    {"a callback more", backward_on_one, RBE_INVALID_ARGUMENT, "rank 1: fit: on_backward: 1 here, 0 on rank 0"},
    {"test samples", no_test, RBE_INVALID_ARGUMENT, "rank 1: fit: test samples: 0 here, 16 on rank 0"},
    {"a value before", other_value, RBE_INVALID_ARGUMENT, "rank 1: checksums of parameters: "},
    {"a sample", other_sample, RBE_INVALID_ARGUMENT, "rank 1: fit: train checksum: "},
    {"optimiser", other_optimiser, RBE_INVALID_ARGUMENT, "rank 1: optimiser: method: \"sgd\" here, \"adam\" on rank 0"},
    {"a layer", other_layer, RBE_INVALID_ARGUMENT, "rank 1: layers 0: is: children 7: 8 here, nothing on rank 0"},
    {"dropout", other_dropout, RBE_INVALID_ARGUMENT, "rank 1: layers"},
    {"routines", other_routine, RBE_INVALID_ARGUMENT, "rank 1: growth: nothing here, an object on rank 0"},
};

START_TEST(a_failure_on_one_rank_ends_all) {
    static team t;
    const struct fault *f = &faults[_i];
    team_make(&t, &usual, RANKS, false);
    for (size_t n = 0; n < RANKS; n++) f->spoil(&t.ranks[n], n == VICTIM);
    team_expect(&t, f->status);
    for (size_t n = 0; n < RANKS; n++)
        ck_assert_msg(strstr(t.text[n], f->text), "%s: rank %zu says: %s", f->name, n, t.text[n]);
    team_free(&t);
}
END_TEST

/* ---- another version ----------------------------------------------------------------------------------------- */

static const rbe_comm *untouched;

/* What a rank 0 of another version would say. */
static rbe_status broadcast_version(void *user, size_t root, void *data, size_t count) {
    RBE_TRY(untouched->broadcast(user, root, data, count));
    static const char key[] = "\"library\":\"";
    for (char *at = data; count >= sizeof key && at < (char *)data + count - sizeof key; at++)
        if (memcmp(at, key, sizeof key - 1) == 0) at[sizeof key - 1] = '9';
    return RBE_OK;
}

START_TEST(another_version_is_named) {
    static team t;
    team_make(&t, &usual, RANKS, false);
    untouched = &t.comms[VICTIM];
    rbe_comm other = *untouched;
    other.broadcast = broadcast_version;
    t.ranks[VICTIM].options.comm = &other;
    team_expect(&t, RBE_INVALID_ARGUMENT);
    for (size_t n = 0; n < RANKS; n++)
        ck_assert_msg(strstr(t.text[n], "rank 1: library: \""), "rank %zu says: %s", n, t.text[n]);
    team_free(&t);
}
END_TEST

/* ---- transports ---------------------------------------------------------------------------------------------- */

static atomic_size_t calls, fails_at;

static rbe_status fails(void) {
    return atomic_fetch_add(&calls, 1) / RANKS == fails_at ? rbe_fail(RBE_IO_ERROR, "the wire is cut") : RBE_OK;
}

/* Calls come in turns: one of each rank, of which the last ends when all have begun. */
static rbe_comm real[RANKS];

static size_t rank_of(void *user) {
    size_t n = 0;
    while (real[n].user != user) n++;
    return n;
}

static rbe_status failing_sum(void *user, float *values, size_t count) {
    const rbe_comm *c = &real[rank_of(user)];
    RBE_TRY(c->sum(user, values, count));
    return fails();
}

static rbe_status failing_broadcast(void *user, size_t root, void *data, size_t count) {
    const rbe_comm *c = &real[rank_of(user)];
    RBE_TRY(c->broadcast(user, root, data, count));
    return fails();
}

static rbe_status failing_gather(void *user, const void *mine, size_t count, void *all) {
    const rbe_comm *c = &real[rank_of(user)];
    RBE_TRY(c->gather(user, mine, count, all));
    return fails();
}

/* Every call of the transport fails in turn, on all ranks. */
START_TEST(a_transport_that_fails_ends_the_training) {
    static team t;
    bool failed = true;
    size_t at = 0;
    for (; failed; at += at < 30 ? 1 : 7) {
        team_make(&t, &usual, RANKS, false);
        atomic_store(&calls, 0);
        fails_at = at;
        for (size_t n = 0; n < RANKS; n++) {
            real[n] = t.comms[n];
            t.comms[n].sum = failing_sum;
            t.comms[n].broadcast = failing_broadcast;
            t.comms[n].gather = failing_gather;
        }
        team_run(&t);
        failed = atomic_load(&calls) > at * RANKS;
        for (size_t n = 0; n < RANKS; n++)
            ck_assert_msg(t.status[n] == (failed ? RBE_IO_ERROR : RBE_OK) &&
                              (!failed || strstr(t.text[n], "the wire is cut")),
                          "call %zu, rank %zu: %s: %s", at, n, rbe_status_name(t.status[n]), t.text[n]);
        team_free(&t);
    }
    ck_assert_uint_gt(at, 60);
}
END_TEST

START_TEST(a_transport_is_checked) {
    static team t;
    team_make(&t, &usual, 2, false);
    training *one = &t.ranks[0];
    rbe_comm bad = t.comms[0];
    bad.rank = 2;
    one->options.comm = &bad;
    ck_assert_int_eq(training_run(one), RBE_INVALID_ARGUMENT);
    bad = t.comms[0];
    bad.gather = NULL;
    ck_assert_int_eq(training_run(one), RBE_INVALID_ARGUMENT);
    ck_assert_str_eq(rbe_last_error(), "comm: sum, broadcast or gather is NULL");
    team_free(&t);
}
END_TEST

START_TEST(mpi_is_there_if_it_has_been_built) {
#ifndef RBE_MPI
    ck_assert_ptr_null(rbe_comm_mpi_new());
    assert_failed(RBE_INVALID_ARGUMENT, "make MPI=1");
#endif
}
END_TEST

/* ---- memory -------------------------------------------------------------------------------------------------- */

static atomic_size_t requests;
static size_t fail_at;
static size_t poor;
static _Thread_local bool is_poor;

static void *allocate(void *user, size_t count) {
    (void)user;
    if (is_poor && atomic_fetch_add(&requests, 1) + 1 == fail_at) return NULL;
    return malloc(count);
}

static void release(void *user, void *memory) {
    (void)user;
    free(memory);
}

static void enter(size_t rank) { is_poor = rank == poor; }

/* Each request for memory of one rank fails in turn. */
START_TEST(memory_that_one_rank_has_not_ends_all) {
    static team t;
    poor = (size_t)_i;
    recipe r = usual;
    r.fit.epochs = 1;
    bool failed = true;
    size_t at = 1;
    ck_assert_ok(rbe_set_allocator(&(rbe_allocator){allocate, release, NULL}));
    for (; failed; at++) {
        fail_at = 0;
        team_make(&t, &r, 2, false);
        t.enter = enter;
        atomic_store(&requests, 0);
        fail_at = at;
        team_run(&t);
        failed = atomic_load(&requests) >= at;
        for (size_t n = 0; n < 2; n++)
            ck_assert_msg(t.status[n] == (failed ? RBE_INSUFFICIENT_MEMORY : RBE_OK), "request %zu, rank %zu: %s: %s",
                          at, n, rbe_status_name(t.status[n]), t.text[n]);
        team_free(&t);
    }
    ck_assert_uint_gt(at, 20);
    ck_assert_ok(rbe_set_allocator(NULL));
}
END_TEST

TCase *ranks_fail_case(void) {
    TCase *fail = tcase_create("ranks fail");
    tcase_add_checked_fixture(fail, NULL, scratch_clear);
    tcase_add_loop_test(fail, a_failure_on_one_rank_ends_all, 0, sizeof faults / sizeof *faults);
    tcase_add_test(fail, another_version_is_named);
    tcase_add_test(fail, a_transport_that_fails_ends_the_training);
    tcase_add_test(fail, a_transport_is_checked);
    tcase_add_test(fail, mpi_is_there_if_it_has_been_built);
    tcase_add_loop_test(fail, memory_that_one_rank_has_not_ends_all, 0, 2);
    return fail;
}
