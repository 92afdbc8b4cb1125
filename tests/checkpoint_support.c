#include "checkpoint_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codec/blocks.h"
#include "io/state_code.h"
#include "nn/param.h"
#include "optim/optim_internal.h"
#include "support.h"

/* ---- samples ------------------------------------------------------------------------------------------------- */

enum { SAMPLES = TRAIN_SAMPLES + TEST_SAMPLES };

static float values[SAMPLES * FEATURES], targets[SAMPLES * TARGETS], weights[SAMPLES];
static int32_t labels[SAMPLES];
static uint8_t pixels[SAMPLES * FEATURES];

/* Noise with something to learn in it. */
static void fill_samples(void) {
    fill_normal(values, SAMPLES * FEATURES, 1.0, 1);
    for (size_t n = 0; n < SAMPLES; n++) {
        labels[n] = (int32_t)(n % CLASSES);
        values[n * FEATURES + (size_t)labels[n]] += 2.0f;
        for (size_t k = 0; k < TARGETS; k++)
            targets[n * TARGETS + k] = values[n * FEATURES + k] - values[n * FEATURES + 9];
        weights[n] = (float)(n % 5) / 2.0f;
        for (size_t k = 0; k < FEATURES; k++)
            pixels[n * FEATURES + k] = (uint8_t)(128 + (int)(values[n * FEATURES + k] * 25.0f));
    }
}

void make_samples(samples_kind kind, rbe_dataset *train, rbe_dataset *test) {
    fill_samples();
    *train = (rbe_dataset){.count = SAMPLES, .features = FEATURES, .height = HEIGHT, .width = FEATURES / HEIGHT};
    if (kind == WITH_PIXELS)
        train->pixels = pixels;
    else
        train->values = values;
    if (kind == WITH_TARGETS) {
        train->targets = targets;
        train->target_width = TARGETS;
    } else {
        train->labels = labels;
        train->classes = CLASSES;
    }
    if (kind == WITH_WEIGHTS) train->weights = weights;
    ck_assert_ok(rbe_dataset_split(train, TEST_SAMPLES, test));
}

/* ---- models -------------------------------------------------------------------------------------------------- */

static void add_dropout(rbe_model *model, float dropout) {
    if (dropout > 0.0f) rbe_model_add(model, rbe_dropout_new(dropout));
}

/* in -> 16 -> out with a hidden layer of the given options; NULL: a dense one. */
static void add_two(rbe_model *model, const rbe_linear_options *first, const rbe_linear_options *second,
                    float dropout) {
    rbe_model_add(model, first ? rbe_linear_new(FEATURES, 16, first)
                               : rbe_dense_new(FEATURES, 16, &(rbe_dense_options){.seed = 1}));
    rbe_model_apply(model, rbe_relu);
    add_dropout(model, dropout);
    rbe_model_add(model,
                  second ? rbe_linear_new(16, 16, second) : rbe_dense_new(16, 16, &(rbe_dense_options){.seed = 2}));
    rbe_model_apply(model, rbe_gelu);
    add_dropout(model, dropout);
}

static void add_nested(rbe_model *model, float dropout) {
    const rbe_linear_options shared = {.name = "up", .block = 8, .ratio = 2, .group = 1, .seed = 5};
    const rbe_linear_options first = {.block = 8, .ratio = 3, .group = 2, .alpha = RBE_ALPHA_ON, .seed = 4};
    rbe_layer *inner = rbe_sequential_new(NULL), *up = rbe_linear_new(16, 16, &shared);
    rbe_layer_add(inner, up);
    rbe_layer_add(inner, rbe_operation_new(rbe_tanh));
    if (dropout > 0.0f) rbe_layer_add(inner, rbe_dropout_new(dropout));
    rbe_layer_add(inner, up);
    rbe_layer_add(inner, rbe_rms_norm_new(16, 0.0f, "norm"));
    rbe_layer *block = rbe_residual_new(inner, "block");
    rbe_model_add(model, rbe_linear_new(FEATURES, 16, &first));
    rbe_model_add(model, block);
    rbe_model_add(model, rbe_repeat_new(rbe_residual_new(rbe_dense_new(16, 16, NULL), "step"), 2, NULL));
    rbe_model_add(model, block);
}

