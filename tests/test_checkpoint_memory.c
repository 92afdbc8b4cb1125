/* Checkpoints when memory is short: any allocation of a save or a load may fail, the library's and cJSON's. Everything
 * is as it was then, and the next try succeeds. And how much memory they take. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint_support.h"
#include "support.h"

static const recipe grown = {.name = "grown",
                             .model = NESTED,
                             .method = "adam",
                             .optim = {.lr = 0.01f},
                             .growth = true,
                             .gradual = true,
                             .tested = true,
                             .log = true,
                             .best = true,
                             .fit = {.epochs = 2, .batch = 8, .log_every = 1}};

/* ---- memory that fails ----------------------------------------------------------------------------------------- */

static size_t cjson_requests, cjson_fail_at, cjson_outstanding;

static void *cjson_malloc(size_t size) {
    if (++cjson_requests == cjson_fail_at) {
        errno = ENOMEM;
        return NULL;
    }
    cjson_outstanding++;
    return malloc(size);
}

static void cjson_free(void *memory) {
    cjson_outstanding -= memory != NULL;
    free(memory);
}

/* Whose request fails next. */
typedef enum who { THE_LIBRARY, CJSON } who;

static void fail_request(failing_allocator *allocator, who whose, size_t at) {
    atomic_store(&allocator->requests, 0);
    allocator->fail_at = whose == THE_LIBRARY ? at : 0;
    cjson_requests = 0;
    cjson_fail_at = whose == CJSON ? at : 0;
}

/* Whether it has come. */
static bool has_failed(failing_allocator *allocator, who whose, size_t at) {
    bool failed = (whose == CJSON ? cjson_requests : atomic_load(&allocator->requests)) >= at;
    fail_request(allocator, whose, 0);
    return failed;
}

static void assert_answer(rbe_status status, bool failed, size_t at) {
    ck_assert_msg(status == (failed ? RBE_INSUFFICIENT_MEMORY : RBE_OK), "request %zu: %s: %s", at,
                  rbe_status_name(status), rbe_last_error());
}

/* A checkpoint of a model that has grown, been pruned, and has averages beside its values. */
static void average(training *t) {
    rbe_param *p;
    for (size_t n = 0; (p = rbe_model_param(t->model, n)); n++)
        if (!rbe_param_companion(p, "average")) ck_assert_ok(rbe_param_add_companion(p, "average", NULL));
}

static void leave_one_with_averages(void) {
    training t;
    training_make(&t, &grown, false);
    t.stop_after = 8;
    ck_assert_int_eq(training_run(&t), RBE_STOPPED);
    average(&t);
    const rbe_checkpoint c = checkpoint_of(&t);
    ck_assert_ok(rbe_checkpoint_save(&c, t.path, 1));
    training_free(&t);
}

START_TEST(any_allocation_of_a_save_may_fail) {
    failing_allocator allocator;
    training t;
    leave_one_with_averages();
    bytes old = read_whole(scratch_path("run.checkpoint"));
    failing_allocator_install(&allocator, 0);
    cJSON_InitHooks(&(cJSON_Hooks){cjson_malloc, cjson_free});
    training_make(&t, &grown, false);
    const rbe_checkpoint c = checkpoint_of(&t);
    bytes before = snapshot_of(&t);
    size_t at = 1, outstanding = atomic_load(&allocator.outstanding);
    for (bool failed = true; failed; at++) {
        fail_request(&allocator, (who)_i, at);
        rbe_status status = rbe_checkpoint_save(&c, t.path, 2);
        failed = has_failed(&allocator, (who)_i, at);
        assert_answer(status, failed, at);
        ck_assert_uint_eq(cjson_outstanding, 0);
        ck_assert_uint_eq(atomic_load(&allocator.outstanding), outstanding);
        bytes after = snapshot_of(&t), file = read_whole(t.path);
        ck_assert_msg(same_bytes(before, after), "request %zu: something has changed", at);
        ck_assert_int_eq(same_bytes(file, old), failed);
        ck_assert_uint_eq(scratch_count(), (size_t)(failed ? 3 : 4)); /* log, best model, path and path.1 */
        free(after.data);
        free(file.data);
    }
    ck_assert_uint_gt(at, 20);
    training_free(&t);
    cJSON_InitHooks(NULL);
    failing_allocator_remove(&allocator);
    free(before.data);
    free(old.data);
}
END_TEST

