/* Layers that change their positions: growth against a dense gradient in double precision, pruning against its
 * definitions, absorption against the exact projection, sensitivities against single samples; what follows a
 * position, what never changes, what is refused; budgets. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapt/sensitivity.h"
#include "optim/optim_internal.h"
#include "reference.h"
#include "suites.h"
#include "support.h"

/* ---- a model, its data, a training step ---------------------------------------------------------------------- */

enum { IN = 41, OUT = 50, BLOCK = 8, CLASSES = 5, ROWS = 23 };

typedef struct fixture {
    rbe_model *model;
    rbe_optim *optim;
    rbe_tape *tape;
    rbe_linear_layer *layer; /* the first one */
    float x[ROWS * IN];
    int32_t labels[ROWS];
} fixture;

static const rbe_linear_options usual = {.block = BLOCK, .ratio = 4, .group = 3, .alpha = RBE_ALPHA_ON, .seed = 7};

static void fixture_data(fixture *f) {
    memset(f, 0, sizeof *f);
    fill_normal(f->x, ROWS * IN, 1.0, 3);
    for (int32_t n = 0; n < ROWS; n++) f->labels[n] = n % CLASSES;
}

/* Makes what can be made; for allocations that fail. */
static rbe_status fixture_try(fixture *f, const rbe_linear_options *first, const rbe_optim_method *method) {
    f->model = rbe_model_new();
    rbe_model_add(f->model, rbe_linear_new(IN, OUT, first));
    rbe_model_apply(f->model, rbe_tanh);
    rbe_model_add(f->model, rbe_linear_new(OUT, CLASSES, &(rbe_linear_options){.block = BLOCK, .ratio = 2}));
    RBE_TRY(rbe_model_status(f->model));
    f->optim = rbe_optim_new(method, f->model, &(rbe_optim_options){.lr = 1e-2f, .momentum = 0.5f});
    f->tape = rbe_tape_new(NULL);
    if (!f->optim || !f->tape) return rbe_last_status();
    f->layer = rbe_layer_as_linear(rbe_model_layer(f->model, 0));
    return RBE_OK;
}

static void fixture_init(fixture *f, const rbe_linear_options *first, const rbe_optim_method *method) {
    fixture_data(f);
    ck_assert_msg(fixture_try(f, first, method) == RBE_OK, "%s", rbe_last_error());
}

static void fixture_free(fixture *f) {
    rbe_tape_free(f->tape);
    rbe_optim_free(f->optim);
    rbe_model_free(f->model);
}

static rbe_status backward(fixture *f) {
    rbe_var *logits = rbe_model_forward(f->model, rbe_input(f->tape, rbe_tensor_2d(f->x, ROWS, IN)));
    return rbe_backward(rbe_cross_entropy(logits, f->labels));
}

static rbe_status train_step(fixture *f) {
    rbe_status status = backward(f);
    rbe_tape_reset(f->tape);
    return status == RBE_OK ? rbe_optim_step(f->optim) : status;
}

#define require_ok(call) ck_assert_msg((call) == RBE_OK, "%s", rbe_last_error())

/* ---- a layer's lists and what stands at them, to compare ----------------------------------------------------- */

/* Dense over all positions, [p][i][column]: -1 where nothing is stored, else the entry's number. */
typedef struct snapshot {
    size_t rows, columns, entries, values;
    int64_t *entry;
    float *value, *grad, *state[RBE_OPTIM_MAX_STATE];
    uint32_t *list_start;
} snapshot;

static float *spread(const snapshot *s, const rbe_blocks *b, const float *array) {
    if (!array) return NULL;
    float *dense = test_memory(s->rows * s->columns, sizeof *dense);
    for (size_t p = 0; p < b->grid_rows; p++)
        for (size_t i = 0; i < b->block; i++)
            for (size_t c = 0; c < s->columns; c++) {
                size_t at = (p * b->block + i) * s->columns + c;
                if (s->entry[at] < 0) continue;
                dense[at] = array[rbe_entry_value(b, p / b->group, (size_t)s->entry[at], p % b->group) - b->values];
            }
    return dense;
}

/* Also checks that lists are ascending and within the matrix. */
static void snapshot_take(snapshot *s, const rbe_linear_layer *layer, rbe_optim *optim) {
    const rbe_blocks *b = layer->blocks;
    size_t lists = b->groups * b->block;
    *s = (snapshot){.rows = b->grid_rows * b->block,
                    .columns = b->grid_cols * b->block,
                    .entries = b->entries,
                    .values = b->value_count};
    s->list_start = test_memory(lists + 1, sizeof *s->list_start);
    memcpy(s->list_start, b->list_start, (lists + 1) * sizeof *s->list_start);
    ck_assert_uint_eq(b->list_start[0], 0);
    ck_assert_uint_eq(b->list_start[lists], b->entries);
    s->entry = test_memory(s->rows * s->columns, sizeof *s->entry);
    memset(s->entry, -1, s->rows * s->columns * sizeof *s->entry);
    for (size_t p = 0; p < b->grid_rows; p++)
        for (size_t i = 0; i < b->block; i++) {
            size_t list = p / b->group * b->block + i;
            for (size_t k = b->list_start[list]; k < b->list_start[list + 1]; k++) {
                ck_assert_uint_lt(rbe_column_at(b, k), s->columns);
                if (k > b->list_start[list]) ck_assert_uint_lt(rbe_column_at(b, k - 1), rbe_column_at(b, k));
                s->entry[(p * b->block + i) * s->columns + rbe_column_at(b, k)] = (int64_t)k;
            }
        }
    const rbe_param *param = &layer->params[0];
    ck_assert_ptr_eq(param->value, b->values);
    ck_assert_uint_eq(param->count, b->value_count);
    s->value = spread(s, b, param->value);
    s->grad = spread(s, b, param->grad);
    for (int n = 0; n < RBE_OPTIM_MAX_STATE; n++) s->state[n] = spread(s, b, rbe_optim_state(optim, param, n));
}

static void snapshot_free(snapshot *s) {
    free(s->entry);
    free(s->value);
    free(s->grad);
    for (int n = 0; n < RBE_OPTIM_MAX_STATE; n++) free(s->state[n]);
    free(s->list_start);
}

/* What an array holds after a change of positions: the old value where there was one, else 0. */
static void require_followed(const snapshot *old, const snapshot *now, const float *before, const float *after) {
    ck_assert_int_eq(before == NULL, after == NULL);
    for (size_t n = 0; before && n < now->rows * now->columns; n++)
        if (now->entry[n] >= 0) ck_assert(after[n] == (old->entry[n] >= 0 ? before[n] : 0.0f));
}

static void require_all_followed(const snapshot *old, const snapshot *now) {
    require_followed(old, now, old->value, now->value);
    require_followed(old, now, old->grad, now->grad);
    for (int n = 0; n < RBE_OPTIM_MAX_STATE; n++) require_followed(old, now, old->state[n], now->state[n]);
}

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
    fixture_init(&f, &options, rbe_adam);
    rbe_growth *growth = rbe_growth_new(f.model, f.optim, &(rbe_growth_options){.steps = 100, .every = 2});
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
    snapshot_take(&old, f.layer, f.optim);
    const float *values = b->values;
    require_ok(rbe_growth_step(growth, 2));
    snapshot_take(&now, f.layer, f.optim);
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
    rbe_growth *growth = rbe_growth_new(f->model, f->optim, options);
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
    snapshot_take(&before, f.layer, f.optim);
    train_grown(&f, &(rbe_growth_options){.steps = 60, .every = 4, .fraction = 0.5}, 60);
    snapshot_take(&after, f.layer, f.optim);
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
    require_ok(rbe_prune(f.model, f.optim, &(rbe_prune_options){.amount = 0.5}, &report));
    ck_assert_double_gt(report.removed_energy, 0.0);
    train_grown(&f, &(rbe_growth_options){.steps = 40, .every = 4}, 8);
    snapshot now;
    snapshot_take(&now, f.layer, f.optim);
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
    rbe_growth *growth = rbe_growth_new(f.model, f.optim, &(rbe_growth_options){.steps = 40, .every = 2});
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

