/* Vocabulary in a model's metadata; text from a model. */
#include "character.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOCABULARY_KEY "text.vocabulary"
#define CONTEXT_KEY "text.context"
#define BYTES "bytes"

void character_keep(rbe_model *model, const rbe_vocabulary *vocabulary, size_t context) {
    const char *text = rbe_vocabulary_text(vocabulary);
    char number[24], *marked = example_take(1, (text ? strlen(text) : 0) + 16);
    sprintf(marked, text ? "characters:%s" : BYTES, text);
    snprintf(number, sizeof number, "%zu", context);
    example_require(rbe_model_set_metadata(model, VOCABULARY_KEY, marked));
    example_require(rbe_model_set_metadata(model, CONTEXT_KEY, number));
    free(marked);
}

rbe_vocabulary *character_vocabulary(const rbe_model *model, size_t *context) {
    const char *text = rbe_model_metadata(model, VOCABULARY_KEY), *number = rbe_model_metadata(model, CONTEXT_KEY);
    static const char mark[] = "characters:";
    *context = number ? strtoull(number, NULL, 10) : 0;
    if (!text || *context == 0) {
        example_fail(1, "expected a model of characters, but the file has no vocabulary");
        return NULL;
    }
    const bool bytes = strcmp(text, BYTES) == 0;
    text += strncmp(text, mark, sizeof mark - 1) == 0 ? sizeof mark - 1 : 0;
    rbe_vocabulary *vocabulary =
        example_need(bytes ? rbe_vocabulary_of_bytes() : rbe_vocabulary_of_text(text, strlen(text)));
    /* As many logits are read as there are characters. */
    const rbe_param *table = rbe_model_find_param(model, "transformer.wte.weight");
    const size_t rows = table ? table->rows : 0, size = rbe_vocabulary_size(vocabulary);
    if (rows != size)
        example_fail(1, "expected a model of characters, but the vocabulary has %zu of them and the table %zu rows",
                     size, rows);
    return vocabulary;
}

const char *character_beginning(const rbe_vocabulary *vocabulary) {
    static char first[RBE_CHARACTER_SIZE];
    size_t count;
    if (rbe_vocabulary_encode(vocabulary, "\n", 1, NULL, &count) == RBE_OK) return "\n";
    rbe_vocabulary_decode(vocabulary, 0, first);
    return first;
}

/* ---- speaking ------------------------------------------------------------------------------------------------ */

/* The last ids that were said, as many as the context may begin with. */
static rbe_status read_again(speaker *s, size_t most) {
    const size_t count = s->count < most ? s->count : most;
    rbe_generator_reset(s->generator);
    return rbe_generator_feed(s->generator, s->said + s->count - count, count, &s->logits);
}

rbe_status speaker_start(speaker *s, const rbe_model *model, const rbe_vocabulary *vocabulary, size_t context,
                         const char *prompt, size_t length, uint64_t seed, rbe_sample_options options) {
    *s = (speaker){.vocabulary = vocabulary, .options = options, .context = context};
    if (!*prompt) return rbe_fail(RBE_INVALID_ARGUMENT, "expected a prompt of at least one character");
    s->room = strlen(prompt) + length;
    s->said = example_take(s->room, sizeof *s->said);
    RBE_TRY(rbe_vocabulary_encode(vocabulary, prompt, strlen(prompt), s->said, &s->count));
    s->generator = rbe_generator_new(model, context, NULL, 0);
    s->rng = rbe_rng_new(seed, 0);
    if (!s->generator || !s->rng) return rbe_last_status();
    return read_again(s, context);
}

rbe_status speaker_next(speaker *s, char text[RBE_CHARACTER_SIZE]) {
    int32_t id;
    const size_t recent = s->count < s->context ? s->count : s->context;
    RBE_TRY(rbe_sample(s->logits, rbe_vocabulary_size(s->vocabulary), &s->options, s->said + s->count - recent, recent,
                       s->rng, &id));
    rbe_vocabulary_decode(s->vocabulary, id, text);
    s->said[s->count++] = id;
    if (rbe_generator_places(s->generator) == s->context) return read_again(s, (s->context + 1) / 2);
    return rbe_generator_feed(s->generator, &id, 1, &s->logits);
}

void speaker_free(speaker *s) {
    rbe_generator_free(s->generator);
    rbe_rng_free(s->rng);
    free(s->said);
}
