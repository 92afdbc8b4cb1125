/* Checkpoints of other models: what differs is named, and nothing has changed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint_support.h"
#include "rbe/extend.h"

/* ---- models -------------------------------------------------------------------------------------------------- */

enum { WIDTH = 16 };

static rbe_layer *dense(const char *name, uint64_t seed) {
    return rbe_dense_new(WIDTH, WIDTH, &(rbe_dense_options){.name = name, .seed = seed});
}

static rbe_layer *linear(const rbe_linear_options *options) {
    rbe_linear_options o = *options;
    if (!o.block) o.block = 8;
    if (!o.ratio) o.ratio = 2;
    return rbe_linear_new(WIDTH, WIDTH, &o);
}

static rbe_layer *row(rbe_layer *a, rbe_layer *b) {
    rbe_layer *layer = rbe_sequential_new("row");
    rbe_layer_add(layer, a);
    if (b) rbe_layer_add(layer, b);
    return layer;
}

static rbe_var *twice(rbe_var *x) { return rbe_scale(x, 2.0f); }
static rbe_var *scaled(void *user, rbe_var *x) { return rbe_scale(x, *(const float *)user); }

#define MODEL(NAME, ...)                                                                                               \
    static void NAME(rbe_model *m) { __VA_ARGS__; }

MODEL(one_dense, rbe_model_add(m, dense("a", 1)))
MODEL(other_seed, rbe_model_add(m, dense("a", 2)))
MODEL(called_b, rbe_model_add(m, dense("b", 1)))
MODEL(unnamed, rbe_model_add(m, dense(NULL, 1)))
MODEL(two_dense, rbe_model_add(m, dense("a", 1)); rbe_model_add(m, dense("b", 1)))
MODEL(wider, rbe_model_add(m, rbe_dense_new(WIDTH + 1, WIDTH, &(rbe_dense_options){.name = "a"})))
MODEL(longer, rbe_model_add(m, rbe_dense_new(WIDTH, WIDTH + 1, &(rbe_dense_options){.name = "a"})))
MODEL(without_bias, rbe_model_add(m, rbe_dense_new(WIDTH, WIDTH, &(rbe_dense_options){.name = "a", .no_bias = true})))
MODEL(one_linear, rbe_model_add(m, linear(&(rbe_linear_options){.name = "a"})))
MODEL(linear_without_bias, rbe_model_add(m, linear(&(rbe_linear_options){.name = "a", .no_bias = true})))
MODEL(linear_other_seed, rbe_model_add(m, linear(&(rbe_linear_options){.name = "a", .seed = 3})))
MODEL(linear_fewer, rbe_model_add(m, linear(&(rbe_linear_options){.name = "a", .ratio = 3})))
MODEL(linear_large, rbe_model_add(m, linear(&(rbe_linear_options){.name = "a", .block = 16})))
MODEL(linear_grouped, rbe_model_add(m, linear(&(rbe_linear_options){.name = "a", .group = 1})))
MODEL(linear_alpha, rbe_model_add(m, linear(&(rbe_linear_options){.name = "a", .alpha = RBE_ALPHA_ON, .ratio = 1.5})))
MODEL(linear_overlap, rbe_model_add(m, linear(&(rbe_linear_options){.name = "a", .overlap = 2})))
MODEL(linear_image, rbe_model_add(m, linear(&(rbe_linear_options){.name = "a", .image_height = 4, .image_width = 4})))
MODEL(linear_rows,
      rbe_model_add(m, linear(&(rbe_linear_options){.name = "a", .row_transform = rbe_transform_named("haar")})))
MODEL(linear_columns,
      rbe_model_add(m, linear(&(rbe_linear_options){.name = "a", .column_transform = rbe_transform_named("wht")})))
