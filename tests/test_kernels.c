/* The product kernels against a dense reference in double precision, which is built from the definition:
 *
 *     W_pq = sum_l alpha_l Psi_l + L^T S_pq R,   Y = X W^T + b,   dX = dY W,   G = dY^T X (padded),
 *     dS = L G_pq R^T at the stored positions,   dalpha_l = <Psi_l, G_pq>,    db = column sums of dY
 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/column_sums.h"
#include "kernels/kernels.h"
#include "kernels/plan.h"
#include "suites.h"

#define FORWARD_TOLERANCE 1e-5
#define GRADIENT_TOLERANCE 1e-4

typedef struct shape {
    const char *row_transform, *column_transform;
    size_t block, out, in, group, rows;
    bool alpha;
    double density; /* mean share of the columns that a list stores */
} shape;

/* ---- random compressed matrices ------------------------------------------------------------------------------ */

static rbe_rng *rng;

static float *random_floats(size_t count) {
    float *values = rbe_alloc(count, sizeof *values);
    ck_assert_ptr_nonnull(values);
    for (size_t i = 0; i < count; i++) values[i] = (float)(2.0 * rbe_rng_uniform(rng) - 1.0);
    return values;
}

/* Every fifth list is empty, the others have any length up to twice the mean. */
static rbe_blocks make_blocks(const shape *s, bool wide_columns) {
    rbe_blocks w = {.out = s->out, .in = s->in, .block = s->block};
    while (((size_t)1 << w.log2_block) < w.block) w.log2_block++;
    w.grid_rows = (s->out + s->block - 1) / s->block;
    w.grid_cols = (s->in + s->block - 1) / s->block;
    w.group = s->group < w.grid_rows ? s->group : w.grid_rows;
    w.groups = (w.grid_rows + w.group - 1) / w.group;
    w.row_transform = rbe_transform_named(s->row_transform);
    w.column_transform = rbe_transform_named(s->column_transform);
    size_t columns = w.grid_cols * w.block;
    w.list_start = rbe_alloc(w.groups * w.block + 1, sizeof *w.list_start);
    uint32_t *column = rbe_alloc(w.groups * w.block * columns, sizeof *column);
    for (size_t g = 0; g < w.groups; g++)
        for (size_t i = 0; i < w.block; i++) {
            w.list_start[g * w.block + i] = (uint32_t)w.entries;
            double share = rbe_rng_below(rng, 5) == 0 ? 0.0 : 2.5 * s->density * rbe_rng_uniform(rng);
            size_t before = w.entries;
            for (uint32_t c = 0; c < columns; c++)
                if (rbe_rng_uniform(rng) < share) column[w.entries++] = c;
            w.value_count += (w.entries - before) * rbe_group_rows(&w, g);
        }
    w.list_start[w.groups * w.block] = (uint32_t)w.entries;
    if (wide_columns) {
        w.columns32 = rbe_alloc_zeroed(w.entries + RBE_COLUMN_PADDING, sizeof *w.columns32);
        memcpy(w.columns32, column, w.entries * sizeof *column);
    } else {
        w.columns16 = rbe_alloc_zeroed(w.entries + RBE_COLUMN_PADDING, sizeof *w.columns16);
        for (size_t k = 0; k < w.entries; k++) w.columns16[k] = (uint16_t)column[k];
    }
    rbe_free(column);
    w.values = random_floats(w.value_count);
    if (s->alpha) {
        w.alpha = random_floats(RBE_BASIS_COUNT * w.grid_rows * w.grid_cols);
        w.basis = rbe_basis_new(w.block);
    }
    return w;
}

static void free_blocks(rbe_blocks *w) {
    rbe_free(w->list_start);
    rbe_free(w->columns16);
    rbe_free(w->columns32);
    rbe_free(w->values);
    rbe_free(w->alpha);
    rbe_free(w->basis);
}

/* ---- the reference ------------------------------------------------------------------------------------------- */

typedef struct reference {
    double *left, *right; /* L and R */
    double *dense;        /* W, padded to whole blocks */
    double *y, *dx, *values, *alpha, *bias;
} reference;

static double *zeros(size_t count) {
    double *values = calloc(count ? count : 1, sizeof *values);
    ck_assert_ptr_nonnull(values);
    return values;
}

static size_t alpha_at(const rbe_blocks *w, size_t p, size_t q, size_t l) {
    size_t g = p / w->group;
    return rbe_group_alpha(w, g) + (l * w->grid_cols + q) * rbe_group_rows(w, g) + p % w->group;
}

