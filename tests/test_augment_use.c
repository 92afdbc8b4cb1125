/* Augmentation where it is used: an image in a batch depends on seed, epoch and sample alone; trainings; what is
 * refused; short memory. */
#include <math.h>
#include <string.h>

#include "augment_support.h"
#include "rbe/train.h"
#include "support.h"

/* ---- batches ------------------------------------------------------------------------------------------------------- */

enum { SAMPLES = 75, HEIGHT = 12, WIDTH = 10, CHANNELS = 2, FEATURES = CHANNELS * HEIGHT * WIDTH, CLASSES = 5 };

static float values[SAMPLES * FEATURES];
static uint8_t pixels[SAMPLES * FEATURES];
static int32_t numbers[SAMPLES], classes[SAMPLES];

static const rbe_augment_options both_kinds = {.affine = 0.6, .elastic = 1.0, .seed = 77};

/* Images of two channels with bytes as values; every sample has its number as its label. */
static rbe_dataset some_images(bool as_bytes) {
    fill_uniform(values, SAMPLES * FEATURES, 10);
    for (size_t n = 0; n < SAMPLES * FEATURES; n++) {
        pixels[n] = (uint8_t)(values[n] * 255.0f);
        values[n] = (float)pixels[n] / 255.0f;
    }
    for (int32_t n = 0; n < SAMPLES; n++) {
        numbers[n] = n;
        classes[n] = n % CLASSES;
        values[n * FEATURES + 50 + classes[n]] = pixels[n * FEATURES + 50 + classes[n]] = 0;
    }
    rbe_dataset data = {.count = SAMPLES, .features = FEATURES, .height = HEIGHT, .width = WIDTH, .classes = SAMPLES};
    if (as_bytes)
        data.pixels = pixels;
    else
        data.values = values;
    data.labels = numbers;
    return data;
}

/* Every image of an epoch, where its sample stands in the data set. */
static void collect(rbe_batches *batches, size_t epoch, float *images) {
    rbe_batch batch;
    size_t seen = 0;
    for (rbe_batches_start(batches, epoch); rbe_batches_next(batches, &batch); seen += batch.rows)
        for (size_t r = 0; r < batch.rows; r++)
            memcpy(images + (size_t)batch.labels[r] * FEATURES, batch.x.data + r * FEATURES, FEATURES * sizeof(float));
    ck_assert_uint_eq(seen, SAMPLES);
}

