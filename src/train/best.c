/* The best epoch is that of the lowest loss, or of the best metric, on the test data; of equal ones the first. */
#include "train/best.h"

#include <math.h>

/* The lower, the better. */
static double grade(const rbe_fit_options *o, const rbe_evaluation *e) {
    if (!o->best_by_metric) return e->loss;
    return o->metric->higher_is_better ? -e->metric : e->metric;
}

/* No number is worse than any. */
static bool is_better(const rbe_best *best, const rbe_evaluation *found) {
    if (best->evaluation.count == 0) return true;
    double before = grade(best->options, &best->evaluation), now = grade(best->options, found);
    return now < before || (isnan(before) && !isnan(now));
}

rbe_status rbe_best_judge(rbe_best *best, const rbe_model *model, size_t epoch, const rbe_evaluation *found) {
    best->epochs_since++;
    if (!is_better(best, found)) return RBE_OK;
    best->evaluation = *found;
    best->epoch = epoch;
    best->epochs_since = 0;
    const rbe_fit_options *o = best->options;
    if (!o->best_path) return RBE_OK;
    RBE_TRY(rbe_model_save(model, o->best_path, o->best_save));
    best->doubtful = false;
    return o->checkpoint ? rbe_checksum_of_file(&best->file, o->best_path, UINT64_MAX) : RBE_OK;
}

/* ---- with checkpoints ---------------------------------------------------------------------------------------- */

rbe_status rbe_best_look(rbe_best *best) {
    const char *path = best->options->best_path;
    rbe_checksum found;
    if (!path || best->evaluation.count == 0) return RBE_OK;
    if (best->file.bytes == 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "best_path: %s now, none when the checkpoint was saved", path);
    RBE_TRY(rbe_checksum_of_file(&found, path, UINT64_MAX));
    best->doubtful = found.bytes != best->file.bytes || found.crc != best->file.crc;
    return RBE_OK;
}

rbe_status rbe_best_confirm(const rbe_best *best) {
    if (!best->doubtful) return RBE_OK;
    return rbe_fail(
        RBE_IO_ERROR, "%s: not the model of the best epoch, %zu: the checkpoint's had %llu bytes of checksum %08x",
        best->options->best_path, best->epoch + 1, (unsigned long long)best->file.bytes, (unsigned)best->file.crc);
}

bool rbe_best_is_over(const rbe_best *best) {
    return best->options->patience > 0 && best->epochs_since >= best->options->patience;
}
