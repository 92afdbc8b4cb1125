/* What a checkpoint of a loop of one's own is made of: any state of a routine, the place in an epoch, the masks that
 * have been drawn, layers that have lost everything. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint_support.h"

/* ---- a state of one's own ------------------------------------------------------------------------------------ */

/* All that a double can be. */
static const double numbers[] = {0.0,
                                 -0.0,
                                 1.0,
                                 -1.0,
                                 0.1,
                                 1e-310,
                                 -1e-310,
                                 DBL_MIN,
                                 DBL_MAX,
                                 -DBL_MAX,
                                 DBL_EPSILON,
                                 4.9e-324,
                                 (double)NAN,
                                 -(double)NAN,
                                 (double)INFINITY,
                                 -(double)INFINITY,
                                 9007199254740991.0 /* 2^53 - 1 */,
                                 9007199254740992.0,
                                 9007199254740993.0,
                                 18446744073709551616.0,
                                 1e300,
                                 123456789012345680.0,
                                 999999999999999.0,
                                 1e15,
                                 1e16,
                                 1e17,
                                 0x1.fffffffffffffp-1,
                                 4294967295.0,
                                 4294967296.0,
                                 1.0 / 3.0,
                                 2.5,
                                 -3.0};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

static const char *const texts[] = {"",
                                    "plain",
                                    "\"quoted\\ /and/ \n\t\r\b\f\x01\x1f\x7f",
                                    "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
                                    "NaN",
                                    "3ff0000000000000",
                                    "[1,2]",
                                    "{\"a\":1}",
                                    "null",
                                    " spaces "};
enum { TEXTS = sizeof texts / sizeof *texts };

typedef struct anything {
    double numbers[NUMBERS];
    char texts[TEXTS][48];
    size_t count;
} anything;

static const char *name_of(const char *what, size_t n) {
    static char name[32];
    snprintf(name, sizeof name, "%s%zu", what, n);
    return name;
}

static rbe_status write_anything(void *user, rbe_writer *w) {
    const anything *a = user;
    for (size_t n = 0; n < NUMBERS; n++) RBE_TRY(rbe_write_number(w, name_of("number", n), a->numbers[n]));
    for (size_t n = 0; n < TEXTS; n++) RBE_TRY(rbe_write_text(w, name_of("text", n), a->texts[n]));
    return rbe_write_number(w, "count", (double)a->count);
}

/* In another order. */
static rbe_status read_anything(void *user, rbe_reader *r) {
    anything *a = user, then;
    RBE_TRY(rbe_read_count(r, "count", 0, (size_t)1 << 53, &then.count));
    for (size_t n = TEXTS; n-- > 0;) {
        const char *text = rbe_read_text(r, name_of("text", n));
        if (!text || strlen(text) >= sizeof then.texts[n]) return rbe_read_fail(r, "text %zu is missing", n);
        strcpy(then.texts[n], text);
    }
    for (size_t n = NUMBERS; n-- > 0;)
        RBE_TRY(rbe_read_number(r, name_of("number", n), -INFINITY, INFINITY, &then.numbers[n]));
    *a = then;
    return RBE_OK;
}

START_TEST(any_state_comes_back) {
    anything a = {.count = 9007199254740991}, b = {.count = 3};
    memcpy(a.numbers, numbers, sizeof numbers);
    const uint64_t payload = 0x7ff4000000abcdef; /* a signalling NaN */
    memcpy(&a.numbers[12], &payload, sizeof payload);
    for (size_t n = 0; n < TEXTS; n++) strcpy(a.texts[n], texts[n]);
    rbe_model *model = make_model(DENSE, 0.0f, CLASSES);
    rbe_routine routine = {
        .name = "anything \"at\" all\xc3\xa9", .write = write_anything, .read = read_anything, .user = &a};
    rbe_checkpoint c = {.model = model, .routines = &routine, .routine_count = 1};
    ck_assert_ok(rbe_checkpoint_save(&c, scratch_path("c"), 1));
    routine.user = &b;
    ck_assert_ok(rbe_checkpoint_load(&c, scratch_path("c")));
    for (size_t n = 0; n < NUMBERS; n++)
        ck_assert_msg(memcmp(&a.numbers[n], &b.numbers[n], sizeof(double)) == 0, "%zu: %.17g, found %.17g", n,
                      a.numbers[n], b.numbers[n]);
    for (size_t n = 0; n < TEXTS; n++) ck_assert_str_eq(a.texts[n], b.texts[n]);
    ck_assert_uint_eq(b.count, a.count);
    rbe_model_free(model);
}
END_TEST

