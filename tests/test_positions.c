/* Positions: what notices that they have changed between a forward and a backward pass; how random ones are drawn where
 * inputs have no frequencies, and what older files say about that. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "adapt/remap.h"
#include "adapt_support.h"
#include "codec/entries.h"
#include "io_support.h"
#include "rbe/io.h"
#include "suites.h"

/* ---- changes between the passes ------------------------------------------------------------------------------ */

static rbe_status change_nothing(fixture *f) {
    (void)f;
    return RBE_OK;
}

/* Values become 0 in place; no list loses an entry. */
static rbe_status zero_a_value(fixture *f) {
    float least = INFINITY;
    for (size_t n = 0; n < f->layer->blocks->value_count; n++) least = fminf(least, fabsf(f->layer->blocks->values[n]));
    size_t removed, entries = f->layer->blocks->entries;
    rbe_status status = rbe_adaptive_coefficient_pruning(&f->layer->base, (double)least, &removed);
    ck_assert_uint_gt(removed, 0);
    ck_assert_uint_eq(f->layer->blocks->entries, entries);
    return status;
}

static rbe_status prune_entries(fixture *f) {
    return rbe_prune(f->model, &(rbe_prune_options){.by = RBE_PRUNE_FRACTION, .amount = 0.5}, NULL);
}

/* As many entries as before, at other places. */
static rbe_status move_entries(fixture *f) {
    const rbe_blocks *b = f->layer->blocks;
    rbe_blocks *next = rbe_lists_new(b);
    for (size_t list = 0; list < b->groups * b->block; list++)
        next->list_start[list + 1] = b->list_start[list + 1] - b->list_start[list];
    require_ok(rbe_blocks_allocate(next));
    for (size_t list = 0; list < b->groups * b->block; list++)
        for (size_t k = b->list_start[list]; k < b->list_start[list + 1]; k++)
            rbe_set_column(next, k, k - b->list_start[list]);
    rbe_status status = rbe_linear_set_positions(f->layer, next);
    rbe_blocks_free(next);
    return status;
}

/* Random positions and values are further from any matrix than what is compressed from it. */
static rbe_status take_other_blocks(fixture *f) {
    static const size_t blocks[] = {2 * BLOCK};
    static float weights[OUT * IN];
    fill_normal(weights, OUT * IN, 1.0, 5);
    const rbe_tune_options options = {
        .blocks = blocks, .block_count = 1, .accuracy = 1.0, .weights = weights, .rounds = 1};
    rbe_tune_report report;
    rbe_status status = rbe_optimize_block_size(&f->layer->base, f->x, ROWS, &options, &report);
    ck_assert_uint_eq(report.chosen, 1);
    return status;
}

static const struct change {
    rbe_status (*make)(fixture *f);
    bool stale; /* what the forward pass left no longer fits */
} changes[] = {
    {change_nothing, false}, {zero_a_value, false},     {prune_entries, true},
    {move_entries, true},    {take_other_blocks, true},
};

enum { CHANGES = sizeof changes / sizeof *changes };

/* [64] Without the cache as well: the loss that is differentiated is another layer's. */
START_TEST(test_change_between_passes) {
    const struct change *c = &changes[_i / 2];
    rbe_linear_options options = usual;
    options.use_cache = _i % 2;
    fixture f;
    fixture_init(&f, &options, rbe_adam);
    require_ok(train_step(&f));
    rbe_var *logits = rbe_model_forward(f.model, rbe_input(f.tape, rbe_tensor_2d(f.x, ROWS, IN)));
    rbe_var *loss = rbe_cross_entropy(logits, f.labels);
    require_ok(rbe_tape_status(f.tape));
    uint64_t generation = f.layer->generation;
    require_ok(c->make(&f));
    ck_assert_int_eq(f.layer->generation > generation, c->stale);
    rbe_status status = rbe_backward(loss);
    if (c->stale) {
        ck_assert_int_eq(status, RBE_INVALID_ARGUMENT);
        ck_assert_int_eq(rbe_tape_status(f.tape), RBE_INVALID_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(rbe_last_error(), ": its positions have changed since the forward product"));
    } else {
        require_ok(status);
    }
    rbe_tape_reset(f.tape);
    require_ok(fixture_backward(&f)); /* a new forward pass is all it takes */
    fixture_free(&f);
}
END_TEST

/* ---- inputs without frequencies [76] -------------------------------------------------------------------------- */

/* How often each input has a coefficient. */
static void count_inputs(const rbe_blocks *b, size_t *counts) {
    memset(counts, 0, b->grid_cols * b->block * sizeof *counts);
    for (size_t k = 0; k < b->entries; k++) counts[rbe_column_at(b, k)]++;
}

static const struct drawing {
    const char *column_transform;
    size_t height; /* of an image, else 0 */
    bool uniform;
} drawings[] = {{"identity", 0, true}, {"dct", 0, false}, {"wht", 0, false}, {"identity", 10, false}};

