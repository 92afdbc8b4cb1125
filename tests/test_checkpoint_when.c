/* When rbe_fit saves a checkpoint, and what happens when it cannot. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint_support.h"
#include "file_faults.h"

/* Two epochs of six steps. */
static const recipe plain = {
    .name = "plain", .method = "adam", .optim = {.lr = 0.01f}, .tested = true, .fit = {.epochs = 2, .batch = 8}};

/* ---- when ---------------------------------------------------------------------------------------------------- */

enum { MOST_SAVES = 24 };

/* When a callback sets the flag. */
typedef enum request_by { NOBODY, THE_STEP, THE_EPOCH, BACKWARD } request_by;

static const struct occasion {
    const char *name;
    size_t every_steps;
    double every_minutes;
    bool every_epoch;
    request_by by;
    size_t at;         /* progress.step of the request */
    size_t stop_after; /* steps */
    size_t saved[MOST_SAVES];
} occasions[] = {
    {.name = "by default each epoch", .saved = {6, 12}},
    {.name = "each epoch", .every_epoch = true, .saved = {6, 12}},
    {.name = "steps", .every_steps = 5, .saved = {5, 10, 12}},
    {.name = "steps, in time with epochs", .every_steps = 6, .saved = {6, 12, 12}},
    {.name = "more steps than there are", .every_steps = 100, .saved = {12}},
    {.name = "steps and epochs", .every_steps = 4, .every_epoch = true, .saved = {4, 6, 8, 12, 12}},
    {.name = "hardly any time", .every_minutes = 1e-12, .saved = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 12}},
    {.name = "much time", .every_minutes = 1e9, .saved = {12}},
    {.name = "much time, and epochs", .every_minutes = 1e9, .every_epoch = true, .saved = {6, 12}},
    {.name = "a request", .every_minutes = 1e9, .by = THE_STEP, .at = 3, .saved = {4, 12}},
    {.name = "a request beside steps", .every_steps = 5, .by = THE_STEP, .at = 6, .saved = {5, 7, 10, 12}},
    {.name = "a request in on_backward", .every_steps = 100, .by = BACKWARD, .at = 8, .saved = {9, 12}},
    {.name = "a request at the last step", .every_steps = 100, .by = THE_STEP, .at = 11, .saved = {12, 12}},
    {.name = "a request after the epoch", .every_steps = 100, .by = THE_EPOCH, .at = 5, .saved = {6, 12}},
    {.name = "a request after the epoch, when it is due", .by = THE_EPOCH, .at = 5, .saved = {6, 12}},
    {.name = "a request after the last epoch", .by = THE_EPOCH, .at = 11, .saved = {6, 12}},
    {.name = "stop", .stop_after = 4, .saved = {4}},
    {.name = "stop, when it is due", .every_steps = 4, .stop_after = 8, .saved = {4, 8}},
    {.name = "stop at the end of an epoch", .stop_after = 6, .saved = {6}},
};
#define OCCASIONS (int)(sizeof occasions / sizeof *occasions)

/* Takes each checkpoint away when it has been noticed. */
typedef struct watch {
    training t;
    const struct occasion *o;
    volatile sig_atomic_t request;
    size_t saved[MOST_SAVES], count;
} watch;

static void look(watch *w) {
    if (!exists(w->t.path)) return;
    ck_assert_uint_lt(w->count, MOST_SAVES);
    w->saved[w->count++] = steps_in_file(w->t.path);
    ck_assert_int_eq(unlink(w->t.path), 0);
}

static void ask(watch *w, request_by by, const rbe_progress *p) {
    if (w->o->by == by && w->o->at == p->step) w->request = 1;
}

static rbe_status look_before(void *user, const rbe_progress *p) {
    ask(user, BACKWARD, p);
    return RBE_OK;
}

static rbe_status look_after_step(void *user, const rbe_progress *p) {
    watch *w = user;
    look(w);
    if (!(w->o->by == BACKWARD && w->o->at == p->step)) ck_assert_int_eq(w->request, 0); /* rbe_fit has seen it */
    ask(w, THE_STEP, p);
    w->t.stop = w->o->stop_after == p->step + 1;
    return RBE_OK;
}

static rbe_status look_after_epoch(void *user, const rbe_progress *p) {
    look(user);
    ask(user, THE_EPOCH, p);
    return RBE_OK;
}

START_TEST(saves_are_on_time) {
    watch w = {.o = &occasions[_i]};
    training_make(&w.t, &plain, true);
    w.t.keep = (rbe_checkpoint_options){.path = w.t.path,
                                        .every_steps = w.o->every_steps,
                                        .every_minutes = w.o->every_minutes,
                                        .every_epoch = w.o->every_epoch,
                                        .request = &w.request};
    w.t.options.on_backward = look_before;
    w.t.options.on_step = look_after_step;
    w.t.options.on_epoch = look_after_epoch;
    w.t.options.user = &w;
    ck_assert_int_eq(training_run(&w.t), w.o->stop_after ? RBE_STOPPED : RBE_OK);
    look(&w);
    ck_assert_int_eq(w.request, 0);
    for (size_t n = 0; n < MOST_SAVES; n++)
        ck_assert_msg(w.saved[n] == w.o->saved[n], "%s: checkpoint %zu is of %zu steps, expected %zu", w.o->name, n,
                      w.saved[n], w.o->saved[n]);
    ck_assert_uint_eq(scratch_count(), 0);
    training_free(&w.t);
}
END_TEST

