/* What the tests of the transformer share: a small one of each kind, its logits, and the same by its formula. */
#ifndef RBE_TESTS_GPT_SUPPORT_H
#define RBE_TESTS_GPT_SUPPORT_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>

#include "rbe/gpt.h"

enum { VOCABULARY = 11, LAYERS = 2, HEADS = 2, WIDTH = 16, CONTEXT = 12 };

typedef struct kind {
    const char *name;
    bool dense, rotary;
    double dropout;
} kind;

enum { KINDS = 6 };
extern const kind kinds[KINDS];

extern const int32_t some_ids[CONTEXT];

rbe_gpt_options options_of(const kind *k);

rbe_model *new_gpt(const kind *k);

/* The same with larger values, as a trained one has: attention prefers some places, and norms have scales. */
rbe_model *stirred_gpt(const kind *k);

/* Logits of ids, each sequence by itself: to be freed. */
float *logits_of(const rbe_model *model, const int32_t *ids, size_t sequences, size_t places);

/* The cross-entropy of a model (user) on some_ids, as two sequences, with labels of the same ids. */
rbe_var *loss_of(rbe_tape *tape, void *user);

/* The formula of the whole model, in double: logits of one sequence, to be freed. */
double *reference_logits(const rbe_model *model, bool rotary, const int32_t *ids, size_t places);

/* Logits after each piece, against those of the whole: to 1e-5 of the largest. Bit k of `cuts`: a piece ends after
 * place k. */
void check_pieces(rbe_generator *g, const float *whole, size_t places, unsigned cuts, const char *what);

/* Layers without bias, to be freed or given away. */
rbe_layer *dense_layer(size_t in, size_t out);
rbe_layer *norm_layer(size_t width);
rbe_layer *attention_layer(size_t width, const rbe_attention_options *options);

TCase *gpt_layers_case(void);
TCase *gpt_files_case(void);
TCase *gpt_generator_case(void);
TCase *gpt_sampling_case(void);
TCase *gpt_training_case(void);

#endif
