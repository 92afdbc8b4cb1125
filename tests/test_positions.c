/* Positions: what notices that they have changed between a forward and a backward pass. */
#include <math.h>
#include <string.h>

#include "adapt/remap.h"
#include "adapt_support.h"
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
    rbe_status status = rbe_adaptive_coefficient_pruning(&f->layer->base, f->optim, (double)least, &removed);
    ck_assert_uint_gt(removed, 0);
    ck_assert_uint_eq(f->layer->blocks->entries, entries);
    return status;
}

static rbe_status prune_entries(fixture *f) {
    return rbe_prune(f->model, f->optim, &(rbe_prune_options){.by = RBE_PRUNE_FRACTION, .amount = 0.5}, NULL);
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
    rbe_status status = rbe_linear_set_positions(f->layer, f->optim, next);
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

/* ---- the suite ----------------------------------------------------------------------------------------------- */

Suite *positions_suite(void) {
    Suite *suite = suite_create("positions");
    TCase *passes = tcase_create("passes");
    tcase_add_loop_test(passes, test_change_between_passes, 0, 2 * CHANGES);
    suite_add_tcase(suite, passes);
    return suite;
}
