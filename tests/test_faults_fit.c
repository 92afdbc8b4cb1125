/* Trainings with checkpoints of which file calls fail, or at which the process is killed: whatever happened, the
 * training that is whole at last has the model, the log and the best model of one that nothing happened to, byte for
 * byte. */
#include <dirent.h>
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
#include "rbe/adapt.h"
#include "rbe/checkpoint.h"
#include "rbe/train.h"
#include "support.h"

enum { PATH_ROOM = 400, SAMPLES = 48, FEATURES = 16, CLASSES = 3, BATCH = 9, EPOCHS = 2, EPOCH_STEPS = 4, KEEP = 3 };
enum { STEPS = EPOCHS * EPOCH_STEPS };

/* ---- the training -------------------------------------------------------------------------------------------- */

/* "work" holds the checkpoints and the log, its parent the best model. */
static char top[PATH_ROOM], work[PATH_ROOM], gone[PATH_ROOM], checkpoint[PATH_ROOM], csv[PATH_ROOM], best[PATH_ROOM];

static float values[SAMPLES * FEATURES];
static int32_t labels[SAMPLES];
static int warnings;
static char last_warning[512];

static void note_warning(void *user, const char *text) {
    (void)user;
    warnings++;
    snprintf(last_warning, sizeof last_warning, "%s", text);
}

/* What differs between runs of the one training. */
typedef struct run {
    const char *path; /* NULL: checkpoint */
    size_t keep;      /* 0: KEEP */
    bool by_epoch;    /* saves after each epoch, not after each step */
    bool resume, or_before;
    rbe_progress_callback on_step;
    void *user;
    file_fault fault;
    rbe_fit_result result;
    bytes model; /* after a success; freed by check_whole */
} run;

static rbe_model *make_model(void) {
    rbe_model *model = rbe_model_new();
    const rbe_linear_options options = {.block = 8, .ratio = 2, .seed = 5};
    rbe_model_add(model, rbe_linear_new(FEATURES, FEATURES, &options));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, rbe_dropout_new(0.1f));
    rbe_model_add(model, rbe_dense_new(FEATURES, CLASSES, &(rbe_dense_options){.seed = 6}));
    ck_assert_ok(rbe_model_status(model));
    return model;
}

static void make_data(rbe_dataset *train, rbe_dataset *test) {
    fill_normal(values, SAMPLES * FEATURES, 1.0, 1);
    for (int n = 0; n < SAMPLES; n++) labels[n] = n % CLASSES;
    *train =
        (rbe_dataset){.count = SAMPLES, .features = FEATURES, .classes = CLASSES, .values = values, .labels = labels};
    ck_assert_ok(rbe_dataset_split(train, SAMPLES - EPOCH_STEPS * BATCH, test));
}

static rbe_status fit(run *r, rbe_model *model) {
    rbe_dataset train, test;
    make_data(&train, &test);
    rbe_optim *optim = rbe_optim_new(rbe_adam, model, &(rbe_optim_options){.lr = 0.01f});
    rbe_growth *growth = rbe_growth_new(model, &(rbe_growth_options){.steps = STEPS, .every = 2});
    const rbe_routine routine = rbe_growth_routine(growth);
    const rbe_checkpoint_options keep = {.path = r->path ? r->path : checkpoint,
                                         .keep = r->keep ? r->keep : KEEP,
                                         .every_steps = !r->by_epoch,
                                         .resume = r->resume,
                                         .or_before = r->or_before};
    const rbe_fit_options options = {.epochs = EPOCHS,
                                     .batch = BATCH,
                                     .seed = 5,
                                     .schedule = {.kind = RBE_COSINE},
                                     .best_path = best,
                                     .csv_path = csv,
                                     .log_every = 1,
                                     .routines = &routine,
                                     .routine_count = 1,
                                     .checkpoint = &keep,
                                     .on_step = r->on_step,
                                     .user = r->user};
    rbe_status status = rbe_fit(model, optim, &train, &test, &options, &r->result);
    rbe_growth_free(growth);
    rbe_optim_free(optim);
    return status;
}

static rbe_status go(run *r) {
    warnings = 0;
    rbe_model *model = make_model();
    if (r->fault.kind != FAULT_NONE) {
        r->fault.folder = r->fault.folder ? r->fault.folder : top;
        file_faults_start(&r->fault);
    }
    rbe_status status = fit(r, model);
    file_faults_stop();
    r->model = status == RBE_OK ? saved(model, RBE_STORE_F32, RBE_POSITIONS_DELTA) : (bytes){0};
    rbe_model_free(model);
    return status;
}