enum { DRAWINGS = sizeof drawings / sizeof *drawings };

/* 128 lists of 12 or 13 of 100 inputs, 28 columns of padding: each input is expected 16 times, with a deviation of
 * 3.7. In order of frequency the first input of a block has 32 times the weight of the last, of an image the first
 * twice that of the 32nd. */
START_TEST(test_inputs_without_frequencies) {
    const struct drawing *d = &drawings[_i];
    enum { INPUTS = 100, LISTS = 128 };
    rbe_linear_options options = {.block = 32,
                                  .ratio = 8,
                                  .group = 1,
                                  .alpha = RBE_ALPHA_OFF,
                                  .image_height = d->height,
                                  .image_width = d->height,
                                  .column_transform = rbe_transform_named(d->column_transform),
                                  .seed = 3};
    rbe_layer *layer = rbe_linear_new(INPUTS, LISTS, &options);
    ck_assert_msg(layer != NULL, "%s", rbe_last_error());
    const rbe_blocks *b = rbe_linear_blocks(layer);
    size_t counts[LISTS], least = SIZE_MAX, most = 0, padding = 0;
    ck_assert_uint_eq(b->grid_cols * b->block, LISTS);
    count_inputs(b, counts);
    for (size_t c = 0; c < LISTS; c++) {
        if (c >= INPUTS) padding += counts[c];
        if (c < INPUTS && counts[c] < least) least = counts[c];
        if (c < INPUTS && counts[c] > most) most = counts[c];
    }
    if (d->uniform) {
        ck_assert_uint_eq(padding, 0);
        ck_assert_uint_ge(least, 3);
        ck_assert_uint_le(most, 31);
    } else {
        size_t early = 0, late = 0;
        for (size_t c = 0; c < 8; c++) early += counts[c], late += counts[24 + c];
        ck_assert_uint_gt(4 * early, 5 * late);
    }
    rbe_layer_free(layer);
}
END_TEST

/* With every input taken, the padding is what is left. */
START_TEST(test_all_inputs_and_the_padding) {
    rbe_layer *layer = rbe_linear_new(
        12, 8,
        &(rbe_linear_options){
            .block = 8, .coeffs = 64, .alpha = RBE_ALPHA_OFF, .column_transform = rbe_transform_named("identity")});
    ck_assert_msg(layer != NULL, "%s", rbe_last_error());
    size_t counts[16];
    count_inputs(rbe_linear_blocks(layer), counts);
    for (size_t c = 0; c < 16; c++) ck_assert_uint_eq(counts[c], 8);
    rbe_layer_free(layer);
}
END_TEST

/* FNV-1a over the lists. */
static uint64_t checksum(const rbe_layer *layer) {
    const rbe_blocks *b = rbe_linear_blocks(layer);
    uint64_t hash = 14695981039346656037u;
    for (size_t n = 0; n <= b->groups * b->block; n++) hash = (hash ^ b->list_start[n]) * 1099511628211u;
    for (size_t k = 0; k < b->entries; k++) hash = (hash ^ rbe_column_at(b, k)) * 1099511628211u;
    return hash;
}

/* tests/data/identity_seed_1.rbe and the checksums are from the version before inputs without frequencies were drawn
 * uniformly: 21 x 16 with the identity on both axes, 16 x 10 with dct, seeds 5 and 6, int8, positions as seeds. */
START_TEST(test_an_older_file_keeps_its_positions) {
    static const uint64_t checksums[] = {0xca2df5af397d8680u, 0x12498954c74ae009u};
    const char *path = "tests/data/identity_seed_1.rbe", *again = scratch_path("again");
    const rbe_save_options as_it_was = {.store = RBE_STORE_INT8, .positions = RBE_POSITIONS_SEED};
    rbe_model *model = rbe_model_load(path);
    ck_assert_msg(model != NULL, "%s", rbe_last_error());
    for (size_t n = 0; n < 2; n++) ck_assert_uint_eq(checksum(rbe_model_layer(model, n)), checksums[n]);
    require_ok(rbe_model_save(model, again, &as_it_was));
    bytes old = read_whole(path), now = read_whole(again);
    ck_assert_uint_eq(now.count, old.count);
    ck_assert_mem_eq(now.data, old.data, old.count);
    free(old.data);
    free(now.data);
    scratch_clear();
    rbe_model_free(model);
}
END_TEST

