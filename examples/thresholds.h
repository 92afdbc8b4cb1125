/* Pruning thresholds, tried one after the other. */
#ifndef RBE_EXAMPLES_THRESHOLDS_H
#define RBE_EXAMPLES_THRESHOLDS_H

#include "sweep.h"

enum { THRESHOLDS_MAX = 32 };

typedef struct thresholds {
    double value[THRESHOLDS_MAX]; /* ascending */
    size_t count;                 /* 0: chosen when the models are known */
    bool relative;                /* in units of each layer's root mean square; else of the coefficients */
} thresholds;

/* Reads "0.1,0.2" or "auto" into values and count; ends the program with 2 if it is neither. */
void thresholds_read(thresholds *t, const char *text);

/* Prunes every original at every threshold, prints a table with the knee, and writes OUT/prune_thresholds.csv. */
void thresholds_sweep(const sweep *s, thresholds t);

#endif
