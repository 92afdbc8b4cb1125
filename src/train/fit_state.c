/* The state of a training beside its parameters, as a routine: where it stands, sums of the epoch so far, the best epoch,
 * the log; and, to be compared, the options and samples that decide results. The order of the samples, the masks of
 * dropout and augmented images are functions of seeds, the epoch and the place in it: these say all.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/sizes.h"
#include "data/augment.h"
#include "data/dataset.h"
#include "nn/layer.h"
#include "optim/optim_internal.h"
#include "train/training.h"

/* ---- what must be the same ----------------------------------------------------------------------------------- */

/* Names begin with `who`: "train samples". NULL data: zeros. */
static rbe_status samples(rbe_sameness s, const char *who, const rbe_dataset *data, rbe_checksum sum) {
    static const rbe_dataset none = {0};
    const rbe_dataset *d = data ? data : &none;
    const struct {
        const char *what;
        double value;
    } all[] = {{"samples", (double)d->count},        {"features", (double)d->features},
               {"classes", (double)d->classes},      {"labels", d->labels ? (double)rbe_label_width(d) : 0.0},
               {"targets", (double)d->target_width}, {"bytes", (double)sum.bytes},
               {"checksum", (double)sum.crc}};
    for (size_t n = 0; n < sizeof all / sizeof *all; n++) {
        char name[32];
        snprintf(name, sizeof name, "%s %s", who, all[n].what);
        RBE_TRY(rbe_same_number(s, name, all[n].value));
    }
    return RBE_OK;
}

static const char *loss_name(const rbe_loss *loss) {
    if (loss->function == rbe_loss_cross_entropy) return "cross-entropy";
    return loss->function == rbe_loss_mean_squared_error ? "mean squared error" : "its own";
}

/* The seed of what changes nothing decides nothing. */
static rbe_status augmentation(rbe_sameness s, const rbe_augment_options *given) {
    static const rbe_augment_options none = {0};
    const rbe_augment_options *o = rbe_augment_changes(given) ? given : &none;
    RBE_TRY(rbe_same_number(s, "augment affine", o->affine));
    RBE_TRY(rbe_same_number(s, "augment elastic", o->elastic));
    return rbe_same_seed(s, "augment seed", o->seed);
}

static rbe_status same(const rbe_training *t, rbe_sameness s) {
    const rbe_fit_options *o = &t->options;
    const rbe_schedule *schedule = &o->schedule;
    RBE_TRY(samples(s, "train", t->train, t->train_sum));
    RBE_TRY(samples(s, "test", t->test, t->test_sum));
    RBE_TRY(rbe_same_number(s, "batch", (double)o->batch));
    RBE_TRY(rbe_same_number(s, "epoch batches", (double)rbe_epoch_batches(o, t->train->count)));
    RBE_TRY(rbe_same_number(s, "accumulate", (double)o->accumulate));
    RBE_TRY(rbe_same_seed(s, "seed", o->seed));
    RBE_TRY(augmentation(s, o->augment));
    RBE_TRY(rbe_same_text(s, "loss", loss_name(&o->loss)));
    RBE_TRY(rbe_same_text(s, "metric", o->metric->name));
    RBE_TRY(rbe_same_number(s, "schedule", schedule->kind));
    RBE_TRY(rbe_same_number(s, "schedule base", (double)t->given_base));
    RBE_TRY(rbe_same_number(s, "schedule total", schedule->kind == RBE_COSINE ? (double)schedule->total : 0.0));
    RBE_TRY(rbe_same_number(s, "schedule warmup", (double)schedule->warmup));
    RBE_TRY(rbe_same_number(s, "schedule every", (double)schedule->every));
    RBE_TRY(rbe_same_number(s, "schedule factor", (double)schedule->factor));
    RBE_TRY(rbe_same_number(s, "schedule floor", (double)schedule->floor));
    return rbe_same_number(s, "best by metric", o->best_by_metric);
}

/* ---- where it stands ----------------------------------------------------------------------------------------- */

/* Numbers of which a training's state is made. */
typedef struct place {
    const char *name;
    size_t *count;   /* a whole number, or */
    double *number;  /* any, or */
    float *rate;     /* finite, >= 0, or */
    uint64_t *large; /* whole, or */
    uint32_t *crc;
} place;

