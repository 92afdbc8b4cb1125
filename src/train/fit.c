/* The training loop:
 *
 *     for each epoch
 *         for each batch:  rbe_train_step
 *         evaluate, keep the best, report
 *
 * The rest is reporting (log.h, progress.h), callbacks, and checkpoints (keep.c, fit_state.c). Tape and batch buffer live
 * as long as an epoch, so that the evaluation after it can use the same memory; the tape is reserved in one piece for the
 * model and a cross-entropy (another loss, and sequences, may take more in the first steps of an epoch), and a step
 * allocates nothing.
 *
 * Several ranks meet (team.h) when the sums of a step's gradients are there, after a step with its routines and callbacks,
 * and after an epoch. Whatever happens between meetings happens on each rank by itself.
 */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/failure.h"
#include "base/sizes.h"
#include "data/augment.h"
#include "data/batches.h"
#include "data/dataset.h"
#include "optim/optim_internal.h"
#include "tensor/node.h"
#include "train/evaluate.h"
#include "train/forward.h"
#include "train/memory.h"
#include "train/step.h"
#include "train/training.h"

/* ---- options ------------------------------------------------------------------------------------------------- */

/* An optimiser may train a part of the model, and parameters beside it, but not something else. */
static rbe_status check_optim(const rbe_model *model, const rbe_optim *optim) {
    const rbe_param *param;
    size_t n = 0;
    for (; (param = rbe_model_param(model, n)); n++)
        if (rbe_optim_has(optim, param)) return RBE_OK;
    return rbe_fail(
        RBE_INVALID_ARGUMENT,
        "rbe_fit: expected an optimiser of parameters of the model, found none of the model's %zu among the "
        "optimiser's %zu",
        n, optim->count);
}

/* Test samples are like those of the training. */
static rbe_status check_alike(const rbe_dataset *train, const rbe_dataset *test) {
    if (test->features != train->features || test->classes != train->classes)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH,
                        "rbe_fit: training samples have %zu features and %d classes, test samples %zu and %d",
                        train->features, (int)train->classes, test->features, (int)test->classes);
    size_t train_labels = train->labels ? rbe_label_width(train) : 0;
    size_t test_labels = test->labels ? rbe_label_width(test) : 0;
    if (test_labels != train_labels || test->target_width != train->target_width)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH,
                        "rbe_fit: training samples have %zu labels and %zu targets, test samples %zu and %zu",
                        train_labels, train->target_width, test_labels, test->target_width);
    return RBE_OK;
}

static rbe_status check_arguments(const rbe_model *model, const rbe_optim *optim, const rbe_dataset *train,
                                  const rbe_dataset *test) {
    RBE_TRY(rbe_model_status(model));
    if (!optim) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_fit: the optimiser is NULL; did rbe_optim_new fail?");
    RBE_TRY(rbe_dataset_check("rbe_fit: training data", train));
    if (test) RBE_TRY(rbe_dataset_check("rbe_fit: test data", test));
    if (test) RBE_TRY(check_alike(train, test));
    return check_optim(model, optim);
}

size_t rbe_epoch_batches(const rbe_fit_options *o, size_t samples) {
    const size_t all = rbe_pieces(samples, o->batch);
    return o->epoch_batches > 0 ? rbe_at_most(all, o->epoch_batches) : all;
}

size_t rbe_steps_per_epoch(const rbe_fit_options *o, size_t samples) {
    return rbe_pieces(rbe_epoch_batches(o, samples), o->accumulate);
}

static rbe_fit_options with_defaults(const rbe_fit_options *options, const rbe_optim *optim, size_t samples) {
    rbe_fit_options o = options ? *options : (rbe_fit_options){0};
    if (o.epochs == 0) o.epochs = 1;
    if (o.batch == 0) o.batch = 128;
    if (o.batch > samples) o.batch = samples;
    if (o.accumulate == 0) o.accumulate = 1;
    if (o.schedule.base == 0) o.schedule.base = rbe_optim_lr(optim);
    if (o.schedule.total == 0) o.schedule.total = o.epochs * rbe_steps_per_epoch(&o, samples);
    return o;
}

static rbe_status check_schedule(const rbe_schedule *s) {
    if (s->kind != RBE_CONSTANT && s->kind != RBE_STEP && s->kind != RBE_COSINE)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_fit: there is no schedule of kind %d", (int)s->kind);
    if (isfinite(s->base) && s->base >= 0 && isfinite(s->factor) && isfinite(s->floor)) return RBE_OK;
    return rbe_fail(
        RBE_INVALID_ARGUMENT,
        "rbe_fit: schedule: expected a base >= 0, a factor and a floor that are finite, found %g, %g and %g",
        (double)s->base, (double)s->factor, (double)s->floor);
}

