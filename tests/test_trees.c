/* Layers inside layers: what they compute, what they are called, that they are trained, stored and freed as one model;
 * weights in several places; kinds of a user's own. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io_support.h"
#include "rbe/adapt.h"
#include "rbe/extend.h"
#include "rbe/io.h"
#include "rbe/optim.h"
#include "reference.h"
#include "suites.h"
#include "support.h"

enum { ROWS = 9, WIDTH = 24, CLASSES = 3 };

static rbe_layer *compressed(uint64_t seed, const char *name) {
    return rbe_linear_new(WIDTH, WIDTH, &(rbe_linear_options){.name = name, .block = 8, .ratio = 2, .seed = seed});
}

static rbe_layer *dense(size_t out, uint64_t seed, const char *name) {
    return rbe_dense_new(WIDTH, out, &(rbe_dense_options){.name = name, .seed = seed});
}

static rbe_var *halve(void *user, rbe_var *x) { return rbe_scale(x, *(const float *)user); }

/* x, then residual(sequential(fc1, tanh, fc2)), repeat(residual(cell), 3), the first block again, the head. */
static rbe_model *make_tree(void) {
    rbe_model *model = rbe_model_new();
    rbe_layer *inner = rbe_sequential_new(NULL), *block;
    ck_assert_ok(rbe_layer_add(inner, compressed(1, "up")));
    ck_assert_ok(rbe_layer_add(inner, rbe_operation_new(rbe_tanh)));
    ck_assert_ok(rbe_layer_add(inner, dense(WIDTH, 2, NULL)));
    block = rbe_residual_new(inner, "block");
    ck_assert_ok(rbe_model_add(model, block));
    ck_assert_ok(rbe_model_add(model, rbe_repeat_new(rbe_residual_new(dense(WIDTH, 3, "cell"), "step"), 3, NULL)));
    ck_assert_ok(rbe_model_add(model, block));
    ck_assert_ok(rbe_model_apply(model, rbe_relu));
    ck_assert_ok(rbe_model_add(model, dense(CLASSES, 4, NULL)));
    return model;
}

static float *inputs(void) {
    float *x = test_memory(ROWS * WIDTH, sizeof *x);
    fill_normal(x, ROWS * WIDTH, 1.0, 7);
    return x;
}

/* The outputs of a model; to be freed. */
static float *outputs(const rbe_model *model, const float *x) {
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    rbe_var *y = rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d((float *)x, ROWS, WIDTH)));
    ck_assert_ok(rbe_tape_status(tape));
    float *copy = test_memory(ROWS * CLASSES, sizeof *copy);
    memcpy(copy, rbe_value(y)->data, ROWS * CLASSES * sizeof *copy);
    rbe_tape_free(tape);
    return copy;
}

/* ---- what they compute --------------------------------------------------------------------------------------- */

/* The same by hand. */
START_TEST(trees_compute_what_they_say) {
    rbe_model *model = make_tree();
    float *x = inputs(), *found = outputs(model, x);
    const rbe_layer *up = rbe_model_find(model, "block.0.up"), *down = rbe_model_find(model, "block.0.2");
    const rbe_layer *cell = rbe_model_find(model, "repeat2.step.cell"), *head = rbe_model_find(model, "fc1");
    ck_assert(up && down && cell && head);
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    rbe_var *h = rbe_input(tape, rbe_tensor_2d(x, ROWS, WIDTH));
    for (int pass = 0; pass < 2; pass++) {
        h = rbe_add(h, rbe_layer_forward(down, rbe_tanh(rbe_layer_forward(up, h))));
        for (int n = 0; n < 3 && pass == 0; n++) h = rbe_add(h, rbe_layer_forward(cell, h));
    }
    h = rbe_layer_forward(head, rbe_relu(h));
    ck_assert_ok(rbe_tape_status(tape));
    ck_assert_mem_eq(found, rbe_value(h)->data, ROWS * CLASSES * sizeof *found);
    rbe_tape_free(tape);
    free(found);
    free(x);
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Each weight once, in a fixed order, under its path. */
START_TEST(trees_have_paths) {
    static const char *const names[] = {
        "block.0.up.coefficients",  "block.0.up.bias",        "block.0.2.weight", "block.0.2.bias",
        "repeat2.step.cell.weight", "repeat2.step.cell.bias", "fc1.weight",       "fc1.bias"};
    rbe_model *model = make_tree();
    size_t values = 0;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        rbe_param *param = rbe_model_param(model, n);
        ck_assert_ptr_nonnull(param);
        ck_assert_str_eq(param->name, names[n]);
        ck_assert_ptr_eq(rbe_model_find_param(model, names[n]), param);
        values += param->count;
    }
    ck_assert_ptr_null(rbe_model_param(model, sizeof names / sizeof *names));
    ck_assert_uint_eq(rbe_model_describe_cost(model).values, values);
    ck_assert_str_eq(rbe_layer_path(rbe_model_layer(model, 2)), "repeat2.step.cell");
    ck_assert_ptr_null(rbe_model_layer(model, 4));
    ck_assert_ptr_null(rbe_model_find(model, "block.1"));
    ck_assert_ptr_null(rbe_model_find(model, ""));
    ck_assert_ptr_null(rbe_model_find(NULL, "fc1"));
    ck_assert_ptr_null(rbe_model_find(model, NULL));
    ck_assert_ptr_null(rbe_model_find_param(model, "fc1"));
    rbe_layer_set_name(rbe_model_find(model, "block"), "first");
    ck_assert_ptr_nonnull(rbe_model_find(model, "first.0.up"));
    ck_assert_str_eq(rbe_model_param(model, 0)->name, "first.0.up.coefficients");
    rbe_model_free(model);
}
END_TEST

