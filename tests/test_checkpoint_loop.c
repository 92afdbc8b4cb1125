/* Checkpoints of a loop of one's own: its place and state in a routine, arrays beside the parameters, parameters beside
 * the model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint_support.h"

/* ---- a loop -------------------------------------------------------------------------------------------------- */

enum { BATCH = 8, EPOCHS = 3, STEPS = EPOCHS * 6, AVERAGED_FROM = 4 };

/* A loop with an exponential average of all values in companions that are added with the first average, a temperature
 * beside the model that the loss divides by, rates and frozen parameters that change, growth and pruning. */
typedef struct loop {
    rbe_dataset train, test;
    rbe_model *model;
    rbe_param temperature;
    float temperature_value;
    rbe_optim *optim;
    rbe_step step;
    rbe_batches *batches;
    rbe_growth *growth;
    rbe_gradual *gradual;
    rbe_routine routines[3];
    size_t epoch, batch, steps;
    double sum; /* of losses */
    char mood[16];
} loop;

static rbe_status write_loop(void *user, rbe_writer *w) {
    const loop *l = user;
    RBE_TRY(rbe_write_number(w, "epoch", (double)l->epoch));
    RBE_TRY(rbe_write_number(w, "batch", (double)l->batch));
    RBE_TRY(rbe_write_number(w, "steps", (double)l->steps));
    RBE_TRY(rbe_write_number(w, "draws", (double)rbe_tape_draws(l->step.tape)));
    RBE_TRY(rbe_write_number(w, "sum", l->sum));
    RBE_TRY(rbe_write_number(w, "samples", (double)l->train.count));
    return rbe_write_text(w, "mood", l->mood);
}

static rbe_status read_loop(void *user, rbe_reader *r) {
    loop *l = user;
    size_t epoch, batch, steps, draws;
    double sum;
    RBE_TRY(rbe_read_same_number(r, "samples", (double)l->train.count));
    RBE_TRY(rbe_read_count(r, "epoch", 0, EPOCHS, &epoch));
    RBE_TRY(rbe_read_count(r, "batch", 0, 6, &batch));
    RBE_TRY(rbe_read_count(r, "steps", 0, STEPS, &steps));
    RBE_TRY(rbe_read_count(r, "draws", 0, 1000, &draws));
    RBE_TRY(rbe_read_number(r, "sum", -INFINITY, INFINITY, &sum));
    const char *mood = rbe_read_text(r, "mood");
    if (!mood || strlen(mood) >= sizeof l->mood) return rbe_read_fail(r, "mood: expected a short text");
    strcpy(l->mood, mood);
    l->epoch = epoch;
    l->batch = batch;
    l->steps = steps;
    l->sum = sum;
    rbe_tape_set_draws(l->step.tape, draws);
    return RBE_OK;
}

static rbe_var *tempered_loss(void *user, rbe_tape *tape, rbe_var *output, const rbe_batch *batch) {
    static const size_t one = 1;
    loop *l = user;
    return rbe_cross_entropy(rbe_mul(output, rbe_parameter(tape, &l->temperature, 1, &one)), batch->labels);
}

static void loop_make(loop *l) {
    *l = (loop){.mood = "calm", .temperature_value = 1.0f};
    make_samples(WITH_LABELS, &l->train, &l->test);
    l->model = make_model(NESTED, 0.2f, CLASSES);
    l->temperature = (rbe_param){.name = "temperature", .value = &l->temperature_value, .count = 1, .lr_scale = 0.1f};
    rbe_param *params[40] = {&l->temperature};
    size_t count = 1;
    for (; (params[count] = rbe_model_param(l->model, count - 1)); count++) continue;
    l->optim = rbe_optim_new_for(rbe_adam, params, count, &(rbe_optim_options){.lr = 0.01f, .clip_norm = 2.0f});
    ck_assert_msg(l->optim != NULL, "%s", rbe_last_error());
    l->step = (rbe_step){.model = l->model, .optim = l->optim, .tape = rbe_tape_new(&(rbe_tape_options){.seed = 5})};
    l->step.loss = (rbe_loss){tempered_loss, l};
    l->batches = rbe_batches_new(&l->train, BATCH, true, 11);
    l->growth = rbe_growth_new(l->model, &(rbe_growth_options){.steps = STEPS, .every = 3});
    l->gradual = rbe_gradual_new(l->model, &(rbe_gradual_options){.final = 0.4, .begin = 2, .end = STEPS, .every = 4});
    l->routines[0] = rbe_gradual_routine(l->gradual);
    l->routines[1] = rbe_growth_routine(l->growth);
    l->routines[2] = (rbe_routine){.name = "loop", .write = write_loop, .read = read_loop, .user = l};
}

