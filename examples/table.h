/* Tables of numbers: inputs, what is to be learned from them, and their scaling. */
#ifndef RBE_EXAMPLES_TABLE_H
#define RBE_EXAMPLES_TABLE_H

#include "rbe/rbe.h"

typedef struct table {
    float *x, *y; /* rows x inputs; rows */
    size_t rows, inputs;
} table;

/* A CSV file with the inputs in its first columns and what is to be learned in the last. A first line that is none of
 * numbers holds the columns' names. Ends the program, naming file and line, if it cannot be read. */
table table_read(const char *path, size_t inputs);

/* Friedman's function of 7 inputs in units of their own, two of which say nothing, with noise of deviation 1: at best
 * R^2 is 0.96. */
table table_make(size_t rows);

void table_free(table *t);

/* A layer, not to be trained, that takes each column of rows x columns values to deviations from its mean; `back`: the
 * other way. NULL on failure. */
rbe_layer *table_scaling(const float *values, size_t rows, size_t columns, bool back);

#endif