/* Several batches a step: no checkpoint is of a step that waits for batches. */
START_TEST(saves_wait_for_the_step) {
    recipe r = plain;
    r.fit.accumulate = 4;
    outcome expected = uninterrupted(&r);
    ck_assert_uint_eq(expected.result.steps, 4);
    training t;
    training_make(&t, &r, true);
    t.keep.every_minutes = 1e-12;
    t.keep.keep = 10;
    ck_assert_ok(training_run(&t));
    static const size_t steps[] = {4, 4, 3, 2, 1};
    for (size_t n = 0; n < 5; n++) {
        char name[100];
        snprintf(name, sizeof name, n ? "%s.%zu" : "%s", t.path, n);
        ck_assert_uint_eq(steps_in_file(name), steps[n]);
    }
    training_free(&t);
    outcome_free(&expected);
}
END_TEST

START_TEST(stop_without_checkpoints) {
    training t;
    training_make(&t, &plain, false);
    t.stop_after = 7;
    ck_assert_int_eq(training_run(&t), RBE_STOPPED);
    ck_assert_msg(strstr(rbe_last_error(), "after step 7 of 12"), "%s", rbe_last_error());
    ck_assert(t.result.steps == 7 && t.result.epochs == 1 && t.result.resumed == 0);
    ck_assert_uint_eq(scratch_count(), 0);
    training_free(&t);
}
END_TEST

/* A stop that comes with the very last epoch stops nothing. */
static rbe_status stop_after_epoch(void *user, const rbe_progress *p) {
    training *t = user;
    if (p->epoch + 1 == t->stop_after) t->stop = 1;
    return RBE_OK;
}

START_TEST(stop_between_epochs) {
    outcome expected = uninterrupted(&plain);
    for (size_t epoch = 1; epoch <= 2; epoch++) {
        training t;
        training_make(&t, &plain, true);
        t.options.on_step = NULL;
        t.options.on_epoch = stop_after_epoch;
        t.stop_after = epoch;
        ck_assert_int_eq(training_run(&t), epoch < 2 ? RBE_STOPPED : RBE_OK);
        ck_assert_uint_eq(t.result.epochs, epoch);
        training_free(&t);
        go_on(&plain, &expected, 6 * epoch, "stopped between epochs");
    }
    outcome_free(&expected);
}
END_TEST

/* ---- options that are none ----------------------------------------------------------------------------------- */

START_TEST(options_are_checked) {
    static const double minutes[] = {-1.0, (double)NAN, (double)INFINITY};
    training t;
    training_make(&t, &plain, true);
    bytes before = snapshot_of(&t);
    t.keep.path = NULL;
    ck_assert_int_eq(training_run(&t), RBE_INVALID_ARGUMENT);
    assert_failed(RBE_INVALID_ARGUMENT, "path is NULL");
    t.keep.path = t.path;
    for (size_t n = 0; n < 3; n++) {
        t.keep.every_minutes = minutes[n];
        ck_assert_int_eq(training_run(&t), RBE_INVALID_ARGUMENT);
        assert_failed(RBE_INVALID_ARGUMENT, "minutes");
    }
    bytes after = snapshot_of(&t);
    ck_assert(same_bytes(before, after));
    ck_assert_uint_eq(t.result.steps, 0);
    free(before.data);
    free(after.data);
    training_free(&t);
}
END_TEST

/* Routines that no checkpoint can hold are refused before hours of training. */
static rbe_status write_nothing(void *user, rbe_writer *writer) {
    (void)user, (void)writer;
    return RBE_OK;
}

START_TEST(routines_are_checked_at_the_beginning) {
    static const struct {
        rbe_routine routine;
        const char *text;
    } cases[] = {{{.name = "fit"}, "two routines are called fit"},
                 {{.name = "optimiser"}, "two routines are called optimiser"},
                 {{.name = "library"}, "no routine can be called library"},
                 {{.name = NULL}, "a name"},
                 {{.name = "half", .write = write_nothing}, "write and read"}};
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        training t;
        training_make(&t, &plain, true);
        t.options.routines = &cases[n].routine;
        t.options.routine_count = 1;
        ck_assert_int_eq(training_run(&t), RBE_INVALID_ARGUMENT);
        assert_failed(RBE_INVALID_ARGUMENT, cases[n].text);
        ck_assert_uint_eq(t.result.steps, 0);
        training_free(&t);
    }
}
END_TEST

/* ---- checkpoints that cannot be written ---------------------------------------------------------------------- */

typedef struct told {
    size_t count;
    char first[400];
} told;

static void note_warning(void *user, const char *text) {
    told *w = user;
    if (w->count++ == 0) snprintf(w->first, sizeof w->first, "%s", text);
}

