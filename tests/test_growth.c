/* Growth: where to, against a dense gradient in double precision; what follows a position and what never changes;
 * memory; what is refused. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "adapt_support.h"
#include "reference.h"
#include "suites.h"
#include "tensor/node.h"

/* ---- growth: where to ---------------------------------------------------------------------------------------- */

/* dL/dS of the whole layer in double, [p][i][column], for a given gradient dy of its output. */
static double *reference_spectrum(const rbe_linear_layer *layer, const float *x, const float *dy, size_t rows) {
    const rbe_blocks_info info = rbe_blocks_describe(layer->blocks);
    const size_t b = info.block, columns = info.grid_cols * b;
    reference *r = reference_new(&info);
    double *wide_x = widened(x, rows * info.in), *wide_dy = widened(dy, rows * info.out);
    double *w = test_memory(info.out * info.in, sizeof *w), *dx = test_memory(rows * info.in, sizeof *dx);
    double *dw = test_memory(info.out * info.in, sizeof *dw), *db = test_memory(info.out, sizeof *db);
    double *cut = test_memory(2 * b * b, sizeof *cut);
    double *spectrum = test_memory(info.grid_rows * b * columns, sizeof *spectrum);
    reference_backward(w, wide_x, wide_dy, rows, info.out, info.in, dx, dw, db);
    for (size_t p = 0; p < info.grid_rows; p++)
        for (size_t q = 0; q < info.grid_cols; q++) {
            reference_cut(r, dw, p, q, cut);
            reference_analyse(r, cut, cut + b * b);
            for (size_t n = 0; n < b * b; n++) spectrum[(p * b + n / b) * columns + q * b + n % b] = cut[b * b + n];
        }
    free(wide_x);
    free(wide_dy);
    free(w);
    free(dx);
    free(dw);
    free(db);
    free(cut);
    reference_free(r);
    return spectrum;
}

/* Sum of squares over the block rows of group g at (i, column) of a dense array. */
static double energy(const rbe_blocks *b, const double *dense, size_t g, size_t i, size_t column) {
    double sum = 0.0;
    for (size_t m = 0; m < rbe_group_rows(b, g); m++) {
        double v = dense[((g * b->group + m) * b->block + i) * b->grid_cols * b->block + column];
        sum += v * v;
    }
    return sum;
}

/* Within list i of group g: whatever grew has a larger gradient than what stayed empty, whatever was
 * dropped is weaker than what was kept; as many of the one as of the other. Returns how many. */
static size_t require_best(const rbe_blocks *b, const snapshot *old, const snapshot *now, const double *gradient,
                           const double *value, size_t g, size_t i) {
    double least_grown = INFINITY, most_empty = 0.0, most_dropped = 0.0, least_kept = INFINITY;
    size_t grown = 0, dropped = 0;
    for (size_t c = 0; c < now->columns; c++) {
        size_t at = (g * b->group * b->block + i) * now->columns + c;
        bool was = old->entry[at] >= 0, is = now->entry[at] >= 0;
        double score = energy(b, was ? value : gradient, g, i, c);
        if (!was && is) {
            least_grown = fmin(least_grown, score);
            grown++;
        }
        if (!was && !is) most_empty = fmax(most_empty, score);
        if (was && is) least_kept = fmin(least_kept, score);
        if (was && !is) {
            most_dropped = fmax(most_dropped, score);
            dropped++;
        }
    }
    ck_assert_uint_eq(grown, dropped);
    if (grown > 0) ck_assert(least_grown >= most_empty * (1.0 - 1e-4));
    if (grown > 0) ck_assert(most_dropped <= least_kept * (1.0 + 1e-5));
    return grown;
}

static const struct growth_case {
    const char *transform;
    size_t group;
} growth_cases[] = {
    {"dct", 1}, {"dct", 2}, {"dct", 3}, {"dct", 7}, {"haar", 3}, {"identity", 2}, {"db4", 5}, {"wht", 16},
};

