/* rbe/gpt.h - a transformer that predicts the next id of a sequence, and generating text with it.
 *
 *     rbe_model *model = rbe_gpt_new(&(rbe_gpt_options){.vocabulary = 65, .layers = 4, .heads = 4, .width = 256});
 *     ... rbe_fit on rbe_dataset_from_windows (rbe/data.h) ...
 *     rbe_generator *g = rbe_generator_new(model, 64, NULL, 0);
 *     RBE_TRY(rbe_generator_feed(g, prompt, count, &logits));
 *     RBE_TRY(rbe_sample(logits, 65, &(rbe_sample_options){.temperature = 0.8}, NULL, 0, rng, &id));
 */
#ifndef RBE_GPT_H
#define RBE_GPT_H

#include "rbe/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the model ----------------------------------------------------------------------------------------------- */

/* Zeros mean the defaults. The layout is GPT-2's, with the names of nanoGPT: embedding and positions, blocks of
 * attention and feed-forward layers (4 x width, gelu_tanh), each after a layer_norm, a last layer_norm, and the
 * embedding again as the head. There are no biases.
 *
 * Linear layers are compressed; the embedding, positions and norms are dense. In a text model the order of features
 * means nothing, so the identity is the best transform, and positions that stay do better than grown ones
 * (docs/results.md). */
typedef struct rbe_gpt_options {
    size_t vocabulary;              /* required */
    size_t layers;                  /* blocks; default 4 */
    size_t heads;                   /* default 4 */
    size_t width;                   /* a multiple of heads; default 256 */
    size_t context;                 /* places of a sequence, at most; default 64 */
    bool dense;                     /* linear layers are dense; the options down to `block` are then not used */
    double ratio;                   /* default 16 */
    const rbe_transform *transform; /* along both axes; default identity */
    size_t group;                   /* default 4 */
    size_t block;                   /* default 32 */
    bool rotary;                    /* rotary positions (base 10000) instead of trained ones */
    double dropout;                 /* of the embedded ids, of scores, of each branch's result */
    uint64_t seed;
} rbe_gpt_options;

/* The model is the caller's, to be freed by rbe_model_free. NULL on failure: INVALID_ARGUMENT,
 * INPUT_DIMENSION_MISMATCH, INSUFFICIENT_MEMORY. Dense matrices begin as N(0, 0.02^2), compressed ones as in
 * rbe_linear_new. Those at the end of a branch, whose results are added to its input, are smaller by a factor of sqrt(2
 * layers). Trained positions bound the context; with rotary ones it is not bounded. */
RBE_API rbe_model *rbe_gpt_new(const rbe_gpt_options *options);

/* ---- text, piece by piece ------------------------------------------------------------------------------------ */

/* Runs a model on a sequence and remembers its keys and values, so that nothing is computed twice. It takes any model
 * in which places meet only in attention layers. A generator belongs to one thread at a time, but several may share a
 * model. The model must not change meanwhile, and must outlive the generator. */
typedef struct rbe_generator rbe_generator;

/* Bytes that a generator needs to remember that many places; PTRDIFF_MAX if they cannot be addressed. */
RBE_API size_t rbe_generator_bytes(const rbe_model *model, size_t places);

/* `memory` are `bytes` of your own, at least as many as above, aligned as floats are, which must outlive the generator;
 * NULL: the library allocates them. places >= 1. NULL on failure: INVALID_ARGUMENT for a model without attention layers
 * or with some of different widths, or for too few bytes; INSUFFICIENT_MEMORY. */
RBE_API rbe_generator *rbe_generator_new(const rbe_model *model, size_t places, void *memory, size_t bytes);
RBE_API void rbe_generator_free(rbe_generator *generator); /* NULL is allowed */

/* Appends `count` ids (at least 1) to the sequence. *logits (logits may be NULL) becomes the model's outputs at the
 * last of them; they live until the next call. INPUT_DIMENSION_MISMATCH if there are not enough places left,
 * INVALID_ARGUMENT for an id that the model does not have: the sequence then stays as it was. */
RBE_API rbe_status rbe_generator_feed(rbe_generator *generator, const int32_t *ids, size_t count, const float **logits);

RBE_API size_t rbe_generator_places(const rbe_generator *generator); /* that it remembers */
RBE_API void rbe_generator_reset(rbe_generator *generator);          /* forgets all of them */

/* Zeros (and NULL): the most likely id. */
typedef struct rbe_sample_options {
    double temperature;        /* > 0: an id is drawn with probability ~ exp(logit / temperature) */
    size_t top_k;              /* among the k most likely; 0: all */
    double top_p;              /* among the fewest most likely ones whose probabilities add up to at least p; 0: all */
    double repetition_penalty; /* > 1: positive logits of recent ids are divided by it, others multiplied; 0: none */
} rbe_sample_options;

/* Draws *id from `count` logits. Of equal logits the lower id comes first; the same logits and the same state of rng
 * give the same id. `recent`: the ids to which repetition_penalty applies, or NULL. rng may be NULL if the temperature
 * is 0. INVALID_ARGUMENT for an option out of range; NUMERICAL_INSTABILITY names a logit that is not finite;
 * INSUFFICIENT_MEMORY. */
RBE_API rbe_status rbe_sample(const float *logits, size_t count, const rbe_sample_options *options,
                              const int32_t *recent, size_t recent_count, rbe_rng *rng, int32_t *id);

#ifdef __cplusplus
}
#endif
#endif
