/* A save of which any one file call fails, or all from there on, or at which the process is killed: what stands under
 * the names afterwards is old or new, and whole; at most one temporary file is left, and none after the next save. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file_faults.h"
#include "io_support.h"
#include "rbe/checkpoint.h"
#include "rbe/train.h"
#include "suites.h"
#include "support.h"

enum { PATH_ROOM = 400, OLDEST = 1, OLD = 3, NEW = 4, STATES = 5, MISSING = -1 };

/* ---- what is saved ------------------------------------------------------------------------------------------- */

typedef struct subject {
    rbe_model *model;
    rbe_optim *optim;
} subject;

static subject subject_new(void) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 1, "dct", "dct");
    rbe_optim *optim = rbe_optim_new(rbe_adam, model, NULL);
    ck_assert_msg(optim != NULL, "%s", rbe_last_error());
    return (subject){model, optim};
}

static void subject_free(subject *s) {
    rbe_optim_free(s->optim);
    rbe_model_free(s->model);
}

/* A step: parameters and moments change. */
static void advance(subject *s) {
    enum { ROWS = 8, IN = 75 };
    static float values[ROWS * IN];
    static int32_t labels[ROWS] = {0, 1, 2, 3, 4, 5, 6, 0};
    fill_normal(values, ROWS * IN, 1.0, 3);
    const rbe_dataset data = {.count = ROWS, .features = IN, .classes = 7, .values = values, .labels = labels};
    ck_assert_ok(rbe_fit(s->model, s->optim, &data, NULL, NULL, NULL));
}

static rbe_status save_checkpoint(const subject *s, const char *path, size_t keep) {
    return rbe_checkpoint_save(&(rbe_checkpoint){.model = s->model, .optim = s->optim}, path, keep);
}

static rbe_status load_checkpoint(const subject *s, const char *path) {
    return rbe_checkpoint_load(&(rbe_checkpoint){.model = s->model, .optim = s->optim}, path);
}

/* The files of all states, and the subject in the last: NEW. */
static bytes checkpoints[STATES], models[STATES];
static subject latest, spare;

static void set_up(void) {
    scratch_clear();
    ck_assert_ok(rbe_set_threads(1));
    latest = subject_new();
    spare = subject_new();
    for (int n = 0; n < STATES; n++) {
        if (n > 0) advance(&latest);
        models[n] = saved(latest.model, RBE_STORE_F32, RBE_POSITIONS_DELTA);
        ck_assert_ok(save_checkpoint(&latest, scratch_path("state"), 1));
        checkpoints[n] = read_whole(scratch_path("state"));
    }
    unlink(scratch_path("state"));
}

static void tear_down(void) {
    scratch_clear();
    subject_free(&latest);
    subject_free(&spare);
    for (int n = 0; n < STATES; n++) {
        free(checkpoints[n].data);
        free(models[n].data);
    }
    ck_assert_uint_eq(rbe_memory().current, 0);
}

static bool equal(bytes a, bytes b) { return a.count == b.count && memcmp(a.data, b.data, a.count) == 0; }

/* Below, files are compared with these: each gives back the bits of its state, and no two are the same. */
START_TEST(states_are_whole_and_differ) {
    for (int n = 0; n < STATES; n++) {
        write_whole(scratch_path("state"), checkpoints[n]);
        ck_assert_ok(load_checkpoint(&spare, scratch_path("state")));
        ck_assert_ok(save_checkpoint(&spare, scratch_path("again"), 1));
        bytes again = read_whole(scratch_path("again")), model = saved(spare.model, RBE_STORE_F32, RBE_POSITIONS_DELTA);
        ck_assert(equal(again, checkpoints[n]) && equal(model, models[n]));
        for (int k = 0; k < n; k++) ck_assert(!equal(checkpoints[n], checkpoints[k]) && !equal(models[n], models[k]));
        free(again.data);
        free(model.data);
    }
}
END_TEST

/* ---- where it is saved --------------------------------------------------------------------------------------- */