enum { GROWTH_CASES = sizeof growth_cases / sizeof *growth_cases };

static rbe_linear_options case_options(const struct growth_case *c) {
    rbe_linear_options options = usual;
    options.group = c->group;
    options.row_transform = options.column_transform = rbe_transform_named(c->transform);
    return options;
}

/* One exchange is watched: the loss is sum dy * layer(x) for a fixed dy, so that the gradient is known. */
START_TEST(test_growth_takes_the_best) {
    const struct growth_case *c = &growth_cases[_i];
    rbe_linear_options options = case_options(c);
    fixture f;
    fixture_init(&f, &options, _i % 2 ? rbe_sgd : rbe_adam); /* two averages, or a momentum */
    rbe_growth *growth = rbe_growth_new(f.model, &(rbe_growth_options){.steps = 100, .every = 2});
    ck_assert_msg(growth != NULL, "%s", rbe_last_error());
    static float dy[ROWS * OUT];
    fill_normal(dy, ROWS * OUT, 1.0, 11);
    for (size_t step = 0; step < 3; step++) {
        rbe_var *y = rbe_layer_forward(&f.layer->base, rbe_input(f.tape, rbe_tensor_2d(f.x, ROWS, IN)));
        require_ok(rbe_backward(rbe_sum(rbe_mul(y, rbe_input(f.tape, rbe_tensor_2d(dy, ROWS, OUT))))));
        rbe_tape_reset(f.tape);
        require_ok(rbe_optim_step(f.optim));
        if (step < 2) require_ok(rbe_growth_step(growth, step));
    }
    const rbe_blocks *b = f.layer->blocks;
    snapshot old, now;
    snapshot_take(&old, f.layer);
    const float *values = b->values;
    require_ok(rbe_growth_step(growth, 2));
    snapshot_take(&now, f.layer);
    ck_assert_ptr_eq(b->values, values); /* nothing was allocated anew */
    require_all_followed(&old, &now);
    double *gradient = reference_spectrum(f.layer, f.x, dy, ROWS), *value = widened(old.value, old.rows * old.columns);
    size_t moved = 0;
    for (size_t g = 0; g < b->groups; g++)
        for (size_t i = 0; i < BLOCK; i++)
            moved += rbe_group_rows(b, g) * require_best(b, &old, &now, gradient, value, g, i);
    ck_assert_uint_gt(moved, 0);
    ck_assert_uint_eq(rbe_growth_count(growth).values, moved);
    ck_assert_uint_eq(rbe_growth_count(growth).exchanges, 1);
    ck_assert(!b->drawn);
    free(gradient);
    free(value);
    snapshot_free(&old);
    snapshot_free(&now);
    rbe_growth_free(growth);
    fixture_free(&f);
}
END_TEST

/* ---- growth: what stays -------------------------------------------------------------------------------------- */

static void train_grown(fixture *f, const rbe_growth_options *options, size_t steps) {
    rbe_growth *growth = rbe_growth_new(f->model, options);
    ck_assert_msg(growth != NULL, "%s", rbe_last_error());
    for (size_t step = 0; step < steps; step++) {
        require_ok(train_step(f));
        require_ok(rbe_growth_step(growth, step));
    }
    rbe_growth_free(growth);
}

START_TEST(test_growth_conserves) {
    const struct growth_case *c = &growth_cases[_i];
    static const rbe_optim_method *const *const methods[] = {&rbe_sgd, &rbe_adam, &rbe_adamw};
    rbe_linear_options options = case_options(c);
    fixture f;
    snapshot before, after;
    fixture_init(&f, &options, *methods[_i % 3]);
    snapshot_take(&before, f.layer);
    train_grown(&f, &(rbe_growth_options){.steps = 60, .every = 4, .fraction = 0.5}, 60);
    snapshot_take(&after, f.layer);
    ck_assert_uint_eq(after.values, before.values);
    ck_assert_uint_eq(after.entries, before.entries);
    const rbe_blocks *b = f.layer->blocks;
    for (size_t list = 0; list <= b->groups * b->block; list++)
        ck_assert_uint_eq(after.list_start[list], before.list_start[list]);
    ck_assert(memcmp(after.entry, before.entry, after.rows * after.columns * sizeof *after.entry) != 0);
    snapshot_free(&before);
    snapshot_free(&after);
    fixture_free(&f);
}
END_TEST

