/* Pruning: sensitivities against single samples, what goes against the scores' definitions, the memory that it frees,
 * what is refused; gradual pruning; budgets. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adapt/sensitivity.h"
#include "adapt_support.h"
#include "io_support.h"
#include "reference.h"
#include "suites.h"

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
    require_ok(fixture_backward(&f));
    rbe_tape_reset(f.tape);
    ck_assert_int_eq(rbe_sensitivity_add(s, x, f.labels), RBE_INVALID_ARGUMENT); /* a gradient would be lost */
    require_ok(rbe_optim_step(f.optim));
    require_ok(rbe_sensitivity_add(s, x, f.labels));
    require_ok(rbe_prune(f.model, &(rbe_prune_options){.amount = 0.5}, NULL));
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
    snapshot_take(&old, f.layer);
    size_t removed, expected = 0;
    for (size_t n = 0; n < b->value_count; n++) expected += fabsf(b->values[n]) <= threshold;
    require_ok(rbe_adaptive_coefficient_pruning(&f.layer->base, threshold, &removed));
    ck_assert_uint_eq(removed, expected);
    ck_assert_uint_gt(removed, 0);
    snapshot_take(&now, f.layer);
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
    require_ok(rbe_adaptive_coefficient_pruning(&f.layer->base, threshold, &removed));
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
    require_ok(rbe_adaptive_coefficient_pruning(&f.layer->base, 0.0, &removed));
    ck_assert_uint_eq(removed, 0);
    ck_assert(f.layer->blocks->drawn); /* untouched */
    f.layer->blocks->values[3] = 0.0f;
    f.layer->blocks->values[7] = -0.0f;
    require_ok(rbe_adaptive_coefficient_pruning(&f.layer->base, 0.0, &removed));
    ck_assert_uint_eq(removed, 2);
    ck_assert_uint_eq(f.layer->blocks->value_count, count - 2);
    ck_assert(!f.layer->blocks->drawn);
    fixture_free(&f);
}
END_TEST

static double sum_of_squares(const rbe_blocks *b) {
    double sum = 0.0;
    for (size_t n = 0; n < b->value_count; n++) sum += (double)b->values[n] * (double)b->values[n];
    return sum;
}

/* Coefficients in units (values, or entries by their root mean square) of at most `threshold`. */
static size_t count_at_most(const rbe_blocks *b, double threshold, bool single_values) {
    size_t count = 0;
    for (size_t list = 0; list < b->groups * b->block; list++)
        for (size_t k = b->list_start[list]; k < b->list_start[list + 1]; k++) {
            size_t rows = rbe_group_rows(b, list / b->block), weak = 0;
            double squares = 0.0;
            for (size_t m = 0; m < rows; m++) {
                double c = *rbe_entry_value(b, list / b->block, k, m);
                squares += c * c / (double)rows;
                weak += fabs(c) <= threshold;
            }
            count += single_values ? weak : squares <= threshold * threshold ? rows : 0;
        }
    return count;
}

static rbe_linear_layer *layer_of(const fixture *f, size_t n) {
    return rbe_layer_as_linear(rbe_model_layer(f->model, n));
}

/* A relative threshold is in units of each layer's own root mean square. */
START_TEST(test_relative_threshold) {
    rbe_linear_options options = usual;
    options.group = (size_t)_i;
    for (int single = 0; single < 2; single++) {
        fixture f;
        fixture_init(&f, &options, rbe_adam);
        for (int n = 0; n < 3; n++) require_ok(train_step(&f));
        size_t expected[2], before = stored(f.model), removed = 0;
        for (size_t n = 0; n < 2; n++) {
            const rbe_blocks *b = layer_of(&f, n)->blocks;
            double unit = sqrt(sum_of_squares(b) / (double)b->value_count);
            expected[n] = count_at_most(b, 0.8 * unit, single);
            ck_assert_uint_gt(expected[n], 0);
            ck_assert_uint_lt(expected[n], b->value_count);
            removed += expected[n];
        }
        rbe_prune_report report;
        const rbe_prune_options prune = {
            .by = RBE_PRUNE_THRESHOLD, .relative = true, .amount = 0.8, .single_values = single};
        size_t counts[2] = {layer_of(&f, 0)->blocks->value_count, layer_of(&f, 1)->blocks->value_count};
        require_ok(rbe_prune(f.model, &prune, &report));
        ck_assert_uint_eq(report.removed, removed);
        if (!single) ck_assert_uint_eq(stored(f.model), before - removed);
        for (size_t n = 0; n < 2 && !single; n++)
            ck_assert_uint_eq(layer_of(&f, n)->blocks->value_count, counts[n] - expected[n]);
        require_ok(train_step(&f));
        fixture_free(&f);
    }
}
END_TEST