/* A weight in two places gets the sum of both gradients: as two copies of it would together. */
START_TEST(shared_weights_sum_their_gradients) {
    rbe_model *shared = rbe_model_new(), *copies = rbe_model_new();
    rbe_layer *both = _i ? compressed(1, "a") : dense(WIDTH, 1, "a");
    for (int n = 0; n < 2; n++) {
        ck_assert_ok(rbe_model_add(shared, both));
        ck_assert_ok(rbe_model_apply(shared, rbe_tanh));
        ck_assert_ok(rbe_model_add(copies, _i ? compressed(1, "a") : dense(WIDTH, 1, "a")));
        ck_assert_ok(rbe_model_apply(copies, rbe_tanh));
    }
    float *x = inputs();
    rbe_model *models[] = {shared, copies};
    for (int n = 0; n < 2; n++) {
        rbe_tape *tape = rbe_tape_new(NULL);
        rbe_var *y = rbe_model_forward(models[n], rbe_input(tape, rbe_tensor_2d(x, ROWS, WIDTH)));
        ck_assert_ok(rbe_backward(rbe_mean(rbe_mul(y, y))));
        rbe_tape_free(tape);
    }
    const rbe_param *param = rbe_model_param(shared, 0), *one = rbe_model_param(copies, 0),
                    *other = rbe_model_param(copies, 2);
    ck_assert_ptr_null(rbe_model_param(shared, 2));
    float *sum = test_memory(param->count, sizeof *sum);
    for (size_t n = 0; n < param->count; n++) sum[n] = one->grad[n] + other->grad[n];
    ck_assert_double_lt(relative_difference(param->grad, sum, param->count), 1e-6);
    free(sum);
    free(x);
    rbe_model_free(shared);
    rbe_model_free(copies);
}
END_TEST

/* Where a layer was put first does not matter, nor whether that container is freed or becomes a part of the model. */
START_TEST(layers_are_found_wherever_they_were_first) {
    rbe_model *model = rbe_model_new(), *other = rbe_model_new();
    rbe_layer *layer = compressed(1, "a"), *bag = rbe_bag_new("bag"), *second = rbe_bag_new("second");
    if (_i < 2) ck_assert_ok(rbe_layer_add(bag, layer));
    ck_assert_ok(rbe_model_add(model, layer));
    if (_i >= 2) ck_assert_ok(rbe_layer_add(bag, layer));
    ck_assert_ok(rbe_layer_add(second, layer));
    ck_assert_ptr_eq(rbe_model_layer(model, 0), layer);
    ck_assert_str_eq(rbe_layer_path(layer), "a");
    ck_assert_int_eq(rbe_model_add(other, bag), RBE_INVALID_ARGUMENT); /* it holds a layer of the first */
    if (_i % 2)
        ck_assert_ok(rbe_model_add(model, bag));
    else
        rbe_layer_free(bag);
    ck_assert_ptr_eq(rbe_model_layer(model, 0), layer);
    ck_assert_ptr_null(rbe_model_layer(model, 1));
    ck_assert_uint_eq(rbe_model_describe_cost(model).values, rbe_layer_describe_cost(layer).values);
    rbe_model_free(other);
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_layer_describe_cost(second).values, rbe_layer_describe_cost(layer).values);
    rbe_layer_free(second);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* ---- in files ------------------------------------------------------------------------------------------------ */

