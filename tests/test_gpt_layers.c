/* The layers of a transformer, one by one: what they refuse, and what they compute. */
#include <math.h>
#include <string.h>

#include "gpt_support.h"
#include "io_support.h"
#include "rbe/op.h"
#include "support.h"

static rbe_layer *odd_heads(void) { return attention_layer(8, &(rbe_attention_options){.heads = 3}); }
static rbe_layer *no_heads(void) { return attention_layer(8, &(rbe_attention_options){0}); }
static rbe_layer *all_dropped(void) { return attention_layer(8, &(rbe_attention_options){.heads = 2, .dropout = 1}); }
static rbe_layer *as_float_all_dropped(void) {
    return attention_layer(8, &(rbe_attention_options){.heads = 2, .dropout = 1 - 1e-12});
}
static rbe_layer *dropped_below_0(void) {
    return attention_layer(8, &(rbe_attention_options){.heads = 2, .dropout = -1});
}
static rbe_layer *dropped_nan(void) { return attention_layer(8, &(rbe_attention_options){.heads = 2, .dropout = NAN}); }
static rbe_layer *base_of_1(void) { return attention_layer(8, &(rbe_attention_options){.heads = 2, .rotary_base = 1}); }
static rbe_layer *base_below_0(void) {
    return attention_layer(8, &(rbe_attention_options){.heads = 2, .rotary_base = -5});
}
static rbe_layer *base_nan(void) {
    return attention_layer(8, &(rbe_attention_options){.heads = 2, .rotary_base = NAN});
}
static rbe_layer *base_infinite(void) {
    return attention_layer(8, &(rbe_attention_options){.heads = 2, .rotary_base = INFINITY});
}
static rbe_layer *odd_pairs(void) {
    return attention_layer(6, &(rbe_attention_options){.heads = 2, .rotary_base = 10});
}
static rbe_layer *no_qkv(void) { return rbe_attention_new(NULL, dense_layer(8, 8), NULL, NULL); }
static rbe_layer *no_project(void) { return rbe_attention_new(dense_layer(8, 24), NULL, NULL, NULL); }
static rbe_layer *narrow_qkv(void) { return rbe_attention_new(dense_layer(8, 16), dense_layer(8, 8), NULL, NULL); }
static rbe_layer *any_qkv(void) { return rbe_attention_new(rbe_dropout_new(0.5f), dense_layer(8, 8), NULL, NULL); }
static rbe_layer *wide_project(void) { return rbe_attention_new(dense_layer(8, 24), dense_layer(8, 9), NULL, NULL); }
static rbe_layer *other_project(void) { return rbe_attention_new(dense_layer(8, 24), dense_layer(9, 8), NULL, NULL); }
static rbe_layer *block_of_two_widths(void) {
    return rbe_block_new(norm_layer(8), attention_layer(8, NULL), norm_layer(9), dense_layer(8, 8), NULL);
}
static rbe_layer *block_that_widens(void) {
    return rbe_block_new(norm_layer(8), attention_layer(8, NULL), norm_layer(8), dense_layer(8, 9), NULL);
}
static rbe_layer *block_of_three(void) {
    return rbe_block_new(norm_layer(8), attention_layer(8, NULL), NULL, dense_layer(8, 8), NULL);
}
static rbe_layer *block_of_one_norm_twice(void) { /* it fails at the first, which is the third too */
    rbe_layer *wide = dense_layer(8, 9);
    return rbe_block_new(wide, attention_layer(8, NULL), wide, dense_layer(8, 8), NULL);
}
static rbe_layer *head_of_dense(void) { return rbe_unembedding_new(dense_layer(8, 9), NULL); }
static rbe_layer *head_of_nothing(void) { return rbe_unembedding_new(NULL, NULL); }
static rbe_layer *empty_vocabulary(void) { return rbe_embedding_new(0, 8, 1, NULL); }
static rbe_layer *empty_vectors(void) { return rbe_embedding_new(8, 0, 1, NULL); }
static rbe_layer *endless_vectors(void) { return rbe_embedding_new(8, SIZE_MAX, 1, NULL); }
static rbe_layer *no_places(void) { return rbe_positions_new(0, 8, 1, NULL); }
static rbe_layer *empty_norm(void) { return rbe_layer_norm_new(0, 0.0f, false, NULL); }
static rbe_layer *norm_below_0(void) { return rbe_layer_norm_new(8, -1.0f, false, NULL); }
static rbe_layer *norm_nan(void) { return rbe_layer_norm_new(8, NAN, true, NULL); }

