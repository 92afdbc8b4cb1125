/* What pruning does about the loss: absorption into alpha against the exact projection, refit against small moves of
 * every coefficient. */
#include <math.h>
#include <stdlib.h>

#include "adapt/sensitivity.h"
#include "adapt_support.h"
#include "reference.h"
#include "suites.h"

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
        model, &(rbe_prune_options){.amount = c->amount, .single_values = c->single_values, .no_absorption = !absorb},
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
        require_ok(rbe_prune(f.model, &prune, NULL));
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
    ck_assert_int_eq(rbe_prune(f.model, &prune, NULL), RBE_INVALID_ARGUMENT);
    prune.single_values = false;
    samples = rbe_tensor_2d(f.x, 1, IN);
    ck_assert_int_eq(rbe_prune(f.model, &prune, NULL), RBE_INVALID_ARGUMENT); /* one sample has no spread */
    samples = (rbe_tensor){0};
    ck_assert_int_eq(rbe_prune(f.model, &prune, NULL), RBE_INVALID_ARGUMENT);
    samples = rbe_tensor_2d(f.x, ROWS, IN - 1);
    ck_assert_int_eq(rbe_prune(f.model, &prune, NULL), RBE_INPUT_DIMENSION_MISMATCH);
    samples = rbe_tensor_2d(f.x, ROWS, IN);
    f.x[IN] = NAN;
    ck_assert_int_eq(rbe_prune(f.model, &prune, NULL), RBE_NUMERICAL_INSTABILITY);
    ck_assert_uint_eq(stored(f.model), count);
    fixture_free(&f);
    rbe_linear_options overlap = usual;
    overlap.overlap = 2;
    overlap.alpha = RBE_ALPHA_OFF;
    fixture_init(&f, &overlap, rbe_sgd);
    samples = rbe_tensor_2d(f.x, ROWS, IN);
    ck_assert_int_eq(rbe_prune(f.model, &prune, NULL), RBE_INVALID_ARGUMENT);
    fixture_free(&f);
}
END_TEST

/* ---- memory that cannot be had ------------------------------------------------------------------------------- */

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
            snapshot_take(&old, f.layer);
            status = rbe_prune(f.model, &prune, NULL);
            snapshot_take(&now, f.layer);
            if (_i == 0 || status != RBE_OK) require_all_followed(&old, &now);
            if (status == RBE_OK)
                ck_assert_uint_lt(stored(f.model), before);
            else
                ck_assert_uint_eq(stored(f.model), before);
            if (status != RBE_OK) require_ok(rbe_prune(f.model, &prune, NULL));
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

/* ---- the suite ----------------------------------------------------------------------------------------------- */

Suite *repair_suite(void) {
    Suite *suite = suite_create("repair");
    TCase *repair = tcase_create("repair");
    tcase_add_loop_test(repair, test_absorption_is_the_projection, 0, ABSORPTION_CASES);
    tcase_add_loop_test(repair, test_refit, 0, 2);
    tcase_add_test(repair, test_refit_refuses);
    tcase_add_loop_test(repair, test_prune_when_allocations_fail, 0, 2);
    suite_add_tcase(suite, repair);
    return suite;
}