/* target += L^T source R, or L source R^T: B x B with the given distances between rows. */
static void sandwich(const double *left, const double *right, bool transposed, size_t block, const double *source,
                     size_t source_step, double *target, size_t target_step) {
    double *half = zeros(block * block);
    for (size_t i = 0; i < block; i++)
        for (size_t k = 0; k < block; k++) {
            double value = source[i * source_step + k];
            if (value == 0.0) continue;
            for (size_t c = 0; c < block; c++)
                half[i * block + c] += value * (transposed ? right[c * block + k] : right[k * block + c]);
        }
    for (size_t r = 0; r < block; r++)
        for (size_t i = 0; i < block; i++) {
            double factor = transposed ? left[r * block + i] : left[i * block + r];
            if (factor == 0.0) continue;
            for (size_t c = 0; c < block; c++) target[r * target_step + c] += factor * half[i * block + c];
        }
    free(half);
}

static double *dense_matrix(const rbe_blocks *w, const double *left, const double *right) {
    size_t block = w->block, columns = w->grid_cols * block;
    double *coefficients = zeros(w->grid_rows * block * columns), *dense = zeros(w->grid_rows * block * columns);
    for (size_t p = 0; p < w->grid_rows; p++) {
        size_t g = p / w->group, rows = rbe_group_rows(w, g), start = w->list_start[g * block];
        for (size_t i = 0; i < block; i++)
            for (size_t k = w->list_start[g * block + i]; k < w->list_start[g * block + i + 1]; k++)
                coefficients[(p * block + i) * columns + rbe_column_at(w, k)] =
                    w->values[rbe_group_values(w, g) + (k - start) * rows + p % w->group];
        for (size_t q = 0; q < w->grid_cols; q++) {
            size_t at = p * block * columns + q * block;
            sandwich(left, right, false, block, coefficients + at, columns, dense + at, columns);
            for (int l = 0; w->alpha && l < RBE_BASIS_COUNT; l++)
                for (size_t r = 0; r < block; r++)
                    for (size_t c = 0; c < block; c++)
                        dense[at + r * columns + c] +=
                            w->alpha[alpha_at(w, p, q, (size_t)l)] * rbe_basis_psi(w->basis, l, r, c);
        }
    }
    free(coefficients);
    return dense;
}

static void parameter_gradients(const rbe_blocks *w, reference *r, const float *x, const float *dy, size_t rows) {
    size_t block = w->block, columns = w->grid_cols * block;
    double *gradient = zeros(w->grid_rows * block * columns), *transformed = zeros(w->grid_rows * block * columns);
    for (size_t n = 0; n < rows; n++)
        for (size_t o = 0; o < w->out; o++) {
            r->bias[o] += dy[n * w->out + o];
            for (size_t c = 0; c < w->in; c++)
                gradient[o * columns + c] += (double)dy[n * w->out + o] * x[n * w->in + c];
        }
    for (size_t p = 0; p < w->grid_rows; p++) {
        size_t g = p / w->group, group_rows = rbe_group_rows(w, g), start = w->list_start[g * block];
        for (size_t q = 0; q < w->grid_cols; q++) {
            size_t at = p * block * columns + q * block;
            sandwich(r->left, r->right, true, block, gradient + at, columns, transformed + at, columns);
            for (int l = 0; w->alpha && l < RBE_BASIS_COUNT; l++)
                for (size_t i = 0; i < block; i++)
                    for (size_t j = 0; j < block; j++)
                        r->alpha[alpha_at(w, p, q, (size_t)l)] +=
                            gradient[at + i * columns + j] * rbe_basis_psi(w->basis, l, i, j);
        }
        for (size_t i = 0; i < block; i++)
            for (size_t k = w->list_start[g * block + i]; k < w->list_start[g * block + i + 1]; k++)
                r->values[rbe_group_values(w, g) + (k - start) * group_rows + p % w->group] =
                    transformed[(p * block + i) * columns + rbe_column_at(w, k)];
    }
    free(gradient);
    free(transformed);
}