/* Overlapping blocks: positions belong to the blocks, whatever rows and columns these cover. */
START_TEST(test_growth_with_overlap) {
    rbe_linear_options options = usual;
    options.overlap = 3;
    options.alpha = RBE_ALPHA_OFF;
    fixture f;
    fixture_init(&f, &options, rbe_adam);
    size_t count = f.layer->blocks->value_count;
    train_grown(&f, &(rbe_growth_options){.steps = 40, .every = 4}, 40);
    ck_assert_uint_eq(f.layer->blocks->value_count, count);
    rbe_prune_report report;
    require_ok(rbe_prune(f.model, &(rbe_prune_options){.amount = 0.5}, &report));
    ck_assert_double_gt(report.removed_energy, 0.0);
    train_grown(&f, &(rbe_growth_options){.steps = 40, .every = 4}, 8);
    snapshot now;
    snapshot_take(&now, f.layer);
    ck_assert_uint_lt(now.values, count);
    snapshot_free(&now);
    fixture_free(&f);
}
END_TEST

/* Ties are decided, nothing is random: two runs give the same bits. */
START_TEST(test_growth_repeats) {
    fixture f[2];
    for (int n = 0; n < 2; n++) {
        fixture_init(&f[n], &usual, rbe_adam);
        train_grown(&f[n], &(rbe_growth_options){.steps = 40, .every = 5}, 40);
    }
    const rbe_blocks *a = f[0].layer->blocks, *b = f[1].layer->blocks;
    ck_assert_mem_eq(a->columns16, b->columns16, a->entries * sizeof *a->columns16);
    ck_assert_mem_eq(a->values, b->values, a->value_count * sizeof *a->values);
    for (int n = 0; n < 2; n++) fixture_free(&f[n]);
}
END_TEST

/* After 75 % of the steps positions stay. */
START_TEST(test_growth_stops) {
    fixture f;
    fixture_init(&f, &usual, rbe_sgd);
    rbe_growth *growth = rbe_growth_new(f.model, &(rbe_growth_options){.steps = 40, .every = 2});
    size_t exchanges = 0;
    for (size_t step = 0; step < 40; step++) {
        require_ok(train_step(&f));
        require_ok(rbe_growth_step(growth, step));
        if (step == 30) exchanges = rbe_growth_count(growth).exchanges;
    }
    ck_assert_uint_eq(exchanges, 14); /* due after steps 1, 3 .. 27; 29 is the 30th, where the fraction is 0 */
    ck_assert_uint_eq(rbe_growth_count(growth).exchanges, exchanges);
    rbe_growth_free(growth);
    fixture_free(&f);
}
END_TEST

static const struct {
    size_t steps, every;
} intervals[] = {{100, 10}, {199, 10}, {1000, 50}, {2000, 100}, {9000, 100}, {30000, 300}};

enum { INTERVALS = sizeof intervals / sizeof *intervals };

/* The first exchange comes in the step after the first interval. */
START_TEST(test_growth_usual_intervals) {
    fixture f;
    fixture_init(&f, &usual, rbe_sgd);
    rbe_growth *growth = rbe_growth_new(f.model, &(rbe_growth_options){.steps = intervals[_i].steps});
    for (size_t step = 0; step <= intervals[_i].every; step++) {
        require_ok(train_step(&f));
        require_ok(rbe_growth_step(growth, step));
        ck_assert_uint_eq(rbe_growth_count(growth).exchanges, step == intervals[_i].every);
    }
    rbe_growth_free(growth);
    fixture_free(&f);
}
END_TEST

