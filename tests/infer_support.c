#include "infer_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/plan.h"
#include "support.h"

small_library small;

/* Tests run in processes of their own, each of which opens the library anew: so it reads RBE_ISA. */
bool small_library_load(const char *isa) {
    if (isa && !rbe_isa_select(isa)) return false;
    if (isa) setenv("RBE_ISA", isa, 1);
    if (!small.rbe_version) ck_assert_ok(small_library_open(&small));
    return true;
}

/* ---- models --------------------------------------------------------------------------------------------------- */

void check_same_model(const rbe_model *a, const rbe_model *b) {
    const rbe_layer *layer;
    const rbe_param *param;
    size_t n = 0;
    for (; (layer = rbe_model_layer(a, n)); n++) {
        const rbe_layer *other = small.rbe_model_layer(b, n);
        ck_assert_str_eq(rbe_layer_kind(layer), small.rbe_layer_kind(other));
        ck_assert_str_eq(rbe_layer_path(layer), small.rbe_layer_path(other));
        ck_assert_uint_eq(rbe_layer_outputs(layer), small.rbe_layer_outputs(other));
    }
    ck_assert_ptr_null(small.rbe_model_layer(b, n));
    for (n = 0; (param = rbe_model_param(a, n)); n++) {
        const rbe_param *other = small.rbe_model_param(b, n);
        ck_assert_str_eq(param->name, other->name);
        ck_assert(param->count == other->count && param->bits == other->bits);
        ck_assert_mem_eq(param->value, other->value, param->count * sizeof *param->value);
    }
    ck_assert_ptr_null(small.rbe_model_param(b, n));
}

/* ---- outputs ------------------------------------------------------------------------------------------------- */

static float *outputs_of(__typeof__(rbe_predict) *predict, const rbe_model *model, size_t rows, uint64_t seed,
                         size_t *count) {
    size_t in = 0, out = 0;
    const rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++) {
        if (in == 0) in = rbe_layer_inputs(layer);
        if (rbe_layer_outputs(layer) > 0) out = rbe_layer_outputs(layer);
    }
    float *x = test_memory(rows * in, sizeof *x), *y = test_memory(rows * out, sizeof *y);
    fill_normal(x, rows * in, 1.0, seed);
    ck_assert_ok(predict(model, x, rows, y));
    free(x);
    *count = rows * out;
    return y;
}

float *outputs_of_full(const rbe_model *model, size_t rows, uint64_t seed, size_t *count) {
    return outputs_of(rbe_predict, model, rows, seed, count);
}

/* A model is the same struct in both libraries. */
float *outputs_of_small(const rbe_model *model, size_t rows, uint64_t seed, size_t *count) {
    return outputs_of(small.rbe_predict, model, rows, seed, count);
}

void check_close(const float *a, const float *b, size_t count, const char *what) {
    float most = 0.0f, worst = 0.0f;
    for (size_t n = 0; n < count; n++) {
        ck_assert_msg(isfinite(a[n]) && isfinite(b[n]), "%s", what);
        most = fmaxf(most, fabsf(a[n]));
        worst = fmaxf(worst, fabsf(a[n] - b[n]));
    }
    ck_assert_msg(most > 0.0f && worst <= 1e-5f * most, "%s: %g beside %g", what, (double)worst, (double)most);
}

void check_same_outputs(const rbe_model *model, const rbe_save_options *options, exactness wanted, const char *what) {
    static const size_t rows[] = {1, 3, 40};
    bytes file = saved(model, options->store, options->positions);
    rbe_model *by_full = load_bytes(file), *by_small = small.rbe_model_load_memory(file.data, file.count);
    ck_assert_msg(by_full != NULL, "%s: %s", what, rbe_last_error());
    ck_assert_msg(by_small != NULL, "%s: %s", what, small.rbe_last_error());
    check_same_model(by_full, by_small);
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
        size_t count, other;
        float *a = outputs_of_full(by_full, rows[n], n, &count), *b = outputs_of_small(by_small, rows[n], n, &other);
        ck_assert_uint_eq(count, other);
        if (wanted == SAME_BITS)
            ck_assert_msg(memcmp(a, b, count * sizeof *a) == 0, "%s, %zu rows", what, rows[n]);
        else
            check_close(a, b, count, what);
        free(a);
        free(b);
    }
    rbe_model_free(by_full);
    small.rbe_model_free(by_small);
    ck_assert_uint_eq(small.rbe_memory().current, 0);
    free(file.data);
}
