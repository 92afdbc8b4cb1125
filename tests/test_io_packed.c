/* Packed layers: what is written is read, bit for bit, and is as small as it is meant to be. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/blocks.h"
#include "codec/entries.h"
#include "io/packed.h"
#include "io/positions_golomb.h"
#include "nn/model.h"
#include "packed_support.h"
#include "suites.h"
#include "support.h"

/* ---- whole steps --------------------------------------------------------------------------------------------- */

/* Values that are whole numbers of steps stay as they are, whatever their size: so a file gives back what was trained. */
START_TEST(quantising_twice_changes_nothing) {
    enum { ROWS = 40, WIDTH = 9, COUNT = ROWS * WIDTH };
    static const float scales[] = {1.0f, 1e-20f, 1e-36f, 1e-37f, 1e-38f, 3e-39f, 1e-40f, 1e-43f, 1e-45f, 1e30f, 8e37f};
    const rbe_rows rows = {.count = ROWS, .width = WIDTH};
    const unsigned bits = (unsigned)_i;
    float values[COUNT], once[COUNT], twice[COUNT], steps[ROWS];
    for (size_t s = 0; s < sizeof scales / sizeof *scales; s++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            fill_normal(values, COUNT, 1.0, seed);
            for (size_t n = 0; n < COUNT; n++) values[n] = fmaxf(-4.2f, fminf(4.2f, values[n])) * scales[s];
            for (size_t n = 0; n < WIDTH; n++) values[n] = n % 2 ? -0.0f : 0.0f;
            values[2 * WIDTH] = -0.0f;
            ck_assert_uint_eq(rbe_quantise_steps(&rows, bits, values, steps), COUNT);
            rbe_quantise(&rows, values, steps, once);
            rbe_dequantise(&rows, steps, once);
            ck_assert_uint_eq(rbe_quantise_steps(&rows, bits, once, steps), COUNT);
            rbe_quantise(&rows, once, steps, twice);
            rbe_dequantise(&rows, steps, twice);
            ck_assert_msg(memcmp(once, twice, sizeof once) == 0, "%u bits, %g, seed %d", bits, (double)scales[s],
                          (int)seed);
        }
}
END_TEST

/* ---- round trips --------------------------------------------------------------------------------------------- */

static const struct {
    size_t in, out;
    rbe_linear_options options;
    const char *row_transform, *column_transform;
    double density; /* of positions without a seed; 0: those that were drawn */
} layers[] = {
    {75, 50, {.block = 8, .ratio = 4, .group = 3, .alpha = RBE_ALPHA_ON}, "dct", "haar", 0},
    {75, 50, {.block = 8, .ratio = 4, .group = 3, .alpha = RBE_ALPHA_ON}, "dct", "haar", 0.2},
    {75, 50, {.block = 8, .ratio = 4, .group = 1, .no_bias = true}, "identity", "identity", 0},
    {75, 50, {.block = 8, .ratio = 4, .group = 16, .no_bias = true, .alpha = RBE_ALPHA_ON}, "identity", "dct", 0.02},
    {75, 50, {.block = 16, .ratio = 2, .group = 2, .overlap = 3}, "dct", "dct", 0.5},
    {75, 50, {.block = 8, .ratio = 8, .group = 4, .image_height = 5, .image_width = 15}, "identity", "identity", 0.1},
    {75, 50, {.block = 8, .group = 4, .overlap = 2, .image_height = 15, .image_width = 5}, "dct", "dct", 0},
    {60, 9, {.block = 8, .ratio = 2, .group = 2}, "dct", "dct", 1.0},        /* all columns */
    {60, 90, {.block = 32, .ratio = 9, .group = 1}, "dct", "dct", 0.0005},   /* empty lists, and rows without steps */
    {1, 1, {.block = 8, .ratio = 1, .group = 1}, "dct", "dct", 0.3},         /* one column is one of eight */
    {66000, 4, {.block = 8, .ratio = 50, .group = 1}, "dct", "dct", 0.004}}; /* columns of 32 bits */

enum { LAYERS = sizeof layers / sizeof *layers };