rbe_model *make_model(model_kind kind, float dropout, size_t outputs) {
    rbe_model *model = rbe_model_new();
    const rbe_linear_options plain[2] = {{.block = 8, .ratio = 2, .group = 2, .alpha = RBE_ALPHA_ON, .seed = 1},
                                         {.block = 8, .ratio = 3, .group = 1, .no_bias = true, .seed = 2}};
    const rbe_linear_options image[2] = {
        {.block = 8, .ratio = 2, .image_height = HEIGHT, .image_width = FEATURES / HEIGHT, .seed = 1},
        {.block = 8, .ratio = 1.5, .overlap = 2, .alpha = RBE_ALPHA_ON, .group = 1, .use_cache = true, .seed = 2}};
    switch (kind) {
    case DENSE: add_two(model, NULL, NULL, dropout); break;
    case COMPRESSED: add_two(model, &plain[0], &plain[1], dropout); break;
    case IMAGE: add_two(model, &image[0], &image[1], dropout); break;
    case NESTED: add_nested(model, dropout);
    }
    rbe_model_add(model, rbe_dense_new(16, outputs, &(rbe_dense_options){.name = "head", .seed = 3}));
    ck_assert_ok(rbe_model_status(model));
    return model;
}

/* ---- callbacks ----------------------------------------------------------------------------------------------- */

static void take_copy(training *t) {
    if (t->copies && exists(t->path)) t->copies[t->copy_count++] = read_whole(t->path);
}

/* What a user may change between two steps, as a function of the step alone. */
static rbe_status meddle(training *t, size_t step) {
    rbe_param *first = rbe_model_param(t->model, 0), *second = rbe_model_param(t->model, 2);
    if (step == 2) second->frozen = true;
    if (step == 5) second->frozen = false;
    if (step == 3) first->lr_scale *= 0.5f;
    if (step == 8) first->lr_scale *= 4.0f;
    if (step == 1) RBE_TRY(rbe_optim_set_lr(t->optim, 0.004f));
    return step == 6 ? rbe_optim_set_lr(t->optim, 0.03f) : RBE_OK;
}

static rbe_status after_backward(void *user, const rbe_progress *p) {
    training *t = user;
    return p->step == 4 || p->step == 7 ? rbe_optim_set_lr(t->optim, 0.01f / (float)p->step) : RBE_OK;
}

static rbe_status after_step(void *user, const rbe_progress *p) {
    training *t = user;
    take_copy(t);
    ck_assert_uint_lt(p->step, MOST_STEPS);
    t->notes[p->step] = (note){p->batch_loss, p->batch_metric, p->mean_loss, p->mean_metric, p->lr, p->epoch};
    if (t->r.meddles) RBE_TRY(meddle(t, p->step));
    if (t->r.spoils && p->step == 6) rbe_layer_param(rbe_model_find(t->model, "head"), 1)->value[0] += 100.0f;
    if (p->step + 1 == t->stop_after) t->stop = 1;
    return RBE_OK;
}

static rbe_status after_epoch(void *user, const rbe_progress *p) {
    (void)p;
    take_copy(user);
    return RBE_OK;
}

/* ---- trainings ----------------------------------------------------------------------------------------------- */

static size_t steps_of(const rbe_fit_options *o) {
    size_t accumulate = o->accumulate ? o->accumulate : 1, batches = (TRAIN_SAMPLES + o->batch - 1) / o->batch;
    return o->epochs * ((batches + accumulate - 1) / accumulate);
}

static void make_routines(training *t) {
    size_t steps = steps_of(&t->r.fit);
    rbe_gradual_options gradual = {.final = 0.5, .begin = 1, .end = steps - 2, .every = 3};
    if (t->r.random_pruning) {
        gradual.prune.score = RBE_PRUNE_RANDOM;
        gradual.prune.seed = 0xfedcba9876543210;
    }
    if (t->r.gradual) {
        t->gradual = rbe_gradual_new(t->model, &gradual);
        t->routines[t->options.routine_count++] = rbe_gradual_routine(t->gradual);
    }
    if (t->r.growth) {
        t->growth = rbe_growth_new(t->model, &(rbe_growth_options){.steps = steps, .every = 2});
        t->routines[t->options.routine_count++] = rbe_growth_routine(t->growth);
    }
    rbe_layer *layer;
    for (size_t n = 0; t->r.bits > 0 && (layer = rbe_model_layer(t->model, n)); n++)
        ck_assert_ok(rbe_layer_set_bits(layer, t->r.bits));
    if (t->r.bits > 0) {
        t->quantiser = rbe_quantiser_new(t->model, 4);
        t->routines[t->options.routine_count++] = rbe_quantiser_routine(t->quantiser);
    }
    t->options.routines = t->routines;
}