static rbe_status fit_in_child(void *user) {
    rbe_model *model = make_model();
    rbe_status status = fit(user, model);
    rbe_model_free(model);
    return status;
}

/* ---- what it must come to ------------------------------------------------------------------------------------ */

static bytes whole_model, whole_csv, whole_best;
static rbe_fit_result whole_result;

static bool equal(bytes a, bytes b) { return a.count == b.count && memcmp(a.data, b.data, a.count) == 0; }

static void check_file(const char *path, bytes expected, const char *when) {
    bytes found = read_whole(path);
    ck_assert_msg(equal(found, expected), "%s: %s differs: %zu bytes instead of %zu", when, path, found.count,
                  expected.count);
    free(found.data);
}

static void check_whole(run *r, const char *when) {
    ck_assert_msg(equal(r->model, whole_model), "%s: the model differs", when);
    check_file(csv, whole_csv, when);
    check_file(best, whole_best, when);
    ck_assert(r->result.steps == STEPS && r->result.epochs == EPOCHS &&
              r->result.best_epoch == whole_result.best_epoch);
    ck_assert(r->result.train.loss == whole_result.train.loss && r->result.best.loss == whole_result.best.loss);
    free(r->model.data);
}

/* Temporary files in a folder. */
static int strays_in(const char *folder) {
    int count = 0;
    DIR *dir = opendir(folder);
    ck_assert_msg(dir != NULL, "%s", folder);
    for (struct dirent *entry; (entry = readdir(dir));) count += strncmp(entry->d_name, "rbe-", 4) == 0;
    closedir(dir);
    return count;
}

/* Goes on, to the end. What has been left beside the checkpoint is gone before the first step. */
static rbe_status see_it_clean(void *user, const rbe_progress *progress) {
    (void)progress;
    ck_assert_msg(strays_in(work) == 0, "%s: what it left is still there", (const char *)user);
    return RBE_OK;
}

static void check_resume(const char *when, size_t least, size_t most) {
    run r = {.resume = true, .or_before = true, .on_step = see_it_clean, .user = (void *)(uintptr_t)when};
    rbe_status status = go(&r);
    ck_assert_msg(status == RBE_OK, "%s: %s", when, rbe_last_error());
    ck_assert_msg(r.result.resumed >= least && r.result.resumed <= most, "%s: resumed after %zu steps", when,
                  r.result.resumed);
    check_whole(&r, when);
    ck_assert_int_eq(strays_in(work) + strays_in(top), 0);
}

static void empty(const char *folder) {
    char path[PATH_ROOM + 300];
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path);
    }
    if (dir) closedir(dir);
}

static void start_afresh(void) {
    empty(work);
    empty(top);
    ck_assert(mkdir(work, 0755) == 0 || errno == EEXIST);
}

static void set_up(void) {
    strcpy(top, scratch_path(""));
    top[strlen(top) - 1] = '\0';
    strcpy(work, scratch_path("work"));
    strcpy(gone, scratch_path("gone"));
    strcpy(checkpoint, scratch_path("work/checkpoint"));
    strcpy(csv, scratch_path("work/log.csv"));
    strcpy(best, scratch_path("best"));
    rbe_set_warning_handler(note_warning, NULL);
    ck_assert_ok(rbe_set_threads(1));
    start_afresh();
    run r = {0};
    ck_assert_ok(go(&r));
    ck_assert_int_eq(warnings, 0);
    whole_model = r.model;
    whole_csv = read_whole(csv);
    whole_best = read_whole(best);
    whole_result = r.result;
    ck_assert_uint_eq(whole_result.steps, STEPS);
    start_afresh();
}

static void tear_down(void) {
    start_afresh();
    rmdir(work);
    free(whole_model.data);
    free(whole_csv.data);
    free(whole_best.data);
    ck_assert_uint_eq(rbe_memory().current, 0);
}

/* ---- killed -------------------------------------------------------------------------------------------------- */

static const struct death {
    fault_kind kind;
    bool no_links;
    bool twice; /* the one that goes on is killed, too */
} deaths[] = {
    {FAULT_KILL_BEFORE, .twice = true},
    {FAULT_KILL_HALF, .twice = false},
    {FAULT_KILL_AFTER, .no_links = true},
};
enum { DEATHS = sizeof deaths / sizeof *deaths };