static rbe_model *model_of(size_t n) {
    rbe_linear_options options = layers[n].options;
    options.row_transform = rbe_transform_named(layers[n].row_transform);
    options.column_transform = rbe_transform_named(layers[n].column_transform);
    options.seed = n + 1;
    rbe_layer *layer = rbe_linear_new(layers[n].in, layers[n].out, &options);
    ck_assert_msg(layer != NULL, "%s", rbe_last_error());
    rbe_model *model = rbe_model_new();
    ck_assert_ok(rbe_model_add(model, layers[n].density > 0.0 ? scattered_layer(layer, layers[n].density, n) : layer));
    return model;
}

START_TEST(compressed_layers_come_back) {
    for (unsigned bits = RBE_LEAST_BITS; bits <= RBE_MOST_BITS; bits++) {
        rbe_model *model = model_of((size_t)_i);
        give_bits(model, bits, bits);
        bytes b = check_packed_round_trip(model, RBE_POSITIONS_SMALLEST);
        rbe_model_free(model);
        free(b.data);
    }
}
END_TEST

/* Positions that a seed would draw again are stored as such unless another form is asked for. */
START_TEST(seeds_are_optional) {
    rbe_model *model = model_of(0);
    give_bits(model, 4, 1);
    bytes seed = saved(model, RBE_STORE_F32, RBE_POSITIONS_SEED),
          code = saved(model, RBE_STORE_F32, RBE_POSITIONS_DELTA);
    bytes plain = saved(model, RBE_STORE_INT8, RBE_POSITIONS_PLAIN); /* `store` does not matter */
    ck_assert_ptr_nonnull(memmem(seed.data, seed.count, "\\\"seed\\\"", 8));
    ck_assert_ptr_null(memmem(code.data, code.count, "seed", 4));
    ck_assert_uint_eq(plain.count, code.count);
    ck_assert_mem_eq(plain.data, code.data, code.count);
    rbe_model *of_code = load_bytes(code), *of_seed = load_bytes(seed);
    ck_assert(same_models(model, of_code) && same_models(model, of_seed));
    ck_assert(rbe_linear_blocks(rbe_model_layer(of_seed, 0))->drawn);
    ck_assert(!rbe_linear_blocks(rbe_model_layer(of_code, 0))->drawn);
    ck_assert_int_ne(rbe_model_save(of_code, scratch_path("x"), &(rbe_save_options){.positions = RBE_POSITIONS_SEED}),
                     RBE_OK);
    assert_failed(RBE_INVALID_ARGUMENT, "stage 0: its positions have no seed");
    rbe_model_free(model), rbe_model_free(of_code), rbe_model_free(of_seed);
    free(seed.data), free(code.data), free(plain.data);
}
END_TEST

/* Layers of every kind, in containers and in several places; one of them has no bits. */
START_TEST(other_layers_come_back) {
    for (unsigned bits = RBE_LEAST_BITS; bits <= RBE_MOST_BITS; bits++) {
        rbe_model *model = nested_model(), *words = rbe_model_new();
        rbe_model_add(model, rbe_dense_new(5, 1, &(rbe_dense_options){.no_bias = true}));
        rbe_layer *table = rbe_embedding_new(11, 6, 1, NULL);
        rbe_model_add(words, table);
        rbe_model_add(words, rbe_positions_new(7, 6, 2, NULL));
        rbe_model_add(words, rbe_rms_norm_new(6, 1e-5f, NULL));
        rbe_model_add(words, rbe_layer_norm_new(6, 1e-5f, false, NULL));
        rbe_model_add(words, rbe_layer_norm_new(6, 1e-5f, true, NULL));
        rbe_model_add(words, rbe_unembedding_new(table, NULL));
        rbe_model *const both[] = {model, words};
        for (size_t n = 0; n < 2; n++) {
            ck_assert_ok(rbe_model_status(both[n]));
            give_bits(both[n], bits, bits);
            ck_assert_ok(rbe_layer_set_bits(rbe_model_layer(both[n], 1), 0));
            bytes b = check_packed_round_trip(both[n], RBE_POSITIONS_SMALLEST);
            free(b.data);
            rbe_model_free(both[n]);
        }
    }
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Values that are no whole steps are rounded, to what training would have made of them. */
START_TEST(values_are_rounded) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 3, "dct", "dct");
    rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++) ck_assert_ok(rbe_layer_set_bits(layer, 3));
    bytes b = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    rbe_model *again = load_bytes(b);
    ck_assert_msg(again != NULL, "%s", rbe_last_error());
    ck_assert(!same_models(model, again));
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++)
        for (size_t k = 0; k < layer->param_count; k++) round_to_bits(layer, &layer->params[k]);
    ck_assert(same_models(model, again));
    rbe_model_free(model);
    rbe_model_free(again);
    free(b.data);
}
END_TEST