static void loop_free(loop *l) {
    rbe_gradual_free(l->gradual);
    rbe_growth_free(l->growth);
    rbe_batches_free(l->batches);
    rbe_tape_free(l->step.tape);
    rbe_optim_free(l->optim);
    rbe_param_clear(&l->temperature);
    rbe_model_free(l->model);
}

static rbe_checkpoint checkpoint_of_loop(loop *l) { return (rbe_checkpoint){l->model, l->optim, l->routines, 3}; }

static void average(rbe_param *p) {
    float *mean = rbe_param_companion(p, "average");
    if (!mean) ck_assert_ok(rbe_param_add_companion(p, "average", &mean));
    for (size_t i = 0; i < p->count; i++) mean[i] = 0.9f * mean[i] + 0.1f * p->value[i];
}

/* What one's own loop does after a step. */
static void follow(loop *l) {
    rbe_param *p;
    l->sum += l->step.batch_loss;
    if (l->steps >= AVERAGED_FROM) {
        for (size_t n = 0; (p = rbe_model_param(l->model, n)); n++) average(p);
        average(&l->temperature);
    }
    if (l->steps == 6) rbe_model_param(l->model, 1)->frozen = true;
    if (l->steps == 7) rbe_model_param(l->model, 0)->lr_scale = 0.0f;
    if (l->steps == 9) ck_assert_ok(rbe_optim_set_lr(l->optim, 0.002f));
    if (l->steps == 10) l->temperature.frozen = true;
    if (l->steps == 13) rbe_model_param(l->model, 1)->frozen = false;
    strcpy(l->mood, l->step.batch_loss > 1.0 ? "sad" : "merry");
    ck_assert_ok(rbe_gradual_step(l->gradual, l->steps));
    ck_assert_ok(rbe_growth_step(l->growth, l->steps));
}

static void loop_run(loop *l, size_t steps) {
    rbe_batch batch;
    for (; l->epoch < EPOCHS && l->steps < steps; l->epoch++, l->batch = 0) {
        rbe_batches_start(l->batches, l->epoch);
        rbe_batches_skip(l->batches, l->batch);
        while (rbe_batches_next(l->batches, &batch)) {
            ck_assert_msg(rbe_train_step(&l->step, &batch) == RBE_OK, "%s", rbe_last_error());
            follow(l);
            l->batch++;
            if (++l->steps == steps) return;
        }
    }
}

static bytes state_of(loop *l) { return snapshot(l->model, l->optim, l->routines, 3); }