/* New patterns come back from a file too; only those that need it name their rule. */
START_TEST(test_a_pattern_names_its_rule) {
    const char *path = scratch_path("pattern");
    for (int identity = 0; identity < 2; identity++) {
        rbe_model *model = rbe_model_new();
        rbe_model_add(model, rbe_linear_new(100, 24,
                                            &(rbe_linear_options){
                                                .column_transform = rbe_transform_named(identity ? "identity" : "haar"),
                                                .ratio = 8}));
        require_ok(rbe_model_save(model, path, &(rbe_save_options){.positions = RBE_POSITIONS_SEED}));
        rbe_model *loaded = rbe_model_load(path);
        ck_assert_msg(loaded != NULL, "%s", rbe_last_error());
        ck_assert_uint_eq(checksum(rbe_model_layer(loaded, 0)), checksum(rbe_model_layer(model, 0)));
        bytes file = read_whole(path);
        const char *json = (const char *)file.data + 8; /* some of its data are zeros */
        ck_assert_int_eq(strstr(json, "\\\"pattern\\\":2") != NULL, identity);
        ck_assert_int_eq(strstr(json, "pattern") != NULL, identity);
        free(file.data);
        rbe_model_free(loaded);
        rbe_model_free(model);
    }
    scratch_clear();
}
END_TEST

/* ---- the walk along the entries ------------------------------------------------------------------------------ */

/* 5 block rows in groups of 2: the last group has one. Columns of 16 bits and of 32. */
static rbe_blocks *uneven_lists(size_t in) {
    rbe_geometry geometry;
    require_ok(rbe_geometry_make(&geometry, 37, in, &(rbe_compress_options){.block = 8, .group = 2, .coeffs = 4}, 1));
    rbe_blocks *b = rbe_blocks_new(&geometry);
    ck_assert_ptr_nonnull(b);
    rbe_rng *rng = rbe_rng_new(in, 0);
    const size_t lists = b->groups * b->block;
    for (size_t n = 0; n < lists; n++) /* empty ones among them, at both ends too */
        rbe_set_list_length(b, n, n == 0 || n == lists - 1 ? 0 : (size_t)(4 * rbe_rng_uniform(rng)));
    require_ok(rbe_blocks_allocate(b));
    for (size_t k = 0; k < b->entries; k++) rbe_set_column(b, k, in - b->entries + k);
    rbe_rng_free(rng);
    return b;
}

/* The walk finds the next entry where the layout in grouped.h says that it is. */
static void require_entry(rbe_walk *at, size_t list, size_t entry, size_t *value) {
    const rbe_blocks *b = at->b;
    ck_assert(rbe_walk_next(at));
    ck_assert_uint_eq(at->list.group * b->block + at->list.frequency, list);
    ck_assert_uint_eq(at->entry, entry);
    ck_assert_uint_eq(at->column, b->columns16 ? b->columns16[entry] : b->columns32[entry]);
    ck_assert_uint_eq(at->list.rows, list / b->block == 2 ? 1 : 2);
    ck_assert_uint_eq(at->value, *value);
    *value += at->list.rows;
}

START_TEST(test_a_walk_meets_every_entry) {
    rbe_blocks *b = uneven_lists(_i ? 70000 : 80);
    const size_t lists = b->groups * b->block;
    size_t value = 0, one_value = 0, group_value = 0;
    rbe_walk all = rbe_walk_all(b), group = {0};
    for (size_t list = 0; list < lists; list++) {
        if (list % b->block == 0) {
            if (list > 0) ck_assert(!rbe_walk_next(&group));
            group = rbe_walk_group(b, list / b->block);
        }
        rbe_walk one = rbe_walk_lists(b, list, 1);
        for (size_t k = b->list_start[list]; k < b->list_start[list + 1]; k++) {
            require_entry(&all, list, k, &value);
            require_entry(&one, list, k, &one_value);
            require_entry(&group, list, k, &group_value);
        }
        ck_assert(!rbe_walk_next(&one));
    }
    ck_assert(!rbe_walk_next(&group) && !rbe_walk_next(&all) && !rbe_walk_next(&all));
    ck_assert_uint_eq(value, b->value_count);
    rbe_blocks_free(b);
}
END_TEST

/* ---- the suite ----------------------------------------------------------------------------------------------- */

Suite *positions_suite(void) {
    Suite *suite = suite_create("positions");
    TCase *passes = tcase_create("passes");
    tcase_add_loop_test(passes, test_change_between_passes, 0, 2 * CHANGES);
    suite_add_tcase(suite, passes);
    TCase *walk = tcase_create("walk");
    tcase_add_loop_test(walk, test_a_walk_meets_every_entry, 0, 2);
    suite_add_tcase(suite, walk);
    TCase *inputs = tcase_create("inputs");
    tcase_add_loop_test(inputs, test_inputs_without_frequencies, 0, DRAWINGS);
    tcase_add_test(inputs, test_all_inputs_and_the_padding);
    tcase_add_test(inputs, test_an_older_file_keeps_its_positions);
    tcase_add_test(inputs, test_a_pattern_names_its_rule);
    suite_add_tcase(suite, inputs);
    return suite;
}
