/* A generator: text piece by piece gives what the whole gives, in the caller's memory, and survives refusals. */
#include <stdlib.h>
#include <string.h>

#include "gpt_support.h"
#include "io_support.h"
#include "support.h"

START_TEST(pieces_give_what_the_whole_gives) {
    rbe_model *model = stirred_gpt(&kinds[_i]);
    float *whole = logits_of(model, some_ids, 1, CONTEXT);
    rbe_generator *g = rbe_generator_new(model, CONTEXT, NULL, 0);
    for (size_t places = 1; places <= 7; places++)
        for (unsigned cuts = 0; cuts < 1u << (places - 1); cuts++) check_pieces(g, whole, places, cuts, kinds[_i].name);
    for (size_t cut = 0; cut < CONTEXT; cut++) check_pieces(g, whole, CONTEXT, 1u << cut, kinds[_i].name);
    rbe_generator_free(g);
    free(whole);
    rbe_model_free(model);
}
END_TEST

/* Rotary positions have no end: longer than the model's context, on one thread and two, the same bits on both. */
START_TEST(long_texts) {
    enum { LONG = 150 };
    rbe_model *model = stirred_gpt(&kinds[1]);
    int32_t ids[LONG];
    for (int n = 0; n < LONG; n++) ids[n] = n * n % VOCABULARY;
    float *whole = logits_of(model, ids, 1, LONG), found[2][VOCABULARY];
    for (int threads = 1; threads <= 2; threads++) {
        ck_assert_ok(rbe_set_threads(threads));
        rbe_generator *g = rbe_generator_new(model, LONG, NULL, 0);
        const float *logits;
        ck_assert_ok(rbe_generator_feed(g, ids, 100, NULL));
        for (int n = 100; n < LONG; n++) ck_assert_ok(rbe_generator_feed(g, ids + n, 1, &logits));
        memcpy(found[threads - 1], logits, sizeof found[0]);
        ck_assert_double_lt(relative_difference(logits, whole + (LONG - 1) * VOCABULARY, VOCABULARY), 1e-5);
        rbe_generator_free(g);
    }
    ck_assert_mem_eq(found[0], found[1], sizeof found[0]);
    free(whole);
    rbe_model_free(model);
}
END_TEST

/* Once it is full, or is given ids that are none, nothing has been read: it goes on as if nothing had been. */
START_TEST(a_generator_survives_refusals) {
    rbe_model *model = stirred_gpt(&kinds[_i]);
    float *whole = logits_of(model, some_ids, 1, CONTEXT);
    rbe_generator *g = rbe_generator_new(model, CONTEXT, NULL, 0);
    const float *logits = NULL;
    ck_assert_ok(rbe_generator_feed(g, some_ids, 8, &logits));
    const int32_t unknown[][2] = {{VOCABULARY, 0}, {0, VOCABULARY}, {1, -1}, {INT32_MAX, 0}, {INT32_MIN, 0}};
    for (int n = 0; n < 5; n++) {
        ck_assert_int_eq(rbe_generator_feed(g, unknown[n], 2, &logits), RBE_INVALID_ARGUMENT);
        ck_assert_msg(strstr(rbe_last_error(), "id") != NULL, "%s", rbe_last_error());
        ck_assert_uint_eq(rbe_generator_places(g), 8);
    }
    ck_assert_int_eq(rbe_generator_feed(g, some_ids, CONTEXT - 7, &logits), RBE_INPUT_DIMENSION_MISMATCH);
    ck_assert_int_eq(rbe_generator_feed(g, some_ids, 0, &logits), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_generator_feed(g, NULL, 1, &logits), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_generator_feed(NULL, some_ids, 1, &logits), RBE_INVALID_ARGUMENT);
    ck_assert_uint_eq(rbe_generator_places(g), 8);
    ck_assert_ok(rbe_generator_feed(g, some_ids + 8, CONTEXT - 8, &logits));
    ck_assert_double_lt(relative_difference(logits, whole + (CONTEXT - 1) * VOCABULARY, VOCABULARY), 1e-5);
    ck_assert_int_eq(rbe_generator_feed(g, some_ids, 1, &logits), RBE_INPUT_DIMENSION_MISMATCH);
    ck_assert_uint_eq(rbe_generator_places(g), CONTEXT);
    rbe_generator_reset(g);
    ck_assert_uint_eq(rbe_generator_places(g), 0);
    ck_assert_ok(rbe_generator_feed(g, some_ids, 1, &logits));
    ck_assert_double_lt(relative_difference(logits, whole, VOCABULARY), 1e-5);
    rbe_generator_free(g);
    rbe_generator_free(NULL);
    rbe_generator_reset(NULL);
    ck_assert_uint_eq(rbe_generator_places(NULL), 0);
    free(whole);
    rbe_model_free(model);
}
END_TEST

/* Trained positions end before the generator does. */
START_TEST(positions_end) {
    rbe_model *model = stirred_gpt(&kinds[0]);
    rbe_generator *g = rbe_generator_new(model, 2 * CONTEXT, NULL, 0);
    ck_assert_ok(rbe_generator_feed(g, some_ids, CONTEXT, NULL));
    ck_assert_int_eq(rbe_generator_feed(g, some_ids, 1, NULL), RBE_INPUT_DIMENSION_MISMATCH);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "expected at most 12 places, found 13"));
    ck_assert_uint_eq(rbe_generator_places(g), CONTEXT);
    rbe_generator_free(g);
    rbe_model_free(model);
}
END_TEST

