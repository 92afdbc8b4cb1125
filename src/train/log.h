/* The training log: a CSV file with a row per step (every few) and per epoch. */
#ifndef RBE_TRAIN_LOG_H
#define RBE_TRAIN_LOG_H

#include <locale.h>

#include "rbe/train.h"

#include "train/checksum.h"

typedef struct rbe_log_file {
    FILE *file;           /* NULL: nothing is logged */
    rbe_checksum written; /* header and rows so far */
    const char *path;
    const rbe_metric *metric;
    bool has_metric, has_uncertainty; /* columns */
    locale_t numbers;
} rbe_log_file;

/* Creates the file and writes the header line. A NULL path gives a log that logs nothing. IO_ERROR. */
rbe_status rbe_log_open(rbe_log_file *log, const char *path, const rbe_metric *metric);

/* Goes on behind the first `written` bytes of the file, which rbe_log_check has found there: cuts it back to them. IO_ERROR. */
rbe_status rbe_log_reopen(rbe_log_file *log, const char *path, const rbe_metric *metric, rbe_checksum written);

/* INVALID_ARGUMENT unless the file begins with what has been `written`; of a special file nothing is asked. IO_ERROR. */
rbe_status rbe_log_check(const char *path, rbe_checksum written);

/* Brings the rows to the disk. IO_ERROR. */
rbe_status rbe_log_sync(const rbe_log_file *log);

/* One row each, handed to the system (not synced) when the call returns. IO_ERROR. */
rbe_status rbe_log_step(rbe_log_file *log, const rbe_progress *progress);
rbe_status rbe_log_epoch(rbe_log_file *log, const rbe_progress *progress);

void rbe_log_close(rbe_log_file *log);

#endif
