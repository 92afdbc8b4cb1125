/* What the experiments share: a digits classifier by a recipe, means and spreads over seeds, folders of results. */
#ifndef RBE_EXAMPLES_EXPERIMENT_H
#define RBE_EXAMPLES_EXPERIMENT_H

#include <stdio.h>

#include "common.h"
#include "rbe/adapt.h"
#include "rbe/io.h"

/* Hidden layers with ReLU and a dense last layer, and how it is trained. */
typedef struct recipe {
    example_sizes hidden;
    double ratio;          /* of the hidden layers; 1: dense */
    const char *transform; /* of both axes */
    size_t block, group;   /* group 0: rbe_growth_group */
    bool grow;
    bool image;     /* the first layer takes its inputs as an image */
    double dropout; /* of the inputs and of every hidden layer */
    size_t epochs, batch;
    double lr; /* 0: what does best for the kind of layer */
    uint64_t seed;
} recipe;

/* Everything but the data and the seeds at its default. */
recipe recipe_default(void);

typedef struct trained {
    rbe_model *model;
    rbe_fit_result fit;
} trained;

/* An untrained one; ends the program on failure, like everything here. */
rbe_model *recipe_model(const recipe *r, const rbe_dataset *data);

/* NULL unless the recipe wants growth. */
rbe_growth *recipe_growth(const recipe *r, rbe_model *model, rbe_optim *optim, const rbe_dataset *train);

rbe_optim *recipe_optim(const recipe *r, rbe_model *model);

/* `progress`: a line per epoch on standard error. */
trained recipe_train(const recipe *r, const rbe_dataset *train, const rbe_dataset *test, bool progress);

/* The folder's MNIST, or other digits of its format. */
void experiment_data(const char *folder, rbe_dataset *train, rbe_dataset *test);

/* Creates DIR/NAME for writing, and closes it; NULL if there is no folder. */
FILE *experiment_file(const char *folder, const char *name);
void experiment_close(FILE *file);

double experiment_now(void);                 /* seconds, of a clock that only goes forward */
double median(double *values, size_t count); /* sorts them */

/* What a model is once it has been stored: bytes of the file, and the test error in percent of what is read back.
 */
typedef struct stored_model {
    size_t bytes;
    double error;
} stored_model;

stored_model experiment_store(const rbe_model *model, rbe_store store, const rbe_dataset *test);

typedef struct spread {
    double mean, deviation; /* of a sample: 0 for one value */
} spread;

spread spread_of(const double *values, size_t count);

/* Seconds of a forward pass of `model` over random rows: the median of `rounds`, the models in turn. */
void time_forward(rbe_model *const *models, size_t count, size_t rows, size_t rounds, double *seconds);

#endif