/* Checkpoints are whole or not there. */
static int count_whole_checkpoints(const char *when) {
    int count = 0;
    for (int n = 0; n < KEEP; n++) {
        char path[PATH_ROOM + 20];
        snprintf(path, sizeof path, n > 0 ? "%s.%d" : "%s", checkpoint, n);
        if (access(path, F_OK) != 0) continue;
        rbe_tensor_file *file = rbe_tensor_file_open(path);
        ck_assert_msg(file != NULL, "%s: %s", when, rbe_last_error());
        const rbe_tensor_info *info;
        for (size_t k = 0; (info = rbe_tensor_file_at(file, k)); k++) {
            void *data = test_memory(info->bytes + 1, 1);
            ck_assert_msg(rbe_tensor_file_read(file, k, data) == RBE_OK, "%s: %s", when, rbe_last_error());
            free(data);
        }
        rbe_tensor_file_close(file);
        count++;
    }
    return count;
}

/* False: it was not killed, since it has no so many calls. */
static bool kill_training(const struct death *d, int n, bool resume) {
    char when[PATH_ROOM];
    const file_fault fault = {d->kind, .at = n, .folder = top, .no_links = d->no_links,
                              .only = d->kind == FAULT_KILL_HALF ? "write" : NULL};
    run r = {.resume = resume, .or_before = true};
    snprintf(when, sizeof when, "killed at call %d", n);
    bool killed = file_faults_kill(&fault, fit_in_child, &r);
    count_whole_checkpoints(when);
    int strays = strays_in(work) + strays_in(top);
    ck_assert_msg(strays <= killed + resume, "%s: %d temporary files", when, strays);
    return killed;
}

START_TEST(it_may_be_killed_at_any_call) {
    const struct death *d = &deaths[_i];
    int n = 1;
    for (; kill_training(d, n, false); n++) {
        char when[PATH_ROOM];
        snprintf(when, sizeof when, "killed at call %d", n);
        if (d->twice) kill_training(d, 1 + n % 50, true);
        check_resume(when, 0, STEPS);
        start_afresh();
    }
    ck_assert_int_gt(n, d->kind == FAULT_KILL_HALF ? 100 : 200);
}
END_TEST

/* Where there are no hard links, the file has no name for a moment: what was it is the one before. */
START_TEST(killed_between_two_names) {
    const file_fault fault = {FAULT_KILL_BEFORE, .at = 13, .only = "renameat", .folder = work, .no_links = true};
    run r = {0}, again = {.resume = true};
    ck_assert(file_faults_kill(&fault, fit_in_child, &r));
    ck_assert_int_ne(access(checkpoint, F_OK), 0);
    ck_assert_int_eq(count_whole_checkpoints("killed"), KEEP - 1);
    ck_assert_int_ne(go(&again), RBE_OK);
    assert_failed(RBE_IO_ERROR, "is missing, but");
    check_resume("killed between two names", 1, STEPS - 1);
}
END_TEST

/* The one before is all that there is, until another has been saved. */
START_TEST(killed_with_a_damaged_newest) {
    const file_fault first = {FAULT_KILL_BEFORE, .at = 5, .only = "linkat", .folder = work};
    file_fault second = {FAULT_KILL_BEFORE, .folder = work};
    for (bool killed = true; killed; start_afresh()) {
        char when[PATH_ROOM];
        run r = {.keep = 2}, again = {.keep = 2, .resume = true, .or_before = true};
        snprintf(when, sizeof when, "killed again at call %d", ++second.at);
        ck_assert(file_faults_kill(&first, fit_in_child, &r));
        ck_assert_int_eq(rename(checkpoint, strcat(strcpy(gone, checkpoint), ".1")), 0);
        write_whole(checkpoint, (bytes){(uint8_t *)"damaged", 7});
        killed = file_faults_kill(&second, fit_in_child, &again);
        check_resume(when, killed ? 5 : STEPS, STEPS);
    }
    ck_assert_int_gt(second.at, 60);
}
END_TEST

/* ---- calls that fail ----------------------------------------------------------------------------------------- */

/* What ends a training is its log, its best model, and the last checkpoint. */
static void check_failure(const run *r, int n) {
    const char *text = rbe_last_error(), *call = file_faults_name(n);
    bool last = strstr(text, checkpoint) && r->result.steps == STEPS;
    ck_assert_msg(strstr(text, csv) || strstr(text, best) || last, "call %d, %s, after step %zu: %s", n, call,
                  r->result.steps, text);
    ck_assert_msg(strstr(text, "No space left"), "call %d, %s: %s", n, call, text);
}

