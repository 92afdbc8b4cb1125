/* What a data set may hold - images, numbers or sequences; labels, targets, both or nothing; weights - and that batches
 * and a split deliver it, sample by sample; what is refused. */
#include <math.h>
#include <string.h>

#include "rbe/data.h"
#include "suites.h"
#include "support.h"

enum { SAMPLES = 53, FEATURES = 5, LENGTH = 3, WIDTH = 2, BATCH = 8 };

/* Sample n can be told from any other in each of its arrays. */
static uint8_t pixels[SAMPLES * FEATURES];
static float values[SAMPLES * FEATURES], targets[SAMPLES * WIDTH], weights[SAMPLES];
static int32_t tokens[SAMPLES * FEATURES], labels[SAMPLES * LENGTH];

static void fill(void) {
    for (int n = 0; n < SAMPLES; n++) {
        for (int j = 0; j < FEATURES; j++) {
            pixels[n * FEATURES + j] = (uint8_t)(n * 4 + j);
            values[n * FEATURES + j] = (float)(10 * n + j);
            tokens[n * FEATURES + j] = 100 * n + j;
        }
        for (int j = 0; j < LENGTH; j++) labels[n * LENGTH + j] = 1000 * n + j;
        for (int j = 0; j < WIDTH; j++) targets[n * WIDTH + j] = 0.5f * (float)n - (float)j;
        weights[n] = (float)(n % 4);
    }
}

typedef enum inputs { PIXELS, VALUES, TOKENS, INPUTS } inputs;

/* Number `n` of all combinations. */
enum { COMBINATIONS = INPUTS * 3 * 2 * 2 };

static rbe_dataset combination(int n) {
    fill();
    inputs in = (inputs)(n % INPUTS);
    int labelled = n / INPUTS % 3; /* no, one label, a label for each place */
    rbe_dataset data = {.count = SAMPLES, .features = FEATURES};
    if (in == PIXELS) data.pixels = pixels;
    if (in == VALUES) data.values = values;
    if (in == TOKENS) data.tokens = tokens;
    if (labelled) data.labels = labels;
    if (labelled == 2) data.label_width = LENGTH;
    if (n / (INPUTS * 3) % 2) {
        data.targets = targets;
        data.target_width = WIDTH;
    }
    if (n / (INPUTS * 3 * 2)) data.weights = weights;
    return data;
}

/* Row `row` of the batch is sample `n` of the data set. */
static void check_row(const rbe_batch *batch, size_t row, const rbe_dataset *data, size_t n) {
    for (size_t j = 0; j < FEATURES; j++) {
        size_t at = row * FEATURES + j, from = n * FEATURES + j;
        if (data->pixels) ck_assert_float_eq(batch->x.data[at], (float)data->pixels[from] / 255.0f);
        if (data->values) ck_assert_float_eq(batch->x.data[at], data->values[from]);
        if (data->tokens) ck_assert_int_eq(batch->tokens[at], data->tokens[from]);
    }
    for (size_t j = 0; data->labels && j < batch->label_width; j++)
        ck_assert_int_eq(batch->labels[row * batch->label_width + j], data->labels[n * batch->label_width + j]);
    for (size_t j = 0; data->targets && j < WIDTH; j++)
        ck_assert_float_eq(batch->targets.data[row * WIDTH + j], data->targets[n * WIDTH + j]);
    if (data->weights) ck_assert_float_eq(batch->weights[row], data->weights[n]);
}

/* A batch has what the data set has, and nothing else. */
static void check_shape(const rbe_batch *batch, const rbe_dataset *data) {
    ck_assert(!batch->tokens == !data->tokens && !batch->x.data == !!data->tokens);
    ck_assert(!batch->labels == !data->labels && !batch->targets.data == !data->targets);
    ck_assert(!batch->weights == !data->weights);
    ck_assert_uint_eq(batch->label_width, !data->labels ? 0 : data->label_width ? LENGTH : 1);
    if (batch->x.data)
        ck_assert(rbe_tensor_rows(&batch->x) == batch->rows && rbe_tensor_columns(&batch->x) == FEATURES);
    if (batch->targets.data)
        ck_assert(rbe_tensor_rows(&batch->targets) == batch->rows && rbe_tensor_columns(&batch->targets) == WIDTH);
}

