/* The training step: it is what one writes by hand, calls its hooks in order, adds up batches as if they were one,
 * leaves everything as it was when it fails, and allocates nothing. */
#include <math.h>
#include <string.h>

#include "rbe/train.h"
#include "suites.h"
#include "support.h"

enum { SAMPLES = 150, FEATURES = 12, CLASSES = 3, WIDTH = 2 };

static float values[SAMPLES * FEATURES], targets[SAMPLES * WIDTH], weights[SAMPLES];
static int32_t labels[SAMPLES];

typedef enum samples_kind { LABELS, TARGETS, WEIGHTED_LABELS, WEIGHTED_TARGETS, KINDS } samples_kind;

static void fill(void) {
    fill_normal(values, SAMPLES * FEATURES, 1.0, 1);
    fill_normal(targets, SAMPLES * WIDTH, 1.0, 2);
    for (int n = 0; n < SAMPLES; n++) {
        labels[n] = n % CLASSES;
        values[n * FEATURES + labels[n]] += 2.0f;
        weights[n] = (float)(n % 5) / 2.0f;
    }
}

/* Views of what fill has made. */
static rbe_dataset view(samples_kind kind) {
    rbe_dataset data = {.count = SAMPLES, .features = FEATURES, .values = values};
    if (kind % 2 == LABELS) {
        data.labels = labels;
        data.classes = CLASSES;
    } else {
        data.targets = targets;
        data.target_width = WIDTH;
    }
    if (kind >= WEIGHTED_LABELS) data.weights = weights;
    return data;
}

static rbe_dataset samples(samples_kind kind) {
    fill();
    return view(kind);
}

static rbe_model *small_model(samples_kind kind) {
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_linear_new(FEATURES, 16, &(rbe_linear_options){.block = 8, .ratio = 2, .seed = 1}));
    rbe_model_apply(model, rbe_tanh);
    rbe_model_add(model, rbe_dense_new(16, kind % 2 == LABELS ? CLASSES : WIDTH, &(rbe_dense_options){.seed = 2}));
    ck_assert_msg(rbe_model_status(model) == RBE_OK, "%s", rbe_last_error());
    return model;
}

/* All parameters, one after the other. */
enum { MOST_VALUES = 1024 };

static size_t read_parameters(const rbe_model *model, float *all) {
    size_t count = 0;
    const rbe_param *p;
    for (size_t n = 0; (p = rbe_model_param(model, n)); n++, count += p->count) {
        ck_assert_uint_le(count + p->count, MOST_VALUES);
        memcpy(all + count, p->value, p->count * sizeof *all);
    }
    return count;
}

/* A step and all that belongs to it. */
typedef struct fixture {
    rbe_dataset data;
    rbe_step step;
    rbe_batches *batches;
} fixture;

/* In its place, for the batches borrow the data set. */
static void fixture_start(fixture *f, samples_kind kind, const rbe_optim_method *method, size_t batch) {
    *f = (fixture){.data = samples(kind)};
    f->step.model = small_model(kind);
    f->step.optim = rbe_optim_new(method, f->step.model, &(rbe_optim_options){.lr = 0.01f, .clip_norm = 2.0f});
    f->step.tape = rbe_tape_new(NULL);
    f->batches = rbe_batches_new(&f->data, batch, true, 3);
    ck_assert_msg(f->step.optim && f->step.tape && f->batches, "%s", rbe_last_error());
}

static void fixture_free(fixture *f) {
    rbe_batches_free(f->batches);
    rbe_tape_free(f->step.tape);
    rbe_optim_free(f->step.optim);
    rbe_model_free(f->step.model);
}

static void run_epochs(fixture *f, size_t epochs) {
    rbe_batch batch;
    for (size_t epoch = 0; epoch < epochs; epoch++)
        for (rbe_batches_start(f->batches, epoch); rbe_batches_next(f->batches, &batch);)
            ck_assert_msg(rbe_train_step(&f->step, &batch) == RBE_OK, "%s", rbe_last_error());
}