/* Each parameter has bits of its own, and floats where it has none. */
START_TEST(bits_are_each_parameters_own) {
    static const unsigned choices[][3] = {{4, 0, 0}, {0, 8, 0}, {0, 0, 2}, {7, 3, 5}, {2, 0, 8}};
    for (size_t n = 0; n < sizeof choices / sizeof *choices; n++) {
        rbe_model *model = small_model(RBE_ALPHA_ON, 3, "dct", "dct");
        rbe_layer *layer = rbe_model_layer(model, 0);
        for (size_t k = 0; k < 3; k++) {
            layer->params[k].bits = choices[n][k];
            if (choices[n][k] > 0) round_to_bits(layer, &layer->params[k]);
        }
        bytes b = check_packed_round_trip(model, RBE_POSITIONS_DELTA);
        free(b.data);
        rbe_model_free(model);
    }
}
END_TEST

/* ---- what cannot be stored ----------------------------------------------------------------------------------- */

START_TEST(what_cannot_be_packed_is_named) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 3, "dct", "dct");
    rbe_layer *layer = rbe_model_layer(model, 0);
    const char *path = scratch_path("refused");
    ck_assert_ok(rbe_layer_set_bits(layer, 4));
    static const unsigned wrong[] = {1, 9, 32};
    for (size_t n = 0; n < 3; n++) {
        layer->params[2].bits = wrong[n];
        ck_assert_int_ne(rbe_model_save(model, path, NULL), RBE_OK);
        assert_failed(RBE_INVALID_ARGUMENT, "stage 0: bits of bias: expected 0 or 2 .. 8, found");
    }
    layer->params[2].bits = 0;
    layer->params[2].value[3] = NAN;
    ck_assert_int_ne(rbe_model_save(model, path, NULL), RBE_OK);
    assert_failed(RBE_NUMERICAL_INSTABILITY, "stage 0: bias: value 3, nan, is not finite");
    layer->params[2].value[3] = 0.0f;
    layer->params[0].value[11] = 3.4e38f;
    size_t size;
    ck_assert_int_ne(rbe_model_stored_bytes(model, NULL, &size), RBE_OK);
    assert_failed(RBE_NUMERICAL_INSTABILITY, "stage 0: values: value 11, 3.4e+38, is not finite or beyond the range");
    layer->params[0].value[11] = -INFINITY;
    ck_assert_int_ne(rbe_model_save(model, path, NULL), RBE_OK);
    assert_failed(RBE_NUMERICAL_INSTABILITY, "stage 0: values: value 11, -inf");
    ck_assert_uint_eq(scratch_count(), 0);
    rbe_model_free(model);
}
END_TEST

/* ---- sizes --------------------------------------------------------------------------------------------------- */

/* The bits of all positions of a model, and the fewest that sets of their sizes need: log2 C(columns, length), summed. */
typedef struct tally {
    double bits, limit;
} tally;

