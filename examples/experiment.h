/* What the experiments share: data, files of results and of models, means and spreads over seeds, timing. */
#ifndef RBE_EXAMPLES_EXPERIMENT_H
#define RBE_EXAMPLES_EXPERIMENT_H

#include <stdio.h>

#include "common.h"
#include "rbe/io.h"

/* The folder's MNIST, or other digits of its format. */
void experiment_data(const char *folder, rbe_dataset *train, rbe_dataset *test);

/* Takes the last `count` training samples from the training, to test on them instead: for choices, which the test
 * samples must not make. `test` borrows from `train`. Ends the program with 2 if that leaves none to train on. */
void experiment_hold_out(rbe_dataset *train, rbe_dataset *test, size_t count);

/* Creates DIR/NAME for writing, and closes it; NULL if there is no folder. */
FILE *experiment_file(const char *folder, const char *name);
void experiment_close(FILE *file);

double experiment_now(void);                 /* seconds, of a clock that only goes forward */
double median(double *values, size_t count); /* sorts them */

/* Makes an empty temporary file, to be unlinked by the caller. */
#define EXPERIMENT_PATH_SIZE 32
void experiment_temporary(char path[EXPERIMENT_PATH_SIZE]);

/* Of the file that the model would be. */
size_t experiment_file_bytes(const rbe_model *model, const rbe_save_options *options);

/* The model that is read back from its file, and the bytes of that. path NULL: a temporary file. */
rbe_model *experiment_again(const rbe_model *model, const char *path, const rbe_save_options *save, size_t *bytes);

/* What a model is once it has been stored. */
typedef struct stored_model {
    size_t bytes;        /* of the file */
    rbe_evaluation test; /* of what is read back */
} stored_model;

/* path NULL: in a temporary file. */
stored_model experiment_store(const rbe_model *model, const char *path, rbe_store store, const rbe_dataset *test);

typedef struct spread {
    double mean, deviation; /* of a sample: 0 for one value */
} spread;

spread spread_of(const double *values, size_t count);

/* Seconds of a forward pass of `model` over random rows: the median of `rounds`, the models in turn. */
void time_forward(rbe_model *const *models, size_t count, size_t rows, size_t rounds, double *seconds);

#endif
