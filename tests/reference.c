#include "reference.h"

#include <cblas.h>
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

void *test_memory(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    ck_assert_ptr_nonnull(memory);
    return memory;
}

double *widened(const float *values, size_t count) {
    double *wide = test_memory(count, sizeof *wide);
    for (size_t i = 0; i < count; i++) wide[i] = (double)values[i];
    return wide;
}

/* C = op(A) op(B), m x n, inner extent k; all matrices contiguous. */
static void multiply(bool ta, bool tb, size_t m, size_t n, size_t k, const double *a, const double *b, double *c) {
    cblas_dgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k,
                1.0, a, (int)(ta ? m : k), b, (int)(tb ? k : n), 0.0, c, (int)n);
}

/* ---- blocks -------------------------------------------------------------------------------------------------- */

reference *reference_new(const rbe_blocks_info *info) {
    const size_t b = info->block;
    reference *r = test_memory(1, sizeof *r);
    r->info = *info;
    r->left = test_memory(b * b, sizeof(double));
    r->right = test_memory(b * b, sizeof(double));
    r->scratch = test_memory(b * b, sizeof(double));
    ck_assert_int_eq(rbe_transform_matrix(info->row_transform, b, r->left), RBE_OK);
    ck_assert_int_eq(rbe_transform_matrix(info->column_transform, b, r->right), RBE_OK);
    for (int k = 0; k < RBE_BASIS_COUNT; k++) {
        r->basis[k] = test_memory(b * b, sizeof(double));
        for (size_t i = 0; i < b * b; i++) r->basis[k][i] = rbe_basis_value(k, i / b, i % b, b);
    }
    return r;
}

void reference_free(reference *r) {
    for (int k = 0; k < RBE_BASIS_COUNT; k++) free(r->basis[k]);
    free(r->left);
    free(r->right);
    free(r->scratch);
    free(r);
}

void reference_cut(const reference *r, const double *w, size_t p, size_t q, double *cut) {
    const size_t b = r->info.block;
    for (size_t i = 0; i < b; i++)
        for (size_t j = 0; j < b; j++) {
            const size_t row = p * b + i, column = q * b + j;
            const bool inside = row < r->info.out && column < r->info.in;
            cut[i * b + j] = inside ? w[row * r->info.in + column] : 0.0;
        }
}

void reference_analyse(reference *r, const double *m, double *s) {
    const size_t b = r->info.block;
    multiply(false, false, b, b, b, r->left, m, r->scratch);
    multiply(false, true, b, b, b, r->scratch, r->right, s);
}

void reference_moments(const reference *r, const double *m, double moments[RBE_BASIS_COUNT]) {
    const size_t b = r->info.block;
    for (int k = 0; k < RBE_BASIS_COUNT; k++) moments[k] = cblas_ddot((int)(b * b), r->basis[k], 1, m, 1);
}

void reference_dense(reference *r, const rbe_blocks *blocks, double *w) {
    const size_t b = r->info.block, in = r->info.in;
    double *s = test_memory(b * b, sizeof *s), *tile = test_memory(b * b, sizeof *tile);
    reference_views views;
    reference_read(&views, blocks);
    for (size_t index = 0; index < views.blocks; index++) {
        memset(s, 0, b * b * sizeof *s);
        for (size_t n = views.start[index]; n < views.start[index + 1]; n++) {
            const rbe_coefficient c = views.coefficients[n];
            s[c.freq_i * b + c.freq_j] += (double)c.value;
        }
        multiply(true, false, b, b, b, r->left, s, r->scratch);
        multiply(false, false, b, b, b, r->scratch, r->right, tile);
        for (int k = 0; k < RBE_BASIS_COUNT; k++)
            cblas_daxpy((int)(b * b), views.alpha[index * RBE_BASIS_COUNT + (size_t)k], r->basis[k], 1, tile, 1);
        const size_t top = index / r->info.grid_cols * b, first = index % r->info.grid_cols * b;
        for (size_t i = 0; i < b && top + i < r->info.out; i++)
            for (size_t j = 0; j < b && first + j < in; j++) w[(top + i) * in + first + j] = tile[i * b + j];
    }
    reference_views_free(&views);
    free(s);
    free(tile);
}

/* ---- views --------------------------------------------------------------------------------------------------- */

void reference_read(reference_views *views, const rbe_blocks *blocks) {
    const rbe_blocks_info info = rbe_blocks_describe(blocks);
    views->blocks = info.grid_rows * info.grid_cols;
    views->total = 0;
    views->alpha = test_memory(views->blocks * RBE_BASIS_COUNT, sizeof(double));
    views->coefficients = test_memory(info.coefficients, sizeof *views->coefficients);
    views->start = test_memory(views->blocks + 1, sizeof *views->start);
    for (size_t index = 0; index < views->blocks; index++) {
        const size_t count = rbe_blocks_get(blocks, index / info.grid_cols, index % info.grid_cols,
                                            &views->alpha[index * RBE_BASIS_COUNT], &views->coefficients[views->total],
                                            info.coefficients - views->total);
        views->total += count;
        views->start[index + 1] = views->total;
        ck_assert_uint_le(views->total, info.coefficients);
    }
    ck_assert_uint_eq(views->total, info.coefficients);
}