static rbe_model *reloaded(const rbe_model *model, rbe_store store) {
    char path[] = "/tmp/rbe-trees-XXXXXX";
    int file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    close(file);
    ck_assert_ok(rbe_model_save(model, path, &(rbe_save_options){.store = store}));
    rbe_model *again = rbe_model_load(path);
    ck_assert_msg(again != NULL, "%s", rbe_last_error());
    unlink(path);
    return again;
}

START_TEST(trees_are_stored) {
    rbe_model *model = make_tree(), *again = reloaded(model, RBE_STORE_F32);
    ck_assert(same_models(model, again));
    float *x = inputs(), *before = outputs(model, x), *after = outputs(again, x);
    ck_assert_mem_eq(before, after, ROWS * CLASSES * sizeof *before);
    rbe_model_free(model);
    model = reloaded(again, RBE_STORE_INT8);
    rbe_model_free(again);
    again = reloaded(model, RBE_STORE_INT8);
    ck_assert(same_models(model, again)); /* what has been rounded stays as it is */
    rbe_model_free(model);
    rbe_model_free(again);
    free(before);
    free(after);
    free(x);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Paths follow from the tree, not from the order in which it was built: a file gives them back. */
START_TEST(paths_do_not_depend_on_the_order_of_building) {
    rbe_model *model = rbe_model_new();
    rbe_layer *block = rbe_residual_new(compressed(1, "up"), "block"), *late = rbe_sequential_new("late");
    rbe_layer *again_and_again = rbe_repeat_new(block, 2, "repeat"); /* before the block has its first place */
    ck_assert_ok(rbe_model_add(model, late));
    ck_assert_ok(rbe_model_add(model, block));
    ck_assert_ok(rbe_model_add(model, again_and_again));
    ck_assert_str_eq(rbe_layer_path(block), "block");
    ck_assert_str_eq(rbe_model_param(model, 0)->name, "block.up.coefficients");
    for (uint64_t n = 0; n < 2; n++) ck_assert_ok(rbe_layer_add(late, dense(WIDTH, n, NULL)));
    ck_assert_str_eq(rbe_model_param(model, 0)->name, "late.0.weight");
    ck_assert_str_eq(rbe_model_param(model, 2)->name, "late.1.weight");
    ck_assert_ok(rbe_layer_add(late, block)); /* an earlier place */
    ck_assert_str_eq(rbe_layer_path(block), "late.block");
    ck_assert_ptr_eq(rbe_model_find(model, "late.block"), block);
    ck_assert_str_eq(rbe_model_param(model, 4)->name, "late.block.up.coefficients");
    rbe_model *again = reloaded(model, RBE_STORE_F32);
    ck_assert(same_models(model, again));
    rbe_model_free(model);
    rbe_model_free(again);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Layers for a forward pass of one's own are kept under their names. */
START_TEST(bags_are_stored) {
    rbe_model *model = rbe_model_new();
    rbe_layer *cell = rbe_bag_new("gru");
    static const char *const gates[] = {"update", "reset", "candidate"};
    for (uint64_t n = 0; n < 3; n++) ck_assert_ok(rbe_layer_add(cell, compressed(n, gates[n])));
    ck_assert_ok(rbe_model_add(model, cell));
    rbe_model *again = reloaded(model, RBE_STORE_F32);
    ck_assert(same_models(model, again));
    ck_assert_ptr_nonnull(rbe_model_find(again, "gru.candidate"));
    rbe_tape *tape = rbe_tape_new(NULL);
    float *x = inputs();
    rbe_model_forward(again, rbe_input(tape, rbe_tensor_2d(x, ROWS, WIDTH)));
    ck_assert_int_eq(rbe_tape_status(tape), RBE_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rbe_tape_error(tape), "gru: a bag of layers"), "%s", rbe_tape_error(tape));
    rbe_tape_free(tape);
    free(x);
    rbe_model_free(model);
    rbe_model_free(again);
}
END_TEST

/* ---- kinds of the library ------------------------------------------------------------------------------------ */

static rbe_var *norm_loss(rbe_tape *tape, void *user) {
    const void *const *all = user;
    rbe_var *y = rbe_layer_forward(all[0], rbe_input(tape, rbe_tensor_2d((float *)all[1], ROWS, WIDTH)));
    return rbe_mean(rbe_mul(y, rbe_tanh(y)));
}

START_TEST(rms_norm_is_a_layer) {
    float *x = inputs();
    rbe_model *model = rbe_model_new();
    rbe_layer *norm = rbe_rms_norm_new(WIDTH, 1e-3f, "norm");
    ck_assert_ok(rbe_model_add(model, norm));
    rbe_param *scale = rbe_layer_param(norm, 0);
    fill_normal(scale->value, WIDTH, 1.0, 3);
    rbe_tape *tape = rbe_tape_new(NULL);
    const float *y = rbe_value(rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d(x, ROWS, WIDTH))))->data;
    for (size_t n = 0; n < ROWS; n++) {
        double squares = 0;
        for (size_t k = 0; k < WIDTH; k++) squares += (double)x[n * WIDTH + k] * x[n * WIDTH + k];
        for (size_t k = 0; k < WIDTH; k++)
            ck_assert_double_eq_tol((double)y[n * WIDTH + k],
                                    x[n * WIDTH + k] / sqrt(squares / WIDTH + 1e-3) * scale->value[k], 1e-5);
    }
    rbe_tape_free(tape);
    const void *all[] = {norm, x};
    ck_assert_ok(rbe_check_gradients(norm_loss, all, &scale, 1, NULL, NULL));
    rbe_model *again = reloaded(model, RBE_STORE_F32);
    ck_assert(same_models(model, again));
    ck_assert_ptr_null(rbe_rms_norm_new(0, 0.0f, NULL));
    ck_assert_ptr_null(rbe_rms_norm_new(WIDTH, -1.0f, NULL));
    rbe_model_free(model);
    rbe_model_free(again);
    free(x);
}
END_TEST