static reference make_reference(const rbe_blocks *w, const float *bias, const float *x, const float *dy, size_t rows) {
    size_t block = w->block, columns = w->grid_cols * block;
    reference r = {.left = zeros(block * block),
                   .right = zeros(block * block),
                   .y = zeros(rows * w->out),
                   .dx = zeros(rows * w->in),
                   .values = zeros(w->value_count),
                   .alpha = zeros(RBE_BASIS_COUNT * w->grid_rows * w->grid_cols),
                   .bias = zeros(w->out)};
    ck_assert_int_eq(rbe_transform_matrix(w->row_transform, block, r.left), RBE_OK);
    ck_assert_int_eq(rbe_transform_matrix(w->column_transform, block, r.right), RBE_OK);
    r.dense = dense_matrix(w, r.left, r.right);
    for (size_t n = 0; n < rows; n++)
        for (size_t o = 0; o < w->out; o++) {
            double sum = bias[o];
            for (size_t c = 0; c < w->in; c++) {
                sum += r.dense[o * columns + c] * x[n * w->in + c];
                r.dx[n * w->in + c] += r.dense[o * columns + c] * dy[n * w->out + o];
            }
            r.y[n * w->out + o] = sum;
        }
    parameter_gradients(w, &r, x, dy, rows);
    return r;
}

static void free_reference(reference *r) {
    free(r->left);
    free(r->right);
    free(r->dense);
    free(r->y);
    free(r->dx);
    free(r->values);
    free(r->alpha);
    free(r->bias);
}

/* ---- comparison ---------------------------------------------------------------------------------------------- */

/* Largest difference over the largest expected value; `was` is what the gradient was added to, or NULL. */
static double error_of(const float *found, const double *expected, const float *was, size_t count) {
    double difference = 0.0, size = 1e-30;
    for (size_t i = 0; i < count; i++) {
        double want = expected[i] + (was ? was[i] : 0.0);
        if (!isfinite(found[i])) return INFINITY;
        difference = fmax(difference, fabs(found[i] - want));
        size = fmax(size, fabs(want));
    }
    return difference / size;
}

static void expect_close(double error, double tolerance, const char *what, const shape *s) {
    ck_assert_msg(error <= tolerance, "%s: error %.2g; %s %s/%s B=%zu %zux%zu group %zu rows %zu alpha %d", what, error,
                  rbe_isa_name(), s->row_transform, s->column_transform, s->block, s->out, s->in, s->group, s->rows,
                  s->alpha);
}

typedef struct results {
    float *y, *dx, *values, *alpha, *bias;
} results;

static float *copy_floats(const float *from, size_t count) {
    float *copy = rbe_alloc(count, sizeof *copy);
    memcpy(copy, from, count * sizeof *copy);
    return copy;
}

static results results_like(const rbe_blocks *w, size_t rows, const results *like) {
    size_t alphas = w->alpha ? RBE_BASIS_COUNT * w->grid_rows * w->grid_cols : 0;
    if (like)
        return (results){copy_floats(like->y, rows * w->out), copy_floats(like->dx, rows * w->in),
                         copy_floats(like->values, w->value_count), copy_floats(like->alpha, alphas),
                         copy_floats(like->bias, w->out)};
    return (results){random_floats(rows * w->out), random_floats(rows * w->in), random_floats(w->value_count),
                     random_floats(alphas), random_floats(w->out)};
}

static void free_results(results *r) {
    rbe_free(r->y);
    rbe_free(r->dx);
    rbe_free(r->values);
    rbe_free(r->alpha);
    rbe_free(r->bias);
}

/* Forward, then backward; with `cached`, the backward product sees the cache of the forward one and no x. */
static void run(const rbe_plan *plan, const rbe_blocks *w, const float *bias, const float *x, const float *dy,
                size_t rows, bool cached, bool add, results *r) {
    const rbe_layout layout = rbe_plan_layout(plan, rows);
    float *cache = cached ? rbe_alloc(1, rbe_plan_cache_bytes(plan, rows)) : NULL;
    void *scratch = rbe_alloc(1, rbe_plan_forward_bytes(plan, &layout));
    rbe_plan_forward(plan, w, &layout, bias, x, r->y, cache, scratch);
    rbe_free(scratch);
    scratch = rbe_alloc(1, rbe_plan_backward_bytes(&layout));
    rbe_gradients gradients = {
        .dx = r->dx, .values = r->values, .alpha = w->alpha ? r->alpha : NULL, .add_dx = add, .add_parameters = add};
    rbe_plan_backward(plan, w, &layout, cached ? NULL : x, cache, dy, &gradients, scratch);
    rbe_column_sums(dy, rows, w->out, add, r->bias);
    rbe_free(scratch);
    rbe_free(cache);
}