void reference_views_free(reference_views *views) {
    free(views->alpha);
    free(views->coefficients);
    free(views->start);
}

/* ---- dense products ------------------------------------------------------------------------------------------ */

void reference_forward(const double *w, const double *bias, const double *x, size_t rows, size_t out, size_t in,
                       double *y) {
    multiply(false, true, rows, out, in, x, w, y);
    for (size_t n = 0; bias && n < rows; n++) cblas_daxpy((int)out, 1.0, bias, 1, &y[n * out], 1);
}

void reference_backward(const double *w, const double *x, const double *dy, size_t rows, size_t out, size_t in,
                        double *dx, double *dw, double *dbias) {
    multiply(false, false, rows, in, out, dy, w, dx);
    multiply(true, false, out, in, rows, dy, x, dw);
    memset(dbias, 0, out * sizeof *dbias);
    for (size_t n = 0; n < rows; n++) cblas_daxpy((int)out, 1.0, &dy[n * out], 1, dbias, 1);
}

/* ---- random matrices ----------------------------------------------------------------------------------------- */

rbe_blocks *random_blocks(size_t out, size_t in, size_t per_block, const rbe_compress_options *options, uint64_t seed) {
    const size_t b = options->block, rows = (out + b - 1) / b, columns = (in + b - 1) / b;
    const size_t group = options->group ? options->group : 1;
    ck_assert_uint_le(per_block, b * b);
    rbe_block *source = test_memory(rows * columns, sizeof *source);
    rbe_coefficient *list = test_memory(rows * columns * per_block, sizeof *list);
    uint32_t *order = test_memory(b * b, sizeof *order);
    rbe_rng *rng = rbe_rng_new(seed, 7);
    for (size_t index = 0; index < rows * columns; index++) {
        rbe_coefficient *mine = &list[index * per_block];
        source[index].coefficients = mine;
        source[index].count = per_block;
        for (int k = 0; options->alpha == RBE_ALPHA_ON && k < RBE_BASIS_COUNT; k++)
            source[index].alpha[k] = rbe_rng_normal(rng);
        const bool leads = index / columns % group == 0; /* the group's first block row chooses the positions */
        if (leads)
            for (size_t i = 0; i < b * b; i++) order[i] = (uint32_t)i;
        for (size_t k = 0; k < per_block; k++) {
            if (leads) {
                const size_t other = k + rbe_rng_below(rng, (uint32_t)(b * b - k));
                const uint32_t drawn = order[other];
                order[other] = order[k];
                order[k] = drawn;
                mine[k] = (rbe_coefficient){(uint16_t)(drawn / b), (uint16_t)(drawn % b), 0.0F};
            } else {
                mine[k] = list[(index - columns) * per_block + k];
            }
            mine[k].value = (float)rbe_rng_normal(rng);
        }
    }
    rbe_blocks *blocks = NULL;
    const rbe_status status = rbe_blocks_build(&blocks, out, in, source, rows * columns, options);
    ck_assert_msg(status == RBE_OK, "%s", rbe_last_error());
    rbe_rng_free(rng);
    free(order);
    free(list);
    free(source);
    return blocks;
}

/* ---- layers -------------------------------------------------------------------------------------------------- */

rbe_param *layer_part(const rbe_layer *layer, const char *name) {
    for (size_t n = 0; rbe_layer_param(layer, n); n++)
        if (strcmp(rbe_layer_param(layer, n)->part, name) == 0) return rbe_layer_param(layer, n);
    return NULL;
}

float *normals(size_t count, uint64_t seed) {
    float *values = test_memory(count, sizeof *values);
    fill_normal(values, count, 1.0, seed);
    return values;
}

layer_reference layer_reference_of(rbe_layer *layer) {
    ck_assert_msg(layer != NULL, "%s", rbe_last_error());
    const rbe_blocks *blocks = rbe_linear_blocks(layer);
    const rbe_blocks_info info = rbe_blocks_describe(blocks);
    layer_reference f = {.in = info.in, .out = info.out, .layer = layer, .r = reference_new(&info)};
    ck_assert_uint_eq(rbe_layer_inputs(layer), info.in);
    ck_assert_uint_eq(rbe_layer_outputs(layer), info.out);
    reference_read(&f.views, blocks);
    f.w = test_memory(f.in * f.out, sizeof(double));
    reference_dense(f.r, blocks, f.w);
    const rbe_param *bias = layer_part(layer, "bias");
    if (bias) f.bias = widened(bias->value, f.out);
    return f;
}

void layer_reference_free(layer_reference *f) {
    reference_views_free(&f->views);
    reference_free(f->r);
    rbe_layer_free(f->layer);
    free(f->w);
    free(f->bias);
}

void consume_gradients(const rbe_layer *layer) {
    for (size_t n = 0; rbe_layer_param(layer, n); n++) rbe_layer_param(layer, n)->grad_set = false;
}

