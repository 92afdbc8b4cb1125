/* A transformer made of layers: its names and formula, gradients, files; text piece by piece; sampling; training that
 * is interrupted, grown and pruned. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/node.h"

#include "attention_reference.h"
#include "io_support.h"
#include "rbe/adapt.h"
#include "rbe/gpt.h"
#include "rbe/train.h"
#include "reference.h"
#include "suites.h"
#include "support.h"

enum { VOCABULARY = 11, LAYERS = 2, HEADS = 2, WIDTH = 16, CONTEXT = 12 };

typedef struct kind {
    const char *name;
    bool dense, rotary;
    double dropout;
} kind;

static const kind kinds[] = {
    {"dense, learned", true, false, 0},
    {"dense, rotary", true, true, 0},
    {"compressed, learned", false, false, 0},
    {"compressed, rotary", false, true, 0},
    {"dense, learned, dropout", true, false, 0.1},
    {"compressed, rotary, dropout", false, true, 0.2},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static rbe_gpt_options options_of(const kind *k) {
    return (rbe_gpt_options){.vocabulary = VOCABULARY,
                             .layers = LAYERS,
                             .heads = HEADS,
                             .width = WIDTH,
                             .context = CONTEXT,
                             .dense = k->dense,
                             .ratio = 2,
                             .group = 2,
                             .block = 8,
                             .rotary = k->rotary,
                             .dropout = k->dropout,
                             .seed = 3};
}

static rbe_model *new_gpt(const kind *k) {
    const rbe_gpt_options options = options_of(k);
    rbe_model *model = rbe_gpt_new(&options);
    ck_assert_msg(model != NULL, "%s: %s", k->name, rbe_last_error());
    return model;
}

/* The same with larger values, as a trained one has: attention prefers some places, and norms have scales. */
static rbe_model *stirred_gpt(const kind *k) {
    rbe_model *model = new_gpt(k);
    rbe_param *param;
    for (size_t n = 0; (param = rbe_model_param(model, n)); n++) {
        float *noise = normals(param->count, 70 + n);
        for (size_t i = 0; i < param->count; i++) param->value[i] += 0.2f * noise[i];
        free(noise);
    }
    return model;
}

static const int32_t some_ids[CONTEXT] = {3, 0, 10, 7, 7, 1, 9, 2, 3, 5, 0, 8};

/* Logits of ids, each sequence by itself: to be freed. */
static float *logits_of(const rbe_model *model, const int32_t *ids, size_t sequences, size_t places) {
    float *x = test_memory(sequences * places, sizeof *x);
    for (size_t n = 0; n < sequences * places; n++) x[n] = (float)ids[n];
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    const rbe_tensor *y = rbe_value(rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d(x, sequences, places))));
    ck_assert_ok(rbe_tape_status(tape));
    ck_assert_int_eq(y->dims, 3);
    ck_assert(y->shape[0] == sequences && y->shape[1] == places);
    float *copy = test_memory(rbe_tensor_count(y), sizeof *copy);
    memcpy(copy, y->data, rbe_tensor_count(y) * sizeof *copy);
    rbe_tape_free(tape);
    free(x);
    return copy;
}

/* ---- the model ----------------------------------------------------------------------------------------------- */