START_TEST(test_growth_steps_allocate_nothing) {
    fixture f;
    fixture_init(&f, &usual, rbe_adam);
    rbe_growth *growth = rbe_growth_new(f.model, f.optim, &(rbe_growth_options){.steps = 1000, .every = 3});
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

/* The gradient of a large layer is never there as a whole: 1024 x 1024 floats would be 4 MiB. */
START_TEST(test_growth_memory_is_bounded) {
    enum { SIZE = 1024, BATCH = 8 };
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_linear_new(SIZE, SIZE, &(rbe_linear_options){.block = 32, .ratio = 64, .seed = 1}));
    rbe_optim *optim = rbe_optim_new(rbe_sgd, model, NULL);
    float *x = test_memory(BATCH * SIZE, sizeof *x);
    fill_normal(x, BATCH * SIZE, 1.0, 1);
    rbe_growth *growth = rbe_growth_new(model, optim, &(rbe_growth_options){.steps = 100, .every = 4});
    ck_assert_msg(growth != NULL, "%s", rbe_last_error());
    size_t peak[2];
    for (size_t step = 0; step < 6; step++) {
        rbe_tape *tape = rbe_tape_new(NULL);
        if (step == 2 || step == 4) rbe_memory_reset_peak();
        size_t before = rbe_memory().current;
        rbe_var *y = rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d(x, BATCH, SIZE)));
        require_ok(rbe_backward(rbe_mean(rbe_mul(y, y))));
        if (step == 2 || step == 4) peak[step / 2 - 1] = rbe_memory().peak - before;
        rbe_tape_free(tape);
        require_ok(rbe_optim_step(optim));
        require_ok(rbe_growth_step(growth, step));
    }
    ck_assert_uint_eq(rbe_growth_count(growth).exchanges, 1);
    ck_assert_uint_lt(peak[1] - peak[0], SIZE * SIZE * sizeof(float) / 4);
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
        ck_assert_ptr_null(rbe_growth_new(f.model, f.optim, &refused[n]));
        ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    }
    const rbe_growth_options good = {.steps = 10, .every = 1, .fraction = 1.0, .stop = 1.0};
    ck_assert_ptr_null(rbe_growth_new(f.model, f.optim, NULL));
    ck_assert_ptr_null(rbe_growth_new(NULL, f.optim, &good));
    ck_assert_ptr_null(rbe_growth_new(f.model, NULL, &good));
    ck_assert_int_eq(rbe_growth_step(NULL, 0), RBE_INVALID_ARGUMENT);
    rbe_growth_free(NULL);

    /* Two at once would undo each other's choice. */
    rbe_growth *one = rbe_growth_new(f.model, f.optim, &good), *two = rbe_growth_new(f.model, f.optim, &good);
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
    ck_assert_ptr_null(rbe_growth_new(dense, optim, &good));
    ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    rbe_optim_free(optim);
    rbe_model_free(dense);
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
            status == RBE_OK ? rbe_growth_new(f.model, f.optim, &(rbe_growth_options){.steps = 40, .every = 2}) : NULL;
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

/* ---- sensitivity --------------------------------------------------------------------------------------------- */

/* F and mean gradient sample by sample, each with a backward pass of its own. */
START_TEST(test_sensitivity_is_that_of_single_samples) {
    rbe_linear_options options = usual;
    options.group = (size_t)_i;
    fixture f;
    fixture_init(&f, &options, rbe_sgd);
    size_t count = f.layer->blocks->value_count;
    double *squares = test_memory(count, sizeof *squares), *gradient = test_memory(count, sizeof *gradient);
    for (size_t n = 0; n < ROWS; n++) {
        rbe_var *logits = rbe_model_forward(f.model, rbe_input(f.tape, rbe_tensor_2d(f.x + n * IN, 1, IN)));
        require_ok(rbe_backward(rbe_cross_entropy(logits, f.labels + n)));
        rbe_tape_reset(f.tape);
        for (size_t k = 0; k < count; k++) {
            double g = f.layer->params[0].grad[k];
            squares[k] += g * g / ROWS;
            gradient[k] += g / ROWS;
        }
        rbe_param *param;
        for (size_t k = 0; (param = rbe_model_param(f.model, k)); k++) param->grad_set = false;
    }
    rbe_sensitivity *s = rbe_sensitivity_new(f.model);
    ck_assert_ptr_null(rbe_sensitivity_of(s, f.layer)); /* no samples yet */
    enum { FIRST = 9 };
    require_ok(rbe_sensitivity_add(s, rbe_tensor_2d(f.x, FIRST, IN), f.labels));
    require_ok(rbe_sensitivity_add(s, rbe_tensor_2d(f.x + FIRST * IN, ROWS - FIRST, IN), f.labels + FIRST));
    ck_assert_uint_eq(rbe_sensitivity_samples(s), ROWS);
    const rbe_layer_sensitivity *l = rbe_sensitivity_of(s, f.layer);
    for (size_t k = 0; k < count; k++) {
        l->squares[k] /= ROWS;
        l->gradient[k] /= ROWS;
    }
    ck_assert_double_lt(relative_error(l->squares, squares, count), 1e-5);
    ck_assert_double_lt(relative_error(l->gradient, gradient, count), 1e-5);
    require_ok(train_step(&f)); /* no probe and no gradient is left behind */
    rbe_sensitivity_free(s);
    free(squares);
    free(gradient);
    fixture_free(&f);
}
END_TEST

