/* Checkpoints of rbe_fit: when one is due, what happens when it cannot be written, and where training goes on. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/atomic_file.h"
#include "base/clock.h"
#include "base/warning.h"
#include "io/source.h"
#include "train/checkpoint.h"
#include "train/training.h"

/* ---- saving -------------------------------------------------------------------------------------------------- */

static rbe_status save(rbe_training *t) {
    const rbe_checkpoint_options *o = t->options.checkpoint;
    rbe_keeper *keeper = &t->keeper;
    keeper->steps = t->steps_done;
    keeper->epoch = t->progress.epoch;
    keeper->seconds = rbe_seconds();
    rbe_status status = rbe_log_sync(&t->log);
    if (status == RBE_OK) status = rbe_checkpoint_save(&keeper->checkpoint, o->path, keeper->damaged ? 1 : o->keep);
    keeper->saved = status == RBE_OK;
    if (keeper->saved) keeper->damaged = false;
    return status;
}

/* The training goes on without a checkpoint that there was no room for. */
static rbe_status save_if_possible(rbe_training *t) {
    rbe_status status = save(t);
    if (status != RBE_IO_ERROR && status != RBE_INSUFFICIENT_MEMORY) return status;
    rbe_warn("no checkpoint after step %zu: %s", t->steps_done, rbe_last_error());
    return RBE_OK;
}

/* A request that comes from now on is one for the next step. */
static bool is_requested(const rbe_checkpoint_options *o) {
    bool requested = o->request && *o->request;
    if (requested) *o->request = 0;
    return requested;
}

static bool is_time(const rbe_training *t, const rbe_checkpoint_options *o) {
    return o->every_minutes > 0 && rbe_seconds() - t->keeper.seconds >= 60.0 * o->every_minutes;
}

bool rbe_keep_requested(const rbe_training *t) { return t->options.checkpoint && is_requested(t->options.checkpoint); }

/* Of several ranks all have been asked what one has been. */
static bool is_asked_for(const rbe_training *t) { return t->team.comm ? t->told.request : rbe_keep_requested(t); }

/* NULL: this rank saves nothing. */
static const rbe_checkpoint_options *options_of(const rbe_training *t) {
    return rbe_team_leads(&t->team) ? t->options.checkpoint : NULL;
}

rbe_status rbe_keep_step(rbe_training *t) {
    const rbe_checkpoint_options *o = options_of(t);
    if (!o) return RBE_OK;
    bool due = is_asked_for(t) || is_time(t, o) || (o->every_steps > 0 && t->steps_done % o->every_steps == 0);
    return due ? save_if_possible(t) : RBE_OK;
}

rbe_status rbe_keep_epoch(rbe_training *t) {
    const rbe_checkpoint_options *o = options_of(t);
    if (!o) return RBE_OK;
    bool requested = is_asked_for(t); /* in any case: one checkpoint answers it */
    bool every_epoch = o->every_epoch || (o->every_steps == 0 && o->every_minutes == 0);
    return requested || every_epoch ? save_if_possible(t) : RBE_OK;
}

rbe_status rbe_keep_last(rbe_training *t) {
    const rbe_keeper *k = &t->keeper;
    if (!options_of(t)) return RBE_OK;
    if (k->saved && k->steps == t->steps_done && k->epoch == t->progress.epoch) return RBE_OK;
    return save(t);
}

/* ---- going on ------------------------------------------------------------------------------------------------ */

/* Those before the newest stand beside what a link leads to. */
static rbe_status name_of(char name[PATH_MAX], const char *path, size_t n) {
    char *target = NULL;
    rbe_status status = n > 0 ? rbe_atomic_target(path, &target) : RBE_OK;
    int length = 0;
    if (status == RBE_OK)
        length = n > 0 ? snprintf(name, PATH_MAX, "%s.%zu", target, n) : snprintf(name, PATH_MAX, "%s", path);
    rbe_free(target);
    if (length < PATH_MAX) return status;
    return rbe_fail(RBE_INVALID_ARGUMENT, "checkpoint: expected a path of fewer than %d bytes", PATH_MAX);
}

/* Whatever stands there: what cannot be read is not missing. */
static bool is_there(const char *name) { return access(name, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR); }

static void note(rbe_training *t, const char *name) {
    char text[PATH_MAX + 96];
    const rbe_progress *p = &t->progress;
    if (name)
        snprintf(text, sizeof text, "goes on from %s, after step %zu of %zu", name, t->steps_done, p->steps);
    else
        snprintf(text, sizeof text, "no checkpoint at %s: training begins", t->options.checkpoint->path);
    rbe_bar_note(&t->bar, text);
}