START_TEST(test_growth_steps_allocate_nothing) {
    fixture f;
    fixture_init(&f, &usual, rbe_adam);
    rbe_growth *growth = rbe_growth_new(f.model, &(rbe_growth_options){.steps = 1000, .every = 3});
    size_t allocations = 0;
    for (size_t step = 0; step < 30; step++) {
        require_ok(train_step(&f));
        require_ok(rbe_growth_step(growth, step));
        if (step == 12) allocations = rbe_memory().allocations;
    }
    ck_assert_uint_eq(rbe_memory().allocations, allocations);
    rbe_growth_free(growth);
    fixture_free(&f);
}
END_TEST

static const struct memory_case {
    size_t in, out, block, group, batch;
} memory_cases[] = {
    {1024, 1024, 32, 16, 8}, {64, 512, 32, 1, 8}, {64, 512, 32, 16, 8}, {41, 50, 8, 3, 5}, {300, 2000, 64, 2, 150},
};

enum { MEMORY_CASES = sizeof memory_cases / sizeof *memory_cases };

/* What a growing step takes more than another one, whatever the size of the layer: the gradient of one block row and
 * the scores of one, the transformed input and dY, and two transforms. */
START_TEST(test_growth_memory_is_bounded) {
    const struct memory_case *c = &memory_cases[_i];
    rbe_model *model = rbe_model_new();
    const rbe_linear_options options = {.block = c->block, .ratio = 8, .group = c->group, .seed = 1};
    rbe_model_add(model, rbe_linear_new(c->in, c->out, &options));
    rbe_optim *optim = rbe_optim_new(rbe_sgd, model, NULL);
    float *x = test_memory(c->batch * c->in, sizeof *x);
    fill_normal(x, c->batch * c->in, 1.0, 1);
    rbe_growth *growth = rbe_growth_new(model, &(rbe_growth_options){.steps = 100, .every = 4});
    ck_assert_msg(growth != NULL, "%s", rbe_last_error());
    size_t peak[2];
    for (size_t step = 0; step < 6; step++) {
        rbe_tape *tape = rbe_tape_new(NULL);
        rbe_var *y = rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d(x, c->batch, c->in)));
        require_ok(rbe_backward(rbe_mean(rbe_mul(y, y))));
        if (step == 2 || step == 4) peak[step / 2 - 1] = rbe_tape_arena(y)->high_water;
        rbe_tape_free(tape);
        require_ok(rbe_optim_step(optim));
        require_ok(rbe_growth_step(growth, step));
    }
    ck_assert_uint_eq(rbe_growth_count(growth).exchanges, 1);
    const rbe_blocks *b = rbe_linear_blocks(rbe_model_layer(model, 0));
    size_t columns = b->grid_cols * b->block, rows = c->batch < 128 ? c->batch : 128;
    size_t floats = 2 * b->block * columns + rows * (columns + b->grid_rows * b->block) + 4 * b->block * b->block;
    enum { PIECES = 7 };
    ck_assert_uint_gt(peak[1], peak[0]);
    ck_assert_uint_le(peak[1], peak[0] + floats * sizeof(float) + PIECES * RBE_ALIGNMENT);
    free(x);
    rbe_growth_free(growth);
    rbe_optim_free(optim);
    rbe_model_free(model);
}
END_TEST