/* ---- what is refused ----------------------------------------------------------------------------------------- */

START_TEST(wrong_trees_are_refused) {
    rbe_layer *sequence = rbe_sequential_new("s");
    ck_assert_ok(rbe_layer_add(sequence, dense(5, 1, NULL)));
    ck_assert_int_eq(rbe_layer_add(sequence, dense(5, 1, NULL)), RBE_INPUT_DIMENSION_MISMATCH);
    ck_assert_int_eq(rbe_layer_add(sequence, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_layer_add(NULL, dense(5, 1, NULL)), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_layer_add(sequence, sequence), RBE_INVALID_ARGUMENT);
    rbe_layer *outer = rbe_sequential_new("outer");
    ck_assert_ok(rbe_layer_add(outer, sequence));
    ck_assert_int_eq(rbe_layer_add(sequence, outer), RBE_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rbe_last_error(), "cannot hold itself"), "%s", rbe_last_error());
    rbe_layer *leaf = dense(5, 1, NULL);
    ck_assert_int_eq(rbe_layer_add(leaf, dense(5, 1, NULL)), RBE_INVALID_ARGUMENT);
    rbe_layer_free(leaf);
    ck_assert_ptr_null(rbe_residual_new(dense(5, 1, NULL), NULL)); /* gives 5 columns of 24 */
    ck_assert_ptr_null(rbe_residual_new(NULL, NULL));
    ck_assert_ptr_null(rbe_repeat_new(dense(WIDTH, 1, NULL), 0, NULL));
    ck_assert_ptr_null(rbe_operation_new(NULL));
    ck_assert_ptr_null(rbe_function_new(NULL, NULL));
    ck_assert_ptr_null(rbe_layer_child(NULL, 0));
    rbe_model *model = rbe_model_new(), *other = rbe_model_new();
    ck_assert_ok(rbe_model_add(model, outer));
    ck_assert_int_eq(rbe_model_add(other, sequence), RBE_INVALID_ARGUMENT); /* a part of the other's */
    ck_assert_ok(rbe_model_status(other));
    rbe_model_free(other);
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Functions with a pointer of the user's are applied, and not stored. */
START_TEST(functions_of_a_user) {
    float factor = 0.5f;
    rbe_model *model = rbe_model_new();
    ck_assert_ok(rbe_model_apply_function(model, halve, &factor));
    ck_assert_ok(rbe_model_add(model, dense(CLASSES, 1, NULL)));
    float *x = inputs(), *half = outputs(model, x);
    factor = 0.25f;
    float *quarter = outputs(model, x);
    for (size_t n = 0; n < ROWS * CLASSES; n++) ck_assert(quarter[n] == half[n] / 2);
    size_t size;
    ck_assert_int_eq(rbe_model_stored_bytes(model, NULL, &size), RBE_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rbe_last_error(), "an operation of your own"), "%s", rbe_last_error());
    free(half);
    free(quarter);
    free(x);
    rbe_model_free(model);
}
END_TEST