/* Loads the newest checkpoint that is whole, if there is one. *number and `name` say which. */
static rbe_status load_newest(const rbe_training *t, size_t *number, char name[PATH_MAX]) {
    const rbe_checkpoint_options *o = t->options.checkpoint;
    const size_t keep = o->keep > 1 ? o->keep : 1, most = o->or_before ? keep : 1;
    char first[512] = "";
    rbe_status status = RBE_OK;
    for (*number = 0; *number < most; ++*number) {
        RBE_TRY(name_of(name, o->path, *number));
        if (!is_there(name)) continue;
        rbe_status found = rbe_checkpoint_load(&t->keeper.checkpoint, name);
        if (found == RBE_OK && status != RBE_OK) rbe_warn("%s; instead: %s", first, name);
        if (found == RBE_OK) return RBE_OK;
        if (!o->or_before || (found != RBE_BAD_FORMAT && found != RBE_IO_ERROR)) return found;
        if (status == RBE_OK) snprintf(first, sizeof first, "%s", rbe_last_error());
        if (status == RBE_OK) status = found;
    }
    if (status != RBE_OK) return rbe_fail(status, "%s", first);
    RBE_TRY(name_of(name, o->path, 1));
    if (!is_there(name)) return RBE_OK;
    return rbe_fail(RBE_IO_ERROR, "%s is missing, but %s is there", o->path, name);
}

static rbe_status go_on(rbe_training *t, char name[PATH_MAX]) {
    size_t number;
    RBE_TRY(load_newest(t, &number, name));
    const bool found = t->resumed > 0; /* steps, of which any checkpoint has some */
    note(t, found ? name : NULL);
    if (!found) return RBE_OK;
    t->keeper.saved = number == 0;
    t->keeper.damaged = number > 0;
    t->keeper.steps = t->steps_done;
    t->keeper.epoch = t->progress.epoch;
    return RBE_OK;
}

/* ---- several ranks ------------------------------------------------------------------------------------------- */

static rbe_status read_all(const char *name, char **bytes, size_t *count) {
    rbe_source source;
    RBE_TRY(rbe_source_open(&source, name));
    *count = (size_t)source.bytes;
    *bytes = rbe_alloc(*count, 1);
    rbe_status status = *bytes ? rbe_source_read(&source, 0, *bytes, *count) : RBE_INSUFFICIENT_MEMORY;
    rbe_source_close(&source);
    return status;
}

static rbe_status load_copy(const rbe_training *t, const char *bytes, size_t count) {
    rbe_tensor_file *file = rbe_tensor_file_open_memory(bytes, count);
    rbe_status status = file ? rbe_checkpoint_from_file(&t->keeper.checkpoint, file) : rbe_last_status();
    rbe_tensor_file_close(file);
    return status;
}

/* Rank 0 goes on from a file, and the others from its bytes. */
static rbe_status go_on_together(rbe_training *t) {
    char name[PATH_MAX], *bytes = NULL;
    size_t count = 0;
    const bool leads = rbe_team_leads(&t->team);
    rbe_status status = leads ? go_on(t, name) : RBE_OK;
    if (status == RBE_OK && t->team.comm && t->resumed > 0) status = read_all(name, &bytes, &count);
    if (t->team.comm) status = rbe_team_share(&t->team, status, &bytes, &count);
    if (status == RBE_OK && !leads && count > 0) status = load_copy(t, bytes, count);
    rbe_free(bytes);
    return status;
}

/* ---- the beginning and the end ------------------------------------------------------------------------------- */

static rbe_status check_options(const rbe_checkpoint_options *o) {
    if (!o->path) return rbe_fail(RBE_INVALID_ARGUMENT, "checkpoint: the path is NULL");
    if (isfinite(o->every_minutes) && o->every_minutes >= 0) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "checkpoint: expected a finite number of minutes >= 0, found %g",
                    o->every_minutes);
}

/* What a run before has left where it saved. A path that leads nowhere is for the first save to refuse. */
static rbe_status clean(const char *path) {
    char *target = NULL;
    rbe_status status = rbe_atomic_target(path, &target);
    if (status == RBE_OK) rbe_atomic_clean(target);
    rbe_free(target);
    return status == RBE_INSUFFICIENT_MEMORY ? status : RBE_OK;
}

rbe_status rbe_keep_start(rbe_training *t) {
    const rbe_checkpoint_options *o = t->options.checkpoint;
    const rbe_fit_options *fit = &t->options;
    if (!o) return RBE_OK;
    RBE_TRY(check_options(o));
    rbe_keeper *keeper = &t->keeper;
    keeper->routines = rbe_alloc(fit->routine_count + 1, sizeof(rbe_routine));
    if (!keeper->routines) return RBE_INSUFFICIENT_MEMORY;
    for (size_t n = 0; n < fit->routine_count; n++) keeper->routines[n] = fit->routines[n];
    keeper->routines[fit->routine_count] = rbe_training_routine(t);
    keeper->checkpoint = (rbe_checkpoint){.model = t->step.model,
                                          .optim = t->step.optim,
                                          .routines = keeper->routines,
                                          .routine_count = fit->routine_count + 1};
    keeper->seconds = rbe_seconds();
    t->train_sum = rbe_checksum_of_data(t->train);
    if (t->test) t->test_sum = rbe_checksum_of_data(t->test);
    RBE_TRY(rbe_checkpoint_check("rbe_fit", &keeper->checkpoint, o->path)); /* and not after hours */
    if (rbe_team_leads(&t->team)) RBE_TRY(clean(o->path));
    return o->resume ? go_on_together(t) : RBE_OK;
}

void rbe_keep_free(rbe_training *t) { rbe_free(t->keeper.routines); }