enum { EVALUATION = 5, PLACES = 21 + 2 * EVALUATION };

static size_t add_evaluation(place *places, const char *const names[EVALUATION], rbe_evaluation *e) {
    const place all[EVALUATION] = {{names[0], .count = &e->count},
                                   {names[1], .number = &e->loss},
                                   {names[2], .number = &e->metric},
                                   {names[3], .number = &e->error},
                                   {names[4], .number = &e->error_uncertainty}};
    memcpy(places, all, sizeof all);
    return EVALUATION;
}

static void list_places(rbe_training *t, place places[PLACES]) {
    static const char *const test[EVALUATION] = {"last count", "last loss", "last metric", "last error",
                                                 "last uncertainty"};
    static const char *const best[EVALUATION] = {"best count", "best loss", "best metric", "best error",
                                                 "best uncertainty"};
    const place all[PLACES - 2 * EVALUATION] = {{"epoch", .count = &t->progress.epoch},
                                                {"batches", .count = &t->batches_done},
                                                {"draws", .large = &t->draws},
                                                {"steps", .count = &t->steps_done},
                                                {"epochs", .count = &t->epochs_done},
                                                {"base", .rate = &t->options.schedule.base},
                                                {"own rate", .rate = &t->own_rate},
                                                {"batch loss", .number = &t->progress.batch_loss},
                                                {"batch metric", .number = &t->progress.batch_metric},
                                                {"rate", .rate = &t->progress.lr},
                                                {"seconds", .number = &t->progress.seconds},
                                                {"training seconds", .number = &t->training_seconds},
                                                {"mean count", .count = &t->of_epoch.count},
                                                {"mean weight", .number = &t->of_epoch.weight},
                                                {"mean loss", .number = &t->of_epoch.loss},
                                                {"best epoch", .count = &t->best.epoch},
                                                {"epochs since", .count = &t->best.epochs_since},
                                                {"best bytes", .large = &t->best.file.bytes},
                                                {"best checksum", .crc = &t->best.file.crc},
                                                {"log bytes", .large = &t->log_written.bytes},
                                                {"log checksum", .crc = &t->log_written.crc}};
    size_t count = add_evaluation(places, test, &t->last_test);
    count += add_evaluation(places + count, best, &t->best.evaluation);
    memcpy(places + count, all, sizeof all);
}

static rbe_status write_place(rbe_writer *w, const place *p) {
    const double value = p->count    ? (double)*p->count
                         : p->number ? *p->number
                         : p->rate   ? (double)*p->rate
                         : p->large  ? (double)*p->large
                                     : (double)*p->crc;
    return rbe_write_number(w, p->name, value);
}

static rbe_status read_place(rbe_reader *r, const place *p) {
    double value = 0.0;
    size_t count = 0;
    if (p->count || p->large || p->crc)
        RBE_TRY(rbe_read_count(r, p->name, 0, p->crc ? UINT32_MAX : (size_t)1 << 53, &count));
    else if (p->rate)
        RBE_TRY(rbe_read_number(r, p->name, 0.0, 3e38, &value));
    else
        RBE_TRY(rbe_read_number(r, p->name, -HUGE_VAL, HUGE_VAL, &value));
    if (p->count) *p->count = count;
    if (p->large) *p->large = count;
    if (p->crc) *p->crc = (uint32_t)count;
    if (p->rate) *p->rate = (float)value;
    if (p->number) *p->number = value;
    return RBE_OK;
}

static const char *name_of_sum(size_t n, char name[32]) {
    snprintf(name, 32, "metric %zu", n);
    return name;
}

/* ---- the routine --------------------------------------------------------------------------------------------- */

static rbe_status write_state(void *user, rbe_writer *w) {
    rbe_training *t = user, now;
    place places[PLACES];
    char name[32];
    rbe_training_take_rate(t);
    now = *t;
    const double clock = rbe_seconds();
    now.draws = rbe_tape_draws(t->step.tape);
    now.progress.seconds = clock - t->start;
    now.log_written = t->log.written;
    if (t->step.tape) now.training_seconds += clock - t->epoch_start;
    RBE_TRY(same(t, (rbe_sameness){.writer = w}));
    list_places(&now, places);
    for (size_t n = 0; n < PLACES; n++) RBE_TRY(write_place(w, &places[n]));
    for (size_t n = 0; n < t->of_epoch.sum_count; n++)
        RBE_TRY(rbe_write_number(w, name_of_sum(n, name), t->of_epoch.sums[n]));
    return RBE_OK;
}