START_TEST(test_sensitivity_refuses) {
    fixture f;
    fixture_init(&f, &usual, rbe_sgd);
    rbe_sensitivity *s = rbe_sensitivity_new(f.model);
    const rbe_tensor x = rbe_tensor_2d(f.x, ROWS, IN);
    f.labels[1] = CLASSES;
    ck_assert_int_eq(rbe_sensitivity_add(s, x, f.labels), RBE_INVALID_ARGUMENT);
    f.labels[1] = 0;
    ck_assert_int_eq(rbe_sensitivity_add(s, x, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_sensitivity_add(s, rbe_tensor_2d(f.x, ROWS, IN - 1), f.labels), RBE_INPUT_DIMENSION_MISMATCH);
    ck_assert_int_eq(rbe_sensitivity_add(s, (rbe_tensor){0}, f.labels), RBE_INVALID_ARGUMENT); /* no samples */
    ck_assert_int_eq(rbe_sensitivity_add(NULL, x, f.labels), RBE_INVALID_ARGUMENT);
    ck_assert_uint_eq(rbe_sensitivity_samples(s), 0);
    require_ok(backward(&f));
    rbe_tape_reset(f.tape);
    ck_assert_int_eq(rbe_sensitivity_add(s, x, f.labels), RBE_INVALID_ARGUMENT); /* a gradient would be lost */
    require_ok(rbe_optim_step(f.optim));
    require_ok(rbe_sensitivity_add(s, x, f.labels));
    require_ok(rbe_prune(f.model, f.optim, &(rbe_prune_options){.amount = 0.5}, NULL));
    ck_assert_int_eq(rbe_sensitivity_add(s, x, f.labels), RBE_INVALID_ARGUMENT); /* of other positions */
    ck_assert_ptr_null(rbe_sensitivity_of(s, f.layer));
    rbe_sensitivity_free(s);
    rbe_sensitivity_free(NULL);
    ck_assert_ptr_null(rbe_sensitivity_new(NULL));
    fixture_free(&f);
}
END_TEST

/* ---- pruning: what goes -------------------------------------------------------------------------------------- */

static float middle_magnitude(const rbe_blocks *b) {
    float sum = 0.0f;
    for (size_t n = 0; n < b->value_count; n++) sum += fabsf(b->values[n]);
    return sum / (float)b->value_count;
}

/* |c| <= threshold goes; an entry goes with the last of its values; the others stay as they are. */
START_TEST(test_threshold) {
    rbe_linear_options options = usual;
    options.group = (size_t)_i;
    fixture f;
    fixture_init(&f, &options, rbe_adam);
    for (int n = 0; n < 3; n++) require_ok(train_step(&f));
    const rbe_blocks *b = f.layer->blocks;
    const double threshold = fabsf(b->values[5]) > 0.0f ? fabsf(b->values[5]) : middle_magnitude(b);
    snapshot old, now;
    snapshot_take(&old, f.layer, f.optim);
    size_t removed, expected = 0;
    for (size_t n = 0; n < b->value_count; n++) expected += fabsf(b->values[n]) <= threshold;
    require_ok(rbe_adaptive_coefficient_pruning(&f.layer->base, f.optim, threshold, &removed));
    ck_assert_uint_eq(removed, expected);
    ck_assert_uint_gt(removed, 0);
    snapshot_take(&now, f.layer, f.optim);
    for (size_t g = 0; g < b->groups; g++)
        for (size_t i = 0; i < b->block; i++)
            for (size_t c = 0; c < old.columns; c++) {
                bool needed = false, stays = false;
                for (size_t m = 0; m < rbe_group_rows(b, g); m++) {
                    size_t at = ((g * b->group + m) * b->block + i) * old.columns + c;
                    bool weak = fabsf(old.value[at]) <= threshold;
                    needed |= old.entry[at] >= 0 && !weak;
                    stays |= now.entry[at] >= 0;
                    ck_assert(now.value[at] == (weak ? 0.0f : old.value[at]));
                    for (int s = 0; s < 2; s++) ck_assert(now.state[s][at] == (weak ? 0.0f : old.state[s][at]));
                }
                ck_assert_int_eq(needed, stays);
            }
    require_ok(rbe_adaptive_coefficient_pruning(&f.layer->base, f.optim, threshold, &removed));
    ck_assert_uint_eq(removed, 0); /* again: nothing is left to do */
    require_ok(train_step(&f));
    snapshot_free(&old);
    snapshot_free(&now);
    fixture_free(&f);
}
END_TEST

START_TEST(test_threshold_of_zero) {
    rbe_linear_options options = usual;
    options.group = 1;
    fixture f;
    fixture_init(&f, &options, rbe_adam);
    size_t removed, count = f.layer->blocks->value_count;
    require_ok(rbe_adaptive_coefficient_pruning(&f.layer->base, f.optim, 0.0, &removed));
    ck_assert_uint_eq(removed, 0);
    ck_assert(f.layer->blocks->drawn); /* untouched */
    f.layer->blocks->values[3] = 0.0f;
    f.layer->blocks->values[7] = -0.0f;
    require_ok(rbe_adaptive_coefficient_pruning(&f.layer->base, f.optim, 0.0, &removed));
    ck_assert_uint_eq(removed, 2);
    ck_assert_uint_eq(f.layer->blocks->value_count, count - 2);
    ck_assert(!f.layer->blocks->drawn);
    fixture_free(&f);
}
END_TEST

/* Scores by their definitions, of units as the options want them: an entry's is the mean over its rows. */
static double *brute_scores(const fixture *f, const rbe_prune_options *o, size_t *units, size_t *cost) {
    const rbe_blocks *b = f->layer->blocks;
    const rbe_layer_sensitivity *s = o->sensitivity ? rbe_sensitivity_of(o->sensitivity, f->layer) : NULL;
    double *score = test_memory(b->value_count, sizeof *score);
    *units = 0;
    for (size_t list = 0; list < b->groups * b->block; list++)
        for (size_t k = b->list_start[list]; k < b->list_start[list + 1]; k++) {
            size_t g = list / b->block, rows = rbe_group_rows(b, g);
            double sum = 0.0;
            for (size_t m = 0; m < rows; m++) {
                size_t n = (size_t)(rbe_entry_value(b, g, k, m) - b->values);
                double c = b->values[n];
                double one = o->score == RBE_PRUNE_MAGNITUDE ? c * c
                             : o->score == RBE_PRUNE_FISHER  ? 0.5 * s->squares[n] / ROWS * c * c
                                                             : fabs(c * s->gradient[n] / ROWS);
                if (o->single_values)
                    score[(*units)++] = one;
                else
                    sum += one / (double)rows;
            }
            if (o->single_values) continue;
            cost[*units] = rows;
            score[(*units)++] = sum;
        }
    return score;
}

static int descending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The kept scores are the largest ones: their sum is that of the largest of all. */
START_TEST(test_fraction_takes_the_smallest) {
    static const rbe_prune_score scores[] = {RBE_PRUNE_MAGNITUDE, RBE_PRUNE_FISHER, RBE_PRUNE_GRADIENT};
    rbe_linear_options options = usual;
    options.group = _i % 2 ? 1 : 7; /* one group of all block rows: all entries cost the same */
    fixture f;
    fixture_init(&f, &options, rbe_sgd);
    rbe_sensitivity *s = rbe_sensitivity_new(f.model);
    require_ok(rbe_sensitivity_add(s, rbe_tensor_2d(f.x, ROWS, IN), f.labels));
    const rbe_prune_options prune = {
        .score = scores[_i / 2], .amount = 0.4, .per_layer = true, .no_absorption = true, .sensitivity = s};
    size_t units, *cost = test_memory(f.layer->blocks->value_count, sizeof *cost);
    double *score = brute_scores(&f, &prune, &units, cost), expected = 0.0, found = 0.0;
    snapshot old, now;
    snapshot_take(&old, f.layer, f.optim);
    rbe_prune_report report;
    require_ok(rbe_prune(f.model, f.optim, &prune, &report));
    snapshot_take(&now, f.layer, f.optim);
    ck_assert_uint_eq(now.entries, units - (size_t)ceil(0.4 * (double)units - 1e-9));
    const rbe_blocks *b = f.layer->blocks;
    for (size_t p = 0, n; p < old.rows; p += b->group * b->block)
        for (n = p * old.columns; n < (p + b->block) * old.columns && n < old.rows * old.columns; n++)
            if (now.entry[n] >= 0) found += score[old.entry[n]];
    qsort(score, units, sizeof *score, descending);
    for (size_t n = 0; n < now.entries; n++) expected += score[n];
    ck_assert_double_eq_tol(found, expected, 1e-6 * expected);
    require_all_followed(&old, &now);
    free(score);
    free(cost);
    snapshot_free(&old);
    snapshot_free(&now);
    rbe_sensitivity_free(s);
    fixture_free(&f);
}
END_TEST

static size_t stored(const rbe_model *model) {
    size_t count = 0;
    for (size_t n = 0; rbe_model_layer(model, n); n++)
        count += rbe_blocks_describe(rbe_linear_blocks(rbe_model_layer(model, n))).coefficients;
    return count;
}

/* Over the whole network, whatever the score: to within a group of the share asked for. */
START_TEST(test_fraction_of_the_network) {
    static const double fractions[] = {0.0, 0.1, 0.5, 0.9, 1.0};
    for (size_t n = 0; n < sizeof fractions / sizeof *fractions; n++)
        for (int per_layer = 0; per_layer < 2; per_layer++) {
            fixture f;
            fixture_init(&f, &usual, rbe_adam);
            require_ok(train_step(&f));
            size_t before = stored(f.model);
            rbe_prune_report report;
            require_ok(
                rbe_prune(f.model, f.optim,
                          &(rbe_prune_options){
                              .score = RBE_PRUNE_RANDOM, .amount = fractions[n], .per_layer = per_layer, .seed = n},
                          &report));
            double expected = fractions[n] * (double)before;
            ck_assert_double_ge((double)(before - stored(f.model)), floor(expected));
            ck_assert_double_le((double)(before - stored(f.model)), fmin(expected + 4.0, (double)before));
            ck_assert_uint_eq(report.removed, before - stored(f.model));
            ck_assert_uint_eq(report.values_before - report.values_after, report.removed);
            ck_assert_uint_eq(report.bytes_after, rbe_model_describe_cost(f.model).bytes);
            for (int step = 0; step < 2; step++) require_ok(train_step(&f));
            fixture_free(&f);
        }
}
END_TEST

static double *dense_matrix(const rbe_blocks *b) {
    const rbe_blocks_info info = rbe_blocks_describe(b);
    reference *r = reference_new(&info);
    double *w = test_memory(info.out * info.in, sizeof *w);
    reference_dense(r, b, w);
    reference_free(r);
    return w;
}

/* A layer without any coefficient computes alpha and bias, forward and backward. */
START_TEST(test_pruned_to_nothing) {
    fixture f;
    fixture_init(&f, &usual, rbe_adam);
    require_ok(train_step(&f));
    size_t removed, count = f.layer->blocks->value_count;
    require_ok(rbe_adaptive_coefficient_pruning(&f.layer->base, f.optim, 1e30, &removed));
    ck_assert_uint_eq(removed, count);
    ck_assert_uint_eq(f.layer->blocks->entries, 0);
    ck_assert_uint_eq(f.layer->params[0].count, 0);
    rbe_var *y = rbe_layer_forward(&f.layer->base, rbe_input(f.tape, rbe_tensor_2d(f.x, ROWS, IN)));
    double *w = dense_matrix(f.layer->blocks), *x = widened(f.x, ROWS * IN);
    double *out = test_memory(ROWS * OUT, sizeof *out);
    double *bias = widened(f.layer->bias->value, OUT);
    reference_forward(w, bias, x, ROWS, OUT, IN, out);
    ck_assert_double_lt(relative_error(rbe_value(y)->data, out, ROWS * OUT), 1e-5);
    rbe_tape_reset(f.tape);
    for (int step = 0; step < 3; step++) require_ok(train_step(&f));
    require_ok(rbe_prune(f.model, f.optim, &(rbe_prune_options){.amount = 1.0}, NULL)); /* again, and the other */
    ck_assert_uint_eq(stored(f.model), 0);
    rbe_growth *growth = rbe_growth_new(f.model, f.optim, &(rbe_growth_options){.steps = 10, .every = 1});
    for (size_t step = 0; step < 4; step++) {
        require_ok(train_step(&f));
        require_ok(rbe_growth_step(growth, step));
    }
    rbe_growth_free(growth);
    free(w);
    free(x);
    free(out);
    free(bias);
    fixture_free(&f);
}
END_TEST

/* ---- pruning: absorption ------------------------------------------------------------------------------------- */

/* Squared norm of what remains of `d` (out x in) when in each block its projection on the eight functions, sampled
 * where the matrix has rows and columns, is taken off. */
static double unexplained(const rbe_blocks_info *info, const double *d) {
    double sum = 0.0;
    for (size_t p = 0; p < info->grid_rows; p++)
        for (size_t q = 0; q < info->grid_cols; q++) {
            size_t rows = info->out - p * info->block, columns = info->in - q * info->block, n = 0;
            if (rows > info->block) rows = info->block;
            if (columns > info->block) columns = info->block;
            size_t count = rows * columns;
            double *basis = test_memory((RBE_BASIS_COUNT + 1) * count, sizeof *basis),
                   *rest = basis + RBE_BASIS_COUNT * count;
            for (size_t i = 0; i < rows; i++)
                for (size_t j = 0; j < columns; j++, n++) {
                    rest[n] = d[(p * info->block + i) * info->in + q * info->block + j];
                    for (int k = 0; k < RBE_BASIS_COUNT; k++)
                        basis[(size_t)k * count + n] = rbe_basis_value(k, i, j, info->block);
                }
            /* Gram-Schmidt, twice for orthogonality; what depends on the others is left out. */
            for (size_t k = 0; k <= RBE_BASIS_COUNT; k++) {
                double *v = basis + k * count, first = 0.0, norm = 0.0;
                for (size_t i = 0; i < count; i++) first += v[i] * v[i];
                for (int twice = 0; twice < 2; twice++)
                    for (size_t l = 0; l < k; l++) {
                        double dot = 0.0;
                        for (size_t i = 0; i < count; i++) dot += v[i] * basis[l * count + i];
                        for (size_t i = 0; i < count; i++) v[i] -= dot * basis[l * count + i];
                    }
                for (size_t i = 0; i < count; i++) norm += v[i] * v[i];
                if (k == RBE_BASIS_COUNT) sum += norm;
                double scale = norm > 1e-12 * first ? 1.0 / sqrt(norm) : 0.0;
                for (size_t i = 0; i < count; i++) v[i] *= scale;
            }
            free(basis);
        }
    return sum;
}

static const struct absorption_case {
    const char *left, *right;
    size_t block, group;
    double amount;
    bool single_values;
} absorption_cases[] = {
    {"dct", "dct", 8, 1, 0.5, false},        {"dct", "dct", 16, 3, 0.9, false}, {"haar", "dct", 8, 2, 0.2, true},
    {"identity", "haar", 32, 2, 1.0, false}, {"wht", "db4", 16, 4, 0.6, true},  {"dct", "dct", 32, 16, 0.7, true},
};

enum { ABSORPTION_CASES = sizeof absorption_cases / sizeof *absorption_cases };

/* What W loses when a layer of its own is pruned. */
static double *loss_of_pruning(const struct absorption_case *c, bool absorb, rbe_blocks_info *info,
                               rbe_prune_report *report) {
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_linear_new(IN, OUT,
                                        &(rbe_linear_options){.block = c->block,
                                                              .group = c->group,
                                                              .ratio = 2,
                                                              .row_transform = rbe_transform_named(c->left),
                                                              .column_transform = rbe_transform_named(c->right),
                                                              .alpha = RBE_ALPHA_ON,
                                                              .seed = 9}));
    require_ok(rbe_model_status(model));
    const rbe_blocks *b = rbe_linear_blocks(rbe_model_layer(model, 0));
    double *lost = dense_matrix(b);
    require_ok(rbe_prune(
        model, NULL,
        &(rbe_prune_options){.amount = c->amount, .single_values = c->single_values, .no_absorption = !absorb},
        report));
    double *after = dense_matrix(b);
    for (size_t n = 0; n < IN * OUT; n++) lost[n] -= after[n];
    *info = rbe_blocks_describe(b);
    free(after);
    rbe_model_free(model);
    return lost;
}

