/* Files of transformers: layers come back with their options; forged ones are refused, or run. */
#include <stdlib.h>

#include "gpt_support.h"
#include "io_support.h"
#include "rbe/op.h"
#include "support.h"

START_TEST(it_is_stored) {
    rbe_model *model = stirred_gpt(&kinds[_i]);
    bytes file = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    rbe_tensor_file *tensors = open_bytes(file);
    size_t tables = 0;
    for (size_t n = 0; n < rbe_tensor_file_count(tensors); n++) {
        const rbe_tensor_info *info = rbe_tensor_file_at(tensors, n);
        tables += info->dims == 2 && info->shape[0] == VOCABULARY && info->shape[1] == WIDTH;
    }
    ck_assert_uint_eq(tables, 1); /* shared weights stand there once */
    rbe_tensor_file_close(tensors);

    rbe_model *again = load_bytes(file);
    ck_assert_msg(again != NULL, "%s", rbe_last_error());
    ck_assert(same_models(model, again));
    float *before = logits_of(model, some_ids, 1, CONTEXT);
    rbe_model_free(model);
    float *after = logits_of(again, some_ids, 1, CONTEXT);
    ck_assert_mem_eq(before, after, CONTEXT * VOCABULARY * sizeof *before);
    /* The head is still the table. */
    rbe_param *wte = rbe_model_find_param(again, "transformer.wte.weight");
    for (size_t n = 0; n < wte->count; n++) wte->value[n] *= 2.0f;
    free(after);
    after = logits_of(again, some_ids, 1, CONTEXT);
    ck_assert_double_gt(relative_difference(after, before, CONTEXT * VOCABULARY), 0.5);
    bytes other = saved(again, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    ck_assert_uint_eq(other.count, file.count);
    rbe_model_free(again);
    free(file.data);
    free(other.data);
    free(before);
    free(after);
}
END_TEST

/* Each layer of sequences by itself, with options of its own. */
START_TEST(layers_are_stored) {
    const rbe_attention_options options[] = {{.heads = 1},
                                             {.heads = 4, .dropout = 0.25},
                                             {.heads = 2, .rotary_base = 123.5},
                                             {.heads = 2, .dropout = 0.75, .rotary_base = 1.5}};
    rbe_model *model = rbe_model_new();
    rbe_layer *embedding = rbe_embedding_new(13, 8, 1, "table");
    ck_assert_ok(rbe_model_add(model, embedding));
    ck_assert_ok(rbe_model_add(model, rbe_positions_new(5, 8, 2, "places")));
    ck_assert_ok(rbe_model_add(model, rbe_layer_norm_new(8, 0.25f, true, "bare")));
    ck_assert_ok(rbe_model_add(model, rbe_layer_norm_new(8, 0.0f, false, "biased")));
    for (int n = 0; n < 4; n++) ck_assert_ok(rbe_model_add(model, attention_layer(8, &options[n])));
    ck_assert_ok(rbe_model_add(
        model, rbe_block_new(norm_layer(8), attention_layer(8, &options[1]), norm_layer(8), dense_layer(8, 8), NULL)));
    ck_assert_ok(rbe_model_apply(model, rbe_gelu_tanh));
    ck_assert_ok(rbe_model_add(model, rbe_unembedding_new(embedding, "head")));
    bytes file = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    rbe_model *again = load_bytes(file);
    ck_assert_msg(again != NULL, "%s", rbe_last_error());
    ck_assert(same_models(model, again));
    rbe_tape *tape = rbe_tape_new(NULL), *other = rbe_tape_new(NULL);
    float ids[] = {0, 12, 3, 4, 5};
    rbe_var *x = rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d(ids, 1, 5)));
    rbe_var *y = rbe_model_forward(again, rbe_input(other, rbe_tensor_2d(ids, 1, 5)));
    ck_assert_ok(rbe_tape_status(tape));
    ck_assert_ok(rbe_tape_status(other));
    ck_assert_mem_eq(rbe_value(x)->data, rbe_value(y)->data,
                     5 * 13 * sizeof(float)); /* with dropout: options are alike */
    rbe_tape_free(tape);
    rbe_tape_free(other);
    rbe_model_free(model);
    rbe_model_free(again);
    free(file.data);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Embedding, positions, a block, an attention, the head: few enough tensors to be forged. */
static rbe_model *forgeable_model(void) {
    const rbe_attention_options rotary = {.heads = 2, .rotary_base = 100};
    rbe_model *model = rbe_model_new();
    rbe_layer *embedding = rbe_embedding_new(VOCABULARY, 8, 1, "table");
    ck_assert_ok(rbe_model_add(model, embedding));
    ck_assert_ok(rbe_model_add(model, rbe_positions_new(CONTEXT, 8, 2, "places")));
    ck_assert_ok(rbe_model_add(
        model, rbe_block_new(norm_layer(8), attention_layer(8, &rotary), norm_layer(8), dense_layer(8, 8), "block")));
    ck_assert_ok(rbe_model_add(model, attention_layer(8, &(rbe_attention_options){.heads = 4, .dropout = 0.5})));
    ck_assert_ok(rbe_model_add(model, rbe_unembedding_new(embedding, "head")));
    return model;
}

#define QKV "{\"kind\":\"dense\",\"name\":\"0\",\"in\":8,\"out\":24}"
#define PROJECT "{\"kind\":\"dense\",\"name\":\"1\",\"in\":8,\"out\":8}"