static void compare(const rbe_blocks *w, const shape *s, const reference *r, const results *found, const results *was) {
    expect_close(error_of(found->y, r->y, NULL, s->rows * w->out), FORWARD_TOLERANCE, "y", s);
    expect_close(error_of(found->dx, r->dx, was ? was->dx : NULL, s->rows * w->in), GRADIENT_TOLERANCE, "dx", s);
    expect_close(error_of(found->values, r->values, was ? was->values : NULL, w->value_count), GRADIENT_TOLERANCE,
                 "values", s);
    if (w->alpha)
        expect_close(
            error_of(found->alpha, r->alpha, was ? was->alpha : NULL, RBE_BASIS_COUNT * w->grid_rows * w->grid_cols),
            GRADIENT_TOLERANCE, "alpha", s);
    expect_close(error_of(found->bias, r->bias, was ? was->bias : NULL, w->out), GRADIENT_TOLERANCE, "bias", s);
}

static const char *const isa_names[] = {"portable", "avx2", "avx512"};
enum { ISA_COUNT = sizeof isa_names / sizeof isa_names[0] };

static void setup(void) {
    rng = rbe_rng_new(7, 0);
    rbe_set_threads(1);
}

static void teardown(void) {
    rbe_rng_free(rng);
    rbe_isa_select(NULL);
    rbe_set_threads(1);
}

/* All instruction sets, both paths of a small batch, with and without cache, overwriting and adding. */
static void check_shape(const shape *s) {
    rbe_blocks w = make_blocks(s, false);
    rbe_plan *plan = rbe_plan_new(&w);
    float *bias = random_floats(w.out), *x = random_floats(s->rows * w.in), *dy = random_floats(s->rows * w.out);
    reference r = make_reference(&w, bias, x, dy, s->rows);
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        if (!rbe_isa_select(isa_names[isa])) continue;
        for (int variant = 0; variant < 2; variant++) {
            bool cached = variant == 1, add = variant == 1;
            rbe_plan_set_batch_threshold(plan, variant == 0 ? 0 : 16);
            results found = results_like(&w, s->rows, NULL), was = results_like(&w, s->rows, &found);
            run(plan, &w, bias, x, dy, s->rows, cached, add, &found);
            compare(&w, s, &r, &found, add ? &was : NULL);
            free_results(&found);
            free_results(&was);
        }
        rbe_plan_set_batch_threshold(plan, 16);
        if (s->rows < 16) {
            results found = results_like(&w, s->rows, NULL);
            run(plan, &w, bias, x, dy, s->rows, false, false, &found);
            compare(&w, s, &r, &found, NULL);
            free_results(&found);
        }
    }
    free_reference(&r);
    rbe_free(bias);
    rbe_free(x);
    rbe_free(dy);
    rbe_plan_free(plan);
    free_blocks(&w);
}

/* What a backward product in parts has said. */
typedef struct parts {
    const float *values, *expected;
    size_t end, count; /* values before `end` are not there yet; words so far */
} parts;

static void hear(void *user, size_t first) {
    parts *p = user;
    ck_assert_uint_lt(first, p->end);
    ck_assert_mem_eq(p->values + first, p->expected + first, (p->end - first) * sizeof *p->values);
    p->end = first;
    p->count++;
}

static void check_parts(const shape *s) {
    rbe_blocks w = make_blocks(s, false);
    rbe_plan *plan = rbe_plan_new(&w);
    float *x = random_floats(s->rows * w.in), *dy = random_floats(s->rows * w.out);
    results whole = results_like(&w, s->rows, NULL), found = results_like(&w, s->rows, &whole);
    for (int cached = 0; cached < 2; cached++) {
        const rbe_layout layout = rbe_plan_layout(plan, s->rows);
        rbe_layout together = layout;
        ck_assert(rbe_layout_join_runs(&together));
        float *cache = cached ? rbe_alloc(1, rbe_plan_cache_bytes(plan, s->rows)) : NULL;
        void *forward = rbe_alloc(1, rbe_plan_forward_bytes(plan, &layout));
        void *scratch = rbe_alloc(1, rbe_plan_backward_bytes(&together));
        rbe_plan_forward(plan, &w, &layout, NULL, x, whole.y, cache, forward);
        parts p = {.values = found.values, .expected = whole.values, .end = w.value_count};
        rbe_gradients g = {.dx = whole.dx, .values = whole.values, .alpha = w.alpha ? whole.alpha : NULL};
        g.add_dx = g.add_parameters = cached;
        rbe_plan_backward(plan, &w, &layout, x, cache, dy, &g, scratch);
        g.dx = found.dx, g.values = found.values, g.alpha = w.alpha ? found.alpha : NULL;
        g.written = hear, g.user = &p;
        rbe_plan_backward(plan, &w, &together, x, cache, dy, &g, scratch);
        ck_assert_uint_eq(p.end, 0);
        ck_assert_uint_eq(p.count, w.alpha ? 1 : 4);
        ck_assert_mem_eq(found.dx, whole.dx, s->rows * w.in * sizeof *x);
        if (w.alpha)
            ck_assert_mem_eq(found.alpha, whole.alpha, RBE_BASIS_COUNT * w.grid_rows * w.grid_cols * sizeof *x);
        if (!cached) { /* of frozen parameters there is only dX, and nothing to say */
            memset(found.dx, 0, s->rows * w.in * sizeof *x);
            g.values = g.alpha = NULL;
            rbe_plan_backward(plan, &w, &together, x, cache, dy, &g, scratch);
            ck_assert_mem_eq(found.dx, whole.dx, s->rows * w.in * sizeof *x);
            ck_assert_uint_eq(p.count, w.alpha ? 1 : 4);
        }
        rbe_free(cache), rbe_free(forward), rbe_free(scratch);
    }
    free_results(&whole), free_results(&found);
    rbe_free(x), rbe_free(dy);
    rbe_plan_free(plan);
    free_blocks(&w);
}

