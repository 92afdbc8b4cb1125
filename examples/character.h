/* What the programs of the character model share: its vocabulary in the model's file, and text from the model. */
#ifndef RBE_EXAMPLES_CHARACTER_H
#define RBE_EXAMPLES_CHARACTER_H

#include "common.h"

/* Keeps a vocabulary with a model, and takes it out again; ends the program if there is none. */
void character_keep(rbe_model *model, const rbe_vocabulary *vocabulary, size_t context);
rbe_vocabulary *character_vocabulary(const rbe_model *model, size_t *context);

/* What a text may go on from: a new line, or, without one in the vocabulary, its first character. Static. */
const char *character_beginning(const rbe_vocabulary *vocabulary);

/* A model that speaks. */
typedef struct speaker {
    const rbe_vocabulary *vocabulary;
    rbe_generator *generator;
    rbe_rng *rng;
    rbe_sample_options options;
    int32_t *said; /* prompt and text so far, `count` of `room` ids */
    size_t count, room, context;
    const float *logits;
} speaker;

/* Reads a prompt (not empty) and makes room for `length` characters. rbe_rng_new(seed, 0). */
rbe_status speaker_start(speaker *s, const rbe_model *model, const rbe_vocabulary *vocabulary, size_t context,
                         const char *prompt, size_t length, uint64_t seed, rbe_sample_options options);

/* Says the next character. When the context is full, the speaker goes on from the last half of it. */
rbe_status speaker_next(speaker *s, char text[RBE_CHARACTER_SIZE]);
void speaker_free(speaker *s);

#endif