static const struct {
    const char *from, *to, *reason; /* NULL: it may be read, and then does no harm */
} forgeries[] = {
    {"\"heads\":2", "\"heads\":3", "multiple of"},
    {"\"heads\":2", "\"heads\":0", "heads"},
    {"\"heads\":2", "\"heads\":1e30", "heads"},
    {"\"heads\":2", "\"heads\":1.5", "heads"},
    {"\"heads\":2,", "", "heads"},
    {"\"heads\":2", "\"heads\":8", "multiple of 16"},
    {"\"rotary_base\":100", "\"rotary_base\":0.5", "rotary"},
    {"\"rotary_base\":100", "\"rotary_base\":-3", "rotary_base"},
    {"\"rotary_base\":100", "\"rotary_base\":1e300", "rotary_base"},
    {"\"rotary_base\":100", "\"rotary_base\":\"a\"", "rotary_base"},
    {"\"dropout\":0.5", "\"dropout\":1", "dropout"},
    {"\"dropout\":0.5", "\"dropout\":-0.5", "dropout"},
    {"\"rows\":11", "\"rows\":12", "weight"},
    {"\"rows\":11", "\"rows\":0", "rows"},
    {"\"rows\":11,\"width\":8", "\"rows\":8,\"width\":11", "weight"},
    {"\"rows\":11", "\"rows\":1e9", "rows"},
    {"\"width\":8,\"epsilon\"", "\"width\":9,\"epsilon\"", "width"},
    {"\"kind\":\"unembedding\"", "\"kind\":\"attention\"", "heads"},
    {"\"kind\":\"unembedding\"", "\"kind\":\"sequential\"", NULL},
    {"\"kind\":\"unembedding\"", "\"kind\":\"residual\"", NULL},
    {"\"kind\":\"embedding\"", "\"kind\":\"positions\"", "embedding"},
    {"\"kind\":\"positions\"", "\"kind\":\"embedding\"", NULL},
    {"{\"kind\":\"shared\",\"of\":\"0\"}", "", NULL},
    {"{\"kind\":\"shared\",\"of\":\"0\"}", "{\"kind\":\"shared\",\"of\":\"1\"}", "expected one embedding"},
    {"{\"kind\":\"shared\",\"of\":\"0\"}", "{\"kind\":\"shared\",\"of\":\"2\"}", "expected one embedding"},
    {QKV, "{\"kind\":\"tanh\"}", "three times"},
    {QKV "," PROJECT, PROJECT "," QKV, "expected the shape"},
    {QKV "," PROJECT, "", "belongs to no stage"},
    {"\"children\":[" QKV "," PROJECT "]", "\"children\":[" QKV "," PROJECT ",{\"kind\":\"tanh\"}]", "two layers"},
    {"{\"kind\":\"attention\"",
     "{\"kind\":\"attention\",\"heads\":1,\"dropout\":0,\"rotary_base\":0,\"name\":\"empty\","
     "\"children\":[]},{\"kind\":\"attention\"",
     NULL},
    {"{\"kind\":\"unembedding\"",
     "{\"kind\":\"attention\",\"heads\":1,\"dropout\":0,\"rotary_base\":0,\"name\":"
     "\"empty\",\"children\":[]},{\"kind\":\"unembedding\"",
     NULL},
    {"{\"kind\":\"unembedding\"", "{\"kind\":\"block\",\"name\":\"empty\",\"children\":[]},{\"kind\":\"unembedding\"",
     NULL},
    {"{\"kind\":\"block\",\"name\":\"block\"", "{\"kind\":\"sequential\",\"name\":\"block\"", NULL},
};
enum { FORGERIES = sizeof forgeries / sizeof *forgeries };

/* A forged file is refused with a reason, or read: then it computes something, or says why not. */
START_TEST(forged_files) {
    rbe_model *model = forgeable_model();
    bytes file = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    rbe_model_free(model);
    model = load_forgery(file, forgeries[_i].from, forgeries[_i].to, forgeries[_i].reason);
    if (model) {
        float ids[] = {1, 2, 3};
        rbe_tape *tape = rbe_tape_new(NULL);
        rbe_var *y = rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d(ids, 1, 3)));
        ck_assert_int_eq(rbe_ok(y), rbe_tape_status(tape) == RBE_OK);
        rbe_tape_free(tape);
        ck_assert_uint_lt(rbe_generator_bytes(model, 5), 10000);
        rbe_generator *g = rbe_generator_new(model, 5, NULL, 0);
        if (g) rbe_generator_feed(g, some_ids, 3, NULL);
        rbe_generator_free(g);
        ck_assert_uint_gt(rbe_model_tape_bytes(model, 3), 0);
    }
    rbe_model_free(model);
    free(file.data);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* A forged model may have an attention that holds nothing: it has no width. */
START_TEST(an_attention_of_nothing) {
    rbe_model *model = rbe_model_new();
    ck_assert_ok(rbe_model_add(model, rbe_dense_new(4, 4, NULL)));
    bytes file = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    contents c = take_apart(file);
    rbe_model_free(model);
    forge(&c, "]",
          ",{\"kind\":\"attention\",\"heads\":1,\"dropout\":0,\"rotary_base\":0,\"name\":\"empty\",\"children\":[]}]");
    model = load_contents(&c);
    if (model) {
        ck_assert_uint_eq(rbe_generator_bytes(model, 5), 0);
        ck_assert_ptr_null(rbe_generator_new(model, 5, NULL, 0));
        assert_failed(RBE_INVALID_ARGUMENT, "attention layers of one width");
    }
    rbe_model_free(model);
    discard(&c);
    free(file.data);
}
END_TEST

TCase *gpt_files_case(void) {
    TCase *files = tcase_create("files");
    tcase_add_loop_test(files, it_is_stored, 0, KINDS);
    tcase_add_test(files, layers_are_stored);
    tcase_add_loop_test(files, forged_files, 0, FORGERIES);
    tcase_add_test(files, an_attention_of_nothing);
    return files;
}