static double sum_of_squares(const double *values, size_t count) {
    double sum = 0.0;
    for (size_t n = 0; n < count; n++) sum += values[n] * values[n];
    return sum;
}

/* The error of W is never larger than without absorption: it is that of the exact projection. */
START_TEST(test_absorption_is_the_projection) {
    rbe_blocks_info info;
    rbe_prune_report plain_report, report;
    double *plain = loss_of_pruning(&absorption_cases[_i], false, &info, &plain_report);
    double *absorbed = loss_of_pruning(&absorption_cases[_i], true, &info, &report);
    double before = sum_of_squares(plain, IN * OUT), after = sum_of_squares(absorbed, IN * OUT);
    ck_assert_double_le(after, before * (1.0 + 1e-9));
    ck_assert_double_eq_tol(after, unexplained(&info, plain), 1e-5 * before);
    ck_assert_double_eq_tol(plain_report.removed_energy, before, 1e-5 * before);
    ck_assert_double_eq_tol(report.removed_energy, before, 1e-5 * before);
    ck_assert(plain_report.absorbed_energy == 0.0);
    ck_assert_double_eq_tol(report.absorbed_energy, before - after, 1e-5 * before);
    ck_assert_uint_eq(report.removed, plain_report.removed);
    free(plain);
    free(absorbed);
}
END_TEST

/* ---- pruning: refit ------------------------------------------------------------------------------------------ */

/* Outputs of the first layer for the fixture's rows, as a copy. */
static double *outputs(fixture *f, const float *x) {
    rbe_var *y = rbe_layer_forward(&f->layer->base, rbe_input(f->tape, rbe_tensor_2d((float *)(uintptr_t)x, ROWS, IN)));
    double *copy = widened(rbe_value(y)->data, ROWS * OUT);
    rbe_tape_reset(f->tape);
    return copy;
}

/* For inputs that are not white: nearer than absorption gets, the mean outputs kept, and as near as can be: no kept
 * coefficient can be moved either way to less error. */