/* ---- a kind of one's own ------------------------------------------------------------------------------------- */

typedef struct scaling {
    rbe_layer base;
    rbe_param params[1];
    double power;
} scaling;

static rbe_var *scaling_forward(const rbe_layer *layer, rbe_var *x) {
    return rbe_scale(x, layer->params[0].value[0] * (float)((const scaling *)layer)->power);
}

static void scaling_destroy(rbe_layer *layer) { rbe_layer_release(layer->params[0].value); }

static rbe_status scaling_write(const rbe_layer *layer, rbe_writer *writer) {
    RBE_TRY(rbe_write_text(writer, "about", "a test's \"own\""));
    return rbe_write_number(writer, "power", ((const scaling *)layer)->power);
}

static rbe_layer *scaling_read(const rbe_layer_type *type, rbe_reader *reader);

static const rbe_layer_type scaling_type = {.kind = "test.scaling",
                                            .forward = scaling_forward,
                                            .destroy = scaling_destroy,
                                            .write = scaling_write,
                                            .read = scaling_read};

static rbe_layer *scaling_new(size_t count, double power) {
    scaling *layer = (scaling *)rbe_layer_make(&scaling_type, sizeof *layer, 0, 0);
    if (!layer) return NULL;
    layer->power = power;
    layer->params[0] =
        (rbe_param){.part = "factor", .count = count, .lr_scale = 1.0f, .value = rbe_layer_values(count)};
    layer->base.params = layer->params;
    layer->base.param_count = 1;
    if (layer->params[0].value) return &layer->base;
    rbe_layer_free(&layer->base);
    return NULL;
}

static rbe_layer *scaling_read(const rbe_layer_type *type, rbe_reader *reader) {
    double power;
    const char *about = rbe_read_text(reader, "about");
    if (!about || strcmp(about, "a test's \"own\"") != 0) {
        rbe_read_fail(reader, "about: found %s", about ? about : "nothing");
        return NULL;
    }
    if (rbe_read_number(reader, "power", -10, 10, &power) != RBE_OK) return NULL;
    ck_assert_ptr_eq(type, &scaling_type);
    return scaling_new(rbe_read_values(reader, "factor"), power);
}

START_TEST(kinds_of_a_user_are_stored) {
    rbe_model *model = rbe_model_new();
    rbe_layer *own = scaling_new(2, 1.25);
    own->params[0].value[0] = 3.0f;
    ck_assert_ok(rbe_model_add(model, own));
    ck_assert_str_eq(own->params[0].name, "fc1.factor");
    size_t size;
    own->params[0].part = NULL;
    ck_assert_int_eq(rbe_model_stored_bytes(model, NULL, &size), RBE_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rbe_last_error(), "has no part"), "%s", rbe_last_error());
    own->params[0].part = "factor";
    char path[] = "/tmp/rbe-trees-XXXXXX";
    close(mkstemp(path));
    ck_assert_ok(rbe_model_save(model, path, NULL));
    ck_assert_ptr_null(rbe_model_load(path));
    ck_assert_msg(strstr(rbe_last_error(), "its kind, test.scaling, is unknown"), "%s", rbe_last_error());
    ck_assert_ok(rbe_layer_register(&scaling_type));
    ck_assert_ok(rbe_layer_register(&scaling_type));
    rbe_layer_type other = scaling_type;
    ck_assert_int_eq(rbe_layer_register(&other), RBE_INVALID_ARGUMENT);
    other.kind = "dense";
    ck_assert_int_eq(rbe_layer_register(&other), RBE_INVALID_ARGUMENT);
    other.kind = "shared"; /* what files call a layer in a further place */
    ck_assert_int_eq(rbe_layer_register(&other), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_layer_register(NULL), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_null(rbe_layer_make(NULL, sizeof(scaling), 0, 0));
    ck_assert_ptr_null(rbe_layer_make(&scaling_type, 1, 0, 0));
    rbe_model *again = rbe_model_load(path);
    ck_assert_msg(again != NULL, "%s", rbe_last_error());
    ck_assert(same_models(model, again));
    unlink(path);
    rbe_model_free(model);
    rbe_model_free(again);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* ---- as one model -------------------------------------------------------------------------------------------- */

/* A tree is trained, grown and pruned like a row of layers. */
START_TEST(trees_are_trained_grown_and_pruned) {
    rbe_model *model = make_tree();
    float *x = inputs();
    int32_t labels[ROWS];
    for (int n = 0; n < ROWS; n++) labels[n] = n % CLASSES;
    rbe_optim *optim = rbe_optim_new(rbe_adam, model, &(rbe_optim_options){.lr = 0.01f});
    rbe_growth *growth = rbe_growth_new(model, &(rbe_growth_options){.steps = 40, .every = 5});
    rbe_tape *tape = rbe_tape_new(NULL);
    double loss[2] = {0};
    for (size_t step = 0; step < 40; step++) {
        rbe_var *l =
            rbe_cross_entropy(rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d(x, ROWS, WIDTH))), labels);
        ck_assert_ok(rbe_backward(l));
        loss[step > 0] = (double)rbe_item(l);
        ck_assert_ok(rbe_optim_step(optim));
        rbe_tape_reset(tape);
        ck_assert_ok(rbe_growth_step(growth, step));
        if (step == 20) ck_assert_ok(rbe_prune(model, &(rbe_prune_options){.amount = 0.3}, NULL));
    }
    ck_assert_double_lt(loss[1], 0.5 * loss[0]);
    ck_assert_uint_gt(rbe_growth_count(growth).values, 0);
    const rbe_tensor samples = rbe_tensor_2d(x, ROWS, WIDTH);
    ck_assert_ok(rbe_prune(model, &(rbe_prune_options){.amount = 0.3, .refit = &samples}, NULL));
    rbe_tape_free(tape);
    rbe_growth_free(growth);
    rbe_optim_free(optim);
    rbe_model_free(model);
    free(x);
}
END_TEST