START_TEST(test_growth_refuses) {
    static const rbe_growth_options refused[] = {
        {0},
        {.steps = 10, .fraction = -0.1},
        {.steps = 10, .fraction = 1.5},
        {.steps = 10, .fraction = NAN},
        {.steps = 10, .stop = NAN},
        {.steps = 10, .stop = -1.0},
        {.steps = 10, .stop = 2.0},
    };
    fixture f;
    fixture_init(&f, &usual, rbe_sgd);
    for (size_t n = 0; n < sizeof refused / sizeof *refused; n++) {
        ck_assert_ptr_null(rbe_growth_new(f.model, &refused[n]));
        ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    }
    const rbe_growth_options good = {.steps = 10, .every = 1, .fraction = 1.0, .stop = 1.0};
    ck_assert_ptr_null(rbe_growth_new(f.model, NULL));
    ck_assert_ptr_null(rbe_growth_new(NULL, &good));
    ck_assert_int_eq(rbe_growth_step(NULL, 0), RBE_INVALID_ARGUMENT);
    rbe_growth_free(NULL);

    /* Two at once would undo each other's choice. */
    require_ok(train_step(&f));
    rbe_growth *one = rbe_growth_new(f.model, &good), *two = rbe_growth_new(f.model, &good);
    require_ok(rbe_growth_step(one, 0));
    ck_assert_int_eq(rbe_growth_step(two, 0), RBE_INVALID_ARGUMENT);
    rbe_growth_free(one);
    require_ok(rbe_growth_step(two, 0));
    rbe_growth_free(two);
    ck_assert(!f.layer->probe.see);
    require_ok(train_step(&f));
    fixture_free(&f);

    rbe_model *dense = rbe_model_new();
    rbe_model_add(dense, rbe_dense_new(4, 3, NULL));
    rbe_optim *optim = rbe_optim_new(rbe_sgd, dense, NULL);
    ck_assert_ptr_null(rbe_growth_new(dense, &good));
    ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    rbe_optim_free(optim);
    rbe_model_free(dense);
}
END_TEST

/* Another block size with as many entries: what growth has prepared for the old one is made anew. */
START_TEST(test_growth_after_another_block_size) {
    static const size_t blocks[] = {16};
    fixture f;
    rbe_linear_options options = usual;
    options.group = 1;
    options.alpha = RBE_ALPHA_OFF;
    options.batch_threshold = 77;
    fixture_init(&f, &options, rbe_adam);
    const rbe_tune_options tune = {.blocks = blocks, .block_count = 1, .accuracy = 1.0, .rounds = 1};
    const rbe_growth_options every_step = {.steps = 40, .every = 1};
    float *smooth = test_memory(IN * OUT, sizeof *smooth);
    for (size_t i = 0; i < IN * OUT; i++) smooth[i] = cosf(0.05f * (float)(i % IN) + 0.03f * (float)(i / IN));
    rbe_growth *growth = rbe_growth_new(f.model, &every_step);
    ck_assert_ptr_nonnull(growth);
    for (size_t before = 0; before < 2; before++) { /* before the backward pass that growth watches, and after it */
        require_ok(rbe_growth_step(growth, before));
        if (before == 1) require_ok(fixture_backward(&f));
        rbe_tune_options to = tune;
        to.weights = smooth;
        to.blocks = before == 0 ? blocks : (const size_t[]){8};
        require_ok(rbe_optimize_block_size(&f.layer->base, f.x, ROWS, &to, NULL));
        ck_assert_uint_eq(f.layer->blocks->block, before == 0 ? 16 : 8);
        ck_assert_uint_eq(rbe_plan_batch_threshold(f.layer->plan), 77);
        const size_t values = f.layer->blocks->value_count;
        for (size_t step = 1; step < 4; step++) {
            require_ok(fixture_backward(&f));
            require_ok(rbe_growth_step(growth, before + step));
            require_ok(rbe_blocks_check(f.layer->blocks));
            ck_assert_uint_eq(f.layer->blocks->value_count, values);
        }
    }
    rbe_growth_free(growth);
    free(smooth);
    fixture_free(&f);
}
END_TEST

/* A training step that lacks memory reports it; the layer stays whole and goes on. */
START_TEST(test_growth_when_allocations_fail) {
    failing_allocator allocator;
    bool reached = true;
    for (size_t n = 1; reached; n++) {
        fixture f;
        fixture_data(&f);
        failing_allocator_install(&allocator, n);
        rbe_status status = fixture_try(&f, &usual, rbe_adam);
        rbe_growth *growth =
            status == RBE_OK ? rbe_growth_new(f.model, &(rbe_growth_options){.steps = 40, .every = 2}) : NULL;
        size_t failures = growth == NULL;
        for (size_t step = 0; growth && step < 6; step++) {
            status = train_step(&f);
            if (status == RBE_OK) status = rbe_growth_step(growth, step);
            if (status != RBE_OK) failures++;
        }
        ck_assert_uint_eq(failures, allocator.requests >= n);
        if (growth) ck_assert_int_eq(status, RBE_OK); /* the last step is one after the failure */
        rbe_growth_free(growth);
        fixture_free(&f);
        reached = failing_allocator_remove(&allocator);
    }
}
END_TEST

