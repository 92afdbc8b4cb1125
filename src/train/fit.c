/* The training loop:
 *
 *     for each epoch
 *         for each batch:  forward, loss, backward, optimiser step, reset the tape
 *         evaluate, report
 *
 * The rest is reporting (log.h, progress.h) and callbacks. Tape and batch buffer live as long as an epoch, so that
 * the evaluation after it can use the same memory; the tape is reserved in one piece, and a step allocates nothing.
 */
#include <math.h>

#include "base/clock.h"
#include "base/failure.h"
#include "data/dataset.h"
#include "optim/optim_internal.h"
#include "train/batch.h"
#include "train/log.h"
#include "train/memory.h"
#include "train/progress.h"
#include "train/tally.h"

/* A training that runs. */
typedef struct training {
    rbe_model *model;
    rbe_optim *optim;
    const rbe_dataset *train, *test;
    rbe_fit_options options; /* defaults filled in; schedule.base is that which a callback set last */
    float own_rate;          /* of the optimiser, outside of this training */
    rbe_progress progress;
    rbe_tally tally; /* of this epoch */
    rbe_log_file log;
    rbe_bar bar;
    size_t steps_done;
    double start, training_seconds;
} training;

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

static rbe_status check_arguments(const rbe_model *model, const rbe_optim *optim, const rbe_dataset *train,
                                  const rbe_dataset *test) {
    RBE_TRY(rbe_model_status(model));
    if (!optim) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_fit: the optimiser is NULL: it could not be made");
    RBE_TRY(rbe_dataset_check("rbe_fit: training data", train));
    if (test) RBE_TRY(rbe_dataset_check("rbe_fit: test data", test));
    if (test && (test->features != train->features || test->classes != train->classes))
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH,
                        "rbe_fit: training samples have %zu features and %d classes, test samples %zu and %d",
                        train->features, (int)train->classes, test->features, (int)test->classes);
    return check_optim(model, optim);
}

static rbe_fit_options with_defaults(const rbe_fit_options *options, const rbe_optim *optim, size_t samples) {
    rbe_fit_options o = options ? *options : (rbe_fit_options){0};
    if (o.epochs == 0) o.epochs = 1;
    if (o.batch == 0) o.batch = 128;
    if (o.batch > samples) o.batch = samples;
    if (o.schedule.base == 0) o.schedule.base = rbe_optim_lr(optim);
    if (o.schedule.total == 0) o.schedule.total = o.epochs * ((samples + o.batch - 1) / o.batch);
    return o;
}

static rbe_status check_options(const rbe_fit_options *o, size_t steps_per_epoch) {
    if (o->epochs > SIZE_MAX / steps_per_epoch)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_fit: %zu epochs of %zu steps are more steps than can be counted",
                        o->epochs, steps_per_epoch);
    const rbe_schedule *s = &o->schedule;
    if (s->kind != RBE_CONSTANT && s->kind != RBE_STEP && s->kind != RBE_COSINE)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_fit: there is no schedule of kind %d", (int)s->kind);
    if (isfinite(s->base) && s->base >= 0 && isfinite(s->factor) && isfinite(s->floor)) return RBE_OK;
    return rbe_fail(
        RBE_INVALID_ARGUMENT,
        "rbe_fit: schedule: expected a base >= 0, a factor and a floor that are finite, found %g, %g and %g",
        (double)s->base, (double)s->factor, (double)s->floor);
}

/* ---- one step, one epoch ------------------------------------------------------------------------------------- */

/* Says at which step, and where on the tape, a value first was not finite. If all values on the tape are, it was a
 * parameter's gradient, which the optimiser has named already. */
static rbe_status locate_instability(const training *t, const rbe_tape *tape) {
    rbe_tape_check_finite(tape);
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "step %zu of %zu: %s", t->progress.step + 1, t->progress.steps,
                    rbe_last_error());
}

/* What a callback has set with rbe_optim_set_lr is the schedule's new base, and the optimiser's own rate from now on. */
static void take_own_rate(training *t) {
    if (t->optim->lr_is_own) t->options.schedule.base = t->own_rate = rbe_optim_lr(t->optim);
    t->optim->lr_is_own = false;
}

static rbe_status train_step(training *t, rbe_tape *tape, const rbe_batch *batch) {
    rbe_var *logits, *loss;
    RBE_TRY(rbe_batch_forward(t->model, tape, batch, &logits, &loss));
    RBE_TRY(rbe_backward(loss));
    if (!isfinite(rbe_item(loss))) return locate_instability(t, tape);
    take_own_rate(t);
    RBE_TRY(rbe_optim_schedule_lr(t->optim, rbe_schedule_lr(&t->options.schedule, t->progress.step)));
    rbe_status status = rbe_optim_step(t->optim);
    if (status == RBE_NUMERICAL_INSTABILITY) return locate_instability(t, tape);
    if (status != RBE_OK) return status;

    rbe_tally step = {0};
    rbe_tally_add(&step, loss, logits, batch);
    rbe_tally_add(&t->tally, loss, logits, batch);
    rbe_evaluation of_step = rbe_tally_result(&step), of_epoch = rbe_tally_result(&t->tally);
    t->progress.batch_loss = of_step.loss;
    t->progress.batch_error = of_step.error;
    t->progress.mean_loss = of_epoch.loss;
    t->progress.mean_error = of_epoch.error;
    t->progress.lr = rbe_optim_lr(t->optim);
    rbe_tape_reset(tape);
    return RBE_OK;
}

