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
    size_t epochs, batch;
    double lr; /* 0: what does best for the kind of layer */
    const char *schedule, *optimizer;
    uint64_t seed;
} recipe;

/* Everything but the data at its default. */
recipe recipe_default(void);

/* The options that all programs with a recipe have, to be put in front of their own: fills `options` and returns
 * their number. */
enum { RECIPE_OPTIONS = 15 };
size_t recipe_options(recipe *r, example_option options[RECIPE_OPTIONS]);

/* Ends the program with 2 if options do not go together. */
void recipe_check(const recipe *r);

/* An untrained model; ends the program on failure, like everything here. */
rbe_model *recipe_model(const recipe *r, const rbe_dataset *data);

rbe_optim_options recipe_optim_options(const recipe *r);

/* A model and all that its training takes. */
typedef struct training {
    rbe_model *model;
    rbe_optim *optim;
    rbe_growth *growth;       /* NULL: none */
    rbe_gradual *gradual;     /* NULL: none */
    rbe_quantiser *quantiser; /* NULL: none */
    rbe_routine routines[3];
    rbe_fit_options fit; /* silent, without a log */
    resume resume;       /* no checkpoints */
    const char *path;    /* where the model so far goes if the program is interrupted, and how; NULL: nowhere */
    rbe_save_options save;
} training;

training recipe_start(const recipe *r, const rbe_dataset *train);

/* Trains and frees everything but the model. `test` may be NULL. */
rbe_fit_result training_finish(training *t, const rbe_dataset *train, const rbe_dataset *test);

/* ---- a budget of bytes --------------------------------------------------------------------------------------- */

/* Chooses what a file of that size wants, but leaves alone what the command line has:
 *     hidden   one layer, a unit for every 50 bytes, in whole blocks, at most 1024
 *     epochs   until 1.8 million samples have been seen (MNIST: 30), within 30 .. 100
 *     growth, the inputs as an image (unless there is --no-growth, --no-image), groups of 4, dropout 0.1, rate 0.006
 * One wide layer does better than two or a narrow one; the positions of groups of 4 take few bytes. Chosen at 16 kB on
 * the last 10,000 training images of MNIST, held out from a training on the others; other budgets take it over. */
void recipe_for_budget(recipe *r, const rbe_dataset *data, size_t bytes);

/* Sets r->values to the largest number for which the model's file has at most `bytes`, everything counted. The
 * positions of a model that grows or is pruned are not known before it is trained: they are taken to be as random
 * as those it starts with, and the file of four bits or so of one that grows in an image to be 5 % smaller. */
void recipe_fit_to_bytes(recipe *r, const rbe_dataset *data, rbe_store store, size_t bytes);

/* Prunes what a file of that size has no room for after all; returns the number of values that go. */
size_t trim_to_bytes(rbe_model *model, rbe_store store, size_t bytes);

#endif
