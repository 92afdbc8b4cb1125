/* CSV rows. There is no clock in them: two trainings of equal seed give the same bytes.
 *
 *     error       kind,epoch,step,train_loss,train_error,test_loss,test_error,test_error_uncertainty,learning_rate
 *     NAME        kind,epoch,step,train_loss,train_NAME,test_loss,test_NAME,learning_rate
 *     loss alone  kind,epoch,step,train_loss,test_loss,learning_rate
 *
 * kind is "step" (that step's batch, or batches) or "epoch" (means over the epoch; test columns, empty without test
 * data). epoch counts from 1, step is the number of steps done. Errors are shares, 0 .. 1. Numbers have a decimal point
 * whatever the program's locale says.
 */
#include "train/log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failure.h"
#include "base/output_file.h"

enum { LINE_SIZE = 512 };

/* Hands a line to the system. */
static rbe_status write_line(rbe_log_file *log, const char *line, size_t length) {
    RBE_TRY(rbe_output_write(log->file, log->path, line, length, false));
    rbe_checksum_add(&log->written, line, length);
    return RBE_OK;
}

static rbe_status write_header(rbe_log_file *log) {
    const char *metric = log->has_metric ? log->metric->name : "", *train = log->has_metric ? ",train_" : "";
    const char *test = log->has_metric ? ",test_" : "",
               *uncertainty = log->has_uncertainty ? ",test_error_uncertainty" : "";
    char line[LINE_SIZE];
    int length = snprintf(line, sizeof line, "kind,epoch,step,train_loss%s%s,test_loss%s%s%s,learning_rate\n", train,
                          metric, test, metric, uncertainty);
    return write_line(log, line, (size_t)length);
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static rbe_status start(rbe_log_file *log, const char *path, const rbe_metric *metric, int flags) {
    *log = (rbe_log_file){.path = path, .metric = metric};
    log->has_metric = metric->value != NULL;
    log->has_uncertainty = metric == rbe_metric_error;
    if (!path) return RBE_OK;
    log->numbers = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (!log->numbers) return rbe_fail_errno(log->path, "cannot set the number format");
    log->file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0666);
    log->opened = log->file >= 0;
    return log->opened ? RBE_OK : rbe_fail_errno(log->path, flags == O_TRUNC ? "cannot create" : "cannot open");
}

rbe_status rbe_log_open(rbe_log_file *log, const char *path, const rbe_metric *metric) {
    rbe_status status = start(log, path, metric, O_TRUNC);
    if (status == RBE_OK && path) status = write_header(log);
    if (status != RBE_OK) rbe_log_close(log);
    return status;
}

static bool is_regular(const char *path) {
    struct stat about;
    return stat(path, &about) != 0 || S_ISREG(about.st_mode);
}

rbe_status rbe_log_check(const char *path, rbe_checksum written) {
    rbe_checksum found;
    if (!is_regular(path)) return RBE_OK;
    RBE_TRY(rbe_checksum_of_file(&found, path, written.bytes));
    if (found.bytes == written.bytes && found.crc == written.crc) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT,
                    "%s: not the log of this training: expected it to begin with %llu bytes of checksum %08x, found "
                    "%llu of %08x",
                    path, (unsigned long long)written.bytes, (unsigned)written.crc, (unsigned long long)found.bytes,
                    (unsigned)found.crc);
}

static rbe_status cut_back(rbe_log_file *log) {
    if (!is_regular(log->path)) return RBE_OK;
    if (ftruncate(log->file, (off_t)log->written.bytes) == 0) return RBE_OK;
    return rbe_fail_errno(log->path, "cannot cut it back");
}

rbe_status rbe_log_reopen(rbe_log_file *log, const char *path, const rbe_metric *metric, rbe_checksum written) {
    rbe_status status = start(log, path, metric, O_APPEND);
    log->written = written;
    if (status == RBE_OK && path) status = cut_back(log);
    if (status != RBE_OK) rbe_log_close(log);
    return status;
}

/* A special file may have no disk. */
rbe_status rbe_log_sync(const rbe_log_file *log) {
    if (!log->opened) return RBE_OK;
    if (rbe_output_sync(log->file) == 0 || rbe_output_has_no_disk()) return RBE_OK;
    return rbe_fail_errno(log->path, "cannot write to the disk");
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

/* A column, empty for no value. */
static int print_value(char *at, bool is_there, double value) {
    return is_there ? sprintf(at, "%.8g,", value) : sprintf(at, ",");
}

static rbe_status row(rbe_log_file *log, const char *kind, const rbe_progress *p, double loss, double metric) {
    static const rbe_evaluation nothing = {0};
    const rbe_evaluation *test = p->test ? p->test : &nothing;
    char line[LINE_SIZE], *at = line; /* nine columns of at most 24 bytes */
    locale_t outer = uselocale(log->numbers);
    at += sprintf(at, "%s,%zu,%zu,", kind, p->epoch + 1, p->step + 1);
    at += print_value(at, true, loss);
    if (log->has_metric) at += print_value(at, true, metric);
    at += print_value(at, p->test, test->loss);
    if (log->has_metric) at += print_value(at, p->test, test->metric);
    if (log->has_uncertainty) at += print_value(at, p->test, test->error_uncertainty);
    at += sprintf(at, "%.8g\n", (double)p->lr);
    uselocale(outer);
    return write_line(log, line, (size_t)(at - line));
}

rbe_status rbe_log_step(rbe_log_file *log, const rbe_progress *progress) {
    return log->opened ? row(log, "step", progress, progress->batch_loss, progress->batch_metric) : RBE_OK;
}

rbe_status rbe_log_epoch(rbe_log_file *log, const rbe_progress *progress) {
    return log->opened ? row(log, "epoch", progress, progress->mean_loss, progress->mean_metric) : RBE_OK;
}

void rbe_log_close(rbe_log_file *log) {
    if (log->opened) close(log->file);
    if (log->numbers) freelocale(log->numbers);
    *log = (rbe_log_file){0};
}