/* So many files are there before: "file" of state OLD, "file.1" of the one before, .. */
static const struct scenario {
    const char *name;
    int files, keep;
    bool model; /* rbe_model_save */
    bool link;  /* "file" is reached by a symbolic link in another folder */
    bool no_links;
} scenarios[] = {
    {"the first", .files = 0, .keep = 1},
    {"a replacement", .files = 1, .keep = 1},
    {"the second of two", .files = 1, .keep = 2},
    {"the third of two", .files = 2, .keep = 2},
    {"the first of three", .files = 0, .keep = 3},
    {"the second of three", .files = 1, .keep = 3},
    {"the third of three", .files = 2, .keep = 3},
    {"the fourth of three", .files = 3, .keep = 3},
    {"by a link", .files = 3, .keep = 3, .link = true},
    {"without hard links, the second of two", .files = 1, .keep = 2, .no_links = true},
    {"without hard links, the fourth of three", .files = 3, .keep = 3, .no_links = true},
    {"a model, the first", .files = 0, .keep = 1, .model = true},
    {"a model, a replacement", .files = 1, .keep = 1, .model = true},
};
enum { SCENARIOS = sizeof scenarios / sizeof *scenarios };

static const bytes *states_of(const struct scenario *s) { return s->model ? models : checkpoints; }

/* "file", "file.1", .. */
static const char *file_name(int n) {
    char name[20] = "file";
    if (n > 0) snprintf(name, sizeof name, "file.%d", n);
    return scratch_path(name);
}

static void path_to_save(const struct scenario *s, char path[PATH_ROOM]) {
    strcpy(path, scratch_path(s->link ? "folder/link" : "file"));
}

static void remove_all(void) {
    unlink(scratch_path("folder/link"));
    rmdir(scratch_path("folder"));
    scratch_clear();
}

static void lay_out(const struct scenario *s) {
    char path[PATH_ROOM];
    remove_all();
    path_to_save(s, path);
    if (s->link) ck_assert_int_eq(mkdir(scratch_path("folder"), 0700), 0);
    if (s->link) ck_assert_int_eq(symlink("../file", path), 0);
    for (int n = 0; n < s->files; n++) write_whole(file_name(n), states_of(s)[OLD - n]);
}

static rbe_status save(const struct scenario *s) {
    char path[PATH_ROOM];
    path_to_save(s, path);
    return s->model ? rbe_model_save(latest.model, path, &(rbe_save_options){RBE_STORE_F32, RBE_POSITIONS_DELTA})
                    : save_checkpoint(&latest, path, (size_t)s->keep);
}

static rbe_status save_in_child(void *user) { return save(user); }

/* Saves with a fault; *calls says how many there were. */
static rbe_status save_with(const struct scenario *s, file_fault fault, int *calls) {
    char folder[PATH_ROOM];
    strcpy(folder, scratch_path(""));
    folder[strlen(folder) - 1] = '\0';
    fault.folder = folder;
    fault.no_links = s->no_links;
    file_faults_start(&fault);
    rbe_status status = save(s);
    *calls = file_faults_stop();
    return status;
}

/* ---- what is there afterwards -------------------------------------------------------------------------------- */

/* Which state a file is of, byte for byte. */
static int state_of(const struct scenario *s, int n, const char *when) {
    if (access(file_name(n), F_OK) != 0) return MISSING;
    bytes found = read_whole(file_name(n));
    int state = 0;
    while (state < STATES && !equal(found, states_of(s)[state])) state++;
    ck_assert_msg(state < STATES, "%s: %s is of no state, %zu bytes", when, file_name(n), found.count);
    free(found.data);
    return state;
}

/* The older files: each of the state that its place says, or, where the change was not finished, of the one after. */
static void check_older(const struct scenario *s, int newest, const char *when) {
    int found = newest != MISSING;
    for (int n = 1; n <= s->files + 1; n++) {
        int state = state_of(s, n, when), right = OLD - n + (newest == NEW);
        found += state != MISSING;
        bool shifted = newest != NEW && state == right + 1;
        ck_assert_msg(state == MISSING || ((state == right || shifted) && n < s->keep), "%s: %s is of state %d", when,
                      file_name(n), state);
    }
    int most = newest == NEW && s->files < s->keep ? s->files + 1 : s->files;
    ck_assert_msg(found >= (newest == NEW ? most : most - 1), "%s: only %d files are left", when, found);
}