/* Each file has a name of its own. */
static rbe_status check_paths(const rbe_fit_options *o) {
    const char *const path[] = {o->checkpoint ? o->checkpoint->path : NULL, o->best_path, o->csv_path};
    static const char *const name[] = {"checkpoint", "best_path", "csv_path"};
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < i; k++)
            if (path[i] && path[k] && strcmp(path[i], path[k]) == 0)
                return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_fit: %s and %s are the same file, %s", name[k], name[i],
                                path[i]);
    return RBE_OK;
}

/* Checks the options, and chooses loss and metric. */
static rbe_status check_options(rbe_training *t) {
    rbe_fit_options *o = &t->options;
    size_t steps = rbe_steps_per_epoch(o, t->train->count);
    if (o->batch < rbe_team_size(&t->team))
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "rbe_fit: batch: expected at least a sample for each of %zu ranks, found %zu",
                        rbe_team_size(&t->team), o->batch);
    if (o->epochs > SIZE_MAX / steps)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_fit: %zu epochs of %zu steps are more steps than can be counted",
                        o->epochs, steps);
    if ((o->patience > 0 || o->best_path) && !t->test)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_fit: %s needs test data, found NULL",
                        o->best_path ? "best_path" : "patience");
    RBE_TRY(check_paths(o));
    if (o->routine_count > 0 && !o->routines)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_fit: the list of %zu routines is NULL", o->routine_count);
    RBE_TRY(check_schedule(&o->schedule));
    RBE_TRY(rbe_augment_check("rbe_fit", o->augment, t->train));
    RBE_TRY(rbe_loss_choose(&o->loss, t->train->labels, t->train->targets));
    return rbe_metric_choose(&o->metric, t->train);
}

/* ---- callbacks ----------------------------------------------------------------------------------------------- */

void rbe_training_take_rate(rbe_training *t) {
    rbe_optim *optim = t->step.optim;
    if (optim->lr_is_own) t->options.schedule.base = t->own_rate = rbe_optim_lr(optim);
    optim->lr_is_own = false;
}

/* What the callback says. The text is the callback's own if it has recorded that status; else there is a general
 * one. */
static rbe_status call_back(const rbe_training *t, rbe_progress_callback callback) {
    size_t failures = rbe_failure_count();
    rbe_status status = callback ? callback(t->options.user, &t->progress) : RBE_OK;
    if (status == RBE_OK) return RBE_OK;
    char what[96];
    snprintf(what, sizeof what, "a callback stopped the training after step %zu of %zu", t->progress.step + 1,
             t->progress.steps);
    return rbe_callback_failed(status, failures, what);
}

/* Steps between two comparisons of the parameters of all ranks. */
enum { COMPARE_EVERY = 100 };

/* ---- one step, one epoch ------------------------------------------------------------------------------------- */

/* The hook of rbe_train_step. */
static rbe_status on_backward(void *user, rbe_step *step) {
    rbe_training *t = user;
    rbe_status status = call_back(t, t->options.on_backward);
    t->in_callback = status != RBE_OK;
    if (status == RBE_OK && t->options.on_backward) status = rbe_team_agree(&t->team, status);
    if (status != RBE_OK) return status;
    rbe_training_take_rate(t);
    return rbe_optim_schedule_lr(step->optim, rbe_schedule_lr(&t->options.schedule, t->progress.step));
}

/* A batch through the step, counted in the means. `left` batches of the epoch are to come, with this one. */
static rbe_status train_batch(rbe_training *t, const rbe_batch *batch, size_t left) {
    rbe_step *step = &t->step;
    if (step->waiting == 0) {
        step->accumulate = left < t->options.accumulate ? left : t->options.accumulate;
        rbe_tally_clear(&t->of_step);
    }
    t->batch = batch;
    if (t->team.comm && step->waiting + 1 >= step->accumulate) RBE_TRY(rbe_training_watch(t));
    rbe_status status = rbe_train_step(step, batch);
    if (status == RBE_NUMERICAL_INSTABILITY && !t->in_callback && !t->team.over)
        return rbe_fail(status, "step %zu of %zu: %s", t->progress.step + 1, t->progress.steps, rbe_last_error());
    if (status != RBE_OK) return status;
    if (t->team.comm && !step->done) return rbe_training_count(t);
    if (t->team.comm) {
        rbe_tally_merge(&t->of_epoch, &t->of_step);
        return RBE_OK;
    }
    RBE_TRY(rbe_tally_add(&t->of_step, step->output, batch, step->batch_loss));
    return rbe_tally_add(&t->of_epoch, step->output, batch, step->batch_loss);
}