/* What is relative does not depend on the scale of a layer, what is absolute does. */
START_TEST(test_relative_threshold_has_no_scale) {
    size_t left[2][2];
    for (int scaled = 0; scaled < 2; scaled++)
        for (int relative = 0; relative < 2; relative++) {
            fixture f;
            fixture_init(&f, &usual, rbe_adam);
            rbe_blocks *b = f.layer->blocks;
            double unit = sqrt(sum_of_squares(b) / (double)b->value_count);
            for (size_t n = 0; n < b->value_count && scaled; n++) b->values[n] *= 1024.0f;
            require_ok(rbe_prune(f.model,
                                 &(rbe_prune_options){.by = RBE_PRUNE_THRESHOLD,
                                                      .relative = relative,
                                                      .amount = relative ? 0.8 : 0.8 * unit},
                                 NULL));
            left[scaled][relative] = b->value_count;
            fixture_free(&f);
        }
    ck_assert_uint_eq(left[0][0], left[0][1]);
    ck_assert_uint_eq(left[1][1], left[0][1]);
    ck_assert_uint_gt(left[1][0], left[0][0]);
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
    snapshot_take(&old, f.layer);
    rbe_prune_report report;
    require_ok(rbe_prune(f.model, &prune, &report));
    snapshot_take(&now, f.layer);
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
                rbe_prune(f.model,
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

/* A layer without any coefficient computes alpha and bias, forward and backward. */
START_TEST(test_pruned_to_nothing) {
    fixture f;
    fixture_init(&f, &usual, rbe_adam);
    require_ok(train_step(&f));
    size_t removed, count = f.layer->blocks->value_count;
    require_ok(rbe_adaptive_coefficient_pruning(&f.layer->base, 1e30, &removed));
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
    require_ok(rbe_prune(f.model, &(rbe_prune_options){.amount = 1.0}, NULL)); /* again, and the other */
    ck_assert_uint_eq(stored(f.model), 0);
    rbe_growth *growth = rbe_growth_new(f.model, &(rbe_growth_options){.steps = 10, .every = 1});
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

/* ---- pruning: memory ----------------------------------------------------------------------------------------- */

/* A budget is kept and nearly used up, and what is counted is what is held. */
START_TEST(test_prune_to_bytes) {
    for (int per_layer = 0; per_layer < 2; per_layer++) {
        fixture f;
        fixture_init(&f, &usual, rbe_adam);
        require_ok(train_step(&f));
        size_t gradients[2];
        ck_assert_ptr_nonnull(rbe_model_gradients(f.model, &gradients[0]));
        size_t whole = rbe_model_describe_cost(f.model).bytes, held = rbe_memory().current, before = stored(f.model);
        rbe_prune_options prune = {.by = RBE_PRUNE_TO_BYTES, .amount = (double)whole, .per_layer = per_layer};
        rbe_prune_report report;
        require_ok(rbe_prune(f.model, &prune, &report));
        ck_assert_uint_eq(report.removed, 0);
        prune.amount = 0.7 * (double)whole;
        require_ok(rbe_prune(f.model, &prune, &report));
        ck_assert_double_le((double)report.bytes_after, prune.amount);
        ck_assert_double_ge((double)report.bytes_after, prune.amount - 2 * 14 - 1); /* an entry's bytes a layer */
        ck_assert_uint_eq(report.bytes_before - report.bytes_after, whole - rbe_model_describe_cost(f.model).bytes);
        /* The value itself is among the bytes; its two averages are freed too, and the gradients' buffer gets smaller. */
        ck_assert_ptr_nonnull(rbe_model_gradients(f.model, &gradients[1]));
        ck_assert_uint_lt(gradients[1], gradients[0]);
        size_t freed = whole - report.bytes_after + 2 * sizeof(float) * (before - stored(f.model)) +
                       sizeof(float) * (gradients[0] - gradients[1]);
        ck_assert_uint_eq(held - rbe_memory().current, freed);
        prune.amount = 100.0;
        snapshot old, now;
        snapshot_take(&old, f.layer);
        ck_assert_int_eq(rbe_prune(f.model, &prune, &report), RBE_INSUFFICIENT_COMPRESSION);
        snapshot_take(&now, f.layer);
        ck_assert_uint_eq(now.entries, old.entries);
        require_all_followed(&old, &now);
        prune.amount = 0.0;
        ck_assert_int_eq(rbe_prune(f.model, &prune, NULL), RBE_INSUFFICIENT_COMPRESSION);
        snapshot_free(&old);
        snapshot_free(&now);
        require_ok(train_step(&f));
        fixture_free(&f);
    }
}
END_TEST

/* Half of the coefficients take about half of the memory and of the file, whose positions are stored in the same
 * form. */
START_TEST(test_half_takes_half) {
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_linear_new(256, 320, &(rbe_linear_options){.ratio = 8, .group = (size_t)_i}));
    require_ok(rbe_model_status(model));
    bytes before = saved(model, RBE_STORE_F32, RBE_POSITIONS_DELTA);
    rbe_prune_report report;
    require_ok(rbe_prune(model, &(rbe_prune_options){.amount = 0.5}, &report));
    bytes after = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    ck_assert_double_le((double)report.bytes_after, 0.6 * (double)report.bytes_before);
    ck_assert_double_le((double)after.count, 0.6 * (double)before.count);
    free(before.data);
    free(after.data);
    scratch_clear();
    rbe_model_free(model);
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
        {.relative = true, .amount = 0.5},
        {.by = RBE_PRUNE_TO_BYTES, .relative = true, .amount = 1e4},
        {.by = RBE_PRUNE_THRESHOLD, .relative = true, .score = RBE_PRUNE_RANDOM, .amount = 0.5},
    };
    fixture f;
    fixture_init(&f, &usual, rbe_sgd);
    size_t count = stored(f.model), removed;
    for (size_t n = 0; n < sizeof refused / sizeof *refused; n++)
        ck_assert_int_eq(rbe_prune(f.model, &refused[n], NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_prune(f.model, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_prune(NULL, &(rbe_prune_options){0}, NULL), RBE_INVALID_ARGUMENT);
    static const double thresholds[] = {-1.0, NAN, INFINITY};
    for (int n = 0; n < 3; n++)
        ck_assert_int_eq(rbe_adaptive_coefficient_pruning(&f.layer->base, thresholds[n], &removed),
                         RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_adaptive_coefficient_pruning(NULL, 0.1, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_uint_eq(stored(f.model), count);
    fixture_free(&f);
    rbe_layer *dense = rbe_dense_new(3, 2, NULL);
    ck_assert_int_eq(rbe_adaptive_coefficient_pruning(dense, 0.1, NULL), RBE_INVALID_ARGUMENT);
    rbe_layer_free(dense);
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
    rbe_gradual *gradual = rbe_gradual_new(f.model, &options);
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
        {.final = 0.5, .end = 9, .prune.relative = true},
        {.final = 100, .end = 9, .prune.by = RBE_PRUNE_TO_BYTES},
        {.final = -1, .end = 9, .prune.by = RBE_PRUNE_THRESHOLD},
        {.final = INFINITY, .end = 9, .prune.by = RBE_PRUNE_THRESHOLD},
        {.final = 0.5, .end = 9, .prune = {.by = RBE_PRUNE_THRESHOLD, .score = RBE_PRUNE_RANDOM}},
    };
    for (size_t n = 0; n < sizeof refused / sizeof *refused; n++)
        ck_assert_ptr_null(rbe_gradual_new(f.model, &refused[n]));
    ck_assert_ptr_null(rbe_gradual_new(f.model, NULL));
    ck_assert_int_eq(rbe_gradual_step(NULL, 0), RBE_INVALID_ARGUMENT);
    rbe_gradual_free(NULL);
    fixture_free(&f);
}
END_TEST

/* The threshold rises by the schedule; a relative one is in units of the root mean square over the coefficients that
 * the layer had at the beginning, whatever is left of them. */
START_TEST(test_gradual_threshold) {
    const bool relative = _i == 1;
    fixture f;
    fixture_init(&f, &usual, rbe_adam);
    const size_t counts[2] = {layer_of(&f, 0)->blocks->value_count, layer_of(&f, 1)->blocks->value_count};
    const double final = relative ? 0.9 : 0.9 * middle_magnitude(f.layer->blocks);
    const rbe_gradual_options options = {
        .prune = {.by = RBE_PRUNE_THRESHOLD, .relative = relative}, .final = final, .begin = 4, .end = 24, .every = 3};
    rbe_gradual *gradual = rbe_gradual_new(f.model, &options);
    ck_assert_ptr_nonnull(gradual);
    size_t changes = 0;
    for (size_t step = 0; step < 30; step++) {
        require_ok(train_step(&f));
        size_t expected[2];
        bool due = step + 1 > 4 && step + 1 <= 24 && ((step + 1 - 4) % 3 == 0 || step + 1 == 24);
        for (size_t n = 0; n < 2; n++) {
            const rbe_blocks *b = layer_of(&f, n)->blocks;
            double unit = relative ? sqrt(sum_of_squares(b) / (double)counts[n]) : 1.0;
            double threshold = rbe_prune_schedule(final, 4, 24, step) * unit;
            expected[n] = b->value_count - (due ? count_at_most(b, threshold, false) : 0);
            changes += expected[n] < b->value_count;
        }
        require_ok(rbe_gradual_step(gradual, step));
        for (size_t n = 0; n < 2; n++) ck_assert_uint_eq(layer_of(&f, n)->blocks->value_count, expected[n]);
    }
    ck_assert_uint_gt(changes, 4);
    ck_assert_uint_gt(stored(f.model), 0);
    rbe_gradual_free(gradual);
    fixture_free(&f);
}
END_TEST

/* A relative threshold of 1 leaves what is above the average, however often it is applied. */
START_TEST(test_gradual_threshold_ends) {
    fixture once, often;
    fixture_init(&once, &usual, rbe_sgd);
    fixture_init(&often, &usual, rbe_sgd);
    const rbe_prune_options prune = {.by = RBE_PRUNE_THRESHOLD, .relative = true, .amount = 1.0};
    require_ok(rbe_prune(once.model, &prune, NULL));
    const rbe_gradual_options options = {.prune = prune, .final = 1.0, .end = 40, .every = 1};
    rbe_gradual *gradual = rbe_gradual_new(often.model, &options);
    for (size_t step = 0; step < 40; step++) require_ok(rbe_gradual_step(gradual, step));
    ck_assert_uint_ge(stored(often.model), stored(once.model)); /* its unit falls as coefficients go */
    ck_assert_uint_gt(stored(once.model), 0);
    rbe_gradual_free(gradual);
    fixture_free(&once);
    fixture_free(&often);
}
END_TEST

/* Whichever request fails, there is no pruning and nothing is lost; or the model is as it was. */
START_TEST(test_gradual_when_allocations_fail) {
    failing_allocator allocator;
    bool reached = true;
    for (size_t n = 1; reached; n++) {
        fixture f;
        fixture_data(&f);
        failing_allocator_install(&allocator, n);
        rbe_status status = fixture_try(&f, &usual, rbe_sgd);
        const rbe_gradual_options options = {
            .prune = {.by = RBE_PRUNE_THRESHOLD, .relative = true}, .final = 1.0, .end = 1};
        rbe_gradual *gradual = status == RBE_OK ? rbe_gradual_new(f.model, &options) : NULL;
        status = RBE_INSUFFICIENT_MEMORY;
        if (gradual) {
            size_t before = stored(f.model);
            status = rbe_gradual_step(gradual, 0);
            if (status != RBE_OK) {
                ck_assert_uint_eq(stored(f.model), before);
                require_ok(rbe_gradual_step(gradual, 0));
            }
            ck_assert_uint_lt(stored(f.model), before);
        }
        ck_assert_int_eq(status, allocator.requests >= n ? RBE_INSUFFICIENT_MEMORY : RBE_OK);
        rbe_gradual_free(gradual);
        fixture_free(&f);
        reached = failing_allocator_remove(&allocator);
    }
}
END_TEST

/* ---- budgets ------------------------------------------------------------------------------------------------- */

static rbe_status ten_a_value(void *user, size_t values, size_t *size) {
    size_t *calls = user;
    *size = 1000 + 10 * values;
    return ++*calls < 100 ? RBE_OK : rbe_fail(RBE_STOPPED, "too many calls");
}

static rbe_status failing_measure(void *user, size_t values, size_t *size) {
    *size = 0;
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

/* ---- optimisers that were not told --------------------------------------------------------------------------- */

/* Another block size leaves nothing that the optimiser remembers: the next step says so and changes nothing. */
START_TEST(test_optimiser_of_another_matrix_is_refused) {
    fixture f;
    fixture_init(&f, &usual, rbe_adam);
    require_ok(train_step(&f));
    const rbe_param *param = &f.layer->params[0];
    static const size_t blocks[] = {16};
    float *w = normals(IN * OUT, 9);
    require_ok(rbe_optimize_block_size(
        &f.layer->base, f.x, ROWS,
        &(rbe_tune_options){.blocks = blocks, .block_count = 1, .accuracy = 1.0, .weights = w, .rounds = 1}, NULL));
    free(w);
    float *values = test_memory(param->count, sizeof *values);
    memcpy(values, param->value, param->count * sizeof *values);
    ck_assert_int_eq(train_step(&f), RBE_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rbe_last_error(), "fc1.coefficients) has") &&
                      strstr(rbe_last_error(), "values that the optimiser was not made for"),
                  "%s", rbe_last_error());
    ck_assert_mem_eq(param->value, values, param->count * sizeof *values);
    require_ok(rbe_prune(f.model, &(rbe_prune_options){.amount = 0.5}, NULL));
    ck_assert_int_eq(rbe_optim_step(f.optim), RBE_INVALID_ARGUMENT);

    rbe_optim_free(f.optim);
    f.optim = rbe_optim_new(rbe_adam, f.model, NULL);
    require_ok(train_step(&f));
    free(values);
    fixture_free(&f);
}
END_TEST

/* Frozen layers are left alone by a pruning of the model, and refused by one of the layer. */
START_TEST(test_frozen_layers_are_not_pruned) {
    fixture f;
    fixture_init(&f, &usual, rbe_adam);
    rbe_layer *other = rbe_model_layer(f.model, 1);
    const size_t before = f.layer->params[0].count, before_other = rbe_layer_param(other, 0)->count;
    rbe_layer_freeze(&f.layer->base, true);
    require_ok(rbe_prune(f.model, &(rbe_prune_options){.amount = 0.5}, NULL));
    ck_assert_uint_eq(f.layer->params[0].count, before);
    ck_assert_uint_lt(rbe_layer_param(other, 0)->count, before_other);
    ck_assert_int_eq(rbe_adaptive_coefficient_pruning(&f.layer->base, 1.0, NULL), RBE_INVALID_ARGUMENT);
    rbe_layer_freeze(other, true);
    ck_assert_int_eq(rbe_prune(f.model, &(rbe_prune_options){.amount = 0.5}, NULL), RBE_INVALID_ARGUMENT);
    rbe_layer_freeze(other, false);
    require_ok(rbe_prune(f.model, &(rbe_prune_options){.amount = 0.5}, NULL));
    fixture_free(&f);
}
END_TEST

/* ---- the suite ----------------------------------------------------------------------------------------------- */

Suite *prune_suite(void) {
    Suite *suite = suite_create("prune");
    TCase *scores = tcase_create("scores");
    tcase_add_loop_test(scores, test_sensitivity_is_that_of_single_samples, 1, 4);
    tcase_add_test(scores, test_sensitivity_refuses);
    suite_add_tcase(suite, scores);
    TCase *pruning = tcase_create("pruning");
    tcase_add_loop_test(pruning, test_threshold, 1, 5);
    tcase_add_test(pruning, test_threshold_of_zero);
    tcase_add_loop_test(pruning, test_relative_threshold, 1, 5);
    tcase_add_test(pruning, test_relative_threshold_has_no_scale);
    tcase_add_loop_test(pruning, test_fraction_takes_the_smallest, 0, 6);
    tcase_add_test(pruning, test_fraction_of_the_network);
    tcase_add_test(pruning, test_pruned_to_nothing);
    tcase_add_test(pruning, test_prune_to_bytes);
    tcase_add_loop_test(pruning, test_half_takes_half, 1, 5);
    tcase_add_test(pruning, test_prune_refuses);
    tcase_add_test(pruning, test_gradual);
    tcase_add_loop_test(pruning, test_gradual_threshold, 0, 2);
    tcase_add_test(pruning, test_gradual_threshold_ends);
    tcase_add_test(pruning, test_gradual_when_allocations_fail);
    suite_add_tcase(suite, pruning);
    TCase *budget = tcase_create("budget");
    tcase_add_test(budget, test_budgets);
    suite_add_tcase(suite, budget);
    TCase *state = tcase_create("state");
    tcase_add_test(state, test_optimiser_of_another_matrix_is_refused);
    tcase_add_test(state, test_frozen_layers_are_not_pruned);
    suite_add_tcase(suite, state);
    return suite;
}