/* Training goes on, the handler is told each time, and the last failure is the status. */
START_TEST(a_path_that_takes_nothing) {
    static const char *const paths[] = {"/nonexistent/folder/run", "/dev/full"};
    const char *path = paths[_i];
    told warnings = {0};
    outcome expected = uninterrupted(&plain);
    training t;
    training_make(&t, &plain, true);
    t.keep.path = path;
    t.keep.every_steps = 5;
    rbe_set_warning_handler(note_warning, &warnings);
    ck_assert_int_eq(training_run(&t), RBE_IO_ERROR);
    assert_failed(RBE_IO_ERROR, path);
    ck_assert_uint_eq(warnings.count, 2);
    ck_assert_msg(strstr(warnings.first, "no checkpoint after step 5: ") && strstr(warnings.first, path), "%s",
                  warnings.first);
    outcome found = outcome_of(&t);
    assert_same(&expected, &found, 0, "plain", path);
    training_free(&t);
    training_make(&t, &plain, true);
    t.keep.path = path;
    t.stop_after = 3;
    ck_assert_int_eq(training_run(&t), RBE_IO_ERROR); /* and not STOPPED: nothing has been saved */
    ck_assert_uint_eq(t.result.steps, 3);
    rbe_set_warning_handler(NULL, NULL);
    training_free(&t);
    outcome_free(&found);
    outcome_free(&expected);
}
END_TEST

static char folder[80], elsewhere[80];

static rbe_status move_folder(void *user, const rbe_progress *p) {
    (void)user;
    if (p->step == 4) ck_assert_int_eq(rename(folder, elsewhere), 0);
    if (p->step == 9) ck_assert_int_eq(rename(elsewhere, folder), 0);
    return RBE_OK;
}

/* A folder that vanishes for a while: the checkpoint before stays as it was, and the next is tried when it is due. */
START_TEST(a_folder_that_vanishes) {
    told warnings = {0};
    training t;
    training_make(&t, &plain, true);
    strcpy(folder, scratch_path("folder"));
    strcpy(elsewhere, scratch_path("elsewhere"));
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    char path[100], there[100];
    snprintf(path, sizeof path, "%s/run", folder);
    snprintf(there, sizeof there, "%s/run.1", folder);
    t.keep = (rbe_checkpoint_options){.path = path, .every_steps = 2, .keep = 2};
    t.options.on_step = move_folder;
    rbe_set_warning_handler(note_warning, &warnings);
    ck_assert_ok(training_run(&t));
    rbe_set_warning_handler(NULL, NULL);
    ck_assert_uint_eq(warnings.count, 2); /* after steps 6 and 8 */
    ck_assert_msg(strstr(warnings.first, "after step 6"), "%s", warnings.first);
    ck_assert_uint_eq(steps_in_file(path), 12);
    unlink(path);
    unlink(there);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing else is left there */
    training_free(&t);
}
END_TEST

/* A disk that says no at any call: the last checkpoint is the old one or the new one, whole, and training is as it
 * would have been. */
START_TEST(a_disk_that_fails) {
    recipe r = plain;
    r.log = true;
    outcome expected = uninterrupted(&r);
    size_t warned = 0;
    for (int at = 1;; at++) {
        told warnings = {0};
        scratch_clear();
        training t;
        training_make(&t, &r, true);
        t.keep.every_steps = 4;
        rbe_set_warning_handler(note_warning, &warnings);
        fsync_calls = 0;
        failing_fsync = at;
        rbe_status status = training_run(&t);
        bool reached = fsync_calls >= at;
        failing_fsync = 0;
        rbe_set_warning_handler(NULL, NULL);
        ck_assert(status == RBE_OK || (status == RBE_IO_ERROR && reached));
        ck_assert_uint_eq(warnings.count, reached && status == RBE_OK);
        warned += warnings.count;
        outcome found = outcome_of(&t);
        assert_same(&expected, &found, 0, "plain", "a disk that fails");
        outcome_free(&found);
        training_free(&t);
        if (exists(scratch_path("run.checkpoint")))
            go_on(&r, &expected, steps_in_file(scratch_path("run.checkpoint")), "a disk that fails");
        if (!reached) break;
    }
    ck_assert_uint_eq(warned, 3 * 3); /* log, file and folder; after steps 4, 8 and 12 */
    outcome_free(&expected);
}
END_TEST

TCase *checkpoint_when_case(void) {
    TCase *when = tcase_create("when");
    tcase_add_checked_fixture(when, scratch_clear, scratch_clear);
    tcase_add_loop_test(when, saves_are_on_time, 0, OCCASIONS);
    tcase_add_test(when, saves_wait_for_the_step);
    tcase_add_test(when, stop_without_checkpoints);
    tcase_add_test(when, stop_between_epochs);
    tcase_add_test(when, options_are_checked);
    tcase_add_test(when, routines_are_checked_at_the_beginning);
    tcase_add_loop_test(when, a_path_that_takes_nothing, 0, 2);
    tcase_add_test(when, a_folder_that_vanishes);
    tcase_add_test(when, a_disk_that_fails);
    return when;
}