START_TEST(test_refit) {
    static const rbe_prune_options plain = {.amount = 0.6, .per_layer = true};
    double error[2];
    for (int refitted = 0; refitted < 2; refitted++) {
        rbe_linear_options options = usual;
        options.alpha = _i == 0 ? RBE_ALPHA_ON : RBE_ALPHA_OFF;
        fixture f;
        fixture_init(&f, &options, rbe_sgd);
        for (size_t n = 0; n < ROWS; n++) /* few directions, and a mean */
            for (size_t c = 0; c < IN; c++)
                f.x[n * IN + c] = 1.0f + f.x[n * IN] * sinf((float)c) + 0.3f * f.x[n * IN + c];
        double *before = outputs(&f, f.x);
        const rbe_tensor samples = rbe_tensor_2d(f.x, ROWS, IN);
        rbe_prune_options prune = plain;
        prune.refit = refitted ? &samples : NULL;
        require_ok(rbe_prune(f.model, f.optim, &prune, NULL));
        double *after = outputs(&f, f.x), means = 0.0;
        error[refitted] = 0.0;
        for (size_t o = 0; o < OUT; o++) {
            double mean = 0.0;
            for (size_t n = 0; n < ROWS; n++) mean += (before[n * OUT + o] - after[n * OUT + o]) / ROWS;
            for (size_t n = 0; n < ROWS; n++) {
                double d = before[n * OUT + o] - after[n * OUT + o] - mean;
                error[refitted] += d * d;
            }
            means += mean * mean;
        }
        if (refitted) ck_assert_double_lt(sqrt(means), 1e-4);
        const rbe_blocks *b = f.layer->blocks;
        for (size_t k = 0; refitted && k < b->value_count; k += 7)
            for (int sign = -1; sign <= 1; sign += 2) {
                float kept = b->values[k];
                b->values[k] += 0.05f * (float)sign;
                double *moved = outputs(&f, f.x), moved_error = 0.0;
                for (size_t o = 0; o < OUT; o++) {
                    double mean = 0.0;
                    for (size_t n = 0; n < ROWS; n++) mean += (before[n * OUT + o] - moved[n * OUT + o]) / ROWS;
                    for (size_t n = 0; n < ROWS; n++) {
                        double d = before[n * OUT + o] - moved[n * OUT + o] - mean;
                        moved_error += d * d;
                    }
                }
                ck_assert_double_ge(moved_error, error[1] * (1.0 - 1e-3));
                b->values[k] = kept;
                free(moved);
            }
        require_ok(train_step(&f));
        free(before);
        free(after);
        fixture_free(&f);
    }
    ck_assert_double_lt(error[1], 0.7 * error[0]);
}
END_TEST

START_TEST(test_refit_refuses) {
    fixture f;
    fixture_init(&f, &usual, rbe_sgd);
    rbe_tensor samples = rbe_tensor_2d(f.x, ROWS, IN);
    rbe_prune_options prune = {.amount = 0.5, .refit = &samples, .single_values = true};
    size_t count = stored(f.model);
    ck_assert_int_eq(rbe_prune(f.model, f.optim, &prune, NULL), RBE_INVALID_ARGUMENT);
    prune.single_values = false;
    samples = rbe_tensor_2d(f.x, 1, IN);
    ck_assert_int_eq(rbe_prune(f.model, f.optim, &prune, NULL), RBE_INVALID_ARGUMENT); /* one sample has no spread */
    samples = (rbe_tensor){0};
    ck_assert_int_eq(rbe_prune(f.model, f.optim, &prune, NULL), RBE_INVALID_ARGUMENT);
    samples = rbe_tensor_2d(f.x, ROWS, IN - 1);
    ck_assert_int_eq(rbe_prune(f.model, f.optim, &prune, NULL), RBE_INPUT_DIMENSION_MISMATCH);
    samples = rbe_tensor_2d(f.x, ROWS, IN);
    f.x[IN] = NAN;
    ck_assert_int_eq(rbe_prune(f.model, f.optim, &prune, NULL), RBE_NUMERICAL_INSTABILITY);
    ck_assert_uint_eq(stored(f.model), count);
    fixture_free(&f);
    rbe_linear_options overlap = usual;
    overlap.overlap = 2;
    overlap.alpha = RBE_ALPHA_OFF;
    fixture_init(&f, &overlap, rbe_sgd);
    samples = rbe_tensor_2d(f.x, ROWS, IN);
    ck_assert_int_eq(rbe_prune(f.model, f.optim, &prune, NULL), RBE_INVALID_ARGUMENT);
    fixture_free(&f);
}
END_TEST

/* ---- pruning: memory ----------------------------------------------------------------------------------------- */

/* A budget is kept and nearly used up, and what is counted is what is held. */
START_TEST(test_prune_to_bytes) {
    for (int per_layer = 0; per_layer < 2; per_layer++) {
        fixture f;
        fixture_init(&f, &usual, rbe_adam);
        require_ok(train_step(&f));
        size_t bytes = rbe_model_describe_cost(f.model).bytes, held = rbe_memory().current, before = stored(f.model);
        rbe_prune_options prune = {.by = RBE_PRUNE_TO_BYTES, .amount = (double)bytes, .per_layer = per_layer};
        rbe_prune_report report;
        require_ok(rbe_prune(f.model, f.optim, &prune, &report));
        ck_assert_uint_eq(report.removed, 0);
        prune.amount = 0.7 * (double)bytes;
        require_ok(rbe_prune(f.model, f.optim, &prune, &report));
        ck_assert_double_le((double)report.bytes_after, prune.amount);
        ck_assert_double_ge((double)report.bytes_after, prune.amount - 2 * 14 - 1); /* an entry's bytes a layer */
        ck_assert_uint_eq(report.bytes_before - report.bytes_after, bytes - rbe_model_describe_cost(f.model).bytes);
        /* The value itself is among the bytes; its gradient and two moments are freed too. */
        size_t freed = bytes - report.bytes_after + 3 * sizeof(float) * (before - stored(f.model));
        ck_assert_uint_eq(held - rbe_memory().current, freed);
        prune.amount = 100.0;
        snapshot old, now;
        snapshot_take(&old, f.layer, f.optim);
        ck_assert_int_eq(rbe_prune(f.model, f.optim, &prune, &report), RBE_INSUFFICIENT_COMPRESSION);
        snapshot_take(&now, f.layer, f.optim);
        ck_assert_uint_eq(now.entries, old.entries);
        require_all_followed(&old, &now);
        prune.amount = 0.0;
        ck_assert_int_eq(rbe_prune(f.model, f.optim, &prune, NULL), RBE_INSUFFICIENT_COMPRESSION);
        snapshot_free(&old);
        snapshot_free(&now);
        require_ok(train_step(&f));
        fixture_free(&f);
    }
}
END_TEST