START_TEST(any_call_may_fail) {
    int n = 1, ended = 0, warned = 0;
    for (;; n++) {
        char when[PATH_ROOM];
        run r = {.fault = {FAULT_ERROR, .at = n, .error = ENOSPC}};
        rbe_status status = go(&r);
        if (file_faults_hits() == 0) {
            check_whole(&r, "none");
            break;
        }
        snprintf(when, sizeof when, "call %d, %s", n, file_faults_name(n));
        ck_assert_msg(status == RBE_OK || status == RBE_IO_ERROR, "%s: %s", when, rbe_last_error());
        ck_assert_msg(warnings <= 1 && (!warnings || strstr(last_warning, "No space left")), "%s: %d warnings", when,
                      warnings);
        warned += warnings;
        ended += status != RBE_OK;
        if (status == RBE_OK) check_whole(&r, when);
        if (status != RBE_OK) check_failure(&r, n);
        ck_assert_msg(strays_in(work) + strays_in(top) == 0, "%s", when);
        check_resume(when, status == RBE_OK ? STEPS : 0, STEPS);
        start_afresh();
    }
    ck_assert_int_gt(n, 200);
    ck_assert_int_gt(warned, 100);
    ck_assert_int_gt(ended, 20);
}
END_TEST

/* ---- saves that fail for some time --------------------------------------------------------------------------- */

static void fill_disk(void) {
    file_faults_start(
        &(file_fault){FAULT_ERROR, .at = 1, .times = INT_MAX, .error = ENOSPC, .only = "openat", .folder = work});
}

static void free_disk(void) { file_faults_stop(); }

static void vanish(void) { ck_assert_int_eq(rename(work, gone), 0); }

static void come_back(void) { ck_assert_int_eq(rename(gone, work), 0); }

/* Root may write anywhere: as nobody. The best model is saved beside, where nobody may. */
static void forbid(void) {
    chmod(top, 0777);
    chmod(work, 0555);
    if (geteuid() == 0) ck_assert_int_eq(seteuid(65534), 0);
}

static void permit(void) {
    if (getuid() == 0) ck_assert_int_eq(seteuid(0), 0);
    chmod(work, 0755);
    chmod(top, 0700);
}

static const struct trouble {
    const char *text;
    void (*begin)(void), (*end)(void);
} troubles[] = {
    {"checkpoint: cannot create: No space left on device", fill_disk, free_disk},
    {"checkpoint: cannot create: No such file or directory", vanish, come_back},
    {"checkpoint: cannot create: Permission denied", forbid, permit},
};
enum { TROUBLES = sizeof troubles / sizeof *troubles };

typedef struct time_of_trouble {
    const struct trouble *trouble;
    size_t from, to; /* steps, from 0, whose checkpoints cannot be saved; `to` is the first that can */
    bytes before;
} time_of_trouble;

static rbe_status make_trouble(void *user, const rbe_progress *p) {
    time_of_trouble *t = user;
    if (p->step == t->from) {
        if (t->from > 0) t->before = read_whole(checkpoint);
        t->trouble->begin();
    }
    if (p->step != t->to) return RBE_OK;
    t->trouble->end();
    if (t->from > 0) check_file(checkpoint, t->before, "during the trouble");
    if (t->from == 0) ck_assert_int_ne(access(checkpoint, F_OK), 0);
    return RBE_OK;
}

START_TEST(saves_that_fail_do_not_end_it) {
    time_of_trouble t = {&troubles[_i / 2], .from = _i % 2, .to = 3};
    run r = {.on_step = make_trouble, .user = &t};
    ck_assert_ok(go(&r));
    ck_assert_int_eq(warnings, 3 - (int)t.from);
    ck_assert_msg(strstr(last_warning, "no checkpoint after step 3: ") && strstr(last_warning, t.trouble->text), "%s",
                  last_warning);
    check_whole(&r, t.trouble->text);
    check_resume(t.trouble->text, STEPS, STEPS);
    free(t.before.data);
}
END_TEST

