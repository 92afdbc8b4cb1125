/* The caller's own threads: what may be used by several at once. Results are those of a thread alone, bit for bit;
 * make tsan runs the suite under ThreadSanitizer. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rbe/adapt.h"
#include "rbe/io.h"
#include "rbe/train.h"
#include "suites.h"
#include "support.h"

enum { THREADS = 4, REPEATS = 6, IN = 70, HIDDEN = 48, CLASSES = 5, ROWS = 9, SAMPLES = 60 };

static rbe_model *make_model(uint64_t seed) {
    const rbe_linear_options first = {.block = 16, .ratio = 4, .alpha = RBE_ALPHA_ON, .seed = seed};
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_linear_new(IN, HIDDEN, &first));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, rbe_dropout_new(0.2F));
    rbe_model_add(model, rbe_linear_new(HIDDEN, HIDDEN, &(rbe_linear_options){.use_cache = true, .seed = seed + 1}));
    rbe_model_apply(model, rbe_gelu);
    rbe_model_add(model, rbe_dense_new(HIDDEN, CLASSES, &(rbe_dense_options){.seed = seed + 2}));
    ck_assert_msg(rbe_model_status(model) == RBE_OK, "%s", rbe_last_error());
    return model;
}

/* ---- threads ------------------------------------------------------------------------------------------------- */

/* What each thread gets: what all share, and a result of its own. Threads assert nothing: libcheck's assertions
 * belong to the test's thread. */
typedef struct worker {
    pthread_t thread;
    void *shared;
    size_t number;
    rbe_status status;
    char text[256];
    float *values;
} worker;

static void note(worker *w, rbe_status status) {
    if (status == RBE_OK || w->status != RBE_OK) return;
    w->status = status;
    strncpy(w->text, rbe_last_error(), sizeof w->text - 1);
}

/* Starts `count` threads, each with room for `values` floats, waits for them, and asserts that none failed. */
static void run_threads(worker *workers, size_t count, void *(*work)(void *), void *shared, size_t values) {
    for (size_t n = 0; n < count; n++) {
        workers[n] = (worker){.shared = shared, .number = n, .values = calloc(values, sizeof(float))};
        ck_assert_ptr_nonnull(workers[n].values);
    }
    for (size_t n = 0; n < count; n++) ck_assert_int_eq(pthread_create(&workers[n].thread, NULL, work, &workers[n]), 0);
    for (size_t n = 0; n < count; n++) ck_assert_int_eq(pthread_join(workers[n].thread, NULL), 0);
    for (size_t n = 0; n < count; n++) ck_assert_msg(workers[n].status == RBE_OK, "thread %zu: %s", n, workers[n].text);
}

static void free_threads(worker *workers, size_t count) {
    for (size_t n = 0; n < count; n++) free(workers[n].values);
}

/* What a thread gets with nobody beside it, and one thread inside. */
static float *alone(void *(*work)(void *), void *shared, size_t values) {
    worker one;
    rbe_set_threads(1);
    run_threads(&one, 1, work, shared, values);
    return one.values;
}

/* ---- serving: one const model, a tape for each thread ---------------------------------------------------------- */

typedef struct service {
    const rbe_model *model;
    float *x;
} service;

/* Rows of different number take different paths; each thread begins with another. */
static void *serve(void *user) {
    worker *w = user;
    const service *s = w->shared;
    rbe_tape *tape = rbe_tape_new(NULL);
    for (size_t n = 0; n < REPEATS; n++) {
        const size_t rows = 1 + (n + w->number) % ROWS;
        rbe_var *y = rbe_model_forward(s->model, rbe_input(tape, rbe_tensor_2d(s->x, rows, IN)));
        note(w, tape ? rbe_tape_status(tape) : rbe_last_status());
        if (w->status == RBE_OK) memcpy(w->values, rbe_value(y)->data, rows * CLASSES * sizeof(float));
        rbe_tape_reset(tape);
    }
    rbe_tape_free(tape);
    return NULL;
}

