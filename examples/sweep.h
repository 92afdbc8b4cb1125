/* Trained digits classifiers that are pruned in many ways: one for each seed, kept in a file, and a copy for each way.
 */
#ifndef RBE_EXAMPLES_SWEEP_H
#define RBE_EXAMPLES_SWEEP_H

#include "experiment.h"
#include "recipe.h"

enum { SWEEP_MAX_SEEDS = 16, SWEEP_MAX_LAYERS = 32, SWEEP_SAMPLES_AT_A_TIME = 500 };

typedef struct sweep_original {
    char path[EXPERIMENT_PATH_SIZE];
    double error; /* percent, of the test data, like all errors here */
} sweep_original;

typedef struct sweep {
    const char *data, *load, *out; /* load: a model's file, or NULL to train; out: folder of the results, or NULL */
    recipe recipe;
    size_t seeds;
    bool single, json;
    rbe_dataset train, test;
    sweep_original originals[SWEEP_MAX_SEEDS];
    spread error; /* of the originals */
} sweep;

/* Reads the data; trains and keeps the models. */
void sweep_begin(sweep *s);
void sweep_end(sweep *s);

/* A model by the recipe with the n-th seed. */
rbe_model *sweep_train(const sweep *s, recipe r, size_t n);
rbe_model *sweep_load(const sweep *s, size_t n);
double sweep_error(const sweep *s, const rbe_model *model);

/* What a model is once it has been pruned. */
typedef struct sweep_outcome {
    rbe_prune_report report;
    double error, tuned_error; /* at once, and after fine-tuning */
    double removed;            /* percent of all coefficients */
    double removed_of_layer[SWEEP_MAX_LAYERS];
    size_t file_bytes;
    double speed; /* seconds of a forward pass of 256 rows before, over seconds after: medians, measured in turn */
} sweep_outcome;

/* Prunes a copy of the n-th original, measures it, tunes it and frees it. */
sweep_outcome sweep_prune(const sweep *s, size_t n, rbe_model *copy, const rbe_prune_options *options);

#endif