START_TEST(the_last_save_must_succeed) {
    time_of_trouble t = {&troubles[_i], .from = STEPS - 2, .to = STEPS};
    run r = {.on_step = make_trouble, .user = &t};
    rbe_status status = go(&r);
    t.trouble->end();
    ck_assert_int_eq(status, RBE_IO_ERROR);
    assert_failed(RBE_IO_ERROR, t.trouble->text);
    ck_assert_int_eq(warnings, 2);
    ck_assert(r.result.steps == STEPS && r.result.epochs == EPOCHS);
    check_file(checkpoint, t.before, "after the trouble");
    check_file(csv, whole_csv, "after the trouble");
    check_resume(t.trouble->text, STEPS - 2, STEPS - 2);
    free(t.before.data);
}
END_TEST

/* What failed after the last epoch is tried once more: there is nothing left to do. */
START_TEST(the_last_save_is_tried_again) {
    run r = {.by_epoch = true, .fault = {FAULT_ERROR, .at = 3, .error = ENOSPC, .only = "renameat"}};
    r.fault.times = 1 + _i;
    r.fault.folder = work;
    rbe_status status = go(&r);
    ck_assert_int_eq(file_faults_hits(), 1 + _i);
    ck_assert_int_eq(warnings, 1);
    ck_assert_int_eq(status, _i == 0 ? RBE_OK : RBE_IO_ERROR);
    if (_i == 0) check_whole(&r, "tried again");
    check_resume("tried again", _i == 0 ? STEPS : EPOCH_STEPS, _i == 0 ? STEPS : EPOCH_STEPS);
}
END_TEST

/* With all that is in it, and for ever. */
static rbe_status remove_work(void *user, const rbe_progress *p) {
    (void)user;
    if (p->step != 2) return RBE_OK;
    empty(work);
    ck_assert_int_eq(rmdir(work), 0);
    return RBE_OK;
}

START_TEST(a_folder_that_is_removed) {
    run r = {.on_step = remove_work};
    ck_assert_int_eq(go(&r), RBE_IO_ERROR);
    assert_failed(RBE_IO_ERROR, "checkpoint: cannot create: No such file or directory");
    ck_assert_int_eq(warnings, STEPS - 2);
    ck_assert(r.result.steps == STEPS && r.result.epochs == EPOCHS);
    ck_assert_int_eq(mkdir(work, 0755), 0);
    check_resume("a new folder", 0, 0);
}
END_TEST

/* ---- checkpoints that cannot be read ------------------------------------------------------------------------- */

START_TEST(a_checkpoint_that_cannot_be_read) {
    const file_fault death = {FAULT_KILL_BEFORE, .at = 6, .only = "unlinkat", .folder = work};
    const file_fault damage = {FAULT_ERROR, .at = 1, .times = INT_MAX, .error = EIO, .only = "pread"};
    run r = {0}, again = {.resume = true, .fault = damage};
    ck_assert(file_faults_kill(&death, fit_in_child, &r));
    again.fault.folder = checkpoint;
    ck_assert_int_eq(go(&again), RBE_IO_ERROR);
    assert_failed(RBE_IO_ERROR, "checkpoint: cannot read: Input/output error");
    ck_assert_uint_eq(again.result.steps, 0);
    if (_i == 0) check_resume("once it can be read", 6, 6);
    if (_i == 0) return;
    again.or_before = true;
    ck_assert_ok(go(&again));
    ck_assert_msg(warnings == 1 && strstr(last_warning, "instead: "), "%s", last_warning);
    ck_assert_uint_eq(again.result.resumed, 5);
    check_whole(&again, "instead");
}
END_TEST

/* ---- the log ------------------------------------------------------------------------------------------------- */

static const file_fault log_faults[] = {
    {FAULT_ERROR, .error = ENOSPC, .only = "write"},
    {FAULT_ERROR, .error = EIO, .only = "write"},
    {FAULT_FULL, .times = INT_MAX, .only = "write"}, /* a row of which a part is there */
};
enum { LOG_FAULTS = sizeof log_faults / sizeof *log_faults };

START_TEST(a_row_that_cannot_be_written) {
    run r = {.fault = log_faults[_i]};
    r.fault.folder = csv;
    int n = 1;
    for (;; n++) { /* the header, rows of steps and epochs */
        char when[PATH_ROOM];
        r.fault.at = n;
        rbe_status status = go(&r);
        if (file_faults_hits() == 0) break;
        snprintf(when, sizeof when, "row %d", n);
        ck_assert_msg(status == RBE_IO_ERROR && warnings == 0, "%s: %s", when, rbe_status_name(status));
        assert_failed(RBE_IO_ERROR, "log.csv: cannot write");
        check_resume(when, n > 2 ? 1 : 0, STEPS);
        start_afresh();
    }
    check_whole(&r, "all rows");
    ck_assert_int_eq(n, 1 + STEPS + EPOCHS + 1);
}
END_TEST

