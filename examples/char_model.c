/* Trains a transformer that predicts the next character of a text, with compressed or dense linear layers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "character.h"
#include "experiment.h"
#include "resume.h"

typedef struct settings {
    const char *text, *layer, *transform, *store_name, *out;
    size_t layers, heads, width, context, batch, steps, group, threads, log_every;
    double lr, ratio, dropout;
    uint64_t seed;
    bool growth, bytes, rotary, json;
    rbe_store store;
    resume resume;
} settings;

static settings read_settings(int argc, char **argv) {
    settings s = {.text = "data/shakespeare.txt",
                  .layer = "rbe",
                  .transform = "identity",
                  .store_name = "f32",
                  .layers = 4,
                  .heads = 4,
                  .width = 256,
                  .context = 64,
                  .batch = 12,
                  .steps = 2000,
                  .group = 4,
                  .lr = 3e-3,
                  .ratio = 16,
                  .seed = 1};
    const example_option own[] = {
        {"text", EXAMPLE_TEXT, &s.text, "FILE", "the text to learn; its last tenth is for validation", 0, 0},
        {"bytes", EXAMPLE_FLAG, &s.bytes, NULL, "learn bytes instead of characters in UTF-8", 0, 0},
        {"layer", EXAMPLE_TEXT, &s.layer, "dense|rbe", "kind of the linear layers", 0, 0},
        {"layers", EXAMPLE_COUNT, &s.layers, "N", "blocks of the transformer", 1, 1000},
        {"heads", EXAMPLE_COUNT, &s.heads, "N", "attention heads of a block", 1, 1000},
        {"width", EXAMPLE_COUNT, &s.width, "N", "width of the blocks, a multiple of the heads", 1, 65536},
        {"context", EXAMPLE_COUNT, &s.context, "N", "characters of context", 1, 65536},
        {"rotary", EXAMPLE_FLAG, &s.rotary, NULL, "rotary positions instead of trained ones", 0, 0},
        {"batch", EXAMPLE_COUNT, &s.batch, "N", "pieces of text per step", 1, 65536},
        {"steps", EXAMPLE_COUNT, &s.steps, "N", "steps", 1, 1e9},
        {"lr", EXAMPLE_REAL, &s.lr, "R", "highest learning rate", 1e-9, 1e3},
        {"dropout", EXAMPLE_REAL, &s.dropout, "P", "dropout of embeddings, scores and branches", 0, 0.99},
        {"ratio", EXAMPLE_REAL, &s.ratio, "R", "rbe: values of a dense layer per stored value", 1, 1e6},
        {"transform", EXAMPLE_TEXT, &s.transform, "NAME", "rbe: transform of the blocks: identity, dct, ..", 0, 0},
        {"group", EXAMPLE_COUNT, &s.group, "G", "rbe: block rows that share positions", 1, 65536},
        {"growth", EXAMPLE_FLAG, &s.growth, NULL,
         "rbe: move the smallest coefficients to where the gradient is largest", 0, 0},
        {"seed", EXAMPLE_SEED, &s.seed, "N", "seed of the initial weights and the order of samples", 0, 0},
        {"threads", EXAMPLE_COUNT, &s.threads, "N", "threads (default: one per processor)", 1, RBE_MAX_THREADS},
        {"store", EXAMPLE_TEXT, &s.store_name, example_stores(), "type of the stored values", 0, 0},
        {"out", EXAMPLE_TEXT, &s.out, "DIR", "folder for model.safetensors and log.csv (created)", 0, 0},
        {"log-every", EXAMPLE_COUNT, &s.log_every, "N", "also log a row every N steps", 1, 1e9},
        {"json", EXAMPLE_FLAG, &s.json, NULL, "end with one line of JSON", 0, 0},
    };
    enum { OWN = sizeof own / sizeof *own };
    example_option options[OWN + RESUME_OPTIONS];
    memcpy(options, own, sizeof own);
    resume_options(&s.resume, options + OWN);
    example_parse(argc, argv, "Trains a transformer on the characters of a text.", options, OWN + RESUME_OPTIONS);
    resume_check(&s.resume);
    static const char *const compressed[] = {"ratio", "transform", "group", "growth"};
    for (size_t n = 0; strcmp(s.layer, "dense") == 0 && n < 4; n++)
        if (example_given(compressed[n])) example_fail(2, "--%s needs --layer rbe", compressed[n]);
    if (s.width % s.heads != 0)
        example_fail(2, "--width: expected a multiple of %zu heads, found %zu", s.heads, s.width);
    if (s.rotary && s.width / s.heads % 2 != 0)
        example_fail(2, "--rotary needs heads of an even width, found %zu / %zu", s.width, s.heads);
    rbe_store_named(s.store_name, &s.store);
    return s;
}

/* ---- text ---------------------------------------------------------------------------------------------------- */

