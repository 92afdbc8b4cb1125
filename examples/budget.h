/* A digits classifier whose file takes at most so many bytes, everything counted. */
#ifndef RBE_EXAMPLES_BUDGET_H
#define RBE_EXAMPLES_BUDGET_H

#include "recipe.h"

/* Chooses what a file of that size wants, but leaves alone what the command line has:
 *     hidden   one layer, a unit for every 50 bytes, in multiples of 8, within 8 .. 1024
 *     epochs   until 1.8 million samples have been seen (MNIST: 30), within 30 .. 100; of augmented ones, 12 million
 *              (MNIST: 200), within 30 .. 400
 *     growth, the inputs as an image (unless there is --no-growth, --no-image), groups of 4, four bits, dropout 0.1
 *     (none for augmented images), adamw with a decay of 0.05 at a rate of 0.006
 * One wide layer does better than two or a narrow one; the positions of groups of 4 take few bytes. Chosen at 12 and
 * 16 kB on the last 10,000 training images of MNIST, held out from a training on the others; other budgets take it
 * over. */
void budget_choose(recipe *r, const rbe_dataset *data, size_t bytes);

/* Sets r->values to the largest number for which the model's file has at most `bytes`. The positions of a model that
 * grows or is pruned are not known before it is trained: they are taken to be as random as those it starts with, and
 * the file of few bits of one that grows in an image to be 12 % smaller. */
void budget_fit(recipe *r, const rbe_dataset *data, rbe_store store, size_t bytes);

/* Trains (training_finish). After four fifths of the steps, when positions stay, the values go that the file has no room
 * for after all, the smallest first; at the end again, if need be. Returns the number of those in *trimmed. */
rbe_fit_result budget_train(training *t, size_t bytes, const rbe_dataset *train, const rbe_dataset *test,
                            size_t *trimmed);

#endif