/* The bits of rbe_augment_images, whatever the batches are like. */
START_TEST(batches_are_augmented) {
    static const struct {
        size_t batch;
        bool shuffle, bytes;
        int threads, later_threads;
    } ways[] = {{75, false, false, 1, 1}, {16, true, false, 1, 1}, {7, true, true, 1, 1},   {1, true, true, 2, 2},
                {64, true, true, 2, 2},   {75, true, true, 5, 5},  {40, true, false, 1, 3}, {75, true, true, 4, 1}};
    static float expected[SAMPLES * FEATURES], found[SAMPLES * FEATURES];
    const rbe_image_shape shape = {CHANNELS, HEIGHT, WIDTH};
    for (size_t n = 0; n < sizeof ways / sizeof *ways; n++) {
        const rbe_dataset data = some_images(ways[n].bytes);
        ck_assert_ok(rbe_set_threads(ways[n].threads));
        rbe_batches *batches = rbe_batches_new(&data, ways[n].batch, ways[n].shuffle, n);
        ck_assert_ok(rbe_batches_augment(batches, &both_kinds));
        ck_assert_ok(rbe_set_threads(ways[n].later_threads));
        for (size_t epoch = 0; epoch < 3; epoch++) {
            ck_assert_ok(rbe_augment_images(&both_kinds, shape, epoch, NULL, SAMPLES, values, expected));
            collect(batches, epoch, found);
            ck_assert_msg(memcmp(found, expected, sizeof found) == 0, "way %zu, epoch %zu", n, epoch);
        }
        ck_assert_ok(rbe_batches_augment(batches, n % 2 ? NULL : &(rbe_augment_options){.seed = 3}));
        collect(batches, 1, found);
        ck_assert_mem_eq(found, values, sizeof found);
        rbe_batches_free(batches);
    }
    rbe_set_threads(1);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Threads, and numbers that are not in order; in place. */
START_TEST(images_do_not_depend_on_each_other) {
    static float in[SAMPLES * FEATURES], all[SAMPLES * FEATURES], some[SAMPLES * FEATURES];
    const rbe_image_shape shape = {CHANNELS, HEIGHT, WIDTH};
    size_t order[SAMPLES];
    fill_uniform(in, SAMPLES * FEATURES, 13);
    ck_assert_ok(rbe_augment_images(&both_kinds, shape, 4, NULL, SAMPLES, in, all));
    for (int threads = 1; threads <= 4; threads++) {
        ck_assert_ok(rbe_set_threads(threads));
        for (size_t n = 0; n < SAMPLES; n++) {
            order[n] = (n * 7 + (size_t)threads) % SAMPLES; /* 7 and 75 have no common divisor */
            memcpy(some + n * FEATURES, in + order[n] * FEATURES, FEATURES * sizeof(float));
        }
        ck_assert_ok(rbe_augment_images(&both_kinds, shape, 4, order, SAMPLES, some, some));
        for (size_t n = 0; n < SAMPLES; n++)
            ck_assert_mem_eq(some + n * FEATURES, all + order[n] * FEATURES, FEATURES * sizeof(float));
    }
    rbe_set_threads(1);
}
END_TEST

/* In the middle of an epoch, as after a checkpoint. */
START_TEST(skipped_batches_change_nothing) {
    const rbe_dataset data = some_images(true);
    rbe_batches *whole = rbe_batches_new(&data, 16, true, 5), *rest = rbe_batches_new(&data, 16, true, 5);
    rbe_batch expected, found;
    ck_assert_ok(rbe_batches_augment(whole, &both_kinds));
    ck_assert_ok(rbe_batches_augment(rest, &both_kinds));
    rbe_batches_start(whole, 2);
    for (int n = 0; n < 3; n++) ck_assert(rbe_batches_next(whole, &expected));
    rbe_batches_start(rest, 2);
    rbe_batches_skip(rest, 2);
    ck_assert(rbe_batches_next(rest, &found));
    ck_assert_mem_eq(found.x.data, expected.x.data, 16 * FEATURES * sizeof(float));
    rbe_batches_free(whole);
    rbe_batches_free(rest);
}
END_TEST

START_TEST(steady_epochs_allocate_nothing) {
    static float found[SAMPLES * FEATURES];
    const rbe_dataset data = some_images(true);
    rbe_batches *batches = rbe_batches_new(&data, 16, true, 5);
    ck_assert_ok(rbe_batches_augment(batches, &both_kinds));
    const size_t before = rbe_memory().allocations;
    for (size_t epoch = 0; epoch < 3; epoch++) collect(batches, epoch, found);
    ck_assert_uint_eq(rbe_memory().allocations, before);
    rbe_batches_free(batches);
}
END_TEST

/* ---- trainings ----------------------------------------------------------------------------------------------------- */

typedef struct trained {
    float bits[8 * FEATURES + 8 + CLASSES * 9];
    rbe_fit_result result;
} trained;

/* A small training on the images, tested on them too. */
static rbe_status train(const rbe_fit_options *options, float lr, trained *t) {
    rbe_dataset data = some_images(true);
    data.labels = classes;
    data.classes = CLASSES;
    rbe_model *model = rbe_model_new();
    if (!model) return rbe_last_status();
    rbe_model_add(model, rbe_dense_new(FEATURES, 8, &(rbe_dense_options){.seed = 1}));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, rbe_dense_new(8, CLASSES, &(rbe_dense_options){.seed = 2}));
    rbe_optim *optim = rbe_model_status(model) == RBE_OK ? rbe_optim_new(rbe_sgd, model, NULL) : NULL;
    rbe_status status = optim ? rbe_optim_set_lr(optim, lr) : rbe_last_status();
    if (status == RBE_OK) status = rbe_fit(model, optim, &data, &data, options, &t->result);
    size_t count = 0;
    const rbe_param *p;
    for (size_t n = 0; status == RBE_OK && (p = rbe_model_param(model, n)); count += p->count, n++)
        memcpy(t->bits + count, p->value, p->count * sizeof(float));
    rbe_optim_free(optim);
    rbe_model_free(model);
    return status;
}