/* ---- tests --------------------------------------------------------------------------------------------------- */

/* For somebody who waits: the same bits, of one run of panels or many, and nothing is told too early. */
START_TEST(parts_give_the_same_bits) {
    static const shape shapes[] = {
        {"dct", "dct", 32, 300, 784, 16, 600, false, 0.06}, {"dct", "haar", 8, 37, 41, 1, 21, false, 0.3},
        {"dct", "dct", 16, 250, 256, 3, 300, false, 0.1},   {"dct", "dct", 32, 100, 300, 16, 70, true, 0.06},
        {"dct", "dct", 32, 30, 100, 16, 5, false, 0.1},
    };
    rbe_set_threads(1 + _i);
    for (size_t n = 0; n < sizeof shapes / sizeof shapes[0]; n++) check_parts(&shapes[n]);
    const shape large = {"dct", "dct", 32, 1024, 1024, 16, 1, false, 0.06};
    rbe_blocks w = make_blocks(&large, false);
    rbe_plan *plan = rbe_plan_new(&w);
    rbe_layout l = rbe_plan_layout(plan, 4096);
    const size_t before = l.runs_together;
    ck_assert(!rbe_layout_join_runs(&l));
    ck_assert_uint_eq(l.runs_together, before);
    rbe_plan_free(plan);
    free_blocks(&w);
}
END_TEST

START_TEST(every_transform) {
    for (size_t n = 0; rbe_transform_at(n); n++) {
        const char *name = rbe_transform_name(rbe_transform_at(n));
        for (size_t block = 8; block <= 64; block *= 2) {
            shape s = {name, name, block, 2 * block - 3, block + 5, 2, 21, n % 2 == 0, 0.1};
            check_shape(&s);
        }
    }
}
END_TEST

START_TEST(mixed_and_large_transforms) {
    static const shape shapes[] = {
        {"dct", "haar", 16, 40, 50, 3, 19, true, 0.1},     {"identity", "db4", 8, 40, 50, 3, 19, true, 0.1},
        {"wht", "dct", 32, 70, 100, 2, 19, false, 0.1},    {"db20", "identity", 16, 40, 50, 3, 19, true, 0.1},
        {"dct", "dct", 128, 130, 200, 2, 17, true, 0.05},  {"dct", "dct", 256, 256, 300, 1, 17, true, 0.02},
        {"haar", "wht", 128, 130, 128, 2, 17, true, 0.05}, {"db8", "haar", 256, 256, 256, 1, 17, true, 0.02},
        {"wht", "db20", 256, 256, 256, 1, 5, false, 0.02},
    };
    for (size_t n = 0; n < sizeof shapes / sizeof shapes[0]; n++) check_shape(&shapes[n]);
}
END_TEST

START_TEST(every_group_size) {
    for (size_t group = 1; group <= 17; group++)
        for (int alpha = 0; alpha < 2; alpha++) {
            shape s = {"dct", "dct", 8, 18 * 8 - 3, 21, group, 37, alpha == 1, 0.3};
            check_shape(&s);
            s.rows = 1 + group % 15;
            check_shape(&s);
        }
}
END_TEST

