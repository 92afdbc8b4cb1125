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
    return o->best_path ? rbe_model_save(model, o->best_path, o->best_save) : RBE_OK;
}

bool rbe_best_is_over(const rbe_best *best) {
    return best->options->patience > 0 && best->epochs_since >= best->options->patience;
}
