/* Means over samples, and how far a share of errors e of n labels can be trusted: sqrt(e (1 - e) / n). */
#include "train/tally.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/failure.h"
#include "data/dataset.h"
#include "train/forward.h"
#include "train/step.h"

/* The name stands in the header of a CSV file. */
static bool is_name(const char *name) {
    if (!name || !*name || strlen(name) >= RBE_NAME_SIZE) return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && *name != '_') return false;
    return true;
}

rbe_status rbe_metric_choose(const rbe_metric **metric, const rbe_dataset *data) {
    if (!*metric) {
        *metric = rbe_metric_loss;
        if (data->labels && !data->targets) *metric = rbe_metric_error;
        if (data->targets && !data->labels) *metric = rbe_metric_r2;
    }
    const rbe_metric *m = *metric;
    if (!is_name(m->name) || !m->add != !m->value)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "expected a metric with a name of letters, digits and _, and with both functions or none, "
                        "found \"%s\"",
                        m->name ? m->name : "(NULL)");
    return RBE_OK;
}

/* SIZE_MAX, which nobody has, for more than can be counted. */
static size_t sums_of(const rbe_metric *m, size_t target_width) {
    const size_t most = PTRDIFF_MAX / 2;
    if (m->sums > most || (target_width > 0 && m->target_sums > most / target_width)) return SIZE_MAX;
    return m->sums + m->target_sums * target_width;
}

rbe_status rbe_tally_new(rbe_tally *tally, const rbe_metric *metric, const rbe_dataset *data, size_t ranks) {
    *tally = (rbe_tally){.metric = metric, .sum_count = sums_of(metric, data->target_width)};
    if (data->labels) tally->label_width = rbe_label_width(data);
    if (tally->sum_count == 0) return RBE_OK;
    tally->sums = rbe_alloc_zeroed(tally->sum_count, sizeof *tally->sums);
    if (!tally->sums) return RBE_INSUFFICIENT_MEMORY;
    if (ranks > 1) tally->of_ranks = rbe_alloc(tally->sum_count, ranks * sizeof *tally->of_ranks);
    return tally->of_ranks || ranks == 1 ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
}

void rbe_tally_free(rbe_tally *tally) {
    rbe_free(tally->sums);
    rbe_free(tally->of_ranks);
    tally->sums = tally->of_ranks = NULL;
}

void rbe_tally_clear(rbe_tally *tally) {
    tally->loss = tally->weight = 0;
    tally->count = 0;
    for (size_t n = 0; n < tally->sum_count; n++) tally->sums[n] = 0;
}

rbe_status rbe_tally_add(rbe_tally *tally, const rbe_var *output, const rbe_batch *batch, double loss) {
    const rbe_metric *m = tally->metric;
    double weight = rbe_batch_weight(batch);
    tally->loss += loss * weight;
    tally->weight += weight;
    tally->count += batch->rows;
    size_t failures = rbe_failure_count();
    rbe_status status = m->add ? m->add(m->user, tally->sums, rbe_value(output), batch, loss) : RBE_OK;
    return status == RBE_OK ? RBE_OK : rbe_callback_failed(status, failures, "the metric failed");
}

static void merge_sums(rbe_tally *tally, const double *others) {
    const rbe_metric *m = tally->metric;
    if (m->merge)
        m->merge(m->user, tally->sums, others, tally->sum_count);
    else
        for (size_t n = 0; n < tally->sum_count; n++) tally->sums[n] += others[n];
}

void rbe_tally_merge(rbe_tally *tally, const rbe_tally *other) {
    tally->loss += other->loss;
    tally->weight += other->weight;
    tally->count += other->count;
    if (tally->sum_count > 0) merge_sums(tally, other->sums);
}

rbe_status rbe_tally_join(rbe_tally *tally, rbe_team *team) {
    rbe_note note = {.loss = tally->loss, .weight = tally->weight, .count = tally->count};
    RBE_TRY(rbe_team_meet(team, RBE_OK, &note));
    tally->loss = note.loss;
    tally->weight = note.weight;
    tally->count = (size_t)note.count;
    if (!team->comm || tally->sum_count == 0) return RBE_OK;
    RBE_TRY(rbe_team_gather(team, tally->sums, tally->sum_count * sizeof *tally->sums, tally->of_ranks));
    memcpy(tally->sums, tally->of_ranks, tally->sum_count * sizeof *tally->sums);
    for (size_t n = 1; n < team->comm->size; n++) merge_sums(tally, tally->of_ranks + n * tally->sum_count);
    return RBE_OK;
}

rbe_evaluation rbe_tally_result(const rbe_tally *tally) {
    if (tally->count == 0) return (rbe_evaluation){0};
    const rbe_metric *m = tally->metric;
    rbe_evaluation e = {.loss = tally->weight > 0 ? tally->loss / tally->weight : 0.0, .count = tally->count};
    e.metric = m->value ? m->value(m->user, tally->sums) : e.loss;
    e.error = e.error_uncertainty = NAN;
    if (m != rbe_metric_error) return e;
    e.error = e.metric;
    e.error_uncertainty = sqrt(e.error * (1.0 - e.error) / (double)(tally->count * tally->label_width));
    return e;
}