START_TEST(every_row_count) {
    for (size_t rows = 1; rows <= 129; rows++) {
        shape s = {"dct", "haar", 8, 35, 20, 1 + rows % 5, rows, rows % 3 > 0, 0.3};
        check_shape(&s);
    }
}
END_TEST

START_TEST(layers_of_real_size) {
    static const shape shapes[] = {
        {"dct", "dct", 32, 300, 784, 16, 40, true, 0.06}, {"dct", "dct", 32, 100, 300, 16, 70, true, 0.06},
        {"dct", "dct", 32, 10, 100, 16, 70, true, 0.06},  {"haar", "haar", 64, 256, 256, 16, 130, true, 0.06},
        {"dct", "dct", 16, 256, 256, 16, 3, true, 0.06},
    };
    for (size_t n = 0; n < sizeof shapes / sizeof shapes[0]; n++) check_shape(&shapes[n]);
}
END_TEST

/* Empty lists only; one dense list. */
START_TEST(extreme_lists) {
    for (int full = 0; full < 2; full++)
        for (size_t rows = 1; rows < 40; rows += 12) {
            shape s = {"dct", "dct", 8, 30, 19, 4, rows, true, full ? 100.0 : 0.0};
            check_shape(&s);
        }
}
END_TEST

START_TEST(wide_columns) {
    shape s = {"dct", "dct", 8, 30, 40, 4, 20, true, 0.3};
    rbe_blocks w = make_blocks(&s, true);
    rbe_plan *plan = rbe_plan_new(&w);
    float *bias = random_floats(w.out), *x = random_floats(s.rows * w.in), *dy = random_floats(s.rows * w.out);
    for (s.rows = 2; s.rows <= 20; s.rows += 18) {
        reference r = make_reference(&w, bias, x, dy, s.rows);
        results found = results_like(&w, s.rows, NULL);
        run(plan, &w, bias, x, dy, s.rows, false, false, &found);
        compare(&w, &s, &r, &found, NULL);
        free_results(&found);
        free_reference(&r);
    }
    rbe_free(bias);
    rbe_free(x);
    rbe_free(dy);
    rbe_plan_free(plan);
    free_blocks(&w);
}
END_TEST

/* Each gradient alone is what it is together with the others; without any of them nothing happens. */
START_TEST(single_gradients) {
    shape s = {"dct", "dct", 8, 30, 40, 4, 70, true, 0.3};
    rbe_blocks w = make_blocks(&s, false);
    rbe_plan *plan = rbe_plan_new(&w);
    float *bias = random_floats(w.out), *x = random_floats(s.rows * w.in), *dy = random_floats(s.rows * w.out);
    results all = results_like(&w, s.rows, NULL), one = results_like(&w, s.rows, NULL);
    run(plan, &w, bias, x, dy, s.rows, false, false, &all);
    const rbe_layout layout = rbe_plan_layout(plan, s.rows);
    void *scratch = rbe_alloc(1, rbe_plan_backward_bytes(&layout));
    rbe_plan_backward(plan, &w, &layout, NULL, NULL, dy, &(rbe_gradients){.dx = one.dx}, scratch);
    rbe_plan_backward(plan, &w, &layout, x, NULL, dy, &(rbe_gradients){.values = one.values}, scratch);
    rbe_plan_backward(plan, &w, &layout, x, NULL, dy, &(rbe_gradients){.alpha = one.alpha}, scratch);
    rbe_plan_backward(plan, &w, &layout, NULL, NULL, NULL, &(rbe_gradients){0}, NULL);
    ck_assert_mem_eq(one.dx, all.dx, s.rows * w.in * sizeof(float));
    ck_assert_mem_eq(one.values, all.values, w.value_count * sizeof(float));
    ck_assert_mem_eq(one.alpha, all.alpha, RBE_BASIS_COUNT * w.grid_rows * w.grid_cols * sizeof(float));
    rbe_free(scratch);
    free_results(&all);
    free_results(&one);
    rbe_free(bias);
    rbe_free(x);
    rbe_free(dy);
    rbe_plan_free(plan);
    free_blocks(&w);
}
END_TEST

/* An empty batch: nothing to compute, parameter gradients are zero. */
START_TEST(no_rows) {
    shape s = {"dct", "dct", 8, 30, 40, 4, 0, true, 0.3};
    rbe_blocks w = make_blocks(&s, false);
    rbe_plan *plan = rbe_plan_new(&w);
    float nothing = 0.0f, *bias = random_floats(w.out);
    results r = results_like(&w, 1, NULL);
    run(plan, &w, bias, &nothing, &nothing, 0, false, false, &r);
    for (size_t i = 0; i < w.value_count; i++) ck_assert_float_eq(r.values[i], 0.0f);
    free_results(&r);
    rbe_free(bias);
    rbe_plan_free(plan);
    free_blocks(&w);
}
END_TEST