static const struct {
    rbe_layer *(*make)(void);
    rbe_status status;
    const char *text;
} bad_layers[] = {
    {odd_heads, RBE_INPUT_DIMENSION_MISMATCH, "multiple of 3"},
    {no_heads, RBE_INVALID_ARGUMENT, "at least one head"},
    {all_dropped, RBE_INVALID_ARGUMENT, "0 <= dropout < 1"},
    {as_float_all_dropped, RBE_INVALID_ARGUMENT, "0 <= dropout < 1"},
    {dropped_below_0, RBE_INVALID_ARGUMENT, "0 <= dropout < 1"},
    {dropped_nan, RBE_INVALID_ARGUMENT, "nan"},
    {base_of_1, RBE_INVALID_ARGUMENT, "rotary base of 0 or above 1"},
    {base_below_0, RBE_INVALID_ARGUMENT, "-5"},
    {base_nan, RBE_INVALID_ARGUMENT, "nan"},
    {base_infinite, RBE_INVALID_ARGUMENT, "inf"},
    {odd_pairs, RBE_INPUT_DIMENSION_MISMATCH, "multiple of 4"},
    {no_qkv, RBE_INVALID_ARGUMENT, "NULL"},
    {no_project, RBE_INVALID_ARGUMENT, "NULL"},
    {narrow_qkv, RBE_INPUT_DIMENSION_MISMATCH, "found 8 -> 16"},
    {any_qkv, RBE_INPUT_DIMENSION_MISMATCH, "found 0 -> 0"},
    {wide_project, RBE_INPUT_DIMENSION_MISMATCH, "the second 8 -> 8, found 8 -> 9"},
    {other_project, RBE_INPUT_DIMENSION_MISMATCH, "found 9 -> 8"},
    {block_of_two_widths, RBE_INPUT_DIMENSION_MISMATCH, "found 9 -> 9 as number 3"},
    {block_that_widens, RBE_INPUT_DIMENSION_MISMATCH, "found 8 -> 9 as number 4"},
    {block_of_three, RBE_INVALID_ARGUMENT, "NULL"},
    {block_of_one_norm_twice, RBE_INPUT_DIMENSION_MISMATCH, "found 8 -> 9 as number 1"},
    {head_of_dense, RBE_INVALID_ARGUMENT, "expected one embedding, found dense"},
    {head_of_nothing, RBE_INVALID_ARGUMENT, "NULL"},
    {empty_vocabulary, RBE_INVALID_ARGUMENT, "embedding"},
    {empty_vectors, RBE_INVALID_ARGUMENT, "embedding"},
    {endless_vectors, RBE_INVALID_ARGUMENT, "embedding"},
    {no_places, RBE_INVALID_ARGUMENT, "positions"},
    {empty_norm, RBE_INVALID_ARGUMENT, "layer_norm"},
    {norm_below_0, RBE_INVALID_ARGUMENT, "epsilon"},
    {norm_nan, RBE_INVALID_ARGUMENT, "nan"},
};
enum { BAD_LAYERS = sizeof bad_layers / sizeof *bad_layers };

/* What they were given is freed. */
START_TEST(bad_layers_are_refused) {
    rbe_layer *layer = bad_layers[_i].make();
    ck_assert_ptr_null(layer);
    ck_assert_msg(rbe_last_status() == bad_layers[_i].status, "%s: %s", rbe_status_name(rbe_last_status()),
                  rbe_last_error());
    ck_assert_msg(strstr(rbe_last_error(), bad_layers[_i].text) != NULL, "%s", rbe_last_error());
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* One norm in both places, whichever allocation fails. */
static rbe_status block_with_a_shared_norm(void *user) {
    (void)user;
    rbe_layer *shared = norm_layer(8);
    rbe_layer *layer =
        shared ? rbe_block_new(shared, rbe_dropout_new(0.5f), shared, rbe_dropout_new(0.5f), NULL) : NULL;
    const rbe_status status = layer ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
    rbe_layer_free(layer);
    return status;
}

START_TEST(a_norm_may_be_shared) { ck_assert_uint_ge(fail_each_allocation(block_with_a_shared_norm, NULL), 6); }
END_TEST

/* Containers that are full take nothing more. */
START_TEST(full_containers) {
    rbe_layer *embedding = rbe_embedding_new(9, 8, 1, NULL), *head = rbe_unembedding_new(embedding, NULL);
    rbe_layer *a = attention_layer(8, NULL),
              *block = rbe_block_new(norm_layer(8), attention_layer(8, NULL), norm_layer(8), dense_layer(8, 8), NULL);
    ck_assert(head && a && block);
    ck_assert_int_eq(rbe_layer_add(head, rbe_embedding_new(9, 8, 1, NULL)), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_layer_add(a, dense_layer(8, 8)), RBE_INPUT_DIMENSION_MISMATCH);
    ck_assert_int_eq(rbe_layer_add(block, norm_layer(8)), RBE_INPUT_DIMENSION_MISMATCH);
    ck_assert_uint_eq(rbe_layer_inputs(head), 8);
    ck_assert_uint_eq(rbe_layer_outputs(head), 9);
    ck_assert_uint_eq(rbe_layer_inputs(a), 8);
    ck_assert_uint_eq(rbe_layer_outputs(block), 8);
    rbe_layer_free(head);
    rbe_layer_free(a);
    rbe_layer_free(block);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Ids that are none, named by their place; shapes that do not fit. */
START_TEST(inputs_that_do_not_fit) {
    static const float bad[] = {-1.0f, VOCABULARY, 0.5f, 10.5f, NAN, INFINITY, -INFINITY, 1e30f};
    rbe_model *model = new_gpt(&kinds[0]);
    rbe_tape *tape = rbe_tape_new(NULL);
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        float x[6] = {0, 1, 2, 10, bad[n], 5};
        rbe_tape_reset(tape);
        ck_assert(!rbe_ok(rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d(x, 2, 3)))));
        ck_assert_int_eq(rbe_tape_status(tape), RBE_INVALID_ARGUMENT);
        ck_assert_msg(strstr(rbe_tape_error(tape), "transformer.wte: id 4: expected a whole number in 0 .. 10") != NULL,
                      "%s", rbe_tape_error(tape));
    }
    static const rbe_tensor shapes[] = {
        {NULL, 2, {1, CONTEXT + 1}}, {NULL, 4, {1, 1, 1, 1}}, {NULL, 3, {2, 1, CONTEXT + 1}}};
    float zeros[2 * CONTEXT + 2] = {0};
    for (size_t n = 0; n < sizeof shapes / sizeof *shapes; n++) {
        rbe_tensor x = shapes[n];
        x.data = zeros;
        rbe_tape_reset(tape);
        ck_assert(!rbe_ok(rbe_model_forward(model, rbe_input(tape, x))));
        ck_assert_msg(rbe_tape_status(tape) == RBE_INPUT_DIMENSION_MISMATCH, "%s", rbe_tape_error(tape));
    }
    rbe_tape_free(tape);
    rbe_model_free(model);
}
END_TEST