/* nanoGPT's names, in its order; the head has no weights of its own. */
START_TEST(names_are_nanogpts) {
    static const char *const parts[] = {"ln_1.weight", "attn.c_attn.weight", "attn.c_proj.weight",
                                        "ln_2.weight", "mlp.c_fc.weight",    "mlp.c_proj.weight"};
    const kind *k = &kinds[_i];
    rbe_model *model = new_gpt(k);
    size_t n = 0;
    ck_assert_str_eq(rbe_model_param(model, n++)->name, "transformer.wte.weight");
    if (!k->rotary) ck_assert_str_eq(rbe_model_param(model, n++)->name, "transformer.wpe.weight");
    for (int layer = 0; layer < LAYERS; layer++)
        for (int part = 0; part < 6; part++) {
            char expected[100];
            snprintf(expected, sizeof expected, "transformer.h.%d.%s", layer, parts[part]);
            char *compressed = k->dense || part % 3 == 0 ? NULL : strstr(expected, "weight");
            if (compressed) strcpy(compressed, "coefficients");
            ck_assert_str_eq(rbe_model_param(model, n++)->name, expected);
        }
    ck_assert_str_eq(rbe_model_param(model, n++)->name, "transformer.ln_f.weight");
    ck_assert_ptr_null(rbe_model_param(model, n));
    ck_assert_ptr_nonnull(rbe_model_find(model, "lm_head"));
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* A linear layer's matrix, out x in: to be freed. */
static double *matrix_of(const rbe_model *model, const char *block, const char *part) {
    char path[100];
    snprintf(path, sizeof path, "%s%s", block, part);
    const rbe_layer *layer = rbe_model_find(model, path);
    ck_assert_msg(layer != NULL, "%s", path);
    const rbe_blocks *blocks = rbe_linear_blocks(layer);
    if (!blocks) return widened(rbe_layer_param(layer, 0)->value, rbe_layer_param(layer, 0)->count);
    const rbe_blocks_info info = rbe_blocks_describe(blocks);
    reference *r = reference_new(&info);
    double *w = test_memory(info.out * info.in, sizeof *w);
    reference_dense(r, blocks, w);
    reference_free(r);
    return w;
}

static double *norm_of(const rbe_model *model, const char *block, const char *part, const double *x, size_t rows) {
    double *w = matrix_of(model, block, part), *y = test_memory(rows * WIDTH, sizeof *y);
    for (size_t row = 0; row < rows; row++) {
        double mean = 0.0, square = 0.0;
        for (size_t n = 0; n < WIDTH; n++) mean += x[row * WIDTH + n] / WIDTH;
        for (size_t n = 0; n < WIDTH; n++) square += pow(x[row * WIDTH + n] - mean, 2) / WIDTH;
        for (size_t n = 0; n < WIDTH; n++)
            y[row * WIDTH + n] = (x[row * WIDTH + n] - mean) / sqrt(square + 1e-5) * w[n];
    }
    free(w);
    return y;
}

/* Takes x over. */
static double *product_of(const rbe_model *model, const char *block, const char *part, double *x, size_t rows,
                          size_t in, size_t out) {
    double *w = matrix_of(model, block, part), *y = test_memory(rows * out, sizeof *y);
    reference_forward(w, NULL, x, rows, out, in, y);
    free(w);
    free(x);
    return y;
}

/* Adds a branch to x. */
static void add_branch(double *x, double *branch, size_t rows) {
    for (size_t n = 0; n < rows * WIDTH; n++) x[n] += branch[n];
    free(branch);
}

/* The formula of the whole model, in double: logits of one sequence, to be freed. */
static double *reference_logits(const rbe_model *model, bool rotary, const int32_t *ids, size_t places) {
    double *wte = matrix_of(model, "transformer.", "wte"), *x = test_memory(places * WIDTH, sizeof *x);
    double *wpe = rotary ? NULL : matrix_of(model, "transformer.", "wpe");
    for (size_t n = 0; n < places * WIDTH; n++)
        x[n] = wte[(size_t)ids[n / WIDTH] * WIDTH + n % WIDTH] + (wpe ? wpe[n] : 0.0);
    const layout l = {1, places, HEADS, WIDTH, WIDTH / HEADS};
    for (int layer = 0; layer < LAYERS; layer++) {
        char block[40];
        snprintf(block, sizeof block, "transformer.h.%d.", layer);
        double *qkv =
            product_of(model, block, "attn.c_attn", norm_of(model, block, "ln_1", x, places), places, WIDTH, 3 * WIDTH);
        double *turned = test_memory(places * 3 * WIDTH, sizeof *turned), *y = test_memory(places * WIDTH, sizeof *y);
        if (rotary)
            reference_turn(&l, 10000.0, 0, qkv, turned);
        else
            memcpy(turned, qkv, places * 3 * WIDTH * sizeof *turned);
        reference_attend(&l, turned, NULL, y, NULL, NULL);
        add_branch(x, product_of(model, block, "attn.c_proj", y, places, WIDTH, WIDTH), places);
        double *feed =
            product_of(model, block, "mlp.c_fc", norm_of(model, block, "ln_2", x, places), places, WIDTH, 4 * WIDTH);
        for (size_t n = 0; n < places * 4 * WIDTH; n++) feed[n] = reference_gelu(feed[n]);
        add_branch(x, product_of(model, block, "mlp.c_proj", feed, places, 4 * WIDTH, WIDTH), places);
        free(qkv);
        free(turned);
    }
    double *last = norm_of(model, "transformer.", "ln_f", x, places);
    double *logits = test_memory(places * VOCABULARY, sizeof *logits);
    reference_forward(wte, NULL, last, places, VOCABULARY, WIDTH, logits);
    free(last);
    free(wte);
    free(wpe);
    free(x);
    return logits;
}

START_TEST(it_computes_its_formula) {
    rbe_model *model = stirred_gpt(&kinds[_i]);
    for (size_t places = 1; places <= CONTEXT; places += 1 + places / 2) {
        float *found = logits_of(model, some_ids, CONTEXT / places, places);
        for (size_t s = 0; s < CONTEXT / places; s++) {
            double *expected = reference_logits(model, kinds[_i].rotary, some_ids + s * places, places);
            const double error = relative_error(found + s * places * VOCABULARY, expected, places * VOCABULARY);
            ck_assert_msg(error < 1e-5, "%s, %zu places: error %g", kinds[_i].name, places, error);
            free(expected);
        }
        free(found);
    }
    rbe_model_free(model);
}
END_TEST

static double deviation_of(const rbe_model *model, const char *path) {
    const rbe_param *param = rbe_model_find_param(model, path);
    ck_assert_msg(param != NULL, "%s", path);
    double sum = 0.0;
    for (size_t n = 0; n < param->count; n++) sum += (double)param->value[n] * (double)param->value[n];
    return sqrt(sum / (double)param->count);
}

/* N(0, 0.02^2), and what writes into the sum smaller by sqrt(2 layers); norms begin at 1. */
START_TEST(values_begin_as_they_should) {
    rbe_gpt_options o = {
        .vocabulary = 60, .layers = 8, .heads = 4, .width = 64, .dense = _i == 0, .ratio = 2, .seed = 9};
    rbe_model *model = rbe_gpt_new(&o);
    ck_assert_ptr_nonnull(model);
    const char *const part = _i == 0 ? "weight" : "coefficients";
    static const char *const matrices[] = {"attn.c_attn", "mlp.c_fc", "attn.c_proj", "mlp.c_proj"};
    double found[4];
    for (int n = 0; n < 4; n++) {
        char path[100];
        snprintf(path, sizeof path, "transformer.h.5.%s.%s", matrices[n], part);
        found[n] = deviation_of(model, path);
        if (_i == 0) ck_assert_double_eq_tol(found[n], n < 2 ? 0.02 : 0.005, n < 2 ? 1e-3 : 2.5e-4);
    }
    if (_i == 1) ck_assert_double_eq_tol(found[0] / found[2], 4.0, 0.3); /* of equal inputs */
    if (_i == 1) ck_assert_double_eq_tol(found[1] / found[0], 1.0, 0.1);
    ck_assert_double_eq_tol(deviation_of(model, "transformer.wte.weight"), 0.02, 1e-3);
    ck_assert_double_eq_tol(deviation_of(model, "transformer.wpe.weight"), 0.02, 1e-3);
    ck_assert_double_eq(deviation_of(model, "transformer.h.7.ln_2.weight"), 1.0);
    rbe_model *again = rbe_gpt_new(&o);
    ck_assert(same_models(model, again));
    rbe_model_free(again);
    o.seed = 10;
    again = rbe_gpt_new(&o);
    ck_assert(!same_models(model, again));
    rbe_model_free(again);
    rbe_model_free(model);
}
END_TEST

static const struct {
    rbe_gpt_options options;
    rbe_status status;
    const char *text;
} bad_options[] = {
    {{.vocabulary = 0}, RBE_INVALID_ARGUMENT, "expected a vocabulary"},
    {{.vocabulary = SIZE_MAX}, RBE_INVALID_ARGUMENT, "embedding"},
    {{.vocabulary = 5, .width = 30}, RBE_INVALID_ARGUMENT, "multiple of 4 heads, found 30"},
    {{.vocabulary = 5, .heads = 300}, RBE_INVALID_ARGUMENT, "multiple of 300 heads"},
    {{.vocabulary = 5, .heads = SIZE_MAX}, RBE_INVALID_ARGUMENT, "heads"},
    {{.vocabulary = 5, .width = (size_t)1 << 40}, RBE_INVALID_ARGUMENT, "at most 2^20"},
    {{.vocabulary = 5, .context = SIZE_MAX}, RBE_INVALID_ARGUMENT, "positions"},
    {{.vocabulary = 5, .dropout = 1}, RBE_INVALID_ARGUMENT, "0 <= dropout < 1, found 1"},
    {{.vocabulary = 5, .dropout = 1 - 1e-12}, RBE_INVALID_ARGUMENT, "dropout"},
    {{.vocabulary = 5, .dropout = -0.1}, RBE_INVALID_ARGUMENT, "found -0.1"},
    {{.vocabulary = 5, .dropout = NAN}, RBE_INVALID_ARGUMENT, "found nan"},
    {{.vocabulary = 5, .ratio = 0.5}, RBE_INVALID_ARGUMENT, "ratio"},
    {{.vocabulary = 5, .ratio = -2}, RBE_INVALID_ARGUMENT, "ratio"},
    {{.vocabulary = 5, .ratio = NAN}, RBE_INVALID_ARGUMENT, "ratio"},
    {{.vocabulary = 5, .block = 12}, RBE_INVALID_ARGUMENT, "block"},
    {{.vocabulary = 5, .heads = 4, .width = 20, .rotary = true}, RBE_INPUT_DIMENSION_MISMATCH, "multiple of 8"},
};
enum { BAD_OPTIONS = sizeof bad_options / sizeof *bad_options };

START_TEST(bad_options_are_refused) {
    rbe_model *model = rbe_gpt_new(&bad_options[_i].options);
    ck_assert_ptr_null(model);
    ck_assert_msg(rbe_last_status() == bad_options[_i].status, "%s: %s", rbe_status_name(rbe_last_status()),
                  rbe_last_error());
    ck_assert_msg(strstr(rbe_last_error(), bad_options[_i].text) != NULL, "%s", rbe_last_error());
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(defaults) {
    ck_assert_ptr_null(rbe_gpt_new(NULL));
    ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    rbe_model *model = rbe_gpt_new(&(rbe_gpt_options){.vocabulary = 65});
    ck_assert_ptr_nonnull(model);
    ck_assert_ptr_nonnull(rbe_model_find(model, "transformer.h.3.mlp.c_fc"));
    ck_assert_ptr_null(rbe_model_find(model, "transformer.h.4"));
    ck_assert_uint_eq(rbe_model_find_param(model, "transformer.wpe.weight")->count, 64 * 256);
    const rbe_layer *fc = rbe_model_find(model, "transformer.h.0.mlp.c_fc");
    ck_assert_str_eq(rbe_layer_kind(fc), "rbe");
    ck_assert_uint_eq(rbe_layer_describe_cost(fc).values, 256 * 1024 / 16);
    ck_assert_uint_eq(rbe_blocks_describe(rbe_linear_blocks(fc)).block, 32);
    rbe_model_free(model);
}
END_TEST

static rbe_status make_and_speak(void *user) {
    const rbe_gpt_options options = options_of(user);
    rbe_model *model = rbe_gpt_new(&options);
    rbe_status status = model ? RBE_OK : rbe_last_status();
    rbe_generator *g = model ? rbe_generator_new(model, CONTEXT, NULL, 0) : NULL;
    const float *logits;
    int32_t id;
    if (model && !g) status = rbe_last_status();
    if (g) status = rbe_generator_feed(g, some_ids, 5, &logits);
    if (status == RBE_OK) status = rbe_sample(logits, VOCABULARY, NULL, NULL, 0, NULL, &id);
    rbe_generator_free(g);
    rbe_model_free(model);
    return status;
}

START_TEST(allocations_that_fail) { ck_assert_uint_gt(fail_each_allocation(make_and_speak, (void *)&kinds[_i]), 50); }
END_TEST

/* ---- layers -------------------------------------------------------------------------------------------------- */

static rbe_layer *dense(size_t in, size_t out) { return rbe_dense_new(in, out, &(rbe_dense_options){.no_bias = true}); }
static rbe_layer *norm(size_t width) { return rbe_layer_norm_new(width, 0.0f, false, NULL); }

static rbe_layer *attention(size_t width, const rbe_attention_options *options) {
    return rbe_attention_new(dense(width, 3 * width), dense(width, width), options, NULL);
}

static rbe_layer *odd_heads(void) { return attention(8, &(rbe_attention_options){.heads = 3}); }
static rbe_layer *no_heads(void) { return attention(8, &(rbe_attention_options){0}); }
static rbe_layer *all_dropped(void) { return attention(8, &(rbe_attention_options){.heads = 2, .dropout = 1}); }
static rbe_layer *as_float_all_dropped(void) {
    return attention(8, &(rbe_attention_options){.heads = 2, .dropout = 1 - 1e-12});
}
static rbe_layer *dropped_below_0(void) { return attention(8, &(rbe_attention_options){.heads = 2, .dropout = -1}); }
static rbe_layer *dropped_nan(void) { return attention(8, &(rbe_attention_options){.heads = 2, .dropout = NAN}); }
static rbe_layer *base_of_1(void) { return attention(8, &(rbe_attention_options){.heads = 2, .rotary_base = 1}); }
static rbe_layer *base_below_0(void) { return attention(8, &(rbe_attention_options){.heads = 2, .rotary_base = -5}); }
static rbe_layer *base_nan(void) { return attention(8, &(rbe_attention_options){.heads = 2, .rotary_base = NAN}); }
static rbe_layer *base_infinite(void) {
    return attention(8, &(rbe_attention_options){.heads = 2, .rotary_base = INFINITY});
}
static rbe_layer *odd_pairs(void) { return attention(6, &(rbe_attention_options){.heads = 2, .rotary_base = 10}); }
static rbe_layer *no_qkv(void) { return rbe_attention_new(NULL, dense(8, 8), NULL, NULL); }
static rbe_layer *no_project(void) { return rbe_attention_new(dense(8, 24), NULL, NULL, NULL); }
static rbe_layer *narrow_qkv(void) { return rbe_attention_new(dense(8, 16), dense(8, 8), NULL, NULL); }
static rbe_layer *any_qkv(void) { return rbe_attention_new(rbe_dropout_new(0.5f), dense(8, 8), NULL, NULL); }
static rbe_layer *wide_project(void) { return rbe_attention_new(dense(8, 24), dense(8, 9), NULL, NULL); }
static rbe_layer *other_project(void) { return rbe_attention_new(dense(8, 24), dense(9, 8), NULL, NULL); }
static rbe_layer *block_of_two_widths(void) {
    return rbe_block_new(norm(8), attention(8, NULL), norm(9), dense(8, 8), NULL);
}
static rbe_layer *block_that_widens(void) {
    return rbe_block_new(norm(8), attention(8, NULL), norm(8), dense(8, 9), NULL);
}
static rbe_layer *block_of_three(void) { return rbe_block_new(norm(8), attention(8, NULL), NULL, dense(8, 8), NULL); }
static rbe_layer *block_of_one_norm_twice(void) { /* it fails at the first, which is the third too */
    rbe_layer *wide = dense(8, 9);
    return rbe_block_new(wide, attention(8, NULL), wide, dense(8, 8), NULL);
}
static rbe_layer *head_of_dense(void) { return rbe_unembedding_new(dense(8, 9), NULL); }
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
    rbe_layer *shared = norm(8);
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
    rbe_layer *a = attention(8, NULL), *block = rbe_block_new(norm(8), attention(8, NULL), norm(8), dense(8, 8), NULL);
    ck_assert(head && a && block);
    ck_assert_int_eq(rbe_layer_add(head, rbe_embedding_new(9, 8, 1, NULL)), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_layer_add(a, dense(8, 8)), RBE_INPUT_DIMENSION_MISMATCH);
    ck_assert_int_eq(rbe_layer_add(block, norm(8)), RBE_INPUT_DIMENSION_MISMATCH);
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

/* ---- gradients ----------------------------------------------------------------------------------------------- */

static rbe_var *loss_of(rbe_tape *tape, void *user) {
    static float x[CONTEXT];
    static int32_t labels[CONTEXT];
    for (size_t n = 0; n < CONTEXT; n++) {
        x[n] = (float)some_ids[n];
        labels[n] = some_ids[(n + 5) % CONTEXT];
    }
    rbe_var *logits = rbe_model_forward(user, rbe_input(tape, rbe_tensor_2d(x, 2, CONTEXT / 2)));
    const size_t flat[2] = {CONTEXT, VOCABULARY};
    return rbe_cross_entropy(rbe_reshape(logits, 2, flat), labels);
}

START_TEST(gradients_are_those_of_differences) {
    rbe_model *model = stirred_gpt(&kinds[_i]);
    rbe_param *params[40];
    size_t count = 0;
    while ((params[count] = rbe_model_param(model, count))) count++;
    rbe_gradient_report report;
    ck_assert_ok(rbe_check_gradients(loss_of, model, params, count, &(rbe_gradient_options){.entries = 8}, &report));
    ck_assert_uint_eq(report.checked, 8 * count);
    ck_assert_uint_lt(report.unresolved, count);
    rbe_model_free(model);
}
END_TEST

/* The table's gradient is that of both of its places: what the head alone gives is another. */
START_TEST(tied_weights_get_both_gradients) {
    rbe_model *model = stirred_gpt(&kinds[0]);
    rbe_param *wte = rbe_model_find_param(model, "transformer.wte.weight");
    rbe_tape *tape = rbe_tape_new(NULL);
    ck_assert_ok(rbe_backward(loss_of(tape, model)));
    /* An id that the text has not is in the head's gradient alone, where the rows add up to zero: softmax - label. */
    double sum[WIDTH] = {0}, size = 0.0;
    for (size_t n = 0; n < wte->count; n++) {
        sum[n % WIDTH] += (double)wte->grad[n];
        size += fabs((double)wte->grad[n]);
    }
    double largest = 0.0;
    for (size_t n = 0; n < WIDTH; n++) largest = fmax(largest, fabs(sum[n]));
    ck_assert_double_gt(largest, 1e-3 * size);      /* the embedding's part does not add up to zero */
    ck_assert_float_ne(wte->grad[4 * WIDTH], 0.0f); /* id 4 is none of the text */
    rbe_tape_free(tape);
    rbe_model_free(model);
}
END_TEST

/* ---- files --------------------------------------------------------------------------------------------------- */

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
    for (int n = 0; n < 4; n++) ck_assert_ok(rbe_model_add(model, attention(8, &options[n])));
    ck_assert_ok(rbe_model_add(model, rbe_block_new(norm(8), attention(8, &options[1]), norm(8), dense(8, 8), NULL)));
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
    ck_assert_ok(rbe_model_add(model, rbe_block_new(norm(8), attention(8, &rotary), norm(8), dense(8, 8), "block")));
    ck_assert_ok(rbe_model_add(model, attention(8, &(rbe_attention_options){.heads = 4, .dropout = 0.5})));
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
    contents c = take_apart(file);
    rbe_model_free(model);
    forge(&c, forgeries[_i].from, forgeries[_i].to);
    model = load_contents(&c);
    if (forgeries[_i].reason) {
        ck_assert_msg(!model, "%s for %s", forgeries[_i].to, forgeries[_i].from);
        assert_failed(RBE_BAD_FORMAT, forgeries[_i].reason);
    }
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
    discard(&c);
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

/* ---- a generator --------------------------------------------------------------------------------------------- */

/* Logits after each piece, against those of the whole: to 1e-5 of the largest. Bit k of `cuts`: a piece ends after
 * place k. */
static void check_pieces(rbe_generator *g, const float *whole, size_t places, unsigned cuts, const char *what) {
    float largest = 0.0f;
    for (size_t n = 0; n < places * VOCABULARY; n++) largest = fmaxf(largest, fabsf(whole[n]));
    rbe_generator_reset(g);
    for (size_t first = 0, end; first < places; first = end) {
        for (end = first + 1; end < places && !(cuts >> (end - 1) & 1);) end++;
        const float *logits;
        ck_assert_ok(rbe_generator_feed(g, some_ids + first, end - first, &logits));
        ck_assert_uint_eq(rbe_generator_places(g), end);
        for (size_t n = 0; n < VOCABULARY; n++)
            ck_assert_msg(fabsf(logits[n] - whole[(end - 1) * VOCABULARY + n]) <= 1e-5f * largest,
                          "%s, cuts %x, place %zu: logit %zu is %g, expected %g", what, cuts, end - 1, n,
                          (double)logits[n], (double)whole[(end - 1) * VOCABULARY + n]);
    }
}

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
    rbe_layer *block = rbe_block_new(norm(8), attention(8, &(rbe_attention_options){.heads = 2, .rotary_base = 10}),
                                     norm(8), dense(8, 8), NULL);
    ck_assert_ok(rbe_model_add(model, table));
    if (_i == 0) {
        rbe_layer *row = rbe_sequential_new(NULL);
        ck_assert_ok(rbe_layer_add(row, block));
        ck_assert_ok(rbe_layer_add(row, rbe_repeat_new(rbe_residual_new(attention(8, NULL), NULL), 2, NULL)));
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
    ck_assert_ok(rbe_model_add(plain, dense(8, 8)));
    ck_assert_ok(rbe_model_add(mixed, rbe_embedding_new(5, 8, 1, NULL)));
    ck_assert_ok(rbe_model_add(mixed, attention(8, NULL)));
    ck_assert_ok(rbe_model_add(mixed, dense(8, 4)));
    ck_assert_ok(rbe_model_add(mixed, attention(4, NULL)));
    ck_assert_ptr_null(rbe_generator_new(plain, 4, NULL, 0));
    assert_failed(RBE_INVALID_ARGUMENT, "attention layers of one width");
    ck_assert_ptr_null(rbe_generator_new(mixed, 4, NULL, 0));
    assert_failed(RBE_INVALID_ARGUMENT, "attention layers of one width");
    rbe_model_free(plain);
    rbe_model_free(mixed);
}
END_TEST

/* ---- sampling ------------------------------------------------------------------------------------------------ */

enum { CHOICES = 8, DRAWS = 20000 };
static const float choice_logits[CHOICES] = {0.5f, 2.0f, -1.0f, 1.0f, 2.0f, -3.0f, 0.0f, 1.5f};

typedef struct sampling {
    rbe_sample_options options;
    int32_t recent[4];
    size_t recent_count;
} sampling;

static const sampling samplings[] = {
    {{.temperature = 1}, {0}, 0},
    {{.temperature = 0.5}, {0}, 0},
    {{.temperature = 3}, {0}, 0},
    {{.temperature = 1, .top_k = 1}, {0}, 0},
    {{.temperature = 1, .top_k = 3}, {0}, 0},
    {{.temperature = 2, .top_k = 100}, {0}, 0},
    {{.temperature = 1, .top_p = 0.5}, {0}, 0},
    {{.temperature = 1, .top_p = 0.9}, {0}, 0},
    {{.temperature = 1, .top_p = 1}, {0}, 0},
    {{.temperature = 1, .top_p = 1e-9}, {0}, 0},
    {{.temperature = 2, .top_k = 5, .top_p = 0.6}, {0}, 0},
    {{.temperature = 1, .repetition_penalty = 2}, {1, 1, 2, 6}, 4},
    {{.temperature = 1, .repetition_penalty = 1}, {1, 4}, 2},
    {{.temperature = 1, .top_k = 2, .repetition_penalty = 1.5}, {4, -1, 99}, 3},
    {{.temperature = 1}, {1, 4}, 2},
};
enum { SAMPLINGS = sizeof samplings / sizeof *samplings };

/* The probability of each id, by taking the likeliest one after the other. */
static void probabilities_of(const sampling *s, double p[CHOICES]) {
    double logits[CHOICES], all = 0.0, kept = 0.0;
    bool taken[CHOICES] = {false};
    for (int n = 0; n < CHOICES; n++) {
        bool is_recent = false;
        for (size_t k = 0; k < s->recent_count; k++) is_recent |= s->recent[k] == n;
        logits[n] = (double)choice_logits[n];
        if (is_recent && s->options.repetition_penalty > 0.0)
            logits[n] *= pow(s->options.repetition_penalty, logits[n] > 0.0 ? -1.0 : 1.0);
        p[n] = 0.0;
    }
    const size_t most = s->options.top_k > 0 && s->options.top_k < CHOICES ? s->options.top_k : CHOICES;
    int order[CHOICES];
    for (size_t k = 0; k < most; k++) {
        order[k] = -1;
        for (int n = 0; n < CHOICES; n++)
            if (!taken[n] && (order[k] < 0 || logits[n] > logits[order[k]])) order[k] = n;
        taken[order[k]] = true;
        all += exp(logits[order[k]] / s->options.temperature);
    }
    const double wanted = s->options.top_p > 0.0 ? s->options.top_p : 1.0;
    size_t count = 0;
    while (count < most && kept < wanted * all * (1.0 - 1e-12))
        kept += exp(logits[order[count++]] / s->options.temperature);
    for (size_t k = 0; k < count; k++) p[order[k]] = exp(logits[order[k]] / s->options.temperature) / kept;
}

START_TEST(ids_are_drawn_with_their_probabilities) {
    const sampling *s = &samplings[_i];
    double p[CHOICES];
    probabilities_of(s, p);
    size_t counts[CHOICES] = {0};
    rbe_rng *rng = rbe_rng_new(77, 0);
    for (int n = 0; n < DRAWS; n++) {
        int32_t id = -1;
        ck_assert_ok(rbe_sample(choice_logits, CHOICES, &s->options, s->recent, s->recent_count, rng, &id));
        ck_assert(id >= 0 && id < CHOICES);
        counts[id]++;
    }
    for (int n = 0; n < CHOICES; n++)
        ck_assert_msg(fabs((double)counts[n] / DRAWS - p[n]) <= 5.0 * sqrt(p[n] * (1.0 - p[n]) / DRAWS),
                      "id %d: %g, expected %g", n, (double)counts[n] / DRAWS, p[n]);
    rbe_rng_free(rng);
}
END_TEST

/* The same seed draws the same ids; logits that are shifted all alike, too. */
START_TEST(draws_repeat) {
    float shifted[CHOICES];
    for (int n = 0; n < CHOICES; n++) shifted[n] = choice_logits[n] + 64.0f;
    rbe_rng *a = rbe_rng_new(5, 0), *b = rbe_rng_new(5, 0), *c = rbe_rng_new(6, 0);
    const rbe_sample_options options = {.temperature = 1.5, .top_p = 0.95};
    int differ = 0;
    for (int n = 0; n < 200; n++) {
        int32_t x, y, z;
        ck_assert_ok(rbe_sample(choice_logits, CHOICES, &options, NULL, 0, a, &x));
        ck_assert_ok(rbe_sample(shifted, CHOICES, &options, NULL, 0, b, &y));
        ck_assert_ok(rbe_sample(choice_logits, CHOICES, &options, NULL, 0, c, &z));
        ck_assert_int_eq(x, y);
        differ += x != z;
    }
    ck_assert_int_gt(differ, 50);
    rbe_rng_free(a);
    rbe_rng_free(b);
    rbe_rng_free(c);
}
END_TEST

/* Without temperature the likeliest; of equal ones the lowest id; with a penalty another. */
START_TEST(the_likeliest_id) {
    static const int32_t first[] = {1}, both[] = {4, 1}, all[] = {0, 1, 2, 3, 4, 5, 6, 7};
    const rbe_sample_options penalty = {.repetition_penalty = 1.01}, half = {.repetition_penalty = 2, .top_k = 3};
    const float below[] = {-2.0f, -1.0f, -1.5f}, zeros[] = {0.0f, 0.0f, -0.0f};
    int32_t id = -1;
    ck_assert_ok(rbe_sample(choice_logits, CHOICES, NULL, NULL, 0, NULL, &id));
    ck_assert_int_eq(id, 1);
    ck_assert_ok(
        rbe_sample(choice_logits, CHOICES, &(rbe_sample_options){.top_k = 5, .top_p = 0.1}, first, 1, NULL, &id));
    ck_assert_int_eq(id, 1);
    ck_assert_ok(rbe_sample(choice_logits, CHOICES, &penalty, first, 1, NULL, &id));
    ck_assert_int_eq(id, 4);
    ck_assert_ok(rbe_sample(choice_logits, CHOICES, &half, both, 2, NULL, &id));
    ck_assert_int_eq(id, 7);
    ck_assert_ok(rbe_sample(choice_logits, CHOICES, &penalty, all, 8, NULL, &id));
    ck_assert_int_eq(id, 1);
    ck_assert_ok(rbe_sample(choice_logits, CHOICES, &half, NULL, 8, NULL, &id));
    ck_assert_int_eq(id, 1);
    ck_assert_ok(rbe_sample(below, 3, &half, first, 1, NULL, &id)); /* -1 becomes -2: less than -1.5 */
    ck_assert_int_eq(id, 2);
    ck_assert_ok(rbe_sample(zeros, 3, NULL, NULL, 0, NULL, &id));
    ck_assert_int_eq(id, 0);
    ck_assert_ok(rbe_sample(choice_logits, 1, NULL, NULL, 0, NULL, &id));
    ck_assert_int_eq(id, 0);
}
END_TEST

/* Ties at the end of top_k go to the lower id; the smallest temperatures, and the largest logits, do no harm. */
START_TEST(ties_and_extremes) {
    const float equal[] = {1.0f, 1.0f, 1.0f, 1.0f}, huge[] = {-3e38f, 3e38f, 3e38f, 0.0f};
    rbe_rng *rng = rbe_rng_new(1, 0);
    bool seen[4] = {false};
    for (int n = 0; n < 200; n++) {
        int32_t id;
        ck_assert_ok(rbe_sample(equal, 4, &(rbe_sample_options){.temperature = 1, .top_k = 2}, NULL, 0, rng, &id));
        seen[id] = true;
        ck_assert_ok(rbe_sample(huge, 4, &(rbe_sample_options){.temperature = 1}, NULL, 0, rng, &id));
        ck_assert(id == 1 || id == 2);
        ck_assert_ok(
            rbe_sample(choice_logits, CHOICES, &(rbe_sample_options){.temperature = 1e-300}, NULL, 0, rng, &id));
        ck_assert(id == 1 || id == 4);
        ck_assert_ok(rbe_sample(equal, 4, &(rbe_sample_options){.temperature = 1, .top_p = 0.5}, NULL, 0, rng, &id));
        ck_assert(id < 2);
    }
    ck_assert(seen[0] && seen[1] && !seen[2] && !seen[3]);
    rbe_rng_free(rng);
}
END_TEST

static const struct {
    rbe_sample_options options;
    bool no_rng;
    const char *text;
} bad_samplings[] = {
    {{.temperature = -1}, false, "temperature"},
    {{.temperature = NAN}, false, "temperature"},
    {{.temperature = INFINITY}, false, "temperature"},
    {{.temperature = 1, .top_p = -0.1}, false, "top_p"},
    {{.temperature = 1, .top_p = 1.1}, false, "top_p"},
    {{.temperature = 1, .top_p = NAN}, false, "nan"},
    {{.repetition_penalty = 0.5}, false, "penalty"},
    {{.repetition_penalty = -1}, false, "penalty"},
    {{.repetition_penalty = NAN}, false, "penalty"},
    {{.repetition_penalty = INFINITY}, false, "penalty"},
    {{.temperature = 1}, true, "generator of random numbers"},
};

START_TEST(bad_sampling_is_refused) {
    rbe_rng *rng = rbe_rng_new(1, 0);
    int32_t id = 55;
    for (size_t n = 0; n < sizeof bad_samplings / sizeof *bad_samplings; n++) {
        ck_assert_int_eq(rbe_sample(choice_logits, CHOICES, &bad_samplings[n].options, NULL, 0,
                                    bad_samplings[n].no_rng ? NULL : rng, &id),
                         RBE_INVALID_ARGUMENT);
        ck_assert_msg(strstr(rbe_last_error(), bad_samplings[n].text) != NULL, "%s", rbe_last_error());
    }
    ck_assert_int_eq(rbe_sample(NULL, 3, NULL, NULL, 0, NULL, &id), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_sample(choice_logits, 0, NULL, NULL, 0, NULL, &id), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_sample(choice_logits, 3, NULL, NULL, 0, NULL, NULL), RBE_INVALID_ARGUMENT);
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int n = 0; n < 3; n++) {
        const float logits[] = {1, 2, bad[n], NAN};
        ck_assert_int_eq(rbe_sample(logits, 4, NULL, NULL, 0, NULL, &id), RBE_NUMERICAL_INSTABILITY);
        ck_assert_msg(strstr(rbe_last_error(), "logit 2") != NULL, "%s", rbe_last_error());
    }
    ck_assert_int_eq(id, 55);
    rbe_rng_free(rng);
}
END_TEST

/* ---- training ------------------------------------------------------------------------------------------------ */

enum { TEXT = 400, TRAINED = 8 };

/* A text that can be learned. */
static rbe_dataset text_windows(void) {
    static int32_t ids[TEXT];
    for (int n = 0; n < TEXT; n++) ids[n] = n % 5 == 4 ? n / 5 % VOCABULARY : n % 5;
    rbe_dataset data;
    ck_assert_ok(rbe_dataset_from_windows(&data, ids, TEXT, CONTEXT, 3, VOCABULARY));
    return data;
}

typedef struct run {
    const kind *kind;
    size_t epochs;
    const char *csv;
    rbe_checkpoint_options *checkpoint;
    volatile sig_atomic_t stop;
    size_t stop_at; /* after so many steps; 0: never */
    rbe_status status;
    rbe_fit_result result;
} run;

static rbe_status stop_there(void *user, const rbe_progress *p) {
    run *r = user;
    if (r->stop_at > 0 && p->step + 1 == r->stop_at) r->stop = 1;
    return RBE_OK;
}

/* Epochs of 8 batches of 4, with growth if the layers are compressed. */
static rbe_model *trained(run *r) {
    rbe_model *model = new_gpt(r->kind);
    rbe_dataset data = text_windows(), test;
    ck_assert_ok(rbe_dataset_split(&data, 10, &test));
    rbe_optim *optim = rbe_optim_new(rbe_adamw, model, &(rbe_optim_options){.lr = 0.01f, .clip_norm = 1.0f});
    rbe_growth *growth =
        r->kind->dense ? NULL : rbe_growth_new(model, &(rbe_growth_options){.steps = 8 * TRAINED, .every = 10});
    const rbe_routine grow = rbe_growth_routine(growth);
    r->stop = 0;
    const rbe_fit_options options = {.epochs = r->epochs,
                                     .epoch_batches = 8,
                                     .batch = 4,
                                     .seed = 6,
                                     .metric = rbe_metric_loss,
                                     .csv_path = r->csv,
                                     .log_every = 1,
                                     .routines = &grow,
                                     .routine_count = growth ? 1 : 0,
                                     .checkpoint = r->checkpoint,
                                     .stop = &r->stop,
                                     .on_step = stop_there,
                                     .user = r};
    r->status = rbe_fit(model, optim, &data, &test, &options, &r->result);
    ck_assert_msg(r->status == (r->stop_at > 0 ? RBE_STOPPED : RBE_OK), "%s", rbe_last_error());
    if (growth && r->stop_at == 0) ck_assert_uint_gt(rbe_growth_count(growth).values, 0);
    rbe_growth_free(growth);
    rbe_optim_free(optim);
    return model;
}

/* Interrupted in the middle of an epoch, and gone on from the checkpoint in another process' place, it ends with the
 * same bits and the same log. */
START_TEST(a_training_goes_on) {
    char path[3][300];
    static const char *const names[] = {"whole.csv", "cut.csv", "checkpoint"};
    for (int n = 0; n < 3; n++) snprintf(path[n], sizeof path[n], "%s", scratch_path(names[n]));
    run whole = {.kind = &kinds[_i], .epochs = TRAINED, .csv = path[0]};
    rbe_model *model = trained(&whole);
    ck_assert_uint_eq(whole.result.steps, 8 * TRAINED);
    ck_assert_double_lt(whole.result.test.loss, 2.0); /* log 11 = 2.4 is a guess */
    rbe_checkpoint_options keep = {.path = path[2], .every_steps = 1000, .resume = true};
    for (size_t cut = 11; cut <= 45; cut += 17) {
        run part = {.kind = &kinds[_i], .epochs = TRAINED, .csv = path[1], .checkpoint = &keep, .stop_at = cut};
        rbe_model_free(trained(&part));
        ck_assert_uint_eq(part.result.steps, cut);
    }
    run rest = {.kind = &kinds[_i], .epochs = TRAINED, .csv = path[1], .checkpoint = &keep};
    rbe_model *again = trained(&rest);
    ck_assert_uint_eq(rest.result.resumed, 45);
    ck_assert(same_models(model, again));
    bytes a = read_whole(path[0]), b = read_whole(path[1]);
    ck_assert_uint_eq(a.count, b.count);
    ck_assert_mem_eq(a.data, b.data, a.count);
    free(a.data);
    free(b.data);
    rbe_model_free(model);
    rbe_model_free(again);
    scratch_clear();
}
END_TEST

/* Two threads, the same bits. */
START_TEST(threads_train_the_same) {
    rbe_model *one = trained(&(run){.kind = &kinds[_i], .epochs = 2, .stop_at = 12});
    ck_assert_ok(rbe_set_threads(2));
    rbe_model *two = trained(&(run){.kind = &kinds[_i], .epochs = 2, .stop_at = 12});
    ck_assert_ok(rbe_set_threads(1));
    ck_assert(same_models(one, two));
    rbe_model_free(one);
    rbe_model_free(two);
}
END_TEST

/* A trained, grown model is pruned, stored, and speaks as it computes. */
START_TEST(grown_and_pruned) {
    run r = {.kind = &kinds[2], .epochs = TRAINED};
    rbe_model *model = trained(&r);
    const size_t values = rbe_model_describe_cost(model).values;
    ck_assert_ok(rbe_prune(model, &(rbe_prune_options){.amount = 0.5}, NULL));
    ck_assert_uint_lt(rbe_model_describe_cost(model).values, values);
    bytes file = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    rbe_model *again = load_bytes(file);
    ck_assert_msg(again != NULL, "%s", rbe_last_error());
    ck_assert(same_models(model, again));
    float *whole = logits_of(again, some_ids, 1, CONTEXT);
    double *expected = reference_logits(again, false, some_ids, CONTEXT);
    ck_assert_double_lt(relative_error(whole, expected, CONTEXT * VOCABULARY), 1e-5);
    rbe_generator *g = rbe_generator_new(again, CONTEXT, NULL, 0);
    for (unsigned cuts = 0; cuts < 1u << (CONTEXT - 1); cuts += 301) check_pieces(g, whole, CONTEXT, cuts, "pruned");
    rbe_generator_free(g);
    free(whole);
    free(expected);
    free(file.data);
    rbe_model_free(model);
    rbe_model_free(again);
}
END_TEST

/* From the third step on nothing is allocated; a step takes no more than is said before. */
START_TEST(memory_of_a_step) {
    rbe_model *model = new_gpt(&kinds[_i]);
    rbe_tape *tape = rbe_tape_new(NULL);
    ck_assert_ok(rbe_backward(loss_of(tape, model)));
    const size_t rows = CONTEXT, said = rbe_model_tape_bytes(model, rows);
    ck_assert_msg(tape->arena.used <= said, "%s: %zu bytes, expected at most %zu", kinds[_i].name, tape->arena.used,
                  said);
    rbe_tape_free(tape);
    rbe_zero_grad(model);

    rbe_dataset data = text_windows();
    rbe_optim *optim = rbe_optim_new(rbe_adamw, model, NULL);
    rbe_step step = {.model = model, .optim = optim, .tape = rbe_tape_new(NULL)};
    rbe_batches *batches = rbe_batches_new(&data, 4, true, 1);
    rbe_batch batch;
    size_t allocations = 0;
    for (int n = 0; n < 8; n++) {
        ck_assert(rbe_batches_next(batches, &batch));
        ck_assert_ok(rbe_train_step(&step, &batch));
        if (n == 2) allocations = rbe_memory().allocations;
    }
    ck_assert_uint_eq(rbe_memory().allocations, allocations);
    rbe_tape_free(step.tape);
    rbe_batches_free(batches);
    rbe_optim_free(optim);
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* Gradients of one step, of which some are not wanted: those that are, are the same bits. */
START_TEST(frozen_parts) {
    rbe_model *model = stirred_gpt(&kinds[_i]);
    static float kept[20][WIDTH * WIDTH * 4];
    rbe_param *param;
    for (int frozen = 0; frozen < 2; frozen++) {
        if (frozen) rbe_layer_freeze(rbe_model_find(model, "transformer.h.0"), true);
        rbe_tape *tape = rbe_tape_new(NULL);
        ck_assert_ok(rbe_backward(loss_of(tape, model)));
        for (size_t n = 0; (param = rbe_model_param(model, n)); n++) {
            const bool is_frozen = frozen && strstr(param->name, "h.0.");
            ck_assert_int_eq(param->grad_set, !is_frozen);
            if (!frozen) memcpy(kept[n], param->grad, param->count * sizeof(float));
            if (!is_frozen) ck_assert_mem_eq(kept[n], param->grad, param->count * sizeof(float));
        }
        rbe_zero_grad(model);
        rbe_tape_free(tape);
    }
    rbe_model_free(model);
}
END_TEST

/* What works on rows of one width says that ids are none; a refit takes them. */
START_TEST(other_rooms) {
    rbe_model *model = stirred_gpt(&kinds[2]);
    enum { SEQUENCES = 50 };
    static float x[SEQUENCES * CONTEXT], y[SEQUENCES * CONTEXT * VOCABULARY];
    static int32_t labels[SEQUENCES * CONTEXT];
    rbe_rng *rng = rbe_rng_new(4, 0);
    for (size_t n = 0; n < SEQUENCES * CONTEXT; n++) {
        labels[n] = (int32_t)(rbe_rng_uniform(rng) * VOCABULARY);
        x[n] = (float)labels[n];
    }
    ck_assert_int_eq(rbe_predict(model, x, 2, y), RBE_INVALID_ARGUMENT);
    assert_failed(RBE_INVALID_ARGUMENT, "transformer.wte takes rows of any width");
    const rbe_tensor ids = rbe_tensor_2d(x, SEQUENCES, CONTEXT);
    rbe_sensitivity *s = rbe_sensitivity_new(model);
    ck_assert_int_eq(rbe_sensitivity_add(s, ids, labels), RBE_INPUT_DIMENSION_MISMATCH);
    rbe_sensitivity_free(s);
    float *before = logits_of(model, labels, SEQUENCES, CONTEXT), *after[2];
    rbe_model *plain = stirred_gpt(&kinds[2]);
    ck_assert_ok(rbe_prune(plain, &(rbe_prune_options){.amount = 0.3}, NULL));
    ck_assert_ok(rbe_prune(model, &(rbe_prune_options){.amount = 0.3, .refit = &ids}, NULL));
    after[0] = logits_of(plain, labels, SEQUENCES, CONTEXT);
    after[1] = logits_of(model, labels, SEQUENCES, CONTEXT);
    const double without = relative_difference(after[0], before, SEQUENCES * CONTEXT * VOCABULARY);
    const double with = relative_difference(after[1], before, SEQUENCES * CONTEXT * VOCABULARY);
    ck_assert_msg(with < 0.95 * without, "a refit leaves an error of %g, none %g", with, without);
    rbe_rng_free(rng);
    free(before);
    free(after[0]);
    free(after[1]);
    rbe_model_free(model);
    rbe_model_free(plain);
}
END_TEST

Suite *gpt_suite(void) {
    Suite *suite = suite_create("gpt");
    TCase *model = tcase_create("model");
    tcase_add_loop_test(model, names_are_nanogpts, 0, KINDS);
    tcase_add_loop_test(model, it_computes_its_formula, 0, KINDS);
    tcase_add_loop_test(model, values_begin_as_they_should, 0, 2);
    tcase_add_loop_test(model, bad_options_are_refused, 0, BAD_OPTIONS);
    tcase_add_test(model, defaults);
    tcase_add_loop_test(model, allocations_that_fail, 0, KINDS);
    suite_add_tcase(suite, model);
    TCase *layers = tcase_create("layers");
    tcase_add_loop_test(layers, bad_layers_are_refused, 0, BAD_LAYERS);
    tcase_add_test(layers, a_norm_may_be_shared);
    tcase_add_test(layers, full_containers);
    tcase_add_test(layers, inputs_that_do_not_fit);
    tcase_add_test(layers, tables_of_vectors);
    tcase_add_loop_test(layers, gradients_are_those_of_differences, 0, KINDS);
    tcase_add_test(layers, tied_weights_get_both_gradients);
    tcase_add_loop_test(layers, it_is_stored, 0, KINDS);
    tcase_add_test(layers, layers_are_stored);
    tcase_add_loop_test(layers, forged_files, 0, FORGERIES);
    tcase_add_test(layers, an_attention_of_nothing);
    suite_add_tcase(suite, layers);
    TCase *generator = tcase_create("generator");
    tcase_add_loop_test(generator, pieces_give_what_the_whole_gives, 0, KINDS);
    tcase_add_test(generator, long_texts);
    tcase_add_loop_test(generator, a_generator_survives_refusals, 0, KINDS);
    tcase_add_test(generator, positions_end);
    tcase_add_test(generator, memory_of_the_callers);
    tcase_add_loop_test(generator, generators_of_other_models, 0, 2);
    tcase_add_test(generator, generators_of_no_model);
    suite_add_tcase(suite, generator);
    TCase *sampling_case = tcase_create("sampling");
    tcase_add_loop_test(sampling_case, ids_are_drawn_with_their_probabilities, 0, SAMPLINGS);
    tcase_add_test(sampling_case, draws_repeat);
    tcase_add_test(sampling_case, the_likeliest_id);
    tcase_add_test(sampling_case, ties_and_extremes);
    tcase_add_test(sampling_case, bad_sampling_is_refused);
    suite_add_tcase(suite, sampling_case);
    TCase *training = tcase_create("training");
    tcase_add_loop_test(training, a_training_goes_on, 0, KINDS);
    tcase_add_loop_test(training, threads_train_the_same, 2, 5);
    tcase_add_loop_test(training, memory_of_a_step, 0, KINDS);
    tcase_add_loop_test(training, frozen_parts, 0, KINDS);
    tcase_add_test(training, grown_and_pruned);
    tcase_add_test(training, other_rooms);
    suite_add_tcase(suite, training);
    return suite;
}