START_TEST(any_allocation_of_a_load_may_fail) {
    failing_allocator allocator;
    training t;
    leave_one_with_averages();
    failing_allocator_install(&allocator, 0);
    cJSON_InitHooks(&(cJSON_Hooks){cjson_malloc, cjson_free});
    training_make(&t, &grown, false);
    const rbe_checkpoint c = checkpoint_of(&t);
    bytes before = snapshot_of(&t);
    size_t at = 1, outstanding = atomic_load(&allocator.outstanding);
    for (bool failed = true; failed; at++) {
        fail_request(&allocator, (who)_i, at);
        rbe_status status = rbe_checkpoint_load(&c, t.path);
        failed = has_failed(&allocator, (who)_i, at);
        assert_answer(status, failed, at);
        ck_assert_uint_eq(cjson_outstanding, 0);
        bytes after = snapshot_of(&t);
        ck_assert_msg(same_bytes(before, after) == failed, "request %zu: something has changed", at);
        if (failed) ck_assert_uint_eq(atomic_load(&allocator.outstanding), outstanding);
        free(after.data);
    }
    ck_assert_uint_gt(at, 20);
    ck_assert_ptr_nonnull(rbe_param_companion(rbe_model_param(t.model, 0), "average"));
    training_free(&t);
    cJSON_InitHooks(NULL);
    failing_allocator_remove(&allocator);
    free(before.data);
}
END_TEST

/* ---- in rbe_fit ------------------------------------------------------------------------------------------------ */

typedef struct shortage {
    training t;
    failing_allocator allocator;
    size_t at; /* the request after step 4 that fails */
    size_t warnings;
} shortage;

static rbe_status begin_to_fail(void *user, const rbe_progress *p) {
    shortage *s = user;
    if (p->step == 3) fail_request(&s->allocator, THE_LIBRARY, s->at);
    if (p->step == 4) ck_assert_int_eq(has_failed(&s->allocator, THE_LIBRARY, s->at), s->warnings > 0);
    return RBE_OK;
}

static void count_warning(void *user, const char *text) {
    ck_assert_ptr_nonnull(strstr(text, "no checkpoint after step 4: "));
    ((shortage *)user)->warnings++;
}

/* No memory for a checkpoint in the middle: training goes on as if nothing had been. */
START_TEST(no_memory_for_a_checkpoint) {
    outcome expected = uninterrupted(&grown);
    size_t warned = 0;
    for (size_t at = 1; at == 1 || warned == at - 1; at++) {
        shortage s = {.at = at};
        scratch_clear();
        failing_allocator_install(&s.allocator, 0);
        training_make(&s.t, &grown, true);
        s.t.keep.every_steps = 4;
        s.t.options.on_step = begin_to_fail;
        s.t.options.user = &s;
        s.t.options.on_epoch = NULL;
        rbe_set_warning_handler(count_warning, &s);
        rbe_status status = training_run(&s.t);
        rbe_set_warning_handler(NULL, NULL);
        ck_assert_msg(status == RBE_OK, "request %zu: %s", at, rbe_last_error());
        warned += s.warnings;
        outcome found = outcome_of(&s.t);
        assert_same(&expected, &found, MOST_STEPS, grown.name, "without memory for a checkpoint");
        ck_assert_uint_eq(steps_in_file(s.t.path), 12);
        outcome_free(&found);
        training_free(&s.t);
        failing_allocator_remove(&s.allocator);
    }
    ck_assert_uint_gt(warned, 20);
    outcome_free(&expected);
}
END_TEST

/* Any allocation of a training that goes on: it ends with the reason, or as it should. */
START_TEST(no_memory_for_going_on) {
    failing_allocator allocator;
    outcome expected = uninterrupted(&grown);
    training_leave(&grown, 7);
    bytes file = read_whole(scratch_path("run.checkpoint"));
    size_t at = 1;
    for (bool failed = true; failed; at++) {
        training t;
        failing_allocator_install(&allocator, 0);
        training_make(&t, &grown, true);
        t.keep.resume = t.keep.or_before = true;
        write_whole(t.path, file);
        fail_request(&allocator, THE_LIBRARY, at);
        rbe_status status = training_run(&t);
        failed = has_failed(&allocator, THE_LIBRARY, at);
        ck_assert_msg(status == RBE_OK || (failed && status == RBE_INSUFFICIENT_MEMORY), "request %zu: %s: %s", at,
                      rbe_status_name(status), rbe_last_error());
        if (status == RBE_OK) {
            outcome found = outcome_of(&t);
            assert_same(&expected, &found, 7, grown.name, "going on with little memory");
            outcome_free(&found);
        }
        training_free(&t);
        failing_allocator_remove(&allocator);
    }
    ck_assert_uint_gt(at, 100);
    free(file.data);
    outcome_free(&expected);
}
END_TEST

TCase *checkpoint_memory_case(void) {
    TCase *memory = tcase_create("memory");
    tcase_add_checked_fixture(memory, scratch_clear, scratch_clear);
    tcase_add_loop_test(memory, any_allocation_of_a_save_may_fail, 0, 2);
    tcase_add_loop_test(memory, any_allocation_of_a_load_may_fail, 0, 2);
    tcase_add_test(memory, no_memory_for_a_checkpoint);
    tcase_add_test(memory, no_memory_for_going_on);
    return memory;
}