MODEL(relu, one_dense(m); rbe_model_apply(m, rbe_relu))
MODEL(gelu, one_dense(m); rbe_model_apply(m, rbe_gelu))
MODEL(relu_tanh, one_dense(m); rbe_model_apply(m, rbe_relu); rbe_model_apply(m, rbe_tanh))
MODEL(tanh_relu, one_dense(m); rbe_model_apply(m, rbe_tanh); rbe_model_apply(m, rbe_relu))
MODEL(own, one_dense(m); rbe_model_apply(m, twice))
MODEL(own_with_user, static float two = 2.0f; one_dense(m); rbe_model_apply_function(m, scaled, &two))
MODEL(dropout_1, one_dense(m); rbe_model_add(m, rbe_dropout_new(0.1f)))
MODEL(dropout_2, one_dense(m); rbe_model_add(m, rbe_dropout_new(0.2f)))
MODEL(norm_5, rbe_model_add(m, rbe_rms_norm_new(WIDTH, 1e-5f, "n")))
MODEL(norm_6, rbe_model_add(m, rbe_rms_norm_new(WIDTH, 1e-6f, "n")))
MODEL(repeat_2, rbe_model_add(m, rbe_repeat_new(dense("a", 1), 2, "c")))
MODEL(repeat_3, rbe_model_add(m, rbe_repeat_new(dense("a", 1), 3, "c")))
MODEL(residual, rbe_model_add(m, rbe_residual_new(dense("a", 1), "c")))
MODEL(relu_inside, rbe_model_add(m, rbe_residual_new(row(dense("a", 1), rbe_operation_new(rbe_relu)), "c")))
MODEL(relu_outside, rbe_model_add(m, rbe_residual_new(row(dense("a", 1), NULL), "c")); rbe_model_apply(m, rbe_relu))
MODEL(used_once, rbe_layer *a = dense("a", 1); rbe_model_add(m, a); rbe_model_apply(m, rbe_relu))
MODEL(used_twice, rbe_layer *a = dense("a", 1); rbe_model_add(m, a); rbe_model_apply(m, rbe_relu); rbe_model_add(m, a))
MODEL(used_thrice, used_twice(m); rbe_model_add(m, rbe_model_layer(m, 0)))
MODEL(a_a_b, rbe_layer *a = dense("a", 1); rbe_model_add(m, a); rbe_model_add(m, a); rbe_model_add(m, dense("b", 1)))
MODEL(a_b_a, rbe_layer *a = dense("a", 1); rbe_model_add(m, a); rbe_model_add(m, dense("b", 1)); rbe_model_add(m, a))
MODEL(bag, rbe_layer *b = rbe_bag_new("c"); rbe_layer_add(b, dense("a", 1)); rbe_layer_add(b, dense("b", 1));
      rbe_model_add(m, b))
MODEL(bag_less, rbe_layer *b = rbe_bag_new("c"); rbe_layer_add(b, dense("a", 1)); rbe_model_add(m, b))
MODEL(frozen, one_dense(m); rbe_layer_freeze(rbe_model_layer(m, 0), true))

/* ---- a layer of a user's own, with an option that is called as none of the library's ------------------------- */

typedef struct own_layer {
    rbe_layer base;
    rbe_param params[1];
    double option;
} own_layer;

static rbe_var *own_forward(const rbe_layer *layer, rbe_var *x) {
    return rbe_mul(x, rbe_parameter(x->tape, &layer->params[0], 1, &layer->in));
}

static void own_destroy(rbe_layer *layer) { rbe_layer_release(layer->params[0].value); }

static rbe_status own_write(const rbe_layer *layer, rbe_writer *writer) {
    RBE_TRY(rbe_write_number(writer, "path", ((const own_layer *)layer)->option));
    return rbe_write_text(writer, "params", "a text");
}

static const rbe_layer_type own_type = {
    .kind = "own", .forward = own_forward, .destroy = own_destroy, .write = own_write};

static rbe_layer *own_new(double option) {
    own_layer *layer = (own_layer *)rbe_layer_make(&own_type, sizeof *layer, WIDTH, WIDTH);
    layer->option = option;
    layer->base.params = layer->params;
    layer->base.param_count = 1;
    layer->params[0] = (rbe_param){.part = "scale", .value = rbe_layer_values(WIDTH), .count = WIDTH, .lr_scale = 1.0f};
    return &layer->base;
}

MODEL(own_1, rbe_model_add(m, own_new(0.1)))
MODEL(own_2, rbe_model_add(m, own_new(0.2)))

/* ---- a layer of a user's own around a compressed matrix ------------------------------------------------------- */

typedef struct holder {
    rbe_layer base;
    rbe_layer *held;
} holder;

static rbe_var *hold_forward(const rbe_layer *layer, rbe_var *x) {
    return rbe_layer_forward(((const holder *)layer)->held, x);
}

static void hold_destroy(rbe_layer *layer) { rbe_layer_free(((holder *)layer)->held); }

static const rbe_blocks *held_blocks(const rbe_layer *layer) {
    return rbe_linear_blocks(((const holder *)layer)->held);
}