/* Returns the number of temporary files: all that is not accounted for. */
static int count_strays(const struct scenario *s) {
    int files = 0;
    for (int n = 0; n <= s->files + 1; n++) files += access(file_name(n), F_OK) == 0;
    return (int)scratch_count() - files - s->link;
}

static void check_link(const struct scenario *s) {
    char path[PATH_ROOM];
    struct stat about;
    path_to_save(s, path);
    if (s->link) ck_assert(lstat(path, &about) == 0 && S_ISLNK(about.st_mode));
}

/* Returns the state of the file itself. Where there are no hard links it is "file.1" for a moment. */
static int check_files(const struct scenario *s, const char *when) {
    int newest = state_of(s, 0, when), old = s->files > 0 ? OLD : MISSING;
    bool moved = s->no_links && s->keep > 1 && newest == MISSING && state_of(s, 1, when) == OLD;
    ck_assert_msg(newest == NEW || newest == old || moved, "%s: the file is of state %d", when, newest);
    check_older(s, newest, when);
    check_link(s);
    return newest;
}

/* The next save works, and removes what has been left. */
static void check_next(const struct scenario *s, int newest, const char *when) {
    ck_assert_ok(save(s));
    ck_assert_msg(count_strays(s) == 0, "%s: what it has left is there after the next save", when);
    ck_assert_int_eq(state_of(s, 0, when), NEW);
    if (s->keep > 1 && newest != MISSING) ck_assert_int_eq(state_of(s, 1, when), newest);
}

/* ---- calls that fail ----------------------------------------------------------------------------------------- */

static const struct failure {
    int error, times;
} failures[] = {{ENOSPC, 1}, {EIO, 1}, {EDQUOT, 1}, {ENOSPC, INT_MAX}, {EIO, INT_MAX}};
enum { FAILURES = sizeof failures / sizeof *failures };

/* Without them a save is as good: who the owner is, locks, and a look at what dead processes have left. */
static bool is_dispensable(int call) {
    const char *name = file_faults_name(call);
    if (strcmp(name, "openat") == 0) return call == 2;
    return strcmp(name, "fchown") == 0 || strcmp(name, "flock") == 0;
}

/* *is_over: the save was complete before call number n. */
static void fail_call(const struct scenario *s, const struct failure *f, int n, bool *is_over) {
    char when[PATH_ROOM];
    int calls;
    lay_out(s);
    rbe_status status = save_with(s, (file_fault){FAULT_ERROR, .at = n, .times = f->times, .error = f->error}, &calls);
    snprintf(when, sizeof when, "%s, call %d, %s: %s", s->name, n, file_faults_name(n), strerror(f->error));
    *is_over = file_faults_hits() == 0;
    bool harmless = *is_over || (f->times == 1 && is_dispensable(n));
    ck_assert_msg(status == (harmless ? RBE_OK : RBE_IO_ERROR), "%s: %s", when, rbe_status_name(status));
    if (!harmless) assert_failed(RBE_IO_ERROR, strerror(f->error));
    int newest = check_files(s, when), expected = s->files > 0 ? OLD : MISSING;
    if (harmless || strstr(rbe_last_error(), "has been replaced")) expected = NEW;
    bool lost = newest == MISSING && s->no_links && f->times > 1; /* its name, which it could not be given back */
    ck_assert_msg(newest == expected || lost, "%s: the file is of state %d", when, newest);
    ck_assert_msg(count_strays(s) <= (f->times > 1), "%s: %d temporary files", when, count_strays(s));
    if (!*is_over) check_next(s, newest, when);
}

START_TEST(any_call_may_fail) {
    const struct scenario *s = &scenarios[_i / FAILURES];
    bool is_over = false;
    int n = 0;
    while (!is_over) fail_call(s, &failures[_i % FAILURES], ++n, &is_over);
    ck_assert_int_gt(n, 12);
    remove_all();
}
END_TEST

