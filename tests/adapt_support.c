/* A small model of two compressed layers, and snapshots of one. */
#include "adapt_support.h"

#include <stdlib.h>
#include <string.h>

#include "reference.h"

/* ---- a model, its data, a training step ---------------------------------------------------------------------- */

const rbe_linear_options usual = {.block = BLOCK, .ratio = 4, .group = 3, .alpha = RBE_ALPHA_ON, .seed = 7};

void fixture_data(fixture *f) {
    memset(f, 0, sizeof *f);
    fill_normal(f->x, ROWS * IN, 1.0, 3);
    for (int32_t n = 0; n < ROWS; n++) f->labels[n] = n % CLASSES;
}

rbe_status fixture_try(fixture *f, const rbe_linear_options *first, const rbe_optim_method *method) {
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

void fixture_init(fixture *f, const rbe_linear_options *first, const rbe_optim_method *method) {
    fixture_data(f);
    ck_assert_msg(fixture_try(f, first, method) == RBE_OK, "%s", rbe_last_error());
}

void fixture_free(fixture *f) {
    rbe_tape_free(f->tape);
    rbe_optim_free(f->optim);
    rbe_model_free(f->model);
}

rbe_status fixture_backward(fixture *f) {
    rbe_var *logits = rbe_model_forward(f->model, rbe_input(f->tape, rbe_tensor_2d(f->x, ROWS, IN)));
    return rbe_backward(rbe_cross_entropy(logits, f->labels));
}

rbe_status train_step(fixture *f) {
    rbe_status status = fixture_backward(f);
    rbe_tape_reset(f->tape);
    return status == RBE_OK ? rbe_optim_step(f->optim) : status;
}

size_t stored(const rbe_model *model) {
    size_t count = 0;
    for (size_t n = 0; rbe_model_layer(model, n); n++)
        count += rbe_blocks_describe(rbe_linear_blocks(rbe_model_layer(model, n))).coefficients;
    return count;
}

double *dense_matrix(const rbe_blocks *b) {
    const rbe_blocks_info info = rbe_blocks_describe(b);
    reference *r = reference_new(&info);
    double *w = test_memory(info.out * info.in, sizeof *w);
    reference_dense(r, b, w);
    reference_free(r);
    return w;
}

/* ---- a layer's lists and what stands at them, to compare ----------------------------------------------------- */

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

void snapshot_take(snapshot *s, const rbe_linear_layer *layer) {
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
    for (size_t n = 0; n < RBE_OPTIM_MAX_STATE; n++) {
        float **companion = rbe_param_array((rbe_param *)param, 2 + n);
        s->state[n] = spread(s, b, companion ? *companion : NULL);
    }
}

void snapshot_free(snapshot *s) {
    free(s->entry);
    free(s->value);
    free(s->grad);
    for (int n = 0; n < RBE_OPTIM_MAX_STATE; n++) free(s->state[n]);
    free(s->list_start);
}

static void require_followed(const snapshot *old, const snapshot *now, const float *before, const float *after) {
    ck_assert_int_eq(before == NULL, after == NULL);
    for (size_t n = 0; before && n < now->rows * now->columns; n++)
        if (now->entry[n] >= 0) ck_assert(after[n] == (old->entry[n] >= 0 ? before[n] : 0.0f));
}

void require_all_followed(const snapshot *old, const snapshot *now) {
    require_followed(old, now, old->value, now->value);
    require_followed(old, now, old->grad, now->grad);
    for (int n = 0; n < RBE_OPTIM_MAX_STATE; n++) require_followed(old, now, old->state[n], now->state[n]);
}