/* The library could not put back positions into it: better it says so before the training than after it. */
START_TEST(a_matrix_in_a_layer_of_ones_own) {
    static const rbe_layer_type type = {
        .kind = "holder", .forward = hold_forward, .destroy = hold_destroy, .blocks = held_blocks};
    holder *layer = (holder *)rbe_layer_make(&type, sizeof *layer, WIDTH, WIDTH);
    layer->held = linear(&(rbe_linear_options){.seed = 1});
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, &layer->base);
    const rbe_checkpoint c = {.model = model};
    ck_assert_int_eq(rbe_checkpoint_save(&c, scratch_path("c"), 1), RBE_INVALID_ARGUMENT);
    assert_failed(RBE_INVALID_ARGUMENT, "holder");
    ck_assert(!exists(scratch_path("c")));
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* ---- names that are cut -------------------------------------------------------------------------------------- */

/* Fifteen letters of three bytes; names of 46 bytes, of which the fourth ends a path within a letter. */
#define LETTERS                                                                                                        \
    "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"                 \
    "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"

static rbe_layer *deep(const char *name) {
    rbe_layer *layer = dense(name, 1);
    for (size_t n = 0; n < 4; n++) layer = rbe_residual_new(layer, name);
    return layer;
}

MODEL(long_path, rbe_model_add(m, deep("x" LETTERS)))
MODEL(long_name, rbe_model_add(m, dense(LETTERS "\xe2\x82\xac", 1)))

/* ---- what differs -------------------------------------------------------------------------------------------- */

typedef void build(rbe_model *model);

static const struct {
    build *then, *now;
    const char *text; /* NULL: it is the same model */
} cases[] = {
    {one_dense, one_dense, NULL},
    {one_dense, other_seed, NULL},
    {one_dense, frozen, NULL},
    {one_linear, linear_other_seed, NULL},
    {one_linear, linear_fewer, NULL},
    {linear_fewer, one_linear, NULL},
    {own, own, NULL},
    {own_with_user, own_with_user, NULL},
    {own_1, own_1, NULL},
    {bag, bag, NULL},
    {used_thrice, used_thrice, NULL},
    {long_path, long_path, NULL},
    {long_name, long_name, NULL},
    {one_dense, called_b, "\"b\""},
    {unnamed, called_b, "\"fc1\""},
    {one_dense, two_dense, "2 layers when it was saved, 3 now"},
    {two_dense, one_dense, "3 layers when it was saved, 2 now"},
    {one_dense, one_linear, "\"dense\""},
    {one_linear, one_dense, "\"rbe\""},
    {one_dense, wider, "17"},
    {one_dense, longer, "17"},
    {one_dense, without_bias, "a: 2 parameters when it was saved, 1 now"},
    {without_bias, one_dense, "a: 1 parameters when it was saved, 2 now"},
    {one_linear, linear_without_bias, "parameters when it was saved"},
    {linear_without_bias, one_linear, "parameters when it was saved"},
    {one_linear, linear_large, "blocks of 8 in groups of 2"},
    {one_linear, linear_grouped, "in groups of 1"},
    {one_linear, linear_alpha, "alpha"},
    {linear_alpha, one_linear, "alpha"},
    {one_linear, linear_overlap, "overlap 2"},
    {linear_overlap, one_linear, "overlap 0"},
    {one_linear, linear_image, "image 4 x 4"},
    {one_linear, linear_rows, "haar x dct"},
    {one_linear, linear_columns, "dct x wht"},
    {relu, gelu, "\"gelu\""},
    {relu, own, "\"function\""},
    {own, relu, "\"function\""},
    {relu_tanh, tanh_relu, "\"tanh\""},
    {dropout_1, dropout_2, "probability"},
    {norm_5, norm_6, "epsilon"},
    {repeat_2, repeat_3, "\"times\":3"},
    {residual, repeat_2, "\"repeat\""},
    {relu_inside, relu_outside, "when it was saved"},
    {relu_outside, relu_inside, "when it was saved"},
    {used_once, used_twice, "when it was saved"},
    {used_twice, used_once, "when it was saved"},
    {used_twice, used_thrice, "when it was saved"},
    {a_a_b, a_b_a, "when it was saved"},
    {bag, bag_less, "layers"},
    {own_1, own_2, "when it was saved"},
};
#define CASES (int)(sizeof cases / sizeof *cases)

static rbe_model *built(build *by) {
    rbe_model *model = rbe_model_new();
    by(model);
    ck_assert_ok(rbe_model_status(model));
    return model;
}