START_TEST(training_data_alone_are_augmented) {
    trained plain, changed;
    const rbe_fit_options without = {.epochs = 2, .batch = 16},
                          with = {.epochs = 2, .batch = 16, .augment = &both_kinds};
    ck_assert_ok(train(&without, 0.0f, &plain));
    ck_assert_ok(train(&with, 0.0f, &changed));
    ck_assert_double_eq(plain.result.test.loss, changed.result.test.loss);
    ck_assert_double_ne(plain.result.train.loss, changed.result.train.loss);
    const rbe_augment_options zeros = {.seed = 8};
    const rbe_fit_options with_zeros = {.epochs = 2, .batch = 16, .augment = &zeros};
    ck_assert_ok(train(&without, 0.1f, &plain));
    ck_assert_ok(train(&with_zeros, 0.1f, &changed));
    ck_assert_mem_eq(plain.bits, changed.bits, sizeof plain.bits);
}
END_TEST

static rbe_status note_loss(void *user, const rbe_progress *p) {
    ((double *)user)[p->epoch] = p->mean_loss;
    return RBE_OK;
}

/* At a rate of 0 nothing but the images differs from epoch to epoch. */
START_TEST(epochs_differ) {
    trained t;
    double loss[3];
    const rbe_fit_options options = {.epochs = 3, .augment = &both_kinds, .on_epoch = note_loss, .user = loss};
    ck_assert_ok(train(&options, 0.0f, &t));
    ck_assert(loss[0] != loss[1] && loss[1] != loss[2] && loss[0] != loss[2]);
}
END_TEST

START_TEST(threads_change_no_bit_of_a_training) {
    trained one, many;
    const rbe_fit_options options = {.epochs = 3, .batch = 48, .seed = 2, .augment = &both_kinds};
    ck_assert_ok(train(&options, 0.1f, &one));
    for (int threads = 2; threads <= 5; threads++) {
        ck_assert_ok(rbe_set_threads(threads));
        ck_assert_ok(train(&options, 0.1f, &many));
        ck_assert_mem_eq(one.bits, many.bits, sizeof one.bits);
    }
    rbe_set_threads(1);
}
END_TEST

/* ---- what is refused --------------------------------------------------------------------------------------------- */

static void assert_refused(rbe_status status, const char *text) {
    ck_assert_int_eq(status, RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rbe_last_error(), text) != NULL, "expected \"%s\" in \"%s\"", text, rbe_last_error());
}

static const struct {
    double affine, elastic;
    const char *text;
} strengths[] = {{-0.1, 0.5, "affine: expected a finite strength >= 0, found -0.1"},
                 {NAN, 0.0, "affine: expected a finite strength >= 0, found"},
                 {INFINITY, 0.0, "affine: expected a finite strength >= 0, found inf"},
                 {0.5, -1e-9, "elastic: expected a finite strength >= 0, found -1e-09"},
                 {0.0, -NAN, "elastic: expected a finite strength >= 0, found"},
                 {0.0, INFINITY, "elastic: expected a finite strength >= 0, found inf"}};

