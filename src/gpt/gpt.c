/* The transformer: layers of nn/, put together under nanoGPT's names.
 *
 *     transformer   wte, wpe, dropout, h (blocks 0, 1, ..), ln_f            lm_head   of wte
 */
#include "rbe/gpt.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"

enum { SEEDS_OF_BLOCK = 4, FEED_WIDTH = 4 };

#define DEVIATION 0.02 /* of GPT-2's matrices */
#define COMPRESSED 0.7 /* init_scale of rbe_linear_options */
#define ROTARY_BASE 10000.0

/* ---- linear layers ------------------------------------------------------------------------------------------- */

/* A dense layer begins as N(0, 2 / in): it is scaled. */
static rbe_layer *dense(size_t in, size_t out, double smaller, uint64_t seed, const char *name) {
    rbe_layer *layer = rbe_dense_new(in, out, &(rbe_dense_options){.name = name, .no_bias = true, .seed = seed});
    if (!layer) return NULL;
    rbe_param *weight = rbe_layer_param(layer, 0);
    const float factor = (float)(DEVIATION / smaller / sqrt(2.0 / (double)in));
    for (size_t n = 0; n < weight->count; n++) weight->value[n] *= factor;
    return layer;
}

/* `smaller`: by which initial values are divided. */
static rbe_layer *linear(const rbe_gpt_options *o, size_t in, size_t out, double smaller, uint64_t number,
                         const char *name) {
    const uint64_t seed = o->seed * 1000003 + number;
    if (o->dense) return dense(in, out, smaller, seed, name);
    return rbe_linear_new(in, out,
                          &(rbe_linear_options){.name = name,
                                                .block = o->block,
                                                .ratio = o->ratio,
                                                .row_transform = o->transform,
                                                .column_transform = o->transform,
                                                .group = o->group,
                                                .no_bias = true,
                                                .init_scale = COMPRESSED / smaller,
                                                .seed = seed});
}

/* ---- a block ------------------------------------------------------------------------------------------------- */

static rbe_layer *attention(const rbe_gpt_options *o, uint64_t number, double smaller) {
    const rbe_attention_options options = {
        .heads = o->heads, .dropout = o->dropout, .rotary_base = o->rotary ? ROTARY_BASE : 0.0};
    rbe_layer *qkv = linear(o, o->width, 3 * o->width, 1.0, number, "c_attn");
    rbe_layer *project = qkv ? linear(o, o->width, o->width, smaller, number + 1, "c_proj") : NULL;
    if (project) return rbe_attention_new(qkv, project, &options, "attn");
    rbe_layer_free(qkv);
    return NULL;
}

/* Adds a layer to a sequential one, which takes it over; false if either is missing: the failure is that of its
 * constructor. */
static bool add(rbe_layer *to, rbe_layer *layer) {
    if (to && layer) return rbe_layer_add(to, layer) == RBE_OK;
    rbe_layer_free(layer);
    return false;
}

static rbe_layer *feed(const rbe_gpt_options *o, uint64_t number, double smaller) {
    rbe_layer *mlp = rbe_sequential_new("mlp");
    bool whole = add(mlp, linear(o, o->width, FEED_WIDTH * o->width, 1.0, number, "c_fc")) &&
                 add(mlp, rbe_operation_new(rbe_gelu_tanh)) &&
                 add(mlp, linear(o, FEED_WIDTH * o->width, o->width, smaller, number + 1, "c_proj")) &&
                 (o->dropout == 0.0 || add(mlp, rbe_dropout_new((float)o->dropout)));
    if (whole) return mlp;
    rbe_layer_free(mlp);
    return NULL;
}

static rbe_layer *block(const rbe_gpt_options *o, size_t n) {
    const uint64_t number = 2 + n * SEEDS_OF_BLOCK;
    const double smaller = sqrt(2.0 * (double)o->layers);
    char name[24];
    snprintf(name, sizeof name, "%zu", n);
    /* After the first failure nothing is made, so that it stays the last one. */
    rbe_layer *ln_1 = rbe_layer_norm_new(o->width, 0.0f, true, "ln_1");
    rbe_layer *attn = ln_1 ? attention(o, number, smaller) : NULL;
    rbe_layer *ln_2 = attn ? rbe_layer_norm_new(o->width, 0.0f, true, "ln_2") : NULL;
    rbe_layer *mlp = ln_2 ? feed(o, number + 2, smaller) : NULL;
    if (mlp) return rbe_block_new(ln_1, attn, ln_2, mlp, name);
    rbe_layer_free(ln_1);
    rbe_layer_free(attn);
    rbe_layer_free(ln_2);
    return NULL;
}

/* ---- the model ----------------------------------------------------------------------------------------------- */

static rbe_layer *blocks(const rbe_gpt_options *o) {
    rbe_layer *h = rbe_sequential_new("h");
    for (size_t n = 0; h && n < o->layers; n++)
        if (!add(h, block(o, n))) {
            rbe_layer_free(h);
            return NULL;
        }
    return h;
}

static rbe_layer *transformer(const rbe_gpt_options *o, rbe_layer *wte) {
    rbe_layer *all = rbe_sequential_new("transformer");
    const uint64_t seed = o->seed * 1000003;
    bool whole = add(all, wte) && (o->rotary || add(all, rbe_positions_new(o->context, o->width, seed + 1, "wpe"))) &&
                 (o->dropout == 0.0 || add(all, rbe_dropout_new((float)o->dropout))) && add(all, blocks(o)) &&
                 add(all, rbe_layer_norm_new(o->width, 0.0f, true, "ln_f"));
    if (whole) return all;
    rbe_layer_free(all);
    return NULL;
}

static rbe_gpt_options with_defaults(const rbe_gpt_options *options) {
    rbe_gpt_options o = options ? *options : (rbe_gpt_options){0};
    if (o.layers == 0) o.layers = 4;
    if (o.heads == 0) o.heads = 4;
    if (o.width == 0) o.width = 256;
    if (o.context == 0) o.context = 64;
    if (o.ratio == 0.0) o.ratio = 16.0;
    if (!o.transform) o.transform = rbe_transform_named("identity");
    if (o.group == 0) o.group = 4;
    return o;
}

static rbe_status check(const rbe_gpt_options *o) {
    if (o->vocabulary == 0) return rbe_fail(RBE_INVALID_ARGUMENT, "gpt: expected a vocabulary, found 0 ids");
    if (o->width % o->heads != 0 || o->width > (size_t)1 << 20)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "gpt: expected a width of at most 2^20 that is a multiple of %zu heads, "
                        "found %zu",
                        o->heads, o->width);
    if (o->dropout >= 0.0 && o->dropout < 1.0) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "gpt: expected 0 <= dropout < 1, found %g", o->dropout);
}

rbe_model *rbe_gpt_new(const rbe_gpt_options *options) {
    const rbe_gpt_options o = with_defaults(options);
    if (check(&o) != RBE_OK) return NULL;
    rbe_model *model = rbe_model_new();
    rbe_layer *wte = model ? rbe_embedding_new(o.vocabulary, o.width, o.seed * 1000003, "wte") : NULL;
    rbe_layer *body = wte ? transformer(&o, wte) : NULL;
    bool whole = body && rbe_model_add(model, body) == RBE_OK;
    rbe_layer *head = whole ? rbe_unembedding_new(wte, "lm_head") : NULL;
    if (head && rbe_model_add(model, head) == RBE_OK) return model;
    rbe_model_free(model);
    return NULL;
}