START_TEST(test_growth_group) {
    ck_assert_uint_ge(rbe_growth_group(8), rbe_growth_group(16));
    ck_assert_uint_ge(rbe_growth_group(16), rbe_growth_group(64));
    ck_assert_uint_ge(rbe_growth_group(64), 1);
}
END_TEST

/* ---- what is not trained ------------------------------------------------------------------------------------- */

enum { BY_SCALE, BY_OPTIMISER, BY_RATE, HALFWAY, WAYS };

/* [4] Of a layer that is not trained, what grew would stay at zero: growth leaves it alone, and the other one grows. */
START_TEST(test_growth_leaves_what_is_not_trained) {
    fixture f;
    fixture_init(&f, &usual, rbe_adam);
    rbe_param *head[4];
    size_t count = 0;
    for (rbe_param *p; (p = rbe_layer_param(rbe_model_layer(f.model, 1), count)); count++) head[count] = p;
    if (_i == BY_SCALE) f.layer->params[0].lr_scale = 0.0f;
    if (_i == BY_OPTIMISER) {
        rbe_optim_free(f.optim);
        f.optim = rbe_optim_new_for(rbe_adam, head, count, NULL);
    }
    if (_i == BY_RATE) require_ok(rbe_optim_set_lr(f.optim, 0.0f));
    rbe_growth *growth = rbe_growth_new(f.model, &(rbe_growth_options){.steps = 100, .every = 2});
    ck_assert_msg(growth != NULL, "%s", rbe_last_error());
    const size_t frozen_from = _i == HALFWAY ? 12 : 0; /* between what growth sees and what it does */
    snapshot before, after, of_head;
    for (size_t step = 0; step < 40; step++) {
        require_ok(train_step(&f));
        for (size_t n = 0; rbe_layer_param(&f.layer->base, n); n++) f.layer->params[n].grad_set = false;
        if (step == frozen_from) {
            if (_i == HALFWAY) f.layer->params[0].lr_scale = 0.0f;
            snapshot_take(&before, f.layer);
            snapshot_take(&of_head, rbe_layer_as_linear(rbe_model_layer(f.model, 1)));
        }
        require_ok(rbe_growth_step(growth, step));
    }
    snapshot_take(&after, f.layer);
    const size_t positions = before.rows * before.columns;
    ck_assert_mem_eq(after.entry, before.entry, positions * sizeof *after.entry);
    ck_assert_mem_eq(after.value, before.value, positions * sizeof *after.value);
    snapshot_free(&after);
    snapshot_take(&after, rbe_layer_as_linear(rbe_model_layer(f.model, 1)));
    const size_t of_the_head = after.rows * after.columns * sizeof *after.entry;
    if (_i == BY_RATE)
        ck_assert_mem_eq(after.entry, of_head.entry, of_the_head);
    else
        ck_assert_mem_ne(after.entry, of_head.entry, of_the_head);
    snapshot_free(&before);
    snapshot_free(&after);
    snapshot_free(&of_head);
    rbe_growth_free(growth);
    fixture_free(&f);
}
END_TEST