START_TEST(test_prune_refuses) {
    static const rbe_prune_options refused[] = {
        {.amount = -0.1},
        {.amount = 1.1},
        {.amount = NAN},
        {.by = RBE_PRUNE_THRESHOLD, .amount = -1.0},
        {.by = RBE_PRUNE_THRESHOLD, .amount = NAN},
        {.by = RBE_PRUNE_THRESHOLD, .amount = INFINITY},
        {.by = RBE_PRUNE_TO_BYTES, .amount = 1e4, .single_values = true},
        {.by = (rbe_prune_by)9, .amount = 0.5},
        {.score = (rbe_prune_score)9, .amount = 0.5},
        {.score = RBE_PRUNE_FISHER, .amount = 0.5},
        {.score = RBE_PRUNE_GRADIENT, .amount = 0.5},
    };
    fixture f;
    fixture_init(&f, &usual, rbe_sgd);
    size_t count = stored(f.model), removed;
    for (size_t n = 0; n < sizeof refused / sizeof *refused; n++)
        ck_assert_int_eq(rbe_prune(f.model, f.optim, &refused[n], NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_prune(f.model, f.optim, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_prune(NULL, f.optim, &(rbe_prune_options){0}, NULL), RBE_INVALID_ARGUMENT);
    static const double thresholds[] = {-1.0, NAN, INFINITY};
    for (int n = 0; n < 3; n++)
        ck_assert_int_eq(rbe_adaptive_coefficient_pruning(&f.layer->base, f.optim, thresholds[n], &removed),
                         RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_adaptive_coefficient_pruning(NULL, NULL, 0.1, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_uint_eq(stored(f.model), count);
    fixture_free(&f);
    rbe_layer *dense = rbe_dense_new(3, 2, NULL);
    ck_assert_int_eq(rbe_adaptive_coefficient_pruning(dense, NULL, 0.1, NULL), RBE_INVALID_ARGUMENT);
    rbe_layer_free(dense);
}
END_TEST

/* Whichever request fails: the layers are as they were, or pruned. */
START_TEST(test_prune_when_allocations_fail) {
    static const rbe_prune_options fisher = {.score = RBE_PRUNE_FISHER, .amount = 0.5};
    failing_allocator allocator;
    bool reached = true;
    for (size_t n = 1; reached; n++) {
        fixture f;
        fixture_data(&f);
        failing_allocator_install(&allocator, n);
        rbe_status status = fixture_try(&f, &usual, rbe_adam);
        if (status == RBE_OK) status = train_step(&f);
        rbe_sensitivity *s = status == RBE_OK ? rbe_sensitivity_new(f.model) : NULL;
        status = s ? rbe_sensitivity_add(s, rbe_tensor_2d(f.x, ROWS, IN), f.labels) : RBE_INSUFFICIENT_MEMORY;
        if (status == RBE_OK) {
            snapshot old, now;
            size_t before = stored(f.model);
            const rbe_tensor samples = rbe_tensor_2d(f.x, ROWS, IN);
            rbe_prune_options prune = fisher;
            prune.sensitivity = s;
            prune.refit = _i == 1 ? &samples : NULL;
            snapshot_take(&old, f.layer, f.optim);
            status = rbe_prune(f.model, f.optim, &prune, NULL);
            snapshot_take(&now, f.layer, f.optim);
            if (_i == 0 || status != RBE_OK) require_all_followed(&old, &now);
            if (status == RBE_OK)
                ck_assert_uint_lt(stored(f.model), before);
            else
                ck_assert_uint_eq(stored(f.model), before);
            if (status != RBE_OK) require_ok(rbe_prune(f.model, f.optim, &prune, NULL));
            require_ok(train_step(&f));
            snapshot_free(&old);
            snapshot_free(&now);
        }
        ck_assert_int_eq(status, allocator.requests >= n ? RBE_INSUFFICIENT_MEMORY : RBE_OK);
        rbe_sensitivity_free(s);
        fixture_free(&f);
        reached = failing_allocator_remove(&allocator);
    }
}
END_TEST

/* ---- pruning during training --------------------------------------------------------------------------------- */

START_TEST(test_gradual) {
    ck_assert(rbe_prune_schedule(0.8, 10, 50, 9) == 0.0);
    ck_assert_double_eq_tol(rbe_prune_schedule(0.8, 10, 50, 29), 0.8 * 0.875, 1e-12); /* half way: 1 - 1/8 */
    ck_assert(rbe_prune_schedule(0.8, 10, 50, 49) == 0.8);
    ck_assert(rbe_prune_schedule(0.8, 10, 50, 1000) == 0.8);
    fixture f;
    fixture_init(&f, &usual, rbe_adam);
    size_t before = stored(f.model), last = before;
    const rbe_gradual_options options = {.final = 0.8, .begin = 4, .end = 24, .every = 3};
    rbe_gradual *gradual = rbe_gradual_new(f.model, f.optim, &options);
    for (size_t step = 0; step < 30; step++) {
        require_ok(train_step(&f));
        require_ok(rbe_gradual_step(gradual, step));
        double gone = 1.0 - (double)stored(f.model) / (double)before;
        ck_assert_double_le(gone, rbe_prune_schedule(0.8, 4, 24, step) + 4.0 / (double)before);
        if (step < 4) ck_assert_uint_eq(stored(f.model), before);
        ck_assert_uint_le(stored(f.model), last);
        last = stored(f.model);
    }
    ck_assert_double_eq_tol(1.0 - (double)last / (double)before, 0.8, 4.0 / (double)before);
    rbe_gradual_free(gradual);

    static const rbe_gradual_options refused[] = {
        {.final = 1.5, .end = 9},
        {.final = NAN, .end = 9},
        {.final = -0.5, .end = 9},
        {.final = 0.5, .begin = 9, .end = 9},
        {.final = 0.5, .end = 9, .prune.score = RBE_PRUNE_FISHER},
        {.final = 0.5, .end = 9, .prune.single_values = true},
    };
    for (size_t n = 0; n < sizeof refused / sizeof *refused; n++)
        ck_assert_ptr_null(rbe_gradual_new(f.model, f.optim, &refused[n]));
    ck_assert_ptr_null(rbe_gradual_new(f.model, f.optim, NULL));
    ck_assert_int_eq(rbe_gradual_step(NULL, 0), RBE_INVALID_ARGUMENT);
    rbe_gradual_free(NULL);
    fixture_free(&f);
}
END_TEST

/* Pruning between what growth sees and what it does: growth begins anew with fewer entries. */
START_TEST(test_growth_and_pruning_together) {
    fixture f;
    fixture_init(&f, &usual, rbe_adam);
    rbe_growth *growth = rbe_growth_new(f.model, f.optim, &(rbe_growth_options){.steps = 200, .every = 2});
    for (size_t step = 0; step < 30; step++) {
        require_ok(train_step(&f));
        if (step % 7 == 2) require_ok(rbe_prune(f.model, f.optim, &(rbe_prune_options){.amount = 0.1}, NULL));
        size_t count = stored(f.model);
        require_ok(rbe_growth_step(growth, step));
        if (step % 7 == 3) require_ok(rbe_prune(f.model, f.optim, &(rbe_prune_options){.amount = 0.05}, NULL));
        if (step % 7 != 3) ck_assert_uint_eq(stored(f.model), count);
        snapshot s;
        snapshot_take(&s, f.layer, f.optim);
        snapshot_free(&s);
    }
    ck_assert_uint_gt(rbe_growth_count(growth).exchanges, 0);
    rbe_growth_free(growth);
    fixture_free(&f);
}
END_TEST

/* ---- budgets ------------------------------------------------------------------------------------------------- */

static rbe_status ten_a_value(void *user, size_t values, size_t *bytes) {
    size_t *calls = user;
    *bytes = 1000 + 10 * values;
    return ++*calls < 100 ? RBE_OK : rbe_fail(RBE_STOPPED, "too many calls");
}

static rbe_status failing_measure(void *user, size_t values, size_t *bytes) {
    *bytes = 0;
    return values > *(size_t *)user ? rbe_fail(RBE_IO_ERROR, "the disk is full") : RBE_OK;
}

START_TEST(test_budgets) {
    static const rbe_layer_shape net[] = {{784, 300}, {300, 100}, {100, 10}};
    size_t budgets[3];
    require_ok(rbe_budget_values(net, 3, 15940, budgets)); /* ten times the joint fan of 1594 */
    ck_assert_uint_eq(budgets[2], 1000);                   /* 1100 would be more than it has */
    ck_assert_uint_eq(budgets[0] + budgets[1] + budgets[2], 15940);
    ck_assert_double_eq_tol((double)budgets[0] / (double)budgets[1], 1084.0 / 400.0, 1e-2);
    require_ok(rbe_budget_values(net, 3, 4000, budgets));
    ck_assert_double_eq_tol((double)budgets[2], 4000.0 * 110.0 / 1594.0, 1.0);
    ck_assert_uint_eq(budgets[0] + budgets[1] + budgets[2], 4000);
    require_ok(rbe_budget_values(net, 3, SIZE_MAX / 4096, budgets)); /* absurdly much: all dense */
    for (int n = 0; n < 3; n++) ck_assert_uint_eq(budgets[n], net[n].in * net[n].out);
    ck_assert_int_eq(rbe_budget_values(net, 3, 2, budgets), RBE_INSUFFICIENT_COMPRESSION);
    ck_assert_int_eq(rbe_budget_values(net, 3, 0, budgets), RBE_INSUFFICIENT_COMPRESSION);
    ck_assert_int_eq(rbe_budget_values(net, 0, 9, budgets), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_budget_values(NULL, 3, 9, budgets), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_budget_values((const rbe_layer_shape[]){{0, 4}}, 1, 9, budgets), RBE_INVALID_ARGUMENT);

    size_t calls = 0, values, limit = 50;
    require_ok(rbe_budget_fit(5000, 1, 100000, ten_a_value, &calls, &values));
    ck_assert_uint_eq(values, 400);
    calls = 0;
    require_ok(rbe_budget_fit(1u << 30, 1, 777, ten_a_value, &calls, &values));
    ck_assert_uint_eq(values, 777);
    ck_assert_int_eq(rbe_budget_fit(1009, 1, 777, ten_a_value, &calls, &values), RBE_INSUFFICIENT_COMPRESSION);
    ck_assert_int_eq(rbe_budget_fit(10, 1, 777, failing_measure, &limit, &values), RBE_IO_ERROR);
    ck_assert_int_eq(rbe_budget_fit(10, 8, 7, ten_a_value, &calls, &values), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_budget_fit(10, 1, 7, NULL, NULL, &values), RBE_INVALID_ARGUMENT);
}
END_TEST

/* ---- block size ---------------------------------------------------------------------------------------------- */

enum { SIDE = 128, SAMPLES = 40 };

/* A compressed layer of weights, in some block size. */
static rbe_layer *layer_of(const float *weights, size_t side, const rbe_compress_options *options) {
    rbe_blocks *blocks;
    require_ok(rbe_compress(&blocks, weights, side, side, options));
    rbe_layer *layer = rbe_linear_from_blocks(blocks, NULL, 0, &(rbe_linear_options){.name = "tuned"});
    ck_assert_msg(layer != NULL, "%s", rbe_last_error());
    return layer;
}

static void require_chosen(const rbe_layer *layer, const rbe_tune_report *report, size_t block) {
    const rbe_tune_candidate *chosen = &report->candidates[report->chosen];
    ck_assert_uint_eq(chosen->block, block);
    ck_assert_uint_eq(rbe_blocks_describe(rbe_linear_blocks(layer)).block, block);
    ck_assert_uint_eq(rbe_layer_describe_cost(layer).bytes, chosen->bytes);
    ck_assert_str_eq(rbe_layer_name(layer), "tuned");
    ck_assert_str_eq(rbe_layer_param(layer, 0)->name, "tuned.coefficients");
    for (size_t n = 0; n < report->count; n++) ck_assert_double_ge(chosen->score, report->candidates[n].score);
}

/* An atom of the cosine transform of `block` rows and columns at (row, column) of a SIDE x SIDE matrix. */
static void add_atom(float *w, size_t block, size_t row, size_t column, size_t i, size_t j) {
    const double pi = acos(-1.0);
    for (size_t r = 0; r < block; r++)
        for (size_t c = 0; c < block; c++)
            w[(row + r) * SIDE + column + c] +=
                (float)(cos(pi * (2.0 * (double)r + 1.0) * (double)i / (2.0 * (double)block)) *
                        cos(pi * (2.0 * (double)c + 1.0) * (double)j / (2.0 * (double)block)));
}

static const size_t tried[] = {16, 32, 128};

/* One wave in each of 32 scattered tiles of 16: 32 coefficients for B = 16, and many more for larger blocks; three
 * long waves over the whole matrix: three coefficients for B = 128, and some per block for smaller ones. */
START_TEST(test_block_size_by_structure) {
    static float w[SIDE * SIDE], x[SAMPLES * SIDE];
    bool local = _i == 0;
    memset(w, 0, sizeof w);
    for (size_t n = 0; local && n < 32; n++) add_atom(w, 16, n / 4 * 16, n * 5 % 8 * 16, 3 + n % 5, 2 + n % 7);
    for (size_t n = 0; !local && n < 3; n++) add_atom(w, SIDE, 0, 0, 2 + n, 5 - n);
    fill_normal(x, SAMPLES * SIDE, 1.0, 5);
    const double values = local ? 32.0 : 3.0;
    rbe_layer *layer = layer_of(
        w, SIDE,
        &(rbe_compress_options){.block = local ? 128 : 16, .ratio = SIDE * SIDE / values, .alpha = RBE_ALPHA_OFF});
    rbe_tune_report report;
    require_ok(rbe_optimize_block_size(
        layer, x, SAMPLES,
        &(rbe_tune_options){.blocks = tried, .block_count = 3, .accuracy = 1.0, .weights = w, .rounds = 1}, &report));
    require_chosen(layer, &report, local ? 16 : 128);
    ck_assert_uint_eq(report.count, 4);
    ck_assert_double_lt(report.candidates[report.chosen].error, 1e-5);
    ck_assert_double_gt(report.candidates[0].error, 0.1);
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *y = rbe_layer_forward(layer, rbe_input(tape, rbe_tensor_2d(x, SAMPLES, SIDE)));
    double *wide_w = widened(w, SIDE * SIDE), *wide_x = widened(x, SAMPLES * SIDE),
           *expected = test_memory(SAMPLES * SIDE, sizeof *expected);
    reference_forward(wide_w, NULL, wide_x, SAMPLES, SIDE, SIDE, expected);
    ck_assert_double_lt(relative_error(rbe_value(y)->data, expected, SAMPLES * SIDE), 1e-5);
    require_ok(rbe_backward(rbe_mean(rbe_mul(y, y)))); /* and it trains */
    free(wide_w);
    free(wide_x);
    free(expected);
    rbe_tape_free(tape);
    rbe_layer_free(layer);
}
END_TEST

/* A B-spline wavelet has no fast kernel: its transforms cost B operations per value, eight times more at 256. */
START_TEST(test_block_size_by_speed) {
    enum { WIDE = 512, ROWS_TIMED = 64 };
    float *w = test_memory(WIDE * WIDE, sizeof *w), *x = test_memory(ROWS_TIMED * WIDE, sizeof *x);
    fill_normal(w, WIDE * WIDE, 1.0, 1);
    fill_normal(x, ROWS_TIMED * WIDE, 1.0, 2);
    const rbe_transform *spline = rbe_transform_named("bspline309");
    rbe_layer *layer = layer_of(w, WIDE,
                                &(rbe_compress_options){.block = 256,
                                                        .group = 2,
                                                        .ratio = 64,
                                                        .row_transform = spline,
                                                        .column_transform = spline,
                                                        .alpha = RBE_ALPHA_OFF});
    static const size_t blocks[] = {32, 256};
    rbe_tune_report report;
    require_ok(rbe_optimize_block_size(layer, x, ROWS_TIMED,
                                       &(rbe_tune_options){.blocks = blocks, .block_count = 2, .speed = 1.0}, &report));
    require_chosen(layer, &report, 32);
    ck_assert_double_lt(report.candidates[1].seconds, report.candidates[0].seconds);
    free(w);
    free(x);
    rbe_layer_free(layer);
}
END_TEST

/* Whatever the layer: the score does not fall, and a layer that stays, stays as it is. */
START_TEST(test_block_size_is_never_worse) {
    static float x[SAMPLES * IN];
    fill_normal(x, SAMPLES * IN, 1.0, 4);
    static const size_t blocks[] = {8, 16, 64}, groups[] = {1, 4};
    const rbe_transform *const transforms[] = {rbe_transform_named("dct"), rbe_transform_named("haar")};
    for (uint64_t seed = 1; seed <= 4; seed++) {
        rbe_layer *layer =
            rbe_linear_new(IN, OUT, &(rbe_linear_options){.name = "tuned", .block = 16, .ratio = 4, .seed = seed});
        double *before = dense_matrix(rbe_linear_blocks(layer));
        rbe_tune_report report;
        require_ok(rbe_optimize_block_size(layer, x, SAMPLES,
                                           &(rbe_tune_options){.blocks = blocks,
                                                               .block_count = 3,
                                                               .groups = groups,
                                                               .group_count = 2,
                                                               .transforms = transforms,
                                                               .transform_count = 2,
                                                               .rounds = 3},
                                           &report));
        ck_assert_uint_gt(report.count, 8);
        ck_assert_double_lt(report.candidates[0].error, 1e-5);
        require_chosen(layer, &report, report.candidates[report.chosen].block);
        double *after = dense_matrix(rbe_linear_blocks(layer));
        if (report.chosen == 0) ck_assert_mem_eq(before, after, IN * OUT * sizeof *before);
        for (size_t n = 0; n < report.count; n++) {
            const rbe_tune_candidate *c = &report.candidates[n];
            ck_assert(c->memory_score > 0.0 && c->memory_score <= 1.0);
            ck_assert(c->speed_score > 0.0 && c->speed_score <= 1.0);
            ck_assert(c->accuracy_score >= 0.0 && c->accuracy_score <= 1.0);
            ck_assert_double_eq_tol(c->score, 0.3 * c->memory_score + 0.4 * c->speed_score + 0.3 * c->accuracy_score,
                                    1e-12);
        }
        free(before);
        free(after);
        rbe_layer_free(layer);
    }
}
END_TEST

START_TEST(test_block_size_refuses) {
    static float x[SAMPLES * IN];
    memset(x, 0, sizeof x);
    static const size_t bad[] = {24}, good[] = {16};
    static const rbe_tune_options refused[] = {
        {.blocks = bad, .block_count = 1},
        {.blocks = good, .block_count = 1, .memory = -1.0},
        {.blocks = good, .block_count = 1, .speed = NAN},
        {.blocks = good, .block_count = 1, .accuracy = INFINITY},
        {.blocks = good, .block_count = RBE_TUNE_MAX},
    };
    rbe_layer *layer = rbe_linear_new(IN, OUT, &usual), *dense = rbe_dense_new(IN, OUT, NULL);
    for (size_t n = 0; n < sizeof refused / sizeof *refused; n++)
        ck_assert_int_eq(rbe_optimize_block_size(layer, x, SAMPLES, &refused[n], NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_optimize_block_size(layer, x, 0, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_optimize_block_size(layer, NULL, SAMPLES, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_optimize_block_size(dense, x, SAMPLES, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_optimize_block_size(NULL, x, SAMPLES, NULL, NULL), RBE_INVALID_ARGUMENT);
    require_ok(rbe_optimize_block_size(layer, x, SAMPLES, &(rbe_tune_options){.blocks = good, .block_count = 1}, NULL));
    x[IN + 3] = NAN;
    ck_assert_int_eq(rbe_optimize_block_size(layer, x, SAMPLES, NULL, NULL), RBE_NUMERICAL_INSTABILITY);
    ck_assert_str_eq(rbe_last_error(), "block size: sample 1, input 3 is nan");
    rbe_layer_free(layer);
    rbe_layer_free(dense);
}
END_TEST

START_TEST(test_block_size_when_allocations_fail) {
    static float x[SAMPLES * IN];
    fill_normal(x, SAMPLES * IN, 1.0, 4);
    static const size_t blocks[] = {16};
    failing_allocator allocator;
    bool reached = true;
    for (size_t n = 1; reached; n++) {
        failing_allocator_install(&allocator, n);
        rbe_layer *layer = rbe_linear_new(IN, OUT, &usual);
        rbe_status status =
            layer ? rbe_optimize_block_size(layer, x, SAMPLES,
                                            &(rbe_tune_options){.blocks = blocks, .block_count = 1, .rounds = 1}, NULL)
                  : RBE_INSUFFICIENT_MEMORY;
        rbe_autotune_report report;
        if (status == RBE_OK) status = rbe_linear_autotune(layer, 4, &report);
        ck_assert_int_eq(status, allocator.requests >= n ? RBE_INSUFFICIENT_MEMORY : RBE_OK);
        if (layer && status != RBE_OK) { /* it is as it was */
            rbe_tape *tape = rbe_tape_new(NULL);
            rbe_var *y = rbe_layer_forward(layer, rbe_input(tape, rbe_tensor_2d(x, SAMPLES, IN)));
            require_ok(rbe_backward(rbe_mean(y)));
            rbe_tape_free(tape);
        }
        rbe_layer_free(layer);
        reached = failing_allocator_remove(&allocator);
    }
}
END_TEST

START_TEST(test_autotune) {
    rbe_layer *layer = rbe_linear_new(IN, OUT, &usual), *dense = rbe_dense_new(IN, OUT, NULL);
    rbe_autotune_report report;
    require_ok(rbe_linear_autotune(layer, 100, &report));
    ck_assert(report.seconds > 0.0 && report.dense_seconds > 0.0);
    ck_assert_int_eq(report.dense_is_faster, report.dense_seconds < report.seconds);
    ck_assert_int_eq(report.dense_is_faster, report.crossover == 0);
    ck_assert_uint_le(report.crossover, 100);
    ck_assert_int_eq(rbe_linear_autotune(layer, 0, &report), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_linear_autotune(layer, 4, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_linear_autotune(dense, 4, &report), RBE_INVALID_ARGUMENT);
    rbe_layer_free(layer);
    rbe_layer_free(dense);
}
END_TEST

/* ---- the suite ----------------------------------------------------------------------------------------------- */

/* ---- optimisers that were not told --------------------------------------------------------------------------- */

/* The count of a layer's values changes without its optimiser: the next step says so and changes nothing, and what
 * moves state along with positions leaves that of another count alone. */
START_TEST(test_optimiser_of_another_count_is_refused) {
    fixture f;
    fixture_init(&f, &usual, rbe_adam);
    require_ok(train_step(&f));
    const rbe_param *param = &f.layer->params[0];
    const size_t before = param->count;
    if (_i == 0) {
        require_ok(rbe_prune(f.model, NULL, &(rbe_prune_options){.amount = 0.5}, NULL));
    } else {
        static const size_t blocks[] = {16};
        float *w = normals(IN * OUT, 9);
        require_ok(rbe_optimize_block_size(
            &f.layer->base, f.x, ROWS,
            &(rbe_tune_options){.blocks = blocks, .block_count = 1, .accuracy = 1.0, .weights = w, .rounds = 1}, NULL));
        free(w);
    }
    ck_assert_uint_ne(param->count, before);
    float *values = test_memory(param->count, sizeof *values);
    memcpy(values, param->value, param->count * sizeof *values);
    char words[128];
    snprintf(words, sizeof words, "fc1.coefficients) has %zu values, the optimiser was made for %zu", param->count,
             before);
    ck_assert_int_eq(train_step(&f), RBE_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rbe_last_error(), words), "%s", rbe_last_error());
    ck_assert_mem_eq(param->value, values, param->count * sizeof *values);
    ck_assert_ptr_null(rbe_optim_state(f.optim, param, 0));
    require_ok(rbe_prune(f.model, f.optim, &(rbe_prune_options){.amount = 0.5}, NULL));
    ck_assert_int_eq(rbe_optim_step(f.optim), RBE_INVALID_ARGUMENT);

    rbe_optim_free(f.optim);
    f.optim = rbe_optim_new(rbe_adam, f.model, NULL);
    require_ok(train_step(&f));
    free(values);
    fixture_free(&f);
}
END_TEST

Suite *adapt_suite(void) {
    Suite *suite = suite_create("adapt");
    TCase *growth = tcase_create("growth");
    tcase_add_loop_test(growth, test_growth_takes_the_best, 0, GROWTH_CASES);
    tcase_add_loop_test(growth, test_growth_conserves, 0, GROWTH_CASES);
    tcase_add_test(growth, test_growth_with_overlap);
    tcase_add_test(growth, test_growth_repeats);
    tcase_add_test(growth, test_growth_stops);
    tcase_add_test(growth, test_growth_steps_allocate_nothing);
    tcase_add_test(growth, test_growth_memory_is_bounded);
    tcase_add_test(growth, test_growth_refuses);
    tcase_add_test(growth, test_growth_when_allocations_fail);
    tcase_add_test(growth, test_growth_group);
    suite_add_tcase(suite, growth);
    TCase *pruning = tcase_create("pruning");
    tcase_add_loop_test(pruning, test_sensitivity_is_that_of_single_samples, 1, 4);
    tcase_add_test(pruning, test_sensitivity_refuses);
    tcase_add_loop_test(pruning, test_threshold, 1, 5);
    tcase_add_test(pruning, test_threshold_of_zero);
    tcase_add_loop_test(pruning, test_fraction_takes_the_smallest, 0, 6);
    tcase_add_test(pruning, test_fraction_of_the_network);
    tcase_add_test(pruning, test_pruned_to_nothing);
    tcase_add_loop_test(pruning, test_absorption_is_the_projection, 0, ABSORPTION_CASES);
    tcase_add_test(pruning, test_prune_to_bytes);
    tcase_add_test(pruning, test_prune_refuses);
    tcase_add_loop_test(pruning, test_refit, 0, 2);
    tcase_add_test(pruning, test_refit_refuses);
    tcase_add_loop_test(pruning, test_prune_when_allocations_fail, 0, 2);
    tcase_add_test(pruning, test_gradual);
    tcase_add_test(pruning, test_growth_and_pruning_together);
    suite_add_tcase(suite, pruning);
    TCase *state = tcase_create("state");
    tcase_add_loop_test(state, test_optimiser_of_another_count_is_refused, 0, 2);
    suite_add_tcase(suite, state);
    TCase *budget = tcase_create("budget");
    tcase_add_test(budget, test_budgets);
    suite_add_tcase(suite, budget);
    TCase *tuning = tcase_create("tuning");
    tcase_add_loop_test(tuning, test_block_size_by_structure, 0, 2);
    tcase_add_test(tuning, test_block_size_by_speed);
    tcase_add_test(tuning, test_block_size_is_never_worse);
    tcase_add_test(tuning, test_block_size_refuses);
    tcase_add_test(tuning, test_block_size_when_allocations_fail);
    tcase_add_test(tuning, test_autotune);
    suite_add_tcase(suite, tuning);
    return suite;
}