/* The same without a tape. */
static void *serve_safely(void *user) {
    worker *w = user;
    const service *s = w->shared;
    const rbe_tensor x = rbe_tensor_2d(s->x, ROWS, IN);
    rbe_tensor y = rbe_tensor_2d(w->values, ROWS, HIDDEN);
    for (size_t n = 0; n < REPEATS; n++) note(w, rbe_linear_forward_safe(rbe_model_layer(s->model, 0), &x, &y, NULL));
    return NULL;
}

static const struct {
    void *(*work)(void *);
    size_t width;
} services[] = {{serve, CLASSES}, {serve_safely, HIDDEN}};
enum { SERVICES = sizeof services / sizeof *services };

START_TEST(a_model_serves_several_threads) {
    worker workers[THREADS];
    service s = {make_model(1), calloc((size_t)ROWS * IN, sizeof(float))};
    rbe_set_threads(1);
    fill_normal(s.x, (size_t)ROWS * IN, 1.0, 7);
    const size_t values = ROWS * services[_i].width;
    run_threads(workers, THREADS, services[_i].work, &s, values);
    for (size_t n = 0; n < THREADS; n++) {
        worker again = {.shared = &s, .number = n, .values = calloc(values, sizeof(float))};
        services[_i].work(&again);
        ck_assert_mem_eq(workers[n].values, again.values, values * sizeof(float));
        free(again.values);
    }
    ck_assert_uint_ge(rbe_linear_count(rbe_model_layer(s.model, 0)).operation_count, 2 * THREADS * REPEATS);
    free_threads(workers, THREADS);
    rbe_model_free((rbe_model *)s.model);
    free(s.x);
}
END_TEST

/* ---- trainings at once ----------------------------------------------------------------------------------------- */

static rbe_status grow(void *growth, const rbe_progress *progress) { return rbe_growth_step(growth, progress->step); }

static rbe_status train_on(rbe_model *model, const rbe_dataset *data) {
    enum { BATCH = 15, EPOCHS = 3 };
    rbe_optim *optim = rbe_optim_new(rbe_adam, model, NULL);
    rbe_growth *growth = rbe_growth_new(model, &(rbe_growth_options){.steps = EPOCHS * SAMPLES / BATCH, .every = 3});
    const rbe_fit_options options = {
        .epochs = EPOCHS, .batch = BATCH, .seed = 3, .on_step = grow, .user = growth, .schedule = {.kind = RBE_COSINE}};
    const rbe_status status = growth ? rbe_fit(model, optim, data, data, &options, NULL) : rbe_last_status();
    rbe_growth_free(growth);
    rbe_optim_free(optim);
    return status;
}

static size_t copy_params(const rbe_model *model, float *values) {
    size_t total = 0;
    const rbe_param *param;
    for (size_t n = 0; (param = rbe_model_param(model, n)); total += param->count, n++)
        if (values) memcpy(values + total, param->value, param->count * sizeof(float));
    return total;
}

/* A model of its own, trained on common data, saved and loaded again, and what is loaded compressed. */
static void *train(void *user) {
    worker *w = user;
    char path[] = "/tmp/rbe-threads-XXXXXX";
    rbe_model *model = make_model(5);
    note(w, train_on(model, w->shared));
    copy_params(model, w->values);
    const int file = mkstemp(path);
    if (file >= 0) close(file);
    note(w, rbe_model_save(model, path, NULL));
    rbe_model *loaded = rbe_model_load(path);
    unlink(path);
    if (!loaded)
        note(w, rbe_last_status());
    else {
        rbe_blocks *blocks = NULL;
        note(w, rbe_recompress(&blocks, NULL, NULL, rbe_linear_blocks(rbe_model_layer(loaded, 0)),
                               &(rbe_compress_options){.block = 8, .ratio = 8}));
        rbe_blocks_free(blocks);
    }
    rbe_model_free(loaded);
    rbe_model_free(model);
    return NULL;
}

