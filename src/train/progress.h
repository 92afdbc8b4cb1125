/* What a person sees of a training: a bar on a terminal, a line per epoch. */
#ifndef RBE_TRAIN_PROGRESS_H
#define RBE_TRAIN_PROGRESS_H

#include "rbe/train.h"

typedef struct rbe_bar {
    FILE *out; /* NULL: silence */
    const char *label;
    const rbe_metric *metric;
    bool terminal;
    bool drawn;      /* a bar stands in the present line */
    double next_due; /* seconds: not drawn again before */
} rbe_bar;

/* NULL out: a bar that draws nothing. NULL label: none. */
void rbe_bar_open(rbe_bar *bar, FILE *out, const char *label, const rbe_metric *metric);

void rbe_bar_step(rbe_bar *bar, const rbe_progress *progress);
void rbe_bar_epoch(rbe_bar *bar, const rbe_progress *progress);

/* A line of its own: "dense  TEXT". */
void rbe_bar_note(rbe_bar *bar, const char *text);

/* Clears the line that the bar stands in. */
void rbe_bar_close(rbe_bar *bar);

#endif
