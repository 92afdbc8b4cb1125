/* How a digits classifier is made and trained: one way for all programs that train some. */
#ifndef RBE_EXAMPLES_RECIPE_H
#define RBE_EXAMPLES_RECIPE_H

#include "common.h"
#include "rbe/adapt.h"
#include "rbe/io.h"
#include "resume.h"

/* Hidden layers with ReLU and a dense last layer, and how they are trained. */
typedef struct recipe {
    example_sizes hidden;
    bool dense;            /* the hidden layers are; what follows down to `prune` is of compressed ones */
    double ratio;          /* of all of them together; or: */
    size_t coeffs;         /* per block, of each */
    size_t values;         /* of all of them together, instead of the ratio */
    size_t block, group;   /* group 0: what does best */
    const char *transform; /* along both axes */
    const char *row_transform, *column_transform; /* along one of them; NULL: as both */
    const char *alpha;
    bool image, grow;       /* image: the first layer takes its inputs as one */
    double prune;           /* share of the coefficients that gradual pruning takes; or: */
    double threshold;       /* those of magnitude up to that go, gradually; 0: none */
    bool relative;          /* the threshold is in units of each layer's root mean square */
    size_t bits, head_bits; /* of the values of hidden layers and of the last one, trained so; 0: floats */
    double quantize_from;   /* share of the steps from which on they are rounded */
    double dropout;         /* of the inputs and of every hidden layer */
    rbe_augment_options augment;
    size_t epochs, batch;
    double lr;    /* 0: what does best for the kind of layer */
    double decay; /* of the weights, by the optimiser's rule */
    const char *schedule, *optimizer;
    uint64_t seed;
} recipe;

/* Everything but the data at its default. */
recipe recipe_default(void);

/* The options that all programs with a recipe have, to be put in front of their own: fills `options` and returns
 * their number. */
enum { RECIPE_OPTIONS = 16 };
size_t recipe_options(recipe *r, example_option options[RECIPE_OPTIONS]);

/* Ends the program with 2 if options do not go together. */
void recipe_check(const recipe *r);

/* Values of the hidden layers, were they dense. */
size_t recipe_dense_values(const recipe *r, const rbe_dataset *data);

/* An untrained model; ends the program on failure, like everything here. */
rbe_model *recipe_model(const recipe *r, const rbe_dataset *data);

rbe_optim_options recipe_optim_options(const recipe *r);

/* A model and all that its training takes. */
typedef struct training {
    rbe_model *model;
    rbe_optim *optim;
    rbe_growth *growth;          /* NULL: none */
    rbe_gradual *gradual;        /* NULL: none */
    rbe_quantiser *quantiser;    /* NULL: none */
    rbe_routine routines[4];     /* of the program, fit.routine_count, to which those above are added */
    size_t steps;                /* of the whole training */
    rbe_augment_options augment; /* the fit's */
    rbe_fit_options fit;         /* silent, without a log */
    resume resume;               /* no checkpoints */
    const char *path;            /* where the model so far goes if the program is interrupted, and how; NULL: nowhere */
    rbe_save_options save;
} training;

training recipe_start(const recipe *r, const rbe_dataset *train);

/* Trains and frees everything but the model. `test` may be NULL. */
rbe_fit_result training_finish(training *t, const rbe_dataset *train, const rbe_dataset *test);

#endif