/* ---- batches and draws --------------------------------------------------------------------------------------- */

static bool same_batch(const rbe_batch *a, const rbe_batch *b) {
    return a->rows == b->rows && memcmp(a->x.data, b->x.data, a->rows * FEATURES * sizeof(float)) == 0 &&
           memcmp(a->labels, b->labels, a->rows * sizeof(int32_t)) == 0;
}

START_TEST(batches_are_passed_over) {
    rbe_dataset train, test;
    rbe_batch a, b;
    make_samples(WITH_LABELS, &train, &test);
    rbe_batches *taken = rbe_batches_new(&train, 8, _i, 3), *skipped = rbe_batches_new(&train, 8, _i, 3);
    const size_t per_epoch = rbe_batches_per_epoch(taken);
    ck_assert_uint_eq(per_epoch, 6);
    for (size_t first = 0; first <= per_epoch; first++)
        for (size_t count = 0; count <= per_epoch + 1; count++) {
            rbe_batches_start(taken, 2);
            rbe_batches_start(skipped, 2);
            for (size_t n = 0; n < first; n++) ck_assert(rbe_batches_next(taken, &a) && rbe_batches_next(skipped, &b));
            for (size_t n = 0; n < count; n++) rbe_batches_next(taken, &a);
            rbe_batches_skip(skipped, count);
            for (bool more = true; more;) {
                more = rbe_batches_next(taken, &a);
                ck_assert_int_eq(rbe_batches_next(skipped, &b), more);
                ck_assert(!more || same_batch(&a, &b));
            }
        }
    rbe_batches_start(skipped, 0);
    rbe_batches_skip(skipped, SIZE_MAX);
    ck_assert(!rbe_batches_next(skipped, &b));
    rbe_batches_skip(NULL, 3);
    rbe_batches_free(taken);
    rbe_batches_free(skipped);
}
END_TEST

START_TEST(draws_are_counted) {
    float ones[200], masks[5][200];
    for (size_t i = 0; i < 200; i++) ones[i] = 1.0f;
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.seed = 9});
    for (uint64_t n = 0; n < 5; n++) {
        ck_assert_uint_eq(rbe_tape_draws(tape), n);
        rbe_var *y = rbe_dropout(rbe_input(tape, rbe_tensor_1d(ones, 200)), 0.5f);
        memcpy(masks[n], rbe_value(y)->data, sizeof masks[n]);
        rbe_tape_reset(tape); /* which does not count anew */
        for (uint64_t k = 0; k < n; k++) ck_assert_mem_ne(masks[n], masks[k], sizeof masks[n]);
    }
    rbe_tape *again = rbe_tape_new(&(rbe_tape_options){.seed = 9});
    for (uint64_t n = 5; n-- > 0;) {
        rbe_tape_set_draws(again, n);
        rbe_var *y = rbe_dropout(rbe_input(again, rbe_tensor_1d(ones, 200)), 0.5f);
        ck_assert_mem_eq(masks[n], rbe_value(y)->data, sizeof masks[n]);
        ck_assert_uint_eq(rbe_tape_draws(again), n + 1);
    }
    ck_assert_uint_eq(rbe_tape_draws(NULL), 0);
    rbe_tape_set_draws(NULL, 3);
    rbe_tape_free(tape);
    rbe_tape_free(again);
}
END_TEST