/* ---- calls at which the process is killed -------------------------------------------------------------------- */

static const fault_kind kills[] = {FAULT_KILL_BEFORE, FAULT_KILL_HALF, FAULT_KILL_AFTER};
enum { KILLS = sizeof kills / sizeof *kills };

static void kill_at(const struct scenario *s, fault_kind kind, int n, const char *call) {
    char when[PATH_ROOM], folder[PATH_ROOM];
    lay_out(s);
    strcpy(folder, scratch_path(""));
    folder[strlen(folder) - 1] = '\0';
    const file_fault fault = {kind, .at = n, .folder = folder, .no_links = s->no_links};
    snprintf(when, sizeof when, "%s, killed %s call %d, %s", s->name,
             kind == FAULT_KILL_BEFORE ? "before" : "in or after", n, call);
    ck_assert_msg(file_faults_kill(&fault, save_in_child, (void *)s), "%s: not killed", when);
    int newest = check_files(s, when);
    ck_assert_msg(count_strays(s) <= 1, "%s: %d temporary files", when, count_strays(s));
    if (newest != MISSING && !s->model) ck_assert_ok(load_checkpoint(&spare, file_name(0)));
    check_next(s, newest, when);
}

START_TEST(it_may_be_killed_at_any_call) {
    const struct scenario *s = &scenarios[_i / KILLS];
    const fault_kind kind = kills[_i % KILLS];
    int calls, left = 0;
    lay_out(s);
    ck_assert_ok(save_with(s, (file_fault){.kind = FAULT_NONE}, &calls));
    const char *names[100];
    ck_assert_int_le(calls, 100);
    for (int n = 1; n <= calls; n++) names[n - 1] = file_faults_name(n);
    for (int n = 1; n <= calls; n++) {
        if (kind == FAULT_KILL_HALF && strcmp(names[n - 1], "write") != 0) continue;
        kill_at(s, kind, n, names[n - 1]);
        left++;
    }
    ck_assert_int_gt(left, kind == FAULT_KILL_HALF ? 5 : 12);
    remove_all();
}
END_TEST

/* ---- calls that do a part, or nothing yet -------------------------------------------------------------------- */

static const file_fault interruptions[] = {
    {FAULT_SHORT, .only = "write"},
    {FAULT_SHORT, .only = "write", .times = INT_MAX},
    {FAULT_ERROR, .only = "write", .error = EINTR, .times = 3},
    {FAULT_ERROR, .only = "fsync", .error = EINTR, .times = 3},
};
enum { INTERRUPTIONS = sizeof interruptions / sizeof *interruptions };

START_TEST(interrupted_calls_go_on) {
    const struct scenario *s = &scenarios[_i / INTERRUPTIONS];
    file_fault fault = interruptions[_i % INTERRUPTIONS];
    for (fault.at = 1;; fault.at++) {
        int calls;
        lay_out(s);
        ck_assert_ok(save_with(s, fault, &calls));
        ck_assert_int_eq(check_files(s, s->name), NEW);
        ck_assert_int_eq(count_strays(s), 0);
        if (file_faults_hits() == 0) break;
    }
    ck_assert_int_gt(fault.at, 2);
    remove_all();
}
END_TEST

/* ---- the suite ----------------------------------------------------------------------------------------------- */

TCase *faults_save_case(void) {
    TCase *save_case = tcase_create("save");
    tcase_add_checked_fixture(save_case, set_up, tear_down);
    tcase_add_test(save_case, states_are_whole_and_differ);
    tcase_add_loop_test(save_case, any_call_may_fail, 0, SCENARIOS * FAILURES);
    tcase_add_loop_test(save_case, it_may_be_killed_at_any_call, 0, SCENARIOS * KILLS);
    tcase_add_loop_test(save_case, interrupted_calls_go_on, 0, SCENARIOS * INTERRUPTIONS);
    return save_case;
}

Suite *faults_suite(void) {
    Suite *suite = suite_create("faults");
    suite_add_tcase(suite, faults_save_case());
    suite_add_tcase(suite, faults_fit_case());
    return suite;
}