/* What the callback says. The text is the callback's own if it has recorded that status; else there is a general
 * one. */
static rbe_status call_back(const training *t, rbe_progress_callback callback) {
    size_t failures = rbe_failure_count();
    rbe_status status = callback ? callback(t->options.user, &t->progress) : RBE_OK;
    if (status == RBE_OK || (rbe_failure_count() != failures && rbe_last_status() == status)) return status;
    return rbe_fail(status, "a callback stopped the training after step %zu of %zu%s%s", t->progress.step + 1,
                    t->progress.steps, status == RBE_STOPPED ? "" : ": ",
                    status == RBE_STOPPED ? "" : rbe_status_message(status));
}

static rbe_status report_step(training *t) {
    const rbe_fit_options *o = &t->options;
    t->progress.seconds = rbe_seconds() - t->start;
    rbe_bar_step(&t->bar, &t->progress);
    if (o->log_every > 0 && (t->progress.step + 1) % o->log_every == 0) RBE_TRY(rbe_log_step(&t->log, &t->progress));
    return call_back(t, o->on_step);
}

/* What no step has consumed - of parameters that the optimiser does not train, of a step that failed - is of no use to
 * the next one. */
static void forget_gradients(rbe_model *model) {
    rbe_param *param;
    for (size_t n = 0; (param = rbe_model_param(model, n)); n++) param->grad_set = false;
}

static rbe_status run_steps(training *t, rbe_tape *tape, rbe_batches *batches) {
    RBE_TRY(rbe_tape_reserve(tape, rbe_step_tape_bytes(t->model, t->options.batch)));
    rbe_batch batch;
    rbe_batches_start(batches, t->progress.epoch);
    while (rbe_batches_next(batches, &batch)) {
        t->progress.step = t->steps_done;
        RBE_TRY(train_step(t, tape, &batch));
        t->steps_done++;
        RBE_TRY(report_step(t));
        forget_gradients(t->model);
    }
    return RBE_OK;
}

static rbe_status train_epoch(training *t) {
    const rbe_fit_options *o = &t->options;
    double start = rbe_seconds();
    t->tally = (rbe_tally){0};
    /* Dropout draws other masks in each epoch. */
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.seed = o->seed + ((uint64_t)t->progress.epoch << 32)});
    rbe_batches *batches = tape ? rbe_batches_new(t->train, o->batch, true, o->seed) : NULL;
    rbe_status status = batches ? run_steps(t, tape, batches) : rbe_last_status();
    rbe_batches_free(batches);
    rbe_tape_free(tape);
    t->training_seconds += rbe_seconds() - start;
    return status;
}

/* ---- the whole training -------------------------------------------------------------------------------------- */

static rbe_status evaluate(const training *t, rbe_evaluation *test) {
    rbe_status status = rbe_evaluate(t->model, t->test, t->options.batch, test);
    if (status != RBE_NUMERICAL_INSTABILITY) return status;
    return rbe_fail(status, "after epoch %zu of %zu: %s", t->progress.epoch + 1, t->options.epochs, rbe_last_error());
}

static rbe_status run_epochs(training *t, rbe_evaluation *test) {
    for (size_t epoch = 0; epoch < t->options.epochs; epoch++) {
        t->progress.epoch = epoch;
        t->progress.test = NULL;
        RBE_TRY(train_epoch(t));
        if (t->test) {
            RBE_TRY(evaluate(t, test));
            t->progress.test = test;
        }
        t->progress.seconds = rbe_seconds() - t->start;
        RBE_TRY(rbe_log_epoch(&t->log, &t->progress));
        rbe_bar_epoch(&t->bar, &t->progress);
        RBE_TRY(call_back(t, t->options.on_epoch));
    }
    return RBE_OK;
}

rbe_status rbe_fit(rbe_model *model, rbe_optim *optim, const rbe_dataset *train, const rbe_dataset *test,
                   const rbe_fit_options *options, rbe_fit_result *result) {
    if (result) *result = (rbe_fit_result){0};
    RBE_TRY(check_arguments(model, optim, train, test));
    training t = {.model = model, .optim = optim, .train = train, .test = test};
    t.options = with_defaults(options, optim, train->count);
    const rbe_fit_options *o = &t.options;
    size_t steps_per_epoch = (train->count + o->batch - 1) / o->batch;
    RBE_TRY(check_options(o, steps_per_epoch));
    t.progress.epochs = o->epochs;
    t.progress.steps = o->epochs * steps_per_epoch;
    RBE_TRY(rbe_log_open(&t.log, o->csv_path));
    rbe_bar_open(&t.bar, o->progress, o->label);

    t.own_rate = rbe_optim_lr(optim);
    optim->lr_is_own = false;
    rbe_evaluation last_test = {0};
    t.start = rbe_seconds();
    rbe_status status = run_epochs(&t, &last_test);
    if (status != RBE_OK) forget_gradients(model);
    take_own_rate(&t);
    rbe_optim_set_lr(optim, t.own_rate);
    rbe_bar_close(&t.bar);
    rbe_log_close(&t.log);
    if (result) {
        *result = (rbe_fit_result){.train = rbe_tally_result(&t.tally),
                                   .test = last_test,
                                   .seconds = t.training_seconds,
                                   .steps = t.steps_done};
        if (t.steps_done > 0)
            result->seconds_per_epoch = t.training_seconds * (double)steps_per_epoch / (double)t.steps_done;
    }
    return status;
}