void training_make(training *t, const recipe *r, bool checkpoints) {
    *t = (training){.r = *r, .options = r->fit};
    make_samples(r->samples, &t->train, &t->test);
    t->model = make_model(r->model, r->dropout, r->samples == WITH_TARGETS ? TARGETS : CLASSES);
    t->optim = rbe_optim_new(rbe_optim_method_named(r->method), t->model, &r->optim);
    ck_assert_msg(t->optim != NULL, "%s", rbe_last_error());
    make_routines(t);
    strcpy(t->path, scratch_path("run.checkpoint"));
    strcpy(t->log, scratch_path("log.csv"));
    strcpy(t->best, scratch_path("best"));
    t->keep = (rbe_checkpoint_options){.path = t->path};
    if (r->log) t->options.csv_path = t->log;
    if (r->best) t->options.best_path = t->best;
    if (checkpoints) t->options.checkpoint = &t->keep;
    if (r->meddles) t->options.on_backward = after_backward;
    t->options.on_step = after_step;
    t->options.on_epoch = after_epoch;
    t->options.stop = &t->stop;
    t->options.user = t;
}

void training_free(training *t) {
    rbe_growth_free(t->growth);
    rbe_gradual_free(t->gradual);
    rbe_quantiser_free(t->quantiser);
    rbe_optim_free(t->optim);
    rbe_model_free(t->model);
}

rbe_status training_run(training *t) {
    int threads = t->keep.resume ? t->r.threads_after : t->r.threads;
    ck_assert_ok(rbe_set_threads(threads ? threads : 1));
    rbe_status status = rbe_fit(t->model, t->optim, &t->train, t->r.tested ? &t->test : NULL, &t->options, &t->result);
    rbe_set_threads(1);
    return status;
}

void training_leave(const recipe *r, size_t steps) {
    training t;
    training_make(&t, r, true);
    t.stop_after = steps;
    ck_assert_int_eq(training_run(&t), RBE_STOPPED);
    ck_assert_uint_eq(t.result.steps, steps);
    training_free(&t);
}

rbe_checkpoint checkpoint_of(training *t) {
    return (rbe_checkpoint){t->model, t->optim, t->routines, t->options.routine_count};
}

/* ---- bits ---------------------------------------------------------------------------------------------------- */

static void put(bytes *b, const void *data, size_t count) {
    b->data = realloc(b->data, b->count + count + 1);
    ck_assert_ptr_nonnull(b->data);
    if (count > 0) memcpy(b->data + b->count, data, count);
    b->count += count;
}

#define PUT(b, value) put(b, &(value), sizeof(value))

static void put_param(bytes *b, const rbe_param *p) {
    bool has_grad = p->grad != NULL;
    put(b, p->name, strlen(p->name) + 1);
    PUT(b, p->count);
    PUT(b, p->frozen);
    PUT(b, p->decays);
    PUT(b, p->lr_scale);
    PUT(b, p->rate);
    PUT(b, p->grad_set);
    PUT(b, has_grad);
    put(b, p->value, p->count * sizeof(float));
    for (const rbe_companion *c = p->companions; c; c = c->next) {
        put(b, c->name, strlen(c->name) + 1);
        put(b, c->values, p->count * sizeof(float));
    }
}

static void put_positions(bytes *b, const rbe_blocks *blocks) {
    put(b, blocks->list_start, (blocks->groups * blocks->block + 1) * sizeof *blocks->list_start);
    for (size_t k = 0; k < blocks->entries; k++) {
        uint32_t column = rbe_column_at(blocks, k);
        PUT(b, column);
    }
    PUT(b, blocks->drawn);
}

static void put_routine(bytes *b, const rbe_routine *routine) {
    cJSON *json = cJSON_CreateObject();
    rbe_state_writer writer = rbe_state_write_to(json, routine->name);
    if (routine->write) ck_assert_ok(routine->write(routine->user, &writer.base));
    char *text = cJSON_PrintUnformatted(json);
    put(b, text, strlen(text));
    cJSON_free(text);
    cJSON_Delete(json);
}

bytes snapshot(const rbe_model *model, const rbe_optim *optim, const rbe_routine *routines, size_t count) {
    bytes b = {0};
    const rbe_param *param;
    const rbe_layer *layer;
    for (size_t n = 0; (param = rbe_model_param(model, n)); n++) put_param(&b, param);
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++)
        if (rbe_linear_blocks(layer)) put_positions(&b, rbe_linear_blocks(layer));
    if (optim) {
        PUT(&b, optim->options.lr);
        PUT(&b, optim->steps);
        PUT(&b, optim->grad_norm);
        for (size_t n = 0; n < optim->count; n++) put_param(&b, optim->slots[n].param);
    }
    for (size_t n = 0; n < count; n++) put_routine(&b, &routines[n]);
    return b;
}

bytes snapshot_of(training *t) { return snapshot(t->model, t->optim, t->routines, t->options.routine_count); }

bool same_bytes(bytes a, bytes b) {
    return a.count == b.count && (a.count == 0 || memcmp(a.data, b.data, a.count) == 0);
}