typedef struct corpus {
    rbe_vocabulary *vocabulary;
    int32_t *ids;
    size_t count, train; /* ids; the first of them are for training */
} corpus;

static corpus read_corpus(const settings *s) {
    size_t bytes;
    char *text = example_need(rbe_text_read(s->text, &bytes));
    corpus c = {0};
    c.vocabulary = example_need(s->bytes ? rbe_vocabulary_of_bytes() : rbe_vocabulary_of_text(text, bytes));
    c.ids = example_take(bytes, sizeof *c.ids);
    example_require(rbe_vocabulary_encode(c.vocabulary, text, bytes, c.ids, &c.count));
    rbe_text_free(text);
    c.train = c.count - c.count / 10;
    if (c.count / 10 < s->context + 2)
        example_fail(1, "%s: %zu characters are too few for a context of %zu", s->text, c.count, s->context);
    return c;
}

static rbe_dataset windows(const corpus *c, size_t first, size_t end, size_t length, size_t stride) {
    rbe_dataset data;
    example_require(rbe_dataset_from_windows(&data, c->ids + first, end - first, length, stride,
                                             (int32_t)rbe_vocabulary_size(c->vocabulary)));
    return data;
}

/* Nats per character over the whole of the validation text, in windows side by side; the last may be shorter. */
static double validation_loss(const settings *s, const corpus *c, const rbe_model *model) {
    const size_t places = c->count - c->train - 1, whole = places / s->context * s->context;
    const rbe_dataset data = windows(c, c->train, c->train + whole + 1, s->context, s->context);
    rbe_evaluation e, rest = {0};
    const rbe_evaluate_options options = {.batch = s->batch, .metric = rbe_metric_loss};
    example_require(rbe_evaluate_with(model, &data, &options, &e));
    if (whole < places) {
        const rbe_dataset last = windows(c, c->train + whole, c->count, places - whole, places - whole);
        example_require(rbe_evaluate_with(model, &last, &options, &rest));
    }
    return (e.loss * (double)whole + rest.loss * (double)(places - whole)) / (double)places;
}

/* ---- model --------------------------------------------------------------------------------------------------- */

static rbe_model *new_model(const settings *s, const corpus *c) {
    return example_need(rbe_gpt_new(&(rbe_gpt_options){.vocabulary = rbe_vocabulary_size(c->vocabulary),
                                                       .layers = s->layers,
                                                       .heads = s->heads,
                                                       .width = s->width,
                                                       .context = s->context,
                                                       .dense = strcmp(s->layer, "dense") == 0,
                                                       .ratio = s->ratio,
                                                       .transform = example_transform("row", NULL, s->transform),
                                                       .group = s->group,
                                                       .rotary = s->rotary,
                                                       .dropout = s->dropout,
                                                       .seed = s->seed}));
}

/* Values in linear layers. */
static size_t linear_values(const rbe_model *model) {
    size_t count = 0;
    const rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++)
        if (strcmp(rbe_layer_kind(layer), "rbe") == 0 || strcmp(rbe_layer_kind(layer), "dense") == 0)
            count += rbe_layer_describe_cost(layer).values;
    return count;
}

/* ---- training ------------------------------------------------------------------------------------------------ */

typedef struct witness {
    const settings *settings;
    const corpus *corpus;
    const rbe_model *model;
    double core_seconds; /* of steps, on all processors together */
    clock_t mark;        /* of the program's processor time: where the next step begins */
} witness;

static rbe_status count_time(void *user, const rbe_progress *p) {
    witness *w = user;
    const clock_t now = clock();
    (void)p;
    w->core_seconds += (double)(now - w->mark) / CLOCKS_PER_SEC;
    w->mark = now;
    return RBE_OK;
}

/* Lets the model speak, where a person may listen. */
static rbe_status say_something(void *user, const rbe_progress *p) {
    enum { LENGTH = 160 };
    witness *w = user;
    speaker s;
    (void)p;
    char text[RBE_CHARACTER_SIZE];
    rbe_status status =
        speaker_start(&s, w->model, w->corpus->vocabulary, w->settings->context,
                      character_beginning(w->corpus->vocabulary), LENGTH, 1, (rbe_sample_options){.temperature = 0.8});
    fprintf(stderr, "    | ");
    for (size_t n = 0; status == RBE_OK && n < LENGTH; n++) {
        status = speaker_next(&s, text);
        if (status == RBE_OK) fprintf(stderr, "%s", strcmp(text, "\n") == 0 ? "\n    | " : text);
    }
    fprintf(stderr, "\n");
    speaker_free(&s);
    w->mark = clock();
    return status;
}

/* Epochs, after each of which the model is looked at: ten, or fewer that divide the steps. */
static size_t looks(size_t steps) {
    size_t count = 10;
    while (steps % count != 0) count--;
    return count;
}