/* The same bits of products and of sums over the rows. */
START_TEST(threads_change_no_bit) {
    static const size_t row_counts[] = {1, 17, 64, 100, 333, 1500};
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        if (!rbe_isa_select(isa_names[isa])) continue;
        for (size_t n = 0; n < sizeof row_counts / sizeof row_counts[0]; n++) {
            shape s = {"dct", "dct", 16, 100, 90, 1 + n * 2, row_counts[n], true, 0.2};
            rbe_blocks w = make_blocks(&s, false);
            rbe_plan *plan = rbe_plan_new(&w);
            float *bias = random_floats(w.out), *x = random_floats(s.rows * w.in);
            float *dy = random_floats(s.rows * w.out);
            results one = results_like(&w, s.rows, NULL);
            run(plan, &w, bias, x, dy, s.rows, false, false, &one);
            for (int threads = 2; threads <= 7; threads++) {
                results many = results_like(&w, s.rows, NULL);
                size_t alphas = RBE_BASIS_COUNT * w.grid_rows * w.grid_cols;
                rbe_set_threads(threads);
                run(plan, &w, bias, x, dy, s.rows, false, false, &many);
                rbe_set_threads(1);
                ck_assert_mem_eq(one.y, many.y, s.rows * w.out * sizeof(float));
                ck_assert_mem_eq(one.dx, many.dx, s.rows * w.in * sizeof(float));
                ck_assert_mem_eq(one.values, many.values, w.value_count * sizeof(float));
                ck_assert_mem_eq(one.alpha, many.alpha, alphas * sizeof(float));
                ck_assert_mem_eq(one.bias, many.bias, w.out * sizeof(float));
                free_results(&many);
            }
            free_results(&one);
            rbe_free(bias);
            rbe_free(x);
            rbe_free(dy);
            rbe_plan_free(plan);
            free_blocks(&w);
        }
    }
}
END_TEST

/* `bytes` bytes that touch a page nobody may read or write: after their end, or before their start. */
typedef struct guarded {
    char *pages;
    size_t bytes;
    void *memory;
} guarded;

static guarded guard(const void *source, size_t bytes, bool at_end) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (bytes + page - 1) / page * page;
    guarded g = {.bytes = inner + 2 * page};
    g.pages = mmap(NULL, g.bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(g.pages, MAP_FAILED);
    ck_assert_int_eq(mprotect(g.pages + page, inner, PROT_READ | PROT_WRITE), 0);
    g.memory = g.pages + page + (at_end ? inner - bytes : 0);
    if (source) memcpy(g.memory, source, bytes);
    return g;
}

/* Every array the kernels get is guarded, those of the matrix included. None is aligned to more than its elements. */
static void check_guarded(const shape *s) {
    rbe_blocks w = make_blocks(s, false);
    rbe_plan *plan = rbe_plan_new(&w);
    rbe_plan_set_batch_threshold(plan, 16);
    size_t inputs = s->rows * w.in * sizeof(float), outputs = s->rows * w.out * sizeof(float);
    size_t values = w.value_count * sizeof(float), out = w.out * sizeof(float);
    size_t alphas = w.alpha ? RBE_BASIS_COUNT * w.grid_rows * w.grid_cols * sizeof(float) : 0;
    size_t columns = (w.entries + RBE_COLUMN_PADDING) * sizeof *w.columns16;
    float *bias = random_floats(w.out), *x = random_floats(s->rows * w.in), *dy = random_floats(s->rows * w.out);
    reference r = make_reference(&w, bias, x, dy, s->rows);
    for (int at_end = 0; at_end < 2; at_end++) {
        guarded g[] = {
            guard(bias, out, at_end),       guard(x, inputs, at_end),           guard(dy, outputs, at_end),
            guard(NULL, outputs, at_end),   guard(NULL, inputs, at_end),        guard(NULL, values, at_end),
            guard(NULL, alphas, at_end),    guard(NULL, out, at_end),           guard(w.values, values, at_end),
            guard(w.alpha, alphas, at_end), guard(w.columns16, columns, at_end)};
        rbe_blocks safe = w;
        safe.values = g[8].memory;
        if (w.alpha) safe.alpha = g[9].memory;
        safe.columns16 = g[10].memory;
        results found = {g[3].memory, g[4].memory, g[5].memory, g[6].memory, g[7].memory};
        run(plan, &safe, g[0].memory, g[1].memory, g[2].memory, s->rows, false, false, &found);
        compare(&safe, s, &r, &found, NULL);
        for (size_t i = 0; i < sizeof g / sizeof g[0]; i++) munmap(g[i].pages, g[i].bytes);
    }
    free_reference(&r);
    rbe_free(bias);
    rbe_free(x);
    rbe_free(dy);
    rbe_plan_free(plan);
    free_blocks(&w);
}