static void make_data(rbe_dataset *data) {
    float x[SAMPLES * IN];
    int32_t labels[SAMPLES];
    fill_normal(x, SAMPLES * IN, 1.0, 11);
    for (int n = 0; n < SAMPLES; n++) x[n * IN + (labels[n] = n % CLASSES)] += 4.0F;
    ck_assert_int_eq(rbe_dataset_from_floats(data, x, labels, SAMPLES, IN, CLASSES), RBE_OK);
}

START_TEST(trainings_at_once_give_the_bits_of_one) {
    worker workers[THREADS];
    rbe_dataset data = {0};
    rbe_set_threads(1);
    make_data(&data);
    rbe_model *model = make_model(5);
    const size_t values = copy_params(model, NULL);
    rbe_model_free(model);
    run_threads(workers, THREADS, train, &data, values);
    float *expected = alone(train, &data, values);
    for (size_t n = 0; n < THREADS; n++) ck_assert_mem_eq(workers[n].values, expected, values * sizeof(float));
    free_threads(workers, THREADS);
    free(expected);
    rbe_dataset_free(&data);
}
END_TEST

/* ---- settings changed meanwhile -------------------------------------------------------------------------------- */

/* Reads and writes them until it is told to stop. [2] */
static void *meddle(void *user) {
    atomic_bool *done = user;
    for (int n = 0; !atomic_load(done); n++) {
        rbe_set_threads(1 + n % 3);
        (void)rbe_threads();
        (void)rbe_memory();
        rbe_memory_reset_peak();
        usleep(50);
    }
    return NULL;
}

START_TEST(settings_are_written_while_others_work) {
    worker workers[THREADS];
    pthread_t other;
    atomic_bool done = false;
    rbe_dataset data = {0};
    service s = {make_model(1), calloc((size_t)ROWS * IN, sizeof(float))};
    make_data(&data);
    fill_normal(s.x, (size_t)ROWS * IN, 1.0, 7);
    const size_t outputs = (size_t)ROWS * HIDDEN, params = copy_params(s.model, NULL);
    float *expected[] = {alone(serve_safely, &s, outputs), alone(train, &data, params)};
    ck_assert_int_eq(pthread_create(&other, NULL, meddle, &done), 0);
    run_threads(workers, THREADS, serve_safely, &s, outputs);
    for (size_t n = 0; n < THREADS; n++) ck_assert_mem_eq(workers[n].values, expected[0], outputs * sizeof(float));
    free_threads(workers, THREADS);
    run_threads(workers, 2, train, &data, params);
    for (size_t n = 0; n < 2; n++) ck_assert_mem_eq(workers[n].values, expected[1], params * sizeof(float));
    free_threads(workers, 2);
    atomic_store(&done, true);
    ck_assert_int_eq(pthread_join(other, NULL), 0);
    for (size_t n = 0; n < 2; n++) free(expected[n]);
    rbe_dataset_free(&data);
    rbe_model_free((rbe_model *)s.model);
    free(s.x);
}
END_TEST

/* ---- errors ---------------------------------------------------------------------------------------------------- */

/* Each thread has the text of its own last failure. */
static void *fail_differently(void *user) {
    worker *w = user;
    char expected[64];
    snprintf(expected, sizeof expected, "thread %zu", w->number);
    for (size_t n = 0; n < 200; n++) {
        rbe_fail(RBE_INVALID_ARGUMENT, "thread %zu", w->number);
        if (strcmp(rbe_last_error(), expected) != 0) note(w, RBE_IO_ERROR);
    }
    return NULL;
}

START_TEST(errors_belong_to_their_thread) {
    worker workers[THREADS];
    run_threads(workers, THREADS, fail_differently, NULL, 1);
    free_threads(workers, THREADS);
}
END_TEST

Suite *threads_suite(void) {
    Suite *suite = suite_create("threads");
    TCase *callers = tcase_create("callers");
    tcase_add_loop_test(callers, a_model_serves_several_threads, 0, SERVICES);
    tcase_add_test(callers, trainings_at_once_give_the_bits_of_one);
    tcase_add_test(callers, settings_are_written_while_others_work);
    tcase_add_test(callers, errors_belong_to_their_thread);
    suite_add_tcase(suite, callers);
    return suite;
}
