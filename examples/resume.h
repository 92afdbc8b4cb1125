/* Trainings that survive: options for checkpoints, and what a program does when it is interrupted. */
#ifndef RBE_EXAMPLES_RESUME_H
#define RBE_EXAMPLES_RESUME_H

#include "common.h"

typedef struct resume {
    const char *checkpoint, *every;
    size_t keep;
    bool resume;
} resume;

/* --checkpoint, --every, --keep, --resume: fills `options` and returns their number. */
enum { RESUME_OPTIONS = 4 };
size_t resume_options(resume *r, example_option options[RESUME_OPTIONS]);

/* Ends the program with 2 if options do not go together. */
void resume_check(const resume *r);

/* rbe_fit, with the checkpoints that the options want.
 *
 * SIGINT, SIGTERM and SIGHUP (unless it was ignored) end it after the step: with a checkpoint, a complete log, the model
 * so far in `path` (NULL: nowhere), and exit code 128 + the signal's number. A second one ends the program at once. On
 * SIGUSR1 a checkpoint is saved. SIGPIPE is ignored from now on. Any failure ends the program; if a file could not be
 * written, the model so far is in `path`. Ranks share the batches, and rank 0 says what has failed on any of them. */
rbe_fit_result resume_fit(const resume *r, rbe_model *model, rbe_optim *optim, const rbe_dataset *train,
                          const rbe_dataset *test, const rbe_fit_options *fit, const char *path,
                          const rbe_save_options *save);

#endif