/* The second loop of the header. */
START_TEST(a_step_is_what_one_writes_by_hand) {
    float by_step[MOST_VALUES], by_hand[MOST_VALUES];
    fixture a, b;
    fixture_start(&a, LABELS, rbe_adam, 32);
    fixture_start(&b, LABELS, rbe_adam, 32);
    run_epochs(&a, 2);
    rbe_batch batch;
    for (size_t epoch = 0; epoch < 2; epoch++)
        for (rbe_batches_start(b.batches, epoch); rbe_batches_next(b.batches, &batch); rbe_tape_reset(b.step.tape)) {
            rbe_var *logits = rbe_model_forward(b.step.model, rbe_input(b.step.tape, batch.x));
            ck_assert_int_eq(rbe_backward(rbe_cross_entropy(logits, batch.labels)), RBE_OK);
            ck_assert_int_eq(rbe_optim_step(b.step.optim), RBE_OK);
        }
    size_t count = read_parameters(a.step.model, by_step);
    ck_assert_uint_eq(read_parameters(b.step.model, by_hand), count);
    ck_assert_mem_eq(by_step, by_hand, count * sizeof *by_step);
    fixture_free(&a);
    fixture_free(&b);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* rbe_fit is the first loop of the header, whatever the samples are, in one batch a step or in several. */
START_TEST(fit_is_a_loop_over_steps) {
    float by_step[MOST_VALUES], by_fit[MOST_VALUES];
    size_t count = 0, accumulate = _i < KINDS ? 1 : 2;
    for (int fitted = 0; fitted < 2; fitted++) {
        fixture f;
        fixture_start(&f, (samples_kind)(_i % KINDS), rbe_adam, 32);
        f.data.count = 128; /* whole steps: the loop does not end a step with the epoch */
        rbe_batches_free(f.batches);
        f.batches = rbe_batches_new(&f.data, 32, true, 3);
        f.step.accumulate = accumulate;
        rbe_fit_result result;
        const rbe_fit_options options = {.epochs = 2, .batch = 32, .accumulate = accumulate, .seed = 3};
        if (fitted) {
            ck_assert_int_eq(rbe_fit(f.step.model, f.step.optim, &f.data, NULL, &options, &result), RBE_OK);
            ck_assert_uint_eq(result.steps, 8 / accumulate);
        } else {
            run_epochs(&f, 2);
        }
        count = read_parameters(f.step.model, fitted ? by_fit : by_step);
        fixture_free(&f);
    }
    ck_assert_mem_eq(by_step, by_fit, count * sizeof *by_step);
}
END_TEST

/* ---- several batches a step ---------------------------------------------------------------------------------- */

static const struct accumulation {
    const char *method;
    samples_kind kind;
    size_t batch, accumulate;
} accumulations[] = {
    {"sgd", LABELS, 16, 4},           {"sgd", TARGETS, 16, 4},  {"sgd", WEIGHTED_LABELS, 16, 4},
    {"sgd", WEIGHTED_TARGETS, 8, 8},  {"adam", LABELS, 64, 1},  {"adam", TARGETS, 1, 64},
    {"adam", WEIGHTED_LABELS, 4, 16}, {"sgd", LABELS, 32, 100}, {"adamw", WEIGHTED_TARGETS, 32, 2},
};
#define ACCUMULATIONS (int)(sizeof accumulations / sizeof *accumulations)

typedef struct losses {
    double batch[64], mean;
    size_t steps;
} losses;

static rbe_status note_losses(void *user, const rbe_progress *p) {
    losses *l = user;
    l->batch[p->step] = p->batch_loss;
    l->mean = p->mean_loss;
    l->steps++;
    return RBE_OK;
}

/* Of 150 samples the last step of an epoch has 22: of whole batches and a part of one. */
static losses train(const struct accumulation *a, size_t batch, size_t accumulate, float *parameters) {
    losses l = {0};
    rbe_dataset data = samples(a->kind);
    rbe_model *model = small_model(a->kind);
    rbe_optim *optim = rbe_optim_new(rbe_optim_method_named(a->method), model, &(rbe_optim_options){.lr = 0.01f});
    const rbe_fit_options options = {.epochs = 2,
                                     .batch = batch,
                                     .accumulate = accumulate,
                                     .seed = 5,
                                     .schedule = {.kind = RBE_COSINE},
                                     .on_step = note_losses,
                                     .user = &l};
    rbe_fit_result result;
    ck_assert_msg(rbe_fit(model, optim, &data, NULL, &options, &result) == RBE_OK, "%s", rbe_last_error());
    ck_assert_uint_eq(result.steps, l.steps);
    read_parameters(model, parameters);
    rbe_optim_free(optim);
    rbe_model_free(model);
    return l;
}

/* A step of several batches is that of one large batch, up to rounding: parameters, losses, number of steps, rate. */
START_TEST(batches_add_up) {
    const struct accumulation *a = &accumulations[_i];
    static float together[MOST_VALUES], in_parts[MOST_VALUES], before[MOST_VALUES];
    rbe_model *model = small_model(a->kind);
    size_t count = read_parameters(model, before);
    rbe_model_free(model);
    losses whole = train(a, a->batch * a->accumulate, 1, together);
    losses parts = train(a, a->batch, a->accumulate, in_parts);
    ck_assert_uint_eq(whole.steps, parts.steps);
    for (size_t n = 0; n < whole.steps; n++) ck_assert_double_eq_tol(whole.batch[n], parts.batch[n], 1e-4);
    ck_assert_double_eq_tol(whole.mean, parts.mean, 1e-4);
    for (size_t n = 0; n < count; n++) { /* how far they moved */
        together[n] -= before[n];
        in_parts[n] -= before[n];
    }
    double apart = relative_difference(in_parts, together, count);
    ck_assert_msg(apart < 1e-3, "%g apart", apart);
}
END_TEST

START_TEST(a_step_waits_for_its_batches) {
    fixture f;
    fixture_start(&f, LABELS, rbe_sgd, 10);
    f.step.accumulate = 3;
    float before[MOST_VALUES], after[MOST_VALUES];
    rbe_batch batch;
    rbe_batches_start(f.batches, 0);
    for (int n = 1; n <= 9; n++) {
        size_t count = read_parameters(f.step.model, before);
        ck_assert(rbe_batches_next(f.batches, &batch));
        ck_assert_int_eq(rbe_train_step(&f.step, &batch), RBE_OK);
        read_parameters(f.step.model, after);
        ck_assert_int_eq(f.step.done, n % 3 == 0);
        ck_assert_uint_eq(f.step.waiting, (size_t)(n % 3));
        ck_assert_double_eq(f.step.weight, 10.0 * (n % 3));
        ck_assert_int_eq(memcmp(before, after, count * sizeof *before) != 0, n % 3 == 0);
        ck_assert_uint_eq(rbe_tensor_rows(rbe_value(f.step.output)), 10);
    }
    fixture_free(&f);
}
END_TEST

/* ---- hooks --------------------------------------------------------------------------------------------------- */

typedef struct watcher {
    char order[16];
    float before[MOST_VALUES];
    rbe_status backward_answer, step_answer;
    const char *text;
    double norm;
} watcher;

static rbe_status watch_backward(void *user, rbe_step *step) {
    watcher *w = user;
    strcat(w->order, "b");
    float now[MOST_VALUES];
    size_t count = read_parameters(step->model, now);
    ck_assert_mem_eq(now, w->before, count * sizeof *now);
    ck_assert(!step->done);
    double squares = 0;
    rbe_param *p;
    for (size_t n = 0; (p = rbe_model_param(step->model, n)); n++) {
        ck_assert(p->grad_set);
        for (size_t i = 0; i < p->count; i++) squares += (double)p->grad[i] * (double)p->grad[i];
    }
    w->norm = sqrt(squares);
    if (w->text && w->backward_answer != RBE_OK) rbe_fail(w->backward_answer, "%s", w->text);
    return w->backward_answer;
}

static rbe_status watch_step(void *user, rbe_step *step) {
    watcher *w = user;
    strcat(w->order, "s");
    float now[MOST_VALUES];
    size_t count = read_parameters(step->model, now);
    ck_assert_mem_ne(now, w->before, count * sizeof *now);
    ck_assert(step->done);
    if (w->text && w->step_answer != RBE_OK) rbe_fail(w->step_answer, "%s", w->text);
    return w->step_answer;
}

/* [24] After backward the gradients are complete, and neither clipped nor used. */
START_TEST(hooks_come_in_order) {
    fixture f;
    fixture_start(&f, LABELS, rbe_sgd, 25);
    watcher w = {0};
    f.step.accumulate = (size_t)_i;
    f.step.on_backward = watch_backward;
    f.step.on_step = watch_step;
    f.step.user = &w;
    rbe_batch batch;
    rbe_batches_start(f.batches, 0);
    for (int n = 0; n < 6; n++) {
        read_parameters(f.step.model, w.before);
        ck_assert(rbe_batches_next(f.batches, &batch));
        ck_assert_msg(rbe_train_step(&f.step, &batch) == RBE_OK, "%s", rbe_last_error());
        if (f.step.done) ck_assert_double_eq_tol((double)rbe_optim_grad_norm(f.step.optim), w.norm, 1e-5);
    }
    ck_assert_str_eq(w.order, _i < 2 ? "bsbsbsbsbsbs" : "bsbsbs");
    fixture_free(&f);
}
END_TEST

static const struct answer {
    bool of_step;
    rbe_status status;
    const char *text, *expected;
} answers[] = {
    {false, RBE_STOPPED, "enough", "enough"},
    {true, RBE_STOPPED, "enough", "enough"},
    {false, RBE_NUMERICAL_INSTABILITY, "a machine is gone", "a machine is gone"},
    {true, RBE_IO_ERROR, "no room", "no room"},
    {false, RBE_STOPPED, NULL, "a callback stopped the training step"},
    {true, RBE_IO_ERROR, NULL, "a callback stopped the training step: a file could not be read or written"},
};
#define ANSWERS (int)(sizeof answers / sizeof *answers)

/* A hook's status and text; what is not stepped has not changed, and the next call begins anew. */
START_TEST(a_hook_can_stop) {
    const struct answer *a = &answers[_i];
    fixture f;
    fixture_start(&f, LABELS, rbe_adam, 25);
    watcher w = {.text = a->text};
    *(a->of_step ? &w.step_answer : &w.backward_answer) = a->status;
    f.step.on_backward = watch_backward;
    f.step.on_step = watch_step;
    f.step.user = &w;
    size_t count = read_parameters(f.step.model, w.before);
    rbe_batch batch;
    rbe_batches_start(f.batches, 0);
    rbe_batches_next(f.batches, &batch);
    rbe_fail(a->status, "an older failure");
    ck_assert_int_eq(rbe_train_step(&f.step, &batch), a->status);
    ck_assert_str_eq(rbe_last_error(), a->expected);
    const rbe_param *p;
    for (size_t n = 0; (p = rbe_model_param(f.step.model, n)); n++) ck_assert(!p->grad_set);
    float after[MOST_VALUES];
    read_parameters(f.step.model, after);
    ck_assert_int_eq(memcmp(after, w.before, count * sizeof *after) != 0, a->of_step);
    w.backward_answer = w.step_answer = RBE_OK;
    memcpy(w.before, after, count * sizeof *after);
    ck_assert_msg(rbe_train_step(&f.step, &batch) == RBE_OK, "%s", rbe_last_error());
    fixture_free(&f);
}
END_TEST

typedef struct fit_hooks {
    rbe_model *model;
    rbe_optim *optim;
    size_t backward, steps, act_at;
    rbe_status answer;
    float rate;
} fit_hooks;

static rbe_status fit_backward(void *user, const rbe_progress *p) {
    fit_hooks *h = user;
    ck_assert_uint_eq(h->backward++, p->step);
    ck_assert_uint_eq(h->steps, p->step);
    ck_assert(rbe_model_param(h->model, 0)->grad_set);
    if (p->step != h->act_at) return RBE_OK;
    if (h->rate > 0) return rbe_optim_set_lr(h->optim, h->rate);
    return h->answer == RBE_OK ? RBE_OK : rbe_fail(h->answer, "of the callback");
}

static rbe_status fit_step(void *user, const rbe_progress *p) {
    fit_hooks *h = user;
    ck_assert_uint_eq(h->steps++, p->step);
    ck_assert_uint_eq(h->backward, h->steps);
    ck_assert_float_eq(p->lr, h->rate > 0 && p->step >= h->act_at ? h->rate : 0.01f);
    return RBE_OK;
}

/* [24] In rbe_fit: its text survives, an instability that a callback reports too, and a rate that it sets holds from
 * this step on. */
START_TEST(fit_calls_back_after_backward) {
    static const fit_hooks cases[] = {{.act_at = 99},
                                      {.act_at = 3, .rate = 0.002f},
                                      {.act_at = 3, .answer = RBE_STOPPED},
                                      {.act_at = 3, .answer = RBE_NUMERICAL_INSTABILITY}};
    rbe_dataset data = samples(LABELS);
    fit_hooks h = cases[_i];
    h.model = small_model(LABELS);
    h.optim = rbe_optim_new(rbe_adam, h.model, &(rbe_optim_options){.lr = 0.01f});
    const rbe_fit_options options = {.batch = 25, .on_backward = fit_backward, .on_step = fit_step, .user = &h};
    rbe_fit_result result;
    ck_assert_int_eq(rbe_fit(h.model, h.optim, &data, NULL, &options, &result), h.answer);
    ck_assert_uint_eq(result.steps, h.answer == RBE_OK ? 6 : 3);
    if (h.answer != RBE_OK) ck_assert_str_eq(rbe_last_error(), "of the callback");
    ck_assert_float_eq(rbe_optim_lr(h.optim), h.rate > 0 ? h.rate : 0.01f);
    rbe_optim_free(h.optim);
    rbe_model_free(h.model);
}
END_TEST

/* ---- failures ------------------------------------------------------------------------------------------------ */

/* A value that is not finite in the second of three batches: nothing has changed, and the next step is a whole one. */
START_TEST(a_failed_step_is_forgotten) {
    fixture f;
    fixture_start(&f, LABELS, rbe_adam, 25);
    f.step.accumulate = 3;
    float before[MOST_VALUES], after[MOST_VALUES];
    size_t count = read_parameters(f.step.model, before);
    rbe_batch batch;
    rbe_batches_start(f.batches, 0);
    rbe_batches_next(f.batches, &batch);
    ck_assert_int_eq(rbe_train_step(&f.step, &batch), RBE_OK);
    float kept = batch.x.data[7];
    batch.x.data[7] = _i ? INFINITY : NAN;
    ck_assert_int_eq(rbe_train_step(&f.step, &batch), RBE_NUMERICAL_INSTABILITY);
    ck_assert_msg(strstr(rbe_last_error(), "input: value 7 is"), "%s", rbe_last_error());
    ck_assert(f.step.waiting == 0 && f.step.weight == 0 && !f.step.done);
    const rbe_param *p;
    for (size_t n = 0; (p = rbe_model_param(f.step.model, n)); n++) ck_assert(!p->grad_set);
    batch.x.data[7] = kept;
    for (int n = 0; n < 3; n++) {
        read_parameters(f.step.model, after);
        ck_assert_mem_eq(before, after, count * sizeof *before);
        ck_assert_int_eq(rbe_train_step(&f.step, &batch), RBE_OK);
    }
    ck_assert(f.step.done);
    fixture_free(&f);
}
END_TEST

START_TEST(what_is_missing_is_refused) {
    fixture f;
    fixture_start(&f, LABELS, rbe_sgd, 25);
    rbe_batch batch, tokens = {.tokens = labels, .labels = labels, .label_width = 1, .rows = 4};
    rbe_batches_start(f.batches, 0);
    rbe_batches_next(f.batches, &batch);
    rbe_step no_model = f.step, no_optim = f.step, no_tape = f.step;
    no_model.model = NULL;
    no_optim.optim = NULL;
    no_tape.tape = NULL;
    const struct {
        rbe_step *step;
        const rbe_batch *batch;
        const char *text;
    } cases[] = {
        {NULL, &batch, "the step is NULL"},       {&f.step, NULL, "the batch is NULL"},
        {&no_model, &batch, "the model is NULL"}, {&no_optim, &batch, "the optimiser is NULL"},
        {&no_tape, &batch, "the tape is NULL"},   {&f.step, &(rbe_batch){.rows = 3}, "neither labels nor targets"},
        {&f.step, &tokens, "sequences of ids"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        ck_assert_int_eq(rbe_train_step(cases[n].step, cases[n].batch), RBE_INVALID_ARGUMENT);
        ck_assert_msg(strstr(rbe_last_error(), cases[n].text), "%s", rbe_last_error());
    }
    ck_assert_int_eq(rbe_train_step(&f.step, &batch), RBE_OK);
    fixture_free(&f);
}
END_TEST

/* Training samples and test samples must be of one kind. */
START_TEST(fit_refuses_other_test_samples) {
    rbe_dataset train_data = samples(TARGETS), test = train_data, twice = samples(LABELS);
    rbe_model *model = small_model(TARGETS);
    rbe_optim *optim = rbe_optim_new(rbe_sgd, model, NULL);
    test.target_width = WIDTH - 1;
    ck_assert_int_eq(rbe_fit(model, optim, &train_data, &test, NULL, NULL), RBE_INPUT_DIMENSION_MISMATCH);
    ck_assert_msg(strstr(rbe_last_error(), "0 labels and 2 targets, test samples 0 and 1"), "%s", rbe_last_error());
    test = twice;
    test.label_width = 2;
    ck_assert_int_eq(rbe_fit(model, optim, &twice, &test, NULL, NULL), RBE_INPUT_DIMENSION_MISMATCH);
    ck_assert_msg(strstr(rbe_last_error(), "1 labels and 0 targets, test samples 2 and 0"), "%s", rbe_last_error());
    rbe_optim_free(optim);
    rbe_model_free(model);
}
END_TEST

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* Of any samples, in one batch or in several, with a loss that is built of several operations. */
START_TEST(steady_steps_allocate_nothing) {
    fixture f;
    fixture_start(&f, (samples_kind)(_i % KINDS), rbe_adam, 30);
    f.step.accumulate = _i / KINDS ? 2 : 1;
    run_epochs(&f, 1);
    size_t before = rbe_memory().allocations;
    run_epochs(&f, 3);
    ck_assert_uint_eq(rbe_memory().allocations, before);
    fixture_free(&f);
}
END_TEST

static rbe_status small_program(samples_kind kind) {
    rbe_dataset data = view(kind);
    data.count = 40;
    rbe_model *model = rbe_model_new();
    if (!model) return rbe_last_status();
    rbe_model_add(model, rbe_dense_new(FEATURES, kind % 2 == LABELS ? CLASSES : WIDTH, NULL));
    rbe_optim *optim = rbe_optim_new(rbe_adam, model, NULL);
    const rbe_fit_options options = {.epochs = 2, .batch = 16, .accumulate = 2};
    rbe_status status = optim ? rbe_fit(model, optim, &data, &data, &options, NULL) : rbe_last_status();
    rbe_optim_free(optim);
    rbe_model_free(model);
    return status;
}

START_TEST(every_allocation_may_fail) {
    bool reached = true;
    fill(); /* whose generator is not what is tested */
    for (size_t n = 1; reached; n++) {
        failing_allocator allocator;
        failing_allocator_install(&allocator, n);
        rbe_status status = small_program((samples_kind)_i);
        reached = failing_allocator_remove(&allocator);
        ck_assert_msg(reached ? strstr(rbe_last_error(), "the allocator gave none") != NULL : status == RBE_OK,
                      "allocation %zu: %s: %s", n, rbe_status_name(status), rbe_last_error());
        ck_assert(!reached || status != RBE_OK);
    }
}
END_TEST

Suite *step_suite(void) {
    Suite *suite = suite_create("step");
    TCase *loops = tcase_create("loops");
    tcase_add_test(loops, a_step_is_what_one_writes_by_hand);
    tcase_add_loop_test(loops, fit_is_a_loop_over_steps, 0, 2 * KINDS);
    suite_add_tcase(suite, loops);
    TCase *several = tcase_create("several batches");
    tcase_add_loop_test(several, batches_add_up, 0, ACCUMULATIONS);
    tcase_add_test(several, a_step_waits_for_its_batches);
    suite_add_tcase(suite, several);
    TCase *hooks = tcase_create("hooks");
    tcase_add_loop_test(hooks, hooks_come_in_order, 0, 3);
    tcase_add_loop_test(hooks, a_hook_can_stop, 0, ANSWERS);
    tcase_add_loop_test(hooks, fit_calls_back_after_backward, 0, 4);
    suite_add_tcase(suite, hooks);
    TCase *failing = tcase_create("failures");
    tcase_add_loop_test(failing, a_failed_step_is_forgotten, 0, 2);
    tcase_add_test(failing, what_is_missing_is_refused);
    tcase_add_test(failing, fit_refuses_other_test_samples);
    suite_add_tcase(suite, failing);
    TCase *memory = tcase_create("memory");
    tcase_add_loop_test(memory, steady_steps_allocate_nothing, 0, 2 * KINDS);
    tcase_add_loop_test(memory, every_allocation_may_fail, 0, KINDS);
    suite_add_tcase(suite, memory);
    return suite;
}
