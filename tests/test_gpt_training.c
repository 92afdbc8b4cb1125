/* Training of transformers: interrupted, on threads, grown and pruned, and within its memory. */
#include <stdio.h>
#include <stdlib.h>

#include "tensor/node.h"

#include "gpt_support.h"
#include "io_support.h"
#include "rbe/adapt.h"
#include "rbe/train.h"
#include "support.h"

enum { TEXT = 400, TRAINED = 8 };

/* A text that can be learned. */
static rbe_dataset text_windows(void) {
    static int32_t ids[TEXT];
    for (int n = 0; n < TEXT; n++) ids[n] = n % 5 == 4 ? n / 5 % VOCABULARY : n % 5;
    rbe_dataset data;
    ck_assert_ok(rbe_dataset_from_windows(&data, ids, TEXT, CONTEXT, 3, VOCABULARY));
    return data;
}

typedef struct run {
    const kind *kind;
    size_t epochs;
    const char *csv;
    rbe_checkpoint_options *checkpoint;
    volatile sig_atomic_t stop;
    size_t stop_at; /* after so many steps; 0: never */
    rbe_status status;
    rbe_fit_result result;
} run;

static rbe_status stop_there(void *user, const rbe_progress *p) {
    run *r = user;
    if (r->stop_at > 0 && p->step + 1 == r->stop_at) r->stop = 1;
    return RBE_OK;
}

/* Epochs of 8 batches of 4, with growth if the layers are compressed. */
static rbe_model *trained(run *r) {
    rbe_model *model = new_gpt(r->kind);
    rbe_dataset data = text_windows(), test;
    ck_assert_ok(rbe_dataset_split(&data, 10, &test));
    rbe_optim *optim = rbe_optim_new(rbe_adamw, model, &(rbe_optim_options){.lr = 0.01f, .clip_norm = 1.0f});
    rbe_growth *growth =
        r->kind->dense ? NULL : rbe_growth_new(model, &(rbe_growth_options){.steps = 8 * TRAINED, .every = 10});
    const rbe_routine grow = rbe_growth_routine(growth);
    r->stop = 0;
    const rbe_fit_options options = {.epochs = r->epochs,
                                     .epoch_batches = 8,
                                     .batch = 4,
                                     .seed = 6,
                                     .metric = rbe_metric_loss,
                                     .csv_path = r->csv,
                                     .log_every = 1,
                                     .routines = &grow,
                                     .routine_count = growth ? 1 : 0,
                                     .checkpoint = r->checkpoint,
                                     .stop = &r->stop,
                                     .on_step = stop_there,
                                     .user = r};
    r->status = rbe_fit(model, optim, &data, &test, &options, &r->result);
    ck_assert_msg(r->status == (r->stop_at > 0 ? RBE_STOPPED : RBE_OK), "%s", rbe_last_error());
    if (growth && r->stop_at == 0) ck_assert_uint_gt(rbe_growth_count(growth).values, 0);
    rbe_growth_free(growth);
    rbe_optim_free(optim);
    return model;
}

/* Interrupted in the middle of an epoch, and gone on from the checkpoint in another process' place, it ends with the
 * same bits and the same log. */
START_TEST(a_training_goes_on) {
    char path[3][300];
    static const char *const names[] = {"whole.csv", "cut.csv", "checkpoint"};
    for (int n = 0; n < 3; n++) snprintf(path[n], sizeof path[n], "%s", scratch_path(names[n]));
    run whole = {.kind = &kinds[_i], .epochs = TRAINED, .csv = path[0]};
    rbe_model *model = trained(&whole);
    ck_assert_uint_eq(whole.result.steps, 8 * TRAINED);
    ck_assert_double_lt(whole.result.test.loss, 2.0); /* log 11 = 2.4 is a guess */
    rbe_checkpoint_options keep = {.path = path[2], .every_steps = 1000, .resume = true};
    for (size_t cut = 11; cut <= 45; cut += 17) {
        run part = {.kind = &kinds[_i], .epochs = TRAINED, .csv = path[1], .checkpoint = &keep, .stop_at = cut};
        rbe_model_free(trained(&part));
        ck_assert_uint_eq(part.result.steps, cut);
    }
    run rest = {.kind = &kinds[_i], .epochs = TRAINED, .csv = path[1], .checkpoint = &keep};
    rbe_model *again = trained(&rest);
    ck_assert_uint_eq(rest.result.resumed, 45);
    ck_assert(same_models(model, again));
    bytes a = read_whole(path[0]), b = read_whole(path[1]);
    ck_assert_uint_eq(a.count, b.count);
    ck_assert_mem_eq(a.data, b.data, a.count);
    free(a.data);
    free(b.data);
    rbe_model_free(model);
    rbe_model_free(again);
    scratch_clear();
}
END_TEST

/* Two threads, the same bits. */
START_TEST(threads_train_the_same) {
    rbe_model *one = trained(&(run){.kind = &kinds[_i], .epochs = 2, .stop_at = 12});
    ck_assert_ok(rbe_set_threads(2));
    rbe_model *two = trained(&(run){.kind = &kinds[_i], .epochs = 2, .stop_at = 12});
    ck_assert_ok(rbe_set_threads(1));
    ck_assert(same_models(one, two));
    rbe_model_free(one);
    rbe_model_free(two);
}
END_TEST

