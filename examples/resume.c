/* Checkpoints by command-line options; signals. */
#include "resume.h"

#include <errno.h>
#include <libgen.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- options ------------------------------------------------------------------------------------------------- */

size_t resume_options(resume *r, example_option options[RESUME_OPTIONS]) {
    const example_option own[RESUME_OPTIONS] = {
        {"checkpoint", EXAMPLE_TEXT, &r->checkpoint, "FILE",
         "save everything that a training needs to go on, also when it is interrupted", 0, 0},
        {"every", EXAMPLE_TEXT, &r->every, "N[m]",
         "save every N steps, or, like 10m, every 10 minutes (default: after each epoch)", 0, 0},
        {"keep", EXAMPLE_COUNT, &r->keep, "N", "checkpoints to keep: FILE, and older ones as FILE.1 ..", 1, 1000},
        {"resume", EXAMPLE_FLAG, &r->resume, NULL, "go on from FILE, or, if that is damaged, from the one before", 0,
         0},
    };
    if (r->keep == 0) r->keep = 1;
    memcpy(options, own, sizeof own);
    return RESUME_OPTIONS;
}

/* "500" or "10m". False for another text. */
static bool read_every(const char *text, size_t *steps, double *minutes) {
    char *end;
    double value = strtod(text, &end);
    bool plain = *text && text[strspn(text, "0123456789.")] == (*end ? 'm' : '\0') && value > 0 && value < 1e9;
    *steps = 0;
    *minutes = 0;
    if (strcmp(end, "m") == 0)
        *minutes = value;
    else if (*end == '\0' && value == floor(value))
        *steps = (size_t)value;
    return plain && (*steps > 0 || *minutes > 0);
}

void resume_check(const resume *r) {
    size_t steps;
    double minutes;
    if (!r->checkpoint && (r->resume || r->every || example_given("keep")))
        example_fail(2, "--%s needs --checkpoint", r->resume ? "resume" : r->every ? "every" : "keep");
    if (r->every && !read_every(r->every, &steps, &minutes))
        example_fail(2, "--every: expected steps, 500, or minutes, 10m, found \"%s\"", r->every);
}

/* ---- signals ------------------------------------------------------------------------------------------------- */

enum { SIGNALS = 4 };

static const int signals[SIGNALS] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
static volatile sig_atomic_t stop, request; /* stop: the number of the signal */

static void ask_to_stop(int number) { stop = number; }

static void ask_for_one(int number) {
    (void)number;
    request = 1;
}

/* A handler that stops is gone after its first signal, so that a second one does what it does without. */
static void catch_signals(struct sigaction before[SIGNALS], bool checkpoints) {
    signal(SIGPIPE, SIG_IGN);
    for (size_t n = 0; n < SIGNALS; n++) {
        struct sigaction action = {.sa_handler = ask_to_stop, .sa_flags = SA_RESTART | (int)SA_RESETHAND};
        if (signals[n] == SIGUSR1) action = (struct sigaction){.sa_handler = ask_for_one, .sa_flags = SA_RESTART};
        sigaction(signals[n], NULL, &before[n]);
        bool ignored = before[n].sa_handler == SIG_IGN; /* by nohup, say */
        if (!ignored && (signals[n] != SIGUSR1 || checkpoints)) sigaction(signals[n], &action, NULL);
    }
}

static void release_signals(const struct sigaction before[SIGNALS]) {
    for (size_t n = 0; n < SIGNALS; n++) sigaction(signals[n], &before[n], NULL);
}

/* ---- training ------------------------------------------------------------------------------------------------ */

static rbe_status save_so_far(const rbe_model *model, const char *path, const rbe_save_options *save) {
    RBE_TRY(rbe_model_save(model, path, save));
    fprintf(stderr, "the model so far is in %s\n", path);
    return RBE_OK;
}

/* The end of an interrupted program. */
_Noreturn static void end(const resume *r, const rbe_model *model, const char *path, const rbe_save_options *save) {
    fprintf(stderr, "interrupted: %s\n", rbe_last_error());
    if (path) example_require(save_so_far(model, path, save));
    if (r->checkpoint) fprintf(stderr, "the same command with --resume goes on from %s\n", r->checkpoint);
    exit(stop ? 128 + (int)stop : 1); /* 0: another rank had the signal */
}

/* Better now than when the training has ended. */
static void check_checkpoint(const resume *r, const char *model, const rbe_comm *comm) {
    if (!r->checkpoint || (comm && comm->rank > 0)) return;
    if (model && strcmp(model, r->checkpoint) == 0)
        example_fail(1, "--checkpoint: %s is the file of the model", r->checkpoint);
    char *path = realpath(r->checkpoint, NULL); /* what a link leads to */
    if (!path) path = example_need(strdup(r->checkpoint));
    const char *folder = dirname(path);
    if (access(folder, W_OK | X_OK) != 0)
        example_fail(1, "--checkpoint: no file can be made in %s: %s", folder, strerror(errno));
    free(path);
}

/* A file that could not be written, such as the last checkpoint, does not take the training with it. */
static void save_what_there_is(const rbe_model *model, const char *path, const rbe_save_options *save) {
    char text[512];
    snprintf(text, sizeof text, "%s", rbe_last_error());
    save_so_far(model, path, save);
    rbe_fail(RBE_IO_ERROR, "%s", text);
}

rbe_fit_result resume_fit(const resume *r, rbe_model *model, rbe_optim *optim, const rbe_dataset *train,
                          const rbe_dataset *test, const rbe_fit_options *fit, const char *path,
                          const rbe_save_options *save) {
    rbe_checkpoint_options keep = {
        .path = r->checkpoint, .keep = r->keep, .request = &request, .resume = r->resume, .or_before = r->keep > 1};
    if (r->every) read_every(r->every, &keep.every_steps, &keep.every_minutes);
    rbe_fit_options options = *fit;
    options.checkpoint = r->checkpoint ? &keep : NULL;
    options.stop = &stop;
    options.comm = example_comm();
    check_checkpoint(r, path, options.comm);
    struct sigaction before[SIGNALS];
    rbe_fit_result result;
    catch_signals(before, r->checkpoint);
    rbe_status status = rbe_fit(model, optim, train, test, &options, &result);
    release_signals(before);
    if (status != RBE_OK) example_fail_together();
    if (status == RBE_IO_ERROR && path && result.steps > result.resumed) save_what_there_is(model, path, save);
    if (status == RBE_STOPPED && (stop || options.comm)) end(r, model, path, save);
    example_require(status);
    return result;
}