START_TEST(strengths_refused) {
    static float kept[SAMPLES * FEATURES], found[SAMPLES * FEATURES];
    const rbe_augment_options o = {.affine = strengths[_i].affine, .elastic = strengths[_i].elastic};
    const rbe_fit_options options = {.augment = &o, .csv_path = "/nonexistent/log.csv"};
    const rbe_dataset data = some_images(true);
    rbe_batches *batches = rbe_batches_new(&data, 16, true, 5);
    float in[4] = {1}, out[4] = {2};
    trained t;
    assert_refused(rbe_augment_images(&o, (rbe_image_shape){1, 2, 2}, 0, NULL, 1, in, out), strengths[_i].text);
    ck_assert_float_eq(out[0], 2);
    ck_assert_ok(rbe_batches_augment(batches, &both_kinds));
    collect(batches, 1, kept);
    assert_refused(rbe_batches_augment(batches, &o), strengths[_i].text);
    collect(batches, 1, found);
    ck_assert_mem_eq(kept, found, sizeof kept);
    assert_refused(train(&options, 0.1f, &t), strengths[_i].text);
    rbe_batches_free(batches);
}
END_TEST

START_TEST(images_refused) {
    float in[4] = {1}, out[4] = {2};
    const rbe_image_shape small = {1, 2, 2};
    const rbe_augment_options *o = &both_kinds;
    const char *const least = "expected at least one channel, of at least 2 x 2 pixels, found";
    assert_refused(rbe_augment_images(NULL, small, 0, NULL, 1, in, out), "the options are NULL");
    assert_refused(rbe_augment_images(o, small, 0, NULL, 1, NULL, out), "the input is NULL");
    assert_refused(rbe_augment_images(o, small, 0, NULL, 1, in, NULL), "the output is NULL");
    assert_refused(rbe_augment_images(o, (rbe_image_shape){0, 28, 28}, 0, NULL, 1, in, out), least);
    assert_refused(rbe_augment_images(o, (rbe_image_shape){1, 1, 28}, 0, NULL, 1, in, out), "found 1 of 1 x 28");
    assert_refused(rbe_augment_images(o, (rbe_image_shape){1, 28, 0}, 0, NULL, 1, in, out), "found 1 of 28 x 0");
    assert_refused(rbe_augment_images(o, (rbe_image_shape){1, SIZE_MAX, 2}, 0, NULL, 1, in, out),
                   "more than can be addressed");
    assert_refused(rbe_augment_images(o, small, 0, NULL, SIZE_MAX / 8, in, out), "more than can be addressed");
    assert_refused(rbe_augment_images(o, (rbe_image_shape){1, 1 << 16, 1 << 15}, 0, NULL, 1, in, out),
                   "expected an image of fewer than 2^31 pixels, found 65536 x 32768");
    ck_assert_float_eq(out[0], 2);
    ck_assert_ok(rbe_augment_images(o, small, 0, NULL, 0, NULL, NULL));
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Data without images, by name; zeros ask for nothing. */
START_TEST(data_refused) {
    static int32_t tokens[SAMPLES * FEATURES];
    static const size_t sizes[][2] = {{0, 0}, {HEIGHT, 0}, {1, FEATURES}, {FEATURES, 1}, {7, 3}, {SIZE_MAX, 2}};
    for (size_t n = 0; n < sizeof sizes / sizeof *sizes + 1; n++) {
        rbe_dataset data = some_images(true);
        if (n < sizeof sizes / sizeof *sizes) {
            data.height = sizes[n][0];
            data.width = sizes[n][1];
        } else {
            data.pixels = NULL;
            data.tokens = tokens;
        }
        rbe_batches *batches = rbe_batches_new(&data, 16, true, 5);
        ck_assert_ptr_nonnull(batches);
        assert_refused(rbe_batches_augment(batches, &both_kinds),
                       n < sizeof sizes / sizeof *sizes ? "rbe_batches_augment: augmentation: expected images"
                                                        : "found 240 tokens");
        ck_assert_ok(rbe_batches_augment(batches, &(rbe_augment_options){.seed = 4}));
        ck_assert_ok(rbe_batches_augment(batches, NULL));
        rbe_batches_free(batches);
    }
    assert_refused(rbe_batches_augment(NULL, &both_kinds), "the batches are NULL");
}
END_TEST

/* Before anything is written. */
START_TEST(fit_refuses_data_without_images) {
    rbe_dataset data = some_images(false);
    data.labels = classes;
    data.classes = CLASSES;
    data.height = 0;
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_dense_new(FEATURES, CLASSES, NULL));
    rbe_optim *optim = rbe_optim_new(rbe_sgd, model, NULL);
    const rbe_fit_options options = {.augment = &both_kinds, .csv_path = "/nonexistent/log.csv"};
    assert_refused(
        rbe_fit(model, optim, &data, NULL, &options, NULL),
        "rbe_fit: augmentation: expected images, of a height and a width of at least 2 whose product divides "
        "the features, found 240 features and 0 x 10");
    rbe_optim_free(optim);
    rbe_model_free(model);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------------------------------- */

static rbe_status augment_some(void *user) {
    static float out[4 * FEATURES];
    (void)user;
    return rbe_augment_images(&both_kinds, (rbe_image_shape){CHANNELS, HEIGHT, WIDTH}, 0, NULL, 4, values, out);
}

static rbe_status augment_batches(void *user) {
    rbe_batches *batches = rbe_batches_new(user, 40, true, 1);
    rbe_batch batch;
    rbe_status status = batches ? rbe_batches_augment(batches, &both_kinds) : rbe_last_status();
    if (batches) ck_assert(rbe_batches_next(batches, &batch));
    if (status == RBE_OK) status = rbe_batches_augment(batches, &(rbe_augment_options){.affine = 1});
    rbe_batches_free(batches);
    return status;
}

START_TEST(every_allocation_may_fail) {
    rbe_dataset data = some_images(true);
    ck_assert_ok(rbe_set_threads(3));
    ck_assert_uint_gt(fail_each_allocation(augment_some, NULL), 4);
    ck_assert_uint_gt(fail_each_allocation(augment_batches, &data), 14);
    rbe_set_threads(1);
}
END_TEST

static rbe_status train_some(void *user) {
    trained t;
    return train(user, 0.1f, &t);
}

START_TEST(every_allocation_of_a_training_may_fail) {
    const rbe_fit_options with = {.epochs = 2, .batch = 40, .augment = &both_kinds};
    bool reached = true;
    size_t n = 0;
    while (reached) {
        failing_allocator allocator;
        failing_allocator_install(&allocator, ++n);
        const rbe_status status = train_some((void *)&with);
        reached = failing_allocator_remove(&allocator);
        /* For a model, a layer that could not be made is an argument that is NULL. */
        ck_assert_msg(reached ? status == RBE_INSUFFICIENT_MEMORY || status == RBE_INVALID_ARGUMENT : status == RBE_OK,
                      "allocation %zu: %s", n, rbe_last_error());
        ck_assert_msg(!reached || strstr(rbe_last_error(), "the allocator gave none"), "%s", rbe_last_error());
    }
    ck_assert_uint_gt(n, 30);
}
END_TEST

TCase *augment_batches_case(void) {
    TCase *batches = tcase_create("batches");
    tcase_add_test(batches, batches_are_augmented);
    tcase_add_test(batches, images_do_not_depend_on_each_other);
    tcase_add_test(batches, skipped_batches_change_nothing);
    tcase_add_test(batches, steady_epochs_allocate_nothing);
    return batches;
}

TCase *augment_trainings_case(void) {
    TCase *trainings = tcase_create("trainings");
    tcase_add_test(trainings, training_data_alone_are_augmented);
    tcase_add_test(trainings, epochs_differ);
    tcase_add_test(trainings, threads_change_no_bit_of_a_training);
    return trainings;
}

TCase *augment_misuse_case(void) {
    TCase *misuse = tcase_create("misuse");
    tcase_add_loop_test(misuse, strengths_refused, 0, sizeof strengths / sizeof *strengths);
    tcase_add_test(misuse, images_refused);
    tcase_add_test(misuse, data_refused);
    tcase_add_test(misuse, fit_refuses_data_without_images);
    tcase_add_test(misuse, every_allocation_may_fail);
    tcase_add_test(misuse, every_allocation_of_a_training_may_fail);
    return misuse;
}