/* Going on begins with cutting the log back. */
START_TEST(a_log_that_cannot_be_cut_back) {
    const file_fault death = {FAULT_KILL_HALF, .at = 5, .only = "write", .folder = csv};
    run r = {0}, again = {.resume = true, .fault = {FAULT_ERROR, .at = 1, .error = EIO, .only = "ftruncate"}};
    ck_assert(file_faults_kill(&death, fit_in_child, &r));
    ck_assert_int_eq(go(&again), RBE_IO_ERROR);
    assert_failed(RBE_IO_ERROR, "log.csv: cannot cut it back");
    ck_assert_int_eq(file_faults_hits(), 1);
    check_resume("cut back", 3, 3);
}
END_TEST

/* A signal is no reason to go without a checkpoint, or to end. */
START_TEST(interrupted_calls_go_on) {
    static const char *const names[] = {"write", "fsync"};
    run r = {.fault = {FAULT_ERROR, .at = 1 + _i / 2, .times = 2, .error = EINTR, .only = names[_i % 2]}};
    r.fault.folder = csv;
    ck_assert_ok(go(&r));
    ck_assert_int_eq(file_faults_hits(), 2);
    ck_assert_msg(warnings == 0, "%s", last_warning);
    check_whole(&r, names[_i % 2]);
}
END_TEST

/* ---- links --------------------------------------------------------------------------------------------------- */

/* The checkpoints lie where the link leads: all of them, and what has been left. */
START_TEST(checkpoints_by_a_link) {
    static const size_t resumed[] = {6, 5, 5};
    char link[PATH_ROOM];
    struct stat about;
    const file_fault fault = {FAULT_KILL_BEFORE, .at = 6, .only = "linkat", .folder = top};
    strcpy(link, scratch_path("link"));
    ck_assert_int_eq(symlink("work/checkpoint", link), 0);
    run r = {.path = link}, again = {.path = link, .resume = true, .or_before = true, .on_step = see_it_clean};
    again.user = (void *)(uintptr_t) "by a link";
    ck_assert(file_faults_kill(&fault, fit_in_child, &r));
    ck_assert_int_eq(count_whole_checkpoints("killed"), 2); /* after steps 6 and 5 */
    ck_assert_int_eq(strays_in(work), 1);
    if (_i == 1) ck_assert_int_eq(truncate(checkpoint, 100), 0);
    if (_i == 2) ck_assert_int_eq(unlink(checkpoint), 0);
    ck_assert_ok(go(&again));
    ck_assert_uint_eq(again.result.resumed, resumed[_i]);
    check_whole(&again, "by a link");
    ck_assert(lstat(link, &about) == 0 && S_ISLNK(about.st_mode));
    ck_assert_int_eq(count_whole_checkpoints("by a link"), KEEP);
}
END_TEST

TCase *faults_fit_case(void) {
    TCase *fit_case = tcase_create("fit");
    tcase_add_checked_fixture(fit_case, set_up, tear_down);
    tcase_add_loop_test(fit_case, it_may_be_killed_at_any_call, 0, DEATHS);
    tcase_add_test(fit_case, killed_between_two_names);
    tcase_add_test(fit_case, killed_with_a_damaged_newest);
    tcase_add_test(fit_case, any_call_may_fail);
    tcase_add_loop_test(fit_case, saves_that_fail_do_not_end_it, 0, 2 * TROUBLES);
    tcase_add_loop_test(fit_case, the_last_save_must_succeed, 0, TROUBLES);
    tcase_add_loop_test(fit_case, the_last_save_is_tried_again, 0, 2);
    tcase_add_test(fit_case, a_folder_that_is_removed);
    tcase_add_loop_test(fit_case, a_checkpoint_that_cannot_be_read, 0, 2);
    tcase_add_loop_test(fit_case, a_row_that_cannot_be_written, 0, LOG_FAULTS);
    tcase_add_test(fit_case, a_log_that_cannot_be_cut_back);
    tcase_add_loop_test(fit_case, interrupted_calls_go_on, 0, 6);
    tcase_add_loop_test(fit_case, checkpoints_by_a_link, 0, 3);
    return fit_case;
}