/* The numbers of epochs, batches and steps fit each other. */
static rbe_status check_place(const rbe_training *t, rbe_reader *r) {
    const rbe_fit_options *o = &t->options;
    const size_t batches = rbe_epoch_batches(o, t->train->count), per_epoch = rbe_steps_per_epoch(o, t->train->count);
    const bool whole = t->batches_done % o->accumulate == 0 || t->batches_done == batches;
    size_t steps;
    if (t->batches_done <= batches && whole && !__builtin_mul_overflow(t->progress.epoch, per_epoch, &steps) &&
        t->steps_done == steps + rbe_pieces(t->batches_done, o->accumulate))
        return RBE_OK;
    return rbe_read_fail(r, "epoch %zu, batch %zu and step %zu do not fit each other", t->progress.epoch,
                         t->batches_done, t->steps_done);
}

static rbe_status read_sums(const rbe_training *t, rbe_reader *r, double *sums) {
    char name[32];
    for (size_t n = 0; n < t->of_epoch.sum_count; n++)
        RBE_TRY(rbe_read_number(r, name_of_sum(n, name), -HUGE_VAL, HUGE_VAL, &sums[n]));
    return RBE_OK;
}

/* Into a copy, which takes the training's place when all is well. */
static rbe_status read_into(rbe_training *then, rbe_reader *r, double *sums) {
    place places[PLACES];
    RBE_TRY(same(then, (rbe_sameness){.reader = r}));
    list_places(then, places);
    for (size_t n = 0; n < PLACES; n++) RBE_TRY(read_place(r, &places[n]));
    RBE_TRY(read_sums(then, r, sums));
    RBE_TRY(check_place(then, r));
    const char *log = then->options.csv_path;
    if (log && then->log_written.bytes > 0) RBE_TRY(rbe_log_check(log, then->log_written));
    return rbe_best_look(&then->best);
}

static void take_over(rbe_training *t, const rbe_training *then, const double *sums) {
    for (size_t n = 0; n < t->of_epoch.sum_count; n++) t->of_epoch.sums[n] = sums[n];
    *t = *then;
    const rbe_evaluation mean = rbe_tally_result(&t->of_epoch);
    t->progress.mean_loss = mean.loss;
    t->progress.mean_metric = mean.metric;
    t->progress.step = t->steps_done > 0 ? t->steps_done - 1 : 0;
    t->resumed = t->steps_done;
    t->start = rbe_seconds() - t->progress.seconds;
}

static rbe_status read_state(void *user, rbe_reader *r) {
    rbe_training *t = user, then = *t;
    double *sums = rbe_alloc(t->of_epoch.sum_count, sizeof *sums);
    if (!sums) return RBE_INSUFFICIENT_MEMORY;
    rbe_status status = read_into(&then, r, sums);
    if (status == RBE_OK) take_over(t, &then, sums);
    rbe_free(sums);
    return status;
}

/* What decides when ranks meet stands beside what decides results. */
static rbe_status write_identity(void *user, rbe_writer *w) {
    const rbe_training *t = user;
    const rbe_fit_options *o = &t->options;
    RBE_TRY(same(t, (rbe_sameness){.writer = w}));
    RBE_TRY(rbe_write_number(w, "epochs", (double)o->epochs));
    RBE_TRY(rbe_write_number(w, "patience", (double)o->patience));
    RBE_TRY(rbe_write_number(w, "on_backward", o->on_backward != NULL));
    RBE_TRY(rbe_write_number(w, "checkpoint", o->checkpoint != NULL));
    return rbe_write_number(w, "resume", o->checkpoint && o->checkpoint->resume);
}

rbe_routine rbe_training_identity(rbe_training *t) {
    return (rbe_routine){.name = "fit", .write = write_identity, .read = read_state, .user = t};
}

rbe_routine rbe_training_routine(rbe_training *t) {
    return (rbe_routine){.name = "fit", .write = write_state, .read = read_state, .user = t};
}