/* A trained, grown model is pruned, stored, and speaks as it computes. */
START_TEST(grown_and_pruned) {
    run r = {.kind = &kinds[2], .epochs = TRAINED};
    rbe_model *model = trained(&r);
    const size_t values = rbe_model_describe_cost(model).values;
    ck_assert_ok(rbe_prune(model, &(rbe_prune_options){.amount = 0.5}, NULL));
    ck_assert_uint_lt(rbe_model_describe_cost(model).values, values);
    bytes file = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    rbe_model *again = load_bytes(file);
    ck_assert_msg(again != NULL, "%s", rbe_last_error());
    ck_assert(same_models(model, again));
    float *whole = logits_of(again, some_ids, 1, CONTEXT);
    double *expected = reference_logits(again, false, some_ids, CONTEXT);
    ck_assert_double_lt(relative_error(whole, expected, CONTEXT * VOCABULARY), 1e-5);
    rbe_generator *g = rbe_generator_new(again, CONTEXT, NULL, 0);
    for (unsigned cuts = 0; cuts < 1u << (CONTEXT - 1); cuts += 301) check_pieces(g, whole, CONTEXT, cuts, "pruned");
    rbe_generator_free(g);
    free(whole);
    free(expected);
    free(file.data);
    rbe_model_free(model);
    rbe_model_free(again);
}
END_TEST

/* From the third step on nothing is allocated; a step takes no more than is said before. */
START_TEST(memory_of_a_step) {
    rbe_model *model = new_gpt(&kinds[_i]);
    rbe_tape *tape = rbe_tape_new(NULL);
    ck_assert_ok(rbe_backward(loss_of(tape, model)));
    const size_t rows = CONTEXT, said = rbe_model_tape_bytes(model, rows);
    ck_assert_msg(tape->arena.used <= said, "%s: %zu bytes, expected at most %zu", kinds[_i].name, tape->arena.used,
                  said);
    rbe_tape_free(tape);
    rbe_zero_grad(model);

    rbe_dataset data = text_windows();
    rbe_optim *optim = rbe_optim_new(rbe_adamw, model, NULL);
    rbe_step step = {.model = model, .optim = optim, .tape = rbe_tape_new(NULL)};
    rbe_batches *batches = rbe_batches_new(&data, 4, true, 1);
    rbe_batch batch;
    size_t allocations = 0;
    for (int n = 0; n < 8; n++) {
        ck_assert(rbe_batches_next(batches, &batch));
        ck_assert_ok(rbe_train_step(&step, &batch));
        if (n == 2) allocations = rbe_memory().allocations;
    }
    ck_assert_uint_eq(rbe_memory().allocations, allocations);
    rbe_tape_free(step.tape);
    rbe_batches_free(batches);
    rbe_optim_free(optim);
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* What works on rows of one width says that ids are none; a refit takes them. */
START_TEST(other_rooms) {
    rbe_model *model = stirred_gpt(&kinds[2]);
    enum { SEQUENCES = 50 };
    static float x[SEQUENCES * CONTEXT], y[SEQUENCES * CONTEXT * VOCABULARY];
    static int32_t labels[SEQUENCES * CONTEXT];
    rbe_rng *rng = rbe_rng_new(4, 0);
    for (size_t n = 0; n < SEQUENCES * CONTEXT; n++) {
        labels[n] = (int32_t)(rbe_rng_uniform(rng) * VOCABULARY);
        x[n] = (float)labels[n];
    }
    ck_assert_int_eq(rbe_predict(model, x, 2, y), RBE_INVALID_ARGUMENT);
    assert_failed(RBE_INVALID_ARGUMENT, "the model takes rows of any width");
    const rbe_tensor ids = rbe_tensor_2d(x, SEQUENCES, CONTEXT);
    rbe_sensitivity *s = rbe_sensitivity_new(model);
    ck_assert_int_eq(rbe_sensitivity_add(s, ids, labels), RBE_INPUT_DIMENSION_MISMATCH);
    rbe_sensitivity_free(s);
    float *before = logits_of(model, labels, SEQUENCES, CONTEXT), *after[2];
    rbe_model *plain = stirred_gpt(&kinds[2]);
    ck_assert_ok(rbe_prune(plain, &(rbe_prune_options){.amount = 0.3}, NULL));
    ck_assert_ok(rbe_prune(model, &(rbe_prune_options){.amount = 0.3, .refit = &ids}, NULL));
    after[0] = logits_of(plain, labels, SEQUENCES, CONTEXT);
    after[1] = logits_of(model, labels, SEQUENCES, CONTEXT);
    const double without = relative_difference(after[0], before, SEQUENCES * CONTEXT * VOCABULARY);
    const double with = relative_difference(after[1], before, SEQUENCES * CONTEXT * VOCABULARY);
    ck_assert_msg(with < 0.95 * without, "a refit leaves an error of %g, none %g", with, without);
    rbe_rng_free(rng);
    free(before);
    free(after[0]);
    free(after[1]);
    rbe_model_free(model);
    rbe_model_free(plain);
}
END_TEST

TCase *gpt_training_case(void) {
    TCase *training = tcase_create("training");
    tcase_add_loop_test(training, a_training_goes_on, 0, KINDS);
    tcase_add_loop_test(training, threads_train_the_same, 2, 5);
    tcase_add_loop_test(training, memory_of_a_step, 0, KINDS);
    tcase_add_test(training, grown_and_pruned);
    tcase_add_test(training, other_rooms);
    return training;
}