START_TEST(nothing_outside_is_touched) {
    static const shape shapes[] = {
        {"dct", "dct", 8, 61, 43, 3, 33, true, 0.3},    {"haar", "dct", 32, 61, 97, 1, 5, false, 0.1},
        {"dct", "wht", 16, 161, 31, 10, 65, true, 0.3}, {"dct", "dct", 8, 61, 43, 5, 1, true, 0.3},
        {"dct", "db4", 64, 65, 129, 2, 7, true, 0.05},  {"dct", "dct", 32, 600, 130, 16, 13, true, 0.1},
    };
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        if (!rbe_isa_select(isa_names[isa])) continue;
        for (size_t n = 0; n < sizeof shapes / sizeof shapes[0]; n++) check_guarded(&shapes[n]);
    }
}
END_TEST

/* Every number of rows and columns up to two blocks and one. */
START_TEST(nothing_outside_is_touched_at_any_ragged_size) {
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        if (!rbe_isa_select(isa_names[isa])) continue;
        for (size_t out = 1; out <= 17; out++)
            for (size_t in = 1; in <= 17; in++)
                check_guarded(&(shape){"dct", "haar", 8, out, in, 1 + (out + in) % 3, 1 + (7 * out + 3 * in) % 37,
                                       in % 2 == 0, 0.5});
    }
}
END_TEST

/* Scratch does not grow with the batch, and a large layer at a usual batch needs a few megabytes. */
START_TEST(scratch_is_bounded) {
    rbe_blocks w = {.out = 4096, .in = 4096, .block = 64, .log2_block = 6, .grid_rows = 64, .grid_cols = 64};
    w.group = 16;
    w.groups = 4;
    w.row_transform = w.column_transform = rbe_transform_named("dct");
    rbe_plan *plan = rbe_plan_new(&w);
    rbe_set_threads(1);
    const rbe_layout few = rbe_plan_layout(plan, 64), many = rbe_plan_layout(plan, 1000);
    const rbe_layout most = rbe_plan_layout(plan, 100000);
    ck_assert_uint_le(rbe_plan_forward_bytes(plan, &few), 3u << 20);
    ck_assert_uint_le(rbe_plan_backward_bytes(&few), 5u << 20);
    ck_assert_uint_eq(rbe_plan_forward_bytes(plan, &many), rbe_plan_forward_bytes(plan, &most));
    ck_assert_uint_eq(rbe_plan_backward_bytes(&many), rbe_plan_backward_bytes(&most));
    rbe_plan_free(plan);
}
END_TEST

START_TEST(instruction_sets_have_names) {
    ck_assert(rbe_isa_select("portable"));
    ck_assert_str_eq(rbe_isa_name(), "portable");
    ck_assert(!rbe_isa_select("mmx"));
    ck_assert_str_eq(rbe_isa_name(), "portable");
    ck_assert(rbe_isa_select(NULL));
}
END_TEST

Suite *kernels_suite(void) {
    Suite *suite = suite_create("kernels");
    TCase *tests = tcase_create("products");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, every_transform);
    tcase_add_test(tests, mixed_and_large_transforms);
    tcase_add_test(tests, every_group_size);
    tcase_add_test(tests, every_row_count);
    tcase_add_test(tests, layers_of_real_size);
    tcase_add_test(tests, extreme_lists);
    tcase_add_test(tests, wide_columns);
    tcase_add_test(tests, single_gradients);
    tcase_add_test(tests, no_rows);
    tcase_add_loop_test(tests, parts_give_the_same_bits, 0, 2);
    tcase_add_test(tests, threads_change_no_bit);
    tcase_add_test(tests, nothing_outside_is_touched);
    tcase_add_test(tests, nothing_outside_is_touched_at_any_ragged_size);
    tcase_add_test(tests, scratch_is_bounded);
    tcase_add_test(tests, instruction_sets_have_names);
    suite_add_tcase(suite, tests);
    return suite;
}
