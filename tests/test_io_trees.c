/* Layers inside layers in files: what is written is read, however deep and wherever a layer is used again; what a
 * forger writes is refused with a reason, and a small file cannot describe a model that runs for ever.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_support.h"
#include "nn/model.h"
#include "support.h"

/* ---- what is written is read --------------------------------------------------------------------------------- */

/* Loads what is saved: the same model. */
static void check_round_trip(const rbe_model *model) {
    bytes b = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    rbe_model *again = load_bytes(b);
    ck_assert_msg(again != NULL, "%s", rbe_last_error());
    ck_assert(same_models(model, again));
    rbe_model_free(again);
    free(b.data);
}

/* A dense layer in so many containers. */
static rbe_model *deep_model(size_t depth) {
    rbe_model *model = rbe_model_new();
    rbe_layer *layer = rbe_dense_new(3, 3, NULL);
    for (size_t n = 0; n < depth; n++) layer = rbe_residual_new(layer, NULL);
    ck_assert_ok(rbe_model_add(model, layer));
    return model;
}

START_TEST(deep_models_come_back) {
    static const size_t depths[] = {1, 3, 4, 8, 63, 64};
    for (size_t n = 0; n < sizeof depths / sizeof *depths; n++) {
        rbe_model *model = deep_model(depths[n]);
        check_round_trip(model);
        rbe_model_free(model);
    }
    rbe_model *model = deep_model(65);
    size_t size;
    ck_assert_int_eq(rbe_model_stored_bytes(model, NULL, &size), RBE_INVALID_ARGUMENT);
    assert_failed(RBE_INVALID_ARGUMENT, "expected at most 64 layers inside layers");
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* A layer that is used again within the container that is being read, and in one further out. */
START_TEST(shared_layers_come_back) {
    rbe_model *model = nested_model();
    check_round_trip(model);
    rbe_layer *gate = rbe_dense_new(12, 12, NULL), *bag = rbe_bag_new("bag"), *inner = rbe_sequential_new("inner"),
              *outer = rbe_sequential_new("outer");
    ck_assert_ok(rbe_layer_add(outer, gate));
    ck_assert_ok(rbe_layer_add(inner, rbe_operation_new(rbe_relu)));
    ck_assert_ok(rbe_layer_add(inner, gate));
    ck_assert_ok(rbe_layer_add(inner, gate));
    ck_assert_ok(rbe_layer_add(outer, inner));
    ck_assert_ok(rbe_layer_add(bag, outer));
    ck_assert_ok(rbe_layer_add(bag, inner));
    rbe_model_free(model);
    model = rbe_model_new();
    ck_assert_ok(rbe_model_add(model, bag));
    check_round_trip(model);
    rbe_model_free(model);

    model = rbe_model_new();
    rbe_layer *tied = rbe_dense_new(4, 4, NULL), *first = rbe_residual_new(tied, "first"),
              *second = rbe_residual_new(tied, "second");
    ck_assert_ok(rbe_model_add(model, first));
    ck_assert_ok(rbe_model_add(model, second));
    check_round_trip(model);
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(nested_models_when_allocations_fail) { assert_storing_survives(nested_model, RBE_STORE_INT8); }
END_TEST

/* ---- what a forger writes ------------------------------------------------------------------------------------ */

#define SHARED(WAY) "\"kind\":\"shared\",\"of\":\"" WAY "\""
#define LAST "\"kind\":\"shared\",\"of\":\"0\"" /* stage 2 of the nested model, after what is shared in stage 0 */
#define INNER SHARED("0.0.0")

static const struct {
    const char *from, *to, *reason;
} forgeries[] = {
    {INNER, SHARED("0.0.2"), "stage 0.0.2: of: expected the path of an earlier layer"}, /* itself */
    {INNER, SHARED("0.0"), "stage 0.0.2: of: expected the path"},                       /* what holds it */
    {INNER, SHARED("0"), "stage 0.0.2: of: expected the path"},
    {INNER, SHARED("0.0.3"), "stage 0.0.2: of: expected the path"}, /* what comes later */
    {INNER, SHARED("1.0"), "stage 0.0.2: of: expected the path"},
    {INNER, SHARED("0.1"), "stage 0.0.2: of: expected the path"}, /* what there is not */
    {INNER, SHARED("0.0.0.0"), "stage 0.0.2: of: expected the path"},
    {INNER, SHARED(""), "of: expected the path"},
    {INNER, SHARED("0.0."), "of: expected the path"},
    {INNER, SHARED(".0"), "of: expected the path"},
    {INNER, SHARED("0..0"), "of: expected the path"},
    {INNER, SHARED("0.0.0x"), "of: expected the path"},
    {INNER, SHARED("-1"), "of: expected the path"},
    {INNER, SHARED("0.0.+0"), "of: expected the path"},
    {INNER, SHARED("99999999999999999999999999"), "of: expected the path"},
    {INNER, "\"kind\":\"shared\",\"of\":0", "of: expected the path"},
    {INNER, "\"kind\":\"shared\"", "of: expected the path"},
    {INNER, INNER ",\"name\":\"a\"", "stage 0.0.2: its description has a member that is unknown"},
    {INNER, INNER "," INNER, "occurs twice"},
    {LAST, SHARED("2"), "stage 2: of: expected the path"},
    {LAST, SHARED("3"), "stage 2: of: expected the path"},
    {"\"kind\":\"residual\",\"name\":\"block\"", "\"kind\":\"dense\",\"name\":\"block\"", "stage 0: in: expected"},
    {"\"kind\":\"tanh\"", "\"kind\":\"tanh\",\"children\":[]", "stage 0.0.1: children: a tanh layer holds no others"},
    {"\"name\":\"head\",\"in\":12,\"out\":5",
     "\"name\":\"head\",\"in\":12,\"out\":5,\"children\":[{\"kind\":\"relu\"}]",
     "stage 3: children: a dense layer holds no others"},
    {"\"children\":[{\"kind\":\"sequential\"", "\"children\":{\"kind\":\"sequential\"", "byte"},
    {"\"children\":[", "\"children\":3,\"x\":[", "stage 0: children: expected a list"},
    {"\"children\":[", "\"x\":[", "stage 0: children: expected a list"},
    {"\"children\":[", "\"children\":[[],", "stage 0.0: its description is not an object"},
    {"\"children\":[", "\"children\":[{},", "stage 0.0: its kind is missing"},
    {"]},{" LAST, ",{\"kind\":\"relu\"}]},{" LAST, "stage 1.1: repeat2: a repeat layer holds one layer, found another"},
    {"\"kind\":\"tanh\"", "\"kind\":\"swish\"", "stage 0.0.1: its kind, swish, is unknown"},
    {"\"name\":\"up\"", "\"nome\":\"up\"", "stage 0.0.0: name: expected"},
    {"\"times\":3", "\"times\":0", "stage 1: times: expected a whole number, 1 .. 1000000"},
    {"\"times\":3", "\"times\":1.5", "stage 1: times: expected"},
    {"\"times\":3", "\"times\":1000001", "stage 1: times: expected"},
    {"\"times\":3", "\"times\":1000000", "stage 1.0: a sample's inputs and outputs take 16000000 bytes"},
    {",{\"kind\":\"tanh\"}", "", "tensor 0.0.2.weight is missing"},
    {"\"kind\":\"dense\",\"name\":\"head\",\"in\":12,\"out\":5", "\"kind\":\"relu\"", "belongs to no stage"},
    {"\"kind\":\"tanh\"", "\"kind\":\"sequential\",\"name\":\"\",\"children\":[]", NULL}, /* it runs */
};

enum { FORGERIES = sizeof forgeries / sizeof *forgeries };

START_TEST(trees_are_checked) {
    rbe_model *model = nested_model();
    bytes b = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    rbe_model_free(model);
    model = load_forgery(b, forgeries[_i].from, forgeries[_i].to, forgeries[_i].reason);
    if (!forgeries[_i].reason) ck_assert_msg(model != NULL, "%s", rbe_last_error());
    rbe_model_free(model);
    free(b.data);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* The model of these stages and no tensors. */
static rbe_model *load_stages(const char *stages) {
    contents c = {.version = "1"};
    ck_assert_uint_lt(strlen(stages), sizeof c.stages);
    strcpy(c.stages, stages);
    return load_contents(&c);
}

/* So many containers inside each other, whose description is `open`, around nothing. */
static rbe_model *load_nested(size_t depth, const char *open) {
    char stages[16000] = "[";
    for (size_t n = 0; n < depth; n++) sprintf(stages + strlen(stages), "{%s,\"name\":\"\",\"children\":[", open);
    for (size_t n = 0; n < depth; n++) strcat(stages, "]}");
    return load_stages(strcat(stages, "]"));
}

START_TEST(depth_is_bounded) {
    rbe_model *model = load_nested(65, "\"kind\":\"bag\"");
    ck_assert_msg(model != NULL, "%s", rbe_last_error());
    rbe_model_free(model);
    ck_assert_ptr_null(load_nested(66, "\"kind\":\"bag\""));
    assert_failed(RBE_BAD_FORMAT, ".0.0: more than 64 layers inside layers");
    ck_assert_ptr_null(load_nested(400, "\"kind\":\"bag\""));
    assert_failed(RBE_BAD_FORMAT, "the JSON text is nested more than 133 deep");
    ck_assert_ptr_null(load_nested(60, "\"kind\":\"repeat\",\"times\":1000000"));
    assert_failed(RBE_BAD_FORMAT, "a sample's inputs and outputs take 16000000 bytes");
}
END_TEST

/* Each holds the one before twice: after n of them the first would run 2^n times. */
START_TEST(doubling_is_bounded) {
    char stages[16000] = "[{\"kind\":\"sequential\",\"name\":\"\",\"children\":[]}";
    for (int n = 0; n < 40; n++)
        sprintf(stages + strlen(stages),
                ",{\"kind\":\"sequential\",\"name\":\"\",\"children\":[{" SHARED("%d") "},{" SHARED("%d") "}]}", n, n);
    strcat(stages, "]");
    ck_assert_ptr_null(load_stages(stages));
    assert_failed(RBE_BAD_FORMAT, "a sample's inputs and outputs take");
    char *end = stages;
    for (int n = 0; n < 10; n++) end = strstr(end + 1, ",{\"kind\":\"sequential\"");
    strcpy(end, "]"); /* 2^9 times */
    rbe_model *model = load_stages(stages);
    ck_assert_msg(model != NULL, "%s", rbe_last_error());
    float x[3] = {1, 2, 3};
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    const rbe_var *y = rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d(x, 1, 3)));
    ck_assert_ok(rbe_tape_status(tape));
    ck_assert_mem_eq(rbe_value(y)->data, x, sizeof x);
    rbe_tape_free(tape);
    rbe_model_free(model);
}
END_TEST

TCase *io_trees_case(void) {
    TCase *trees = tcase_create("trees");
    tcase_add_checked_fixture(trees, scratch_clear, scratch_clear);
    tcase_add_test(trees, deep_models_come_back);
    tcase_add_test(trees, shared_layers_come_back);
    tcase_add_test(trees, nested_models_when_allocations_fail);
    tcase_add_loop_test(trees, trees_are_checked, 0, FORGERIES);
    tcase_add_test(trees, depth_is_bounded);
    tcase_add_test(trees, doubling_is_bounded);
    return trees;
}