/* Every sample once, in the order that a set of values has for the same seed. */
START_TEST(batches_deliver_what_the_set_has) {
    rbe_dataset data = combination(_i), plain = combination(VALUES);
    rbe_batches *batches = rbe_batches_new(&data, BATCH, true, 5), *order = rbe_batches_new(&plain, BATCH, true, 5);
    ck_assert_msg(batches && order, "%s", rbe_last_error());
    for (size_t epoch = 0; epoch < 2; epoch++) {
        rbe_batch batch, of_plain;
        size_t seen = 0;
        rbe_batches_start(order, epoch);
        for (rbe_batches_start(batches, epoch); rbe_batches_next(batches, &batch); seen += batch.rows) {
            ck_assert(rbe_batches_next(order, &of_plain));
            check_shape(&batch, &data);
            for (size_t r = 0; r < batch.rows; r++)
                check_row(&batch, r, &data, (size_t)of_plain.x.data[r * FEATURES] / 10);
        }
        ck_assert_uint_eq(seen, SAMPLES);
    }
    rbe_batches_free(batches);
    rbe_batches_free(order);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Both parts are the samples that they were; nothing is copied. */
START_TEST(a_split_is_two_parts_of_the_same_arrays) {
    rbe_dataset data = combination(_i), last;
    const rbe_dataset whole = data;
    const size_t held = rbe_memory().current;
    ck_assert_int_eq(rbe_dataset_split(&data, 13, &last), RBE_OK);
    ck_assert_uint_eq(rbe_memory().current, held);
    ck_assert(data.count == SAMPLES - 13 && last.count == 13 && !last.owned);
    const rbe_dataset *const parts[] = {&data, &last};
    size_t n = 0;
    for (int p = 0; p < 2; p++) {
        rbe_batches *batches = rbe_batches_new(parts[p], 7, false, 0);
        rbe_batch batch;
        for (rbe_batches_start(batches, 0); rbe_batches_next(batches, &batch);)
            for (size_t r = 0; r < batch.rows; r++) check_row(&batch, r, &whole, n++);
        rbe_batches_free(batches);
    }
    ck_assert_uint_eq(n, SAMPLES);
}
END_TEST

START_TEST(a_split_leaves_the_arrays_to_their_owner) {
    fill();
    rbe_dataset data, last;
    ck_assert_int_eq(rbe_dataset_from_targets(&data, values, targets, SAMPLES, FEATURES, WIDTH), RBE_OK);
    ck_assert_int_eq(rbe_dataset_split(&data, 1, &last), RBE_OK);
    ck_assert(data.owned && !last.owned && last.targets == data.targets + (SAMPLES - 1) * WIDTH);
    rbe_dataset_free(&last);
    ck_assert_uint_eq(last.count, 0);
    ck_assert_float_eq(data.values[FEATURES], 10);
    rbe_dataset_free(&data);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(splits_refused) {
    static const size_t counts[] = {0, SAMPLES, SAMPLES + 1, SIZE_MAX};
    rbe_dataset data = combination(VALUES), last = {.count = 77}, none = {0};
    for (size_t n = 0; n < sizeof counts / sizeof *counts; n++) {
        ck_assert_int_eq(rbe_dataset_split(&data, counts[n], &last), RBE_INVALID_ARGUMENT);
        ck_assert_msg(strstr(rbe_last_error(), "expected 1 .. 52 of 53 samples"), "%s", rbe_last_error());
    }
    ck_assert_int_eq(rbe_dataset_split(&data, 1, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_dataset_split(NULL, 1, &last), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_dataset_split(&none, 1, &last), RBE_INVALID_ARGUMENT);
    ck_assert(data.count == SAMPLES && last.count == 77);
}
END_TEST

static const struct refusal {
    rbe_dataset data;
    const char *text;
} refusals[] = {
    {{.count = SAMPLES, .features = FEATURES, .tokens = tokens, .values = values}, "found 2 of them"},
    {{.count = SAMPLES, .features = FEATURES, .labels = labels}, "found 0 of them"},
    {{.count = SAMPLES, .features = FEATURES, .values = values, .targets = targets}, "width of at least 1"},
    {{.count = SAMPLES, .features = FEATURES, .values = values, .targets = targets, .target_width = SIZE_MAX / 8},
     "that can be addressed"},
    {{.count = SAMPLES, .features = FEATURES, .values = values, .labels = labels, .label_width = SIZE_MAX / 8},
     "more than can be addressed"},
};
#define REFUSALS (int)(sizeof refusals / sizeof *refusals)

START_TEST(sets_refused) {
    ck_assert_ptr_null(rbe_batches_new(&refusals[_i].data, BATCH, true, 1));
    ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rbe_last_error(), refusals[_i].text), "%s", rbe_last_error());
}
END_TEST

START_TEST(weights_refused) {
    static const float bad[] = {-1.0f, NAN, INFINITY, -INFINITY};
    rbe_dataset data = combination(COMBINATIONS - 1);
    data.weights[SAMPLES - 1] = bad[_i];
    ck_assert_ptr_null(rbe_batches_new(&data, BATCH, true, 1));
    ck_assert_msg(strstr(rbe_last_error(), "sample 52: expected a finite weight >= 0, found"), "%s", rbe_last_error());
}
END_TEST

/* The file has a byte for each image. */
START_TEST(only_one_label_fits_in_an_idx_file) {
    rbe_dataset data = combination(PIXELS);
    data.height = 1;
    data.width = FEATURES;
    data.labels = labels;
    data.label_width = LENGTH;
    ck_assert_int_eq(rbe_dataset_write_idx(&data, "/tmp/images", "/tmp/labels"), RBE_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rbe_last_error(), "a label each"), "%s", rbe_last_error());
}
END_TEST