static rbe_status report_step(rbe_training *t) {
    const rbe_fit_options *o = &t->options;
    rbe_progress *p = &t->progress;
    rbe_evaluation of_step = rbe_tally_result(&t->of_step), of_epoch = rbe_tally_result(&t->of_epoch);
    p->batch_loss = of_step.loss;
    p->batch_metric = of_step.metric;
    p->mean_loss = of_epoch.loss;
    p->mean_metric = of_epoch.metric;
    p->lr = rbe_optim_lr(t->step.optim);
    p->seconds = rbe_seconds() - t->start;
    rbe_bar_step(&t->bar, p);
    if (o->log_every > 0 && (p->step + 1) % o->log_every == 0) return rbe_log_step(&t->log, p);
    return RBE_OK;
}

/* The routines, and the callback. */
static rbe_status follow_step(rbe_training *t) {
    const rbe_fit_options *o = &t->options;
    for (size_t n = 0; n < o->routine_count; n++)
        if (o->routines[n].step) RBE_TRY(o->routines[n].step(o->routines[n].user, t->progress.step));
    return call_back(t, o->on_step);
}

static rbe_status stop_if_asked(rbe_training *t) {
    if (!rbe_training_is_asked(t)) return RBE_OK;
    RBE_TRY(rbe_keep_last(t));
    return rbe_fail(RBE_STOPPED, "the training was asked to stop, after step %zu of %zu", t->steps_done,
                    t->progress.steps);
}

static rbe_status run_steps(rbe_training *t, rbe_batches *batches) {
    const size_t share = rbe_pieces(t->options.batch, rbe_team_size(&t->team));
    RBE_TRY(rbe_step_reserve(t->step.tape, t->step.model, t->train, share));
    rbe_batch batch;
    rbe_batches_start(batches, t->progress.epoch);
    rbe_batches_skip(batches, t->batches_done);
    rbe_tape_set_draws(t->step.tape, t->draws);
    const size_t all = rbe_epoch_batches(&t->options, t->train->count);
    while (t->batches_done < all && rbe_batches_next(batches, &batch)) {
        t->progress.step = t->steps_done;
        t->step.tape->share = rbe_batches_share(batches);
        t->idle = t->step.tape->share.idle;
        RBE_TRY(train_batch(t, &batch, all - t->batches_done));
        t->batches_done++;
        if (!t->step.done) continue;
        t->steps_done++;
        RBE_TRY(report_step(t));
        RBE_TRY(follow_step(t));
        RBE_TRY(rbe_training_meet(t, t->steps_done % COMPARE_EVERY == 0));
        rbe_zero_grad(t->step.model);
        RBE_TRY(rbe_keep_step(t));
        RBE_TRY(stop_if_asked(t));
    }
    return RBE_OK;
}

/* From its beginning, or from where a checkpoint was made. */
static rbe_status train_epoch(rbe_training *t) {
    const rbe_fit_options *o = &t->options;
    t->epoch_start = rbe_seconds();
    if (t->batches_done == 0) rbe_tally_clear(&t->of_epoch);
    /* Dropout draws other masks in each epoch. */
    t->step.tape = rbe_tape_new(&(rbe_tape_options){.seed = o->seed + ((uint64_t)t->progress.epoch << 32)});
    rbe_batches *batches = NULL;
    if (t->step.tape)
        batches =
            rbe_batches_new_shared(t->train, o->batch, true, o->seed, rbe_team_rank(&t->team), rbe_team_size(&t->team));
    rbe_status status = batches ? rbe_batches_augment(batches, o->augment) : rbe_last_status();
    if (status == RBE_OK) status = run_steps(t, batches);
    rbe_batches_free(batches);
    rbe_tape_free(t->step.tape);
    t->step.tape = NULL;
    t->draws = 0;
    t->training_seconds += rbe_seconds() - t->epoch_start;
    return status;
}

/* ---- the whole training -------------------------------------------------------------------------------------- */

static rbe_status evaluate(rbe_training *t) {
    const rbe_fit_options *o = &t->options;
    const rbe_evaluate_options options = {.batch = o->batch, .loss = o->loss, .metric = o->metric};
    rbe_status status = rbe_evaluate_by(&t->team, t->step.model, t->test, &options, &t->last_test);
    if (status == RBE_NUMERICAL_INSTABILITY && !t->team.over)
        return rbe_fail(status, "after epoch %zu of %zu: %s", t->progress.epoch + 1, o->epochs, rbe_last_error());
    if (status != RBE_OK) return status;
    t->progress.test = &t->last_test;
    return rbe_best_judge(&t->best, t->step.model, t->progress.epoch, &t->last_test);
}

static rbe_status finish_epoch(rbe_training *t) {
    if (t->test) RBE_TRY(evaluate(t));
    t->epochs_done++;
    t->progress.seconds = rbe_seconds() - t->start;
    RBE_TRY(rbe_log_epoch(&t->log, &t->progress));
    rbe_bar_epoch(&t->bar, &t->progress);
    return call_back(t, t->options.on_epoch);
}