void run_layer(const rbe_layer *layer, rbe_tensor x, const float *g, float *y, float *dx) {
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = g == NULL});
    rbe_var *input = rbe_variable(tape, x), *output = rbe_layer_forward(layer, input);
    ck_assert_msg(rbe_tape_status(tape) == RBE_OK, "%s", rbe_tape_error(tape));
    const rbe_tensor *value = rbe_value(output);
    ck_assert_int_eq(value->dims, x.dims);
    for (int d = 0; d < x.dims - 1; d++) ck_assert_uint_eq(value->shape[d], x.shape[d]);
    ck_assert_uint_eq(rbe_tensor_columns(value), rbe_layer_outputs(layer));
    memcpy(y, value->data, rbe_tensor_count(value) * sizeof *y);
    if (g) {
        rbe_tensor weight = *value;
        weight.data = (float *)g;
        ck_assert_ok(rbe_backward(rbe_sum(rbe_mul(output, rbe_input(tape, weight)))));
        ck_assert_ptr_nonnull(rbe_grad(input));
        memcpy(dx, rbe_grad(input), rbe_tensor_count(&x) * sizeof *dx);
    }
    rbe_tape_free(tape);
}

/* Gradients of all blocks against <atom, dW> and <Phi_k, dW>, each kind as one array. */
static void block_errors(layer_reference *f, const double *dw, product_errors *e) {
    const rbe_blocks_info *info = &f->r->info;
    const size_t b = info->block, blocks = f->views.blocks;
    double *tile = test_memory(b * b, sizeof *tile), *s = test_memory(b * b, sizeof *s);
    double *expected = test_memory(f->views.total, sizeof *expected);
    double *expected_alpha = test_memory(blocks * RBE_BASIS_COUNT, sizeof *expected_alpha);
    float *found = test_memory(f->views.total, sizeof *found);
    float *found_alpha = test_memory(blocks * RBE_BASIS_COUNT, sizeof *found_alpha);
    rbe_coefficient *list = test_memory(b * b, sizeof *list);
    for (size_t index = 0; index < blocks; index++) {
        const size_t p = index / info->grid_cols, q = index % info->grid_cols, start = f->views.start[index];
        double alpha[RBE_BASIS_COUNT];
        const size_t count = rbe_linear_get_gradients(f->layer, p, q, alpha, list, b * b);
        ck_assert_uint_eq(count, f->views.start[index + 1] - start);
        reference_cut(f->r, dw, p, q, tile);
        reference_analyse(f->r, tile, s);
        reference_moments(f->r, tile, &expected_alpha[index * RBE_BASIS_COUNT]);
        for (int k = 0; k < RBE_BASIS_COUNT; k++) found_alpha[index * RBE_BASIS_COUNT + (size_t)k] = (float)alpha[k];
        bool same_positions = true;
        for (size_t n = 0; n < count; n++) {
            const rbe_coefficient *c = &f->views.coefficients[start + n];
            same_positions = same_positions && c->freq_i == list[n].freq_i && c->freq_j == list[n].freq_j;
            expected[start + n] = s[c->freq_i * b + c->freq_j];
            found[start + n] = list[n].value;
        }
        ck_assert(same_positions);
    }
    e->coefficients = relative_error(found, expected, f->views.total);
    e->alpha = info->has_alpha ? relative_error(found_alpha, expected_alpha, blocks * RBE_BASIS_COUNT) : 0.0;
    free(tile);
    free(s);
    free(expected);
    free(expected_alpha);
    free(found);
    free(found_alpha);
    free(list);
}

product_errors product_errors_of(layer_reference *f, size_t rows, uint64_t seed) {
    float *x = normals(rows * f->in, seed), *g = normals(rows * f->out, seed + 1);
    float *y = test_memory(rows * f->out, sizeof *y), *dx = test_memory(rows * f->in, sizeof *dx);
    consume_gradients(f->layer);
    run_layer(f->layer, rbe_tensor_2d(x, rows, f->in), g, y, dx);

    double *wide_x = widened(x, rows * f->in), *wide_g = widened(g, rows * f->out);
    double *expected_y = test_memory(rows * f->out, sizeof(double));
    double *expected_dx = test_memory(rows * f->in, sizeof(double));
    double *dw = test_memory(f->out * f->in, sizeof(double)), *dbias = test_memory(f->out, sizeof(double));
    reference_forward(f->w, f->bias, wide_x, rows, f->out, f->in, expected_y);
    reference_backward(f->w, wide_x, wide_g, rows, f->out, f->in, expected_dx, dw, dbias);
    product_errors e = {.y = relative_error(y, expected_y, rows * f->out),
                        .dx = relative_error(dx, expected_dx, rows * f->in)};
    if (f->bias) e.bias = relative_error(layer_part(f->layer, "bias")->grad, dbias, f->out);
    block_errors(f, dw, &e);

    double *const wide[] = {wide_x, wide_g, expected_y, expected_dx, dw, dbias};
    float *const narrow[] = {x, g, y, dx};
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) free(wide[i]);
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++) free(narrow[i]);
    return e;
}
