/* What the tests of checkpoints share: trainings that a recipe describes, made, stopped, gone on with, and compared bit
 * by bit. */
#ifndef RBE_TESTS_CHECKPOINT_SUPPORT_H
#define RBE_TESTS_CHECKPOINT_SUPPORT_H

#include <check.h>

#include "io_support.h"
#include "rbe/adapt.h"
#include "rbe/train.h"

enum { FEATURES = 24, HEIGHT = 4, CLASSES = 3, TARGETS = 2, TRAIN_SAMPLES = 44, TEST_SAMPLES = 16, MOST_STEPS = 128 };

/* 24 wide inputs; 3 classes or 2 targets. NESTED: residual, repeat, a layer in two places, a container in two places.
 * IMAGE: image, alpha, overlap. */
typedef enum model_kind { DENSE, COMPRESSED, NESTED, IMAGE } model_kind;

typedef enum samples_kind { WITH_LABELS, WITH_PIXELS, WITH_TARGETS, WITH_WEIGHTS } samples_kind;

/* A training but for its files. */
typedef struct recipe {
    const char *name;
    model_kind model;
    samples_kind samples;
    const char *method;
    rbe_optim_options optim;
    float dropout; /* 0: no such layer */
    bool growth, gradual, random_pruning;
    unsigned bits; /* 0: floats */
    bool meddles;  /* on_step and on_backward change rates, and what is frozen */
    bool spoils;   /* on_step ruins the model after step 7 */
    bool tested, log, best;
    int threads, threads_after; /* of the first run and of those that go on; 0: 1 */
    rbe_fit_options fit;
} recipe;

/* What callbacks saw of a step. */
typedef struct note {
    double batch_loss, batch_metric, mean_loss, mean_metric;
    float lr;
    size_t epoch;
} note;

/* One run of a recipe, with all that belongs to it. */
typedef struct training {
    recipe r;
    rbe_dataset train, test;
    rbe_model *model;
    rbe_optim *optim;
    rbe_growth *growth;
    rbe_gradual *gradual;
    rbe_quantiser *quantiser;
    rbe_routine routines[4];
    rbe_fit_options options;
    rbe_checkpoint_options keep;
    char path[80], log[80], best[80];
    volatile sig_atomic_t stop;
    size_t stop_after; /* steps; 0: never */
    note notes[MOST_STEPS];
    bytes
        *copies; /* of the checkpoint, one for each call of on_step and on_epoch that found one; NULL: none are taken */
    size_t copy_count;
    rbe_fit_result result;
} training;

/* Everything of a recipe made anew, with paths in the scratch folder; `checkpoints`: the options name training.keep. In
 * its place, for options point into it. */
void training_make(training *t, const recipe *r, bool checkpoints);
void training_free(training *t);

/* rbe_fit, with the threads of the recipe. */
rbe_status training_run(training *t);

/* The same, after which there is a checkpoint of `steps` steps; everything is freed again. */
void training_leave(const recipe *r, size_t steps);

/* The library's checkpoint of what a training is made of. */
rbe_checkpoint checkpoint_of(training *t);

rbe_model *make_model(model_kind kind, float dropout, size_t outputs);
void make_samples(samples_kind kind, rbe_dataset *train, rbe_dataset *test);

/* ---- what is compared ---------------------------------------------------------------------------------------- */

/* All bits of a model, an optimiser (or NULL) and routines, beside their gradients, that go on deciding. */
bytes snapshot(const rbe_model *model, const rbe_optim *optim, const rbe_routine *routines, size_t count);
bytes snapshot_of(training *t);

bool same_bytes(bytes a, bytes b);

/* What a finished training has left: files and numbers. */
typedef struct outcome {
    bytes model, log, best, state;
    rbe_fit_result result;
    note notes[MOST_STEPS];
} outcome;

outcome outcome_of(training *t);
void outcome_free(outcome *o);

/* The test fails, naming the recipe and `when`, unless all is the same but the clock; notes from step `first` on. */
void assert_same(const outcome *expected, const outcome *found, size_t first, const char *name, const char *when);

/* What a training without checkpoints leaves. */
outcome uninterrupted(const recipe *r);

/* Goes on from the checkpoint that is there, of so many steps, to the end, where everything must be the same. */
void go_on(const recipe *r, const outcome *expected, size_t steps, const char *how);

/* How many steps are done in a checkpoint of rbe_fit, by its text. */
size_t steps_in(bytes file);
size_t steps_in_file(const char *path);

bool exists(const char *path);
void copy_file(const char *from, const char *to);

TCase *checkpoint_when_case(void);
TCase *checkpoint_keep_case(void);
TCase *checkpoint_loop_case(void);
TCase *checkpoint_state_case(void);
TCase *checkpoint_refusals_case(void);
TCase *checkpoint_models_case(void);
TCase *checkpoint_memory_case(void);
TCase *checkpoint_files_case(void);
TCase *checkpoint_damage_case(void);
TCase *checkpoint_size_case(void);

#endif