/* Saved and loaded after every step. */
START_TEST(a_loop_goes_on) {
    loop l;
    loop_make(&l);
    loop_run(&l, STEPS);
    ck_assert_uint_gt(rbe_growth_count(l.growth).values, 0);
    bytes expected = state_of(&l);
    const float temperature = l.temperature_value;
    loop_free(&l);
    for (size_t steps = 0; steps <= STEPS; steps++) {
        loop first, second;
        loop_make(&first);
        loop_run(&first, steps);
        const rbe_checkpoint saved_one = checkpoint_of_loop(&first);
        bytes before = state_of(&first);
        ck_assert_ok(rbe_checkpoint_save(&saved_one, scratch_path("c"), 1));
        bytes after = state_of(&first);
        ck_assert_msg(same_bytes(before, after), "saving after step %zu changes something", steps);
        loop_make(&second);
        const rbe_checkpoint loaded = checkpoint_of_loop(&second);
        ck_assert_msg(rbe_checkpoint_load(&loaded, scratch_path("c")) == RBE_OK, "%s", rbe_last_error());
        free(after.data);
        after = state_of(&second);
        ck_assert_msg(same_bytes(before, after), "loading after step %zu gives something else", steps);
        loop_run(&second, STEPS);
        bytes found = state_of(&second);
        ck_assert_msg(same_bytes(expected, found), "another training after step %zu", steps);
        ck_assert(second.temperature_value == temperature);
        free(before.data);
        free(after.data);
        free(found.data);
        loop_free(&first);
        loop_free(&second);
    }
    free(expected.data);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* What has been saved twice is the same file; what has been loaded and saved, too. */
START_TEST(a_checkpoint_says_all) {
    loop first, second;
    loop_make(&first);
    loop_run(&first, 8);
    loop_make(&second);
    const rbe_checkpoint a = checkpoint_of_loop(&first), b = checkpoint_of_loop(&second);
    ck_assert_ok(rbe_checkpoint_save(&a, scratch_path("c"), 1));
    bytes once = read_whole(scratch_path("c"));
    ck_assert_ok(rbe_checkpoint_load(&b, scratch_path("c")));
    ck_assert_ok(rbe_checkpoint_save(&b, scratch_path("c"), 1));
    bytes twice = read_whole(scratch_path("c"));
    ck_assert(same_bytes(once, twice));
    free(once.data);
    free(twice.data);
    loop_free(&first);
    loop_free(&second);
}
END_TEST

/* ---- when it can be saved ------------------------------------------------------------------------------------ */

/* While a gradient waits for the optimiser, of the model or beside it, and while candidates wait for growth. */
START_TEST(only_between_two_steps) {
    loop l;
    loop_make(&l);
    loop_run(&l, 3); /* growth is armed now */
    const rbe_checkpoint c = checkpoint_of_loop(&l);
    rbe_batch batch;
    ck_assert(rbe_batches_next(l.batches, &batch));
    l.step.accumulate = 2;
    ck_assert_ok(rbe_train_step(&l.step, &batch));
    ck_assert_int_eq(rbe_checkpoint_save(&c, scratch_path("c"), 1), RBE_INVALID_ARGUMENT);
    assert_failed(RBE_INVALID_ARGUMENT, "fc1.coefficients waits for a step");
    rbe_zero_grad(l.model);
    ck_assert_int_eq(rbe_checkpoint_save(&c, scratch_path("c"), 1), RBE_INVALID_ARGUMENT);
    assert_failed(RBE_INVALID_ARGUMENT, "temperature waits for a step");
    l.temperature.grad_set = false;
    ck_assert_int_eq(rbe_checkpoint_save(&c, scratch_path("c"), 1), RBE_INVALID_ARGUMENT);
    assert_failed(RBE_INVALID_ARGUMENT, "candidates for growth wait");
    ck_assert(!exists(scratch_path("c")));
    ck_assert_ok(rbe_growth_step(l.growth, 3));
    ck_assert_ok(rbe_checkpoint_save(&c, scratch_path("c"), 1));
    loop_free(&l);
}
END_TEST

/* A forward pass from before a load has no backward pass any more. */
START_TEST(a_load_ends_older_passes) {
    loop l;
    loop_make(&l);
    const rbe_checkpoint c = checkpoint_of_loop(&l);
    ck_assert_ok(rbe_checkpoint_save(&c, scratch_path("c"), 1));
    float x[FEATURES] = {1.0f};
    rbe_var *y = rbe_mean(rbe_model_forward(l.model, rbe_input(l.step.tape, rbe_tensor_2d(x, 1, FEATURES))));
    ck_assert_ok(rbe_checkpoint_load(&c, scratch_path("c")));
    ck_assert_int_eq(rbe_backward(y), RBE_INVALID_ARGUMENT);
    rbe_tape_reset(l.step.tape);
    loop_free(&l);
}
END_TEST

TCase *checkpoint_loop_case(void) {
    TCase *loops = tcase_create("loop");
    tcase_add_checked_fixture(loops, scratch_clear, scratch_clear);
    tcase_add_test(loops, a_loop_goes_on);
    tcase_add_test(loops, a_checkpoint_says_all);
    tcase_add_test(loops, only_between_two_steps);
    tcase_add_test(loops, a_load_ends_older_passes);
    return loops;
}