static rbe_status run_epochs(rbe_training *t) {
    while (t->progress.epoch < t->options.epochs && !rbe_best_is_over(&t->best)) {
        t->progress.test = NULL;
        RBE_TRY(train_epoch(t));
        RBE_TRY(finish_epoch(t));
        RBE_TRY(rbe_training_meet(t, true));
        t->progress.epoch++;
        t->batches_done = 0;
        RBE_TRY(rbe_keep_epoch(t));
        if (t->progress.epoch < t->options.epochs) RBE_TRY(stop_if_asked(t));
    }
    RBE_TRY(rbe_keep_last(t));
    return rbe_best_confirm(&t->best);
}

static rbe_status open_log(rbe_training *t) {
    const rbe_fit_options *o = &t->options;
    if (t->log_written.bytes > 0) return rbe_log_reopen(&t->log, o->csv_path, o->metric, t->log_written);
    return rbe_log_open(&t->log, o->csv_path, o->metric);
}

/* Between the opening of the bar and its end; the optimiser has its own rate again afterwards. */
static rbe_status run(rbe_training *t) {
    const rbe_fit_options *o = &t->options;
    rbe_optim *optim = t->step.optim;
    t->own_rate = rbe_optim_lr(optim);
    optim->lr_is_own = false;
    t->start = rbe_seconds();
    rbe_bar_open(&t->bar, o->progress, o->label, o->metric);
    rbe_status status = rbe_training_compare(t);
    if (status == RBE_OK) status = rbe_keep_start(t);
    if (status == RBE_OK) status = open_log(t);
    if (status == RBE_OK) status = run_epochs(t);
    if (status != RBE_OK) rbe_zero_grad(t->step.model);
    rbe_training_take_rate(t);
    rbe_optim_set_lr(optim, t->own_rate);
    rbe_bar_close(&t->bar);
    rbe_log_close(&t->log);
    rbe_keep_free(t);
    return status;
}

static rbe_fit_result result_of(const rbe_training *t) {
    rbe_fit_result r = {.train = rbe_tally_result(&t->of_epoch),
                        .test = t->last_test,
                        .best = t->best.evaluation,
                        .best_epoch = t->best.epoch,
                        .epochs = t->epochs_done,
                        .steps = t->steps_done,
                        .resumed = t->resumed,
                        .seconds = t->training_seconds};
    size_t steps = rbe_steps_per_epoch(&t->options, t->train->count);
    if (t->steps_done > 0) r.seconds_per_epoch = t->training_seconds * (double)steps / (double)t->steps_done;
    return r;
}

/* Rank 0 alone writes. */
static void forget_files(rbe_fit_options *o) {
    o->csv_path = o->best_path = NULL;
    o->progress = NULL;
}

static rbe_status begin(rbe_training *t, rbe_model *model, rbe_optim *optim, const rbe_fit_options *options) {
    const rbe_dataset *train = t->train;
    RBE_TRY(check_arguments(model, optim, train, t->test));
    t->options = with_defaults(options, optim, train->count);
    RBE_TRY(check_options(t));
    if (!rbe_team_leads(&t->team)) forget_files(&t->options);
    t->progress.epochs = t->options.epochs;
    t->progress.steps = t->options.epochs * rbe_steps_per_epoch(&t->options, train->count);
    t->step =
        (rbe_step){.model = model, .optim = optim, .loss = t->options.loss, .on_backward = on_backward, .user = t};
    if (t->team.comm) t->step.on_sum = rbe_training_join;
    t->best.options = &t->options;
    t->given_base = t->options.schedule.base;
    RBE_TRY(rbe_tally_new(&t->of_step, t->options.metric, train, rbe_team_size(&t->team)));
    return rbe_tally_new(&t->of_epoch, t->options.metric, train, 1);
}

rbe_status rbe_fit(rbe_model *model, rbe_optim *optim, const rbe_dataset *train, const rbe_dataset *test,
                   const rbe_fit_options *options, rbe_fit_result *result) {
    const rbe_comm *comm = options ? options->comm : NULL;
    if (result) *result = (rbe_fit_result){0};
    RBE_TRY(rbe_team_check(comm));
    rbe_exchange exchange;
    rbe_training t = {
        .train = train, .test = test, .team.comm = comm && comm->size > 1 ? comm : NULL, .exchange = &exchange};
    rbe_exchange_make(&exchange, t.team.comm);
    rbe_status status = begin(&t, model, optim, options);
    if (status == RBE_OK) status = run(&t);
    status = rbe_team_agree(&t.team, status);
    rbe_exchange_free(&exchange);
    if (result && t.of_epoch.metric) *result = result_of(&t);
    rbe_tally_free(&t.of_step);
    rbe_tally_free(&t.of_epoch);
    return status;
}