/* Pruning, another block size: one's own rate keeps its proportion to the usual one, 0 stays 0. */
START_TEST(test_own_rates_outlive_changes) {
    static const float ways[][2] = {{1.0f, 1.0f}, {0.0f, 1.0f}, {1.0f, 0.0f}, {0.5f, 3.0f}};
    const float *own = ways[_i % 4];
    fixture f;
    fixture_init(&f, &usual, rbe_adam);
    f.layer->params[0].lr_scale *= own[0];
    f.layer->alpha->lr_scale *= own[1];
    f.layer->bias->lr_scale = 0.25f;
    for (int n = 0; n < 2; n++) require_ok(rbe_prune(f.model, &(rbe_prune_options){.amount = 0.3}, NULL));
    if (_i >= 4) {
        static float smooth[IN * OUT];
        for (size_t i = 0; i < IN * OUT; i++) smooth[i] = (float)(i % IN) * 0.1f;
        const rbe_tune_options tune = {
            .blocks = (const size_t[]){16}, .block_count = 1, .accuracy = 1.0, .rounds = 1, .weights = smooth};
        require_ok(rbe_optimize_block_size(&f.layer->base, f.x, ROWS, &tune, NULL));
        ck_assert_uint_eq(f.layer->blocks->block, 16);
    }
    const rbe_blocks *b = f.layer->blocks;
    const double positions = (double)(b->grid_rows * b->block * b->grid_cols * b->block);
    const rbe_param *coefficients = &f.layer->params[0], *alpha = f.layer->alpha;
    const float usual_rate = (float)sqrt(positions / (double)b->value_count);
    ck_assert_float_eq_tol(coefficients->lr_scale, own[0] * usual_rate, 1e-6f * usual_rate);
    if (alpha) ck_assert_float_eq_tol(alpha->lr_scale, own[1] * usual_rate, 3e-6f * usual_rate);
    if (_i % 4 == 0) ck_assert(coefficients->lr_scale == usual_rate && (!alpha || alpha->lr_scale == usual_rate));
    ck_assert(f.layer->bias->lr_scale == 0.25f);
    fixture_free(&f);
}
END_TEST

/* Growth asks whether a layer is trained, not by whom. */
START_TEST(test_growth_of_two_optimisers) {
    fixture f;
    fixture_init(&f, &usual, rbe_sgd);
    rbe_optim_free(f.optim);
    rbe_param *first = &f.layer->params[0], *other = rbe_layer_param(rbe_model_layer(f.model, 1), 0);
    f.optim = rbe_optim_new_for(rbe_sgd, &first, 1, NULL);
    rbe_optim *second = rbe_optim_new_for(rbe_adam, &other, 1, NULL);
    rbe_growth *growth = rbe_growth_new(f.model, &(rbe_growth_options){.steps = 40, .every = 2});
    for (size_t step = 0; step < 10; step++) {
        const size_t before = rbe_growth_count(growth).values;
        require_ok(train_step(&f));
        if (step < 5) require_ok(rbe_optim_step(second));
        if (step == 5) rbe_optim_free(second); /* nobody trains the second layer from now on */
        require_ok(rbe_growth_step(growth, step));
        if (step == 2) ck_assert_uint_gt(rbe_growth_count(growth).values, before);
    }
    ck_assert(rbe_param_is_trained(first) && !rbe_param_is_trained(other));
    rbe_growth_free(growth);
    fixture_free(&f);
}
END_TEST

/* A frozen layer keeps positions and values; the other one grows. */
START_TEST(test_frozen_layers_do_not_grow) {
    fixture f;
    fixture_init(&f, &usual, rbe_adam);
    rbe_growth *growth = rbe_growth_new(f.model, &(rbe_growth_options){.steps = 100, .every = 2});
    for (size_t step = 0; step < 4; step++) {
        require_ok(train_step(&f));
        require_ok(rbe_growth_step(growth, step));
    }
    rbe_layer_freeze(&f.layer->base, true);
    snapshot before, after;
    snapshot_take(&before, f.layer);
    const size_t values = rbe_growth_count(growth).values;
    for (size_t step = 4; step < 12; step++) {
        require_ok(train_step(&f));
        require_ok(rbe_growth_step(growth, step));
    }
    snapshot_take(&after, f.layer);
    ck_assert_mem_eq(before.entry, after.entry, before.rows * before.columns * sizeof *before.entry);
    ck_assert_mem_eq(before.value, after.value, before.rows * before.columns * sizeof *before.value);
    ck_assert_uint_gt(rbe_growth_count(growth).values, values);
    snapshot_free(&before);
    snapshot_free(&after);
    rbe_growth_free(growth);
    fixture_free(&f);
}
END_TEST