/* Rows of the table; with positions; and the products with the table again: bit for bit, and for every number of
 * dimensions. */
START_TEST(tables_of_vectors) {
    enum { IDS = 5, PLACES = 7, VECTOR = 6 };
    rbe_layer *e = rbe_embedding_new(IDS, VECTOR, 1, NULL), *p = rbe_positions_new(PLACES, VECTOR, 2, NULL);
    rbe_layer *head = rbe_unembedding_new(e, NULL);
    const float *table = rbe_layer_param(e, 0)->value, *places = rbe_layer_param(p, 0)->value;
    float ids[3 * PLACES];
    for (size_t n = 0; n < 3 * PLACES; n++) ids[n] = (float)(n * n % IDS);
    static const rbe_tensor id_shapes[] = {{NULL, 1, {PLACES}}, {NULL, 2, {3, PLACES}}, {NULL, 3, {1, 3, PLACES}}};
    rbe_tape *tape = rbe_tape_new(NULL);
    for (int s = 0; s < 3; s++) {
        rbe_tensor x = id_shapes[s];
        x.data = ids;
        rbe_var *vectors = rbe_layer_forward(e, rbe_input(tape, x)), *y = rbe_layer_forward(p, vectors);
        rbe_var *scores = rbe_layer_forward(head, vectors);
        ck_assert_msg(rbe_tape_status(tape) == RBE_OK, "%s", rbe_tape_error(tape));
        ck_assert_int_eq(rbe_value(scores)->dims, x.dims + 1);
        ck_assert_uint_eq(rbe_value(scores)->shape[x.dims], IDS);
        ck_assert_int_eq(rbe_value(y)->dims, x.dims + 1);
        for (size_t n = 0; n < rbe_tensor_count(&x) * VECTOR; n++) {
            const float expected = table[(size_t)ids[n / VECTOR] * VECTOR + n % VECTOR];
            ck_assert_float_eq(rbe_value(vectors)->data[n], expected);
            ck_assert_float_eq(rbe_value(y)->data[n], expected + places[n % (PLACES * VECTOR)]);
        }
        for (size_t n = 0; n < rbe_tensor_count(&x) * IDS; n++) {
            double sum = 0.0;
            for (size_t k = 0; k < VECTOR; k++)
                sum += (double)rbe_value(vectors)->data[n / IDS * VECTOR + k] * (double)table[n % IDS * VECTOR + k];
            ck_assert_double_eq_tol((double)rbe_value(scores)->data[n], sum, 1e-8);
        }
    }
    rbe_tape_free(tape);
    rbe_layer_free(head);
    rbe_layer_free(p);
}
END_TEST

TCase *gpt_layers_case(void) {
    TCase *layers = tcase_create("layers");
    tcase_add_loop_test(layers, bad_layers_are_refused, 0, BAD_LAYERS);
    tcase_add_test(layers, a_norm_may_be_shared);
    tcase_add_test(layers, full_containers);
    tcase_add_test(layers, inputs_that_do_not_fit);
    tcase_add_test(layers, tables_of_vectors);
    return layers;
}