/* ---- outcomes ------------------------------------------------------------------------------------------------ */

outcome outcome_of(training *t) {
    outcome o = {.result = t->result, .state = snapshot_of(t)};
    o.model = saved(t->model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    if (t->options.csv_path) o.log = read_whole(t->log);
    if (t->options.best_path) o.best = read_whole(t->best);
    memcpy(o.notes, t->notes, sizeof o.notes);
    return o;
}

void outcome_free(outcome *o) {
    free(o->model.data);
    free(o->log.data);
    free(o->best.data);
    free(o->state.data);
}

static bool same_numbers(const rbe_evaluation *a, const rbe_evaluation *b) {
    return a->count == b->count && memcmp(&a->loss, &b->loss, sizeof(double)) == 0 &&
           memcmp(&a->metric, &b->metric, sizeof(double)) == 0 && memcmp(&a->error, &b->error, sizeof(double)) == 0 &&
           memcmp(&a->error_uncertainty, &b->error_uncertainty, sizeof(double)) == 0;
}

static bool same_notes(const note *a, const note *b) {
    return memcmp(&a->batch_loss, &b->batch_loss, sizeof(double)) == 0 &&
           memcmp(&a->batch_metric, &b->batch_metric, sizeof(double)) == 0 &&
           memcmp(&a->mean_loss, &b->mean_loss, sizeof(double)) == 0 &&
           memcmp(&a->mean_metric, &b->mean_metric, sizeof(double)) == 0 && a->lr == b->lr && a->epoch == b->epoch;
}

void assert_same(const outcome *expected, const outcome *found, size_t first, const char *name, const char *when) {
    const rbe_fit_result *a = &expected->result, *b = &found->result;
    ck_assert_msg(a->steps == b->steps && a->epochs == b->epochs && a->best_epoch == b->best_epoch,
                  "%s, %s: %zu steps, %zu epochs, best %zu; expected %zu, %zu, %zu", name, when, b->steps, b->epochs,
                  b->best_epoch, a->steps, a->epochs, a->best_epoch);
    ck_assert_msg(same_bytes(expected->model, found->model), "%s, %s: the model differs", name, when);
    ck_assert_msg(same_bytes(expected->log, found->log), "%s, %s: the log differs:\n%.*s", name, when,
                  (int)found->log.count, (const char *)found->log.data);
    ck_assert_msg(same_bytes(expected->best, found->best), "%s, %s: the best model differs", name, when);
    ck_assert_msg(same_bytes(expected->state, found->state), "%s, %s: the state differs", name, when);
    ck_assert_msg(same_numbers(&a->train, &b->train) && same_numbers(&a->test, &b->test) &&
                      same_numbers(&a->best, &b->best),
                  "%s, %s: the result differs", name, when);
    for (size_t n = first; n < a->steps; n++)
        ck_assert_msg(same_notes(&expected->notes[n], &found->notes[n]), "%s, %s: step %zu differs", name, when, n);
}

outcome uninterrupted(const recipe *r) {
    training t;
    training_make(&t, r, false);
    ck_assert_msg(training_run(&t) == RBE_OK, "%s: %s", r->name, rbe_last_error());
    outcome o = outcome_of(&t);
    training_free(&t);
    return o;
}

void go_on(const recipe *r, const outcome *expected, size_t steps, const char *how) {
    char when[80];
    training t;
    snprintf(when, sizeof when, "%s after step %zu", how, steps);
    training_make(&t, r, true);
    t.keep.resume = true;
    ck_assert_msg(training_run(&t) == RBE_OK, "%s, %s: %s", r->name, when, rbe_last_error());
    ck_assert_msg(t.result.resumed == steps, "%s, %s: resumed after %zu", r->name, when, t.result.resumed);
    outcome found = outcome_of(&t);
    assert_same(expected, &found, steps, r->name, when);
    outcome_free(&found);
    training_free(&t);
}

size_t steps_in(bytes file) {
    static const char key[] = "\\\"steps\\\":"; /* of the training, the last one in the text */
    size_t steps = 0;
    for (uint8_t *at = file.data; (at = memmem(at, file.count - (size_t)(at - file.data), key, strlen(key))); at++)
        steps = strtoull((const char *)at + strlen(key), NULL, 10);
    return steps;
}

size_t steps_in_file(const char *path) {
    bytes file = read_whole(path);
    size_t steps = steps_in(file);
    free(file.data);
    return steps;
}

bool exists(const char *path) { return access(path, F_OK) == 0; }

void copy_file(const char *from, const char *to) {
    bytes b = read_whole(from);
    write_whole(to, b);
    free(b.data);
}