START_TEST(models_are_compared) {
    rbe_model *then = built(cases[_i].then), *now = built(cases[_i].now);
    rbe_optim *of_then = rbe_optim_new(rbe_adam, then, NULL), *of_now = rbe_optim_new(rbe_adam, now, NULL);
    rbe_checkpoint a = {.model = then, .optim = of_then}, b = {.model = now, .optim = of_now};
    ck_assert_ok(rbe_checkpoint_save(&a, scratch_path("c"), 1));
    bytes stored = snapshot(then, of_then, NULL, 0), before = snapshot(now, of_now, NULL, 0);
    rbe_status status = rbe_checkpoint_load(&b, scratch_path("c"));
    bytes after = snapshot(now, of_now, NULL, 0);
    if (cases[_i].text) {
        ck_assert_msg(status == RBE_INVALID_ARGUMENT, "case %d: %s: %s", _i, rbe_status_name(status), rbe_last_error());
        assert_failed(RBE_INVALID_ARGUMENT, cases[_i].text);
        ck_assert_msg(same_bytes(before, after), "case %d: something has changed", _i);
    } else {
        ck_assert_msg(status == RBE_OK, "case %d: %s", _i, rbe_last_error());
        ck_assert_msg(same_bytes(stored, after), "case %d: something has not come back", _i);
    }
    free(stored.data);
    free(before.data);
    free(after.data);
    rbe_optim_free(of_then);
    rbe_optim_free(of_now);
    rbe_model_free(then);
    rbe_model_free(now);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* ---- what belongs to parameters ------------------------------------------------------------------------------ */

/* A companion that the file has not would keep what another training made of it; one that only it has is added. */
START_TEST(companions_are_compared) {
    rbe_model *model = built(one_dense);
    const rbe_checkpoint c = {.model = model};
    rbe_param *weight = rbe_model_param(model, 0), *bias = rbe_model_param(model, 1);
    float *average;
    ck_assert_ok(rbe_checkpoint_save(&c, scratch_path("without"), 1));
    ck_assert_ok(rbe_param_add_companion(bias, "average", &average));
    average[3] = 0.5f;
    ck_assert_ok(rbe_checkpoint_save(&c, scratch_path("with"), 1));
    bytes before = snapshot(model, NULL, NULL, 0);
    ck_assert_int_eq(rbe_checkpoint_load(&c, scratch_path("without")), RBE_INVALID_ARGUMENT);
    assert_failed(RBE_INVALID_ARGUMENT, "a.bias");
    assert_failed(RBE_INVALID_ARGUMENT, "average");
    bytes after = snapshot(model, NULL, NULL, 0);
    ck_assert(same_bytes(before, after));
    rbe_param_remove_companion(bias, "average");
    ck_assert_ok(rbe_checkpoint_load(&c, scratch_path("with")));
    ck_assert_float_eq(rbe_param_companion(bias, "average")[3], 0.5f);
    ck_assert_ptr_null(rbe_param_companion(weight, "average"));
    free(before.data);
    free(after.data);
    rbe_model_free(model);
}
END_TEST

/* Values that are not finite are not saved, wherever they are; the file before stays. */
START_TEST(a_training_that_has_failed_is_not_saved) {
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, linear(&(rbe_linear_options){.name = "a", .alpha = RBE_ALPHA_ON, .ratio = 1.5}));
    rbe_model_add(model, dense("b", 1));
    float value = 1.0f;
    rbe_param beside = {.name = "beside", .value = &value, .count = 1, .lr_scale = 1.0f}, *list[] = {&beside};
    rbe_optim *optim = rbe_optim_new_for(rbe_sgd, list, 1, NULL);
    const rbe_checkpoint c = {.model = model, .optim = optim};
    ck_assert_ok(rbe_checkpoint_save(&c, scratch_path("c"), 1));
    bytes before = read_whole(scratch_path("c"));
    rbe_param *p;
    for (size_t n = 0; n < 6; n++) {
        p = n == 5 ? &beside : rbe_model_param(model, n);
        float kept = p->value[p->count / 2];
        p->value[p->count / 2] = n % 2 ? (float)NAN : -(float)INFINITY;
        ck_assert_int_eq(rbe_checkpoint_save(&c, scratch_path("c"), 2), RBE_NUMERICAL_INSTABILITY);
        p->value[p->count / 2] = kept;
    }
    bytes after = read_whole(scratch_path("c"));
    ck_assert(same_bytes(before, after));
    ck_assert_uint_eq(scratch_count(), 1);
    free(before.data);
    free(after.data);
    rbe_optim_free(optim);
    rbe_param_clear(&beside);
    rbe_model_free(model);
}
END_TEST

TCase *checkpoint_models_case(void) {
    TCase *models = tcase_create("models");
    tcase_add_checked_fixture(models, scratch_clear, scratch_clear);
    tcase_add_loop_test(models, models_are_compared, 0, CASES);
    tcase_add_test(models, a_matrix_in_a_layer_of_ones_own);
    tcase_add_test(models, companions_are_compared);
    tcase_add_test(models, a_training_that_has_failed_is_not_saved);
    return models;
}
