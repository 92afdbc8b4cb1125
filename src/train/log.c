/* CSV rows. There is no clock in them: two trainings of equal seed give the same bytes.
 *
 *     kind,epoch,step,train_loss,train_error,test_loss,test_error,test_error_uncertainty,learning_rate
 *
 * kind is "step" (loss and error of that batch) or "epoch" (means over the epoch; test columns, empty without test
 * data). epoch counts from 1, step is the number of steps done. Errors are shares, 0 .. 1. Numbers have a decimal
 * point whatever the program's locale says.
 */
#include "train/log.h"

#include "base/failure.h"

static const char header[] =
    "kind,epoch,step,train_loss,train_error,test_loss,test_error,test_error_uncertainty,learning_rate\n";

static rbe_status flush(rbe_log_file *log) {
    if (fflush(log->file) != 0 || ferror(log->file)) return rbe_fail_errno(log->path, "cannot write");
    return RBE_OK;
}

rbe_status rbe_log_open(rbe_log_file *log, const char *path) {
    *log = (rbe_log_file){.path = path};
    if (!path) return RBE_OK;
    log->numbers = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (!log->numbers) return rbe_fail_errno(log->path, "cannot set the number format");
    log->file = fopen(path, "w");
    if (!log->file) {
        rbe_status status = rbe_fail_errno(log->path, "cannot create");
        rbe_log_close(log);
        return status;
    }
    fputs(header, log->file);
    rbe_status status = flush(log);
    if (status != RBE_OK) rbe_log_close(log);
    return status;
}

static rbe_status row(rbe_log_file *log, const char *kind, const rbe_progress *p, double loss, double error) {
    locale_t outer = uselocale(log->numbers);
    fprintf(log->file, "%s,%zu,%zu,%.8g,%.8g,", kind, p->epoch + 1, p->step + 1, loss, error);
    if (p->test)
        fprintf(log->file, "%.8g,%.8g,%.8g,", p->test->loss, p->test->error, p->test->error_uncertainty);
    else
        fputs(",,,", log->file);
    fprintf(log->file, "%.8g\n", (double)p->lr);
    uselocale(outer);
    return flush(log);
}

rbe_status rbe_log_step(rbe_log_file *log, const rbe_progress *progress) {
    return log->file ? row(log, "step", progress, progress->batch_loss, progress->batch_error) : RBE_OK;
}

rbe_status rbe_log_epoch(rbe_log_file *log, const rbe_progress *progress) {
    return log->file ? row(log, "epoch", progress, progress->mean_loss, progress->mean_error) : RBE_OK;
}

void rbe_log_close(rbe_log_file *log) {
    if (log->file) fclose(log->file);
    if (log->numbers) freelocale(log->numbers);
    *log = (rbe_log_file){0};
}