static rbe_fit_result train(const settings *s, const corpus *c, rbe_model *model, double *core_seconds) {
    enum { LOOKED_AT = 20 /* batches of the validation text */ };
    char csv_path[4200], model_path[4200];
    if (s->out) snprintf(csv_path, sizeof csv_path, "%s/log.csv", s->out);
    if (s->out) snprintf(model_path, sizeof model_path, "%s/model.safetensors", s->out);
    const rbe_dataset data = windows(c, 0, c->train, s->context, 1);
    rbe_dataset test = windows(c, c->train, c->count, s->context, s->context);
    if (test.count > LOOKED_AT * s->batch) test.count = LOOKED_AT * s->batch;
    rbe_growth *growth =
        s->growth ? example_need(rbe_growth_new(model, &(rbe_growth_options){.steps = s->steps})) : NULL;
    const rbe_routine grow = rbe_growth_routine(growth);
    const rbe_optim_options options = {.lr = (float)s->lr, .beta2 = 0.99f, .weight_decay = 0.1f, .clip_norm = 1.0f};
    rbe_optim *optim = example_need(rbe_optim_new(rbe_adamw, model, &options));
    witness w = {.settings = s, .corpus = c, .model = model, .mark = clock()};
    const size_t epochs = looks(s->steps);
    const rbe_fit_options fit = {
        .epochs = epochs,
        .epoch_batches = s->steps / epochs,
        .batch = s->batch,
        .seed = s->seed,
        .schedule = {.kind = RBE_COSINE, .warmup = s->steps < 1000 ? s->steps / 10 : 100, .floor = 0.1f},
        .metric = rbe_metric_loss,
        .label = s->layer,
        .progress = stderr,
        .csv_path = s->out ? csv_path : NULL,
        .log_every = s->log_every,
        .routines = &grow,
        .routine_count = growth ? 1 : 0,
        .on_step = count_time,
        .on_epoch = say_something,
        .user = &w};
    const rbe_save_options save = {.store = s->store};
    rbe_fit_result result = resume_fit(&s->resume, model, optim, &data, &test, &fit, s->out ? model_path : NULL, &save);
    *core_seconds = w.core_seconds;
    rbe_optim_free(optim);
    rbe_growth_free(growth);
    return result;
}

int main(int argc, char **argv) {
    settings s = read_settings(argc, argv);
    if (s.threads > 0) example_require(rbe_set_threads((int)s.threads));
    if (s.out) example_make_folder(s.out);
    corpus c = read_corpus(&s);
    rbe_memory_reset_peak();
    const size_t before = rbe_memory().current;
    rbe_model *model = new_model(&s, &c);
    character_keep(model, c.vocabulary, s.context);
    const rbe_layer_cost cost = rbe_model_describe_cost(model);
    const size_t linear = linear_values(model);
    char a[EXAMPLE_NUMBER_SIZE], b[EXAMPLE_NUMBER_SIZE];
    printf("%zu characters of %zu kinds; %s values in linear layers, %s others\n", c.count,
           rbe_vocabulary_size(c.vocabulary), example_number(linear, a), example_number(cost.values - linear, b));
    fflush(stdout);
    double core_seconds;
    const rbe_fit_result fit = train(&s, &c, model, &core_seconds);
    const size_t peak = rbe_memory().peak - before;
    const rbe_layer_cost trained = rbe_model_describe_cost(model);
    const rbe_save_options save = {.store = s.store};
    char path[4200];
    size_t file_bytes; /* what is judged is the model that is read back */
    if (s.out) snprintf(path, sizeof path, "%s/model.safetensors", s.out);
    rbe_model *again = experiment_again(model, s.out ? path : NULL, &save, &file_bytes);
    const double loss = validation_loss(&s, &c, again), step_ms = 1e3 * fit.seconds / (double)fit.steps;
    printf("\n%-20s %.4f nats per character, of %zu characters of validation\n", "loss", loss, c.count - c.train - 1);
    printf("%-20s %s  (dense: %s)\n", "bytes", example_number(trained.bytes, a),
           example_number(trained.dense_bytes, b));
    printf("%-20s %s  (%s)\n", "bytes of the file", example_number(file_bytes, a), s.store_name);
    printf("%-20s %.1f\n%-20s %.2f MB  (without the text)\n", "milliseconds per step", step_ms, "peak memory",
           (double)peak / 1e6);
    if (s.json)
        printf("{\"program\":\"char_model\",\"val_loss\":%.5f,\"linear_values\":%zu,\"other_values\":%zu,"
               "\"weight_bytes\":%zu,\"file_bytes\":%zu,\"train_seconds\":%.3f,\"core_seconds\":%.3f,"
               "\"step_ms\":%.3f,\"peak_bytes\":%zu}\n",
               loss, linear, trained.values - linear, trained.bytes, file_bytes, fit.seconds, core_seconds, step_ms,
               peak);
    rbe_model_free(model);
    rbe_model_free(again);
    rbe_vocabulary_free(c.vocabulary);
    free(c.ids);
    return 0;
}