static bool count_positions(void *user, rbe_layer *layer) {
    if (!rbe_linear_blocks(layer)) return true;
    rbe_blocks view = *rbe_linear_blocks(layer);
    tally *t = user;
    const double columns = (double)(view.grid_cols * view.block);
    for (size_t n = 0; n < rbe_list_count(&view); n++) {
        const rbe_list list = rbe_list_at(&view, n);
        const double length = (double)(list.end - list.first);
        t->limit += (lgamma(columns + 1) - lgamma(length + 1) - lgamma(columns - length + 1)) / log(2.0);
    }
    rbe_bits counted = {0};
    ck_assert_ok(rbe_lengths_code(&counted, &view, view.value_count, ""));
    ck_assert_ok(rbe_columns_code(&counted, &view, ""));
    t->bits += (double)counted.at;
    return true;
}

/* Frees the model. */
static double above_limit(rbe_model *model) {
    tally t = {0};
    ck_assert_ok(rbe_model_status(model));
    rbe_layer_walk(model->root, count_positions, &t);
    rbe_model_free(model);
    return 100.0 * (t.bits / t.limit - 1.0);
}

static const double ratios[] = {64, 32, 16, 11, 8};
enum { RATIOS = sizeof ratios / sizeof *ratios };

/* At most 8 % above the limit for a whole model, however the positions came about: drawn, in two layers; each by itself,
 * so that lists have different lengths; grown, which has few that are not expected. */
START_TEST(positions_are_small) {
    const double ratio = ratios[_i];
    for (size_t image = 0; image < 2; image++)
        for (size_t group = 1; group <= 16; group *= 4) {
            const rbe_linear_options second = {.block = 32, .ratio = ratio, .group = group, .seed = 50};
            rbe_linear_options first = second;
            if (image) first.image_height = first.image_width = 28;
            rbe_model *drawn = rbe_model_new(), *scattered = rbe_model_new();
            rbe_model_add(drawn, rbe_linear_new(784, 300, &first));
            rbe_model_add(drawn, rbe_linear_new(300, 100, &second));
            rbe_model_add(scattered, scattered_layer(rbe_linear_new(784, 300, &first), 1.0 / ratio, 7));
            const double of_drawn = above_limit(drawn), of_scattered = above_limit(scattered);
            ck_assert_msg(of_drawn <= 8.0, "drawn, 1/%g, group %zu: %.2f %%", ratio, group, of_drawn);
            ck_assert_msg(of_scattered <= 8.0, "scattered, 1/%g, group %zu: %.2f %%", ratio, group, of_scattered);
        }
    const double of_grown = above_limit(grown_digits(ratio, 2, 60));
    ck_assert_msg(of_grown <= 0.0, "grown, 1/%g: %.2f %%", ratio, of_grown);
}
END_TEST

/* Numbers take hardly more than their entropy, sum log2(all / those that are equal), whatever their distribution: all of
 * 6 bits are learnt. */
START_TEST(frequent_values_are_small) {
    enum { COUNT = 20000 };
    static float numbers[COUNT];
    static const double deviations[] = {0.01, 0.2, 0.4, 1.0, 10.0};
    const unsigned bits = (unsigned)_i;
    const float most = (float)rbe_most_steps(bits), step = 1.0f;
    const rbe_rows rows = {.count = 1, .width = COUNT};
    for (size_t d = 0; d < sizeof deviations / sizeof *deviations; d++) {
        size_t equal[256] = {0};
        double entropy = 0.0;
        fill_normal(numbers, COUNT, deviations[d], d);
        for (size_t n = 0; n < COUNT; n++) {
            numbers[n] = fmaxf(-most, fminf(most, rintf(numbers[n] * most)));
            equal[128 + (int)numbers[n]]++;
        }
        for (size_t n = 0; n < 256; n++)
            if (equal[n] > 0) entropy += (double)equal[n] * log2((double)COUNT / (double)equal[n]);
        rbe_bits counted = {0};
        ck_assert_ok(rbe_packed_numbers_code(&counted, &rows, bits, &step, numbers, "", ""));
        const double allowed = 1.01 * entropy + 250.0 + 6.0 * (1 << bits);
        ck_assert_msg((double)counted.at <= allowed, "%u bits, %g: %llu, entropy %.0f", bits, deviations[d],
                      (unsigned long long)counted.at, entropy);
    }
}
END_TEST