START_TEST(models_are_printed) {
    rbe_model *model = make_tree();
    char *text = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&text, &length);
    ck_assert_ok(rbe_model_print(model, file));
    fclose(file);
    ck_assert_msg(strstr(text, "block.0.up") && strstr(text, "24 -> 24") && strstr(text, "\nall"), "%s", text);
    free(text);
    ck_assert_int_eq(rbe_model_print(model, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_model_print(NULL, stdout), RBE_INVALID_ARGUMENT);
    file = fopen("/dev/full", "w");
    if (file) {
        setvbuf(file, NULL, _IONBF, 0);
        ck_assert_int_eq(rbe_model_print(model, file), RBE_IO_ERROR);
        fclose(file);
    }
    rbe_model_free(model);
}
END_TEST

/* Every allocation of building, storing and loading a tree fails in turn: a status, and nothing is lost. */
START_TEST(trees_when_allocations_fail) {
    bool reached = true;
    for (size_t at = 1; reached; at++) {
        failing_allocator allocator;
        failing_allocator_install(&allocator, at);
        rbe_model *model = rbe_model_new();
        rbe_layer *inner = rbe_sequential_new(NULL);
        if (inner) {
            rbe_layer_add(inner, compressed(1, "up"));
            rbe_layer_add(inner, rbe_operation_new(rbe_tanh));
        }
        rbe_layer *block = rbe_residual_new(inner, "block");
        rbe_status status = rbe_model_add(model, block);
        size_t size;
        if (status == RBE_OK) rbe_model_stored_bytes(model, NULL, &size);
        rbe_model_free(model);
        reached = failing_allocator_remove(&allocator);
    }
}
END_TEST

Suite *trees_suite(void) {
    Suite *suite = suite_create("trees");
    TCase *tree = tcase_create("trees"), *file = tcase_create("files"), *own = tcase_create("own");
    tcase_add_test(tree, trees_compute_what_they_say);
    tcase_add_test(tree, trees_have_paths);
    tcase_add_loop_test(tree, shared_weights_sum_their_gradients, 0, 2);
    tcase_add_loop_test(tree, layers_are_found_wherever_they_were_first, 0, 4);
    tcase_add_test(tree, wrong_trees_are_refused);
    tcase_add_test(tree, trees_are_trained_grown_and_pruned);
    tcase_add_test(tree, models_are_printed);
    tcase_add_test(tree, trees_when_allocations_fail);
    tcase_add_test(file, trees_are_stored);
    tcase_add_test(file, paths_do_not_depend_on_the_order_of_building);
    tcase_add_test(file, bags_are_stored);
    tcase_add_test(own, rms_norm_is_a_layer);
    tcase_add_test(own, functions_of_a_user);
    tcase_add_test(own, kinds_of_a_user_are_stored);
    suite_add_tcase(suite, tree);
    suite_add_tcase(suite, file);
    suite_add_tcase(suite, own);
    return suite;
}
