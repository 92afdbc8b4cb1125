/* Lets a character model speak. */
#include <stdio.h>
#include <string.h>

#include "character.h"
#include "experiment.h"

int main(int argc, char **argv) {
    const char *path = NULL, *prompt = NULL;
    size_t length = 500, threads = 1;
    uint64_t seed = 1;
    rbe_sample_options sample = {.temperature = 0.8};
    const example_option options[] = {
        {"MODEL", EXAMPLE_FILE, &path, NULL, "a model of characters", 0, 0},
        {"prompt", EXAMPLE_TEXT, &prompt, "TEXT", "the text to continue (default: a new line, if the model knows it)",
         0, 0},
        {"length", EXAMPLE_COUNT, &length, "N", "characters to write", 1, 1e9},
        {"temperature", EXAMPLE_REAL, &sample.temperature, "T", "0: always the most likely character", 0, 100},
        {"top-k", EXAMPLE_COUNT, &sample.top_k, "K", "choose among the K most likely characters", 1, 1e6},
        {"top-p", EXAMPLE_REAL, &sample.top_p, "P",
         "choose among the most likely ones that have probability P together", 0, 1},
        {"repetition-penalty", EXAMPLE_REAL, &sample.repetition_penalty, "R",
         "above 1: makes characters of the context less likely", 1, 100},
        {"seed", EXAMPLE_SEED, &seed, "N", "seed of the choices", 0, 0},
        {"threads", EXAMPLE_COUNT, &threads, "N", "threads", 1, RBE_MAX_THREADS},
    };
    example_parse(argc, argv, "Writes text with a character model, and says how fast.", options,
                  sizeof options / sizeof *options);
    example_require(rbe_set_threads((int)threads));
    rbe_model *model = example_need(rbe_model_load(path));
    size_t context;
    rbe_vocabulary *vocabulary = character_vocabulary(model, &context);
    const char *beginning = prompt ? prompt : character_beginning(vocabulary);
    speaker s;
    example_require(speaker_start(&s, model, vocabulary, context, beginning, length, seed, sample));
    const double start = experiment_now();
    printf("%s", prompt ? prompt : "");
    for (size_t n = 0; n < length; n++) {
        char text[RBE_CHARACTER_SIZE];
        example_require(speaker_next(&s, text));
        fwrite(text, 1, text[0] ? strlen(text) : 1, stdout);
        fflush(stdout);
    }
    printf("\n");
    fprintf(stderr, "%.0f characters a second\n", (double)length / (experiment_now() - start));
    speaker_free(&s);
    rbe_vocabulary_free(vocabulary);
    rbe_model_free(model);
    return 0;
}