/* Header: length, JSON text and spaces. All else are the bits of values, positions, and about one byte for each row. */
START_TEST(files_of_few_bits_are_small) {
    rbe_model *model = grown_digits(16, 4, 20);
    give_bits(model, 4, 1);
    bytes b = check_packed_round_trip(model, RBE_POSITIONS_SMALLEST), int8;
    uint64_t header;
    memcpy(&header, b.data, sizeof header);
    ck_assert_msg(8 + header <= 700, "a header of %zu bytes", 8 + (size_t)header);
    const rbe_blocks *blocks = rbe_linear_blocks(rbe_model_layer(model, 0));
    const size_t bits = 4 * (blocks->value_count + 3000) + 8 * 310 + 12 * (304 + 10);
    ck_assert_uint_le(b.count, 8 + header + bits / 8 + blocks->entries * 6 / 8);
    rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++) ck_assert_ok(rbe_layer_set_bits(layer, 0));
    int8 = saved(model, RBE_STORE_INT8, RBE_POSITIONS_SMALLEST);
    ck_assert_uint_lt(10 * b.count, 6 * int8.count);
    rbe_model_free(model);
    free(b.data);
    free(int8.data);
}
END_TEST

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* Files of two bits are read within the bound of their version, whose memory is what is taken. */
START_TEST(two_bits_are_read) {
    enum { WIDTH = 3000, EXTRA = 1 << 20 };
    rbe_model *model = rbe_model_new();
    if (_i == 0) rbe_model_add(model, rbe_dense_new(WIDTH, WIDTH, NULL));
    if (_i == 1)
        rbe_model_add(model, rbe_linear_new(600, 600, &(rbe_linear_options){.block = 8, .ratio = 2, .group = 1}));
    if (_i == 2)
        rbe_model_add(model, rbe_linear_new(66000, 30, &(rbe_linear_options){.block = 8, .ratio = 4, .group = 1}));
    give_bits(model, 2, 1);
    bytes b = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    if (_i > 0) rbe_set_max_read_bytes(128 * b.count);
    rbe_model_free(model);
    const size_t before = rbe_memory().current;
    rbe_memory_reset_peak();
    model = load_bytes(b);
    ck_assert_msg(model != NULL, "%zu bytes: %s", b.count, rbe_last_error());
    ck_assert_uint_le(rbe_memory().peak - before, 128 * b.count + EXTRA);
    rbe_model_free(model);
    rbe_set_max_read_bytes(0);
    free(b.data);
}
END_TEST

static rbe_model *packed_model(void) {
    rbe_model *model = small_model(RBE_ALPHA_ON, 3, "dct", "dct");
    give_bits(model, 5, 1);
    return model;
}

START_TEST(packed_models_when_allocations_fail) { assert_storing_survives(packed_model, RBE_STORE_F32); }
END_TEST

Suite *packed_suite(void) {
    Suite *suite = suite_create("packed");
    TCase *packed = tcase_create("packed");
    tcase_add_checked_fixture(packed, scratch_clear, scratch_clear);
    tcase_add_loop_test(packed, quantising_twice_changes_nothing, RBE_LEAST_BITS, RBE_MOST_BITS + 1);
    tcase_add_loop_test(packed, compressed_layers_come_back, 0, LAYERS);
    tcase_add_test(packed, seeds_are_optional);
    tcase_add_test(packed, other_layers_come_back);
    tcase_add_test(packed, values_are_rounded);
    tcase_add_test(packed, bits_are_each_parameters_own);
    tcase_add_test(packed, what_cannot_be_packed_is_named);
    tcase_add_loop_test(packed, positions_are_small, 0, RATIOS);
    tcase_add_loop_test(packed, frequent_values_are_small, RBE_LEAST_BITS, 7);
    tcase_add_test(packed, files_of_few_bits_are_small);
    tcase_add_loop_test(packed, two_bits_are_read, 0, 3);
    tcase_add_test(packed, packed_models_when_allocations_fail);
    suite_add_tcase(suite, packed);
    suite_add_tcase(suite, packed_damage_case());
    return suite;
}