/* ---- layers without coefficients ----------------------------------------------------------------------------- */

/* A layer that has lost all its coefficients, into one that has them, and back. */
START_TEST(nothing_is_left_of_a_layer) {
    rbe_model *pruned = make_model(COMPRESSED, 0.0f, CLASSES), *whole = make_model(COMPRESSED, 0.0f, CLASSES);
    rbe_optim *a = rbe_optim_new(rbe_adam, pruned, NULL), *b = rbe_optim_new(rbe_adam, whole, NULL);
    const rbe_checkpoint of_pruned = {.model = pruned, .optim = a}, of_whole = {.model = whole, .optim = b};
    ck_assert_ok(rbe_checkpoint_save(&of_pruned, scratch_path("whole"), 1));
    bytes at_first = snapshot(pruned, a, NULL, 0);
    ck_assert_ok(rbe_prune(pruned, &(rbe_prune_options){.amount = 1.0, .no_absorption = true}, NULL));
    ck_assert_uint_eq(rbe_model_param(pruned, 0)->count, 0);
    ck_assert_ok(rbe_checkpoint_save(&of_pruned, scratch_path("pruned"), 1));
    ck_assert_ok(rbe_checkpoint_load(&of_whole, scratch_path("pruned")));
    bytes one = snapshot(pruned, a, NULL, 0), other = snapshot(whole, b, NULL, 0);
    ck_assert(same_bytes(one, other));
    ck_assert_ok(rbe_checkpoint_load(&of_whole, scratch_path("whole")));
    free(other.data);
    other = snapshot(whole, b, NULL, 0);
    ck_assert(same_bytes(at_first, other));
    free(at_first.data);
    free(one.data);
    free(other.data);
    rbe_optim_free(a);
    rbe_optim_free(b);
    rbe_model_free(pruned);
    rbe_model_free(whole);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Gradual pruning counts from what there was when it was made, though the present one was made of less. */
START_TEST(pruning_remembers_its_beginning) {
    rbe_model *model = make_model(COMPRESSED, 0.0f, CLASSES);
    const rbe_gradual_options options = {.final = 0.9, .begin = 0, .end = 4, .every = 1};
    rbe_gradual *first = rbe_gradual_new(model, &options);
    rbe_routine routine = rbe_gradual_routine(first);
    rbe_checkpoint c = {.model = model, .routines = &routine, .routine_count = 1};
    ck_assert_ok(rbe_gradual_step(first, 0));
    ck_assert_ok(rbe_checkpoint_save(&c, scratch_path("c"), 1));
    for (size_t step = 1; step < 4; step++) ck_assert_ok(rbe_gradual_step(first, step));
    bytes expected = snapshot(model, NULL, &routine, 1);
    rbe_gradual *second = rbe_gradual_new(model, &options);
    routine = rbe_gradual_routine(second);
    ck_assert_ok(rbe_checkpoint_load(&c, scratch_path("c")));
    for (size_t step = 1; step < 4; step++) ck_assert_ok(rbe_gradual_step(second, step));
    bytes found = snapshot(model, NULL, &routine, 1);
    ck_assert(same_bytes(expected, found));
    free(expected.data);
    free(found.data);
    rbe_gradual_free(first);
    rbe_gradual_free(second);
    rbe_model_free(model);
}
END_TEST

TCase *checkpoint_state_case(void) {
    TCase *state = tcase_create("state");
    tcase_add_checked_fixture(state, scratch_clear, scratch_clear);
    tcase_add_test(state, any_state_comes_back);
    tcase_add_loop_test(state, batches_are_passed_over, 0, 2);
    tcase_add_test(state, draws_are_counted);
    tcase_add_test(state, nothing_is_left_of_a_layer);
    tcase_add_test(state, pruning_remembers_its_beginning);
    return state;
}
