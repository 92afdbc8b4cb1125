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

#include "base/failure.h"

static rbe_status flush(rbe_log_file *log) {
    if (fflush(log->file) != 0 || ferror(log->file)) return rbe_fail_errno(log->path, "cannot write");
    return RBE_OK;
}

static void write_header(const rbe_log_file *log) {
    fputs("kind,epoch,step,train_loss", log->file);
    if (log->has_metric) fprintf(log->file, ",train_%s", log->metric->name);
    fputs(",test_loss", log->file);
    if (log->has_metric) fprintf(log->file, ",test_%s", log->metric->name);
    if (log->has_uncertainty) fputs(",test_error_uncertainty", log->file);
    fputs(",learning_rate\n", log->file);
}

rbe_status rbe_log_open(rbe_log_file *log, const char *path, const rbe_metric *metric) {
    *log = (rbe_log_file){.path = path, .metric = metric};
    log->has_metric = metric->value != NULL;
    log->has_uncertainty = metric == rbe_metric_error;
    if (!path) return RBE_OK;
    log->numbers = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (!log->numbers) return rbe_fail_errno(log->path, "cannot set the number format");
    log->file = fopen(path, "w");
    if (!log->file) {
        rbe_status status = rbe_fail_errno(log->path, "cannot create");
        rbe_log_close(log);
        return status;
    }
    write_header(log);
    rbe_status status = flush(log);
    if (status != RBE_OK) rbe_log_close(log);
    return status;
}

/* A column, empty for no value. */
static void write_value(const rbe_log_file *log, bool is_there, double value) {
    if (is_there)
        fprintf(log->file, "%.8g,", value);
    else
        fputc(',', log->file);
}

static rbe_status row(rbe_log_file *log, const char *kind, const rbe_progress *p, double loss, double metric) {
    static const rbe_evaluation nothing = {0};
    const rbe_evaluation *test = p->test ? p->test : &nothing;
    locale_t outer = uselocale(log->numbers);
    fprintf(log->file, "%s,%zu,%zu,", kind, p->epoch + 1, p->step + 1);
    write_value(log, true, loss);
    if (log->has_metric) write_value(log, true, metric);
    write_value(log, p->test, test->loss);
    if (log->has_metric) write_value(log, p->test, test->metric);
    if (log->has_uncertainty) write_value(log, p->test, test->error_uncertainty);
    fprintf(log->file, "%.8g\n", (double)p->lr);
    uselocale(outer);
    return flush(log);
}

rbe_status rbe_log_step(rbe_log_file *log, const rbe_progress *progress) {
    return log->file ? row(log, "step", progress, progress->batch_loss, progress->batch_metric) : RBE_OK;
}

rbe_status rbe_log_epoch(rbe_log_file *log, const rbe_progress *progress) {
    return log->file ? row(log, "epoch", progress, progress->mean_loss, progress->mean_metric) : RBE_OK;
}

void rbe_log_close(rbe_log_file *log) {
    if (log->file) fclose(log->file);
    if (log->numbers) freelocale(log->numbers);
    *log = (rbe_log_file){0};
}