START_TEST(targets_are_copied) {
    fill();
    rbe_dataset data;
    ck_assert_int_eq(rbe_dataset_from_targets(&data, values, targets, SAMPLES, FEATURES, WIDTH), RBE_OK);
    ck_assert(data.count == SAMPLES && data.features == FEATURES && data.target_width == WIDTH && data.owned);
    ck_assert(!data.labels && data.classes == 0 && data.values != values && data.targets != targets);
    ck_assert_mem_eq(data.values, values, sizeof values);
    ck_assert_mem_eq(data.targets, targets, sizeof targets);
    rbe_dataset_free(&data);
    ck_assert(!data.targets && data.count == 0);
}
END_TEST

static const struct copy_refusal {
    bool has_values, has_targets;
    size_t count, features, width;
    const char *text;
} copy_refusals[] = {
    {false, true, SAMPLES, FEATURES, WIDTH, "NULL values"},
    {true, false, SAMPLES, FEATURES, WIDTH, "NULL targets"},
    {true, true, 0, FEATURES, WIDTH, "found 0, 5 and a width of 2"},
    {true, true, SAMPLES, 0, WIDTH, "found 53, 0 and a width of 2"},
    {true, true, SAMPLES, FEATURES, 0, "found 53, 5 and a width of 0"},
    {true, true, SAMPLES, SIZE_MAX / 8, WIDTH, "addressed"},
    {true, true, SAMPLES, FEATURES, SIZE_MAX / 8, "addressed"},
};
#define COPY_REFUSALS (int)(sizeof copy_refusals / sizeof *copy_refusals)

START_TEST(targets_refused) {
    const struct copy_refusal *c = &copy_refusals[_i];
    fill();
    rbe_dataset data = {.count = 77};
    ck_assert_int_eq(rbe_dataset_from_targets(&data, c->has_values ? values : NULL, c->has_targets ? targets : NULL,
                                              c->count, c->features, c->width),
                     RBE_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rbe_last_error(), c->text), "%s", rbe_last_error());
    ck_assert_uint_eq(data.count, 0);
    ck_assert_int_eq(rbe_dataset_from_targets(NULL, values, targets, 1, 1, 1), RBE_INVALID_ARGUMENT);
}
END_TEST

START_TEST(targets_must_be_finite) {
    fill();
    rbe_dataset data;
    targets[3 * WIDTH + 1] = _i ? INFINITY : NAN;
    ck_assert_int_eq(rbe_dataset_from_targets(&data, values, targets, SAMPLES, FEATURES, WIDTH),
                     RBE_NUMERICAL_INSTABILITY);
    ck_assert_msg(strstr(rbe_last_error(), "sample 3, target 1: expected a finite value"), "%s", rbe_last_error());
    values[2 * FEATURES + 4] = NAN;
    ck_assert_int_eq(rbe_dataset_from_targets(&data, values, targets, SAMPLES, FEATURES, WIDTH),
                     RBE_NUMERICAL_INSTABILITY);
    ck_assert_msg(strstr(rbe_last_error(), "sample 2, feature 4"), "%s", rbe_last_error());
}
END_TEST

static rbe_status make_and_run(void *kind) {
    rbe_dataset data = combination(*(const int *)kind), copy = {0};
    RBE_TRY(rbe_dataset_from_targets(&copy, values, targets, SAMPLES, FEATURES, WIDTH));
    rbe_batches *batches = rbe_batches_new(&data, BATCH, true, 1);
    rbe_status status = batches ? RBE_OK : rbe_last_status();
    rbe_batches_free(batches);
    rbe_dataset_free(&copy);
    return status;
}

START_TEST(every_allocation_may_fail) {
    int kind = _i;
    fail_each_allocation(make_and_run, &kind);
}
END_TEST

Suite *dataset_suite(void) {
    Suite *suite = suite_create("dataset");
    TCase *batches = tcase_create("batches");
    tcase_add_loop_test(batches, batches_deliver_what_the_set_has, 0, COMBINATIONS);
    tcase_add_loop_test(batches, sets_refused, 0, REFUSALS);
    tcase_add_loop_test(batches, weights_refused, 0, 4);
    suite_add_tcase(suite, batches);
    TCase *split = tcase_create("split");
    tcase_add_loop_test(split, a_split_is_two_parts_of_the_same_arrays, 0, COMBINATIONS);
    tcase_add_test(split, a_split_leaves_the_arrays_to_their_owner);
    tcase_add_test(split, splits_refused);
    suite_add_tcase(suite, split);
    TCase *copies = tcase_create("targets");
    tcase_add_test(copies, only_one_label_fits_in_an_idx_file);
    tcase_add_test(copies, targets_are_copied);
    tcase_add_loop_test(copies, targets_refused, 0, COPY_REFUSALS);
    tcase_add_loop_test(copies, targets_must_be_finite, 0, 2);
    tcase_add_loop_test(copies, every_allocation_may_fail, 0, COMBINATIONS);
    suite_add_tcase(suite, copies);
    return suite;
}