/* ---- growth beside pruning ----------------------------------------------------------------------------------- */

/* Pruning between what growth sees and what it does: growth begins anew with fewer entries. A position that was
 * pruned and grows again starts from zero in value, gradient and averages. */
START_TEST(test_growth_and_pruning_together) {
    fixture f;
    fixture_init(&f, &usual, _i ? rbe_sgd : rbe_adam);
    snapshot old, now;
    snapshot_take(&old, f.layer);
    bool *pruned = test_memory(old.rows * old.columns, sizeof *pruned);
    size_t regrown = 0;
    snapshot_free(&old);
    rbe_growth *growth = rbe_growth_new(f.model, &(rbe_growth_options){.steps = 200, .every = 2});
    for (size_t step = 0; step < 30; step++) {
        require_ok(train_step(&f));
        snapshot_take(&old, f.layer);
        if (step % 7 == 2) require_ok(rbe_prune(f.model, &(rbe_prune_options){.amount = 0.1}, NULL));
        size_t count = stored(f.model);
        snapshot_take(&now, f.layer);
        for (size_t n = 0; n < old.rows * old.columns; n++) pruned[n] |= old.entry[n] >= 0 && now.entry[n] < 0;
        snapshot_free(&old);
        old = now;
        require_ok(rbe_growth_step(growth, step));
        snapshot_take(&now, f.layer);
        require_all_followed(&old, &now);
        for (size_t n = 0; n < old.rows * old.columns; n++)
            regrown += pruned[n] && old.entry[n] < 0 && now.entry[n] >= 0;
        ck_assert_uint_eq(stored(f.model), count);
        if (step % 7 == 3) require_ok(rbe_prune(f.model, &(rbe_prune_options){.amount = 0.05}, NULL));
        snapshot_free(&old);
        snapshot_free(&now);
    }
    ck_assert_uint_gt(rbe_growth_count(growth).exchanges, 0);
    ck_assert_uint_gt(regrown, 0);
    free(pruned);
    rbe_growth_free(growth);
    fixture_free(&f);
}
END_TEST

/* ---- the suite ----------------------------------------------------------------------------------------------- */

Suite *growth_suite(void) {
    Suite *suite = suite_create("growth");
    TCase *growth = tcase_create("growth");
    tcase_add_loop_test(growth, test_growth_takes_the_best, 0, GROWTH_CASES);
    tcase_add_loop_test(growth, test_growth_conserves, 0, GROWTH_CASES);
    tcase_add_test(growth, test_growth_with_overlap);
    tcase_add_test(growth, test_growth_repeats);
    tcase_add_test(growth, test_growth_stops);
    tcase_add_loop_test(growth, test_growth_usual_intervals, 0, INTERVALS);
    tcase_add_test(growth, test_growth_steps_allocate_nothing);
    tcase_add_loop_test(growth, test_growth_memory_is_bounded, 0, MEMORY_CASES);
    tcase_add_test(growth, test_growth_refuses);
    tcase_add_test(growth, test_growth_after_another_block_size);
    tcase_add_test(growth, test_growth_when_allocations_fail);
    tcase_add_test(growth, test_growth_group);
    tcase_add_loop_test(growth, test_growth_leaves_what_is_not_trained, 0, WAYS);
    tcase_add_loop_test(growth, test_own_rates_outlive_changes, 0, 8);
    tcase_add_test(growth, test_growth_of_two_optimisers);
    tcase_add_test(growth, test_frozen_layers_do_not_grow);
    tcase_add_loop_test(growth, test_growth_and_pruning_together, 0, 2);
    suite_add_tcase(suite, growth);
    return suite;
}