/* The caller's memory: of the size that is told, not a byte beyond; less is refused. */
START_TEST(memory_of_the_callers) {
    rbe_model *model = stirred_gpt(&kinds[2]);
    const size_t needed = rbe_generator_bytes(model, CONTEXT), floats = needed / sizeof(float);
    ck_assert_uint_eq(needed, LAYERS * 2 * CONTEXT * WIDTH * sizeof(float));
    ck_assert_uint_eq(rbe_generator_bytes(model, 2 * CONTEXT), 2 * needed);
    float *memory = test_memory(floats + 16, sizeof *memory), *whole = logits_of(model, some_ids, 1, CONTEXT);
    for (size_t n = 0; n < floats + 16; n++) memory[n] = -7.0f;
    const size_t before = rbe_memory().current;
    rbe_generator *g = rbe_generator_new(model, CONTEXT, memory + 8, needed);
    ck_assert_ptr_nonnull(g);
    const size_t of_callers = rbe_memory().current - before;
    for (unsigned cuts = 0; cuts < 1u << (CONTEXT - 1); cuts += 401)
        check_pieces(g, whole, CONTEXT, cuts, "own memory");
    for (size_t n = 0; n < 8; n++) ck_assert(memory[n] == -7.0f && memory[floats + 8 + n] == -7.0f);
    for (size_t n = 8; n < floats + 8; n++) ck_assert_float_ne(memory[n], -7.0f);
    rbe_generator_free(g);
    ck_assert_uint_eq(rbe_memory().current, before);
    g = rbe_generator_new(model, CONTEXT, NULL, 0);
    ck_assert_uint_ge(rbe_memory().current - before, of_callers + needed);
    rbe_generator_free(g);

    ck_assert_ptr_null(rbe_generator_new(model, CONTEXT, memory, needed - 1));
    ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "expected at least 3072 bytes for 12 places, found 3071"));
    static const size_t places[] = {0, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / WIDTH / LAYERS / 8 + 1};
    for (int n = 0; n < 4; n++) {
        ck_assert_ptr_null(rbe_generator_new(model, places[n], memory, needed));
        ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
        if (n > 0) ck_assert_uint_eq(rbe_generator_bytes(model, places[n]), PTRDIFF_MAX);
    }
    ck_assert_ptr_null(rbe_generator_new(NULL, 1, NULL, 0));
    ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    free(memory);
    free(whole);
    rbe_model_free(model);
}
END_TEST

/* Any model whose places meet in attention alone: with weights in several places, too. _i: a block that is repeated, a
 * block twice in a row. */
START_TEST(generators_of_other_models) {
    rbe_model *model = rbe_model_new();
    rbe_layer *table = rbe_embedding_new(VOCABULARY, 8, 1, NULL);
    rbe_layer *block =
        rbe_block_new(norm_layer(8), attention_layer(8, &(rbe_attention_options){.heads = 2, .rotary_base = 10}),
                      norm_layer(8), dense_layer(8, 8), NULL);
    ck_assert_ok(rbe_model_add(model, table));
    if (_i == 0) {
        rbe_layer *row = rbe_sequential_new(NULL);
        ck_assert_ok(rbe_layer_add(row, block));
        ck_assert_ok(rbe_layer_add(row, rbe_repeat_new(rbe_residual_new(attention_layer(8, NULL), NULL), 2, NULL)));
        ck_assert_ok(rbe_model_add(model, rbe_repeat_new(row, 3, NULL)));
    } else {
        ck_assert_ok(rbe_model_add(model, block));
        ck_assert_ok(rbe_model_add(model, block));
    }
    ck_assert_ok(rbe_model_add(model, rbe_unembedding_new(table, NULL)));
    ck_assert_uint_eq(rbe_generator_bytes(model, 1), (_i == 0 ? 9 : 2) * 2 * 8 * sizeof(float));
    float *whole = logits_of(model, some_ids, 1, CONTEXT);
    rbe_generator *g = rbe_generator_new(model, CONTEXT, NULL, 0);
    for (unsigned cuts = 0; cuts < 1u << (CONTEXT - 1); cuts += 129) check_pieces(g, whole, CONTEXT, cuts, "shared");
    rbe_generator_free(g);
    rbe_model_free(model);
    free(whole);
}
END_TEST

START_TEST(generators_of_no_model) {
    rbe_model *plain = rbe_model_new(), *mixed = rbe_model_new();
    ck_assert_ok(rbe_model_add(plain, rbe_embedding_new(5, 8, 1, NULL)));
    ck_assert_ok(rbe_model_add(plain, dense_layer(8, 8)));
    ck_assert_ok(rbe_model_add(mixed, rbe_embedding_new(5, 8, 1, NULL)));
    ck_assert_ok(rbe_model_add(mixed, attention_layer(8, NULL)));
    ck_assert_ok(rbe_model_add(mixed, dense_layer(8, 4)));
    ck_assert_ok(rbe_model_add(mixed, attention_layer(4, NULL)));
    ck_assert_ptr_null(rbe_generator_new(plain, 4, NULL, 0));
    assert_failed(RBE_INVALID_ARGUMENT, "attention layers of one width");
    ck_assert_ptr_null(rbe_generator_new(mixed, 4, NULL, 0));
    assert_failed(RBE_INVALID_ARGUMENT, "attention layers of one width");
    rbe_model_free(plain);
    rbe_model_free(mixed);
}
END_TEST

TCase *gpt_generator_case(void) {
    TCase *generator = tcase_create("generator");
    tcase_add_loop_test(generator, pieces_give_what_the_whole_gives, 0, KINDS);
    tcase_add_test(generator, long_texts);
    tcase_add_loop_test(generator, a_generator_survives_refusals, 0, KINDS);
    tcase_add_test(generator, positions_end);
    tcase_add_test(generator, memory_of_the_callers);
    tcase_add_loop_test(generator, generators_of_other_models, 0, 2);
    tcase_add_test(generator, generators_of_no_model);
    return generator;
}
